//! More objects than fit.

use ray_core::value::Buffer;
use ray_core::{RayError, get, put, remote};

use super::{MIB, all_is_freed, pattern, report, small_store};
use crate::support::in_own_process;

/// A field of this process's status, in bytes.
fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    let number = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    number.parse::<usize>().unwrap() << 10
}

#[remote]
fn is_pattern(number: u64, buffer: Buffer) -> bool {
    buffer.as_slice() == pattern(number, buffer.len())
}

#[test]
fn a_gibibyte_lives_in_a_store_of_64_mebibytes_and_is_equal_under_random_access() {
    const OBJECTS: usize = 256;
    in_own_process(|| {
        let _ray = small_store(64).init().unwrap();
        let mut largest = 0;
        let mut references = Vec::new();
        for number in 0..OBJECTS as u64 {
            references.push(put(&Buffer::from(pattern(number, 4 * MIB))).unwrap());
            largest = largest.max(status("VmRSS"));
        }
        assert!(report().store.spilled > 900 << 20, "{}", report());
        // A small linear congruential generator: the same order each time.
        let mut random = 12345usize;
        for step in 0..300 {
            random = random.wrapping_mul(1_103_515_245).wrapping_add(12345) % (1 << 31);
            let place = (random >> 8) % OBJECTS;
            if step % 10 == 0 {
                assert!(get(&is_pattern::remote(place as u64, &references[place])).unwrap());
            } else {
                let value = get(&references[place]).unwrap();
                assert!(value.as_slice() == pattern(place as u64, 4 * MIB), "object {place}");
            }
            largest = largest.max(status("VmRSS"));
        }
        // The store's memory twice over (its free ranges are reused for a while), the values at hand, the program.
        assert!(largest < 320 * MIB, "{} MiB were resident", largest / MIB);
        drop(references);
        all_is_freed();
    });
}

#[test]
fn a_full_store_names_the_bytes_by_state_and_holder() {
    in_own_process(|| {
        let ray = small_store(16).config("object_store_full_wait_ms", 3000);
        let _ray = ray.init().unwrap();
        let references: Vec<_> = (0..3)
            .map(|number| put(&Buffer::from(pattern(number, 4 * MIB))).unwrap())
            .collect();
        let held: Vec<_> = references.iter().map(|reference| get(reference).unwrap()).collect();
        let error = put(&Buffer::from(pattern(9, 8 * MIB))).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, RayError::Store { .. }), "{text}");
        for part in [
            "the object store is full",
            "of 16777216 bytes",
            "sealed",
            "spilled",
            &format!("process {} holds 125", std::process::id()),
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // When the readers let go, there is room by spilling.
        drop(held);
        let large = put(&Buffer::from(pattern(9, 8 * MIB))).unwrap();
        assert!(get(&large).unwrap().as_slice() == pattern(9, 8 * MIB));
        drop((references, large));
        all_is_freed();
    });
}
