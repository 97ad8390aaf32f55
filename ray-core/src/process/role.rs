//! What a child is told at birth: its role, and which descriptor is what.
//!
//! One environment variable says it all:
//! `RAY_TAKEOVER="1 <parent pid> <inode of the control socket> <role> executable=3 control=4 <name>=5 ..."`.
//! The inode is the proof: a process that merely inherited the variable does not hold that very socket.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use rustix::fs::FileType;
use rustix::net::AddressFamily;

/// The variable that tells a child its role.
pub const ROLE_VARIABLE: &str = "RAY_TAKEOVER";

/// The role of ordinary workers.
pub const WORKER: &str = "worker";

/// The role of a head in a process of its own.
pub const HEAD: &str = "head";

const VERSION: &str = "1";

/// The number of the executable's descriptor in a child.
pub(super) const EXECUTABLE_FD: RawFd = 3;
/// The number of the control socket in a child, until it takes over.
pub(super) const CONTROL_FD: RawFd = 4;

/// What a process is that has taken over, and what it was given.
#[derive(Debug)]
pub struct Role {
    /// The role's name, as in its [`RoleEntry`].
    pub name: String,
    /// The process that spawned this one.
    pub parent_pid: u32,
    /// The socket to the parent.
    pub control: OwnedFd,
    /// Further descriptors, under the names that the parent gave them.
    pub descriptors: Vec<(String, OwnedFd)>,
}

impl Role {
    /// Takes the descriptor with this name.
    pub fn take_descriptor(&mut self, name: &str) -> Option<OwnedFd> {
        let index = self.descriptors.iter().position(|(known, _)| known == name)?;
        Some(self.descriptors.swap_remove(index).1)
    }
}

/// A role that this program can take: its name, and what then runs in place of `main` and returns the exit code.
#[derive(Clone, Copy)]
pub struct RoleEntry {
    /// The role's name.
    pub name: &'static str,
    /// Runs in place of `main`.
    pub run: fn(Role) -> i32,
}

impl fmt::Debug for RoleEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleEntry")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The roles that this program can take, gathered at link time.
#[linkme::distributed_slice]
pub static ROLES: [RoleEntry];

/// The role variable's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) parent_pid: u32,
    pub(super) control_inode: u64,
    pub(super) role: String,
    pub(super) executable: RawFd,
    pub(super) control: RawFd,
    /// In the order of their numbers.
    pub(super) named: Vec<(String, RawFd)>,
}

impl Announcement {
    pub(super) fn from_environment() -> Option<Self> {
        Self::parse(std::env::var_os(ROLE_VARIABLE)?.to_str()?)
    }

    pub(super) fn to_variable(&self) -> (OsString, OsString) {
        (ROLE_VARIABLE.into(), self.to_string().into())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        if words.next()? != VERSION {
            return None;
        }
        let parent_pid = words.next()?.parse().ok()?;
        let control_inode = words.next()?.parse().ok()?;
        let role = words.next().filter(|role| is_name(role))?.to_owned();
        let mut descriptors = words.map(|word| {
            let (name, number) = word.split_once('=')?;
            let number: RawFd = number.parse().ok()?;
            (is_name(name) && number > 2).then(|| (name.to_owned(), number))
        });
        let executable = descriptors.next()?.filter(|(name, _)| name == "executable")?.1;
        let control = descriptors.next()?.filter(|(name, _)| name == "control")?.1;
        let named: Vec<_> = descriptors.collect::<Option<_>>()?;
        let numbers = || {
            [executable, control]
                .into_iter()
                .chain(named.iter().map(|(_, number)| *number))
        };
        // Each number once: the child makes an owner of each.
        let ascending = numbers().zip(numbers().skip(1)).all(|(before, after)| before < after);
        ascending.then_some(Self {
            parent_pid,
            control_inode,
            role,
            executable,
            control,
            named,
        })
    }
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            parent_pid,
            control_inode,
            role,
            executable,
            control,
            named,
        } = self;
        write!(
            f,
            "{VERSION} {parent_pid} {control_inode} {role} executable={executable} control={control}"
        )?;
        named
            .iter()
            .try_for_each(|(name, number)| write!(f, " {name}={number}"))
    }
}

/// The inode of a Unix socket, which no other socket of the machine shares while it is open.
pub(super) fn socket_inode(descriptor: impl AsFd) -> Option<u64> {
    let stat = rustix::fs::fstat(&descriptor).ok()?;
    let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
    let is_ours = is_socket && rustix::net::sockopt::socket_domain(&descriptor) == Ok(AddressFamily::UNIX);
    is_ours.then_some(stat.st_ino)
}

/// Whether this can name a role or descriptor.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn announcement() -> impl Strategy<Value = Announcement> {
        let names = proptest::collection::vec("[a-z][a-z0-9_-]{0,8}", 0..5);
        (any::<u32>(), any::<u64>(), "[a-z-]{1,9}", names).prop_map(|(parent_pid, control_inode, role, names)| {
            Announcement {
                parent_pid,
                control_inode,
                role,
                executable: EXECUTABLE_FD,
                control: CONTROL_FD,
                named: names.into_iter().zip(CONTROL_FD + 1..).collect(),
            }
        })
    }

    proptest! {
        #[test]
        fn an_announcement_is_read_back_as_it_was_written(announced in announcement()) {
            prop_assert_eq!(Announcement::parse(&announced.to_string()), Some(announced));
        }

        #[test]
        fn no_text_makes_the_parser_panic_or_name_a_descriptor_twice(text in "1 [0-9]{1,3} [0-9]{1,3} w( [a-e]{1,9}=[0-9]{1,2}| executable=3| control=4){0,4}") {
            if let Some(announced) = Announcement::parse(&text) {
                prop_assert!(announced.executable > 2 && announced.executable < announced.control);
            }
        }
    }

    #[test]
    fn anything_malformed_is_no_announcement() {
        let good = "1 7 99 worker executable=3 control=4 arena=5";
        assert!(Announcement::parse(good).is_some());
        for bad in [
            "",
            "2 7 99 worker executable=3 control=4",
            "1 x 99 worker executable=3 control=4",
            "1 7 99 worker control=4 executable=3",
            "1 7 99 worker executable=4 control=4",
            "1 7 99 worker executable=3 control=4 arena=4",
            "1 7 99 worker executable=0 control=4",
            "1 7 99 worker executable=3 control=4 arena",
            "1 7 99 wor/ker executable=3 control=4",
        ] {
            assert_eq!(Announcement::parse(bad), None, "{bad}");
        }
    }
}
