//! The bytes that open each encoded value. The format is fixed by these numbers: a change needs a new codec tag.
//!
//! Every integer wider than a byte is little-endian. Lengths and counts are LEB128.

/// `0x00..=MAX_SMALL`: the unsigned number itself.
pub(super) const MAX_SMALL: u8 = 0x7f;
/// `SHORT_STR..=MAX_SHORT_STR`: a string whose length is the difference to `SHORT_STR`.
pub(super) const SHORT_STR: u8 = 0x80;
pub(super) const MAX_SHORT_STR: u8 = 0xbf;
pub(super) const MAX_SHORT_STR_LEN: usize = (MAX_SHORT_STR - SHORT_STR) as usize;
/// `MIN_NEGATIVE..=0xff`: the byte read as `i8`, that is -32 to -1.
pub(super) const MIN_NEGATIVE: u8 = 0xe0;

pub(super) const UNIT: u8 = 0xc0;
pub(super) const NONE: u8 = 0xc1;
/// Stands before a value inside `Some` only where that value would otherwise read as `None`.
pub(super) const SOME: u8 = 0xc2;
pub(super) const FALSE: u8 = 0xc3;
pub(super) const TRUE: u8 = 0xc4;
pub(super) const U8: u8 = 0xc5;
pub(super) const U16: u8 = 0xc6;
pub(super) const U32: u8 = 0xc7;
pub(super) const U64: u8 = 0xc8;
pub(super) const U128: u8 = 0xc9;
pub(super) const I8: u8 = 0xca;
pub(super) const I16: u8 = 0xcb;
pub(super) const I32: u8 = 0xcc;
pub(super) const I64: u8 = 0xcd;
pub(super) const I128: u8 = 0xce;
pub(super) const F32: u8 = 0xcf;
pub(super) const F64: u8 = 0xd0;
pub(super) const CHAR: u8 = 0xd1;
/// A string of any length: length, bytes.
pub(super) const STR: u8 = 0xd2;
/// Bytes: length, bytes.
pub(super) const BYTES: u8 = 0xd3;
/// A sequence: count, elements.
pub(super) const SEQ: u8 = 0xd4;
/// A sequence whose count was not known when it was begun: elements, `END`.
pub(super) const OPEN_SEQ: u8 = 0xd5;
/// A map or struct: count, then key and value of each entry.
pub(super) const MAP: u8 = 0xd6;
/// A map whose count was not known when it was begun: entries, `END`.
pub(super) const OPEN_MAP: u8 = 0xd7;
pub(super) const END: u8 = 0xd8;
/// An enum variant with content: the name as a string, then one value. A unit variant is just the string.
pub(super) const VARIANT: u8 = 0xd9;
/// A buffer outside the in-band bytes: its index.
pub(super) const BUFFER: u8 = 0xda;
/// A reference: its index in the object's list of references.
pub(super) const REF: u8 = 0xdb;
