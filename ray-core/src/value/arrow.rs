//! Arrow arrays as trees of buffers, and back.
//!
//! Arrow's IPC format puts all buffers of a batch into one body, which costs a copy of it; here each buffer stays where
//! it is and becomes a [`Buffer`] of the value.
//!
//! - AR-1: an array is built from what was read only after Arrow's full validation of it, in this process, over the same
//!   memory ([`Proof`]). So malformed input is an error, never undefined behaviour.

use arrow_array::{Array as _, ArrayRef, make_array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_data::transform::MutableArrayData;
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::{ArrowError, DataType};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::buffer::Buffer;

/// One array: its own buffers, and the arrays that its type is made of.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Node {
    len: usize,
    offset: usize,
    nulls: Option<Nulls>,
    buffers: Vec<Buffer>,
    children: Vec<Node>,
}

/// Which elements are null: a bit for each.
#[derive(Debug, Serialize, Deserialize)]
struct Nulls {
    offset: usize,
    bits: Buffer,
}

/// Lets an Arrow buffer own the memory of a [`Bytes`].
struct Owner(arrow_buffer::Buffer);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

fn to_buffer(buffer: &arrow_buffer::Buffer) -> Buffer {
    Bytes::from_owner(Owner(buffer.clone())).into()
}

fn from_buffer(buffer: Buffer) -> arrow_buffer::Buffer {
    Bytes::from(buffer).into()
}

impl Node {
    /// The tree of an array. Of an array that shows a small part of its memory, that part is copied out.
    pub(super) fn of(array: &ArrayRef) -> Self {
        let data = array.to_data();
        let shown = data.get_slice_memory_size().unwrap_or(usize::MAX);
        if shown < carried(&data) / 2 {
            let mut part = MutableArrayData::new(vec![&data], false, data.len());
            if part.try_extend(0, 0, data.len()).is_ok() {
                return Self::of_data(&part.freeze());
            }
        }
        Self::of_data(&data)
    }

    fn of_data(data: &ArrayData) -> Self {
        Self {
            len: data.len(),
            offset: data.offset(),
            nulls: data.nulls().map(|nulls| Nulls {
                offset: nulls.offset(),
                bits: to_buffer(nulls.buffer()),
            }),
            buffers: data.buffers().iter().map(to_buffer).collect(),
            children: data.child_data().iter().map(Self::of_data).collect(),
        }
    }

    /// The array of this tree.
    ///
    /// # Safety
    ///
    /// If `proven`, this very tree over this very memory was built before without it, and that memory has been held since.
    pub(super) unsafe fn into_array(self, data_type: &DataType, proven: bool) -> Result<ArrayRef, ArrowError> {
        // SAFETY: as for this function.
        let data = unsafe { self.into_data(data_type, proven) }?;
        guarded(|| Ok(make_array(data)))
    }

    /// # Safety
    ///
    /// As [`into_array`](Self::into_array).
    unsafe fn into_data(self, data_type: &DataType, proven: bool) -> Result<ArrayData, ArrowError> {
        let types = children_of(data_type);
        if types.len() != self.children.len() {
            return Err(malformed("another number of children than the type has"));
        }
        if self
            .offset
            .checked_add(self.len)
            .is_none_or(|end| end > isize::MAX as usize / 16)
        {
            return Err(malformed("a length beyond any memory"));
        }
        let children = (self.children.into_iter().zip(types))
            // SAFETY: the children are part of the tree.
            .map(|(child, child_type)| unsafe { child.into_data(child_type, proven) })
            .collect::<Result<_, _>>()?;
        let nulls = self.nulls.map(|nulls| nulls.into_arrow(self.len)).transpose()?;
        let builder = ArrayDataBuilder::new(data_type.clone())
            .len(self.len)
            .offset(self.offset)
            .nulls(nulls)
            .buffers(self.buffers.into_iter().map(from_buffer).collect())
            .child_data(children)
            .align_buffers(true);
        // SAFETY: validation is skipped only if the caller vouches that it was done (AR-1).
        let builder = unsafe { builder.skip_validation(proven) };
        guarded(|| builder.build())
    }
}

impl Nulls {
    fn into_arrow(self, len: usize) -> Result<NullBuffer, ArrowError> {
        let bits = self.bits.len().saturating_mul(8);
        if self.offset.checked_add(len).is_none_or(|end| end > bits) {
            return Err(malformed("fewer null bits than elements"));
        }
        Ok(NullBuffer::new(BooleanBuffer::new(
            from_buffer(self.bits),
            self.offset,
            len,
        )))
    }
}

/// Arrow asserts where a buffer or a child is shorter than a damaged length says, instead of returning an error.
fn guarded<T>(make: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(make))
        .unwrap_or_else(|_panic| Err(malformed("a length beyond its buffers")))
}

pub(super) fn malformed(what: &str) -> ArrowError {
    ArrowError::InvalidArgumentError(what.into())
}

/// All bytes that an array refers to, shown or not.
fn carried(data: &ArrayData) -> usize {
    let own: usize = data.buffers().iter().map(|buffer| buffer.len()).sum();
    own + data.child_data().iter().map(carried).sum::<usize>()
}

/// The types of the arrays that an array of this type is made of.
fn children_of(data_type: &DataType) -> Vec<&DataType> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => vec![field.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.data_type()).collect(),
        DataType::Dictionary(_, values) => vec![values],
        DataType::RunEndEncoded(ends, values) => vec![ends.data_type(), values.data_type()],
        _ => Vec::new(),
    }
}
