//! Four workers of the example, killed, cut off and restarted, on a database that is restarted too: nothing is paid
//! twice, nothing waits for ever.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use luma_agents::mock::{Emulator, Quota, Reply, Script};
use luma_agents_batch::Sha256;
use serde_json::json;
use sqlx::PgPool;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::{
    cluster::{Cluster, Stop},
    program,
    proxy::Proxy,
};

const JOBS: usize = 400;
/// For how long workers are killed and connections cut.
const TROUBLE: Duration = Duration::from_secs(35);
/// A fleet in which nothing moves for this long, although there are places, waits for ever.
const LIMIT: Duration = Duration::from_secs(60);
const UNITS: u32 = 10;
const HEAVIEST: i64 = 3;
const GRACE: &str = "2";

/// CI takes one seed, `CHAOS_SEEDS=20 cargo test .. chaos -- --nocapture` twenty. `CHAOS_SEED=7` is one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_and_a_broken_database_cost_nothing_twice_and_leave_nothing_waiting() {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    let seeds = match (number("CHAOS_SEED"), number("CHAOS_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(seeds)) => 0..seeds,
        // One that leaves some in doubt.
        (None, None) => 2..3,
    };
    // A copy, which stays as it is while somebody builds.
    let folder = tempfile::tempdir().unwrap();
    let fleet = folder.path().join("fleet");
    std::fs::copy(program::build().await, &fleet).unwrap();
    for seed in seeds {
        Box::pin(run(seed, &fleet)).await;
    }
}

async fn run(seed: u64, fleet: &Path) {
    let mut random = Rng::with_seed(seed);
    let start = Instant::now();
    let cluster = Cluster::start();
    let database = cluster.database("fleet").await;
    let pool = PgPool::connect(&database).await.unwrap();
    let proxy = Proxy::start(cluster.port()).await;
    let folder = tempfile::tempdir().unwrap();
    let (emulator, refused) = emulator(&mut random).await;
    let mut site = Site {
        fleet: fleet.to_owned(),
        out: folder.path().join("out"),
        direct: database.clone(),
        proxied: database.replace(&format!(":{}/", cluster.port()), &format!(":{}/", proxy.port())),
        base_url: emulator.base_url(),
        key: emulator.api_key().to_owned(),
        workers: Vec::new(),
    };
    site.add(&folder.path().join("chaos.jsonl"), &mut random).await;
    for id in ["stays-dead", "comes-back-as-another", "comes-back-newer", "comes-back"] {
        site.start_worker(id, id);
    }

    // What is done and when is decided by the seed.
    let mut troubles: Vec<Trouble> = vec![Trouble::Restart(Stop::Fast), Trouble::Restart(Stop::Immediate)];
    troubles.extend([Trouble::Cut; 4]);
    troubles.push(Trouble::Kill(0));
    troubles.extend((1..4).flat_map(|worker| [Trouble::Kill(worker); 2]));
    random.shuffle(&mut troubles);
    let pause = TROUBLE / u32::try_from(troubles.len()).unwrap();
    let mut open_at_kills = BTreeSet::new();
    let mut kills = 0;
    for trouble in troubles {
        sleep(pause.mul_f64(0.5 + random.f64())).await;
        match trouble {
            Trouble::Restart(stop) => cluster.restart(stop),
            Trouble::Cut => proxy.cut(),
            Trouble::Kill(worker) => {
                open_at_kills.extend(site.kill(worker, random.bool(), &pool).await);
                kills += 1;
                site.come_back(worker, &mut random).await;
            }
        }
        site.keep_running();
    }
    // However slow the machine is, something has to move.
    let mut last = (Instant::now(), 0);
    while !is_done(&pool).await {
        let moved = events(&pool).await;
        if moved != last.1 || in_doubt(&pool).await + HEAVIEST > i64::from(UNITS) {
            last = (Instant::now(), moved);
        }
        assert!(last.0.elapsed() < LIMIT, "seed {seed}: {:?} still wait", waiting(&pool).await);
        site.keep_running();
        sleep(Duration::from_millis(200)).await;
    }
    let took = start.elapsed();
    site.terminate().await;

    let tries = tries(&pool).await;
    let jobs = emulator.jobs();
    let accepted = tries.iter().filter(|it| it.job.is_some()).count();
    let doubts: Vec<_> = tries.iter().filter(|it| ["intent", "unknown"].contains(&it.state.as_str())).collect();
    println!(
        "seed {seed}: {} jobs, {accepted} accepted, {} in doubt of {} open at {kills} kills, {} refused, {:.0} s",
        jobs.len(),
        doubts.len(),
        open_at_kills.len(),
        refused.load(Ordering::Relaxed),
        took.as_secs_f64(),
    );
    assert!(accepted <= jobs.len() && jobs.len() <= accepted + doubts.len(), "seed {seed}");
    for doubt in &doubts {
        let one = (doubt.custom_id.clone(), doubt.number);
        assert!(open_at_kills.contains(&one), "seed {seed}: {one:?} was not open at a kill");
    }

    let sent: HashMap<_, _> = tries.iter().filter_map(|it| Some((it.request_id.clone()?, &it.custom_id))).collect();
    let mut jobs_of: BTreeMap<String, usize> = BTreeMap::new();
    let mut request_ids = BTreeSet::new();
    for job in &jobs {
        assert!(request_ids.insert(job.x_request_id.clone()), "seed {seed}: a request id has two jobs");
        let custom_id = sent.get(&job.x_request_id).copied();
        let prompt = job.request["prompt"].as_str().unwrap();
        assert!(custom_id.is_some_and(|id| prompt.starts_with(&format!("{id} "))), "seed {seed}: {prompt} has no try");
        *jobs_of.entry(prompt.to_owned()).or_default() += 1;
    }
    assert!(jobs_of.values().all(|number| *number == 1), "seed {seed}: a key was paid for twice");

    let saved: Vec<_> = tries.iter().filter(|it| it.state == "saved").collect();
    assert_eq!(saved.len() + doubts.len(), JOBS, "seed {seed}: {:?}", waiting(&pool).await);
    for it in saved {
        let file = &it.saved.as_ref().unwrap()["file"];
        let bytes = std::fs::read(site.out.join(file["path"].as_str().unwrap())).unwrap();
        assert_eq!(Sha256::of(bytes).to_string(), file["sha256"], "seed {seed}: {}", it.custom_id);
    }
    assert_eq!(refused.load(Ordering::Relaxed), 0, "seed {seed}: the service has seen more than the quota");
    let leaks = "SELECT count(*) FROM dbos.workflow_status WHERE concat(inputs, output, error, request) LIKE '%duck%'";
    assert_eq!(sqlx::query_scalar::<_, i64>(leaks).fetch_one(&pool).await.unwrap(), 0, "DBOS has a prompt");
    pool.close().await;
}

#[derive(Clone, Copy)]
enum Trouble {
    Kill(usize),
    Cut,
    Restart(Stop),
}

/// The service with limits, jobs of 0.1 to 2 s, submissions of up to 0.3 s, and how many it has refused for a limit.
async fn emulator(random: &mut Rng) -> (Emulator, Arc<AtomicUsize>) {
    let refused = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&refused);
    let builder = Emulator::builder().quota(Quota::new().per_minute(600).concurrency(UNITS));
    let count = move |request: &luma_agents::mock::Request, _| {
        if request.status.is_some_and(|status| status.as_u16() == 429) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    };
    let emulator = builder.on_request(count).start().await.unwrap();
    for tenths in 1..=20 {
        emulator.prompts_with(format!("[{tenths}]"), Script::new().takes(Duration::from_millis(100 * tenths)));
    }
    for _ in 0..2 * JOBS {
        emulator.next_create(Reply::normal().delay(Duration::from_millis(random.u64(0..300))));
    }
    (emulator, refused)
}

/// The processes, and what they need.
struct Site {
    fleet: PathBuf,
    out: PathBuf,
    /// The database, and the same by way of the proxy.
    direct: String,
    proxied: String,
    base_url: String,
    key: String,
    workers: Vec<Option<Process>>,
}

struct Process {
    id: String,
    /// How it is started: by the name of its part.
    part: String,
    child: Child,
}

impl Site {
    fn command(&self, database: &str) -> Command {
        let mut command = Command::new(&self.fleet);
        command.env("DATABASE_URL", database).env("LUMA_BASE_URL", &self.base_url);
        command.env("LUMA_AGENTS_API_KEY", &self.key).kill_on_drop(true).stdin(Stdio::null());
        if std::env::var_os("CHAOS_LOG").is_none() {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        command
    }

    /// Creates the tables and adds the jobs. One in ten weighs three units.
    async fn add(&self, path: &Path, random: &mut Rng) {
        let line = |number: usize, tenths: u64| {
            let id = format!("sku-{number:03}");
            let mut body = json!({"prompt": format!("{id} duck [{tenths}]")});
            if number.is_multiple_of(10) {
                body["type"] = json!("image_edit");
                body["model"] = json!("uni-1-max");
                body["source"] = json!({"url": "https://example.com/duck.png"});
            }
            json!({"custom_id": id, "body": body}).to_string() + "\n"
        };
        let text: String = (0..JOBS).map(|number| line(number, random.u64(1..=20))).collect();
        std::fs::write(path, text).unwrap();
        let mut migrate = self.command(&self.direct);
        migrate.args(["migrate", "--slots", "8", "--grace", "0.2"]);
        assert!(migrate.status().await.unwrap().success());
        let mut add = self.command(&self.direct);
        add.arg("add").arg(path).args(["--per-minute", "600", "--concurrency", &UNITS.to_string()]);
        assert!(add.status().await.unwrap().success());
    }

    fn spawn(&self, part: &str, id: &str) -> Child {
        let mut command = self.command(&self.proxied);
        command.args(["work", "--id", id, "--slots", "8", "--grace", GRACE, "--pace", "0.1", "--out"]).arg(&self.out);
        // The second life of this one is a newer version, which covers the one before.
        if part == "comes-back-newer" && id != part {
            command.args(["--steps", "2", "--compatible", "1"]);
        }
        command.spawn().unwrap()
    }

    fn start_worker(&mut self, part: &str, id: &str) {
        let child = self.spawn(part, id);
        self.workers.push(Some(Process { id: id.to_owned(), part: part.to_owned(), child }));
    }

    /// Kills a worker, if `in_the_act` while it is submitting. The tries that stand in the ledger without an end then.
    async fn kill(&mut self, worker: usize, in_the_act: bool, pool: &PgPool) -> Vec<(String, i32)> {
        let Some(process) = &mut self.workers[worker] else { return Vec::new() };
        let act = Instant::now();
        while in_the_act && act.elapsed() < Duration::from_secs(3) && open_intents(&process.id, pool).await.is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        process.child.kill().await.unwrap();
        // What the server had in hand for it is done.
        sleep(Duration::from_millis(100)).await;
        open_intents(&process.id, pool).await
    }

    async fn come_back(&mut self, worker: usize, random: &mut Rng) {
        let Some(process) = self.workers[worker].take() else { return };
        if process.part == "stays-dead" {
            return;
        }
        sleep(Duration::from_millis(random.u64(0..2000))).await;
        let id = match process.part.as_str() {
            "comes-back-as-another" => format!("{}-{}", process.part, random.u32(..)),
            "comes-back-newer" => "comes-back-newer-2".to_owned(),
            part => part.to_owned(),
        };
        let child = self.spawn(&process.part, &id);
        self.workers[worker] = Some(Process { id, child, ..process });
    }

    /// A worker that has ended by itself is started again, as a supervisor does.
    fn keep_running(&mut self) {
        for index in 0..self.workers.len() {
            let Some(process) = &mut self.workers[index] else { continue };
            if let Some(status) = process.child.try_wait().unwrap() {
                println!("{} ended with {status}", process.id);
                let child =
                    self.spawn(&self.workers[index].as_ref().unwrap().part, &self.workers[index].as_ref().unwrap().id);
                self.workers[index].as_mut().unwrap().child = child;
            }
        }
    }

    /// Each worker ends in good order.
    async fn terminate(&mut self) {
        for process in self.workers.iter_mut().flatten() {
            let id = process.child.id().unwrap().to_string();
            assert!(Command::new("kill").arg(id).status().await.unwrap().success());
            assert!(process.child.wait().await.unwrap().success(), "{} did not end well", process.id);
        }
    }
}

async fn open_intents(executor: &str, pool: &PgPool) -> Vec<(String, i32)> {
    let open = "SELECT custom_id, try FROM luma.tries JOIN luma.holders USING (holder) \
        WHERE executor = $1 AND state IN ('intent', 'unknown')";
    sqlx::query_as(open).bind(executor).fetch_all(pool).await.unwrap()
}

struct Try {
    custom_id: String,
    number: i32,
    request_id: Option<String>,
    state: String,
    job: Option<String>,
    saved: Option<serde_json::Value>,
}

async fn tries(pool: &PgPool) -> Vec<Try> {
    let tries = "SELECT custom_id, try, request_id::text, state, job::text, saved FROM luma.tries";
    let rows = sqlx::query_as(tries).fetch_all(pool).await.unwrap();
    let tries = rows.into_iter().map(|(custom_id, number, request_id, state, job, saved)| Try {
        custom_id,
        number,
        request_id,
        state,
        job,
        saved,
    });
    tries.collect()
}

/// Nothing is on the queue or runs, and every key has an end or is in doubt.
async fn is_done(pool: &PgPool) -> bool {
    let done = "SELECT NOT EXISTS (SELECT FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')) \
        AND NOT EXISTS (SELECT FROM luma.tries WHERE state IN ('accepted', 'completed'))";
    sqlx::query_scalar(done).fetch_one(pool).await.unwrap_or(false)
}

/// Grows with whatever becomes of a try.
async fn events(pool: &PgPool) -> i64 {
    let events = "SELECT count(*) + count(job) + count(*) FILTER (WHERE state = 'saved') FROM luma.tries";
    sqlx::query_scalar(events).fetch_one(pool).await.unwrap_or_default()
}

/// Units of requests without an end: they hold their places for the longest time that their jobs may take.
async fn in_doubt(pool: &PgPool) -> i64 {
    let held = "SELECT COALESCE(sum(weight), 0)::bigint FROM luma.tries \
        WHERE state IN ('intent', 'unknown') AND place_until > luma.clock()";
    sqlx::query_scalar(held).fetch_one(pool).await.unwrap_or_default()
}

/// For the message of a failure.
async fn waiting(pool: &PgPool) -> Vec<(String, Option<String>, Option<String>, Option<String>, i64)> {
    let waiting = "SELECT w.status, w.executor_id, w.application_version, \
        (SELECT state FROM luma.tries t WHERE w.workflow_uuid LIKE t.batch || '/' || t.custom_id || '%' \
         ORDER BY try DESC LIMIT 1), count(*) \
        FROM dbos.workflow_status w GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC";
    sqlx::query_as(waiting).fetch_all(pool).await.unwrap()
}
