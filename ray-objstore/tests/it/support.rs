//! What the tests share.

use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;
use std::time::Duration;

use ray_objstore::{Client, ClientId, Key, Options, Store};
use tempfile::TempDir;

/// A store with a spill directory of its own.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) spill: TempDir,
    _watchdog: Watchdog,
}

pub(crate) const MIB: usize = 1 << 20;

pub(crate) fn fixture(capacity: usize) -> Fixture {
    fixture_with(capacity, |_| {})
}

pub(crate) fn fixture_with(capacity: usize, change: impl FnOnce(&mut Options)) -> Fixture {
    let spill = tempfile::tempdir().unwrap();
    let mut options = Options::new(capacity as u64, spill.path());
    change(&mut options);
    Fixture {
        store: Store::start(options).unwrap(),
        spill,
        _watchdog: Watchdog::start(),
    }
}

impl Fixture {
    pub(crate) fn client(&self, number: u8) -> Client {
        Client::new(self.store.connect(1, id(number), std::process::id()).unwrap()).unwrap()
    }
}

pub(crate) fn id(number: u8) -> ClientId {
    ClientId([number; 16])
}

pub(crate) fn key(number: u32) -> Key {
    let mut bytes = [1; 20];
    bytes[16..].copy_from_slice(&number.to_be_bytes());
    Key(bytes)
}

pub(crate) fn put(client: &Client, key: Key, bytes: &[u8]) {
    let mut writer = client.create(key, bytes.len()).unwrap();
    writer.copy_from_slice(bytes);
    writer.seal().unwrap();
}

/// Bytes that differ from number to number and place to place.
pub(crate) fn pattern(number: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Waits for what another thread or process brings about; the watchdog bounds it.
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Bytes of object memory that this process's segments have from the kernel.
pub(crate) fn resident_object_bytes() -> u64 {
    let mut seen = std::collections::HashMap::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().contains("memfd:ray-objects")
            && let Ok(metadata) = std::fs::metadata(entry.path())
        {
            seen.insert(metadata.ino(), metadata.blocks() * 512);
        }
    }
    seen.values().sum()
}

/// Ends the process if a test hangs.
pub(crate) struct Watchdog(#[expect(dead_code, reason = "dropping it disarms the thread")] mpsc::Sender<()>);

impl Watchdog {
    pub(crate) fn start() -> Self {
        let (disarm, disarmed) = mpsc::channel::<()>();
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        std::thread::spawn(move || {
            if disarmed.recv_timeout(Duration::from_secs(300)) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("watchdog: {name} hangs");
                std::process::abort();
            }
        });
        Self(disarm)
    }
}

/// A test that cannot run here says so, or fails where everything must run.
pub(crate) fn skip(needs: &str) {
    assert!(
        std::env::var_os("RAY_TEST_REQUIRE_ALL").is_none_or(|all| all != "1"),
        "cannot run: needs {needs}"
    );
    eprintln!("skipped: needs {needs}");
}
