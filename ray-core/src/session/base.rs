//! The directory that holds a user's sessions, and how directories are opened safely in it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Error;

/// Only the owner may look inside.
pub(super) const PRIVATE: Mode = Mode::RWXU;
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An open directory that holds sessions.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) path: PathBuf,
    pub(super) directory: OwnedFd,
}

impl Base {
    pub(super) fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self {
            path: self.path.clone(),
            directory: self.directory.try_clone()?,
        })
    }

    /// `RAY_TMPDIR` if set; else `/tmp/ray` if it is or can be this user's; else `/tmp/ray-<uid>`.
    pub(super) fn open(configured: Option<&Path>) -> Result<Self, Error> {
        if let Some(path) = configured {
            return Self::open_configured(path);
        }
        let own = PathBuf::from(format!("/tmp/ray-{}", rustix::process::geteuid().as_raw()));
        Self::open_first_owned([PathBuf::from("/tmp/ray"), own])
    }

    /// The first of these directories that is, or can be, this user's alone.
    fn open_first_owned(paths: [PathBuf; 2]) -> Result<Self, Error> {
        let [first, second] = paths;
        Self::open_owned(first).or_else(|_not_ours| Self::open_owned(second))
    }

    fn open_owned(path: PathBuf) -> Result<Self, Error> {
        match rustix::fs::mkdir(&path, PRIVATE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("create", &path, errno)),
        }
        let directory = open_directory(rustix::fs::CWD, &path, &path)?;
        make_private(&directory, &path)?;
        Ok(Self { path, directory })
    }

    /// A directory of the user's choice may be shared with others: only what is made inside it is private.
    fn open_configured(path: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE.bits())
            .create(path);
        made.map_err(|source| Error::Io {
            action: "create",
            path: path.to_owned(),
            source,
        })?;
        // Without links from here on, so that the directory stays the one that was checked.
        let path = path.canonicalize().map_err(|source| Error::Io {
            action: "find",
            path: path.to_owned(),
            source,
        })?;
        let directory = open_directory(rustix::fs::CWD, &path, &path)?;
        let stat = rustix::fs::fstat(&directory).map_err(|errno| failed("examine", &path, errno))?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
            let why = "everybody may replace files in it (it is world-writable without the sticky bit)";
            return Err(Error::NotOurs { path, why });
        }
        Ok(Self { path, directory })
    }
}

/// Opens a directory that is no link. `shown_as` is its full path, for errors.
pub(super) fn open_directory(parent: impl AsFd, name: &Path, shown_as: &Path) -> Result<OwnedFd, Error> {
    let not_ours = |why| Error::NotOurs {
        path: shown_as.to_owned(),
        why,
    };
    rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()).map_err(|errno| match errno {
        // Linux says `ENOTDIR` for a link where a directory was asked for.
        Errno::LOOP | Errno::NOTDIR => not_ours("it is a link or no directory"),
        Errno::ACCESS => not_ours("it belongs to another user"),
        errno => failed("open", shown_as, errno),
    })
}

/// Makes an open directory this user's alone, or fails if it is another's (SE-1).
pub(super) fn make_private(directory: &OwnedFd, path: &Path) -> Result<(), Error> {
    let stat = rustix::fs::fstat(directory).map_err(|errno| failed("examine", path, errno))?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Error::NotOurs {
            path: path.to_owned(),
            why: "it belongs to another user",
        });
    }
    if Mode::from_raw_mode(stat.st_mode) != PRIVATE {
        rustix::fs::fchmod(directory, PRIVATE).map_err(|errno| failed("make private", path, errno))?;
    }
    Ok(())
}

/// Makes a link in an open directory point to `name`, in one step.
pub(super) fn point_to(base: &OwnedFd, link: &str, name: &str) -> Result<(), Errno> {
    match rustix::fs::statat(base, link, AtFlags::SYMLINK_NOFOLLOW) {
        // Somebody's own file of that name stays.
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink => return Err(Errno::EXIST),
        _ => {}
    }
    let next = format!(".{link}.{name}");
    rustix::fs::symlinkat(name, base, next.as_str())?;
    rustix::fs::renameat(base, next.as_str(), base, link)
}

/// Makes a directory in an open one, and opens it.
pub(super) fn make_directory(parent: impl AsFd, name: &str, shown_as: &Path) -> Result<OwnedFd, Error> {
    rustix::fs::mkdirat(parent.as_fd(), name, PRIVATE).map_err(|errno| failed("create", shown_as, errno))?;
    let directory = open_directory(parent, Path::new(name), shown_as)?;
    // The creation mask may have taken bits away; and it must be the one just made.
    make_private(&directory, shown_as)?;
    Ok(directory)
}

pub(super) fn failed(action: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Io {
        action,
        path: path.to_owned(),
        source: errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn se_1_a_link_in_the_place_of_the_directory_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let (target, link, own) = (
            place.path().join("target"),
            place.path().join("ray"),
            place.path().join("ray-1"),
        );
        std::fs::create_dir(&target).unwrap();
        symlink(&target, &link).unwrap();
        let error = Base::open_owned(link.clone()).unwrap_err();
        assert!(error.to_string().contains("RAY_TMPDIR"), "{error}");
        let base = Base::open_first_owned([link, own.clone()]).unwrap();
        assert_eq!(base.path, own);
        assert_eq!(std::fs::read_dir(target).unwrap().count(), 0);
    }

    #[test]
    fn se_1_a_directory_of_ours_becomes_private() {
        let place = tempfile::tempdir().unwrap();
        let open = place.path().join("ray");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        Base::open_owned(open.clone()).unwrap();
        assert_eq!(mode(&open), 0o700);
    }

    #[test]
    fn se_1_another_users_directory_is_refused() {
        let others = Path::new("/proc/1");
        let uid = std::fs::metadata(others).unwrap().uid();
        let directory = open_directory(rustix::fs::CWD, others, others).unwrap();
        // Run by root every such directory is our own, and /proc cannot be made private.
        let error = make_private(&directory, others).unwrap_err();
        if uid != rustix::process::geteuid().as_raw() {
            assert!(matches!(error, Error::NotOurs { .. }), "{error}");
        }
    }

    #[test]
    fn a_configured_directory_is_made_with_its_parents_and_may_not_be_replaceable_by_all() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("a/b");
        let base = Base::open(Some(&deep)).unwrap();
        assert_eq!(base.path, deep.canonicalize().unwrap());
        std::fs::set_permissions(&deep, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Base::open(Some(&deep)).is_err());
        std::fs::set_permissions(&deep, PermissionsExt::from_mode(0o1777)).unwrap();
        Base::open(Some(&deep)).unwrap();
        assert_eq!(mode(&deep), 0o1777, "a shared directory stays shared");
    }
}
