//! Random sequences against a queue in plain code, and random words in place of the peer's.

use std::collections::VecDeque;

use proptest::prelude::*;

use crate::channel::Channel;
use crate::error::RingError;
use crate::layout::LINE_WORDS;
use crate::record::RecordState;
use crate::sender::Ticket;
use crate::sync::Ordering;

const LINES: usize = 32;
const MAX_FRAME: usize = LINES / 4 * 64 - 16;
const CASES: u32 = if cfg!(miri) { 4 } else { 512 };

#[derive(Debug, Clone)]
enum Step {
    /// Push a frame of this length in pieces of that length.
    Push(usize, usize),
    Pop,
    Take,
    /// Finish the taken frame with this index, modulo their number.
    Finish(usize),
    /// Revoke the pushed frame with this index, modulo their number.
    Revoke(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let lengths = prop_oneof![0..60_usize, 40..=MAX_FRAME + 3];
    prop_oneof![
        4 => (lengths, 1..80_usize).prop_map(|(len, piece)| Step::Push(len, piece)),
        3 => Just(Step::Pop),
        1 => Just(Step::Take),
        1 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::Revoke),
    ]
}

/// A frame as the plain queue sees it.
struct Expected {
    ticket: Ticket,
    bytes: Vec<u8>,
    state: RecordState,
}

/// The bytes of frame `index`: every pattern, state words among them.
fn bytes(index: usize, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| (index * 31 + at) as u8).collect();
    for (at, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        if (index + at).is_multiple_of(3) {
            chunk.copy_from_slice(&((((index + at) * 7) as u64) << 3 | 1).to_ne_bytes());
        }
    }
    bytes
}

fn next_waiting(frames: &mut [Expected]) -> Option<&mut Expected> {
    frames.iter_mut().find(|frame| frame.state == RecordState::Waiting)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ring_behaves_as_a_queue(steps in proptest::collection::vec(step(), 1..200)) {
        let (mut owner, mut worker) = Channel::on_heap(LINES);
        let mut frames: Vec<Expected> = Vec::new();
        let mut open = VecDeque::new();
        for step in steps {
            match step {
                Step::Push(len, piece) => {
                    let bytes = bytes(frames.len(), len);
                    let parts: Vec<&[u8]> = bytes.chunks(piece).collect();
                    match owner.sender.try_push(&parts) {
                        Ok(ticket) => frames.push(Expected { ticket, bytes, state: RecordState::Waiting }),
                        Err(RingError::TooLarge { len, max }) => prop_assert!(len > max && max == MAX_FRAME),
                        Err(error) => {
                            prop_assert_eq!(error, RingError::Full);
                            prop_assert!(!owner.sender.has_room(len));
                        }
                    }
                }
                Step::Pop => {
                    let expected = next_waiting(&mut frames);
                    let mut seen = None;
                    prop_assert_eq!(worker.receiver.pop(|frame| seen = Some(frame.to_vec())), Ok(expected.is_some()));
                    prop_assert_eq!(seen.as_ref(), expected.as_ref().map(|frame| &frame.bytes));
                    if let Some(frame) = expected {
                        frame.state = RecordState::Finished;
                    }
                }
                Step::Take => {
                    let expected = next_waiting(&mut frames);
                    let taken = worker.receiver.take().unwrap();
                    prop_assert_eq!(taken.as_ref().map(|(_, frame)| *frame), expected.as_ref().map(|frame| &frame.bytes[..]));
                    if let Some((taken, frame)) = taken {
                        prop_assert_eq!(frame.as_ptr() as usize % 64, 0);
                        let index = frames.iter().position(|frame| frame.state == RecordState::Waiting).unwrap();
                        frames[index].state = RecordState::Taken;
                        open.push_back((index, taken));
                    }
                }
                Step::Finish(which) if !open.is_empty() => {
                    let (index, taken) = open.remove(which % open.len()).unwrap();
                    worker.receiver.finish(taken);
                    frames[index].state = RecordState::Finished;
                }
                Step::Revoke(which) if !frames.is_empty() => {
                    let index = which % frames.len();
                    let frame = &mut frames[index];
                    prop_assert_eq!(owner.sender.revoke(frame.ticket), frame.state == RecordState::Waiting);
                    if frame.state == RecordState::Waiting {
                        frame.state = RecordState::Revoked;
                    }
                }
                Step::Finish(_) | Step::Revoke(_) => {}
            }
            for frame in &frames {
                let state = owner.sender.state(frame.ticket).unwrap();
                let passed = frame.state == RecordState::Revoked && state == RecordState::Finished;
                prop_assert!(state == frame.state || passed, "{:?} is seen as {:?}", frame.state, state);
            }
        }
        for (_, taken) in open {
            worker.receiver.finish(taken);
        }
        while worker.receiver.pop(|_| ()).unwrap() {}
        prop_assert!(owner.sender.is_drained());
        prop_assert!(owner.sender.has_room(MAX_FRAME));
    }

    #[test]
    fn whatever_the_peer_scribbles_is_an_error_at_worst(
        pushes in proptest::collection::vec(0..MAX_FRAME, 0..12),
        scribbles in proptest::collection::vec((0..2_usize, 0..20_usize, any::<u64>(), any::<bool>()), 1..20),
    ) {
        let (mut owner, mut worker) = Channel::on_heap(LINES);
        let mut tickets = Vec::new();
        for len in pushes {
            tickets.extend(owner.sender.try_push(&[&vec![1; len]]));
        }
        for (kind, place, value, small) in scribbles {
            let value = if small { value % 300 } else { value };
            let words = owner.words();
            // Header words of both lanes, or the words at the head of a line.
            let at = if kind == 0 { place * 16 } else { 512 + place * LINE_WORDS + (value % 2) as usize };
            words[at].store(value, Ordering::Relaxed);
            for end in [&mut owner, &mut worker] {
                let _room = end.sender.has_room(40);
                let _pushed = end.sender.try_push(&[b"frame"]);
                let _ready = end.receiver.is_ready();
                let _popped = end.receiver.pop(|frame| assert!(frame.len() <= MAX_FRAME));
                let taken = end.receiver.take().ok().flatten().map(|(taken, _)| taken);
                if let Some(taken) = taken {
                    end.receiver.finish(taken);
                }
            }
            for ticket in &tickets {
                let _state = owner.sender.state(*ticket);
                let _revoked = owner.sender.revoke(*ticket);
            }
        }
    }
}

#[test]
fn rcv_3_payload_that_looks_like_a_later_record_is_not_taken_for_one() {
    let (mut owner, mut worker) = Channel::on_heap(LINES);
    // Every word of the payload says: I am the record at the line where this word will lie one lap later.
    for first in 0..4 * LINES as u64 {
        let position = first * 8;
        let words: Vec<u64> = (2..64).map(|at| (position + at / 8 + LINES as u64) << 3 | 1).collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        owner.sender.try_push(&[&bytes]).unwrap();
        assert_eq!(worker.receiver.pop(|frame| assert_eq!(frame, bytes)), Ok(true));
        assert_eq!(worker.receiver.pop(|_| ()), Ok(false));
    }
}

#[test]
fn a_closed_ring_gives_its_last_frames_and_then_says_so() {
    let (mut owner, mut worker) = Channel::on_heap(LINES);
    owner.sender.try_push(&[b"last"]).unwrap();
    drop(owner);
    assert_eq!(worker.receiver.pop(|frame| assert_eq!(frame, b"last")), Ok(true));
    assert_eq!(worker.receiver.pop(|_| ()), Err(RingError::Closed));
    assert!(worker.receiver.is_ready());
    assert_eq!(worker.sender.try_push(&[b"reply"]), Err(RingError::Closed));
}

#[test]
fn a_batch_ends_at_the_last_frame_and_the_next_call_reports_the_end() {
    let (mut owner, mut worker) = Channel::on_heap(LINES);
    for index in 0..5_u8 {
        owner.sender.try_push(&[&[index]]).unwrap();
    }
    drop(owner);
    let mut frames = Vec::new();
    assert_eq!(worker.receiver.pop_batch(3, |frame| frames.push(frame[0])), Ok(3));
    assert_eq!(worker.receiver.pop_batch(64, |frame| frames.push(frame[0])), Ok(2));
    assert_eq!(worker.receiver.pop_batch(64, |_| ()), Err(RingError::Closed));
    assert_eq!(frames, [0, 1, 2, 3, 4]);
}
