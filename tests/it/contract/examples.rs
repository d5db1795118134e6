//! Every schema, enum value, request and response of the document has an example that decodes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::wire::{OMITTED_IF_EMPTY, WITHOUT_TYPE, by_name, canonical, names, recode_as};
use crate::support::document::{DOCUMENT, examples, list, object, operations, reference, resolve, schemas, violations};

#[test]
fn every_schema_has_a_type_and_every_type_a_schema() {
    let documented: BTreeSet<_> = schemas().map(|(name, _)| name.as_str()).filter(|it| *it != WITHOUT_TYPE).collect();
    assert_eq!(documented, names().collect());
}

#[test]
fn every_example_is_valid() {
    for example in examples() {
        let problems = violations(example.schema, example.value);
        assert!(problems.is_empty(), "{}: {problems:?}", example.place);
    }
}

#[test]
fn every_example_survives_decoding_and_encoding() {
    let mut count = 0;
    for example in examples().iter().filter(|it| reference(it.schema) != Some(WITHOUT_TYPE)) {
        let again = recode_as(example.schema, example.value).unwrap_or_else(|e| panic!("{}: {e}", example.place));
        assert_eq!(canonical(&again), canonical(example.value), "{}", example.place);
        count += 1;
    }
    assert!(count > 100, "only {count} examples were found");
}

#[test]
fn only_documented_empty_fields_are_omitted_when_encoding() {
    for (schema, field) in OMITTED_IF_EMPTY {
        let mut value = resolve(&DOCUMENT["components"]["schemas"][schema])["example"].clone();
        let empty = if field == "headers" { json!({}) } else { json!([]) };
        value[field] = empty;
        assert_eq!(by_name(schema)(&value).unwrap().get(field), None, "{schema}.{field}");
    }
    for (schema, field) in [("FilePage", "data"), ("Generation", "output"), ("VideoOptions", "keyframes")] {
        let mut value = resolve(&DOCUMENT["components"]["schemas"][schema])["example"].clone();
        value[field] = json!([]);
        assert_eq!(by_name(schema)(&value).unwrap()[field], json!([]), "{schema}.{field}");
    }
}

#[test]
fn every_schema_has_an_example() {
    let shown: BTreeSet<_> = examples().iter().filter_map(|it| reference(it.schema)).collect();
    for (name, _) in schemas() {
        assert!(shown.contains(name.as_str()), "{name}");
    }
}

#[test]
fn every_request_response_parameter_and_header_has_an_example() {
    let mut without = Vec::new();
    let mut check = |place: String, has: bool| {
        if !has {
            without.push(place);
        }
    };
    let has_examples = |node: &Value| {
        let content = node["content"].as_object();
        content.is_none_or(|it| it.values().all(|it| it["examples"].as_object().is_some_and(|it| !it.is_empty())))
    };
    for operation in operations() {
        check(format!("{} request", operation.id), has_examples(&operation.node["requestBody"]));
        for (status, response) in object(&operation.node["responses"]) {
            let response = resolve(response);
            check(format!("{} {status}", operation.id), has_examples(response));
            for (name, header) in object(&response["headers"]) {
                check(format!("{} {status} {name}", operation.id), resolve(header).get("example").is_some());
            }
        }
        for parameter in operation.parameters() {
            check(format!("{} {}", operation.id, parameter["name"]), parameter.get("example").is_some());
        }
    }
    assert_eq!(without, Vec::<String>::new());
}

#[test]
fn every_enum_value_is_accepted_wherever_its_enum_is_used() {
    let unknown = json!("of-tomorrow_7.5");
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for example in examples().iter().filter(|it| reference(it.schema) != Some(WITHOUT_TYPE)) {
        for (name, place) in enums(example.schema, example.value) {
            if !place.is_empty() {
                *seen.entry(name).or_default() += 1;
            }
            let values = list(&DOCUMENT["components"]["schemas"][name]["enum"]);
            for value in values.chain([&*Box::leak(Box::new(unknown.clone()))]) {
                let mut changed = example.value.clone();
                *changed.pointer_mut(&place).unwrap() = value.clone();
                let again = recode_as(example.schema, &changed).unwrap_or_else(|e| panic!("{}: {e}", example.place));
                assert_eq!(canonical(&again), canonical(&changed), "{}", example.place);
            }
        }
    }
    for (name, schema) in schemas().filter(|(_, schema)| schema.get("enum").is_some()) {
        assert!(seen.contains_key(name.as_str()), "no example holds a {name}, one of {}", schema["enum"]);
    }
}

/// The enums inside a value, each with its JSON pointer.
fn enums(schema: &'static Value, value: &Value) -> Vec<(&'static str, String)> {
    let name = reference(schema);
    let schema = resolve(schema);
    if value.is_null() {
        return Vec::new();
    }
    if let (Some(name), true) = (name, schema.get("enum").is_some()) {
        return vec![(name, String::new())];
    }
    let mut found = Vec::new();
    for key in ["allOf", "oneOf"] {
        found.extend(list(&schema[key]).flat_map(|it| enums(it, value)));
    }
    for (field, schema) in object(&schema["properties"]) {
        if let Some(value) = value.get(field) {
            found.extend(enums(schema, value).into_iter().map(|(name, at)| (name, format!("/{field}{at}"))));
        }
    }
    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(enums(&schema["items"], value).into_iter().map(|(name, at)| (name, format!("/{index}{at}"))));
    }
    found
}

#[test]
fn a_response_with_unknown_fields_decodes_like_one_without_them() {
    for example in examples() {
        let Some(name) = reference(example.schema) else { continue };
        if !["Generation", "File", "FilePage", "CreateFileResponse", "Error"].contains(&name) {
            continue;
        }
        let mut changed = example.value.clone();
        add_fields(&mut changed, "");
        let again = recode_as(example.schema, &changed).unwrap_or_else(|e| panic!("{}: {e}", example.place));
        let expected = if name == "Error" { json!({ "detail": changed["detail"] }) } else { example.value.clone() };
        assert_eq!(canonical(&again), canonical(&expected), "{}", example.place);
    }
}

fn add_fields(value: &mut Value, of: &str) {
    match value {
        // `headers` is a map, so an added field would be data.
        Value::Object(_) if of == "headers" => {}
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(name, value)| add_fields(value, name));
            fields.insert("of_tomorrow".to_owned(), json!({ "deep": [1, null, "x"] }));
        }
        Value::Array(items) => items.iter_mut().for_each(|it| add_fields(it, "")),
        _ => {}
    }
}
