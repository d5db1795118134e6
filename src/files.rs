//! Uploaded files: upload, list, get, delete; and how a file is waited for.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{Stream, TryStreamExt as _, future::BoxFuture};

use crate::{
    client::{Client, call::Call},
    error::{Error, Exchange, FileFailed, Result, WaitTimeout},
    http::retry::Retry,
    id::FileId,
    raw,
    types::{CreateFile, CreateFileResponse, File, FilePage, FilePurpose, FileState},
    wait::{Job, POLL_TIMEOUT, TimedOut, Timing, Wait},
};

/// A filter may leave some pages empty; this many in a row are an endless list.
const MAX_EMPTY_PAGES: u32 = 100;

impl Client {
    /// Uploaded files: upload, list, get, delete.
    #[must_use]
    pub fn files(&self) -> Files {
        Files { client: self.clone() }
    }
}

/// Uploaded files: upload, list, get, delete. From [`Client::files`].
#[derive(Clone, Debug)]
pub struct Files {
    pub(crate) client: Client,
}

impl Files {
    /// Records a file. Its bytes must then be sent to the URL in the response;
    /// [`upload`](Self::upload) does all of this.
    ///
    /// Sent again only where nothing can have been recorded. Calling it twice records a second file,
    /// which can be deleted; no price for it is known.
    pub fn create<R>(&self, request: R) -> Call<CreateFileResponse>
    where
        R: TryInto<CreateFile, Error: std::fmt::Display>,
    {
        match request.try_into() {
            Ok(request) => {
                let request: CreateFile = request;
                self.client.call(async |api| api.create_file().body(request).send().await)
            }
            Err(e) => Call::invalid(&self.client, Error::invalid_input(format!("the file cannot be recorded: {e}"))),
        }
    }

    /// Reports to the service that the bytes of a recorded file have been sent.
    ///
    /// Sent again only where it can have had no effect. Calling it twice is harmless as far as is
    /// known: the file is the same, and its state shows the result.
    pub fn complete(&self, id: impl Into<FileId>) -> Call<File> {
        self.about(id, |client, id| {
            let complete = async move |api: raw::Client| api.complete_file().file_id(id).send().await;
            Call::new(client, complete, move |file, _| check(file, id))
        })
    }

    /// Gets a file.
    pub fn get(&self, id: impl Into<FileId>) -> Call<File> {
        self.about(id, get)
    }

    /// Deletes a file: new generations cannot use it any more.
    ///
    /// If a first attempt took effect and its response was lost, the second may be rejected with 404.
    pub fn delete(&self, id: impl Into<FileId>) -> Call<()> {
        self.about(id, |client, id| client.call(async move |api| api.delete_file().file_id(id).send().await))
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
        let default = POLL_TIMEOUT.min(client.options().timeout);
        // The loop is the retry: one poll, one request.
        let poll = Arc::new(move |limit: Option<Duration>| {
            let call = get(client.clone(), about).retry(Retry::none()).timeout(limit.unwrap_or(default));
            let poll: BoxFuture<'static, Result<File>> =
                Box::pin(async move { call.await.map_err(|e| e.about_file(about)) });
            poll
        });
        let (pace, polls) = (self.client.pace(), self.client.polls());
        Wait { id, known: known.map(|it| *it), pace, poll, polls }
    }

    /// The files of the account, newest first.
    pub fn list(&self) -> ListFiles {
        ListFiles { client: self.client.clone(), purpose: None, state: None, limit: None, cursor: None }
    }

    fn about<T: 'static>(&self, id: impl Into<FileId>, call: impl FnOnce(Client, uuid::Uuid) -> Call<T>) -> Call<T> {
        match id.into().id {
            Ok(id) => call(self.client.clone(), id),
            Err(error) => Call::invalid(&self.client, error),
        }
    }
}

fn get(client: Client, id: uuid::Uuid) -> Call<File> {
    let get = async move |api: raw::Client| api.get_file().file_id(id).send().await;
    Call::new(client, get, move |file, _| check(file, id))
}

fn check(file: &File, id: uuid::Uuid) -> Result<(), String> {
    if file.id == id { Ok(()) } else { Err(format!("it is about another file, {}", file.id)) }
}

impl Client {
    /// Proves, free of charge, that the service accepts this client: its key, the base URL, TLS, and whatever
    /// stands between. It lists one file.
    ///
    /// # Errors
    ///
    /// [`Rejected`](Error::Rejected) if the key is wrong or the account is blocked; [`NoResponse`](Error::NoResponse)
    /// if the service cannot be reached; [`UnexpectedResponse`](Error::UnexpectedResponse) if something else responds
    /// at the base URL.
    ///
    /// # Cancel safety
    ///
    /// Dropping it changes nothing.
    pub async fn check(&self) -> Result<()> {
        self.files().list().limit(1).page().await.map(drop)
    }
}

/// Which files to list: a [`page`](Self::page), or a [`stream`](Self::stream) over all pages.
#[derive(Clone, Debug)]
#[must_use = "a list does nothing until its page or stream is awaited"]
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
            return Call::invalid(&client, Error::invalid_input("a page of files has 1 to 100 of them"));
        }
        client.call(async move |api| {
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

    /// All files; a page is fetched when the stream needs it. Ends after the first error. Dropping it
    /// stops the reading and changes nothing.
    ///
    /// # Errors
    ///
    /// As a page, and [`UnexpectedResponse`](Error::UnexpectedResponse) if the pages lead nowhere: a
    /// cursor comes twice or is missing, or 100 pages in a row are empty.
    pub fn stream(self) -> impl Stream<Item = Result<File>> + Send + 'static {
        let cursors = Cursors { seen: self.cursor.iter().cloned().collect(), empty_pages: 0 };
        let pages = futures_util::stream::try_unfold((Some(self), cursors), async |(list, mut cursors)| {
            let Some(list) = list else { return Ok(None) };
            let page = list.page().await?;
            // The files of a page come before the error about the next one.
            let (next, error) = match cursors.after(&page) {
                Ok(cursor) => (cursor.map(|cursor| list.cursor(cursor)), None),
                Err(problem) => (None, Some(Err(Error::unexpected(Exchange::of("list_files"), problem)))),
            };
            let files = futures_util::stream::iter(page.data.into_iter().map(Ok).chain(error));
            Ok::<_, Error>(Some((files, (next, cursors))))
        });
        Box::pin(pages.try_flatten())
    }
}

/// Leads from page to page, and to an end.
#[derive(Debug, Default)]
struct Cursors {
    seen: HashSet<String>,
    /// In a row.
    empty_pages: u32,
}

impl Cursors {
    /// The cursor of the page after this one, if there is one.
    fn after(&mut self, page: &FilePage) -> Result<Option<String>, &'static str> {
        if !page.has_more {
            return Ok(None);
        }
        self.empty_pages = if page.data.is_empty() { self.empty_pages + 1 } else { 0 };
        match &page.next_cursor {
            None => Err("more files follow, but there is no cursor"),
            Some(cursor) if !self.seen.insert(cursor.clone()) => {
                Err("a cursor came twice: the pages go round in a circle")
            }
            Some(_) if self.empty_pages >= MAX_EMPTY_PAGES => Err("100 pages in a row are empty"),
            Some(cursor) => Ok(Some(cursor.clone())),
        }
    }
}

impl Job for File {
    const KIND: &str = "file";

    fn state(&self) -> &str {
        self.state.as_str()
    }

    fn is_terminal(&self) -> bool {
        self.state.is_terminal()
    }

    fn timing(&self) -> Timing {
        Timing { first_after: Duration::from_millis(500), ..Timing::seconds(0, 2, 300) }
    }

    /// How long a file takes depends on its size.
    fn kind(&self) -> Option<String> {
        None
    }

    /// What counts is the time since the bytes arrived, which the service does not say.
    fn created_at(&self) -> Option<SystemTime> {
        None
    }

    fn into_result(self) -> Result<Self> {
        match self.state {
            FileState::Failed | FileState::Deleted => Err(Error::FileFailed(Box::new(FileFailed { file: self }))),
            _ => Ok(self),
        }
    }

    fn timed_out(TimedOut { id, known, last, elapsed, polls, last_error }: TimedOut<Self>) -> Error {
        Error::WaitTimeout(Box::new(WaitTimeout {
            waited_for: format!("file {id}"),
            generation_id: None,
            file_id: Some(id),
            generation: None,
            file: last,
            elapsed,
            polls,
            source: last_error,
            known,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(files: usize, has_more: bool, cursor: Option<&str>) -> FilePage {
        let file = serde_json::json!({
            "id": uuid::Uuid::nil(), "created_at": "2026-06-23T12:00:00Z", "mime_type": "image/png",
            "purpose": "input", "size_bytes": 1, "state": "ready",
        });
        serde_json::from_value(serde_json::json!({
            "data": vec![file; files], "has_more": has_more, "next_cursor": cursor,
        }))
        .expect("a page")
    }

    #[test]
    fn pages_end_with_the_last_one_or_with_an_error() {
        let mut cursors = Cursors::default();
        assert_eq!(cursors.after(&page(1, true, Some("a"))), Ok(Some("a".to_owned())));
        assert_eq!(cursors.after(&page(1, true, Some("b"))), Ok(Some("b".to_owned())));
        assert!(cursors.after(&page(1, true, Some("a"))).is_err(), "round in a circle");
        assert!(cursors.after(&page(1, true, None)).is_err(), "no way on");
        assert_eq!(cursors.after(&page(0, false, Some("c"))), Ok(None));
    }

    #[test]
    fn a_response_about_another_file_is_a_problem() {
        let file = &page(1, false, None).data[0];
        assert_eq!(check(file, uuid::Uuid::nil()), Ok(()));
        let problem = "it is about another file, 00000000-0000-0000-0000-000000000000".to_owned();
        assert_eq!(check(file, uuid::Uuid::max()), Err(problem));
    }

    #[test]
    fn endless_empty_pages_are_an_error_and_some_are_not() {
        let next = |cursors: &mut Cursors, n: u32, files| cursors.after(&page(files, true, Some(&n.to_string())));
        let mut cursors = Cursors::default();
        for n in 0..99 {
            next(&mut cursors, n, 0).expect("a cursor");
        }
        next(&mut cursors, 99, 1).expect("a file in between");
        for n in 100..199 {
            next(&mut cursors, n, 0).expect("a cursor");
        }
        next(&mut cursors, 199, 0).expect_err("100 empty pages");
    }
}
