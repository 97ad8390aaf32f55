//! The reading half of the codec: the bytes of [`tag`] as serde's data model.
//!
//! - `input`: bytes, counts and text from the front; `integer`: numbers;
//! - here: whatever comes next, as it was written;
//! - `typed`: what a type asks for; `compound`: values of several parts.
//!
//! What holds:
//!
//! - DE-1: no input makes it panic, recurse without bound or allocate more than a small multiple of the input.

mod compound;
mod input;
mod integer;
mod typed;

use std::ops::Range;

use bytes::Bytes;
use serde::de::Visitor;

use self::compound::{Elements, Left};
use self::input::Input;
use super::MAX_DEPTH;
use super::error::{DecodeError, DecodeErrorKind};
use super::object::Parsed;
use super::refs::TOKEN_LEN;
use super::tag;

/// Reads one value of an object.
pub(super) struct Decoder<'de> {
    object: &'de Bytes,
    parsed: &'de Parsed,
    input: Input<'de>,
    depth: usize,
}

impl<'de> Decoder<'de> {
    pub(super) fn new(object: &'de Bytes, parsed: &'de Parsed) -> Self {
        Self {
            object,
            parsed,
            input: Input::new(&object[parsed.in_band.clone()]),
            depth: 0,
        }
    }

    /// Refuses bytes after the value.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        match self.input.remaining() {
            0 => Ok(()),
            count => Err(DecodeErrorKind::Trailing { count }.into()),
        }
    }

    /// Runs `read` one level deeper.
    #[inline]
    fn nested<R>(&mut self, read: impl FnOnce(&mut Self) -> Result<R, DecodeError>) -> Result<R, DecodeError> {
        if self.depth == MAX_DEPTH {
            return Err(DecodeErrorKind::TooDeep { limit: MAX_DEPTH }.into());
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn sequence<V: Visitor<'de>>(&mut self, left: Left, visitor: V) -> Result<V::Value, DecodeError> {
        self.nested(|decoder| {
            let mut elements = Elements::new(decoder, left);
            let value = visitor.visit_seq(&mut elements)?;
            elements.finish()?;
            Ok(value)
        })
    }

    fn map<V: Visitor<'de>>(&mut self, left: Left, visitor: V) -> Result<V::Value, DecodeError> {
        self.nested(|decoder| {
            let mut entries = Elements::new(decoder, left);
            let value = visitor.visit_map(&mut entries)?;
            entries.finish()?;
            Ok(value)
        })
    }

    #[inline]
    fn float<V: Visitor<'de>>(&mut self, opening: u8, visitor: V) -> Result<V::Value, DecodeError> {
        match opening {
            tag::F32 => visitor.visit_f32(f32::from_le_bytes(self.input.array()?)),
            _ => visitor.visit_f64(f64::from_le_bytes(self.input.array()?)),
        }
    }

    /// The memory of the buffer whose index comes next.
    fn buffer_range(&mut self) -> Result<Range<usize>, DecodeError> {
        let index = self.input.count()?;
        self.parsed
            .buffers
            .get(index)
            .cloned()
            .ok_or_else(|| self.input.malformed("a buffer that the object does not have"))
    }

    /// The entry of the reference whose index comes next.
    fn ref_entry(&mut self) -> Result<&'de [u8; TOKEN_LEN], DecodeError> {
        let index = self.input.count()?;
        let (entries, _) = self.object[self.parsed.refs.clone()].as_chunks::<TOKEN_LEN>();
        entries
            .get(index)
            .ok_or_else(|| self.input.malformed("a reference that the object does not have"))
    }

    /// Reads whatever comes next.
    fn any<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        let opening = self.input.byte()?;
        match opening {
            tag::SHORT_STR..=tag::MAX_SHORT_STR => {
                visitor.visit_borrowed_str(self.input.text(usize::from(opening - tag::SHORT_STR))?)
            }
            tag::STR => {
                let len = self.input.count()?;
                visitor.visit_borrowed_str(self.input.text(len)?)
            }
            tag::BYTES => {
                let len = self.input.count()?;
                visitor.visit_borrowed_bytes(self.input.take(len)?)
            }
            tag::UNIT => visitor.visit_unit(),
            tag::NONE => visitor.visit_none(),
            tag::SOME => self.nested(|decoder| visitor.visit_some(decoder)),
            tag::FALSE => visitor.visit_bool(false),
            tag::TRUE => visitor.visit_bool(true),
            tag::F32 | tag::F64 => self.float(opening, visitor),
            tag::CHAR => {
                let code = u32::from_le_bytes(self.input.array()?);
                visitor
                    .visit_char(char::from_u32(code).ok_or_else(|| self.input.malformed("a number that is no char"))?)
            }
            tag::SEQ => {
                let count = Left::counted(&mut self.input, 1)?;
                self.sequence(count, visitor)
            }
            tag::OPEN_SEQ => self.sequence(Left::Open, visitor),
            tag::MAP => {
                let count = Left::counted(&mut self.input, 2)?;
                self.map(count, visitor)
            }
            tag::OPEN_MAP => self.map(Left::Open, visitor),
            // A variant is a map with one entry to whoever does not know that it is one.
            tag::VARIANT => self.map(Left::Known(1), visitor),
            tag::BUFFER => {
                let range = self.buffer_range()?;
                visitor.visit_borrowed_bytes(&self.object[range])
            }
            tag::REF => visitor.visit_borrowed_bytes(self.ref_entry()?),
            _ => match self.input.integer_after(opening)? {
                Some(integer) => integer.visit(visitor),
                None => Err(self.input.malformed("a byte that opens no value")),
            },
        }
    }
}
