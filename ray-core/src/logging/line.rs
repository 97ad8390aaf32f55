//! One event as one line.

use std::fmt;

use serde_json::{Map, Value as Json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Timestamp;
use crate::config::LogEncoding;
use crate::worker::{self, context};

/// Writes events as lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    encoding: LogEncoding,
}

impl Line {
    pub(super) fn new(encoding: LogEncoding) -> Self {
        Self { encoding }
    }
}

/// Who logs: the job of this process, and what runs on this thread.
fn ids() -> impl Iterator<Item = (&'static str, String)> {
    let job = worker::current().ok().map(|worker| worker.identity.job.to_string());
    let running = context::current();
    let running = running.as_ref();
    [
        ("job", job),
        (
            "actor",
            running.and_then(|running| running.actor).map(|actor| actor.to_string()),
        ),
        ("task", running.map(|running| running.task.to_string())),
        ("attempt", running.map(|running| running.attempt.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, id)| Some((name, id?)))
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        match self.encoding {
            LogEncoding::Text => text(context, &mut out, event),
            LogEncoding::Json => writeln!(out, "{}", json(context, event)),
        }
    }
}

fn text<S, N>(context: &FmtContext<'_, S, N>, out: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    let metadata = event.metadata();
    write!(
        out,
        "{} {:>5} {} ",
        Timestamp::now(),
        metadata.level(),
        metadata.target()
    )?;
    for (name, id) in ids() {
        write!(out, "{name}={id} ")?;
    }
    context.visit_spans(|span| {
        write!(out, "{}", span.name())?;
        if let Some(fields) = span
            .extensions()
            .get::<FormattedFields<N>>()
            .filter(|fields| !fields.is_empty())
        {
            write!(out, "{{{fields}}}")?;
        }
        write!(out, ": ")
    })?;
    context.format_fields(out.by_ref(), event)?;
    writeln!(out)
}

fn json<S, N>(context: &FmtContext<'_, S, N>, event: &Event<'_>) -> Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    let metadata = event.metadata();
    let mut object = Object(Map::new());
    // A line's own keys come last, so that no field can stand in for them.
    event.record(&mut object);
    let mut spans = Vec::new();
    let visited = context.visit_spans(|span| {
        spans.push(Json::from(span.name()));
        fmt::Result::Ok(())
    });
    if visited.is_ok() && !spans.is_empty() {
        object.0.insert("spans".to_owned(), spans.into());
    }
    let fixed = [
        ("time", Timestamp::now().to_string()),
        ("level", metadata.level().to_string()),
        ("target", metadata.target().to_owned()),
    ];
    for (name, value) in fixed.into_iter().chain(ids()) {
        object.0.insert(name.to_owned(), value.into());
    }
    Json::Object(object.0)
}

/// The fields of an event.
struct Object(Map<String, Json>);

impl Object {
    fn insert(&mut self, field: &Field, value: impl Into<Json>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Object {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(encoding: LogEncoding, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer()
            .event_format(Line::new(encoding))
            .with_ansi(false)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_of_text_is_time_level_target_spans_message_fields() {
        let line = logged(LogEncoding::Text, || {
            let _span = tracing::info_span!("epoch", number = 3).entered();
            tracing::warn!(target: "app", loss = 0.5, name = "a b", "slow");
        });
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.len() == 27, "{line}");
        assert!(rest.starts_with(" WARN app "), "{line}");
        assert!(
            rest.ends_with("epoch{number=3}: slow loss=0.5 name=\"a b\"\n"),
            "{line}"
        );
    }

    #[test]
    fn a_line_of_json_is_one_object_whose_own_keys_no_field_replaces() {
        let line = logged(LogEncoding::Json, || {
            let _span = tracing::info_span!("epoch").entered();
            tracing::info!(target: "app", loss = 0.5, done = true, count = 7, level = "mine", why = ?Some(1), "two\nlines");
        });
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let object: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(object["message"], "two\nlines");
        assert_eq!(
            (&object["loss"], &object["done"], &object["count"]),
            (&0.5.into(), &true.into(), &7.into())
        );
        assert_eq!((&object["level"], &object["target"]), (&"INFO".into(), &"app".into()));
        assert_eq!(
            (&object["why"], &object["spans"]),
            (&"Some(1)".into(), &serde_json::json!(["epoch"]))
        );
    }
}
