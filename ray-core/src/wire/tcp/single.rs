//! Single frames on a connection that then serves something else: nothing behind the frame is read along.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire::Frame;
use crate::wire::codec::from_bytes;
use crate::wire::socket::{HEADER, append};

/// The longest such frame.
const LONGEST: usize = 64 << 10;

/// Writes a frame.
pub(crate) async fn write_one(stream: &mut TcpStream, frame: &Frame) -> io::Result<()> {
    let mut bytes = Vec::new();
    append(frame, 0, &mut bytes);
    stream.write_all(&bytes).await
}

/// Reads a frame, which must have come within this time.
pub(crate) async fn read_one(stream: &mut TcpStream, within: Duration) -> io::Result<Frame> {
    match tokio::time::timeout(within, read(stream)).await {
        Ok(read) => read,
        Err(_elapsed) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("nothing was said within {within:?}"),
        )),
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Frame> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let [a, b, c, d, ..] = header;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    if len > LONGEST {
        return Err(invalid(format!(
            "a first frame of {len} bytes is over the limit of {LONGEST}"
        )));
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await?;
    from_bytes(Bytes::from(bytes)).map_err(|error| invalid(error.to_string()))
}
