//! The end that connects.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::TcpStream;

use super::handshake::{self, HandshakeError};
use super::opening::Mismatch;
use crate::wire::token::Token;

/// An address that cannot be reached, or that is not one of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// There is no such host.
    #[error("{address} is no address: {source}")]
    Address {
        /// What was given.
        address: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// What was given.
        address: String,
        /// What the last attempt gave.
        source: io::Error,
    },
    /// Nobody answers in time.
    #[error("{address} does not answer within {within:?}")]
    Silent {
        /// What was given.
        address: String,
        /// The time.
        within: Duration,
    },
    /// Another version, or another program.
    #[error("{address}: {mismatch}")]
    Mismatch {
        /// What was given.
        address: String,
        /// How the two differ.
        mismatch: Mismatch,
    },
    /// Another cluster, or no right to be in this one.
    #[error(
        "{address} refuses this process's token, or has another: set `RAY_AUTH_TOKEN`, or the file that `RAY_AUTH_TOKEN_PATH` names, to what `ray get-auth-token` prints on its head"
    )]
    Token {
        /// What was given.
        address: String,
    },
    /// The connection ended during the handshake.
    #[error("{address} closed the connection during the handshake: {source}")]
    Closed {
        /// What was given.
        address: String,
        /// How it ended.
        source: io::Error,
    },
}

/// A connection to another process of the cluster, which has the token, as this one has. All of it takes no longer than
/// `within`.
pub(crate) async fn dial(address: &str, token: &Token, within: Duration) -> Result<OwnedFd, DialError> {
    match tokio::time::timeout(within, connect(address, token)).await {
        Ok(connected) => connected,
        Err(_elapsed) => Err(DialError::Silent {
            address: address.to_owned(),
            within,
        }),
    }
}

async fn connect(given: &str, token: &Token) -> Result<OwnedFd, DialError> {
    let address = || given.to_owned();
    let found = tokio::net::lookup_host(given).await;
    let found = found.map_err(|source| DialError::Address {
        address: address(),
        source,
    })?;
    let unreachable = |source| DialError::Unreachable {
        address: address(),
        source,
    };
    let mut stream = first_that_answers(found).await.map_err(unreachable)?;
    super::set_up(&stream).map_err(unreachable)?;
    match handshake::dials(&mut stream, token).await {
        Ok(()) => Ok(stream.into_std().map_err(unreachable)?.into()),
        Err(HandshakeError::Mismatch(mismatch)) => Err(DialError::Mismatch {
            address: address(),
            mismatch,
        }),
        Err(HandshakeError::Token) => Err(DialError::Token { address: address() }),
        Err(HandshakeError::Io(source)) => Err(DialError::Closed {
            address: address(),
            source,
        }),
    }
}

async fn first_that_answers(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
