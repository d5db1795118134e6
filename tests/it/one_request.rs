//! A paid request, said exactly: its id, that it is one request, what became of it, and what dropping it does.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use luma_agents::{
    Call, Client, Error, Retry,
    error::Outcome,
    types::{CreateGeneration, Generation},
};
use uuid::Uuid;

use crate::support::{
    capture::Capture,
    fast_builder,
    fault_server::{Action, FaultServer, Then},
    valid,
};

fn submit(luma: &Client) -> Call<Generation> {
    luma.generations().create(CreateGeneration::builder().prompt("a lighthouse"))
}

fn too_many_jobs() -> Action {
    Action::api_with(429, &[("retry-after", "60")], "{\"detail\":\"Too many concurrent jobs\"}").without_job()
}

/// Rejects the first submission for the number of jobs, and responds to all others correctly.
async fn busy_at_first() -> FaultServer {
    FaultServer::start(|request| if request.number == 0 { too_many_jobs() } else { valid::response(request) })
        .await
        .unwrap()
}

#[tokio::test]
async fn the_id_of_a_request_can_be_chosen_before_it_is_sent() {
    let server = FaultServer::start(valid::response).await.unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    let id = Uuid::new_v4();
    let response = submit(&luma).request_id(id).response().await.unwrap();
    assert_eq!(response.exchange.request_id_sent, Some(id.to_string()));
    submit(&luma).request_id("order-7/try-1").await.unwrap();
    let sent: Vec<_> = server.requests().iter().map(|it| it.header("x-request-id").unwrap().to_owned()).collect();
    assert_eq!(sent, [id.to_string(), "order-7/try-1".to_owned()]);
}

#[tokio::test]
async fn a_request_with_an_id_of_its_own_is_sent_once() {
    let server = FaultServer::start(|_| Action::api(503, "{\"detail\":\"later\"}").without_job()).await.unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    for call in [submit(&luma).request_id("a"), submit(&luma).request_id("b").retry(Retry::default())] {
        let before = server.requests().len();
        let error = call.await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
        assert_eq!(server.requests().len() - before, 1);
    }
}

#[tokio::test]
async fn an_id_that_no_header_can_have_is_an_error_before_anything_is_sent() {
    let server = FaultServer::start(valid::response).await.unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    for id in ["", "a b", "a\nb: c", "é", "\u{7f}"] {
        let error = submit(&luma).request_id(id).await.unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotSent);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn one_call_is_one_request_right_after_a_limit_on_jobs() {
    for first in [Retry::default().budget(Duration::from_secs(1)), Retry::none()] {
        let server = busy_at_first().await;
        let luma = fast_builder(server.url()).build().unwrap();
        let error = submit(&luma).retry(first).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Rejected);
        let response = submit(&luma).retry(Retry::none()).response().await.unwrap();
        assert_eq!(response.exchange.attempts, 1);
        assert!(response.exchange.elapsed < Duration::from_millis(250), "{:?}", response.exchange.elapsed);
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn one_call_one_request_holds_no_other_call_back() {
    let server = busy_at_first().await;
    let luma = fast_builder(server.url()).build().unwrap();
    submit(&luma).retry(Retry::none()).await.unwrap_err();
    submit(&luma).await.unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_call_that_is_never_polled_sends_nothing() {
    let server = FaultServer::start(valid::response).await.unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    drop(submit(&luma));
    drop(submit(&luma).into_future());
    drop(submit(&luma).response());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_submission_that_is_dropped_under_way_may_have_made_a_job_and_says_so() {
    let (capture, _guard) = Capture::start();
    let server = FaultServer::start(|_| Action::send("").then(Then::Hang)).await.unwrap();
    let luma = fast_builder(server.url()).submit_timeout(Duration::from_secs(30)).build().unwrap();
    let mut call = Box::pin(submit(&luma).request_id("order-7").into_future());
    while server.jobs().is_empty() {
        tokio::select! {
            outcome = &mut call => panic!("{outcome:?}"),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    let warning = "a submission was dropped before its response: a job may exist";
    assert!(capture.named(warning).is_empty());
    drop(call);
    let [warned] = &capture.named(warning)[..] else { panic!("expected one warning") };
    assert_eq!((warned.level.as_str(), warned.fields["request_id"].as_str()), ("WARN", "order-7"));
}

#[tokio::test]
async fn a_submission_that_ended_or_a_dropped_read_warns_of_nothing() {
    let (capture, _guard) = Capture::start();
    let server = FaultServer::start(|request| {
        if request.submits() { valid::response(request) } else { Action::send("").then(Then::Hang) }
    })
    .await
    .unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    submit(&luma).await.unwrap();
    let get = luma.generations().get(valid::ID);
    tokio::time::timeout(Duration::from_millis(30), get.into_future()).await.unwrap_err();
    assert!(capture.records().iter().all(|it| it.level != "WARN"), "{:?}", capture.records());
}

#[tokio::test]
async fn a_submission_can_be_a_task_of_its_own() {
    let server = FaultServer::start(valid::response).await.unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    let job = tokio::spawn(submit(&luma).into_future()).await.unwrap().unwrap();
    let response = tokio::spawn(submit(&luma).response()).await.unwrap().unwrap();
    assert_eq!(server.jobs(), [job.id, response.value.id]);
}

#[test]
fn the_base_url_has_one_form() {
    for (given, expected) in [
        ("HTTPS://Agents.LumaLabs.AI:443/v1/", "https://agents.lumalabs.ai/v1"),
        ("https://proxy.example.com", "https://proxy.example.com"),
        ("http://LOCALHOST:8080//", "http://localhost:8080"),
    ] {
        assert_eq!(fast_builder(given).build().unwrap().base_url(), expected);
    }
    assert_eq!(Client::new(crate::support::KEY).unwrap().base_url(), "https://agents.lumalabs.ai/v1");
}

#[tokio::test]
async fn the_caller_can_know_which_request_is_under_way() {
    let server = busy_at_first().await;
    let luma = fast_builder(server.url()).build().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watched = Arc::clone(&seen);
    let watch = move |id: Option<&str>| watched.lock().unwrap().push(id.map(str::to_owned));
    submit(&luma).retry(Retry::none()).on_request(watch.clone()).await.unwrap_err();
    let response = submit(&luma).retry(Retry::none()).on_request(watch).response().await.unwrap();
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert!(seen[0].is_some() && seen[1].is_none() && seen[3].is_none(), "{seen:?}");
    assert_eq!(seen[2], response.exchange.request_id_sent);
}
