use super::*;
use crate::memory::HUGE;
use proptest::prelude::*;

const LEN: u64 = 8 << 20;

#[derive(Clone, Debug)]
enum Step {
    Allocate(u64),
    Release(usize),
    Confirm(usize),
    Punch,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u64..9000).prop_map(Step::Allocate),
        1 => (1u64..(3 << 20)).prop_map(Step::Allocate),
        4 => any::<usize>().prop_map(Step::Release),
        2 => any::<usize>().prop_map(Step::Confirm),
        1 => Just(Step::Punch),
    ];
    proptest::collection::vec(step, 1..200)
}

fn overlaps(a: &Range, b: &Range) -> bool {
    a.offset < b.offset + b.len && b.offset < a.offset + a.len
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn al1_to_al4_hold_under_any_sequence_of_steps(steps in steps(), huge in any::<bool>()) {
        let mut allocator = RangeAllocator::new(LEN, if huge { HUGE } else { PAGE });
        let mut live: Vec<Range> = Vec::new();
        // Which pages have memory: what the kernel would know.
        let mut memory = vec![false; (LEN / PAGE) as usize];
        for (now, step) in steps.into_iter().enumerate() {
            let now = now as u64;
            match step {
                Step::Allocate(size) => if let Some(range) = allocator.allocate(size) {
                    prop_assert!(range.offset + range.len <= LEN && range.len >= size);
                    prop_assert_eq!(range.offset % allocator.alignment(size), 0);
                    prop_assert!(live.iter().all(|other| !overlaps(other, &range)), "AL-1");
                    let (first, whole) = page_hull(range.offset, range.len);
                    let pages = (first / PAGE) as usize..((first + whole) / PAGE) as usize;
                    prop_assert!(!range.backed || memory[pages].iter().all(|has| *has), "AL-4");
                    live.push(range);
                },
                Step::Release(index) if !live.is_empty() => {
                    allocator.release(live.swap_remove(index % live.len()), now);
                }
                Step::Confirm(index) if !live.is_empty() => {
                    let range = live[index % live.len()];
                    let (first, whole) = page_hull(range.offset, range.len);
                    memory[(first / PAGE) as usize..((first + whole) / PAGE) as usize].fill(true);
                    allocator.confirm(range);
                }
                Step::Punch => {
                    let taken = allocator.take_idle(now / 2, 1 << 20);
                    for range in &taken {
                        prop_assert_eq!((range.offset % PAGE, range.len % PAGE), (0, 0));
                        prop_assert!(live.iter().all(|other| !overlaps(other, range)), "AL-3");
                        memory[(range.offset / PAGE) as usize..((range.offset + range.len) / PAGE) as usize].fill(false);
                    }
                    taken.into_iter().for_each(|range| allocator.punched(range));
                }
                Step::Release(_) | Step::Confirm(_) => {}
            }
        }
        live.drain(..).for_each(|range| allocator.release(range, u64::MAX));
        prop_assert_eq!(allocator.free.clone().into_iter().collect::<Vec<_>>(), vec![(0, LEN)], "AL-2");
        prop_assert_eq!(allocator.by_len.len(), 1);
        let idle: u64 = allocator.idle.iter().map(|(start, (end, _))| end - start).sum();
        prop_assert_eq!(idle, allocator.idle_bytes());
        prop_assert_eq!(allocator.idle.len(), allocator.idle_by_age.len());
    }
}

#[test]
fn backed_memory_is_used_again_before_fresh_memory() {
    let mut allocator = RangeAllocator::new(1 << 30, PAGE);
    let first = allocator.allocate(4 << 20).unwrap();
    assert!(!first.backed);
    allocator.confirm(first);
    allocator.release(first, 0);
    let again = allocator.allocate(4 << 20).unwrap();
    assert_eq!((again.offset, again.backed), (first.offset, true));
    assert_eq!(allocator.idle_bytes(), 0);
}

#[test]
fn idle_pages_are_taken_only_after_their_time() {
    let mut allocator = RangeAllocator::new(1 << 30, PAGE);
    let range = allocator.allocate(2 << 20).unwrap();
    allocator.confirm(range);
    allocator.release(range, 100);
    assert_eq!(allocator.oldest_idle(), Some(100));
    assert!(allocator.take_idle(99, u64::MAX).is_empty());
    assert_eq!(
        allocator.take_idle(100, u64::MAX),
        vec![Range {
            offset: 0,
            len: 2 << 20,
            backed: false
        }]
    );
    allocator.punched(range);
    assert!(!allocator.allocate(2 << 20).unwrap().backed);
}
