//! The writing half of the codec: serde's data model as the bytes of [`tag`].
//!
//! - `output`: where in-band bytes go;
//! - here: one value, and what it keeps out of band: buffers and references;
//! - `compound`: values of several parts.

mod compound;
mod output;

use serde::ser::{self, Serialize};
use smallvec::SmallVec;

use self::compound::Compound;
use self::output::Output;
use super::MAX_DEPTH;
use super::buffer::Buffer;
use super::error::{EncodeError, EncodeErrorKind, Step};
use super::foreign::{self, Handle};
use super::refs::RefToken;
use super::tag;

/// Buffers shorter than this travel in-band: a place of their own would cost them more than the copy does.
pub(super) const INLINE_BUFFER: usize = 64;

/// How many of the last buffers are compared with a new one, so that parts of a value that share memory share it still.
const SHARED_WINDOW: usize = 8;

/// Writes one value into `out`.
pub(super) struct Encoder<'o> {
    out: Output<'o>,
    pub(super) buffers: SmallVec<[Buffer; 2]>,
    pub(super) refs: Vec<RefToken>,
    depth: usize,
    /// Where the last `Some` began and how many there are in a row. They need bytes only if what follows there could be
    /// taken for `None`.
    somes: (usize, usize),
}

impl<'o> Encoder<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        Self {
            out: Output::new(out),
            buffers: SmallVec::new(),
            refs: Vec::new(),
            depth: 0,
            somes: (usize::MAX, 0),
        }
    }

    #[inline]
    fn descend(&mut self) -> Result<(), EncodeError> {
        if self.depth == MAX_DEPTH {
            return Err(EncodeErrorKind::TooDeep { limit: MAX_DEPTH }.into());
        }
        self.depth += 1;
        Ok(())
    }

    /// Writes `value` one level deeper.
    #[inline]
    fn nested<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.descend()?;
        let written = value.serialize(&mut *self);
        self.depth -= 1;
        written
    }

    /// Writes the `Some`s whose content is about to write something that `None` could be taken for.
    #[inline]
    fn pending_somes(&mut self) {
        if self.somes.0 == self.out.len() {
            self.out.repeat(tag::SOME, self.somes.1);
        }
    }

    fn buffer(&mut self, buffer: Buffer) {
        if buffer.len() < INLINE_BUFFER {
            return self.out.plain(&buffer);
        }
        let window = self.buffers.len().saturating_sub(SHARED_WINDOW);
        let same = |other: &Buffer| std::ptr::eq(other.as_slice(), buffer.as_slice());
        let index = match self.buffers[window..].iter().position(same) {
            Some(index) => window + index,
            None => {
                self.buffers.push(buffer);
                self.buffers.len() - 1
            }
        };
        self.out.counted(tag::BUFFER, index);
    }

    fn reference(&mut self, token: RefToken) {
        self.out.counted(tag::REF, self.refs.len());
        self.refs.push(token);
    }

    #[inline]
    fn begin(&mut self, known: u8, open: u8, count: Option<usize>) -> Result<Compound<'_, 'o>, EncodeError> {
        match count {
            Some(count) => self.out.counted(known, count),
            None => self.out.byte(open),
        }
        self.descend()?;
        Ok(Compound::new(self, count))
    }

    fn begin_variant(&mut self, name: &'static str, tag: u8, count: usize) -> Result<Compound<'_, 'o>, EncodeError> {
        self.out.byte(tag::VARIANT);
        self.out.text(name);
        Ok(self.begin(tag, tag, Some(count))?.of_variant(name))
    }
}

impl<'e, 'o> ser::Serializer for &'e mut Encoder<'o> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'e, 'o>;
    type SerializeTuple = Compound<'e, 'o>;
    type SerializeTupleStruct = Compound<'e, 'o>;
    type SerializeTupleVariant = Compound<'e, 'o>;
    type SerializeMap = Compound<'e, 'o>;
    type SerializeStruct = Compound<'e, 'o>;
    type SerializeStructVariant = Compound<'e, 'o>;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.out.byte(if value { tag::TRUE } else { tag::FALSE });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), EncodeError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), EncodeError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), EncodeError> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), EncodeError> {
        self.out.signed(value);
        Ok(())
    }

    fn serialize_i128(self, value: i128) -> Result<(), EncodeError> {
        if let Ok(value) = i64::try_from(value) {
            self.out.signed(value);
        } else if let Ok(value) = u64::try_from(value) {
            self.out.unsigned(value);
        } else {
            self.out.tagged(tag::I128, value.to_le_bytes());
        }
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), EncodeError> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), EncodeError> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), EncodeError> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), EncodeError> {
        self.out.unsigned(value);
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<(), EncodeError> {
        match u64::try_from(value) {
            Ok(value) => self.out.unsigned(value),
            Err(_) => self.out.tagged(tag::U128, value.to_le_bytes()),
        }
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        self.out.tagged(tag::F32, value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        self.out.tagged(tag::F64, value.to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.out.tagged(tag::CHAR, u32::from(value).to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        self.out.text(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), EncodeError> {
        self.out.plain(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        self.pending_somes();
        self.out.byte(tag::NONE);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        self.somes = match self.somes {
            (at, count) if at == self.out.len() => (at, count + 1),
            _ => (self.out.len(), 1),
        };
        self.nested(value)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.pending_somes();
        self.out.byte(tag::UNIT);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), EncodeError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), EncodeError> {
        // A reserved name without its handle comes through serde's own buffering: then the inner value decides.
        match name {
            foreign::BUFFER_NAME if let Some(Handle::Buffer(buffer)) = foreign::take() => self.buffer(buffer),
            foreign::REF_NAME if let Some(Handle::Ref(token)) = foreign::take() => self.reference(token),
            _ => return self.nested(value),
        }
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.out.byte(tag::VARIANT);
        self.out.text(variant);
        self.nested(value)
            .map_err(|error| error.at(Step::Variant(variant.into())))
    }

    fn serialize_seq(self, count: Option<usize>) -> Result<Compound<'e, 'o>, EncodeError> {
        self.begin(tag::SEQ, tag::OPEN_SEQ, count)
    }

    fn serialize_tuple(self, count: usize) -> Result<Compound<'e, 'o>, EncodeError> {
        self.serialize_seq(Some(count))
    }

    fn serialize_tuple_struct(self, _: &'static str, count: usize) -> Result<Compound<'e, 'o>, EncodeError> {
        self.serialize_seq(Some(count))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Compound<'e, 'o>, EncodeError> {
        self.begin_variant(variant, tag::SEQ, count)
    }

    fn serialize_map(self, count: Option<usize>) -> Result<Compound<'e, 'o>, EncodeError> {
        self.begin(tag::MAP, tag::OPEN_MAP, count)
    }

    fn serialize_struct(self, _: &'static str, count: usize) -> Result<Compound<'e, 'o>, EncodeError> {
        self.serialize_map(Some(count))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Compound<'e, 'o>, EncodeError> {
        self.begin_variant(variant, tag::MAP, count)
    }
}
