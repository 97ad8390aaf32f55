//! What a user types.

pub mod object_ref;
pub mod submit;
