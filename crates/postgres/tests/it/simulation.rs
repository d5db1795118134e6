//! Hours of eight workers on one account, on the real database with a clock of our own: no unit is idle for long, and
//! no worker is left behind.

#![allow(clippy::cast_precision_loss, reason = "figures of a test")]

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use luma_agents_batch::{Begin, Event, Intent, Ledger as _, Ticket};
use luma_agents_postgres::{Account, PgLedger, Turn};
use uuid::Uuid;

use crate::support::{ACCOUNT, BASE_URL, Bed, bed_with, intent, key, settings};

/// In milliseconds of the simulation.
type Time = u32;

const END: Time = 2 * 3_600_000;
const LIMIT: u32 = 10;
const PER_MINUTE: u32 = 30;
/// Jobs that a worker has under way or in line.
const SLOTS: usize = 4;
const POST: Time = 1_000;

/// What happens, and when.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Accepted(usize),
    Ended(usize),
    /// Time alone may have made room.
    Wake,
}

struct Job {
    worker: usize,
    weight: u32,
    intent: Intent,
    ticket: Option<Ticket>,
    id: Uuid,
}

struct World {
    bed: Bed,
    workers: Vec<PgLedger>,
    weights: Vec<u32>,
    now: Time,
    events: BinaryHeap<Reverse<(Time, What)>>,
    /// The next time at which time alone may make room.
    wake: Option<Time>,
    jobs: Vec<Job>,
    line: VecDeque<usize>,
    random: fastrand::Rng,
    /// Units of another account's user, at a time.
    neighbour: fn(Time) -> u32,
    /// As the service sees it: units at the moment, and when those of the last minute were accepted.
    held: u32,
    window: VecDeque<(Time, u32)>,
    busy: f64,
    refused: u32,
    ended: Vec<u32>,
}

impl World {
    async fn set_clock(&mut self, now: Time) {
        self.busy += f64::from(self.held) * f64::from(now - self.now);
        self.now = now;
        self.bed.set_clock(Duration::from_millis(now.into())).await;
    }

    /// A slot of a worker gets its next job in line.
    async fn next(&mut self, worker: usize) {
        let weight = self.weights[worker];
        self.jobs.push(Job { worker, weight, intent: intent(weight), ticket: None, id: Uuid::new_v4() });
        self.get_in_line(self.jobs.len() - 1).await;
    }

    async fn get_in_line(&mut self, number: usize) {
        let job = &self.jobs[number];
        let worker = self.workers[job.worker].worker();
        // In line, whatever the reply is.
        worker.quota().turn(job.intent.request_id, worker.id(), job.weight).await.unwrap();
        self.line.push_back(number);
    }

    /// Lets in who may enter. As the waiters do when they are notified.
    async fn admit(&mut self) {
        while let Some(first) = self.line.front().copied() {
            let job = &self.jobs[first];
            let ledger = self.workers[job.worker].clone();
            let (quota, me) = (ledger.worker().quota(), ledger.worker().id());
            match quota.turn(job.intent.request_id, me, job.weight).await.unwrap() {
                Turn::Now => {}
                Turn::Wait(delay) => {
                    let delay = Time::try_from(delay.as_millis()).unwrap().max(1);
                    let at = self.now + delay;
                    if self.wake.is_none_or(|wake| wake <= self.now || at < wake) {
                        self.wake = Some(at);
                        self.events.push(Reverse((at, What::Wake)));
                    }
                    return;
                }
                other => panic!("{other:?}"),
            }
            let begun = ledger.begin(&key(&ledger, &format!("j{first}")), &job.intent).await.unwrap();
            let Begin::Fresh(ticket) = begun else { panic!("its turn, and {begun:?}") };
            self.line.pop_front();
            self.held += job.weight;
            self.jobs[first].ticket = Some(ticket);
            self.events.push(Reverse((self.now + self.random.u32(POST / 2..POST), What::Accepted(first))));
        }
    }

    async fn happen(&mut self, what: What) {
        match what {
            What::Accepted(number) if self.held + (self.neighbour)(self.now) > LIMIT => {
                let Job { worker, weight, ticket, intent: sent, .. } = &mut self.jobs[number];
                self.held -= *weight;
                self.refused += 1;
                let event = Event::Rejected { status: 429, kind: "concurrency".to_owned() };
                self.workers[*worker].record(ticket.as_ref().unwrap(), &event).await.unwrap();
                *sent = intent(*weight);
                sent.after = Some(ticket.as_ref().unwrap().attempt);
                self.get_in_line(number).await;
            }
            What::Accepted(number) => {
                let Job { worker, weight, ticket, id, .. } = &self.jobs[number];
                self.window.push_back((self.now, *weight));
                while self.window.front().is_some_and(|(at, _)| at + 60_000 <= self.now) {
                    self.window.pop_front();
                }
                let used: u32 = self.window.iter().map(|(_, weight)| weight).sum();
                assert!(used <= PER_MINUTE, "{used} units in a minute");
                let event = Event::Accepted { id: *id };
                self.workers[*worker].record(ticket.as_ref().unwrap(), &event).await.unwrap();
                self.events.push(Reverse((self.now + self.random.u32(30_000..60_000), What::Ended(number))));
            }
            What::Ended(number) => {
                let Job { worker, weight, ticket, id, .. } = &self.jobs[number];
                let (worker, event) = (*worker, Event::Completed { id: *id });
                self.held -= weight;
                self.ended[worker] += 1;
                self.workers[worker].record(ticket.as_ref().unwrap(), &event).await.unwrap();
                self.next(worker).await;
            }
            What::Wake => {}
        }
    }
}

/// Eight workers for two hours, in turn with light and heavy jobs.
async fn simulate(neighbour: fn(Time) -> u32) -> World {
    let account = Account::new(ACCOUNT, BASE_URL).per_minute(PER_MINUTE).concurrency(LIMIT);
    let bed = bed_with(settings().grace(Duration::from_secs(3600)), account).await;
    bed.set_clock(Duration::ZERO).await;
    let batch = bed.batch().await;
    let (mut workers, mut weights) = (Vec::new(), Vec::new());
    for number in 0..8 {
        workers.push(bed.worker(&format!("w{number}")).await.ledger(batch).await.unwrap());
        weights.push(if number % 2 == 0 { 1 } else { 3 });
    }
    let mut world = World {
        bed,
        workers,
        weights,
        now: 0,
        events: BinaryHeap::new(),
        wake: None,
        jobs: Vec::new(),
        line: VecDeque::new(),
        random: fastrand::Rng::with_seed(15),
        neighbour,
        held: 0,
        window: VecDeque::new(),
        busy: 0.0,
        refused: 0,
        ended: vec![0; 8],
    };
    for _ in 0..SLOTS {
        for worker in 0..8 {
            world.next(worker).await;
        }
    }
    world.admit().await;
    while let Some(Reverse((at, what))) = world.events.pop() {
        if at > END {
            break;
        }
        world.set_clock(at).await;
        world.happen(what).await;
        world.admit().await;
    }
    world
}

impl World {
    /// What of all units was used, whether no worker was left behind, and the figures for a person.
    fn used(&self, best: f64) -> f64 {
        let used = self.busy / (f64::from(LIMIT) * f64::from(self.now));
        let fair = f64::from(self.ended.iter().sum::<u32>()) / 8.0;
        println!(
            "used {:.1} % of all units, {:.1} % by arithmetic, {} refused, jobs by worker {:?}",
            used * 100.0,
            best * 100.0,
            self.refused,
            self.ended
        );
        assert!(self.ended.iter().all(|jobs| f64::from(*jobs) >= fair / 2.0), "{:?}", self.ended);
        used
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_workers_use_the_whole_account_and_none_is_left_behind() {
    let world = simulate(|_| 0).await;
    let best = best(LIMIT);
    assert!(world.used(best) >= 0.95 * best);
    assert_eq!(world.refused, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_neighbour_that_leaves_after_an_hour_the_fleet_uses_what_it_leaves() {
    let world = simulate(|now| if now < END / 2 { 5 } else { 0 }).await;
    let best = f64::midpoint(best(LIMIT - 5), best(LIMIT));
    assert!(world.used(best) >= 0.9 * best);
    assert!(world.refused <= 20, "{} refused in an hour beside a neighbour", world.refused);
}

/// The same by arithmetic, without a database: what a line in which nobody is overtaken can use at most. The rest is
/// units that are free and fewer than the first in line weighs.
fn best(limit: u32) -> f64 {
    let mut random = fastrand::Rng::with_seed(16);
    let mut line: VecDeque<u32> = (0..SLOTS * 8).map(|number| if number % 2 == 0 { 1 } else { 3 }).collect();
    let mut running = BinaryHeap::new();
    let (mut now, mut held, mut busy) = (0, 0, 0.0);
    while now < END {
        while let Some(weight) = line.front().copied().filter(|weight| held + weight <= limit) {
            line.pop_front();
            held += weight;
            running.push(Reverse((now + random.u32(POST / 2..POST) + random.u32(30_000..60_000), weight)));
        }
        let Some(Reverse((at, weight))) = running.pop() else { break };
        busy += f64::from(held) * f64::from(at - now);
        now = at;
        held -= weight;
        line.push_back(weight);
    }
    busy / (f64::from(LIMIT) * f64::from(now))
}
