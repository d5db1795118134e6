//! `openapi.yaml` as the emulator uses it: which operation a request is for, whether it keeps to its
//! schemas, and examples to build replies from.

use std::sync::{Arc, LazyLock};

use http::Method;
use jsonschema::{ValidationError, Validator, error::ValidationErrorKind, paths::LocationSegment};
use serde_json::{Map, Value, json};

use super::schema::{Schemas, entries, items};
use crate::error::{Error, Result};

/// The document that the crate was built from, as JSON.
const BUILT_IN: &str = include_str!(concat!(env!("OUT_DIR"), "/document.json"));

pub(super) struct Document {
    source: Value,
    endpoints: Vec<Endpoint>,
}

impl Document {
    /// The document that the crate was built from.
    pub(super) fn built_in(unknown_fields: bool) -> Result<Arc<Self>> {
        static STRICT: LazyLock<Result<Arc<Document>, String>> = LazyLock::new(|| Document::parse(BUILT_IN, false));
        let document = if unknown_fields { Self::parse(BUILT_IN, true) } else { STRICT.clone() };
        document.map_err(|e| Error::invalid_input(format!("openapi.yaml: {e}")))
    }

    fn parse(text: &str, unknown_fields: bool) -> Result<Arc<Self>, String> {
        let source = serde_json::from_str(text).map_err(|e| e.to_string())?;
        Self::new(source, unknown_fields).map(Arc::new)
    }

    pub(super) fn new(source: Value, unknown_fields: bool) -> Result<Self, String> {
        let schemas = Schemas::new(&source, unknown_fields)?;
        let mut endpoints = Vec::new();
        for (path, methods) in entries(&source["paths"]) {
            for (method, operation) in entries(methods) {
                let Some(id) = operation["operationId"].as_str() else { continue };
                let endpoint = Endpoint::new(&schemas, id, method, path, operation);
                endpoints.push(endpoint.map_err(|e| format!("{id}: {e}"))?);
            }
        }
        Ok(Self { source, endpoints })
    }

    /// The operation that a request is for.
    pub(super) fn endpoint(&self, method: &Method, path: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|it| it.method == method.as_str() && it.matches(path))
    }

    /// A value of this schema: its example in the document, with these fields instead. So a field that the
    /// document adds is in it.
    pub(super) fn value(&self, schema: &str, fields: Value) -> Value {
        let mut value = fields;
        if let Value::Object(fields) = &mut value {
            for (name, example) in entries(&self.source["components"]["schemas"][schema]["example"]) {
                if !fields.contains_key(name) {
                    fields.insert(name.clone(), example.clone());
                }
            }
        }
        value
    }
}

/// An operation of the document.
pub(super) struct Endpoint {
    pub(super) id: String,
    method: String,
    path: Vec<String>,
    pub(super) query: Input,
    pub(super) json: Option<Input>,
    pub(super) form: Option<Input>,
    /// The status of success, and an example of its body.
    pub(super) success: (u16, Option<Value>),
}

impl Endpoint {
    fn new(schemas: &Schemas<'_>, id: &str, method: &str, path: &str, operation: &Value) -> Result<Self, String> {
        let content = &schemas.resolve(&operation["requestBody"])["content"];
        let body = |media_type: &str| content.get(media_type).map(|it| Input::new(schemas, "body", &it["schema"]));
        Ok(Self {
            id: id.to_owned(),
            method: method.to_uppercase(),
            path: segments(path).map(str::to_owned).collect(),
            query: Input::new(schemas, "query", &query(schemas, operation))?,
            json: body("application/json").transpose()?,
            form: body("multipart/form-data").transpose()?,
            success: success(schemas, operation),
        })
    }

    fn matches(&self, path: &str) -> bool {
        let mut actual = segments(path);
        let mut is_next = |expected: &str| actual.next().is_some_and(|it| expected.starts_with('{') || it == expected);
        self.path.iter().all(|expected| is_next(expected)) && actual.next().is_none()
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.trim_matches('/').split('/')
}

/// The parameters in the query, as the schema of an object.
fn query(schemas: &Schemas<'_>, operation: &Value) -> Value {
    let parameters = items(&operation["parameters"]).map(|it| schemas.resolve(it));
    let parameters: Vec<_> = parameters.filter(|it| it["in"] == "query").collect();
    let fields = parameters.iter().filter_map(|it| Some((it["name"].as_str()?.to_owned(), it["schema"].clone())));
    let mut query = json!({ "type": "object", "properties": fields.collect::<Map<_, _>>() });
    let required: Vec<_> = parameters.iter().filter(|it| it["required"] == true).map(|it| &it["name"]).collect();
    // Draft 4 has no empty list here.
    if !required.is_empty() {
        query["required"] = json!(required);
    }
    query
}

/// The status of success, and the first example of its body.
fn success(schemas: &Schemas<'_>, operation: &Value) -> (u16, Option<Value>) {
    let success = entries(&operation["responses"]).find(|(status, _)| status.starts_with('2'));
    let Some((status, response)) = success else { return (200, None) };
    let content = &schemas.resolve(response)["content"]["application/json"];
    let first = entries(&content["examples"]).next().and_then(|(_, it)| schemas.resolve(it).get("value"));
    (status.parse().unwrap_or(200), first.or(content.get("example")).cloned())
}

/// An object that a request brings: its query, or its body as JSON or a form.
pub(super) struct Input {
    place: &'static str,
    validator: Validator,
    /// Whether the empty object is valid. Most queries are empty.
    may_be_empty: bool,
    fields: Map<String, Value>,
}

impl Input {
    fn new(schemas: &Schemas<'_>, place: &'static str, schema: &Value) -> Result<Self, String> {
        let fields = schemas.properties(schema).map(|(name, field)| (name.clone(), schemas.merged(field))).collect();
        let validator = schemas.validator(schema)?;
        Ok(Self { place, may_be_empty: validator.is_valid(&json!({})), validator, fields })
    }

    /// The schema of a field.
    pub(super) fn field(&self, name: &str) -> &Value {
        self.fields.get(name).unwrap_or(&Value::Null)
    }

    pub(super) fn violations(&self, value: &Value) -> Vec<Violation> {
        let mut violations: Vec<Violation> = Vec::new();
        for violation in self.validator.iter_errors(value).flat_map(|error| Violation::of(self.place, &error)) {
            // Two schemas may say the same about a place.
            if !violations.iter().any(|it| it.entry == violation.entry) {
                violations.push(violation);
            }
        }
        violations
    }

    pub(super) fn check(&self, value: &Value) -> Result<(), Vec<Violation>> {
        let violations = self.violations(value);
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// Checks named texts, and makes of each what its schema says it is.
    pub(super) fn read(&self, texts: impl IntoIterator<Item = (String, String)>) -> Result<Value, Vec<Violation>> {
        let mut object = Map::new();
        for (name, text) in texts {
            let schema = self.field(&name);
            if schema["type"] == "array" {
                let item = typed(&schema["items"], text);
                if let Value::Array(items) = object.entry(name).or_insert_with(|| json!([])) {
                    items.push(item);
                }
            } else {
                object.insert(name, typed(schema, text));
            }
        }
        let is_valid = object.is_empty() && self.may_be_empty;
        let object = Value::Object(object);
        if !is_valid {
            self.check(&object)?;
        }
        Ok(object)
    }
}

/// A text as a value of the type of its schema. If it is none, it stays a text, which the validator rejects.
fn typed(schema: &Value, text: String) -> Value {
    let value = match schema["type"].as_str() {
        Some("integer") => text.parse::<i64>().ok().map(Value::from),
        Some("number") => text.parse::<f64>().ok().map(Value::from),
        Some("boolean") => text.parse::<bool>().ok().map(Value::from),
        _ => None,
    };
    value.unwrap_or(Value::String(text))
}

/// Where a request is not as the document says.
pub(super) struct Violation {
    /// A JSON pointer into the body or query.
    pub(super) pointer: String,
    /// The keyword of JSON Schema that it violates.
    pub(super) keyword: String,
    /// An entry of `detail`, as `FastAPI` writes it.
    pub(super) entry: Value,
}

impl Violation {
    /// One that no schema found.
    pub(super) fn new(loc: &[&str], message: &str) -> Self {
        let entry = json!({ "loc": loc, "msg": message, "type": "value_error" });
        Self { pointer: String::new(), keyword: String::new(), entry }
    }

    fn of(place: &str, error: &ValidationError<'_>) -> Vec<Self> {
        let one = |field: Option<&str>, message: &str, kind: &str| {
            let mut loc = vec![json!(place)];
            loc.extend(error.instance_path().iter().map(|segment| match segment {
                LocationSegment::Property(name) => json!(name),
                LocationSegment::Index(at) => json!(at),
            }));
            loc.extend(field.map(|field| json!(field)));
            Self {
                pointer: error.instance_path().as_str().to_owned(),
                keyword: error.kind().keyword().to_owned(),
                entry: json!({ "loc": loc, "msg": message, "type": kind }),
            }
        };
        match error.kind() {
            ValidationErrorKind::Required { property } => vec![one(property.as_str(), "Field required", "missing")],
            ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
                .iter()
                .map(|field| one(Some(field), "Extra inputs are not permitted", "extra_forbidden"))
                .collect(),
            // The input itself may be a secret, or large.
            _ => vec![one(None, &error.masked_with("Input").to_string(), "value_error")],
        }
    }
}
