//! The attribute macros of `ray-core`: use them through that crate.
