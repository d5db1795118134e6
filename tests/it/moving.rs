//! Moving bytes: what is known before the body, ranges, readers, names by a template, and the hash of a file.

use std::{collections::BTreeSet, time::Duration};

use luma_agents::{
    Client, Content, Error, Retry,
    mock::{Emulator, Script, Transfer},
    types::{CreateGeneration, Generation},
};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use crate::support::{
    fast_builder,
    fault_server::{Action, FaultServer},
    valid,
};

/// Bytes that are detected as MP4.
fn video(size: usize) -> Vec<u8> {
    let mut bytes = b"\0\0\0\x18ftypisom\0\0\0\0isommp42".to_vec();
    bytes.extend((bytes.len()..size).map(|at| u8::try_from(at % 251).unwrap()));
    bytes
}

async fn finished(emulator: &Emulator, bytes: &[u8]) -> (Client, Generation) {
    emulator.next(Script::new().states(["completed"]).output(bytes.to_vec()));
    let luma = emulator.client();
    let request = CreateGeneration::builder().prompt("bytes");
    let done = luma.generations().create_and_wait(request).first_after(Duration::ZERO).await.unwrap();
    (luma, done)
}

fn quick() -> Retry {
    Retry::default().first_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(2))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        text += &format!("{byte:02x}");
    }
    text
}

#[tokio::test]
async fn media_type_and_etag_are_known_before_the_body() {
    let emulator = Emulator::start().await.unwrap();
    let bytes = video(1000);
    let (luma, done) = finished(&emulator, &bytes).await;
    let body = luma.download(&done).open().await.unwrap();
    assert_eq!((body.media_type(), body.total()), (Some("video/mp4"), Some(1000)));
    let etag = body.etag().unwrap().to_owned();
    assert_eq!(luma.download(&done).open().await.unwrap().etag(), Some(etag.as_str()));

    let headers = [("content-type", "Video/MP4; codecs=avc1"), ("etag", "W/\"weak\"")];
    let server = FaultServer::start(move |request| match request.path.as_str() {
        "/o" => Action::respond(200, &headers, "some bytes"),
        _ => valid::response(request),
    })
    .await
    .unwrap();
    let url = format!("{}/o", server.url().trim_end_matches("/v1"));
    let body = fast_builder(server.url()).build().unwrap().download(url).open().await.unwrap();
    assert_eq!((body.media_type(), body.etag()), (Some("video/mp4"), None));
}

#[tokio::test]
async fn a_range_of_bytes_is_fetched_alone() {
    let emulator = Emulator::start().await.unwrap();
    let bytes = video(1000);
    let (luma, done) = finished(&emulator, &bytes).await;
    let before = emulator.requests().len();
    for without_ranges in [false, true] {
        let download = || {
            emulator.next_download(if without_ranges { Transfer::new().without_ranges() } else { Transfer::new() });
            luma.download(&done).retry(quick())
        };
        assert_eq!(download().range(..24).bytes().await.unwrap(), &bytes[..24]);
        assert_eq!(download().range(100..=199).bytes().await.unwrap(), &bytes[100..200]);
        assert_eq!(download().range(900..).bytes().await.unwrap(), &bytes[900..]);
        assert_eq!(download().range(900..5000).bytes().await.unwrap(), &bytes[900..], "it ends with the object");
        let mut copy = Vec::new();
        assert_eq!(download().range(10..30).copy_to(&mut copy).await.unwrap(), 20);
        assert_eq!(copy, &bytes[10..30]);
        assert_eq!(download().range(10..30).max_bytes(20).open().await.unwrap().total(), Some(20));
    }
    assert_eq!(emulator.requests().len() - before, 12, "one request each");
}

#[tokio::test]
async fn a_range_that_breaks_goes_on_where_it_stopped() {
    let emulator = Emulator::start().await.unwrap();
    let bytes = video(100_000);
    let (luma, done) = finished(&emulator, &bytes).await;
    for cut in [1, 300, 40_000] {
        emulator.next_download(Transfer::new().cut_after(cut));
        let fetched = luma.download(&done).retry(quick()).range(5_000..90_000).bytes().await.unwrap();
        assert!(fetched == bytes[5_000..90_000], "cut after {cut}");
    }
}

#[tokio::test]
async fn a_range_that_cannot_be_is_an_error() {
    let emulator = Emulator::start().await.unwrap();
    let (luma, done) = finished(&emulator, &video(100)).await;
    let before = emulator.requests().len();
    for (first, end) in [(5, 5), (9, 5)] {
        let error = luma.download(&done).range(first..end).bytes().await.unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    let error = luma.download(&done).range(..5).save(directory.path()).await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput(_)), "{error}");
    assert_eq!(emulator.requests().len(), before);
    let error = luma.download(&done).range(100..).bytes().await.unwrap_err();
    assert!(matches!(error, Error::Rejected(_)), "{error}");
}

#[tokio::test]
async fn bytes_go_out_and_in_by_readers() {
    let emulator = Emulator::start().await.unwrap();
    let bytes = video(300_000);
    let (luma, done) = finished(&emulator, &bytes).await;
    let mut read = Vec::new();
    luma.download(&done).open().await.unwrap().into_reader().read_to_end(&mut read).await.unwrap();
    assert!(read == bytes);

    for _ in 0..3 {
        emulator.next_download(Transfer::new().cut_after(10));
    }
    let mut reader = luma.download(&done).retry(Retry::none()).open().await.unwrap().into_reader();
    let error = reader.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert!(error.get_ref().unwrap().downcast_ref::<Error>().is_some(), "{error}");

    let reader = std::io::Cursor::new(bytes.clone());
    let file = luma.files().upload(Content::reader(reader, bytes.len() as u64)).filename("a.mp4").await.unwrap();
    assert_eq!((file.mime_type.as_str(), file.size_bytes), ("video/mp4", 300_000));
    let reader = std::io::Cursor::new(bytes);
    let error = luma.files().upload(Content::reader(reader, 300_001)).await.unwrap_err();
    assert!(error.to_string().contains("length"), "{error}");
}

#[tokio::test]
async fn outputs_are_named_by_a_template() {
    let emulator = Emulator::start().await.unwrap();
    let (luma, done) = finished(&emulator, &video(100)).await;
    let directory = tempfile::tempdir().unwrap();
    let saved = luma.download(&done).names("cover-{index}-{id}.{ext}").save(directory.path()).await.unwrap();
    assert_eq!(saved.path, directory.path().join(format!("cover-0-{}.mp4", done.id)));
    let saved = luma.download(&done).names("plain").resumable().save_all(directory.path()).await.unwrap();
    assert_eq!(saved[0].path, directory.path().join("plain"));
    let names: BTreeSet<_> = std::fs::read_dir(&directory).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");

    let error = luma.download(&done).names("plain").save(directory.path()).await.unwrap_err();
    assert!(matches!(error, Error::Io(_)), "it exists: {error}");
    let before = emulator.requests().len();
    for (template, path) in [("../{id}", directory.path().to_owned()), ("a.{ext}", directory.path().join("b.mp4"))] {
        let error = luma.download(&done).names(template).save(path).await.unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{error}");
    }
    let mut two = done.clone();
    let outputs = two.output.as_mut().unwrap();
    outputs.push(outputs[0].clone());
    let error = luma.download(&two).names("{id}.{ext}").save_all(directory.path()).await.unwrap_err();
    assert!(error.to_string().contains("{index}"), "{error}");
    assert_eq!(emulator.requests().len(), before);
}

#[tokio::test]
async fn a_saved_file_has_its_sha256_also_after_a_resume() {
    let emulator = Emulator::start().await.unwrap();
    let bytes = video(200_000);
    let (luma, done) = finished(&emulator, &bytes).await;
    let directory = tempfile::tempdir().unwrap();
    let saved = luma.download(&done).save(directory.path()).await.unwrap();
    assert_eq!(saved.sha256, hex(&bytes));

    emulator.next_download(Transfer::new().cut_after(120_000));
    let resumed = directory.path().join("resumed.mp4");
    let save = |retry| luma.download(&done).retry(retry).resumable().save(&resumed);
    save(Retry::none()).await.unwrap_err();
    let begun = std::fs::metadata(directory.path().join(".resumed.mp4.part")).unwrap().len();
    assert!(begun > 0);
    assert_eq!(save(quick()).await.unwrap().sha256, hex(&bytes));
    assert!(std::fs::read(&resumed).unwrap() == bytes);

    // Another object under the same URL: what was hashed before no longer counts.
    emulator.next_download(Transfer::new().cut_after(50_000));
    emulator.next_download(Transfer::new().changed());
    let path = directory.path().join("changed.mp4");
    let saved = luma.download(&done).retry(quick()).save(&path).await.unwrap();
    assert_eq!(saved.sha256, hex(&std::fs::read(&path).unwrap()));
}
