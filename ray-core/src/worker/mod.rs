//! One process's runtime: what it submits, owns, runs and resolves.

pub mod refs;
