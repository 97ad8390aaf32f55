//! How much memory this process may use, and how much of it is used.

use std::io;
use std::path::{Path, PathBuf};

use super::cgroup::Cgroups;

/// The memory that this process shares with the others of its container or machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    limit: u64,
    source: Source,
}

/// What sets the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Unified(PathBuf),
    Version1(PathBuf),
    Host,
}

/// Memory used at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Bytes that cannot be reclaimed: without the file cache that the kernel would drop first.
    pub used: u64,
    /// Bytes at which the kernel starts to kill.
    pub limit: u64,
}

impl MemoryUsage {
    /// The used part of the limit, 0 to 1.
    pub fn fraction(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a ratio for a threshold")]
        let fraction = self.used as f64 / self.limit.max(1) as f64;
        fraction
    }
}

impl Memory {
    /// The limit that binds this process: the lowest of its control groups' (version 2, then 1), else the machine's memory.
    pub fn detect() -> io::Result<Self> {
        let groups = Cgroups::of_this_process();
        let host = read_meminfo()?.total;
        let limit_of = |group: &PathBuf, file| parse_limit(&std::fs::read_to_string(group.join(file)).ok()?);
        let unified = groups
            .unified
            .into_iter()
            .filter_map(|group| Some((limit_of(&group, "memory.max")?, Source::Unified(group))));
        let version_1 = groups
            .memory
            .into_iter()
            .filter_map(|group| Some((limit_of(&group, "memory.limit_in_bytes")?, Source::Version1(group))));
        // Version 1 writes "no limit" as a number far above any machine's memory.
        let (limit, source) = unified
            .chain(version_1)
            .filter(|&(limit, _)| limit < host)
            .min_by_key(|&(limit, _)| limit)
            .unwrap_or((host, Source::Host));
        Ok(Self { limit, source })
    }

    /// Bytes at which the kernel starts to kill.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Samples the usage.
    pub fn usage(&self) -> io::Result<MemoryUsage> {
        let used = match &self.source {
            Source::Unified(group) => cgroup_usage(group, "memory.current", "inactive_file")?,
            Source::Version1(group) => cgroup_usage(group, "memory.usage_in_bytes", "total_inactive_file")?,
            Source::Host => {
                let Meminfo { total, available } = read_meminfo()?;
                total.saturating_sub(available)
            }
        };
        Ok(MemoryUsage {
            used,
            limit: self.limit,
        })
    }
}

fn cgroup_usage(group: &Path, file: &str, reclaimable: &str) -> io::Result<u64> {
    let current = std::fs::read_to_string(group.join(file))?;
    let current = parse_limit(&current).ok_or_else(|| malformed(&group.join(file)))?;
    let stat = std::fs::read_to_string(group.join("memory.stat"))?;
    Ok(current.saturating_sub(parse_stat(&stat, reclaimable).unwrap_or(0)))
}

fn read_meminfo() -> io::Result<Meminfo> {
    let path = Path::new("/proc/meminfo");
    Meminfo::parse(&std::fs::read_to_string(path)?).ok_or_else(|| malformed(path))
}

fn malformed(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} is not as the kernel documents it", path.display()),
    )
}

/// A number of bytes; `max` is none.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A value of `memory.stat`: lines `key bytes`.
fn parse_stat(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meminfo {
    total: u64,
    available: u64,
}

impl Meminfo {
    fn parse(text: &str) -> Option<Self> {
        Some(Self {
            total: super::process_memory::kibibytes(text, "MemTotal:")?,
            available: super::process_memory::kibibytes(text, "MemAvailable:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let meminfo = "MemTotal:        8052420 kB\nMemFree:  1 kB\nMemAvailable:    7000000 kB\n";
        let expected = Meminfo {
            total: 8_052_420 << 10,
            available: 7_000_000 << 10,
        };
        assert_eq!(Meminfo::parse(meminfo), Some(expected));
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_limit("1073741824\n"), Some(1 << 30));
        let stat = "inactive_file_x 9\ninactive_file 4096\ntotal_inactive_file 8192\n";
        assert_eq!(parse_stat(stat, "inactive_file"), Some(4096));
        assert_eq!(parse_stat(stat, "total_inactive_file"), Some(8192));
        assert_eq!(parse_stat(stat, "absent"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "(Mem(Total|Available):[ 0-9kKB]{0,30}\n|[a-z_0-9 ]{0,20}\n){0,4}") {
            let _read = (Meminfo::parse(&text), parse_limit(&text), parse_stat(&text, "inactive_file"));
        }
    }

    #[test]
    fn this_machine_uses_some_of_its_memory() {
        let memory = Memory::detect().unwrap();
        let usage = memory.usage().unwrap();
        assert!(usage.used > 0 && usage.limit == memory.limit());
        assert!(usage.fraction() > 0.0);
    }
}
