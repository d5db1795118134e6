//! Places: their order, what they hold, and when they are given back.

use std::time::Duration;

use futures_util::FutureExt;
use luma_agents::error::Limit;
use tokio::time::{Instant, sleep, timeout};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn quota(concurrency: u32) -> Quota {
    Quota::builder().concurrency(concurrency).per_minute(1000).build()
}

fn concurrency() -> Limited {
    Limited::by(Limit::Concurrency).retry_after(MINUTE)
}

/// When a place can be had.
async fn next(quota: &Quota, weight: u32) -> Duration {
    let start = Instant::now();
    quota.acquire(weight).await.not_sent();
    start.elapsed()
}

/// A place whose job was accepted.
async fn running(quota: &Quota, weight: u32) -> Place {
    let place = quota.acquire(weight).await;
    place.accepted(None);
    place
}

#[tokio::test(start_paused = true)]
async fn places_go_in_the_order_of_asking_whatever_the_weight() {
    let quota = quota(3);
    let first = running(&quota, 2).await;
    let (heavy, light) = (quota.clone(), quota.clone());
    let heavy = tokio::spawn(async move { heavy.acquire(2).await });
    tokio::task::yield_now().await;
    let light = tokio::spawn(async move { light.acquire(1).await });
    sleep(SECOND).await;
    assert!(!heavy.is_finished() && !light.is_finished(), "the light one fits, but it is not its turn");
    assert_eq!(quota.status().waiting, 2);
    drop(first);
    let _both = (heavy.await.unwrap(), light.await.unwrap());
    assert_eq!((quota.status().in_flight, quota.status().waiting), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn the_status_says_how_long_the_rate_limit_holds_up_who_waits() {
    let quota = Quota::builder().concurrency(10).per_minute(2).build();
    let first = running(&quota, 1).await;
    sleep(12 * SECOND).await;
    let second = running(&quota, 1).await;
    assert_eq!(quota.status().rate_wait, None, "nobody waits");
    let mut third = Box::pin(quota.acquire(1));
    assert!((&mut third).now_or_never().is_none());
    assert_eq!(quota.status().rate_wait, Some(48 * SECOND));
    sleep(18 * SECOND).await;
    assert_eq!(quota.status().rate_wait, Some(30 * SECOND));
    let third = third.await;
    assert_eq!(quota.status().rate_wait, None);
    drop((first, second, third));
    // A running job, which holds others up, is no matter of the rate.
    let quota = self::quota(1);
    let first = running(&quota, 1).await;
    assert!(Box::pin(quota.acquire(1)).as_mut().now_or_never().is_none());
    assert_eq!(quota.status().rate_wait, None);
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_holds_nobody_up() {
    let quota = quota(3);
    let _first = running(&quota, 2).await;
    let mut heavy = Box::pin(quota.acquire(2));
    assert!(heavy.as_mut().now_or_never().is_none());
    let light = quota.acquire(1);
    drop(heavy);
    timeout(SECOND, light).await.expect("it is its turn").not_sent();
}

#[tokio::test(start_paused = true)]
async fn a_future_that_was_never_polled_is_not_in_the_line() {
    let quota = quota(1);
    let unpolled = quota.acquire(1);
    assert_eq!(next(&quota, 1).await, Duration::ZERO);
    drop(unpolled);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_not_used_leaves_no_trace() {
    let quota = Quota::builder().per_minute(1).concurrency(1).build();
    quota.acquire(1).await.not_sent();
    assert_eq!(next(&quota, 1).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn units_leave_the_window_a_minute_after_the_response() {
    let quota = Quota::builder().per_minute(1).build();
    let place = quota.acquire(1).await;
    sleep(20 * SECOND).await;
    place.accepted(None);
    drop(place);
    assert_eq!(next(&quota, 1).await, MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_dropped_without_a_word_counts_as_submitted() {
    let quota = Quota::builder().per_minute(1).build();
    drop(quota.acquire(1).await);
    assert_eq!(next(&quota, 1).await, MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_resume_counts_what_was_accepted_before_in_both_gates() {
    let quota = Quota::builder().per_minute(2).concurrency(2).build();
    let _running = quota.resume(1, 40 * SECOND);
    drop(quota.resume(1, 10 * SECOND));
    let old = quota.resume(1, HOUR / 2);
    assert_eq!(quota.status().in_flight, 2);
    drop(old);
    assert_eq!(next(&quota, 1).await, 20 * SECOND, "the older of the two leaves the window first");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_never_seen_to_end_holds_its_place_for_an_hour() {
    let quota = quota(1);
    let _lost = running(&quota, 1).await;
    assert_eq!(next(&quota, 1).await, HOUR);
    let _from_before = quota.resume(1, HOUR.saturating_sub(MINUTE));
    assert_eq!(next(&quota, 1).await, MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_may_exist_holds_its_place_as_long_as_it_may() {
    let quota = quota(1);
    quota.acquire(1).await.unknown(4 * MINUTE);
    assert_eq!(next(&quota, 1).await, 4 * MINUTE);
    quota.resume(1, MINUTE).unknown(2 * MINUTE);
    assert_eq!(next(&quota, 1).await, 2 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_refused_job_goes_first_when_a_job_of_ours_has_ended() {
    let quota = quota(2);
    let first = running(&quota, 1).await;
    let refused = quota.acquire(1).await;
    let later = tokio::spawn({
        let quota = quota.clone();
        async move { quota.acquire(1).await }
    });
    tokio::task::yield_now().await;
    let again = tokio::spawn(refused.limited(concurrency()));
    sleep(5 * SECOND).await;
    assert!(!again.is_finished() && quota.status().capacity == 1);
    drop(first);
    again.await.unwrap().accepted(None);
    assert!(!later.is_finished());
    later.abort();
}

#[tokio::test(start_paused = true)]
async fn with_nothing_in_flight_tries_become_rarer() {
    let quota = quota(10);
    let mut place = quota.acquire(3).await;
    let mut waits = Vec::new();
    for _ in 0..6 {
        let start = Instant::now();
        place = place.limited(concurrency()).await;
        assert!(quota.status().held_by_others);
        waits.push(start.elapsed().as_secs());
    }
    assert_eq!(waits, [60, 120, 240, 480, 600, 600]);
    place.accepted(None);
    assert!(!quota.status().held_by_others);
}

#[tokio::test(start_paused = true)]
async fn more_is_tried_after_five_ends_more_rarely_when_refused_and_as_often_as_at_first_when_granted() {
    let quota = quota(10);
    let first = running(&quota, 1).await;
    let _again = quota.acquire(1).await.limited(concurrency()).now_or_never();
    assert_eq!(quota.status().capacity, 1);
    drop(first);
    let (mut tries, mut granted) = (Vec::new(), Vec::new());
    let mut place = running(&quota, 1).await;
    for end in 1..=45 {
        drop(place);
        place = running(&quota, 1).await;
        if let Some(probe) = quota.acquire(1).now_or_never() {
            tries.push(end);
            if end < 34 {
                assert!(probe.limited(concurrency()).now_or_never().is_none());
            } else {
                probe.accepted(None);
                granted.push(probe);
            }
        }
    }
    assert_eq!(tries, [4, 14, 34, 39, 44], "5 ends with the first, then 10, 20; then 5 again");
    assert_eq!(quota.status().capacity, 4);
}

#[tokio::test(start_paused = true)]
async fn more_is_tried_only_for_a_job_that_does_not_fit() {
    let quota = quota(10);
    let _first = running(&quota, 1).await;
    let mut second = running(&quota, 1).await;
    assert!(quota.acquire(1).await.limited(concurrency()).now_or_never().is_none());
    for _ in 0..10 {
        drop(second);
        second = running(&quota, 1).await;
    }
    assert_eq!(quota.status().capacity, 2);
    quota.acquire(1).now_or_never().expect("a try").not_sent();
    assert_eq!(quota.status().capacity, 3);
}

#[tokio::test(start_paused = true)]
async fn more_is_tried_after_ten_minutes_however_few_jobs_end() {
    let quota = quota(10);
    let _running = running(&quota, 1).await;
    assert!(quota.acquire(3).await.limited(concurrency()).now_or_never().is_none());
    assert_eq!(next(&quota, 3).await, 10 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_the_rate_closes_the_gate_for_as_long_as_the_service_says() {
    let quota = quota(10);
    let place = quota.acquire(1).await;
    let start = Instant::now();
    let place = place.limited(Limited::by(Limit::Requests).retry_after(7 * SECOND)).await;
    assert_eq!(start.elapsed(), 7 * SECOND);
    assert_eq!(quota.status().capacity, 10, "it says nothing about jobs at the same time");
    let place = place.limited(Limited::by(Limit::Requests)).await;
    assert_eq!(start.elapsed(), 9 * SECOND, "without a number it is two seconds after a second one in a row");
    place.accepted(None);
    let place = quota.acquire(1).await.limited(Limited::by(Limit::Unknown)).await;
    assert_eq!(start.elapsed(), 10 * SECOND, "and one second after the first");
    drop(place);
}

#[tokio::test(start_paused = true)]
async fn weights_are_learnt_only_while_nothing_leaves_the_window() {
    let class = Class::new("uni-1", "image_edit");
    let learnt = async |pause: Duration| {
        let quota = quota(10);
        for remaining in [20, 17, 14, 11] {
            quota.acquire(class.clone()).await.accepted_with(Some(Units { limit: 1000, remaining }));
            sleep(pause).await;
        }
        quota.units(class.clone())
    };
    assert_eq!((learnt(SECOND).await, learnt(61 * SECOND).await), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_may_have_left_at_the_service_teaches_nothing() {
    let (quota, class) = (quota(10), Class::new("uni-1", "image_edit"));
    let accepted = |place: Place, remaining| place.accepted_with(Some(Units { limit: 1000, remaining }));
    let slow = quota.acquire(class.clone()).await;
    sleep(20 * SECOND).await;
    accepted(slow, 20);
    sleep(41 * SECOND).await;
    for remaining in [17, 14] {
        accepted(quota.acquire(class.clone()).await, remaining);
    }
    assert_eq!(quota.units(class), 1, "its minute may have begun when it was sent");
}

#[tokio::test(start_paused = true)]
async fn weights_are_learnt_when_all_requests_have_ended() {
    let (quota, class) = (quota(10), Class::new("uni-1", "image_edit"));
    let mut places = Vec::new();
    for _ in 0..3 {
        places.push(quota.acquire(class.clone()).await);
    }
    for (place, remaining) in places.iter().zip([991, 997, 994]) {
        assert_eq!(quota.units(class.clone()), 1);
        place.accepted_with(Some(Units { limit: 1000, remaining }));
    }
    assert_eq!(quota.units(class), 3);
}

#[tokio::test(start_paused = true)]
async fn jobs_in_flight_weigh_what_was_learnt_meanwhile() {
    let quota = quota(10);
    let class = Class::new("uni-1", "image_edit");
    let mut places = Vec::new();
    for remaining in [997, 994, 991] {
        let place = quota.acquire(class.clone()).await;
        place.accepted_with(Some(Units { limit: 1000, remaining }));
        places.push(place);
    }
    assert_eq!((quota.status().in_flight, quota.status().in_window), (9, 9));
    assert!(quota.acquire(class).now_or_never().is_none(), "no place for three more");
}

#[tokio::test(start_paused = true)]
async fn the_service_s_numbers_replace_the_default_and_never_exceed_a_setting() {
    let units = Some(Units { limit: 600, remaining: 599 });
    let default = Quota::new();
    default.acquire(1).await.accepted_with(units);
    assert_eq!(default.status().per_minute, 600);
    let set = Quota::builder().per_minute(20).build();
    set.acquire(1).await.accepted_with(units);
    assert_eq!(set.status().per_minute, 20);
    set.acquire(1).await.accepted_with(Some(Units { limit: 10, remaining: 9 }));
    assert_eq!(set.status().per_minute, 10);
}

#[tokio::test(start_paused = true)]
async fn units_that_others_took_are_left_to_them() {
    let quota = Quota::new();
    quota.acquire(1).await.accepted_with(Some(Units { limit: 30, remaining: 0 }));
    assert_eq!(next(&quota, 1).await, MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_names_a_limit_and_a_weight_is_believed() {
    let quota = quota(40);
    let class = Class::new("uni-1", "image_edit");
    let place = quota.acquire(class.clone()).await;
    let limited = concurrency().detail("capacity reached (limit=10 weight units; this request needs 4)");
    assert!(place.limited(limited).now_or_never().is_none());
    assert_eq!((quota.status().concurrency, quota.units(class)), (10, 4));
}

#[tokio::test(start_paused = true)]
async fn a_weight_that_is_learnt_is_a_capacity_that_is_known() {
    let quota = quota(10);
    let class = Class::new("uni-1", "image_edit");
    let first = quota.acquire(class.clone()).await;
    first.accepted(None);
    let second = quota.acquire(class).await.limited(concurrency().detail("this request needs 3"));
    assert!(second.now_or_never().is_none());
    assert_eq!((quota.status().in_flight, quota.status().capacity), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_the_rate_teaches_the_limit() {
    let quota = Quota::new();
    let units = Some(Units { limit: 600, remaining: 0 });
    let place = quota.acquire(1).await.limited(Limited { units, ..Limited::by(Limit::Requests) });
    assert!(place.now_or_never().is_none());
    assert_eq!(quota.status().per_minute, 600);
}

#[tokio::test(start_paused = true)]
async fn absurd_numbers_do_no_harm() {
    let quota = Quota::builder().per_minute(u32::MAX).concurrency(u32::MAX).build();
    let place = quota.acquire(u32::MAX).await;
    place.accepted_with(Some(Units { limit: u32::MAX, remaining: 0 }));
    let again = quota.acquire(u32::MAX).await;
    assert_eq!(quota.status().in_flight, 2000);
    let start = Instant::now();
    let again = again.limited(Limited::by(Limit::Requests).retry_after(Duration::MAX)).await;
    assert_eq!(start.elapsed(), 5 * MINUTE);
    drop(place);
    let again = again.limited(concurrency().retry_after(Duration::MAX).detail("limit=0 limit=1 needs 9")).await;
    assert_eq!(start.elapsed(), 15 * MINUTE);
    again.unknown(Duration::MAX);
    drop(quota.resume(0, Duration::MAX));
    assert_eq!(next(&quota, 1).await, Duration::ZERO);
}

#[test]
fn a_quota_can_be_made_outside_a_runtime_and_printed() {
    let quota = Quota::new();
    assert!(format!("{quota:?}").contains("concurrency: 10"));
    assert!(format!("{:?}", quota.resume(7, HOUR)).contains("Units(7)"));
}

#[tokio::test(start_paused = true)]
async fn an_unlimited_quota_lets_every_job_in_and_learns_from_words_only() {
    let quota = Quota::unlimited();
    let start = Instant::now();
    let mut places = Vec::new();
    for _ in 0..100 {
        places.push(running(&quota, 3).await);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    // Between two of its own responses lie those of other processes.
    let class = Class::new("uni-1", "image");
    for remaining in [30, 25, 20, 15] {
        let place = quota.acquire(class.clone()).await;
        place.accepted_with(Some(Units { limit: 30, remaining }));
    }
    assert_eq!(quota.units(class.clone()), 1);
    let place = quota.acquire(class.clone()).await;
    let place = place.limited(concurrency().detail("limit=10, needs 5")).await;
    place.not_sent();
    assert_eq!(quota.units(class), 5);
    assert_eq!(start.elapsed(), Duration::ZERO, "the next is for the ledger to hold back");
}
