//! Shared-memory rings that carry frames between two processes of one node.
//!
//! An owner pushes tasks straight to the worker it leased, and the worker answers the same way. A [`Channel`] is the pair of
//! rings between the two, a [`Doorbell`] is the one word on which a process sleeps however many rings it reads, and a
//! [`SpinPolicy`] decides whether a wait spins or sleeps, because latency is the number of wake-ups.
//!
//! ```
//! use ray_core_ring::{Channel, Doorbell, SpinPolicy, wait};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One process creates the rings, the other opens the descriptor it was sent.
//! let mut owner = Channel::create(Channel::DEFAULT_LINES)?;
//! let mut worker = Channel::open(owner.descriptor()?)?;
//! let mut worker_bell = Doorbell::create()?;
//! let ringer = worker_bell.ringer();
//!
//! let ticket = owner.sender.try_push(&[b"task ", b"7"])?;
//! ringer.ring();
//!
//! let mut policy = SpinPolicy::new(2.0);
//! assert!(wait(&mut worker_bell, &mut policy, None, || worker.receiver.is_ready()));
//! worker.receiver.pop(|frame| assert_eq!(frame, b"task 7"))?;
//! assert!(!owner.sender.revoke(ticket), "it has been taken");
//! # Ok(()) }
//! ```
//!
//! The two processes trust each other's code, not each other's life: either may die at any instruction, and whatever a word
//! holds then is an error ([`RingError::Corrupt`]), never undefined behaviour. Shared memory is seen as atomics only, each
//! word is read once and checked before it is used, and a frame is copied out before anyone looks at it.

#![cfg_attr(ray_loom, allow(dead_code, reason = "the models need no kernel"))]

mod channel;
mod doorbell;
mod error;
mod frame;
mod layout;
mod memory;
mod receiver;
mod record;
mod sender;
mod spin;
mod sync;
mod wait;

#[cfg(all(test, ray_loom))]
mod loom_tests;
#[cfg(all(test, not(ray_loom)))]
mod model_tests;

pub use channel::Channel;
#[cfg(not(ray_loom))]
pub use doorbell::BellDescriptors;
pub use doorbell::{Doorbell, Ringer, Rung, Waiter};
pub use error::{RingError, SetupError};
pub use receiver::{Receiver, Taken};
pub use record::RecordState;
pub use sender::{Sender, Ticket};
pub use spin::{SpinPolicy, WaitEnd};
pub use wait::wait;
