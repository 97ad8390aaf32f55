use ray_core::remote;

#[remote(num_cpu = 2)]
fn near() {}

#[remote(colour = "red")]
fn far() {}

#[remote(num_cpus)]
fn bare() {}

#[remote(name = "a", name = "b")]
fn twice() {}

fn main() {}
