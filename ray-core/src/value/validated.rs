//! What has been validated in this process, so that reading the same memory again costs nothing.
//!
//! - VD-1: a [`Proof`] holds the memory that it speaks of, and cannot be found any more before it lets go of it. Memory
//!   is immutable while it is held. So a proof found in the registry speaks of the bytes that are there now, never of an
//!   earlier object at the same address.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use super::buffer::Buffer;

/// What was validated: as which type, and a description that holds the address and length of all memory involved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    kind: TypeId,
    description: Box<[u8]>,
}

type Registry = HashMap<Arc<Subject>, Weak<Proof>>;

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

/// A panic cannot leave the registry half changed.
fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subject {
    /// `buffers` seen as a `T`, in the way that `shape` describes.
    pub(super) fn new<T: 'static>(mut shape: Vec<u8>, buffers: &[Buffer]) -> Self {
        for buffer in buffers {
            shape.extend_from_slice(&buffer.as_ptr().addr().to_ne_bytes());
            shape.extend_from_slice(&buffer.len().to_ne_bytes());
        }
        Self {
            kind: TypeId::of::<T>(),
            description: shape.into(),
        }
    }
}

/// That a subject was validated (VD-1).
#[derive(Debug)]
pub(super) struct Proof {
    subject: Arc<Subject>,
    /// Let go of after `drop` has run, when no reference to this proof can be had any more.
    _memory: Box<[Buffer]>,
}

impl Proof {
    /// The proof for `subject` if it was validated and somebody still holds it.
    pub(super) fn find(subject: &Subject) -> Option<Arc<Self>> {
        registry().get(subject).and_then(Weak::upgrade)
    }

    /// Records that `subject`, which lies in `memory`, has just been validated.
    pub(super) fn record(subject: Subject, memory: Vec<Buffer>) -> Arc<Self> {
        let subject = Arc::new(subject);
        let proof = Arc::new(Self {
            subject: subject.clone(),
            _memory: memory.into(),
        });
        registry().insert(subject, Arc::downgrade(&proof));
        proof
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        let mut registry = registry();
        // Another thread may have validated the same in the meantime; its proof stays. Not `upgrade`: dropping what it
        // returns could come back here.
        if registry
            .get(&self.subject)
            .is_some_and(|proof| proof.strong_count() == 0)
        {
            registry.remove(&self.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vd_1_a_proof_ends_with_its_last_holder() {
        let buffer = Buffer::copy_from_slice(&[1; 8]);
        let memory = std::slice::from_ref(&buffer);
        let subject = || Subject::new::<u8>(Vec::new(), memory);
        assert!(Proof::find(&subject()).is_none());
        let first = Proof::record(subject(), vec![buffer.clone()]);
        let second = Proof::record(subject(), vec![buffer.clone()]);
        drop(first);
        assert!(Proof::find(&subject()).is_some());
        assert!(Proof::find(&Subject::new::<i8>(Vec::new(), memory)).is_none());
        drop(second);
        assert!(Proof::find(&subject()).is_none());
    }
}
