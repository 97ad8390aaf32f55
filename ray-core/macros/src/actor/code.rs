//! The code of an actor: its entry in the table, its handle, and the handle's methods.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Ident, ImplItemFn};

use super::{Actor, Method};
use crate::body;
use crate::options::Retry;
use crate::output::Value;
use crate::signature::{Receiver, plain};

/// The builder methods of a method call (`ray_core::__private::method_option!`).
const METHOD_OPTIONS: [&str; 6] = [
    "name",
    "max_task_retries",
    "retry_exceptions",
    "retry_backoff",
    "timeout",
    "concurrency_group",
];

impl Actor {
    pub(super) fn tokens(&self) -> TokenStream {
        let (block, name, handle, krate) = (&self.block, &self.name, self.handle(), &self.options.krate);
        let vis = &self.constructor.item.vis;
        let conditions = body::carried(&self.block.attrs, &["cfg"]);
        let allowed = body::allowed();
        let about = format!(
            "A handle of the actor [`{name}`]: each of its methods sends a call to the actor.\n\nHandles can be cloned, \
             stored in values, and passed to tasks and actors. The actor ends when its last handle is gone."
        );
        let registration = self.registration();
        let bodies = self
            .methods
            .iter()
            .enumerate()
            .map(|(index, method)| self.body(index, method));
        let (construct, creation, traits) = (self.construct(), self.creation(), self.handle_traits());
        let (methods, calls) = (self.handle_methods(), self.calls());
        quote! {
            #block

            #[doc = #about]
            #(#conditions)*
            #[allow(dead_code, unreachable_pub)]
            #[derive(Clone, Debug)]
            #vis struct #handle {
                raw: #krate::__private::RawActorHandle,
            }

            #(#conditions)*
            #allowed
            const _: () = {
                use #krate::__private as __ray;
                #construct
                #(#bodies)*
                #registration
                #creation
                #traits
                #methods
                #calls
            };
        }
    }

    /// The constructor's body for the runtime.
    fn construct(&self) -> TokenStream {
        let (ty, constructor) = (&self.ty, &self.constructor);
        let function = &constructor.item.sig.ident;
        let names = body::names(&constructor.parameters);
        let fail = quote!(__ray::Err(error));
        let decode = body::decode(&constructor.parameters, &fail);
        let asynchronous = constructor.item.sig.asyncness.is_some();
        let call = if asynchronous {
            quote!(<#ty>::#function(#names).await)
        } else {
            quote!(<#ty>::#function(#names))
        };
        let actor = body::unwrap(&call, &constructor.output, &Retry::Never, &fail);
        let instance = quote_spanned!(self.name.span()=> __ray::instance::<#ty>(actor));
        let code = quote! {
            #decode
            let actor: #ty = #actor;
            __ray::Ok(#instance)
        };
        let result = quote!(__ray::Result<__ray::Instance, __ray::TaskError>);
        let (returned, code) = if asynchronous {
            (
                quote!(__ray::BoxFuture<'static, #result>),
                quote!(__ray::Box::pin(async move { #code })),
            )
        } else {
            (result, code)
        };
        quote! {
            #[allow(unused_mut)]
            fn __ray_construct(mut __ray_arguments: __ray::Arguments) -> #returned {
                #code
            }
        }
    }

    /// A method's body for the runtime.
    fn body(&self, index: usize, method: &Method) -> TokenStream {
        let (ty, function, name) = (&self.ty, &method.item.sig.ident, body_name(index));
        let names = body::names(&method.parameters);
        let asynchronous = method.item.sig.asyncness.is_some();
        let mut call = quote!(<#ty>::#function(__ray_actor, #names));
        if asynchronous {
            call = quote!(#call.await);
        }
        let retry = &method.options.retry;
        let (fail, result) = if let Value::Items { .. } = method.output.value {
            let fail = quote!(__ray::Err(error));
            let value = body::unwrap(&call, &method.output, retry, &fail);
            let items = body::items(&quote!(value), &method.output, retry, asynchronous);
            (fail, quote!({ let value = #value; __ray::Ok(#items) }))
        } else {
            let fail = quote!(__ray::Outcome::Failed(error));
            let value = body::unwrap(&call, &method.output, retry, &fail);
            (fail, body::outcome(&value, &method.output))
        };
        let (instance, downcast) = match method.receiver {
            Receiver::Shared => (quote!(&'a __ray::AnyActor), quote!(__ray::shared)),
            Receiver::Exclusive => (quote!(&'a mut __ray::AnyActor), quote!(__ray::exclusive)),
        };
        let kind = kind(method);
        let returned = match kind {
            "SharedIter" => quote!(__ray::Result<__ray::ItemIterator<'a>, __ray::TaskError>),
            "SharedStream" => quote!(__ray::BoxFuture<'a, __ray::Result<__ray::ItemStream<'a>, __ray::TaskError>>),
            "SharedAsync" | "ExclusiveAsync" => quote!(__ray::BoxFuture<'a, __ray::Outcome>),
            _ => quote!(__ray::Outcome),
        };
        let decode = body::decode(&method.parameters, &fail);
        let code = quote! {
            let __ray_actor = match #downcast::<#ty>(__ray_instance) {
                __ray::Ok(actor) => actor,
                __ray::Err(error) => return #fail,
            };
            #decode
            #result
        };
        let code = match kind {
            "SharedStream" | "SharedAsync" | "ExclusiveAsync" => quote!(__ray::Box::pin(async move { #code })),
            _ => code,
        };
        quote! {
            #[allow(unused_mut)]
            fn #name<'a>(__ray_instance: #instance, mut __ray_arguments: __ray::Arguments) -> #returned {
                #code
            }
        }
    }

    fn registration(&self) -> TokenStream {
        let methods = self.methods.iter().enumerate().map(|(index, method)| {
            let (name, body, defaults) = (text(&method.item), body_name(index), defaults_name(index));
            let (kind, num_returns) = (format_ident!("{}", kind(method)), method.output.num_returns());
            let table = body::parameter_table(&method.parameters);
            let group = match &method.options.concurrency_group {
                Some(group) => quote!(__ray::Some(#group)),
                None => quote!(__ray::None),
            };
            quote! {
                __ray::ActorMethod::new(#name, __ray::MethodBody::#kind(#body), #table, #num_returns, #group, #defaults)
            }
        });
        let method_defaults = self
            .methods
            .iter()
            .enumerate()
            .map(|(index, method)| method.options.defaults(&defaults_name(index), "MethodOptions"));
        let defaults = self.options.defaults(&format_ident!("__ray_defaults"), "ActorOptions");
        let constructor = &self.constructor;
        let kind = format_ident!(
            "{}",
            if constructor.item.sig.asyncness.is_some() {
                "Async"
            } else {
                "Sync"
            }
        );
        let table = body::parameter_table(&constructor.parameters);
        let signatures: Vec<_> = std::iter::once(&constructor.item)
            .chain(self.methods.iter().map(|method| &method.item))
            .map(|function| plain(&function.sig))
            .collect();
        let identity = body::identity(&self.name.unraw().to_string(), &signatures.join("; "));
        let (ty, count) = (&self.ty, self.methods.len());
        let actor = quote! {
            __ray::ItemKind::Actor(__ray::ActorType::new(
                __ray::ConstructBody::#kind(__ray_construct),
                #table,
                {
                    // A static: the options in it are filled at first use.
                    static METHODS: [__ray::ActorMethod; #count] = [#(#methods),*];
                    &METHODS
                },
                || {
                    #[allow(unused_imports)]
                    use __ray::checkpoint::{Implemented, NotImplemented};
                    (&&__ray::checkpoint::Probe::<#ty>::new()).vtable()
                },
                __ray_defaults,
            ))
        };
        let registration = body::registration(&identity, &actor);
        quote!(#(#method_defaults)* #defaults #registration)
    }

    /// `Counter::remote` and `Counter::options`.
    fn creation(&self) -> TokenStream {
        let (ty, handle, vis) = (&self.ty, self.handle(), &self.constructor.item.vis);
        let options = format_ident!("{}RemoteOptions", self.name);
        let parameters = body::caller_parameters(&self.constructor.parameters);
        let lane = quote!(__ray::submit::actor_lane(
            &__RAY_ITEM,
            __ray::Option::as_ref(&__ray_options)
        ));
        let build = body::build_call(&self.constructor.parameters, &lane);
        let form = |receiver: TokenStream, options: TokenStream| {
            quote! {
                /// Creates an actor. It neither fails nor blocks: whatever goes wrong is the error of the first calls.
                #vis fn remote(#receiver #parameters) -> #handle {
                    let __ray_options: __ray::Option<__ray::Arc<__ray::ActorOptions>> = #options;
                    #build
                    #handle { raw: __ray::submit::create_actor(&__RAY_ITEM, __ray_call, __ray_options) }
                }
            }
        };
        let plain = form(quote!(), quote!(__ray::None));
        let with_options = form(quote!(&self,), quote!(__ray::Some(__ray::Arc::clone(&self.options))));
        let about = format!("Options for some actors of the type `{}`.", self.name);
        quote! {
            impl #ty {
                #plain

                /// Options for some actors, which begin as those of the attribute.
                #vis fn options() -> #options {
                    let defaults = match __RAY_ITEM.as_actor() {
                        __ray::Some(actor) => __ray::Clone::clone(actor.defaults()),
                        __ray::None => __ray_defaults(),
                    };
                    #options { options: __ray::Arc::new(defaults) }
                }
            }

            #[doc = #about]
            #[derive(Debug, Clone)]
            #vis struct #options {
                options: __ray::Arc<__ray::ActorOptions>,
            }

            impl #options {
                __ray::actor_options!();
                #with_options
            }
        }
    }

    fn handle_traits(&self) -> TokenStream {
        let (ty, handle) = (&self.ty, self.handle());
        quote! {
            impl __ray::Actor for #ty {
                type Handle = #handle;

                fn item() -> &'static __ray::RemoteItem {
                    &__RAY_ITEM
                }
            }

            impl __ray::ActorHandle for #handle {
                type Actor = #ty;

                fn raw(&self) -> &__ray::RawActorHandle {
                    &self.raw
                }

                fn from_raw(raw: __ray::RawActorHandle) -> Self {
                    Self { raw }
                }
            }

            impl __ray::serde::Serialize for #handle {
                fn serialize<S: __ray::serde::Serializer>(&self, serializer: S) -> __ray::Result<S::Ok, S::Error> {
                    __ray::serialize_handle(self, serializer)
                }
            }

            impl<'de> __ray::serde::Deserialize<'de> for #handle {
                fn deserialize<D: __ray::serde::Deserializer<'de>>(deserializer: D) -> __ray::Result<Self, D::Error> {
                    __ray::deserialize_handle(deserializer)
                }
            }
        }
    }

    /// The methods of the handle itself.
    fn handle_methods(&self) -> TokenStream {
        let (handle, vis, call) = (self.handle(), &self.constructor.item.vis, self.call_type());
        let methods = self.caller_methods(&quote!(self), |_| quote!(__ray::None));
        let lookups = self.lookups();
        quote! {
            impl #handle {
                #lookups

                /// Options for some calls, which begin as those of each method's attribute.
                #vis fn options(&self) -> #call<'_> {
                    #call { handle: self, options: __ray::Default::default() }
                }

                #(#methods)*
            }
        }
    }

    /// `get` and `get_in`, unless the actor has methods of these names.
    fn lookups(&self) -> TokenStream {
        let vis = &self.constructor.item.vis;
        let form = |name: &str, doc: &str, parameters: TokenStream, namespace: TokenStream| {
            if self.has_method(name) {
                return TokenStream::new();
            }
            let function = format_ident!("{name}");
            quote! {
                #[doc = #doc]
                ///
                /// # Errors
                ///
                /// If there is none, or it is an actor of another type.
                #vis fn #function(#parameters name: &str) -> __ray::Result<Self, __ray::RayError> {
                    let raw = __ray::submit::get_actor(&__RAY_ITEM, #namespace, name)?;
                    __ray::Ok(Self { raw })
                }
            }
        };
        let get = form(
            "get",
            "The living actor of this name in the job's own namespace.",
            quote!(),
            quote!(__ray::None),
        );
        let get_in = form(
            "get_in",
            "The living actor of this name in a namespace.",
            quote!(namespace: &str,),
            quote!(__ray::Some(namespace)),
        );
        quote!(#get #get_in)
    }

    /// The type that `handle.options()` gives.
    fn calls(&self) -> TokenStream {
        let (handle, vis, call) = (self.handle(), &self.constructor.item.vis, self.call_type());
        let raw = quote!(self.handle);
        let options = |index| quote!(__ray::submit::changed_options(&__RAY_ITEM, #index, &self.options));
        let methods = self.caller_methods(&raw, options);
        let setters = METHOD_OPTIONS
            .iter()
            .filter(|name| !self.has_method(name))
            .map(|name| format_ident!("{name}"));
        let about = format!("Options for some calls of an actor of the type `{}`.", self.name);
        quote! {
            #[doc = #about]
            #[derive(Debug, Clone)]
            #vis struct #call<'a> {
                handle: &'a #handle,
                options: __ray::Arc<__ray::MethodChanges>,
            }

            impl #call<'_> {
                #(__ray::method_option!(#setters);)*
                #(#methods)*
            }
        }
    }

    /// One method for each of the actor's, on what holds a handle.
    fn caller_methods(&self, handle: &TokenStream, options: impl Fn(u32) -> TokenStream) -> Vec<TokenStream> {
        let method = |(index, method): (usize, &Method)| {
            let ImplItemFn { attrs, vis, sig, .. } = &method.item;
            let (name, index) = (&sig.ident, index as u32);
            let options = options(index);
            let documented = body::carried(attrs, &["doc", "deprecated"]);
            let undocumented = (!attrs.iter().any(|attribute| attribute.path().is_ident("doc"))).then(|| {
                let doc = format!("Calls `{}` of the actor.", text(&method.item));
                quote!(#[doc = #doc])
            });
            let parameters = body::caller_parameters(&method.parameters);
            let returned = body::returned(&method.output);
            let raw = quote!(&#handle.raw);
            let lane = quote!(__ray::submit::call_lane(#raw, #index, __ray::Option::as_ref(&__ray_options)));
            let build = body::build_call(&method.parameters, &lane);
            let submit = if let Value::Items { .. } = method.output.value {
                quote! {
                    __ray::ObjectRefStream::from_raw(
                        __ray::submit::actor_stream(#raw, &__RAY_ITEM, #index, __ray_call, __ray_options),
                    )
                }
            } else {
                let num_returns = method.output.num_returns();
                quote! {
                    __ray::FromReturns::from_returns(
                        __ray::submit::actor_call(#raw, &__RAY_ITEM, #index, __ray_call, __ray_options, #num_returns),
                    )
                }
            };
            quote! {
                #(#documented)*
                #undocumented
                #[track_caller]
                #vis fn #name(&self, #parameters) -> #returned {
                    let __ray_options: __ray::Option<__ray::Arc<__ray::MethodOptions>> = #options;
                    #build
                    #submit
                }
            }
        };
        self.methods.iter().enumerate().map(method).collect()
    }

    fn call_type(&self) -> Ident {
        format_ident!("{}RemoteCall", self.name)
    }

    fn has_method(&self, name: &str) -> bool {
        self.methods.iter().any(|method| text(&method.item) == name)
    }
}

fn text(function: &ImplItemFn) -> String {
    function.sig.ident.unraw().to_string()
}

fn body_name(index: usize) -> Ident {
    format_ident!("__ray_method_{index}")
}

fn defaults_name(index: usize) -> Ident {
    format_ident!("__ray_method_defaults_{index}")
}

/// The variant of `MethodBody`.
fn kind(method: &Method) -> &'static str {
    let asynchronous = method.item.sig.asyncness.is_some();
    match (&method.output.value, method.receiver) {
        (Value::Items { stream, .. }, _) if *stream || asynchronous => "SharedStream",
        (Value::Items { .. }, _) => "SharedIter",
        (_, Receiver::Shared) if asynchronous => "SharedAsync",
        (_, Receiver::Exclusive) if asynchronous => "ExclusiveAsync",
        (_, Receiver::Shared) => "SharedSync",
        (_, Receiver::Exclusive) => "ExclusiveSync",
    }
}
