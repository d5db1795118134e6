//! What the emulated service keeps: jobs, files, scripts, the requests so far.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    document::Document,
    picture,
    reply::{Operation, Reply},
    script::{Ingest, Script, Transfer},
    signer::Signer,
};
use crate::types::{FileState, GenerationState};

/// How many requests are kept, and how many bytes of their bodies.
const REQUESTS: usize = 10_000;
const REQUEST_BYTES: usize = 256 * 1024 * 1024;

/// The state and the document, for both servers and the handle.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) document: Arc<Document>,
    state: Arc<Mutex<State>>,
}

impl Shared {
    pub(super) fn new(document: Arc<Document>, storage: String) -> Self {
        Self { document, state: Arc::new(Mutex::new(State::new(storage))) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct State {
    pub(super) jobs: Vec<Job>,
    pub(super) files: Vec<Upload>,
    pub(super) scripts: VecDeque<Script>,
    pub(super) ingests: VecDeque<Ingest>,
    pub(super) downloads: VecDeque<Transfer>,
    pub(super) uploads: VecDeque<Transfer>,
    pub(super) replies: HashMap<Operation, VecDeque<Reply>>,
    pub(super) signer: Signer,
    pub(super) requests: Requests,
    /// How often each object of storage was replaced.
    replaced: HashMap<String, u8>,
}

impl State {
    fn new(storage: String) -> Self {
        Self {
            jobs: Vec::new(),
            files: Vec::new(),
            scripts: VecDeque::new(),
            ingests: VecDeque::new(),
            downloads: VecDeque::new(),
            uploads: VecDeque::new(),
            replies: HashMap::new(),
            signer: Signer::new(storage),
            requests: Requests::default(),
            replaced: HashMap::new(),
        }
    }

    pub(super) fn job(&self, id: Uuid) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id == id)
    }

    pub(super) fn file(&self, id: Uuid) -> Option<&Upload> {
        self.files.iter().find(|upload| upload.id == id)
    }

    pub(super) fn file_mut(&mut self, id: Uuid) -> Option<&mut Upload> {
        self.files.iter_mut().find(|upload| upload.id == id)
    }

    /// Adds a job that goes as the next script says.
    pub(super) fn accept(&mut self, id: Uuid, request: Value) {
        let script = self.scripts.pop_front().unwrap_or_default();
        self.jobs.push(Job { id, request, script, polls: 0, submitted: SystemTime::now() });
    }

    /// The generation in this state, or as it stands. A completed one has fresh URLs.
    pub(super) fn generation(
        &mut self,
        document: &Document,
        id: Uuid,
        state: Option<GenerationState>,
    ) -> Option<Value> {
        let job = self.jobs.iter().find(|job| job.id == id)?;
        let state = state.unwrap_or_else(|| job.state());
        Some(job.to_json(document, &state, &mut self.signer))
    }

    /// An output in storage.
    pub(super) fn object(&self, key: &str) -> Option<Object> {
        let (id, name) = key.strip_prefix("generations/")?.split_once('/')?;
        let job = self.job(id.parse().ok()?)?;
        let replaced = self.replaced.get(key).copied().unwrap_or_default();
        let etag = format!("\"{}-{replaced}\"", key.replace('/', "-"));
        Some(Object { bytes: replace(job.bytes(name)?, replaced), etag, modified: job.submitted })
    }

    /// Puts an object as long and of the same format in the place of another.
    pub(super) fn replace(&mut self, key: String) {
        let times = self.replaced.entry(key).or_default();
        *times = times.wrapping_add(1);
    }
}

fn replace(bytes: Bytes, times: u8) -> Bytes {
    if times == 0 {
        return bytes;
    }
    let kept = bytes.len().min(32) / 2;
    let mut bytes = bytes.to_vec();
    bytes.iter_mut().skip(kept).for_each(|byte| *byte = byte.wrapping_add(times));
    bytes.into()
}

/// Something in storage.
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) etag: String,
    pub(super) modified: SystemTime,
}

/// A generation, and where it is in its script.
pub(super) struct Job {
    pub(super) id: Uuid,
    pub(super) request: Value,
    pub(super) script: Script,
    pub(super) polls: usize,
    pub(super) submitted: SystemTime,
}

/// An output of a completed job.
struct Output {
    name: String,
    kind: &'static str,
    layer: Option<&'static picture::Layer>,
}

impl Job {
    pub(super) fn state(&self) -> GenerationState {
        self.script.state(self.polls, self.submitted.elapsed().unwrap_or_default())
    }

    pub(super) fn is_video(&self) -> bool {
        self.text("type").is_some_and(|kind| kind.starts_with("video"))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.request[name].as_str()
    }

    fn prompt(&self) -> &str {
        self.text("prompt").unwrap_or_default()
    }

    fn to_json(&self, document: &Document, state: &GenerationState, signer: &mut Signer) -> Value {
        let failure = (*state == GenerationState::Failed).then(|| self.script.failure());
        let outputs = if *state == GenerationState::Completed { self.outputs() } else { Vec::new() };
        let outputs: Vec<_> = outputs
            .into_iter()
            .map(|output| {
                let url = signer.sign(&Method::GET, &format!("generations/{}/{}", self.id, output.name));
                let mut fields = json!({ "type": output.kind, "url": url });
                if let Some(layer) = output.layer {
                    fields["layer"] = layer.to_json(document);
                }
                document.value("GenerationOutput", fields)
            })
            .collect();
        let fields = json!({
            "id": self.id,
            "type": self.script.kind.as_ref().map_or(self.text("type").unwrap_or("image"), |it| it.as_str()),
            "model": self.script.model.as_ref().map_or(self.text("model").unwrap_or("uni-1"), |it| it.as_str()),
            "state": state,
            "created_at": timestamp(self.submitted, SecondsFormat::Secs),
            "output": outputs,
            "failure_code": failure.as_ref().map(|(code, _)| code),
            "failure_reason": failure.as_ref().map(|(_, reason)| reason),
        });
        document.value("Generation", fields)
    }

    /// By the type that was requested, also where the script reports another.
    fn outputs(&self) -> Vec<Output> {
        let output = |name: &str, kind| Output { name: name.to_owned(), kind, layer: None };
        if self.text("type") == Some("layering") {
            let layers = picture::LAYERS.iter();
            return layers
                .map(|layer| Output { layer: Some(layer), ..output(&format!("layer-{}.png", layer.index), "image") })
                .collect();
        }
        if !self.is_video() {
            return vec![output("output.png", "image")];
        }
        let mut outputs = vec![output("output.mp4", "video")];
        if self.request["video"]["exr_export"] == true {
            outputs.push(output("output.exr", "exr"));
        }
        outputs
    }

    /// The bytes of an output.
    fn bytes(&self, name: &str) -> Option<Bytes> {
        let outputs = self.outputs();
        let at = outputs.iter().position(|output| output.name == name)?;
        let output = outputs.get(at)?;
        Some(match (&self.script.output, output.layer, name) {
            (Some(bytes), ..) if at == 0 => bytes.clone(),
            (_, Some(layer), _) => layer.png(self.prompt()),
            (.., "output.mp4") => picture::mp4(self.prompt()),
            (.., "output.exr") => picture::exr(self.prompt()),
            _ => picture::png(self.prompt(), self.text("aspect_ratio")),
        })
    }
}

/// A file, and how far its upload is.
pub(super) struct Upload {
    pub(super) id: Uuid,
    /// As it was announced, or its form as JSON.
    pub(super) request: Value,
    pub(super) created: SystemTime,
    pub(super) deleted: Option<SystemTime>,
    pub(super) state: FileState,
    pub(super) failure: Option<String>,
    pub(super) ingest: Ingest,
    /// Once its bytes are there: whether they are an image or a video.
    pub(super) is_media: Option<bool>,
    /// When its upload was completed.
    pub(super) completed: Option<SystemTime>,
    pub(super) polls: usize,
}

impl Upload {
    pub(super) fn new(id: Uuid, request: Value, ingest: Ingest) -> Self {
        Self {
            id,
            request,
            created: SystemTime::now(),
            deleted: None,
            state: FileState::Pending,
            failure: None,
            ingest,
            is_media: None,
            completed: None,
            polls: 0,
        }
    }

    /// Takes note of its first bytes; the others have no use.
    pub(super) fn receive(&mut self, start: &[u8]) {
        let content = infer::get(start).map(|it| it.mime_type());
        self.is_media = Some(content.is_some_and(|it| is_image(it) || is_video(it)));
    }

    /// Ends the ingest, if it is due.
    pub(super) fn advance(&mut self) {
        let (Some(since), FileState::Pending) = (self.completed, &self.state) else { return };
        let due = match self.ingest.takes {
            Some(duration) => since.elapsed().unwrap_or_default() >= duration,
            None => self.polls > 1,
        };
        if !due {
            return;
        }
        let unusable = (self.is_media != Some(true)).then(|| "Unsupported file type".to_owned());
        self.failure = self.ingest.failure.clone().or(unusable);
        self.state = if self.failure.is_some() { FileState::Failed } else { FileState::Ready };
    }

    pub(super) fn mime_type(&self) -> &str {
        self.request["mime_type"].as_str().unwrap_or_default()
    }

    pub(super) fn size(&self) -> u64 {
        self.request["size_bytes"].as_u64().unwrap_or_default()
    }

    /// A file announced without a purpose is an input.
    pub(super) fn purpose(&self) -> &str {
        self.request["purpose"].as_str().unwrap_or("input")
    }

    pub(super) fn to_json(&self, document: &Document) -> Value {
        let fields = json!({
            "id": self.id,
            "created_at": timestamp(self.created, SecondsFormat::Millis),
            "mime_type": self.mime_type(),
            "purpose": self.purpose(),
            "size_bytes": self.size(),
            "state": self.state,
            "filename": self.request["filename"],
            "expires_at": self.request["expires_at"],
            "deleted_at": self.deleted.map(|it| timestamp(it, SecondsFormat::Millis)),
            "failure_reason": self.failure,
            "user_id": self.request["user_id"],
        });
        document.value("File", fields)
    }
}

pub(super) fn timestamp(time: SystemTime, precision: SecondsFormat) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(precision, true)
}

/// The formats that the service documents.
pub(super) fn is_image(media_type: &str) -> bool {
    ["image/jpeg", "image/png", "image/webp", "image/gif"].contains(&media_type)
}

pub(super) fn is_video(media_type: &str) -> bool {
    media_type.starts_with("video/")
}

/// The last requests, so that an emulator that runs for long does not grow with them.
#[derive(Default)]
pub(super) struct Requests {
    kept: VecDeque<(Request, usize)>,
    bytes: usize,
}

impl Requests {
    pub(super) fn push(&mut self, request: Request, body_bytes: usize) {
        self.kept.push_back((request, body_bytes));
        self.bytes += body_bytes;
        while self.kept.len() > REQUESTS || (self.bytes > REQUEST_BYTES && self.kept.len() > 1) {
            self.bytes -= self.kept.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    pub(super) fn to_vec(&self) -> Vec<Request> {
        self.kept.iter().map(|(request, _)| request.clone()).collect()
    }
}

/// A request that the emulator received, and the status of its response.
#[derive(Clone)]
#[non_exhaustive]
pub struct Request {
    /// What it was for. `None` if the emulator has no such operation.
    pub operation: Option<Operation>,
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// Its query, empty if it had none. That of a storage URL has its signature.
    pub query: String,
    /// Its headers. Credentials in them are marked as sensitive.
    pub headers: HeaderMap,
    /// Its body, if that was JSON; else null.
    pub body: Value,
    /// The status of the response. `None` if the connection was broken instead.
    pub status: Option<StatusCode>,
}

/// Without headers, query and body: they may hold credentials, prompts and media.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("operation", &self.operation)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: usize) -> Request {
        let (method, path) = (Method::GET, path.to_string());
        let (operation, query, headers) = (None, String::new(), HeaderMap::new());
        Request { operation, method, path, query, headers, body: Value::Null, status: None }
    }

    #[test]
    fn the_oldest_requests_give_way() {
        let mut requests = Requests::default();
        (0..REQUESTS + 5).for_each(|at| requests.push(request(at), 10));
        let kept = requests.to_vec();
        assert_eq!((kept.len(), kept[0].path.as_str()), (REQUESTS, "5"));
        requests.push(request(0), REQUEST_BYTES - 25);
        assert_eq!(requests.to_vec().len(), 3, "two of ten bytes, and the large one");
        requests.push(request(1), REQUEST_BYTES + 1);
        assert_eq!(requests.to_vec().len(), 1, "the last one is always there");
    }
}
