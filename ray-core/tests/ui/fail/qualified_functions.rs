use ray_core::remote;

#[remote]
unsafe fn danger() {}

#[remote]
extern "C" fn foreign() {}

#[remote]
const fn constant() -> u8 {
    1
}

#[remote]
unsafe extern "C" fn many(first: u8, ...) {}

fn main() {}
