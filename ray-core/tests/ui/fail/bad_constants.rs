use ray_core::remote;

#[remote(
    num_cpus = -1,
    num_gpus = "two",
    name = "",
    max_retries = -2,
    max_calls = 1.5,
    timeout = 30,
    isolation = "thread",
    resources(CPU = 1, tpu = -0.5)
)]
fn f() {}

#[remote(max_concurrency = 0, concurrency_groups = 3, checkpoint = 0, lifetime = "forever")]
impl A {
    pub fn new() -> Self {
        A
    }
}

struct A;

fn main() {}
