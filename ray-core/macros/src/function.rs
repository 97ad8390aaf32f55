//! `#[remote]` on a function.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::{Error, ItemFn, Result};

use crate::options::{Options, Retry, Target};
use crate::output::{Output, Value};
use crate::signature::{Errors, Parameter, check, parameters};
use crate::{body, signature};

/// Everything known of the user's function.
struct Function<'a> {
    item: &'a ItemFn,
    options: Options,
    parameters: Vec<Parameter>,
    output: Output,
}

/// The function and its remote forms.
pub(crate) fn expand(attribute: TokenStream, item: ItemFn) -> Result<TokenStream> {
    let mut errors = Errors::default();
    let options = errors.take(Options::parse(attribute, Target::Function));
    errors.take(check(&item.sig, "function"));
    let num_returns = options.as_ref().and_then(|options| options.num_returns);
    let output = errors.take(Output::of(&item.sig.output, num_returns, None));
    errors.finish()?;
    // Without errors there are both.
    let (Some(options), Some(output)) = (options, output) else {
        return Ok(item.into_token_stream());
    };
    check_retry(&options, &output)?;
    let parameters = parameters(&item.sig, None);
    Ok(Function {
        item: &item,
        options,
        parameters,
        output,
    }
    .tokens())
}

/// Refuses `retry_exceptions` where there are no errors.
pub(crate) fn check_retry(options: &Options, output: &Output) -> Result<()> {
    let has_errors = output.fallible || matches!(output.value, Value::Items { fallible: true, .. });
    match options.retry_span {
        Some(span) if !has_errors && !matches!(options.retry, Retry::Never) => Err(Error::new(
            span,
            "`retry_exceptions` needs a `Result<T, E>` to be returned: there is no error to retry",
        )),
        _ => Ok(()),
    }
}

impl Function<'_> {
    fn tokens(&self) -> TokenStream {
        let ItemFn { attrs, vis, sig, .. } = self.item;
        let (item, ident, krate) = (self.item, &sig.ident, &self.options.krate);
        let conditions = body::carried(attrs, &["cfg"]);
        let deprecated = body::carried(attrs, &["deprecated"]);
        let allowed = body::allowed();
        let doc = format!("The remote forms of the function [`{0}`](fn@{0}).", ident.unraw());
        let (body, registration) = (self.body(), self.registration());
        let callers = self.callers();
        quote! {
            #item

            #[doc = #doc]
            #(#conditions)*
            #(#deprecated)*
            #[allow(non_camel_case_types, dead_code)]
            #[derive(Debug)]
            #vis struct #ident {}

            #(#conditions)*
            #allowed
            const _: () = {
                use #krate::__private as __ray;
                #body
                #registration
                #callers
            };
        }
    }

    /// The function's body for the runtime.
    fn body(&self) -> TokenStream {
        let ItemFn { sig, .. } = self.item;
        let (ident, asynchronous) = (&sig.ident, sig.asyncness.is_some());
        let names = body::names(&self.parameters);
        let call = if asynchronous {
            quote!(#ident(#names).await)
        } else {
            quote!(#ident(#names))
        };
        let retry = &self.options.retry;
        let (fail, result) = if let Value::Items { .. } = self.output.value {
            let fail = quote!(__ray::Err(error));
            let value = body::unwrap(&call, &self.output, retry, &fail);
            let items = body::items(&quote!(value), &self.output, retry, asynchronous);
            (fail, quote!({ let value = #value; __ray::Ok(#items) }))
        } else {
            let fail = quote!(__ray::Outcome::Failed(error));
            let value = body::unwrap(&call, &self.output, retry, &fail);
            (fail, body::outcome(&value, &self.output))
        };
        let decode = body::decode(&self.parameters, &fail);
        let returned = match self.kind() {
            "Sync" => quote!(__ray::Outcome),
            "Async" => quote!(__ray::BoxFuture<'static, __ray::Outcome>),
            "Iter" => quote!(__ray::Result<__ray::ItemIterator<'static>, __ray::TaskError>),
            _ => quote!(__ray::BoxFuture<'static, __ray::Result<__ray::ItemStream<'static>, __ray::TaskError>>),
        };
        let code = quote!(#decode #result);
        let code = match self.kind() {
            "Sync" | "Iter" => code,
            _ => quote!(__ray::Box::pin(async move { #code })),
        };
        quote! {
            #[allow(unused_mut)]
            fn __ray_body(mut __ray_arguments: __ray::Arguments) -> #returned {
                #code
            }
        }
    }

    fn kind(&self) -> &'static str {
        match (&self.output.value, self.item.sig.asyncness) {
            (Value::Items { stream: true, .. }, _) | (Value::Items { .. }, Some(_)) => "Stream",
            (Value::Items { .. }, None) => "Iter",
            (_, Some(_)) => "Async",
            (_, None) => "Sync",
        }
    }

    fn registration(&self) -> TokenStream {
        let sig = &self.item.sig;
        let kind = format_ident!("{}", self.kind());
        let (table, num_returns) = (body::parameter_table(&self.parameters), self.output.num_returns());
        let defaults = self.options.defaults(&format_ident!("__ray_defaults"), "TaskOptions");
        let identity = body::identity(&sig.ident.unraw().to_string(), &signature::plain(sig));
        let function = quote! {
            __ray::ItemKind::Function(__ray::RemoteFunction::new(
                __ray::FunctionBody::#kind(__ray_body),
                #table,
                #num_returns,
                __ray_defaults,
            ))
        };
        let registration = body::registration(&identity, &function);
        quote!(#defaults #registration)
    }

    /// `remote`, `submit` and `options`.
    fn callers(&self) -> TokenStream {
        let ItemFn { vis, sig, .. } = self.item;
        let ident = &sig.ident;
        let options = format_ident!("{}RemoteOptions", camel(&ident.unraw().to_string()));
        let documentation = documentation(&ident.unraw().to_string());
        let plain = self.forms(&quote!(), &quote!(__ray::None), &documentation);
        let with_options = self.forms(
            &quote!(&self,),
            &quote!(__ray::Some(__ray::Arc::clone(&self.options))),
            &documentation,
        );
        let about = format!("Options for some calls of `{}`.", ident.unraw());
        quote! {
            impl #ident {
                #plain

                /// Options for some calls, which begin as those of the attribute.
                #vis fn options() -> #options {
                    let defaults = match __RAY_ITEM.as_function() {
                        __ray::Some(function) => __ray::Clone::clone(function.defaults()),
                        __ray::None => __ray_defaults(),
                    };
                    #options { options: __ray::Arc::new(defaults) }
                }
            }

            #[doc = #about]
            #[derive(Debug, Clone)]
            #vis struct #options {
                options: __ray::Arc<__ray::TaskOptions>,
            }

            impl #options {
                __ray::task_options!();
                #with_options
            }
        }
    }

    fn forms(&self, receiver: &TokenStream, options: &TokenStream, documentation: &[String; 3]) -> TokenStream {
        let vis = &self.item.vis;
        let returned = body::returned(&self.output);
        let parameters = body::caller_parameters(&self.parameters);
        let lane = quote!(__ray::submit::task_lane(
            &__RAY_ITEM,
            __ray::Option::as_ref(&__ray_options)
        ));
        let build = body::build_call(&self.parameters, &lane);
        let [remote, submit, submit_blocking] = documentation;
        if let Value::Items { .. } = self.output.value {
            return quote! {
                #[doc = #remote]
                #vis fn remote(#receiver #parameters) -> #returned {
                    let __ray_options: __ray::Option<__ray::Arc<__ray::TaskOptions>> = #options;
                    #build
                    __ray::ObjectRefStream::from_raw(__ray::submit::stream(&__RAY_ITEM, __ray_call, __ray_options))
                }
            };
        }
        let num_returns = self.output.num_returns();
        let names = body::names(&self.parameters);
        let callee = if receiver.is_empty() {
            quote!(Self::submit(#names))
        } else {
            quote!(self.submit(#names))
        };
        quote! {
            #[doc = #remote]
            #[track_caller]
            #vis fn remote(#receiver #parameters) -> #returned {
                let __ray_options: __ray::Option<__ray::Arc<__ray::TaskOptions>> = #options;
                #build
                __ray::FromReturns::from_returns(
                    __ray::submit::task(&__RAY_ITEM, __ray_call, __ray_options, #num_returns),
                )
            }

            #[doc = #submit]
            #[track_caller]
            #vis fn submit(#receiver #parameters) -> __ray::Submission<#returned> {
                let __ray_options: __ray::Option<__ray::Arc<__ray::TaskOptions>> = #options;
                #build
                __ray::Submission::new(
                    __ray::submit::admit_task(&__RAY_ITEM, __ray_call, __ray_options, #num_returns),
                )
            }

            #[doc = #submit_blocking]
            #[track_caller]
            #vis fn submit_blocking(#receiver #parameters) -> #returned {
                __ray::Submission::blocking(#callee)
            }
        }
    }
}

fn documentation(name: &str) -> [String; 3] {
    [
        format!("Runs `{name}` as a task. It neither fails nor blocks: whatever goes wrong is the reference's error."),
        "Like `remote`, but waits, when awaited, while too much work is pending.".to_owned(),
        "Like `remote`, but waits on this thread while too much work is pending.".to_owned(),
    ]
}

/// `some_name` as `SomeName`.
fn camel(name: &str) -> String {
    name.split('_')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_uppercase().chain(letters).collect::<String>())
        })
        .collect()
}
