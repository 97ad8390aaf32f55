use ray_core::remote;

struct Missing;

#[remote]
impl Missing {
    pub fn value(&self) -> u8 {
        1
    }
}

struct Wrong;

#[remote]
impl Wrong {
    pub fn new() -> u8 {
        1
    }
}

struct Two;

#[remote]
impl Two {
    #[remote(constructor)]
    pub fn one() -> Self {
        Two
    }

    #[remote(constructor)]
    pub fn other() -> Self {
        Two
    }
}

struct Odd;

#[remote]
impl Odd {
    pub fn new() -> Self {
        Odd
    }

    #[remote(num_cpus = 1)]
    pub fn value(&self) {}
}

fn main() {}
