//! Memory and processor time of processes, from `/proc`.

use std::fs;

use anyhow::{Context as _, Result};

/// Bytes of resident memory.
pub(crate) fn rss(pid: u32) -> Result<f64> {
    rollup(pid, "Rss:")
}

/// Bytes of resident memory, pages of several processes divided among them.
pub(crate) fn pss(pid: u32) -> Result<f64> {
    rollup(pid, "Pss:")
}

/// Seconds that all threads of the process have run. Its clock counts nanoseconds; the one in `stat` counts 10 ms, which
/// is more than an idle cluster uses in a second.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let directory = format!("/proc/{pid}/task");
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(&directory).with_context(|| format!("reading {directory}"))? {
        let path = thread?.path().join("schedstat");
        // A thread that ends while we read counts no longer.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let first = text.split(' ').next().context("an empty schedstat")?;
        nanoseconds += first
            .parse::<f64>()
            .with_context(|| format!("{}: {text}", path.display()))?;
    }
    Ok(nanoseconds / 1e9)
}

/// Whether there is such a process, a zombie included.
pub(crate) fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

fn rollup(pid: u32, field: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .with_context(|| format!("{field} in {path}"))?;
    let kib: f64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .with_context(|| format!("{field} in {path}"))?;
    Ok(kib * 1_024.0)
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    #[test]
    fn this_process_has_memory_and_has_run() {
        assert!(rss(process::id()).unwrap() >= pss(process::id()).unwrap());
        assert!(pss(process::id()).unwrap() > 0.0);
        assert!(cpu_seconds(process::id()).unwrap() > 0.0);
        assert!(exists(process::id()));
        assert!(rss(u32::MAX).is_err());
    }
}
