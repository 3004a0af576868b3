//! A circuit breaker that instances share, and the calls that are made under it.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use selvedge::breaker::shared::reports;
use selvedge::breaker::{BreakerPolicy, State};
use selvedge::http::{Answer, Call, Method, StatusCode, Upstream};
use selvedge::retry::RetryPolicy;
use selvedge::{Error, limits};
use support::{START_MS, World};

/// How the upstream of these tests behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Answer(u16),
    /// It answers after this many milliseconds.
    Slow(u64),
    Hang,
}

struct Scene {
    world: Rc<World>,
    mode: Rc<Cell<Mode>>,
}

impl Scene {
    fn new() -> Self {
        let (world, mode) = (World::new(&[]), Rc::new(Cell::new(Mode::Answer(200))));
        let behaviour = mode.clone();
        world.calls_of("users", move |host, _| {
            let mode = behaviour.get();
            Box::pin(async move {
                let status = match mode {
                    Mode::Answer(status) => status,
                    Mode::Slow(after_ms) => {
                        host.wait(after_ms).await;
                        200
                    }
                    Mode::Hang => std::future::pending().await,
                };
                let status = StatusCode::from_u16(status).expect("a status");
                Ok(Answer {
                    retry_after: None,
                    status,
                    body: Vec::new(),
                })
            })
        });
        Self { world, mode }
    }

    fn send(&self, upstream: &Rc<Upstream>, call: Call) -> Result<Answer, Error> {
        let (upstream, host) = (upstream.clone(), self.world.host());
        self.world.block_on(async move { upstream.send(&host, call).await })
    }

    fn get(&self, upstream: &Rc<Upstream>) -> Result<Answer, Error> {
        self.send(upstream, get())
    }

    fn calls(&self) -> usize {
        self.world.calls.borrow().len()
    }

    fn later_ms(&self, by_ms: i64) {
        self.world.set_now_ms(self.world.now_ms() + by_ms);
    }

    fn report(&self) -> (State, Option<i64>) {
        let report = reports(&self.world.host(), vec!["users".to_owned()])
            .expect("readable")
            .remove(0);
        (report.state, report.since.map(|since| since.unix_ms()))
    }

    /// Opens the breaker by as many failures as it takes.
    fn open(&self, upstream: &Rc<Upstream>) {
        let mode = self.mode.replace(Mode::Answer(503));
        for _ in 0..5 {
            assert!(matches!(self.get(upstream), Err(Error::Answer { .. })));
        }
        assert_eq!(self.report(), (State::Open, Some(self.world.now_ms())));
        self.mode.set(mode);
    }
}

fn get() -> Call {
    Call::chained(Method::GET, "users", "/users/1")
}

/// An instance's upstream, whose calls are made once.
fn upstream() -> Rc<Upstream> {
    let once = RetryPolicy {
        max_attempts: 1,
        ..RetryPolicy::default()
    };
    Rc::new(Upstream::new("users").retry(once))
}

fn retrying() -> Rc<Upstream> {
    let retry = RetryPolicy {
        max_attempts: 3,
        initial_interval_ms: 100,
        jitter: 0.0,
        ..RetryPolicy::default()
    };
    Rc::new(Upstream::new("users").retry(retry).timeout_ms(1_000).total_ms(10_000))
}

fn is_open(answered: &Result<Answer, Error>) -> bool {
    matches!(answered, Err(Error::CircuitOpen { target, .. }) if target == "users")
}

#[test]
fn while_all_is_well_nothing_is_written() {
    let (scene, users) = (Scene::new(), upstream());
    for _ in 0..100 {
        assert_eq!(scene.get(&users).expect("up").status, 200);
    }
    assert!(scene.world.store.borrow().is_empty());
    assert_eq!(scene.report(), (State::Closed, None));
}

#[test]
fn failures_in_a_row_open_it_for_every_instance() {
    let (scene, one, two) = (Scene::new(), upstream(), upstream());
    scene.mode.set(Mode::Answer(500));
    for upstream in [&one, &two, &one, &two, &one] {
        let failed = scene.get(upstream).expect_err("it is down");
        assert!(
            matches!(failed, Error::Answer { .. }) && failed.is_retryable(),
            "{failed}"
        );
    }
    assert_eq!(scene.report(), (State::Open, Some(START_MS)));
    let calls = scene.calls();
    scene.later_ms(limits::BREAKER_SEEN_MS);
    for upstream in [&one, &two, &upstream()] {
        let refused = scene.get(upstream);
        assert!(is_open(&refused), "{refused:?}");
        assert!(refused.expect_err("open").is_retryable());
    }
    assert_eq!(scene.calls(), calls, "nobody was called");
}

#[test]
fn a_success_between_keeps_it_closed() {
    let (scene, one, two) = (Scene::new(), upstream(), upstream());
    for _ in 0..4 {
        for (upstream, status) in [(&one, 500), (&two, 500), (&one, 500), (&two, 500), (&two, 200)] {
            scene.mode.set(Mode::Answer(status));
            assert_eq!(scene.get(upstream).is_ok(), status == 200);
        }
        // Half of the calls of a window may not fail either.
        scene.later_ms(30_000);
    }
    assert_eq!(scene.report().0, State::Closed);
}

#[test]
fn a_share_of_failures_opens_it_too() {
    let (scene, users) = (Scene::new(), upstream());
    let mut calls = 0;
    while scene.report().0 == State::Closed {
        scene.mode.set(Mode::Answer(if calls % 2 == 0 { 200 } else { 503 }));
        assert_eq!(scene.get(&users).is_ok(), calls % 2 == 0);
        calls += 1;
    }
    assert_eq!(
        calls, 20,
        "every second call failed, and the rate counts from the twentieth on"
    );
}

#[test]
fn who_answers_is_up_whatever_it_says_of_the_request() {
    let (scene, users) = (Scene::new(), upstream());
    for status in [400, 401, 404, 409, 422] {
        scene.mode.set(Mode::Answer(status));
        for _ in 0..10 {
            assert_eq!(scene.get(&users).expect("an answer").status, status);
        }
    }
    assert_eq!(scene.report(), (State::Closed, None));
}

#[test]
fn one_probe_at_a_time_goes_through_and_closes_it_for_all() {
    let (scene, one, two) = (Scene::new(), upstream(), upstream());
    scene.open(&one);
    assert!(is_open(&scene.get(&two)));
    scene.later_ms(5_000);
    scene.mode.set(Mode::Slow(500));
    let calls = scene.calls();

    let host = scene.world.host();
    let (first, second) = (one.clone(), two.clone());
    let both = async move {
        let late = async {
            host.wait(100).await;
            assert!(is_open(&second.send(&host, get()).await), "a probe is under way");
            assert!(is_open(&second.send(&host, get()).await), "and still is");
        };
        futures::join!(first.send(&host, get()), second.send(&host, get()), late)
    };
    let (probe, refused, ()) = scene.world.block_on(both);
    assert_eq!(probe.expect("it is up again").status, 200);
    assert!(is_open(&refused), "{refused:?}");
    assert_eq!(scene.calls(), calls + 1);
    assert_eq!(scene.report(), (State::Closed, Some(START_MS + 5_500)));

    scene.later_ms(limits::BREAKER_SEEN_MS);
    for upstream in [&one, &two, &upstream()] {
        assert!(scene.get(upstream).is_ok());
    }
    let keys: Vec<_> = scene.world.store.borrow().keys().cloned().collect();
    assert_eq!(keys, ["breaker/users"], "claims of probes don't pile up");
}

#[test]
fn a_probe_that_fails_begins_the_cool_down_anew() {
    let (scene, one, two) = (Scene::new(), retrying(), upstream());
    scene.open(&two);
    scene.mode.set(Mode::Hang);
    for opening in 1..5 {
        scene.later_ms(5_000);
        let calls = scene.calls();
        assert!(matches!(scene.get(&one), Err(Error::Timeout { timeout_ms: 1_000, .. })));
        assert_eq!(scene.calls(), calls + 1, "a probe isn't made again");
        assert_eq!(scene.report(), (State::Open, Some(START_MS + opening * 6_000)));
        assert!(is_open(&scene.get(&one)) && is_open(&scene.get(&two)));
    }
    assert!(scene.world.store.borrow().len() <= 2, "claims of probes don't pile up");
}

#[test]
fn a_probe_whose_caller_went_away_ends_in_time() {
    let (scene, one, two) = (Scene::new(), upstream(), upstream());
    scene.open(&one);
    scene.later_ms(5_000);
    scene.mode.set(Mode::Hang);
    let host = scene.world.host();
    scene.world.block_on(async move {
        // The client goes away while the probe is under way.
        let probe = Box::pin(one.send(&host, get()));
        _ = futures::future::select(probe, host.wait(10)).await;
    });
    scene.mode.set(Mode::Answer(200));
    assert_eq!(scene.report().0, State::HalfOpen);
    assert!(is_open(&scene.get(&two)));
    scene.later_ms(10_000);
    assert!(scene.get(&two).is_ok());
    assert_eq!(scene.report().0, State::Closed);
}

#[test]
fn a_probe_that_was_claimed_and_never_noted_ends_in_time() {
    let (scene, users) = (Scene::new(), upstream());
    scene.open(&users);
    // An instance died right after its claim.
    let claim = format!("breaker/users/probe/{START_MS}/0");
    assert_eq!(scene.world.host().increment(&claim, 1).expect("a counter"), 1);
    scene.later_ms(5_000);
    assert!(is_open(&scene.get(&users)));
    assert_eq!(scene.report().0, State::HalfOpen);
    scene.later_ms(9_999);
    assert!(is_open(&scene.get(&users)));
    scene.later_ms(1);
    assert!(scene.get(&users).is_ok());
    assert_eq!(scene.report().0, State::Closed);
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_it_open() {
    let (scene, users) = (Scene::new(), upstream());
    scene.open(&users);
    scene.later_ms(-3_600_000);
    assert!(scene.get(&users).is_ok(), "as if the cool-down were over");
    assert_eq!(scene.report(), (State::Closed, Some(START_MS - 3_600_000)));
}

#[test]
fn a_store_that_fails_keeps_nobody_from_calling() {
    let (scene, users) = (Scene::new(), upstream());
    scene.world.broken_store.set(true);
    assert!(scene.get(&users).is_ok());
    scene.mode.set(Mode::Answer(500));
    for _ in 0..5 {
        assert!(matches!(scene.get(&users), Err(Error::Answer { .. })));
    }
    assert!(is_open(&scene.get(&users)), "an instance goes by what it saw itself");
    scene.later_ms(5_000);
    scene.mode.set(Mode::Answer(200));
    assert!(scene.get(&users).is_ok());
    assert!(scene.get(&users).is_ok());
}

#[test]
fn what_is_safe_is_tried_again_with_backoff_and_what_is_not_is_not() {
    let post = || Call::post("http://users.spin.internal/users", "application/json", "{}");
    let cases = [
        (get(), 3),
        (Call::chained(Method::HEAD, "users", "/users/1"), 3),
        (Call::chained(Method::PUT, "users", "/users/1"), 3),
        (Call::chained(Method::DELETE, "users", "/users/1"), 3),
        (Call::chained(Method::PATCH, "users", "/users/1"), 1),
        (post(), 1),
        (post().header(Call::IDEMPOTENCY_KEY, "k1"), 3),
    ];
    for (call, attempts) in cases {
        for status in [429, 500, 503] {
            let scene = Scene::new();
            scene.mode.set(Mode::Answer(status));
            assert!(
                matches!(scene.send(&retrying(), call.clone()), Err(Error::Answer { .. })),
                "{call:?}"
            );
            assert_eq!(scene.calls(), attempts, "{call:?}");
            assert!(scene.world.calls.borrow().iter().all(|made| *made == call));
            let waited_ms = if attempts == 1 { 0 } else { 100 + 200 };
            assert_eq!(scene.world.now_ms() - START_MS, waited_ms);
        }
    }
}

#[test]
fn a_call_and_its_repetitions_end_in_time() {
    let scene = Scene::new();
    scene.mode.set(Mode::Hang);
    let patient = Upstream::new("users").timeout_ms(1_000).total_ms(1_500);
    let answered = scene.get(&Rc::new(patient));
    assert!(matches!(answered, Err(Error::Timeout { .. })), "{answered:?}");
    assert_eq!(scene.calls(), 2);
    assert_eq!(scene.world.now_ms() - START_MS, 1_500);
}

#[test]
fn a_probe_may_take_as_long_as_a_call() {
    let scene = Scene::new();
    let policy = BreakerPolicy {
        probe_ms: 1,
        ..BreakerPolicy::default()
    };
    let slow = Rc::new(
        Upstream::new("users")
            .breaker(policy)
            .timeout_ms(30_000)
            .total_ms(60_000),
    );
    scene.open(&upstream());
    scene.later_ms(5_000);
    scene.mode.set(Mode::Slow(29_000));
    let (host, first, second) = (scene.world.host(), slow.clone(), slow.clone());
    let (probe, refused) = scene.world.block_on(async move {
        let late = async {
            host.wait(28_000).await;
            second.send(&host, get()).await
        };
        futures::join!(first.send(&host, get()), late)
    });
    assert!(probe.is_ok() && is_open(&refused), "{probe:?} {refused:?}");
}
