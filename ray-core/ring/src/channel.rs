//! Two rings between two processes, one each way.

#[cfg(not(ray_loom))]
use std::os::fd::OwnedFd;

#[cfg(not(ray_loom))]
use crate::error::SetupError;
use crate::layout::{self, Lane};
use crate::memory::Memory;
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::sync::{Arc, AtomicU64};

/// One end of a channel. The ends of its two directions can be moved to different threads.
#[derive(Debug)]
pub struct Channel {
    /// To the peer.
    pub sender: Sender,
    /// From the peer.
    pub receiver: Receiver,
    memory: Arc<Memory<AtomicU64>>,
}

impl Channel {
    /// 128 KiB each way: frames up to 32 KiB, 2,048 small ones in flight.
    pub const DEFAULT_LINES: usize = 2048;

    fn end(memory: Memory<AtomicU64>, lines: usize, outgoing: usize) -> Channel {
        let memory = Arc::new(memory);
        Channel {
            sender: Sender::new(Arc::clone(&memory), Lane::new(outgoing, lines)),
            receiver: Receiver::new(Arc::clone(&memory), Lane::new(1 - outgoing, lines)),
            memory,
        }
    }
}

#[cfg(not(ray_loom))]
impl Channel {
    /// New rings of `lines` 64-byte lines each: a power of two, from 16 to 2^20.
    ///
    /// # Errors
    /// [`SetupError::Lines`], or [`SetupError::System`] when memory or descriptors run out.
    pub fn create(lines: usize) -> Result<Channel, SetupError> {
        if !lines.is_power_of_two() || !(layout::MIN_LINES..=layout::MAX_LINES).contains(&lines) {
            return Err(SetupError::Lines {
                lines,
                min: layout::MIN_LINES,
                max: layout::MAX_LINES,
            });
        }
        let mapping = crate::memory::Mapping::create("ray-ring", layout::total_words(lines))?;
        let memory = Memory::Mapped(mapping);
        layout::initialise(memory.words(), lines);
        Ok(Channel::end(memory, lines, 0))
    }

    /// The other end of the rings behind `descriptor`, which the peer's [`Channel::descriptor`] gave. Open it once.
    ///
    /// # Errors
    /// [`SetupError::Foreign`] when it holds no sealed ring of this version.
    pub fn open(descriptor: OwnedFd) -> Result<Channel, SetupError> {
        let memory = Memory::Mapped(crate::memory::Mapping::open(descriptor)?);
        Channel::open_memory(memory)
    }

    fn open_memory(memory: Memory<AtomicU64>) -> Result<Channel, SetupError> {
        let (magic, claimed) = layout::claimed(memory.words());
        if magic != layout::MAGIC {
            return Err(SetupError::Foreign {
                what: "the magic number",
                found: magic,
            });
        }
        let lines = usize::try_from(claimed)
            .ok()
            .filter(|lines| lines.is_power_of_two() && (layout::MIN_LINES..=layout::MAX_LINES).contains(lines))
            .filter(|lines| layout::total_words(*lines) <= memory.words().len())
            .ok_or(SetupError::Foreign {
                what: "the number of lines",
                found: claimed,
            })?;
        Ok(Channel::end(memory, lines, 1))
    }

    /// A descriptor for the peer to [open](Channel::open).
    ///
    /// # Errors
    /// [`SetupError::System`] when no descriptor is left.
    pub fn descriptor(&self) -> Result<OwnedFd, SetupError> {
        let descriptor = self.memory.descriptor().ok_or(SetupError::System {
            call: "dup",
            source: rustix::io::Errno::BADF,
        })?;
        rustix::io::fcntl_dupfd_cloexec(descriptor, 0).map_err(SetupError::system("F_DUPFD_CLOEXEC"))
    }
}

#[cfg(any(test, ray_loom))]
impl Channel {
    /// Both ends in one process, on the heap.
    pub(crate) fn on_heap(lines: usize) -> (Channel, Channel) {
        let memory = Memory::<AtomicU64>::on_heap(layout::total_words(lines));
        layout::initialise(memory.words(), lines);
        let creator = Channel::end(memory, lines, 0);
        let memory = Arc::clone(&creator.memory);
        let opener = Channel {
            sender: Sender::new(Arc::clone(&memory), Lane::new(1, lines)),
            receiver: Receiver::new(Arc::clone(&memory), Lane::new(0, lines)),
            memory,
        };
        (creator, opener)
    }

    /// The words of both ends, to scribble on.
    #[cfg(not(ray_loom))]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        self.memory.words()
    }
}
