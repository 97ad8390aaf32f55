use ray_core::remote;

struct A;

#[remote(concurrency_groups(compute = 2))]
impl A {
    pub fn new() -> Self {
        A
    }

    #[method(concurrency_group = "comput")]
    pub fn near(&self) {}

    #[method(concurrency_group = "io")]
    pub fn far(&self) {}

    #[method(num_return = 2)]
    pub fn option(&self) {}
}

fn main() {}
