//! Whole batches against the emulator: from a file of requests to a folder of results, over several runs.

use std::{collections::HashSet, fs, path::PathBuf, time::Duration};

use luma_agents::{
    Client,
    mock::{Emulator, Operation, Reply, Script},
    types::GenerationFailureCode,
};
use luma_agents_batch::{
    Batch, Cap, End, Error, Job, Journal, JournalView, Policy, Quota, Report, Sha256, Stop, error::JournalProblem,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

struct Bench {
    emulator: Emulator,
    folder: TempDir,
}

impl Bench {
    async fn new(lines: usize) -> Self {
        let bench = Self { emulator: Emulator::start().await.unwrap(), folder: tempfile::tempdir().unwrap() };
        bench.input(
            (0..lines).map(|number| json!({"custom_id": id(number), "body": {"prompt": format!("duck {number}")}})),
        );
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn input(&self, lines: impl Iterator<Item = Value>) {
        let text: String = lines.map(|line| line.to_string() + "\n").collect();
        fs::write(self.path("catalogue.jsonl"), text).unwrap();
    }

    fn batch(&self) -> Batch {
        self.batch_of(self.emulator.client())
    }

    fn batch_of(&self, client: Client) -> Batch {
        Batch::new(client, self.path("catalogue.jsonl")).unwrap().quota(quota())
    }

    async fn run(&self) -> (Report, Vec<Job>) {
        run(self.batch()).await
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn posts(&self) -> usize {
        let requests = self.emulator.requests().into_iter();
        requests.filter(|request| request.method == "POST" && request.path.ends_with("/generations")).count()
    }
}

fn quota() -> Quota {
    Quota::builder().per_minute(600).concurrency(10).build()
}

fn id(number: usize) -> String {
    format!("sku-{number:03}")
}

async fn run(batch: Batch) -> (Report, Vec<Job>) {
    let mut running = batch.open().await.unwrap().start().await.unwrap();
    let mut jobs = Vec::new();
    while let Some(job) = running.next().await {
        jobs.push(job);
    }
    (running.finish().await, jobs)
}

#[tokio::test]
async fn a_file_of_requests_becomes_a_folder_of_results_and_a_second_run_pays_nothing() {
    let bench = Bench::new(12).await;
    let (report, jobs) = bench.run().await;
    assert!(report.stop.is_none() && report.not_recorded.is_empty(), "{report:?}");
    assert_eq!((report.saved, report.failed, report.in_doubt, report.left), (12, 0, 0, 0));
    assert_eq!(report.spent.high.to_string(), "0.4848");
    assert_eq!(jobs.len(), 12);
    assert!(jobs.iter().all(|job| matches!(job.end, End::Saved(_))));
    for number in 0..12 {
        let sidecar: Value =
            serde_json::from_slice(&fs::read(bench.path(&format!("out/{}.json", id(number)))).unwrap()).unwrap();
        assert_eq!(sidecar["request"]["prompt"], format!("duck {number}"));
        let output = fs::read(bench.path(&format!("out/{}.png", id(number)))).unwrap();
        assert_eq!(sidecar["files"][0]["sha256"], Sha256::of(output).to_string());
    }
    assert_eq!(bench.lines("catalogue.results.jsonl").len(), 12);
    assert!(!bench.path("catalogue.errors.jsonl").exists());
    let (report, jobs) = bench.run().await;
    assert_eq!((report.saved, jobs.len(), bench.posts()), (12, 12, 12));
    assert_eq!(bench.lines("catalogue.results.jsonl").len(), 12);
}

#[tokio::test]
async fn an_output_that_is_gone_is_fetched_again_without_paying() {
    let bench = Bench::new(2).await;
    bench.run().await;
    fs::remove_file(bench.path("out/sku-000.png")).unwrap();
    fs::write(bench.path("out/sku-001.png"), "cut short").unwrap();
    let (report, _) = bench.run().await;
    assert_eq!((report.saved, bench.posts()), (2, 2));
    assert!(fs::metadata(bench.path("out/sku-000.png")).unwrap().len() > 20);
    assert!(fs::metadata(bench.path("out/sku-001.png")).unwrap().len() > 20);
}

#[tokio::test]
async fn a_sidecar_that_is_gone_is_written_again_if_the_service_still_knows_the_job() {
    let bench = Bench::new(2).await;
    bench.run().await;
    let sidecar = bench.path("out/sku-000.json");
    let before = fs::read_to_string(&sidecar).unwrap();
    let output = fs::metadata(bench.path("out/sku-000.png")).unwrap().modified().unwrap();
    fs::remove_file(&sidecar).unwrap();
    let (report, _) = bench.run().await;
    assert_eq!((report.saved, bench.posts()), (2, 2));
    assert_eq!(fs::read_to_string(&sidecar).unwrap(), before);
    let unchanged = fs::metadata(bench.path("out/sku-000.png")).unwrap().modified().unwrap();
    assert_eq!(output, unchanged, "the output is not fetched again");
    // One that is there is left as it is.
    fs::write(&sidecar, "a note").unwrap();
    assert_eq!(bench.run().await.0.saved, 2);
    assert_eq!(fs::read_to_string(&sidecar).unwrap(), "a note");
    // The output is what counts.
    fs::remove_file(&sidecar).unwrap();
    let running = bench.batch().open().await.unwrap().start().await.unwrap();
    bench.emulator.next_reply(Operation::GetGeneration, Reply::not_found());
    assert_eq!(running.finish().await.saved, 2);
    assert!(!sidecar.exists());
}

#[tokio::test]
async fn a_run_that_is_stopped_is_gone_on_with() {
    let bench = Bench::new(15).await;
    for _ in 0..15 {
        bench.emulator.next(Script::new().takes(Duration::from_millis(300)));
    }
    let token = CancellationToken::new();
    let running = bench.batch().stop(token.clone()).open().await.unwrap().start().await.unwrap();
    while bench.posts() < 5 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    token.cancel();
    let report = running.finish().await;
    assert!(matches!(report.stop, Some(Stop::Token)), "{report:?}");
    assert_eq!((report.in_doubt, report.doubts.len()), (0, 0), "requests in flight are awaited");
    let sent = bench.posts();
    assert!(sent < 15, "all were sent");
    assert_eq!((report.saved + report.open, report.left - report.open), (sent as u64, 15 - sent as u64));
    assert!(report.open > 0);
    let (report, _) = bench.run().await;
    assert_eq!((report.saved, bench.posts(), bench.emulator.jobs().len()), (15, 15, 15));
}

#[tokio::test]
async fn what_is_about_the_account_stops_the_run_and_the_next_one_goes_on() {
    for reply in [Reply::unauthorized(), Reply::insufficient_credits(), Reply::forbidden()] {
        let bench = Bench::new(3).await;
        // One after the other, so that the first one stops the rest.
        let batch = bench.batch().quota(Quota::builder().concurrency(1).build());
        bench.emulator.next_create(reply);
        let (report, jobs) = run(batch).await;
        assert!(matches!(report.stop, Some(Stop::Account(_))), "{report:?}");
        assert_eq!((report.left, bench.posts()), (3, 1));
        assert!(jobs.iter().all(|job| matches!(job.end, End::Unsent(_))), "{jobs:?}");
        let (report, _) = bench.run().await;
        assert_eq!((report.saved, bench.emulator.jobs().len()), (3, 3));
    }
}

#[tokio::test]
async fn a_failure_is_tried_again_if_that_may_help_and_no_more_often_than_the_policy_says() {
    let bench = Bench::new(3).await;
    let failing = |prompt: &str, code| bench.emulator.prompts_with(prompt, Script::fails(code));
    failing("duck 0", GenerationFailureCode::ContentModerated);
    failing("duck 1", GenerationFailureCode::GenerationFailed);
    let (report, _) = bench.run().await;
    assert_eq!((report.saved, report.failed, report.left), (1, 2, 0));
    assert_eq!(bench.posts(), 1 + 3 + 1);
    let errors = bench.lines("catalogue.errors.jsonl");
    let mut codes: Vec<_> = errors.iter().map(|line| line["error"]["code"].as_str().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["content_moderated", "generation_failed"]);
    // Not even over several runs.
    let (report, _) = bench.run().await;
    assert_eq!((report.failed, bench.posts()), (2, 5));
    // What is refunded is not spent.
    assert_eq!(report.spent.high.to_string(), "0.0404");
    assert_eq!(report.spent.jobs, 5);
}

#[tokio::test]
async fn a_retry_sends_what_it_names_and_nothing_that_was_never_sent() {
    let bench = Bench::new(4).await;
    bench.emulator.prompts_with("duck", Script::fails(GenerationFailureCode::GenerationFailed));
    run(bench.batch().cap(Cap::NONE.jobs(1))).await;
    assert_eq!(bench.posts(), 1);
    let retry = |code: &str| Policy::default().once_more(Some(HashSet::from([code.to_owned()])));
    let (report, _) = run(bench.batch().policy(retry("content_moderated"))).await;
    assert_eq!((bench.posts(), report.failed, report.left), (1, 1, 3), "{report:?}");
    // By the policy a line is tried three times in all.
    let (report, _) = run(bench.batch().policy(retry("generation_failed"))).await;
    assert_eq!((bench.posts(), report.failed, report.left), (3, 1, 3), "{report:?}");
    let (report, _) = bench.run().await;
    assert_eq!((bench.posts(), report.failed, report.left), (4 * 3, 4, 0), "{report:?}");
}

#[tokio::test]
async fn what_has_failed_is_a_failure_also_where_the_cap_forbids_another_try() {
    let bench = Bench::new(3).await;
    bench.emulator.prompts_with("duck", Script::fails(GenerationFailureCode::GenerationFailed));
    for _ in 0..2 {
        let (report, jobs) = run(bench.batch().cap(Cap::NONE.jobs(1))).await;
        assert!(matches!(report.stop, Some(Stop::Cap(_))), "{report:?}");
        assert_eq!((bench.posts(), report.failed, report.left), (1, 1, 2), "{report:?}");
        let has_failed = |job: &Job| {
            matches!(&job.end, End::Failed { code: Some(_), reason: Some(_) })
                && job.id == Some(bench.emulator.jobs()[0].id)
        };
        assert!(jobs.iter().any(has_failed), "{jobs:?}");
    }
    let (report, _) = bench.run().await;
    assert_eq!((bench.posts(), report.failed), (3 * 3, 3), "the next run tries again: {report:?}");
}

#[tokio::test]
async fn a_job_whose_line_is_gone_takes_no_line_off_what_is_left() {
    let bench = Bench::new(1).await;
    bench.emulator.next(Script::new().takes(Duration::from_millis(200)));
    let token = CancellationToken::new();
    let running = bench.batch().stop(token.clone()).open().await.unwrap().start().await.unwrap();
    while bench.emulator.jobs().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    token.cancel();
    let report = running.finish().await;
    assert_eq!((report.open, report.left), (1, 1), "{report:?}");
    bench.input([json!({"custom_id": "other", "body": {"prompt": "a swan"}})].into_iter());
    let (report, _) = run(bench.batch().cap(Cap::NONE.jobs(1))).await;
    assert_eq!((report.saved, report.left, bench.posts()), (1, 1, 1), "{report:?}");
}

#[tokio::test]
async fn a_rejected_line_is_sent_again_when_it_has_changed_only() {
    let bench = Bench::new(2).await;
    bench.emulator.next_create(Reply::rejected(400, "no"));
    let (report, _) = run(bench.batch().quota(Quota::builder().per_minute(600).concurrency(1).build())).await;
    assert_eq!((report.saved, report.failed, bench.posts()), (1, 1, 2));
    let (report, _) = bench.run().await;
    assert_eq!((report.failed, bench.posts()), (1, 2));
    let rejected = JournalView::read(bench.path("catalogue.journal.jsonl")).await.unwrap();
    let rejected = rejected.iter().find(|(_, last)| last.attempt.state.id().is_none()).unwrap().0.to_string();
    bench.input((0..2).map(|number| {
        let prompt = if id(number) == rejected { "a swan".to_owned() } else { format!("duck {number}") };
        json!({"custom_id": id(number), "body": {"prompt": prompt}})
    }));
    let (report, _) = bench.run().await;
    assert_eq!((report.saved, report.failed, bench.posts()), (2, 0, 3));
}

#[tokio::test]
async fn what_has_failed_or_was_rejected_is_sent_once_more_in_each_run_that_asks_for_it() {
    for is_rejected in [false, true] {
        let bench = Bench::new(1).await;
        if is_rejected {
            (0..3).for_each(|_| bench.emulator.next_create(Reply::rejected(400, "no")));
        } else {
            bench.emulator.prompts_with("duck", Script::fails(GenerationFailureCode::ContentModerated));
        }
        let once_more = || bench.batch().policy(luma_agents_batch::Policy::default().once_more(None));
        for (batch, posts) in [(bench.batch(), 1), (bench.batch(), 1), (once_more(), 2), (once_more(), 3)] {
            let (report, _) = run(batch).await;
            assert_eq!((report.failed, bench.posts()), (1, posts), "{is_rejected}");
        }
    }
}

#[tokio::test]
async fn what_may_pass_is_waited_for_and_has_not_failed() {
    for is_sent in [true, false] {
        let bench = Bench::new(1).await;
        bench.emulator.next_create(Reply::unavailable());
        let key = luma_agents::ApiKey::new(bench.emulator.api_key()).unwrap();
        let nowhere = || Client::builder(key).base_url("http://127.0.0.1:1/v1").build().unwrap();
        let client = if is_sent { bench.emulator.client() } else { nowhere() };
        let token = CancellationToken::new();
        let running = bench.batch_of(client).stop(token.clone()).open().await.unwrap().start().await.unwrap();
        let word = if is_sent { "\"rejected\"" } else { "\"not_sent\"" };
        while !fs::read_to_string(bench.path("catalogue.journal.jsonl")).unwrap().contains(word) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        token.cancel();
        let report = running.finish().await;
        assert_eq!((report.left, report.failed, bench.posts()), (1, 0, usize::from(is_sent)), "{report:?}");
    }
}

#[tokio::test]
async fn the_progress_says_how_long_the_rate_limit_makes_it_wait_and_counts_what_is_sent() {
    let bench = Bench::new(4).await;
    let token = CancellationToken::new();
    let batch = bench.batch().quota(Quota::builder().per_minute(2).build()).stop(token.clone());
    let running = batch.open().await.unwrap().start().await.unwrap();
    let mut progress = running.progress();
    let it = *progress.wait_for(|it| it.done == 2 && it.rate_wait.is_some()).await.unwrap();
    assert_eq!((it.queued, it.in_flight), (2, 0));
    let wait = it.rate_wait.unwrap();
    assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
    assert!(it.eta.unwrap() >= wait);
    // Each second, though nothing happens.
    progress.wait_for(|it| it.rate_wait.is_some_and(|rest| rest < wait)).await.unwrap();
    token.cancel();
    let report = running.finish().await;
    assert_eq!((report.saved, report.left, bench.posts()), (2, 2, 2));
}

#[tokio::test]
async fn a_cap_stops_the_run_and_holds_over_runs() {
    let bench = Bench::new(5).await;
    let cap = Cap::NONE.usd("0.1300".parse().unwrap());
    for _ in 0..2 {
        let (report, _) = run(bench.batch().cap(cap)).await;
        assert!(matches!(report.stop, Some(Stop::Cap(_))), "{report:?}");
        assert_eq!((report.saved, report.left, bench.posts()), (3, 2, 3));
    }
    let (report, _) = bench.run().await;
    assert_eq!((report.saved, bench.posts()), (5, 5));
}

#[tokio::test]
async fn an_output_that_cannot_be_written_stops_the_paying_and_is_fetched_by_the_next_run() {
    let bench = Bench::new(30).await;
    let quota = Quota::builder().per_minute(600).concurrency(1).build();
    // A file where the folder of unfinished outputs should be, and one where the results should be.
    fs::create_dir(bench.path("out")).unwrap();
    fs::write(bench.path("out/.partial"), "").unwrap();
    fs::create_dir_all(bench.path("catalogue.results.jsonl/x")).unwrap();
    let (report, _) = run(bench.batch().quota(quota)).await;
    assert!(matches!(report.stop, Some(Stop::Disk(_))), "{report:?}");
    assert!(report.error.is_some() && report.saved == 0, "{report:?}");
    assert!(bench.posts() < 5, "{}", bench.posts());
    fs::remove_file(bench.path("out/.partial")).unwrap();
    fs::remove_dir_all(bench.path("catalogue.results.jsonl")).unwrap();
    let (report, _) = bench.run().await;
    assert_eq!((report.saved, bench.posts()), (30, 30), "{report:?}");
}

#[tokio::test]
async fn too_many_failures_in_a_row_stop_the_run() {
    let bench = Bench::new(12).await;
    bench.emulator.prompts_with("duck", Script::fails(GenerationFailureCode::ContentModerated));
    let quota = Quota::builder().per_minute(600).concurrency(1).build();
    let policy = luma_agents_batch::Policy::default().max_failures(4);
    let (report, _) = run(bench.batch().quota(quota).policy(policy)).await;
    let Some(Stop::Failures { code, count: 4 }) = report.stop else { panic!("{report:?}") };
    assert_eq!(code, "content_moderated");
    assert!(bench.posts() <= 5, "{}", bench.posts());
}

#[tokio::test]
async fn after_too_many_failures_the_next_run_goes_on() {
    let bench = Bench::new(0).await;
    bench.emulator.prompts_with("bad", Script::fails(GenerationFailureCode::ContentModerated));
    let line = |number: usize| {
        let prompt = if number < 4 { "bad" } else { "duck" };
        json!({"custom_id": id(number), "body": {"prompt": format!("{prompt} {number}")}})
    };
    let batch = || bench.batch().policy(Policy::default().max_failures(4));
    bench.input((0..4).map(line));
    let (report, _) = run(batch()).await;
    assert!(matches!(report.stop, Some(Stop::Failures { count: 4, .. })), "{report:?}");
    bench.input((0..9).map(line));
    let (report, _) = run(batch()).await;
    assert!(report.stop.is_none(), "{report:?}");
    assert_eq!((report.saved, report.failed, bench.posts()), (5, 4, 9), "{report:?}");
}

#[tokio::test]
async fn a_job_in_doubt_is_reported_and_not_sent_again() {
    let bench = Bench::new(2).await;
    bench.emulator.next_create(Reply::raw(504, "").after_effect());
    for _ in 0..2 {
        let (report, jobs) = bench.run().await;
        assert_eq!((report.saved, report.in_doubt, report.doubts.len(), bench.posts()), (1, 1, 1, 2));
        assert!(jobs.iter().any(|job| matches!(job.end, End::InDoubt(_))));
        assert_eq!(bench.lines("catalogue.errors.jsonl")[0]["error"]["code"], "in_doubt");
    }
    // Support names the job.
    let doubt = bench.lines("catalogue.errors.jsonl")[0]["custom_id"].as_str().unwrap().to_owned();
    let opened = bench.batch().open().await.unwrap();
    let doubts = opened.doubts().unwrap();
    let saved: Vec<_> = bench
        .lines("catalogue.results.jsonl")
        .iter()
        .filter_map(|line| line["id"].as_str().map(str::to_owned))
        .collect();
    let job = bench.emulator.jobs().into_iter().find(|job| !saved.contains(&job.id.to_string())).unwrap();
    let key = opened.journal().key(&doubt.parse().unwrap()).unwrap();
    doubts.found(&bench.emulator.client(), &key, job.id).await.unwrap();
    drop((doubts, opened));
    let (report, _) = bench.run().await;
    assert_eq!((report.saved, report.in_doubt, bench.posts()), (2, 0, 2));
}

#[tokio::test]
async fn a_line_in_doubt_needs_no_free_name_and_says_which_job_its_sidecar_names() {
    let bench = Bench::new(2).await;
    bench.emulator.next_create(Reply::raw(504, "").after_effect());
    let (report, _) = bench.run().await;
    let (doubt, saved) = (&report.doubts[0].key.custom_id, bench.lines("catalogue.results.jsonl"));
    let is_saved = |job: Uuid| saved.iter().any(|line| line["id"] == job.to_string());
    let job = bench.emulator.jobs().into_iter().map(|job| job.id).find(|job| !is_saved(*job)).unwrap();
    assert!(report.doubts[0].to_string().contains(&format!("--found {doubt}=ID` (or `--none {doubt}`)")));
    let sidecar = json!({"custom_id": doubt.as_str(), "id": job.to_string()});
    fs::write(bench.path(&format!("out/{doubt}.json")), sidecar.to_string()).unwrap();
    bench.input((0..3).map(|number| json!({"custom_id": id(number), "body": {"prompt": format!("duck {number}")}})));
    let (report, _) = bench.run().await;
    assert_eq!((report.saved, report.in_doubt, bench.posts()), (2, 1, 3));
    assert_eq!(report.doubts[0].job, Some(job));
    let text = report.doubts[0].to_string();
    assert!(text.contains(&format!("`luma batch doubt FILE --found {doubt}={job}`")), "{text}");
}

#[tokio::test]
async fn after_a_repair_the_outputs_of_lost_lines_are_in_nobodys_way() {
    let bench = Bench::new(2).await;
    bench.run().await;
    let journal = bench.path("catalogue.journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let damaged = text.replace("\"custom_id\":\"sku-000\"", "\"custom_id\":\"sku-00x\"");
    fs::write(&journal, damaged).unwrap();
    assert_eq!(luma_agents_batch::repair(&journal).await.unwrap().lost, 4);
    let opened = bench.batch().open().await.unwrap();
    let doubts = opened.doubts().unwrap().list().await.unwrap();
    assert_eq!(doubts.iter().map(|doubt| doubt.key.custom_id.as_str()).collect::<Vec<_>>(), ["sku-000"]);
    drop(opened);
    let (report, jobs) = bench.run().await;
    assert_eq!((report.saved, report.in_doubt, bench.posts()), (1, 1, 2));
    let job = bench.emulator.jobs().into_iter().find(|job| jobs.iter().all(|it| it.id != Some(job.id))).unwrap();
    let in_doubt = jobs.iter().find_map(|it| if let End::InDoubt(doubt) = &it.end { Some(doubt) } else { None });
    assert_eq!(in_doubt.unwrap().job, Some(job.id));
}

#[tokio::test]
async fn a_job_whose_line_is_gone_is_still_saved() {
    let bench = Bench::new(3).await;
    for _ in 0..3 {
        bench.emulator.next(Script::new().takes(Duration::from_millis(200)));
    }
    let token = CancellationToken::new();
    let running = bench.batch().stop(token.clone()).open().await.unwrap().start().await.unwrap();
    while bench.emulator.jobs().len() < 3 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    token.cancel();
    running.finish().await;
    bench.input(std::iter::once(json!({"custom_id": id(0), "body": {"prompt": "duck 0"}})));
    bench.run().await;
    for number in 0..3 {
        assert!(bench.path(&format!("out/{}.png", id(number))).exists(), "{number}");
    }
    assert_eq!(bench.posts(), 3);
}

#[tokio::test]
async fn another_account_or_service_is_noticed_before_anything_is_sent() {
    let bench = Bench::new(2).await;
    bench.run().await;
    let other = Emulator::start().await.unwrap();
    fs::write(
        bench.path("catalogue.jsonl"),
        fs::read_to_string(bench.path("catalogue.jsonl")).unwrap()
            + "{\"custom_id\":\"new\",\"body\":{\"prompt\":\"new\"}}\n",
    )
    .unwrap();
    let started = bench.batch_of(other.client()).open().await.unwrap().start().await.map(drop);
    let Err(Error::Journal(e)) = started else { panic!("{started:?}") };
    assert!(matches!(e.problem, JournalProblem::OtherAccount { .. }));
    let text = e.to_string();
    assert!(text.contains(&bench.emulator.base_url()) && text.contains(&other.base_url()), "{text}");
    assert_eq!(other.requests().iter().filter(|request| request.method == "POST").count(), 0);
    // A gateway of the same account is taken, and recorded.
    let gateway = bench.emulator.base_url().replace("127.0.0.1", "localhost");
    let client = Client::builder(luma_agents::ApiKey::new(bench.emulator.api_key()).unwrap())
        .base_url(gateway.clone())
        .pace(Duration::from_millis(10), Duration::from_millis(10))
        .build()
        .unwrap();
    let (report, _) = run(bench.batch_of(client)).await;
    assert_eq!(report.saved, 3);
    let runs: Vec<_> = bench.lines("catalogue.journal.jsonl").into_iter().filter(|line| line["e"] == "run").collect();
    assert_eq!(runs.last().unwrap()["base_url"], gateway);
    // An error of another kind says nothing about the account.
    bench.emulator.next_reply(Operation::GetGeneration, Reply::forbidden());
    let started = bench.batch().open().await.unwrap().start().await.map(drop);
    assert!(matches!(started, Err(Error::Api(_))), "{started:?}");
}

#[tokio::test]
async fn an_input_under_another_name_is_not_paid_for_again() {
    let bench = Bench::new(1).await;
    bench.run().await;
    fs::rename(bench.path("catalogue.jsonl"), bench.path("renamed.jsonl")).unwrap();
    let batch = Batch::new(bench.emulator.client(), bench.path("renamed.jsonl")).unwrap();
    let opened = batch.names(luma_agents_batch::output::Names::new(bench.path("elsewhere"))).open().await.map(drop);
    let Err(Error::InvalidInput(message)) = opened else { panic!("{opened:?}") };
    assert!(message.contains("--journal") && message.contains("catalogue.journal.jsonl"), "{message}");
}

#[tokio::test]
async fn a_second_journal_in_another_folder_does_not_pay_again_for_the_input() {
    let bench = Bench::new(1).await;
    bench.run().await;
    let journal = bench.path("catalogue.journal.jsonl");
    fs::create_dir(bench.path("j2")).unwrap();
    // Not even if the first one is damaged.
    for is_damaged in [false, true] {
        if is_damaged {
            let text = fs::read_to_string(&journal).unwrap();
            fs::write(&journal, text.replacen("\"e\":\"accepted\"", "\"e\":\"ACCEPTED\"", 1)).unwrap();
            assert!(matches!(Journal::open(&journal).await, Err(Error::Journal(_))));
        }
        let opened = bench.batch().journal(bench.path("j2/other.journal.jsonl")).open().await.map(drop);
        let Err(Error::InvalidInput(message)) = opened else { panic!("{opened:?}") };
        assert!(message.contains(&format!("--journal {}", journal.display())), "{message}");
        assert!(!bench.path("j2/other.journal.jsonl").exists());
    }
}

#[tokio::test]
async fn a_journal_that_was_kept_elsewhere_is_found_by_a_plain_run() {
    let bench = Bench::new(1).await;
    fs::create_dir(bench.path("j2")).unwrap();
    let elsewhere = bench.path("j2/other.journal.jsonl");
    let (report, _) = run(bench.batch().journal(&elsewhere)).await;
    assert_eq!(report.saved, 1);
    let opened = bench.batch().open().await.map(drop);
    let Err(Error::InvalidInput(message)) = opened else { panic!("{opened:?}") };
    assert!(message.contains(&format!("--journal {}", elsewhere.display())), "{message}");
    assert!(!bench.path("catalogue.journal.jsonl").exists());
    let (again, _) = run(bench.batch().journal(&elsewhere)).await;
    assert_eq!((again.saved, bench.posts()), (1, 1));
}

#[tokio::test]
async fn of_two_runs_that_begin_at_once_with_two_journals_one_is_an_error() {
    for _ in 0..5 {
        let bench = Bench::new(1).await;
        let batch = |name: &str| {
            fs::create_dir(bench.path(name)).unwrap();
            bench.batch().journal(bench.path(name).join("a.journal.jsonl"))
        };
        let (first, second) = tokio::join!(batch("j1").open(), batch("j2").open());
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        let left = ["j1", "j2"].map(|name| fs::read_dir(bench.path(name)).unwrap().count());
        assert_eq!(left.iter().sum::<usize>(), 1, "the other one leaves no journal behind");
    }
}

#[tokio::test]
async fn the_reason_of_a_failure_is_in_the_results_also_after_a_kill() {
    let bench = Bench::new(1).await;
    bench.emulator.next(Script::fails(GenerationFailureCode::ContentModerated).reason("no ducks"));
    let reason = || {
        let error = bench.lines("catalogue.errors.jsonl")[0]["error"].clone();
        assert_eq!(error["code"], "content_moderated");
        error["message"].as_str().unwrap().to_owned()
    };
    for is_killed in [false, false, true] {
        if is_killed {
            // A killed run writes no results.
            fs::remove_file(bench.path("catalogue.errors.jsonl")).unwrap();
        }
        let (_, jobs) = bench.run().await;
        let End::Failed { reason: Some(shown), .. } = &jobs[0].end else { panic!("{jobs:?}") };
        assert!(shown.contains("failed: content_moderated: no ducks; "), "{shown}");
        assert_eq!(reason(), *shown);
    }
    let journal = fs::read_to_string(bench.path("catalogue.journal.jsonl")).unwrap();
    assert!(!journal.contains("no ducks"), "it may repeat the prompt");
}

#[tokio::test]
async fn a_reason_on_disk_is_taken_if_it_is_that_of_the_last_failure() {
    let bench = Bench::new(1).await;
    bench.emulator.next(Script::fails(GenerationFailureCode::ContentModerated).reason("no ducks"));
    bench.run().await;
    for (code, expected) in [("content_moderated", "no geese"), ("generation_failed", "no ducks")] {
        let mut line = bench.lines("catalogue.errors.jsonl").remove(0);
        line["error"] = json!({"code": code, "message": "no geese"});
        fs::write(bench.path("catalogue.errors.jsonl"), line.to_string()).unwrap();
        let (_, jobs) = bench.run().await;
        let End::Failed { reason: Some(reason), .. } = &jobs[0].end else { panic!("{jobs:?}") };
        assert!(reason.contains(expected), "{code}: {reason}");
    }
}

#[tokio::test]
#[cfg(unix)]
async fn a_link_to_an_input_is_that_input() {
    let bench = Bench::new(1).await;
    bench.run().await;
    fs::create_dir(bench.path("links")).unwrap();
    std::os::unix::fs::symlink(bench.path("catalogue.jsonl"), bench.path("links/b.jsonl")).unwrap();
    let opened = Batch::new(bench.emulator.client(), bench.path("links/b.jsonl")).unwrap().open().await.map(drop);
    let Err(Error::InvalidInput(message)) = opened else { panic!("{opened:?}") };
    assert!(message.contains("catalogue.journal.jsonl is the journal of this very input"), "{message}");
}

#[tokio::test]
async fn a_run_whose_input_is_gone_ends_and_gives_the_journal_back() {
    let bench = Bench::new(1).await;
    let opened = bench.batch().open().await.unwrap();
    fs::remove_file(bench.path("catalogue.jsonl")).unwrap();
    let report = opened.start().await.unwrap().finish().await;
    assert!(report.error.is_some() && bench.posts() == 0, "{report:?}");
    Journal::existing(bench.path("catalogue.journal.jsonl")).await.unwrap();
}

#[tokio::test]
async fn the_journal_of_a_copied_input_is_named_before_the_files_that_are_there() {
    let bench = Bench::new(3).await;
    bench.run().await;
    fs::copy(bench.path("catalogue.jsonl"), bench.path("copy.jsonl")).unwrap();
    let opened = Batch::new(bench.emulator.client(), bench.path("copy.jsonl")).unwrap().open().await.map(drop);
    let Err(Error::InvalidInput(message)) = opened else { panic!("{opened:?}") };
    assert!(message.contains("catalogue.journal.jsonl is the journal of this very input"), "{message}");
    assert!(!bench.path("copy.journal.jsonl").exists());
}

#[tokio::test]
async fn a_second_batch_in_the_folder_of_another_is_an_error_before_its_journal_is_made() {
    let bench = Bench::new(1).await;
    bench.run().await;
    let line = json!({"custom_id": "other", "body": {"prompt": "a swan"}});
    fs::write(bench.path("swans.jsonl"), line.to_string()).unwrap();
    let batch = || Batch::new(bench.emulator.client(), bench.path("swans.jsonl")).unwrap();
    let opened = batch().open().await.map(drop);
    let Err(Error::InvalidInput(message)) = opened else { panic!("{opened:?}") };
    let (out, owner) = (bench.path("out"), bench.path("catalogue.journal.jsonl"));
    let expected = format!("{} belongs to the batch of {}; take", out.display(), owner.display());
    assert!(message.starts_with(&expected), "{message}");
    assert!(!bench.path("swans.journal.jsonl").exists());
    let (report, _) = run(batch().names(luma_agents_batch::output::Names::new(bench.path("swans")))).await;
    assert_eq!((report.saved, bench.posts()), (1, 2));
}

#[tokio::test]
async fn a_file_that_is_not_of_results_is_not_replaced_by_them() {
    for name in ["catalogue.results.jsonl", "catalogue.errors.jsonl"] {
        let bench = Bench::new(1).await;
        let text = "{\"custom_id\": \"a\", \"body\": {\"prompt\": \"of another batch\"}}\n";
        fs::write(bench.path(name), text).unwrap();
        let error = bench.batch().open().await.unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("not of this batch"), "{error}");
        assert_eq!(fs::read_to_string(bench.path(name)).unwrap(), text);
        fs::remove_file(bench.path(name)).unwrap();
        bench.run().await;
        assert_eq!(bench.run().await.0.saved, 1, "those of an earlier run are replaced");
    }
}

#[tokio::test]
async fn a_journal_that_was_emptied_or_lost_is_not_begun_anew_beside_its_outputs() {
    let bench = Bench::new(2).await;
    bench.run().await;
    for entry in fs::read_dir(bench.path("out")).unwrap().map(Result::unwrap) {
        if entry.file_name() != ".batch" {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let start = async || bench.batch().open().await?.start().await.map(drop);
    fs::write(bench.path("catalogue.journal.jsonl"), "").unwrap();
    let emptied = start().await.unwrap_err().to_string();
    fs::remove_file(bench.path("catalogue.journal.jsonl")).unwrap();
    let lost = start().await.unwrap_err().to_string();
    assert!(lost.contains("catalogue.journal.jsonl, the journal of this very input, is gone: bring it back"), "{lost}");
    fs::remove_file(bench.path(".luma-batches")).unwrap();
    let lost = start().await.unwrap_err().to_string();
    for error in [emptied, lost] {
        assert!(error.contains("whose journal is not here: if it is lost, restore it"), "{error}");
    }
    assert_eq!(bench.posts(), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_is_claimed_by_a_batch_that_its_journal_has() {
    let bench = Bench::new(1).await;
    std::os::unix::fs::symlink(bench.path("gone/out"), bench.path("out")).unwrap();
    bench.batch().open().await.unwrap().start().await.unwrap_err();
    let view = JournalView::read(bench.path("catalogue.journal.jsonl")).await.unwrap();
    assert!(view.batch().is_some(), "a kill after the claim leaves a folder that nobody may use");
    fs::remove_file(bench.path("out")).unwrap();
    assert_eq!(bench.run().await.0.saved, 1);
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_is_no_input_and_no_journal_and_nobody_waits_for_it() {
    let bench = Bench::new(1).await;
    for name in ["pipe", "a.journal.jsonl", "catalogue.results.jsonl"] {
        assert!(std::process::Command::new("mkfifo").arg(bench.path(name)).status().unwrap().success());
    }
    let error = Batch::new(bench.emulator.client(), bench.path("pipe")).unwrap_err().to_string();
    assert!(error.contains("pipe is no regular file"), "{error}");
    assert_eq!(bench.run().await.0.saved, 1);
}

#[tokio::test]
async fn a_wrong_input_leaves_nothing_behind_and_a_file_of_the_user_is_not_replaced() {
    let bench = Bench::new(1).await;
    fs::create_dir(bench.path("out")).unwrap();
    fs::write(bench.path("out/sku-000.png"), "mine").unwrap();
    let opened = bench.batch().open().await.map(drop);
    assert!(matches!(opened, Err(Error::Input(_))), "{opened:?}");
    assert!(!bench.path("catalogue.journal.jsonl").exists());
    assert_eq!(fs::read(bench.path("out/sku-000.png")).unwrap(), b"mine");
}

#[tokio::test]
async fn local_media_are_uploaded_once_over_all_runs() {
    let bench = Bench::new(0).await;
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";
    fs::write(bench.path("photo.png"), png).unwrap();
    let lines = |count: usize| {
        let line = |number| json!({"custom_id": id(number), "body": {"type": "image_edit", "prompt": "a hat", "source": {"path": "photo.png"}}});
        (0..count).map(line)
    };
    bench.input(lines(2));
    let (report, jobs) = bench.run().await;
    assert_eq!(report.saved, 2, "{jobs:?}");
    bench.input(lines(4));
    let (report, _) = bench.run().await;
    assert_eq!((report.saved, bench.emulator.files().len()), (4, 1));
    let text = fs::read_to_string(bench.path("out/sku-000.json")).unwrap();
    assert!(text.contains(&Sha256::of(png).to_string()), "{text}");
}

#[tokio::test]
async fn the_journal_is_held_as_long_as_the_run() {
    let bench = Bench::new(1).await;
    let opened = bench.batch().open().await.unwrap();
    let second = bench.batch().open().await.map(drop);
    let Err(Error::Journal(e)) = second else { panic!("{second:?}") };
    assert!(matches!(e.problem, JournalProblem::InUse));
    drop(opened.start().await.unwrap().finish().await);
    Journal::existing(bench.path("catalogue.journal.jsonl")).await.unwrap();
}

#[tokio::test]
async fn a_file_that_the_service_has_lost_is_uploaded_once_more() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";
    let source = json!({"path": "photo.png"});
    let edit = json!({"custom_id": "a", "body": {"type": "image_edit", "prompt": "a hat", "source": source}});
    let image = json!({"custom_id": "a", "body": {"prompt": "a hat"}});
    for (line, replies, files, posts, saved) in [
        (&edit, vec![404], 2, 2, 1),
        (&edit, vec![422], 2, 2, 1),
        (&edit, vec![404, 404], 2, 2, 0),
        (&edit, vec![400], 1, 1, 0),
        (&image, vec![404], 0, 1, 0),
    ] {
        let bench = Bench::new(0).await;
        fs::write(bench.path("photo.png"), png).unwrap();
        bench.input([line.clone()].into_iter());
        for status in &replies {
            bench.emulator.next_create(Reply::rejected(*status, "no"));
        }
        let (report, jobs) = bench.run().await;
        assert_eq!((report.saved, bench.emulator.files().len(), bench.posts()), (saved, files, posts), "{jobs:?}");
        assert_eq!(report.failed, 1 - saved, "{replies:?}: {jobs:?}");
    }
}

#[tokio::test]
async fn jobs_of_an_earlier_run_keep_their_places() {
    let bench = Bench::new(1).await;
    bench.emulator.next(Script::fails(GenerationFailureCode::GenerationFailed));
    bench.emulator.next(Script::new().takes(Duration::from_secs(600)));
    let token = CancellationToken::new();
    let running = bench.batch().stop(token.clone()).open().await.unwrap().start().await.unwrap();
    while bench.emulator.jobs().len() < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    token.cancel();
    assert_eq!(running.finish().await.open, 1);
    let quota = quota();
    let running = bench.batch().quota(quota.clone()).open().await.unwrap().start().await.unwrap();
    // The one that has failed counts in the window only.
    assert_eq!((quota.status().in_flight, quota.status().in_window), (1, 2));
    drop(running);
}

#[tokio::test]
async fn the_place_of_a_job_whose_line_comes_late_is_given_back_when_it_ends() {
    let bench = Bench::new(1).await;
    bench.emulator.next(Script::new().takes(Duration::from_millis(300)));
    let token = CancellationToken::new();
    let running = bench.batch().stop(token.clone()).open().await.unwrap().start().await.unwrap();
    while bench.emulator.jobs().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    token.cancel();
    assert_eq!(running.finish().await.open, 1);
    // More lines before it than are worked on at once, and no second place.
    let numbers = (1..=100).chain([0]);
    bench.input(numbers.map(|number| json!({"custom_id": id(number), "body": {"prompt": format!("duck {number}")}})));
    let quota = Quota::builder().per_minute(600).concurrency(1).build();
    let mut running = bench.batch().quota(quota).open().await.unwrap().start().await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(10), running.next()).await.expect("a place").unwrap();
    assert!(matches!(first.end, End::Saved(_)) && first.custom_id.as_str() != id(0), "{first:?}");
}

#[tokio::test]
async fn a_job_in_doubt_keeps_its_place_as_long_as_it_is_held() {
    let bench = Bench::new(1).await;
    bench.emulator.next_create(Reply::raw(504, "").after_effect());
    bench.run().await;
    for (hold, places) in [(Some(600), 1), (None, 1), (Some(0), 0)] {
        let quota = quota();
        let batch = bench.batch().quota(quota.clone());
        let batch = match hold {
            Some(seconds) => batch.hold_doubts(Duration::from_secs(seconds)),
            None => batch,
        };
        let running = batch.open().await.unwrap().start().await.unwrap();
        assert_eq!(quota.status().in_flight, places, "{hold:?}");
        running.finish().await;
    }
}

#[tokio::test]
async fn a_sidecar_that_cannot_be_asked_for_now_is_left_to_the_next_run() {
    let bench = Bench::new(1).await;
    bench.run().await;
    let sidecar = bench.path("out/sku-000.json");
    fs::remove_file(&sidecar).unwrap();
    // The first request makes sure that the account is the same.
    bench.emulator.next_reply(Operation::GetGeneration, Reply::normal());
    bench.emulator.next_reply(Operation::GetGeneration, Reply::forbidden());
    let (report, jobs) = bench.run().await;
    assert!(matches!(jobs[0].end, End::Open(Some(_))), "{jobs:?}");
    assert!(!sidecar.exists() && report.saved == 0, "{report:?}");
    let (report, _) = bench.run().await;
    assert!(sidecar.exists() && report.saved == 1, "{report:?}");
}
