//! Orders that can't be taken, orders that come twice, and orders that nobody placed.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::{conserved, journal, order, orders_have_ended, place, until};
use crate::harness::simulate;

#[test]
fn an_order_with_mistakes_is_told_all_of_them_and_changes_nothing() -> anyhow::Result<()> {
    simulate(async |world| {
        let refused = world
            .post(
                "/orders",
                &json!({ "items": [{ "sku": "", "quantity": 0, "priceCents": -1 }] }),
            )
            .await;
        assert_eq!(refused.status, 422);
        let problem = refused.json();
        let errors = problem["errors"].as_array().expect("errors");
        let fields: Vec<_> = errors
            .iter()
            .map(|error| error["field"].as_str().expect("a field"))
            .collect();
        let all = [
            "userId",
            "items[0].sku",
            "items[0].quantity",
            "items[0].priceCents",
            "paymentMethod",
        ];
        assert_eq!(fields, all);

        for (bad, field) in [
            (
                json!({ "sku": "book", "quantity": 1, "priceCents": 12.5 }),
                "items[0].priceCents",
            ),
            (
                json!({ "sku": "book", "quantity": "2", "priceCents": 1 }),
                "items[0].quantity",
            ),
            (
                json!({ "sku": "book", "quantity": 1_000_000, "priceCents": 1_000_000_000_000_i64 }),
                "items",
            ),
            (json!({ "sku": 5, "quantity": 1, "priceCents": 1 }), "items[0].sku"),
        ] {
            let refused = world
                .post(
                    "/orders",
                    &json!({ "userId": "u1", "items": [bad], "paymentMethod": "tok_visa" }),
                )
                .await;
            assert_eq!(
                (refused.status.as_u16(), &refused.json()["errors"][0]["field"]),
                (422, &json!(field))
            );
        }
        for body in ["", "{", "[]", "null", "\u{fffd}"] {
            let refused = world.request(Method::POST, "/orders", &[], body.to_owned()).await;
            assert!(
                matches!(refused.status.as_u16(), 400 | 422),
                "{body:?}: {}",
                refused.status
            );
        }
        assert_eq!(world.sql.number("SELECT count(*) FROM journal"), 0);
        for path in ["/orders/nobody", "/payments/nobody", "/shipments/nobody"] {
            assert_eq!(world.get(path).await.status, 404, "{path}");
        }
        assert_eq!(
            world.request(Method::DELETE, "/orders/nobody", &[], "").await.status,
            405
        );
        Ok(())
    })
}

#[test]
fn an_order_that_is_sent_twice_is_placed_once() -> anyhow::Result<()> {
    simulate(async |world| {
        let headers = [("content-type", "application/json"), ("idempotency-key", "order-1")];
        let body = order("book", "tok_visa").to_string();
        let first = world.request(Method::POST, "/orders", &headers, body.clone()).await;
        assert_eq!(first.status, 202);
        let id = first.json()["id"].as_str().expect("an id").to_owned();
        until(
            &world,
            &id,
            ["confirmed", "succeeded", "succeeded"],
            Duration::from_secs(1),
        )
        .await?;
        // The first answer again, as it was: the order was pending.
        let again = world.request(Method::POST, "/orders", &headers, body).await;
        assert_eq!((again.status.as_u16(), again.json()), (202, first.json()));
        let other = order("lamp", "tok_visa").to_string();
        assert_eq!(
            world.request(Method::POST, "/orders", &headers, other).await.status,
            422
        );
        assert_eq!(journal(&world).len(), 10);
        conserved(&world);
        Ok(())
    })
}

#[test]
fn every_event_delivered_again_in_any_order_changes_nothing() -> anyhow::Result<()> {
    simulate(async |world| {
        for (sku, token) in [
            ("book", "tok_visa"),
            ("unshippable", "tok_visa"),
            ("book", "tok_chargeDeclined"),
        ] {
            place(&world, sku, token).await;
        }
        world
            .until("all have ended", Duration::from_secs(1), async || {
                orders_have_ended(&world).is_empty()
            })
            .await?;
        let before = journal(&world);
        let events = "SELECT json_group_array(json_patch(
            json_object('specversion', '1.0', 'id', id, 'source', source, 'type', type, 'subject', subject,
                'datacontenttype', 'application/json', 'data', json(data)),
            extensions)) FROM (SELECT * FROM journal ORDER BY position DESC)";
        let rows = world.sql.query(events)?;
        let rusqlite::types::Value::Text(batch) = &rows[0][0] else {
            panic!("{rows:?}")
        };
        // A subscription of another name has no markers: the functions hear everything anew, the latest first.
        let headers = [("content-type", "application/cloudevents-batch+json")];
        for function in ["orders", "payments", "shipping"].repeat(2) {
            let path = "/_selvedge/deliver/again";
            let answer = world
                .node()
                .call(function, Method::POST, path, &headers, batch.clone())
                .await?;
            assert_eq!(answer.status, 200, "{:?}", answer.json());
            let statuses = answer.json()["statuses"].as_array().expect("statuses").len();
            assert_eq!(statuses, before.len());
        }
        assert_eq!(journal(&world), before);
        conserved(&world);
        Ok(())
    })
}
