//! The arrival queue of an actor: which waiting calls may start.
//!
//! - AQ-1: a call starts when no earlier call that conflicts with it waits or runs, and its group has a slot.
//! - AQ-2: an exclusive call conflicts with every call; shared calls do not conflict with each other.
//! - AQ-3: so the calls of one caller start in order unless groups let later ones pass, and writers do not starve: no
//!   shared call overtakes an exclusive one.

use std::collections::{HashMap, VecDeque};

/// Slots of one group. Calls that are futures and calls that take a thread have limits of their own unless one limit was
/// given for both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) threads: u32,
    pub(super) futures: u32,
    pub(super) both: u32,
}

impl Limits {
    /// One limit for calls of both kinds.
    pub(super) fn of_both(limit: u32) -> Self {
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

/// What the queue knows of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) exclusive: bool,
    pub(super) is_async: bool,
    /// The group's index.
    pub(super) group: usize,
}

/// Calls that wait, and how many run.
#[derive(Debug)]
pub(super) struct ActorQueue<T> {
    waiting: VecDeque<(Kind, T)>,
    groups: Vec<Group>,
    names: HashMap<String, usize>,
    running: usize,
    exclusive_runs: bool,
}

impl<T> ActorQueue<T> {
    /// A queue with the default group at index 0 and these named ones.
    pub(super) fn new(default: Limits, named: impl IntoIterator<Item = (String, u32)>) -> Self {
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
            groups,
            names,
            running: 0,
            exclusive_runs: false,
        }
    }

    /// The index of a named group.
    pub(super) fn group(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// Known group names, for messages.
    pub(super) fn group_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.names.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn push(&mut self, kind: Kind, call: T) {
        self.waiting.push_back((kind, call));
    }

    /// Puts something before all that waits.
    pub(super) fn push_front(&mut self, kind: Kind, call: T) {
        self.waiting.push_front((kind, call));
    }

    /// Takes out the calls that may start now; they count as running from here on.
    pub(super) fn start(&mut self) -> Vec<(Kind, T)> {
        let mut started = Vec::new();
        let mut place = 0;
        while place < self.waiting.len() && !self.exclusive_runs {
            let kind = self.waiting[place].0;
            let group = self.groups.get_mut(kind.group);
            if kind.exclusive {
                // Alone, and nothing that came later passes it.
                if self.running == 0
                    && place == 0
                    && let Some(call) = self.waiting.pop_front()
                {
                    self.exclusive_runs = true;
                    self.running = 1;
                    if let Some(group) = group {
                        *group.used(kind.is_async) += 1;
                    }
                    started.push(call);
                }
                break;
            }
            match group {
                Some(group) if group.has_slot(kind.is_async) => {
                    *group.used(kind.is_async) += 1;
                    self.running += 1;
                    started.extend(self.waiting.remove(place));
                }
                _ => place += 1,
            }
        }
        started
    }

    /// A call that was started has ended.
    pub(super) fn ended(&mut self, kind: Kind) {
        self.running = self.running.saturating_sub(1);
        if kind.exclusive {
            self.exclusive_runs = false;
        }
        if let Some(group) = self.groups.get_mut(kind.group) {
            let used = group.used(kind.is_async);
            *used = used.saturating_sub(1);
        }
    }

    /// Takes out the first waiting call that fits.
    pub(super) fn remove(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let place = self.waiting.iter().position(|(_, call)| fits(call))?;
        self.waiting.remove(place).map(|(_, call)| call)
    }

    /// Whether nothing waits or runs.
    pub(super) fn is_quiet(&self) -> bool {
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
