//! The end that is connected to.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};

use super::handshake;
use crate::wire::token::Token;

/// Connections in the handshake at a time: for a further one the oldest is closed.
const STRANGERS: usize = 64;
/// How long a handshake may take.
const WITHIN: Duration = Duration::from_secs(5);
/// A pause after `accept` failed: descriptors may have run out.
const PAUSE: Duration = Duration::from_millis(50);

/// A port that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{address} cannot be listened on: {source}")]
pub(crate) struct ListenError {
    address: String,
    source: io::Error,
}

/// A port on which processes of the cluster are listened for. It closes when this drops.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    accepted: mpsc::Receiver<OwnedFd>,
    accepting: JoinHandle<()>,
}

impl Listener {
    /// Listens on an address; port 0 takes any.
    pub(crate) async fn bind(address: &str, token: Token) -> Result<Self, ListenError> {
        let fails = |source| ListenError {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(fails)?;
        let bound = listener.local_addr().map_err(fails)?;
        let (proven, accepted) = mpsc::channel(STRANGERS);
        let accepting = tokio::spawn(accept(listener, Arc::new(token), proven));
        Ok(Self {
            address: bound,
            accepted,
            accepting,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection whose other end has the token. `None` when the listener has ended. Safe to drop and call again.
    pub(crate) async fn accept(&mut self) -> Option<OwnedFd> {
        self.accepted.recv().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, token: Arc<Token>, proven: mpsc::Sender<OwnedFd>) {
    // The oldest first. Who says nothing must not keep out those who can prove the token.
    let mut strangers: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(target: "ray_core::wire", %error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        strangers.retain(|stranger| !stranger.is_finished());
        while strangers.len() >= STRANGERS
            && let Some(oldest) = strangers.pop_front()
        {
            oldest.abort();
        }
        let (token, proven) = (token.clone(), proven.clone());
        let stranger = tokio::spawn(async move {
            match tokio::time::timeout(WITHIN, admit(stream, &token)).await {
                // An error means that nobody listens any more.
                Ok(Ok(socket)) => drop(proven.send(socket).await),
                Ok(Err(error)) => tracing::warn!(target: "ray_core::wire", %peer, %error, "a connection is refused"),
                Err(_elapsed) => {
                    tracing::warn!(target: "ray_core::wire", %peer, "a connection is refused: no handshake within {WITHIN:?}");
                }
            }
        });
        strangers.push_back(stranger.abort_handle());
    }
}

async fn admit(mut stream: TcpStream, token: &Token) -> Result<OwnedFd, handshake::HandshakeError> {
    super::set_up(&stream)?;
    handshake::listens(&mut stream, token).await?;
    Ok(stream.into_std()?.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::dial::{DialError, dial};
    use super::*;
    use crate::wire::Frame;
    use crate::wire::connection::over_socket;

    const LONG: Duration = Duration::from_secs(30);

    async fn listener(token: &Token) -> (Listener, String) {
        let listener = Listener::bind("127.0.0.1:0", token.clone()).await.unwrap();
        let address = listener.address().to_string();
        (listener, address)
    }

    #[tokio::test]
    async fn frames_cross_once_both_have_shown_the_token() {
        let token = Token::generate().unwrap();
        let (mut listener, address) = listener(&token).await;
        let (dialled, accepted) = tokio::join!(dial(&address, &token, LONG), listener.accept());
        let (near, mut back) = over_socket(dialled.unwrap()).unwrap();
        let (far, mut forth) = over_socket(accepted.unwrap()).unwrap();
        near.send(Frame::Blocked { lease: 7 });
        assert!(matches!(forth.recv().await.unwrap().frame, Frame::Blocked { lease: 7 }));
        far.send(Frame::Unblocked { lease: 8 });
        assert!(matches!(
            back.recv().await.unwrap().frame,
            Frame::Unblocked { lease: 8 }
        ));
        drop((near, back));
        assert!(forth.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_wrong_token_is_refused_and_the_next_one_served() {
        let token = Token::generate().unwrap();
        let (mut listener, address) = listener(&token).await;
        let refused = dial(&address, &Token::generate().unwrap(), LONG).await.unwrap_err();
        assert!(matches!(refused, DialError::Token { .. }), "{refused}");
        assert!(refused.to_string().contains(&address) && refused.to_string().contains("get-auth-token"));
        let (dialled, accepted) = tokio::join!(dial(&address, &token, LONG), listener.accept());
        assert!(dialled.is_ok() && accepted.is_some());
    }

    #[tokio::test]
    async fn silent_strangers_keep_nobody_out() {
        let token = Token::generate().unwrap();
        let (mut listener, address) = listener(&token).await;
        let mut silent = Vec::new();
        for _ in 0..STRANGERS / 2 {
            silent.push(TcpStream::connect(&address).await.unwrap());
        }
        let (dialled, accepted) = tokio::join!(dial(&address, &token, LONG), listener.accept());
        assert!(dialled.is_ok() && accepted.is_some());
    }

    #[tokio::test]
    async fn a_stranger_that_talks_on_and_on_is_cut_off_early() {
        let token = Token::generate().unwrap();
        let (_listener, address) = listener(&token).await;
        let mut stranger = TcpStream::connect(&address).await.unwrap();
        let chunk = vec![b'x'; 1 << 20];
        let flood = async { while stranger.write_all(&chunk).await.is_ok() {} };
        tokio::time::timeout(LONG, flood).await.unwrap();
        let mut left = Vec::new();
        let _reset = stranger.read_to_end(&mut left).await;
        assert_eq!(left, b"");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_and_one_that_nobody_serves_are_named() {
        let token = Token::generate().unwrap();
        let (listener, address) = listener(&token).await;
        let taken = Listener::bind(&address, token.clone()).await.unwrap_err();
        assert!(taken.to_string().contains(&address), "{taken}");
        drop(listener);
        // The task that held the socket ends at its next turn.
        let refused = loop {
            match dial(&address, &token, LONG).await {
                Err(error @ DialError::Unreachable { .. }) => break error,
                _ => tokio::task::yield_now().await,
            }
        };
        assert!(refused.to_string().contains(&address), "{refused}");
        let error = dial("no-such-host.invalid:1", &token, LONG).await.unwrap_err();
        assert!(matches!(error, DialError::Address { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_peer_that_never_answers_is_given_up() {
        let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = mute.local_addr().unwrap().to_string();
        let silent = dial(&address, &Token::generate().unwrap(), Duration::from_millis(50)).await;
        assert!(matches!(silent, Err(DialError::Silent { .. })), "{silent:?}");
    }
}
