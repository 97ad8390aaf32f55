//! RC-1 to RC-7 under random schedules: processes with tables, a FIFO channel for each ordered pair with any delay,
//! references copied, dropped, sent, put into values and served, processes killed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use proptest::prelude::*;

use crate::ids::{FIRST_PUT_INDEX, ObjectId, TaskId, WorkerId};
use crate::worker::refs::{Effect, Hold, RefTable};

/// A reference in a frame: the object and its owner's number.
type Ref = (ObjectId, usize);

#[derive(Debug)]
enum Message {
    /// Arguments or a result: references, held as handles.
    Frame(Vec<Ref>),
    /// A value of the first object, which contains the others.
    Value(ObjectId, Vec<Ref>),
    Handover(ObjectId, usize),
    Release(ObjectId, u32),
    Died(usize),
}

#[derive(Debug, Clone)]
enum Action {
    Create(usize),
    Copy {
        at: usize,
        pick: usize,
        hold: bool,
    },
    Drop {
        at: usize,
        pick: usize,
    },
    Send {
        at: usize,
        to: usize,
        picks: Vec<usize>,
    },
    /// `at` makes a value, which contains `picks`, of an object that it holds, for the object's owner.
    Fill {
        at: usize,
        outer: usize,
        picks: Vec<usize>,
    },
    /// The owner of an object serves its value to a holder.
    Serve {
        to: usize,
        pick: usize,
    },
    Deliver {
        from: usize,
        to: usize,
    },
    Kill(usize),
}

fn action(kill: u32) -> impl Strategy<Value = Action> {
    let picks = || proptest::collection::vec(any::<usize>(), 1..4);
    let (at, pick) = (|| 0..6usize, any::<usize>);
    prop_oneof![
        4 => at().prop_map(Action::Create),
        2 => (at(), pick(), any::<bool>()).prop_map(|(at, pick, hold)| Action::Copy { at, pick, hold }),
        8 => (at(), pick()).prop_map(|(at, pick)| Action::Drop { at, pick }),
        6 => (at(), at(), picks()).prop_map(|(at, to, picks)| Action::Send { at, to, picks }),
        3 => (at(), pick(), picks()).prop_map(|(at, outer, picks)| Action::Fill { at, outer, picks }),
        3 => (at(), pick()).prop_map(|(to, pick)| Action::Serve { to, pick }),
        20 => (at(), at()).prop_map(|(from, to)| Action::Deliver { from, to }),
        kill => at().prop_map(Action::Kill),
    ]
}

struct Cluster {
    tables: Vec<RefTable>,
    /// What the program in each process holds.
    held: Vec<Vec<(ObjectId, Hold)>>,
    alive: Vec<bool>,
    channels: BTreeMap<(usize, usize), VecDeque<Message>>,
    numbers: HashMap<WorkerId, usize>,
    owners: HashMap<ObjectId, usize>,
    /// The order of creation: a value contains only older objects.
    ages: HashMap<ObjectId, u64>,
    freed: BTreeSet<ObjectId>,
}

impl Cluster {
    fn new(count: usize) -> Self {
        let workers: Vec<_> = (0..count)
            .map(|number| WorkerId::from_bytes([number as u8 + 1; 16]))
            .collect();
        Self {
            tables: workers.iter().map(|worker| RefTable::new(*worker)).collect(),
            held: vec![Vec::new(); count],
            alive: vec![true; count],
            channels: BTreeMap::new(),
            numbers: workers
                .iter()
                .enumerate()
                .map(|(number, worker)| (*worker, number))
                .collect(),
            owners: HashMap::new(),
            ages: HashMap::new(),
            freed: BTreeSet::new(),
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        assert_ne!(from, to);
        if self.alive[to] {
            self.channels.entry((from, to)).or_default().push_back(message);
        }
    }

    fn carry_out(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::SendHandover { owner, object, to } => {
                    self.send(at, self.numbers[&owner], Message::Handover(object, self.numbers[&to]));
                }
                Effect::SendRelease { owner, object, count } => {
                    self.send(at, self.numbers[&owner], Message::Release(object, count));
                }
                Effect::FreeValue { object } if self.owners[&object] == at => {
                    assert!(self.freed.insert(object), "RC-4: {object} is freed twice");
                }
                Effect::FreeValue { .. } | Effect::OwnerDied { .. } => {}
                Effect::ReleaseSpec { .. } => unreachable!(),
            }
        }
    }

    fn pick(&self, at: usize, pick: usize) -> Option<(usize, ObjectId)> {
        let held = &self.held[at];
        (!held.is_empty()).then(|| (pick % held.len(), held[pick % held.len()].0))
    }

    fn refs(&self, objects: impl IntoIterator<Item = ObjectId>) -> Vec<Ref> {
        objects
            .into_iter()
            .map(|object| (object, self.owners[&object]))
            .collect()
    }

    fn hand_over_all(&mut self, at: usize, to: usize, refs: &[Ref]) {
        let (receiver, mut effects) = (self.tables[to].me(), Vec::new());
        for (object, _) in refs {
            self.tables[at].hand_over(*object, receiver, &mut effects).unwrap();
        }
        self.carry_out(at, effects);
    }

    fn act(&mut self, action: Action) {
        let count = self.tables.len();
        let mut effects = Vec::new();
        match action {
            Action::Create(at) if self.alive[at % count] => {
                let at = at % count;
                let age = self.ages.len() as u64;
                let object = TaskId::new(self.tables[at].me(), age).object(FIRST_PUT_INDEX);
                self.owners.insert(object, at);
                self.ages.insert(object, age);
                self.tables[at].own(object, Hold::Handle);
                self.held[at].push((object, Hold::Handle));
            }
            Action::Copy { at, pick, hold } => {
                let at = at % count;
                if let Some((_, object)) = self.pick(at, pick) {
                    let hold = if hold { Hold::Handle } else { Hold::Task };
                    self.tables[at].add(object, hold).unwrap();
                    self.held[at].push((object, hold));
                }
            }
            Action::Drop { at, pick } => {
                let at = at % count;
                if let Some((index, _)) = self.pick(at, pick) {
                    let (object, hold) = self.held[at].swap_remove(index);
                    self.tables[at].remove(object, hold, &mut effects).unwrap();
                    self.carry_out(at, effects);
                }
            }
            Action::Send { at, to, picks } if at % count != to % count => {
                let (at, to) = (at % count, to % count);
                let refs = self.refs(
                    picks
                        .into_iter()
                        .filter_map(|pick| self.pick(at, pick))
                        .map(|(_, object)| object),
                );
                if self.alive[at] {
                    self.hand_over_all(at, to, &refs);
                    self.send(at, to, Message::Frame(refs));
                }
            }
            Action::Fill { at, outer, picks } => {
                let at = at % count;
                let Some((_, outer)) = self.pick(at, outer) else { return };
                let inner = picks
                    .into_iter()
                    .filter_map(|pick| self.pick(at, pick))
                    .map(|(_, object)| object);
                let refs = self.refs(inner.filter(|object| self.ages[object] < self.ages[&outer]));
                let owner = self.owners[&outer];
                if owner == at {
                    for (object, _) in &refs {
                        self.tables[at].add(*object, Hold::Container).unwrap();
                    }
                    self.tables[at].contain(outer, refs.iter().map(|(object, _)| *object), &mut effects);
                    self.carry_out(at, effects);
                } else {
                    self.hand_over_all(at, owner, &refs);
                    self.send(at, owner, Message::Value(outer, refs));
                }
            }
            Action::Serve { to, pick } => {
                let to = to % count;
                let Some((_, object)) = self.pick(to, pick) else { return };
                let owner = self.owners[&object];
                if owner != to && self.alive[owner] {
                    let contained = self.tables[owner].get(&object).unwrap().contained.to_vec();
                    let refs = self.refs(contained);
                    self.hand_over_all(owner, to, &refs);
                    self.send(owner, to, Message::Value(object, refs));
                }
            }
            Action::Deliver { from, to } => {
                if let Some(message) = self
                    .channels
                    .get_mut(&(from % count, to % count))
                    .and_then(VecDeque::pop_front)
                {
                    self.deliver(from % count, to % count, message);
                }
            }
            Action::Kill(at) if self.alive.iter().filter(|alive| **alive).count() > 1 && self.alive[at % count] => {
                let at = at % count;
                self.alive[at] = false;
                self.held[at].clear();
                self.channels.retain(|(_, to), _| *to != at);
                for other in (0..count).filter(|other| *other != at) {
                    self.send(at, other, Message::Died(at));
                }
            }
            Action::Create(_) | Action::Send { .. } | Action::Kill(_) => {}
        }
    }

    fn deliver(&mut self, from: usize, at: usize, message: Message) {
        let mut effects = Vec::new();
        let sender = self.tables[from].me();
        match message {
            Message::Frame(refs) => {
                for (object, owner) in refs {
                    let owner = self.tables[owner].me();
                    self.tables[at]
                        .receive(object, owner, Hold::Handle, &mut effects)
                        .unwrap();
                    self.held[at].push((object, Hold::Handle));
                }
            }
            Message::Value(outer, refs) => {
                for (object, owner) in &refs {
                    let owner = self.tables[*owner].me();
                    self.tables[at]
                        .receive(*object, owner, Hold::Container, &mut effects)
                        .unwrap();
                }
                self.tables[at].contain(outer, refs.iter().map(|(object, _)| *object), &mut effects);
            }
            Message::Handover(object, to) => {
                let to = self.tables[to].me();
                self.tables[at].handover_received(object, to, &mut effects).unwrap();
            }
            Message::Release(object, count) => {
                self.tables[at]
                    .release_received(object, sender, count, &mut effects)
                    .unwrap();
            }
            Message::Died(who) => {
                let who = self.tables[who].me();
                self.tables[at].worker_died(who, &mut effects);
            }
        }
        self.carry_out(at, effects);
    }

    /// RC-2, in every state.
    fn check(&self) {
        let in_scope = |object: &ObjectId, owner: usize| !self.alive[owner] || self.tables[owner].contains(object);
        for (at, table) in self.tables.iter().enumerate().filter(|(at, _)| self.alive[*at]) {
            for held in table.iter() {
                assert!(in_scope(&held.object, self.owners[&held.object]), "{at} holds {held:?}");
                for inner in held.contained {
                    assert!(table.contains(inner), "the value of {} contains {inner}", held.object);
                }
            }
        }
        for ((from, to), channel) in &self.channels {
            for message in channel {
                if let Message::Frame(refs) | Message::Value(_, refs) = message {
                    for (object, owner) in refs {
                        assert!(in_scope(object, *owner), "{object} is on its way from {from} to {to}");
                    }
                }
            }
        }
    }

    /// RC-3: everything arrives, everybody lets go, and nothing remains.
    fn wind_down(&mut self) {
        loop {
            while let Some((from, to)) = self
                .channels
                .iter()
                .find(|(_, queue)| !queue.is_empty())
                .map(|(key, _)| *key)
            {
                self.act(Action::Deliver { from, to });
                self.check();
            }
            let Some(at) = (0..self.tables.len()).find(|at| !self.held[*at].is_empty()) else {
                break;
            };
            self.act(Action::Drop { at, pick: 0 });
        }
        for (at, table) in self.tables.iter().enumerate().filter(|(at, _)| self.alive[*at]) {
            assert!(
                table.is_empty(),
                "{at} still has {:?}",
                table.iter().collect::<Vec<_>>()
            );
            assert!(!table.is_lending());
        }
        let owned_by_living = self.owners.iter().filter(|(_, owner)| self.alive[**owner]);
        for (object, _) in owned_by_living {
            assert!(self.freed.contains(object), "RC-4: {object} was never freed");
        }
    }
}

fn run(count: usize, actions: Vec<Action>) {
    let mut cluster = Cluster::new(count);
    for action in actions {
        cluster.act(action);
        cluster.check();
    }
    cluster.wind_down();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn rc_1_to_rc_4_no_object_is_freed_early_late_or_twice(
        count in 2..=6usize,
        actions in proptest::collection::vec(action(0), 1..250),
    ) {
        run(count, actions);
    }

    #[test]
    fn rc_5_rc_6_nor_when_processes_die(
        count in 2..=6usize,
        actions in proptest::collection::vec(action(1), 1..250),
    ) {
        run(count, actions);
    }
}
