//! Sends parcels to functions, webhooks, Dapr applications and brokers.

use futures::future::join_all;
use http::Method;
use selvedge_events::json::BATCH_MEDIA_TYPE;

use super::dapr_app;
use super::pack::Outgoing;
use super::parcel::{Delivered, Parcel};
use super::publish;
use crate::delivery::Outcome;
use crate::http::Call;
use crate::projection::Generation;
use crate::subscription::Target;
use crate::webhook::{self, Secrets};
use crate::{Error, Host, delivery, order, projection};

/// Delivers a parcel and waits for the answer, as long as its subscription lets it take. A parcel without events is
/// delivered by doing nothing.
pub(super) async fn send(host: Host, outgoing: Outgoing) -> (Parcel, Delivered) {
    let Outgoing { parcel, bodies } = outgoing;
    if parcel.items.is_empty() {
        return (parcel, Delivered::Answered(Vec::new()));
    }
    let answered = match &parcel.subscription.target {
        Target::Function { component } => {
            let answered = to_function(&host, &parcel, component, bodies).await;
            answered.map(Delivered::Answered)
        }
        Target::Webhook { url, secret_variable } => to_webhook(&host, &parcel, url, secret_variable, bodies).await,
        Target::DaprApp { url, token_variable } => {
            let answered = dapr_app::deliver(&host, &parcel, url, token_variable.as_deref(), bodies).await;
            answered.map(Delivered::Answered)
        }
        Target::Broker(broker) => {
            let delivered = publish::all(&host, &parcel, broker, bodies).await;
            return (parcel, delivered);
        }
    };
    let delivered = answered.unwrap_or_else(|error| Delivered::Failed(error.to_string()));
    (parcel, delivered)
}

/// All events in one request.
async fn to_function(
    host: &Host,
    parcel: &Parcel,
    component: &str,
    bodies: Vec<Vec<u8>>,
) -> Result<Vec<Outcome>, Error> {
    let first = &parcel.items[0];
    let subscription = &parcel.subscription;
    let generation = Generation {
        number: subscription.generation,
        is_being_built: subscription.is_being_built(),
    };
    let mut call = Call::chained(Method::POST, component, &delivery::path(subscription.configured_name()))
        .header(http::header::CONTENT_TYPE, BATCH_MEDIA_TYPE)
        .header(delivery::ATTEMPT, first.attempt.to_string())
        .header(projection::GENERATION, generation.to_string())
        .traced(first.trace.as_deref());
    if subscription.is_ordered() {
        call = call.header(
            order::STREAMS,
            order::encode(parcel.items.iter().map(|item| &*item.stream)),
        );
    }
    call.body = bodies.into_iter().next().unwrap_or_default();
    let target = call.target();
    let answer = host
        .send_within(call, subscription.timeout_ms)
        .await?
        .successful(&target)?;
    delivery::decode_answer(&target, &answer.body, parcel.items.iter().map(|item| &*item.id))
}

/// A request for each event, all at once.
async fn to_webhook(
    host: &Host,
    parcel: &Parcel,
    url: &str,
    secret_variable: &str,
    bodies: Vec<Vec<u8>>,
) -> Result<Delivered, Error> {
    let text = host.variable(secret_variable).await?.unwrap_or_default();
    let secrets = Secrets::parse(secret_variable, &text)?;
    let (host, secrets, subscription) = (host, &secrets, &parcel.subscription);
    let requests = parcel.items.iter().zip(bodies).map(|(item, body)| async move {
        let message = webhook::Message::new(&subscription.name, item.trace.as_deref(), body);
        webhook::send(host, url, secrets, message, subscription.timeout_ms).await
    });
    let (outcomes, not_before_ms) = join_all(requests).await.into_iter().unzip();
    Ok(Delivered::Deferred(outcomes, not_before_ms))
}
