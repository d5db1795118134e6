//! The id of the request that a submission had under way when it is dropped: the client logs it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    subscriber::with_default,
};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt as _},
    registry,
};

/// Drops a submission. None if no request was under way, so that no job can exist.
pub(crate) fn request_id_of(submission: impl Sized) -> Option<String> {
    let found = Found::default();
    with_default(registry().with(found.clone()), || drop(submission));
    found.0.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[derive(Clone, Default)]
struct Found(Arc<Mutex<Option<String>>>);

impl<S: Subscriber> Layer<S> for Found {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut self.clone());
    }
}

impl Visit for Found {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "request_id" {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
