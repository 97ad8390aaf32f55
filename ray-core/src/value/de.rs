//! The reading half of the codec: the bytes of [`tag`](super::tag) as serde's data model.
//!
//! - DE-1: no input makes it panic, recurse without bound or allocate more than a small multiple of the input.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::value::{BorrowedBytesDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::MAX_DEPTH;
use super::buffer::Buffer;
use super::error::{DecodeError, DecodeErrorKind, Step};
use super::foreign::{self, Handle};
use super::object::{self, Parsed};
use super::refs::TOKEN_LEN;
use super::tag;

/// Reads one value of an object.
pub(super) struct Decoder<'de> {
    object: &'de Bytes,
    parsed: &'de Parsed,
    input: &'de [u8],
    at: usize,
    depth: usize,
}

impl<'de> Decoder<'de> {
    pub(super) fn new(object: &'de Bytes, parsed: &'de Parsed) -> Self {
        Self {
            object,
            parsed,
            input: &object[parsed.in_band.clone()],
            at: 0,
            depth: 0,
        }
    }

    /// Refuses bytes after the value.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(DecodeErrorKind::Trailing { count }.into()),
        }
    }

    #[inline]
    fn remaining(&self) -> usize {
        self.input.len() - self.at
    }

    #[cold]
    fn malformed(&self, what: &'static str) -> DecodeError {
        DecodeErrorKind::Malformed { at: self.at, what }.into()
    }

    #[inline]
    fn peek(&self) -> Result<u8, DecodeError> {
        self.input
            .get(self.at)
            .copied()
            .ok_or_else(|| DecodeErrorKind::Truncated.into())
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let array = self.input[self.at..]
            .first_chunk::<N>()
            .ok_or(DecodeErrorKind::Truncated)?;
        self.at += N;
        Ok(*array)
    }

    #[inline]
    fn bytes(&mut self, len: usize) -> Result<&'de [u8], DecodeError> {
        let bytes = self.input[self.at..].get(..len).ok_or(DecodeErrorKind::Truncated)?;
        self.at += len;
        Ok(bytes)
    }

    #[inline]
    fn count(&mut self) -> Result<usize, DecodeError> {
        let mut count = 0usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = usize::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            count |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(count);
            }
        }
        Err(self.malformed("a count beyond 64 bits"))
    }

    /// The count of a sequence or map, each of whose elements takes at least `least` bytes.
    #[inline]
    fn elements(&mut self, least: usize) -> Result<Left, DecodeError> {
        let count = self.count()?;
        if count > self.remaining() / least {
            return Err(DecodeErrorKind::Truncated.into());
        }
        Ok(Left::Known(count))
    }

    #[inline]
    fn text(&mut self, len: usize) -> Result<&'de str, DecodeError> {
        let bytes = self.bytes(len)?;
        str::from_utf8(bytes).map_err(|_| self.malformed("text that is not UTF-8"))
    }

    /// The name of a variant.
    fn name(&mut self) -> Result<&'de str, DecodeError> {
        match self.byte()? {
            opening @ tag::SHORT_STR..=tag::MAX_SHORT_STR => self.text(usize::from(opening - tag::SHORT_STR)),
            tag::STR => {
                let len = self.count()?;
                self.text(len)
            }
            _ => Err(self.malformed("a variant without a name")),
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
            let mut elements = Elements {
                decoder,
                left,
                index: 0,
                key_at: 0,
            };
            let value = visitor.visit_seq(&mut elements)?;
            elements.finish()?;
            Ok(value)
        })
    }

    fn map<V: Visitor<'de>>(&mut self, left: Left, visitor: V) -> Result<V::Value, DecodeError> {
        self.nested(|decoder| {
            let mut entries = Elements {
                decoder,
                left,
                index: 0,
                key_at: 0,
            };
            let value = visitor.visit_map(&mut entries)?;
            entries.finish()?;
            Ok(value)
        })
    }

    #[inline]
    fn float<V: Visitor<'de>>(&mut self, opening: u8, visitor: V) -> Result<V::Value, DecodeError> {
        match opening {
            tag::F32 => visitor.visit_f32(f32::from_le_bytes(self.array()?)),
            _ => visitor.visit_f64(f64::from_le_bytes(self.array()?)),
        }
    }

    #[inline]
    fn integer(&mut self, opening: u8) -> Result<Option<Integer>, DecodeError> {
        Ok(Some(match opening {
            0..=tag::MAX_SMALL => Integer::Unsigned(opening.into()),
            tag::MIN_NEGATIVE..=0xff => Integer::Signed((opening as i8).into()),
            tag::U8 => Integer::Unsigned(u8::from_le_bytes(self.array()?).into()),
            tag::U16 => Integer::Unsigned(u16::from_le_bytes(self.array()?).into()),
            tag::U32 => Integer::Unsigned(u32::from_le_bytes(self.array()?).into()),
            tag::U64 => Integer::Unsigned(u64::from_le_bytes(self.array()?)),
            tag::U128 => Integer::Wide(u128::from_le_bytes(self.array()?)),
            tag::I8 => Integer::Signed(i8::from_le_bytes(self.array()?).into()),
            tag::I16 => Integer::Signed(i16::from_le_bytes(self.array()?).into()),
            tag::I32 => Integer::Signed(i32::from_le_bytes(self.array()?).into()),
            tag::I64 => Integer::Signed(i64::from_le_bytes(self.array()?)),
            tag::I128 => Integer::SignedWide(i128::from_le_bytes(self.array()?)),
            _ => return Ok(None),
        }))
    }

    /// The memory of the buffer whose index comes next.
    fn buffer_range(&mut self) -> Result<std::ops::Range<usize>, DecodeError> {
        let index = self.count()?;
        self.parsed
            .buffers
            .get(index)
            .cloned()
            .ok_or_else(|| self.malformed("a buffer that the object does not have"))
    }

    /// The entry of the reference whose index comes next.
    fn ref_entry(&mut self) -> Result<&'de [u8; TOKEN_LEN], DecodeError> {
        let index = self.count()?;
        let (entries, _) = self.object[self.parsed.refs.clone()].as_chunks::<TOKEN_LEN>();
        entries
            .get(index)
            .ok_or_else(|| self.malformed("a reference that the object does not have"))
    }

    /// Reads whatever comes next.
    fn any<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        let opening = self.byte()?;
        match opening {
            tag::SHORT_STR..=tag::MAX_SHORT_STR => {
                visitor.visit_borrowed_str(self.text(usize::from(opening - tag::SHORT_STR))?)
            }
            tag::STR => {
                let len = self.count()?;
                visitor.visit_borrowed_str(self.text(len)?)
            }
            tag::BYTES => {
                let len = self.count()?;
                visitor.visit_borrowed_bytes(self.bytes(len)?)
            }
            tag::UNIT => visitor.visit_unit(),
            tag::NONE => visitor.visit_none(),
            tag::SOME => self.nested(|decoder| visitor.visit_some(decoder)),
            tag::FALSE => visitor.visit_bool(false),
            tag::TRUE => visitor.visit_bool(true),
            tag::F32 | tag::F64 => self.float(opening, visitor),
            tag::CHAR => {
                let code = u32::from_le_bytes(self.array()?);
                visitor.visit_char(char::from_u32(code).ok_or_else(|| self.malformed("a number that is no char"))?)
            }
            tag::SEQ => {
                let count = self.elements(1)?;
                self.sequence(count, visitor)
            }
            tag::OPEN_SEQ => self.sequence(Left::Open, visitor),
            tag::MAP => {
                let count = self.elements(2)?;
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
            _ => match self.integer(opening)? {
                Some(integer) => integer.visit(visitor),
                None => Err(self.malformed("a byte that opens no value")),
            },
        }
    }

    /// Gives `visitor` what our writer took from the type itself.
    fn hand_over<V: Visitor<'de>>(
        &mut self,
        handle: Handle,
        plain: &'de [u8],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        foreign::offer(handle, || {
            visitor.visit_newtype_struct(BorrowedBytesDeserializer::new(plain))
        })
    }
}

/// An integer as it was written; small ones do not tell which type they had.
enum Integer {
    Unsigned(u64),
    Signed(i64),
    Wide(u128),
    SignedWide(i128),
}

impl Integer {
    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self {
            Self::Unsigned(number) => visitor.visit_u64(number),
            Self::Signed(number) => visitor.visit_i64(number),
            Self::Wide(number) => visitor.visit_u128(number),
            Self::SignedWide(number) => visitor.visit_i128(number),
        }
    }
}

/// A visitor that asked for one integer type gets that very type wherever the number fits.
macro_rules! integers {
    ($($method:ident => $visit:ident($type:ty)),*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            let opening = self.peek()?;
            if opening <= tag::MAX_SMALL {
                self.at += 1;
                return visitor.$visit(opening as $type);
            }
            let start = self.at;
            self.at += 1;
            let integer = match self.integer(opening)? {
                Some(integer) => integer,
                None => {
                    self.at = start;
                    return self.any(visitor);
                }
            };
            let fitting = match integer {
                Integer::Unsigned(number) => <$type>::try_from(number).ok(),
                Integer::Signed(number) => <$type>::try_from(number).ok(),
                Integer::Wide(number) => <$type>::try_from(number).ok(),
                Integer::SignedWide(number) => <$type>::try_from(number).ok(),
            };
            match fitting {
                Some(number) => visitor.$visit(number),
                None => integer.visit(visitor),
            }
        }
    )*};
}

macro_rules! as_written {
    ($($method:ident),*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.any(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = DecodeError;

    fn is_human_readable(&self) -> bool {
        false
    }

    as_written!(
        deserialize_any,
        deserialize_bool,
        deserialize_f32,
        deserialize_f64,
        deserialize_char,
        deserialize_str,
        deserialize_string,
        deserialize_bytes,
        deserialize_byte_buf,
        deserialize_unit,
        deserialize_map,
        deserialize_identifier
    );

    integers!(
        deserialize_u8 => visit_u8(u8), deserialize_u16 => visit_u16(u16), deserialize_u32 => visit_u32(u32),
        deserialize_u64 => visit_u64(u64), deserialize_u128 => visit_u128(u128),
        deserialize_i8 => visit_i8(i8), deserialize_i16 => visit_i16(i16), deserialize_i32 => visit_i32(i32),
        deserialize_i64 => visit_i64(i64), deserialize_i128 => visit_i128(i128)
    );

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.peek()? {
            tag::NONE | tag::UNIT | tag::SOME => self.any(visitor),
            _ => self.nested(|decoder| visitor.visit_some(decoder)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.peek()? != tag::BYTES {
            return self.any(visitor);
        }
        self.at += 1;
        let len = self.count()?;
        visitor.visit_seq(SeqDeserializer::new(self.bytes(len)?.iter().copied()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        self.any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match (name, self.peek()?) {
            (foreign::BUFFER_NAME, tag::BUFFER) => {
                self.at += 1;
                let range = self.buffer_range()?;
                let view = Buffer::from(self.object.slice(range.clone())).to_aligned();
                self.hand_over(Handle::Buffer(view), &self.object[range], visitor)
            }
            (foreign::REF_NAME, tag::REF) => {
                self.at += 1;
                let entry = self.ref_entry()?;
                self.hand_over(Handle::Ref(object::read_ref(entry)?), entry, visitor)
            }
            _ => self.nested(|decoder| visitor.visit_newtype_struct(decoder)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.peek()? {
            tag::SHORT_STR..=tag::MAX_SHORT_STR | tag::STR => {
                let name: de::value::BorrowedStrDeserializer<'de, DecodeError> =
                    de::value::BorrowedStrDeserializer::new(self.name()?);
                visitor.visit_enum(name)
            }
            tag::VARIANT => {
                self.at += 1;
                visitor.visit_enum(Variant {
                    decoder: self,
                    name: "",
                })
            }
            // A map with one entry is a variant to whoever wrote it without knowing, as `serde_json::Value` does.
            tag::MAP if self.input.get(self.at + 1) == Some(&1) => {
                self.at += 2;
                visitor.visit_enum(Variant {
                    decoder: self,
                    name: "",
                })
            }
            _ => self.any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.any(visitor)
    }
}

/// How many elements are still to come.
#[derive(Clone, Copy)]
enum Left {
    Known(usize),
    /// Until [`tag::END`].
    Open,
}

/// A sequence or map that is being read.
struct Elements<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: Left,
    index: usize,
    key_at: usize,
}

impl<'de> Elements<'_, 'de> {
    /// Whether another element comes.
    #[inline]
    fn more(&mut self) -> Result<bool, DecodeError> {
        match &mut self.left {
            Left::Known(0) => Ok(false),
            Left::Known(left) => {
                *left -= 1;
                Ok(true)
            }
            Left::Open if self.decoder.peek()? == tag::END => {
                self.decoder.at += 1;
                self.left = Left::Known(0);
                Ok(false)
            }
            Left::Open => Ok(true),
        }
    }

    /// Refuses a visitor that did not want all of it.
    fn finish(mut self) -> Result<(), DecodeError> {
        let read = self.index;
        if !self.more()? {
            return Ok(());
        }
        let more = match self.left {
            Left::Known(left) => left + 1,
            Left::Open => 1,
        };
        Err(de::Error::invalid_length(
            read + more,
            &format!("{read} elements").as_str(),
        ))
    }

    fn hint(&self) -> Option<usize> {
        match self.left {
            Left::Known(left) => Some(left),
            Left::Open => None,
        }
    }

    /// The key read last, for the path in an error.
    #[cold]
    fn last_key(&mut self) -> Step {
        let after = std::mem::replace(&mut self.decoder.at, self.key_at);
        let name = self.decoder.name().map(str::to_owned);
        self.decoder.at = after;
        name.map_or(Step::Index(self.index), Step::Field)
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        if !self.more()? {
            return Ok(None);
        }
        let element = seed
            .deserialize(&mut *self.decoder)
            .map_err(|error| error.at(Step::Index(self.index)))?;
        self.index += 1;
        Ok(Some(element))
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        if !self.more()? {
            return Ok(None);
        }
        self.key_at = self.decoder.at;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DecodeError> {
        match seed.deserialize(&mut *self.decoder) {
            Ok(value) => {
                self.index += 1;
                Ok(value)
            }
            Err(error) => Err(error.at(self.last_key())),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

/// An enum variant with content that is being read.
struct Variant<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    name: &'de str,
}

impl<'de> Variant<'_, 'de> {
    fn content<R>(self, read: impl FnOnce(&mut Decoder<'de>) -> Result<R, DecodeError>) -> Result<R, DecodeError> {
        self.decoder
            .nested(read)
            .map_err(|error| error.at(Step::Variant(self.name.into())))
    }
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<(S::Value, Self), DecodeError> {
        self.name = self.decoder.name()?;
        let name: de::value::CowStrDeserializer<'de, DecodeError> = Cow::Borrowed(self.name).into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        self.content(|decoder| de::Deserialize::deserialize(decoder))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, DecodeError> {
        self.content(|decoder| seed.deserialize(decoder))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.content(|decoder| de::Deserializer::deserialize_seq(decoder, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, DecodeError> {
        self.content(|decoder| decoder.any(visitor))
    }
}
