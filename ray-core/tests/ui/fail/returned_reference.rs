use ray_core::remote;

#[remote]
fn name() -> &'static str {
    "name"
}

#[remote]
fn show() -> impl std::fmt::Display {
    1
}

fn main() {}
