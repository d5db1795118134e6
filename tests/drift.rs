//! Unknown values are told once in the life of a process, so this is a process of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use luma_agents::types::{GenerationState, Model};
use tracing::{Event, Subscriber, field::Visit};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::Context, prelude::*};

/// The values of `of` and `value` in every event about drift.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Heard {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "luma_agents::drift" {
            let mut texts = Texts::default();
            event.record(&mut texts);
            self.0.lock().unwrap().push(texts.0.join(" "));
        }
    }
}

#[derive(Default)]
struct Texts(Vec<String>);

impl Visit for Texts {
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

fn listening(level: LevelFilter, during: impl FnOnce()) -> Vec<String> {
    let heard = Heard::default();
    let subscriber = tracing_subscriber::registry().with(heard.clone().with_filter(level));
    tracing::subscriber::with_default(subscriber, during);
    heard.0.lock().unwrap().clone()
}

#[test]
fn an_unknown_value_is_told_once_for_each_enum_at_debug_level() {
    // Each value is remembered for the life of the process.
    let quiet = listening(LevelFilter::INFO, || decode(&["drift-quiet"]));
    assert_eq!(quiet, Vec::<String>::new());
    let heard = listening(LevelFilter::DEBUG, || decode(&["queued", "drift-a", "drift-a", "drift-quiet", "drift-a"]));
    let mut expected = Vec::new();
    for value in ["queued", "drift-a", "drift-quiet"] {
        // `queued` is a state, but no model.
        expected.extend((value != "queued").then(|| format!("GenerationState {value}")));
        expected.push(format!("Model {value}"));
    }
    assert_eq!(heard, expected);
}
