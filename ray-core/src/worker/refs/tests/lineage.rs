use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::ids::{FIRST_PUT_INDEX, ObjectId, TaskId, WorkerId};
use crate::worker::refs::{Effect, LineageTable, Unreconstructable};

fn task(counter: u64) -> TaskId {
    TaskId::new(WorkerId::from_bytes([7; 16]), counter)
}

fn result(counter: u64) -> ObjectId {
    task(counter).object(1)
}

/// Runs a chain of tasks: each takes the result of the one before.
fn chain(table: &mut LineageTable, length: u64, effects: &mut Vec<Effect>) {
    for counter in 0..length {
        let args = counter.checked_sub(1).map(result);
        table.submitted(task(counter), 100, args, 1);
        table.finished(task(counter), effects);
    }
}

fn released(effects: &[Effect]) -> Vec<TaskId> {
    let tasks = effects.iter().filter_map(|effect| match effect {
        Effect::ReleaseSpec { task } => Some(*task),
        _ => None,
    });
    tasks.collect()
}

#[test]
fn ln_1_a_dropped_arguments_lineage_stays_until_nothing_needs_it() {
    let (mut table, mut effects) = (LineageTable::new(1 << 20), Vec::new());
    chain(&mut table, 3, &mut effects);
    table.out_of_scope(result(0), &mut effects);
    table.out_of_scope(result(1), &mut effects);
    assert_eq!((effects.len(), table.len(), table.bytes()), (0, 3, 300));
    let order = table.tasks_to_rerun(result(2), |_| false).unwrap();
    assert_eq!(order, [0, 1, 2].map(task));
    assert_eq!(
        table.tasks_to_rerun(result(2), |object| *object == result(1)).unwrap(),
        [task(2)]
    );
    table.out_of_scope(result(2), &mut effects);
    assert_eq!(released(&effects), [2, 1, 0].map(task));
    assert!(table.is_empty() && table.bytes() == 0);
}

#[test]
fn ln_2_ln_3_the_oldest_is_given_up_and_its_dependants_say_so() {
    let (mut table, mut effects) = (LineageTable::new(250), Vec::new());
    chain(&mut table, 3, &mut effects);
    assert_eq!(released(&effects), [task(0)]);
    assert_eq!(table.bytes(), 200);
    assert_eq!(
        table.tasks_to_rerun(result(2), |_| false),
        Err(Unreconstructable::LineageEvicted {
            task: task(0),
            limit: 250
        })
    );
    assert!(table.tasks_to_rerun(result(2), |object| *object == result(0)).is_ok());
    for counter in 0..3 {
        table.out_of_scope(result(counter), &mut effects);
    }
    assert!(table.is_empty());
    assert_eq!(released(&effects), [0, 2, 1].map(task));
}

#[test]
fn a_running_task_is_neither_released_nor_given_up() {
    let (mut table, mut effects) = (LineageTable::new(50), Vec::new());
    table.submitted(task(1), 100, [], 1);
    table.out_of_scope(result(1), &mut effects);
    assert_eq!(effects, []);
    table.finished(task(1), &mut effects);
    assert_eq!(released(&effects), [task(1)]);
    assert!(table.is_empty() && table.bytes() == 0);
}

#[test]
fn what_was_put_or_may_not_be_retried_cannot_be_made_again() {
    let mut table = LineageTable::new(1 << 20);
    let (put, unknown) = (task(9).object(FIRST_PUT_INDEX), result(8));
    table.submitted(task(1), 100, [put], 1);
    table.submitted(task(2), 100, [unknown], 1);
    for counter in [1, 2] {
        table.finished(task(counter), &mut Vec::new());
    }
    let rerun = |counter| table.tasks_to_rerun(result(counter), |_| false);
    assert_eq!(rerun(1), Err(Unreconstructable::Put { object: put }));
    assert_eq!(rerun(2), Err(Unreconstructable::NotKept { task: task(8) }));
    assert_eq!(rerun(8), Err(Unreconstructable::NotKept { task: task(8) }));
}

#[test]
fn a_result_made_again_for_a_rerun_can_go_again_without_its_lineage() {
    let (mut table, mut effects) = (LineageTable::new(1 << 20), Vec::new());
    chain(&mut table, 2, &mut effects);
    table.out_of_scope(result(0), &mut effects);
    for counter in table.tasks_to_rerun(result(1), |_| false).unwrap() {
        table.resubmitted(counter).unwrap();
    }
    table.back_in_scope(result(0));
    assert_eq!(table.tasks_to_rerun(result(1), |_| false), Ok(vec![]));
    table.finished(task(0), &mut effects);
    table.finished(task(1), &mut effects);
    table.out_of_scope(result(0), &mut effects);
    assert_eq!((effects.len(), table.len(), table.bytes()), (0, 2, 200));
    table.out_of_scope(result(1), &mut effects);
    assert!(table.is_empty());
}

#[test]
fn ln_4_a_long_chain_is_released_without_recursion() {
    let (mut table, mut effects) = (LineageTable::new(usize::MAX), Vec::new());
    let length = 200_000;
    chain(&mut table, length, &mut effects);
    for counter in 0..length {
        table.out_of_scope(result(counter), &mut effects);
    }
    assert_eq!(effects.len() as u64, length);
    assert!(table.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn ln_1_to_ln_4_each_specification_is_released_once_and_the_limit_holds(
        tasks in proptest::collection::vec((1..200usize, proptest::collection::vec(any::<u64>(), 0..3)), 1..40),
        order in proptest::collection::vec(any::<usize>(), 0..80),
        limit in 100..3000usize,
    ) {
        let mut table = LineageTable::new(limit);
        let mut effects = Vec::new();
        let mut in_scope = BTreeSet::new();
        let mut graph: BTreeMap<TaskId, Vec<ObjectId>> = BTreeMap::new();
        let mut order = order.into_iter();
        for (counter, (bytes, args)) in (0..).zip(tasks) {
            let args: Vec<_> = args.into_iter().filter(|_| counter > 0).map(|arg| result(arg % counter))
                .filter(|arg| in_scope.contains(arg)).collect();
            table.submitted(task(counter), bytes, args.clone(), 1);
            graph.insert(task(counter), args);
            in_scope.insert(result(counter));
            table.finished(task(counter), &mut effects);
            prop_assert!(table.bytes() <= limit);
            if let Some(pick) = order.next().filter(|pick| pick % 2 == 0) {
                let object = *in_scope.iter().nth(pick % in_scope.len()).unwrap();
                in_scope.remove(&object);
                table.out_of_scope(object, &mut effects);
            }
            // What is in scope can be made again in an order that suits, or the reason is that something was given up.
            for object in &in_scope {
                match table.tasks_to_rerun(*object, |_| false) {
                    Err(reason) => prop_assert!(matches!(reason, Unreconstructable::LineageEvicted { .. }), "{reason}"),
                    Ok(order) => for (at, task) in order.iter().enumerate() {
                        prop_assert!(graph[task].iter().all(|arg| order[..at].contains(&arg.task())));
                    }
                }
            }
        }
        for object in in_scope {
            table.out_of_scope(object, &mut effects);
        }
        let mut all = released(&effects);
        all.sort();
        prop_assert_eq!(all, graph.into_keys().collect::<Vec<_>>());
        prop_assert!(table.is_empty() && table.bytes() == 0);
    }
}
