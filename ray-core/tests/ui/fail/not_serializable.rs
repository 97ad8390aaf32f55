use ray_core::remote;

struct Model;

#[remote]
fn train(model: Model) -> u8 {
    0
}

#[remote]
fn build() -> Model {
    Model
}

fn main() {}
