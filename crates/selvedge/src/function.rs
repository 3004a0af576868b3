//! A function: its routes, its effect and its tables, and how a request finds its way through them.

mod answering;

use std::future::Future;
use std::rc::Rc;

use http::Method;
use selvedge_events::{Event, TypePattern};

use crate::delivery::Outcome;
use crate::host::LocalFuture;
use crate::http::{Pattern, Problem, Reply, Request, Response, Streaming, Upstream};
use crate::idempotency::kept;
use crate::projection::{self, Generation, Projection};
use crate::schema::Tables;
use crate::{Error, Host};

pub use answering::body_too_large;

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

    /// Answers POST on a path, and keeps the answer under the request's `Idempotency-Key`, for requests that aren't commands to an
    /// entity: the same request gets the first answer again, another one under the same key a 422. After a crash it may be
    /// carried out once more, so it must be one that does nothing the second time.
    pub fn post_kept<H, F>(self, path: &'static str, handler: H) -> Self
    where
        H: Fn(Host, Request) -> F + 'static,
        F: Future<Output = Result<Response, Problem>> + 'static,
    {
        let (source, handler) = (format!("/{}", self.name), Rc::new(handler));
        self.post(path, move |host, request| {
            let (source, handler) = (source.clone(), handler.clone());
            async move { kept::answer(host, request, &source, &*handler).await }
        })
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
}

fn patterns(types: &[&str]) -> Rc<[TypePattern]> {
    let pattern = |text: &&str| TypePattern::parse(text).expect("a scope is written as type patterns");
    types.iter().map(pattern).collect()
}
