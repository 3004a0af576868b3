//! What is sent, and by what it is seen that it came to its end.

/// A command and what becomes of it.
pub struct Journey {
    /// What the reader of the output sees it called.
    pub name: &'static str,
    /// The status that it is accepted with.
    pub status: u16,
    /// Each counts, in the subscribers' own tables, the journeys that came to one of their ends. A look costs the same
    /// however many there are: it reads an index's end or a few rows.
    pub ends: &'static [&'static str],
    /// The steady rate that any engine bears, per second.
    pub steady_rate: u32,
    path: &'static str,
    body: fn(u64) -> String,
}

/// A todo is added: both subscribers have their effect. Notifications are numbered without gaps and never deleted, and a
/// trigger keeps analytics' counts in step with the events that it counted.
pub const TODO: Journey = Journey {
    name: "todos",
    status: 201,
    ends: &[
        "SELECT coalesce(max(number), 0) FROM notifications",
        "SELECT coalesce(sum(count), 0) FROM analytics_counts",
    ],
    steady_rate: 100,
    path: "/todos",
    body: |user| format!(r#"{{"title":"Buy groceries","userId":"user-{user}"}}"#),
};

/// An order is placed, paid, shipped and confirmed: eight events, of which analytics hears the last.
pub const ORDER: Journey = Journey {
    name: "orders",
    status: 202,
    ends: &["SELECT coalesce(sum(count), 0) FROM analytics_counts WHERE type = 'orders.order.confirmed'"],
    steady_rate: 20,
    path: "/orders",
    body: |user| {
        format!(
            r#"{{"userId":"user-{user}","items":[{{"sku":"apples","quantity":2,"priceCents":199}}],"paymentMethod":"tok_visa"}}"#
        )
    },
};

impl Journey {
    /// A whole request that begins it for this user.
    pub fn request(&self, user: u64) -> Vec<u8> {
        request("POST", self.path, &(self.body)(user))
    }
}

/// A whole HTTP request with JSON as its body.
pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_its_bodys_length() {
        for (journey, user) in [(TODO, r#""userId":"user-7""#), (ORDER, r#""userId":"user-7""#)] {
            let request = String::from_utf8(journey.request(7)).unwrap();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
            assert!(body.contains(user), "{body}");
        }
    }
}
