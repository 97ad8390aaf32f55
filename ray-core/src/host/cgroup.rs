//! Which control groups this process is in, and where their files are.

use std::path::{Path, PathBuf};

/// The directories of this process's control groups, each list from its own group up to the highest that is visible. A limit
/// of any of them binds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cgroups {
    /// Version 2.
    pub(super) unified: Vec<PathBuf>,
    /// Version 1, controller `cpu`.
    pub(super) cpu: Vec<PathBuf>,
    /// Version 1, controller `memory`.
    pub(super) memory: Vec<PathBuf>,
}

impl Cgroups {
    pub(super) fn of_this_process() -> Self {
        match (
            std::fs::read_to_string("/proc/self/cgroup"),
            std::fs::read_to_string("/proc/self/mountinfo"),
        ) {
            (Ok(groups), Ok(mounts)) => Self::locate(&groups, &mounts),
            // No /proc: then nothing is known of limits.
            _ => Self::default(),
        }
    }

    /// From the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
    fn locate(groups: &str, mounts: &str) -> Self {
        let mut located = Self::default();
        for mount in mounts.lines().filter_map(Mount::parse) {
            let list = match mount.kind {
                Kind::Unified => &mut located.unified,
                Kind::Controllers(options) if has_word(options, "memory") => &mut located.memory,
                Kind::Controllers(options) if has_word(options, "cpu") => &mut located.cpu,
                Kind::Controllers(_) => continue,
            };
            // The first mount of a kind wins; the others are bind mounts of the same.
            if list.is_empty()
                && let Some(group) = groups.lines().find_map(|line| mount.kind.group_in(line))
            {
                *list = mount.directories(group);
            }
        }
        located
    }
}

fn has_word(list: &str, word: &str) -> bool {
    list.split(',').any(|known| known == word)
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    Unified,
    /// The mount's options, which name its controllers.
    Controllers(&'a str),
}

impl Kind<'_> {
    /// The group's path, if this line of `/proc/self/cgroup` (`id:controllers:path`) is of this hierarchy.
    fn group_in<'l>(&self, line: &'l str) -> Option<&'l str> {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_ours = match self {
            Self::Unified => id == "0" && controllers.is_empty(),
            Self::Controllers(options) => {
                !controllers.is_empty() && controllers.split(',').all(|controller| has_word(options, controller))
            }
        };
        is_ours.then_some(path)
    }
}

struct Mount<'a> {
    kind: Kind<'a>,
    /// Which group is mounted.
    root: &'a str,
    /// Where it is mounted.
    at: String,
}

impl<'a> Mount<'a> {
    /// A line of `mountinfo`: `36 35 98:0 /root /mounted/at rw,noatime shared:1 - cgroup cgroup rw,memory`.
    fn parse(line: &'a str) -> Option<Self> {
        let (place, file_system) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, at) = (place.next()?, place.next()?);
        let mut file_system = file_system.split(' ');
        let kind = match file_system.next()? {
            "cgroup2" => Kind::Unified,
            "cgroup" => Kind::Controllers(file_system.nth(1)?),
            _ => return None,
        };
        Some(Self {
            kind,
            root,
            // The kernel writes a space as `\040`.
            at: at.replace("\\040", " "),
        })
    }

    fn directories(&self, group: &str) -> Vec<PathBuf> {
        let at = Path::new(&self.at);
        // Inside a container without a cgroup namespace both start with the container's own group. A group outside the
        // mount (`/../..`) is not visible: then only the mounted one is.
        let below = Path::new(group).strip_prefix(self.root).unwrap_or(Path::new(""));
        let below = if below.components().any(|part| part == std::path::Component::ParentDir) {
            Path::new("")
        } else {
            below
        };
        below.ancestors().map(|part| at.join(part)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn version_2_is_found_with_all_groups_above() {
        let groups = "0::/user.slice/run.scope\n";
        let mounts = "25 21 0:22 / /proc rw - proc proc rw\n\
                      30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let located = Cgroups::locate(groups, mounts);
        let expected = [
            "/sys/fs/cgroup/user.slice/run.scope",
            "/sys/fs/cgroup/user.slice",
            "/sys/fs/cgroup/",
        ];
        assert_eq!(located.unified, expected.map(PathBuf::from));
        assert!(located.cpu.is_empty() && located.memory.is_empty());
    }

    #[test]
    fn version_1_in_a_container_is_found_where_its_own_group_is_mounted() {
        let groups = "4:memory:/docker/ab12\n3:cpu,cpuacct:/docker/ab12\n1:name=systemd:/docker/ab12\n0::/\n";
        let mounts = "40 39 0:30 /docker/ab12 /sys/fs/cgroup/memory ro master:1 - cgroup cgroup rw,memory\n\
                      41 39 0:31 /docker/ab12 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
                      42 39 0:32 /docker/ab12 /sys/fs/cgroup/systemd ro - cgroup cgroup rw,name=systemd\n";
        let located = Cgroups::locate(groups, mounts);
        assert_eq!(located.memory, [PathBuf::from("/sys/fs/cgroup/memory/")]);
        assert_eq!(located.cpu, [PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/")]);
        assert!(located.unified.is_empty());
    }

    #[test]
    fn a_group_outside_the_mount_falls_back_to_the_mounted_one() {
        let mounts = "30 23 0:26 /inner /cg\\040roup rw - cgroup2 cgroup2 rw\n";
        let located = Cgroups::locate("0::/../other\n", mounts);
        assert_eq!(located.unified, [PathBuf::from("/cg roup/")]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(groups in "[0-9a-z:/,.\n-]{0,60}", mounts in "[0-9a-z: /,.\n-]{0,40} - cgroup2? [a-z ,]{0,20}") {
            let _located = Cgroups::locate(&groups, &mounts);
        }
    }
}
