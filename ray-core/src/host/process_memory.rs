//! How much memory one process uses.

use std::io;

/// The memory of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Resident bytes, with all that it shares with others.
    pub resident: u64,
    /// Resident bytes, where each shared page counts by the part that falls to this process. `None` where the kernel does
    /// not tell (another user's process).
    pub proportional: Option<u64>,
}

impl ProcessMemory {
    /// The memory of this process now. Costs the kernel a walk over its pages: not for tight loops.
    pub fn of(pid: u32) -> io::Result<Self> {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        if let Some(memory) = rollup.ok().and_then(|text| Self::parse_rollup(&text)) {
            return Ok(memory);
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self {
            // A zombie has no such line, and no memory.
            resident: kibibytes(&status, "VmRSS:").unwrap_or(0),
            proportional: None,
        })
    }

    /// The bytes to hold this process to account for.
    pub fn charged(&self) -> u64 {
        self.proportional.unwrap_or(self.resident)
    }

    fn parse_rollup(text: &str) -> Option<Self> {
        Some(Self {
            resident: kibibytes(text, "Rss:")?,
            proportional: Some(kibibytes(text, "Pss:")?),
        })
    }
}

/// Resident bytes of a process that are its own: without files and shared memory. Cheap.
pub fn private_bytes(pid: u32) -> io::Result<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = parse_statm(&statm).ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Pages in `statm` (`size resident shared ...`) that are resident and not shared.
fn parse_statm(text: &str) -> Option<u64> {
    let mut numbers = text.split_ascii_whitespace().skip(1);
    let resident: u64 = numbers.next()?.parse().ok()?;
    let shared: u64 = numbers.next()?.parse().ok()?;
    Some(resident.saturating_sub(shared))
}

/// The bytes in a line `<key>   <number> kB`.
pub(super) fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_read() {
        let text = "5583-7ffd ---p 00000000 00:00 0 [rollup]\nRss:      884 kB\nPss:      385 kB\nPss_Dirty: 1 kB\n";
        let memory = ProcessMemory::parse_rollup(text).unwrap();
        assert_eq!((memory.resident, memory.charged()), (884 << 10, 385 << 10));
        assert_eq!(kibibytes("Rss: 18446744073709551615 kB", "Rss:"), None);
    }

    #[test]
    fn statm_is_read() {
        assert_eq!(parse_statm("2233 900 300 4 0 80 0\n"), Some(600));
        assert_eq!(parse_statm("2233 900"), None);
        assert!(private_bytes(std::process::id()).unwrap() > 0);
    }

    #[test]
    fn this_process_is_resident() {
        let memory = ProcessMemory::of(std::process::id()).unwrap();
        assert!(memory.resident >= memory.charged() && memory.charged() > 0);
    }
}
