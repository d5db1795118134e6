//! From a request to a finished generation, or to its file, in one call.

use std::{fmt, future::IntoFuture, path::Path, time::Duration};

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::{
    client::call::Call,
    download::{Download, Saved, can_save, can_save_into},
    error::{Error, Result},
    generations::{Generations, not_built},
    http::retry::Retry,
    types::{CreateGeneration, Generation, GenerationType},
    wait::{OnUpdate, Pace, Wait},
};

type OnCreated = Box<dyn FnOnce(&Generation) + Send>;

impl Generations {
    /// Submits a job and waits for it: [`create`](Self::create) and [`wait`](Self::wait) in one. Costs money
    /// once accepted.
    ///
    /// ```no_run
    /// # async fn example(luma: luma_agents::Client) -> luma_agents::Result<()> {
    /// use luma_agents::types::CreateGeneration;
    ///
    /// let request = CreateGeneration::builder().prompt("a lighthouse at dusk");
    /// let job = luma.generations().create_and_wait(request);
    /// let saved = job.save("lighthouse.png").await?;
    /// println!("{} bytes", saved.bytes);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `create`, then those of `wait`. [`Error::outcome`](crate::Error::outcome) says whether there is a job,
    /// and with which id.
    pub fn create_and_wait<R>(&self, request: R) -> CreateAndWait
    where
        R: TryInto<CreateGeneration, Error: fmt::Display>,
    {
        let (has_several_outputs, call) = match request.try_into() {
            Ok(request) => (has_several_outputs(&request), self.create(request)),
            Err(e) => (false, Call::invalid(&self.client, not_built(e))),
        };
        CreateAndWait {
            generations: self.clone(),
            call,
            has_several_outputs,
            pace: self.client.pace(),
            on_created: None,
            on_update: None,
            overwrite: false,
        }
    }
}

/// A layering has its layers, and a video with EXR frames an archive of them beside it.
fn has_several_outputs(request: &CreateGeneration) -> bool {
    let exr = request.video.as_ref().and_then(|video| video.exr_export);
    request.type_ == Some(GenerationType::Layering) || exr == Some(true)
}

/// A submission and the wait for its job: `.await` it for the generation, or [`save`](Self::save) its output.
/// From [`Generations::create_and_wait`].
///
/// # Cancel safety
///
/// Until it is first polled, nothing is sent. Dropping it while it submits leaves the outcome unknown, as
/// for any [`Call`]; dropping it later stops the waiting, not the job, which is paid for all the same:
/// [`on_created`](Self::on_created) gives the id with which to wait again.
#[must_use = "nothing is submitted until this is awaited"]
pub struct CreateAndWait {
    generations: Generations,
    call: Call<Generation>,
    has_several_outputs: bool,
    pace: Pace,
    on_created: Option<OnCreated>,
    on_update: Option<OnUpdate<Generation>>,
    overwrite: bool,
}

impl CreateAndWait {
    /// Calls `callback` with the generation that the service has accepted, before the wait begins. Its id
    /// is what a restarted program needs to wait for the job.
    pub fn on_created(self, callback: impl FnOnce(&Generation) + Send + 'static) -> Self {
        Self { on_created: Some(Box::new(callback)), ..self }
    }

    /// Calls `callback` with the generation at each change of its state that a poll shows, the final one last,
    /// unless the job fails: then the error has it.
    pub fn on_update(self, callback: impl FnMut(&Generation) + Send + 'static) -> Self {
        Self { on_update: Some(Box::new(callback)), ..self }
    }

    /// Lets [`save`](Self::save) replace a file, as [`Download::overwrite`](crate::Download::overwrite).
    pub fn overwrite(self) -> Self {
        Self { overwrite: true, ..self }
    }

    /// How to retry the submission, as [`Call::retry`].
    pub fn retry(self, retry: Retry) -> Self {
        Self { call: self.call.retry(retry), ..self }
    }

    /// The `X-Request-Id` of the submission, as [`Call::request_id`].
    pub fn request_id(self, id: impl fmt::Display) -> Self {
        Self { call: self.call.request_id(id), ..self }
    }

    /// The delay before the first poll, as [`Wait::first_after`].
    pub fn first_after(mut self, delay: Duration) -> Self {
        self.pace.first_after = Some(delay);
        self
    }

    /// The delay between polls, as [`Wait::every`].
    pub fn every(mut self, interval: Duration) -> Self {
        self.pace.every = Some(interval);
        self
    }

    /// The limit of the wait, as [`Wait::timeout`]. It counts from when the job was accepted.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.pace.timeout = Some(limit);
        self
    }

    /// The limit of one poll, as [`Wait::poll_timeout`].
    pub fn poll_timeout(mut self, limit: Duration) -> Self {
        self.pace.poll_timeout = Some(limit);
        self
    }

    /// Waits, then saves the only output to a file, or into a directory as `<generation id>.<extension>`, as
    /// [`Download::save`](crate::Download::save). Whether the file can be written is checked before anything is sent.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::Error::Io) if the file exists or cannot be written; [`InvalidInput`](crate::Error::InvalidInput) if
    /// such a request has several outputs; those of the wait; those of the download.
    pub async fn save(self, path: impl AsRef<Path>) -> Result<Saved> {
        if self.has_several_outputs {
            return Err(Error::invalid_input("this request has several outputs, not one: use `save_all`"));
        }
        can_save(path.as_ref(), self.overwrite).await.map_err(Error::before_sending)?;
        let (id, download) = self.completed().await?;
        download.save(path).await.map_err(|error| error.about_submitted(id))
    }

    /// Waits, then saves every output into a directory, as [`Download::save_all`](crate::Download::save_all). Whether
    /// the directory can be written to is checked before anything is sent.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::Error::Io) if it is no directory or cannot be written to; those of the wait; those of the download.
    pub async fn save_all(self, directory: impl AsRef<Path>) -> Result<Vec<Saved>> {
        can_save_into(directory.as_ref(), self.overwrite).await.map_err(Error::before_sending)?;
        let (id, download) = self.completed().await?;
        download.save_all(directory).await.map_err(|error| error.about_submitted(id))
    }

    /// Runs the job: its id, and how to fetch its outputs.
    async fn completed(self) -> Result<(Uuid, Download)> {
        let (client, overwrite) = (self.generations.client.clone(), self.overwrite);
        let done = self.await?;
        let download = client.download(&done);
        Ok((done.id, if overwrite { download.overwrite() } else { download }))
    }

    async fn run(self) -> Result<Generation> {
        let job = self.call.await?;
        if let Some(on_created) = self.on_created {
            on_created(&job);
        }
        let id = job.id;
        let mut outcome = Wait { pace: self.pace, ..self.generations.wait(job) }.outcome();
        outcome.on_update = self.on_update;
        outcome.await.1.map_err(|error| error.about_submitted(id))
    }
}

impl IntoFuture for CreateAndWait {
    type Output = Result<Generation>;
    type IntoFuture = BoxFuture<'static, Result<Generation>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for CreateAndWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateAndWait").field("call", &self.call).field("pace", &self.pace).finish_non_exhaustive()
    }
}
