//! What a body yields: [`Outcome`].

use smallvec::{SmallVec, smallvec};

use super::{NativeValue, RemoteValue, TaskError};

/// The values that a call returned, one per reference.
pub type ReturnValues = SmallVec<[NativeValue; 1]>;

/// What came of one call, or is one item of a stream.
#[derive(Debug)]
pub enum Outcome {
    /// The function returned.
    Returned(ReturnValues),
    /// The function failed, or could not be called.
    Failed(TaskError),
}

impl Outcome {
    /// One value.
    pub fn one<T: RemoteValue>(value: T) -> Self {
        Self::Returned(smallvec![NativeValue::new(value)])
    }

    /// The values as a result.
    ///
    /// # Errors
    ///
    /// The error of [`Outcome::Failed`].
    pub fn into_result(self) -> Result<ReturnValues, TaskError> {
        match self {
            Self::Returned(values) => Ok(values),
            Self::Failed(error) => Err(error),
        }
    }
}

impl From<TaskError> for Outcome {
    fn from(error: TaskError) -> Self {
        Self::Failed(error)
    }
}
