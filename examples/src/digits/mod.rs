//! Handwritten digits: the data and the network of the `digits` example.

pub mod data;
pub mod model;
