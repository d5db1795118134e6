//! The quotas and the clock of the emulator: what is refused, until when, and with which headers.

use std::time::{Duration, SystemTime};

use luma_agents::{
    Error, Retry,
    error::Limit,
    mock::{Emulator, Quota, Script},
    types::CreateGeneration,
};
use reqwest::{StatusCode, header::HeaderMap};
use serde_json::{Value, json};

struct Service {
    emulator: Emulator,
    http: reqwest::Client,
}

struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Response {
    fn header(&self, name: &str) -> Option<u64> {
        self.headers.get(name).map(|it| it.to_str().unwrap().parse().unwrap())
    }
}

impl Service {
    async fn with(quota: Quota, speed: f64) -> Self {
        let emulator = Emulator::builder().quota(quota).speed(speed).start().await.unwrap();
        Self { emulator, http: reqwest::Client::new() }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Response {
        let response = request.bearer_auth(self.emulator.api_key()).send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Response { status, headers, body: response.json().await.unwrap() }
    }

    async fn create(&self, request: &Value) -> Response {
        self.send(self.http.post(format!("{}/generations", self.emulator.base_url())).json(request)).await
    }

    async fn get(&self, id: &Value) -> Value {
        let url = format!("{}/generations/{}", self.emulator.base_url(), id.as_str().unwrap());
        self.send(self.http.get(url)).await.body
    }
}

fn image() -> Value {
    json!({ "prompt": "a duck" })
}

fn costly_edit() -> Value {
    json!({ "prompt": "a duck", "type": "image_edit", "model": "uni-1-max", "source": { "url": "https://example.com/a.png" } })
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn without_a_quota_nothing_is_refused_and_no_limit_is_named() {
    let service = Service::with(Quota::new(), 1.0).await;
    for _ in 0..40 {
        let response = service.create(&costly_edit()).await;
        assert_eq!((response.status, response.header("x-ratelimit-limit")), (StatusCode::CREATED, None));
    }
}

#[tokio::test]
async fn a_costly_edit_takes_three_units_of_each_limit() {
    let service = Service::with(Quota::new().per_minute(30).concurrency(10), 1.0).await;
    for remaining in [27, 24, 21] {
        let response = service.create(&costly_edit()).await;
        assert_eq!(response.status, StatusCode::CREATED);
        assert_eq!(
            (response.header("x-ratelimit-limit"), response.header("x-ratelimit-remaining")),
            (Some(30), Some(remaining))
        );
        let reset = response.header("x-ratelimit-reset").unwrap();
        assert!((58..=60).contains(&(reset - unix_seconds())), "{reset}");
    }
    let response = service.create(&costly_edit()).await;
    assert_eq!((response.status, response.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, Some(60)));
    assert_eq!(
        response.body["detail"],
        "Concurrent generation capacity reached (limit=10 weight units; this request needs 3). Wait for existing jobs \
         to complete."
    );
    assert!(
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
            .iter()
            .all(|it| response.header(it).is_none())
    );
    assert!(response.headers.contains_key("x-request-id"));
    assert_eq!(service.emulator.jobs().len(), 3, "what is refused is not a job");
    assert_eq!(service.create(&image()).await.header("x-ratelimit-remaining"), Some(20), "the 429 took no units");
}

#[tokio::test]
async fn a_place_is_free_once_its_job_has_ended() {
    let service = Service::with(Quota::new().concurrency(1), 1.0).await;
    for script in [Script::new(), Script::fails("generation_failed")] {
        service.emulator.next(script);
        let job = service.create(&image()).await.body;
        for state in ["queued", "processing"] {
            assert_eq!(service.get(&job["id"]).await["state"], state);
            assert_eq!(service.create(&image()).await.status, StatusCode::TOO_MANY_REQUESTS, "{state}");
        }
        service.get(&job["id"]).await;
    }
    assert_eq!(service.create(&image()).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn requests_above_the_limit_are_refused_until_the_oldest_is_a_minute_old() {
    // A minute takes a second and a half.
    let service = Service::with(Quota::new().per_minute(2), 40.0).await;
    assert_eq!(service.create(&image()).await.status, StatusCode::CREATED);
    assert_eq!(service.create(&image()).await.status, StatusCode::CREATED);
    let refused = service.create(&image()).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.body["detail"], "Rate limit exceeded");
    assert_eq!((refused.header("x-ratelimit-limit"), refused.header("x-ratelimit-remaining")), (Some(2), Some(0)));
    assert!(refused.header("x-ratelimit-reset").unwrap() > unix_seconds());
    let after = refused.header("retry-after").unwrap();
    assert!((1..=2).contains(&after), "in seconds of the caller: {after}");
    tokio::time::sleep(Duration::from_secs(after)).await;
    assert_eq!(service.create(&image()).await.status, StatusCode::CREATED, "Retry-After was enough");
}

#[tokio::test]
async fn a_request_that_is_not_valid_takes_no_units() {
    let service = Service::with(Quota::new().per_minute(1), 1.0).await;
    assert_eq!(service.create(&json!({ "prompt": "" })).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(service.create(&image()).await.status, StatusCode::CREATED);
    assert_eq!(service.create(&json!({ "prompt": "" })).await.status, StatusCode::BAD_REQUEST, "also above the limit");
}

#[tokio::test]
async fn the_client_sees_which_limit_it_was() {
    for (quota, limit) in
        [(Quota::new().per_minute(0), Limit::Requests), (Quota::new().concurrency(0), Limit::Concurrency)]
    {
        let service = Service::with(quota, 1.0).await;
        let request = CreateGeneration::builder().prompt("a duck");
        let outcome = service.emulator.client().generations().create(request).retry(Retry::none()).await;
        let Err(Error::RateLimited(error)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(error.limit, limit);
    }
}

#[tokio::test]
async fn at_a_speed_of_a_thousand_an_image_of_half_a_minute_is_there_at_once() {
    let service = Service::with(Quota::new(), 1000.0).await;
    service.emulator.next(Script::new().takes(Duration::from_secs(30)));
    let job = service.create(&image()).await.body;
    assert_eq!(service.get(&job["id"]).await["state"], "queued");
    tokio::time::sleep(Duration::from_millis(30)).await;
    let done = service.get(&job["id"]).await;
    assert_eq!(done["state"], "completed");
    let created = done["created_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(SystemTime::from(created) <= SystemTime::now(), "times are those of the caller");
}

#[tokio::test]
async fn urls_expire_by_the_clock_of_the_emulator() {
    // An hour takes 0.3 seconds.
    let service = Service::with(Quota::new(), 12_000.0).await;
    service.emulator.next(Script::new().takes(Duration::ZERO));
    let job = service.create(&image()).await.body;
    let done = service.get(&job["id"]).await;
    let url = done["output"][0]["url"].as_str().unwrap();
    assert!(url.contains("X-Amz-Expires=1&"), "{url}");
    tokio::time::sleep(Duration::from_millis(310)).await;
    assert_eq!(service.http.get(url).send().await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_speed_that_is_no_positive_number_is_an_error() {
    for speed in [0.0, -1.0, f64::NAN] {
        let Err(error @ Error::InvalidInput(_)) = Emulator::builder().speed(speed).start().await else {
            panic!("{speed}")
        };
        assert!(error.to_string().contains("speed"), "{error}");
    }
}
