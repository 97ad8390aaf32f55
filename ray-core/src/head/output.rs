//! What workers print, from the thread that follows their files to the driver's terminal (HE-2).

use std::io::{self, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use crate::raylet::JobOutput;
use crate::session::logs::{LogFollower, LogLine, Options, Stream};
use crate::wire::blocking::{read_frame, write_frame};
use crate::wire::{Frame, JobSetup};

/// Follows files and prints their lines in this process.
pub(super) fn print_here(options: Options) -> io::Result<JobOutput> {
    LogFollower::start(options, print).map(JobOutput::near)
}

/// Follows files beside a raylet that ends with its driver, and sends their lines to it, if it has given a socket for them.
pub(super) fn to_driver(job: &JobSetup, socket: Option<OwnedFd>) -> io::Result<Option<JobOutput>> {
    let follower = socket.map(|socket| send_lines(job, socket.into()));
    Ok(follower.transpose()?.map(JobOutput::near))
}

/// The same for one of a node's drivers, which the node's end does not wait for.
#[cfg(feature = "cli")]
pub(super) fn to_driver_of_node(job: &JobSetup, socket: Option<OwnedFd>) -> io::Result<Option<JobOutput>> {
    let Some(socket) = socket.map(UnixStream::from) else {
        return Ok(None);
    };
    let far = socket.try_clone()?;
    Ok(Some(JobOutput::far(send_lines(job, socket)?, far)))
}

fn send_lines(job: &JobSetup, mut driver: UnixStream) -> io::Result<LogFollower> {
    let options = Options {
        deduplicate_within: job.deduplicate_within,
        ..Options::default()
    };
    LogFollower::start(options, move |line| {
        let frame = Frame::Output {
            name: line.name.to_owned(),
            pid: line.pid,
            stderr: line.stream == Stream::Stderr,
            text: line.text.to_owned(),
        };
        // A driver that is gone reads nothing.
        let _gone = write_frame(&mut driver, &frame);
    })
}

/// Prints in this process what a raylet sends, in a thread that ends when the connection does.
pub(super) fn print_what_comes(from: UnixStream) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("ray-logs".into()).spawn(move || {
        let mut head = BufReader::with_capacity(64 << 10, from);
        loop {
            match read_frame(&mut head) {
                Ok(Some(Frame::Output {
                    name,
                    pid,
                    stderr,
                    text,
                })) => print(LogLine {
                    name: &name,
                    pid,
                    stream: if stderr { Stream::Stderr } else { Stream::Stdout },
                    text: &text,
                }),
                Ok(Some(other)) => tracing::warn!(target: "ray_core::head", ?other, "a frame that is no output"),
                // A head that was killed may have begun a line.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(target: "ray_core::head", %error, "the output of workers is no longer shown");
                    return;
                }
            }
        }
    })
}

fn print(line: LogLine<'_>) {
    // A closed terminal is no reason to stop.
    let _closed = match line.stream {
        Stream::Stdout => writeln!(io::stdout().lock(), "{line}"),
        Stream::Stderr => writeln!(io::stderr().lock(), "{line}"),
    };
}
