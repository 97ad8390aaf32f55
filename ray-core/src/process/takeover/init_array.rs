//! The constructors of the main executable, found through its dynamic section.

use std::ffi::{c_char, c_int, c_void};
use std::{ptr, slice};

/// A constructor, as glibc calls it. Musl passes no arguments.
pub(super) type InitFunction = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

const DT_NULL: i64 = 0;
const DT_INIT_ARRAY: i64 = 25;
const DT_INIT_ARRAYSZ: i64 = 27;

/// An entry of the dynamic section.
#[repr(C)]
struct Dynamic {
    tag: i64,
    value: u64,
}

/// The main executable's constructors.
#[derive(Debug)]
pub(super) struct InitArray {
    entries: &'static [usize],
}

impl InitArray {
    /// Which entry lies at this address.
    pub(super) fn index_of(&self, entry: *const InitFunction) -> Option<usize> {
        let first = self.entries.as_ptr().addr();
        let index = entry.addr().checked_sub(first)? / size_of::<usize>();
        (index < self.entries.len()).then_some(index)
    }

    /// The constructors that run after the entry with this index.
    pub(super) fn functions_after(&self, index: usize) -> impl Iterator<Item = InitFunction> + '_ {
        let after = self.entries.get(index + 1..).unwrap_or_default();
        // Old linkers leave 0 and -1 as marks.
        after
            .iter()
            .filter(|&&entry| entry != 0 && entry != usize::MAX)
            .map(|&entry| {
                // SAFETY: the loader is about to call this very word as a constructor.
                unsafe { std::mem::transmute::<usize, InitFunction>(entry) }
            })
    }
}

/// The constructors of the main executable, if it has a dynamic section (all but static ones at a fixed address do).
pub(super) fn of_main_executable() -> Option<InitArray> {
    let mut found: Option<InitArray> = None;
    // SAFETY: the callback has the right type, and `found` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(read_first), (&raw mut found).cast()) };
    found
}

/// Reads the first object, which is the main executable, and stops.
unsafe extern "C" fn read_first(info: *mut libc::dl_phdr_info, _size: libc::size_t, found: *mut c_void) -> c_int {
    // SAFETY: the loader passes a valid object, and `of_main_executable` a valid place for the result.
    unsafe { *found.cast::<Option<InitArray>>() = read(&*info) };
    1
}

/// # Safety
///
/// `info` describes an object that stays loaded.
unsafe fn read(info: &libc::dl_phdr_info) -> Option<InitArray> {
    let base = usize::try_from(info.dlpi_addr).ok()?;
    // SAFETY: the loader's description of a loaded object.
    let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let dynamic = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC)?;
    let mut entry = ptr::with_exposed_provenance::<Dynamic>(base.wrapping_add(usize::try_from(dynamic.p_vaddr).ok()?));
    let (mut address, mut bytes) = (None, None);
    loop {
        // SAFETY: the dynamic section is mapped, and ends with `DT_NULL`.
        let Dynamic { tag, value } = unsafe { entry.read() };
        match tag {
            DT_NULL => break,
            DT_INIT_ARRAY => address = usize::try_from(value).ok(),
            DT_INIT_ARRAYSZ => bytes = usize::try_from(value).ok(),
            _ => {}
        }
        // SAFETY: this was not the last entry.
        entry = unsafe { entry.add(1) };
    }
    let first = ptr::with_exposed_provenance::<usize>(base.wrapping_add(address?));
    // SAFETY: the array is mapped, aligned, relocated before any constructor runs, and constant from then on.
    let entries = unsafe { slice::from_raw_parts(first, bytes? / size_of::<usize>()) };
    Some(InitArray { entries })
}
