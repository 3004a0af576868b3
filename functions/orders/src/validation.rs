//! What may be ordered. All problems are told at once.

use selvedge::http::FieldProblem;
use serde::Deserialize;

use crate::order::{Content, Item};

const ITEMS_MAX: usize = 100;
const USER_ID_CHARS_MAX: usize = 200;
const SKU_CHARS_MAX: usize = 100;
const PAYMENT_METHOD_CHARS_MAX: usize = 200;
const QUANTITY_MAX: i64 = 1_000_000;
/// What an order may cost, in cents. JSON's numbers are exact up to a thousand times as much.
const TOTAL_CENTS_MAX: i64 = 1_000_000_000_000;

/// An order as a client writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewOrder {
    user_id: Option<String>,
    items: Option<Vec<NewItem>>,
    payment_method: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewItem {
    sku: Option<String>,
    quantity: Option<i64>,
    price_cents: Option<i64>,
}

impl NewOrder {
    /// What is ordered, or everything that is wrong with it.
    pub fn check(self) -> Result<Content, Vec<FieldProblem>> {
        let mut problems = Problems(Vec::new());
        let user_id = problems.text("userId", self.user_id, USER_ID_CHARS_MAX, "say who orders");
        let new_items = self.items.unwrap_or_default();
        match new_items.len() {
            0 => problems.add("items", "is missing or empty: order at least one thing".to_owned()),
            1..=ITEMS_MAX => {}
            count => problems.add(
                "items",
                format!("has {count} items, the limit is {ITEMS_MAX}: order less at once"),
            ),
        }
        // One more than allowed shows what is wrong with it; thousands would make the answer endless.
        let items: Vec<_> = (0..)
            .zip(new_items.into_iter().take(ITEMS_MAX))
            .map(|(index, item)| problems.item(index, item))
            .collect();
        let payment_method = problems.text(
            "paymentMethod",
            self.payment_method,
            PAYMENT_METHOD_CHARS_MAX,
            "say how it is paid, such as tok_visa",
        );
        let total_cents = total_cents(&items).unwrap_or_else(|| {
            problems.add(
                "items",
                format!("cost more than {TOTAL_CENTS_MAX} cents together: order less at once"),
            );
            0
        });
        if !problems.0.is_empty() {
            return Err(problems.0);
        }
        Ok(Content {
            user_id,
            items,
            total_cents,
            payment_method,
        })
    }
}

/// What items cost together; `None` above [`TOTAL_CENTS_MAX`].
fn total_cents(items: &[Item]) -> Option<i64> {
    let add = |sum: i64, item: &Item| sum.checked_add(item.price_cents.checked_mul(item.quantity)?);
    items
        .iter()
        .try_fold(0, add)
        .filter(|total_cents| *total_cents <= TOTAL_CENTS_MAX)
}

struct Problems(Vec<FieldProblem>);

impl Problems {
    fn add(&mut self, field: &str, detail: String) {
        self.0.push(FieldProblem::new(field, detail));
    }

    fn text(&mut self, field: &str, text: Option<String>, chars_max: usize, advice: &str) -> String {
        let text = text.unwrap_or_default();
        match text.chars().count() {
            _ if text.trim().is_empty() => self.add(field, format!("is missing or blank: {advice}")),
            _ if text.chars().any(char::is_control) => {
                self.add(field, "has control characters: leave them out".to_owned());
            }
            count if count > chars_max => {
                self.add(
                    field,
                    format!("has {count} characters, the limit is {chars_max}: shorten it"),
                );
            }
            _ => {}
        }
        text
    }

    /// A number in its range; what isn't counts as the least, so that the sum has no problem of its own.
    fn number(&mut self, field: &str, number: Option<i64>, min: i64, max: i64) -> i64 {
        match number {
            Some(number) if (min..=max).contains(&number) => return number,
            Some(number) => self.add(
                field,
                format!("is {number}: it must be a whole number from {min} to {max}"),
            ),
            None => self.add(field, format!("is missing: give a whole number from {min} to {max}")),
        }
        min
    }

    fn item(&mut self, index: usize, item: NewItem) -> Item {
        let field = |name: &str| format!("items[{index}].{name}");
        Item {
            sku: self.text(&field("sku"), item.sku, SKU_CHARS_MAX, "say what is ordered"),
            quantity: self.number(&field("quantity"), item.quantity, 1, QUANTITY_MAX),
            price_cents: self.number(&field("priceCents"), item.price_cents, 0, TOTAL_CENTS_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(order: &Value) -> Result<Content, Vec<String>> {
        let order: NewOrder = serde_json::from_value(order.clone()).expect("of the right shape");
        order
            .check()
            .map_err(|problems| problems.into_iter().map(|problem| problem.field).collect())
    }

    fn item(quantity: i64, price_cents: i64) -> Value {
        json!({ "sku": "book", "quantity": quantity, "priceCents": price_cents })
    }

    fn order(items: &[Value]) -> Value {
        json!({ "userId": "u1", "items": items, "paymentMethod": "tok_visa" })
    }

    #[test]
    fn an_order_costs_what_its_items_cost_together() {
        assert_eq!(
            checked(&order(&[item(2, 1_250), item(1, 0)]))
                .expect("fine")
                .total_cents,
            2_500
        );
        let most = order(&[item(1, TOTAL_CENTS_MAX)]);
        assert_eq!(checked(&most).expect("just fits").total_cents, TOTAL_CENTS_MAX);
        assert_eq!(
            checked(&order(&vec![item(1, 1); ITEMS_MAX]))
                .expect("just fits")
                .total_cents,
            100
        );
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let everything = json!({ "userId": " ", "items": [{ "sku": "", "quantity": 0, "priceCents": -1 }, {}] });
        let fields = [
            "userId",
            "items[0].sku",
            "items[0].quantity",
            "items[0].priceCents",
            "items[1].sku",
            "items[1].quantity",
            "items[1].priceCents",
            "paymentMethod",
        ];
        assert_eq!(checked(&everything).expect_err("all wrong"), fields);
        assert_eq!(
            checked(&json!({})).expect_err("all missing"),
            ["userId", "items", "paymentMethod"]
        );
    }

    #[test]
    fn sums_are_bounded_and_never_overflow() {
        for items in [
            vec![item(2, TOTAL_CENTS_MAX)],
            vec![item(QUANTITY_MAX, TOTAL_CENTS_MAX); ITEMS_MAX],
            vec![item(1, TOTAL_CENTS_MAX), item(1, 1)],
        ] {
            assert_eq!(checked(&order(&items)).expect_err("too much"), ["items"]);
        }
        for (quantity, price_cents, field) in [
            (i64::MAX, 1, "items[0].quantity"),
            (i64::MIN, 1, "items[0].quantity"),
            (1, i64::MAX, "items[0].priceCents"),
            (1, i64::MIN, "items[0].priceCents"),
        ] {
            assert_eq!(
                checked(&order(&[item(quantity, price_cents)])).expect_err("out of range"),
                [field]
            );
        }
        assert_eq!(
            checked(&order(&vec![item(1, 1); ITEMS_MAX + 1])).expect_err("too many"),
            ["items"]
        );
    }

    #[test]
    fn texts_have_an_end_and_no_control_characters() {
        let mut order = order(&[item(1, 1)]);
        order["userId"] = json!("u".repeat(USER_ID_CHARS_MAX + 1));
        order["paymentMethod"] = json!("tok\u{0}");
        order["items"][0]["sku"] = json!("é".repeat(SKU_CHARS_MAX + 1));
        let fields = ["userId", "items[0].sku", "paymentMethod"];
        assert_eq!(checked(&order).expect_err("too long"), fields);
    }
}
