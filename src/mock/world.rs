//! What the emulated service knows.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use uuid::Uuid;

use super::{
    answer::{Answer, Operation},
    picture,
    script::{Ingest, Script, Transfer},
};
use crate::types::{File, FileState, Generation, GenerationOutput, GenerationState, GenerationType, Layer, Model, Url};

/// The world, shared by both origins and the handle.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(origin: String) -> Self {
        Self(Arc::new(Mutex::new(World::new(origin))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct World {
    /// Of the storage.
    origin: String,
    pub(super) url_lifetime: Duration,
    pub(super) jobs: Vec<Job>,
    pub(super) files: Vec<Upload>,
    pub(super) scripts: VecDeque<Script>,
    pub(super) ingests: VecDeque<Ingest>,
    pub(super) downloads: VecDeque<Transfer>,
    pub(super) uploads: VecDeque<Transfer>,
    pub(super) answers: HashMap<Operation, VecDeque<Answer>>,
    pub(super) objects: HashMap<String, Object>,
    /// By signature.
    pub(super) grants: HashMap<String, Grant>,
    pub(super) requests: Vec<Request>,
}

impl World {
    fn new(origin: String) -> Self {
        Self {
            origin,
            url_lifetime: Duration::from_secs(3600),
            jobs: Vec::new(),
            files: Vec::new(),
            scripts: VecDeque::new(),
            ingests: VecDeque::new(),
            downloads: VecDeque::new(),
            uploads: VecDeque::new(),
            answers: HashMap::new(),
            objects: HashMap::new(),
            grants: HashMap::new(),
            requests: Vec::new(),
        }
    }

    pub(super) fn job(&self, id: Uuid) -> Option<&Job> {
        self.jobs.iter().find(|job| job.accepted.id == id)
    }

    pub(super) fn file(&self, id: Uuid) -> Option<&Upload> {
        self.files.iter().find(|upload| upload.file.id == id)
    }

    /// A new job, which goes as the next script says.
    pub(super) fn accept(&mut self, id: Uuid, request: Value) -> Generation {
        let script = self.scripts.pop_front().unwrap_or_default();
        let text = |name: &str, default: &str| request[name].as_str().unwrap_or(default).to_owned();
        let created_at = DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Secs, true);
        let model = script.model.clone().unwrap_or_else(|| Model::from(text("model", "uni-1")));
        let kind = script.kind.clone().unwrap_or_else(|| GenerationType::from(text("type", "image")));
        let accepted = Generation {
            output: Some(Vec::new()),
            ..Generation::of(created_at, id, model, GenerationState::Queued, kind)
        };
        let job = Job { accepted: accepted.clone(), request, script, looks: 0, submitted: SystemTime::now() };
        self.jobs.push(job);
        accepted
    }

    /// The generation as it stands, with fresh URLs once it is completed.
    pub(super) fn show(&mut self, id: Uuid) -> Option<Generation> {
        let job = self.jobs.iter_mut().find(|job| job.accepted.id == id)?;
        let mut shown = job.accepted.clone();
        shown.state = job.state();
        if shown.state == GenerationState::Failed {
            let (code, reason) = job.script.failure();
            (shown.failure_code, shown.failure_reason) = (Some(code), Some(reason));
        }
        if shown.state != GenerationState::Completed {
            return Some(shown);
        }
        let mut outputs = Vec::new();
        for made in job.outputs() {
            let key = format!("generations/{id}/{}", made.name);
            self.objects.entry(key.clone()).or_insert_with(|| Object::new(made.bytes));
            outputs.extend(
                self.sign(Grant::get(key)).map(|url| GenerationOutput {
                    layer: made.layer,
                    ..GenerationOutput::of(made.kind.to_owned(), url)
                }),
            );
        }
        shown.output = Some(outputs);
        Some(shown)
    }

    /// A URL that opens what `grant` says, for as long as URLs live.
    pub(super) fn sign(&mut self, grant: Grant) -> Option<Url> {
        let signature = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let lifetime = self.url_lifetime.as_secs();
        let url = format!(
            "{}/{}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires={lifetime}&X-Amz-Signature={signature}",
            self.origin, grant.key
        );
        self.grants.insert(signature, Grant { expires: SystemTime::now() + self.url_lifetime, ..grant });
        Url::try_from(url).ok()
    }
}

/// A generation, and where it is in its script.
pub(super) struct Job {
    /// As the submission was answered.
    pub(super) accepted: Generation,
    pub(super) request: Value,
    pub(super) script: Script,
    pub(super) looks: usize,
    pub(super) submitted: SystemTime,
}

/// What a completed job has made.
struct Made {
    name: String,
    kind: &'static str,
    bytes: Bytes,
    layer: Option<Layer>,
}

impl Job {
    pub(super) fn state(&self) -> GenerationState {
        self.script.state(self.looks, self.submitted.elapsed().unwrap_or_default())
    }

    pub(super) fn is_video(&self) -> bool {
        self.request["type"].as_str().is_some_and(|kind| kind.starts_with("video"))
    }

    /// By the type that was asked for, whatever the job claims to be.
    fn outputs(&self) -> Vec<Made> {
        let prompt = self.request["prompt"].as_str().unwrap_or_default();
        let one = |name: &str, kind, bytes| Made { name: name.to_owned(), kind, bytes, layer: None };
        let mut made = match self.request["type"].as_str().unwrap_or("image").into() {
            GenerationType::Layering => picture::layers(prompt)
                .into_iter()
                .map(|(bytes, layer)| Made {
                    name: format!("layer-{}.png", layer.index),
                    kind: "image",
                    bytes,
                    layer: Some(layer),
                })
                .collect(),
            GenerationType::Video | GenerationType::VideoEdit | GenerationType::VideoReframe => {
                let mut made = vec![one("output.mp4", "video", picture::mp4(prompt))];
                if self.request["video"]["exr_export"] == true {
                    made.push(one("output.exr", "exr", picture::exr(prompt)));
                }
                made
            }
            _ => vec![one("output.png", "image", picture::png(prompt, self.request["aspect_ratio"].as_str()))],
        };
        if let (Some(bytes), Some(first)) = (&self.script.output, made.first_mut()) {
            first.bytes = bytes.clone();
        }
        made
    }
}

/// A file, and how far its upload is.
pub(super) struct Upload {
    pub(super) file: File,
    pub(super) bytes: Option<Bytes>,
    pub(super) ingest: Ingest,
    /// Since when it is being taken in.
    pub(super) complete: Option<SystemTime>,
    pub(super) looks: usize,
}

impl Upload {
    /// Takes the file in, if its time has come.
    pub(super) fn advance(&mut self) {
        let (Some(since), FileState::Pending) = (self.complete, &self.file.state) else { return };
        let due = match self.ingest.takes {
            Some(duration) => since.elapsed().unwrap_or_default() >= duration,
            None => self.looks > 1,
        };
        if !due {
            return;
        }
        let content = self.bytes.as_ref().and_then(|bytes| infer::get(bytes));
        let usable = content.is_some_and(|it| is_image(it.mime_type()) || is_video(it.mime_type()));
        let unusable = (!usable).then(|| "Unsupported file type".to_owned());
        self.file.failure_reason = self.ingest.failure.clone().or(unusable);
        self.file.state = if self.file.failure_reason.is_some() { FileState::Failed } else { FileState::Ready };
    }
}

/// The formats that the service documents.
pub(super) fn is_image(media_type: &str) -> bool {
    ["image/jpeg", "image/png", "image/webp", "image/gif"].contains(&media_type)
}

pub(super) fn is_video(media_type: &str) -> bool {
    media_type.starts_with("video/")
}

/// Something in storage.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) etag: String,
    pub(super) modified: SystemTime,
}

impl Object {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, etag: format!("\"{}\"", Uuid::new_v4().simple()), modified: SystemTime::now() }
    }

    /// As long and of the same format as before, but another.
    pub(super) fn change(&mut self) {
        let mut bytes = self.bytes.to_vec();
        let kept = bytes.len().min(32) / 2;
        for byte in bytes.iter_mut().skip(kept) {
            *byte = !*byte;
        }
        *self = Self::new(bytes.into());
    }
}

/// What a signed URL allows.
pub(super) struct Grant {
    pub(super) method: Method,
    pub(super) key: String,
    pub(super) expires: SystemTime,
    /// For uploads: the headers that have to come, and the file whose bytes they are.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) file: Option<Uuid>,
}

impl Grant {
    fn get(key: String) -> Self {
        Self { method: Method::GET, key, expires: SystemTime::UNIX_EPOCH, headers: BTreeMap::new(), file: None }
    }

    pub(super) fn put(file: Uuid, headers: BTreeMap<String, String>) -> Self {
        Self {
            method: Method::PUT,
            key: format!("files/{file}"),
            headers,
            file: Some(file),
            ..Self::get(String::new())
        }
    }
}

/// A request that the emulator was sent, and how it answered.
#[derive(Clone)]
#[non_exhaustive]
pub struct Request {
    /// What it asked for. `None` if there is no such operation.
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
    /// The status of the answer. `None` if the connection was broken instead.
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
