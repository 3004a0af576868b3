use proptest::prelude::*;

use super::*;

const START_MS: i64 = 1_767_225_600_000;

/// What can happen to a breaker.
#[derive(Debug, Clone, Copy)]
enum Step {
    Succeed(u32),
    Fail,
    /// Ask for the probe; if it is given, claim it and let it go well or fail.
    Probe(Option<bool>),
    /// Time passes, or the clock is set back.
    Clock(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..50_u32).prop_map(Step::Succeed),
        Just(Step::Fail),
        Just(Step::Fail),
        proptest::option::of(any::<bool>()).prop_map(Step::Probe),
        (0..20_000_i64).prop_map(Step::Clock),
        (-10_000_000..0_i64).prop_map(Step::Clock),
    ]
}

fn policy() -> impl Strategy<Value = BreakerPolicy> {
    (
        0..8_u32,
        0.0..1.5_f64,
        0..30_u32,
        1..30_000_i64,
        0..60_000_i64,
        1..60_000_i64,
    )
        .prop_map(
            |(consecutive_failures, failure_rate, min_calls, window_ms, cool_down_ms, probe_ms)| BreakerPolicy {
                consecutive_failures,
                failure_rate,
                min_calls,
                window_ms,
                cool_down_ms,
                probe_ms,
            },
        )
}

/// The breaker after a step, and the time.
fn after(breaker: Breaker, policy: &BreakerPolicy, now_ms: i64, step: Step) -> (Breaker, i64) {
    match step {
        Step::Succeed(calls) => (breaker.succeeded(policy, now_ms, calls), now_ms),
        Step::Fail => (breaker.failed(policy, now_ms), now_ms),
        Step::Probe(outcome) if breaker.admit(policy, now_ms) == Admission::Probe => {
            let breaker = breaker.probing(policy, now_ms);
            let breaker = match outcome {
                None => breaker,
                Some(true) => breaker.probe_succeeded(now_ms),
                Some(false) => breaker.probe_failed(policy, now_ms),
            };
            (breaker, now_ms)
        }
        Step::Probe(_) => (breaker, now_ms),
        Step::Clock(by_ms) => (breaker, now_ms + by_ms),
    }
}

fn policy_of(consecutive_failures: u32, failure_rate: f64) -> BreakerPolicy {
    BreakerPolicy {
        consecutive_failures,
        failure_rate,
        ..BreakerPolicy::default()
    }
}

proptest! {
    #[test]
    fn nothing_is_refused_for_longer_than_the_policy_says_whatever_the_clock_does(
        policy in policy(), steps in prop::collection::vec(step(), 0..60), clock_ms in -10_000_000..10_000_000_i64,
    ) {
        let (mut breaker, mut now_ms) = (Breaker::default(), START_MS);
        for step in steps {
            (breaker, now_ms) = after(breaker, &policy, now_ms, step);
        }
        now_ms += clock_ms;
        if let Admission::Refused { retry_after_ms } = breaker.admit(&policy, now_ms) {
            let retry_after_ms = i64::try_from(retry_after_ms).expect("a short time");
            prop_assert!((1..=policy.cool_down_ms.max(policy.probe_ms)).contains(&retry_after_ms));
            prop_assert_eq!(breaker.admit(&policy, now_ms + retry_after_ms), Admission::Probe);
            prop_assert_ne!(breaker.admit(&policy, now_ms + retry_after_ms - 1), Admission::Probe);
        }
    }

    #[test]
    fn it_opens_for_failures_in_a_row_exactly_when_the_policy_says(
        threshold in 1..8_u32, steps in prop::collection::vec(prop_oneof![Just(Step::Fail), (1..3_u32).prop_map(Step::Succeed)], 1..80),
    ) {
        // No rate is more than 1, so that only failures in a row count.
        let policy = policy_of(threshold, 2.0);
        let (mut breaker, mut in_a_row) = (Breaker::default(), 0);
        for step in steps {
            in_a_row = if matches!(step, Step::Fail) { in_a_row + 1 } else { 0 };
            (breaker, _) = after(breaker, &policy, START_MS, step);
            prop_assert_eq!(breaker.state() == State::Open, in_a_row >= threshold);
            if breaker.state() == State::Open {
                break;
            }
        }
    }

    #[test]
    fn it_opens_for_its_failure_rate_exactly_when_the_policy_says(
        rate in 0.05..1.0_f64, calls in prop::collection::vec(any::<bool>(), 1..80),
    ) {
        let policy = policy_of(0, rate);
        let (mut breaker, mut made, mut failures) = (Breaker::default(), 0_u32, 0_u32);
        for went_well in calls {
            made += 1;
            failures += u32::from(!went_well);
            let step = if went_well { Step::Succeed(1) } else { Step::Fail };
            (breaker, _) = after(breaker, &policy, START_MS, step);
            // It looks whenever a call failed: a success never opens it.
            let tripped = !went_well && made >= policy.min_calls && f64::from(failures) >= rate * f64::from(made);
            prop_assert_eq!(breaker.state() == State::Open, tripped, "{} of {}", failures, made);
            if tripped {
                break;
            }
        }
    }

    #[test]
    fn no_two_probes_of_an_opening_have_the_same_name(
        policy in policy(), steps in prop::collection::vec(step(), 0..100),
    ) {
        let (mut breaker, mut now_ms) = (Breaker::default(), START_MS);
        let mut claimed = Vec::new();
        for step in steps {
            if breaker.state() == State::Closed {
                // The next opening is another one.
                claimed.clear();
            } else if matches!(step, Step::Probe(_)) && breaker.admit(&policy, now_ms) == Admission::Probe {
                prop_assert!(!claimed.contains(&breaker.next_probe()));
                claimed.push(breaker.next_probe());
            }
            (breaker, now_ms) = after(breaker, &policy, now_ms, step);
        }
    }

    #[test]
    fn its_state_is_read_as_it_was_written(policy in policy(), steps in prop::collection::vec(step(), 0..60)) {
        let (mut breaker, mut now_ms) = (Breaker::default(), START_MS);
        for step in steps {
            (breaker, now_ms) = after(breaker, &policy, now_ms, step);
        }
        let text = serde_json::to_string(&breaker).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Breaker>(&text).expect("a breaker"), breaker);
    }
}

#[test]
fn it_opens_cools_down_probes_and_closes() {
    let policy = BreakerPolicy::default();
    let mut breaker = Breaker::default();
    assert_eq!(breaker.since_ms(), None, "it was always closed");
    for _ in 0..5 {
        assert_eq!(breaker.admit(&policy, START_MS), Admission::Call);
        breaker = breaker.failed(&policy, START_MS);
    }
    assert_eq!((breaker.state(), breaker.since_ms()), (State::Open, Some(START_MS)));
    let refused = Admission::Refused { retry_after_ms: 1 };
    assert_eq!(breaker.admit(&policy, START_MS + 4_999), refused);
    assert_eq!(breaker.admit(&policy, START_MS + 5_000), Admission::Probe);

    let breaker = breaker.probing(&policy, START_MS + 5_000);
    assert_eq!(breaker.state(), State::HalfOpen);
    let refused = Admission::Refused { retry_after_ms: 10_000 };
    assert_eq!(
        breaker.admit(&policy, START_MS + 5_000),
        refused,
        "one probe is under way"
    );
    let failed = breaker.clone().probe_failed(&policy, START_MS + 6_000);
    assert_eq!(
        (failed.state(), failed.since_ms()),
        (State::Open, Some(START_MS + 6_000))
    );
    assert_eq!(failed.admit(&policy, START_MS + 11_000), Admission::Probe);

    let closed = breaker.probe_succeeded(START_MS + 6_000);
    assert_eq!(
        (closed.state(), closed.since_ms()),
        (State::Closed, Some(START_MS + 6_000))
    );
    let again = closed.failed(&policy, START_MS + 6_000);
    assert_eq!(again.state(), State::Closed, "it has forgotten what was before");
}

#[test]
fn calls_that_began_before_it_opened_change_nothing() {
    let policy = policy_of(1, 2.0);
    let open = Breaker::default().failed(&policy, START_MS);
    assert_eq!(open.clone().failed(&policy, START_MS + 1_000), open);
    assert_eq!(open.clone().succeeded(&policy, START_MS + 1_000, 3), open);
    let probing = open.probing(&policy, START_MS + 5_000);
    assert_eq!(probing.clone().failed(&policy, START_MS + 6_000), probing);
    assert_eq!(probing.clone().succeeded(&policy, START_MS + 6_000, 1), probing);
}

#[test]
fn the_failure_rate_forgets_what_is_older_than_the_window() {
    let policy = policy_of(0, 0.5);
    let mut breaker = Breaker::default();
    for _ in 0..19 {
        breaker = breaker.failed(&policy, START_MS);
    }
    assert_eq!(
        breaker.clone().failed(&policy, START_MS + 9_999).state(),
        State::Open,
        "the twentieth call of the window"
    );
    assert_eq!(breaker.failed(&policy, START_MS + 10_000).state(), State::Closed);
}

#[test]
fn a_probe_that_says_nothing_is_followed_by_another() {
    let policy = BreakerPolicy::default();
    let open = policy_of(1, 2.0);
    let breaker = Breaker::default()
        .failed(&open, START_MS)
        .probing(&policy, START_MS + 5_000);
    assert_eq!(
        breaker.admit(&policy, START_MS + 14_999),
        Admission::Refused { retry_after_ms: 1 }
    );
    assert_eq!(breaker.admit(&policy, START_MS + 15_000), Admission::Probe);
    assert_ne!(
        breaker.next_probe(),
        Breaker::default().failed(&open, START_MS).next_probe()
    );
}
