//! The options of attributes: which exist, what they may be, and the code that sets them.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, ExprUnary, Lit, LitStr, Result, UnOp};

use crate::attribute::{Attribute, Entry, Value};
use crate::signature::Errors;
use crate::suggest::nearest;

/// What an attribute stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Function,
    Actor,
    Method,
}

/// What an option is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A quantity from 0.
    Amount,
    /// The same, where the default is no number.
    OptionalAmount,
    Bytes,
    Text,
    /// From -1, which is none.
    Limit,
    OptionalLimit,
    /// From 0.
    Count,
    /// From 1.
    OptionalPositive,
    Backoff,
    Time,
    Isolation,
    Strategy,
    Lifetime,
    Flag,
    Amounts,
    Groups,
    Checkpoint,
}

const PLACEMENT: &[(&str, Kind)] = &[
    ("num_gpus", Kind::Amount),
    ("resources", Kind::Amounts),
    ("memory", Kind::Bytes),
    ("name", Kind::Text),
    ("isolation", Kind::Isolation),
    ("scheduling_strategy", Kind::Strategy),
];
const FUNCTION: &[(&str, Kind)] = &[
    ("num_cpus", Kind::Amount),
    ("max_retries", Kind::Limit),
    ("retry_backoff", Kind::Backoff),
    ("timeout", Kind::Time),
    ("max_calls", Kind::Count),
];
const ACTOR: &[(&str, Kind)] = &[
    ("num_cpus", Kind::OptionalAmount),
    ("namespace", Kind::Text),
    ("lifetime", Kind::Lifetime),
    ("get_if_exists", Kind::Flag),
    ("max_concurrency", Kind::OptionalPositive),
    ("concurrency_groups", Kind::Groups),
    ("max_restarts", Kind::Limit),
    ("max_task_retries", Kind::Limit),
    ("max_pending_calls", Kind::Limit),
    ("checkpoint", Kind::Checkpoint),
    ("checkpoint_place", Kind::Text),
];
const METHOD: &[(&str, Kind)] = &[
    ("name", Kind::Text),
    ("max_task_retries", Kind::OptionalLimit),
    ("retry_backoff", Kind::Backoff),
    ("timeout", Kind::Time),
    ("concurrency_group", Kind::Text),
];
/// Resources that have an option of their own.
const RESERVED: [(&str, &str); 4] = [
    ("CPU", "num_cpus"),
    ("GPU", "num_gpus"),
    ("memory", "memory"),
    ("object_store_memory", "memory"),
];

impl Target {
    fn kind_of(self, name: &str) -> Option<Kind> {
        let found = |table: &[(&str, Kind)]| table.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        match self {
            Self::Function => found(FUNCTION).or_else(|| found(PLACEMENT)),
            Self::Actor => found(ACTOR).or_else(|| found(PLACEMENT)),
            Self::Method => found(METHOD),
        }
    }

    fn names(self) -> Vec<&'static str> {
        let tables: &[_] = match self {
            Self::Function => &[FUNCTION, PLACEMENT],
            Self::Actor => &[ACTOR, PLACEMENT],
            Self::Method => &[METHOD],
        };
        let own: &[_] = match self {
            Self::Function | Self::Method => &["num_returns", "retry_exceptions"],
            Self::Actor => &[],
        };
        tables
            .iter()
            .flat_map(|table| table.iter().map(|(name, _)| *name))
            .chain(own.iter().copied())
            .collect()
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Function => "a remote function",
            Self::Actor => "an actor",
            Self::Method => "a remote method",
        }
    }
}

/// Which errors of a function are tried again.
#[derive(Debug)]
pub(crate) enum Retry {
    Never,
    All,
    /// Those that this function accepts.
    Matching(Expr),
}

/// The options of one attribute.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where `ray_core` is.
    pub(crate) krate: TokenStream,
    /// How many references a call gives, and where that is said.
    pub(crate) num_returns: Option<(u32, Span)>,
    pub(crate) retry: Retry,
    /// Where `retry_exceptions` stands.
    pub(crate) retry_span: Option<Span>,
    /// The group of a method.
    pub(crate) concurrency_group: Option<LitStr>,
    /// The groups of an actor.
    pub(crate) concurrency_groups: Vec<String>,
    /// Statements that set fields of `options`.
    assignments: Vec<TokenStream>,
}

impl Options {
    /// Understands an attribute.
    pub(crate) fn parse(tokens: TokenStream, target: Target) -> Result<Self> {
        let mut attribute = Attribute::parse(tokens)?;
        let mut errors = Errors::default();
        let mut options = Self {
            krate: attribute.krate.clone(),
            num_returns: None,
            retry: Retry::Never,
            retry_span: None,
            concurrency_group: None,
            concurrency_groups: Vec::new(),
            assignments: Vec::new(),
        };
        if target != Target::Actor {
            if let Some(entry) = attribute.take("num_returns") {
                options.num_returns = errors.take(num_returns(&entry));
            }
            if let Some(entry) = attribute.take("retry_exceptions") {
                errors.take(options.set_retry(entry));
            }
        }
        for entry in &attribute.entries {
            if let Some(assignment) = errors.take(options.assignment(entry, target)) {
                options.assignments.push(assignment);
            }
        }
        errors.finish()?;
        Ok(options)
    }

    /// A function that gives the options as a value of the type `ty` of `ray_core::__private`.
    pub(crate) fn defaults(&self, name: &syn::Ident, ty: &str) -> TokenStream {
        let ty = format_ident!("{ty}");
        let assignments = &self.assignments;
        quote! {
            #[allow(unused_mut, clippy::field_reassign_with_default)]
            fn #name() -> __ray::#ty {
                let mut options = <__ray::#ty as __ray::Default>::default();
                #(#assignments)*
                options
            }
        }
    }

    fn set_retry(&mut self, entry: Entry) -> Result<()> {
        self.retry_span = Some(entry.span());
        self.retry = match entry.value {
            Value::Flag => Retry::All,
            Value::Expr(Expr::Lit(ExprLit {
                lit: Lit::Bool(all), ..
            })) if all.value => Retry::All,
            Value::Expr(Expr::Lit(ExprLit { lit: Lit::Bool(_), .. })) => Retry::Never,
            Value::Expr(predicate) if !matches!(predicate, Expr::Lit(_)) => Retry::Matching(predicate),
            Value::Expr(_) | Value::List(_) => {
                let message = "`retry_exceptions` is `true`, `false` or a function `fn(&E) -> bool`";
                return Err(Error::new(entry.name.span(), message));
            }
        };
        let which = match self.retry {
            Retry::Never => quote!(Never),
            Retry::All => quote!(All),
            Retry::Matching(_) => quote!(Matching),
        };
        self.assignments
            .push(quote!(options.retry_exceptions = __ray::RetryExceptions::#which;));
        Ok(())
    }

    fn assignment(&mut self, entry: &Entry, target: Target) -> Result<TokenStream> {
        let name = &entry.name;
        let Some(kind) = target.kind_of(&name.to_string()) else {
            return Err(unknown(entry, target));
        };
        let span = match &entry.value {
            Value::Expr(expr) => expr.span(),
            _ => name.span(),
        };
        let value = self.value(entry, kind)?;
        Ok(quote_spanned!(span=> options.#name = #value;))
    }

    /// The code of a value, whose span is the user's.
    fn value(&mut self, entry: &Entry, kind: Kind) -> Result<TokenStream> {
        let expr = |example| entry.expr(example);
        Ok(match kind {
            Kind::Amount => amount(expr("2")?)?,
            Kind::OptionalAmount => {
                let amount = amount(expr("2")?)?;
                quote!(__ray::Some(#amount))
            }
            Kind::Bytes => {
                let bytes = whole(expr("1 << 30")?, 0, "a number of bytes")?;
                quote!(__ray::Some(#bytes))
            }
            Kind::Text => {
                let text = self.text(entry)?;
                quote!(__ray::Some(__ray::String::from(#text)))
            }
            Kind::Limit => limit(expr("3")?)?,
            Kind::OptionalLimit => {
                let limit = limit(expr("3")?)?;
                quote!(__ray::Some(#limit))
            }
            Kind::Count => whole(expr("100")?, 0, "a number from 0")?,
            Kind::OptionalPositive => {
                let number = whole(expr("4")?, 1, "a number from 1")?;
                quote!(__ray::Some(#number))
            }
            Kind::Backoff => {
                let time = time(expr("\"100ms\"")?, true)?;
                quote!(__ray::Some(__ray::RetryBackoff::from(#time)))
            }
            Kind::Time => {
                let time = time(expr("\"30s\"")?, true)?;
                quote!(__ray::Some(#time))
            }
            Kind::Isolation => word(
                expr("\"shared\"")?,
                "Isolation",
                &[("process", "Process"), ("shared", "Shared")],
            )?,
            Kind::Strategy => word(
                expr("\"spread\"")?,
                "SchedulingStrategy",
                &[("default", "Default"), ("spread", "Spread")],
            )?,
            Kind::Lifetime => word(
                expr("\"detached\"")?,
                "Lifetime",
                &[("detached", "Detached"), ("non_detached", "NonDetached")],
            )?,
            Kind::Flag => match &entry.value {
                Value::Flag => quote!(true),
                _ => {
                    let expr = expr("true")?;
                    quote!(#expr)
                }
            },
            Kind::Amounts => map(entry, "tpu = 1", |key, expr| {
                if let Some((_, option)) = RESERVED.iter().find(|(name, _)| *name == key.value()) {
                    return Err(Error::new(
                        key.span(),
                        format!("`{}` has an option: use `{option}`", key.value()),
                    ));
                }
                amount(expr)
            })?,
            Kind::Groups => {
                if let Value::List(pairs) = &entry.value {
                    self.concurrency_groups = pairs.iter().map(|(name, _)| name.value()).collect();
                }
                map(entry, "io = 2", |_, expr| whole(expr, 1, "a number from 1"))?
            }
            Kind::Checkpoint => {
                let expr = expr("10")?;
                let policy = match expr {
                    Expr::Lit(ExprLit { lit: Lit::Int(_), .. }) => whole(expr, 1, "a number of calls from 1")?,
                    _ => time(expr, false)?,
                };
                quote!(__ray::Some(__ray::CheckpointPolicy::from(#policy)))
            }
        })
    }

    fn text(&mut self, entry: &Entry) -> Result<TokenStream> {
        let expr = entry.expr("\"text\"")?;
        match expr {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            }) => {
                if text.value().is_empty() {
                    let message = format!("`{}` is empty: give a text, or remove the option", entry.name);
                    return Err(Error::new(text.span(), message));
                }
                if entry.name == "concurrency_group" {
                    self.concurrency_group = Some(text.clone());
                }
            }
            Expr::Lit(other) => return Err(Error::new(other.span(), "a text is expected: put it in quotes")),
            other if entry.name == "concurrency_group" => {
                return Err(Error::new(other.span(), "the group is a text in quotes"));
            }
            _ => {}
        }
        Ok(quote!(#expr))
    }
}

fn unknown(entry: &Entry, target: Target) -> Error {
    let (name, noun, known) = (entry.name.to_string(), target.noun(), target.names());
    let hint = match nearest(&name, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("there are `{}`", known.join("`, `")),
    };
    Error::new(entry.span(), format!("{noun} has no option `{name}`: {hint}"))
}

fn num_returns(entry: &Entry) -> Result<(u32, Span)> {
    let expr = entry.expr("2")?;
    let number = match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Int(number), ..
        }) => number.base10_parse::<u32>().ok(),
        _ => None,
    };
    match number {
        Some(number) if number >= 1 => Ok((number, expr.span())),
        _ => Err(Error::new(expr.span(), "`num_returns` is a number from 1, written out")),
    }
}

/// A number that is written out, with its sign.
fn literal(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Int(number), ..
        }) => number.base10_parse().ok(),
        Expr::Lit(ExprLit {
            lit: Lit::Float(number),
            ..
        }) => number.base10_parse().ok(),
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(_), expr, ..
        }) => literal(expr).map(|number| -number),
        Expr::Group(group) => literal(&group.expr),
        Expr::Paren(paren) => literal(&paren.expr),
        _ => None,
    }
}

/// Refuses a constant that is no number, or none from `least`.
fn check_number(expr: &Expr, least: f64, whole: bool, expected: &str) -> Result<()> {
    let wrong = match (literal(expr), expr) {
        (Some(number), _) => number < least || (whole && number.fract() != 0.0),
        (None, Expr::Lit(_)) => true,
        (None, _) => false,
    };
    if wrong {
        Err(Error::new_spanned(expr, format!("{expected} is expected")))
    } else {
        Ok(())
    }
}

fn amount(expr: &Expr) -> Result<TokenStream> {
    check_number(expr, 0.0, false, "a number from 0")?;
    Ok(quote_spanned!(expr.span()=> __ray::amount(#expr)))
}

fn whole(expr: &Expr, least: u32, expected: &str) -> Result<TokenStream> {
    check_number(expr, f64::from(least), true, expected)?;
    Ok(quote!(#expr))
}

fn limit(expr: &Expr) -> Result<TokenStream> {
    check_number(expr, -1.0, true, "a number from 0, or -1 for no limit,")?;
    Ok(quote!(#expr))
}

/// A `Duration`: a text like `"1.5s"`, or any expression that gives one.
pub(crate) fn time(expr: &Expr, numbers_are_wrong: bool) -> Result<TokenStream> {
    const EXPECTED: &str = "a time is expected: a text like \"500ms\", \"30s\", \"5m\" or \"1h\", or a `Duration`";
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text), ..
        }) => {
            let nanoseconds = nanoseconds(&text.value()).ok_or_else(|| Error::new(text.span(), EXPECTED))?;
            Ok(quote!(__ray::Duration::from_nanos(#nanoseconds)))
        }
        Expr::Lit(_) => Err(Error::new(expr.span(), EXPECTED)),
        _ if numbers_are_wrong && literal(expr).is_some() => Err(Error::new(expr.span(), EXPECTED)),
        _ => Ok(quote!(#expr)),
    }
}

fn nanoseconds(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 5] = [("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let (unit, factor) = UNITS.into_iter().find(|(unit, _)| {
        text.strip_suffix(unit)
            .is_some_and(|number| number.trim_end().ends_with(|last: char| last.is_ascii_digit()))
    })?;
    let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
    let nanoseconds = number * factor;
    (nanoseconds >= 0.0 && nanoseconds < u64::MAX as f64).then_some(nanoseconds as u64)
}

/// One of a few words, or any expression of the type.
fn word(expr: &Expr, ty: &str, words: &[(&str, &str)]) -> Result<TokenStream> {
    let ty = format_ident!("{ty}");
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text), ..
        }) => {
            let written = text.value();
            let Some((_, variant)) = words.iter().find(|(word, _)| *word == written) else {
                let known: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                return Err(Error::new(text.span(), format!("{} is expected", known.join(" or "))));
            };
            let variant = format_ident!("{variant}");
            Ok(quote!(__ray::#ty::#variant))
        }
        _ => Ok(quote!(#expr)),
    }
}

/// A map with texts as keys.
fn map(
    entry: &Entry,
    example: &str,
    mut value: impl FnMut(&LitStr, &Expr) -> Result<TokenStream>,
) -> Result<TokenStream> {
    let Value::List(pairs) = &entry.value else {
        let message = format!("`{0}` is a list: `{0}({example})`", entry.name);
        return Err(Error::new(entry.span(), message));
    };
    let mut entries = Vec::new();
    for (key, expr) in pairs {
        if key.value().is_empty() {
            return Err(Error::new(key.span(), "the name is empty"));
        }
        let value = value(key, expr)?;
        entries.push(quote!((__ray::String::from(#key), #value)));
    }
    Ok(quote!([#(#entries),*].into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(target: Target, tokens: TokenStream) -> String {
        Options::parse(tokens, target)
            .unwrap_err()
            .into_iter()
            .map(|error| error.to_string() + "\n")
            .collect()
    }

    #[test]
    fn an_unknown_option_is_answered_with_what_was_meant() {
        assert!(error(Target::Function, quote!(num_cpu = 2)).contains("did you mean `num_cpus`?"));
        assert!(error(Target::Actor, quote!(max_restart = 2)).contains("did you mean `max_restarts`?"));
        assert!(error(Target::Method, quote!(colour = 2)).contains("there are `name`"));
    }

    #[test]
    fn constants_are_checked_and_all_errors_reported_together() {
        let errors = error(
            Target::Function,
            quote!(
                num_cpus = -1,
                name = "",
                max_retries = -2,
                timeout = 30,
                resources(CPU = 1),
                isolation = "thread"
            ),
        );
        assert_eq!(errors.lines().count(), 6, "{errors}");
        assert!(
            errors.contains("use `num_cpus`") && errors.contains("\"process\" or \"shared\""),
            "{errors}"
        );
    }

    #[test]
    fn expressions_are_left_to_the_compiler() {
        Options::parse(
            quote!(
                num_cpus = HALF / 2.0,
                timeout = LIMIT,
                memory = 1 << 30,
                max_retries = -1
            ),
            Target::Function,
        )
        .unwrap();
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(nanoseconds("500ms"), Some(500_000_000));
        assert_eq!(nanoseconds("1.5 s"), Some(1_500_000_000));
        assert_eq!(nanoseconds("2m"), Some(120_000_000_000));
        assert_eq!(nanoseconds("1h"), Some(3_600_000_000_000));
        assert_eq!(nanoseconds("30"), None);
        assert_eq!(nanoseconds("-1s"), None);
        assert_eq!(nanoseconds("fast"), None);
    }
}
