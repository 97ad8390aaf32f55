//! A directory of saved states.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::{PlaceError, first_whole, name_of, number_in};
use crate::worker::execute::actor::record::Record;

const UNFINISHED: &str = "unfinished";
const LOCK: &str = "lock";
pub(super) const ANEW: &str = "remove the directory";

/// The directory. A process that uses it holds its lock, where the file system has locks (CK-4).
#[derive(Debug)]
pub(in crate::worker::execute::actor) struct Directory {
    directory: PathBuf,
    _lock: File,
    /// The number of the last state, damaged ones included.
    last: u64,
    /// The last that was written or read whole.
    whole: Option<u64>,
}

impl Directory {
    /// Opens the directory, and makes it if it is not there. Another process may use it for that long (CK-4).
    pub(super) fn open(place: &Path, key: &str, patience: Duration) -> Result<Self, PlaceError> {
        let directory = place.join(key);
        let failed = |source| PlaceError::Io {
            at: directory.display().to_string(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed)?;
        let lock = private().create(true).truncate(false).open(directory.join(LOCK));
        let lock = lock.map_err(failed)?;
        wait_for_lock(&lock, &directory, patience)?;
        let last = numbers(&directory).map_err(failed)?.last().copied().unwrap_or_default();
        Ok(Self {
            directory,
            _lock: lock,
            last,
            whole: None,
        })
    }

    pub(super) fn file(&self, number: u64) -> PathBuf {
        self.directory.join(name_of(number))
    }

    pub(super) fn newest(&mut self) -> Result<Option<Record>, PlaceError> {
        let failed = |path: &Path, source| PlaceError::Io {
            at: path.display().to_string(),
            source,
        };
        let numbers = numbers(&self.directory).map_err(|error| failed(&self.directory, error))?;
        let at = || self.directory.display().to_string();
        let newest = first_whole(at, ANEW, numbers.into_iter().rev(), |number| {
            let path = self.file(number);
            let bytes = std::fs::read(&path).map_err(|error| failed(&path, error))?;
            Ok(Some((bytes.into(), path.display().to_string())))
        })?;
        self.whole = newest.as_ref().map(|record| record.number);
        Ok(newest)
    }

    pub(super) fn write(&mut self, mut record: Record) -> Result<(), String> {
        record.number = self.last.saturating_add(1);
        let path = self.file(record.number);
        let unfinished = self.directory.join(UNFINISHED);
        let written = write_whole(&unfinished, &record.to_bytes())
            .and_then(|()| std::fs::rename(&unfinished, &path))
            .and_then(|()| File::open(&self.directory)?.sync_all());
        if let Err(error) = written {
            // It takes room, perhaps all there is; if it stays, the next save writes over it.
            let _gone = std::fs::remove_file(&unfinished);
            return Err(format!("cannot be saved: {}: {error}", path.display()));
        }
        let before = self.whole.replace(record.number);
        self.last = record.number;
        self.remove_all_but(record.number, before);
        Ok(())
    }

    /// CK-3. What cannot be removed now is removed after a later save.
    fn remove_all_but(&self, newest: u64, before: Option<u64>) {
        let numbers = numbers(&self.directory).unwrap_or_default();
        for number in numbers.into_iter().filter(|number| *number < newest) {
            if before.is_some_and(|before| before != number)
                && let Err(error) = std::fs::remove_file(self.file(number))
            {
                tracing::debug!(target: "ray_core::worker", %error, number, "an old state of an actor stays");
            }
        }
    }

    pub(super) fn remove(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::debug!(target: "ray_core::worker", %error, "the states of an actor that has ended stay");
        }
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private().create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The numbers of the states in a directory, in order.
fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(number_in));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// CK-4.
fn wait_for_lock(lock: &File, directory: &Path, patience: Duration) -> Result<(), PlaceError> {
    let begun = Instant::now();
    loop {
        match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
            // Network file systems may have no locks.
            Ok(()) | Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) if begun.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                let at = directory.display().to_string();
                return Err(PlaceError::InUse { at });
            }
            Err(errno) => {
                return Err(PlaceError::Io {
                    at: directory.join(LOCK).display().to_string(),
                    source: errno.into(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::ActorId;

    fn save(place: &mut Directory, state: &'static str) {
        let record = Record {
            number: 0,
            actor: ActorId::default(),
            type_name: "Counter".into(),
            state: Bytes::from_static(state.as_bytes()),
            calls: Bytes::new(),
        };
        place.write(record).unwrap();
    }

    fn open(base: &Path) -> Result<Directory, PlaceError> {
        Directory::open(base, "key", Duration::ZERO)
    }

    #[test]
    fn ck_4_a_directory_in_use_is_an_error_and_free_when_its_user_is_gone() {
        let base = tempfile::tempdir().unwrap();
        let place = open(base.path()).unwrap();
        let error = open(base.path()).unwrap_err();
        assert!(matches!(error, PlaceError::InUse { .. }), "{error}");
        drop(place);
        open(base.path()).unwrap();
    }

    fn newest(place: &mut Directory) -> Bytes {
        place.newest().unwrap().unwrap().state
    }

    fn damage(place: &Directory, number: u64) {
        let path = place.file(number);
        let mut file = std::fs::read(&path).unwrap();
        *file.last_mut().unwrap() ^= 0xff;
        std::fs::write(path, file).unwrap();
    }

    #[test]
    fn the_newest_and_the_one_before_are_kept() {
        let base = tempfile::tempdir().unwrap();
        let mut place = open(base.path()).unwrap();
        assert!(place.newest().unwrap().is_none());
        for state in ["one", "two", "three"] {
            save(&mut place, state);
        }
        assert_eq!(numbers(&place.directory).unwrap(), [2, 3]);
        drop(place);
        let mut place = open(base.path()).unwrap();
        assert_eq!(newest(&mut place), "three");
        save(&mut place, "four");
        assert_eq!(numbers(&place.directory).unwrap(), [3, 4]);
    }

    #[test]
    fn ck_3_a_damaged_state_is_passed_over_and_never_counts_as_the_one_before() {
        let base = tempfile::tempdir().unwrap();
        let mut place = open(base.path()).unwrap();
        save(&mut place, "one");
        save(&mut place, "two");
        damage(&place, 2);
        drop(place);
        let mut place = open(base.path()).unwrap();
        assert_eq!(newest(&mut place), "one");
        save(&mut place, "three");
        assert_eq!(numbers(&place.directory).unwrap(), [1, 3]);
        damage(&place, 3);
        assert_eq!(newest(&mut place), "one");
        damage(&place, 1);
        let error = place.newest().unwrap_err().to_string();
        assert!(
            error.contains("00001.state") && error.contains("00003.state"),
            "{error}"
        );
    }

    #[test]
    fn ck_2_what_was_left_unfinished_is_no_state() {
        let base = tempfile::tempdir().unwrap();
        let mut place = open(base.path()).unwrap();
        save(&mut place, "one");
        std::fs::write(place.directory.join(UNFINISHED), "half").unwrap();
        assert_eq!(newest(&mut place), "one");
        save(&mut place, "two");
        assert!(!place.directory.join(UNFINISHED).exists());
    }

    #[test]
    fn a_state_of_another_format_is_neither_passed_over_nor_removed() {
        let base = tempfile::tempdir().unwrap();
        let mut place = open(base.path()).unwrap();
        save(&mut place, "one");
        save(&mut place, "two");
        let path = place.file(2);
        let mut file = std::fs::read(&path).unwrap();
        file[8] = 9;
        std::fs::write(&path, file).unwrap();
        let error = place.newest().unwrap_err();
        assert!(matches!(error, PlaceError::Foreign { .. }), "{error}");
    }
}
