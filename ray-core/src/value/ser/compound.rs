//! Values of several parts: sequences, maps, structs, and enum variants with content.

use serde::ser::{self, Serialize};

use super::Encoder;
use crate::value::error::{EncodeError, EncodeErrorKind, Step};
use crate::value::tag;

/// A sequence, map, struct or variant that is being written.
pub(in crate::value) struct Compound<'e, 'o> {
    encoder: &'e mut Encoder<'o>,
    announced: Option<usize>,
    written: usize,
    variant: Option<&'static str>,
}

impl<'e, 'o> Compound<'e, 'o> {
    #[inline]
    pub(super) fn new(encoder: &'e mut Encoder<'o>, announced: Option<usize>) -> Self {
        Self {
            encoder,
            announced,
            written: 0,
            variant: None,
        }
    }

    /// The same as the content of this variant.
    #[inline]
    pub(super) fn of_variant(mut self, name: &'static str) -> Self {
        self.variant = Some(name);
        self
    }

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
        self.encoder.out.text(name);
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
            None => self.encoder.out.byte(tag::END),
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
