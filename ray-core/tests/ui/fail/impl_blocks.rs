use ray_core::remote;

struct A;
struct B<T>(T);

#[remote]
impl Clone for A {
    fn clone(&self) -> Self {
        A
    }
}

#[remote]
impl<T> B<T> {
    pub fn new(value: T) -> Self {
        B(value)
    }
}

#[remote]
impl B<u8> {
    pub fn new() -> Self {
        B(1)
    }
}

#[remote]
struct C;

fn main() {}
