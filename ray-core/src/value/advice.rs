//! Advice on values that go through serde's bytes though they are large.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// In-band bytes above which a value without buffers is worth a word.
const WORTH_A_WORD: usize = 1 << 20;

/// The types that a warning was given for.
static WARNED: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// Says once for each type that its large values would travel faster as buffers.
#[inline]
pub(super) fn on_large_value<T: ?Sized>(in_band: usize, buffers: usize) {
    if in_band > WORTH_A_WORD && buffers == 0 {
        warn_once(std::any::type_name::<T>(), in_band);
    }
}

#[cold]
fn warn_once(name: &'static str, in_band: usize) -> bool {
    let is_first = WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
    if is_first {
        tracing::warn!(
            r#type = name,
            bytes = in_band,
            "a large value was copied element by element; hold its numbers in a `Tensor`, its bytes in a `Buffer` or its \
             rows in a `Table`, and it is written at the speed of memory and read in place"
        );
    }
    is_first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_named_once() {
        assert!(warn_once("first", WORTH_A_WORD + 1));
        assert!(!warn_once("first", WORTH_A_WORD + 1));
        assert!(warn_once("second", WORTH_A_WORD + 1));
    }
}
