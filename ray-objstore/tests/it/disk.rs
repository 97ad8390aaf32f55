//! Spilling and restoring.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ray_objstore::{Client, Error, ObjectState, Options, Store};

use crate::child::Child;
use crate::support::{
    Fixture, MIB, fixture, fixture_with, id, key, pattern, put, resident_object_bytes, skip, wait_until,
};

fn spill_files(dir: &Path) -> Vec<PathBuf> {
    let own = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    own.flat_map(|dir| std::fs::read_dir(dir).unwrap().flatten())
        .map(|entry| entry.path())
        .collect()
}

fn bytes_in(fixture: &Fixture, wanted: ObjectState) -> u64 {
    fixture
        .store
        .report()
        .objects
        .iter()
        .filter(|object| object.state == wanted)
        .map(|object| object.size)
        .sum()
}

/// Runs in a process of its own, whose memory is not other tests'.
pub(crate) fn a_gibibyte_through_64_mebibytes() {
    const OBJECTS: u32 = 512;
    const SIZE: usize = 2 * MIB;
    let fixture = fixture_with(64 * MIB, |options| options.wait = Duration::from_secs(120));
    let client = fixture.client(1);
    let check = || {
        let resident = resident_object_bytes();
        assert!(resident <= 64 * MIB as u64 + 64 * 1024, "{resident} bytes resident");
    };
    for number in 0..OBJECTS {
        let mut writer = client.create(key(number), SIZE).unwrap();
        writer.copy_from_slice(&pattern(number, SIZE));
        writer.seal().unwrap();
        check();
    }
    let mut number = 7u32;
    for _ in 0..OBJECTS {
        number = number.wrapping_mul(1_103_515_245).wrapping_add(12_345) % OBJECTS;
        assert_eq!(client.get(&key(number)).unwrap()[..], pattern(number, SIZE)[..]);
        check();
    }
    let keys: Vec<_> = (0..OBJECTS).map(key).collect();
    client.free(&keys);
    wait_until(|| spill_files(fixture.spill.path()).is_empty() && fixture.store.report().objects.is_empty());
}

#[test]
fn a_gibibyte_of_live_objects_goes_through_64_mebibytes_of_memory_bit_equal() {
    Child::spawn("resident", None).succeed();
}

#[test]
fn a_pinned_object_is_neither_moved_nor_freed_however_full_the_store() {
    let fixture = fixture(16 * MIB);
    let client = fixture.client(1);
    put(&client, key(0), &pattern(0, 2 * MIB));
    let view = client.get(&key(0)).unwrap();
    for number in 1..40 {
        put(&client, key(number), &pattern(number, 2 * MIB));
    }
    assert_eq!(client.try_get(&key(0)).unwrap().unwrap().as_ptr(), view.as_ptr());
    assert_eq!(view[..], pattern(0, 2 * MIB)[..]);
    for number in (1..40).rev() {
        assert_eq!(client.get(&key(number)).unwrap()[..], pattern(number, 2 * MIB)[..]);
    }
    assert_eq!(view[..], pattern(0, 2 * MIB)[..]);
}

#[test]
fn above_the_threshold_objects_are_spilled_before_the_store_is_full() {
    let fixture = fixture_with(16 * MIB, |options| options.spill_threshold = 0.5);
    let client = fixture.client(1);
    for number in 0..7 {
        put(&client, key(number), &pattern(number, 2 * MIB));
    }
    wait_until(|| bytes_in(&fixture, ObjectState::Sealed) <= 8 << 20);
    assert!(client.contains(&key(0)).unwrap() && client.try_get(&key(0)).unwrap().is_none());
}

/// A store that has spilled object 0.
fn spilled(fixture: &Fixture) -> Client {
    let client = fixture.client(1);
    for number in 0..10 {
        put(&client, key(number), &pattern(number, 2 * MIB));
    }
    wait_until(|| client.try_get(&key(0)).unwrap().is_none());
    client
}

#[test]
fn a_spill_file_that_is_missing_or_damaged_makes_its_objects_lost() {
    let fixture = fixture(16 * MIB);
    let client = spilled(&fixture);
    for path in spill_files(fixture.spill.path()) {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(&[0xab; 64], 1000).unwrap();
    }
    assert!(matches!(client.get(&key(0)), Err(Error::Lost { .. })));
    assert!(!client.contains(&key(0)).unwrap());
    // Made again, it is there again.
    put(&client, key(0), &pattern(0, 2 * MIB));
    assert_eq!(client.get(&key(0)).unwrap()[..], pattern(0, 2 * MIB)[..]);

    let missing = (1..10)
        .find(|number| client.try_get(&key(*number)).unwrap().is_none())
        .unwrap();
    spill_files(fixture.spill.path())
        .iter()
        .for_each(|path| std::fs::remove_file(path).unwrap());
    assert!(matches!(client.get(&key(missing)), Err(Error::Lost { .. })));
}

#[test]
fn several_readers_wait_for_one_restore() {
    let fixture = fixture(16 * MIB);
    let client = spilled(&fixture);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(client.get(&key(0)).unwrap()[..], pattern(0, 2 * MIB)[..]));
        }
    });
}

#[test]
fn a_spilled_object_is_freed_with_its_file() {
    let fixture = fixture(16 * MIB);
    let client = spilled(&fixture);
    client.free(&(0..10).map(key).collect::<Vec<_>>());
    wait_until(|| spill_files(fixture.spill.path()).is_empty() && fixture.store.report().objects.is_empty());
    assert!(matches!(client.get(&key(0)), Err(Error::NotFound { .. })));
}

#[test]
fn dropping_the_store_removes_its_spill_files() {
    let fixture = fixture(16 * MIB);
    let client = spilled(&fixture);
    let Fixture { store, spill, .. } = fixture;
    drop(store);
    assert_eq!(std::fs::read_dir(spill.path()).unwrap().count(), 0);
    drop(client);
}

struct Mounted(tempfile::TempDir);

impl Mounted {
    fn tmpfs(bytes: usize) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", dir.path(), "tmpfs", flags, Some(options.as_c_str())).ok()?;
        Some(Self(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH).ok();
    }
}

#[test]
fn a_full_disk_is_an_error_that_says_so_and_loses_nothing() {
    let Some(disk) = Mounted::tmpfs(4 * MIB) else {
        return skip("the right to mount a small tmpfs");
    };
    let mut options = Options::new(16 << 20, disk.0.path());
    options.wait = Duration::from_secs(3);
    let store = Store::start(options).unwrap();
    let client = Client::new(store.connect(1, id(1), 0).unwrap()).unwrap();
    let mut sealed = 0;
    let error = loop {
        match client.create(key(sealed), 2 * MIB) {
            Ok(mut writer) => writer.copy_from_slice(&pattern(sealed, 2 * MIB)),
            Err(error) => break error,
        }
        put(&client, key(sealed), &pattern(sealed, 2 * MIB));
        sealed += 1;
    };
    let Error::Full {
        spill_error: Some(reason),
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(reason.contains("No space left"), "{reason}");
    assert!(sealed >= 7);
    // Everything is still readable, what is on disk as soon as there is room to bring it back.
    let in_memory = (0..sealed)
        .rev()
        .find(|number| client.try_get(&key(*number)).unwrap().is_some())
        .unwrap();
    client.free(&[key(in_memory)]);
    for number in (0..sealed).filter(|number| *number != in_memory) {
        assert_eq!(client.get(&key(number)).unwrap()[..], pattern(number, 2 * MIB)[..]);
    }
}
