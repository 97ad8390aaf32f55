//! Clients in processes of their own, and their deaths.

use ray_objstore::{Client, Error, ObjectState};

use crate::child::Child;
use crate::support::{MIB, fixture, id, key, pattern, put, wait_until};

#[test]
fn processes_read_in_place_what_the_other_sealed() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    put(&client, key(1), &pattern(1, 3 * MIB));
    let socket = fixture.store.connect(1, id(2), 0).unwrap();
    Child::spawn("exchange", Some(socket)).succeed();
    assert_eq!(client.get(&key(2)).unwrap()[..], pattern(2, 5 * MIB)[..]);
    assert_eq!(client.get(&key(3)).unwrap()[..], b"small"[..]);
}

#[test]
fn the_pins_of_a_killed_process_hold_until_its_death_is_reported() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    put(&client, key(1), &pattern(1, 3 * MIB));
    let mut child = Child::spawn("pin", Some(fixture.store.connect(1, id(2), 77).unwrap()));
    child.expect("pinned");
    client.free(&[key(1)]);
    wait_until(|| fixture.store.report().objects[0].state == ObjectState::Dying);
    child.kill();
    let report = fixture.store.report();
    assert_eq!(
        report.objects[0]
            .pins
            .iter()
            .map(|pin| (pin.pid, pin.count))
            .collect::<Vec<_>>(),
        [(77, 1)]
    );
    fixture.store.client_died(id(2));
    assert!(fixture.store.report().objects.is_empty());
    assert!(matches!(client.get(&key(1)), Err(Error::NotFound { .. })));
}

#[test]
fn the_unsealed_creations_of_a_killed_process_are_dropped() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    let mut child = Child::spawn("create", Some(fixture.store.connect(1, id(2), 77).unwrap()));
    child.expect("created");
    assert_eq!(fixture.store.report().usage.creating, 8 * MIB as u64);
    child.kill();
    fixture.store.client_died(id(2));
    assert_eq!(fixture.store.report().usage.creating, 0);
    assert!(matches!(client.get(&key(1)), Err(Error::NotFound { .. })));
    // The whole store is there again.
    put(&client, key(1), &pattern(1, 60 * MIB));
}

#[test]
fn a_client_killed_at_any_moment_leaves_the_store_whole() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    put(&client, key(1000), &pattern(1000, MIB));
    for round in 0..12u8 {
        let mut child = Child::spawn("churn", Some(fixture.store.connect(1, id(2), 0).unwrap()));
        child.expect("started");
        for number in 0..u32::from(round) * 10 {
            put(&client, key(2000 + number % 7), &pattern(number, 3000));
        }
        child.kill();
        fixture.store.client_died(id(2));
    }
    assert_eq!(client.get(&key(1000)).unwrap()[..], pattern(1000, MIB)[..]);
    fixture.store.free_owned_by(key(0).owner_prefix());
    wait_until(|| fixture.store.report().objects.is_empty());
    assert_eq!(
        fixture.store.report().usage.sealed + fixture.store.report().usage.creating,
        0
    );
}

#[test]
fn a_client_sees_only_the_objects_of_its_own_job() {
    let fixture = fixture(64 * MIB);
    put(&fixture.client(1), key(1), b"of job 1");
    let other = Client::new(fixture.store.connect(2, id(2), 0).unwrap()).unwrap();
    assert!(matches!(other.get(&key(1)), Err(Error::NotFound { .. })));
    put(&other, key(1), b"of job 2");
    assert_eq!(other.get(&key(1)).unwrap()[..], b"of job 2"[..]);
    assert_eq!(fixture.client(3).get(&key(1)).unwrap()[..], b"of job 1"[..]);
}
