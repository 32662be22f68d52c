//! Retries: which outcomes are followed by another attempt, and how long the pause is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chance;

use std::time::Duration;

use chance::Chance;
use rules::outbound::{Backoff, Retry};
use rules::retry::{MAX_BODY, Outcome};

fn retry() -> Retry {
    Retry {
        max_retries: 2,
        max_request_bytes: 64 * 1024,
        status_ranges: vec![(502, 504), (429, 429)],
        grpc_codes: vec![],
        timeout: Some(Duration::from_millis(400)),
        backoff: Some(Backoff { min: Duration::from_millis(25), max: Duration::from_millis(250), jitter: 1.0 }),
    }
}

#[test]
fn only_statuses_that_the_route_names_are_followed_by_another_attempt() {
    let retry = retry();
    let named: Vec<u16> =
        (100..=999).filter(|status| retry.follows(Outcome::Answered { status: *status, grpc: None }, 0)).collect();
    assert_eq!(named, [429, 502, 503, 504]);
    let grpc = Retry { status_ranges: vec![], grpc_codes: vec![14, 4], ..retry };
    let named: Vec<u8> =
        (0..=16).filter(|code| grpc.follows(Outcome::Answered { status: 200, grpc: Some(*code) }, 0)).collect();
    assert_eq!(named, [4, 14]);
    assert!(!grpc.follows(Outcome::Answered { status: 503, grpc: None }, 0));
}

#[test]
fn what_broke_may_have_been_processed_and_counts_as_the_answer_it_becomes() {
    let broken = Outcome::Broken { status: 502, grpc: None };
    assert!(retry().follows(broken, 0));
    assert!(!Retry { status_ranges: vec![(503, 503)], ..retry() }.follows(broken, 0));
    assert!(!Retry { status_ranges: vec![], ..retry() }.follows(broken, 0));
}

#[test]
fn without_conditions_only_the_time_of_an_attempt_and_what_never_left_are_followed() {
    let bare = Retry { status_ranges: vec![], ..retry() };
    let followed = [
        Outcome::Answered { status: 503, grpc: Some(14) },
        Outcome::Broken { status: 502, grpc: Some(14) },
        Outcome::Late,
        Outcome::Unsent,
    ]
    .map(|outcome| bare.follows(outcome, 0));
    assert_eq!(followed, [false, false, true, true]);
}

#[test]
fn there_are_no_more_retries_than_the_limit_and_the_last_attempt_has_all_the_time() {
    let retry = retry();
    let outcome = Outcome::Answered { status: 503, grpc: None };
    assert_eq!([0, 1, 2, 3].map(|retries| retry.follows(outcome, retries)), [true, true, false, false]);
    let time = Some(Duration::from_millis(400));
    assert_eq!([0, 1, 2].map(|retries| retry.time(retries)), [time, time, None]);
}

#[test]
fn a_body_is_never_kept_beyond_64_kib() {
    assert_eq!(Retry { max_request_bytes: u32::MAX, ..retry() }.body_limit(), MAX_BODY);
    assert_eq!(Retry { max_request_bytes: 10, ..retry() }.body_limit(), 10);
}

#[test]
fn a_pause_doubles_within_its_bounds_whatever_chance_and_policy_say() {
    let mut chance = Chance::new(3);
    for _ in 0..100_000 {
        let (low, high) = (chance.below(62) + 1, chance.below(62) + 1);
        let min = Duration::from_nanos(chance.below(1 << low));
        let backoff = Backoff {
            min,
            max: min.saturating_add(Duration::from_nanos(chance.below(1 << high))),
            jitter: chance.below(10_001) as f32 / 100.0,
        };
        let step = chance.below(u64::from(u32::MAX)) as u32 >> chance.below(32);
        let delay = backoff.delay(step, chance.next());
        assert!(backoff.min <= delay && delay <= backoff.max, "{backoff:?} at {step}: {delay:?}");
        let calm = Backoff { jitter: 0.0, ..backoff };
        assert!(calm.delay(step, chance.next()) <= calm.delay(step.saturating_add(1), chance.next()));
    }
    let calm = Backoff { jitter: 0.0, ..retry().backoff.unwrap() };
    assert_eq!([0, 1, 2, 3, 4, 99].map(|step| calm.delay(step, 1).as_millis()), [25, 50, 100, 200, 250, 250]);
}
