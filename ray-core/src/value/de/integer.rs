//! Integers: written in the smallest form, read as the type that is asked for.

use serde::de::Visitor;

use super::input::Input;
use crate::value::error::DecodeError;
use crate::value::tag;

/// An integer as it was written; small ones do not tell which type they had.
#[derive(Clone, Copy)]
pub(super) enum Integer {
    Unsigned(u64),
    Signed(i64),
    Wide(u128),
    SignedWide(i128),
}

impl Input<'_> {
    /// The integer that comes next. Where something else does, nothing is taken.
    #[inline]
    pub(super) fn integer(&mut self) -> Result<Option<Integer>, DecodeError> {
        let start = self.at;
        let opening = self.byte()?;
        let integer = self.integer_after(opening)?;
        if integer.is_none() {
            self.at = start;
        }
        Ok(integer)
    }

    /// The integer that this byte opens, if it opens one.
    #[inline]
    pub(super) fn integer_after(&mut self, opening: u8) -> Result<Option<Integer>, DecodeError> {
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
}

impl Integer {
    /// The same number as another type, if it fits.
    #[inline]
    pub(super) fn fit<T>(self) -> Option<T>
    where
        T: TryFrom<u64> + TryFrom<i64> + TryFrom<u128> + TryFrom<i128>,
    {
        match self {
            Self::Unsigned(number) => T::try_from(number).ok(),
            Self::Signed(number) => T::try_from(number).ok(),
            Self::Wide(number) => T::try_from(number).ok(),
            Self::SignedWide(number) => T::try_from(number).ok(),
        }
    }

    pub(super) fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self {
            Self::Unsigned(number) => visitor.visit_u64(number),
            Self::Signed(number) => visitor.visit_i64(number),
            Self::Wide(number) => visitor.visit_u128(number),
            Self::SignedWide(number) => visitor.visit_i128(number),
        }
    }
}
