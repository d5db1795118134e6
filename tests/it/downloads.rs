//! Downloads: a saved file is complete and correct, whatever breaks during the transfer.

use std::{
    future::IntoFuture as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::TryStreamExt as _;
use luma_agents::{
    ApiKey, Client, Download, Error, Progress, Retry,
    error::{Fault, Outcome, RejectionKind},
    mock::{Emulator, Operation, Script, Transfer},
    types::{CreateGeneration, Generation, GenerationType, MediaRef, Model},
};
use tempfile::TempDir;

use crate::support::{
    KEY, SIGNATURE,
    fault_server::{Action, FaultServer, Request, Then, response_bytes},
    http2::{self, CANCEL, Http2, NO_ERROR},
};

const KB: usize = 1024;

/// Bytes that are detected as MP4 and hardly repeat.
fn video(size: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = b"\0\0\0\x18ftypisom\0\0\0\0isommp42".to_vec();
    bytes.resize_with(size, || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    });
    bytes
}

fn quick() -> Retry {
    Retry::default().first_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(2))
}

async fn finished(luma: &Client, request: luma_agents::types::builder::CreateGeneration) -> Generation {
    let job = luma.generations().create(request).await.unwrap();
    luma.generations().wait(&job).first_after(Duration::ZERO).every(Duration::from_millis(1)).await.unwrap()
}

/// A finished generation whose only output is `bytes`.
async fn output(emulator: &Emulator, bytes: &[u8]) -> Generation {
    emulator.next(Script::new().states(["completed"]).output(bytes.to_vec()));
    finished(&emulator.client(), CreateGeneration::builder().prompt("bytes")).await
}

/// With an idle timeout that only a stalled transfer reaches, however busy the machine is.
fn download(emulator: &Emulator, generation: &Generation) -> Download {
    emulator.client().download(generation).retry(quick()).idle_timeout(Duration::from_millis(400))
}

/// Everything in the directory, hidden files too.
fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

async fn survive(times: usize, size: usize) {
    let emulator = Emulator::start().await.unwrap();
    let directory = TempDir::new().unwrap();
    let bytes = video(size, 7);
    let generation = output(&emulator, &bytes).await;
    for time in 0..times {
        // Where each break comes, counted from the one before. The URL expires after each of them.
        for part in [3, 5, 7] {
            emulator.next_download(Transfer::new().cut_after((time * 7919 + size / part) % (size / 4) + 1));
            emulator.next_download(Transfer::rejected(403));
        }
        let path = directory.path().join(format!("{time}.mp4"));
        let saved = download(&emulator, &generation).save(&path).await.unwrap();
        assert_eq!(saved.bytes, size as u64);
        assert!(std::fs::read(&path).unwrap() == bytes, "download {time} differs");
        std::fs::remove_file(path).unwrap();
    }
    assert!(entries(directory.path()).is_empty());
    let reads = emulator.requests().iter().filter(|it| it.operation == Some(Operation::GetGeneration)).count();
    assert_eq!(reads, 1 + 3 * times, "each expired URL costs one read of the generation");
}

#[tokio::test]
async fn a_download_survives_three_breaks_and_three_expired_urls() {
    survive(6, 256 * KB).await;
}

#[tokio::test]
#[ignore = "takes minutes: run it with --release"]
async fn a_hundred_downloads_of_64_mib_survive_three_breaks_and_three_expired_urls() {
    survive(100, 64 * KB * KB).await;
}

#[tokio::test]
async fn only_the_missing_rest_is_requested_again() {
    let emulator = Emulator::start().await.unwrap();
    let bytes = video(300 * KB, 1);
    let generation = output(&emulator, &bytes).await;
    emulator.next_download(Transfer::new().cut_after(100 * KB));
    assert!(download(&emulator, &generation).bytes().await.unwrap() == bytes);
    let ranges: Vec<_> = emulator
        .requests()
        .iter()
        .filter(|it| it.operation == Some(Operation::Storage))
        .map(|it| {
            (
                it.headers.get("range").map(|range| range.to_str().unwrap().to_owned()),
                it.headers.contains_key("if-range"),
            )
        })
        .collect();
    assert_eq!(ranges[0], (None, false));
    let (Some(range), true) = &ranges[1] else { panic!("{ranges:?}") };
    let from: usize = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
    assert!(from > 0 && from <= 100 * KB, "{range}");
}

#[tokio::test]
async fn a_stalled_download_is_resumed() {
    let emulator = Emulator::start().await.unwrap();
    let bytes = video(200 * KB, 2);
    let generation = output(&emulator, &bytes).await;
    emulator.next_download(Transfer::new().stall_after(64 * KB));
    assert!(download(&emulator, &generation).bytes().await.unwrap() == bytes);
}

#[tokio::test]
async fn a_server_without_ranges_or_length_is_good_enough() {
    let emulator = Emulator::start().await.unwrap();
    let bytes = video(200 * KB, 3);
    let generation = output(&emulator, &bytes).await;
    emulator.next_download(Transfer::new().without_ranges().cut_after(70 * KB));
    emulator.next_download(Transfer::new().without_ranges());
    assert!(download(&emulator, &generation).bytes().await.unwrap() == bytes);
    emulator.next_download(Transfer::new().without_length());
    assert!(download(&emulator, &generation).bytes().await.unwrap() == bytes);
    emulator.next_download(Transfer::new().without_length().cut_after(70 * KB));
    assert!(download(&emulator, &generation).bytes().await.unwrap() == bytes);
}

#[tokio::test]
async fn a_changed_object_is_noticed() {
    let emulator = Emulator::start().await.unwrap();
    let directory = TempDir::new().unwrap();
    let bytes = video(200 * KB, 4);
    let generation = output(&emulator, &bytes).await;

    // A file begins again: it is one object or the other, never a mixture.
    emulator.next_download(Transfer::new().cut_after(100 * KB));
    emulator.next_download(Transfer::new().changed());
    let path = directory.path().join("changed.mp4");
    download(&emulator, &generation).save(&path).await.unwrap();
    let second = std::fs::read(&path).unwrap();
    assert!(second.len() == bytes.len() && second != bytes);
    assert!(download(&emulator, &generation).bytes().await.unwrap() == second);

    // A stream cannot take back the bytes it has given.
    emulator.next_download(Transfer::new().cut_after(100 * KB));
    emulator.next_download(Transfer::new().changed());
    let error = download(&emulator, &generation).bytes().await.unwrap_err();
    assert!(matches!(error, Error::UnexpectedResponse(_)) && error.to_string().contains("changed"), "{error}");
}

#[tokio::test]
async fn a_download_that_cannot_be_resumed_leaves_nothing_behind() {
    let emulator = Emulator::start().await.unwrap();
    let directory = TempDir::new().unwrap();
    let generation = output(&emulator, &video(200 * KB, 5)).await;
    for _ in 0..3 {
        emulator.next_download(Transfer::rejected(503));
    }
    let error = download(&emulator, &generation).save(directory.path().join("a.mp4")).await.unwrap_err();
    let Error::Rejected(rejected) = &error else { panic!("{error}") };
    assert_eq!((rejected.kind(), rejected.exchange.attempts), (RejectionKind::Unavailable, 3));
    emulator.next_download(Transfer::new().cut_after(100 * KB));
    let without_retry = download(&emulator, &generation).retry(Retry::none());
    let error = without_retry.save(directory.path().join("a.mp4")).await.unwrap_err();
    assert!(matches!(&error, Error::NoResponse(e) if e.fault == Fault::Interrupted), "{error}");
    assert!(entries(directory.path()).is_empty());
}

#[tokio::test]
async fn a_dropped_download_leaves_nothing_behind() {
    let emulator = Emulator::start().await.unwrap();
    let directory = TempDir::new().unwrap();
    let generation = output(&emulator, &video(200 * KB, 6)).await;
    emulator.next_download(Transfer::new().stall_after(64 * KB));
    let save = download(&emulator, &generation).idle_timeout(Duration::from_secs(60)).save(directory.path());
    tokio::time::timeout(Duration::from_millis(60), save).await.unwrap_err();
    assert!(entries(directory.path()).is_empty());
}

#[tokio::test]
async fn a_kept_part_is_resumed_by_a_later_save() {
    let emulator = Emulator::start().await.unwrap();
    let directory = TempDir::new().unwrap();
    let bytes = video(400 * KB, 8);
    let generation = output(&emulator, &bytes).await;
    let path = directory.path().join("late.mp4");
    let resumable = || download(&emulator, &generation).retry(Retry::none()).resumable();

    emulator.next_download(Transfer::new().cut_after(300 * KB));
    resumable().save(&path).await.unwrap_err();
    assert_eq!(entries(directory.path()), [".late.mp4.part", ".late.mp4.part.json"]);
    let kept = std::fs::metadata(directory.path().join(".late.mp4.part")).unwrap().len();
    assert!(kept > 0 && kept <= 300 * KB as u64);

    resumable().save(&path).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert_eq!(entries(directory.path()), ["late.mp4"]);
    let last = emulator.requests().pop().unwrap();
    assert_eq!(last.headers["range"], format!("bytes={kept}-"));
}

#[tokio::test]
async fn a_kept_part_of_another_object_is_not_used() {
    let emulator = Emulator::start().await.unwrap();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("late.mp4");
    let generation = output(&emulator, &video(400 * KB, 9)).await;
    emulator.next_download(Transfer::new().cut_after(300 * KB));
    download(&emulator, &generation).retry(Retry::none()).resumable().save(&path).await.unwrap_err();
    let other = video(350 * KB, 10);
    let generation = output(&emulator, &other).await;
    download(&emulator, &generation).resumable().save(&path).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == other);
}

#[tokio::test]
async fn an_existing_file_is_replaced_only_on_request() {
    let emulator = Emulator::start().await.unwrap();
    let directory = TempDir::new().unwrap();
    let generation = output(&emulator, &video(KB, 11)).await;
    let path = directory.path().join("mine.mp4");
    std::fs::write(&path, "mine").unwrap();
    let requests = emulator.requests().len();
    let error = download(&emulator, &generation).save(&path).await.unwrap_err();
    assert!(matches!(&error, Error::Io(e) if e.source.kind() == std::io::ErrorKind::AlreadyExists), "{error}");
    assert_eq!(emulator.requests().len(), requests, "nothing was fetched");
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");

    for _ in 0..2 {
        emulator.next_download(Transfer::rejected(404));
    }
    download(&emulator, &generation).overwrite().save(&path).await.unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), b"mine", "only a complete file takes its place");
    download(&emulator, &generation).overwrite().save(&path).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), KB as u64);

    let named = download(&emulator, &generation).save(directory.path()).await.unwrap().path;
    let error = download(&emulator, &generation).save(directory.path()).await.unwrap_err();
    assert!(error.to_string().contains(&*named.to_string_lossy()), "{error}");
}

#[tokio::test]
async fn an_impossible_target_is_an_error_before_anything_is_fetched() {
    let emulator = Emulator::start().await.unwrap();
    let directory = TempDir::new().unwrap();
    let generation = output(&emulator, &video(KB, 12)).await;
    let requests = emulator.requests().len();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    for target in [directory.path().join("missing/a.mp4"), directory.path().join("missing/"), file.join("a.mp4")] {
        let error = download(&emulator, &generation).save(&target).await.unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error}");
    }
    for target in [directory.path().join("missing"), file] {
        let error = download(&emulator, &generation).save_all(&target).await.unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error}");
    }
    assert_eq!(emulator.requests().len(), requests);
}

#[tokio::test]
async fn names_follow_the_generation_and_extensions_the_content() {
    let emulator = Emulator::start().await.unwrap();
    let luma = emulator.client();
    let directory = TempDir::new().unwrap();

    let image = finished(&luma, CreateGeneration::builder().prompt("a duck")).await;
    let saved = luma.download(&image).save(directory.path()).await.unwrap();
    assert_eq!(saved.path, directory.path().join(format!("{}.png", image.id)));
    assert_eq!(saved.media_type, Some("image/png"));

    let video = CreateGeneration::builder().type_(GenerationType::Video).model(Model::Ray3_2).prompt("a duck").video(
        luma_agents::types::VideoOptions::builder()
            .hdr(true)
            .exr_export(true)
            .resolution(luma_agents::types::VideoResolution::Resolution720p),
    );
    let video = finished(&luma, video).await;
    let saved = luma.download(&video).save_all(directory.path()).await.unwrap();
    let chosen = luma.download(&video).output(1).bytes().await.unwrap();
    assert!(chosen.starts_with(&[0x76, 0x2f, 0x31, 0x01]), "the EXR");
    let expected = [format!("{}.mp4", video.id), format!("{}-2.exr", video.id)];
    assert_eq!(
        saved.iter().map(|it| it.path.clone()).collect::<Vec<_>>(),
        expected.map(|it| directory.path().join(it))
    );

    let layering = CreateGeneration::builder()
        .type_(GenerationType::Layering)
        .prompt("the duck")
        .source(MediaRef::url("https://example.com/duck.jpg").unwrap());
    let layering = finished(&luma, layering).await;
    let saved = luma.download(&layering).save_all(directory.path()).await.unwrap();
    for (output, saved) in layering.outputs().iter().zip(&saved) {
        let layer = output.layer.as_ref().unwrap();
        let name = saved.path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with(&format!("{}-layer-{}-", layering.id, layer.index)), "{name}");
    }
    let order: Vec<_> = layering.layers().iter().map(|it| it.layer.as_ref().unwrap().index).collect();
    assert_eq!(order, [2, 1, 0], "the background is drawn first");

    let error = luma.download(&layering).save(directory.path()).await.unwrap_err();
    assert!(error.to_string().contains("3 outputs"), "{error}");
}

#[tokio::test]
async fn bytes_come_in_every_form() {
    let emulator = Emulator::start().await.unwrap();
    let bytes = video(100 * KB, 13);
    let generation = output(&emulator, &bytes).await;
    let get = || download(&emulator, &generation);

    let mut body = get().open().await.unwrap();
    assert_eq!(body.total(), Some(bytes.len() as u64));
    let first = body.chunk().await.unwrap().unwrap();
    assert!(bytes.starts_with(&first));
    let chunks: Vec<_> = get().open().await.unwrap().into_stream().try_collect().await.unwrap();
    assert!(chunks.concat() == bytes);
    let mut copy = Vec::new();
    assert_eq!(get().copy_to(&mut copy).await.unwrap(), bytes.len() as u64);
    assert!(copy == bytes);
    let url = generation.outputs()[0].url.as_str();
    assert!(emulator.client().download(url).bytes().await.unwrap() == bytes);
    assert!(emulator.client().download(&generation.outputs()[0]).bytes().await.unwrap() == bytes);

    let error = get().max_bytes(1000).bytes().await.unwrap_err();
    assert!(matches!(&error, Error::NoResponse(e) if e.fault == Fault::TooLarge), "{error}");
    emulator.next_download(Transfer::new().without_length());
    let error = get().max_bytes(1000).bytes().await.unwrap_err();
    assert!(matches!(&error, Error::NoResponse(e) if e.fault == Fault::TooLarge), "{error}");
}

#[tokio::test]
async fn progress_is_reported_at_the_beginning_and_at_the_end() {
    let emulator = Emulator::start().await.unwrap();
    let bytes = video(300 * KB, 14);
    let generation = output(&emulator, &bytes).await;
    let reports = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&reports);
    let directory = TempDir::new().unwrap();
    let save = download(&emulator, &generation).progress(move |progress: Progress| log.lock().unwrap().push(progress));
    save.save(directory.path()).await.unwrap();
    let reports = reports.lock().unwrap();
    assert!(reports.len() <= 7, "at most five a second: {reports:?}");
    assert!(reports.windows(2).all(|pair| pair[0].bytes <= pair[1].bytes));
    let last = reports.last().unwrap();
    assert_eq!((last.bytes, last.total), (bytes.len() as u64, Some(bytes.len() as u64)));
}

#[tokio::test]
async fn an_expired_url_without_its_generation_is_an_error_with_advice() {
    let emulator = Emulator::start().await.unwrap();
    let generation = output(&emulator, &video(KB, 15)).await;
    let url = generation.outputs()[0].url.clone();
    emulator.expire_urls();
    let error = emulator.client().download(&url).bytes().await.unwrap_err();
    assert!(matches!(&error, Error::Rejected(e) if e.kind() == RejectionKind::Expired), "{error}");
    let query = url.as_str().split_once('?').unwrap().1;
    assert!(!format!("{error} {error:?} {generation:?} {url:?}").contains(query));
}

#[tokio::test]
async fn the_key_is_never_sent_to_storage() {
    let emulator = Emulator::start().await.unwrap();
    let generation = output(&emulator, &video(KB, 16)).await;
    download(&emulator, &generation).bytes().await.unwrap();
    for request in emulator.requests().iter().filter(|it| it.operation == Some(Operation::Storage)) {
        assert!(!request.headers.contains_key("authorization") && !request.headers.contains_key("cookie"));
    }
}

#[tokio::test]
async fn only_https_urls_are_fetched() {
    let emulator = Emulator::start().await.unwrap();
    for url in ["", "output.png", "ftp://example.com/a", "http://example.com/a?sig=secret", "file:///etc/passwd"] {
        let error = emulator.client().download(url).bytes().await.unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)) && !error.to_string().contains("secret"), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_complete_part_is_published_only_for_the_same_output() {
    let emulator = Emulator::start().await.unwrap();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("latest.mp4");
    let (first, second) = (video(300 * KB, 20), video(300 * KB, 21));
    let (old, new) = (output(&emulator, &first).await, output(&emulator, &second).await);
    // All but the last byte came.
    emulator.next_download(Transfer::new().cut_after(300 * KB - 1));
    download(&emulator, &old).retry(Retry::none()).resumable().save(&path).await.unwrap_err();
    download(&emulator, &new).resumable().save(&path).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == second);
    assert_eq!(entries(directory.path()), ["latest.mp4"]);
}

#[tokio::test]
async fn a_kept_part_without_its_checkpoint_begins_again() {
    let emulator = Emulator::start().await.unwrap();
    let directory = TempDir::new().unwrap();
    let bytes = video(100 * KB, 22);
    let generation = output(&emulator, &bytes).await;
    std::fs::write(directory.path().join(".a.mp4.part"), vec![7; 500 * KB]).unwrap();
    std::fs::write(directory.path().join(".a.mp4.part.json"), "{\"identity\":").unwrap();
    let path = directory.path().join("a.mp4");
    download(&emulator, &generation).resumable().save(&path).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
}

#[tokio::test]
async fn nothing_comes_after_an_error() {
    let emulator = Emulator::start().await.unwrap();
    let generation = output(&emulator, &video(200 * KB, 23)).await;
    emulator.next_download(Transfer::new().cut_after(100 * KB));
    emulator.next_download(Transfer::new().changed());
    let mut body = download(&emulator, &generation).open().await.unwrap();
    while body.chunk().await.is_ok_and(|chunk| chunk.is_some()) {}
    assert_eq!(body.chunk().await.unwrap(), None);
}

/// The bytes of an output that a server sends instead, as they go over the wire.
async fn from_server(script: impl Fn(&Request) -> Action + Send + Sync + 'static) -> (FaultServer, Client, Generation) {
    let server = FaultServer::start(script).await.unwrap();
    let luma = Client::builder(ApiKey::new(KEY).unwrap()).base_url(server.url()).retry(quick()).build().unwrap();
    let generation = serde_json::json!({
        "id": uuid::Uuid::nil(), "type": "image", "state": "completed", "model": "uni-1",
        "created_at": "2026-04-08T12:00:00Z",
        "output": [{ "type": "image", "url": format!("{}/o.png?X-Amz-Signature={SIGNATURE}", server.url()) }],
    });
    (server, luma, serde_json::from_value(generation).unwrap())
}

type Headers<'a> = &'a [(&'a str, &'a str)];

/// Half of a picture, after which nothing more comes; then the rest, whose head takes a while.
fn stalled_and_slow(request: &Request) -> Action {
    let headers = |more: Headers<'static>| [&[("content-type", "image/png"), ("etag", "\"a\"")], more].concat();
    if request.number == 0 {
        let half = response_bytes(200, headers(&[("content-length", "8")]), b"\x89PNG");
        Action::send(half).then(Then::Hang)
    } else {
        let range = headers(&[("content-length", "4"), ("content-range", "bytes 4-7/8")]);
        let rest = response_bytes(206, range, b"\r\n\x1a\n");
        Action::send(rest).in_pieces(40, Duration::from_millis(60))
    }
}

#[tokio::test]
async fn a_chunk_that_is_asked_for_again_and_again_comes_as_if_it_were_asked_for_once() {
    let (server, luma, generation) = from_server(stalled_and_slow).await;
    let download = luma.download(&generation).retry(quick()).idle_timeout(Duration::from_millis(400));
    let mut body = download.open().await.unwrap();
    assert_eq!(body.chunk().await.unwrap().unwrap().as_ref(), b"\x89PNG");
    let mut asked = 0;
    let chunk = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            asked += 1;
            if let Ok(chunk) = tokio::time::timeout(Duration::from_millis(20), body.chunk()).await {
                break chunk;
            }
        }
    });
    assert_eq!(chunk.await.expect("neither a chunk nor an error").unwrap().unwrap().as_ref(), b"\r\n\x1a\n");
    assert!(asked > 1 && body.chunk().await.unwrap().is_none());
    assert_eq!((server.requests().len(), body.total(), body.etag()), (2, Some(8), Some("\"a\"")));
}

#[tokio::test]
async fn a_consumer_that_pauses_after_it_has_asked_finds_what_came_meanwhile() {
    let bytes = [b"\x89PNG".as_slice(), &[7; 196]].concat();
    let (server, luma, generation) = from_server(move |_| {
        let response = response_bytes(200, [("content-length", "200")], &bytes);
        Action::send(response).in_pieces(100, Duration::from_millis(150))
    })
    .await;
    let download = luma.download(&generation).retry(Retry::none()).idle_timeout(Duration::from_millis(400));
    let mut body = download.open().await.unwrap();
    let mut length = body.chunk().await.unwrap().unwrap().len();
    tokio::time::timeout(Duration::from_millis(1), body.chunk()).await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(600)).await;
    while let Some(chunk) = body.chunk().await.unwrap() {
        length += chunk.len();
    }
    assert_eq!((length, server.requests().len()), (200, 1));
}

#[tokio::test]
async fn a_success_that_carries_no_picture_is_an_error() {
    let html = "<!DOCTYPE html><title>Sign in</title>";
    let xml = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>";
    let png = "\u{89}PNG\r\n\u{1a}\n";
    let page = "no healthy upstream. ".repeat(10);
    let cases: [(u16, Headers<'_>, &str); 14] = [
        (200, &[("content-type", "text/html; charset=utf-8")], png),
        (200, &[("content-type", "Application/XML")], png),
        (200, &[("content-type", "application/json")], png),
        (200, &[("content-type", "image/png")], html),
        (200, &[], html),
        (200, &[], "\u{feff}\r\n  <html>"),
        (200, &[("content-type", "binary/octet-stream")], xml),
        (200, &[], "{\"message\":\"Forbidden\"}"),
        (200, &[], ""),
        (200, &[], " \r\n"),
        (200, &[("content-type", "text/plain")], &page),
        (200, &[("content-type", "image/png")], "Not found"),
        (200, &[("content-type", "image/png")], "PK\u{3}\u{4}"),
        (200, &[("content-type", "image/png"), ("content-encoding", "gzip")], png),
    ];
    for (status, headers, body) in cases {
        let action = Action::respond(status, headers, body);
        let (server, luma, generation) = from_server(move |_| action.clone()).await;
        let directory = TempDir::new().unwrap();
        let saved = luma.download(&generation).save(directory.path()).await;
        let error = saved.unwrap_err();
        assert!(matches!(error, Error::UnexpectedResponse(_)), "{headers:?} {body}: {error}");
        assert!(!error.to_string().contains(SIGNATURE));
        assert!(entries(directory.path()).is_empty(), "{headers:?} {body}");
        luma.download(&generation.outputs()[0]).bytes().await.unwrap_err();
        assert_eq!(server.requests().len(), 2, "nothing is retried");
    }
    let (_server, luma, generation) = from_server(|_| Action::send(response_bytes(204, [], ""))).await;
    let error = luma.download(&generation).bytes().await.unwrap_err();
    assert!(matches!(error, Error::UnexpectedResponse(_)), "{error}");
}

#[tokio::test]
async fn whichever_way_a_generation_is_downloaded_an_error_has_its_id() {
    let bytes = response_bytes(200, [("content-length", "100")], vec![7; 50]);
    let (_server, luma, broken) = from_server(move |_| Action::send(bytes.clone())).await;
    let mut unusable = broken.clone();
    unusable.output.as_mut().unwrap()[0].url = "http://example.com/o.png".try_into().unwrap();
    let mut two = broken.clone();
    two.output.as_mut().unwrap().push(broken.outputs()[0].clone());
    let directory = TempDir::new().unwrap();
    let mut errors = Vec::new();
    for generation in [broken, unusable, two] {
        let download = || luma.download(&generation);
        errors.extend(download().save(directory.path()).await.err());
        errors.extend(download().save_all(directory.path()).await.err());
        errors.extend(download().bytes().await.err());
        errors.extend(download().copy_to(&mut tokio::io::sink()).await.err());
        if let Err(error) = download().open().await {
            errors.push(error);
        }
    }
    // The headers of the first are as they should be.
    assert_eq!(errors.len(), 14);
    let id = uuid::Uuid::nil();
    for error in errors {
        assert_eq!((error.generation_id(), error.outcome()), (Some(id), Outcome::Accepted(id)), "{error}");
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_resumed_breaks_off_and_does_not_change() {
    let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n\x89PNG\r\n";
    let (server, luma, generation) = from_server(|_| Action::send(*bytes)).await;
    let directory = TempDir::new().unwrap();
    for error in [
        luma.download(&generation).save(directory.path()).await.unwrap_err(),
        luma.download(&generation).bytes().await.unwrap_err(),
    ] {
        assert!(matches!(&error, Error::NoResponse(e) if e.fault == Fault::Interrupted), "{error}");
        assert!(error.is_retryable());
    }
    // A file begins again three times, a stream never: it has given bytes away.
    assert_eq!(server.requests().len(), 5 + 2);
}

#[tokio::test]
async fn a_stream_of_http_2_that_is_reset_before_its_end_is_not_the_whole_object() {
    for code in [NO_ERROR, CANCEL] {
        let script = move |_: &Request, stream| {
            let begin = [http2::headers(stream, 200, &[], false), http2::data(stream, b"\x89PNG\r\n\x1a\n", false)];
            Action::send([begin.concat(), http2::reset(stream, code)].concat()).then(Then::Stay)
        };
        let named = Arc::new(|_| ("GET", "/o.png".to_owned()));
        let server = Http2 { window: 65_535, opens_window: true, named, script: Arc::new(script) };
        let server = server.start().await.unwrap();
        let http = reqwest::Client::builder().http2_prior_knowledge().retry(reqwest::retry::never());
        let key = ApiKey::new(KEY).unwrap();
        let luma = Client::builder(key).http_client(http.build().unwrap()).retry(quick()).build().unwrap();
        let directory = TempDir::new().unwrap();
        let url = format!("{}/o.png", server.url());
        let error = luma.download(url).save(directory.path()).await.unwrap_err();
        assert!(matches!(&error, Error::NoResponse(e) if e.fault == Fault::Interrupted), "{error}");
        assert!(entries(directory.path()).is_empty());
    }
}

#[tokio::test]
async fn a_stream_of_http_2_that_ends_is_the_whole_object() {
    let script = |_: &Request, stream| {
        let body = http2::data(stream, b"\x89PNG\r\n\x1a\n", true);
        Action::send([http2::headers(stream, 200, &[], false), body].concat()).then(Then::Stay)
    };
    let named = Arc::new(|_| ("GET", "/o.png".to_owned()));
    let server = Http2 { window: 65_535, opens_window: true, named, script: Arc::new(script) }.start().await.unwrap();
    let http = reqwest::Client::builder().http2_prior_knowledge();
    let luma = Client::builder(ApiKey::new(KEY).unwrap()).http_client(http.build().unwrap()).build().unwrap();
    let bytes = luma.download(format!("{}/o.png", server.url())).bytes().await.unwrap();
    assert_eq!(bytes.len(), 8);
}

#[tokio::test]
async fn a_part_that_was_not_requested_is_not_the_whole_object() {
    let headers = [("content-range", "bytes 0-7/*"), ("content-length", "8")];
    let (_server, luma, generation) =
        from_server(move |_| Action::send(response_bytes(206, headers, b"\x89PNG\r\n\x1a\n"))).await;
    let error = luma.download(&generation).bytes().await.unwrap_err();
    assert!(matches!(error, Error::UnexpectedResponse(_)), "{error}");
    assert_eq!(luma.download(&generation).range(..8).bytes().await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_plain_url_may_lead_to_text_but_not_to_nothing() {
    let (_server, luma, generation) =
        from_server(|_| Action::respond(200, &[("content-type", "text/html")], "<html>")).await;
    let url = generation.outputs()[0].url.clone();
    assert_eq!(luma.download(&url).bytes().await.unwrap(), "<html>");
    let (_server, luma, generation) = from_server(|_| Action::respond(200, &[], "")).await;
    let url = generation.outputs()[0].url.clone();
    let error = luma.download(&url).bytes().await.unwrap_err();
    assert!(matches!(error, Error::UnexpectedResponse(_)), "{error}");
    let mut sink = tokio::io::sink();
    luma.download(&url).copy_to(&mut sink).await.unwrap_err();
}

#[tokio::test]
async fn a_whole_object_that_does_not_show_the_same_etag_is_another_one() {
    let (_server, luma, generation) = from_server(|request| match request.number % 2 {
        0 => Action::send(response_bytes(200, [("content-length", "100"), ("etag", "\"a\"")], vec![7; 50])),
        _ => Action::send(response_bytes(200, [("content-length", "100"), ("server", "a copy")], vec![8; 100])),
    })
    .await;
    let directory = TempDir::new().unwrap();
    let saved = luma.download(&generation).save(directory.path()).await.unwrap();
    assert_eq!(std::fs::read(saved.path).unwrap(), vec![8; 100], "not the halves of both");
    // What a stream has given away cannot be replaced.
    let error = luma.download(&generation).bytes().await.unwrap_err();
    assert!(matches!(error, Error::UnexpectedResponse(_)) && error.to_string().contains("changed"), "{error}");
}

#[tokio::test]
async fn text_in_the_place_of_the_rest_is_an_error() {
    let (_server, luma, generation) = from_server(|request| match request.number {
        0 => Action::send(response_bytes(200, [("content-length", "100"), ("etag", "\"a\"")], vec![7; 50])),
        _ => Action::respond(200, &[("content-type", "text/html"), ("etag", "\"a\"")], "<html>"),
    })
    .await;
    let directory = TempDir::new().unwrap();
    let error = luma.download(&generation).save(directory.path()).await.unwrap_err();
    assert!(matches!(error, Error::UnexpectedResponse(_)), "{error}");
    assert!(entries(directory.path()).is_empty());
}

/// A transfer that breaks after 400 of 1000 bytes, and the response that is to continue it.
async fn continued(status: u16, headers: &[(&'static str, &'static str)], body: Vec<u8>) -> Result<Vec<u8>, Error> {
    let rest = response_bytes(status, headers.iter().copied(), body);
    let (_server, luma, generation) = from_server(move |request| match request.number {
        0 => Action::send(response_bytes(200, [("content-length", "1000"), ("etag", "\"a\"")], vec![7; 400])),
        1 => Action::send(rest.clone()),
        _ => Action::send(response_bytes(200, [("content-length", "1000"), ("etag", "\"b\"")], vec![8; 1000])),
    })
    .await;
    let directory = TempDir::new().unwrap();
    let saved = luma.download(&generation).save(directory.path().join("a")).await?;
    assert_eq!(saved.bytes, 1000);
    Ok(std::fs::read(saved.path).unwrap())
}

#[tokio::test]
async fn a_rest_that_fits_is_appended_whatever_the_case_of_its_unit() {
    for unit in ["bytes 400-999/1000", "Bytes 400-999/1000", "BYTES 400-999/*"] {
        let headers = [("content-range", unit), ("etag", "\"a\""), ("content-length", "600")];
        let bytes = continued(206, &headers, vec![7; 600]).await.unwrap();
        assert!(bytes == [7; 1000], "{unit}");
    }
}

#[tokio::test]
async fn a_rest_that_does_not_fit_is_never_appended() {
    for range in [
        "bytes 300-899/1000",
        "bytes 500-999/1000",
        "bytes 400-1000/1000",
        "bytes 400-999/2000",
        "bytes 999-400/1000",
        "items 400-999/1000",
        "400",
    ] {
        let headers = [("content-range", range), ("etag", "\"a\""), ("content-length", "600")];
        let bytes = continued(206, &headers, vec![9; 600]).await.unwrap();
        assert!(bytes == [8; 1000], "{range}: begins again");
    }
}

#[tokio::test]
async fn more_bytes_than_announced_are_an_error() {
    for (status, headers, length) in [
        (206, vec![("content-range", "bytes 400-999/1000"), ("etag", "\"a\""), ("content-length", "700")], 700),
        (206, vec![("content-range", "bytes 400-999/1000"), ("etag", "\"a\"")], 700),
        (200, vec![("etag", "\"a\"")], 1100),
    ] {
        let error = continued(status, &headers, vec![7; length]).await.unwrap_err();
        assert!(error.to_string().contains("1000"), "{error}");
        assert!(matches!(error, Error::UnexpectedResponse(_)), "{error}");
    }
}

#[tokio::test]
async fn outputs_with_the_same_name_are_saved_side_by_side() {
    let (_server, luma, mut generation) = from_server(|request| {
        // Each output has bytes of its own.
        Action::respond(200, &[], &format!("\u{89}PNG {}", request.path.split_once('?').unwrap().1))
    })
    .await;
    let url = generation.outputs()[0].url.as_str().to_owned();
    let outputs = ["Car", "car", "CAR!"].iter().enumerate().map(|(number, label)| {
        serde_json::json!({
            "type": "image", "url": format!("{url}&n={number}"),
            "layer": { "index": 0, "label": label, "description": "", "alpha_hint": "hard" },
        })
    });
    generation.output = serde_json::from_value(outputs.collect::<serde_json::Value>()).unwrap();
    let directory = TempDir::new().unwrap();
    for _ in 0..2 {
        let saved = luma.download(&generation).overwrite().save_all(directory.path()).await.unwrap();
        assert_eq!(entries(directory.path()).len(), 3);
        for (number, saved) in saved.iter().enumerate() {
            let bytes = std::fs::read_to_string(&saved.path).unwrap();
            assert!(bytes.ends_with(&format!("n={number}")), "{bytes}");
        }
    }
}

#[tokio::test]
async fn a_kept_part_is_not_resumed_for_a_url_with_another_query() {
    let (_server, luma, generation) = from_server(|request| {
        let byte = if request.path.contains("file=a&") { 1 } else { 2 };
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        match range.map(|first| first.parse::<usize>().unwrap()) {
            Some(first) => {
                let content_range = format!("bytes {first}-999/1000");
                Action::send(response_bytes(206, [("content-range", content_range.as_str())], vec![byte; 1000 - first]))
            }
            None if request.number == 0 => {
                Action::send(response_bytes(200, [("content-length", "1000")], vec![byte; 400]))
            }
            None => Action::send(response_bytes(200, [("content-length", "1000")], vec![byte; 1000])),
        }
    })
    .await;
    let url = |query| generation.outputs()[0].url.as_str().replace("X-Amz-Signature", query);
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("a.bin");
    let resumable = |url: String| luma.download(url).retry(Retry::none()).resumable();
    resumable(url("file=a&x")).save(&path).await.unwrap_err();
    resumable(url("file=b&x")).save(&path).await.unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes == [2; 1000], "not a mixture");
}

#[tokio::test]
async fn every_future_can_be_spawned() {
    fn spawnable<F: Future + Send + 'static>(_: &F) {}
    let emulator = Emulator::start().await.unwrap();
    let generation = output(&emulator, &video(KB, 17)).await;
    let download = || emulator.client().download(&generation);
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    spawnable(&download().save("x.png"));
    spawnable(&download().save_all("x"));
    spawnable(&download().bytes());
    spawnable(&download().open());
    let copy = download();
    spawnable(&async move { copy.copy_to(&mut tokio::io::sink()).await });
    let body = download().open().await.unwrap();
    spawnable(&async move {
        let mut body = body;
        body.chunk().await
    });
    let stream = download().open().await.unwrap().into_stream();
    spawnable(&stream.try_collect::<Vec<_>>());
    spawnable(&emulator.client().files().upload("x.png").into_future());
    let saved = tokio::spawn(async move { emulator.client().download(&generation).save_all(path).await });
    assert_eq!(saved.await.unwrap().unwrap().len(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn only_regular_files_are_replaced_and_links_lead_to_them() {
    use std::os::unix::fs::{FileTypeExt as _, symlink};
    let emulator = Emulator::start().await.unwrap();
    let generation = output(&emulator, &video(KB, 30)).await;
    let (directory, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let at = |name: &str| directory.path().join(name);
    let requests = emulator.requests().len();

    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    symlink(at("socket"), at("to-socket")).unwrap();
    symlink(at("nothing"), at("dangling")).unwrap();
    symlink(at("loop"), at("loop")).unwrap();
    for name in ["socket", "to-socket", "dangling", "loop"] {
        for resumable in [false, true] {
            let overwrite = download(&emulator, &generation).overwrite();
            let overwrite = if resumable { overwrite.resumable() } else { overwrite };
            let error = overwrite.save(at(name)).await.unwrap_err();
            assert!(matches!(error, Error::Io(_)), "{name}: {error}");
        }
        download(&emulator, &generation).save(at(name)).await.unwrap_err();
    }
    assert!(std::fs::metadata(at("socket")).unwrap().file_type().is_socket());

    // A made-up name follows no link.
    let name = format!("{}.mp4", generation.id);
    std::fs::write(elsewhere.path().join("mine"), "mine").unwrap();
    symlink(elsewhere.path().join("mine"), at(&name)).unwrap();
    download(&emulator, &generation).overwrite().save(directory.path()).await.unwrap_err();
    assert_eq!(emulator.requests().len(), requests, "nothing was fetched");

    // A given one does, and stays a link.
    download(&emulator, &generation).save(at(&name)).await.unwrap_err();
    for resumable in [false, true] {
        std::fs::write(elsewhere.path().join("mine"), "mine").unwrap();
        let overwrite = download(&emulator, &generation).overwrite();
        let overwrite = if resumable { overwrite.resumable() } else { overwrite };
        let saved = overwrite.save(at(&name)).await.unwrap();
        assert_eq!(saved.path, at(&name));
        assert!(at(&name).is_symlink());
        assert_eq!(entries(elsewhere.path()), ["mine"]);
        assert_eq!(std::fs::metadata(elsewhere.path().join("mine")).unwrap().len(), KB as u64);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_hidden_part_is_never_a_link() {
    let emulator = Emulator::start().await.unwrap();
    let generation = output(&emulator, &video(KB, 31)).await;
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("mine"), "mine").unwrap();
    let requests = emulator.requests().len();
    std::os::unix::fs::symlink(at("mine"), at(".a.mp4.part")).unwrap();
    let error = download(&emulator, &generation).resumable().save(at("a.mp4")).await.unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error}");
    assert_eq!(emulator.requests().len(), requests, "nothing was fetched");

    std::fs::remove_file(at(".a.mp4.part")).unwrap();
    std::os::unix::fs::symlink(at("mine"), at(".a.mp4.part.json")).unwrap();
    download(&emulator, &generation).resumable().save(at("a.mp4")).await.unwrap();
    assert_eq!(std::fs::read(at("mine")).unwrap(), b"mine");
    assert_eq!(entries(directory.path()), ["a.mp4", "mine"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_replaced_file_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt as _;
    let emulator = Emulator::start().await.unwrap();
    let generation = output(&emulator, &video(200 * KB, 32)).await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("private.mp4");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for (resumable, kept) in [(false, 0o600), (true, 0o600), (false, 0o640), (true, 0o444)] {
        std::fs::write(&path, "private").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(kept)).unwrap();
        let overwrite = download(&emulator, &generation).overwrite();
        let overwrite = if resumable { overwrite.resumable() } else { overwrite };
        let (during, from) = (Arc::new(Mutex::new(Vec::new())), directory.path().to_owned());
        let modes = Arc::clone(&during);
        let save = overwrite.progress(move |_| {
            let part = entries(&from)
                .into_iter()
                .find(|name| Path::new(name).extension().is_some_and(|it| it == "part"))
                .unwrap();
            modes.lock().unwrap().push(mode(&from.join(part)));
        });
        save.save(&path).await.unwrap();
        assert_eq!(mode(&path), kept);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 200 * KB as u64);
        let during = during.lock().unwrap();
        assert!(!during.is_empty() && during.iter().all(|mode| (mode & !kept).is_multiple_of(0o100)), "{during:?}");
        assert!(during.iter().all(|mode| mode & 0o600 == 0o600), "its owner goes on with it: {during:?}");
        std::fs::remove_file(&path).unwrap();
    }
    let new = download(&emulator, &generation).save(directory.path()).await.unwrap();
    let ordinary = directory.path().join("ordinary");
    std::fs::write(&ordinary, "").unwrap();
    assert_eq!(mode(&new.path), mode(&ordinary), "a new file is as any other");
}

#[tokio::test]
async fn a_temporary_file_of_a_killed_process_is_removed_after_a_day() {
    let emulator = Emulator::start().await.unwrap();
    let generation = output(&emulator, &video(KB, 33)).await;
    let directory = TempDir::new().unwrap();
    for (name, hours) in [(".luma-abc123.part", 25), (".luma-abc124.part", 23), ("luma-abc125.part", 25)] {
        let file = std::fs::File::create(directory.path().join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }
    download(&emulator, &generation).save(directory.path().join("a.mp4")).await.unwrap();
    assert_eq!(entries(directory.path()), [".luma-abc124.part", "a.mp4", "luma-abc125.part"]);
}

#[tokio::test]
async fn a_kept_part_has_one_writer_at_a_time() {
    let emulator = Emulator::start().await.unwrap();
    let directory = TempDir::new().unwrap();
    let bytes = video(400 * KB, 34);
    let generation = output(&emulator, &bytes).await;
    let path = directory.path().join("a.mp4");
    let resumable = || download(&emulator, &generation).idle_timeout(Duration::from_secs(60)).resumable();

    emulator.next_download(Transfer::new().stall_after(300 * KB));
    let (sender, mut started) = tokio::sync::mpsc::unbounded_channel();
    let stalled = resumable().progress(move |_| sender.send(()).unwrap()).save(path.clone());
    let stalled = tokio::spawn(stalled);
    started.recv().await.unwrap();
    let requests = emulator.requests().len();
    let error = resumable().save(&path).await.unwrap_err();
    assert!(matches!(&error, Error::Io(e) if e.source.kind() == std::io::ErrorKind::ResourceBusy), "{error}");
    assert_eq!(emulator.requests().len(), requests, "nothing was fetched");

    // A dropped one needs a moment to end, and is waited for.
    stalled.abort();
    resumable().save(&path).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert_eq!(entries(directory.path()), ["a.mp4"]);
}

#[test]
fn saves_leave_threads_for_the_names_of_their_servers() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let picture = response_bytes(200, [("content-length", "8")], b"\x89PNG\r\n\x1a\n");
        let (server, luma, generation) = from_server(move |_| Action::send(picture.clone())).await;
        let url = format!("http://localhost:{}/o.png", server.address().port());
        let mut generation = serde_json::to_value(generation).unwrap();
        generation["output"] = vec![serde_json::json!({ "type": "image", "url": url }); 4].into();
        let generation: Generation = serde_json::from_value(generation).unwrap();
        let directory = TempDir::new().unwrap();
        let saving = luma.download(&generation).save_all(directory.path());
        let saved = tokio::time::timeout(Duration::from_secs(5), saving).await.expect("no thread is free").unwrap();
        assert_eq!(saved.len(), 4);
    });
}

#[test]
fn a_part_is_kept_also_if_the_runtime_ends() {
    let of_server = tokio::runtime::Runtime::new().unwrap();
    let half = response_bytes(200, [("content-length", "8"), ("etag", "\"a\"")], b"\x89PNG");
    let script = move |_: &Request| Action::send(half.clone()).then(Then::Hang);
    let (server, luma, generation) = of_server.block_on(from_server(script));
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("a.png");
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let save = luma.download(&generation).resumable().save(&path);
            tokio::time::timeout(Duration::from_millis(300), save).await.unwrap_err();
        });
    }
    let ranges: Vec<_> = server.requests().iter().map(|it| it.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=4-".to_owned())]);
}
