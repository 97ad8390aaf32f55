//! The signature of a function, constructor or method: what is refused, and the parameters.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, Pat, PatType, Result, Type};

use crate::types::{Obstacle, obstacle, replace_self};

/// One parameter.
#[derive(Debug)]
pub(crate) struct Parameter {
    /// Its name in the user's code; `argument0` where that is a pattern.
    pub(crate) name: String,
    /// A name for it in generated code.
    pub(crate) ident: Ident,
    /// Its type, with `Self` written out.
    pub(crate) ty: TokenStream,
    /// Where its type stands.
    pub(crate) span: Span,
}

/// How an actor's function takes its actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiver {
    Shared,
    Exclusive,
}

/// Refuses what cannot be called by another process. `what` is `function`, `method` or `constructor`.
pub(crate) fn check(signature: &syn::Signature, what: &str) -> Result<()> {
    let mut errors = Errors::default();
    let generics = &signature.generics;
    if !generics.params.is_empty() {
        let hint = if what == "method" {
            ", or mark it `#[local]`"
        } else {
            ""
        };
        errors.add(
            generics.params.to_token_stream(),
            &format!(
                "a remote {what} cannot be generic: other processes find it in a table that is made at link time. \
                 Write a {what} for each type that calls the generic one{hint}"
            ),
        );
    }
    if let Some(token) = &signature.constness {
        errors.add(
            token,
            &format!("a remote {what} cannot be `const`: remove `const`, or call it from one that is not"),
        );
    }
    if let Some(token) = &signature.unsafety {
        errors.add(
            token,
            &format!("a remote {what} cannot be `unsafe`: write a safe {what} that calls it and upholds its contract"),
        );
    }
    if let Some(abi) = &signature.abi {
        errors.add(
            abi,
            &format!("a remote {what} cannot be `extern`: write a Rust {what} that calls it"),
        );
    }
    if let Some(variadic) = &signature.variadic {
        errors.add(
            variadic,
            &format!("a remote {what} has a fixed number of arguments: take a `Vec`"),
        );
    }
    for argument in &signature.inputs {
        match argument {
            FnArg::Typed(typed) => check_argument(typed, &mut errors),
            FnArg::Receiver(receiver) if what == "function" => {
                errors.add(receiver, "`self` needs an actor: put `#[remote]` on its `impl` block");
            }
            FnArg::Receiver(_) => {}
        }
    }
    errors.finish()
}

fn check_argument(typed: &PatType, errors: &mut Errors) {
    match obstacle(&typed.ty) {
        None => {}
        Some(Obstacle::ImplTrait(span)) => errors.add_at(
            span,
            "an argument of a remote call cannot be `impl Trait`: name a concrete type, since other processes have to \
             know what to read",
        ),
        Some(Obstacle::Reference(span)) => {
            errors.add_at(
                span,
                &format!(
                    "an argument of a remote call cannot hold a reference, since the caller may be another process: {}",
                    owned_form(&typed.ty)
                ),
            );
        }
    }
}

/// What to take instead of a reference.
fn owned_form(ty: &Type) -> String {
    let Type::Reference(reference) = ty else {
        return "own the data".to_owned();
    };
    match &*reference.elem {
        Type::Slice(slice) => {
            let element = plain(&slice.elem);
            format!("take `Vec<{element}>`; callers may still pass a slice")
        }
        Type::Path(path) if path.path.is_ident("str") => "take `String`; callers may still pass a `&str`".to_owned(),
        Type::Path(path) if path.path.is_ident("Path") => "take `PathBuf`; callers may still pass a `&Path`".to_owned(),
        other => {
            let owned = plain(other);
            format!("take `{owned}`; callers may pass an `ObjectRef<{owned}>`, so that it is not sent with each call")
        }
    }
}

/// A type as a person would write it.
pub(crate) fn plain(tokens: &impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    [
        (" :: ", "::"),
        (" < ", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        ("& ", "&"),
        (" (", "("),
        (" ;", ";"),
    ]
    .into_iter()
    .fold(text, |text, (from, to)| text.replace(from, to))
}

/// The parameters after the receiver.
pub(crate) fn parameters(signature: &syn::Signature, actor: Option<&TokenStream>) -> Vec<Parameter> {
    let typed = signature.inputs.iter().filter_map(|argument| match argument {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    });
    typed
        .enumerate()
        .map(|(index, typed)| {
            let ident = match &*typed.pat {
                Pat::Ident(pattern) => pattern.ident.clone(),
                _ => format_ident!("argument{index}"),
            };
            let ty = typed.ty.to_token_stream();
            Parameter {
                name: ident.unraw().to_string(),
                ident,
                ty: actor.map_or_else(|| ty.clone(), |actor| replace_self(ty.clone(), actor)),
                span: typed.ty.span(),
            }
        })
        .collect()
}

/// How a method takes its actor; nothing for an associated function.
///
/// # Errors
///
/// If it takes the actor by value.
pub(crate) fn receiver(signature: &syn::Signature) -> Result<Option<Receiver>> {
    let Some(FnArg::Receiver(receiver)) = signature.inputs.first() else {
        return Ok(None);
    };
    match &*receiver.ty {
        Type::Reference(reference) if reference.mutability.is_some() => Ok(Some(Receiver::Exclusive)),
        Type::Reference(_) => Ok(Some(Receiver::Shared)),
        _ => Err(Error::new_spanned(
            receiver,
            "a remote method cannot take `self` by value, since the actor lives on after the call: take `&self` or \
             `&mut self`, or mark the method `#[local]`",
        )),
    }
}

/// Several errors, reported together.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    pub(crate) fn add(&mut self, tokens: impl ToTokens, message: &str) {
        self.push(Error::new_spanned(tokens, message));
    }

    pub(crate) fn add_at(&mut self, span: Span, message: &str) {
        self.push(Error::new(span, message));
    }

    pub(crate) fn push(&mut self, error: Error) {
        match &mut self.0 {
            None => self.0 = Some(error),
            Some(first) => first.combine(error),
        }
    }

    /// The value, unless it is an error, which is kept.
    pub(crate) fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    pub(crate) fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn refused(signature: syn::Signature) -> String {
        check(&signature, "function")
            .unwrap_err()
            .into_iter()
            .map(|error| error.to_string() + "\n")
            .collect()
    }

    #[test]
    fn references_are_refused_with_the_type_to_take() {
        assert!(refused(parse_quote!(fn f(a: &str))).contains("take `String`"));
        assert!(refused(parse_quote!(fn f(a: &[f64]))).contains("take `Vec<f64>`"));
        assert!(refused(parse_quote!(fn f(a: &Model<f32>))).contains("take `Model<f32>`"));
        assert!(refused(parse_quote!(fn f(a: Option<&u8>))).contains("own the data"));
    }

    #[test]
    fn all_errors_of_a_signature_are_reported_together() {
        let errors = refused(parse_quote!(const unsafe extern "C" fn f<T>(a: impl Fn(), b: &str)));
        assert_eq!(errors.lines().count(), 6, "{errors}");
    }

    #[test]
    fn patterns_are_named_by_their_place() {
        let signature = parse_quote!(fn f((a, b): (u8, u8), mut c: u8, _: u8));
        check(&signature, "function").unwrap();
        let names: Vec<_> = parameters(&signature, None)
            .into_iter()
            .map(|parameter| parameter.name)
            .collect();
        assert_eq!(names, ["argument0", "c", "argument2"]);
    }
}
