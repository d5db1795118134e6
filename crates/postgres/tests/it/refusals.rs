//! What the fleet's quota does after a 429: it takes less, then tries for more, and never stands still.

use std::time::Duration;

use luma_agents_batch::{Begin, Event, Ledger as _, Ticket};
use luma_agents_postgres::{Account, PgLedger};
use uuid::Uuid;

use crate::support::{ACCOUNT, BASE_URL, Bed, bed_with, intent, key, settings};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A fleet of one process with a clock of its own, and jobs that are named by number.
struct Fleet {
    bed: Bed,
    ledger: PgLedger,
    now: Duration,
    jobs: u32,
}

impl Fleet {
    async fn start() -> Self {
        let account = Account::new(ACCOUNT, BASE_URL).per_minute(1000).concurrency(10);
        let bed = bed_with(settings().grace(Duration::from_secs(3600)), account).await;
        bed.set_clock(Duration::ZERO).await;
        let ledger = bed.ledger("one").await;
        Self { bed, ledger, now: Duration::ZERO, jobs: 0 }
    }

    async fn pass(&mut self, time: Duration) {
        self.now += time;
        self.bed.set_clock(self.now).await;
    }

    /// Asks for a place for a new job; none if there is no room.
    async fn begin(&mut self, weight: u32) -> Option<Ticket> {
        self.jobs += 1;
        match self.ledger.begin(&key(&self.ledger, &format!("j{}", self.jobs)), &intent(weight)).await.unwrap() {
            Begin::Fresh(ticket) => Some(ticket),
            Begin::NoPlace => None,
            other => panic!("{other:?}"),
        }
    }

    async fn accept(&self, ticket: &Ticket) -> Uuid {
        let id = Uuid::new_v4();
        self.ledger.record(ticket, &Event::Accepted { id }).await.unwrap();
        id
    }

    /// A job that runs.
    async fn run(&mut self, weight: u32) -> (Ticket, Uuid) {
        let ticket = self.begin(weight).await.expect("there is room");
        let id = self.accept(&ticket).await;
        (ticket, id)
    }

    async fn end(&self, (ticket, id): (Ticket, Uuid)) {
        self.ledger.record(&ticket, &Event::Completed { id }).await.unwrap();
    }

    async fn refuse(&self, ticket: &Ticket, kind: &str) {
        let event = Event::Rejected { status: 429, kind: kind.to_owned() };
        self.ledger.record(ticket, &event).await.unwrap();
    }

    /// A new job is sent and refused, since others hold the rest.
    async fn refused(&mut self) {
        let ticket = self.begin(1).await.expect("there is room");
        self.refuse(&ticket, "concurrency").await;
    }

    async fn capacity(&self) -> u32 {
        self.ledger.worker().quota().status().await.unwrap().capacity
    }

    /// With so many jobs that run, and a refusal beside them.
    async fn refused_beside(jobs: usize) -> (Self, Vec<(Ticket, Uuid)>) {
        let (mut fleet, mut running) = (Self::start().await, Vec::new());
        for _ in 0..jobs {
            running.push(fleet.run(1).await);
        }
        fleet.pass(SECOND).await;
        fleet.refused().await;
        (fleet, running)
    }

    /// For how long nothing begins.
    async fn closed_for(&self) -> Duration {
        let status = self.ledger.worker().quota().status().await.unwrap();
        let start = chrono::DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap();
        status
            .closed_until
            .map_or(Duration::ZERO, |it| (it - start.to_utc()).to_std().unwrap().saturating_sub(self.now))
    }

    /// Jobs end, and each place is taken again, until there is room for one more.
    async fn ends_until_room(&mut self, running: &mut Vec<(Ticket, Uuid)>) -> u32 {
        self.pass(SECOND).await;
        for ends in 0..=200 {
            if let Some(probe) = self.begin(1).await {
                running.push((probe.clone(), Uuid::nil()));
                return ends;
            }
            self.end(running.remove(0)).await;
            let next = self.run(1).await;
            running.push(next);
        }
        panic!("no room after 200 ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_lowers_the_capacity_to_what_runs_and_five_ends_raise_it_again() {
    let (mut fleet, mut running) = Fleet::refused_beside(4).await;
    assert_eq!(fleet.capacity().await, 4);
    assert_eq!(fleet.closed_for().await, Duration::ZERO, "an end of its own is the sign, not the time");
    assert_eq!(fleet.ends_until_room(&mut running).await, 5);
    // The probe is granted: the next one comes after five ends too.
    let (probe, _) = running.pop().unwrap();
    let id = fleet.accept(&probe).await;
    running.push((probe, id));
    assert_eq!(fleet.capacity().await, 5);
    assert_eq!(fleet.ends_until_room(&mut running).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refused_probe_doubles_the_ends_before_the_next() {
    let (mut fleet, mut running) = Fleet::refused_beside(2).await;
    for ends in [5, 10, 20, 40, 80, 160, 160] {
        assert_eq!(fleet.ends_until_room(&mut running).await, ends);
        fleet.pass(SECOND).await;
        let (probe, _) = running.pop().unwrap();
        fleet.refuse(&probe, "concurrency").await;
        assert_eq!(fleet.capacity().await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_became_free_and_is_lost_to_a_neighbour_is_no_probe() {
    let (mut fleet, mut running) = Fleet::refused_beside(2).await;
    // One ends, and another account's job takes its place.
    fleet.end(running.pop().unwrap()).await;
    fleet.pass(SECOND).await;
    fleet.refused().await;
    assert_eq!(fleet.capacity().await, 1);
    assert_eq!(fleet.ends_until_room(&mut running).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_minutes_raise_the_capacity_by_the_weight_of_the_next_job() {
    let mut fleet = Fleet::start().await;
    let heavy = fleet.run(3).await;
    fleet.pass(SECOND).await;
    fleet.refused().await;
    fleet.pass((10 * MINUTE).saturating_sub(SECOND)).await;
    assert!(fleet.begin(3).await.is_none());
    fleet.pass(SECOND).await;
    let second = fleet.run(3).await;
    assert_eq!(fleet.capacity().await, 6);
    fleet.end(heavy).await;
    fleet.end(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_others_hold_everything_one_job_goes_at_doubling_distances_up_to_ten_minutes() {
    let mut fleet = Fleet::start().await;
    for minutes in [1, 2, 4, 8, 10, 10] {
        fleet.pass(SECOND).await;
        fleet.refused().await;
        assert_eq!(fleet.closed_for().await, minutes * MINUTE);
        fleet.pass((minutes * MINUTE).saturating_sub(SECOND)).await;
        assert!(fleet.begin(1).await.is_none(), "one second early");
        fleet.pass(SECOND).await;
    }
    // Whatever the job at the head weighs: and what is granted is capacity.
    let heavy = fleet.run(3).await;
    assert_eq!(fleet.capacity().await, 3);
    fleet.end(heavy).await;
    fleet.pass(SECOND).await;
    fleet.refused().await;
    assert_eq!(fleet.closed_for().await, MINUTE, "the distances begin anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_minute_closes_the_account_and_leaves_its_capacity() {
    let mut fleet = Fleet::start().await;
    let running = fleet.run(1).await;
    let late: Vec<_> =
        [fleet.begin(1).await, fleet.begin(1).await, fleet.begin(1).await].into_iter().flatten().collect();
    assert_eq!(late.len(), 3);
    fleet.pass(SECOND).await;
    // They were under way together: one limit, said three times.
    for ticket in &late {
        fleet.refuse(ticket, "rate_limited").await;
    }
    assert_eq!(fleet.closed_for().await, MINUTE);
    assert_eq!(fleet.capacity().await, 10);
    fleet.pass(MINUTE).await;
    let ticket = fleet.begin(1).await.expect("the minute is over");
    fleet.pass(SECOND).await;
    fleet.refuse(&ticket, "rate_limited").await;
    assert_eq!(fleet.closed_for().await, 2 * MINUTE, "refused again");
    fleet.end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_that_is_refused_as_a_whole_closes_the_account_once() {
    let mut fleet = Fleet::start().await;
    let burst: Vec<_> =
        [fleet.begin(1).await, fleet.begin(1).await, fleet.begin(1).await].into_iter().flatten().collect();
    fleet.pass(SECOND).await;
    for ticket in &burst {
        fleet.refuse(ticket, "concurrency").await;
    }
    assert_eq!(fleet.capacity().await, 1);
    assert_eq!(fleet.closed_for().await, MINUTE);
}
