//! The one word on which a process sleeps, however many rings it reads: the producers of all of them ring it.
//!
//! BELL-1: the waiter announces itself, fences, looks at all its rings once more, and only then sleeps; a producer publishes,
//! fences, and then looks for a waiter. So one of the two sees the other, and no wake-up is lost.
//! BELL-2: a producer makes a system call only if it swapped the waiter's announcement away: one call a sleep, whoever rings.
//! BELL-3: the word changes by swaps only: the waiter's announcement, its return, and a producer's `AWAKE`. Any value at all is
//! safe: an odd one costs a wake-up too many.
//! BELL-4: a producer that is killed between its swap and its system call takes the wake-up with it, and all others find the
//! word `AWAKE`. So whoever learns that a peer is dead [rouses](Ringer::rouse) the waiter, whatever the word says.

#[cfg(not(ray_loom))]
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

#[cfg(not(ray_loom))]
use crate::error::SetupError;
use crate::memory::Memory;
use crate::sync::{self, Arc, AtomicU32, Event, Ordering, fence};

const AWAKE: u32 = 0;

/// How the waiter sleeps: written into the word, so that a producer knows how to wake it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Waiter {
    /// A thread in a futex.
    Futex = 1,
    /// A reactor that polls the bell's eventfd.
    EventFd = 2,
}

/// What ringing a bell found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rung {
    /// The process was awake, or somebody else has just rung: no system call was made.
    Awake,
    /// The process slept and was woken.
    Woke,
}

#[derive(Debug)]
struct Bell {
    memory: Memory<AtomicU32>,
    event: Event,
}

impl Bell {
    #[inline]
    fn word(&self) -> &AtomicU32 {
        &self.memory.words()[0]
    }
}

/// The sleeper's end. A process has one; whoever drains its rings holds it.
#[derive(Debug)]
pub struct Doorbell {
    bell: Arc<Bell>,
    /// A reactor was announced, or was to be, since the bell was last disarmed: the eventfd may be readable.
    armed: bool,
}

/// The end of those who wake it: every peer that pushes into a ring of that process, and its own threads.
#[derive(Debug, Clone)]
pub struct Ringer {
    bell: Arc<Bell>,
}

/// What a peer needs to ring a bell: send both descriptors to it.
#[cfg(not(ray_loom))]
#[derive(Debug)]
pub struct BellDescriptors {
    /// The memory of the word.
    pub memory: OwnedFd,
    /// The eventfd.
    pub event: OwnedFd,
}

#[cfg(not(ray_loom))]
impl Doorbell {
    /// A new bell.
    ///
    /// # Errors
    /// [`SetupError::System`] when memory or descriptors run out.
    pub fn create() -> Result<Doorbell, SetupError> {
        let words = rustix::param::page_size() / size_of::<AtomicU32>();
        let memory = Memory::Mapped(crate::memory::Mapping::create("ray-bell", words)?);
        let event = Event::create().map_err(SetupError::system("eventfd"))?;
        Ok(Doorbell {
            bell: Arc::new(Bell { memory, event }),
            armed: false,
        })
    }

    /// The bell that another process created for this one: a raylet makes the bell of a worker it starts, and so knows it before
    /// the worker lives.
    ///
    /// # Errors
    /// [`SetupError::Foreign`] when the memory is no sealed bell.
    pub fn adopt(descriptors: BellDescriptors) -> Result<Doorbell, SetupError> {
        Ringer::open(descriptors).map(|ringer| Doorbell {
            bell: ringer.bell,
            armed: false,
        })
    }

    /// What a peer [opens](Ringer::open).
    ///
    /// # Errors
    /// [`SetupError::System`] when no descriptor is left.
    pub fn descriptors(&self) -> Result<BellDescriptors, SetupError> {
        self.ringer().descriptors()
    }

    /// The descriptor that a reactor polls for reading (`AsyncFd`), between [`arm`](Doorbell::arm) and
    /// [`disarm`](Doorbell::disarm).
    #[must_use]
    pub fn event_descriptor(&self) -> BorrowedFd<'_> {
        self.bell.event.descriptor()
    }
}

impl Doorbell {
    #[cfg(ray_loom)]
    pub(crate) fn on_heap() -> Doorbell {
        Doorbell {
            bell: Arc::new(Bell {
                memory: Memory::on_heap(1),
                event: Event::modelled(),
            }),
            armed: false,
        }
    }

    /// The end for this process's own threads.
    #[must_use]
    pub fn ringer(&self) -> Ringer {
        Ringer {
            bell: Arc::clone(&self.bell),
        }
    }

    /// A swap, so that its place among the producers' swaps is certain (BELL-3). It costs nothing beside the sleep.
    fn set(&self, value: u32) -> u32 {
        self.bell.word().swap(value, Ordering::AcqRel)
    }

    /// Announces a waiter and looks once more; `false` when something is ready, and then nothing is announced.
    fn announce(&self, waiter: Waiter, ready: &mut dyn FnMut() -> bool) -> bool {
        self.set(waiter as u32);
        // BELL-1, the waiter's side.
        fence(Ordering::SeqCst);
        if ready() {
            self.set(AWAKE);
            return false;
        }
        true
    }

    /// Sleeps until rung, until `deadline`, or not at all if `ready` holds. Says whether anything but the deadline ended it;
    /// as with every condition variable, look again.
    pub fn sleep(&mut self, deadline: Option<Instant>, mut ready: impl FnMut() -> bool) -> bool {
        if !self.announce(Waiter::Futex, &mut ready) {
            return true;
        }
        let mut in_time = true;
        while in_time && self.bell.word().load(Ordering::Acquire) == Waiter::Futex as u32 {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            in_time = left != Some(Duration::ZERO) && sync::futex_wait(self.bell.word(), Waiter::Futex as u32, left);
        }
        self.set(AWAKE);
        in_time
    }

    /// Announces a reactor: from now on a producer makes [`event_descriptor`](Doorbell::event_descriptor) readable. `false` when
    /// `ready` holds: do not park.
    ///
    /// A thread may take the bell from a parked reactor with [`disarm`](Doorbell::disarm), drain and sleep by itself, and arm
    /// it again on the reactor's behalf; if that says `false`, it calls [`nudge`](Doorbell::nudge).
    #[must_use = "a reactor that parks although something is ready sleeps too long"]
    pub fn arm(&mut self, mut ready: impl FnMut() -> bool) -> bool {
        self.armed = true;
        self.announce(Waiter::EventFd, &mut ready)
    }

    /// Ends what [`arm`](Doorbell::arm) began: the process is awake, and the eventfd is no longer readable.
    pub fn disarm(&mut self) {
        self.set(AWAKE);
        if std::mem::take(&mut self.armed) {
            self.bell.event.drain();
        }
    }

    /// As [`disarm`](Doorbell::disarm), by a thread that is no reactor: where the announcement still stands, nobody has rung for
    /// it, and the system call is saved. A producer that was slow to ring for an earlier one may leave the eventfd readable; so
    /// a reactor, which would find it so for ever, must not use this.
    pub fn take_over(&mut self) {
        let before = self.set(AWAKE);
        if std::mem::take(&mut self.armed) && before != Waiter::EventFd as u32 {
            self.bell.event.drain();
        }
    }

    /// Makes the eventfd readable, so that a parked reactor looks.
    pub fn nudge(&self) {
        self.bell.event.signal();
    }

    #[cfg(ray_loom)]
    pub(crate) fn park(&self) {
        self.bell.event.park();
    }
}

#[cfg(not(ray_loom))]
impl Ringer {
    /// The bell behind a peer's descriptors.
    ///
    /// # Errors
    /// [`SetupError::Foreign`] when the memory is no sealed bell.
    pub fn open(descriptors: BellDescriptors) -> Result<Ringer, SetupError> {
        let memory = Memory::Mapped(crate::memory::Mapping::open(descriptors.memory)?);
        Ok(Ringer {
            bell: Arc::new(Bell {
                memory,
                event: Event(descriptors.event),
            }),
        })
    }

    /// What a peer [opens](Ringer::open).
    ///
    /// # Errors
    /// [`SetupError::System`] when no descriptor is left.
    pub fn descriptors(&self) -> Result<BellDescriptors, SetupError> {
        let memory = self.bell.memory.descriptor().ok_or(SetupError::System {
            call: "dup",
            source: rustix::io::Errno::BADF,
        })?;
        let duplicate =
            |descriptor| rustix::io::fcntl_dupfd_cloexec(descriptor, 0).map_err(SetupError::system("F_DUPFD_CLOEXEC"));
        Ok(BellDescriptors {
            memory: duplicate(memory)?,
            event: duplicate(self.bell.event.descriptor())?,
        })
    }
}

impl Ringer {
    /// Wakes the process if it sleeps. Call it after publishing; once for a batch.
    #[inline]
    pub fn ring(&self) -> Rung {
        // BELL-1, the producer's side: all that was published comes before the look.
        fence(Ordering::SeqCst);
        if self.bell.word().load(Ordering::Relaxed) == AWAKE {
            Rung::Awake
        } else {
            self.wake()
        }
    }

    /// Wakes the process although its word says that it is awake: a peer that has ended may have changed the word, and not
    /// lived to make the call (BELL-4).
    pub fn rouse(&self) {
        self.bell.word().swap(AWAKE, Ordering::AcqRel);
        sync::futex_wake(self.bell.word());
        self.bell.event.signal();
    }

    /// Swaps the waiter's announcement away, and gets no farther.
    #[cfg(all(test, ray_loom))]
    pub(crate) fn die_while_ringing(&self) {
        fence(Ordering::SeqCst);
        self.bell.word().swap(AWAKE, Ordering::AcqRel);
    }

    /// Whether the process is awake, as far as one can tell from outside.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.bell.word().load(Ordering::Relaxed) == AWAKE
    }

    #[cold]
    fn wake(&self) -> Rung {
        let waiter = self.bell.word().swap(AWAKE, Ordering::AcqRel);
        if waiter == AWAKE {
            // Another producer was faster (BELL-2), or the waiter came back by itself.
            return Rung::Awake;
        }
        if waiter != Waiter::EventFd as u32 {
            sync::futex_wake(self.bell.word());
        }
        if waiter != Waiter::Futex as u32 {
            self.bell.event.signal();
        }
        Rung::Woke
    }
}
