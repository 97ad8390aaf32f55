//! Reading `#[remote(..)]` and `#[method(..)]`: the grammar, before any meaning.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, LitStr, Path, Result, Token, parenthesized, token};

/// One `name`, `name = value` or `name(key = value, ..)`.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Ident,
    pub(crate) value: Value,
}

/// What an option is set to.
#[derive(Debug)]
pub(crate) enum Value {
    /// Nothing: the name alone.
    Flag,
    /// One value.
    Expr(Expr),
    /// Named values.
    List(Vec<(LitStr, Expr)>),
}

/// The arguments of an attribute.
#[derive(Debug)]
pub(crate) struct Attribute {
    /// Where `ray_core` is.
    pub(crate) krate: TokenStream,
    pub(crate) entries: Vec<Entry>,
}

enum Item {
    Crate(Path),
    Entry(Entry),
}

impl Attribute {
    /// Reads the arguments.
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let items = Punctuated::<Item, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut attribute = Self {
            krate: quote!(::ray_core),
            entries: Vec::new(),
        };
        for item in items {
            match item {
                Item::Crate(path) => attribute.krate = quote!(#path),
                Item::Entry(entry) => attribute.add(entry)?,
            }
        }
        Ok(attribute)
    }

    fn add(&mut self, entry: Entry) -> Result<()> {
        if self.entries.iter().any(|other| other.name == entry.name) {
            let message = format!("the option `{}` is given twice: remove one", entry.name);
            return Err(Error::new(entry.name.span(), message));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Takes out the option called `name`.
    pub(crate) fn take(&mut self, name: &str) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.name == name)?;
        Some(self.entries.remove(index))
    }
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(Token![crate]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            return input.call(Path::parse_mod_style).map(Self::Crate);
        }
        let name = input.call(Ident::parse_any)?;
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Value::Expr(input.parse()?)
        } else if input.peek(token::Paren) {
            let list;
            parenthesized!(list in input);
            let pairs = list.parse_terminated(parse_pair, Token![,])?;
            Value::List(pairs.into_iter().collect())
        } else {
            Value::Flag
        };
        Ok(Self::Entry(Entry { name, value }))
    }
}

fn parse_pair(input: ParseStream<'_>) -> Result<(LitStr, Expr)> {
    let key = if input.peek(LitStr) {
        input.parse()?
    } else {
        let ident = input.call(Ident::parse_any)?;
        LitStr::new(&ident.to_string(), ident.span())
    };
    input.parse::<Token![=]>()?;
    Ok((key, input.parse()?))
}

impl Entry {
    /// The single value of the option.
    pub(crate) fn expr(&self, example: &str) -> Result<&Expr> {
        match &self.value {
            Value::Expr(expr) => Ok(expr),
            Value::Flag | Value::List(_) => Err(Error::new(
                self.span(),
                format!("`{0}` needs a value: `{0} = {example}`", self.name),
            )),
        }
    }

    pub(crate) fn span(&self) -> Span {
        self.name.span()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        let mut attribute = Attribute::parse(quote! {
            num_cpus = 2, resources(tpu = 1, "a-b" = 0.5), get_if_exists, crate = some::path,
        })
        .unwrap();
        assert_eq!(attribute.krate.to_string(), quote!(some::path).to_string());
        assert!(matches!(attribute.take("get_if_exists").unwrap().value, Value::Flag));
        let Value::List(pairs) = attribute.take("resources").unwrap().value else {
            panic!("no list")
        };
        assert_eq!(
            pairs.iter().map(|(key, _)| key.value()).collect::<Vec<_>>(),
            ["tpu", "a-b"]
        );
        assert!(attribute.take("num_cpus").unwrap().expr("1").is_ok());
        assert!(attribute.entries.is_empty());
    }

    #[test]
    fn an_option_given_twice_is_refused() {
        let error = Attribute::parse(quote!(name = "a", name = "b"))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "the option `name` is given twice: remove one");
    }
}
