//! Shared memory itself: files without names, and the few mappings of them. All `unsafe` for it lives below here.

mod file;
mod huge;
mod mapping;
mod words;
mod write_map;

pub(crate) use file::{Segment, page_hull, reserve, write_all_at};
pub(crate) use huge::HUGE;
pub(crate) use mapping::Mapping;
pub(crate) use words::{WordsReader, WordsWriter, words_file};
pub(crate) use write_map::{GrantedBytes, Step, WriteMap};

/// The granularity of reserving and punching.
pub(crate) const PAGE: u64 = 4096;
