//! Who captures money and ships goods, outside, and is no more reliable than the webhook. What it did stands in its books.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use selvedge_testkit::World;
use selvedge_testkit::chaos::{Storm, Unreliable};
use selvedge_testkit::checkers::Violation;
use selvedge_testkit::simulation::Peer;
use serde_json::{Value, json};

/// Where it is.
pub const ADDRESS: &str = "providers.example:80";
/// What it is asked for, and the event that says that it did it.
const DEEDS: [(&str, &str); 4] = [
    ("/payments", "payments.payment.captured"),
    ("/refunds", "payments.payment.refunded"),
    ("/shipments", "shipping.shipment.dispatched"),
    ("/cancellations", "shipping.shipment.cancelled"),
];

/// What it said, by path and key: for which order, and whether it did it.
type Said = BTreeMap<(String, String), (String, bool)>;

/// What it said under each key.
#[derive(Clone, Default)]
pub struct Books(Arc<Mutex<Said>>);

impl Books {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it did for each order is what the journal says, no more and no less.
    pub fn agree(&self, world: &World) -> Vec<Violation> {
        let mut violations = Vec::new();
        let books = self.lock();
        for (path, event_type) in DEEDS {
            let mut done: BTreeMap<&str, i64> = BTreeMap::new();
            for ((at, _), (order, is_done)) in books.iter() {
                *done.entry(order).or_default() += i64::from(at == path && *is_done);
            }
            for (order, count) in done {
                let query = "SELECT count(*) FROM journal WHERE type = ?1 AND subject = ?2";
                let told = world.sql.number_of(query, &[event_type, order]);
                if told != count {
                    violations.push(Violation(format!(
                        "order {order}: the provider did {count} {path}, and the journal has {told} {event_type}"
                    )));
                }
            }
        }
        violations
    }
}

/// The provider. It keeps to its word: a key that it heard before gets the first answer again.
pub struct Provider {
    books: Books,
    storm: Storm,
    chance: Mutex<StdRng>,
    otherwise: Unreliable,
}

impl Provider {
    pub fn new(books: Books, storm: &Storm, seed: u64) -> Self {
        Self {
            books,
            storm: storm.clone(),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            otherwise: Unreliable::new(storm.clone(), seed),
        }
    }

    /// Whether something happens that has this chance.
    fn comes(&self, one_in: u32) -> bool {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        self.storm.rages() && chance.random_ratio(1, one_in)
    }

    /// Whether it does what it is asked for; what it said of a key once, it says again.
    fn decide(&self, path: &str, key: &str, body: &Value) -> bool {
        let is_undoing = matches!(path, "/refunds" | "/cancellations");
        let is_refused = if is_undoing {
            // Now and then only: each refusal is followed by another key, and too many would park it.
            self.comes(6)
        } else {
            body["paymentMethod"]
                .as_str()
                .is_some_and(|method| method != "tok_visa")
                || body["items"]
                    .as_array()
                    .is_some_and(|items| items.iter().any(|item| item["sku"] == "unshippable"))
        };
        let order = body["orderId"].as_str().unwrap_or_default().to_owned();
        let mut books = self.books.lock();
        books
            .entry((path.to_owned(), key.to_owned()))
            .or_insert((order, !is_refused))
            .1
    }
}

#[async_trait]
impl Peer for Provider {
    async fn answer(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let path = request.uri().path().to_owned();
        let key = request
            .headers()
            .get("idempotency-key")
            .and_then(|key| key.to_str().ok());
        let key = key.unwrap_or("without a key").to_owned();
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        // What it does before it is slow or fails, it has done all the same.
        if self.comes(2) {
            self.decide(&path, &key, &body);
        }
        let mut response = self.otherwise.answer(request).await?;
        if response.status() != StatusCode::OK {
            return Some(response);
        }
        let (status, said) = if self.decide(&path, &key, &body) {
            (StatusCode::CREATED, json!({ "id": key }))
        } else {
            (
                StatusCode::PAYMENT_REQUIRED,
                json!({ "reason": "the provider said no" }),
            )
        };
        *response.status_mut() = status;
        *response.body_mut() = said.to_string().into();
        Some(response)
    }
}
