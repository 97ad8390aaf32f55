//! The protocol between a reader who pins an object and the server who frees it.
//!
//! Two words take part. The *entry word* of an object (generation and state) is written by the server only; a *pin
//! word* (a generation, or 0) by the one client whose table it lies in. Generations are never used twice, so a
//! generation names an object for ever.
//!
//! - GU-1: a reader whose [`pin`] returned true may read until it unpins; the server reclaims only after
//!   [`is_pinned`] was false for every pin word.
//! - GU-2: when the server saw a pin on a dying object, the [`unpin`] that removes it returns true: ring the server.
//!
//! Both follow from the same argument: each side writes its own word, passes a sequentially consistent fence, then
//! reads the other's. One of the two fences comes first, and the side with the later one sees the earlier write.

use crate::sync::{AtomicU64, Ordering, fence};

const STATE_BITS: u32 = 2;

/// What the entry word says about an object's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryState {
    /// The slot holds no object.
    #[cfg_attr(ray_loom, expect(dead_code, reason = "the model knows one object"))]
    Empty,
    /// Published: may be pinned.
    Sealed,
    /// Being freed or moved out of memory: must not be pinned.
    Dying,
}

/// The entry word of `generation` in `state`.
pub(crate) fn pack(generation: u64, state: EntryState) -> u64 {
    let bits = match state {
        EntryState::Empty => 0,
        EntryState::Sealed => 1,
        EntryState::Dying => 2,
    };
    generation << STATE_BITS | bits
}

/// Generation and state of an entry word. Any bits are a legal input.
#[cfg(not(ray_loom))]
pub(crate) fn unpack(word: u64) -> (u64, EntryState) {
    let state = match word & ((1 << STATE_BITS) - 1) {
        1 => EntryState::Sealed,
        2 => EntryState::Dying,
        _ => EntryState::Empty,
    };
    (word >> STATE_BITS, state)
}

/// Loads a word of a mapping that may be read-only: a relaxed load, the only one allowed there, and an acquire fence.
pub(crate) fn read(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

/// Client: pins `generation` if its entry still says it is sealed.
pub(crate) fn pin(pin: &AtomicU64, entry: &AtomicU64, generation: u64) -> bool {
    pin.store(generation, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    read(entry) == pack(generation, EntryState::Sealed)
}

/// Client: removes a pin. True if the server waits for it and must be rung (GU-2).
pub(crate) fn unpin(pin: &AtomicU64, entry: &AtomicU64, generation: u64) -> bool {
    // Release: what was read from the object was read before the pin is seen gone.
    pin.store(0, Ordering::Release);
    fence(Ordering::SeqCst);
    read(entry) == pack(generation, EntryState::Dying)
}

/// Server: forbids new pins. Before pins are looked at, [`settle`] must follow (once for any number of entries).
pub(crate) fn begin_dying(entry: &AtomicU64, generation: u64) {
    entry.store(pack(generation, EntryState::Dying), Ordering::Relaxed);
}

/// Server: the fence between [`begin_dying`] and [`is_pinned`].
pub(crate) fn settle() {
    fence(Ordering::SeqCst);
}

/// Server: the generation that a pin word protects, if any.
pub(crate) fn pinned(pin: &AtomicU64) -> Option<u64> {
    match read(pin) {
        0 => None,
        generation => Some(generation),
    }
}

#[cfg(all(test, ray_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;

    struct World {
        entry: AtomicU64,
        pin: AtomicU64,
        /// The payload, as a word: 7 while the object lives, 0 once its memory is reused.
        payload: AtomicU64,
        rung: AtomicBool,
    }

    fn world() -> Arc<World> {
        Arc::new(World {
            entry: AtomicU64::new(pack(1, EntryState::Sealed)),
            pin: AtomicU64::new(0),
            payload: AtomicU64::new(7),
            rung: AtomicBool::new(false),
        })
    }

    fn reader(world: &World) {
        if pin(&world.pin, &world.entry, 1) {
            assert_eq!(
                world.payload.load(Ordering::Relaxed),
                7,
                "GU-1: memory was reused under a pin"
            );
        }
        if unpin(&world.pin, &world.entry, 1) {
            world.rung.store(true, Ordering::Release);
        }
    }

    /// Frees as the server does; true if it reclaimed at once.
    fn server(world: &World) -> bool {
        begin_dying(&world.entry, 1);
        settle();
        let free = pinned(&world.pin).is_none();
        if free {
            world.payload.store(0, Ordering::Relaxed);
        }
        free
    }

    #[test]
    fn loom_gu1_a_pinned_object_is_not_reclaimed_and_gu2_its_last_unpin_rings() {
        loom::model(|| {
            let world = world();
            let theirs = Arc::clone(&world);
            let client = loom::thread::spawn(move || reader(&theirs));
            let reclaimed = server(&world);
            client.join().unwrap();
            assert!(
                reclaimed || world.rung.load(Ordering::Acquire),
                "GU-2: nobody will ever reclaim"
            );
        });
    }

    #[test]
    fn loom_gu1_holds_when_the_server_runs_in_the_other_thread() {
        loom::model(|| {
            let world = world();
            let theirs = Arc::clone(&world);
            let store = loom::thread::spawn(move || server(&theirs));
            reader(&world);
            let reclaimed = store.join().unwrap();
            assert!(
                reclaimed || world.rung.load(Ordering::Acquire),
                "GU-2: nobody will ever reclaim"
            );
        });
    }

    #[test]
    fn loom_gu1_holds_for_two_readers_of_one_object() {
        loom::model(|| {
            let world = world();
            let second = Arc::new(AtomicU64::new(0));
            let (theirs, their_pin) = (Arc::clone(&world), Arc::clone(&second));
            let client = loom::thread::spawn(move || {
                if pin(&their_pin, &theirs.entry, 1) {
                    assert_eq!(theirs.payload.load(Ordering::Relaxed), 7);
                }
                if unpin(&their_pin, &theirs.entry, 1) {
                    theirs.rung.store(true, Ordering::Release);
                }
            });
            let theirs = Arc::clone(&world);
            let other = loom::thread::spawn(move || reader(&theirs));
            begin_dying(&world.entry, 1);
            settle();
            let free = pinned(&world.pin).is_none() && pinned(&second).is_none();
            if free {
                world.payload.store(0, Ordering::Relaxed);
            }
            client.join().unwrap();
            other.join().unwrap();
            assert!(free || world.rung.load(Ordering::Acquire));
        });
    }
}

#[cfg(all(test, not(ray_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_word_gives_back_what_was_packed_and_any_bits_are_legal() {
        for state in [EntryState::Empty, EntryState::Sealed, EntryState::Dying] {
            assert_eq!(unpack(pack(77, state)), (77, state));
        }
        assert_eq!(unpack(u64::MAX).1, EntryState::Empty);
    }
}
