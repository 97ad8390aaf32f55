//! A piece of shared memory, seen as a slice of atomics: the only thing that safe code can do no harm with while another
//! process writes to it. All `unsafe` of the mapping lies here.
//!
//! MEM-1: the memory is sealed against shrinking and growing and all its pages exist, so no access raises SIGBUS.
//! MEM-2: nothing but `&A`, for an atomic `A`, ever points into it.

#[cfg(not(ray_loom))]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
#[cfg(not(ray_loom))]
use std::ptr::NonNull;

#[cfg(not(ray_loom))]
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
#[cfg(not(ray_loom))]
use rustix::mm::{MapFlags, ProtFlags};

#[cfg(not(ray_loom))]
use crate::error::SetupError;
use crate::sync::{AtomicU32, AtomicU64};

/// An atomic for which every bit pattern, all zeroes too, is a value.
pub(crate) trait Atom: Sync + Send + Sized + 'static {
    /// An atomic that holds zero.
    #[cfg(any(test, ray_loom))]
    fn zero() -> Self;
}

impl Atom for AtomicU32 {
    #[cfg(any(test, ray_loom))]
    fn zero() -> Self {
        AtomicU32::new(0)
    }
}

impl Atom for AtomicU64 {
    #[cfg(any(test, ray_loom))]
    fn zero() -> Self {
        AtomicU64::new(0)
    }
}

/// Shared memory as `[A]`.
#[derive(Debug)]
pub(crate) enum Memory<A: Atom> {
    /// Mapped from a memfd.
    #[cfg(not(ray_loom))]
    Mapped(Mapping<A>),
    /// On the heap, for models and Miri, which cannot map.
    #[cfg(any(test, ray_loom))]
    Heap(Box<[A]>),
}

impl<A: Atom> Memory<A> {
    #[inline]
    pub(crate) fn words(&self) -> &[A] {
        match self {
            #[cfg(not(ray_loom))]
            Memory::Mapped(mapping) => mapping.words(),
            #[cfg(any(test, ray_loom))]
            Memory::Heap(words) => words,
        }
    }

    #[cfg(any(test, ray_loom))]
    pub(crate) fn on_heap(len: usize) -> Memory<A> {
        Memory::Heap((0..len).map(|_| A::zero()).collect())
    }

    /// The memfd, to send to the peer.
    #[cfg(not(ray_loom))]
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Memory::Mapped(mapping) => Some(mapping.descriptor.as_fd()),
            #[cfg(test)]
            Memory::Heap(_) => None,
        }
    }
}

/// A mapping of a sealed memfd.
#[cfg(not(ray_loom))]
#[derive(Debug)]
pub(crate) struct Mapping<A: Atom> {
    start: NonNull<A>,
    len: usize,
    descriptor: OwnedFd,
}

// SAFETY: a mapping is a shared slice of atomics (MEM-2), which any thread may use, and unmapping has no thread of its own.
#[cfg(not(ray_loom))]
unsafe impl<A: Atom> Send for Mapping<A> {}
// SAFETY: as above.
#[cfg(not(ray_loom))]
unsafe impl<A: Atom> Sync for Mapping<A> {}

#[cfg(not(ray_loom))]
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

#[cfg(not(ray_loom))]
impl<A: Atom> Mapping<A> {
    /// New, zeroed memory of `len` atoms under `name` (seen in `/proc/<pid>/maps`).
    pub(crate) fn create(name: &str, len: usize) -> Result<Mapping<A>, SetupError> {
        let bytes = (len * size_of::<A>()) as u64;
        let descriptor = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(SetupError::system("memfd_create"))?;
        rustix::fs::ftruncate(&descriptor, bytes).map_err(SetupError::system("ftruncate"))?;
        // Now, so that want of memory is an error here and no SIGBUS later.
        rustix::fs::fallocate(&descriptor, FallocateFlags::empty(), 0, bytes)
            .map_err(SetupError::system("fallocate"))?;
        rustix::fs::fcntl_add_seals(&descriptor, SEALS | SealFlags::SEAL).map_err(SetupError::system("F_ADD_SEALS"))?;
        Mapping::map(descriptor, len)
    }

    /// Memory that a peer created. Its length is the peer's word and the seals' promise.
    pub(crate) fn open(descriptor: OwnedFd) -> Result<Mapping<A>, SetupError> {
        let seals = rustix::fs::fcntl_get_seals(&descriptor).map_err(SetupError::system("F_GET_SEALS"))?;
        if !seals.contains(SEALS) {
            return Err(SetupError::Foreign {
                what: "the seal set",
                found: seals.bits().into(),
            });
        }
        let stat = rustix::fs::fstat(&descriptor).map_err(SetupError::system("fstat"))?;
        let len = usize::try_from(stat.st_size).unwrap_or(0) / size_of::<A>();
        if len == 0 {
            return Err(SetupError::Foreign {
                what: "the size",
                found: 0,
            });
        }
        Mapping::map(descriptor, len)
    }

    fn map(descriptor: OwnedFd, len: usize) -> Result<Mapping<A>, SetupError> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a null hint lets the kernel choose a free range, so no memory in use is replaced.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len * size_of::<A>(),
                protection,
                MapFlags::SHARED | MapFlags::POPULATE,
                &descriptor,
                0,
            )
        }
        .map_err(SetupError::system("mmap"))?;
        let start = NonNull::new(start.cast()).ok_or(SetupError::System {
            call: "mmap",
            source: rustix::io::Errno::FAULT,
        })?;
        Ok(Mapping { start, len, descriptor })
    }

    #[inline]
    fn words(&self) -> &[A] {
        // SAFETY: `start` is page-aligned and `len` atoms are mapped read-write until `drop`, with all pages present for good
        // (MEM-1); `A` takes every bit pattern and is an atomic, so that writes of the other process are allowed (MEM-2).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

#[cfg(not(ray_loom))]
impl<A: Atom> Drop for Mapping<A> {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map` and nothing borrows it any more.
        let _unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len * size_of::<A>()) };
    }
}
