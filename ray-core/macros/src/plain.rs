//! `#[test]` and `#[worker_setup]`: attributes of ordinary functions without arguments.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Result};

use crate::attribute::{Attribute, Value};
use crate::body;
use crate::options::time;
use crate::signature::Errors;

/// `#[ray_core::test]`.
pub(crate) fn test(attribute: TokenStream, function: ItemFn) -> Result<TokenStream> {
    let mut attribute = Attribute::parse(attribute)?;
    let krate = attribute.krate.clone();
    let mut errors = Errors::default();
    let own = attribute.take("own");
    if let Some(entry) = own.as_ref().filter(|entry| !matches!(entry.value, Value::Flag)) {
        errors.push(Error::new(entry.span(), "`own` stands alone: `#[ray_core::test(own)]`"));
    }
    let limit = attribute.take("timeout");
    let limit = limit.and_then(|entry| errors.take(entry.expr("\"30s\"").and_then(|expr| time(expr, true))));
    refuse_others(&attribute, "its options are `own` and `timeout = \"30s\"`", &mut errors);
    check(&function, "a test", &mut errors);
    let panics = function
        .attrs
        .iter()
        .find(|attribute| attribute.path().is_ident("should_panic"));
    if let (Some(panics), Some(_)) = (panics, &own) {
        let message = "a test in a process of its own cannot be expected to panic: catch the panic in its body";
        errors.push(Error::new_spanned(panics, message));
    }
    errors.finish()?;
    let ItemFn { attrs, vis, sig, block } = &function;
    let (name, output, asynchronous) = (&sig.ident, &sig.output, &sig.asyncness);
    let limit = match limit {
        Some(limit) => quote!(__ray::Some(#limit)),
        None => quote!(__ray::None),
    };
    let session = if own.is_some() { quote!(Own) } else { quote!(Shared) };
    let body = if asynchronous.is_some() {
        quote!(|| __ray::testing::block_on(#name()))
    } else {
        quote!(#name)
    };
    Ok(quote! {
        #(#attrs)*
        #[::core::prelude::v1::test]
        #vis fn #name() #output {
            #asynchronous fn #name() #output #block
            use #krate::__private as __ray;
            let name = ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name));
            __ray::testing::run(name, __ray::testing::Session::#session, #limit, #body)
        }
    })
}

/// `#[ray_core::worker_setup]`.
pub(crate) fn worker_setup(attribute: TokenStream, function: ItemFn) -> Result<TokenStream> {
    let attribute = Attribute::parse(attribute)?;
    let krate = attribute.krate.clone();
    let mut errors = Errors::default();
    refuse_others(&attribute, "it takes none", &mut errors);
    check(&function, "a setup of workers", &mut errors);
    if let Some(token) = &function.sig.asyncness {
        let message =
            "a setup of workers cannot be `async`: there is no runtime yet; make one and block on it if need be";
        errors.push(Error::new_spanned(token, message));
    }
    if let syn::ReturnType::Type(_, ty) = &function.sig.output {
        let message = "a setup of workers returns nothing: panic, and the worker ends, or log what went wrong";
        errors.push(Error::new_spanned(ty, message));
    }
    errors.finish()?;
    let name = &function.sig.ident;
    let conditions = body::carried(&function.attrs, &["cfg"]);
    Ok(quote! {
        #function

        #(#conditions)*
        const _: () = {
            use #krate::__private as __ray;
            #[__ray::linkme::distributed_slice(__ray::WORKER_SETUP)]
            #[linkme(crate = __ray::linkme)]
            static __RAY_SETUP: fn() = #name;
        };
    })
}

fn refuse_others(attribute: &Attribute, known: &str, errors: &mut Errors) {
    for entry in &attribute.entries {
        let message = format!("this attribute has no option `{}`: {known}", entry.name);
        errors.push(Error::new(entry.span(), message));
    }
}

fn check(function: &ItemFn, what: &str, errors: &mut Errors) {
    let signature = &function.sig;
    if !signature.generics.params.is_empty() {
        let message = format!("{what} cannot be generic: nobody says for which type it runs");
        errors.push(Error::new_spanned(&signature.generics.params, message));
    }
    if !signature.inputs.is_empty() {
        let message = format!("{what} takes no arguments: nobody gives any");
        errors.push(Error::new_spanned(&signature.inputs, message));
    }
    if let Some(token) = &signature.unsafety {
        errors.push(Error::new_spanned(
            token,
            format!("{what} cannot be `unsafe`: nobody upholds its contract"),
        ));
    }
}
