//! A node's signs of life (CL-2, CL-3).

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::ids::NodeId;
use crate::wire::Frame;
use crate::wire::blocking::{read_frame, write_frame};

/// The thread that gives signs of life, until this drops.
#[derive(Debug)]
pub(crate) struct Pulse {
    socket: TcpStream,
    _stop: mpsc::Sender<()>,
}

impl Pulse {
    /// Gives a sign at the beginning of each period. `lost` is called, once, when the head has not answered for so long.
    pub(crate) fn start(
        node: NodeId,
        socket: OwnedFd,
        period: Duration,
        silence: Duration,
        lost: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<Self> {
        let socket = TcpStream::from(socket);
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(silence))?;
        socket.set_write_timeout(Some(silence))?;
        let mut peer = socket.try_clone()?;
        let (stop, stopped) = mpsc::channel();
        std::thread::Builder::new().name("ray-alive".into()).spawn(move || {
            loop {
                let answered = write_frame(&mut peer, &Frame::Alive { node }).and_then(|()| read_frame(&mut peer));
                let why = match answered {
                    Ok(Some(Frame::Alive { .. })) => None,
                    Ok(_) => Some("the head has closed the connection for signs of life".to_owned()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        Some(format!("the head gave no sign of life for {silence:?}"))
                    }
                    Err(error) => Some(format!("the head cannot be reached: {error}")),
                };
                match (stopped.recv_timeout(period), why) {
                    (Err(RecvTimeoutError::Timeout), None) => {}
                    (Err(RecvTimeoutError::Timeout), Some(why)) => return lost(why),
                    _ => return,
                }
            }
        })?;
        Ok(Self { socket, _stop: stop })
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        // The thread may be waiting for an answer; if it has ended, there is nothing to shut down.
        let _ended = self.socket.shutdown(Shutdown::Both);
    }
}
