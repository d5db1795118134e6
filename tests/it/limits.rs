//! How a client handles 429 responses.

use std::time::Duration;

use futures_util::future::join_all;
use luma_agents::{
    Call, Client, Error, Retry,
    error::Limit,
    types::{CreateGeneration, Generation},
};
use tokio::time::Instant;

use crate::support::{
    fast_builder,
    fault_server::{Action, FaultServer},
    valid,
};

const NUMBERS: [(&str, &str); 3] =
    [("x-ratelimit-limit", "600"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1712592060")];

/// A 429 with this `Retry-After` and these other headers.
fn limited(after: (&'static str, &'static str), others: &[(&'static str, &'static str)], detail: &str) -> Action {
    Action::api_with(429, &[&[after], others].concat(), &format!("{{\"detail\":\"{detail}\"}}")).without_job()
}

/// A server that responds with `limited` to the first requests, and then correctly.
async fn limited_server(first: usize, limited: Action) -> FaultServer {
    FaultServer::start(move |request| if request.number < first { limited.clone() } else { valid::response(request) })
        .await
        .unwrap()
}

fn submit(luma: &Client) -> Call<Generation> {
    luma.generations().create(CreateGeneration::builder().prompt("a lighthouse"))
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test]
async fn a_retry_after_beyond_the_budget_ends_the_call_at_once_with_the_limit_and_the_delay() {
    let cases = [
        (limited(("retry-after", "3600"), &NUMBERS, "Rate limit exceeded"), Limit::Requests),
        (limited(("retry-after", "3600"), &[], "Too many concurrent jobs"), Limit::Concurrency),
    ];
    for (response, limit) in cases {
        let server = limited_server(usize::MAX, response).await;
        let luma = fast_builder(server.url()).build().unwrap();
        let begun = Instant::now();
        let error = submit(&luma).await.unwrap_err();
        assert!(begun.elapsed() < millis(250), "{:?}", begun.elapsed());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
        assert!(error.is_retryable() && error.to_string().contains("try again in 3600.0 s"), "{error}");
        let Error::RateLimited(error) = error else { panic!("{error:?}") };
        assert_eq!(error.limit, limit);
        assert_eq!(error.rate_limit.map(|it| (it.limit, it.remaining)), (limit == Limit::Requests).then_some((600, 0)));
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn the_rate_limit_can_be_read_from_the_response_and_from_the_client() {
    let server = FaultServer::start(|request| {
        let headers =
            [("x-ratelimit-limit", "30"), ("x-ratelimit-remaining", "27"), ("x-ratelimit-reset", "1712592060")];
        Action::api_with(201, &headers, &valid::body(request).to_string())
    })
    .await
    .unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    assert_eq!(luma.rate_limit(), None);
    let rate_limit = submit(&luma).response().await.unwrap().rate_limit.unwrap();
    assert_eq!((rate_limit.limit, rate_limit.remaining), (30, 27));
    assert_eq!(luma.rate_limit(), Some(rate_limit));
}

#[tokio::test]
async fn a_call_waits_for_the_concurrency_limit_without_using_up_attempts() {
    let server = limited_server(6, limited(("retry-after-ms", "3"), &[], "Too many concurrent jobs")).await;
    let retry = Retry::default().attempts(2).first_delay(millis(1));
    let luma = fast_builder(server.url()).retry(retry).build().unwrap();
    let response = submit(&luma).response().await.unwrap();
    assert_eq!(response.exchange.attempts, 7);
    assert_eq!(server.jobs(), [response.value.id]);
}

#[tokio::test]
async fn a_limit_that_never_ends_is_reported_when_the_budget_is_used_up() {
    let headers = [("retry-after-ms", "20"), ("retry-after", "0"), ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")];
    let refused = headers.map(async |after| {
        let server = limited_server(usize::MAX, limited(after, &[], "Too many concurrent jobs")).await;
        let retry = Retry::default().first_delay(millis(20)).budget(millis(1500));
        let luma = fast_builder(server.url()).retry(retry).timeout(millis(500)).build().unwrap();
        let begun = Instant::now();
        let error = submit(&luma).await.unwrap_err();
        let took = begun.elapsed();
        assert!(matches!(error, Error::RateLimited(_)), "{error:?}");
        assert!(took < millis(1600), "{after:?}: {took:?}");
        let requests = server.requests().len();
        assert!((2..=76).contains(&requests), "{after:?}: {requests} requests in {took:?}");
    });
    join_all(refused).await;
}

#[tokio::test]
async fn without_retries_a_429_is_returned_at_once() {
    let server = limited_server(1, limited(("retry-after-ms", "5"), &[], "Too many concurrent jobs")).await;
    let luma = fast_builder(server.url()).retry(Retry::none()).build().unwrap();
    let error = submit(&luma).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(millis(5)));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn calls_that_wait_after_a_429_are_sent_one_after_the_other() {
    // 600 requests a minute are one every 100 ms.
    let server = limited_server(4, limited(("retry-after-ms", "50"), &NUMBERS, "Rate limit exceeded")).await;
    let luma = fast_builder(server.url()).build().unwrap();
    for result in join_all((0..4).map(|_| submit(&luma).into_future())).await {
        result.unwrap();
    }
    let requests = server.requests();
    assert_eq!((requests.len(), server.jobs().len()), (8, 4));
    for pair in requests[4..].windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= millis(70), "only {gap:?} apart");
    }
}

#[tokio::test]
async fn a_call_that_would_wait_too_long_fails_without_a_request() {
    let server = limited_server(usize::MAX, limited(("retry-after", "3600"), &NUMBERS, "Rate limit exceeded")).await;
    let luma = fast_builder(server.url()).build().unwrap();
    let error = submit(&luma).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    let error = submit(&luma).await.unwrap_err();
    // However long `Retry-After` is, the client sends one request after five minutes.
    assert!(error.retry_after().unwrap() > Duration::from_secs(290), "{error}");
    assert_eq!(error.exchange().unwrap().attempts, 0);
    assert_eq!(error.exchange().unwrap().operation, "create_generation");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_rate_limited_submission_delays_no_poll() {
    let server = FaultServer::start(|request| {
        if request.submits() {
            limited(("retry-after", "3600"), &[], "Too many concurrent jobs")
        } else {
            valid::response(request)
        }
    })
    .await
    .unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    submit(&luma).await.unwrap_err();
    let begun = Instant::now();
    luma.generations().get(valid::ID).await.unwrap();
    assert!(begun.elapsed() < millis(250), "{:?}", begun.elapsed());
}
