//! For any input, a call never panics, invents nothing, and loses nothing.
//!
//! `PROPTEST_CASES` sets the number of cases; the default is 256.

mod calls;
mod decoding;

use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Number, Value, json};

use crate::support::valid;

/// Any JSON, which often contains names and values of the API.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        "[a-z_]{0,8}",
        proptest::sample::select(vec!["id", "state", "output", "url", "data", "detail", "loc", "msg", "layer"])
            .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|it| Number::from_f64(it).map_or(Value::Null, Value::Number)),
        any::<String>().prop_map(Value::from),
        Just(json!(valid::ID)),
        Just(json!(valid::signed_url())),
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        let object = vec((name.clone(), inner.clone()), 0..6);
        prop_oneof![
            vec(inner, 0..6).prop_map(Value::from),
            object.prop_map(|it| Value::from(it.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// JSON pointers to all values inside a value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, inner)| places(inner, &format!("{at}/{name}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, inner)| places(inner, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

fn layered() -> Value {
    let bounds = json!({ "x": 2, "y": 4, "width": 6, "height": 3, "canvas_width": 10, "canvas_height": 10 });
    let layer = json!({ "index": 0, "label": "car", "description": "red", "alpha_hint": "hard", "bounds": bounds });
    let mut generation = valid::generation(valid::ID, "completed");
    generation["output"][0]["layer"] = layer;
    generation
}
