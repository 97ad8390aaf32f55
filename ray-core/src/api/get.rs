//! `get`: from references to values, one, many or a tuple of them.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::api::blocking;
use crate::api::object_ref::{ObjectRef, RawRef};
use crate::error::{RayError, Result};
use crate::ids::ObjectId;
use crate::worker::local::Read;
use crate::worker::native::NativeValue;
use crate::worker::resolve::{Found, Target};
use crate::worker::{Worker, current};

/// What [`get`] takes: a reference, a slice, array or `Vec` of references, or a tuple of what it takes.
#[diagnostic::on_unimplemented(
    message = "`get` cannot fetch `{Self}`",
    label = "not a reference, nor a collection or tuple of references",
    note = "pass `&reference`, `&references` (a slice or `Vec` of `ObjectRef`), or a tuple such as `(&a, &b)`"
)]
pub trait Fetch {
    /// What comes of it.
    type Output;

    #[doc(hidden)]
    fn references<'a>(&'a self, into: &mut Vec<&'a RawRef>);

    #[doc(hidden)]
    fn decode(&self, limit: &TimeLimit) -> Result<Self::Output>;

    /// As `decode`, where the references end with it: then a value of this process is moved out.
    #[doc(hidden)]
    fn take(self, limit: &TimeLimit) -> Result<Self::Output>
    where
        Self: Sized,
    {
        self.decode(limit)
    }
}

impl<T: DeserializeOwned + 'static> Fetch for ObjectRef<T> {
    type Output = T;

    fn references<'a>(&'a self, into: &mut Vec<&'a RawRef>) {
        into.push(self.raw());
    }

    fn decode(&self, limit: &TimeLimit) -> Result<T> {
        if let Some(read) = read_local(self.raw()) {
            return decode_bytes(self.id(), &read?);
        }
        let (object, owner, worker) = self.raw().target()?;
        loop {
            if let Some(found) = worker.ready_value(object) {
                return decode(&worker, object, found?);
            }
            // It was ready and is being made again: it was lost meanwhile.
            let target = [Target::Known(object, owner)];
            let _noted = worker.check_deadlock(&target)?;
            if !worker.block_until(&target, 1, limit.left()) {
                return Err(limit.is_over(1));
            }
        }
    }

    fn take(self, limit: &TimeLimit) -> Result<T> {
        let worker = self.raw().session()?;
        match last_value(&self, &worker) {
            Some((value, moved)) => {
                if moved {
                    self.into_raw().spent();
                }
                value
            }
            None => self.decode(limit),
        }
    }
}

impl<F: Fetch + ?Sized> Fetch for &F {
    type Output = F::Output;

    fn references<'a>(&'a self, into: &mut Vec<&'a RawRef>) {
        (**self).references(into);
    }

    fn decode(&self, limit: &TimeLimit) -> Result<F::Output> {
        (**self).decode(limit)
    }
}

impl<F: Fetch> Fetch for [F] {
    type Output = Vec<F::Output>;

    fn references<'a>(&'a self, into: &mut Vec<&'a RawRef>) {
        self.iter().for_each(|one| one.references(into));
    }

    fn decode(&self, limit: &TimeLimit) -> Result<Vec<F::Output>> {
        self.iter().map(|one| one.decode(limit)).collect()
    }
}

impl<F: Fetch> Fetch for Vec<F> {
    type Output = Vec<F::Output>;

    fn references<'a>(&'a self, into: &mut Vec<&'a RawRef>) {
        self.as_slice().references(into);
    }

    fn decode(&self, limit: &TimeLimit) -> Result<Vec<F::Output>> {
        self.as_slice().decode(limit)
    }

    fn take(self, limit: &TimeLimit) -> Result<Vec<F::Output>> {
        self.into_iter().map(|one| one.take(limit)).collect()
    }
}

impl<F: Fetch, const N: usize> Fetch for [F; N] {
    type Output = Vec<F::Output>;

    fn references<'a>(&'a self, into: &mut Vec<&'a RawRef>) {
        self.as_slice().references(into);
    }

    fn decode(&self, limit: &TimeLimit) -> Result<Vec<F::Output>> {
        self.as_slice().decode(limit)
    }

    fn take(self, limit: &TimeLimit) -> Result<Vec<F::Output>> {
        self.into_iter().map(|one| one.take(limit)).collect()
    }
}

macro_rules! tuples {
    ($($($item:ident $index:tt)+;)*) => {$(
        impl<$($item: Fetch),+> Fetch for ($($item,)+) {
            type Output = ($($item::Output,)+);

            fn references<'a>(&'a self, into: &mut Vec<&'a RawRef>) {
                $(self.$index.references(into);)+
            }

            fn decode(&self, limit: &TimeLimit) -> Result<Self::Output> {
                Ok(($(self.$index.decode(limit)?,)+))
            }

            fn take(self, limit: &TimeLimit) -> Result<Self::Output> {
                Ok(($(self.$index.take(limit)?,)+))
            }
        }
    )*};
}
tuples! {
    A 0;
    A 0 B 1;
    A 0 B 1 C 2;
    A 0 B 1 C 2 D 3;
    A 0 B 1 C 2 D 3 E 4;
    A 0 B 1 C 2 D 3 E 4 F 5;
}

/// The value of each reference, as soon as all are there; blocks this thread until then.
///
/// The first reference that is an error is the error of the whole, without waiting for those after it. In a task, the CPU
/// of the task serves others meanwhile. On a multi-threaded tokio runtime the other tasks of this thread move on.
///
/// # Errors
/// The error of a task that failed, and [`RayError::BlockingInAsync`] on a current-thread runtime: `.await` the reference
/// there.
///
/// ```
/// # fn main() -> ray_core::Result<()> {
/// let _ray = ray_core::init()?;
/// let (number, text) = (ray_core::put(&7)?, ray_core::put("seven")?);
/// assert_eq!(ray_core::get((&number, &text))?, (7, "seven".to_owned()));
/// # Ok(()) }
/// ```
pub fn get<F: Fetch>(references: F) -> Result<F::Output> {
    fetch(references, None)
}

/// As [`get`], for this long at most; a time of zero only looks.
///
/// # Errors
/// [`RayError::GetTimeout`] when the time is over; the tasks go on.
pub fn get_timeout<F: Fetch>(references: F, timeout: Duration) -> Result<F::Output> {
    fetch(references, Some(timeout))
}

/// As [`get`], without blocking. A single reference can be awaited itself.
///
/// # Errors
/// As [`get`].
pub async fn get_async<F: Fetch>(references: F) -> Result<F::Output> {
    let mut raw = Vec::new();
    references.references(&mut raw);
    for reference in raw {
        let targets = [reference.awaited()?];
        let worker = reference.session()?;
        let _noted = worker.check_deadlock(&targets)?;
        // One that was lost and is made again is waited for here, where nothing blocks.
        while !worker.has_value_or_error(&targets[0]) {
            worker.ready(&targets, 1).await;
        }
        if worker.has_failed(&targets[0]) {
            // It is the error of the whole: those after it are not waited for.
            break;
        }
    }
    references.take(&TimeLimit::default())
}

fn fetch<F: Fetch>(references: F, timeout: Option<Duration>) -> Result<F::Output> {
    let mut raw = Vec::new();
    references.references(&mut raw);
    let targets: Vec<Target> = raw.iter().map(|reference| reference.awaited()).collect::<Result<_>>()?;
    let limit = TimeLimit::new(timeout, targets.len() as u64);
    if targets.is_empty() {
        return references.take(&limit);
    }
    let worker = current().map_err(|_| RayError::SessionEnded {})?;
    let _noted = worker.check_deadlock(&targets)?;
    let waits = || wait_for_all(&worker, &targets, &limit);
    if !worker.are_all_ready(&targets) {
        blocking::allow("get()", "`.await` on the reference, or get_async()", waits)??;
    }
    drop(targets);
    references.take(&limit)
}

fn wait_for_all(worker: &Arc<Worker>, targets: &[Target], limit: &TimeLimit) -> Result<()> {
    if worker.block_for_values(targets, limit.given) {
        return Ok(());
    }
    let pending = worker.are_ready(targets).into_iter().filter(|ready| !ready).count() as u64;
    Err(limit.is_over(pending))
}

/// How long one `get` may wait, from its beginning on: first for all values, then for those which were lost meanwhile.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeLimit {
    given: Option<Duration>,
    /// `None`: without end.
    over: Option<Instant>,
    of: u64,
}

impl TimeLimit {
    fn new(given: Option<Duration>, of: u64) -> Self {
        let over = given.and_then(|given| Instant::now().checked_add(given));
        Self { given, over, of }
    }

    fn left(&self) -> Option<Duration> {
        let over = self.over?;
        Some(over.saturating_duration_since(Instant::now()))
    }

    fn is_over(&self, pending: u64) -> RayError {
        RayError::GetTimeout {
            pending,
            of: self.of,
            waited: self.given.unwrap_or_default(),
        }
    }
}

/// A found value as a `T`.
pub(crate) fn decode<T: DeserializeOwned + 'static>(worker: &Arc<Worker>, object: ObjectId, found: Found) -> Result<T> {
    let bytes = match found {
        Found::Encoded(bytes) => bytes,
        Found::Native(value) => worker.encoded_form(object, &value)?,
        Found::Moved(value) => return moved(object, &value),
    };
    decode_bytes(object, &bytes)
}

/// The value of a reference that is about to end, and whether it was moved out with it. `None`: it is not ready.
pub(crate) fn last_value<T: DeserializeOwned + 'static>(
    reference: &ObjectRef<T>,
    worker: &Arc<Worker>,
) -> Option<(Result<T>, bool)> {
    let object = reference.id();
    if let Some(value) = reference.raw().local().and_then(|local| local.take()) {
        return Some((downcast(object, value), true));
    }
    if let Some(read) = read_local(reference.raw()) {
        return Some((read.and_then(|bytes| decode_bytes(object, &bytes)), false));
    }
    let found = worker.last_value(object)?;
    let moved = matches!(found, Ok(Found::Moved(_)));
    Some((found.and_then(|found| decode(worker, object, found)), moved))
}

/// The encoded result of a local task that the state does not know, which is waited for if need be.
fn read_local(reference: &RawRef) -> Option<Result<Bytes>> {
    let local = reference.local()?;
    let worker = match local.session() {
        Ok(worker) => worker,
        Err(error) => return Some(Err(error)),
    };
    loop {
        match local.read(&worker) {
            Read::Encoded(bytes) => return Some(Ok(bytes)),
            Read::Failed(error) => return Some(Err(error)),
            Read::HandedIn => return None,
            Read::Pending => {
                worker.block_until(&[Target::Local(local.clone())], 1, None);
            }
        }
    }
}

fn moved<T: 'static>(object: ObjectId, value: &NativeValue) -> Result<T> {
    let value = value
        .take()
        .ok_or_else(|| wrong::<T>(object, "it was moved out before"))?;
    downcast(object, value)
}

fn downcast<T: 'static>(object: ObjectId, value: Box<dyn Any + Send>) -> Result<T> {
    let value = value.downcast().map(|value| *value);
    value.map_err(|_| wrong::<T>(object, "it is of another type"))
}

fn wrong<T>(object: ObjectId, why: &str) -> RayError {
    RayError::Decode {
        what: format!("object {object}"),
        ty: std::any::type_name::<T>().to_owned(),
        why: why.to_owned(),
    }
}

fn decode_bytes<T: DeserializeOwned>(object: ObjectId, bytes: &Bytes) -> Result<T> {
    crate::value::decode(bytes).map_err(|error| RayError::Decode {
        what: format!("object {object}"),
        ty: std::any::type_name::<T>().to_owned(),
        why: error.to_string(),
    })
}
