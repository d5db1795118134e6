//! Files: one call uploads, whatever the size and whatever breaks during the transfer.

use std::{
    future::IntoFuture as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use luma_agents::{
    ApiKey, Client, Content, Error, Retry,
    error::RejectionKind,
    mock::{self, Emulator, Ingest, MockServerExt as _, Operation, Reply, Transfer},
    types::{CreateFile, CreateGeneration, FilePage, FilePurpose, FileState, GenerationType, MediaRef},
};
use tempfile::TempDir;

use crate::support::{
    KEY, SIGNATURE,
    fault_server::{Action, FaultServer, Part, Then},
    printed, valid,
};

const MB: usize = 1024 * 1024;

fn video(size: usize) -> Vec<u8> {
    let mut bytes = b"\0\0\0\x18ftypisom\0\0\0\0isommp42".to_vec();
    bytes.resize(size, 7);
    bytes
}

fn picture() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 2);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&[0, 80, 160, 240]).unwrap();
    bytes
}

/// An emulator in which files are ready at once.
async fn emulator() -> Emulator {
    let emulator = Emulator::start().await.unwrap();
    for _ in 0..8 {
        emulator.next_file(Ingest::new().takes(Duration::ZERO));
    }
    emulator
}

/// The operations so far, in order.
fn operations(emulator: &Emulator) -> Vec<Operation> {
    emulator.requests().iter().filter_map(|it| it.operation).collect()
}

/// A client that retries without delays.
fn quick(emulator: &Emulator, idle_timeout: Duration) -> Client {
    Client::builder(ApiKey::new(emulator.api_key()).unwrap())
        .base_url(emulator.base_url())
        .retry(Retry::default().first_delay(Duration::from_millis(1)))
        .idle_timeout(idle_timeout)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_small_file_is_sent_in_the_request_that_records_it() {
    let emulator = emulator().await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("pic.png");
    std::fs::write(&path, picture()).unwrap();
    let expires = chrono::DateTime::from_timestamp(2_000_000_000, 0).unwrap();
    let upload =
        emulator.client().files().upload(&path).purpose(FilePurpose::Reference).user_id("u1").expires_at(expires);
    let file = upload.await.unwrap();
    assert_eq!((file.state, file.mime_type.as_str()), (FileState::Ready, "image/png"));
    assert_eq!(file.filename.as_deref(), Some("pic.png"));
    assert_eq!((file.purpose, file.user_id.as_deref()), (FilePurpose::Reference, Some("u1")));
    assert_eq!(file.expires_at, Some(expires));
    assert_eq!(operations(&emulator)[0], Operation::CreateFile);
    assert!(!operations(&emulator).contains(&Operation::CompleteFile));
}

#[tokio::test]
async fn a_large_file_is_sent_to_storage() {
    let emulator = emulator().await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("clip.mp4");
    std::fs::write(&path, video(5 * MB)).unwrap();
    let file = emulator.client().files().upload(path).await.unwrap();
    assert_eq!((file.state, file.size_bytes), (FileState::Ready, 5 * 1024 * 1024));
    assert_eq!(file.mime_type, "video/mp4");
    assert_eq!(operations(&emulator)[..3], [Operation::CreateFile, Operation::Storage, Operation::CompleteFile]);
}

#[tokio::test]
async fn a_stream_of_known_length_is_sent_either_way() {
    let emulator = emulator().await;
    for size in [10_000, 5 * MB] {
        let chunks: Vec<_> = video(size).chunks(4096).map(Bytes::copy_from_slice).collect();
        let stream = futures_util::stream::iter(chunks).map(Ok);
        let file = emulator.client().files().upload(Content::stream(stream, size as u64)).await.unwrap();
        assert_eq!(usize::try_from(file.size_bytes), Ok(size));
    }
    let short = futures_util::stream::iter([Ok(Bytes::from(picture()))]).boxed();
    let endless = futures_util::stream::repeat_with(|| Ok(Bytes::from(picture()))).boxed();
    for stream in [short, endless] {
        let error = emulator.client().files().upload(Content::stream(stream, 1000)).await.unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{error}");
    }
}

#[tokio::test]
async fn an_upload_that_breaks_is_sent_again() {
    let emulator = emulator().await;
    emulator.next_upload(Transfer::new().cut_after(MB));
    emulator.next_upload(Transfer::rejected(503));
    let file = quick(&emulator, Duration::from_secs(10)).files().upload(video(5 * MB)).await.unwrap();
    assert_eq!(file.state, FileState::Ready);
    assert_eq!(operations(&emulator).iter().filter(|it| **it == Operation::Storage).count(), 3);
    assert_eq!(operations(&emulator).iter().filter(|it| **it == Operation::CreateFile).count(), 1);
}

#[tokio::test]
async fn an_upload_that_stalls_is_sent_again() {
    let emulator = emulator().await;
    emulator.next_upload(Transfer::new().stall_after(MB));
    let file = quick(&emulator, Duration::from_millis(500)).files().upload(video(12 * MB)).await.unwrap();
    assert_eq!(file.state, FileState::Ready);
}

#[tokio::test]
async fn an_expired_envelope_is_a_clear_error() {
    let emulator = emulator().await;
    emulator.url_lifetime(Duration::ZERO);
    let error = emulator.client().files().upload(video(5 * MB)).await.unwrap_err();
    assert!(matches!(&error, Error::Rejected(e) if e.kind() == RejectionKind::Expired), "{error}");
    assert!(!format!("{error:?}").contains("X-Amz-Signature"));
}

#[tokio::test]
async fn a_lost_response_to_complete_is_settled_by_the_state_of_the_file() {
    let emulator = emulator().await;
    emulator.next_reply(Operation::CompleteFile, Reply::raw(500, "oops").after_effect());
    let file = emulator.client().files().upload(video(5 * MB)).await.unwrap();
    assert_eq!(file.state, FileState::Ready);
}

#[tokio::test]
async fn a_completion_that_was_not_received_is_repeated() {
    let emulator = emulator().await;
    emulator.next_reply(Operation::CompleteFile, Reply::raw(504, "gateway"));
    let file = emulator.client().files().upload(video(5 * MB)).await.unwrap();
    assert_eq!(file.state, FileState::Ready);
    assert_eq!(operations(&emulator).iter().filter(|it| **it == Operation::CompleteFile).count(), 2);
}

#[tokio::test]
async fn the_error_of_a_failed_upload_has_the_id_of_its_file() {
    let emulator = emulator().await;
    for _ in 0..3 {
        emulator.next_upload(Transfer::rejected(503));
    }
    let error = quick(&emulator, Duration::from_secs(10)).files().upload(video(5 * MB)).await.unwrap_err();
    assert_eq!(error.file_id(), Some(emulator.files()[0].id), "{error}");
}

#[tokio::test]
async fn a_file_that_is_too_large_for_the_form_is_sent_to_storage() {
    let emulator = emulator().await;
    emulator.next_reply(Operation::CreateFile, Reply::rejected(413, "too large for a form"));
    let file = emulator.client().files().upload(picture()).await.unwrap();
    assert_eq!(file.state, FileState::Ready);
    assert!(operations(&emulator).contains(&Operation::CompleteFile));
    emulator.next_reply(Operation::CreateFile, Reply::rejected(400, "no such purpose"));
    let before = operations(&emulator).len();
    let error = emulator.client().files().upload(picture()).await.unwrap_err();
    assert_eq!(error.status().map(|it| it.as_u16()), Some(400), "{error}");
    assert_eq!(operations(&emulator).len(), before + 1, "what is rejected for another reason is not sent to storage");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_a_typed_error() {
    let emulator = Emulator::start().await.unwrap();
    emulator.next_file(Ingest::fails("Corrupt data"));
    let error = emulator.client().files().upload(picture()).await.unwrap_err();
    let Error::FileFailed(failed) = &error else { panic!("{error}") };
    assert_eq!(failed.file.failure_reason.as_deref(), Some("Corrupt data"));
    assert_eq!(error.file_id(), Some(failed.file.id));

    emulator.next_file(Ingest::new().takes(Duration::from_secs(600)));
    let error = emulator.client().files().upload(picture()).timeout(Duration::from_millis(5)).await.unwrap_err();
    assert!(matches!(error, Error::WaitTimeout(_)) && error.file_id().is_some(), "{error}");
}

#[tokio::test]
async fn bad_input_is_an_error_before_anything_is_sent() {
    let emulator = emulator().await;
    let directory = TempDir::new().unwrap();
    let at = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let huge = directory.path().join("huge.mp4");
    std::fs::File::create(&huge).unwrap().set_len(5 * 1024 * MB as u64 + 1).unwrap();
    let cases = [
        (directory.path().join("missing.png"), "cannot read"),
        (directory.path().to_owned(), "not a file"),
        (at("empty.png", b""), "empty"),
        (at("page.png", b"<!DOCTYPE html><html></html>"), "is text/html"),
        (at("text.png", b"hello"), "is of an unknown type"),
        (huge, "at most"),
    ];
    for (path, part) in cases {
        let error = emulator.client().files().upload(&path).await.unwrap_err().to_string();
        assert!(error.contains(part), "{}: {error}", path.display());
    }
    let error = emulator.client().files().upload(picture()).mime_type("not a type\n").await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput(_)), "{error}");
    assert!(emulator.requests().is_empty());
}

#[tokio::test]
async fn an_uploaded_file_is_a_media_reference() {
    let emulator = emulator().await;
    let luma = emulator.client();
    let file = luma.files().upload(picture()).await.unwrap();
    let request = CreateGeneration::builder()
        .type_(GenerationType::ImageEdit)
        .prompt("warmer")
        .source(MediaRef::from(&file))
        .image_ref(vec![MediaRef::from(file.clone())]);
    luma.generations().create(request).await.unwrap();
    luma.files().delete(&file).await.unwrap();
    let request =
        CreateGeneration::builder().type_(GenerationType::ImageEdit).prompt("warmer").source(MediaRef::from(&file));
    luma.generations().create(request).await.unwrap_err();
}

#[tokio::test]
async fn files_are_listed_page_by_page_or_all_in_a_row() {
    let emulator = emulator().await;
    let files = emulator.client().files();
    let mut ids = Vec::new();
    for index in 0..7 {
        let purpose = if index % 2 == 0 { FilePurpose::Input } else { FilePurpose::Reference };
        let request = CreateFile::builder().mime_type("image/png").size_bytes(100).purpose(purpose);
        ids.insert(0, files.create(request).await.unwrap().id);
    }
    let page = files.list().limit(3).page().await.unwrap();
    assert_eq!((page.data.len(), page.has_more), (3, true));
    let next = files.list().limit(3).cursor(page.next_cursor.unwrap()).page().await.unwrap();
    assert_eq!(next.data[0].id, ids[3]);
    let all: Vec<_> = files.list().limit(2).stream().map_ok(|file| file.id).try_collect().await.unwrap();
    assert_eq!(all, ids);
    let inputs: Vec<_> = files.list().purpose(FilePurpose::Input).stream().try_collect().await.unwrap();
    assert_eq!(inputs.len(), 4);
    files.delete(ids[0]).await.unwrap();
    let deleted: Vec<_> = files.list().state(FileState::Deleted).stream().try_collect().await.unwrap();
    assert_eq!(deleted.iter().map(|file| file.id).collect::<Vec<_>>(), ids[..1]);
    for limit in [0, 101] {
        assert!(matches!(files.list().limit(limit).page().await, Err(Error::InvalidInput(_))));
    }
}

#[tokio::test]
async fn pages_that_lead_nowhere_are_an_error() {
    for cursor in [None, Some("round".to_owned())] {
        let server = mock::MockServer::start_async().await;
        let page = FilePage::builder().data(vec![mock::file(FileState::Ready)]).has_more(true).next_cursor(cursor);
        let page = page.try_into().unwrap();
        server.list_files(|_, then| {
            then.ok(&page);
        });
        let files = mock::client(&server).unwrap().files();
        let error = files.list().stream().try_collect::<Vec<_>>().await.unwrap_err();
        assert!(matches!(error, Error::UnexpectedResponse(_)), "{error}");
    }
}

#[tokio::test]
async fn a_file_is_read_and_waited_for_by_its_id() {
    let emulator = emulator().await;
    let files = emulator.client().files();
    let file = files.upload(picture()).await.unwrap();
    assert_eq!(files.get(file.id).await.unwrap(), file);
    assert_eq!(files.wait(file.id.to_string()).await.unwrap().id, file.id);
    let error = files.get("nonsense").await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput(_)), "{error}");
    files.delete(file.id).await.unwrap();
    assert!(matches!(files.wait(file.id).await, Err(Error::FileFailed(_))));
}

#[tokio::test]
async fn a_video_is_accepted_whatever_its_brand() {
    let emulator = emulator().await;
    for brand in ["XAVC", "iso8", "3gp5", "hvc1", "av01", "cmfc", "dby1"] {
        let bytes = [b"\0\0\0\x14ftyp", brand.as_bytes(), b"\0\0\0\0isom"].concat();
        let error = emulator.client().files().upload(bytes).timeout(Duration::ZERO).await.err();
        assert!(!matches!(error, Some(Error::InvalidInput(_))), "{brand}: {error:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn only_a_regular_file_is_uploaded() {
    let emulator = emulator().await;
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    assert!(std::process::Command::new("mkfifo").arg(at("pipe.png")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(at("socket.png")).unwrap();
    std::os::unix::fs::symlink(at("pipe.png"), at("link.png")).unwrap();
    let paths = [at("pipe.png"), at("socket.png"), at("link.png"), "/dev/zero".into(), directory.path().into()];
    for path in paths {
        let upload = emulator.client().files().upload(&path).mime_type("image/png").into_future();
        let outcome = tokio::time::timeout(Duration::from_secs(5), upload).await;
        let error = outcome.expect("no wait for the other end of a pipe").unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{}: {error}", path.display());
    }
    assert!(emulator.requests().is_empty());

    std::fs::write(at("real.png"), picture()).unwrap();
    std::os::unix::fs::symlink(at("real.png"), at("to-real.png")).unwrap();
    emulator.client().files().upload(at("to-real.png")).await.unwrap();
}

#[tokio::test]
async fn a_stream_of_another_length_is_never_completed() {
    let emulator = emulator().await;
    for (announced, length) in [(5 * MB, 5 * MB + 1), (5 * MB, 9 * MB), (5 * MB, 5 * MB - 1), (6 * MB, 5 * MB)] {
        let chunks: Vec<_> = video(length).chunks(64 * 1024).map(Bytes::copy_from_slice).collect();
        let stream = futures_util::stream::iter(chunks).map(Ok);
        let error = emulator.client().files().upload(Content::stream(stream, announced as u64)).await.unwrap_err();
        let expected = if length > announced { "longer" } else { "shorter" };
        assert!(matches!(error, Error::Io(_)) && error.to_string().contains(expected), "{error}");
        assert!(emulator.files().iter().any(|file| Some(file.id) == error.file_id()), "it has the id of the file");
    }
    assert!(!operations(&emulator).contains(&Operation::CompleteFile));
    assert!(emulator.files().iter().all(|file| file.state == FileState::Pending));
}

#[tokio::test]
async fn a_stream_that_gives_nothing_more_ends_in_time() {
    let emulator = Emulator::start().await.unwrap();
    let luma = quick(&emulator, Duration::from_millis(50));
    for (given, length) in [(0, 8), (4, 8), (MB, 2 * MB), (4, 5 * MB)] {
        let begin = futures_util::stream::iter([Ok(vec![0; given].into())]);
        let stream = begin.chain(futures_util::stream::pending());
        let upload = luma.files().upload(Content::stream(stream, length as u64)).mime_type("image/png");
        let error = upload.await.unwrap_err();
        let Error::Io(e) = &error else { panic!("{error}") };
        assert_eq!(e.source.kind(), std::io::ErrorKind::TimedOut, "{given} of {length}: {error}");
    }
    assert!(operations(&emulator).is_empty());
}

#[tokio::test]
async fn a_file_that_changes_its_length_is_sent_once_and_never_completed() {
    for (length, expected) in [(2 * MB, "shorter"), (13 * MB, "longer")] {
        let emulator = emulator().await;
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("clip.mp4");
        std::fs::write(&path, video(12 * MB)).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        // Between its first and its second piece.
        let change = move |_| file.set_len(length as u64).unwrap();
        let files = quick(&emulator, Duration::from_secs(10)).files();
        let error = files.upload(&path).progress(change).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Io(_)) && text.contains(expected) && text.contains("clip.mp4"), "{text}");
        assert!(operations(&emulator).iter().filter(|it| **it == Operation::Storage).count() <= 1);
        assert!(!operations(&emulator).contains(&Operation::CompleteFile));
    }
}

#[tokio::test]
async fn a_panic_of_the_caller_reaches_the_caller_and_nothing_is_sent_again() {
    let emulator = emulator().await;
    for size in [MB, 6 * MB] {
        let files = quick(&emulator, Duration::from_secs(10)).files();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let upload = files.upload(video(size)).progress(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            panic!("of the callback");
        });
        let panic = tokio::spawn(upload.into_future()).await.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref(), Some(&"of the callback"));
        assert_eq!(calls.load(Ordering::Relaxed), 1);

        let chunks = video(size).chunks(64 * 1024).map(Bytes::copy_from_slice).collect::<Vec<_>>();
        let stream = futures_util::stream::iter(chunks).enumerate().map(|(number, chunk)| {
            assert!(number < 10, "of the stream");
            Ok(chunk)
        });
        let upload = files.upload(Content::stream(stream, size as u64));
        let panic = tokio::spawn(upload.into_future()).await.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref(), Some(&"of the stream"));
    }
    assert!(!operations(&emulator).contains(&Operation::CompleteFile));
}

#[tokio::test]
async fn an_expiry_is_the_same_in_json_and_in_the_form() {
    let expires = chrono::DateTime::from_timestamp(2_000_000_000, 123_456_789).unwrap();
    let emulator = emulator().await;
    for size in [MB, 5 * MB] {
        let file = emulator.client().files().upload(video(size)).expires_at(expires).await.unwrap();
        let expected = chrono::DateTime::from_timestamp(2_000_000_000, 123_456_000);
        assert_eq!(file.expires_at, expected, "{size}");
    }
}

/// A header of the PUT.
const TOKEN: &str = "hush/token/81f2";

/// The service as one server, which gives `put` for each PUT of the bytes.
async fn with_storage(put: impl Fn(usize) -> Action + Send + Sync + 'static) -> (FaultServer, Client) {
    let address = Arc::new(OnceLock::<String>::new());
    let (own, puts) = (Arc::clone(&address), AtomicUsize::new(0));
    let server = FaultServer::start(move |request| match request.method.as_str() {
        "PUT" => put(puts.fetch_add(1, Ordering::Relaxed)),
        "POST" if request.path.ends_with("/files") => {
            let mut created = valid::created_file();
            // By this machine's clock it has expired.
            created["upload"]["expires_at"] = "2020-01-01T00:00:00Z".into();
            created["upload"]["headers"] = serde_json::json!({ "x-amz-security-token": TOKEN });
            created["upload"]["url"] = format!("{}/object?sig={SIGNATURE}", own.get().unwrap()).into();
            Action::api(201, &created.to_string())
        }
        _ => Action::api(200, &valid::file().to_string()),
    })
    .await
    .unwrap();
    address.set(server.url()).unwrap();
    let retry = Retry::default().first_delay(Duration::from_millis(1));
    let client = Client::builder(ApiKey::new(KEY).unwrap()).base_url(server.url()).retry(retry).build().unwrap();
    (server, client)
}

fn puts(server: &FaultServer) -> usize {
    server.requests().iter().filter(|it| it.method == "PUT").count()
}

#[tokio::test]
async fn storage_judges_whether_a_url_has_expired() {
    let (server, luma) = with_storage(|number| match number {
        0 => Action::send("").reads(Part::HalfOfBody).then(Then::Reset),
        _ => Action::respond(200, &[], ""),
    })
    .await;
    luma.files().upload(video(5 * MB)).await.unwrap();
    assert_eq!(puts(&server), 2);
}

#[tokio::test]
async fn the_time_in_which_bytes_were_sent_does_not_count_towards_the_budget() {
    let budget = Duration::from_millis(500);
    let (server, _) = with_storage(move |number| match number {
        0 => {
            // A pause, and then a reset.
            let action =
                Action::send("HTTP/1.1 100 Continue\r\n\r\n").in_pieces(100, budget + Duration::from_millis(50));
            action.reads(Part::HalfOfBody).then(Then::Reset)
        }
        _ => Action::respond(200, &[], ""),
    })
    .await;
    let retry = Retry::default().first_delay(Duration::from_millis(1)).budget(budget);
    let luma = Client::builder(ApiKey::new(KEY).unwrap()).base_url(server.url()).retry(retry).build().unwrap();
    luma.files().upload(video(12 * MB)).await.unwrap();
    assert_eq!(puts(&server), 2);
}

#[tokio::test]
async fn no_text_of_storage_shows_what_was_sent_to_it() {
    for text in [
        format!("<Error><Code>AccessDenied</Code><Message>sig {SIGNATURE} and token {TOKEN}</Message></Error>"),
        format!("PUT /object?sig={SIGNATURE} x-amz-security-token: {TOKEN}"),
        format!("the signature {SIGNATURE} does not match, nor does {}", TOKEN.replace('/', "%2F")),
    ] {
        let (_server, luma) = with_storage(move |_| Action::respond(403, &[], &text)).await;
        let error = luma.files().upload(video(5 * MB)).await.unwrap_err();
        let shown = printed(&error);
        assert!(!shown.contains(SIGNATURE) && !shown.contains("hush"), "{shown}");
        assert!(error.file_id().is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_success_before_the_last_byte_is_none() {
    let (server, luma) = with_storage(|_| Action::respond(200, &[], "").reads(Part::Head).then(Then::Close)).await;
    luma.files().upload(video(64 * MB)).await.unwrap_err();
    assert_eq!(puts(&server), 3);
    assert!(!server.requests().iter().any(|it| it.path.ends_with("/complete")));
}

#[tokio::test]
async fn a_redirected_upload_is_followed_if_its_bytes_can_be_repeated() {
    for status in [307, 308] {
        let redirect = move |number| match number {
            0 => Action::respond(status, &[("location", "/v1/elsewhere")], ""),
            _ => Action::respond(200, &[], ""),
        };
        let (server, luma) = with_storage(redirect).await;
        luma.files().upload(video(5 * MB)).await.unwrap();
        let paths: Vec<_> = server.requests().into_iter().filter(|it| it.method == "PUT").map(|it| it.path).collect();
        assert_eq!(paths.len(), 2);
        assert_eq!(paths[1], "/v1/elsewhere");

        let (server, luma) = with_storage(redirect).await;
        let stream = futures_util::stream::iter([Ok(Bytes::from(video(5 * MB)))]);
        let error = luma.files().upload(Content::stream(stream, 5 * MB as u64)).await.unwrap_err();
        assert!(matches!(&error, Error::Rejected(e) if e.kind() == RejectionKind::Redirected), "{error}");
        assert_eq!(puts(&server), 1);
    }
    for status in [301, 302, 303] {
        let redirect = move |_| Action::respond(status, &[("location", "/v1/elsewhere")], "");
        let (server, luma) = with_storage(redirect).await;
        luma.files().upload(video(5 * MB)).await.unwrap_err();
        assert_eq!(puts(&server), 1, "a {status} may ask for a GET");
    }
}

#[tokio::test]
async fn no_timeout_is_too_long() {
    let (server, _) = with_storage(|_| Action::respond(200, &[], "")).await;
    let forever = Duration::MAX;
    let builder = Client::builder(ApiKey::new(KEY).unwrap()).base_url(server.url());
    let builder = builder.timeout(forever).submit_timeout(forever).idle_timeout(forever).connect_timeout(forever);
    let luma = builder.retry(Retry::default().budget(forever)).build().unwrap();
    luma.files().upload(video(5 * MB)).await.unwrap();
}
