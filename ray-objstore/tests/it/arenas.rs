//! Small objects, which processes create, seal and free on their own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ray_objstore::{Error, ObjectState, Report};

use crate::child::Child;
use crate::support::{MIB, fixture, fixture_with, id, key, pattern, put, wait_until};

/// Bytes that the store accounts for: all of them in one of the states.
fn accounted(report: &Report) -> u64 {
    let usage = &report.usage;
    usage.creating + usage.sealed + usage.dying + usage.arenas
}

#[test]
fn an_object_of_another_process_is_read_as_soon_as_it_is_sealed() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    let mut child = Child::spawn("publish", Some(fixture.store.connect(1, id(2), 0).unwrap()));
    child.expect("sealed");
    for number in 0..100 {
        let view = client.get(&key(number)).unwrap();
        assert_eq!(view[..], pattern(number, 1000 + number as usize)[..]);
        // From now on without a question.
        assert!(client.try_get(&key(number)).unwrap().is_some());
    }
}

#[test]
fn the_report_accounts_for_every_byte_of_an_arena() {
    let fixture = fixture(64 * MIB);
    let (client, other) = (fixture.client(1), fixture.client(2));
    let writer = client.create(key(0), 1000).unwrap();
    assert_eq!(fixture.store.report().usage.creating, 1024);
    for number in 1..11 {
        put(&client, key(number), &pattern(number, 100));
    }
    let report = fixture.store.report();
    assert_eq!((report.usage.sealed, report.usage.creating), (10 * 128, 1024));
    assert_eq!(report.usage.arenas, (1 << 20) - 1024 - 10 * 128);
    drop(writer);
    let view = other.get(&key(1)).unwrap();
    client.free(&(1..11).map(key).collect::<Vec<_>>());
    wait_until(|| fixture.store.report().usage.sealed == 0);
    let usage = fixture.store.report().usage;
    assert_eq!((usage.creating, usage.dying), (0, 128));
    assert_eq!(usage.arenas, (1 << 20) - 10 * 128);
    assert_eq!(view[..], pattern(1, 100)[..]);
    drop((view, client));
    wait_until(|| accounted(&fixture.store.report()) == 0);
}

#[test]
fn objects_of_full_arenas_live_on_and_their_memory_comes_back_object_by_object() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    let size = 30_000;
    for number in 0..200 {
        put(&client, key(number), &pattern(number, size));
    }
    client.free(&(0..200).filter(|number| number % 2 == 0).map(key).collect::<Vec<_>>());
    wait_until(|| fixture.store.report().objects.len() == 100);
    let usage = fixture.store.report().usage;
    assert_eq!(usage.sealed, 100 * size.next_multiple_of(64) as u64);
    assert!(usage.arenas <= 1 << 20, "{usage}");
    for number in (0..200).filter(|number| number % 2 == 1) {
        assert_eq!(client.get(&key(number)).unwrap()[..], pattern(number, size)[..]);
    }
}

#[test]
fn memory_short_calls_arenas_back_and_nothing_published_is_lost() {
    let fixture = fixture(64 * MIB);
    let (client, other) = (fixture.client(1), fixture.client(2));
    put(&client, key(1), b"first");
    put(&other, key(2), b"second");
    let writer = other.create(key(3), 7).unwrap();
    assert!(fixture.store.report().usage.arenas > MIB as u64);
    // Leaves no room for two arenas, but for what is in them.
    let large = client.create(key(4), 62 * MIB + MIB / 2).unwrap();
    let usage = fixture.store.report().usage;
    assert!(
        usage.arenas <= 1 << 20,
        "only the arena that is written in stays: {usage}"
    );
    drop(large);
    drop(writer);
    let large = client.create(key(4), 63 * MIB).unwrap();
    assert_eq!(fixture.store.report().usage.arenas, 0);
    drop(large);
    assert_eq!(client.get(&key(2)).unwrap()[..], b"second"[..]);
    assert_eq!(other.get(&key(1)).unwrap()[..], b"first"[..]);
    put(&client, key(5), b"again");
    assert_eq!(other.get(&key(5)).unwrap()[..], b"again"[..]);
}

#[test]
fn at_most_a_sixteenth_of_the_store_is_leased_and_others_still_put() {
    let fixture = fixture(32 * MIB);
    let clients: Vec<_> = (0..5).map(|number| fixture.client(number)).collect();
    for (number, client) in clients.iter().enumerate() {
        put(client, key(number as u32), b"small");
    }
    let report = fixture.store.report();
    assert_eq!(accounted(&report), (2 << 20) + 3 * 64);
    for number in 0..5 {
        assert_eq!(clients[0].get(&key(number)).unwrap()[..], b"small"[..]);
    }
}

#[test]
fn an_arena_that_lies_idle_goes_back_and_its_objects_stay() {
    let fixture = fixture_with(64 * MIB, |options| options.reuse = Duration::from_millis(20));
    let client = fixture.client(1);
    put(&client, key(1), b"stays");
    wait_until(|| fixture.store.report().usage.arenas == 0);
    assert_eq!(fixture.store.report().usage.sealed, 64);
    assert_eq!(fixture.client(2).get(&key(1)).unwrap()[..], b"stays"[..]);
    put(&client, key(2), b"and goes on");
    assert_eq!(client.try_get(&key(2)).unwrap().unwrap()[..], b"and goes on"[..]);
}

#[test]
fn ar3_of_two_seals_of_one_key_the_later_one_is_read_by_all() {
    let fixture = fixture(64 * MIB);
    let (client, other) = (fixture.client(1), fixture.client(2));
    // Not taken over yet when it is replaced.
    let (late, mut early) = (client.create(key(1), 3).unwrap(), client.create(key(1), 5).unwrap());
    early.copy_from_slice(b"early");
    early.seal().unwrap();
    let mut late = late;
    late.copy_from_slice(b"new");
    late.seal().unwrap();
    assert_eq!(other.get(&key(1)).unwrap()[..], b"new"[..]);
    // In the index when it is replaced.
    put(&other, key(1), b"of the other");
    assert_eq!(client.try_get(&key(1)).unwrap().unwrap()[..], b"of the other"[..]);
    // By a large one.
    put(&client, key(1), b"small");
    put(&other, key(1), &pattern(1, 2 * MIB));
    assert_eq!(fixture.client(3).get(&key(1)).unwrap().len(), 2 * MIB);
    client.free(&[key(1)]);
    wait_until(|| fixture.store.report().objects.is_empty());
    assert!(matches!(other.get(&key(1)), Err(Error::NotFound { .. })));
}

#[test]
fn a_free_by_another_process_reaches_what_is_published_and_what_is_being_written() {
    let fixture = fixture(64 * MIB);
    let (client, other) = (fixture.client(1), fixture.client(2));
    put(&client, key(1), b"published");
    let mut writer = client.create(key(2), 7).unwrap();
    writer.copy_from_slice(b"written");
    other.free(&[key(1), key(2)]);
    assert!(!other.contains(&key(1)).unwrap());
    let view = writer.seal().unwrap();
    assert!(client.try_get(&key(2)).unwrap().is_none() && client.try_get(&key(1)).unwrap().is_none());
    assert_eq!(view[..], b"written"[..]);
    drop(view);
    wait_until(|| fixture.store.report().objects.is_empty());
    put(&client, key(3), b"of a dead owner");
    let _writer = client.create(key(4), 3).unwrap();
    fixture.store.free_owned_by(key(0).owner_prefix());
    assert!(matches!(other.get(&key(3)), Err(Error::NotFound { .. })));
}

#[test]
fn a_view_from_before_the_handover_keeps_its_bytes_after_a_foreign_free() {
    let fixture = fixture(64 * MIB);
    let (client, other) = (fixture.client(1), fixture.client(2));
    put(&client, key(1), &pattern(1, 5000));
    let view = client.try_get(&key(1)).unwrap().unwrap();
    other.free(&[key(1)]);
    wait_until(|| fixture.store.report().usage.dying > 0);
    assert!(client.try_get(&key(1)).unwrap().is_none());
    for number in 2..2000 {
        put(&client, key(number), &pattern(number, 5000));
        client.free(&[key(number)]);
    }
    assert_eq!(view[..], pattern(1, 5000)[..]);
    drop(view);
    wait_until(|| fixture.store.report().objects.is_empty());
}

#[test]
fn more_small_objects_than_the_table_has_slots_are_all_found() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    for number in 0..10_000u32 {
        put(&client, key(number), &number.to_le_bytes());
    }
    let other = fixture.client(2);
    for number in 0..10_000u32 {
        assert_eq!(other.get(&key(number)).unwrap()[..], number.to_le_bytes());
    }
}

#[test]
fn small_objects_beyond_the_store_s_memory_are_spilled_and_restored_bit_equal() {
    let fixture = fixture(32 * MIB);
    let client = fixture.client(1);
    for number in 0..1500 {
        put(&client, key(number), &pattern(number, 50_000));
    }
    let spilled = |report: &Report| {
        report
            .objects
            .iter()
            .filter(|object| object.state == ObjectState::Spilled)
            .count()
    };
    assert!(spilled(&fixture.store.report()) > 500);
    for number in 0..1500 {
        assert_eq!(client.get(&key(number)).unwrap()[..], pattern(number, 50_000)[..]);
    }
    client.free(&(0..1500).map(key).collect::<Vec<_>>());
    wait_until(|| fixture.store.report().objects.is_empty());
    drop(client);
    wait_until(|| accounted(&fixture.store.report()) == 0);
}

#[test]
fn a_process_killed_while_publishing_leaves_what_it_published_whole_and_nothing_else() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    for round in 0..12u64 {
        let mut child = Child::spawn("publish forever", Some(fixture.store.connect(1, id(2), 0).unwrap()));
        child.expect("started");
        std::thread::sleep(Duration::from_micros(round * 700));
        child.kill();
        fixture.store.client_died(id(2));
        let report = fixture.store.report();
        assert_eq!((report.usage.arenas, report.usage.creating), (0, 0));
        for object in &report.objects {
            let view = client.get(&object.key).unwrap();
            let number = u32::from_be_bytes(object.key.0[16..].try_into().unwrap());
            assert_eq!(view[..], pattern(number, view.len())[..]);
        }
        fixture.store.free_owned_by(key(0).owner_prefix());
        wait_until(|| accounted(&fixture.store.report()) == 0);
    }
}

#[test]
fn threads_of_two_clients_publish_read_and_free_each_other_s_objects() {
    let fixture = fixture(64 * MIB);
    let clients = [fixture.client(1), fixture.client(2)];
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (own, other) = (&clients[thread as usize % 2], &clients[(thread as usize + 1) % 2]);
            scope.spawn(move || {
                for round in 0..2_000u32 {
                    let (number, key) = (thread * 10_000 + round, key(thread * 10_000 + round % 40));
                    let value = pattern(number, 1 + (number as usize * 131) % 3000);
                    put(own, key, &value);
                    match round % 4 {
                        0 => assert_eq!(other.get(&key).unwrap()[..], value[..]),
                        1 => assert_eq!(own.try_get(&key).unwrap().unwrap()[..], value[..]),
                        2 => other.free(&[key]),
                        _ => own.free(&[key]),
                    }
                }
            });
        }
    });
    fixture.store.free_job(1);
    wait_until(|| fixture.store.report().objects.is_empty());
    drop(clients);
    wait_until(|| accounted(&fixture.store.report()) == 0);
}

#[test]
fn a_process_finds_its_own_object_at_every_moment_of_its_handover() {
    let fixture = fixture(64 * MIB);
    let (client, other) = (fixture.client(1), fixture.client(2));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Each question makes the store take over what is published.
            while !done.load(Ordering::SeqCst) {
                assert!(!other.contains(&key(u32::MAX)).unwrap());
            }
        });
        for number in 0..5_000u32 {
            put(&client, key(number), &number.to_le_bytes());
            for _ in 0..3 {
                let view = client.try_get(&key(number)).unwrap();
                assert_eq!(view.as_deref(), Some(&number.to_le_bytes()[..]));
            }
        }
        done.store(true, Ordering::SeqCst);
    });
}
