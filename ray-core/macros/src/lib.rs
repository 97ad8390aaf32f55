//! The attribute macros of `ray-core`: use them through that crate.
//!
//! An attribute is read ([`attribute`], [`options`]), the item's signatures are checked and understood ([`signature`],
//! [`output`]), and code is written that only names `ray_core::__private` ([`body`], [`function`], [`actor`]). The smaller
//! attributes are in [`plain`]. Every error
//! stands on the user's token and says what to do.

mod actor;
mod attribute;
mod body;
mod function;
mod options;
mod output;
mod plain;
mod signature;
mod suggest;
mod types;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{ToTokens, quote};
use syn::{Item, ItemFn};

/// Makes a function a task, or a type an actor.
///
/// # Functions
///
/// The function stays as it is. Beside it stands a type of the same name with the remote forms:
///
/// - `f::remote(a, b)` submits a task and gives an `ObjectRef` of the result at once. Each argument is a value or an
///   `ObjectRef` of that type.
/// - `f::submit(a, b)` does the same after waiting, where too much work is pending: `.await` it or call `.blocking()`.
/// - `f::options().num_cpus(2).remote(a, b)` changes options for some calls.
///
/// A function that returns `Result<T, E>` gives an `ObjectRef<T>`; one that returns `impl Iterator<Item = T>` or
/// `impl Stream<Item = T>` gives an `ObjectRefStream<T>`; with `num_returns = n` a tuple gives a tuple of references.
///
/// Arguments and results own their data and are `Serialize + DeserializeOwned + Send + 'static`.
///
/// Options: `num_cpus`, `num_gpus`, `resources(name = number, ..)`, `memory`, `name`, `num_returns`, `max_retries`,
/// `retry_exceptions` (`true`, or a function `fn(&E) -> bool`), `retry_backoff` (`"100ms"`), `isolation` (`"process"`,
/// `"shared"`), `timeout` (`"30s"`), `max_calls`, `scheduling_strategy` (`"default"`, `"spread"`), and `crate = path`
/// where `ray_core` has another name.
///
/// # Actors
///
/// On an `impl` block, the associated function `new`, or the one marked `#[remote(constructor)]`, becomes
/// `Counter::remote(..)`, which gives a `CounterHandle`. Every method with a receiver becomes a method of the handle,
/// unless it is marked `#[local]`: `&self` calls may overlap, `&mut self` calls are alone. `#[method(..)]` sets options
/// of one method: `num_returns`, `concurrency_group`, `max_task_retries`, `retry_exceptions`, `retry_backoff`,
/// `timeout`, `name`.
///
/// Options of the actor: those of a function that say where it runs, and `namespace`, `lifetime` (`"detached"`),
/// `get_if_exists`, `max_concurrency`, `concurrency_groups(name = number, ..)`, `max_restarts`, `max_task_retries`,
/// `max_pending_calls`, `checkpoint` (`10` calls or `"5s"`), `checkpoint_place`.
#[proc_macro_attribute]
pub fn remote(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand(attribute.into(), item.into()).into()
}

/// Makes a function a test that uses ray, sync or async.
///
/// It runs under the standard harness. There is a session as long as the test runs, which tests that run at the same time
/// share (`init_or_join`): it has the defaults and what the environment says. An async body runs on a multi-threaded tokio
/// runtime, on which blocking calls are allowed too. A test that hangs ends the test program after a time.
///
/// - `#[ray_core::test(own)]` runs the test in a process of its own, without a session: the body starts the one it wants,
///   and may end and kill what it likes. Afterwards no process may be left of it.
/// - `#[ray_core::test(timeout = "30s")]`: when it is taken to hang; five minutes.
///
/// The body returns nothing, or a `Result`.
///
/// ```ignore
/// #[ray_core::test]
/// async fn a_task_adds() -> ray_core::Result<()> {
///     assert_eq!(add::remote(1, 2).await?, 3);
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    of_function(plain::test, "`#[ray_core::test]`", attribute.into(), item.into()).into()
}

/// Makes a function run once in each worker process, before its first task: to set up logging, or a library that wants it.
///
/// Functions of one program run in no particular order. It does not run in the driver. What it panics with is in the
/// worker's log, and the worker ends.
///
/// ```ignore
/// #[ray_core::worker_setup]
/// fn seed() {
///     my_library::seed(7);
/// }
/// ```
#[proc_macro_attribute]
pub fn worker_setup(attribute: TokenStream, item: TokenStream) -> TokenStream {
    of_function(
        plain::worker_setup,
        "`#[ray_core::worker_setup]`",
        attribute.into(),
        item.into(),
    )
    .into()
}

fn of_function(
    expand: fn(Tokens, ItemFn) -> syn::Result<Tokens>,
    name: &str,
    attribute: Tokens,
    item: Tokens,
) -> Tokens {
    match syn::parse2::<ItemFn>(item.clone()) {
        Ok(function) => expand(attribute, function).unwrap_or_else(|error| with_error(item, &error)),
        Err(_) => {
            let message = format!("{name} stands on a function");
            let error = syn::Error::new_spanned(first_token(item.clone()), message);
            with_error(item, &error)
        }
    }
}

fn expand(attribute: Tokens, item: Tokens) -> Tokens {
    let parsed = match syn::parse2::<Item>(item.clone()) {
        Ok(parsed) => parsed,
        Err(error) => return with_error(item, &error),
    };
    match parsed {
        Item::Fn(function) => {
            let kept = function.to_token_stream();
            function::expand(attribute, function).unwrap_or_else(|error| with_error(kept, &error))
        }
        Item::Impl(block) => {
            let kept = actor::without_helper_attributes(block.clone()).to_token_stream();
            actor::expand(attribute, block).unwrap_or_else(|error| with_error(kept, &error))
        }
        other => {
            let message = "`#[remote]` stands on a function, or on an `impl` block of an actor";
            with_error(
                other.to_token_stream(),
                &syn::Error::new_spanned(first_token(item), message),
            )
        }
    }
}

/// The user's item and the error: without the item there would be further errors that mean nothing.
fn with_error(item: Tokens, error: &syn::Error) -> Tokens {
    let error = error.to_compile_error();
    quote!(#item #error)
}

fn first_token(tokens: Tokens) -> Option<proc_macro2::TokenTree> {
    tokens.into_iter().next()
}
