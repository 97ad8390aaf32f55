use ray_core::{ObjectRef, remote};

#[remote]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

fn call(text: ObjectRef<String>) {
    add::remote(1, "two");
    add::remote(1, text);
    add::remote(1);
}

fn main() {}
