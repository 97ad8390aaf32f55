//! The code that decodes arguments, calls the user's function, and turns what it returns into an outcome; and the code
//! of callers, which is its mirror image.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::Attribute;

use crate::options::Retry;
use crate::output::{Output, Value};
use crate::signature::Parameter;

/// Statements that read the arguments into variables of the parameters' names. `fail` turns an error, `error`, into
/// what the body returns.
pub(crate) fn decode(parameters: &[Parameter], fail: &TokenStream) -> TokenStream {
    parameters
        .iter()
        .map(|Parameter { name, ident, ty, span }| {
            let next = quote_spanned!(*span=> __ray::Arguments::next::<#ty>(&mut __ray_arguments, #name));
            quote! {
                let #ident = match #next {
                    __ray::Ok(value) => value,
                    __ray::Err(error) => return #fail,
                };
            }
        })
        .collect()
}

/// The names of the parameters, as arguments of the user's function.
pub(crate) fn names(parameters: &[Parameter]) -> TokenStream {
    let names = parameters.iter().map(|parameter| &parameter.ident);
    quote!(#(#names),*)
}

/// An expression of the value of `call`; where that is `Err`, the body returns `fail` of a `TaskError`.
pub(crate) fn unwrap(call: &TokenStream, output: &Output, retry: &Retry, fail: &TokenStream) -> TokenStream {
    if !output.fallible {
        return call.clone();
    }
    let error = task_error(retry, output);
    quote! {
        match #call {
            __ray::Ok(value) => value,
            __ray::Err(error) => {
                let error = #error;
                return #fail;
            }
        }
    }
}

/// An expression that turns the user's `error` into a `TaskError`.
pub(crate) fn task_error(retry: &Retry, output: &Output) -> TokenStream {
    let retry = match retry {
        Retry::Never => quote!(false),
        Retry::All => quote!(true),
        Retry::Matching(predicate) => quote!((#predicate)(&error)),
    };
    let check = quote_spanned!(output.span=> __ray::require_error(&error));
    quote! {{
        #check;
        let retry: bool = #retry;
        __ray::task_error!(&error, retry)
    }}
}

/// An expression of the outcome of a value.
pub(crate) fn outcome(value: &TokenStream, output: &Output) -> TokenStream {
    match &output.value {
        Value::Tuple(types) => {
            let names: Vec<_> = (0..types.len())
                .map(|index| quote::format_ident!("value{index}"))
                .collect();
            quote! {{
                let (#(#names,)*) = #value;
                __ray::Outcome::Returned(__ray::smallvec![#(__ray::NativeValue::new::<#types>(#names)),*])
            }}
        }
        Value::One(ty) | Value::Items { item: ty, .. } => {
            quote_spanned!(output.span=> __ray::Outcome::one::<#ty>(#value))
        }
    }
}

/// An expression of the erased iterator or stream that `value` is. In an `async` function an iterator becomes a stream.
pub(crate) fn items(value: &TokenStream, output: &Output, retry: &Retry, asynchronous: bool) -> TokenStream {
    let Value::Items { fallible, stream, .. } = &output.value else {
        return value.clone();
    };
    let erase = match (stream, asynchronous) {
        (true, _) => quote!(stream),
        (false, true) => quote!(stream_of_items),
        (false, false) => quote!(items),
    };
    let one = outcome(&quote!(item), output);
    let convert = if *fallible {
        let error = task_error(retry, output);
        quote! {
            |item| match item {
                __ray::Ok(item) => #one,
                __ray::Err(error) => __ray::Outcome::Failed(#error),
            }
        }
    } else {
        quote!(|item| #one)
    };
    quote_spanned!(output.span=> __ray::streaming::#erase(#value, #convert))
}

/// The parameters of a caller: each a value or a reference.
pub(crate) fn caller_parameters(parameters: &[Parameter]) -> TokenStream {
    parameters
        .iter()
        .map(|Parameter { ident, ty, .. }| quote!(#ident: impl __ray::Into<__ray::Arg<#ty>>,))
        .collect()
}

/// Statements that make a call of a caller's parameters.
pub(crate) fn build_call(parameters: &[Parameter], lane: &TokenStream) -> TokenStream {
    let arguments = parameters.iter().map(|Parameter { name, ident, ty, span }| {
        quote_spanned!(*span=> __ray::CallBuilder::argument::<#ty>(&mut __ray_call, #name, #ident);)
    });
    quote! {
        #[allow(unused_mut)]
        let mut __ray_call = __ray::CallBuilder::new(#lane);
        #(#arguments)*
    }
}

/// The type that a caller gets.
pub(crate) fn returned(output: &Output) -> TokenStream {
    match &output.value {
        Value::One(ty) => quote!(__ray::ObjectRef<#ty>),
        Value::Tuple(types) => quote!((#(__ray::ObjectRef<#types>),*)),
        Value::Items { item, .. } => quote!(__ray::ObjectRefStream<#item>),
    }
}

/// The table of parameters.
pub(crate) fn parameter_table(parameters: &[Parameter]) -> TokenStream {
    let rows = parameters.iter().map(|Parameter { name, ty, .. }| {
        let type_text = crate::signature::plain(ty);
        quote!(__ray::Parameter { name: #name, type_text: #type_text })
    });
    quote!(&[#(#rows),*])
}

/// Who an item is.
pub(crate) fn identity(name: &str, signature: &str) -> TokenStream {
    quote! {
        __ray::Identity {
            crate_name: match ::core::option_env!("CARGO_CRATE_NAME") {
                __ray::Some(name) => name,
                __ray::None => "",
            },
            crate_version: match ::core::option_env!("CARGO_PKG_VERSION") {
                __ray::Some(version) => version,
                __ray::None => "",
            },
            module_path: ::core::module_path!(),
            name: ::core::concat!(::core::module_path!(), "::", #name),
            signature: #signature,
            file: ::core::file!(),
            line: ::core::line!(),
            column: ::core::column!(),
        }
    }
}

/// The static in the table of remote items.
pub(crate) fn registration(identity: &TokenStream, kind: &TokenStream) -> TokenStream {
    quote! {
        #[__ray::linkme::distributed_slice(__ray::REMOTE_ITEMS)]
        #[linkme(crate = __ray::linkme)]
        static __RAY_ITEM: __ray::RemoteItem = __ray::RemoteItem::new(#identity, #kind);
    }
}

/// The attributes of the user's item that hold for generated items too.
pub(crate) fn carried<'a>(attributes: &'a [Attribute], names: &[&str]) -> Vec<&'a Attribute> {
    attributes
        .iter()
        .filter(|attribute| names.iter().any(|name| attribute.path().is_ident(name)))
        .collect()
}

/// Lints that generated code cannot heed: it repeats what the user wrote.
pub(crate) fn allowed() -> impl ToTokens {
    quote! {
        #[allow(
            dead_code,
            unreachable_code,
            unreachable_pub,
            unused_variables,
            private_interfaces,
            private_bounds,
            deprecated,
            clippy::all,
            clippy::pedantic,
            clippy::restriction,
            clippy::nursery
        )]
    }
}
