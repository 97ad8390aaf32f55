use crate::ids::{FIRST_PUT_INDEX, ObjectId, TaskId, WorkerId};
use crate::worker::refs::{Effect, Hold, RefError, RefTable};

fn table() -> RefTable {
    RefTable::new(WorkerId::random())
}

fn object(owner: &RefTable, counter: u64) -> ObjectId {
    TaskId::new(owner.me(), counter).object(FIRST_PUT_INDEX)
}

fn effects(act: impl FnOnce(&mut Vec<Effect>)) -> Vec<Effect> {
    let mut effects = Vec::new();
    act(&mut effects);
    effects
}

#[test]
fn an_object_is_freed_with_its_last_hold_of_whatever_kind() {
    let mut owner = table();
    let object = object(&owner, 1);
    owner.own(object, Hold::Handle);
    owner.add(object, Hold::Task).unwrap();
    owner.add(object, Hold::Handle).unwrap();
    let nothing = effects(|out| {
        owner.remove(object, Hold::Handle, out).unwrap();
        owner.remove(object, Hold::Handle, out).unwrap();
    });
    assert_eq!(nothing, []);
    assert_eq!(
        owner.remove(object, Hold::Handle, &mut Vec::new()),
        Err(RefError::NotHeld {
            object,
            hold: Hold::Handle
        })
    );
    assert_eq!(
        effects(|out| owner.remove(object, Hold::Task, out).unwrap()),
        [Effect::FreeValue { object }]
    );
    assert_eq!(owner.add(object, Hold::Handle), Err(RefError::NotInScope { object }));
    assert!(owner.is_empty());
}

#[test]
fn a_borrower_keeps_the_object_until_it_releases_all_it_received() {
    let (mut owner, mut borrower) = (table(), table());
    let object = object(&owner, 1);
    owner.own(object, Hold::Handle);
    for _ in 0..2 {
        owner.hand_over(object, borrower.me(), &mut Vec::new()).unwrap();
        borrower
            .receive(object, owner.me(), Hold::Handle, &mut Vec::new())
            .unwrap();
    }
    assert_eq!(effects(|out| owner.remove(object, Hold::Handle, out).unwrap()), []);
    assert!(owner.is_lending());
    assert_eq!(owner.get(&object).unwrap().borrowers, [(borrower.me(), 2)]);
    assert_eq!(effects(|out| borrower.remove(object, Hold::Handle, out).unwrap()), []);
    let released = effects(|out| borrower.remove(object, Hold::Handle, out).unwrap());
    let release = Effect::SendRelease {
        owner: owner.me(),
        object,
        count: 2,
    };
    assert_eq!(released, [release, Effect::FreeValue { object }]);
    let freed = effects(|out| owner.release_received(object, borrower.me(), 2, out).unwrap());
    assert_eq!(freed, [Effect::FreeValue { object }]);
    assert!(!owner.is_lending() && owner.is_empty() && borrower.is_empty());
}

#[test]
fn rc_2_a_release_that_overtakes_its_hand_over_frees_nothing() {
    let (mut owner, mut first, second) = (table(), table(), WorkerId::random());
    let object = object(&owner, 1);
    owner.own(object, Hold::Handle);
    owner.hand_over(object, first.me(), &mut Vec::new()).unwrap();
    first
        .receive(object, owner.me(), Hold::Handle, &mut Vec::new())
        .unwrap();
    owner.remove(object, Hold::Handle, &mut Vec::new()).unwrap();
    let handover = effects(|out| first.hand_over(object, second, out).unwrap());
    assert_eq!(
        handover,
        [Effect::SendHandover {
            owner: owner.me(),
            object,
            to: second
        }]
    );
    // The second has received, used and released it before the first one's hand-over and release arrive.
    assert_eq!(
        effects(|out| owner.release_received(object, second, 1, out).unwrap()),
        []
    );
    assert_eq!(effects(|out| owner.handover_received(object, second, out).unwrap()), []);
    let freed = effects(|out| owner.release_received(object, first.me(), 1, out).unwrap());
    assert_eq!(freed, [Effect::FreeValue { object }]);
}

#[test]
fn a_reference_that_comes_home_is_held_and_not_registered() {
    let (mut owner, mut borrower) = (table(), table());
    let object = object(&owner, 1);
    owner.own(object, Hold::Handle);
    owner.hand_over(object, borrower.me(), &mut Vec::new()).unwrap();
    borrower
        .receive(object, owner.me(), Hold::Task, &mut Vec::new())
        .unwrap();
    assert_eq!(effects(|out| borrower.hand_over(object, owner.me(), out).unwrap()), []);
    owner
        .receive(object, owner.me(), Hold::Handle, &mut Vec::new())
        .unwrap();
    assert_eq!(owner.get(&object).unwrap().handles, 2);
}

#[test]
fn rc_5_a_dead_borrower_holds_nothing_and_gets_nothing() {
    let (mut owner, dead) = (table(), WorkerId::random());
    let [lent, kept] = [1, 2].map(|counter| object(&owner, counter));
    owner.own(lent, Hold::Handle);
    owner.own(kept, Hold::Handle);
    owner.hand_over(lent, dead, &mut Vec::new()).unwrap();
    owner.remove(lent, Hold::Handle, &mut Vec::new()).unwrap();
    assert_eq!(
        effects(|out| owner.worker_died(dead, out)),
        [Effect::FreeValue { object: lent }]
    );
    owner.hand_over(kept, dead, &mut Vec::new()).unwrap();
    owner.handover_received(kept, dead, &mut Vec::new()).unwrap();
    owner.release_received(lent, dead, 1, &mut Vec::new()).unwrap();
    assert!(!owner.is_lending());
    let freed = effects(|out| owner.remove(kept, Hold::Handle, out).unwrap());
    assert_eq!(freed, [Effect::FreeValue { object: kept }]);
}

#[test]
fn rc_6_borrowers_of_a_dead_owner_learn_it_and_tell_it_nothing() {
    let (owner, mut borrower) = (table(), table());
    let [early, late] = [1, 2].map(|counter| object(&owner, counter));
    borrower
        .receive(early, owner.me(), Hold::Handle, &mut Vec::new())
        .unwrap();
    let died = |object| Effect::OwnerDied {
        object,
        owner: owner.me(),
    };
    assert_eq!(effects(|out| borrower.worker_died(owner.me(), out)), [died(early)]);
    assert_eq!(effects(|out| borrower.worker_died(owner.me(), out)), []);
    let received = effects(|out| borrower.receive(late, owner.me(), Hold::Handle, out).unwrap());
    assert_eq!(received, [died(late)]);
    assert_eq!(
        effects(|out| borrower.hand_over(early, WorkerId::random(), out).unwrap()),
        []
    );
    for object in [early, late] {
        assert!(borrower.get(&object).unwrap().owner_died);
        let freed = effects(|out| borrower.remove(object, Hold::Handle, out).unwrap());
        assert_eq!(freed, [Effect::FreeValue { object }]);
    }
}

#[test]
fn rc_7_a_long_chain_of_containment_ends_without_recursion_and_in_order() {
    let mut owner = table();
    let count = 200_000;
    let chain: Vec<_> = (0..count).map(|counter| object(&owner, counter)).collect();
    for object in &chain {
        owner.own(*object, Hold::Handle);
    }
    for pair in chain.windows(2) {
        owner.add(pair[1], Hold::Container).unwrap();
        owner.contain(pair[0], [pair[1]], &mut Vec::new());
    }
    for object in &chain[1..] {
        owner.remove(*object, Hold::Handle, &mut Vec::new()).unwrap();
    }
    assert_eq!(owner.len(), chain.len());
    let freed = effects(|out| owner.remove(chain[0], Hold::Handle, out).unwrap());
    let expected: Vec<_> = chain
        .iter()
        .map(|object| Effect::FreeValue { object: *object })
        .collect();
    assert!(freed == expected && owner.is_empty());
}

#[test]
fn rc_7_a_value_that_comes_too_late_or_again_gives_up_what_it_contains() {
    let (mut owner, mut other) = (table(), table());
    let [outer, old, new] = [1, 2, 3].map(|counter| object(&owner, counter));
    let foreign = object(&other, 1);
    other.own(foreign, Hold::Handle);
    owner.own(outer, Hold::Handle);
    owner.own(old, Hold::Container);
    owner.own(new, Hold::Container);
    owner.contain(outer, [old], &mut Vec::new());
    assert_eq!(
        effects(|out| owner.contain(outer, [new], out)),
        [Effect::FreeValue { object: old }]
    );
    let freed = effects(|out| owner.remove(outer, Hold::Handle, out).unwrap());
    assert_eq!(
        freed,
        [Effect::FreeValue { object: outer }, Effect::FreeValue { object: new }]
    );
    owner
        .receive(foreign, other.me(), Hold::Container, &mut Vec::new())
        .unwrap();
    let given_up = effects(|out| owner.contain(outer, [foreign], out));
    let release = Effect::SendRelease {
        owner: other.me(),
        object: foreign,
        count: 1,
    };
    assert_eq!(given_up, [release, Effect::FreeValue { object: foreign }]);
}

#[test]
fn an_owned_object_takes_less_than_a_hundred_bytes() {
    let mut owner = table();
    owner.own(object(&owner, 1), Hold::Handle);
    // One byte of control per bucket, and at least seven sixteenths of the buckets in use after a growth.
    assert!(owner.entry_bytes() < 64, "{}", owner.entry_bytes());
}
