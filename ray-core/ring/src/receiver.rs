//! The consuming end of one direction.
//!
//! RCV-1: a frame is marked taken before its first byte is read, and done after the caller has dealt with it.
//! RCV-2: lines are given back in order, once all records before them are done or revoked.
//! RCV-3: the first word of every line given back is no state word of a later lap: inner lines of a record held the sender's
//! payload, which may look like anything, and are zeroed.

use std::collections::VecDeque;

use crate::error::RingError;
use crate::frame::Frame;
use crate::layout::{Lane, Word};
use crate::memory::Memory;
use crate::record::{self, DONE, READY, REVOKED, TAKEN};
use crate::sync::{Arc, AtomicU64, Ordering, fence};

/// A frame that was taken and has to be [finished](Receiver::finish). Until then it, and all after it, keep their room.
#[derive(Debug)]
#[must_use = "an unfinished frame blocks the ring: give it to Receiver::finish"]
pub struct Taken {
    position: u64,
}

/// A record between `released` and `next`.
#[derive(Debug)]
struct Passed {
    position: u64,
    lines: u64,
    finished: bool,
}

/// What stands at the next position.
enum Next {
    Empty,
    Ready,
    Revoked,
    Odd(u64),
}

/// The consuming end of one direction.
#[derive(Debug)]
pub struct Receiver {
    memory: Arc<Memory<AtomicU64>>,
    lane: Lane,
    /// The next line to read.
    next: u64,
    /// The lines given back.
    released: u64,
    /// Records passed but not given back, in order.
    passed: VecDeque<Passed>,
    frame: Frame,
}

impl Receiver {
    pub(crate) fn new(memory: Arc<Memory<AtomicU64>>, lane: Lane) -> Receiver {
        Receiver {
            memory,
            lane,
            next: 0,
            released: 0,
            passed: VecDeque::new(),
            frame: Frame::default(),
        }
    }

    /// Whether a pop would say anything but "nothing yet": a frame, the end, or an error.
    #[inline]
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !matches!(self.look(), Next::Empty) || self.sender_closed()
    }

    fn sender_closed(&self) -> bool {
        self.lane
            .header(self.memory.words(), Word::SenderClosed)
            .load(Ordering::Acquire)
            != 0
    }

    #[inline]
    fn look(&self) -> Next {
        // Acquire: pairs with the sender's Release, so that the payload is there.
        let found = self.lane.state(self.memory.words(), self.next).load(Ordering::Acquire);
        if found == record::word(self.next, READY) {
            return Next::Ready;
        }
        let (position, state) = record::split(found);
        match state {
            REVOKED if position == self.next => Next::Revoked,
            // What an earlier lap left, or nothing yet.
            _ if position < self.next || found == 0 => Next::Empty,
            _ => Next::Odd(found),
        }
    }

    /// Takes the next frame: from now on its sender knows that it may have begun. `None`: nothing yet.
    ///
    /// The bytes are a copy, aligned to 64, and live until the next take.
    ///
    /// # Errors
    /// [`RingError::Closed`] after the last frame of a sender that has gone, [`RingError::Corrupt`] when it wrote nonsense.
    pub fn take(&mut self) -> Result<Option<(Taken, &[u8])>, RingError> {
        let Some(position) = self.claim()? else { return Ok(None) };
        let len = self.length(position)?;
        let (first, second) = self.lane.payload(self.memory.words(), position, len.div_ceil(8));
        self.frame.copy_from(len, first, second);
        let lines = Lane::lines_for(len);
        self.passed.push_back(Passed {
            position,
            lines,
            finished: false,
        });
        self.next = position + lines;
        Ok(Some((Taken { position }, self.frame.bytes())))
    }

    /// Marks the next frame as taken and gives its position; skips what was revoked.
    fn claim(&mut self) -> Result<Option<u64>, RingError> {
        loop {
            let position = self.next;
            match self.look() {
                Next::Ready => {
                    let ready = record::word(position, READY);
                    let state = self.lane.state(self.memory.words(), position);
                    let taken = record::word(position, TAKEN);
                    // Failing, it was revoked in between (or is corrupt): look again.
                    if state
                        .compare_exchange(ready, taken, Ordering::AcqRel, Ordering::Relaxed)
                        .is_ok()
                    {
                        return Ok(Some(position));
                    }
                }
                Next::Revoked => {
                    let lines = Lane::lines_for(self.length(position)?);
                    self.passed.push_back(Passed {
                        position,
                        lines,
                        finished: true,
                    });
                    self.next = position + lines;
                    self.release();
                }
                Next::Odd(found) => {
                    return Err(RingError::Corrupt {
                        what: "a record's state",
                        position,
                        found,
                    });
                }
                // The sender closed after its last push, so a look after the closing sees that push.
                Next::Empty if self.sender_closed() && matches!(self.look(), Next::Empty) => {
                    return Err(RingError::Closed);
                }
                Next::Empty => return Ok(None),
            }
        }
    }

    /// The length of the record at `position`, read once and checked.
    fn length(&self, position: u64) -> Result<usize, RingError> {
        let found = self.lane.length(self.memory.words(), position).load(Ordering::Relaxed);
        match usize::try_from(found) {
            Ok(len) if len <= self.lane.max_frame() => Ok(len),
            _ => Err(RingError::Corrupt {
                what: "a record's length",
                position,
                found,
            }),
        }
    }

    /// Marks a taken frame as done. Frames may be finished in any order. Push the answer first: after a death, a frame that is
    /// finished has been answered, and one that is taken may have been.
    pub fn finish(&mut self, taken: Taken) {
        let index = self
            .passed
            .binary_search_by_key(&taken.position, |passed| passed.position);
        let Some(passed) = index.ok().and_then(|index| self.passed.get_mut(index)) else {
            return;
        };
        passed.finished = true;
        let done = record::word(taken.position, DONE);
        self.lane
            .state(self.memory.words(), taken.position)
            .store(done, Ordering::Release);
        self.release();
    }

    /// Gives back the lines of all finished records at the front.
    fn release(&mut self) {
        let words = self.memory.words();
        let before = self.released;
        while let Some(front) = self.passed.front().filter(|front| front.finished) {
            for inner in front.position + 1..front.position + front.lines {
                self.lane.state(words, inner).store(0, Ordering::Relaxed);
            }
            self.released = front.position + front.lines;
            self.passed.pop_front();
        }
        if self.released != before {
            // Release: we have read these lines, the sender may write them.
            self.lane
                .header(words, Word::Head)
                .store(self.released, Ordering::Release);
        }
    }

    /// Takes one frame, gives it to `handle`, and finishes it. `false`: nothing yet.
    ///
    /// # Errors
    /// As [`Receiver::take`].
    pub fn pop(&mut self, handle: impl FnOnce(&[u8])) -> Result<bool, RingError> {
        let Some((taken, frame)) = self.take()? else {
            return Ok(false);
        };
        handle(frame);
        self.finish(taken);
        Ok(true)
    }

    /// Pops until the ring is empty or `most` frames were handled, and says how many.
    ///
    /// # Errors
    /// As [`Receiver::take`], but only when no frame came before it; otherwise the next call reports it.
    pub fn pop_batch(&mut self, most: usize, mut handle: impl FnMut(&[u8])) -> Result<usize, RingError> {
        for count in 0..most {
            match self.pop(&mut handle) {
                Ok(true) => {}
                Ok(false) => return Ok(count),
                Err(error) if count == 0 => return Err(error),
                Err(_) => return Ok(count),
            }
        }
        Ok(most)
    }

    /// Whether the sender found the ring full and since then room was made: then ring its bell. Ask after a batch and before sleep.
    #[must_use = "a sender that waits for room sleeps until its bell is rung"]
    pub fn frees_a_waiting_sender(&self) -> bool {
        let starved = self.lane.header(self.memory.words(), Word::Starved);
        // Either the sender sees the head we stored, or we see that it starves.
        fence(Ordering::SeqCst);
        starved.load(Ordering::Relaxed) != 0 && starved.swap(0, Ordering::AcqRel) != 0
    }
}

impl Drop for Receiver {
    /// Tells the sender that nobody reads any more. Ring its bell afterwards, if it may sleep.
    fn drop(&mut self) {
        self.lane
            .header(self.memory.words(), Word::ReceiverClosed)
            .store(1, Ordering::Release);
    }
}
