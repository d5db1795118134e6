//! Uploaded files: upload, list, look, delete.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{Stream, TryStreamExt as _};

use crate::{
    client::{Client, call::Call},
    error::{Error, Exchange, FileFailed, Result, WaitTimeout},
    http::retry::Retry,
    id::FileId,
    raw,
    types::{CreateFile, CreateFileResponse, File, FilePage, FilePurpose, FileState},
    wait::{Job, TimedOut, Timing, Wait},
};

impl Client {
    /// Uploaded files: upload, list, look, delete.
    #[must_use]
    pub fn files(&self) -> Files {
        Files { client: self.clone() }
    }
}

/// Uploaded files: upload, list, look, delete. From [`Client::files`].
#[derive(Clone, Debug)]
pub struct Files {
    pub(crate) client: Client,
}

impl Files {
    /// Records a file whose bytes are then to be sent to the URL in the answer.
    /// [`upload`](Self::upload) does that and all the rest.
    ///
    /// Sent again only where nothing can have been recorded. Repeating it by hand records a second
    /// file, which costs nothing that is known of and can be deleted.
    pub fn create<R>(&self, request: R) -> Call<CreateFileResponse>
    where
        R: TryInto<CreateFile, Error: std::fmt::Display>,
    {
        match request.try_into() {
            Ok(request) => {
                let request: CreateFile = request;
                Call::new(self.client.clone(), async |api: raw::Client| api.create_file().body(request).send().await)
            }
            Err(e) => {
                Call::invalid(self.client.clone(), Error::invalid_input(format!("the file cannot be recorded: {e}")))
            }
        }
    }

    /// Tells the service that the bytes of a recorded file have been sent.
    ///
    /// Sent again only where it can have had no effect. Repeating it by hand is harmless as far as is
    /// known: the file is the same, and its state tells what became of it.
    pub fn complete(&self, id: impl Into<FileId>) -> Call<File> {
        self.about(id, |client, id| {
            Call::new(client, async move |api: raw::Client| api.complete_file().file_id(id).send().await)
                .check(move |file| check(file, id))
        })
    }

    /// Looks at a file once.
    pub fn get(&self, id: impl Into<FileId>) -> Call<File> {
        self.about(id, look)
    }

    /// Deletes a file: new generations cannot use it any more.
    ///
    /// If a first attempt took effect and its answer was lost, the second may be refused with 404.
    pub fn delete(&self, id: impl Into<FileId>) -> Call<()> {
        self.about(id, |client, id| {
            Call::new(client, async move |api: raw::Client| api.delete_file().file_id(id).send().await)
        })
    }

    /// Waits until a file is ready.
    ///
    /// # Errors
    ///
    /// [`FileFailed`](Error::FileFailed) if the service cannot use it or it was deleted;
    /// [`WaitTimeout`](Error::WaitTimeout) at the deadline.
    pub fn wait(&self, id: impl Into<FileId>) -> Wait<File> {
        let FileId { id, known } = id.into();
        let client = self.client.clone();
        let about = id.as_ref().ok().copied().unwrap_or_default();
        // The loop is the retry: one look, one request.
        let look = Arc::new(move || look(client.clone(), about).retry(Retry::none()).into_future());
        Wait::new(id, known.map(|it| *it), self.client.pace(), look, self.client.polls())
    }

    /// The files of the account, newest first.
    pub fn list(&self) -> ListFiles {
        ListFiles { client: self.client.clone(), purpose: None, state: None, limit: None, cursor: None }
    }

    fn about<T: 'static>(&self, id: impl Into<FileId>, call: impl FnOnce(Client, uuid::Uuid) -> Call<T>) -> Call<T> {
        match id.into().id {
            Ok(id) => call(self.client.clone(), id),
            Err(error) => Call::invalid(self.client.clone(), error),
        }
    }
}

fn look(client: Client, id: uuid::Uuid) -> Call<File> {
    Call::new(client, async move |api: raw::Client| api.get_file().file_id(id).send().await)
        .check(move |file| check(file, id))
}

fn check(file: &File, id: uuid::Uuid) -> Result<(), String> {
    if file.id == id { Ok(()) } else { Err(format!("it is about another file, {}", file.id)) }
}

/// Which files to list: a [`page`](Self::page), or a [`stream`](Self::stream) over all pages.
#[derive(Clone, Debug)]
#[must_use = "a list does nothing until asked for a page or a stream"]
pub struct ListFiles {
    client: Client,
    purpose: Option<FilePurpose>,
    state: Option<FileState>,
    limit: Option<u64>,
    cursor: Option<String>,
}

impl ListFiles {
    /// Only files for this purpose.
    pub fn purpose(self, purpose: FilePurpose) -> Self {
        Self { purpose: Some(purpose), ..self }
    }

    /// Only files in this state.
    pub fn state(self, state: FileState) -> Self {
        Self { state: Some(state), ..self }
    }

    /// How many files a page has, 1 to 100. The service's default is 25.
    pub fn limit(self, limit: u64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Goes on after an earlier page: its `next_cursor`.
    pub fn cursor(self, cursor: impl Into<String>) -> Self {
        Self { cursor: Some(cursor.into()), ..self }
    }

    /// One page.
    pub fn page(&self) -> Call<FilePage> {
        let Self { client, purpose, state, limit, cursor } = self.clone();
        if limit.is_some_and(|limit| !(1..=100).contains(&limit)) {
            return Call::invalid(client, Error::invalid_input("a page of files has 1 to 100 of them"));
        }
        Call::new(client, async move |api: raw::Client| {
            let mut list = api.list_files();
            if let Some(purpose) = purpose {
                list = list.purpose(purpose);
            }
            if let Some(state) = state {
                list = list.state(state);
            }
            if let Some(limit) = limit {
                list = list.limit(limit);
            }
            if let Some(cursor) = cursor {
                list = list.cursor(cursor);
            }
            list.send().await
        })
    }

    /// All files, page after page as they are asked for. Ends after the first error.
    pub fn stream(self) -> impl Stream<Item = Result<File>> + Send + 'static {
        let pages = futures_util::stream::try_unfold((Some(self), HashSet::new()), async |(next, mut seen)| {
            let Some(list) = next else { return Ok(None) };
            let FilePage { data, has_more, next_cursor, .. } = list.page().await?;
            let next = match next_cursor {
                _ if !has_more => None,
                // A cursor seen before would lead round in a circle.
                Some(cursor) if seen.insert(cursor.clone()) => Some(list.cursor(cursor)),
                _ => {
                    return Err(Error::unexpected(Exchange::of("list_files"), "more files follow, and no way to them"));
                }
            };
            let files = futures_util::stream::iter(data.into_iter().map(Ok::<_, Error>));
            Ok::<_, Error>(Some((files, (next, seen))))
        });
        Box::pin(pages.try_flatten())
    }
}

impl Job for File {
    fn state(&self) -> &str {
        self.state.as_str()
    }

    fn is_terminal(&self) -> bool {
        self.state.is_terminal()
    }

    fn timing(&self) -> Timing {
        Timing { first_after: Duration::from_millis(500), ..Timing::seconds(0, 2, 300) }
    }

    /// What counts is the time since the bytes came, which nobody tells.
    fn age(&self) -> Duration {
        Duration::ZERO
    }

    fn verdict(self) -> Result<Self> {
        match self.state {
            FileState::Failed | FileState::Deleted => Err(Error::FileFailed(Box::new(FileFailed { file: self }))),
            _ => Ok(self),
        }
    }

    fn timed_out(TimedOut { id, elapsed, polls, trouble, .. }: TimedOut<Self>) -> Error {
        Error::WaitTimeout(Box::new(WaitTimeout {
            waited_for: format!("file {id}"),
            generation_id: None,
            file_id: Some(id),
            generation: None,
            elapsed,
            polls,
            source: trouble,
        }))
    }
}
