//! Every value that the document allows decodes, and every encoded value is allowed by the document.

use proptest::{
    prelude::*,
    strategy::Union,
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};

use super::wire::{canonical, names, recode_as};
use crate::support::document::{list, object, resolve, validator};

/// Random values that a schema allows.
fn values(schema: &'static Value, depth: u32) -> BoxedStrategy<Value> {
    let node = resolve(schema);
    let value = bare(node, depth);
    if node["nullable"] == true { prop_oneof![1 => Just(Value::Null), 4 => value].boxed() } else { value }
}

fn bare(node: &'static Value, depth: u32) -> BoxedStrategy<Value> {
    if let Some(all) = list(&node["allOf"]).next() {
        return values(all, depth);
    }
    if node.get("oneOf").is_some() {
        return Union::new(list(&node["oneOf"]).map(|it| values(it, depth)).collect::<Vec<_>>()).boxed();
    }
    if node.get("enum").is_some() {
        return proptest::sample::select(list(&node["enum"]).cloned().collect::<Vec<_>>()).boxed();
    }
    match node["type"].as_str() {
        Some("object") => fields(node, depth),
        Some("array") => {
            let least = count(&node["minItems"]).unwrap_or(0);
            let most = count(&node["maxItems"]).unwrap_or(3).min(least + 2);
            let items = proptest::collection::vec(values(&node["items"], depth + 1), least..=most);
            items.prop_map(Value::Array).boxed()
        }
        Some("string") => text(node),
        Some("integer") => {
            let (low, high) = (node["minimum"].as_i64(), node["maximum"].as_i64());
            (low.unwrap_or(i64::from(i32::MIN))..=high.unwrap_or(i64::from(i32::MAX))).prop_map(Value::from).boxed()
        }
        Some("number") => {
            let (low, high) = (node["minimum"].as_i64().unwrap(), node["maximum"].as_i64().unwrap());
            let open = node["exclusiveMinimum"] == true;
            // Quarters are exact in every width.
            let quarters = 4 * low + i64::from(open)..=4 * high;
            quarters.prop_map(|it| json!(i32::try_from(it).map(f64::from).unwrap() / 4.0)).boxed()
        }
        Some("boolean") => any::<bool>().prop_map(Value::Bool).boxed(),
        None => {
            prop_oneof!["\\PC{0,20}".prop_map(Value::String), Just(json!([{ "loc": ["body", 1], "msg": "m" }]))].boxed()
        }
        Some(other) => panic!("{other}"),
    }
}

fn count(limit: &Value) -> Option<usize> {
    limit.as_u64().and_then(|it| usize::try_from(it).ok())
}

fn fields(node: &'static Value, depth: u32) -> BoxedStrategy<Value> {
    if node["additionalProperties"].is_object() {
        let entries =
            proptest::collection::btree_map("[A-Za-z-]{1,12}", values(&node["additionalProperties"], depth), 0..3);
        return entries.prop_map(|it| Value::Object(it.into_iter().collect())).boxed();
    }
    let required: Vec<_> = list(&node["required"]).collect();
    let mut all = Just(Map::new()).boxed();
    for (name, schema) in object(&node["properties"]) {
        let value = values(schema, depth + 1).prop_map(Some);
        let value = if required.iter().any(|it| **it == **name) {
            value.boxed()
        } else {
            prop_oneof![1 + depth => Just(None), 2 => value].boxed()
        };
        all = (all, value)
            .prop_map(move |(mut fields, value)| {
                fields.extend(value.map(|value| (name.clone(), value)));
                fields
            })
            .boxed();
    }
    all.prop_map(Value::Object).boxed()
}

fn text(node: &Value) -> BoxedStrategy<Value> {
    let text = match node["format"].as_str() {
        Some("uuid") => any::<u128>().prop_map(|it| uuid::Uuid::from_u128(it).to_string()).boxed(),
        Some("uri") => "https://[a-z]{1,8}\\.example/[a-z0-9/]{0,12}(\\?[A-Za-z-]{1,9}=[A-Za-z0-9%]{0,2}[0-9]{2})?"
            .prop_map(|it| it.replace('%', "%2F"))
            .boxed(),
        Some("date-time") => "20[2-9][0-9]-0[1-9]-[12][0-9]T[01][0-9]:[0-5][0-9]:[0-5][0-9]Z".boxed(),
        Some("byte") => "([A-Za-z0-9+/]{4}){0,8}".boxed(),
        _ => {
            let least = count(&node["minLength"]).unwrap_or(0);
            let most = count(&node["maxLength"]).unwrap_or(40);
            // A text of exactly the maximum length, which counts characters, not bytes.
            let longest = "ä".repeat(most);
            let some = proptest::collection::vec(any::<char>(), least..=(least + 20).min(most));
            prop_oneof![1 => Just(longest), 9 => some.prop_map(|it| it.into_iter().collect::<String>())].boxed()
        }
    };
    text.prop_map(Value::String).boxed()
}

#[test]
fn every_value_that_a_schema_allows_survives_decoding_and_encoding() {
    for name in names() {
        let schema: &'static Value = Box::leak(Box::new(json!({ "$ref": format!("#/components/schemas/{name}") })));
        let valid = validator(schema);
        let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
        TestRunner::new_with_rng(
            config,
            proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
        )
        .run(&values(schema, 0), |value| {
            prop_assert!(valid.is_valid(&value), "the strategy is wrong: {:?}", valid.validate(&value));
            let again = recode_as(schema, &value).map_err(|e| TestCaseError::fail(format!("{value}: {e}")))?;
            prop_assert!(valid.is_valid(&again), "{:?}", valid.validate(&again));
            prop_assert_eq!(canonical(&again), canonical(&value));
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
