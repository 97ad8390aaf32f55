use ray_core::remote;

#[remote]
fn apply(change: impl Fn(u8) -> u8) -> u8 {
    change(1)
}

fn main() {}
