//! What a type may ask for: serde's `Deserializer`.
//!
//! The bytes describe themselves, so a visitor mostly gets [`any`](Decoder::any) value, as it was written. Here is where
//! the question matters: integers, options, bytes as a sequence, variants, and the types of [`foreign`].

use serde::de::value::{BorrowedBytesDeserializer, BorrowedStrDeserializer, SeqDeserializer};
use serde::de::{self, Visitor};

use super::Decoder;
use super::compound::Variant;
use crate::value::buffer::Buffer;
use crate::value::error::DecodeError;
use crate::value::foreign::{self, Handle};
use crate::value::{object, tag};

/// A visitor that asked for one integer type gets that very type wherever the number fits.
macro_rules! integers {
    ($($method:ident => $visit:ident($type:ty)),*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            let opening = self.input.peek()?;
            if opening <= tag::MAX_SMALL {
                self.input.at += 1;
                return visitor.$visit(opening as $type);
            }
            let Some(integer) = self.input.integer()? else {
                return self.any(visitor);
            };
            match integer.fit::<$type>() {
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
        match self.input.peek()? {
            tag::NONE | tag::UNIT | tag::SOME => self.any(visitor),
            _ => self.nested(|decoder| visitor.visit_some(decoder)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.input.peek()? != tag::BYTES {
            return self.any(visitor);
        }
        self.input.at += 1;
        let len = self.input.count()?;
        visitor.visit_seq(SeqDeserializer::new(self.input.take(len)?.iter().copied()))
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
        match (name, self.input.peek()?) {
            (foreign::BUFFER_NAME, tag::BUFFER) => {
                self.input.at += 1;
                let range = self.buffer_range()?;
                let view = Buffer::from(self.object.slice(range.clone())).to_aligned();
                hand_over(Handle::Buffer(view), &self.object[range], visitor)
            }
            (foreign::REF_NAME, tag::REF) => {
                self.input.at += 1;
                let entry = self.ref_entry()?;
                hand_over(Handle::Ref(object::read_ref(entry)?), entry, visitor)
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
        match self.input.peek()? {
            tag::SHORT_STR..=tag::MAX_SHORT_STR | tag::STR => {
                let name: BorrowedStrDeserializer<'de, DecodeError> = BorrowedStrDeserializer::new(self.input.name()?);
                visitor.visit_enum(name)
            }
            tag::VARIANT => {
                self.input.at += 1;
                visitor.visit_enum(Variant::new(self))
            }
            // A map with one entry is a variant to whoever wrote it without knowing, as `serde_json::Value` does.
            tag::MAP if self.input.peek_second() == Some(1) => {
                self.input.at += 2;
                visitor.visit_enum(Variant::new(self))
            }
            _ => self.any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.any(visitor)
    }
}

/// Gives `visitor` what our writer took from the type itself.
fn hand_over<'de, V: Visitor<'de>>(handle: Handle, plain: &'de [u8], visitor: V) -> Result<V::Value, DecodeError> {
    foreign::offer(handle, || {
        visitor.visit_newtype_struct(BorrowedBytesDeserializer::new(plain))
    })
}
