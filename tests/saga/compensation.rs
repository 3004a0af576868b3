//! What was done is undone, also where undoing it goes wrong.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use super::provider::{Reply, with_provider};
use super::{conserved, orders_have_ended, place, show, told, until};
use crate::admin::TOKEN;
use crate::application::money_conserved;
use crate::harness::simulate;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_refund_that_is_refused_is_asked_for_again_under_a_new_key() -> anyhow::Result<()> {
    with_provider(async |world, provider| {
        provider.next("/shipments", &[Reply::Refused]);
        provider.next("/refunds", &[Reply::Refused, Reply::Refused]);
        let id = place(world, "book", "any").await;
        until(world, &id, ["cancelling", "retrying", "failed"], Duration::from_secs(5)).await?;
        until(world, &id, ["cancelled", "compensated", "failed"], MINUTE).await?;
        let mut keys = provider.keys("/refunds");
        keys.dedup();
        assert_eq!(keys.len(), 3, "a refusal is an answer: its key would get it again");
        assert_eq!(
            (provider.done("/refunds"), told(world, "payments.refund.refused")),
            (1, 2)
        );
        assert_eq!(show(world, &id).await["steps"][0]["compensationAttempts"], 3);
        conserved(world);
        Ok(())
    })
}

#[test]
fn a_refund_that_is_always_refused_is_parked_and_seen() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        let id = place(&world, "unshippable", "tok_refundFail").await;
        until(&world, &id, ["cancelled", "parked", "failed"], 5 * MINUTE).await?;
        let shown = show(&world, &id).await;
        assert_eq!(shown["needsAttention"], true);
        let timeline = shown["timeline"].as_array().expect("a timeline");
        let parked = timeline
            .iter()
            .find(|entry| entry["type"] == "orders.step.parked")
            .expect("it is told");
        assert_eq!(
            (&parked["step"], &parked["reason"]),
            (&json!("payment"), &json!("it was refused 5 times"))
        );
        let payment = world.get(&format!("/payments/{id}")).await.json();
        assert_eq!(
            (&payment["status"], &payment["refundedCents"]),
            (&json!("captured"), &json!(0))
        );
        assert_eq!(payment["reason"], "tok_refundFail is never refunded");
        assert_eq!(told(&world, "payments.refund.refused"), 5);
        conserved(&world);
        Ok(())
    })
}

#[test]
fn an_operator_has_a_parked_refund_made_once_more() -> anyhow::Result<()> {
    with_provider(async |world, provider| {
        provider.next("/payments", &[Reply::Done]);
        provider.next("/shipments", &[Reply::Refused]);
        provider.next("/refunds", &[Reply::Refused; 6]);
        let id = place(world, "book", "any").await;
        until(world, &id, ["cancelled", "parked", "failed"], 5 * MINUTE).await?;
        let path = format!("/orders/{id}/resume");
        let authorization = format!("Bearer {TOKEN}");
        let resume = async |headers: &[(&str, &str)]| world.request(Method::POST, &path, headers, "").await.status;
        assert_eq!(resume(&[]).await, StatusCode::UNAUTHORIZED);
        assert_eq!(resume(&[("authorization", "Bearer x")]).await, StatusCode::UNAUTHORIZED);

        let headers = [("authorization", &*authorization), ("idempotency-key", "again")];
        assert_eq!(resume(&headers).await, StatusCode::ACCEPTED);
        let refused = async || told(world, "payments.refund.refused") == 6;
        world.until("it is refused once more", MINUTE, refused).await?;
        until(world, &id, ["cancelled", "parked", "failed"], MINUTE).await?;
        assert_eq!(
            resume(&headers).await,
            StatusCode::ACCEPTED,
            "the same request changes nothing"
        );
        assert_eq!(told(world, "payments.refund.requested"), 6);

        assert_eq!(resume(&headers[..1]).await, StatusCode::ACCEPTED);
        until(world, &id, ["cancelled", "compensated", "failed"], MINUTE).await?;
        assert_eq!(show(world, &id).await["needsAttention"], false);
        assert_eq!(
            resume(&headers[..1]).await,
            StatusCode::CONFLICT,
            "nothing is parked any more"
        );
        assert_eq!(provider.done("/refunds"), 1);
        conserved(world);
        Ok(())
    })
}

#[test]
fn a_refund_without_an_answer_is_parked_and_made_once_when_the_provider_is_back() -> anyhow::Result<()> {
    with_provider(async |world, provider| {
        provider.next("/payments", &[Reply::Done]);
        provider.next("/shipments", &[Reply::Refused]);
        provider.usually(Reply::Down);
        let id = place(world, "book", "any").await;
        until(
            world,
            &id,
            ["cancelling", "compensating", "failed"],
            Duration::from_secs(5),
        )
        .await?;
        until(world, &id, ["cancelled", "parked", "failed"], 16 * MINUTE).await?;
        assert_eq!(show(world, &id).await["needsAttention"], true);
        tokio::time::sleep(60 * MINUTE).await;
        provider.usually(Reply::Done);
        until(world, &id, ["cancelled", "compensated", "failed"], 15 * MINUTE).await?;
        assert_eq!(show(world, &id).await["needsAttention"], false);
        let mut keys = provider.keys("/refunds");
        keys.dedup();
        assert_eq!(
            (keys.len(), provider.done("/refunds")),
            (1, 1),
            "one command, one key, one refund"
        );
        assert_eq!(told(world, "orders.order.cancelled"), 1);
        conserved(world);
        Ok(())
    })
}

#[test]
fn a_refund_whose_answer_is_lost_is_made_once() -> anyhow::Result<()> {
    with_provider(async |world, provider| {
        provider.next("/shipments", &[Reply::Refused]);
        provider.next(
            "/refunds",
            &[Reply::DoneAndLost, Reply::Failed(500), Reply::DoneAndLost],
        );
        let id = place(world, "book", "any").await;
        until(world, &id, ["cancelled", "compensated", "failed"], MINUTE).await?;
        assert_eq!(
            (provider.done("/refunds"), told(world, "payments.payment.refunded")),
            (1, 1)
        );
        conserved(world);
        Ok(())
    })
}

#[test]
fn a_late_shipment_is_called_back_also_when_that_is_refused_at_first() -> anyhow::Result<()> {
    with_provider(async |world, provider| {
        provider.next("/shipments", &[Reply::Silent; 8]);
        provider.next("/cancellations", &[Reply::Refused]);
        let id = place(world, "book", "any").await;
        until(world, &id, ["cancelled", "compensated", "timedOut"], 2 * MINUTE).await?;
        until(world, &id, ["cancelled", "compensated", "compensated"], 30 * MINUTE).await?;
        assert_eq!((provider.done("/shipments"), provider.done("/cancellations")), (1, 1));
        assert_eq!((orders_have_ended(world), money_conserved(world)), (vec![], vec![]));
        assert_eq!(provider.done("/refunds"), 1);
        Ok(())
    })
}
