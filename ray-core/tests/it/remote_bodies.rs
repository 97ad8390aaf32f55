//! What `#[remote]` writes for the runtime, run without one: bodies are found in the table and called here.

use bytes::Bytes;
use ray_core::__private::{Arguments, FunctionBody, Outcome, RemoteFunction, RemoteItem};
use ray_core::registry::Registry;
use ray_core::remote::{Argument, Call, CallBuilder, Incoming, Lane};
use ray_core::{ObjectRef, remote, value};

/// Adds.
#[remote(num_cpus = 2, max_retries = -1, resources(tpu = 1, "a-b" = 0.5), retry_backoff = "100ms")]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[remote]
async fn concat((left, right): (String, String), mut times: usize) -> String {
    let mut text = String::new();
    while times > 0 {
        text += &left;
        text += &right;
        times -= 1;
    }
    text
}

#[remote(retry_exceptions = is_small)]
fn checked(value: u8, least: u8) -> Result<u8, String> {
    if value >= least {
        Ok(value)
    } else {
        Err(format!("{value} is too small"))
    }
}

fn is_small(error: &str) -> bool {
    error.contains("too small")
}

fn item(name: &str) -> &'static RemoteItem {
    Registry::global()
        .unwrap()
        .by_name(&format!("{}::{name}", module_path!()))
        .unwrap()
}

fn function(name: &str) -> &'static RemoteFunction {
    item(name).as_function().unwrap()
}

fn received(builder: CallBuilder) -> Arguments {
    let Call { buffer, arguments, .. } = builder.finish().unwrap();
    let buffer = Bytes::from(buffer);
    Arguments::new(arguments.into_iter().map(|argument| match argument {
        Argument::Encoded { range, .. } => Incoming::Payload(buffer.slice(range)),
        Argument::Native(value) => Incoming::Native(value.into_any()),
        Argument::Reference(_) => panic!("not resolved"),
    }))
}

fn value_of<T: serde::de::DeserializeOwned>(outcome: Outcome) -> T {
    let mut values = outcome.into_result().unwrap();
    assert_eq!(values.len(), 1);
    value::decode(&values.pop().unwrap().encode().unwrap().to_bytes()).unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn a_sync_function_runs_in_both_lanes_and_stays_callable() {
    assert_eq!(add(1, 2), 3);
    let FunctionBody::Sync(body) = function("add").body else {
        panic!("not sync")
    };
    for lane in [Lane::Process, Lane::Native] {
        let mut call = CallBuilder::new(lane);
        call.argument::<i64>("a", 40);
        call.argument::<i64>("b", 2);
        assert_eq!(value_of::<i64>(body(received(call))), 42);
    }
}

#[test]
fn an_async_function_takes_patterns() {
    let FunctionBody::Async(body) = function("concat").body else {
        panic!("not async")
    };
    let mut call = CallBuilder::new(Lane::Process);
    call.argument::<(String, String)>("argument0", ("a".to_owned(), "b".to_owned()));
    call.argument::<usize>("times", 2usize);
    assert_eq!(value_of::<String>(block_on(body(received(call)))), "abab");
}

#[test]
fn an_error_carries_its_value_and_the_answer_of_the_predicate() {
    let FunctionBody::Sync(body) = function("checked").body else {
        panic!("not sync")
    };
    let mut call = CallBuilder::new(Lane::Process);
    call.argument::<u8>("value", 1);
    call.argument::<u8>("least", 2);
    let error = body(received(call)).into_result().unwrap_err();
    assert_eq!(error.downcast_ref::<String>().unwrap(), "1 is too small");
    assert!(error.wants_retry());
}

#[test]
fn the_attribute_becomes_the_defaults() {
    let defaults = function("add").defaults();
    assert_eq!((defaults.num_cpus, defaults.max_retries), (2.0, -1));
    assert_eq!(defaults.resources.get("a-b"), Some(&0.5));
    assert_eq!(defaults.retry_backoff.unwrap().initial.as_millis(), 100);
}

#[test]
fn callers_pass_values_and_references() {
    let sum: ObjectRef<i64> = add::remote(1, 2);
    let next = add::options().num_cpus(0.5).max_retries(0).remote(&sum, sum.clone());
    let _: ObjectRef<i64> = add::submit_blocking(next, 4);
    let _: ObjectRef<u8> = checked::remote(3, 4);
    let _: ObjectRef<i64> = block_on(add::submit(1, 2));
}
