//! `#[remote]` on an `impl` block: reading it. [`code`] writes what it becomes.

mod code;

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident};
use syn::ext::IdentExt;
use syn::{Attribute, Error, Ident, ImplItem, ImplItemFn, ItemImpl, Meta, PathArguments, Result, Type};

use crate::function::check_retry;
use crate::options::{Options, Target};
use crate::output::{Output, Value};
use crate::signature::{Errors, Parameter, Receiver, check, parameters, receiver};
use crate::suggest::nearest;

/// Names on the handle and on the actor that `#[remote]` needs itself.
const HANDLE_NAMES: [&str; 1] = ["options"];
const ACTOR_NAMES: [&str; 2] = ["remote", "options"];

/// Everything known of the user's actor.
struct Actor {
    /// The block, without our attributes.
    block: ItemImpl,
    /// The type.
    ty: TokenStream,
    /// Its name.
    name: Ident,
    options: Options,
    constructor: Constructor,
    methods: Vec<Method>,
}

struct Constructor {
    item: ImplItemFn,
    parameters: Vec<Parameter>,
    output: Output,
}

struct Method {
    item: ImplItemFn,
    receiver: Receiver,
    options: Options,
    parameters: Vec<Parameter>,
    output: Output,
}

/// The block and the handle.
pub(crate) fn expand(attribute: TokenStream, block: ItemImpl) -> Result<TokenStream> {
    Actor::read(attribute, block).map(|actor| actor.tokens())
}

/// The block as the compiler may see it.
pub(crate) fn without_helper_attributes(mut block: ItemImpl) -> ItemImpl {
    for item in &mut block.items {
        if let ImplItem::Fn(function) = item {
            function.attrs.retain(|attribute| !is_helper(attribute));
        }
    }
    block
}

fn is_helper(attribute: &Attribute) -> bool {
    ["method", "local", "remote"]
        .iter()
        .any(|name| attribute.path().is_ident(name))
}

fn has(function: &ImplItemFn, name: &str) -> bool {
    function.attrs.iter().any(|attribute| attribute.path().is_ident(name))
}

impl Actor {
    fn read(attribute: TokenStream, block: ItemImpl) -> Result<Self> {
        let (ty, name) = check_block(&block)?;
        let mut errors = Errors::default();
        let options = errors.take(Options::parse(attribute, Target::Actor));
        let constructor = errors.take(find_constructor(&block, &name, &ty));
        let groups = options.as_ref().map_or(&[][..], |options| &options.concurrency_groups);
        let mut methods = Vec::new();
        for item in &block.items {
            let ImplItem::Fn(function) = item else { continue };
            if let Some(Some(method)) = errors.take(Method::read(function, &ty, groups)) {
                methods.push(method);
            }
        }
        errors.finish()?;
        match (options, constructor) {
            (Some(options), Some(constructor)) => {
                let block = without_helper_attributes(block);
                Ok(Self {
                    block,
                    ty,
                    name,
                    options,
                    constructor,
                    methods,
                })
            }
            // Without errors there are both.
            _ => Err(Error::new_spanned(ty, "the actor is incomplete")),
        }
    }
}

fn check_block(block: &ItemImpl) -> Result<(TokenStream, Ident)> {
    if let Some((_, path, _)) = &block.trait_ {
        let message = "`#[remote]` stands on an inherent `impl` block: put what others should call into methods of the \
                       type itself, and call the trait's methods there";
        return Err(Error::new_spanned(path, message));
    }
    if !block.generics.params.is_empty() {
        let message = "an actor cannot be generic: other processes find it in a table that is made at link time. Write \
                       a type for each instance, that holds the generic one";
        return Err(Error::new_spanned(&block.generics.params, message));
    }
    let named = match &*block.self_ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        _ => None,
    };
    match named {
        Some(segment) if matches!(segment.arguments, PathArguments::None) => {
            Ok((block.self_ty.to_token_stream(), segment.ident.clone()))
        }
        Some(segment) => {
            let message = "an actor is a type without arguments: write a type that holds this one";
            Err(Error::new_spanned(&segment.arguments, message))
        }
        None => Err(Error::new_spanned(&block.self_ty, "an actor is a named type")),
    }
}

fn find_constructor(block: &ItemImpl, name: &Ident, ty: &TokenStream) -> Result<Constructor> {
    let functions = || {
        block.items.iter().filter_map(|item| match item {
            ImplItem::Fn(function) => Some(function),
            _ => None,
        })
    };
    for function in functions() {
        if let Some(attribute) = function
            .attrs
            .iter()
            .find(|attribute| attribute.path().is_ident("remote"))
        {
            let constructor = attribute.parse_args::<Ident>().is_ok_and(|word| word == "constructor");
            if !constructor {
                let message = "inside an actor there is only `#[remote(constructor)]`: methods are remote by themselves, \
                               and `#[method(..)]` sets their options";
                return Err(Error::new_spanned(attribute, message));
            }
        }
    }
    let marked: Vec<_> = functions().filter(|function| has(function, "remote")).collect();
    if let [_, second, ..] = marked[..] {
        return Err(Error::new_spanned(
            &second.sig.ident,
            "there is another constructor: mark only one",
        ));
    }
    let named = || functions().find(|function| function.sig.ident == "new" && function.sig.receiver().is_none());
    let Some(function) = marked.first().copied().or_else(named) else {
        let message = format!(
            "the actor `{name}` has no constructor: add `pub fn new(..) -> Self`, or mark a function that returns `Self` \
             with `#[remote(constructor)]`"
        );
        return Err(Error::new_spanned(ty, message));
    };
    if let Some(receiver) = function.sig.receiver() {
        return Err(Error::new_spanned(
            receiver,
            "a constructor has no receiver: there is no actor yet",
        ));
    }
    let mut errors = Errors::default();
    errors.take(check(&function.sig, "constructor"));
    let output = errors.take(Output::of(&function.sig.output, None, Some(ty)));
    errors.finish()?;
    match output {
        Some(output) if matches!(&output.value, Value::One(made) if same(made, ty)) => {
            let parameters = parameters(&function.sig, Some(ty));
            Ok(Constructor {
                item: function.clone(),
                parameters,
                output,
            })
        }
        _ => Err(Error::new_spanned(
            &function.sig,
            "a constructor returns `Self` or `Result<Self, E>`",
        )),
    }
}

fn same(one: &TokenStream, other: &TokenStream) -> bool {
    one.to_string() == other.to_string()
}

impl Method {
    /// A method of the actor; nothing for what stays local.
    fn read(function: &ImplItemFn, ty: &TokenStream, groups: &[String]) -> Result<Option<Self>> {
        let settings = function
            .attrs
            .iter()
            .find(|attribute| attribute.path().is_ident("method"));
        let receiver = if has(function, "local") {
            None
        } else {
            receiver(&function.sig)?
        };
        let Some(receiver) = receiver else {
            check_local(function, settings)?;
            return Ok(None);
        };
        let name = function.sig.ident.unraw().to_string();
        let mut errors = Errors::default();
        if HANDLE_NAMES.contains(&name.as_str()) {
            let message = format!("an actor's handle has a method `{name}` of its own: give this one another name");
            errors.add(&function.sig.ident, &message);
        }
        if let Some(condition) = function.attrs.iter().find(|attribute| attribute.path().is_ident("cfg")) {
            errors.add(
                condition,
                "the methods of an actor cannot depend on `cfg`: put it on the whole `impl` block",
            );
        }
        errors.take(check(&function.sig, "method"));
        let options = errors.take(settings.map_or_else(
            || Options::parse(TokenStream::new(), Target::Method),
            |attribute| match &attribute.meta {
                Meta::List(list) => Options::parse(list.tokens.clone(), Target::Method),
                other => Err(Error::new_spanned(
                    other,
                    "`#[method(..)]` needs options: add some or remove it",
                )),
            },
        ));
        let num_returns = options.as_ref().and_then(|options| options.num_returns);
        let output = errors.take(Output::of(&function.sig.output, num_returns, Some(ty)));
        if let (Some(options), Some(output)) = (&options, &output) {
            errors.take(check_retry(options, output));
            errors.take(check_group(options, groups));
            if receiver == Receiver::Exclusive && matches!(output.value, Value::Items { .. }) {
                let message = "a method that yields a stream takes `&self`, since other calls run between its items";
                errors.push(Error::new(output.span, message));
            }
        }
        errors.finish()?;
        let parameters = parameters(&function.sig, Some(ty));
        let method = |(options, output)| Self {
            item: function.clone(),
            receiver,
            options,
            parameters,
            output,
        };
        Ok(options.zip(output).map(method))
    }
}

fn check_local(function: &ImplItemFn, settings: Option<&Attribute>) -> Result<()> {
    let name = function.sig.ident.unraw().to_string();
    if let Some(settings) = settings {
        return Err(Error::new_spanned(
            settings,
            "only methods with a receiver are remote: remove the attribute",
        ));
    }
    if ACTOR_NAMES.contains(&name.as_str()) {
        let message = format!("`#[remote]` adds a function `{name}` to the actor: give this one another name");
        return Err(Error::new_spanned(&function.sig.ident, message));
    }
    Ok(())
}

fn check_group(options: &Options, groups: &[String]) -> Result<()> {
    let Some(group) = &options.concurrency_group else {
        return Ok(());
    };
    let wanted = group.value();
    if groups.contains(&wanted) {
        return Ok(());
    }
    let hint = match nearest(&wanted, groups.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("add `concurrency_groups({wanted} = 2)` to `#[remote]`"),
    };
    Err(Error::new(
        group.span(),
        format!("the actor has no concurrency group `{wanted}`: {hint}"),
    ))
}

impl Actor {
    fn handle(&self) -> Ident {
        format_ident!("{}Handle", self.name)
    }
}
