//! Connections that carry frames: symmetric, ordered, lossless until closed.
//!
//! A connection is a [`Sender`] and a [`Receiver`]. Inside one process frames pass as they are; over a Unix socket they
//! are encoded, and descriptors travel with the frame they belong to. Sending never blocks and never fails: whether the
//! peer is gone is the receiver's news (its `recv` ends), since only there it can be acted upon once and in order.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::frames::Frame;
use super::socket;

/// A frame and the descriptors that came or go with it.
#[derive(Debug)]
pub struct Packet {
    /// The frame.
    pub frame: Frame,
    /// Descriptors, in the order in which they were sent.
    pub fds: Vec<OwnedFd>,
}

/// The sending half. Cheap to clone; the connection closes when the receiver of this end drops, or on [`Sender::close`].
#[derive(Debug, Clone)]
pub struct Sender(Half);

#[derive(Debug, Clone)]
enum Half {
    Local(mpsc::UnboundedSender<Option<Packet>>),
    Socket(Arc<socket::Outgoing>),
}

/// The receiving half.
#[derive(Debug)]
pub struct Receiver(Source);

#[derive(Debug)]
enum Source {
    Local(mpsc::UnboundedReceiver<Option<Packet>>),
    Socket(Box<socket::Incoming>),
}

/// Two connected ends inside this process.
pub fn local_pair() -> [(Sender, Receiver); 2] {
    let (to_right, from_left) = mpsc::unbounded_channel();
    let (to_left, from_right) = mpsc::unbounded_channel();
    let end = |sender, receiver| (Sender(Half::Local(sender)), Receiver(Source::Local(receiver)));
    [end(to_right, from_right), end(to_left, from_left)]
}

/// The two halves of this process's end of a Unix stream socket. Must be called within the runtime that will receive.
pub fn over_socket(fd: OwnedFd) -> io::Result<(Sender, Receiver)> {
    let (outgoing, incoming) = socket::open(fd)?;
    Ok((
        Sender(Half::Socket(outgoing)),
        Receiver(Source::Socket(Box::new(incoming))),
    ))
}

impl Sender {
    /// Sends a frame now.
    pub fn send(&self, frame: Frame) {
        self.send_with(frame, Vec::new());
    }

    /// Sends a frame with descriptors, now.
    pub fn send_with(&self, frame: Frame, fds: Vec<OwnedFd>) {
        match &self.0 {
            // A closed channel means that the peer is gone: its receiver says so.
            Half::Local(channel) => drop(channel.send(Some(Packet { frame, fds }))),
            Half::Socket(outgoing) => {
                outgoing.push(&frame, fds);
                outgoing.flush();
            }
        }
    }

    /// Puts a frame in line without a system call; it leaves with the next [`flush`](Self::flush) or `send`.
    pub fn push(&self, frame: Frame) {
        match &self.0 {
            Half::Local(_) => self.send(frame),
            Half::Socket(outgoing) => outgoing.push(&frame, Vec::new()),
        }
    }

    /// Sends what is in line.
    pub fn flush(&self) {
        if let Half::Socket(outgoing) = &self.0 {
            outgoing.flush();
        }
    }

    /// Whether both are senders of the same end.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Half::Local(a), Half::Local(b)) => a.same_channel(b),
            (Half::Socket(a), Half::Socket(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Closes both directions at once, whether or not the peer takes what was sent before.
    pub fn abort(&self) {
        match &self.0 {
            Half::Local(channel) => drop(channel.send(None)),
            Half::Socket(outgoing) => outgoing.abort(),
        }
    }

    /// Closes both directions: the peer receives what was sent before, then the end.
    pub fn close(&self) {
        match &self.0 {
            Half::Local(channel) => drop(channel.send(None)),
            Half::Socket(outgoing) => outgoing.close(),
        }
    }
}

impl Receiver {
    /// The next packet; `None` when the peer has closed or is gone. Safe to drop and call again.
    pub async fn recv(&mut self) -> Option<Packet> {
        match &mut self.0 {
            Source::Local(channel) => channel.recv().await.flatten(),
            Source::Socket(incoming) => incoming.recv().await,
        }
    }

    /// The next packet, if it has arrived already.
    pub fn try_recv(&mut self) -> Option<Packet> {
        match &mut self.0 {
            Source::Local(channel) => channel.try_recv().ok().flatten(),
            Source::Socket(incoming) => incoming.buffered(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::ids::{ObjectId, TaskId, WorkerId};
    use crate::wire::ObjectValue;

    fn big(index: u32) -> Frame {
        let object = TaskId::new(WorkerId::default(), 1).object(index);
        let bytes = vec![u8::try_from(index % 251).unwrap(); 300_000];
        Frame::ObjectReady {
            object,
            value: ObjectValue::Inline { object: bytes.into() },
        }
    }

    async fn frames_arrive_in_order_with_their_descriptors(left: (Sender, Receiver), mut right: (Sender, Receiver)) {
        let (mut near, far) = UnixStream::pair().unwrap();
        for index in 0..40 {
            left.0.push(big(index));
            if index == 20 {
                left.0
                    .send_with(Frame::Exit {}, vec![OwnedFd::from(far.try_clone().unwrap())]);
            }
        }
        left.0.flush();
        let mut passed = None;
        let mut next = 0;
        while next < 40 {
            let packet = right.1.recv().await.unwrap();
            match packet.frame {
                Frame::ObjectReady {
                    object,
                    value: ObjectValue::Inline { object: bytes },
                } => {
                    assert_eq!(object.index(), next);
                    assert!(bytes.len() == 300_000 && bytes.iter().all(|byte| u32::from(*byte) == next % 251));
                    next += 1;
                }
                Frame::Exit {} => {
                    assert_eq!(next, 21);
                    passed = packet.fds.into_iter().next();
                }
                other => panic!("{other:?}"),
            }
        }
        near.write_all(b"hello").unwrap();
        let mut text = [0; 5];
        UnixStream::from(passed.unwrap()).read_exact(&mut text).unwrap();
        assert_eq!(&text, b"hello");
        left.0.close();
        assert!(right.1.recv().await.is_none());
    }

    #[tokio::test]
    async fn inside_one_process() {
        let [left, right] = local_pair();
        frames_arrive_in_order_with_their_descriptors(left, right).await;
    }

    #[tokio::test]
    async fn over_a_unix_socket() {
        let (left, right) = UnixStream::pair().unwrap();
        // Writes that the socket's buffer cannot take are finished by the end's own receiver.
        let (left_sender, mut left_receiver) = over_socket(left.into()).unwrap();
        let right = over_socket(right.into()).unwrap();
        let [spare, _other] = local_pair();
        let pump = tokio::spawn(async move { while left_receiver.recv().await.is_some() {} });
        frames_arrive_in_order_with_their_descriptors((left_sender, spare.1), right).await;
        pump.await.unwrap();
    }

    #[tokio::test]
    async fn a_full_buffer_stalls_neither_end_while_frames_come_back() {
        let (left, right) = UnixStream::pair().unwrap();
        let (left_sender, mut left_receiver) = over_socket(left.into()).unwrap();
        let (right_sender, mut right_receiver) = over_socket(right.into()).unwrap();
        (0..200).for_each(|index| left_sender.push(big(index)));
        left_sender.flush();
        let echo = tokio::spawn(async move {
            for _ in 0..200 {
                right_receiver.recv().await.unwrap();
                right_sender.send(Frame::Blocked { lease: 0 });
            }
        });
        for _ in 0..200 {
            left_receiver.recv().await.unwrap();
        }
        echo.await.unwrap();
    }

    #[tokio::test]
    async fn bytes_that_are_no_frame_end_the_connection() {
        let (mut left, right) = UnixStream::pair().unwrap();
        let (_sender, mut receiver) = over_socket(right.into()).unwrap();
        left.write_all(&[8, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0])
            .unwrap();
        assert!(receiver.recv().await.is_none());
        let _unused: Option<ObjectId> = None;
    }
}
