//! The protocol by which a client publishes objects on its own, and the server takes them over.
//!
//! Each publication has a *slot word* (generation and state) in a table of the client's. The client moves it along
//! vacant → creating → sealed; a sealed one goes back to vacant either by the client, which frees what nobody else has
//! heard of, or by the server, which takes the object into the index. The slot word is the one word that both write,
//! and where they could meet they compare and swap. Beside it, the *recall word* is the server's alone: the number of
//! the last lease that is called back.
//!
//! - HO-1: of [`take_back`] and [`take`] one succeeds at most. What the client took back, only it has ever read.
//! - HO-2: a reader of the publishing process whose [`pin`] returned true may read until it unpins, whoever has the
//!   object by then; if the server has it, [`unpin`] returns false: ring the server.
//! - HO-3: when a [`claim`] returned true, the server sees it before it reuses the lease's memory; when the server saw
//!   it, the client sees the recall when it closes the claim, and rings.
//!
//! HO-2 and HO-3 follow as in [`guard`]: each side writes its own word, passes a sequentially
//! consistent fence, then reads the other's.

use crate::guard;
use crate::sync::{AtomicU64, Ordering, fence};

const STATE_BITS: u32 = 3;

/// What a slot word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// No publication: the client may use the slot.
    Vacant,
    /// The client writes the object.
    Creating,
    /// As before, and the object was freed already.
    Doomed,
    /// Readable by the client; the server may take it.
    Sealed,
    /// The server is entering it into the index.
    Taking,
}

/// The slot word of `generation` in `state`.
pub(crate) fn pack(generation: u64, state: SlotState) -> u64 {
    generation << STATE_BITS | state as u64
}

/// Generation and state of a slot word. Any bits are a legal input.
pub(crate) fn unpack(word: u64) -> (u64, SlotState) {
    let state = match word & ((1 << STATE_BITS) - 1) {
        1 => SlotState::Creating,
        2 => SlotState::Doomed,
        3 => SlotState::Sealed,
        4 => SlotState::Taking,
        _ => SlotState::Vacant,
    };
    (word >> STATE_BITS, state)
}

fn exchange(slot: &AtomicU64, generation: u64, from: SlotState, to: SlotState) -> bool {
    let (from, to) = (pack(generation, from), pack(generation, to));
    slot.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}

/// Client: begins an object in memory of `lease`. False if the lease was called back: then [`vacate`].
pub(crate) fn claim(slot: &AtomicU64, generation: u64, recalled: &AtomicU64, lease: u64) -> bool {
    slot.store(pack(generation, SlotState::Creating), Ordering::Release);
    !is_recalled(recalled, lease)
}

/// Client: whether `lease` is called back by now. After a claim of it was closed: then ring the server (HO-3).
pub(crate) fn is_recalled(recalled: &AtomicU64, lease: u64) -> bool {
    fence(Ordering::SeqCst);
    guard::read(recalled) >= lease
}

/// Client: publishes what it created. False if it was doomed; then say so in its record, and [`seal_doomed`].
pub(crate) fn seal(slot: &AtomicU64, generation: u64) -> bool {
    exchange(slot, generation, SlotState::Creating, SlotState::Sealed)
}

/// Client: publishes a creation that was freed already.
#[cfg(not(ray_loom))]
pub(crate) fn seal_doomed(slot: &AtomicU64, generation: u64) {
    slot.store(pack(generation, SlotState::Sealed), Ordering::Release);
}

/// Who holds the slot says that nothing is in it: the client of a creation, the server of what it is taking.
pub(crate) fn vacate(slot: &AtomicU64, generation: u64) {
    slot.store(pack(generation, SlotState::Vacant), Ordering::Release);
}

/// Client: takes a sealed object back. False if the server was first.
pub(crate) fn take_back(slot: &AtomicU64, generation: u64) -> bool {
    exchange(slot, generation, SlotState::Sealed, SlotState::Vacant)
}

/// Server: takes a sealed object over; [`vacate`] follows once the index names it. False if the client was first.
pub(crate) fn take(slot: &AtomicU64, generation: u64) -> bool {
    exchange(slot, generation, SlotState::Sealed, SlotState::Taking)
}

/// Server: frees what is not sealed yet. False if it is by now, or is gone.
#[cfg(not(ray_loom))]
pub(crate) fn doom(slot: &AtomicU64, generation: u64) -> bool {
    exchange(slot, generation, SlotState::Creating, SlotState::Doomed)
}

/// Client: pins a publication of its own. False if the server has it: then the index knows. One that is being taken
/// is good as well: the server looks at pins only after it has vacated the slot and passed its fence.
pub(crate) fn pin(pin: &AtomicU64, slot: &AtomicU64, generation: u64) -> bool {
    pin.store(generation, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    let word = guard::read(slot);
    word == pack(generation, SlotState::Sealed) || word == pack(generation, SlotState::Taking)
}

/// Client: removes a pin. False if the server has the object, and may wait for it (HO-2).
pub(crate) fn unpin(pin: &AtomicU64, slot: &AtomicU64, generation: u64) -> bool {
    pin.store(0, Ordering::Release);
    fence(Ordering::SeqCst);
    guard::read(slot) == pack(generation, SlotState::Sealed)
}

/// Server: calls back all leases up to `lease`. [`guard::settle`] must follow before slots are looked at.
pub(crate) fn recall(recalled: &AtomicU64, lease: u64) {
    recalled.store(lease, Ordering::Relaxed);
}

#[cfg(all(test, ray_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;

    struct World {
        slot: AtomicU64,
        pin: AtomicU64,
        recalled: AtomicU64,
        /// The object's memory, as a word: 7 while the object lives, 0 or 8 once it is reused.
        payload: AtomicU64,
        rung: AtomicBool,
    }

    fn world(state: SlotState, payload: u64) -> Arc<World> {
        Arc::new(World {
            slot: AtomicU64::new(pack(1, state)),
            pin: AtomicU64::new(0),
            recalled: AtomicU64::new(0),
            payload: AtomicU64::new(payload),
            rung: AtomicBool::new(false),
        })
    }

    #[test]
    fn loom_ho1_what_the_server_took_is_what_was_sealed_and_is_not_taken_back() {
        loom::model(|| {
            let world = world(SlotState::Creating, 0);
            let theirs = Arc::clone(&world);
            let client = loom::thread::spawn(move || {
                theirs.payload.store(7, Ordering::Relaxed);
                assert!(seal(&theirs.slot, 1));
                let mine = take_back(&theirs.slot, 1);
                if mine {
                    theirs.payload.store(8, Ordering::Relaxed);
                }
                mine
            });
            let taken = take(&world.slot, 1);
            if taken {
                assert_eq!(world.payload.load(Ordering::Relaxed), 7, "HO-1: taken and not whole");
            }
            let mine = client.join().unwrap();
            assert!(mine != taken, "HO-1: both or neither have it");
        });
    }

    #[test]
    fn loom_ho2_a_pin_from_before_the_handover_holds_and_its_unpin_rings() {
        loom::model(|| {
            let world = world(SlotState::Sealed, 7);
            let theirs = Arc::clone(&world);
            let client = loom::thread::spawn(move || {
                if pin(&theirs.pin, &theirs.slot, 1) {
                    assert_eq!(theirs.payload.load(Ordering::Relaxed), 7, "HO-2: reused under a pin");
                }
                if !unpin(&theirs.pin, &theirs.slot, 1) {
                    theirs.rung.store(true, Ordering::Release);
                }
            });
            // Takes the object over and frees it at once.
            assert!(take(&world.slot, 1));
            vacate(&world.slot, 1);
            guard::settle();
            let reclaimed = guard::pinned(&world.pin).is_none();
            if reclaimed {
                world.payload.store(0, Ordering::Relaxed);
            }
            client.join().unwrap();
            assert!(reclaimed || world.rung.load(Ordering::Acquire), "HO-2: nobody reclaims");
        });
    }

    #[test]
    fn loom_ho3_memory_of_a_recalled_lease_is_not_reused_under_a_claim_whose_end_rings() {
        loom::model(|| {
            let world = world(SlotState::Vacant, 0);
            let theirs = Arc::clone(&world);
            let client = loom::thread::spawn(move || {
                if claim(&theirs.slot, 2, &theirs.recalled, 1) {
                    theirs.payload.store(7, Ordering::Relaxed);
                    assert!(seal(&theirs.slot, 2));
                } else {
                    vacate(&theirs.slot, 2);
                }
                if is_recalled(&theirs.recalled, 1) {
                    theirs.rung.store(true, Ordering::Release);
                }
            });
            recall(&world.recalled, 1);
            guard::settle();
            let dissolved = match unpack(guard::read(&world.slot)) {
                (_, SlotState::Creating) => false,
                (_, SlotState::Sealed) => {
                    assert!(take(&world.slot, 2));
                    assert_eq!(world.payload.load(Ordering::Relaxed), 7, "HO-3: taken and not whole");
                    true
                }
                // Nobody writes there: the memory is used for something else.
                _ => {
                    world.payload.store(8, Ordering::Relaxed);
                    true
                }
            };
            client.join().unwrap();
            let sealed = unpack(guard::read(&world.slot)).1 == SlotState::Sealed;
            assert!(!(dissolved && sealed), "HO-3: reused under a claim");
            assert!(
                dissolved || world.rung.load(Ordering::Acquire),
                "HO-3: nobody dissolves the arena"
            );
        });
    }
}

#[cfg(all(test, not(ray_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_slot_word_gives_back_what_was_packed_and_any_bits_are_legal() {
        let states = [
            SlotState::Vacant,
            SlotState::Creating,
            SlotState::Doomed,
            SlotState::Sealed,
            SlotState::Taking,
        ];
        for state in states {
            assert_eq!(unpack(pack(77, state)), (77, state));
        }
        assert_eq!(unpack(u64::MAX).1, SlotState::Vacant);
    }
}
