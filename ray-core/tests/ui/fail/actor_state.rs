use std::rc::Rc;

use ray_core::remote;

struct Shared(Rc<u8>);

#[remote]
impl Shared {
    pub fn new() -> Self {
        Shared(Rc::new(1))
    }
}

fn main() {}
