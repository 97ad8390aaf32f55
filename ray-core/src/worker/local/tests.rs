//! What lines, hands and mailboxes do with tasks, without threads and sessions.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::*;
use crate::config::Cluster;
use crate::error::RayError;
use crate::ids::{ActorId, TaskId, WorkerId};
use crate::registry::{Identity, ItemKind, RemoteFunction, RemoteItem};
use crate::remote::{FunctionBody, MethodBody, Outcome, TaskOptions};
use crate::wire::{Frame, LeaseShape, SchedulingStrategy};
use crate::worker::context::TaskContext;
use crate::worker::execute::actor_queue::Kind;
use crate::worker::shape::Shape;
use crate::worker::state::{Out, Outgoing, State};
use crate::worker::task::{CallOptions, Template};

const SHARED: Kind = Kind {
    exclusive: false,
    is_async: false,
    group: 0,
};
const EXCLUSIVE: Kind = Kind {
    exclusive: true,
    ..SHARED
};

fn shape() -> Shape {
    Shape::new(LeaseShape {
        resources: BTreeMap::new(),
        strategy: SchedulingStrategy::Default {},
        shared: true,
        name: "add".into(),
    })
}

fn task_with(number: u64, call: Option<LocalCall>) -> Arc<LocalTask> {
    let body = FunctionBody::Sync(|_| Outcome::one(()));
    let function = RemoteFunction::new(body, &[], 1, TaskOptions::default);
    let identity = Identity {
        crate_name: "app",
        crate_version: "0.1.0",
        module_path: "app",
        name: "app::add",
        signature: "fn add()",
        file: "src/main.rs",
        line: 3,
        column: 1,
    };
    let template = Template {
        item: Box::leak(Box::new(RemoteItem::new(identity, ItemKind::Function(function)))),
        name: "add".into(),
        shape: shape(),
        resources: None,
        options: CallOptions::default(),
        max_retries: 3,
        runs_on_caller: true,
        can_be_local: true,
    };
    let id = TaskId::new(WorkerId::default(), number);
    LocalTask::new(
        Weak::new(),
        id,
        TaskId::default(),
        Arc::new(template),
        call,
        Arguments::new(),
    )
}

fn task(number: u64) -> Arc<LocalTask> {
    task_with(number, None)
}

fn call(number: u64, kind: Kind) -> Arc<LocalTask> {
    let call = LocalCall {
        actor: ActorId::default(),
        host: Weak::new(),
        body: MethodBody::SharedSync(|_, _| Outcome::one(())),
        kind,
    };
    task_with(number, Some(call))
}

fn line_of(number: u64) -> LocalLine {
    let state = State::new(WorkerId::default(), &Cluster::default());
    let line = LocalLine::new(Some(shape()), state.common());
    for number in 0..number {
        line.push(task(number)).unwrap();
    }
    line
}

fn number(task: &Arc<LocalTask>) -> u64 {
    (0..1000)
        .find(|number| task.id == TaskId::new(WorkerId::default(), *number))
        .unwrap()
}

fn numbers(tasks: &[Arc<LocalTask>]) -> Vec<u64> {
    tasks.iter().map(number).collect()
}

fn context() -> Arc<TaskContext> {
    Arc::new(TaskContext::default())
}

#[test]
fn lt_1_a_task_is_claimed_once_and_a_call_not_before_its_turn() {
    let one = task(1);
    assert!(one.is_waiting());
    assert!(one.claim(&context()).is_some());
    assert!(one.claim(&context()).is_none() && !one.is_waiting());
    let parked = call(2, SHARED);
    assert!(!parked.is_waiting() && parked.claim(&context()).is_none());
    parked.release();
    assert!(parked.claim(&context()).is_some());
}

#[test]
fn a_hand_takes_one_long_task_or_many_short_ones_in_order() {
    let line = line_of(40);
    let hand = line.take_hand();
    assert_eq!(number(&line.next(&hand).unwrap()), 0);
    assert_eq!((line.waiting(), line.all().len()), (39, 40));
    line.set_short(true);
    let taken: Vec<u64> = std::iter::from_fn(|| line.next(&hand))
        .map(|task| number(&task))
        .collect();
    assert_eq!(taken, (1..40).collect::<Vec<u64>>());
    assert!(line.all().is_empty());
}

#[test]
fn what_a_hand_has_not_begun_may_be_taken_by_another_one() {
    let line = line_of(16);
    line.set_short(true);
    let (slow, quick) = (line.take_hand(), line.take_hand());
    let begun = line.next(&slow).unwrap();
    let rest: Vec<u64> = std::iter::from_fn(|| line.next(&quick))
        .map(|task| number(&task))
        .collect();
    assert_eq!(rest.len(), 15);
    assert!(!rest.contains(&number(&begun)));
    // The one that runs is still to be found.
    assert_eq!(numbers(&line.all()), [number(&begun)]);
}

#[test]
fn a_hand_that_is_laid_down_gives_back_what_it_has_in_its_order() {
    let line = line_of(20);
    line.set_short(true);
    let hand = line.take_hand();
    line.next(&hand).unwrap();
    assert!(line.waiting() < 19);
    line.lay_down(&hand);
    assert_eq!(numbers(&line.all()), (1..20).collect::<Vec<u64>>());
    assert!(!line.is_served());
}

#[test]
fn what_its_caller_has_claimed_leaves_the_line() {
    let line = line_of(0);
    for number in 0..1000 {
        let first = task(number);
        line.push(first.clone()).unwrap();
        first.claim(&context()).unwrap();
        line.claimed_out_of_turn(&first);
        assert_eq!(line.waiting(), 0);
    }
    let tasks: Vec<_> = (0..500).map(task).collect();
    tasks.iter().for_each(|task| line.push(task.clone()).unwrap());
    for task in &tasks[1..499] {
        task.claim(&context()).unwrap();
        line.claimed_out_of_turn(task);
    }
    assert!(line.waiting() < 100, "{}", line.waiting());
    let waiting = line.all().into_iter().filter(|task| task.is_waiting());
    assert_eq!(numbers(&waiting.collect::<Vec<_>>()), [0, 499]);
}

#[test]
fn a_line_closes_only_when_nothing_is_there() {
    let line = line_of(1);
    assert!(!line.close_if_unused());
    let hand = line.take_hand();
    line.next(&hand).unwrap();
    assert!(!line.close_if_unused());
    line.lay_down(&hand);
    assert!(line.close_if_unused());
    assert!(line.push(task(2)).is_err());
}

#[test]
fn mb_1_calls_of_both_ways_start_in_one_order() {
    let mailbox = Mailbox::new(0, [], -1);
    let keeper = Arc::new("handle");
    let (first, third) = (call(1, EXCLUSIVE), call(3, EXCLUSIVE));
    let second = Called::Own(TaskId::new(WorkerId::default(), 2));
    let startable = mailbox.push_local(EXCLUSIVE, first.clone(), keeper.clone()).unwrap();
    assert_eq!(numbers(&startable.local), [1]);
    mailbox.push(EXCLUSIVE, second);
    assert!(mailbox.start().is_empty());
    assert!(
        mailbox
            .push_local(EXCLUSIVE, third.clone(), keeper.clone())
            .unwrap()
            .is_empty()
    );
    let (startable, ended) = mailbox.local_ended(EXCLUSIVE, &first);
    assert_eq!(startable.of_state[..], [(EXCLUSIVE, second)]);
    // MB-3.
    drop(ended);
    assert_eq!(Arc::strong_count(&keeper), 2);
    assert_eq!(numbers(&mailbox.ended(EXCLUSIVE).local), [3]);
    drop(mailbox.local_ended(EXCLUSIVE, &third));
    assert!(mailbox.is_quiet() && Arc::strong_count(&keeper) == 1);
}

#[test]
fn a_call_that_is_withdrawn_lets_the_next_pass_whether_its_turn_had_come_or_not() {
    let mailbox = Mailbox::new(0, [], -1);
    let calls: Vec<_> = (0..4).map(|number| call(number, EXCLUSIVE)).collect();
    for call in &calls {
        mailbox.push_local(EXCLUSIVE, call.clone(), Arc::new(())).unwrap();
    }
    let withdraw = |number: usize| numbers(&mailbox.local_ended(EXCLUSIVE, &calls[number]).0.local);
    assert!(withdraw(1).is_empty());
    assert_eq!(withdraw(0), [2]);
    assert_eq!(withdraw(2), [3]);
    // Twice is once.
    assert!(withdraw(2).is_empty());
    assert_eq!(numbers(&mailbox.local()), [3]);
}

#[test]
fn a_closed_mailbox_takes_no_local_call_and_tells_which_there_are() {
    let mailbox = Mailbox::new(0, [], -1);
    let calls: Vec<_> = (0..3).map(|number| call(number, EXCLUSIVE)).collect();
    for call in &calls {
        mailbox.push_local(EXCLUSIVE, call.clone(), Arc::new(())).unwrap();
    }
    mailbox.push(EXCLUSIVE, Called::Foreign(7));
    assert_eq!(mailbox.close(), [Called::Foreign(7)]);
    let mut left = numbers(&mailbox.local());
    left.sort_unstable();
    assert_eq!(left, [0, 1, 2]);
    assert!(mailbox.push_local(SHARED, call(4, SHARED), Arc::new(())).is_none());
    for call in &calls {
        assert!(mailbox.local_ended(EXCLUSIVE, call).0.is_empty());
    }
    assert!(mailbox.local().is_empty());
}

#[test]
fn mb_2_local_calls_wait_behind_those_that_have_not_arrived() {
    let mailbox = Mailbox::new(0, [], -1);
    assert!(mailbox.takes_local());
    mailbox.set_behind(true);
    assert!(!mailbox.takes_local());
    mailbox.set_behind(false);
    assert!(mailbox.takes_local());
    assert!(
        !Mailbox::new(0, [], 10).takes_local(),
        "calls that are limited are counted by the state"
    );
}

#[test]
fn lt_4_a_task_is_not_left_to_whoever_runs_another_one_of_its_line() {
    let line = line_of(1);
    line.set_short(true);
    let hand = line.take_hand();
    // It may be a long one, and wait for what comes now.
    let _runs = line.next(&hand).unwrap();
    line.push(task(2)).unwrap();
    assert!(!line.is_served());
}

/// Takes out the numbers of the leases that were asked for.
fn asked(out: &mut Out) -> Vec<u64> {
    let request = |outgoing| match outgoing {
        Outgoing::Frame(Frame::RequestLease { request, .. }) => Some(request),
        _ => None,
    };
    out.sends
        .drain(..)
        .filter_map(|(_, outgoing)| request(outgoing))
        .collect()
}

#[test]
fn a_line_whose_tasks_cannot_run_asks_for_no_further_lease() {
    let mut state = State::new(WorkerId::default(), &Cluster::default());
    state.shared.hosts = true;
    let line = Arc::new(LocalLine::new(Some(shape()), state.common()));
    for number in 0..3 {
        line.push(task(number)).unwrap();
    }
    let now = Instant::now();
    let mut out = Out::new(now);
    state.local_pushed(&line, &mut out);
    let requests = asked(&mut out);
    assert_eq!(requests.len(), 3);
    let why = RayError::Unschedulable {
        name: "add".into(),
        why: "no node can ever run it".into(),
    };
    for request in requests {
        state.lease_refused(request, &why, now, &mut out);
    }
    assert!(
        asked(&mut out).is_empty(),
        "the refused would be asked for again without end"
    );
    let failed: Vec<_> = out.refused.drain(..).flat_map(|(tasks, _)| tasks).collect();
    assert_eq!(numbers(&failed), [0, 1, 2]);
    // Nothing is left of the line: what comes later stands in a new one.
    assert!(line.is_closed());
}
