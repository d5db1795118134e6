//! The kill harness: a batch in a process of its own is killed at random moments and resumed, until it is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use luma_agents::{
    ApiKey, Client,
    mock::{self, Emulator, Script},
};
use luma_agents_batch::{Batch, JournalView, Quota, Sha256};
use serde_json::{Value, json};

const JOBS: usize = 50;
const PER_MINUTE: u32 = 600;
const UNITS: u32 = 10;
const LONGEST: Duration = Duration::from_millis(2000);
/// Rounds that run at the same time.
const SIDE_BY_SIDE: usize = 3;

/// Not a test: the process that is killed.
#[tokio::test]
#[ignore = "run by another test"]
async fn batch_to_be_killed() {
    let (Ok(input), Ok(base_url)) = (std::env::var("CHAOS_INPUT"), std::env::var("CHAOS_BASE_URL")) else { return };
    let pace = Duration::from_millis(50);
    let key = ApiKey::new(std::env::var("CHAOS_KEY").unwrap()).unwrap();
    let client = Client::builder(key).base_url(base_url).pace(pace, pace).build().unwrap();
    let quota = Quota::builder().per_minute(PER_MINUTE).concurrency(UNITS).build();
    let batch = Batch::new(client, input).unwrap().quota(quota).hold_doubts(LONGEST);
    let opened = batch.open().await.unwrap();
    let report = opened.start().await.unwrap().finish().await;
    assert!(report.stop.is_none(), "{report:?}");
    assert_eq!((report.left, report.failed), (0, 0), "{report:?}");
}

/// `CHAOS_ROUNDS` rounds, 10 by default, with seeds from `CHAOS_SEED` on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_killed_at_any_moment_pays_for_nothing_twice_and_loses_no_job() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default);
    let (rounds, first) = (number("CHAOS_ROUNDS", 10), number("CHAOS_SEED", 1));
    let all = stream::iter(first..first + rounds).map(|seed| tokio::spawn(round(seed)));
    let tallies: Vec<_> = all.buffer_unordered(SIDE_BY_SIDE).map(Result::unwrap).collect().await;
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let (kills, jobs, doubts) = (sum(|it| it.kills), sum(|it| it.jobs), sum(|it| it.doubts));
    println!("{rounds} rounds from seed {first}: {kills} kills, {jobs} jobs, {doubts} in doubt");
    assert!(kills >= tallies.len(), "nothing was killed");
}

struct Tally {
    kills: usize,
    jobs: usize,
    doubts: usize,
}

async fn round(seed: u64) -> Tally {
    let mut random = fastrand::Rng::with_seed(seed);
    let quota = mock::Quota::new().per_minute(PER_MINUTE).concurrency(UNITS);
    let emulator = Emulator::builder().quota(quota).start().await.unwrap();
    for _ in 0..2 * JOBS {
        emulator.next(Script::new().takes(LONGEST.mul_f64(0.05 + 0.95 * random.f64())));
        emulator.next_create(mock::Reply::normal().delay(Duration::from_millis(random.u64(0..20))));
    }
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("catalogue.jsonl");
    let line = |number| json!({"custom_id": format!("sku-{number:03}"), "body": {"prompt": format!("duck {number}")}});
    let text: String = (0..JOBS).map(|number| line(number).to_string() + "\n").collect();
    std::fs::write(&input, text).unwrap();
    let journal = folder.path().join("catalogue.journal.jsonl");
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "chaos::batch_to_be_killed", "--ignored", "--nocapture"]);
        command
            .env("CHAOS_INPUT", &input)
            .env("CHAOS_BASE_URL", emulator.base_url())
            .env("CHAOS_KEY", emulator.api_key());
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut tally = Tally { kills: 0, jobs: 0, doubts: 0 };
    let mut open_at_kills = BTreeSet::new();
    for _ in 0..random.usize(3..8) {
        let mut child = start();
        tokio::time::sleep(Duration::from_millis(random.u64(30..1500))).await;
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        tally.kills += 1;
        open_at_kills.extend(open_intents(&journal));
    }
    let finished = tokio::task::spawn_blocking({
        let child = start();
        move || child.wait_with_output().unwrap()
    });
    let finished = finished.await.unwrap();
    assert!(finished.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&finished.stderr));

    let view = JournalView::read(&journal).await.unwrap();
    let lines = lines(&journal);
    let of = |event: &str| lines.iter().filter(|line| line["e"] == event).cloned().collect::<Vec<_>>();
    let accepted: BTreeSet<_> = of("accepted").iter().map(|line| text_of(line, "id")).collect();
    let jobs = emulator.jobs();
    (tally.jobs, tally.doubts) = (jobs.len(), view.doubts().len());
    assert!(accepted.len() <= jobs.len(), "seed {seed}");
    assert!(
        jobs.len() <= accepted.len() + tally.doubts,
        "seed {seed}: {} jobs, {} accepted",
        jobs.len(),
        accepted.len()
    );
    assert_eq!(accepted.len() + tally.doubts, JOBS, "seed {seed}");

    let request_ids: BTreeSet<_> = jobs.iter().map(|job| job.x_request_id.clone()).collect();
    assert_eq!(request_ids.len(), jobs.len(), "seed {seed}: one request id has two jobs");
    let mut tries = BTreeMap::new();
    for intent in of("intent") {
        let one = (text_of(&intent, "custom_id"), intent["try"].as_u64().unwrap());
        let twice = tries.insert(one.clone(), text_of(&intent, "x_request_id"));
        assert_eq!(twice, None, "seed {seed}: {one:?} has two request ids");
    }
    let prompts: BTreeSet<_> = jobs.iter().map(|job| job.request["prompt"].to_string()).collect();
    assert_eq!(prompts.len(), jobs.len(), "seed {seed}: one line was paid for twice");
    for doubt in view.doubts() {
        let open = (doubt.key.custom_id.to_string(), doubt.attempt);
        assert!(open_at_kills.contains(&open), "seed {seed}: {open:?} was not open at a kill");
    }

    for saved in of("saved") {
        let generation = emulator.client().generations().get(text_of(&saved, "id")).await.unwrap();
        let output = emulator.client().download(&generation).bytes().await.unwrap();
        let file = std::fs::read(folder.path().join(text_of(&saved, "path"))).unwrap();
        let digests = [Sha256::of(&output), Sha256::of(file)].map(|it| it.to_string());
        assert_eq!(digests, [text_of(&saved, "sha256"), text_of(&saved, "sha256")], "seed {seed}");
    }
    let saved: BTreeSet<_> = of("saved").iter().map(|line| text_of(line, "id")).collect();
    assert_eq!(saved, accepted, "seed {seed}");
    tally
}

/// The tries that stand in the journal without an end, read as it lies there after a kill.
fn open_intents(journal: &Path) -> BTreeSet<(String, u32)> {
    let mut open = BTreeSet::new();
    for line in lines(journal) {
        let Some(id) = line["custom_id"].as_str() else { continue };
        let one = (id.to_owned(), u32::try_from(line["try"].as_u64().unwrap()).unwrap());
        if line["e"] == "intent" {
            open.insert(one);
        } else {
            open.remove(&one);
        }
    }
    open
}

fn lines(journal: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn text_of(line: &Value, field: &str) -> String {
    line[field].as_str().unwrap().to_owned()
}
