//! How a type hands something to our serializer, or takes it back, through serde's fixed interface.
//!
//! A [`Buffer`] and a [`RefToken`] must not become bytes of the value, but serde's data model has no place for them. So
//! such a type announces itself by a reserved newtype-struct name and lays a [`Handle`] into a slot of its thread for
//! just that call. Our serializer knows the name and takes the handle; any other serializer goes on to the inner value,
//! which is plain bytes for a buffer and an error for a reference. Reading is the mirror image.
//!
//! - FO-1: the slot is filled only during the one call that announces the handle, and holds afterwards what it held
//!   before, also when the call fails or panics. So a serializer that user code runs inside its own `Serialize` never
//!   sees a handle that was meant for another one.
//! - FO-2: where serde buffers a value (`flatten`, `untagged`, internal tags) the reader is handed bytes borrowed from
//!   the object. They are recognised by their address, never by their content, so data cannot forge a reference.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use bytes::Bytes;

use super::buffer::Buffer;
use super::refs::{RefToken, TOKEN_LEN};

/// The newtype-struct name of a [`Buffer`].
pub(super) const BUFFER_NAME: &str = "$ray_core::Buffer";
/// The newtype-struct name of a [`RefToken`].
pub(super) const REF_NAME: &str = "$ray_core::Ref";

/// What passes between a type and our serializer.
pub(super) enum Handle {
    Buffer(Buffer),
    Ref(RefToken),
}

thread_local! {
    static SLOT: Cell<Option<Handle>> = const { Cell::new(None) };
    static SOURCE: RefCell<Option<Source>> = const { RefCell::new(None) };
}

/// Puts `handle` into the thread's slot while `call` runs (FO-1).
pub(super) fn offer<R>(handle: Handle, call: impl FnOnce() -> R) -> R {
    struct Restore(Option<Handle>);

    impl Drop for Restore {
        fn drop(&mut self) {
            // Without the slot (the thread is ending) there is nothing to restore.
            _ = SLOT.try_with(|slot| slot.set(self.0.take()));
        }
    }

    // Where the thread is ending the slot is gone, nothing is offered, and the inner value travels instead.
    let Ok(before) = SLOT.try_with(|slot| slot.replace(Some(handle))) else {
        return call();
    };
    let _restore = Restore(before);
    call()
}

/// Takes the handle that was offered, if one was.
pub(super) fn take() -> Option<Handle> {
    SLOT.try_with(Cell::take).ok().flatten()
}

/// The object that is being read on this thread.
struct Source {
    object: Bytes,
    refs: Range<usize>,
}

/// Makes `object` the one whose memory is recognised (FO-2) while `read` runs. `refs` is its list of references.
pub(super) fn reading<R>(object: &Bytes, refs: Range<usize>, read: impl FnOnce() -> R) -> R {
    struct Restore(Option<Source>);

    impl Drop for Restore {
        fn drop(&mut self) {
            _ = SOURCE.try_with(|source| source.replace(self.0.take()));
        }
    }

    let source = Source {
        object: object.clone(),
        refs,
    };
    let Ok(before) = SOURCE.try_with(|current| current.replace(Some(source))) else {
        return read();
    };
    let _restore = Restore(before);
    read()
}

/// The aligned part of the object being read that `bytes` is, as a view without a copy.
pub(super) fn buffer_at(bytes: &[u8]) -> Option<Buffer> {
    with_offset(bytes, |source, offset| {
        Buffer::from(source.object.slice(offset..offset + bytes.len()))
    })
    .filter(Buffer::is_aligned)
}

/// The reference whose entry in the list of the object being read is exactly `bytes`.
pub(super) fn ref_at(bytes: &[u8]) -> Option<RefToken> {
    with_offset(bytes, |source, offset| {
        let is_entry = source.refs.contains(&offset) && (offset - source.refs.start).is_multiple_of(TOKEN_LEN);
        let entry = bytes.try_into().ok().filter(|_| is_entry)?;
        RefToken::from_bytes(entry)
    })?
}

fn with_offset<R>(bytes: &[u8], found: impl FnOnce(&Source, usize) -> R) -> Option<R> {
    SOURCE
        .try_with(|source| {
            let source = source.borrow();
            let source = source.as_ref()?;
            let offset = bytes.as_ptr().addr().checked_sub(source.object.as_ptr().addr())?;
            (offset + bytes.len() <= source.object.len()).then(|| found(source, offset))
        })
        .ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered() -> Option<Vec<u8>> {
        take().map(|handle| match handle {
            Handle::Buffer(buffer) => buffer.to_vec(),
            Handle::Ref(_) => Vec::new(),
        })
    }

    #[test]
    fn fo_1_the_slot_holds_afterwards_what_it_held_before() {
        offer(Handle::Buffer(Buffer::from(vec![1])), || {
            offer(Handle::Buffer(Buffer::from(vec![2])), || ());
            let unwound =
                std::panic::catch_unwind(|| offer(Handle::Buffer(Buffer::from(vec![3])), || panic!("user code")));
            assert!(unwound.is_err());
            assert_eq!(offered(), Some(vec![1]));
            assert_eq!(offered(), None);
        });
        assert_eq!(offered(), None);
    }

    #[test]
    fn fo_2_equal_bytes_elsewhere_are_not_recognised() {
        let object = Bytes::from(Buffer::copy_from_slice(&[0; 256]));
        reading(&object, 64..64 + TOKEN_LEN, || {
            assert!(ref_at(&object[64..64 + TOKEN_LEN]).is_some());
            assert!(ref_at(&object[65..65 + TOKEN_LEN]).is_none());
            assert!(ref_at(&[0; TOKEN_LEN]).is_none());
            assert!(buffer_at(&object[64..128]).is_some());
            assert!(buffer_at(&object[65..128]).is_none());
        });
        assert!(ref_at(&object[64..64 + TOKEN_LEN]).is_none());
    }
}
