//! One line of an input, as it is read.

use std::borrow::Cow;

use luma_agents::types::{CreateGeneration, MediaRef};
use serde::Deserialize as _;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::problem::{Code, Problem};
use crate::{
    digest::Sha256,
    error::{Error, Result},
    fingerprint::{fingerprint, local_path},
    key::CustomId,
};

/// What OpenAI's batch format has beside id and body.
const METHOD: &str = "POST";
const URL: &str = "/v1/generations";

/// A line of an input: an id and a request, in which `{"path": ".."}` stands for a local medium.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Line {
    /// The number of the line, from 1.
    pub number: u64,
    /// The id; `line-000017` for the 17th line of an input without ids.
    pub custom_id: CustomId,
    /// The request.
    pub body: Value,
    /// The length of the source of a video edit or reframe, for the estimate.
    pub source_seconds: Option<f64>,
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// What is wrong with its form; the body is not checked.
    pub fn parse(number: u64, text: &[u8]) -> std::result::Result<Self, Vec<Problem>> {
        let invalid = |message: String| vec![Problem::new(number, "", Code::InvalidJsonLine, message)];
        let fields = match serde_json::from_slice(text) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(invalid(r#"write {"custom_id": "..", "body": {..}}"#.to_owned())),
            Err(e) if std::str::from_utf8(text).is_err() => {
                return Err(invalid(format!("not UTF-8, at byte {} of the line", e.column())));
            }
            Err(e) => return Err(invalid(format!("{}, at byte {} of the line", reason(&e), e.column()))),
        };
        if !fields.contains_key("body") {
            return Self::bare(number, fields);
        }
        let mut problems = Vec::new();
        let mut problem = |name: &str, code, message: &str| problems.push(Problem::new(number, name, code, message));
        let (mut custom_id, mut body, mut source_seconds) = (Value::Null, Value::Null, Value::Null);
        for (name, value) in fields {
            match name.as_str() {
                "custom_id" => custom_id = value,
                "body" => body = value,
                "source_seconds" => source_seconds = value,
                "method" if value == METHOD => {}
                "method" => problem(&name, Code::InvalidValue, &format!("it can only be {METHOD}")),
                "url" if value == URL => {}
                "url" => problem(&name, Code::InvalidValue, &format!("it can only be {URL}")),
                _ => {
                    let message = "a line has custom_id, body, source_seconds; options of the request belong in body";
                    problem(&name, Code::UnknownParameter, message);
                }
            }
        }
        if !body.is_object() {
            problem("body", Code::InvalidJsonLine, "it must be an object");
        }
        if !source_seconds.is_null() && !source_seconds.as_f64().is_some_and(|it| it > 0.0) {
            problem("source_seconds", Code::InvalidValue, "it must be a number above 0");
        }
        let custom_id = match custom_id {
            Value::String(id) => {
                CustomId::from_text(id).map_err(|e| problem("custom_id", Code::InvalidCustomId, &e.to_string()))
            }
            Value::Null => CustomId::from_text(default_id(number)).map_err(drop),
            _ => {
                problem("custom_id", Code::InvalidCustomId, "it must be a text");
                Err(())
            }
        };
        match custom_id {
            Ok(custom_id) if problems.is_empty() => {
                Ok(Self { number, custom_id, body, source_seconds: source_seconds.as_f64() })
            }
            _ => Err(problems),
        }
    }

    /// A request alone.
    fn bare(number: u64, fields: Map<String, Value>) -> std::result::Result<Self, Vec<Problem>> {
        if let Some(name) =
            ["custom_id", "method", "url", "source_seconds"].into_iter().find(|it| fields.contains_key(*it))
        {
            let message = format!("there is no body beside {name}; put the request into it");
            return Err(vec![Problem::new(number, "body", Code::MissingRequiredParameter, message)]);
        }
        match CustomId::new(default_id(number)) {
            Ok(custom_id) => Ok(Self { number, custom_id, body: Value::Object(fields), source_seconds: None }),
            Err(e) => Err(vec![Problem::new(number, "custom_id", Code::InvalidCustomId, e.to_string())]),
        }
    }

    /// What the request is recognised by: see [`fingerprint`](crate::fingerprint). `content` gives the SHA-256 of the
    /// file at a path.
    ///
    /// # Errors
    ///
    /// As `content`.
    pub fn fingerprint(&self, content: impl FnMut(&str) -> Result<Sha256>) -> Result<Sha256> {
        fingerprint(&self.body, content)
    }

    /// The paths of the local media, each once.
    #[must_use]
    pub fn local_paths(&self) -> Vec<&str> {
        let mut paths = Vec::new();
        visit(&self.body, &mut |value| {
            if let Some(path) = local_path(value)
                && !paths.contains(&path)
            {
                paths.push(path);
            }
        });
        paths
    }

    /// The request as it is sent. `file` gives the id of the uploaded file for the path of a local medium.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](Error::InvalidInput) if the API has no such request.
    pub fn request(&self, mut file: impl FnMut(&str) -> Uuid) -> Result<CreateGeneration> {
        let mut body = Cow::Borrowed(&self.body);
        if has_local(&body) {
            replace_local(body.to_mut(), &mut file);
        }
        // The text of the error may quote the request.
        CreateGeneration::deserialize(&*body).map_err(|_| {
            Error::InvalidInput(format!(
                "line {} ({}) is no request of the API; check the input",
                self.number, self.custom_id
            ))
        })
    }
}

fn default_id(number: u64) -> String {
    format!("line-{number:06}")
}

/// Without the place, which `serde_json` counts within the line's text.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn visit<'a>(value: &'a Value, see: &mut impl FnMut(&'a Value)) {
    see(value);
    match value {
        Value::Object(fields) => fields.values().for_each(|it| visit(it, see)),
        Value::Array(items) => items.iter().for_each(|it| visit(it, see)),
        _ => {}
    }
}

/// Whether a body has local media.
pub(super) fn has_local(value: &Value) -> bool {
    match value {
        Value::Object(fields) => local_path(value).is_some() || fields.values().any(has_local),
        Value::Array(items) => items.iter().any(has_local),
        _ => false,
    }
}

/// Puts references to uploaded files where local media are.
pub(super) fn replace_local(value: &mut Value, file: &mut impl FnMut(&str) -> Uuid) {
    if let Some(path) = local_path(value) {
        *value = serde_json::to_value(MediaRef::file(file(path))).unwrap_or_default();
        return;
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|it| replace_local(it, file)),
        Value::Array(items) => items.iter_mut().for_each(|it| replace_local(it, file)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Line {
        Line::parse(17, text.as_bytes()).unwrap()
    }

    fn problems(text: &str) -> Vec<String> {
        let problems = Line::parse(17, text.as_bytes()).unwrap_err();
        problems.iter().map(|it| format!("{} {}", it.code, it.param.as_deref().unwrap_or("-"))).collect()
    }

    #[test]
    fn a_line_has_an_id_and_a_body() {
        let line = parse(r#"{"custom_id":"sku-001","body":{"prompt":"a duck"}}"#);
        assert_eq!((line.custom_id.as_str(), &line.body["prompt"]), ("sku-001", &Value::from("a duck")));
        let line = parse(r#"{"custom_id":"a","method":"POST","url":"/v1/generations","body":{},"source_seconds":4.5}"#);
        assert_eq!(line.source_seconds, Some(4.5));
    }

    #[test]
    fn a_request_alone_is_known_by_its_line() {
        for text in [r#"{"prompt":"a duck"}"#, r#"{"body":{"prompt":"a duck"}}"#] {
            assert_eq!(parse(text).custom_id.as_str(), "line-000017");
            assert_eq!(parse(text).body["prompt"], "a duck");
        }
    }

    #[test]
    fn every_problem_of_a_line_is_named() {
        for (text, expected) in [
            ("", vec!["invalid_json_line -"]),
            ("{", vec!["invalid_json_line -"]),
            ("[]", vec!["invalid_json_line -"]),
            ("{\"body\":{}} {}", vec!["invalid_json_line -"]),
            (r#"{"custom_id":"a b","body":[]}"#, vec!["invalid_json_line body", "invalid_custom_id custom_id"]),
            (r#"{"custom_id":7,"body":{}}"#, vec!["invalid_custom_id custom_id"]),
            (r#"{"custom_id":"a","prompt":"a duck"}"#, vec!["missing_required_parameter body"]),
            (r#"{"custom_id":"a","body":{},"modle":"uni-1"}"#, vec!["unknown_parameter modle"]),
            (r#"{"body":{},"method":"GET","url":"/v1/x"}"#, vec!["invalid_value method", "invalid_value url"]),
            (r#"{"body":{},"source_seconds":0}"#, vec!["invalid_value source_seconds"]),
        ] {
            assert_eq!(problems(text), expected, "{text}");
        }
        let not_utf8 = Line::parse(3, b"{\"prompt\":\"\xff\"}").unwrap_err();
        assert_eq!(not_utf8[0].to_string(), "line 3: invalid_json_line: not UTF-8, at byte 12 of the line");
    }

    #[test]
    fn local_media_are_found_once_each_and_replaced_by_files() {
        let line = parse(
            r#"{"prompt":"a","source":{"path":"a.png"},"image_ref":[{"path":"b.png"},{"path":"a.png"},{"url":"https://x/y"}]}"#,
        );
        let mut paths = line.local_paths();
        paths.sort_unstable();
        assert_eq!(paths, ["a.png", "b.png"]);
        let request = line.request(|path| Uuid::from_u128(u128::from(path.as_bytes()[0]))).unwrap();
        assert_eq!(request.source, Some(MediaRef::file(Uuid::from_u128(0x61))));
        assert_eq!(request.image_ref.len(), 3);
        assert!(parse(r#"{"prompt":""}"#).request(|_| Uuid::nil()).is_err());
        let newer = parse(r#"{"prompt":"a","seed":7}"#).request(|_| Uuid::nil()).unwrap();
        assert_eq!(serde_json::to_value(newer).unwrap()["seed"], 7, "what is newer than the SDK is sent as it is");
    }
}
