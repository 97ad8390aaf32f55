//! The layout of an object: what lies in shared memory, in a spill file, or inline in a frame.
//!
//! ```text
//! short  b"RV"  version u8  codec u8        in-band length u32
//! long   b"RV"  version u8  codec u8 | 80h  references u32  buffers u32  0u32  in-band length u64  [buffer length u64]
//! then   in-band bytes, references, and each buffer at the next multiple of 64
//! ```
//!
//! All numbers are little-endian. The short form serves values without buffers and references, so that an integer costs
//! about ten bytes.
//!
//! - OB-1: nothing read from an object is believed: every length is checked against the bytes that are there before
//!   anything is read or allocated by it.
//! - OB-2: an object's length is exactly what its header says, so a truncated one is never read as a shorter one.

mod encoded;
mod layout;
mod parse;
mod parts;

pub use encoded::{Encoded, WrongOutputLength};
pub use layout::ObjectLayout;
pub(super) use layout::check_counts;
pub(super) use parse::{Parsed, parse, read_ref, read_refs};
pub use parts::Parts;
pub(super) use parts::finish_head;

const MAGIC: [u8; 2] = *b"RV";
const VERSION: u8 = 1;
/// The self-describing codec of this module's siblings.
const CODEC: u8 = 1;
const LONG: u8 = 0x80;
pub(super) const SHORT_HEADER: usize = 8;
const LONG_HEADER: usize = 24;
