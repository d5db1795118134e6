//! The request: flags, `--json-request` and `--set`, put together as JSON and then checked.

use std::{
    collections::{BTreeSet, HashMap},
    str::FromStr,
};

use luma_agents::{
    types::{CreateGeneration, MediaRef},
    uuid::Uuid,
};
use luma_agents_batch::local_path;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// A request that has been checked, with `{"path": ".."}` for local media.
#[derive(Debug)]
pub(crate) struct Request {
    body: Value,
    note: Option<String>,
}

impl Request {
    pub(super) fn new(mut body: Body, settings: &[Setting]) -> Result<Self, Failure> {
        for setting in settings {
            body.put(&setting.field, setting.value.clone()).map_err(Failure::usage)?;
        }
        let request = Self { body: Value::Object(body.0), note: None };
        if request.body["prompt"] == "" {
            return Err(Failure::usage("the prompt is empty"));
        }
        request.with_files(&HashMap::new())?;
        for path in request.local_paths() {
            std::fs::File::open(path).map_err(|e| Failure::io("read", path, &e))?;
        }
        // Of the fields that `--set` adds, one that is unknown may be newer than this program.
        let note = strictly(&request.body).err().map(|e| format!("note: {e}; sent as it is"));
        Ok(Self { note, ..request })
    }

    /// What of it this version does not know.
    pub(crate) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The request as it is sent. A local medium that has no id gets the nil UUID, which is enough for an estimate.
    pub(crate) fn with_files(&self, files: &HashMap<String, Uuid>) -> Result<CreateGeneration, Failure> {
        let sent = with_files(&self.body, files);
        serde_json::from_value(sent).map_err(|e| Failure::usage(format!("the request is not complete: {e}")))
    }

    /// The local media, each once.
    pub(crate) fn local_paths(&self) -> BTreeSet<&str> {
        let mut paths = BTreeSet::new();
        collect(&self.body, &mut paths);
        paths
    }
}

/// The fields of a request while they are put together.
#[derive(Debug, Default)]
pub(super) struct Body(Map<String, Value>);

impl Body {
    /// A request in JSON. An unknown field is an error: it may be a typo.
    pub(super) fn read(json: &str) -> Result<Self, Failure> {
        let wrong = |e: &dyn std::fmt::Display| Failure::usage(format!("--json-request: {e}"));
        let body: Map<_, _> = serde_json::from_str(json).map_err(|e| wrong(&e))?;
        let mut whole = body.clone();
        // It may come from an argument.
        whole.entry("prompt").or_insert_with(|| "?".into());
        strictly(&Value::Object(whole)).map_err(|e| wrong(&e))?;
        Ok(Self(body))
    }

    /// Sets a field, such as `video.resolution`, if there is a value.
    pub(super) fn set(&mut self, field: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            // The names are those of the API, where nothing is in the way.
            let _ = self.put(field, value.into());
        }
    }

    pub(super) fn is_set(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(|it| !it.is_null())
    }

    fn put(&mut self, field: &str, value: Value) -> Result<(), String> {
        let mut names = field.split('.');
        let last = names.next_back().unwrap_or(field);
        let mut object = &mut self.0;
        for name in names {
            let inner = object.entry(name).or_insert_with(|| Map::new().into());
            if inner.is_null() {
                *inner = Map::new().into();
            }
            object = inner.as_object_mut().ok_or_else(|| format!("--set {field}: `{name}` is no object"))?;
        }
        object.insert(last.to_owned(), value);
        Ok(())
    }
}

/// `video.resolution=1080p`: any field of the API, also one that is newer than this program.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    field: String,
    value: Value,
}

impl FromStr for Setting {
    type Err = String;

    /// The value is JSON, or else a text.
    fn from_str(text: &str) -> Result<Self, String> {
        let (field, value) = text.split_once('=').ok_or("write it like video.resolution=1080p")?;
        if field.split('.').any(str::is_empty) {
            return Err("write it like video.resolution=1080p".to_owned());
        }
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        Ok(Self { field: field.to_owned(), value })
    }
}

/// Whether this version knows every field.
fn strictly(body: &Value) -> Result<(), String> {
    let json = with_files(body, &HashMap::new()).to_string();
    CreateGeneration::from_json(json).map(drop).map_err(|e| e.to_string())
}

fn with_files(value: &Value, files: &HashMap<String, Uuid>) -> Value {
    if let Some(path) = local_path(value) {
        let id = files.get(path).copied().unwrap_or_default();
        return serde_json::to_value(MediaRef::file(id)).unwrap_or_default();
    }
    match value {
        Value::Object(fields) => fields.iter().map(|(name, it)| (name.clone(), with_files(it, files))).collect(),
        Value::Array(items) => items.iter().map(|it| with_files(it, files)).collect(),
        simple => simple.clone(),
    }
}

fn collect<'a>(value: &'a Value, paths: &mut BTreeSet<&'a str>) {
    paths.extend(local_path(value));
    match value {
        Value::Object(fields) => fields.values().for_each(|it| collect(it, paths)),
        Value::Array(items) => items.iter().for_each(|it| collect(it, paths)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(settings: &[&str]) -> Result<Request, Failure> {
        let mut body = Body::default();
        body.set("prompt", Some("a duck"));
        let settings: Vec<Setting> = settings.iter().map(|it| it.parse().unwrap()).collect();
        Request::new(body, &settings)
    }

    #[test]
    fn a_setting_reaches_every_field_also_an_unknown_one() {
        let request =
            request(&["video.resolution=1080p", "video.loop=true", "seed=7", "video.edit={\"strength\":\"x\"}"]);
        let request = request.unwrap();
        assert_eq!(request.body["video"], json!({"resolution": "1080p", "loop": true, "edit": {"strength": "x"}}));
        assert_eq!(request.body["seed"], 7);
        assert!(request.note().unwrap().contains("`seed`"), "{:?}", request.note());
        let sent = serde_json::to_value(request.with_files(&HashMap::new()).unwrap()).unwrap();
        assert_eq!(sent["seed"], 7, "it is sent: {sent}");
    }

    #[test]
    fn what_cannot_be_a_request_is_an_error_before_anything_is_sent() {
        assert!(request(&["prompt.x=1"]).unwrap_err().to_string().contains("`prompt` is no object"));
        assert!(request(&["video.hdr=often"]).is_err());
        assert!("=1".parse::<Setting>().is_err() && "a".parse::<Setting>().is_err());
        let typo = Body::read(r#"{"aspect_ration": "1:1"}"#).unwrap_err().to_string();
        assert!(typo.contains("aspect_ratio"), "{typo}");
        assert!(Body::read("[]").is_err());
    }

    #[test]
    fn local_media_are_found_and_replaced() {
        let body = json!({"source": {"path": "a.png"}, "image_ref": [{"path": "b.png"}, {"path": "a.png"}]});
        let request = Request { body, note: None };
        assert_eq!(request.local_paths().into_iter().collect::<Vec<_>>(), ["a.png", "b.png"]);
        let files = HashMap::from([("a.png".to_owned(), Uuid::from_u128(1)), ("b.png".to_owned(), Uuid::from_u128(2))]);
        let sent = with_files(&request.body, &files);
        assert_eq!(sent["image_ref"][0]["file_id"], Uuid::from_u128(2).to_string());
        assert_eq!(sent["source"], sent["image_ref"][1]);
    }
}
