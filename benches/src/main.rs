//! `ray-bench`: prints what ray-core costs, beside the floor of the machine.
fn main() {}
