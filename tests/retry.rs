//! Failed deliveries are made again, when the policy says, and the effect comes once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use selvedge_testkit::World;
use selvedge_testkit::simulation::{Fault, Peer, When};

use crate::harness::{create, deliveries_ms, lose_bells, notifications, simulate, until_kept};

/// The store of notifications, where its function can be hit.
const EFFECT: (&str, &str, &str) = ("notifications", "sqlite.execute", "INTO notifications");

/// Long enough for every lease to end and for some attempts.
const A_WHILE: Duration = Duration::from_secs(120);

/// Creates a todo while calls to this place meet a fault, and waits until it has its effects all the same.
fn survives(place: (&str, &str, &str), times: usize, fault: Fault, when: When) -> anyhow::Result<()> {
    println!("{place:?} {times} × {fault:?} {when:?}");
    simulate(async |world| {
        let _cron = world.start_cron();
        let (component, function, detail) = place;
        world.node().faults.hit(component, function, detail, times, fault, when);
        create(&world, "Buy groceries", "u1").await;
        until_kept(&world, 1, A_WHILE).await?;
        assert_eq!(world.node().faults.met(), times, "the fault was met: {place:?}");
        assert_eq!(world.sql.number("SELECT count(*) FROM exceptions"), 0);
        assert_eq!(notifications(&world, "u1").await, 1);
        Ok(())
    })
}

/// Asserts that attempts follow the default policy: 1 s, then twice as long each time, of which jitter takes a fifth at
/// most. The cron looks every second, so up to a second comes on top; `attempt_ms` is what each attempt takes.
pub fn assert_policy(times_ms: &[u64], attempt_ms: u64) {
    for (attempt, pair) in (0..).zip(times_ms.windows(2)) {
        let interval_ms: u64 = 1_000 << attempt;
        let waited_ms = pair[1] - pair[0] - attempt_ms;
        let allowed_ms = interval_ms * 8 / 10..=interval_ms + 1_050;
        assert!(
            allowed_ms.contains(&waited_ms),
            "{waited_ms} ms after attempt {}: {times_ms:?}",
            attempt + 1
        );
    }
}

#[test]
fn attempts_are_made_when_the_policy_says() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        // The eighth attempt is the last, and it may still succeed.
        let (component, function, detail) = EFFECT;
        world
            .node()
            .faults
            .hit(component, function, detail, 7, Fault::Fail, When::Before);
        create(&world, "Buy groceries", "u1").await;
        until_kept(&world, 1, Duration::from_secs(150)).await?;

        let attempts_ms = deliveries_ms(&world, "notifications");
        assert_eq!(attempts_ms.len(), 8, "{attempts_ms:?}");
        assert_policy(&attempts_ms, 0);
        assert_eq!(
            world.sql.number("SELECT count(*) FROM exceptions"),
            0,
            "it is no dead letter"
        );
        assert_eq!(
            deliveries_ms(&world, "analytics").len(),
            1,
            "the other subscription isn't affected"
        );
        Ok(())
    })
}

#[test]
fn jitter_keeps_what_failed_together_apart() -> anyhow::Result<()> {
    simulate(async |world| {
        lose_bells(&world);
        for number in 0..20 {
            create(&world, &format!("todo {number}"), "u1").await;
        }
        let (component, function, detail) = EFFECT;
        world
            .node()
            .faults
            .hit(component, function, detail, 1, Fault::Fail, When::Before);
        let _cron = world.start_cron();
        let failed = async || world.sql.number("SELECT count(*) FROM exceptions") == 20;
        world.until("the batch failed", Duration::from_secs(3), failed).await?;
        let times = world.sql.number("SELECT count(DISTINCT due_at_ms) FROM exceptions");
        assert!(times > 10, "20 retries are due at {times} times only");
        until_kept(&world, 20, Duration::from_secs(5)).await
    })
}

#[test]
fn a_handler_that_traps_is_called_again() -> anyhow::Result<()> {
    for when in [When::Before, When::After] {
        survives(EFFECT, 3, Fault::Trap, when)?;
    }
    Ok(())
}

#[test]
fn a_handler_that_hangs_is_given_up_on_after_its_timeout() -> anyhow::Result<()> {
    for when in [When::Before, When::After] {
        simulate(async |world| {
            let _cron = world.start_cron();
            let (component, function, detail) = EFFECT;
            world
                .node()
                .faults
                .hit(component, function, detail, 1, Fault::Hang, when);
            create(&world, "Buy groceries", "u1").await;
            // Analytics doesn't wait for it.
            let counted = async || world.sql.number("SELECT count(*) FROM analytics_counted") == 1;
            world
                .until("analytics has counted", Duration::from_millis(100), counted)
                .await?;
            until_kept(&world, 1, A_WHILE).await?;
            let attempts_ms = deliveries_ms(&world, "notifications");
            assert_eq!(attempts_ms.len(), 2, "{attempts_ms:?}");
            assert_policy(&attempts_ms, 30_000);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn an_effect_counts_though_its_answer_was_lost() -> anyhow::Result<()> {
    for subscription in ["notifications", "analytics"] {
        let path = format!("/_selvedge/deliver/{subscription}");
        for fault in [Fault::Fail, Fault::Hang] {
            survives(("relay", "http.send", &path), 2, fault, When::After)?;
        }
    }
    Ok(())
}

#[test]
fn a_failing_key_value_store_only_delays() -> anyhow::Result<()> {
    for component in ["notifications", "analytics"] {
        survives((component, "keyvalue.get-many", "done/"), 3, Fault::Fail, When::Before)?;
        survives((component, "keyvalue.set-many", "done/"), 3, Fault::Fail, When::Before)?;
        // Markers that were written though the store said no are found with the next attempt.
        survives((component, "keyvalue.set-many", "done/"), 1, Fault::Fail, When::After)?;
    }
    Ok(())
}

#[test]
fn a_settlement_that_fails_is_made_again() -> anyhow::Result<()> {
    let place = ("relay", "sqlite.execute", "UPDATE subscriptions SET cursor");
    survives(place, 2, Fault::Fail, When::Before)?;
    // A cursor that moved though the database said no needs no second settlement.
    survives(place, 1, Fault::Fail, When::After)
}

#[test]
fn a_relay_that_traps_in_the_middle_of_a_pass_is_followed_by_another() -> anyhow::Result<()> {
    let places = [
        ("sqlite.execute", "UPDATE relay SET token"),
        ("sqlite.execute", "SET lease_token"),
        ("sqlite.execute", "FROM journal WHERE position"),
        ("http.send", "/_selvedge/deliver/notifications"),
        ("sqlite.execute", "UPDATE subscriptions SET cursor"),
        ("sqlite.execute", "UPDATE relay SET awake_until_ms"),
    ];
    for (function, detail) in places {
        for when in [When::Before, When::After] {
            survives(("relay", function, detail), 1, Fault::Trap, when)?;
        }
    }
    Ok(())
}

#[test]
fn a_retry_whose_settlement_is_lost_counts_once_as_an_attempt() -> anyhow::Result<()> {
    for (statement, fault) in [
        ("DELETE FROM exceptions", Fault::Fail),
        ("DELETE FROM exceptions", Fault::Trap),
        ("INSERT INTO exceptions", Fault::Fail),
        ("INSERT INTO exceptions", Fault::Trap),
        ("UPDATE exceptions SET state", Fault::Trap),
    ] {
        for when in [When::Before, When::After] {
            println!("{statement} {fault:?} {when:?}");
            simulate(async |world| {
                let _cron = world.start_cron();
                let faults = &world.node().faults;
                let (component, function, detail) = EFFECT;
                faults.hit(component, function, detail, 2, Fault::Fail, When::Before);
                faults.hit("relay", "sqlite.execute", statement, 1, fault, when);
                create(&world, "Buy groceries", "u1").await;
                until_kept(&world, 1, A_WHILE).await?;
                assert_eq!(faults.met(), 3);
                assert_eq!(world.sql.number("SELECT count(*) FROM exceptions"), 0);
                Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_poison_event_takes_no_other_with_it() -> anyhow::Result<()> {
    simulate(async |world| {
        // Without bells the cron finds all of them at once: one batch.
        lose_bells(&world);
        world.node().faults.hit(
            "notifications",
            "sqlite.execute",
            "poison",
            usize::MAX,
            Fault::Trap,
            When::Before,
        );
        for title in ["one", "two", "poison", "three", "four"] {
            create(&world, title, "u1").await;
        }
        let _cron = world.start_cron();

        let told = async || world.sql.number("SELECT count(*) FROM notifications") == 4;
        world.until("the others are told", Duration::from_secs(4), told).await?;
        assert_eq!(
            deliveries_ms(&world, "notifications").len(),
            1 + 5,
            "the batch, then each alone"
        );
        assert_eq!(deliveries_ms(&world, "analytics").len(), 1, "all in one batch");

        until_kept(&world, 5, Duration::from_secs(150)).await?;
        let query = "SELECT attempt FROM exceptions WHERE state = 'dead' AND isolated = 1";
        assert_eq!(world.sql.number(query), 8, "the poison had its attempts alone");
        assert_eq!(deliveries_ms(&world, "notifications").len(), 1 + 4 + 7);
        assert_eq!(world.sql.number("SELECT count(*) FROM exceptions"), 1);
        Ok(())
    })
}

#[test]
fn a_clock_that_is_set_back_delays_nothing() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        let faults = &world.node().faults;
        let (component, function, detail) = EFFECT;
        // The relay dies with its lease and its mark, a retry is due: all of their times are in the future then.
        faults.hit(component, function, detail, 1, Fault::Fail, When::Before);
        create(&world, "Buy groceries", "u1").await;
        let waits = async || world.sql.number("SELECT count(*) FROM exceptions") == 1;
        world.until("the retry waits", Duration::from_secs(1), waits).await?;
        faults.hit(
            "relay",
            "sqlite.execute",
            "FROM journal WHERE position",
            1,
            Fault::Trap,
            When::Before,
        );
        create(&world, "Buy bread", "u2").await;
        world
            .until("the relay is dead", Duration::from_secs(1), async || faults.met() == 2)
            .await?;
        world.clock.step_ms(-600_000);

        // The dead relay's lease stands in nobody's way.
        let told = async || notifications(&world, "u2").await == 1;
        world
            .until("the other todo is told", Duration::from_secs(3), told)
            .await?;
        until_kept(&world, 2, Duration::from_secs(5)).await
    })
}

/// A webhook that fails at first, and keeps the idempotency key of every request.
#[derive(Clone, Default)]
struct Webhook {
    keys: Arc<Mutex<Vec<String>>>,
}

impl Webhook {
    fn keys(&self) -> Vec<String> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Peer for Webhook {
    async fn answer(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let key = request
            .headers()
            .get("idempotency-key")
            .and_then(|key| key.to_str().ok())
            .unwrap_or_default();
        let attempt = {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.push(key.to_owned());
            keys.len()
        };
        let mut response = Response::new(Bytes::new());
        match attempt {
            1 => *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR,
            2 => *response.status_mut() = http::StatusCode::NOT_FOUND,
            // The connection breaks.
            3 => return None,
            // No answer comes.
            4 => std::future::pending().await,
            _ => {}
        }
        Some(response)
    }
}

#[test]
fn a_webhook_is_called_until_it_takes_the_notification() -> anyhow::Result<()> {
    simulate(async |mut world: World| {
        let webhook = Webhook::default();
        world.network.play("hooks.example", webhook.clone());
        world.set_variable("notify_webhook_url", "http://hooks.example/notify");
        world.restart()?;
        let _cron = world.start_cron();
        create(&world, "Buy groceries", "u1").await;
        until_kept(&world, 1, A_WHILE).await?;

        let keys = webhook.keys();
        assert_eq!(keys.len(), 5, "{keys:?}");
        assert!(
            !keys[0].is_empty() && keys.iter().all(|key| *key == keys[0]),
            "one key for all attempts: {keys:?}"
        );
        assert_policy(&deliveries_ms(&world, "notifications")[..4], 0);
        assert_eq!(world.sql.number("SELECT count(*) FROM notifications"), 1);
        Ok(())
    })
}
