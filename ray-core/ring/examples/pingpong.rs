//! Measures the rings between two real processes, beside a blocking Unix socket in the same run:
//! `cargo run --release -p ray-core-ring --example pingpong`.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use ray_core_ring::{BellDescriptors, Channel, Doorbell, RingError, Ringer, SpinPolicy, wait};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Tells the second process its role and its descriptors.
const ROLE: &str = "RING_PINGPONG_ROLE";
const FRAME: [u8; 40] = [7; 40];
/// A frame that begins so is answered with the CPU time spent; one that begins with 0 is not answered.
const ASK_CPU: &[u8] = b"cpu";
const STREAM: usize = 3_000_000;

/// One end of everything that is measured.
struct End {
    channel: Channel,
    bell: Doorbell,
    peer: Ringer,
    policy: SpinPolicy,
    socket: UnixStream,
}

impl End {
    fn post(&mut self, frame: &[u8]) -> Outcome {
        self.channel.sender.try_push(&[frame])?;
        self.policy.posted(self.peer.ring());
        Ok(())
    }

    fn wait(&mut self) {
        let receiver = &self.channel.receiver;
        wait(&mut self.bell, &mut self.policy, None, || receiver.is_ready());
    }

    fn round_trip(&mut self) -> Outcome<Duration> {
        let start = Instant::now();
        self.post(&FRAME)?;
        self.wait();
        self.channel
            .receiver
            .pop(|frame| assert_eq!(frame.len(), FRAME.len()))?;
        Ok(start.elapsed())
    }

    fn peer_cpu_time(&mut self) -> Outcome<Duration> {
        self.post(ASK_CPU)?;
        self.wait();
        let mut nanos = 0;
        self.channel
            .receiver
            .pop(|frame| nanos = frame.try_into().map_or(0, u64::from_ne_bytes))?;
        Ok(Duration::from_nanos(nanos))
    }

    fn socket_round_trip(&mut self) -> Outcome<Duration> {
        let start = Instant::now();
        self.socket.write_all(&[1; 64])?;
        self.socket.read_exact(&mut [0; 64])?;
        Ok(start.elapsed())
    }
}

fn main() -> Outcome {
    match std::env::var(ROLE) {
        Ok(descriptors) => serve(&descriptors),
        Err(_) => measure(),
    }
}

fn measure() -> Outcome {
    let cpus = std::thread::available_parallelism()?.get();
    let channel = Channel::create(Channel::DEFAULT_LINES)?;
    let (bell, peer_bell) = (Doorbell::create()?, Doorbell::create()?);
    let (socket, peer_socket) = UnixStream::pair()?;
    let (own, other) = (bell.descriptors()?, peer_bell.descriptors()?);
    let inherited: [OwnedFd; 6] = [
        channel.descriptor()?,
        own.memory,
        own.event,
        other.memory,
        other.event,
        peer_socket.into(),
    ];
    for descriptor in &inherited {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
    }
    let numbers: Vec<String> = inherited
        .iter()
        .map(|descriptor| descriptor.as_fd().as_raw_fd().to_string())
        .collect();
    let mut child = Command::new(std::env::current_exe()?)
        .env(ROLE, numbers.join(" "))
        .spawn()?;
    drop(inherited);
    #[expect(clippy::cast_precision_loss, reason = "a handful of CPUs")]
    let policy = SpinPolicy::new(cpus as f64);
    let end = End {
        channel,
        bell,
        peer: peer_bell.ringer(),
        policy,
        socket,
    };
    println!(
        "{cpus} CPUs, pids {} and {}, load {}",
        std::process::id(),
        child.id(),
        load()?
    );
    let ringer = peer_bell.ringer();
    let reported = report(end);
    // The channel is closed; the peer has to notice.
    ringer.ring();
    child.wait()?;
    reported
}

fn report(mut end: End) -> Outcome {
    let pause = Duration::from_millis(1);
    println!(
        "ring   tight  {}",
        distribution(200_000, Duration::ZERO, || end.round_trip())?
    );
    let idle = idle_percent(&mut end)?;
    println!("ring   paced  {}", distribution(1_000, pause, || end.round_trip())?);
    println!(
        "ring   tight  {}",
        distribution(200_000, Duration::ZERO, || end.round_trip())?
    );
    println!("ring   mixed  {}   (10 calls, then 1 ms)", bursts(&mut end)?);
    println!("ring   stream {:.1} million frames/s one way", stream(&mut end)?);
    println!(
        "socket tight  {}",
        distribution(20_000, Duration::ZERO, || end.socket_round_trip())?
    );
    println!(
        "socket paced  {}",
        distribution(1_000, pause, || end.socket_round_trip())?
    );
    println!("idle after a burst: {idle:.3} % of one core, both processes together");
    Ok(())
}

fn bursts(end: &mut End) -> Outcome<String> {
    let mut count = 0;
    distribution(5_000, Duration::ZERO, || {
        count += 1;
        if count % 10 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        end.round_trip()
    })
}

/// Frames one way as fast as they go, the last one answered.
fn stream(end: &mut End) -> Outcome<f64> {
    let start = Instant::now();
    for index in 0..STREAM {
        let last = u8::from(index + 1 == STREAM);
        while !end.channel.sender.has_room(40) {
            let sender = &end.channel.sender;
            wait(&mut end.bell, &mut end.policy, None, || sender.has_room(40));
        }
        end.channel.sender.try_push(&[&[last; 32]])?;
        if index % 32 == 0 || last == 1 {
            end.policy.posted(end.peer.ring());
        }
    }
    end.wait();
    end.channel.receiver.pop(|_| ())?;
    #[expect(clippy::cast_precision_loss, reason = "a count of millions")]
    let millions = STREAM as f64 / 1e6;
    Ok(millions / start.elapsed().as_secs_f64())
}

/// The second process: answers until the first one is gone.
fn serve(descriptors: &str) -> Outcome {
    let mut numbers = descriptors.split(' ').map(str::parse::<i32>);
    let mut next = || -> Outcome<OwnedFd> {
        let number = numbers.next().ok_or("a descriptor is missing")??;
        // SAFETY: the parent left exactly these descriptors open for us, and each is taken once.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    let channel = Channel::open(next()?)?;
    let peer = Ringer::open(BellDescriptors {
        memory: next()?,
        event: next()?,
    })?;
    let bell = Doorbell::adopt(BellDescriptors {
        memory: next()?,
        event: next()?,
    })?;
    let mut socket = UnixStream::from(next()?);
    #[expect(clippy::cast_precision_loss, reason = "a handful of CPUs")]
    let policy = SpinPolicy::new(std::thread::available_parallelism()?.get() as f64);
    let mut end = End {
        channel,
        bell,
        peer,
        policy,
        socket: socket.try_clone()?,
    };
    let echo = std::thread::spawn(move || {
        let mut frame = [0; 64];
        while socket.read_exact(&mut frame).is_ok() && socket.write_all(&frame).is_ok() {}
    });
    loop {
        let (mut answer, mut cpu) = (false, false);
        let popped = end.channel.receiver.pop_batch(64, |frame| {
            answer |= frame.first() != Some(&0);
            cpu |= frame == ASK_CPU;
        });
        if end.channel.receiver.frees_a_waiting_sender() {
            end.policy.posted(end.peer.ring());
        }
        match popped {
            Ok(0) => end.wait(),
            Ok(_) if cpu => end.post(&u64::try_from(cpu_time().as_nanos())?.to_ne_bytes())?,
            Ok(_) if answer => end.post(&FRAME)?,
            Ok(_) => {}
            Err(RingError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    echo.join().map_err(|_| "the echo thread panicked")?;
    Ok(())
}

fn distribution(count: usize, pause: Duration, mut once: impl FnMut() -> Outcome<Duration>) -> Outcome<String> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        times.push(once()?);
    }
    times.sort_unstable();
    let at = |share: usize| times[count * share / 1000].as_nanos();
    Ok(format!(
        "p50 {:>8} ns   p90 {:>8} ns   p99 {:>8} ns",
        at(500),
        at(900),
        at(990)
    ))
}

/// CPU time of both processes in the second after a burst.
fn idle_percent(end: &mut End) -> Outcome<f64> {
    let before = cpu_time() + end.peer_cpu_time()?;
    std::thread::sleep(Duration::from_secs(1));
    let spent = cpu_time() + end.peer_cpu_time()? - before;
    Ok(spent.as_secs_f64() * 100.0)
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn load() -> Outcome<String> {
    Ok(std::fs::read_to_string("/proc/loadavg")?.trim().to_owned())
}
