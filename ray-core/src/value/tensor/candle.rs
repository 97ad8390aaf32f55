//! Tensors from and to candle: one copy each way, since candle owns the memory of its tensors.

use candle_core::{DType as CandleType, Device, Tensor as CandleTensor, WithDType};

use super::{Buffer, DType, Tensor, TensorError};

impl Tensor {
    /// The same numbers as a tensor of candle on `device`.
    ///
    /// ```
    /// use candle_core::Device;
    /// use ray_core::value::Tensor;
    ///
    /// let there = Tensor::from_vec(vec![1.0f32, 2.0], [1, 2])?.to_candle(&Device::Cpu)?;
    /// assert_eq!(there.dims(), [1, 2]);
    /// assert_eq!(Tensor::try_from(&there)?.view::<f32>()?, [1.0, 2.0]);
    /// # Ok::<(), ray_core::value::TensorError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If candle has no such type of numbers, or the device fails.
    pub fn to_candle(&self, device: &Device) -> Result<CandleTensor, TensorError> {
        match self.dtype {
            DType::U8 => self.copied_to::<u8>(device),
            DType::U32 => self.copied_to::<u32>(device),
            DType::I16 => self.copied_to::<i16>(device),
            DType::I32 => self.copied_to::<i32>(device),
            DType::I64 => self.copied_to::<i64>(device),
            DType::F16 => self.copied_to::<half::f16>(device),
            DType::BF16 => self.copied_to::<half::bf16>(device),
            DType::F32 => self.copied_to::<f32>(device),
            DType::F64 => self.copied_to::<f64>(device),
            DType::I8 | DType::U16 | DType::U64 => Err(TensorError::Candle(format!(
                "it has no tensors of {}; convert the numbers first",
                self.dtype
            ))),
        }
    }

    fn copied_to<T: WithDType + bytemuck::Pod>(&self, device: &Device) -> Result<CandleTensor, TensorError> {
        let aligned = self.data.to_aligned();
        Ok(CandleTensor::from_slice(aligned.typed::<T>()?, self.shape(), device)?)
    }
}

impl TryFrom<&CandleTensor> for Tensor {
    type Error = TensorError;

    /// # Errors
    ///
    /// If the tensor's numbers are packed smaller than a byte or of eight-bit floats, or the device fails.
    fn try_from(tensor: &CandleTensor) -> Result<Self, TensorError> {
        match tensor.dtype() {
            CandleType::U8 => copied_from::<u8>(tensor, DType::U8),
            CandleType::U32 => copied_from::<u32>(tensor, DType::U32),
            CandleType::I16 => copied_from::<i16>(tensor, DType::I16),
            CandleType::I32 => copied_from::<i32>(tensor, DType::I32),
            CandleType::I64 => copied_from::<i64>(tensor, DType::I64),
            CandleType::F16 => copied_from::<half::f16>(tensor, DType::F16),
            CandleType::BF16 => copied_from::<half::bf16>(tensor, DType::BF16),
            CandleType::F32 => copied_from::<f32>(tensor, DType::F32),
            CandleType::F64 => copied_from::<f64>(tensor, DType::F64),
            other => Err(TensorError::Candle(format!(
                "its type {} has no counterpart here",
                other.as_str()
            ))),
        }
    }
}

fn copied_from<T: WithDType + bytemuck::Pod>(tensor: &CandleTensor, dtype: DType) -> Result<Tensor, TensorError> {
    let numbers = tensor.flatten_all()?.to_vec1::<T>()?;
    Tensor::new(dtype, tensor.dims(), Buffer::from_vec(numbers))
}

impl From<candle_core::Error> for TensorError {
    fn from(error: candle_core::Error) -> Self {
        Self::Candle(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_go_to_candle_and_come_back() {
        let whole = Tensor::from_vec((0..6).collect::<Vec<i64>>(), [2, 3]).unwrap();
        let half = Tensor::from_half_bits(DType::F16, vec![0x3c00; 6], [3, 2]).unwrap();
        for tensor in [whole, half, Tensor::from_vec(vec![1.5f32], Vec::new()).unwrap()] {
            assert_eq!(
                Tensor::try_from(&tensor.to_candle(&Device::Cpu).unwrap()).unwrap(),
                tensor
            );
        }
        let transposed = CandleTensor::new(&[[1u32, 2], [3, 4]], &Device::Cpu)
            .unwrap()
            .t()
            .unwrap();
        assert_eq!(
            Tensor::try_from(&transposed).unwrap().view::<u32>().unwrap(),
            [1, 3, 2, 4]
        );
        assert!(Tensor::from(vec![1u64]).to_candle(&Device::Cpu).is_err());
    }
}
