//! This application under a Dapr sidecar: subscriptions whose `from` is a topic of Dapr hear what the sidecar brings.

use futures::future::{Either, select};
use selvedge::dapr::deliveries::Delivery;
use selvedge::dapr::routes::{BulkSubscribe, Topic};
use selvedge::dapr::{TOKEN, answers};
use selvedge::http::{Call, Method, Problem, Request, Response, StatusCode};
use selvedge::subscription::{Address, Subscription, Subscriptions, Target};
use selvedge::{Error, Event, Host, Outcome, bearer, delivery, limits};
use selvedge_events::{http_binding, json};

/// The variable that holds the token which the sidecar brings.
const TOKEN_VARIABLE: &str = "dapr_app_token";

/// What a sidecar is told to subscribe to.
pub async fn topics(_host: Host, _request: Request) -> Result<Response, Problem> {
    let subscriptions = Subscriptions::from_file()?;
    let topic = |(from, subscription): (&Address, &std::sync::Arc<Subscription>)| match from {
        Address::Dapr { pubsub, topic } => Some(Topic {
            pubsubname: pubsub.clone(),
            topic: topic.clone(),
            route: Some(format!("/dapr/deliver/{}", subscription.name)),
            bulk_subscribe: (subscription.batch > 1).then_some(BulkSubscribe {
                enabled: true,
                max_messages_count: Some(subscription.batch),
                max_await_duration_ms: Some(limits::DAPR_BULK_WAIT_MS),
            }),
            ..Topic::default()
        }),
        _ => None,
    };
    Ok(Response::ok(
        &subscriptions.of_brokers().filter_map(topic).collect::<Vec<_>>(),
    ))
}

/// Brings what the sidecar brings to the function of a subscription, and tells the sidecar what became of it.
pub async fn deliver(host: Host, request: Request) -> Result<Response, Problem> {
    check_token(&host, &request).await?;
    let subscriptions = Subscriptions::from_file()?;
    let name = request.parameter("subscription");
    let subscription = subscriptions
        .get(name)
        .filter(|subscription| matches!(subscription.from, Some(Address::Dapr { .. })));
    let Some(subscription) = subscription else {
        return Err(Problem::not_found(
            "No subscription of this name hears a topic of Dapr.",
        ));
    };
    let body = match Delivery::read(&request.body) {
        Delivery::Single(event) => answers::single(&of_all(&host, subscription, vec![*event]).await[0]),
        Delivery::Bulk(entries) => {
            let (ids, events): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
            let outcomes = of_all(&host, subscription, events).await;
            answers::bulk(ids.iter().map(String::as_str).zip(&outcomes))
        }
    };
    Ok(Response {
        status: StatusCode::OK,
        headers: vec![(http::header::CONTENT_TYPE, "application/json".to_owned())],
        body,
    })
}

/// Nobody may bring events who doesn't know the token: functions take what is brought here for genuine.
async fn check_token(host: &Host, request: &Request) -> Result<(), Problem> {
    let Some(expected) = host.variable(TOKEN_VARIABLE).await? else {
        let detail = format!(
            "No token is set, so nobody may bring events. Set the application variable `{TOKEN_VARIABLE}` and the \
             sidecar's APP_API_TOKEN to the same text."
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    };
    if bearer::is_in_header(request, &TOKEN, &expected) {
        return Ok(());
    }
    let detail = "The `dapr-api-token` isn't the one that is set: give the sidecar's APP_API_TOKEN the same text.";
    Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
}

/// What became of each of these events. A batch that fails as a whole is brought again one by one, so that one that kills
/// its function takes no other with it.
async fn of_all(
    host: &Host,
    subscription: &Subscription,
    events: Vec<Result<Event, selvedge_events::Error>>,
) -> Vec<Outcome> {
    let mut outcomes = vec![Outcome::Success; events.len()];
    let (mut places, mut heard) = (Vec::new(), Vec::new());
    for (place, event) in events.into_iter().enumerate() {
        match event {
            Err(error) => outcomes[place] = Outcome::drop(format!("it is no CloudEvent: {error}")),
            Ok(event) => match hears(subscription, &event) {
                Ok(false) => {}
                Ok(true) => {
                    places.push(place);
                    heard.push(event);
                }
                Err(reason) => outcomes[place] = Outcome::drop(reason),
            },
        }
    }
    for (place, outcome) in outcomes.iter().enumerate() {
        if let Outcome::Drop { reason } = outcome {
            eprintln!(
                "warning: event {place} of a delivery to {} is dropped: {reason}",
                subscription.name
            );
        }
    }
    let brought = async {
        match bring(host, subscription, &heard).await {
            Err(_) if heard.len() > 1 => {
                let mut alone = Vec::with_capacity(heard.len());
                for event in &heard {
                    alone.extend(
                        bring(host, subscription, std::slice::from_ref(event))
                            .await
                            .unwrap_or_else(failed),
                    );
                }
                alone
            }
            brought => brought.unwrap_or_else(failed),
        }
    };
    if heard.is_empty() {
        return outcomes;
    }
    let brought = match select(std::pin::pin!(brought), host.wait(subscription.timeout_ms)).await {
        Either::Left((brought, _)) => brought,
        Either::Right(_) => vec![Outcome::retry("its time is up"); heard.len()],
    };
    for (place, outcome) in places.iter().zip(brought) {
        outcomes[*place] = outcome;
    }
    outcomes
}

fn failed(error: Error) -> Vec<Outcome> {
    eprintln!("error: {error}");
    vec![Outcome::retry(error.to_string())]
}

/// Whether a subscription hears an event.
fn hears(subscription: &Subscription, event: &Event) -> Result<bool, String> {
    if !subscription.hears(&event.event_type) {
        return Ok(false);
    }
    let Some(filter) = &subscription.filter else {
        return Ok(true);
    };
    let text = json::encode(event).map_err(|error| error.to_string())?;
    filter.matches(&String::from_utf8_lossy(&text))
}

/// Brings events to the subscription's function, as the relay does.
async fn bring(host: &Host, subscription: &Subscription, events: &[Event]) -> Result<Vec<Outcome>, Error> {
    let Target::Function { component } = &subscription.target else {
        unreachable!("what comes from a broker goes to a function, or subscriptions.toml is refused");
    };
    let (headers, body) = http_binding::encode_batch(events)?;
    let mut call = Call::chained(Method::POST, component, &delivery::path(&subscription.name))
        .header(delivery::ATTEMPT, "1")
        .traced(events.first().and_then(Event::traceparent));
    for (name, value) in &headers {
        call = call.header(name.clone(), value.to_str().unwrap_or_default());
    }
    call.body = body;
    let target = call.target();
    let answer = host.send(call).await?.successful(&target)?;
    delivery::decode_answer(&target, &answer.body, events.iter().map(|event| &*event.id))
}
