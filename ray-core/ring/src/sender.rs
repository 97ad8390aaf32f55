//! The producing end of one direction.

use crate::error::RingError;
use crate::layout::{Lane, Word};
use crate::memory::Memory;
use crate::record::{self, READY, REVOKED, RecordState};
use crate::sync::{Arc, AtomicU64, Ordering, fence};

/// Names a pushed frame to its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    position: u64,
}

/// The producing end of one direction.
///
/// A pushed frame is visible to the receiver at once; ringing its bell is a step of its own, so that one ring serves a batch.
#[derive(Debug)]
pub struct Sender {
    memory: Arc<Memory<AtomicU64>>,
    lane: Lane,
    /// The next line to write.
    tail: u64,
    /// The last value of the head that was read and found good.
    head: u64,
}

impl Sender {
    pub(crate) fn new(memory: Arc<Memory<AtomicU64>>, lane: Lane) -> Sender {
        Sender {
            memory,
            lane,
            tail: 0,
            head: 0,
        }
    }

    /// Pushes one frame, the bytes of `parts` one after another.
    ///
    /// # Errors
    /// [`RingError::Full`] when the peer has not made room yet, [`RingError::TooLarge`] when it never fits,
    /// [`RingError::Closed`] when the peer has gone, [`RingError::Corrupt`] when the peer wrote nonsense.
    pub fn try_push(&mut self, parts: &[&[u8]]) -> Result<Ticket, RingError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > self.max_frame() {
            return Err(RingError::TooLarge {
                len,
                max: self.max_frame(),
            });
        }
        let lines = Lane::lines_for(len);
        if self.tail + lines - self.head > self.lane.lines() {
            self.head = self.head_with_room(lines)?;
        }
        let words = self.memory.words();
        if self.lane.header(words, Word::ReceiverClosed).load(Ordering::Acquire) != 0 {
            return Err(RingError::Closed);
        }
        let position = self.tail;
        self.lane.length(words, position).store(len as u64, Ordering::Relaxed);
        let (first, second) = self.lane.payload(words, position, len.div_ceil(8));
        record::copy_in(parts, first, second);
        // Release: whoever reads this word as READY reads the payload too.
        self.lane
            .state(words, position)
            .store(record::word(position, READY), Ordering::Release);
        self.tail += lines;
        Ok(Ticket { position })
    }

    /// Reads the head. If `lines` still do not fit, the receiver is asked to report when it has made room.
    fn head_with_room(&self, lines: u64) -> Result<u64, RingError> {
        let fits = |head: u64| self.tail + lines - head <= self.lane.lines();
        let head = self.read_head()?;
        if fits(head) {
            return Ok(head);
        }
        self.lane
            .header(self.memory.words(), Word::Starved)
            .store(1, Ordering::Relaxed);
        // Either we see the head that the receiver stored, or it sees that we starve.
        fence(Ordering::SeqCst);
        let head = self.read_head()?;
        if fits(head) { Ok(head) } else { Err(RingError::Full) }
    }

    fn read_head(&self) -> Result<u64, RingError> {
        // Acquire: the receiver has read the lines before it gave them back.
        let head = self
            .lane
            .header(self.memory.words(), Word::Head)
            .load(Ordering::Acquire);
        if head < self.head || head > self.tail {
            return Err(RingError::Corrupt {
                what: "the head",
                position: self.tail,
                found: head,
            });
        }
        Ok(head)
    }

    /// Takes a frame back, if the receiver has not taken it. It stays in the ring, skipped, until the receiver passes it.
    pub fn revoke(&mut self, ticket: Ticket) -> bool {
        let ready = record::word(ticket.position, READY);
        let revoked = record::word(ticket.position, REVOKED);
        self.lane
            .state(self.memory.words(), ticket.position)
            .compare_exchange(ready, revoked, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// How far a frame has come. After the receiver's death the answer is final: only what is [`RecordState::Taken`] may have
    /// begun and not ended.
    ///
    /// # Errors
    /// [`RingError::Corrupt`] when the words in shared memory contradict each other.
    pub fn state(&self, ticket: Ticket) -> Result<RecordState, RingError> {
        let position = ticket.position;
        if position < self.read_head()? {
            return Ok(RecordState::Finished);
        }
        let found = self.lane.state(self.memory.words(), position).load(Ordering::Acquire);
        let (owner, state) = record::split(found);
        match RecordState::from_bits(state) {
            Some(state) if owner == position => Ok(state),
            _ => Err(RingError::Corrupt {
                what: "a record's state",
                position,
                found,
            }),
        }
    }

    /// Whether a push of `len` bytes would say anything but [`RingError::Full`]. If not, the receiver is asked to report when
    /// it has made room, so a sleep on this condition ends.
    #[must_use]
    pub fn has_room(&self, len: usize) -> bool {
        let closed = self
            .lane
            .header(self.memory.words(), Word::ReceiverClosed)
            .load(Ordering::Acquire)
            != 0;
        closed || self.head_with_room(Lane::lines_for(len.min(self.max_frame()))) != Err(RingError::Full)
    }

    /// Whether every frame has been finished or passed.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.read_head().is_ok_and(|head| head == self.tail)
    }

    /// The longest frame this ring carries, a quarter of its area.
    #[must_use]
    pub fn max_frame(&self) -> usize {
        self.lane.max_frame()
    }
}

impl Drop for Sender {
    /// Tells the receiver that no frame follows. Ring its bell afterwards, if it may sleep.
    fn drop(&mut self) {
        self.lane
            .header(self.memory.words(), Word::SenderClosed)
            .store(1, Ordering::Release);
    }
}
