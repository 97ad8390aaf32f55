//! Where tasks of a line go when one that was sent is taken back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::super::{Out, Outgoing, State, Timer};
use crate::config::Cluster;
use crate::error::RayError;
use crate::ids::{TaskId, WorkerId};
use crate::registry::{Identity, ItemKind, RemoteFunction, RemoteItem};
use crate::remote::{FunctionBody, Outcome, TaskOptions};
use crate::wire::{Frame, HostLease, LeaseShape, SchedulingStrategy, TaskOutcome};
use crate::worker::shape::Shape;
use crate::worker::state::NewTask;
use crate::worker::task::{CallOptions, Template};

fn template() -> Arc<Template> {
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
    let shape = LeaseShape {
        resources: BTreeMap::from([("CPU".to_owned(), 10_000)]),
        strategy: SchedulingStrategy::Default {},
        shared: false,
        name: "add".into(),
    };
    Arc::new(Template {
        item: Box::leak(Box::new(RemoteItem::new(identity, ItemKind::Function(function)))),
        name: "add".into(),
        shape: Shape::new(shape),
        resources: None,
        options: CallOptions::default(),
        max_retries: 0,
        runs_on_caller: true,
        can_be_local: false,
    })
}

fn submit(state: &mut State, template: &Arc<Template>, out: &mut Out) -> TaskId {
    let new = NewTask {
        template: template.clone(),
        call: None,
        construct: None,
        name: None,
        parent: TaskId::default(),
        args: SmallVec::new(),
        nested: SmallVec::new(),
        returns: 1,
        stream: None,
        max_retries: Some(0),
        timeout: None,
    };
    state.submit(new, out.now, out).task
}

/// Takes out the leases that were asked for, and the tasks that were sent.
fn sent(out: &mut Out) -> (Vec<u64>, Vec<TaskId>) {
    let (mut requests, mut tasks) = (Vec::new(), Vec::new());
    for (_, outgoing) in out.sends.drain(..) {
        match outgoing {
            Outgoing::Frame(Frame::RequestLease { request, .. }) => requests.push(request),
            Outgoing::Task { task, .. } => tasks.push(task),
            _ => {}
        }
    }
    (requests, tasks)
}

/// A process with a lease of a worker that takes tasks by ring, and what it was given.
fn leased() -> (State, WorkerId, Arc<Template>, Out) {
    let mut state = State::new(WorkerId::random(), &Cluster::default());
    let (worker, template, now) = (WorkerId::random(), template(), Instant::now());
    let mut out = Out::new(now);
    let first = submit(&mut state, &template, &mut out);
    let (requests, _) = sent(&mut out);
    let lease = HostLease {
        id: 1,
        gpus: Vec::new(),
    };
    state.lease_granted(requests[0], lease, worker, 1, now, &mut out);
    state.ring_up(worker);
    assert_eq!(sent(&mut out).1, [first]);
    (state, worker, template, out)
}

fn done(state: &mut State, worker: WorkerId, task: TaskId, out: &mut Out) {
    let outcome = TaskOutcome::Failed {
        error: RayError::SessionEnded {},
        retry: false,
    };
    state.task_done(worker, (task, 0), outcome, (true, 1), out);
}

#[test]
fn a_lease_whose_cancelled_task_had_not_begun_takes_the_next_one() {
    let (mut state, worker, template, mut out) = leased();
    let first = *state.tasks.keys().next().unwrap();
    let second = submit(&mut state, &template, &mut out);
    assert!(sent(&mut out).1.is_empty());
    let error = RayError::Cancelled {
        task: first,
        name: "add".into(),
    };
    state.cancel(first, &error, true, out.now, &mut out);
    assert_eq!(out.take_back.pop(), Some((worker, Some((first, true)))));
    // It was still in the ring.
    state.taken_back(worker, &[first], out.now, &mut out);
    assert_eq!(sent(&mut out).1, [second]);
}

#[test]
fn le_4_a_worker_that_stalled_in_a_task_which_has_ended_takes_the_next_one() {
    let (mut state, worker, template, mut out) = leased();
    let first = *state.tasks.keys().next().unwrap();
    done(&mut state, worker, first, &mut out);
    let (second, third) = (
        submit(&mut state, &template, &mut out),
        submit(&mut state, &template, &mut out),
    );
    assert_eq!(sent(&mut out).1, [second, third]);
    // The news of the first task's wait comes by another way than its answer did, and later.
    state.stalled(worker, &mut out);
    assert_eq!(out.take_back.pop(), Some((worker, None)));
    state.taken_back(worker, &[second, third], out.now, &mut out);
    assert_eq!(sent(&mut out).1, [second]);
}

#[test]
fn le_4_what_stands_behind_a_task_that_runs_on_comes_back_and_gets_another_worker() {
    let (mut state, worker, template, mut out) = leased();
    let first = *state.tasks.keys().next().unwrap();
    done(&mut state, worker, first, &mut out);
    out.timers.clear();
    let (long, behind) = (
        submit(&mut state, &template, &mut out),
        submit(&mut state, &template, &mut out),
    );
    assert_eq!(sent(&mut out), (Vec::new(), vec![long, behind]));
    let [(pause, Timer::Ahead)] = out.timers[..] else {
        panic!("{:?}", out.timers)
    };
    // One that ends in time holds up nobody.
    state.timer(Timer::Ahead, out.now, &mut out);
    assert!(out.take_back.is_empty() && out.timers.len() == 2);
    let later = out.now + pause;
    state.timer(Timer::Ahead, later, &mut out);
    assert_eq!(out.take_back, [(worker, None)]);
    state.taken_back(worker, &[behind], later, &mut out);
    let (requests, tasks) = sent(&mut out);
    assert_eq!((requests.len(), tasks.len()), (1, 0));
}
