//! What can be told of a type from its tokens.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{GenericArgument, PathArguments, PathSegment, Type};

/// Something in a type that cannot travel.
pub(crate) enum Obstacle {
    /// A `&` or a lifetime.
    Reference(Span),
    /// `impl Trait`.
    ImplTrait(Span),
}

/// The first thing in `ty` that cannot travel.
pub(crate) fn obstacle(ty: &Type) -> Option<Obstacle> {
    find(ty.to_token_stream())
}

fn find(tokens: TokenStream) -> Option<Obstacle> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Punct(punct) if matches!(punct.as_char(), '&' | '\'') => Some(Obstacle::Reference(punct.span())),
        TokenTree::Ident(ident) if ident == "impl" => Some(Obstacle::ImplTrait(ident.span())),
        TokenTree::Group(group) => find(group.stream()),
        _ => None,
    })
}

/// `tokens` with `Self` written out, for code that stands outside the user's `impl`.
pub(crate) fn replace_self(tokens: TokenStream, replacement: &TokenStream) -> TokenStream {
    tokens
        .into_iter()
        .flat_map(|token| match token {
            TokenTree::Ident(ident) if ident == "Self" => replacement.clone(),
            TokenTree::Group(group) => {
                let mut replaced = Group::new(group.delimiter(), replace_self(group.stream(), replacement));
                replaced.set_span(group.span());
                TokenTree::Group(replaced).into_token_stream()
            }
            other => other.into_token_stream(),
        })
        .collect()
}

/// The last segment of a plain path, without what parentheses or macros put around it.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        Type::Paren(inner) => last_segment(&inner.elem),
        Type::Group(inner) => last_segment(&inner.elem),
        _ => None,
    }
}

/// The first type among a segment's generic arguments.
pub(crate) fn first_argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use quote::quote;
    use syn::parse_quote;

    use super::*;

    #[test]
    fn references_and_impl_trait_are_found_at_any_depth() {
        assert!(matches!(
            obstacle(&parse_quote!(Option<(u8, &str)>)),
            Some(Obstacle::Reference(_))
        ));
        assert!(matches!(
            obstacle(&parse_quote!(Cow<'static, str>)),
            Some(Obstacle::Reference(_))
        ));
        assert!(matches!(
            obstacle(&parse_quote!(Vec<impl Fn()>)),
            Some(Obstacle::ImplTrait(_))
        ));
        assert!(obstacle(&parse_quote!(HashMap<String, [f64; 3]>)).is_none());
    }

    #[test]
    fn self_is_replaced_inside_groups_too() {
        let replaced = replace_self(quote!(Vec<(Self, u8)>), &quote!(Counter));
        assert_eq!(replaced.to_string(), quote!(Vec<(Counter, u8)>).to_string());
    }
}
