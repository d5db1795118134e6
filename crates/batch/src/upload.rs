//! Local media at the service: uploaded once each by content, used again by later runs, deleted at the end.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use luma_agents::{Client, error::RejectionKind, types::FilePurpose};

use crate::{
    digest::Sha256,
    error::{Error, Result},
    journal::Uploaded,
};

/// How long the service keeps a file, if the caller does not say.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// A file is not used again when it has less time left than a job may take.
const MARGIN: TimeDelta = TimeDelta::hours(2);

/// Uploads local media, once each by content.
///
/// A clone is another handle on the same uploads.
#[derive(Clone, Debug)]
pub struct Uploads {
    client: Client,
    lifetime: Duration,
    files: Arc<Mutex<HashMap<Sha256, Slot>>>,
}

/// One content: held while it is uploaded, so that nobody uploads it at the same time.
type Slot = Arc<tokio::sync::Mutex<Option<Uploaded>>>;

/// A local medium at the service. From [`Uploads::get`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalFile {
    /// The file at the service.
    pub file: Uploaded,
    /// Whether it was uploaded just now: record it.
    pub is_new: bool,
}

impl Uploads {
    /// Uploads with this client. `known` are the files of earlier runs, from
    /// [`Journal::uploads`](crate::Journal::uploads).
    #[must_use]
    pub fn new(client: Client, known: impl IntoIterator<Item = Uploaded>) -> Self {
        let slot = |file: Uploaded| (file.sha256, Slot::new(tokio::sync::Mutex::new(Some(file))));
        let files = Arc::new(Mutex::new(known.into_iter().map(slot).collect()));
        Self { client, lifetime: LIFETIME, files }
    }

    /// How long the service keeps a file that is uploaded from now on. Default: 7 days.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The file at the service with the content of a local one, which is uploaded if need be. Jobs that ask for the
    /// same content at the same time share one upload.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if it cannot be read; [`Api`](Error::Api) if it cannot be uploaded. Nothing was paid.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave a file at the service, which expires.
    pub async fn get(&self, path: impl Into<PathBuf>, purpose: FilePurpose) -> Result<LocalFile> {
        let path = path.into();
        let (sha256, bytes) = digest(path.clone()).await?;
        let slot = Arc::clone(self.lock().entry(sha256).or_default());
        let mut slot = slot.lock().await;
        let now = Utc::now();
        if let Some(file) = slot.as_ref().filter(|file| is_usable(file.expires_at, now)) {
            return Ok(LocalFile { file: file.clone(), is_new: false });
        }
        let expires_at = TimeDelta::from_std(self.lifetime).ok().and_then(|it| now.checked_add_signed(it));
        let upload = self.client.files().upload(path).purpose(purpose);
        let uploaded = match expires_at {
            Some(at) => upload.expires_at(at).await?,
            None => upload.await?,
        };
        let file = Uploaded::new(sha256, bytes, uploaded.id, uploaded.expires_at.or(expires_at));
        *slot = Some(file.clone());
        Ok(LocalFile { file, is_new: true })
    }

    /// The service rejected a request with this file (404, 422): the next [`get`](Self::get) uploads it again.
    pub async fn forget(&self, file: &Uploaded) {
        let slot = self.lock().get(&file.sha256).cloned();
        if let Some(slot) = slot {
            let mut slot = slot.lock().await;
            // Another job may have uploaded it again already.
            slot.take_if(|it| it.file_id == file.file_id);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Sha256, Slot>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_usable(expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    expires_at.is_none_or(|at| at.signed_duration_since(now) > MARGIN)
}

/// The content of a file, read where blocking harms nobody.
async fn digest(path: PathBuf) -> Result<(Sha256, u64)> {
    let read = |path: &Path| std::fs::File::open(path).and_then(Sha256::of_reader);
    let task = tokio::task::spawn_blocking(move || read(&path).map_err(|e| Error::io("read", &path, e)));
    task.await.unwrap_or_else(|e| Err(Error::InvalidInput(format!("the file was not read: {e}"))))
}

/// Deletes the files of a finished batch at the service; those that are gone already count as deleted. Returns how
/// many.
///
/// # Errors
///
/// The first error, after all files were tried.
pub async fn clean(client: &Client, files: impl IntoIterator<Item = Uploaded>) -> Result<u64> {
    let (mut deleted, mut first) = (0, None);
    for file in files {
        match client.files().delete(file.file_id).await {
            Ok(()) => deleted += 1,
            Err(luma_agents::Error::Rejected(e)) if e.kind() == RejectionKind::NotFound => deleted += 1,
            Err(e) => first = first.or(Some(e)),
        }
    }
    first.map_or(Ok(deleted), |e| Err(e.into()))
}

#[cfg(test)]
mod tests {
    use luma_agents::mock::Emulator;
    use uuid::Uuid;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n0000000000000000";

    async fn setup() -> (Emulator, tempfile::TempDir, Uploads) {
        let emulator = Emulator::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png"] {
            std::fs::write(folder.path().join(name), PNG).unwrap();
        }
        let uploads = Uploads::new(emulator.client(), []);
        (emulator, folder, uploads)
    }

    #[tokio::test]
    async fn one_content_is_uploaded_once_however_many_ask_and_whatever_it_is_called() {
        let (emulator, folder, uploads) = setup().await;
        let get = |name: &str| uploads.get(folder.path().join(name), FilePurpose::Reference);
        let (a, b, c) = tokio::join!(get("a.png"), get("b.png"), get("a.png"));
        let files = [a.unwrap(), b.unwrap(), c.unwrap()];
        assert_eq!(files.iter().filter(|it| it.is_new).count(), 1);
        assert!(files.iter().all(|it| it.file == files[0].file && it.file.sha256 == Sha256::of(PNG)));
        assert_eq!(emulator.files().len(), 1);
        assert!(emulator.files()[0].expires_at.is_some());
    }

    #[tokio::test]
    async fn a_later_run_uses_a_file_until_it_is_about_to_expire_or_is_rejected() {
        let (emulator, folder, first) = setup().await;
        let path = folder.path().join("a.png");
        let file = first.get(&path, FilePurpose::Input).await.unwrap().file;
        let later = Uploads::new(emulator.client(), [file.clone()]);
        assert_eq!(
            later.get(&path, FilePurpose::Input).await.unwrap(),
            LocalFile { file: file.clone(), is_new: false }
        );
        later.forget(&file).await;
        let again = later.get(&path, FilePurpose::Input).await.unwrap();
        assert!(again.is_new && again.file.file_id != file.file_id);
        later.forget(&file).await;
        assert!(!later.get(&path, FilePurpose::Input).await.unwrap().is_new, "another job has replaced it");
        let expiring = Uploaded::new(file.sha256, file.bytes, file.file_id, Some(Utc::now() + MARGIN));
        assert!(Uploads::new(emulator.client(), [expiring]).get(&path, FilePurpose::Input).await.unwrap().is_new);
    }

    #[tokio::test]
    async fn a_finished_batch_deletes_what_it_uploaded() {
        let (emulator, folder, uploads) = setup().await;
        let file = uploads.get(folder.path().join("a.png"), FilePurpose::Input).await.unwrap().file;
        let gone = Uploaded::new(file.sha256, 1, Uuid::nil(), None);
        assert_eq!(clean(&emulator.client(), [file.clone(), gone]).await.unwrap(), 2);
        assert!(emulator.files().iter().all(|it| it.deleted_at.is_some()));
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named() {
        let (_emulator, folder, uploads) = setup().await;
        let error = uploads.get(folder.path().join("none.png"), FilePurpose::Input).await.unwrap_err();
        assert!(error.to_string().contains("none.png"));
    }
}
