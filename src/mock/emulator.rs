use std::{
    fmt,
    time::{Duration, SystemTime},
};

use httpmock::{HttpMockRequest, MockServer};
use uuid::Uuid;

use super::{
    answer::{Answer, Operation},
    api::{self, Call},
    script::{Ingest, Script, Transfer},
    storage::Storage,
    world::{Request, Shared},
};
use crate::{
    client::Client,
    error::{Error, Result},
    http::key::ApiKey,
    types::{File, Generation},
};

/// The emulator is done in no time: waits need not be patient.
const PACE: Duration = Duration::from_millis(10);

/// The service on this machine: jobs that run as you script them, files, and a storage with signed
/// URLs on an origin of its own. Nothing costs anything.
///
/// ```
/// use std::time::Duration;
/// use luma_agents::{mock::{Emulator, Script}, types::CreateGeneration};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> luma_agents::Result<()> {
/// let emulator = Emulator::start().await?;
/// emulator.next(Script::new().takes(Duration::from_millis(50)));
///
/// let generations = emulator.client().generations();
/// let job = generations.create(CreateGeneration::builder().prompt("a lighthouse at dusk")).await?;
/// let done = generations.wait(&job).first_after(Duration::from_millis(50)).every(Duration::from_millis(10)).await?;
/// assert_eq!(done.outputs().len(), 1);
/// assert_eq!(emulator.jobs().len(), 1);
/// # Ok(()) }
/// ```
///
/// What is scripted with [`next`](Self::next), [`answer`](Self::answer) and the like is used up once, in
/// order; without a script everything goes well. The emulator lives by the clock of the machine, even
/// where tokio's is paused. At most 25 emulators and mock servers run in a process at a time
/// (`HTTPMOCK_MAX_SERVERS`); the next one waits until one is dropped.
///
/// # What it is true to
///
/// Documented by the service, with status and text:
///
/// - what the key has to look like; the headers of every answer and of limits;
/// - which models, aspect ratios, sources and how many references a type takes; the length of prompts;
/// - one origin for each reference, a `media_type` with `data`, valid base64, `https`, 50 MB an image;
/// - `Generation not found` for every id that is not one.
///
/// Documented, but with a status (422) and text that are made up here: what excludes what among the
/// options of videos, keyframes and their indexes, `manga` with portrait ratios only.
///
/// Decided here, on the strict side:
///
/// - unknown fields, wrong types and values out of range are refused with 422 and a list;
/// - a ratio on `video_edit`, and references on videos and layerings, are refused;
/// - a generation or file that is referred to has to exist, be done, and be of the right kind;
/// - inline media must not be recognisable as something else; unrecognisable bytes pass;
/// - every error about files; 201 for a new file; deleted files stay readable and listed;
/// - an upload needs exactly the signed headers, the announced length, and no API key.
///
/// Not done: URLs are not fetched, media not decoded or moderated, and limits not enforced unless
/// scripted. Every image is a PNG, whatever `output_format` asks for; a video or an EXR is only the
/// beginning of one; that an EXR's output has the type `exr` is a guess.
pub struct Emulator {
    server: MockServer,
    shared: Shared,
    client: Client,
    _storage: Storage,
}

impl Emulator {
    /// Starts one on free ports of this machine. Needs a tokio runtime, which also runs the storage.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is no port to listen on; [`Error::InvalidInput`] if no HTTP client can be
    /// built.
    pub async fn start() -> Result<Self> {
        let (listener, address) = Storage::listen().await.map_err(|e| Error::io("listen on", "127.0.0.1:0", e))?;
        let shared = Shared::new(format!("http://{address}"));
        let server = MockServer::start_async().await;
        let client = Client::builder(ApiKey::new(api::KEY)?).base_url(server.base_url()).pace(PACE, PACE).build()?;
        let emulator = Self { _storage: Storage::start(listener, shared.clone()), server, shared, client };
        emulator.serve(None);
        Ok(emulator)
    }

    /// A client of the emulator, whose waits look every 10 ms instead of at the pace of the service.
    /// Clones of one: they share what they learn of limits.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where its API is, for a client of your own.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// The only key that it takes.
    #[must_use]
    pub fn api_key(&self) -> &'static str {
        api::KEY
    }

    /// How the next generation goes.
    pub fn next(&self, script: Script) {
        self.shared.lock().scripts.push_back(script);
    }

    /// Lets a generation with this id exist, as if an earlier run of the program had submitted it. It
    /// goes as the next script says.
    pub fn existing(&self, id: Uuid) {
        self.shared.lock().accept(id, serde_json::json!({ "prompt": id }));
    }

    /// How the next file is taken in.
    pub fn next_file(&self, ingest: Ingest) {
        self.shared.lock().ingests.push_back(ingest);
    }

    /// How the next download goes.
    pub fn next_download(&self, transfer: Transfer) {
        self.shared.lock().downloads.push_back(transfer);
    }

    /// How the next upload to storage goes.
    pub fn next_upload(&self, transfer: Transfer) {
        self.shared.lock().uploads.push_back(transfer);
    }

    /// Answers the next submission of a generation so.
    pub fn refuse(&self, answer: Answer) {
        self.answer(Operation::CreateGeneration, answer);
    }

    /// Answers the next request of this operation so. No effect on [`Operation::Storage`]: see
    /// [`next_download`](Self::next_download) and [`next_upload`](Self::next_upload).
    pub fn answer(&self, operation: Operation, answer: Answer) {
        let delay = answer.delay;
        self.shared.lock().answers.entry(operation).or_default().push_back(answer);
        if delay.is_some() {
            self.serve(delay);
        }
    }

    /// How long signed URLs made from now on live. Default one hour.
    pub fn url_lifetime(&self, lifetime: Duration) {
        self.shared.lock().url_lifetime = lifetime;
    }

    /// Lets every signed URL made so far expire.
    pub fn expire_urls(&self) {
        self.shared.lock().grants.values_mut().for_each(|grant| grant.expires = SystemTime::UNIX_EPOCH);
    }

    /// Every generation that was created, each of which would have been paid for, as it stands now.
    /// This is no look.
    #[must_use]
    pub fn jobs(&self) -> Vec<Generation> {
        let mut world = self.shared.lock();
        let ids: Vec<_> = world.jobs.iter().map(|job| job.accepted.id).collect();
        ids.into_iter().filter_map(|id| world.show(id)).collect()
    }

    /// Every file that was created, the deleted ones too, as it stands now.
    #[must_use]
    pub fn files(&self) -> Vec<File> {
        self.shared.lock().files.iter().map(|upload| upload.file.clone()).collect()
    }

    /// The requests so far, to API and storage, in the order in which they were answered.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// Serves what is to be answered after `delay`: a mock has one delay, so there is one for each.
    fn serve(&self, delay: Option<Duration>) {
        let (watched, answering) = (self.shared.clone(), self.shared.clone());
        let due = move |request: &HttpMockRequest| {
            let next = |operation| watched.lock().answers.get(&operation)?.front()?.delay;
            Call::from(request).operation().and_then(next) == delay
        };
        self.server.mock(|when, then| {
            when.is_true(due);
            then.delay(delay.unwrap_or_default())
                .respond_with(move |request| api::answer(&mut answering.lock(), &Call::from(request)));
        });
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("base_url", &self.base_url()).finish_non_exhaustive()
    }
}
