//! The handshake itself, over any stream: two messages from each end, all of fixed length (TC-1).
//!
//! ```text
//! dials    Opening (nonce)                     ─►
//!                                              ◄─  Opening (nonce)              listens
//!          proof(dials, both openings)         ─►
//!                                              ◄─  verdict, proof(listens, ..)
//! ```

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::opening::{Mismatch, NONCE, OPENING, Opening};
use crate::wire::token::{self, Role, Token};

const PROOF: usize = 32;
const ACCEPTED: u8 = 1;
const REFUSED: u8 = 0;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error("the two have different cluster tokens")]
    Token,
    #[error("{0}")]
    Io(#[from] io::Error),
}

fn opening() -> io::Result<Opening> {
    let mut nonce = [0; NONCE];
    token::random(&mut nonce)?;
    Ok(Opening::of_this_process(nonce))
}

async fn read<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// The end that dials (TC-3).
pub(super) async fn dials(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    token: &Token,
) -> Result<(), HandshakeError> {
    let ours = opening()?;
    let said = ours.to_bytes();
    stream.write_all(&said).await?;
    let heard: [u8; OPENING] = read(stream).await?;
    Opening::from_bytes(&heard).check(&ours)?;
    stream
        .write_all(token.proof(Role::Dials, &[&said, &heard]).as_bytes())
        .await?;
    let [verdict] = read(stream).await?;
    if verdict != ACCEPTED {
        return Err(HandshakeError::Token);
    }
    let proof: [u8; PROOF] = read(stream).await?;
    if token.proof(Role::Listens, &[&said, &heard]) != blake3::Hash::from_bytes(proof) {
        return Err(HandshakeError::Token);
    }
    Ok(())
}

/// The end that listens.
pub(super) async fn listens(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    token: &Token,
) -> Result<(), HandshakeError> {
    let heard: [u8; OPENING] = read(stream).await?;
    let (theirs, ours) = (Opening::from_bytes(&heard), opening()?);
    let checked = theirs.check(&ours);
    if let Err(foreign @ Mismatch::Foreign { .. }) = checked {
        // It would not understand the answer.
        return Err(foreign.into());
    }
    let said = ours.to_bytes();
    // Also to a peer that differs: from this it learns how.
    stream.write_all(&said).await?;
    checked?;
    let proof: [u8; PROOF] = read(stream).await?;
    if token.proof(Role::Dials, &[&heard, &said]) != blake3::Hash::from_bytes(proof) {
        stream.write_all(&[REFUSED]).await?;
        return Err(HandshakeError::Token);
    }
    let mut answer = [ACCEPTED; 1 + PROOF];
    answer[1..].copy_from_slice(token.proof(Role::Listens, &[&heard, &said]).as_bytes());
    stream.write_all(&answer).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn token(text: &str) -> Token {
        Token::new(text, "given").unwrap()
    }

    async fn meet(one: &Token, other: &Token) -> [Result<(), HandshakeError>; 2] {
        let (mut near, mut far) = duplex(256);
        let (dialled, listened) = tokio::join!(
            async {
                let done = dials(&mut near, one).await;
                drop(near);
                done
            },
            async {
                let done = listens(&mut far, other).await;
                drop(far);
                done
            }
        );
        [dialled, listened]
    }

    #[tokio::test]
    async fn two_with_the_same_token_meet() {
        let token = Token::generate().unwrap();
        assert!(meet(&token, &token).await.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn two_with_different_tokens_do_not_and_both_know_why() {
        let [dialled, listened] = meet(&Token::generate().unwrap(), &Token::generate().unwrap()).await;
        assert!(matches!(dialled, Err(HandshakeError::Token)), "{dialled:?}");
        assert!(matches!(listened, Err(HandshakeError::Token)), "{listened:?}");
    }

    #[tokio::test]
    async fn tc_2_nothing_that_crosses_holds_the_token_and_a_recording_is_worth_nothing() {
        let text = "a-token-that-would-be-seen";
        let token = token(text);
        // What the dialling end says, as a listener records it.
        let (mut near, mut far) = duplex(4096);
        let recorded = async {
            let opening: [u8; OPENING] = read(&mut far).await.unwrap();
            far.write_all(&super::opening().unwrap().to_bytes()).await.unwrap();
            let proof: [u8; PROOF] = read(&mut far).await.unwrap();
            drop(far);
            [opening.to_vec(), proof.to_vec()].concat()
        };
        let (refused, recording) = tokio::join!(dials(&mut near, &token), recorded);
        assert!(refused.is_err());
        assert!(!recording.windows(text.len()).any(|window| window == text.as_bytes()));
        let (mut near, mut far) = duplex(4096);
        let replayed = async {
            near.write_all(&recording).await.unwrap();
            let _opening: [u8; OPENING] = read(&mut near).await.unwrap();
            read::<1>(&mut near).await.unwrap()
        };
        let (verdict, listened) = tokio::join!(replayed, listens(&mut far, &token));
        assert_eq!(verdict, [REFUSED]);
        assert!(matches!(listened, Err(HandshakeError::Token)));
    }

    #[tokio::test]
    async fn tc_2_an_end_cannot_be_made_to_answer_its_own_challenge() {
        // A listener without the token sends back what it hears.
        let (mut near, mut far) = duplex(4096);
        let mirror = async {
            let opening: [u8; OPENING] = read(&mut far).await.unwrap();
            far.write_all(&opening).await.unwrap();
            let proof: [u8; PROOF] = read(&mut far).await.unwrap();
            far.write_all(&[ACCEPTED]).await.unwrap();
            far.write_all(&proof).await.unwrap();
        };
        let token = Token::generate().unwrap();
        let (dialled, ()) = tokio::join!(dials(&mut near, &token), mirror);
        assert!(matches!(dialled, Err(HandshakeError::Token)), "{dialled:?}");
    }

    async fn says(bytes: &[u8]) -> (Result<(), HandshakeError>, Vec<u8>) {
        let (mut near, mut far): (DuplexStream, DuplexStream) = duplex(4096);
        let stranger = async {
            near.write_all(bytes).await.unwrap();
            near.shutdown().await.unwrap();
            let mut answer = Vec::new();
            near.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let (answer, listened) = tokio::join!(stranger, async {
            let listened = listens(&mut far, &token("correct-horse-battery")).await;
            drop(far);
            listened
        });
        (listened, answer)
    }

    #[tokio::test]
    async fn tc_3_a_stranger_learns_nothing() {
        let request = b"GET / HTTP/1.1\r\nhost: example.com\r\nuser-agent: curl\r\naccept: */*\r\n\r\n";
        let (listened, answer) = says(request).await;
        assert!(listened.unwrap_err().to_string().contains("HTTP"));
        assert_eq!(answer, b"");
        let (listened, answer) = says(b"").await;
        assert!(matches!(listened, Err(HandshakeError::Io(_))));
        assert_eq!(answer, b"");
    }
}
