use std::sync::Arc;

use ray_core::remote;

struct A;

#[remote]
impl A {
    pub fn new() -> Self {
        A
    }

    pub fn finish(self) {}

    pub fn share(self: Arc<Self>) {}

    pub fn any<T>(&self, value: T) {}

    pub fn options(&self) {}

    pub fn tail(&mut self) -> impl Iterator<Item = u8> {
        None.into_iter()
    }
}

fn main() {}
