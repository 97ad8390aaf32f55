//! [`Table`] and [`Array`]: Arrow data that is read in place.

use std::fmt;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::arrow::{Node, malformed};
use super::encode;
use super::validated::{Proof, Subject};

/// A table: Arrow [`RecordBatch`]es of one schema.
///
/// Its buffers travel as they are, one by one, and are read in place. What is read was validated by Arrow, when the first
/// holder in a process read it and not again while any holder is left.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow_array::{Int64Array, RecordBatch, StringArray};
/// use ray_core::value::{self, Table};
///
/// let batch = RecordBatch::try_from_iter([
///     ("name", Arc::new(StringArray::from(vec!["a", "b"])) as _),
///     ("count", Arc::new(Int64Array::from(vec![1, 2])) as _),
/// ])?;
/// let object = value::encode(&Table::from(batch.clone()))?.to_bytes();
/// let read: Table = value::decode(&object)?;
/// assert_eq!(read.batches(), [batch]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Table {
    /// None if the table was not read from bytes.
    _proof: Option<Arc<Proof>>,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

/// An Arrow array of any type.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow_array::{Array as _, Float64Array, cast::AsArray, types::Float64Type};
/// use ray_core::value::{self, Array};
///
/// let array = Array::from(Arc::new(Float64Array::from(vec![1.5, 2.5])) as arrow_array::ArrayRef);
/// let read: Array = value::decode(&value::encode(&array)?.to_bytes())?;
/// assert_eq!(read.as_primitive::<Float64Type>().value(1), 2.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Array {
    /// As in [`Table`].
    _proof: Option<Arc<Proof>>,
    array: ArrayRef,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "Table")]
struct TableForm {
    schema: Schema,
    batches: Vec<BatchForm>,
}

#[derive(Serialize, Deserialize)]
struct BatchForm {
    rows: usize,
    columns: Vec<Node>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "Array")]
struct ArrayForm {
    data_type: DataType,
    array: Node,
}

/// Builds what `form` describes by `build`, with validation unless the same was validated before and is still held.
///
/// # Safety
///
/// `build` called with `true` may rely on having succeeded with `false` on an equal form over the same memory, held since.
unsafe fn validated_once<F: Serialize, R: 'static>(
    form: F,
    build: impl FnOnce(F, bool) -> Result<R, ArrowError>,
) -> Result<(Arc<Proof>, R), ArrowError> {
    // The in-band bytes describe all but the memory of the buffers; short buffers stand in them whole.
    let described = encode(&form).map_err(|error| ArrowError::ExternalError(error.into()))?;
    let subject = Subject::new::<R>(described.in_band, &described.buffers);
    Ok(match Proof::find(&subject) {
        Some(proof) => (proof, build(form, true)?),
        None => {
            let built = build(form, false)?;
            (Proof::record(subject, described.buffers.into_vec()), built)
        }
    })
}

impl Table {
    /// A table of these batches.
    ///
    /// # Errors
    ///
    /// If a batch has another schema.
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self, ArrowError> {
        if let Some(batch) = batches
            .iter()
            .find(|batch| batch.schema_ref().fields() != schema.fields())
        {
            let message = format!("a batch of the table has the schema {}, not {schema}", batch.schema());
            return Err(ArrowError::SchemaError(message));
        }
        Ok(Self {
            _proof: None,
            schema,
            batches,
        })
    }

    /// The schema of all batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The batches.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// The batches, as their own.
    pub fn into_batches(self) -> Vec<RecordBatch> {
        self.batches
    }

    /// How many rows all batches have together.
    pub fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    fn form(&self) -> TableForm {
        let batches = self.batches.iter().map(|batch| BatchForm {
            rows: batch.num_rows(),
            columns: batch.columns().iter().map(Node::of).collect(),
        });
        TableForm {
            schema: self.schema.as_ref().clone(),
            batches: batches.collect(),
        }
    }
}

/// # Safety
///
/// As [`Node::into_array`].
unsafe fn build_batch(schema: &SchemaRef, form: BatchForm, proven: bool) -> Result<RecordBatch, ArrowError> {
    if form.columns.len() != schema.fields().len() {
        return Err(malformed("another number of columns than the schema has"));
    }
    let columns = (form.columns.into_iter().zip(schema.fields()))
        // SAFETY: as for this function.
        .map(|(column, field)| unsafe { column.into_array(field.data_type(), proven) })
        .collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(form.rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.form().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = TableForm::deserialize(deserializer)?;
        let build = |form: TableForm, proven| {
            let schema = SchemaRef::new(form.schema);
            let batches = (form.batches.into_iter())
                // SAFETY: `validated_once` says `proven` only of an equal form over memory that is held.
                .map(|batch| unsafe { build_batch(&schema, batch, proven) })
                .collect::<Result<Vec<_>, _>>()?;
            Ok((schema, batches))
        };
        // SAFETY: `build` without `proven` validates all of the form.
        let (proof, (schema, batches)) = unsafe { validated_once(form, build) }.map_err(de::Error::custom)?;
        Ok(Self {
            _proof: Some(proof),
            schema,
            batches,
        })
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.schema.fields().iter().map(|field| field.name()).collect();
        write!(
            f,
            "Table({names:?}, {} rows in {} batches)",
            self.num_rows(),
            self.batches.len()
        )
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema && self.batches == other.batches
    }
}

impl From<RecordBatch> for Table {
    fn from(batch: RecordBatch) -> Self {
        Self {
            _proof: None,
            schema: batch.schema(),
            batches: vec![batch],
        }
    }
}

impl From<Table> for Vec<RecordBatch> {
    fn from(table: Table) -> Self {
        table.batches
    }
}

impl Array {
    /// The array as Arrow has it.
    pub fn as_arrow(&self) -> &ArrayRef {
        &self.array
    }
}

impl std::ops::Deref for Array {
    type Target = dyn arrow_array::Array;

    fn deref(&self) -> &Self::Target {
        &*self.array
    }
}

impl Serialize for Array {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = ArrayForm {
            data_type: self.array.data_type().clone(),
            array: Node::of(&self.array),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Array {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = ArrayForm::deserialize(deserializer)?;
        // SAFETY: `validated_once` says `proven` only of an equal form over memory that is held.
        let build = |form: ArrayForm, proven| unsafe { form.array.into_array(&form.data_type, proven) };
        // SAFETY: `build` without `proven` validates all of the form.
        let (proof, array) = unsafe { validated_once(form, build) }.map_err(de::Error::custom)?;
        Ok(Self {
            _proof: Some(proof),
            array,
        })
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({}, {} elements)", self.array.data_type(), self.array.len())
    }
}

impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        *self.array == *other.array
    }
}

impl From<ArrayRef> for Array {
    fn from(array: ArrayRef) -> Self {
        Self { _proof: None, array }
    }
}

impl From<Array> for ArrayRef {
    fn from(array: Array) -> Self {
        array.array
    }
}
