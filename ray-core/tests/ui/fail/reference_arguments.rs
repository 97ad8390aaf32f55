use std::path::Path;

use ray_core::remote;

struct Model;

#[remote]
fn load(name: &str, weights: &[f32], at: &Path, model: &Model, notes: Option<&'static str>) -> u8 {
    0
}

fn main() {}
