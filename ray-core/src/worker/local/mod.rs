//! Local tasks: shared tasks of this process whose arguments are values, from their submission to the last use of their
//! result, outside the state.
//!
//! Nothing about such a task concerns another process, so that nothing about it needs the tables and the one lock of the
//! [`State`](crate::worker::state::State): all that there is to know lies in one allocation ([`LocalTask`]), which the
//! references to its result, the line that it stands in, and the thread that runs it share. Whatever such a reference
//! cannot do by itself (leave the process, be an argument) makes the state take the object over, once and for good
//! ([`LocalTask::hand_in`]); from then on the reference is one like any other.
//!
//! - LT-1: a task is claimed once: by a thread of the pool, or by a caller that waits for it.
//! - LT-2: a result is settled once, with the task's outcome or as cancelled, whichever comes first.
//! - LT-3: a task's lock may be held while the state's is taken, never the other way round: under it a value is encoded,
//!   by code of the user's that may itself use references.
//! - LT-4: work never stays unseen. Who adds a task then looks whether a thread of the pool watches; a thread that ceases to
//!   watch then looks whether there is a task. Both orders are sequentially consistent, so that one of the two sees the other.
//! - LT-5: the pending bytes of the state count these tasks too (AD-1).

mod line;
mod lines;
mod mailbox;
mod task;
#[cfg(test)]
mod tests;

pub(crate) use line::{Hand, LocalLine};
pub(crate) use lines::LocalLines;
pub(crate) use mailbox::{Called, Mailbox, Startable};
pub(crate) use task::{Arguments, LocalCall, LocalTask, Read};
