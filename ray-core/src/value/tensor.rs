//! [`Tensor`]: numbers with a shape.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::buffer::{Buffer, ViewError};

#[cfg(feature = "candle")]
mod candle;

/// The type of a tensor's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub enum DType {
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    BF16,
    F32,
    F64,
}

impl DType {
    /// How many bytes one number takes.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A number type of Rust that a [`Tensor`] may hold.
pub trait Element: bytemuck::Pod + Send + Sync + sealed::Sealed {
    /// The same as a value.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($number:ty => $dtype:ident),*) => {$(
        impl sealed::Sealed for $number {}
        impl Element for $number {
            const DTYPE: DType = DType::$dtype;
        }
    )*};
}
elements!(
    u8 => U8, u16 => U16, u32 => U32, u64 => U64, i8 => I8, i16 => I16, i32 => I32, i64 => I64, f32 => F32, f64 => F64
);

/// Numbers of one type with a shape, in row-major order, whose memory is a [`Buffer`].
///
/// ```
/// use ray_core::value::{self, Tensor};
///
/// let weights = Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3])?;
/// let object = value::encode(&weights)?.to_bytes();
/// let read: Tensor = value::decode(&object)?;
/// assert_eq!(read.shape(), [2, 3]);
/// assert_eq!(read.view::<f32>()?[3], 4.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form")]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Buffer,
}

/// A tensor as it is read, before its parts are compared.
#[derive(Deserialize)]
#[serde(rename = "Tensor")]
struct Form {
    dtype: DType,
    shape: Vec<usize>,
    data: Buffer,
}

impl TryFrom<Form> for Tensor {
    type Error = TensorError;

    fn try_from(form: Form) -> Result<Self, TensorError> {
        Self::new(form.dtype, form.shape, form.data)
    }
}

/// Why parts make no tensor, or a tensor cannot be seen or converted as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The shape and the memory disagree.
    #[error("a tensor of shape {shape:?} and type {dtype} does not have {bytes} bytes")]
    Shape {
        /// As given.
        shape: Vec<usize>,
        /// As given.
        dtype: DType,
        /// Length of the memory.
        bytes: usize,
    },
    /// The tensor holds numbers of another type.
    #[error("the tensor holds {found}, not {asked}")]
    Type {
        /// What was asked for.
        asked: &'static str,
        /// What it holds.
        found: DType,
    },
    /// The memory cannot be seen as numbers.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Candle failed, or has no such type.
    #[cfg(feature = "candle")]
    #[error("candle: {0}")]
    Candle(String),
}

impl Tensor {
    /// A tensor over existing memory.
    ///
    /// # Errors
    ///
    /// If the memory is not exactly as long as the shape needs.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>, data: Buffer) -> Result<Self, TensorError> {
        let shape = shape.into();
        let needed = shape
            .iter()
            .try_fold(dtype.size(), |bytes, extent| bytes.checked_mul(*extent));
        if needed != Some(data.len()) {
            return Err(TensorError::Shape {
                shape,
                dtype,
                bytes: data.len(),
            });
        }
        Ok(Self { dtype, shape, data })
    }

    /// A tensor that takes over the memory of a `Vec`; nothing is copied.
    ///
    /// # Errors
    ///
    /// If the `Vec` has not exactly as many numbers as the shape.
    pub fn from_vec<T: Element>(numbers: Vec<T>, shape: impl Into<Vec<usize>>) -> Result<Self, TensorError> {
        Self::new(T::DTYPE, shape, Buffer::from_vec(numbers))
    }

    /// A tensor of half precision from the bits of its numbers.
    ///
    /// # Errors
    ///
    /// If `dtype` is neither [`DType::F16`] nor [`DType::BF16`], or the lengths disagree.
    pub fn from_half_bits(dtype: DType, bits: Vec<u16>, shape: impl Into<Vec<usize>>) -> Result<Self, TensorError> {
        match dtype {
            DType::F16 | DType::BF16 => Self::new(dtype, shape, Buffer::from_vec(bits)),
            found => Err(TensorError::Type {
                asked: "F16 or BF16",
                found,
            }),
        }
    }

    /// The type of the numbers.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extent of each dimension, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many numbers there are.
    pub fn elements(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// The memory.
    pub fn data(&self) -> &Buffer {
        &self.data
    }

    /// The numbers in row-major order, in place.
    ///
    /// # Errors
    ///
    /// If the tensor holds numbers of another type, or was made from unaligned memory.
    pub fn view<T: Element>(&self) -> Result<&[T], TensorError> {
        if self.dtype != T::DTYPE {
            return Err(TensorError::Type {
                asked: std::any::type_name::<T>(),
                found: self.dtype,
            });
        }
        Ok(self.data.typed()?)
    }

    /// The bits of numbers of half precision, in place.
    ///
    /// # Errors
    ///
    /// If the tensor holds neither [`DType::F16`] nor [`DType::BF16`], or was made from unaligned memory.
    pub fn half_bits(&self) -> Result<&[u16], TensorError> {
        match self.dtype {
            DType::F16 | DType::BF16 => Ok(self.data.typed()?),
            found => Err(TensorError::Type {
                asked: "F16 or BF16",
                found,
            }),
        }
    }

    /// The same numbers with another shape, without a copy.
    ///
    /// # Errors
    ///
    /// If the new shape has another number of elements.
    pub fn reshape(&self, shape: impl Into<Vec<usize>>) -> Result<Self, TensorError> {
        Self::new(self.dtype, shape, self.data.clone())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype, self.shape)
    }
}

impl<T: Element> From<Vec<T>> for Tensor {
    /// A tensor of one dimension.
    fn from(numbers: Vec<T>) -> Self {
        let shape = vec![numbers.len()];
        Self {
            dtype: T::DTYPE,
            shape,
            data: Buffer::from_vec(numbers),
        }
    }
}

impl From<Tensor> for Buffer {
    fn from(tensor: Tensor) -> Self {
        tensor.data
    }
}

#[cfg(test)]
mod tests {
    use super::super::{decode, encode};
    use super::*;

    #[test]
    fn numbers_of_every_type_are_read_back_in_place() {
        fn check<T: Element + PartialEq + fmt::Debug>(numbers: Vec<T>) {
            let tensor = Tensor::from_vec(numbers.clone(), [2, numbers.len() / 2]).unwrap();
            let object = encode(&tensor).unwrap().to_bytes();
            let read: Tensor = decode(&object).unwrap();
            assert_eq!(read, tensor);
            assert_eq!(read.view::<T>().unwrap(), numbers);
            assert!(object.as_ptr_range().contains(&read.data().as_ptr()));
        }
        check(vec![1.5f64; 64]);
        check(vec![1.5f32; 64]);
        check(vec![-1i64; 64]);
        check(vec![-1i32; 64]);
        check(vec![7u8; 64]);
        check(vec![7u32; 64]);
        let half = Tensor::from_half_bits(DType::BF16, vec![0x3f80; 4], [4]).unwrap();
        assert_eq!(half.half_bits().unwrap(), [0x3f80; 4]);
        assert_eq!(Tensor::from(vec![1u8, 2]).shape(), [2]);
    }

    #[test]
    fn a_shape_that_the_memory_does_not_have_is_refused() {
        assert!(Tensor::from_vec(vec![1f32; 6], [2, 2]).is_err());
        assert!(Tensor::from_vec(vec![1f32; 6], [usize::MAX, 3]).is_err());
        let tensor = Tensor::from_vec(vec![1f32; 6], [2, 3]).unwrap();
        assert!(tensor.reshape([3, 3]).is_err());
        assert_eq!(tensor.reshape([6]).unwrap().elements(), 6);
        assert_eq!(
            tensor.view::<f64>().unwrap_err(),
            TensorError::Type {
                asked: "f64",
                found: DType::F32
            }
        );
        let forged = serde_json::json!({ "dtype": "F32", "shape": [7], "data": [1, 2, 3] });
        let error = decode::<Tensor>(&encode(&forged).unwrap().to_bytes()).unwrap_err();
        assert!(error.to_string().contains("shape [7]"), "{error}");
    }
}
