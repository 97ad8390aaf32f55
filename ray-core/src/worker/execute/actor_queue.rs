//! The arrival queue of an actor: which waiting calls may start.
//!
//! - AQ-1: a call starts when no earlier call that conflicts with it waits or runs, and its group has a slot.
//! - AQ-2: an exclusive call conflicts with every call; shared calls do not conflict with each other.
//! - AQ-3: so the calls of one caller start in order unless groups let later ones pass, and writers do not starve: no
//!   shared call overtakes an exclusive one.

use std::collections::{HashMap, VecDeque};
use std::sync::LazyLock;

/// Slots of one group. Calls that are futures and calls that take a thread have limits of their own unless one limit was
/// given for both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) threads: u32,
    pub(crate) futures: u32,
    pub(crate) both: u32,
}

/// How many async calls of an actor overlap unless it says otherwise, as in Ray.
const ASYNC_CALLS: u32 = 1000;
/// To ask costs system calls, which shared actors are too many for.
static CPUS: LazyLock<u32> = LazyLock::new(|| {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cpus).unwrap_or(u32::MAX)
});

impl Limits {
    /// Those of an actor whose option `max_concurrency` is this; 0: by the methods' kinds.
    pub(crate) fn of_actor(max_concurrency: u32) -> Self {
        if max_concurrency > 0 {
            return Self::of_both(max_concurrency);
        }
        Self {
            threads: *CPUS,
            futures: ASYNC_CALLS,
            both: u32::MAX,
        }
    }

    /// How many calls can run at the same time.
    pub(crate) fn at_once(&self, has_async: bool) -> u32 {
        let futures = if has_async { self.futures } else { 0 };
        self.both.min(self.threads.saturating_add(futures))
    }

    /// One limit for calls of both kinds.
    pub(crate) fn of_both(limit: u32) -> Self {
        Self {
            threads: limit,
            futures: limit,
            both: limit,
        }
    }
}

#[derive(Debug)]
struct Group {
    limits: Limits,
    threads: u32,
    futures: u32,
}

impl Group {
    fn has_slot(&self, is_async: bool) -> bool {
        let own = if is_async {
            self.futures < self.limits.futures
        } else {
            self.threads < self.limits.threads
        };
        own && self.threads + self.futures < self.limits.both
    }

    fn used(&mut self, is_async: bool) -> &mut u32 {
        if is_async { &mut self.futures } else { &mut self.threads }
    }
}

/// Room for so many calls is kept when none waits: an idle actor takes little memory.
const KEPT: usize = 16;

/// What the queue knows of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) exclusive: bool,
    pub(crate) is_async: bool,
    /// The group's index.
    pub(crate) group: usize,
}

/// Calls that wait, and how many run.
#[derive(Debug)]
pub(crate) struct ActorQueue<T> {
    waiting: VecDeque<(Kind, T)>,
    /// How many of these are futures.
    waiting_futures: usize,
    groups: Vec<Group>,
    names: HashMap<String, usize>,
    running: usize,
    exclusive_runs: bool,
}

impl<T> ActorQueue<T> {
    /// A queue with the default group at index 0 and these named ones.
    pub(crate) fn new(default: Limits, named: impl IntoIterator<Item = (String, u32)>) -> Self {
        let mut groups = vec![Group {
            limits: default,
            threads: 0,
            futures: 0,
        }];
        let mut names = HashMap::new();
        for (name, limit) in named {
            names.insert(name, groups.len());
            groups.push(Group {
                limits: Limits::of_both(limit),
                threads: 0,
                futures: 0,
            });
        }
        Self {
            waiting: VecDeque::new(),
            waiting_futures: 0,
            groups,
            names,
            running: 0,
            exclusive_runs: false,
        }
    }

    /// The index of a named group, or the names that there are.
    pub(crate) fn group(&self, name: &str) -> Result<usize, Vec<String>> {
        self.names.get(name).copied().ok_or_else(|| {
            let mut names: Vec<String> = self.names.keys().cloned().collect();
            names.sort_unstable();
            names
        })
    }

    pub(crate) fn push(&mut self, kind: Kind, call: T) {
        self.waiting_futures += usize::from(kind.is_async);
        self.waiting.push_back((kind, call));
    }

    /// Puts one before all that wait.
    pub(crate) fn push_front(&mut self, kind: Kind, call: T) {
        self.waiting_futures += usize::from(kind.is_async);
        self.waiting.push_front((kind, call));
    }

    /// How many run.
    pub(crate) fn running(&self) -> usize {
        self.running
    }

    /// Takes out the calls that may start now; they count as running from here on.
    pub(crate) fn start(&mut self) -> Vec<(Kind, T)> {
        std::iter::from_fn(|| self.start_next()).collect()
    }

    /// Takes out one call that may start now; it counts as running from here on.
    pub(crate) fn start_next(&mut self) -> Option<(Kind, T)> {
        if self.exclusive_runs || self.waiting.is_empty() {
            return None;
        }
        for place in 0..self.waiting.len() {
            let kind = self.waiting[place].0;
            if kind.exclusive {
                // Alone, and nothing that came later passes it.
                if self.running > 0 || place > 0 {
                    return None;
                }
                self.exclusive_runs = true;
            } else if !self
                .groups
                .get(kind.group)
                .is_some_and(|group| group.has_slot(kind.is_async))
            {
                if self.is_full() {
                    return None;
                }
                continue;
            }
            if let Some(group) = self.groups.get_mut(kind.group) {
                *group.used(kind.is_async) += 1;
            }
            self.running += 1;
            return self.take_out(place);
        }
        None
    }

    /// Whether no shared call can start, whatever its group and kind.
    fn is_full(&self) -> bool {
        let mut groups = self.groups.iter();
        groups.all(|group| !group.has_slot(false) && (!group.has_slot(true) || self.waiting_futures == 0))
    }

    /// A call that was started has ended.
    pub(crate) fn ended(&mut self, kind: Kind) {
        self.running = self.running.saturating_sub(1);
        if kind.exclusive {
            self.exclusive_runs = false;
        }
        if let Some(group) = self.groups.get_mut(kind.group) {
            let used = group.used(kind.is_async);
            *used = used.saturating_sub(1);
        }
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT {
            self.waiting = VecDeque::new();
        }
    }

    fn take_out(&mut self, place: usize) -> Option<(Kind, T)> {
        let (kind, call) = self.waiting.remove(place)?;
        self.waiting_futures -= usize::from(kind.is_async);
        Some((kind, call))
    }

    /// Takes out all waiting calls.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        self.waiting_futures = 0;
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|(_, call)| call).collect()
    }

    /// Takes out the first waiting call that fits.
    pub(crate) fn remove(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let place = self.waiting.iter().position(|(_, call)| fits(call))?;
        self.take_out(place).map(|(_, call)| call)
    }

    /// Whether such a call waits.
    pub(crate) fn has(&self, fits: impl Fn(&T) -> bool) -> bool {
        self.iter().any(fits)
    }

    /// The waiting calls, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|(_, call)| call)
    }

    /// Whether nothing waits or runs.
    pub(crate) fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue() -> ActorQueue<u32> {
        let default = Limits {
            threads: 2,
            futures: 3,
            both: u32::MAX,
        };
        ActorQueue::new(default, [("io".to_owned(), 1)])
    }

    fn shared(group: usize) -> Kind {
        Kind {
            exclusive: false,
            is_async: false,
            group,
        }
    }

    const EXCLUSIVE: Kind = Kind {
        exclusive: true,
        is_async: false,
        group: 0,
    };

    fn started(queue: &mut ActorQueue<u32>) -> Vec<u32> {
        queue.start().into_iter().map(|(_, call)| call).collect()
    }

    #[test]
    fn aq2_an_exclusive_call_runs_alone_and_shared_ones_overlap() {
        let mut queue = queue();
        for (kind, call) in [(shared(0), 1), (shared(0), 2), (EXCLUSIVE, 3), (shared(0), 4)] {
            queue.push(kind, call);
        }
        assert_eq!(started(&mut queue), [1, 2]);
        queue.ended(shared(0));
        assert!(started(&mut queue).is_empty());
        queue.ended(shared(0));
        assert_eq!(started(&mut queue), [3]);
        assert!(started(&mut queue).is_empty());
        queue.ended(EXCLUSIVE);
        assert_eq!(started(&mut queue), [4]);
    }

    #[test]
    fn aq1_a_full_group_holds_back_its_own_calls_only() {
        let mut queue = queue();
        for (kind, call) in [(shared(1), 1), (shared(1), 2), (shared(0), 3)] {
            queue.push(kind, call);
        }
        assert_eq!(started(&mut queue), [1, 3]);
        queue.ended(shared(1));
        assert_eq!(started(&mut queue), [2]);
    }

    proptest! {
        #[test]
        fn aq3_no_call_starts_before_an_earlier_one_that_conflicts_with_it(
            calls in proptest::collection::vec((any::<bool>(), any::<bool>(), 0usize..2), 1..40),
            ends in proptest::collection::vec(any::<prop::sample::Index>(), 0..80),
        ) {
            let mut queue = queue();
            for (number, (exclusive, is_async, group)) in (0..).zip(&calls) {
                queue.push(Kind { exclusive: *exclusive, is_async: *is_async, group: *group }, number);
            }
            let mut running: Vec<(Kind, u32)> = Vec::new();
            let mut order = Vec::new();
            let mut ends = ends.into_iter();
            while !queue.is_quiet() {
                let new = queue.start();
                order.extend(new.iter().map(|(_, call)| *call));
                running.extend(new);
                prop_assert!(running.iter().filter(|(kind, _)| kind.exclusive).count() == 0 || running.len() == 1);
                prop_assert!(!running.is_empty());
                let ending = ends.next().map_or(0, |index| index.index(running.len()));
                queue.ended(running.swap_remove(ending).0);
            }
            prop_assert_eq!(order.len(), calls.len());
            for (place, call) in order.iter().enumerate() {
                for later in &order[place + 1..] {
                    let conflict = calls[*call as usize].0 || calls[*later as usize].0;
                    prop_assert!(!conflict || call < later);
                }
            }
        }
    }
}
