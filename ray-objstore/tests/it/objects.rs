//! The life of objects, with store and clients in one process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ray_objstore::{Client, Error, ObjectState, View};

use crate::support::{Fixture, MIB, fixture, fixture_with, id, key, pattern, put, wait_until};

fn gone(fixture: &Fixture) -> bool {
    fixture.store.report().objects.is_empty()
}

#[test]
fn a_sealed_object_is_read_in_place_and_shared_by_clones_of_its_view() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    assert!(client.try_get(&key(1)).unwrap().is_none());
    let mut writer = client.create(key(1), 5).unwrap();
    assert!(!client.contains(&key(1)).unwrap());
    writer.copy_from_slice(b"hello");
    let sealed = writer.seal().unwrap();
    let view = client.try_get(&key(1)).unwrap().unwrap();
    assert_eq!((view.as_ptr(), &view[..]), (sealed.as_ptr(), &b"hello"[..]));
    assert_eq!(view.as_ptr() as usize % 64, 0);
    assert!(client.contains(&key(1)).unwrap());
    let bytes = bytes::Bytes::from_owner(view.clone());
    assert_eq!(&bytes[1..3], b"el");
}

#[test]
fn large_objects_start_at_a_page_and_empty_ones_are_objects_too() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    put(&client, key(1), &[]);
    put(&client, key(2), &pattern(2, MIB));
    assert!(client.get(&key(1)).unwrap().is_empty());
    assert_eq!(client.get(&key(2)).unwrap().as_ptr() as usize % 4096, 0);
}

#[test]
fn a_freed_object_lives_on_for_its_readers_and_goes_with_the_last() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    put(&client, key(1), &pattern(1, MIB));
    let view = client.get(&key(1)).unwrap();
    let second = view.clone();
    client.free(&[key(1)]);
    wait_until(|| fixture.store.report().usage.dying == MIB as u64);
    assert!(matches!(client.get(&key(1)), Err(Error::NotFound { .. })));
    drop(view);
    assert_eq!(second[..], pattern(1, MIB)[..]);
    drop(second);
    wait_until(|| gone(&fixture));
}

#[test]
fn sealing_a_key_again_replaces_the_object_and_readers_of_the_old_one_keep_it() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    put(&client, key(1), b"old");
    let old = client.get(&key(1)).unwrap();
    put(&client, key(1), b"new!");
    assert_eq!(
        (&old[..], &client.get(&key(1)).unwrap()[..]),
        (&b"old"[..], &b"new!"[..])
    );
    drop(old);
    wait_until(|| fixture.store.report().objects.len() == 1);
}

#[test]
fn a_writer_dropped_unsealed_leaves_nothing() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    drop(client.create(key(1), MIB).unwrap());
    wait_until(|| gone(&fixture));
}

#[test]
fn an_object_freed_while_it_is_written_dies_when_it_is_sealed() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    let mut writer = client.create(key(1), 3).unwrap();
    client.free(&[key(1)]);
    writer.copy_from_slice(b"abc");
    let view = writer.seal().unwrap();
    assert_eq!(&view[..], b"abc");
    assert!(client.try_get(&key(1)).unwrap().is_none());
    drop(view);
    wait_until(|| gone(&fixture));
}

#[test]
fn free_owned_by_frees_what_starts_with_the_prefix_and_free_job_the_rest() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    let other = ray_objstore::Key([9; 20]);
    put(&client, key(1), b"a");
    put(&client, other, b"b");
    fixture.store.free_owned_by([9; 8]);
    assert!(client.try_get(&other).unwrap().is_none());
    assert!(client.try_get(&key(1)).unwrap().is_some());
    fixture.store.free_job(1);
    assert!(gone(&fixture));
}

#[test]
fn an_object_that_can_never_fit_is_refused_at_once() {
    let fixture = fixture(MIB);
    assert!(matches!(
        fixture.client(1).create(key(1), MIB + 1),
        Err(Error::TooLarge { .. })
    ));
}

#[test]
fn a_full_store_makes_creators_wait_until_there_is_space() {
    let fixture = fixture(16 * MIB);
    let client = fixture.client(1);
    let writer = client.create(key(1), 12 * MIB).unwrap();
    let served = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            put(&client, key(2), &pattern(2, 10 * MIB));
            served.store(true, Ordering::SeqCst);
        });
        wait_until(|| fixture.store.report().waiting == 1);
        // Another thread of the same client is not held up.
        assert!(!client.contains(&key(3)).unwrap());
        assert!(!served.load(Ordering::SeqCst));
        drop(writer);
    });
    assert!(served.load(Ordering::SeqCst));
}

#[test]
fn a_store_that_stays_full_says_who_holds_the_memory() {
    let fixture = fixture_with(16 * MIB, |options| options.wait = Duration::from_millis(30));
    let client = fixture.client(1);
    put(&client, key(1), &pattern(1, 10 * MIB));
    let _view = client.get(&key(1)).unwrap();
    let _writer = client.create(key(2), 2 * MIB).unwrap();
    let error = client.create(key(3), 8 * MIB).unwrap_err();
    let Error::Full { requested, usage, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*requested, usage.sealed, usage.creating), (8 << 20, 10 << 20, 2 << 20));
    assert_eq!(
        (usage.holders[0].pid, usage.holders[0].bytes),
        (std::process::id(), 12 << 20)
    );
}

#[test]
fn a_client_outlives_its_store_and_hears_that_it_has_ended() {
    let fixture = fixture(16 * MIB);
    let client = fixture.client(1);
    put(&client, key(1), b"still here");
    let view = client.get(&key(1)).unwrap();
    drop(fixture);
    assert!(matches!(client.create(key(2), 1), Err(Error::StoreGone)));
    assert_eq!(&view[..], b"still here");
}

#[test]
fn many_threads_put_get_and_free_and_every_value_is_what_was_put() {
    let fixture = fixture(64 * MIB);
    let client = fixture.client(1);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let client = &client;
            scope.spawn(move || {
                for round in 0..150 {
                    let (number, key) = (thread * 1000 + round, key(thread * 1000 + round % 5));
                    let value = pattern(number, 1 + (number as usize * 7919) % 200_000);
                    put(client, key, &value);
                    assert_eq!(client.get(&key).unwrap()[..], value[..]);
                    client.free(&[key]);
                }
            });
        }
    });
    wait_until(|| gone(&fixture));
}

#[test]
fn readers_race_with_frees_and_replacements_and_see_one_value_or_none() {
    let fixture = fixture(64 * MIB);
    let (writer, reader) = (fixture.client(1), fixture.client(2));
    let done = AtomicBool::new(false);
    let whole = |view: &View| view.iter().all(|byte| *byte == view[0]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    if let Some(view) = reader.try_get(&key(1)).unwrap() {
                        assert!(whole(&view));
                    }
                    match reader.get(&key(1)) {
                        Ok(view) => assert!(whole(&view)),
                        Err(error) => assert!(matches!(error, Error::NotFound { .. }), "{error}"),
                    }
                }
            });
        }
        for round in 0..400u32 {
            put(&writer, key(1), &vec![round as u8; 4096]);
            if round % 3 == 0 {
                writer.free(&[key(1)]);
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    writer.free(&[key(1)]);
    wait_until(|| gone(&fixture));
}

#[test]
fn a_large_parallel_write_is_bit_equal_in_fresh_and_in_used_memory() {
    let fixture = fixture(128 * MIB);
    let client = fixture.client(1);
    let value = pattern(1, 40 * MIB + 123);
    for _ in 0..2 {
        let mut writer = client.create(key(1), value.len() + 100).unwrap();
        writer[..100].fill(3);
        writer.write_parallel(100, &value).unwrap();
        assert!(writer.write_parallel(101, &value).is_err());
        let view = writer.seal().unwrap();
        assert!(view[..100] == [3; 100] && view[100..] == value[..]);
        drop(view);
        client.free(&[key(1)]);
        wait_until(|| gone(&fixture));
    }
}

#[test]
fn memory_of_freed_objects_goes_back_to_the_kernel_after_the_reuse_window() {
    let fixture = fixture_with(64 * MIB, |options| options.reuse = Duration::from_millis(20));
    let client = fixture.client(1);
    put(&client, key(1), &pattern(1, 8 * MIB));
    client.free(&[key(1)]);
    wait_until(|| gone(&fixture) && fixture.store.report().idle == 0);
    put(&client, key(1), &pattern(2, 8 * MIB));
    assert_eq!(client.get(&key(1)).unwrap()[..], pattern(2, 8 * MIB)[..]);
}

#[test]
fn the_report_names_states_and_pins_by_client() {
    let fixture = fixture(64 * MIB);
    let (client, other) = (fixture.client(1), fixture.client(2));
    put(&client, key(1), b"x");
    let _views = (other.get(&key(1)).unwrap(), other.get(&key(1)).unwrap());
    let _writer = client.create(key(2), 1).unwrap();
    let report = fixture.store.report();
    let state = |wanted| report.objects.iter().find(|object| object.state == wanted).unwrap();
    let pins = &state(ObjectState::Sealed).pins;
    assert_eq!((pins.len(), pins[0].client, pins[0].count), (1, id(2), 2));
    assert_eq!(state(ObjectState::Creating).pins[0].client, id(1));
}

#[test]
fn a_descriptor_that_is_no_store_is_refused() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(ours);
    assert!(Client::new(theirs.into()).is_err());
}
