//! Steps that answer too late or not at all, and providers that are down for long.

use std::time::Duration;

use super::provider::{Reply, with_provider};
use super::{conserved, journal, orders_have_ended, place, show, statuses, told, until};
use crate::harness::simulate;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_payment_that_is_captured_after_its_timeout_is_refunded() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        let id = place(&world, "book", "tok_timeout").await;
        tokio::time::sleep(MINUTE - Duration::from_secs(1)).await;
        assert_eq!(statuses(&world, &id).await, ["pending", "commanded", "waiting"]);
        until(
            &world,
            &id,
            ["cancelled", "timedOut", "waiting"],
            Duration::from_secs(3),
        )
        .await?;
        assert_eq!(
            show(&world, &id).await["reason"],
            "payment gave no answer within 60000 ms"
        );
        until(&world, &id, ["cancelled", "compensated", "waiting"], 3 * MINUTE).await?;
        assert_eq!(
            (
                told(&world, "payments.payment.captured"),
                told(&world, "payments.payment.refunded")
            ),
            (1, 1)
        );
        assert_eq!(told(&world, "orders.order.cancelled"), 1);
        assert_eq!(told(&world, "shipping.shipment.requested"), 0);
        conserved(&world);
        Ok(())
    })
}

#[test]
fn a_shipment_that_is_dispatched_after_its_timeout_is_called_back() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        let id = place(&world, "overdue", "tok_visa").await;
        until(
            &world,
            &id,
            ["cancelled", "compensated", "timedOut"],
            MINUTE + Duration::from_secs(5),
        )
        .await?;
        until(&world, &id, ["cancelled", "compensated", "compensated"], 3 * MINUTE).await?;
        assert_eq!(
            world.get(&format!("/shipments/{id}")).await.json()["status"],
            "cancelled"
        );
        assert_eq!(told(&world, "orders.order.cancelled"), 1);
        conserved(&world);
        Ok(())
    })
}

#[test]
fn an_answer_in_time_leaves_the_timer_nothing_to_do() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        let id = place(&world, "book", "tok_visa").await;
        until(
            &world,
            &id,
            ["confirmed", "succeeded", "succeeded"],
            Duration::from_secs(1),
        )
        .await?;
        let waiting = "SELECT count(*) FROM exceptions WHERE state = 'scheduled' AND subscription = 'orders'";
        assert_eq!(world.sql.number(waiting), 2, "a timer for each step");
        let before = journal(&world);
        let nobody_waits = async || world.sql.number("SELECT count(*) FROM exceptions") == 0;
        world.until("the timers are heard", 2 * MINUTE, nobody_waits).await?;
        assert_eq!(journal(&world), before);
        assert_eq!(statuses(&world, &id).await, ["confirmed", "succeeded", "succeeded"]);
        conserved(&world);
        Ok(())
    })
}

#[test]
fn a_provider_that_fails_for_a_while_is_asked_again_under_the_same_key() -> anyhow::Result<()> {
    with_provider(async |world, provider| {
        provider.next(
            "/payments",
            &[Reply::Failed(500), Reply::Down, Reply::Failed(429), Reply::Silent],
        );
        provider.next(
            "/shipments",
            &[Reply::Failed(503), Reply::Failed(404), Reply::DoneAfterMs(4_000)],
        );
        let id = place(world, "book", "any").await;
        until(world, &id, ["confirmed", "succeeded", "succeeded"], MINUTE).await?;
        for path in ["/payments", "/shipments"] {
            let mut keys = provider.keys(path);
            assert!(keys.len() >= 3, "{path}: {keys:?}");
            keys.dedup();
            assert_eq!(keys.len(), 1, "{path}: one key for all attempts");
            assert_eq!(provider.done(path), 1);
        }
        conserved(world);
        Ok(())
    })
}

#[test]
fn a_provider_whose_answer_is_lost_has_done_it_once() -> anyhow::Result<()> {
    with_provider(async |world, provider| {
        provider.next("/payments", &[Reply::DoneAndLost, Reply::DoneAndLost]);
        provider.next("/shipments", &[Reply::DoneAfterMs(6_000)]);
        let id = place(world, "book", "any").await;
        until(world, &id, ["confirmed", "succeeded", "succeeded"], MINUTE).await?;
        assert_eq!((provider.done("/payments"), provider.done("/shipments")), (1, 1));
        assert_eq!(
            (
                told(world, "payments.payment.captured"),
                told(world, "shipping.shipment.dispatched")
            ),
            (1, 1)
        );
        conserved(world);
        Ok(())
    })
}

#[test]
fn providers_that_are_down_for_an_hour_cost_no_order_its_end_and_nobody_money() -> anyhow::Result<()> {
    with_provider(async |world, provider| {
        provider.usually(Reply::Down);
        // The money was taken, but the answer was lost and nobody can be asked.
        provider.next("/payments", &[Reply::DoneAndLost]);
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(place(world, "book", "any").await);
        }
        tokio::time::sleep(HOUR).await;
        for id in &ids {
            assert_eq!(statuses(world, id).await, ["cancelled", "timedOut", "waiting"]);
        }
        assert_eq!(
            world.sql.number("SELECT count(*) FROM exceptions WHERE state = 'dead'"),
            0
        );

        provider.usually(Reply::Done);
        let during = place(world, "book", "any").await;
        for id in &ids {
            // Nobody knows whether it was paid until the provider says so. Then it is given back.
            until(world, id, ["cancelled", "compensated", "waiting"], 15 * MINUTE).await?;
        }
        until(world, &during, ["confirmed", "succeeded", "succeeded"], 15 * MINUTE).await?;
        assert_eq!((provider.done("/payments"), provider.done("/refunds")), (4, 3));
        assert!(orders_have_ended(world).is_empty());
        conserved(world);
        Ok(())
    })
}
