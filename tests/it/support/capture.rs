//! Listens to everything that is logged, by this crate and by those below it.

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

/// A span or an event, with all fields it ever got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) target: String,
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

/// What was heard on this thread while it lived.
///
/// There is one subscriber for the process: one for each thread would miss what another thread
/// met first, because `tracing` remembers then that nobody wants to hear of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capture {
    records: Arc<Mutex<Vec<Record>>>,
}

thread_local! {
    static HERE: RefCell<Option<Capture>> = const { RefCell::new(None) };
}

struct Stop;

impl Drop for Stop {
    fn drop(&mut self) {
        HERE.take();
    }
}

impl Capture {
    /// Listens on this thread at every level, until the guard is dropped.
    pub(crate) fn start() -> (Self, impl Drop) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing_subscriber::registry().with(Ear).init());
        let capture = Self::default();
        HERE.set(Some(capture.clone()));
        (capture, Stop)
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }

    /// The spans or events of that name or message, in order.
    pub(crate) fn named(&self, name: &str) -> Vec<Record> {
        self.records().into_iter().filter(|it| it.name == name).collect()
    }
}

fn add(record: Record) {
    if let Some(here) = HERE.with_borrow(Clone::clone) {
        here.records.lock().unwrap().push(record);
    }
}

/// Tells the capture of its thread, if there is one.
struct Ear;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let metadata = attributes.metadata();
        let mut record = Record {
            name: metadata.name().to_owned(),
            target: metadata.target().to_owned(),
            parent: context.span(id).and_then(|it| it.parent()).map(|it| it.id().into_u64()),
            id: Some(id.into_u64()),
            ..Record::default()
        };
        attributes.record(&mut record);
        add(record);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, _: Context<'_, S>) {
        let Some(here) = HERE.with_borrow(Clone::clone) else { return };
        let mut records = here.records.lock().unwrap();
        // Ids are used again once a span is closed: the last one is meant.
        if let Some(record) = records.iter_mut().rev().find(|it| it.id == Some(id.into_u64())) {
            values.record(record);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut record = Record {
            target: event.metadata().target().to_owned(),
            parent: context.event_span(event).map(|it| it.id().into_u64()),
            ..Record::default()
        };
        event.record(&mut record);
        record.name = record.fields.get("message").cloned().unwrap_or_default();
        add(record);
    }
}

static FOREIGN: Mutex<String> = Mutex::new(String::new());

struct Foreign;

impl log::Log for Foreign {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{}: {}\n", record.target(), record.args());
        FOREIGN.lock().unwrap().push_str(&line);
    }

    fn flush(&self) {}
}

/// What crates below log by other means than `tracing`, in the whole process, from the first call on.
pub(crate) fn foreign_log() -> String {
    if log::set_logger(&Foreign).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
    FOREIGN.lock().unwrap().clone()
}
