//! What the emulated service keeps: generations, files, scripts, quotas, the requests so far.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use serde_json::Value;
use uuid::Uuid;

use super::{
    clock::Clock,
    document::Document,
    media::{Media, Rendered},
    quota::{Admitted, Exceeded, Limiter, Place, Quota},
    reply::{Operation, Reply},
    requests::{Listener, Requests},
    run::{Job, Run, model_of, type_of},
    script::{Ingest, Script, Transfer},
    signer::Signer,
    upload::Upload,
};
use crate::types::GenerationState;

/// The state and the document, for both servers and the handle.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) document: Arc<Document>,
    pub(super) clock: Clock,
    pub(super) rendered: Rendered,
    pub(super) listener: Listener,
    state: Arc<Mutex<State>>,
}

impl Shared {
    pub(super) fn new(document: Arc<Document>, clock: Clock, listener: Listener, state: State) -> Self {
        Self { document, clock, rendered: Rendered::default(), listener, state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happens next.
#[derive(Clone, Debug, Default)]
pub(super) struct Scripts {
    /// Of each generation that none of the others is for.
    pub(super) default: Script,
    /// Of each generation whose prompt contains the text.
    pub(super) by_prompt: Vec<(String, Script)>,
    pub(super) generations: VecDeque<Script>,
    pub(super) files: VecDeque<Ingest>,
    pub(super) downloads: VecDeque<Transfer>,
    pub(super) uploads: VecDeque<Transfer>,
    pub(super) replies: HashMap<Operation, VecDeque<Reply>>,
}

impl Scripts {
    fn generation(&mut self, request: &Value) -> Script {
        let prompt = request["prompt"].as_str().unwrap_or_default();
        match self.by_prompt.iter().find(|(text, _)| prompt.contains(text)) {
            Some((_, script)) => script.clone(),
            None => self.generations.pop_front().unwrap_or_else(|| self.default.clone()),
        }
    }
}

pub(super) struct State {
    clock: Clock,
    runs: Vec<Run>,
    /// Where each of them is.
    by_id: HashMap<Uuid, usize>,
    limiter: Limiter,
    /// The generations that were running when the limiter was last asked.
    places: Vec<(Uuid, Place)>,
    pub(super) files: Vec<Upload>,
    pub(super) scripts: Scripts,
    pub(super) signer: Signer,
    pub(super) requests: Requests,
    /// How often each object of storage was replaced.
    replaced: HashMap<String, u8>,
}

impl State {
    pub(super) fn new(clock: Clock, scripts: Scripts, quota: Quota, storage: String) -> Self {
        Self {
            clock,
            runs: Vec::new(),
            by_id: HashMap::new(),
            limiter: Limiter::new(quota),
            places: Vec::new(),
            files: Vec::new(),
            scripts,
            signer: Signer::new(storage, clock),
            requests: Requests::default(),
            replaced: HashMap::new(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    pub(super) fn run(&self, id: Uuid) -> Option<&Run> {
        self.runs.get(*self.by_id.get(&id)?)
    }

    pub(super) fn jobs(&self) -> Vec<Job> {
        let now = self.now();
        self.runs.iter().map(|run| run.to_job(now)).collect()
    }

    pub(super) fn file(&self, id: Uuid) -> Option<&Upload> {
        self.files.iter().find(|upload| upload.id == id)
    }

    pub(super) fn file_mut(&mut self, id: Uuid) -> Option<&mut Upload> {
        self.files.iter_mut().find(|upload| upload.id == id)
    }

    pub(super) fn quota(&self) -> &Quota {
        self.limiter.quota()
    }

    /// Whether the quota has room for a generation that will have this id, and the units that it takes.
    pub(super) fn admit(&mut self, id: Uuid, request: &Value) -> Result<Admitted, (Exceeded, u32)> {
        let now = self.now();
        let (runs, by_id, limiter) = (&self.runs, &self.by_id, &mut self.limiter);
        self.places.retain(|(id, place)| {
            let run = by_id.get(id).and_then(|at| runs.get(*at));
            let is_over = run.is_none_or(|run| run.state(now).is_terminal());
            if is_over {
                limiter.end(*place);
            }
            !is_over
        });
        let weight = limiter.quota().weight_of(&type_of(request), &model_of(request));
        let admitted = limiter.admit(now, weight).map_err(|exceeded| (exceeded, weight))?;
        if self.quota().concurrency.is_some() {
            self.places.push((id, admitted.place));
        }
        Ok(admitted)
    }

    /// Adds a generation that goes as the next script says.
    pub(super) fn accept(&mut self, id: Uuid, x_request_id: String, request: Value) {
        let (script, submitted, created) = (self.scripts.generation(&request), self.now(), SystemTime::now());
        self.by_id.insert(id, self.runs.len());
        self.runs.push(Run { id, x_request_id, request, script, polls: 0, shown: None, submitted, created });
    }

    /// Counts a poll.
    pub(super) fn poll(&mut self, id: Uuid) {
        if let Some(run) = self.by_id.get(&id).and_then(|at| self.runs.get_mut(*at)) {
            run.polls += 1;
        }
    }

    /// The generation in this state, or as it stands, in JSON. A completed one has fresh URLs.
    pub(super) fn generation(
        &mut self,
        document: &Document,
        id: Uuid,
        state: Option<GenerationState>,
    ) -> Option<String> {
        let run = self.runs.get_mut(*self.by_id.get(&id)?)?;
        let state = state.unwrap_or_else(|| run.state(self.clock.now()));
        Some(run.shown(document, state, &mut self.signer))
    }

    /// An output in storage.
    pub(super) fn object(&self, key: &str) -> Option<Object> {
        let (id, name) = key.strip_prefix("generations/")?.split_once('/')?;
        let run = self.run(id.parse().ok()?)?;
        let replaced = self.replaced.get(key).copied().unwrap_or_default();
        let etag = format!("\"{}-{replaced}\"", key.replace('/', "-"));
        Some(Object { media: run.media(name)?, replaced, etag, modified: run.created })
    }

    /// Puts an object as long and of the same format in the place of another.
    pub(super) fn replace(&mut self, key: String) {
        let times = self.replaced.entry(key).or_default();
        *times = times.wrapping_add(1);
    }
}

/// Something in storage.
pub(super) struct Object {
    pub(super) media: Media,
    /// How often it was replaced.
    pub(super) replaced: u8,
    pub(super) etag: String,
    pub(super) modified: SystemTime,
}
