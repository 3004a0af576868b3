//! A function: its routes, its effect and its tables, and how a request finds its way through them.

use std::future::Future;
use std::rc::Rc;

use http::{HeaderName, Method, StatusCode};
use selvedge_events::{Event, TypePattern, http_binding};

use crate::delivery::{self, Outcome};
use crate::host::LocalFuture;
use crate::http::{Matched, Pattern, Problem, Reply, Request, Response, Streaming, Upstream};
use crate::inbox::Delivered;
use crate::message::Consumer;
use crate::projection::{self, Generation, Projection};
use crate::schema::Tables;
use crate::{Error, Host, bearer, health, inbox, limits, message, order};

/// What answers a route.
type Handler = Box<dyn Fn(Host, Request) -> LocalFuture<Result<Reply, Problem>>>;

/// What an event of a subscription does: it takes the events that weren't done yet and says what became of each.
pub type Effect = Box<dyn Fn(Host, Vec<Event>) -> LocalFuture<Result<Vec<Outcome>, Error>>>;

/// One component of the application. `selvedge::export!` makes it one.
///
/// ```
/// use selvedge::http::{Problem, Request, Response};
/// use selvedge::{Event, Function, Host, Outcome};
///
/// fn function() -> Function {
///     Function::new("greetings").get("/greetings/:name", greet).effect(remember)
/// }
///
/// async fn greet(_host: Host, request: Request) -> Result<Response, Problem> {
///     Ok(Response::ok(&format!("Hello, {}", request.parameter("name"))))
/// }
///
/// async fn remember(_host: Host, events: Vec<Event>) -> Result<Vec<Outcome>, selvedge::Error> {
///     Ok(vec![Outcome::Success; events.len()])
/// }
/// # function();
/// ```
pub struct Function {
    name: &'static str,
    tables: Vec<Tables>,
    breakers: Vec<String>,
    routes: Vec<Route>,
    effect: Option<Effect>,
    projection: Option<Projection>,
    publishes: Option<Rc<[TypePattern]>>,
    subscribes: Option<Rc<[TypePattern]>>,
    large_bodies: Vec<(&'static str, usize)>,
    /// The variable whose token guards its routes.
    token_variable: Option<&'static str>,
}

struct Route {
    method: Method,
    pattern: Pattern,
    handler: Handler,
}

impl Function {
    /// A function without routes. The name is its component's in spin.toml.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            tables: Vec::new(),
            breakers: Vec::new(),
            routes: Vec::new(),
            effect: None,
            projection: None,
            publishes: None,
            subscribes: None,
            large_bodies: Vec::new(),
            token_variable: None,
        }
    }

    /// Its publish scope: the types of event that it may append, such as `todos.task.*`. The kernel refuses others. A
    /// function that doesn't say may append all.
    ///
    /// # Panics
    /// When a text is no type pattern.
    pub fn publishes(mut self, types: &[&str]) -> Self {
        self.publishes = Some(patterns(types));
        self
    }

    /// Its subscribe scope: the types of event that may be brought to it. An event of another type, which a subscription
    /// brings all the same, has no effect and becomes a dead letter that says so. A function that doesn't say takes all.
    ///
    /// # Panics
    /// When a text is no type pattern.
    pub fn subscribes(mut self, types: &[&str]) -> Self {
        self.subscribes = Some(patterns(types));
        self
    }

    /// Declares tables of its own. They are there before any handler uses the database.
    pub fn tables(mut self, tables: Tables) -> Self {
        self.tables.push(tables);
        self
    }

    /// Says whom it calls: `/health` shows the upstream's circuit breaker.
    pub fn upstream(mut self, upstream: &Upstream) -> Self {
        self.breakers.push(upstream.name().to_owned());
        self
    }

    /// Answers GET on a path such as `/todos/:id`.
    pub fn get<H, F>(self, path: &'static str, handler: H) -> Self
    where
        H: Fn(Host, Request) -> F + 'static,
        F: Future<Output = Result<Response, Problem>> + 'static,
    {
        self.route(Method::GET, path, handler)
    }

    /// Answers POST on a path such as `/todos/:id/complete`.
    pub fn post<H, F>(self, path: &'static str, handler: H) -> Self
    where
        H: Fn(Host, Request) -> F + 'static,
        F: Future<Output = Result<Response, Problem>> + 'static,
    {
        self.route(Method::POST, path, handler)
    }

    /// Answers PUT on a path such as `/todos/:id`.
    pub fn put<H, F>(self, path: &'static str, handler: H) -> Self
    where
        H: Fn(Host, Request) -> F + 'static,
        F: Future<Output = Result<Response, Problem>> + 'static,
    {
        self.route(Method::PUT, path, handler)
    }

    /// Answers PATCH on a path such as `/todos/:id`.
    pub fn patch<H, F>(self, path: &'static str, handler: H) -> Self
    where
        H: Fn(Host, Request) -> F + 'static,
        F: Future<Output = Result<Response, Problem>> + 'static,
    {
        self.route(Method::PATCH, path, handler)
    }

    /// Answers DELETE on a path such as `/todos/:id`.
    pub fn delete<H, F>(self, path: &'static str, handler: H) -> Self
    where
        H: Fn(Host, Request) -> F + 'static,
        F: Future<Output = Result<Response, Problem>> + 'static,
    {
        self.route(Method::DELETE, path, handler)
    }

    /// Answers GET on a path with a body that is made while it is sent.
    pub fn stream<H, F>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Fn(Host, Request) -> F + 'static,
        F: Future<Output = Result<Streaming, Problem>> + 'static,
    {
        let handler: Handler = Box::new(move |host, request| {
            let answer = handler(host, request);
            Box::pin(async { answer.await.map(Reply::Streaming) })
        });
        self.routes.push(Route {
            method: Method::GET,
            pattern: Pattern::new(path),
            handler,
        });
        self
    }

    /// Takes bodies of up to this many bytes on a path, instead of [`limits::REQUEST_BODY_BYTES_MAX`].
    pub fn body_bytes_max_on(mut self, path: &'static str, limit_bytes: usize) -> Self {
        self.large_bodies.push((path, limit_bytes));
        self
    }

    /// Says what the events do that subscriptions bring here. The effect gets events that it isn't done with, and gives
    /// one outcome for each, in their order. An `Err` stands for all of them: they come again, one by one.
    pub fn effect<H, F>(mut self, effect: H) -> Self
    where
        H: Fn(Host, Vec<Event>) -> F + 'static,
        F: Future<Output = Result<Vec<Outcome>, Error>> + 'static,
    {
        self.effect = Some(Box::new(move |host, events| Box::pin(effect(host, events))));
        self
    }

    /// Says what the events do that subscriptions bring here, as [`Function::effect`] does, where they build a projection. Every
    /// row carries the generation that the effect is told, so that a rebuild can build the next one beside it; those who read
    /// take [`projection::live`]. A migration of its tables has to say that there is a projection:
    /// `INSERT INTO projections (function, generation) VALUES ('<name>', 0) ON CONFLICT DO NOTHING`.
    pub fn projection<H, F>(mut self, projection: Projection, effect: H) -> Self
    where
        H: Fn(Host, Generation, Vec<Event>) -> F + 'static,
        F: Future<Output = Result<Vec<Outcome>, Error>> + 'static,
    {
        self.projection = Some(projection);
        let (function, effect) = (self.name, Rc::new(effect));
        self.effect(move |host, events| {
            let effect = effect.clone();
            async move {
                let generation = match host.generation() {
                    Some(generation) => generation,
                    None => projection::live_generation(&host, function)?,
                };
                effect(host, generation, events).await
            }
        })
    }

    /// Lets nobody at its routes whose request doesn't bring the bearer token that the variable of this name holds:
    /// [`bearer::check`]. Deliveries and the question for its health, which no public route leads to, aren't guarded.
    pub fn bearer_token(mut self, variable: &'static str) -> Self {
        self.token_variable = Some(variable);
        self
    }

    fn route<H, F>(mut self, method: Method, path: &'static str, handler: H) -> Self
    where
        H: Fn(Host, Request) -> F + 'static,
        F: Future<Output = Result<Response, Problem>> + 'static,
    {
        let handler: Handler = Box::new(move |host, request| {
            let answer = handler(host, request);
            Box::pin(async { answer.await.map(Reply::Whole) })
        });
        self.routes.push(Route {
            method,
            pattern: Pattern::new(path),
            handler,
        });
        self
    }

    /// The tables that it declared.
    pub fn declared_tables(&self) -> &[Tables] {
        &self.tables
    }

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

fn patterns(types: &[&str]) -> Rc<[TypePattern]> {
    let pattern = |text: &&str| TypePattern::parse(text).expect("a scope is written as type patterns");
    types.iter().map(pattern).collect()
}
