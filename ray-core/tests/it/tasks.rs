//! Tasks: results, errors, dependencies, retries.

use ray_core::{RayError, get, remote};

#[remote]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[remote]
async fn add_later(a: i64, b: i64) -> i64 {
    a + b
}

#[remote]
fn fail(text: String) -> Result<i64, std::io::Error> {
    Err(std::io::Error::other(text))
}

#[remote]
fn pid() -> u32 {
    std::process::id()
}

#[test]
fn a_task_runs_in_another_process_and_its_result_comes_back() {
    let _ray = ray_core::init_or_join().unwrap();
    assert_eq!(get(&add::remote(1, 2)).unwrap(), 3);
    assert_eq!(get(&add_later::remote(1, 2)).unwrap(), 3);
    assert_ne!(get(&pid::remote()).unwrap(), std::process::id());
}

#[test]
fn a_reference_is_an_argument() {
    let _ray = ray_core::init_or_join().unwrap();
    let mut sum = add::remote(0, 0);
    for next in 1..=20 {
        sum = add::remote(&sum, next);
    }
    assert_eq!(get(&sum).unwrap(), 210);
}

#[test]
fn an_error_carries_function_and_chain_also_through_dependants() {
    let _ray = ray_core::init_or_join().unwrap();
    let failed = fail::remote("no such luck");
    let dependant = add::remote(&failed, 1);
    for error in [get(&failed).unwrap_err(), get(&dependant).unwrap_err()] {
        assert!(matches!(error, RayError::TaskFailed { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("fail") && text.contains("no such luck"), "{text}");
    }
}
