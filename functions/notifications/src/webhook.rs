//! The webhook: notifications for a system outside.

use futures::future::join_all;
use selvedge::http::Call;
use selvedge::{Error, Host, Outcome};

use crate::Notification;

/// How long one POST may take.
const TIMEOUT_MS: u64 = 5_000;
/// POSTs under way at the same time.
const CONCURRENCY: usize = 16;
/// No further POST is begun after this time, so that the delivery as a whole ends in time.
const TOTAL_MS_MAX: i64 = 20_000;

/// POSTs each notification and says what became of it, in their order. Without a webhook all of them succeed.
pub async fn post<'n>(
    host: &Host,
    notifications: impl Iterator<Item = &'n Notification>,
) -> Result<Vec<Outcome>, Error> {
    let notifications: Vec<_> = notifications.collect();
    let Some(url) = host.variable("notify_webhook_url").await? else {
        return Ok(vec![Outcome::Success; notifications.len()]);
    };
    let begun_at_ms = host.now_ms();
    let mut outcomes = Vec::with_capacity(notifications.len());
    for some in notifications.chunks(CONCURRENCY) {
        if host.now_ms() - begun_at_ms > TOTAL_MS_MAX {
            outcomes.extend(
                some.iter()
                    .map(|_| Outcome::retry("the webhook is too slow: there was no time left")),
            );
        } else {
            outcomes.extend(join_all(some.iter().map(|notification| post_one(host, &url, notification))).await);
        }
    }
    Ok(outcomes)
}

async fn post_one(host: &Host, url: &str, notification: &Notification) -> Outcome {
    let body = serde_json::to_vec(notification).expect("a struct of plain fields can be written as JSON");
    let call = Call::post(url, "application/json", body).header(Call::IDEMPOTENCY_KEY, &*notification.event_id);
    let target = call.target();
    match host
        .send_within(call, TIMEOUT_MS)
        .await
        .and_then(|answer| answer.successful(&target))
    {
        Ok(_) => Outcome::Success,
        Err(error) => Outcome::retry(format!("the webhook: {error}")),
    }
}
