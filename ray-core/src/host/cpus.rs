//! How many CPUs this process may use.

use std::path::Path;

use super::cgroup::Cgroups;

/// The CPUs that this process may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cpus {
    /// How many different CPUs its threads may run on (affinity, cpusets).
    pub allowed: usize,
    /// How much CPU time it gets in CPUs, where a control group limits that; may be a fraction.
    pub quota: Option<f64>,
}

impl Cpus {
    /// What holds for this process now.
    pub fn detect() -> Self {
        let groups = Cgroups::of_this_process();
        let unified = groups
            .unified
            .iter()
            .filter_map(|group| parse_cpu_max(&read(group, "cpu.max")?));
        let version_1 = groups
            .cpu
            .iter()
            .filter_map(|group| parse_cfs_quota(&read(group, "cpu.cfs_quota_us")?, &read(group, "cpu.cfs_period_us")?));
        Self {
            allowed: allowed(),
            quota: unified.chain(version_1).reduce(f64::min),
        }
    }

    /// The CPU time it can get, in CPUs.
    pub fn usable(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 CPUs")]
        let allowed = self.allowed as f64;
        self.quota.map_or(allowed, |quota| quota.min(allowed))
    }

    /// The whole CPUs it can keep busy, at least one: the node's default of the resource `CPU`.
    pub fn count(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and `allowed`"
        )]
        let whole = self.usable() as usize;
        whole.max(1)
    }
}

fn read(group: &Path, file: &str) -> Option<String> {
    std::fs::read_to_string(group.join(file)).ok()
}

fn allowed() -> usize {
    let affinity = rustix::thread::sched_getaffinity(None).map(|set| set.count()).ok();
    // The call fails above 1024 CPUs, where the set is too small.
    let allowed = affinity.map_or_else(
        || parse_cpus_allowed(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()),
        |count| usize::try_from(count).ok(),
    );
    allowed.filter(|&count| count > 0).unwrap_or(1)
}

/// The number of CPUs in the line `Cpus_allowed: ff,ffffffff` of `/proc/self/status`.
fn parse_cpus_allowed(status: &str) -> Option<usize> {
    let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:"))?;
    let digits = mask.trim().chars().filter(|&digit| digit != ',');
    digits
        .map(|digit| digit.to_digit(16).map(|bits| bits.count_ones() as usize))
        .sum()
}

/// Version 2: `<quota> <period>` in microseconds, or `max <period>`.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    parse_cfs_quota(quota, period)
}

/// Version 1: quota and period in microseconds; a quota of -1 is none.
fn parse_cfs_quota(quota: &str, period: &str) -> Option<f64> {
    let quota: u32 = quota.trim().parse().ok()?;
    let period: u32 = period.trim().parse().ok()?;
    (quota > 0 && period > 0).then(|| f64::from(quota) / f64::from(period))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotas_are_read_in_both_versions() {
        assert_eq!(parse_cpu_max("150000 100000\n"), Some(1.5));
        assert_eq!(parse_cpu_max("max 100000\n"), None);
        assert_eq!(parse_cfs_quota("50000\n", "100000\n"), Some(0.5));
        assert_eq!(parse_cfs_quota("-1\n", "100000\n"), None);
        assert_eq!(parse_cfs_quota("0\n", "0\n"), None);
    }

    #[test]
    fn allowed_cpus_are_counted_in_the_mask() {
        assert_eq!(
            parse_cpus_allowed("Name:\tx\nCpus_allowed:\tff,ffffffff\nCpus_allowed_list:\t0-39\n"),
            Some(40)
        );
        assert_eq!(parse_cpus_allowed("Name:\tx\n"), None);
    }

    #[test]
    fn the_lesser_of_quota_and_affinity_counts_and_one_is_the_least() {
        let cpus = |allowed, quota| Cpus { allowed, quota };
        assert_eq!(cpus(8, Some(2.5)).count(), 2);
        assert_eq!(cpus(8, Some(2.5)).usable(), 2.5);
        assert_eq!(cpus(2, Some(16.0)).count(), 2);
        assert_eq!(cpus(8, Some(0.3)).count(), 1);
        assert_eq!(cpus(8, None).count(), 8);
    }

    proptest! {
        #[test]
        fn a_quota_is_positive_and_finite_or_none(text in "[0-9max -]{0,30}") {
            if let Some(quota) = parse_cpu_max(&text) {
                prop_assert!(quota > 0.0 && quota.is_finite());
            }
        }
    }

    #[test]
    fn this_machine_has_a_cpu() {
        assert!(Cpus::detect().usable() > 0.0);
    }
}
