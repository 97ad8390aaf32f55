//! The writing half of the codec: serde's data model as the bytes of [`tag`](super::tag).

use serde::ser::{self, Serialize};
use smallvec::SmallVec;

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
    out: &'o mut Vec<u8>,
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
            out,
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

    #[inline]
    fn tagged<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        // One write instead of two: most of the cost of a number is the check for room.
        let mut both = [0; 17];
        both[0] = tag;
        both[1..=N].copy_from_slice(&bytes);
        self.out.extend_from_slice(&both[..=N]);
    }

    #[inline]
    fn counted(&mut self, tag: u8, count: usize) {
        if count < 0x80 {
            return self.out.extend_from_slice(&[tag, count as u8]);
        }
        self.out.push(tag);
        self.count(count);
    }

    fn count(&mut self, mut count: usize) {
        while count >= 0x80 {
            self.out.push(count as u8 | 0x80);
            count >>= 7;
        }
        self.out.push(count as u8);
    }

    #[inline]
    fn unsigned(&mut self, number: u64) {
        if number <= u64::from(tag::MAX_SMALL) {
            self.out.push(number as u8);
        } else if let Ok(number) = u8::try_from(number) {
            self.tagged(tag::U8, [number]);
        } else if let Ok(number) = u16::try_from(number) {
            self.tagged(tag::U16, number.to_le_bytes());
        } else if let Ok(number) = u32::try_from(number) {
            self.tagged(tag::U32, number.to_le_bytes());
        } else {
            self.tagged(tag::U64, number.to_le_bytes());
        }
    }

    #[inline]
    fn signed(&mut self, number: i64) {
        if let Ok(number) = u64::try_from(number) {
            self.unsigned(number);
        } else if number >= i64::from(tag::MIN_NEGATIVE as i8) {
            self.out.push(number as i8 as u8);
        } else if let Ok(number) = i8::try_from(number) {
            self.tagged(tag::I8, number.to_le_bytes());
        } else if let Ok(number) = i16::try_from(number) {
            self.tagged(tag::I16, number.to_le_bytes());
        } else if let Ok(number) = i32::try_from(number) {
            self.tagged(tag::I32, number.to_le_bytes());
        } else {
            self.tagged(tag::I64, number.to_le_bytes());
        }
    }

    #[inline]
    fn text(&mut self, text: &str) {
        if text.len() <= tag::MAX_SHORT_STR_LEN {
            self.out.push(tag::SHORT_STR + text.len() as u8);
        } else {
            self.counted(tag::STR, text.len());
        }
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Writes the `Some`s whose content is about to write something that `None` could be taken for.
    #[inline]
    fn pending_somes(&mut self) {
        if self.somes.0 == self.out.len() {
            self.out.resize(self.out.len() + self.somes.1, tag::SOME);
        }
    }

    fn buffer(&mut self, buffer: Buffer) {
        if buffer.len() < INLINE_BUFFER {
            self.counted(tag::BYTES, buffer.len());
            return self.out.extend_from_slice(&buffer);
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
        self.counted(tag::BUFFER, index);
    }

    fn reference(&mut self, token: RefToken) {
        self.counted(tag::REF, self.refs.len());
        self.refs.push(token);
    }

    #[inline]
    fn begin(&mut self, known: u8, open: u8, count: Option<usize>) -> Result<Compound<'_, 'o>, EncodeError> {
        match count {
            Some(count) => self.counted(known, count),
            None => self.out.push(open),
        }
        self.descend()?;
        Ok(Compound {
            encoder: self,
            announced: count,
            written: 0,
            variant: None,
        })
    }

    fn begin_variant(&mut self, name: &'static str, tag: u8, count: usize) -> Result<Compound<'_, 'o>, EncodeError> {
        self.out.push(tag::VARIANT);
        self.text(name);
        let mut compound = self.begin(tag, tag, Some(count))?;
        compound.variant = Some(name);
        Ok(compound)
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
        self.out.push(if value { tag::TRUE } else { tag::FALSE });
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
        self.signed(value);
        Ok(())
    }

    fn serialize_i128(self, value: i128) -> Result<(), EncodeError> {
        if let Ok(value) = i64::try_from(value) {
            self.signed(value);
        } else if let Ok(value) = u64::try_from(value) {
            self.unsigned(value);
        } else {
            self.tagged(tag::I128, value.to_le_bytes());
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
        self.unsigned(value);
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<(), EncodeError> {
        match u64::try_from(value) {
            Ok(value) => self.unsigned(value),
            Err(_) => self.tagged(tag::U128, value.to_le_bytes()),
        }
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        self.tagged(tag::F32, value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        self.tagged(tag::F64, value.to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.tagged(tag::CHAR, u32::from(value).to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        self.text(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), EncodeError> {
        self.counted(tag::BYTES, value.len());
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        self.pending_somes();
        self.out.push(tag::NONE);
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
        self.out.push(tag::UNIT);
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
        self.out.push(tag::VARIANT);
        self.text(variant);
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

/// A sequence, map, struct or variant that is being written.
pub(super) struct Compound<'e, 'o> {
    encoder: &'e mut Encoder<'o>,
    announced: Option<usize>,
    written: usize,
    variant: Option<&'static str>,
}

impl Compound<'_, '_> {
    fn locate(&self, error: EncodeError, step: Option<Step>) -> EncodeError {
        let error = match step {
            Some(step) => error.at(step),
            None => error,
        };
        match self.variant {
            Some(variant) => error.at(Step::Variant(variant.into())),
            None => error,
        }
    }

    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        match value.serialize(&mut *self.encoder) {
            Ok(()) => self.written += 1,
            Err(error) => return Err(self.locate(error, Some(Step::Index(self.written)))),
        }
        Ok(())
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), EncodeError> {
        self.encoder.text(name);
        match value.serialize(&mut *self.encoder) {
            Ok(()) => self.written += 1,
            Err(error) => return Err(self.locate(error, Some(Step::Field(name.into())))),
        }
        Ok(())
    }

    #[inline]
    fn finish(self) -> Result<(), EncodeError> {
        self.encoder.depth -= 1;
        match self.announced {
            None => self.encoder.out.push(tag::END),
            Some(announced) if announced != self.written => {
                let count = EncodeErrorKind::WrongCount {
                    announced,
                    written: self.written,
                };
                return Err(self.locate(count.into(), None));
            }
            Some(_) => {}
        }
        Ok(())
    }
}

macro_rules! elements {
    ($($kind:ident: $method:ident),*) => {$(
        impl ser::$kind for Compound<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.element(value)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.finish()
            }
        }
    )*};
}
elements!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

macro_rules! fields {
    ($($kind:ident),*) => {$(
        impl ser::$kind for Compound<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), EncodeError> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.finish()
            }
        }
    )*};
}
fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Compound<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        key.serialize(&mut *self.encoder)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.element(value)
    }

    fn end(self) -> Result<(), EncodeError> {
        self.finish()
    }
}
