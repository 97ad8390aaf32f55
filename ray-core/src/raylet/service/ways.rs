//! The ways to other nodes: connections over TCP, each for one purpose, which its first frame says.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream as BlockingStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::ids::{JobId, NodeId};
use crate::process::Executable;
use crate::wire::connection::over_socket;
use crate::wire::tcp::{dial, keep_open, read_one, write_one};
use crate::wire::token::Token;
use crate::wire::{Frame, GuestJob, Receiver, Sender};

/// How long another node may take to answer.
pub(super) const WITHIN: Duration = Duration::from_secs(10);
/// The largest program.
const LARGEST: u64 = 8 << 30;
/// How long no byte of a program may come.
const STALLS: Duration = Duration::from_secs(30);

fn failed(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn reach(address: &str, token: &Token) -> Result<TcpStream, String> {
    let socket = dial(address, token, WITHIN).await.map_err(failed)?;
    TcpStream::from_std(socket.into()).map_err(failed)
}

/// A way on which this node's processes are guests of another.
pub(super) async fn visit(address: &str, token: &Token, ours: NodeId) -> Result<(Sender, Receiver), String> {
    let socket = dial(address, token, WITHIN).await.map_err(failed)?;
    let (sender, receiver) = over_socket(socket).map_err(failed)?;
    sender.send(Frame::VisitNode { node: ours });
    Ok((sender, receiver))
}

/// A way that becomes the connection between two processes.
pub(super) async fn link(address: &str, token: &Token, ours: NodeId, ticket: u64) -> Result<OwnedFd, String> {
    let mut stream = reach(address, token).await?;
    let frame = Frame::Link { node: ours, ticket };
    write_one(&mut stream, &frame).await.map_err(failed)?;
    match read_one(&mut stream, WITHIN).await.map_err(failed)? {
        Frame::Link { .. } => {
            let socket = stream.into_std().map_err(failed)?.into();
            keep_open(&socket).map_err(failed)?;
            Ok(socket)
        }
        other => Err(format!("{address} answers a link with {other:?}")),
    }
}

/// Fetches a job's program into this directory, unless it lies there, and checks that it is the one.
pub(super) async fn fetch(
    address: &str,
    token: &Token,
    job: JobId,
    programs: &Path,
) -> Result<(Box<GuestJob>, Executable), String> {
    let mut stream = reach(address, token).await?;
    let frame = Frame::FetchProgram { job };
    write_one(&mut stream, &frame).await.map_err(failed)?;
    // Its hash may have to be computed first.
    let guest = match read_one(&mut stream, STALLS).await.map_err(failed)? {
        Frame::Program { job: Some(guest) } => guest,
        Frame::Program { job: None } => return Err(format!("{address} has nothing of it any more")),
        other => return Err(format!("{address} answers with {other:?}")),
    };
    if guest.program.len() != blake3::OUT_LEN || guest.size > LARGEST {
        return Err(format!(
            "{address} offers a program of {} bytes, or without a hash",
            guest.size
        ));
    }
    let stream = stream.into_std().map_err(failed)?;
    let name: String = guest.program.iter().map(|byte| format!("{byte:02x}")).collect();
    let (file, part) = (programs.join(&name), programs.join(format!("{name}.{job}.part")));
    let (size, hash) = (guest.size, guest.program.clone());
    let fetched = tokio::task::spawn_blocking(move || -> Result<Executable, String> {
        if !file.exists() {
            receive(stream, size, &part).map_err(failed)?;
            let (found, _) = hash_of(File::open(&part).map_err(failed)?).map_err(failed)?;
            if found.as_bytes() != &hash[..] {
                // It is of no use.
                let _left = std::fs::remove_file(&part);
                let found = found.to_hex();
                return Err(format!("what came is not the program: its BLAKE3 hash is {found}"));
            }
            std::fs::rename(&part, &file).map_err(failed)?;
        }
        Executable::open(file).map_err(failed)
    });
    Ok((guest, fetched.await.map_err(failed)??))
}

fn receive(stream: BlockingStream, size: u64, path: &Path) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(STALLS))?;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    // What an earlier attempt has left.
    let _none = std::fs::remove_file(path);
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(0o700).open(path)?;
    let came = io::copy(&mut stream.take(size), &mut file)?;
    if came != size {
        let _left = std::fs::remove_file(path);
        return Err(io::Error::other(format!("of the program's {size} bytes {came} came")));
    }
    Ok(())
}

/// A job's program, and what goes with it, for other nodes.
#[derive(Debug)]
pub(super) struct Shipped {
    pub(super) executable: Executable,
    /// Its hash and its length, once they were asked for.
    pub(super) hash: Arc<OnceLock<(blake3::Hash, u64)>>,
    /// Without these two.
    pub(super) job: GuestJob,
}

/// Sends a program over a way that was opened for it.
pub(super) async fn send_program(mut stream: TcpStream, shipped: Option<Shipped>) -> io::Result<()> {
    let Some(Shipped {
        executable,
        hash,
        mut job,
    }) = shipped
    else {
        return write_one(&mut stream, &Frame::Program { job: None }).await;
    };
    let hashed = tokio::task::spawn_blocking(move || {
        if let Some(known) = hash.get() {
            return Ok((executable, *known));
        }
        let found = hash_of(readable(&executable)?)?;
        io::Result::Ok((executable, *hash.get_or_init(|| found)))
    });
    let (executable, (hash, size)) = hashed.await??;
    (job.program, job.size) = (Bytes::copy_from_slice(hash.as_bytes()), size);
    let job = Some(Box::new(job));
    write_one(&mut stream, &Frame::Program { job }).await?;
    let mut stream = stream.into_std()?;
    let sent = tokio::task::spawn_blocking(move || -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(STALLS))?;
        io::copy(&mut readable(&executable)?, &mut stream)?;
        stream.flush()
    });
    match sent.await? {
        // The other node has the program already.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
        sent => sent,
    }
}

/// The file of a program that is open without the right to read.
fn readable(executable: &Executable) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", executable.as_fd().as_raw_fd()))
}

/// The hash and the length of a program.
fn hash_of(mut file: File) -> io::Result<(blake3::Hash, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut part = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let read = file.read(&mut part)?;
        if read == 0 {
            return Ok((hasher.finalize(), size));
        }
        hasher.update(&part[..read]);
        size += read as u64;
    }
}
