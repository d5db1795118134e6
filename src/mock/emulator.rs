//! The handle of an emulator, and how it is built.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::json;
use uuid::Uuid;

use super::{
    api,
    clock::Clock,
    document::Document,
    quota::Quota,
    reply::{Operation, Reply},
    requests::{Listener, Request},
    run::Job,
    script::{Ingest, Script, Transfer},
    script_json,
    server::{self, Server},
    state::{Scripts, Shared, State},
    storage,
};
use crate::{
    client::{Client, builder::ClientBuilder},
    error::{Error, Result},
    http::key::ApiKey,
    types::File,
};

/// The service on this machine: jobs that run as you script them, files, and a storage with signed
/// URLs on an origin of its own. Nothing is paid for.
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
/// let request = CreateGeneration::builder().prompt("a lighthouse at dusk");
/// let done = generations
///     .create_and_wait(request)
///     .first_after(Duration::from_millis(50))
///     .await?;
/// assert_eq!(done.outputs().len(), 1);
/// assert_eq!(emulator.jobs().len(), 1);
/// # Ok(()) }
/// ```
///
/// Each thing scripted with [`next`](Self::next), [`next_reply`](Self::next_reply) and the like is used
/// once, in order; without a script everything succeeds. Jobs and URLs age by the clock of the machine, or
/// at another [`speed`](EmulatorBuilder::speed).
/// Under a paused clock of tokio every call to an emulator times out at once: the clock advances while the
/// program waits for a socket.
///
/// It keeps all jobs and files, and the last 10,000 [`requests`](Self::requests). It ends when it is dropped.
///
/// # What it checks
///
/// Every query, JSON body and form by `openapi.yaml`: a field, value or limit that the document gains is
/// in force with the next build. A request that violates it gets 422 with a list of places. Fields that
/// the document does not have are violations too, unless
/// [`allow_unknown_fields`](EmulatorBuilder::allow_unknown_fields) is set. An operation that the document
/// has and the emulator does not replies with the example in the document.
///
/// Documented by the service, with status and text:
///
/// - the form of the key; the headers of every response and of limits;
/// - which models, aspect ratios, sources and how many references a type takes; the length of prompts;
/// - one origin for each reference, a `media_type` with `data`, valid base64, `https`, 50 MB an image;
/// - `Generation not found` for unknown and malformed ids.
///
/// Documented, but with a status (422) and text that are chosen here: which options of videos exclude each
/// other, keyframes and their indexes, `manga` with portrait ratios only.
///
/// Decided here, on the strict side:
///
/// - a ratio on `video_edit`, and references on videos and layerings, are rejected;
/// - a generation or file that is referred to has to exist, be completed or ready, and be of the right kind;
/// - inline media must not be recognisable as something else; unrecognisable bytes are accepted;
/// - every error about files; 201 for a new file; deleted files stay readable and listed;
/// - an upload needs exactly the signed headers, the announced length, and no API key.
///
/// A model, type or ratio that the document has and these rules do not name is accepted in any combination.
///
/// Not done: URLs are not fetched, media not decoded or moderated, and limits not enforced unless
/// [set](EmulatorBuilder::quota). Every image is a PNG of at most 256 pixels a side, whatever `output_format`
/// asks for; a video is H.264 in an MP4 of 5 or 10 seconds; an EXR is its first frame, and that its output has
/// the type `exr` is a guess. All but layers show prompt, model and size.
pub struct Emulator {
    address: SocketAddr,
    shared: Shared,
    client: Client,
    client_builder: ClientBuilder,
    servers: [Server; 2],
}

impl Emulator {
    /// Starts one with the default settings, on free ports of this machine.
    ///
    /// # Errors
    ///
    /// As for [`EmulatorBuilder::start`].
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// Starts with other settings.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::default()
    }

    /// A client of the emulator. Its waits poll every 10 ms, as those of every client with
    /// [its key](Self::api_key). All clients from here share what they learn
    /// of rate limits.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The settings of such a client, to change some of them.
    ///
    /// ```
    /// use luma_agents::{Retry, mock::{Emulator, Reply}, types::CreateGeneration};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> luma_agents::Result<()> {
    /// let emulator = Emulator::start().await?;
    /// let luma = emulator.client_builder().retry(Retry::none()).build()?;
    ///
    /// emulator.next_create(Reply::rate_limited(60));
    /// let request = CreateGeneration::builder().prompt("a duck");
    /// let error = luma.generations().create(request).await.unwrap_err();
    /// assert_eq!(error.status().unwrap(), 429);
    /// # Ok(()) }
    /// ```
    pub fn client_builder(&self) -> ClientBuilder {
        self.client_builder.clone()
    }

    /// The base URL of its API, for a client of your own. It ends in `/v1`, as that of the service.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}{}", self.address, api::PREFIX)
    }

    /// The only key that it accepts.
    #[must_use]
    pub fn api_key(&self) -> &'static str {
        api::KEY
    }

    /// How the next generation runs.
    pub fn next(&self, script: Script) {
        self.shared.lock().scripts.generations.push_back(script);
    }

    /// How every generation runs whose prompt contains `text`. Comes before [`next`](Self::next), which
    /// stays for another generation.
    pub fn prompts_with(&self, text: impl Into<String>, script: Script) {
        self.shared.lock().scripts.by_prompt.push((text.into(), script));
    }

    /// Adds a generation with this id, as if an earlier run of the program had submitted it. It runs as the
    /// next script says.
    pub fn existing(&self, id: Uuid) {
        self.shared.lock().accept(id, Uuid::new_v4().to_string(), json!({ "prompt": id }));
    }

    /// How the next file is taken in.
    pub fn next_file(&self, ingest: Ingest) {
        self.shared.lock().scripts.files.push_back(ingest);
    }

    /// How the next download goes.
    pub fn next_download(&self, transfer: Transfer) {
        self.shared.lock().scripts.downloads.push_back(transfer);
    }

    /// How the next upload to storage goes.
    pub fn next_upload(&self, transfer: Transfer) {
        self.shared.lock().scripts.uploads.push_back(transfer);
    }

    /// The reply to the next submission of a generation.
    pub fn next_create(&self, reply: Reply) {
        self.next_reply(Operation::CreateGeneration, reply);
    }

    /// The reply to the next request for this operation. Has no effect on [`Operation::Storage`]: see
    /// [`next_download`](Self::next_download) and [`next_upload`](Self::next_upload).
    pub fn next_reply(&self, operation: Operation, reply: Reply) {
        self.shared.lock().scripts.replies.entry(operation).or_default().push_back(reply);
    }

    /// The lifetime of URLs that are signed from now on. Default one hour.
    pub fn url_lifetime(&self, lifetime: Duration) {
        self.shared.lock().signer.lifetime = lifetime;
    }

    /// Makes every URL signed so far expire.
    pub fn expire_urls(&self) {
        self.shared.lock().signer.expire_all();
    }

    /// Every generation that was created, each of which would have been paid for, as it stands. Does not
    /// count as a poll. `GET /_emulator/jobs` on the port of the API has the same as JSON, without a key:
    /// `{"jobs": [{"id": .., "x_request_id": .., "request": {..}, "state": ..}]}`.
    #[must_use]
    pub fn jobs(&self) -> Vec<Job> {
        self.shared.lock().jobs()
    }

    /// Every file that was created, the deleted ones too, as it stands. Does not count as a poll.
    #[must_use]
    pub fn files(&self) -> Vec<File> {
        let state = self.shared.lock();
        let files = state.files.iter().map(|file| file.to_json(&self.shared.document));
        files.filter_map(|file| serde_json::from_value(file).ok()).collect()
    }

    /// The requests to API and storage, in the order in which they were handled. The last 10,000 are kept,
    /// fewer where their bodies exceed 256 MiB together.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.to_vec()
    }

    /// Closes the ports, and the connections once the responses under way are sent, after one second at most.
    pub async fn shutdown(self) {
        let [api, storage] = self.servers;
        tokio::join!(api.shutdown(), storage.shutdown());
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("base_url", &self.base_url()).finish_non_exhaustive()
    }
}

/// Settings of an [`Emulator`] that has not started yet.
///
/// ```
/// use std::time::Duration;
/// use luma_agents::mock::{Emulator, Quota, Script};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> luma_agents::Result<()> {
/// // The limits of the smallest plan, and jobs of 30 seconds that take 0.3.
/// let emulator = Emulator::builder()
///     .quota(Quota::new().per_minute(30).concurrency(10))
///     .default_script(Script::new().takes(Duration::from_secs(30)))
///     .speed(100.0)
///     .start()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct EmulatorBuilder {
    port: u16,
    storage_port: u16,
    unknown_fields: bool,
    speed: f64,
    quota: Quota,
    scripts: Scripts,
    listener: Listener,
}

impl Default for EmulatorBuilder {
    fn default() -> Self {
        let (quota, scripts, listener) = (Quota::new(), Scripts::default(), Listener::default());
        Self { port: 0, storage_port: 0, unknown_fields: false, speed: 1.0, quota, scripts, listener }
    }
}

impl EmulatorBuilder {
    /// The port of the API. Default 0, which is any free one.
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// The port of the storage. Default 0, which is any free one.
    pub fn storage_port(self, port: u16) -> Self {
        Self { storage_port: port, ..self }
    }

    /// Accepts fields and query parameters that the document does not have, instead of rejecting them with
    /// 422. What the service does is not published.
    pub fn allow_unknown_fields(self) -> Self {
        Self { unknown_fields: true, ..self }
    }

    /// Enforces limits on submissions, with the headers and the 429 of the service. Default none: nothing is
    /// limited, and no response has `X-RateLimit-*`.
    ///
    /// A job that runs by polls, as the default does, holds its place until polls have ended it.
    pub fn quota(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }

    /// How many seconds of the service pass in one second of the machine. Default 1.
    ///
    /// Counts for what takes time in the service: jobs, the ingest of files, the window and the hour of
    /// quotas, the lifetime of URLs. `Retry-After` and other times in responses are those that the caller has
    /// to wait, rounded up to whole seconds. Delays of replies are not made shorter.
    pub fn speed(self, speed: f64) -> Self {
        Self { speed, ..self }
    }

    /// How generations run that no other script is for.
    pub fn default_script(mut self, script: Script) -> Self {
        self.scripts.default = script;
        self
    }

    /// Adds what a script in JSON plays: [its format](super#scripts-in-json-for-the-emulator).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] with line and column if the text is not such a script.
    pub fn script_json(mut self, json: &str) -> Result<Self> {
        script_json::read(json, &mut self.scripts).map_err(|e| Error::invalid_input(format!("script: {e}")))?;
        Ok(self)
    }

    /// Calls this with each request to API and storage and the time that it took, when its response is ready:
    /// a log of requests. It must not block.
    pub fn on_request(self, call: impl Fn(&Request, Duration) + Send + Sync + 'static) -> Self {
        Self { listener: Listener::new(call), ..self }
    }

    /// Starts the emulator, on the address 127.0.0.1 and on the tokio runtime of the caller.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a port is taken; [`Error::InvalidInput`] if the speed is not a positive number or no
    /// HTTP client can be built.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start(self) -> Result<Emulator> {
        let document = Document::built_in(self.unknown_fields)?;
        self.start_with(document).await
    }

    /// Starts it with another document than the crate was built from.
    pub(super) async fn start_with(self, document: Arc<Document>) -> Result<Emulator> {
        let clock = Clock::new(self.speed).ok_or_else(|| Error::invalid_input("speed: must be a positive number"))?;
        let (api, address) = server::listen(self.port).await?;
        let (storage, storage_address) = server::listen(self.storage_port).await?;
        let state = State::new(clock, self.scripts, self.quota, format!("http://{storage_address}"));
        let shared = Shared::new(document, clock, self.listener, state);
        let base_url = format!("http://{address}{}", api::PREFIX);
        let client_builder = Client::builder(ApiKey::new(api::KEY)?).base_url(base_url);
        let client = client_builder.clone().build()?;
        let servers = [
            Server::start(api, {
                let shared = shared.clone();
                move |request| api::serve(shared.clone(), request)
            }),
            Server::start(storage, {
                let shared = shared.clone();
                move |request| storage::serve(shared.clone(), request)
            }),
        ];
        Ok(Emulator { address, shared, client, client_builder, servers })
    }
}
