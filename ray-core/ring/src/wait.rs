//! The loop that applies a [`SpinPolicy`].

use std::time::{Duration, Instant};

use crate::doorbell::Doorbell;
use crate::spin::{SpinPolicy, WaitEnd};
use crate::sync::spin_loop;

/// Polls before a warm wait looks at the clock: together less than a microsecond.
const QUICK_POLLS: u32 = 64;
/// Polls between two looks at the clock.
const POLLS_PER_LOOK: u32 = 32;
/// Two looks farther apart than this: the kernel ran somebody else on this core, who needs it more.
const PREEMPTED: Duration = Duration::from_micros(20);

/// Waits until `ready` holds or `deadline` passes, spinning or sleeping as `policy` says. Says whether `ready` held.
///
/// `ready` looks at everything whose producers ring `bell`: usually [`Receiver::is_ready`](crate::Receiver::is_ready) of each ring.
pub fn wait(
    bell: &mut Doorbell,
    policy: &mut SpinPolicy,
    deadline: Option<Instant>,
    mut ready: impl FnMut() -> bool,
) -> bool {
    if ready() {
        return true;
    }
    if policy.is_warm() && quick(policy, &mut ready) {
        return true;
    }
    let begin = Instant::now();
    let budget = policy.begun(begin);
    let budget = deadline.map_or(budget, |deadline| budget.min(deadline.saturating_duration_since(begin)));
    if !budget.is_zero() && spin(policy, begin, budget, &mut ready) {
        policy.ended(begin, Instant::now(), WaitEnd::Spun);
        return true;
    }
    let mut in_time = true;
    let mut held = false;
    while in_time && !held {
        in_time = bell.sleep(deadline, &mut ready);
        held = ready();
    }
    policy.ended(begin, Instant::now(), WaitEnd::Slept);
    held
}

/// The first polls of a warm wait.
#[inline]
fn quick(policy: &mut SpinPolicy, ready: &mut impl FnMut() -> bool) -> bool {
    let caught = if policy.yields_first() {
        let begin = Instant::now();
        std::thread::yield_now();
        let answered = ready();
        if begin.elapsed() >= PREEMPTED {
            policy.preempted();
            return answered;
        }
        answered
    } else {
        (0..QUICK_POLLS).any(|_| {
            spin_loop();
            ready()
        })
    };
    if caught {
        policy.caught();
    }
    caught
}

/// Spins for at most `budget`, or until somebody else got the core.
fn spin(policy: &mut SpinPolicy, begin: Instant, budget: Duration, ready: &mut impl FnMut() -> bool) -> bool {
    let mut last = begin;
    loop {
        for _ in 0..POLLS_PER_LOOK {
            if ready() {
                return true;
            }
            spin_loop();
        }
        // The kernel may have put the peer behind us on this core.
        std::thread::yield_now();
        let answered = ready();
        policy.yielded(answered);
        let now = Instant::now();
        if now - last >= PREEMPTED {
            policy.preempted();
            return answered;
        }
        if answered || now - begin >= budget {
            return answered;
        }
        last = now;
    }
}
