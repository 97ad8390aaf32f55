use ray_core::{ObjectRef, remote};

#[remote]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

fn main() {
    let text: ObjectRef<String> = todo!();
    add::remote(1, "two");
    add::remote(1, text);
    add::remote(1);
}
