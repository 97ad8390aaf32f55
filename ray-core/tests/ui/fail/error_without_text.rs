use ray_core::remote;

struct Failed;

#[remote]
fn fail() -> Result<u8, Failed> {
    Err(Failed)
}

fn main() {}
