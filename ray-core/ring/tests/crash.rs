//! Two real processes, one of which is killed: what the other one still knows.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ray_core_ring::{
    BellDescriptors, Channel, Doorbell, RecordState, RingError, Ringer, SetupError, SpinPolicy, Ticket, wait,
};

/// Descriptors for the second process, which runs the same test by name.
const ROLE: &str = "RING_CRASH_ROLE";
/// No step here takes long; whoever waits this long hangs.
const WATCHDOG: Duration = Duration::from_secs(60);

struct End {
    channel: Channel,
    bell: Doorbell,
    peer: Ringer,
    policy: SpinPolicy,
}

impl End {
    fn wait(&mut self, ready: impl Fn(&Channel) -> bool) {
        let deadline = Some(Instant::now() + WATCHDOG);
        assert!(
            wait(&mut self.bell, &mut self.policy, deadline, || ready(&self.channel)),
            "the peer hangs"
        );
    }

    fn push(&mut self, frame: &[u8]) -> Ticket {
        while !self.channel.sender.has_room(frame.len()) {
            self.wait(|channel| channel.sender.has_room(frame.len()));
        }
        let ticket = self.channel.sender.try_push(&[frame]).unwrap();
        self.policy.posted(self.peer.ring());
        ticket
    }

    fn pop(&mut self) -> Result<Vec<u8>, RingError> {
        let mut frame = Vec::new();
        while !self.channel.receiver.pop(|bytes| frame = bytes.to_vec())? {
            self.wait(|channel| channel.receiver.is_ready());
        }
        if self.channel.receiver.frees_a_waiting_sender() {
            self.policy.posted(self.peer.ring());
        }
        Ok(frame)
    }
}

struct Peer(Child);

impl Peer {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Starts `test` once more in a process of its own and gives the owner's end of the channel to it.
fn with_peer(test: &str, lines: usize) -> (End, Peer) {
    let channel = Channel::create(lines).unwrap();
    let (bell, other) = (Doorbell::create().unwrap(), Doorbell::create().unwrap());
    let (own, theirs) = (bell.descriptors().unwrap(), other.descriptors().unwrap());
    let inherited: [OwnedFd; 5] = [
        channel.descriptor().unwrap(),
        own.memory,
        own.event,
        theirs.memory,
        theirs.event,
    ];
    for descriptor in &inherited {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty()).unwrap();
    }
    let numbers: Vec<String> = inherited
        .iter()
        .map(|descriptor| descriptor.as_raw_fd().to_string())
        .collect();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, numbers.join(" "))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    (
        End {
            channel,
            bell,
            peer: other.ringer(),
            policy: SpinPolicy::new(2.0),
        },
        Peer(child),
    )
}

/// The second process's end, in the second process.
fn as_peer() -> Option<End> {
    let numbers = std::env::var(ROLE).ok()?;
    let mut descriptors = numbers.split(' ').map(|number| {
        // SAFETY: the parent left exactly these descriptors open for us, and each is taken once.
        unsafe { OwnedFd::from_raw_fd(number.parse().unwrap()) }
    });
    let mut next = || descriptors.next().unwrap();
    let channel = Channel::open(next()).unwrap();
    let peer = Ringer::open(BellDescriptors {
        memory: next(),
        event: next(),
    })
    .unwrap();
    let bell = Doorbell::adopt(BellDescriptors {
        memory: next(),
        event: next(),
    })
    .unwrap();
    Some(End {
        channel,
        bell,
        peer,
        policy: SpinPolicy::new(2.0),
    })
}

fn stay() -> ! {
    std::thread::sleep(WATCHDOG);
    std::process::abort()
}

#[test]
fn after_a_kill_the_sender_knows_of_each_frame_whether_it_was_finished_taken_or_untouched() {
    const NAME: &str = "after_a_kill_the_sender_knows_of_each_frame_whether_it_was_finished_taken_or_untouched";
    if let Some(mut end) = as_peer() {
        assert_eq!(end.pop().unwrap(), b"first");
        let (second, _) = end.channel.receiver.take().unwrap().unwrap();
        let (_third, _) = end.channel.receiver.take().unwrap().unwrap();
        let (fourth, _) = end.channel.receiver.take().unwrap().unwrap();
        end.channel.receiver.finish(fourth);
        end.push(b"mid-record");
        let _second = second;
        stay();
    }
    let (mut end, mut peer) = with_peer(NAME, 64);
    let long = [5; 500];
    let frames: [&[u8]; 6] = [b"first", b"second", &long, b"fourth", b"fifth", b"sixth"];
    // One ring for all: the peer sees either none or all.
    let tickets = frames.map(|frame| end.channel.sender.try_push(&[frame]).unwrap());
    end.peer.ring();
    assert_eq!(end.pop().unwrap(), b"mid-record");
    assert!(end.channel.sender.revoke(tickets[5]));
    peer.kill();
    let states = tickets.map(|ticket| end.channel.sender.state(ticket).unwrap());
    let [finished, taken, waiting] = [RecordState::Finished, RecordState::Taken, RecordState::Waiting];
    assert_eq!(
        states,
        [finished, taken, taken, finished, waiting, RecordState::Revoked]
    );
}

#[test]
fn a_peer_killed_at_any_moment_leaves_states_in_order() {
    const NAME: &str = "a_peer_killed_at_any_moment_leaves_states_in_order";
    if let Some(mut end) = as_peer() {
        loop {
            let frame = end.pop().unwrap();
            end.push(&frame);
        }
    }
    for round in 0..8_u64 {
        let (mut end, mut peer) = with_peer(NAME, 64);
        let mut tickets = Vec::new();
        let mut answered = 0_usize;
        let mut pushed = 0_usize;
        let mut kill_at = 50 + round * 37;
        loop {
            let len = 8 + pushed * 13 % 300;
            let mut frame = vec![round as u8; len];
            frame[..8].copy_from_slice(&pushed.to_ne_bytes());
            if let Ok(ticket) = end.channel.sender.try_push(&[&frame]) {
                end.peer.ring();
                tickets.push(ticket);
                pushed += 1;
            }
            let mut check = |frame: &[u8]| {
                assert_eq!(frame[..8], answered.to_ne_bytes());
                answered += 1;
            };
            end.channel.receiver.pop_batch(8, &mut check).unwrap();
            kill_at = if answered > 0 {
                kill_at.saturating_sub(1)
            } else {
                kill_at
            };
            if kill_at == 0 {
                break;
            }
            std::thread::yield_now();
        }
        peer.kill();
        // Its last answers survive it.
        answered += end.channel.receiver.pop_batch(usize::MAX, |_| ()).unwrap();
        let states: Vec<_> = tickets
            .iter()
            .map(|ticket| end.channel.sender.state(*ticket).unwrap())
            .collect();
        let finished = states
            .iter()
            .take_while(|state| **state == RecordState::Finished)
            .count();
        let taken = states[finished..]
            .iter()
            .take_while(|state| **state == RecordState::Taken)
            .count();
        assert!(taken <= 1, "it takes one at a time");
        assert!(
            states[finished + taken..]
                .iter()
                .all(|state| *state == RecordState::Waiting)
        );
        // It answers after it has finished: one frame may be finished and not answered.
        assert!(
            answered <= finished && finished <= answered + 1,
            "{answered} answered, {finished} finished"
        );
        assert!(
            tickets[finished + taken..]
                .iter()
                .all(|ticket| end.channel.sender.revoke(*ticket))
        );
    }
}

#[test]
fn frames_of_all_sizes_arrive_in_order_and_whole_whatever_sleeps() {
    const NAME: &str = "frames_of_all_sizes_arrive_in_order_and_whole_whatever_sleeps";
    let frame = |index: usize| -> Vec<u8> { (0..index * 37 % 900).map(|at| (index ^ at) as u8).collect() };
    if let Some(mut end) = as_peer() {
        let mut index = 0;
        loop {
            match end.pop() {
                Ok(found) => assert_eq!(found, frame(index)),
                Err(error) => {
                    assert_eq!(error, RingError::Closed);
                    return;
                }
            }
            end.push(&index.to_ne_bytes());
            index += 1;
        }
    }
    let (mut end, mut peer) = with_peer(NAME, 64);
    let (mut pushed, mut answered) = (0, 0_usize);
    while answered < 20_000 {
        while pushed < 20_000 && end.channel.sender.has_room(900) {
            end.push(&frame(pushed));
            pushed += 1;
        }
        if pushed % 1000 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(end.pop().unwrap(), answered.to_ne_bytes());
        answered += 1;
    }
    drop(end.channel);
    end.peer.ring();
    assert!(peer.0.wait().unwrap().success());
}

#[test]
fn a_descriptor_that_is_no_ring_is_refused() {
    let unsealed = rustix::fs::memfd_create("no ring", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&unsealed, 1 << 16).unwrap();
    let unlike = |result: Result<Channel, SetupError>, expected: &str| match result {
        Err(SetupError::Foreign { what, .. }) => assert_eq!(what, expected),
        other => panic!("{other:?}"),
    };
    unlike(Channel::open(unsealed), "the seal set");
    let bell = Doorbell::create().unwrap().descriptors().unwrap();
    unlike(Channel::open(bell.memory), "the magic number");
    assert!(matches!(Channel::create(48), Err(SetupError::Lines { lines: 48, .. })));
}

#[test]
fn a_reactor_is_woken_through_its_descriptor_and_a_futex_by_a_timeout() {
    let mut bell = Doorbell::create().unwrap();
    let ringer = bell.ringer();
    let readable = |bell: &Doorbell| {
        let descriptor = bell.event_descriptor();
        let mut polled = [rustix::event::PollFd::new(&descriptor, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, Some(&rustix::time::Timespec::default())).unwrap() == 1
    };
    ringer.ring();
    assert!(!readable(&bell), "nobody sleeps: no system call");
    assert!(!bell.arm(|| true), "something is ready");
    assert!(bell.arm(|| false));
    ringer.ring();
    assert!(readable(&bell));
    bell.disarm();
    assert!(!readable(&bell));
    assert!(
        !bell.sleep(Some(Instant::now() + Duration::from_millis(2)), || false),
        "the deadline passed"
    );
    assert!(ringer.is_awake());
}
