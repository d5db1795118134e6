//! Whatever happens in whatever order, the counts are those of the jobs, and no gate lets in too much.

use std::time::Duration;

use luma_agents::error::Limit;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Enter(u32),
    Resume(u32, u64),
    Accepted(usize, u32),
    Ended(usize),
    NotSent(usize),
    Unknown(usize, u64),
    Refused(usize, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let weight = || prop_oneof![4 => Just(1), 4 => Just(3), 1 => 1..20_u32];
    let step = prop_oneof![
        3 => (0..100_000_u64).prop_map(Step::Pass),
        8 => weight().prop_map(Step::Enter),
        1 => (weight(), 0..5_000_u64).prop_map(|(weight, age)| Step::Resume(weight, age)),
        6 => (any::<usize>(), 0..40_u32).prop_map(|(at, remaining)| Step::Accepted(at, remaining)),
        4 => any::<usize>().prop_map(Step::Ended),
        1 => any::<usize>().prop_map(Step::NotSent),
        1 => (any::<usize>(), 0..1_000_u64).prop_map(|(at, seconds)| Step::Unknown(at, seconds)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(at, for_rate)| Step::Refused(at, for_rate)),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counts_are_those_of_the_jobs_and_no_gate_lets_in_too_much(steps in steps(), learns: bool) {
        let mut state = State::new(Window::new(30, None), Capacity::new(10));
        let weigh = |units: u32| match units {
            1 if learns => Weight::from(Class::new("uni-1", "image")),
            units => Weight::from(units),
        };
        let (mut now, mut jobs) = (LONGEST_JOB, Vec::new());
        for step in steps {
            let mut take = |at: usize| (!jobs.is_empty()).then(|| at % jobs.len()).map(|at| jobs.swap_remove(at));
            match step {
                Step::Pass(millis) => now += Duration::from_millis(millis),
                Step::Enter(units) => {
                    let before = state.status(now, 0, None);
                    let weight = weigh(units);
                    let units = state.units(&weight);
                    match state.enter(now, &weight) {
                        Ok(id) => {
                            jobs.push(id);
                            let it = state.status(now, 0, None);
                            prop_assert!(before.in_flight == 0 || it.in_flight <= 10);
                            prop_assert!(before.in_window == 0 || it.in_window <= 30);
                            prop_assert_eq!(it.in_flight, before.in_flight + units);
                        }
                        Err(next) => prop_assert!(next.is_none_or(|next| next > now), "it would be tried in a loop"),
                    }
                }
                Step::Resume(units, age) => jobs.push(state.resume(now, weigh(units), Duration::from_secs(age))),
                Step::Accepted(at, remaining) => {
                    if !jobs.is_empty() {
                        state.accepted(now, jobs[at % jobs.len()], Some(Units { limit: 30, remaining }));
                    }
                }
                Step::Ended(at) => _ = take(at).map(|id| state.ended(now, id)),
                Step::NotSent(at) => _ = take(at).map(|id| state.not_sent(now, id)),
                Step::Unknown(at, seconds) => {
                    _ = take(at).map(|id| state.unknown(now, id, Duration::from_secs(seconds)));
                }
                Step::Refused(at, for_rate) => {
                    let limit = if for_rate { Limit::Requests } else { Limit::Concurrency };
                    let limited = Limited::by(limit).detail("limit=10; this request needs 2");
                    _ = take(at).map(|id| state.limited(now, id, &limited));
                }
            }
        }
        for id in jobs {
            state.ended(now, id);
        }
        let end = state.status(now + 2 * LONGEST_JOB, 0, None);
        prop_assert_eq!((end.in_flight, end.in_window), (0, 0), "everything is given back");
    }
}
