//! Frames by blocking calls, for a thread that does nothing else: the bytes are those of [`connection`](super::connection).
//!
//! A reader that is slow stops the writer, which is what it is for: nothing is kept in memory on the way. No descriptors.

use std::io::{self, Read, Write};

use bytes::BytesMut;

use super::codec::from_bytes;
use super::frames::Frame;
use super::socket::{HEADER, MAX_FRAME, append};

/// Writes a frame.
pub fn write_frame(to: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let mut bytes = Vec::new();
    append(frame, 0, &mut bytes);
    to.write_all(&bytes)
}

/// Reads a frame; `None` at the end.
pub fn read_frame(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut header = [0; HEADER];
    match from.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let [a, b, c, d, ..] = header;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    if len > MAX_FRAME {
        return Err(invalid(format!(
            "a frame of {len} bytes is over the limit of {MAX_FRAME}"
        )));
    }
    let mut bytes = BytesMut::new();
    // What is really there bounds what is allocated.
    let mut left = len;
    while left > 0 {
        let start = bytes.len();
        bytes.resize(start + left.min(64 << 10), 0);
        from.read_exact(&mut bytes[start..])?;
        left -= bytes.len() - start;
    }
    let frame = from_bytes(bytes.freeze()).map_err(|error| invalid(error.to_string()))?;
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::wire::connection::over_socket;

    fn line(text: &str) -> Frame {
        Frame::Output {
            name: "f".into(),
            pid: 7,
            stderr: true,
            text: text.into(),
        }
    }

    fn text_of(frame: Option<Frame>) -> Option<String> {
        match frame {
            Some(Frame::Output { text, .. }) => Some(text),
            _ => None,
        }
    }

    #[test]
    fn what_is_written_is_read_until_the_end() {
        let mut bytes = Vec::new();
        let long = "x".repeat(200_000);
        for text in ["one", "", &long] {
            write_frame(&mut bytes, &line(text)).unwrap();
        }
        let mut rest = bytes.as_slice();
        for text in ["one", "", &long] {
            assert_eq!(text_of(read_frame(&mut rest).unwrap()).as_deref(), Some(text));
        }
        assert!(read_frame(&mut rest).unwrap().is_none());
        assert!(read_frame(&mut &bytes[..20]).is_err() || bytes.len() == 20);
    }

    #[test]
    fn forged_bytes_are_an_error() {
        assert!(read_frame(&mut [0xff; 16].as_slice()).is_err());
        assert!(read_frame(&mut [4, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0].as_slice()).is_err());
    }

    #[tokio::test]
    async fn a_connection_reads_what_was_written_by_blocking_calls() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let (_sender, mut receiver) = over_socket(far.into()).unwrap();
        write_frame(&mut near, &line("one")).unwrap();
        let packet = receiver.recv().await.unwrap();
        assert_eq!(text_of(Some(packet.frame)).as_deref(), Some("one"));
    }
}
