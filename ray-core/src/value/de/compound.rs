//! Values of several parts: sequences, maps, and enum variants with content.

use std::borrow::Cow;

use serde::de::value::CowStrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::Decoder;
use super::input::Input;
use crate::value::error::{DecodeError, DecodeErrorKind, Step};
use crate::value::tag;

/// How many elements are still to come.
#[derive(Clone, Copy)]
pub(super) enum Left {
    Known(usize),
    /// Until [`tag::END`].
    Open,
}

impl Left {
    /// The count of a sequence or map, each of whose elements takes at least `least` bytes.
    #[inline]
    pub(super) fn counted(input: &mut Input<'_>, least: usize) -> Result<Self, DecodeError> {
        let count = input.count()?;
        if count > input.remaining() / least {
            return Err(DecodeErrorKind::Truncated.into());
        }
        Ok(Self::Known(count))
    }
}

/// A sequence or map that is being read.
pub(super) struct Elements<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: Left,
    index: usize,
    key_at: usize,
}

impl<'a, 'de> Elements<'a, 'de> {
    #[inline]
    pub(super) fn new(decoder: &'a mut Decoder<'de>, left: Left) -> Self {
        Self {
            decoder,
            left,
            index: 0,
            key_at: 0,
        }
    }

    /// Whether another element comes.
    #[inline]
    fn more(&mut self) -> Result<bool, DecodeError> {
        match &mut self.left {
            Left::Known(0) => Ok(false),
            Left::Known(left) => {
                *left -= 1;
                Ok(true)
            }
            Left::Open if self.decoder.input.peek()? == tag::END => {
                self.decoder.input.at += 1;
                self.left = Left::Known(0);
                Ok(false)
            }
            Left::Open => Ok(true),
        }
    }

    /// Refuses a visitor that did not want all of it.
    pub(super) fn finish(mut self) -> Result<(), DecodeError> {
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
        let after = std::mem::replace(&mut self.decoder.input.at, self.key_at);
        let name = self.decoder.input.name().map(str::to_owned);
        self.decoder.input.at = after;
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
        self.key_at = self.decoder.input.at;
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
pub(super) struct Variant<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    name: &'de str,
}

impl<'a, 'de> Variant<'a, 'de> {
    #[inline]
    pub(super) fn new(decoder: &'a mut Decoder<'de>) -> Self {
        Self { decoder, name: "" }
    }

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
        self.name = self.decoder.input.name()?;
        let name: CowStrDeserializer<'de, DecodeError> = Cow::Borrowed(self.name).into_deserializer();
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
