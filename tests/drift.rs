//! Unknown values are logged once for each process, so this test is a binary of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use luma_agents::types::{GenerationState, Model};
use tracing::{Event, Subscriber, field::Visit};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::Context, prelude::*};

/// Collects the string fields of every drift event.
#[derive(Clone, Default)]
struct DriftEvents(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for DriftEvents {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "luma_agents::drift" {
            let mut fields = StringFields::default();
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0.join(" "));
        }
    }
}

#[derive(Default)]
struct StringFields(Vec<String>);

impl Visit for StringFields {
    fn record_str(&mut self, _: &tracing::field::Field, value: &str) {
        self.0.push(value.to_owned());
    }

    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
}

fn decode(values: &[&str]) {
    for value in values {
        let _: GenerationState = serde_json::from_value((*value).into()).unwrap();
        let _: Model = serde_json::from_value((*value).into()).unwrap();
    }
}

fn captured(level: LevelFilter, during: impl FnOnce()) -> Vec<String> {
    let events = DriftEvents::default();
    let subscriber = tracing_subscriber::registry().with(events.clone().with_filter(level));
    tracing::subscriber::with_default(subscriber, during);
    events.0.lock().unwrap().clone()
}

#[test]
fn an_unknown_value_is_logged_once_for_each_enum_at_debug_level() {
    // A value that was not logged is not remembered.
    let quiet = captured(LevelFilter::INFO, || decode(&["drift-quiet"]));
    assert_eq!(quiet, Vec::<String>::new());
    let events = captured(LevelFilter::DEBUG, || decode(&["queued", "drift-a", "drift-a", "drift-quiet", "drift-a"]));
    let mut expected = Vec::new();
    for value in ["queued", "drift-a", "drift-quiet"] {
        // `queued` is a known state but an unknown model.
        expected.extend((value != "queued").then(|| format!("GenerationState {value}")));
        expected.push(format!("Model {value}"));
    }
    assert_eq!(events, expected);

    let secret = "new\nluma-api-hush https://h/a?X-Amz-Signature=hush";
    let events = captured(LevelFilter::DEBUG, || decode(&[secret]));
    assert_eq!(events, ["GenerationState new luma-api-… https://h/a?…", "Model new luma-api-… https://h/a?…"]);
}
