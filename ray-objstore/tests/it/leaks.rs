//! What is left when everything ended: nothing.

use ray_objstore::{Client, Options, Store};

use crate::child::Child;
use crate::support::{MIB, id, key, pattern, put, wait_until};

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ours = |line: &&str| line.contains("memfd:ray-") || line.contains("/#");
    maps.lines().filter(ours).count()
}

/// Runs in a process of its own, whose descriptors are not other tests'.
pub(crate) fn leave_nothing() {
    let spill = tempfile::tempdir().unwrap();
    let before = (open_files(), threads(), mappings());
    // The last one is large enough for huge pages, where those may be had.
    for capacity in [16 << 20, 16 << 20, 256 << 20] {
        let store = Store::start(Options::new(capacity, spill.path())).unwrap();
        for job in 0..3 {
            let client = Client::new(store.connect(job, id(1), 0).unwrap()).unwrap();
            for number in 0..10 {
                put(&client, key(number), &pattern(number, 2 * MIB));
            }
            let _view = client.get(&key(3)).unwrap();
            Child::spawn("nothing", Some(store.connect(job, id(9), 0).unwrap())).succeed();
        }
        drop(store);
    }
    // A thread that was joined may be listed for a moment more.
    wait_until(|| (open_files(), threads(), mappings()) == before);
    assert_eq!(std::fs::read_dir(spill.path()).unwrap().count(), 0);
}

#[test]
fn after_store_and_clients_no_descriptor_thread_mapping_or_file_is_left() {
    Child::spawn("leaks", None).succeed();
}
