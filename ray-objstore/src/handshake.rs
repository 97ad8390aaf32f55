//! The first packet of a connection: sizes, and the descriptors of what is shared (`SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use crate::error::Error;
use crate::wire::Hello;

/// Segment, index, pin table, publication table, ring.
pub(crate) const SHARED: usize = 5;

pub(crate) fn greet(socket: BorrowedFd<'_>, hello: &Hello, shared: [BorrowedFd<'_>; SHARED]) -> Result<(), Error> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SHARED))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&shared)) {
        return Err(Error::corrupt("no room for the descriptors of a greeting"));
    }
    let packet = hello.encode();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(&packet)], &mut control, flags)
        .map_err(Error::os("greeting a client"))?;
    Ok(())
}

pub(crate) fn receive(socket: BorrowedFd<'_>) -> Result<(Hello, [OwnedFd; SHARED]), Error> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SHARED))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut packet = [0; 256];
    let mut buffers = [IoSliceMut::new(&mut packet)];
    let len = loop {
        match rustix::net::recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message.bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::os("receiving the store's greeting")(error)),
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if len == 0 {
        return Err(Error::StoreGone);
    }
    let hello = Hello::decode(packet.get(..len).unwrap_or_default())?;
    let shared = descriptors
        .try_into()
        .map_err(|_| Error::corrupt("a greeting without its descriptors"))?;
    Ok((hello, shared))
}
