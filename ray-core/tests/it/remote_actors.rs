//! What `#[remote]` writes of an actor, run without a runtime.

use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use ray_core::__private::{
    ActorMethod, ActorType, AnyActor, Arguments, BoxFuture, ConstructBody, FunctionBody, Instance, MethodBody, Outcome,
};
use ray_core::registry::{Receiver, Registry};
use ray_core::remote::{Argument, Call, CallBuilder, Incoming, Lane, RemoteValue};
use ray_core::{Actor, ActorHandle, Checkpoint, ObjectRef, ObjectRefStream, RetryExceptions, remote, value};

/// Counts.
#[derive(Debug)]
struct Counter {
    total: AtomicI64,
}

#[remote(max_restarts = 2, concurrency_groups(io = 2))]
impl Counter {
    const LEAST: i64 = 0;

    /// Starts.
    fn new(start: i64) -> Result<Self, String> {
        if start < Self::LEAST {
            Err(format!("{start} is negative"))
        } else {
            Ok(Self {
                total: AtomicI64::new(start),
            })
        }
    }

    /// Adds.
    fn incr(&mut self, by: i64) -> i64 {
        *self.total.get_mut() += by;
        *self.total.get_mut()
    }

    async fn value(&self) -> i64 {
        self.total.load(Ordering::Relaxed)
    }

    #[method(concurrency_group = "io", retry_exceptions, timeout = "2s")]
    async fn reset(&mut self) -> Result<(), String> {
        match std::mem::take(self.total.get_mut()) {
            0 => Err("it is zero already".to_owned()),
            _ => Ok(()),
        }
    }

    #[method(num_returns = 2)]
    fn parts(&self) -> (i64, String) {
        let total = self.total.load(Ordering::Relaxed);
        (total, total.to_string())
    }

    fn up_to(&self) -> impl Iterator<Item = i64> + Send {
        (0..).take_while(|number| *number < self.total.load(Ordering::Relaxed))
    }

    /// Names that the handle uses itself.
    fn get(&self, name: String) -> String {
        name
    }

    fn name(&self) -> String {
        self.twice().to_string()
    }

    #[local]
    fn twice(&self) -> i64 {
        2 * self.total.load(Ordering::Relaxed)
    }
}

impl Checkpoint for Counter {
    type State = i64;

    fn save(&self) -> i64 {
        self.total.load(Ordering::Relaxed)
    }

    fn restore(total: i64) -> Self {
        Self {
            total: AtomicI64::new(total),
        }
    }
}

struct Plain;

#[remote]
impl Plain {
    #[remote(constructor)]
    async fn make() -> Plain {
        Plain
    }

    async fn twin(&self) -> PlainHandle {
        PlainHandle::from_raw(Plain::remote().raw().clone())
    }
}

#[remote]
fn evens(up_to: u32) -> impl Iterator<Item = u32> + Send {
    (0..up_to).step_by(2)
}

#[remote]
async fn odds(up_to: u32) -> Result<impl IntoIterator<Item = Result<u32, String>, IntoIter: Send>, String> {
    if up_to == 0 {
        Err("nothing".to_owned())
    } else {
        Ok((0..up_to).map(|n| if n % 2 == 1 { Ok(n) } else { Err("even".to_owned()) }))
    }
}

fn actor<A: Actor>() -> &'static ActorType {
    let item = Registry::global().unwrap().by_key(A::item().key()).unwrap();
    item.as_actor().unwrap()
}

fn method<A: Actor>(name: &str) -> &'static ActorMethod {
    actor::<A>().methods.iter().find(|method| method.name == name).unwrap()
}

fn no_arguments() -> Arguments {
    Arguments::new([])
}

fn one<T: RemoteValue>(argument: T) -> Arguments {
    let mut builder = CallBuilder::new(Lane::Process);
    builder.argument::<T>("argument", argument);
    let Call { buffer, arguments, .. } = builder.finish().unwrap();
    let buffer = Bytes::from(buffer);
    Arguments::new(arguments.into_iter().map(|argument| match argument {
        Argument::Encoded { range, .. } => Incoming::Payload(buffer.slice(range)),
        other => panic!("{other:?}"),
    }))
}

fn values<T: serde::de::DeserializeOwned>(outcome: Outcome) -> Vec<T> {
    let decode = |value: ray_core::__private::NativeValue| value::decode(&value.encode().unwrap().to_bytes()).unwrap();
    outcome.into_result().unwrap().into_iter().map(decode).collect()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn counter(start: i64) -> Instance {
    let ConstructBody::Sync(construct) = actor::<Counter>().construct else {
        panic!("not sync")
    };
    construct(one(start)).unwrap()
}

fn run<'a>(future: BoxFuture<'a, Outcome>) -> Outcome {
    block_on(future)
}

#[test]
fn a_constructor_gives_an_instance_or_its_error() {
    let ConstructBody::Sync(construct) = actor::<Counter>().construct else {
        panic!("not sync")
    };
    assert_eq!(construct(one(-1i64)).unwrap_err().to_string(), "-1 is negative");
    assert!(counter(1).downcast_ref::<Counter>().is_some());
    let ConstructBody::Async(construct) = actor::<Plain>().construct else {
        panic!("not async")
    };
    assert!(block_on(construct(no_arguments())).unwrap().is::<Plain>());
}

#[test]
fn methods_run_on_the_instance_by_their_receiver() {
    let mut instance = counter(5);
    let MethodBody::ExclusiveSync(incr) = method::<Counter>("incr").body else {
        panic!("not exclusive")
    };
    assert_eq!(values::<i64>(incr(&mut *instance, one(2i64))), [7]);
    let MethodBody::SharedAsync(value) = method::<Counter>("value").body else {
        panic!("not shared")
    };
    assert_eq!(values::<i64>(run(value(&*instance, no_arguments()))), [7]);
    let MethodBody::ExclusiveAsync(reset) = method::<Counter>("reset").body else {
        panic!("not exclusive")
    };
    assert_eq!(values::<()>(run(reset(&mut *instance, no_arguments()))), [()]);
    let error = run(reset(&mut *instance, no_arguments())).into_result().unwrap_err();
    assert!(error.wants_retry() && error.to_string().contains("zero"));
    assert_eq!(method::<Counter>("incr").receiver(), Receiver::Exclusive);
}

#[test]
fn several_returns_and_items_are_values_of_their_own() {
    let instance = counter(3);
    let MethodBody::SharedSync(parts) = method::<Counter>("parts").body else {
        panic!("not shared")
    };
    let parts = parts(&*instance, no_arguments()).into_result().unwrap();
    assert_eq!(parts.len(), 2);
    assert_eq!(
        *parts
            .into_iter()
            .nth(1)
            .unwrap()
            .into_any()
            .downcast::<String>()
            .unwrap(),
        "3"
    );
    let MethodBody::SharedIter(up_to) = method::<Counter>("up_to").body else {
        panic!("no iterator")
    };
    let items: Vec<i64> = up_to(&*instance, no_arguments())
        .unwrap()
        .flat_map(values::<i64>)
        .collect();
    assert_eq!(items, [0, 1, 2]);
}

#[test]
fn a_body_refuses_an_instance_of_another_type() {
    let MethodBody::SharedSync(parts) = method::<Counter>("parts").body else {
        panic!("not shared")
    };
    let other: &AnyActor = &Plain;
    let error = parts(other, no_arguments()).into_result().unwrap_err();
    assert!(error.to_string().contains("Counter"), "{error}");
}

#[test]
fn attributes_become_the_defaults_of_actor_and_method() {
    assert_eq!(actor::<Counter>().defaults().max_restarts, 2);
    assert_eq!(actor::<Counter>().defaults().concurrency_groups["io"], 2);
    let reset = method::<Counter>("reset");
    assert_eq!(reset.concurrency_group, Some("io"));
    assert_eq!(reset.defaults().retry_exceptions, RetryExceptions::All);
    assert_eq!(reset.defaults().timeout.unwrap().as_secs(), 2);
}

#[test]
fn methods_with_a_receiver_are_remote_unless_marked_local() {
    let names: Vec<_> = actor::<Counter>().methods.iter().map(|method| method.name).collect();
    assert_eq!(names, ["incr", "value", "reset", "parts", "up_to", "get", "name"]);
}

#[test]
fn a_checkpoint_is_found_where_the_type_implements_it() {
    assert!(actor::<Plain>().checkpoint().is_none());
    let checkpoint = actor::<Counter>().checkpoint().unwrap();
    let state = (checkpoint.save)(&*counter(9)).unwrap().to_bytes();
    let restored = (checkpoint.restore)(&state).unwrap();
    assert_eq!(restored.downcast_ref::<Counter>().unwrap().save(), 9);
}

#[test]
fn handles_are_typed_and_travel_only_as_their_own_type() {
    let handle: CounterHandle = Counter::options()
        .name("tally")
        .get_if_exists(true)
        .detached()
        .remote(1);
    let value: ObjectRef<i64> = handle.value();
    let _: ObjectRef<i64> = handle.options().max_task_retries(3).incr(&value);
    let _: (ObjectRef<i64>, ObjectRef<String>) = handle.parts();
    let _: ObjectRefStream<i64> = handle.up_to();
    let _: ObjectRef<String> = handle.get("a text");
    let _: ObjectRef<String> = handle.options().name();
    let bytes = value::encode(&handle).unwrap().to_bytes();
    assert_eq!(
        value::decode::<CounterHandle>(&bytes).unwrap().raw().id(),
        handle.raw().id()
    );
    let error = value::decode::<PlainHandle>(&bytes).unwrap_err().to_string();
    assert!(error.contains("Plain"), "{error}");
    assert!(PlainHandle::get("nobody").is_err());
}

#[test]
fn functions_yield_their_items_one_by_one() {
    let function = |name: &str| {
        let name = format!("{}::{name}", module_path!());
        Registry::global()
            .unwrap()
            .by_name(&name)
            .unwrap()
            .as_function()
            .unwrap()
    };
    let FunctionBody::Iter(evens_body) = function("evens").body else {
        panic!("no iterator")
    };
    let items: Vec<u32> = evens_body(one(5u32)).unwrap().flat_map(values::<u32>).collect();
    assert_eq!(items, [0, 2, 4]);
    let _: ObjectRefStream<u32> = evens::remote(5);
    let _: ObjectRefStream<u32> = odds::remote(5);

    let FunctionBody::Stream(odds_body) = function("odds").body else {
        panic!("no stream")
    };
    block_on(async {
        assert_eq!(odds_body(one(0u32)).await.err().unwrap().to_string(), "nothing");
        let mut stream = odds_body(one(2u32)).await.unwrap();
        let mut next = async || std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await;
        assert_eq!(next().await.unwrap().into_result().unwrap_err().to_string(), "even");
        assert_eq!(values::<u32>(next().await.unwrap()), [1]);
        assert!(next().await.is_none());
    });
}
