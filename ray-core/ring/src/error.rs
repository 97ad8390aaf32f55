//! What can go wrong, apart from the peer's death, which its pidfd tells.

use rustix::io::Errno;

/// Why a frame could not be pushed or popped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// No room until the peer has finished earlier frames. The peer will report it through
    /// [`Receiver::frees_a_waiting_sender`](crate::Receiver::frees_a_waiting_sender).
    #[error("the ring is full: the peer has not finished earlier frames; wait for room and push again")]
    Full,
    /// The frame is longer than this ring ever carries.
    #[error(
        "a frame of {len} bytes is over this ring's limit of {max}; send it through the socket or the object store"
    )]
    TooLarge {
        /// The frame's length.
        len: usize,
        /// The longest frame that fits.
        max: usize,
    },
    /// The peer has closed its end in good order.
    #[error("the peer has closed its end of the ring")]
    Closed,
    /// Shared memory holds what no correct peer writes. The connection to it cannot be trusted any more.
    #[error("the ring is corrupt: {what} at line {position} reads {found:#x}; drop the connection to this peer")]
    Corrupt {
        /// Which word is wrong.
        what: &'static str,
        /// The line, counted from the ring's birth.
        position: u64,
        /// What the word held.
        found: u64,
    },
}

/// Why a ring or a doorbell could not be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A system call failed.
    #[error("cannot set up shared memory: {call}: {source}")]
    System {
        /// The system call.
        call: &'static str,
        /// Its error.
        #[source]
        source: Errno,
    },
    /// The descriptor is no ring of this version.
    #[error("the descriptor holds no usable ring: {what} is {found:#x}; both ends must run the same version")]
    Foreign {
        /// What does not fit.
        what: &'static str,
        /// What was found.
        found: u64,
    },
    /// The number of lines asked for is not a power of two within the limits.
    #[error("a ring of {lines} lines is not possible; take a power of two between {min} and {max}")]
    Lines {
        /// The number asked for.
        lines: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
}

impl SetupError {
    pub(crate) fn system(call: &'static str) -> impl FnOnce(Errno) -> SetupError {
        move |source| SetupError::System { call, source }
    }
}
