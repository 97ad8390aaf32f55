//! Stores large enough for huge pages, where those may be had.

use std::time::Duration;

use crate::child::Child;
use crate::support::{MIB, fixture, fixture_with, id, key, pattern, put, wait_until};

#[test]
fn large_and_small_objects_are_bit_equal_in_every_process() {
    let fixture = fixture(512 * MIB);
    let client = fixture.client(1);
    put(&client, key(1), &pattern(1, 3 * MIB));
    Child::spawn("exchange", Some(fixture.store.connect(1, id(2), 0).unwrap())).succeed();
    assert_eq!(client.get(&key(2)).unwrap()[..], pattern(2, 5 * MIB)[..]);
    assert_eq!(client.get(&key(3)).unwrap()[..], b"small"[..]);
    let value = pattern(4, 40 * MIB + 123);
    for _ in 0..2 {
        let mut writer = client.create(key(4), value.len()).unwrap();
        writer.write_parallel(0, &value).unwrap();
        let view = writer.seal().unwrap();
        assert!(view[..] == value[..]);
        drop(view);
        client.free(&[key(4)]);
        wait_until(|| fixture.store.report().objects.len() == 3);
    }
}

#[test]
fn memory_given_back_comes_again_as_fresh_memory() {
    let fixture = fixture_with(256 * MIB, |options| options.reuse = Duration::from_millis(20));
    let client = fixture.client(1);
    for number in 0..4 {
        // Neither starts nor ends with a huge page.
        let value = pattern(number, 5 * MIB + 77);
        put(&client, key(100), &pattern(100, 2 * MIB - 4096));
        put(&client, key(number), &value);
        assert!(client.get(&key(number)).unwrap()[..] == value[..]);
        client.free(&[key(number)]);
        wait_until(|| fixture.store.report().objects.len() == 1 && fixture.store.report().idle == 0);
        assert_eq!(client.get(&key(100)).unwrap()[..], pattern(100, 2 * MIB - 4096)[..]);
    }
}
