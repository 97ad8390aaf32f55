//! Frames over a Unix stream socket: `[length u32][descriptors u32][frame]`, little-endian.
//!
//! Whoever sends also writes: a frame normally leaves in the caller's own system call. While one thread writes, others
//! only add to the line, and the writer takes what they added along: batching grows with load by itself. What the
//! kernel's buffer does not take is left to the receiver's loop, which waits until the socket is writable.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BytesMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    Shutdown,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::codec::{Reader, Wire, WireError};
use super::connection::Packet;
use super::frames::Frame;

/// The longest frame. Larger values travel through the object store.
pub(super) const MAX_FRAME: usize = 512 << 20;
/// Descriptors in one frame, at most.
const MAX_FDS: usize = 8;
/// The length of a frame, and how many descriptors came with it.
pub(super) const HEADER: usize = 8;
const READ_AT_LEAST: usize = 64 << 10;

/// The sending side, shared by all senders of one end.
#[derive(Debug)]
pub(super) struct Outgoing {
    socket: AsyncFd<OwnedFd>,
    line: Mutex<Line>,
    /// Rung when the kernel's buffer is full, so that the receiver's loop waits for room.
    stalled: Notify,
}

#[derive(Debug, Default)]
struct Line {
    chunks: VecDeque<Chunk>,
    /// A thread is in the write loop; it takes along what is added meanwhile.
    writing: bool,
    /// The kernel's buffer was full: the receiver's loop goes on.
    full: bool,
    closed: bool,
    /// Close once the line is empty.
    closing: bool,
}

/// Bytes to write; the descriptors go with the first of them.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    written: usize,
    fds: Vec<OwnedFd>,
}

/// The receiving side.
#[derive(Debug)]
pub(super) struct Incoming {
    outgoing: Arc<Outgoing>,
    buffer: BytesMut,
    fds: VecDeque<OwnedFd>,
    ended: bool,
}

pub(super) fn open(fd: OwnedFd) -> io::Result<(Arc<Outgoing>, Incoming)> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    // SAFETY: the descriptor is an open one of our own, which the registration owns and closes after itself.
    let socket = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE | Interest::WRITABLE) };
    let socket = socket.map_err(io::Error::from)?;
    let outgoing = Arc::new(Outgoing {
        socket,
        line: Mutex::default(),
        stalled: Notify::new(),
    });
    let incoming = Incoming {
        outgoing: outgoing.clone(),
        buffer: BytesMut::new(),
        fds: VecDeque::new(),
        ended: false,
    };
    Ok((outgoing, incoming))
}

impl Outgoing {
    fn line(&self) -> MutexGuard<'_, Line> {
        // A panic while the line was held cannot leave half a frame in it: frames are encoded before they are added.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, frame: &Frame, fds: Vec<OwnedFd>) {
        let mut line = self.line();
        if line.closed || line.closing {
            return;
        }
        let start_new = !fds.is_empty() || line.chunks.back().is_none_or(|chunk| chunk.written > 0);
        if start_new {
            line.chunks.push_back(Chunk::default());
        }
        let fd_count = u32::try_from(fds.len()).unwrap_or(u32::MAX);
        if let Some(chunk) = line.chunks.back_mut() {
            chunk.fds.extend(fds);
            append(frame, fd_count, &mut chunk.bytes);
        }
    }

    /// Writes what is in line, unless another thread does already or the kernel's buffer is full.
    pub(super) fn flush(&self) {
        let mut line = self.line();
        if line.writing || line.full {
            return;
        }
        line.writing = true;
        while let Some(mut chunk) = line.chunks.pop_front() {
            drop(line);
            let outcome = write_chunk(self.socket.as_fd(), &mut chunk);
            line = self.line();
            match outcome {
                Ok(()) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    line.chunks.push_front(chunk);
                    line.full = true;
                    self.stalled.notify_one();
                    break;
                }
                Err(_gone) => {
                    line.closed = true;
                    line.chunks.clear();
                }
            }
        }
        line.writing = false;
        if line.closing && line.chunks.is_empty() && !line.closed {
            line.closed = true;
            self.shutdown();
        }
    }

    pub(super) fn close(&self) {
        self.line().closing = true;
        self.flush();
    }

    /// Closes at once: what has not left is dropped.
    pub(super) fn abort(&self) {
        self.line().closed = true;
        self.shutdown();
    }

    fn shutdown(&self) {
        // An error means that the socket is closed already.
        let _closed = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    /// Waits until the kernel takes more, and goes on writing. Never returns; safe to drop and call again.
    async fn write_stalled(&self) {
        loop {
            while self.line().full {
                let Ok(mut guard) = self.socket.writable().await else {
                    return std::future::pending().await;
                };
                guard.clear_ready();
                self.line().full = false;
                self.flush();
            }
            self.stalled.notified().await;
        }
    }
}

/// A frame as it is sent.
pub(super) fn append(frame: &Frame, fds: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    frame.encode(out);
    let len = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + HEADER].copy_from_slice(&fds.to_le_bytes());
}

fn write_chunk(socket: BorrowedFd<'_>, chunk: &mut Chunk) -> Result<(), rustix::io::Errno> {
    while chunk.written < chunk.bytes.len() {
        let rest = &chunk.bytes[chunk.written..];
        let sent = if chunk.fds.is_empty() {
            rustix::net::send(socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
        } else {
            let fds: Vec<BorrowedFd<'_>> = chunk.fds.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&fds));
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            rustix::net::sendmsg(socket, &[IoSlice::new(rest)], &mut control, flags)
        };
        match sent {
            Ok(count) => {
                chunk.written += count;
                chunk.fds.clear();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Incoming {
    pub(super) async fn recv(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.buffered() {
                return Some(packet);
            }
            if self.ended {
                return None;
            }
            let outgoing = self.outgoing.clone();
            let mut guard = tokio::select! {
                () = outgoing.write_stalled() => return None,
                ready = outgoing.socket.readable() => ready.ok()?,
            };
            match self.read(outgoing.socket.as_fd()) {
                Ok(0) => self.end(),
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(_gone) => self.end(),
            }
        }
    }

    /// A packet that has arrived whole.
    pub(super) fn buffered(&mut self) -> Option<Packet> {
        match self.parse() {
            Ok(packet) => packet,
            Err(error) => {
                tracing::error!(target: "ray_core::wire", %error, "closing a connection that carries no valid frame");
                self.end();
                None
            }
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.buffer.clear();
        self.outgoing.line().closed = true;
        self.outgoing.shutdown();
    }

    fn parse(&mut self) -> Result<Option<Packet>, WireError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [a, b, c, d, e, f, g, h] = *header;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let fd_count = u32::from_le_bytes([e, f, g, h]) as usize;
        if len > MAX_FRAME || fd_count > MAX_FDS {
            return Err(WireError::TooLong { len, limit: MAX_FRAME });
        }
        if self.buffer.len() < HEADER + len {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let mut reader = Reader::new(self.buffer.split_to(len).freeze());
        let frame = Frame::decode(&mut reader)?;
        if reader.left() > 0 {
            return Err(WireError::TrailingBytes { left: reader.left() });
        }
        let fds = self.fds.drain(..fd_count.min(self.fds.len())).collect();
        Ok(Some(Packet { frame, fds }))
    }

    fn read(&mut self, socket: BorrowedFd<'_>) -> Result<usize, rustix::io::Errno> {
        let whole_frame = self
            .buffer
            .first_chunk::<4>()
            .map_or(0, |len| u32::from_le_bytes(*len) as usize + HEADER);
        let wanted = whole_frame
            .min(MAX_FRAME)
            .saturating_sub(self.buffer.len())
            .max(READ_AT_LEAST);
        let filled = self.buffer.len();
        self.buffer.resize(filled + wanted, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let outcome = rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut self.buffer[filled..])],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        );
        let count = outcome.as_ref().map_or(0, |received| received.bytes);
        self.buffer.truncate(filled + count);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        outcome.map(|received| received.bytes)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.end();
    }
}
