//! Object memory in huge pages: a nameless file in a tmpfs of its own that is mounted nowhere.
//!
//! Fresh memory comes in 2 MiB at a time there: a fault and a page-table entry where a plain memory file has 512, and
//! one page to give back. It needs the right to mount (root, or `CAP_SYS_ADMIN`); everyone else gets a memory file.
//!
//! Such a file cannot be sealed against shrinking, as a memory file can. That no mapping faults past its end rests on
//! this: it has no name, so only the store and the processes of one job have descriptors of it, those processes run
//! this code (see *Trust* in the crate's documentation), and nothing here changes its length after [`file`] has set
//! it. Control words, which are checked and not trusted, stay in sealed memory files.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Result;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// The size of a huge page.
pub(crate) const HUGE: u64 = 2 << 20;
/// Stores below this size are not worth memory in steps of a huge page.
const FROM_CAPACITY: u64 = 256 << 20;

/// A sparse file of `len` bytes whose memory comes in huge pages, or `None` if a memory file must do.
pub(super) fn file_for(capacity: u64, len: u64) -> Option<OwnedFd> {
    if capacity < FROM_CAPACITY {
        return None;
    }
    match file(len) {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::debug!(%error, "no huge pages for the object store: it may not mount a tmpfs");
            None
        }
    }
}

fn file(len: u64) -> Result<OwnedFd> {
    let tmpfs = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&tmpfs, "huge", "always")?;
    rustix::mount::fsconfig_set_string(&tmpfs, "size", len.next_multiple_of(HUGE).to_string())?;
    rustix::mount::fsconfig_set_string(&tmpfs, "mode", "0700")?;
    rustix::mount::fsconfig_create(&tmpfs)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = rustix::mount::fsmount(&tmpfs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&mount, ".", flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::ftruncate(&file, len)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::{Segment, reserve};
    use super::*;

    fn resident(segment: &Segment) -> u64 {
        rustix::fs::fstat(segment.fd()).unwrap().st_blocks as u64 * 512
    }

    #[test]
    fn small_stores_get_plain_pages() {
        assert!(file_for(FROM_CAPACITY - 1, 64 << 20).is_none());
    }

    #[test]
    fn memory_comes_and_goes_with_what_is_reserved_and_punched() {
        let segment = Segment::new(FROM_CAPACITY, 1 << 40).unwrap();
        assert_eq!(resident(&segment), 0);
        reserve(segment.fd().as_fd(), 8 << 20, 5 << 20).unwrap();
        assert!((5 << 20..=8 << 20).contains(&resident(&segment)));
        segment.write_at(8 << 20, &[7; 5000]).unwrap();
        // A part of a huge page too.
        segment.punch(8 << 20, 4096).unwrap();
        let mut bytes = [1; 5000];
        segment.read_at(8 << 20, &mut bytes).unwrap();
        assert_eq!((bytes[4095], bytes[4096]), (0, 7));
        segment.punch(8 << 20, 8 << 20).unwrap();
        assert_eq!(resident(&segment), 0);
    }

    #[test]
    fn memory_that_is_not_there_is_an_error_and_not_a_signal() {
        let segment = Segment::new(FROM_CAPACITY, 1 << 20).unwrap();
        // More than the file may have stands for more than the machine has.
        assert!(reserve(segment.fd().as_fd(), 0, 1 << 40).is_err());
        assert!(resident(&segment) <= HUGE);
    }
}
