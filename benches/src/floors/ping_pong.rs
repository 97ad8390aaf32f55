//! The floor of every synchronous call: 64 bytes there and back between two processes that block.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::child::{Child, Role};
use crate::context::Context;
use crate::sample::Sample;
use crate::stats;

const MESSAGE: [u8; 64] = [0x5a; 64];

/// One round trip directly after another.
pub(super) fn tight(context: &Context) -> Result<Sample> {
    round_trips(context, 500, 5_000, Duration::ZERO)
}

/// 1 ms between two round trips, so that both processes have gone to sleep.
pub(super) fn paced(context: &Context) -> Result<Sample> {
    round_trips(context, 20, 300, Duration::from_millis(1))
}

fn round_trips(context: &Context, warm_up: usize, calls: usize, pause: Duration) -> Result<Sample> {
    let mut echo = Child::start(&Role::Echo)?;
    let socket = &mut echo.socket;
    let values = context.repeat(|| {
        stats::call_p50(warm_up, calls, pause, || {
            let mut answer = [0; MESSAGE.len()];
            socket.write_all(&MESSAGE)?;
            socket.read_exact(&mut answer)
        })
        .context("a round trip to the echoing process")
    })?;
    Ok(Sample::new(values)?.by([echo.pid()]))
}

/// The other end: sends each message back until the parent hangs up.
pub(crate) fn echo(socket: &mut UnixStream) -> Result<()> {
    let mut message = [0; MESSAGE.len()];
    loop {
        match socket.read_exact(&mut message) {
            Ok(()) => socket.write_all(&message).context("sending a message back")?,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error).context("receiving a message"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_echo_sends_messages_back_and_ends_when_the_parent_hangs_up() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let echoing = std::thread::spawn(move || echo(&mut theirs));
        for _ in 0..3 {
            let mut answer = [0; MESSAGE.len()];
            ours.write_all(&MESSAGE).unwrap();
            ours.read_exact(&mut answer).unwrap();
            assert_eq!(answer, MESSAGE);
        }
        drop(ours);
        echoing.join().unwrap().unwrap();
    }
}
