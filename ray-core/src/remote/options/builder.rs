//! The builder methods of the option types that `#[remote]` generates, once for tasks, actors and method calls.
//!
//! A generated type `Options` has a field `options: Arc<..>`, so that its clones and its calls share the options.

/// Writes one builder method per line.
#[doc(hidden)]
#[macro_export]
macro_rules! __setters {
    ($($(#[$doc:meta])* $name:ident($($parameter:ident: $type:ty),*) = |$options:ident| $set:expr;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $($parameter: $type),*) -> Self {
            let $options = $crate::__private::Arc::make_mut(&mut self.options);
            $set;
            self
        }
    )*};
}

/// The builder methods of a task.
#[doc(hidden)]
#[macro_export]
macro_rules! __task_options {
    () => {
        $crate::__placement_options!();
        $crate::__setters! {
            /// CPUs held while it runs; 1.
            num_cpus(number: impl $crate::__private::Amount) = |options| options.num_cpus = number.amount();
            /// Attempts after the first one; 3, -1 for no limit.
            max_retries(number: i32) = |options| options.max_retries = number;
            /// Whether errors of the function itself are tried again; no.
            retry_exceptions(which: impl $crate::__private::Into<$crate::__private::RetryExceptions>) =
                |options| options.retry_exceptions = which.into();
            /// How long to wait before each attempt; a `Duration` is the first wait, which then doubles.
            retry_backoff(backoff: impl $crate::__private::Into<$crate::__private::RetryBackoff>) =
                |options| options.retry_backoff = $crate::__private::Some(backoff.into());
            /// After which time it is cancelled.
            timeout(limit: $crate::__private::Duration) = |options| options.timeout = $crate::__private::Some(limit);
            /// After how many calls of this function a worker process is replaced; 0 for never.
            max_calls(number: u32) = |options| options.max_calls = number;
        }
    };
}

/// The builder methods of an actor.
#[doc(hidden)]
#[macro_export]
macro_rules! __actor_options {
    () => {
        $crate::__placement_options!();
        $crate::__setters! {
            /// CPUs held as long as it lives; by default 1 while it is placed and 0 afterwards.
            num_cpus(number: impl $crate::__private::Amount) = |options| options.num_cpus = $crate::__private::Some(number.amount());
            /// The namespace of its name.
            namespace(namespace: impl $crate::__private::Into<$crate::__private::String>) = |options| options.namespace = $crate::__private::Some(namespace.into());
            /// Whether it outlives its handles and its job.
            lifetime(lifetime: $crate::__private::Lifetime) = |options| options.lifetime = lifetime;
            /// Lets it outlive its handles and its job.
            detached() = |options| options.lifetime = $crate::__private::Lifetime::Detached;
            /// Takes a living actor of this name, if there is one.
            get_if_exists(yes: bool) = |options| options.get_if_exists = yes;
            /// Calls at once.
            max_concurrency(calls: u32) = |options| options.max_concurrency = $crate::__private::Some(calls);
            /// A group of methods with a limit of its own.
            concurrency_group(group: impl $crate::__private::Into<$crate::__private::String>, calls: u32) =
                |options| options.concurrency_groups.insert(group.into(), calls);
            /// Restarts after a death; 0, -1 for no limit.
            max_restarts(number: i32) = |options| options.max_restarts = number;
            /// Attempts of a call when the actor died under it; 0, -1 for no limit.
            max_task_retries(number: i32) = |options| options.max_task_retries = number;
            /// Calls that may wait at one handle; -1 for no limit.
            max_pending_calls(number: i32) = |options| options.max_pending_calls = number;
            /// When its state is saved: every so many calls, or a `Duration`.
            checkpoint(policy: impl $crate::__private::Into<$crate::__private::CheckpointPolicy>) =
                |options| options.checkpoint = $crate::__private::Some(policy.into());
            /// Where its state is saved: a directory or a URL.
            checkpoint_place(place: impl $crate::__private::Into<$crate::__private::String>) = |options| options.checkpoint_place = $crate::__private::Some(place.into());
        }
    };
}

/// One builder method of a method call: generated code leaves out those whose name a method of the actor has.
#[doc(hidden)]
#[macro_export]
macro_rules! __method_option {
    (name) => {
        $crate::__setters! {
            /// A name for people.
            name(name: impl $crate::__private::Into<$crate::__private::String>) = |options| options.name = $crate::__private::Some(name.into());
        }
    };
    (max_task_retries) => {
        $crate::__setters! {
            /// Attempts after the first one; the actor's own number by default, -1 for no limit.
            max_task_retries(number: i32) = |options| options.max_task_retries = $crate::__private::Some(number);
        }
    };
    (retry_exceptions) => {
        $crate::__setters! {
            /// Whether errors of the method itself are tried again.
            retry_exceptions(which: impl $crate::__private::Into<$crate::__private::RetryExceptions>) =
                |options| options.retry_exceptions = $crate::__private::Some(which.into());
        }
    };
    (retry_backoff) => {
        $crate::__setters! {
            /// How long to wait before each attempt; a `Duration` is the first wait, which then doubles.
            retry_backoff(backoff: impl $crate::__private::Into<$crate::__private::RetryBackoff>) =
                |options| options.retry_backoff = $crate::__private::Some(backoff.into());
        }
    };
    (timeout) => {
        $crate::__setters! {
            /// After which time it is cancelled.
            timeout(limit: $crate::__private::Duration) = |options| options.timeout = $crate::__private::Some(limit);
        }
    };
    (concurrency_group) => {
        $crate::__setters! {
            /// The group whose limit it counts to.
            concurrency_group(group: impl $crate::__private::Into<$crate::__private::String>) = |options| options.concurrency_group = $crate::__private::Some(group.into());
        }
    };
}

/// The builder methods that tasks and actors share.
#[doc(hidden)]
#[macro_export]
macro_rules! __placement_options {
    () => {
        $crate::__setters! {
            /// GPUs held; 0.
            num_gpus(number: impl $crate::__private::Amount) = |options| options.num_gpus = number.amount();
            /// A quantity of a further resource.
            resource(name: impl $crate::__private::Into<$crate::__private::String>, number: impl $crate::__private::Amount) =
                |options| options.resources.insert(name.into(), number.amount());
            /// Bytes of memory to reserve.
            memory(bytes: u64) = |options| options.memory = $crate::__private::Some(bytes);
            /// Its name.
            name(name: impl $crate::__private::Into<$crate::__private::String>) = |options| options.name = $crate::__private::Some(name.into());
            /// Where it runs: in a process of its own, or in one that is shared.
            isolation(isolation: $crate::__private::Isolation) = |options| options.isolation = isolation;
            /// On which node it runs.
            scheduling_strategy(strategy: impl $crate::__private::Into<$crate::__private::SchedulingStrategy>) =
                |options| options.scheduling_strategy = strategy.into();
            /// The placement group it runs in.
            placement_group(group: &$crate::__private::PlacementGroup) =
                |options| options.scheduling_strategy.set_group(group.id());
            /// The bundle of the placement group that it runs in; any without.
            bundle_index(index: u32) = |options| options.scheduling_strategy.set_bundle(index);
            /// Whether the tasks and actors that it starts run in the placement group too; no.
            capture_child_tasks(yes: bool) = |options| options.scheduling_strategy.set_capture(yes);
        }
    };
}
