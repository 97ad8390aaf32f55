#[ray_core::worker_setup]
fn with_argument(number: u8) {}

#[ray_core::worker_setup]
async fn later() {}

#[ray_core::worker_setup]
fn fallible() -> Result<(), String> {
    Ok(())
}

#[ray_core::worker_setup(first)]
fn with_option() {}

#[ray_core::worker_setup]
struct NoFunction;

#[ray_core::test(own = 3)]
fn own_number() {}

#[ray_core::test(timeout = 5)]
fn bare_number() {}

#[ray_core::test]
fn generic<T>() {}

#[ray_core::test(own)]
#[should_panic]
fn panics() {}

fn main() {}
