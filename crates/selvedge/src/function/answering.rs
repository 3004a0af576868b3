//! How a request finds its way through a function, and what becomes of a delivery.

use http::{HeaderName, Method, StatusCode};
use selvedge_events::http_binding;

use super::{Effect, Function, Route};
use crate::delivery;
use crate::http::{Matched, Pattern, Problem, Reply, Request, Response};
use crate::inbox::Delivered;
use crate::message::Consumer;
use crate::projection::{self, Generation};
use crate::{Error, Host, bearer, health, inbox, limits, message, order};

impl Function {
    /// How large the body of a request to this path may be, in bytes.
    pub fn body_bytes_max(&self, path: &str) -> usize {
        if self.delivered_to(path).is_some() {
            return limits::DELIVERY_BODY_BYTES_MAX;
        }
        let mut large = self.large_bodies.iter();
        let large = large.find(|(pattern, _)| Pattern::new(pattern).matches(path).is_some());
        large.map_or(limits::REQUEST_BODY_BYTES_MAX, |(_, limit_bytes)| *limit_bytes)
    }

    /// Answers a request with a whole response: one that is made while it is sent is waited for.
    pub async fn answer(&self, host: &Host, request: Request) -> Response {
        match self.reply(host, request).await {
            Reply::Whole(response) => response,
            Reply::Streaming(streaming) => streaming.collect().await,
        }
    }

    /// Answers a request. What goes wrong becomes a problem; nothing is left to the caller.
    pub async fn reply(&self, host: &Host, request: Request) -> Reply {
        if request.headers.len() > limits::HEADERS_MAX {
            let detail = format!("The request has more than {} headers. Send fewer.", limits::HEADERS_MAX);
            return Response::from(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail)).into();
        }
        let scoped = self.publishes.as_ref().map(|types| host.publishing(types.clone()));
        let host = scoped.as_ref().unwrap_or(host);
        let answered = match (&self.effect, self.delivered_to(&request.path)) {
            (Some(effect), Some(subscription)) => {
                let delivered = self.deliver(host, effect, &subscription, request).await;
                delivered.map(Reply::Whole)
            }
            _ if request.path == health::PATH => Ok(Response::ok(&health::Up::new(self.name, &self.breakers)).into()),
            _ => match self.clears(&request) {
                Some(generation) => {
                    projection::clear(host, self.name, self.projection.as_ref(), &generation).map(Reply::Whole)
                }
                None => self.dispatch(host, request).await,
            },
        };
        answered.unwrap_or_else(|problem| Response::from(problem).into())
    }

    /// The subscription when a path is the one where its events are heard, and the function hears any.
    fn delivered_to(&self, path: &str) -> Option<String> {
        self.effect.as_ref()?;
        let (_, subscription) = Pattern::new(delivery::ROUTE).matches(path)?.pop()?;
        Some(subscription)
    }

    /// The generation whose rows a request asks to be removed.
    fn clears(&self, request: &Request) -> Option<String> {
        let (_, generation) = Pattern::new(projection::CLEAR_ROUTE).matches(&request.path)?.pop()?;
        (request.method == Method::POST && self.effect.is_some()).then_some(generation)
    }

    async fn deliver(
        &self,
        host: &Host,
        effect: &Effect,
        subscription: &str,
        request: Request,
    ) -> Result<Response, Problem> {
        if request.method != Method::POST {
            let detail = "Deliveries are POSTed.";
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).header(http::header::ALLOW, "POST"));
        }
        let events = http_binding::decode(&request.headers, &request.body)
            .map_err(|error| Problem::bad_request(format!("This is no batch of CloudEvents: {error}.")))?;
        let ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
        let streams = streams_of(&request, events.len())?;
        let generation = generation_of(&request)?;
        let host = &generation.map_or_else(|| host.clone(), |generation| host.building(generation));
        let delivered = Delivered {
            subscription: &projection::name_of(subscription, generation.unwrap_or_default().number),
            events,
            streams,
            scope: self.subscribes.as_deref(),
        };
        let outcomes = inbox::receive(host, delivered, effect).await?;
        let body = delivery::encode_answer(ids.iter().map(String::as_str).zip(&outcomes));
        let content_type: (HeaderName, String) = (http::header::CONTENT_TYPE, "application/json".to_owned());
        Ok(Response {
            status: StatusCode::OK,
            headers: vec![content_type],
            body,
        })
    }

    /// Has the events of a broker's message take effect, as those of a delivery do.
    ///
    /// # Errors
    /// What its host is to log: the message holds no events, the function hears none, the store failed, or an event failed
    /// that nobody sends again.
    pub async fn hear(&self, host: &Host, payload: &[u8]) -> Result<(), Error> {
        let Some(effect) = &self.effect else {
            return Err(Error::Configuration {
                name: self.name.to_owned(),
                reason: "has a trigger for messages and no effect: give the trigger another component".to_owned(),
            });
        };
        let scoped = self.publishes.as_ref().map(|types| host.publishing(types.clone()));
        let consumer = Consumer {
            name: self.name,
            scope: self.subscribes.as_deref(),
            effect,
        };
        message::receive(scoped.as_ref().unwrap_or(host), &consumer, payload).await
    }

    async fn dispatch(&self, host: &Host, mut request: Request) -> Result<Reply, Problem> {
        if let Some(variable) = self.token_variable {
            bearer::check(host, &request, variable).await?;
        }
        // A HEAD is a GET whose body isn't sent.
        let wanted = if request.method == Method::HEAD {
            Method::GET
        } else {
            request.method.clone()
        };
        let matching = |route: &Route| route.pattern.matches(&request.path);
        let found: Vec<(&Route, Matched)> = self
            .routes
            .iter()
            .filter_map(|route| matching(route).map(|parameters| (route, parameters)))
            .collect();
        if found.is_empty() {
            return Err(Problem::not_found("There is nothing at this path."));
        }
        let allowed: Vec<_> = found.iter().map(|(route, _)| route.method.as_str()).collect();
        let allowed = allowed.join(", ");
        let Some((route, parameters)) = found.into_iter().find(|(route, _)| route.method == wanted) else {
            let detail = format!("{} isn't possible here. Use {allowed}.", request.method);
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).header(http::header::ALLOW, allowed));
        };
        request.parameters = parameters;
        (route.handler)(host.clone(), request).await
    }
}

/// The answer to a request whose body is larger than [`Function::body_bytes_max`].
pub fn body_too_large(limit_bytes: usize) -> Response {
    let detail = format!("The body has more than {limit_bytes} bytes. Send less.");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into()
}

/// The number of each event's stream, when the subscription is ordered.
fn streams_of(request: &Request, count: usize) -> Result<Option<Vec<usize>>, Problem> {
    let Some(value) = request.headers.get(order::STREAMS) else {
        return Ok(None);
    };
    let streams = value
        .to_str()
        .ok()
        .and_then(order::decode)
        .filter(|streams| streams.len() == count);
    let detail = "`selvedge-streams` doesn't have a number for each event.";
    streams.map(Some).ok_or_else(|| Problem::bad_request(detail))
}

/// The generation that a delivery says it builds.
fn generation_of(request: &Request) -> Result<Option<Generation>, Problem> {
    let Some(value) = request.headers.get(projection::GENERATION) else {
        return Ok(None);
    };
    let generation = value.to_str().ok().and_then(|text| text.parse().ok());
    let detail = "`selvedge-generation` names no generation.";
    generation.map(Some).ok_or_else(|| Problem::bad_request(detail))
}
