//! What ends a run, what counts as a failure, and what is kept of the settings.

use std::{collections::HashSet, io, sync::Arc};

use chrono::{DateTime, Utc};
use luma_agents::mock::{Emulator, Script};
use tempfile::TempDir;
use uuid::Uuid;

use super::{
    driver::Context,
    prepare::{age, deadline},
    report::{Reasons, line},
    save::is_there,
    *,
};
use crate::{
    CustomId, Key, Sha256, Usd,
    error::{CapReached, NotRecorded},
    ledger::{Attempt, Doubt, Last, NoJob, SavedFile, State},
};

const JOB: Uuid = Uuid::from_u128(7);
const OTHER: Uuid = Uuid::from_u128(8);

/// A run with one job that takes ten minutes.
struct Bench {
    _emulator: Emulator,
    folder: TempDir,
    running: Running,
}

impl Bench {
    async fn new() -> Self {
        let emulator = Emulator::start().await.unwrap();
        emulator.next(Script::new().takes(Duration::from_secs(600)));
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("a.jsonl");
        std::fs::write(&input, r#"{"custom_id":"a","body":{"prompt":"a duck"}}"#).unwrap();
        let batch = Batch::new(emulator.client(), input).unwrap().policy(Policy::default().max_failures(3));
        let running = batch.open().await.unwrap().start().await.unwrap();
        Self { _emulator: emulator, folder, running }
    }

    fn context(&self) -> &Arc<Context> {
        self.running.context()
    }

    /// Why nothing more is submitted.
    fn stop(&self) -> String {
        self.context().stop_reason()
    }
}

fn io_error(path: &Path) -> Error {
    Error::io("write", path, io::Error::other("no space"))
}

fn not_recorded() -> NotRecorded {
    let key = Key::new(JOB, CustomId::new("a").unwrap());
    let (ledger, line) = ("a.journal.jsonl".to_owned(), "{}".to_owned());
    NotRecorded { ledger, key, id: Some(JOB), line, source: Error::LedgerFailed }
}

#[tokio::test]
async fn an_error_of_one_line_ends_the_line_and_one_of_the_journal_ends_the_run() {
    let bench = Bench::new().await;
    let journal = bench.folder.path().join("a.journal.jsonl");
    for error in [io_error(&bench.folder.path().join("a.png")), Error::invalid_input("a file that is gone")] {
        let end = bench.context().failed_to_submit(error);
        assert!(matches!(end, End::Unsent(Some(_))), "{end:?}");
    }
    assert!(matches!(bench.context().failed_to_submit(Error::Stopped), End::Unsent(None)));
    assert!(!bench.context().is_stopped() && bench.stop() == "None");

    let cap = CapReached::Jobs { cap: 3 };
    for (error, reason) in [
        (io_error(&journal), "Ledger(Some(cannot write"),
        (Error::Cap(Box::new(cap)), "Cap("),
        (Error::LedgerFailed, "Ledger(None)"),
        (Error::NotRecorded(Box::new(not_recorded())), "Ledger(None)"),
    ] {
        let bench = Bench::new().await;
        let own = bench.folder.path().join("a.journal.jsonl");
        let error = if reason.contains("write") { io_error(&own) } else { error };
        let end = bench.context().failed_to_submit(error);
        assert!(matches!(end, End::Unsent(None)), "{end:?}");
        assert!(bench.context().is_stopped() && bench.stop().contains(reason), "{reason}: {}", bench.stop());
        let first = bench.stop();
        bench.context().stop(Stop::Token);
        assert_eq!(bench.stop(), first, "the first reason counts");
    }
}

#[tokio::test]
async fn a_line_that_could_not_be_written_is_in_the_report() {
    let bench = Bench::new().await;
    assert!(format!("{:?}", bench.running).contains("total: 1"));
    bench.context().not_recorded(not_recorded());
    let report = bench.running.finish_now().await;
    assert_eq!(report.not_recorded.len(), 1);
    assert!(matches!(report.stop, Some(Stop::Ledger(None))), "{:?}", report.stop);
}

#[tokio::test]
async fn failures_in_a_row_with_one_code_stop_the_run() {
    let failed = |code: &str| End::Failed { code: Some(code.to_owned()), reason: None };
    let rejected = |is_new: bool| {
        let error = luma_agents::Client::new("").unwrap_err();
        End::Rejected { status: 400, kind: "a".to_owned(), error: is_new.then(|| Box::new(error)) }
    };
    for ends in [
        vec![failed("a"), failed("a"), failed("b"), failed("b"), failed("a"), failed("a")],
        vec![failed("a"), failed("a"), End::Saved(Vec::new()), failed("a"), failed("a")],
        vec![rejected(false), rejected(false), rejected(false), rejected(false)],
        vec![End::Unsent(None), End::Open(None), End::Unsent(None), End::Open(None)],
    ] {
        let bench = Bench::new().await;
        for end in &ends {
            bench.context().count(end);
        }
        assert_eq!(bench.stop(), "None", "{ends:?}");
    }
    for ends in [
        vec![failed("b"), failed("a"), failed("a"), End::Unsent(None), failed("a")],
        vec![rejected(true), rejected(true), rejected(false), rejected(true)],
    ] {
        let bench = Bench::new().await;
        for end in &ends {
            bench.context().count(end);
        }
        assert_eq!(bench.stop(), r#"Some(Failures { code: "a", count: 3 })"#, "{ends:?}");
    }
}

#[test]
fn failures_are_tried_again_if_that_may_help_and_no_more_often_than_allowed() {
    let policy = Policy::default().tries(2);
    assert!(policy.retries(Some("generation_failed"), 1) && !policy.retries(Some("generation_failed"), 2));
    assert!(!policy.retries(Some("content_moderated"), 1) && !policy.retries(None, 1));
    let mut also = policy;
    also.also = HashSet::from(["content_moderated".to_owned()]);
    assert!(also.retries(Some("content_moderated"), 1) && !also.retries(Some("content_moderated"), 2));
    for kind in ["unauthorized", "insufficient_credits", "forbidden", "redirected"] {
        assert!(Policy::is_of_the_account(kind) && Policy::is_passing(kind), "{kind}");
    }
    for kind in ["unavailable", "concurrency", "rate_limited"] {
        assert!(!Policy::is_of_the_account(kind) && Policy::is_passing(kind), "{kind}");
    }
    for kind in ["invalid_request", "unusable_media", ""] {
        assert!(!Policy::is_of_the_account(kind) && !Policy::is_passing(kind), "{kind}");
    }
}

#[tokio::test]
async fn a_setting_is_kept_whatever_is_set_after_it() {
    let client = luma_agents::Client::new("luma-api-test").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("a.jsonl");
    std::fs::write(&input, "").unwrap();
    let stop = CancellationToken::new();
    let batch = Batch::new(client, input)
        .unwrap()
        .journal("b/c.journal.jsonl")
        .names(Names::new("elsewhere"))
        .cap(Cap::NONE.jobs(3))
        .quota(Quota::builder().per_minute(3).build())
        .prices(Prices { prices: Vec::new(), ..Prices::default() })
        .policy(Policy::default().tries(7))
        .submit_timeout(Duration::from_secs(5))
        .hold_doubts(Duration::from_secs(6))
        .stop(stop.clone());
    assert_eq!((batch.folder(), batch.journal.as_path()), (Path::new("b"), Path::new("b/c.journal.jsonl")));
    assert_eq!(batch.names.folder(), Path::new("elsewhere"));
    assert_eq!((batch.cap.jobs, batch.policy.tries), (Some(3), 7));
    assert_eq!(batch.prices.prices, []);
    assert_eq!(batch.submit_timeout, Duration::from_secs(5));
    assert_eq!(batch.hold, Some(Duration::from_secs(6)));
    stop.cancel();
    assert!(batch.stop.is_cancelled());
    for (journal, results) in
        [("b/c.journal.jsonl", "b/c.results.jsonl"), ("b/c.jsonl", "b/c.results.jsonl"), ("b/c", "b/c.results.jsonl")]
    {
        assert_eq!(batch.clone().journal(journal).beside("results"), Path::new(results));
    }
}

#[test]
fn ages_and_limits_of_jobs_do_not_depend_on_the_clock() {
    let at = |seconds: i64| DateTime::<Utc>::from_timestamp(1_800_000_000 + seconds, 0).unwrap();
    for (now, seconds) in [(0, 0), (9, 9), (-9, 0), (3600, 3600), (86_400, 3600)] {
        assert_eq!(age(at(0), at(now)).as_secs(), seconds, "{now}");
    }
    for (kind, seconds) in [("image", 120), ("image_edit", 120), ("layering", 240), ("video", 600), ("", 600)] {
        assert_eq!(deadline(kind).as_secs(), seconds, "{kind}");
    }
}

#[test]
fn an_output_is_there_if_it_is_as_large_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.png"), "abc").unwrap();
    let file = |path: &str, bytes| SavedFile::new(path, bytes, Sha256::of("abc"));
    let is = |files: &[SavedFile]| is_there(folder.path(), files);
    assert!(is(&[]) && is(&[file("a.png", 3)]));
    assert!(!is(&[file("a.png", 4)]) && !is(&[file("b.png", 3)]) && !is(&[file("a.png", 3), file("b.png", 3)]));
}

#[test]
fn a_reason_to_stop_says_what_to_do() {
    let disk = || Box::new(io_error(Path::new("a.png")));
    for (stop, text) in [
        (Stop::Token, "stopped; run again to go on".to_owned()),
        (
            Stop::Failures { code: "a".to_owned(), count: 3 },
            "3 failures in a row with a; find the reason, then run again to go on".to_owned(),
        ),
        (Stop::Ledger(Some(disk())), "cannot write a.png: no space".to_owned()),
        (Stop::Ledger(None), Error::LedgerFailed.to_string()),
        (Stop::Cap(Box::new(CapReached::Jobs { cap: 3 })), CapReached::Jobs { cap: 3 }.to_string()),
        (
            Stop::Disk(disk()),
            "cannot write a.png: no space; nothing more is sent. Then run again: what is paid for is fetched"
                .to_owned(),
        ),
    ] {
        assert_eq!(stop.to_string(), text);
    }
    let account = Stop::Account(Box::new(luma_agents::Client::new("").unwrap_err())).to_string();
    assert!(account.ends_with("; then run again to go on") && account.len() > 40, "{account}");
}

#[test]
fn a_run_is_complete_if_all_is_saved_and_recorded() {
    let report = |change: fn(&mut Report)| {
        let mut report = Report { saved: 5, ..Report::default() };
        change(&mut report);
        report
    };
    assert!(report(|_| {}).is_complete() && report(|it| it.stop = Some(Stop::Token)).is_complete());
    let incomplete: [fn(&mut Report); 6] = [
        |it| it.failed = 1,
        |it| it.in_doubt = 1,
        |it| it.left = 1,
        |it| it.not_recorded.push(not_recorded()),
        |it| it.error = Some(Box::new(Error::LedgerFailed)),
        |it| it.stop = Some(Stop::Ledger(None)),
    ];
    for change in incomplete {
        assert!(!report(change).is_complete(), "{:?}", report(change));
    }
    let left = report(|it| (it.failed, it.in_doubt, it.open, it.left) = (4, 3, 2, 9));
    let text = "5 saved, 4 failed, 3 in doubt, 2 paid and open, 7 not submitted; up to $0.0000 spent";
    assert_eq!(left.to_string(), text);
}

#[test]
fn the_end_of_a_job_is_one_line() {
    let error = || Box::new(io_error(Path::new("a.png")));
    let api = || Box::new(luma_agents::Client::new("").unwrap_err());
    let file = |path: &str| SavedFile::new(path, 3, Sha256::of("abc"));
    let rejected = |error| End::Rejected { status: 400, kind: "invalid_request".to_owned(), error };
    let failed = |code: Option<&str>, reason: Option<&str>| End::Failed {
        code: code.map(str::to_owned),
        reason: reason.map(str::to_owned),
    };
    let doubt = Doubt {
        key: Key::new(JOB, CustomId::new("a").unwrap()),
        attempt: 1,
        request_id: Some(OTHER),
        fingerprint: None,
        since: DateTime::<Utc>::from_timestamp(1_800_000_000, 0).unwrap(),
        fault: None,
        job: None,
    };
    let of_doubt = doubt.to_string();
    for (end, text) in [
        (End::Saved(vec![file("out/a.png"), file("out/a-1.png")]), "saved out/a.png out/a-1.png"),
        (failed(Some("budget"), Some("generation 7 failed")), "generation 7 failed"),
        (failed(Some("budget"), None), "failed: budget"),
        (failed(None, None), "failed: unknown"),
        (
            failed(Some(&format!("\n\u{1b}{}", "a".repeat(99))), None),
            &*format!("failed: \\n\\u{{1b}}{}", "a".repeat(62)),
        ),
        (rejected(None), "rejected: invalid_request"),
        (rejected(Some(api())), &*api().to_string()),
        (End::InDoubt(Box::new(doubt)), of_doubt.strip_prefix("a: ").unwrap()),
        (End::Open(None), "accepted; the next run waits for it"),
        (End::Open(Some(error())), "accepted, and the next run waits for it: cannot write a.png: no space"),
        (End::Unsent(None), "not sent; the next run sends it"),
        (End::Unsent(Some(error())), "not sent: cannot write a.png: no space"),
    ] {
        assert_eq!(end.to_string(), text);
    }
}

#[test]
fn a_line_of_the_results_says_how_the_job_stands() {
    let attempt = |number, state| {
        let at = DateTime::<Utc>::from_timestamp(1_800_000_000, 0).unwrap();
        let (model, kind) = ("uni-1".to_owned(), "image".to_owned());
        let (request_id, fingerprint, usd) = (None, None, Some(Usd::ZERO));
        Attempt { number, request_id, fingerprint, model, kind, usd, weight: 1, begun: at, at, state }
    };
    let file = |path: &str| SavedFile::new(path, 3, Sha256::of("abc"));
    let rejected = NoJob::Rejected { status: 400, kind: "invalid_request".to_owned() };
    let saved = State::Saved { id: JOB, file: file("a.png"), more: vec![file("b.png")] };
    for (state, word, parts) in [
        (saved, "saved", vec!["a.png", "b.png"]),
        (State::InFlight, "in_doubt", vec!["ask support"]),
        (State::InDoubt { fault: None }, "in_doubt", vec!["ask support"]),
        (State::NoJob(rejected), "rejected", vec!["invalid_request", "status 400"]),
        (State::NoJob(NoJob::NotSent), "unsent", vec![]),
        (State::Resent, "unsent", vec![]),
        (State::Accepted { id: JOB }, "accepted", vec![]),
        (State::Completed { id: JOB }, "completed", vec![]),
        (State::Failed { id: JOB, code: None }, "failed", vec!["unknown"]),
        (State::Failed { id: JOB, code: Some("budget".to_owned()) }, "failed", vec!["budget"]),
    ] {
        let last = |others| Last { last: 1, attempt: attempt(1, state.clone()), others };
        let (id, alone) = (CustomId::new("a").unwrap(), last(Vec::new()));
        let text = format!("{:?}", line(&id, &alone, &Reasons::new()));
        assert!(text.contains(&format!("{word:?}")), "{word}: {text}");
        assert_eq!(text.contains(&JOB.to_string()), state.id().is_some(), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        let dead = vec![attempt(2, State::NoJob(NoJob::NotSent)), attempt(3, State::InDoubt { fault: None })];
        assert!(!format!("{:?}", line(&id, &last(dead), &Reasons::new())).contains("second_job"));
        let paid = format!("{:?}", line(&id, &last(vec![attempt(2, State::Accepted { id: OTHER })]), &Reasons::new()));
        assert!(paid.contains("second_job") && paid.contains(&OTHER.to_string()), "{paid}");
    }
}
