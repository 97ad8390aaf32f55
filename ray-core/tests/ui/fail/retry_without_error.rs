use ray_core::remote;

#[remote(retry_exceptions = true)]
fn never_fails() -> u8 {
    1
}

fn main() {}
