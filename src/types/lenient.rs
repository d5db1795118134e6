//! The one decoder of responses: strict first, and where that fails as a reasonable reader would.
//!
//! A text that is not quite JSON, or a value that is not quite what the document says, must not cost
//! a response that may have been paid for. The lenient pass runs only after the strict one has failed.
//! It repairs the value at the place that the error names, again and again, until the rest decodes.

use std::{borrow::Cow, marker::PhantomData};

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use serde_path_to_error::Segment;

/// How many bytes the lenient pass may decode in all, so that a hostile response cannot keep it busy.
const MAX_WORK: usize = 64 * 1024 * 1024;

/// What cannot be made up: without them a response says nothing. `data` is what a page is made of: without its list it
/// is another response, such as an error, and not an empty page.
const ESSENTIAL: [&str; 3] = ["id", "state", "data"];

/// Decodes a response. The error is that of the strict pass.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body).or_else(|error| lenient(body).ok_or(error))
}

fn lenient<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let mut decoder =
        Decoder { value: parse(body)?, attempts: MAX_WORK / body.len().max(1), decoded: PhantomData::<T> };
    loop {
        match decoder.attempt() {
            Ok(response) => {
                tracing::debug!("the response was not quite as documented and was decoded leniently");
                return Some(response);
            }
            Err(fault) => decoder.repair(fault)?,
        }
    }
}

/// A response under repair.
struct Decoder<T> {
    value: Value,
    /// How often it may still be decoded.
    attempts: usize,
    decoded: PhantomData<T>,
}

/// Where a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    path: Vec<Step>,
    is_missing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Item(usize),
}

impl<T: DeserializeOwned> Decoder<T> {
    fn attempt(&mut self) -> Result<T, Fault> {
        self.attempts = self.attempts.saturating_sub(1);
        serde_path_to_error::deserialize(&self.value).map_err(|error| {
            let mut path: Vec<_> = error
                .path()
                .iter()
                .filter_map(|segment| match segment {
                    Segment::Seq { index } => Some(Step::Item(*index)),
                    Segment::Map { key } => Some(Step::Field(key.clone())),
                    Segment::Enum { .. } | Segment::Unknown => None,
                })
                .collect();
            // serde has no other way to say which field is missing.
            let text = error.inner().to_string();
            let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
            path.extend(missing.map(|(field, _)| Step::Field(field.to_owned())));
            Fault { path, is_missing: missing.is_some() }
        })
    }

    /// Changes the value at the place of the fault so that it fits, or gives up what is around it.
    fn repair(&mut self, fault: Fault) -> Option<()> {
        let Fault { mut path, is_missing } = fault;
        let is_essential = matches!(path.last(), Some(Step::Field(field)) if ESSENTIAL.contains(&field.as_str()));
        let is_null = at(&mut self.value, &path).is_some_and(|value| value.is_null());
        if self.attempts > 0
            && !is_missing
            && (is_null || !is_essential)
            && self.replace(&path, meanings, |fault| fault.path != path)
        {
            return Some(());
        }
        while self.attempts > 0 {
            let last = path.pop()?;
            match (last, at(&mut self.value, &path)?) {
                (Step::Item(index), Value::Array(items)) if index < items.len() => {
                    items.remove(index);
                    return Some(());
                }
                (Step::Field(field), Value::Object(fields)) if !ESSENTIAL.contains(&field.as_str()) => {
                    let had = fields.remove(&field).is_some();
                    path.push(Step::Field(field));
                    let is_elsewhere = |fault: &Fault| !fault.path.starts_with(&path);
                    if had && self.fits(is_elsewhere) || self.replace(&path, |_| neutral(), is_elsewhere) {
                        return Some(());
                    }
                    path.pop();
                }
                // What is around an essential field that is wrong is of no use.
                (Step::Field(_) | Step::Item(_), _) => {}
            }
        }
        None
    }

    /// Tries candidates for the value at `path` until there is no fault, or an acceptable one.
    fn replace(
        &mut self,
        path: &[Step],
        candidates: impl Fn(&Value) -> Vec<Value>,
        accept: impl Fn(&Fault) -> bool,
    ) -> bool {
        let was = at(&mut self.value, path).cloned();
        for candidate in candidates(was.as_ref().unwrap_or(&Value::Null)) {
            set(&mut self.value, path, candidate);
            if self.fits(&accept) {
                return true;
            }
        }
        if let Some(was) = was {
            set(&mut self.value, path, was);
        }
        false
    }

    fn fits(&mut self, accept: impl Fn(&Fault) -> bool) -> bool {
        self.attempt().err().is_none_or(|fault| accept(&fault))
    }
}

fn at<'a>(value: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Field(field) => value.get_mut(field),
        Step::Item(index) => value.get_mut(index),
    })
}

fn set(value: &mut Value, path: &[Step], new: Value) {
    let Some((last, around)) = path.split_last() else {
        *value = new;
        return;
    };
    match (last, at(value, around)) {
        (Step::Field(field), Some(Value::Object(fields))) => {
            fields.insert(field.clone(), new);
        }
        (Step::Item(index), Some(Value::Array(items))) => {
            if let Some(item) = items.get_mut(*index) {
                *item = new;
            }
        }
        _ => {}
    }
}

/// What a value may have meant, the likeliest first.
fn meanings(value: &Value) -> Vec<Value> {
    match value {
        Value::Number(number) => {
            let time = epoch(number).map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into());
            integer(number).into_iter().chain([number.to_string().into()]).chain(time).collect()
        }
        Value::Bool(truth) => vec![truth.to_string().into()],
        Value::String(text) => {
            let text = text.trim();
            let number = text.parse::<Number>().ok();
            let whole = number.as_ref().and_then(integer);
            let truth = text.to_ascii_lowercase().parse::<bool>().ok();
            let time = timestamp(text)
                .or_else(|| epoch(number.as_ref()?))
                .map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
            let absent = matches!(text.to_ascii_lowercase().as_str(), "" | "null" | "none").then_some(Value::Null);
            whole
                .into_iter()
                .chain(number.map(Value::Number))
                .chain(truth.map(Value::Bool))
                .chain(time.map(Value::String))
                .chain(absent)
                .collect()
        }
        Value::Null => vec![Value::Array(Vec::new())],
        Value::Object(_) => vec![Value::Array(vec![value.clone()])],
        Value::Array(_) => Vec::new(),
    }
}

/// `5242880.0` is an integer, `212.5` is none.
fn integer(number: &Number) -> Option<Value> {
    let number = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= 2_f64.powi(53))?;
    serde_json::from_str(&format!("{number:.0}")).ok()
}

/// What stands in for a field that is absent or of no use. It says nothing.
fn neutral() -> Vec<Value> {
    vec![
        Value::Null,
        "".into(),
        0.into(),
        false.into(),
        Value::Array(Vec::new()),
        Value::Object(Map::new()),
        "1970-01-01T00:00:00Z".into(),
    ]
}

/// A point in time without a zone (which is UTC then), as an HTTP date, or with a space for the `T`.
fn timestamp(text: &str) -> Option<DateTime<Utc>> {
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let without_zone = || formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let day = || NaiveDateTime::parse_from_str(&format!("{text}T00:00:00"), formats[0]).ok();
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").map(|time| time.to_utc()))
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%#z").map(|time| time.to_utc()))
        .or_else(|_| DateTime::parse_from_rfc2822(text).map(|time| time.to_utc()))
        .ok()
        .or_else(|| without_zone().or_else(day).map(|time| time.and_utc()))
        .or_else(|| httpdate::parse_http_date(text).ok().map(Into::into))
}

/// Seconds or milliseconds since 1970, where that is a year of this century.
fn epoch(number: &Number) -> Option<DateTime<Utc>> {
    let number = number.as_f64()?;
    let seconds = if number >= 1e11 { number / 1000.0 } else { number };
    let is_plausible = (946_684_800.0..4_102_444_800.0).contains(&seconds);
    is_plausible.then(|| DateTime::UNIX_EPOCH + std::time::Duration::from_secs_f64(seconds))
}

/// The first JSON value in a body, with every byte and escape that is no text replaced by U+FFFD.
pub(crate) fn parse(body: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}');
    let parse = |text: &str| serde_json::Deserializer::from_str(text).into_iter().next()?.ok();
    parse(text).or_else(|| parse(&repaired_text(text)))
}

/// Text in which every string can be decoded: lone surrogates, unknown escapes and raw control
/// characters inside strings are replaced.
fn repaired_text(text: &str) -> Cow<'_, str> {
    let mut repaired = String::with_capacity(text.len());
    let mut chars = text.char_indices();
    let mut in_string = false;
    while let Some((start, c)) = chars.next() {
        match c {
            '"' => {
                in_string = !in_string;
                repaired.push(c);
            }
            '\\' if in_string => {
                let (escape, length) = escape(&text[start..]);
                repaired.push_str(&escape);
                // All but the backslash, which is consumed.
                for _ in text[start..start + length].chars().skip(1) {
                    chars.next();
                }
            }
            c if in_string && c.is_control() && c < ' ' => repaired.push('\u{fffd}'),
            c => repaired.push(c),
        }
    }
    repaired.into()
}

/// The escape at the beginning of `text`, in a form that can be decoded, and how long it was.
fn escape(text: &str) -> (Cow<'_, str>, usize) {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    match text.as_bytes().get(1) {
        Some(b'u') => match (unit(0), unit(6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (text[..12].into(), 12),
            (Some(0xd800..=0xdfff), _) => ("\u{fffd}".into(), 6),
            (Some(_), _) => (text[..6].into(), 6),
            (None, _) => ("\u{fffd}".into(), 2),
        },
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => (text[..2].into(), 2),
        _ => ("\u{fffd}".into(), 1),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::types::{File, FilePage, Generation, GenerationState};

    const ID: &str = "d290f1ee-6c54-4b01-90e6-d701748f0851";

    fn generation() -> Value {
        let bounds = json!({ "x": 2, "y": 4, "width": 6, "height": 3, "canvas_width": 10, "canvas_height": 10 });
        let layer = json!({ "index": 0, "label": "car", "description": "red", "alpha_hint": "hard", "bounds": bounds });
        json!({
            "id": ID, "type": "image", "state": "completed", "model": "uni-1", "created_at": "2026-06-23T12:00:00Z",
            "failure_reason": null,
            "output": [{ "type": "image", "url": "https://h/a.png?s=1", "layer": layer }],
        })
    }

    fn file() -> Value {
        json!({
            "id": ID, "created_at": "2026-06-23T12:00:00Z", "mime_type": "image/png", "purpose": "input",
            "size_bytes": 1024, "state": "ready", "filename": "a.png",
        })
    }

    fn with(mut value: Value, pointer: &str, new: Value) -> Value {
        let (around, field) = pointer.rsplit_once('/').expect("a pointer");
        match value.pointer_mut(around).expect("a place") {
            Value::Array(items) => items.push(new),
            around => around[field] = new,
        }
        value
    }

    fn read<T: DeserializeOwned>(value: &Value) -> T {
        decode(value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}: {value}"))
    }

    #[test]
    fn a_lone_half_of_a_surrogate_pair_becomes_a_replacement_character() {
        for (written, meant) in [
            (r"a cat \ud83d", "a cat \u{fffd}"),
            (r"\ude00 a", "\u{fffd} a"),
            (r"\ud83d\ude00", "\u{1f600}"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\uD83D\n\\ \/", "\u{fffd}\n\\ /"),
            (r"\uzz \x", "\u{fffd}zz \u{fffd}x"),
            ("a\nb\u{0}", "a\u{fffd}b\u{fffd}"),
        ] {
            let body = generation().to_string().replace("null", &format!("\"{written}\""));
            let read: Generation = decode(body.as_bytes()).expect(written);
            assert_eq!(read.failure_reason.as_deref(), Some(meant), "{written}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_and_what_surrounds_the_json_cost_nothing() {
        let body = generation().to_string();
        let broken = [b"\xef\xbb\xbf".as_slice(), body.replace("car", "c?r").as_bytes(), b"\n<!-- x -->"].concat();
        let broken: Vec<u8> = broken.iter().map(|byte| if *byte == b'?' { 0xff } else { *byte }).collect();
        let read: Generation = decode(&broken).expect("a generation");
        assert_eq!(read.id.to_string(), ID);
    }

    #[test]
    fn values_written_another_way_are_what_they_mean() {
        let bounds = "/output/0/layer/bounds/x";
        for (x, meant) in [(json!(212.0), 212), (json!("212"), 212), (json!("212.0"), 212), (json!(2.12e2), 212)] {
            let read: Generation = read(&with(generation(), bounds, x));
            assert_eq!(read.outputs()[0].layer.as_ref().and_then(|it| it.bounds.as_ref()).map(|it| it.x), Some(meant));
        }
        let read_file: File = read(&with(file(), "/size_bytes", json!(5_242_880.0)));
        assert_eq!(read_file.size_bytes, 5_242_880);
        let read_file: File = read(&with(file(), "/filename", json!(7)));
        assert_eq!(read_file.filename.as_deref(), Some("7"));
    }

    #[test]
    fn an_odd_timestamp_costs_a_timestamp_at_most() {
        for (written, meant) in [
            ("2026-06-23T12:00:00", "2026-06-23T12:00:00+00:00"),
            ("2026-06-23 12:00:00", "2026-06-23T12:00:00+00:00"),
            ("2026-06-23 12:00:00+02:00", "2026-06-23T10:00:00+00:00"),
            ("2026-06-23", "2026-06-23T00:00:00+00:00"),
            ("Tue, 23 Jun 2026 12:00:00 GMT", "2026-06-23T12:00:00+00:00"),
            ("Tue, 23 Jun 2026 12:00:00 +0200", "2026-06-23T10:00:00+00:00"),
            ("2026-06-23T12:00:00+0200", "2026-06-23T10:00:00+00:00"),
            ("2026-06-23t12:00:00z", "2026-06-23T12:00:00+00:00"),
            ("1782216000", "2026-06-23T12:00:00+00:00"),
            ("", "1970-01-01T00:00:00+00:00"),
            ("yesterday", "1970-01-01T00:00:00+00:00"),
        ] {
            let read: File = read(&with(file(), "/created_at", json!(written)));
            assert_eq!((read.id.to_string().as_str(), read.created_at.to_rfc3339().as_str()), (ID, meant), "{written}");
        }
    }

    #[test]
    fn a_timestamp_may_be_a_number() {
        for number in [json!(1_782_216_000), json!(1_782_216_000.0), json!(1_782_216_000_000_u64)] {
            let read: File = read(&with(file(), "/created_at", number.clone()));
            assert_eq!(read.created_at.to_rfc3339(), "2026-06-23T12:00:00+00:00", "{number}");
        }
    }

    #[test]
    fn one_bad_field_costs_that_field_whatever_it_holds() {
        for bad in
            [json!(null), json!(212.5), json!("x"), json!([]), json!({}), json!([1]), json!({"a": 1}), json!(true)]
        {
            for place in [
                "/type",
                "/model",
                "/created_at",
                "/failure_code",
                "/failure_reason",
                "/output",
                "/output/0/layer",
                "/output/0/layer/label",
                "/output/0/layer/bounds",
                "/output/0/layer/bounds/x",
                "/output/0/layer/index",
            ] {
                let read: Generation = read(&with(generation(), place, bad.clone()));
                assert_eq!(
                    (read.id.to_string().as_str(), read.state),
                    (ID, GenerationState::Completed),
                    "{place} {bad}"
                );
            }
            for place in ["/created_at", "/mime_type", "/purpose", "/size_bytes", "/filename", "/expires_at"] {
                let read: File = read(&with(file(), place, bad.clone()));
                assert_eq!(read.id.to_string(), ID, "{place} {bad}");
            }
        }
    }

    #[test]
    fn a_bad_element_hides_no_good_one() {
        for bad in [json!(null), json!({}), json!({"type": "image"}), json!({"type": "image", "url": 7}), json!("x")] {
            let read: Generation = read(&with(generation(), "/output/-", bad));
            assert_eq!(read.outputs().len(), 1);
        }
        let no_id = json!({ "state": "ready" });
        let page = json!({ "data": [no_id, file(), 7, with(file(), "/id", json!("x"))], "has_more": null });
        let page: FilePage = read(&page);
        assert_eq!((page.data.len(), page.has_more), (1, false));
        let page: FilePage = read(&json!({ "data": null, "has_more": false }));
        assert!(page.data.is_empty());
    }

    #[test]
    fn what_says_nothing_is_still_an_error() {
        for body in ["", "null", "[]", "<html>", "{}", "7"] {
            assert!(decode::<Generation>(body.as_bytes()).is_err(), "{body}");
        }
        for body in [r#"{"detail":"an error"}"#, "{}", r#"{"data":7}"#, r#"{"data":"x","has_more":false}"#] {
            assert!(decode::<FilePage>(body.as_bytes()).is_err(), "{body}");
        }
        for essential in ["/id", "/state"] {
            for bad in [json!(null), json!(42), json!([]), json!({})] {
                let body = with(generation(), essential, bad).to_string();
                assert!(decode::<Generation>(body.as_bytes()).is_err(), "{body}");
            }
        }
        let mut nameless = generation();
        nameless.as_object_mut().expect("an object").remove("id");
        assert!(decode::<Generation>(nameless.to_string().as_bytes()).is_err());
    }

    #[test]
    fn a_page_full_of_faults_is_read() {
        let bad = json!({ "id": ID, "state": "ready", "size_bytes": "x", "created_at": 7, "mime_type": null });
        let page: FilePage = read(&json!({ "data": vec![bad; 25], "has_more": false }));
        assert_eq!(page.data.len(), 25);
    }

    #[test]
    fn a_response_that_needs_too_much_work_is_given_up() {
        let bad = json!({ "id": ID, "state": "ready", "size_bytes": "x", "created_at": 7, "mime_type": null });
        let value = json!({ "data": vec![bad; 25], "has_more": false });
        let mut decoder = Decoder { value, attempts: 10, decoded: PhantomData::<FilePage> };
        let mut repairs = 0;
        while let Err(fault) = decoder.attempt() {
            if decoder.repair(fault).is_none() {
                break;
            }
            repairs += 1;
        }
        assert!(decoder.attempts == 0 && repairs < 10, "{repairs}");
    }
}
