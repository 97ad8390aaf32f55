//! What a function returns, told from the text of its return type.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    AssocType, Error, GenericArgument, Path, PathArguments, Result, ReturnType, Token, TraitBound, Type, TypeParamBound,
};

use crate::types::{Obstacle, first_argument, last_segment, obstacle, replace_self};

/// What a call gives.
#[derive(Debug)]
pub(crate) struct Output {
    /// Whether the function returns a `Result`.
    pub(crate) fallible: bool,
    /// Its value, without that `Result`.
    pub(crate) value: Value,
    /// Where the return type stands.
    pub(crate) span: Span,
}

/// The value of a call.
#[derive(Debug)]
pub(crate) enum Value {
    /// One object of this type.
    One(TokenStream),
    /// One object for each item of a tuple.
    Tuple(Vec<TokenStream>),
    /// One object after another.
    Items {
        /// The type of each.
        item: TokenStream,
        /// Whether the items are `Result`s.
        fallible: bool,
        /// Whether they come from a stream, not from an iterator.
        stream: bool,
    },
}

impl Output {
    /// How many references a call gives.
    pub(crate) fn num_returns(&self) -> u32 {
        match &self.value {
            Value::Tuple(types) => types.len() as u32,
            Value::One(_) | Value::Items { .. } => 1,
        }
    }

    /// Understands a return type; `num_returns` is the option with its place.
    pub(crate) fn of(
        returned: &ReturnType,
        num_returns: Option<(u32, Span)>,
        actor: Option<&TokenStream>,
    ) -> Result<Self> {
        let unit: Type = syn::parse_quote!(());
        let (ty, span) = match returned {
            ReturnType::Default => (&unit, returned.span()),
            ReturnType::Type(_, ty) => (&**ty, ty.span()),
        };
        let (value, fallible) = without_result(ty, &unit);
        let written = |ty: &Type| {
            let tokens = ty.to_token_stream();
            actor.map_or_else(|| tokens.clone(), |actor| replace_self(tokens.clone(), actor))
        };
        if let Some((item, stream)) = items(value)? {
            if let Some((_, span)) = num_returns {
                return Err(Error::new(span, "a stream has no `num_returns`: remove the option"));
            }
            let (item, item_fallible) = without_result(item, &unit);
            check(item)?;
            let value = Value::Items {
                item: written(item),
                fallible: item_fallible,
                stream,
            };
            return Ok(Self { fallible, value, span });
        }
        check(value)?;
        let value = match num_returns {
            None | Some((1, _)) if matches!(value, Type::Never(_)) => Value::One(quote!(())),
            None | Some((1, _)) => Value::One(written(value)),
            Some((number, span)) => Value::Tuple(tuple(value, number, span)?.map(written).collect()),
        };
        Ok(Self { fallible, value, span })
    }
}

/// `T` of `Result<T, ..>`.
fn without_result<'t>(ty: &'t Type, unit: &'t Type) -> (&'t Type, bool) {
    match last_segment(ty) {
        Some(segment) if segment.ident == "Result" => (first_argument(segment).unwrap_or(unit), true),
        _ => (ty, false),
    }
}

fn check(ty: &Type) -> Result<()> {
    match obstacle(ty) {
        None => Ok(()),
        Some(Obstacle::Reference(span)) => Err(Error::new(
            span,
            "the result of a remote call cannot hold a reference, since the caller may be another process: return owned \
             data (`String` for `&str`, `Vec<T>` for `&[T]`)",
        )),
        Some(Obstacle::ImplTrait(span)) => Err(Error::new(
            span,
            "the result of a remote call is a concrete type, or `impl Iterator<Item = T>` or `impl Stream<Item = T>`, \
             which give an `ObjectRefStream<T>`",
        )),
    }
}

/// The types of a tuple that becomes `number` objects.
fn tuple(ty: &Type, number: u32, span: Span) -> Result<impl Iterator<Item = &Type>> {
    const MOST: u32 = 12;
    let Type::Tuple(tuple) = ty else {
        let message = format!("`num_returns = {number}` needs a tuple of {number} to be returned");
        return Err(Error::new(span, message));
    };
    let found = tuple.elems.len();
    if found as u64 != u64::from(number) {
        let message =
            format!("`num_returns = {number}`, but a tuple of {found} is returned: write `num_returns = {found}`");
        return Err(Error::new(span, message));
    }
    if !(2..=MOST).contains(&number) {
        return Err(Error::new(
            span,
            format!("`num_returns` is from 1 to {MOST}: return a `Vec` of `ObjectRef`s for more"),
        ));
    }
    Ok(tuple.elems.iter())
}

/// The item of a returned iterator or stream, and whether it is a stream.
fn items(ty: &Type) -> Result<Option<(&Type, bool)>> {
    match ty {
        Type::ImplTrait(bounds) => items_of(&bounds.bounds),
        Type::TraitObject(bounds) => items_of(&bounds.bounds),
        _ => match last_segment(ty) {
            Some(segment) if segment.ident == "Box" || segment.ident == "Pin" => {
                first_argument(segment).map_or(Ok(None), items)
            }
            _ => Ok(None),
        },
    }
}

fn items_of(bounds: &Punctuated<TypeParamBound, Token![+]>) -> Result<Option<(&Type, bool)>> {
    for bound in bounds {
        let TypeParamBound::Trait(TraitBound { path, .. }) = bound else {
            continue;
        };
        let Some(segment) = path.segments.last() else { continue };
        let stream = segment.ident == "Stream";
        if stream || segment.ident == "Iterator" || segment.ident == "IntoIterator" {
            return match item_of(path) {
                Some(item) => Ok(Some((item, stream))),
                None => Err(Error::new_spanned(path, "say of what: `Item = T`")),
            };
        }
    }
    Ok(None)
}

fn item_of(path: &Path) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &path.segments.last()?.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(AssocType { ident, ty, .. }) if ident == "Item" => Some(ty),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn describe(returned: ReturnType, num_returns: Option<u32>) -> String {
        match Output::of(&returned, num_returns.map(|number| (number, Span::call_site())), None) {
            Err(error) => error.to_string(),
            Ok(output) => match output.value {
                Value::One(ty) => format!("{} one {ty}", output.fallible),
                Value::Tuple(types) => format!("{} tuple {}", output.fallible, quote!(#(#types),*)),
                Value::Items { item, fallible, stream } => {
                    format!("{} items {item} {fallible} {stream}", output.fallible)
                }
            },
        }
    }

    #[test]
    fn a_result_is_recognised_by_its_last_segment() {
        assert_eq!(describe(parse_quote!(-> u8), None), "false one u8");
        assert_eq!(describe(parse_quote!(), None), "false one ()");
        assert_eq!(describe(parse_quote!(-> Result<u8, String>), None), "true one u8");
        assert_eq!(describe(parse_quote!(-> anyhow::Result<u8>), None), "true one u8");
        assert_eq!(describe(parse_quote!(-> fmt::Result), None), "true one ()");
    }

    #[test]
    fn a_tuple_is_split_only_where_asked_for() {
        assert_eq!(describe(parse_quote!(-> (u8, u16)), None), "false one (u8 , u16)");
        assert_eq!(
            describe(parse_quote!(-> Result<(u8, u16), E>), Some(2)),
            "true tuple u8 , u16"
        );
        assert!(describe(parse_quote!(-> (u8, u16)), Some(3)).contains("write `num_returns = 2`"));
        assert!(describe(parse_quote!(-> u8), Some(2)).contains("needs a tuple of 2"));
    }

    #[test]
    fn iterators_and_streams_give_their_items() {
        assert_eq!(
            describe(parse_quote!(-> impl Iterator<Item = u8> + Send), None),
            "false items u8 false false"
        );
        assert_eq!(
            describe(parse_quote!(-> impl Stream<Item = Result<u8, E>>), None),
            "false items u8 true true"
        );
        assert_eq!(
            describe(parse_quote!(-> Result<Box<dyn Iterator<Item = u8> + Send>, E>), None),
            "true items u8 false false"
        );
        assert_eq!(
            describe(parse_quote!(-> Pin<Box<dyn Stream<Item = u8> + Send>>), None),
            "false items u8 false true"
        );
        assert!(describe(parse_quote!(-> impl Iterator), None).contains("`Item = T`"));
        assert!(describe(parse_quote!(-> impl Display), None).contains("concrete type"));
        assert!(describe(parse_quote!(-> Result<&str, E>), None).contains("owned data"));
    }
}
