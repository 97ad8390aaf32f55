use ray_core::remote;

#[remote(num_returns = 3)]
fn wrong() -> (u8, u8) {
    (1, 2)
}

#[remote(num_returns = 2)]
fn no_tuple() -> u8 {
    1
}

#[remote(num_returns = 0)]
fn none() -> u8 {
    1
}

#[remote(num_returns = 2)]
fn stream() -> impl Iterator<Item = (u8, u8)> {
    None.into_iter()
}

fn main() {}
