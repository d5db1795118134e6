//! Captures everything that this crate and its dependencies log.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, Once},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry::LookupSpan};

/// A span or an event with all its fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) level: String,
    /// The span around it.
    pub(crate) parent: Option<u64>,
    pub(crate) id: Option<u64>,
    pub(crate) fields: BTreeMap<String, String>,
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().to_owned(), value.to_owned());
    }
}

/// The records of this thread.
///
/// There is one subscriber for the process. With one for each thread, `tracing` would cache that a
/// callsite has no subscriber when another thread reaches it first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capture {
    records: Arc<Mutex<Vec<Record>>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Capture>> = const { RefCell::new(None) };
}

struct StopOnDrop;

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        CURRENT.take();
    }
}

impl Capture {
    /// Captures this thread at every level until the guard is dropped.
    pub(crate) fn start() -> (Self, impl Drop) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing_subscriber::registry().with(CaptureLayer).init());
        let capture = Self::default();
        CURRENT.set(Some(capture.clone()));
        (capture, StopOnDrop)
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }

    /// The spans or events with this name or message, in order.
    pub(crate) fn named(&self, name: &str) -> Vec<Record> {
        self.records().into_iter().filter(|it| it.name == name).collect()
    }
}

fn add(record: Record) {
    if let Some(capture) = CURRENT.with_borrow(Clone::clone) {
        capture.records.lock().unwrap().push(record);
    }
}

/// Passes each record to the capture of its thread, if there is one.
struct CaptureLayer;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for CaptureLayer {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let metadata = attributes.metadata();
        let mut record = Record {
            name: metadata.name().to_owned(),
            target: metadata.target().to_owned(),
            level: metadata.level().to_string(),
            parent: context.span(id).and_then(|it| it.parent()).map(|it| it.id().into_u64()),
            id: Some(id.into_u64()),
            ..Record::default()
        };
        attributes.record(&mut record);
        add(record);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, _: Context<'_, S>) {
        let Some(capture) = CURRENT.with_borrow(Clone::clone) else { return };
        let mut records = capture.records.lock().unwrap();
        // Ids are reused after a span closes, so take the last record.
        if let Some(record) = records.iter_mut().rev().find(|it| it.id == Some(id.into_u64())) {
            values.record(record);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut record = Record {
            target: event.metadata().target().to_owned(),
            level: event.metadata().level().to_string(),
            parent: context.event_span(event).map(|it| it.id().into_u64()),
            ..Record::default()
        };
        event.record(&mut record);
        record.name = record.fields.get("message").cloned().unwrap_or_default();
        add(record);
    }
}

static LOG_CRATE_OUTPUT: Mutex<String> = Mutex::new(String::new());

struct LogCrateCapture;

impl log::Log for LogCrateCapture {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{}: {}\n", record.target(), record.args());
        LOG_CRATE_OUTPUT.lock().unwrap().push_str(&line);
    }

    fn flush(&self) {}
}

/// What dependencies log through the `log` crate, in the whole process, from the first call on.
pub(crate) fn log_crate_output() -> String {
    if log::set_logger(&LogCrateCapture).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
    LOG_CRATE_OUTPUT.lock().unwrap().clone()
}
