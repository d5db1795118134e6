//! What a 429 leads to.

use std::time::Duration;

use futures_util::future::join_all;
use luma_agents::{
    Call, Client, Error, Retry,
    error::Limit,
    types::{CreateGeneration, Generation},
};
use tokio::time::Instant;

use crate::support::{
    fault_server::{Act, FaultServer},
    hasty, valid,
};

const NUMBERS: [(&str, &str); 3] =
    [("x-ratelimit-limit", "600"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1712592060")];

/// "Not now": after so long, with these other headers.
fn refusal(after: (&'static str, &'static str), others: &[(&'static str, &'static str)], detail: &str) -> Act {
    Act::api_with(429, &[&[after], others].concat(), &format!("{{\"detail\":\"{detail}\"}}")).refusing()
}

/// Refuses the first requests, then serves.
async fn refusing(first: usize, refusal: Act) -> FaultServer {
    FaultServer::start(move |request| if request.number < first { refusal.clone() } else { valid::answer(request) })
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
async fn a_longer_wait_than_the_budget_ends_at_once_and_says_which_limit_and_when() {
    let cases = [
        (refusal(("retry-after", "3600"), &NUMBERS, "Rate limit exceeded"), Limit::Requests),
        (refusal(("retry-after", "3600"), &[], "Too many concurrent jobs"), Limit::Concurrency),
    ];
    for (refusal, limit) in cases {
        let server = refusing(usize::MAX, refusal).await;
        let luma = hasty(server.url()).build().unwrap();
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
async fn the_limit_can_be_read_from_the_answer_and_from_the_client() {
    let server = FaultServer::start(|request| {
        let headers =
            [("x-ratelimit-limit", "30"), ("x-ratelimit-remaining", "27"), ("x-ratelimit-reset", "1712592060")];
        Act::api_with(201, &headers, &valid::body(request).to_string())
    })
    .await
    .unwrap();
    let luma = hasty(server.url()).build().unwrap();
    assert_eq!(luma.rate_limit(), None);
    let told = submit(&luma).response().await.unwrap().rate_limit.unwrap();
    assert_eq!((told.limit, told.remaining), (30, 27));
    assert_eq!(luma.rate_limit(), Some(told));
}

#[tokio::test]
async fn a_refusal_for_concurrency_is_waited_out_and_uses_up_no_attempts() {
    let server = refusing(6, refusal(("retry-after-ms", "3"), &[], "Too many concurrent jobs")).await;
    let retry = Retry::default().attempts(2).first_delay(millis(1));
    let luma = hasty(server.url()).retry(retry).build().unwrap();
    let answer = submit(&luma).response().await.unwrap();
    assert_eq!(answer.exchange.attempts, 7);
    assert_eq!(server.jobs(), [answer.value.id]);
}

#[tokio::test]
async fn a_limit_that_never_lifts_ends_with_the_budget() {
    for after in [("retry-after-ms", "20"), ("retry-after", "0"), ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")] {
        let server = refusing(usize::MAX, refusal(after, &[], "Too many concurrent jobs")).await;
        let retry = Retry::default().first_delay(millis(20)).budget(millis(300));
        let luma = hasty(server.url()).retry(retry).timeout(millis(100)).build().unwrap();
        let begun = Instant::now();
        let error = submit(&luma).await.unwrap_err();
        let took = begun.elapsed();
        assert!(matches!(error, Error::RateLimited(_)), "{error:?}");
        assert!(took < millis(330), "{after:?}: {took:?}");
        let requests = server.requests().len();
        assert!((2..=16).contains(&requests), "{after:?}: {requests} requests in {took:?}");
    }
}

#[tokio::test]
async fn without_retries_a_429_comes_back_at_once() {
    let server = refusing(1, refusal(("retry-after-ms", "5"), &[], "Too many concurrent jobs")).await;
    let luma = hasty(server.url()).retry(Retry::none()).build().unwrap();
    let error = submit(&luma).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(millis(5)));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn those_who_were_told_to_wait_are_let_go_one_after_the_other() {
    // 600 requests a minute are one every 100 ms.
    let server = refusing(4, refusal(("retry-after-ms", "50"), &NUMBERS, "Rate limit exceeded")).await;
    let luma = hasty(server.url()).build().unwrap();
    for answer in join_all((0..4).map(|_| submit(&luma).into_future())).await {
        answer.unwrap();
    }
    let requests = server.requests();
    assert_eq!((requests.len(), server.jobs().len()), (8, 4));
    for pair in requests[4..].windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= millis(70), "only {gap:?} apart");
    }
}

#[tokio::test]
async fn who_comes_while_the_gate_is_closed_for_too_long_is_told_without_a_request() {
    let server = refusing(usize::MAX, refusal(("retry-after", "3600"), &NUMBERS, "Rate limit exceeded")).await;
    let luma = hasty(server.url()).build().unwrap();
    let error = submit(&luma).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    let error = submit(&luma).await.unwrap_err();
    // However long the service asks for, one request goes to see after five minutes.
    assert!(error.retry_after().unwrap() > Duration::from_secs(290), "{error}");
    assert_eq!(error.exchange().unwrap().attempts, 0);
    assert_eq!(error.exchange().unwrap().operation, "create_generation");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_submission_holds_back_no_look() {
    let server = FaultServer::start(|request| {
        if request.submits() {
            refusal(("retry-after", "3600"), &[], "Too many concurrent jobs")
        } else {
            valid::answer(request)
        }
    })
    .await
    .unwrap();
    let luma = hasty(server.url()).build().unwrap();
    submit(&luma).await.unwrap_err();
    let begun = Instant::now();
    luma.generations().get(valid::ID).await.unwrap();
    assert!(begun.elapsed() < millis(250), "{:?}", begun.elapsed());
}
