//! What dropping a future does. A submission's is in `one_request`, a download's in `downloads`.

use std::{future::IntoFuture, time::Duration};

use luma_agents::{
    error::Outcome,
    mock::{Emulator, Operation, Reply, Script, Transfer},
    types::{CreateGeneration, FileState, Generation},
};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A job that takes a while, on an emulator.
async fn running(emulator: &Emulator) -> Generation {
    emulator.next(Script::new().takes(millis(300)));
    emulator.client().generations().create(CreateGeneration::builder().prompt("a duck")).await.unwrap()
}

/// Polls `future` for a while and drops it.
async fn dropped(future: impl IntoFuture) {
    assert!(tokio::time::timeout(millis(100), future.into_future()).await.is_err(), "it ended before it was dropped");
}

#[tokio::test]
async fn a_dropped_wait_polls_no_more_and_its_job_goes_on() {
    let emulator = Emulator::start().await.unwrap();
    let generations = emulator.client().generations();
    let job = running(&emulator).await;
    dropped(generations.wait(&job)).await;
    dropped(generations.wait_all([&job]).next()).await;
    let request = CreateGeneration::builder().prompt("another");
    emulator.next(Script::new().takes(millis(300)));
    dropped(generations.create_and_wait(request)).await;

    tokio::time::sleep(millis(20)).await;
    let polls = emulator.requests().len();
    tokio::time::sleep(millis(60)).await;
    assert_eq!(emulator.requests().len(), polls, "a poll came after the wait was dropped");
    for job in emulator.jobs() {
        assert!(generations.wait(job.id).await.unwrap().state.is_terminal());
    }
    assert_eq!(emulator.jobs().len(), 2);
}

#[tokio::test]
async fn a_runtime_that_shuts_down_during_a_poll_leaves_the_id_of_the_job() {
    let emulator = Emulator::start().await.unwrap();
    emulator.next_reply(Operation::GetGeneration, Reply::normal().delay(Duration::from_secs(60)));
    let (luma, other) = (emulator.client(), tokio::runtime::Runtime::new().unwrap());
    let handle = other.handle().clone();
    let waiting = std::thread::spawn(move || {
        handle
            .block_on(async { luma.generations().create_and_wait(CreateGeneration::builder().prompt("a duck")).await })
    });
    while emulator.requests().len() < 2 {
        tokio::time::sleep(millis(1)).await;
    }
    other.shutdown_background();
    let error = tokio::task::spawn_blocking(|| waiting.join().unwrap()).await.unwrap().unwrap_err();
    assert_eq!(error.outcome(), Outcome::Accepted(emulator.jobs()[0].id), "{error}");
    assert!(!error.to_string().contains("nothing was sent"), "{error}");
}

#[tokio::test]
async fn a_dropped_upload_leaves_its_file_pending() {
    let emulator = Emulator::start().await.unwrap();
    let mut video = b"\0\0\0\x18ftypisom\0\0\0\0isommp42".to_vec();
    video.resize(9 * 1024 * 1024, 7);
    emulator.next_upload(Transfer::new().stall_after(1000));
    let luma = emulator.client();
    let mut upload = Box::pin(luma.files().upload(video).into_future());
    while emulator.files().is_empty() {
        assert!(tokio::time::timeout(millis(5), &mut upload).await.is_err());
    }
    drop(upload);
    tokio::time::sleep(millis(20)).await;
    assert_eq!(emulator.files()[0].state, FileState::Pending);
}

#[tokio::test]
async fn what_is_never_polled_sends_nothing() {
    let emulator = Emulator::start().await.unwrap();
    let luma = emulator.client();
    let id = uuid::Uuid::nil();
    drop(luma.generations().get(id).into_future());
    drop(luma.generations().wait(id).into_future());
    drop(luma.generations().wait_all([id]));
    drop(luma.files().upload(b"\x89PNG\r\n\x1a\n0000".to_vec()).into_future());
    drop(luma.files().delete(id).into_future());
    drop(luma.files().list().stream());
    drop(luma.download("https://example.com/a.png").save("never.png"));
    drop(luma.check());
    tokio::time::sleep(millis(20)).await;
    assert!(emulator.requests().is_empty());
}
