//! HTTP requests to the application's functions, in process: whatever comes is answered, refusals are problems that store
//! nothing, and nothing is the application's own fault.

use std::rc::Rc;

use http::Method;
use selvedge::delivery::decode_answer;
use selvedge::http::{Answer, Request, Response};
use selvedge::schema::Tables;
use selvedge::{Function, Host};
use serde_json::Value;

use super::events::message;
use super::support::World;
use crate::target::{Execute, Target};

/// A todo and an order that are there, so that requests can find something.
const SEED: &[&[u8]] = &[
    b"POST /todos\nidempotency-key: seed\n\n{\"title\":\"Buy groceries\",\"userId\":\"u1\"}",
    b"POST /orders\nidempotency-key: seed\n\n{\"userId\":\"u1\",\"items\":[{\"sku\":\"a\",\"quantity\":1,\"priceCents\":100}],\"paymentMethod\":\"card\"}",
];

/// `METHOD target`, headers, an empty line, a body.
pub const TARGET: Target = Target {
    name: "requests",
    words: &[
        "GET ",
        "POST ",
        "PATCH ",
        "DELETE ",
        "HEAD ",
        "/todos",
        "/users",
        "/events",
        "/events/stream",
        "/schemas/todos.task.created.json",
        "/asyncapi.json",
        "&stream=",
        "last-event-id: 1\n",
        "authorization: Bearer token\n",
        "/admin/dead-letters",
        "/complete",
        "/notifications",
        "/analytics/events",
        "/orders",
        "/payments",
        "/shipments",
        "/health",
        "/health/ready",
        "/relay/drain",
        "/_selvedge/deliver/notifications",
        "/_selvedge/deliver/analytics",
        "/_selvedge/deliver/orders",
        "/_selvedge/deliver/payments",
        "/_selvedge/health",
        "?userId=u1",
        "&limit=",
        "&after=",
        "?type=",
        "&day=2026-11-23",
        "idempotency-key: k\n",
        "if-match: \"1\"\n",
        "if-match: *\n",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
        "content-type: application/json\n",
        "content-type: application/cloudevents-batch+json\n",
        "content-type: application/cloudevents+json\n",
        "\"title\":",
        "\"userId\":",
        "\"dueAt\":",
        "\"2026-11-23T00:00:00Z\"",
        "\"items\":",
        "\"sku\":",
        "\"quantity\":",
        "\"priceCents\":",
        "\"paymentMethod\":",
        "\"specversion\":\"1.0\"",
        "\"type\":\"todos.task.created\"",
        "\"type\":\"payments.payment.requested\"",
        "\"data\":{",
        "\"subject\":",
    ],
    prepare: || -> Execute {
        let application = Application::new();
        Box::new(move |input| application.check(input))
    },
};

/// All functions in one world.
struct Application {
    world: Rc<World>,
    functions: Vec<(&'static str, Rc<Function>)>,
}

impl Application {
    fn new() -> Self {
        let functions: Vec<(&'static str, Rc<Function>)> = vec![
            ("users", Rc::new(in_process_users::exported())),
            ("todos", Rc::new(in_process_todos::exported())),
            ("notifications", Rc::new(in_process_notifications::exported())),
            ("analytics", Rc::new(in_process_analytics::exported())),
            ("orders", Rc::new(in_process_orders::exported())),
            ("payments", Rc::new(in_process_payments::exported())),
            ("shipping", Rc::new(in_process_shipping::exported())),
            ("events", Rc::new(in_process_events::exported())),
            ("admin", Rc::new(in_process_admin::exported())),
            ("health", Rc::new(in_process_health::exported())),
            ("relay", Rc::new(in_process_relay::exported())),
        ];
        let tables: Vec<Tables> = functions
            .iter()
            .flat_map(|(_, function)| function.declared_tables())
            .cloned()
            .collect();
        let world = World::new(&tables);
        let token = ("admin_token".to_owned(), "token".to_owned());
        world.variables.borrow_mut().extend([token]);
        for (name, function) in &functions {
            let function = function.clone();
            world.calls_of(name, move |host, call| {
                let function = function.clone();
                Box::pin(async move {
                    let path = call.url.split_once(".internal").map_or("/", |(_, path)| path);
                    let headers = call.headers.iter();
                    let headers = headers.filter_map(|(name, value)| Some((name.clone(), value.parse().ok()?)));
                    let request = Request::new(call.method.clone(), path, headers.collect(), call.body.clone());
                    let Response { status, body, .. } = function.answer(&host, request).await;
                    Ok(Answer {
                        status,
                        retry_after: None,
                        body,
                    })
                })
            });
        }
        // The bell is heard; what the relay would do then is no part of an answer.
        world.calls_of(selvedge::bell::RELAY, |_, _| {
            Box::pin(async {
                Ok(Answer {
                    status: http::StatusCode::ACCEPTED,
                    retry_after: None,
                    body: Vec::new(),
                })
            })
        });
        let application = Self { world, functions };
        for input in SEED {
            let (_, response) = application.answer(input).expect("a request");
            assert!(response.status.is_success(), "{response:?}");
        }
        application
    }

    /// The function whose path it is, and its answer. `None`: the input is no request, or for nobody.
    fn answer(&self, input: &[u8]) -> Option<(Vec<String>, Response)> {
        let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
        let line = std::str::from_utf8(&input[..end]).ok()?;
        let (method, target) = line.split_once(' ')?;
        let method: Method = method.parse().ok()?;
        // What the engine's HTTP server lets through.
        target.parse::<http::Uri>().ok().filter(|_| target.starts_with('/'))?;
        let (headers, body) = message(input.get(end + 1..).unwrap_or_default());
        let function = self.function_for(target)?;
        let request = Request::new(method, target, headers, body.to_vec());
        if body.len() > function.body_bytes_max(&request.path) {
            return None;
        }
        let ids = http_ids(&request);
        let host: Host = self.world.host();
        let response = self
            .world
            .block_on(async move { function.answer(&host, request).await });
        Some((ids, response))
    }

    fn function_for(&self, target: &str) -> Option<Rc<Function>> {
        let path = target.split('?').next().unwrap_or_default();
        let mut segments = path.trim_start_matches('/').split('/');
        let name = match segments.next()? {
            "_selvedge" => segments.nth(1).unwrap_or("todos"),
            "shipments" => "shipping",
            "asyncapi.json" | "schemas" => "events",
            name => name,
        };
        let named = |(known, _): &&(&str, Rc<Function>)| *known == name;
        self.functions.iter().find(named).map(|(_, function)| function.clone())
    }

    /// Every input finds the same world: what it changes is rolled back.
    fn check(&self, input: &[u8]) {
        let store = self.world.store.borrow().clone();
        let now_ms = self.world.now_ms();
        self.world.execute("SAVEPOINT input", Vec::new()).expect("a savepoint");
        let (before, kept) = (self.changes(), self.kept_answers());
        if let Some((ids, response)) = self.answer(input) {
            self.check_response(&ids, &response);
            if response.status.is_client_error() {
                // A key is written down before its request is looked at, and taken back.
                let taken_back = if is_keyed(input) { 2 } else { 0 };
                let changes = self.changes() - before;
                assert!(
                    changes == 0 || changes == taken_back,
                    "a refusal stores nothing: {response:?}"
                );
                assert_eq!(self.kept_answers(), kept, "a refusal keeps no key: {response:?}");
                assert_eq!(
                    *self.world.store.borrow(),
                    store,
                    "a refusal stores nothing: {response:?}"
                );
            }
        }
        for statement in ["ROLLBACK TO input", "RELEASE input"] {
            self.world
                .execute(statement, Vec::new())
                .expect("the savepoint is there");
        }
        *self.world.store.borrow_mut() = store;
        self.world.calls.borrow_mut().clear();
        self.world.set_now_ms(now_ms);
    }

    /// Rows changed so far.
    fn changes(&self) -> i64 {
        self.number("SELECT total_changes()")
    }

    /// Keys under which an answer is kept, or will be.
    fn kept_answers(&self) -> i64 {
        self.number("SELECT count(*) FROM kept_answers")
    }

    fn number(&self, statement: &str) -> i64 {
        let rows = self.world.rows(statement);
        rows.first().and_then(|row| row.parse().ok()).expect("a number")
    }

    fn check_response(&self, ids: &[String], response: &Response) {
        assert!(!response.status.is_server_error(), "{response:?}");
        assert!(
            response
                .headers
                .iter()
                .all(|(_, value)| http::HeaderValue::from_str(value).is_ok()),
            "{response:?}"
        );
        let content_type = response.headers.iter().find(|(name, _)| name == "content-type");
        let content_type = content_type.map(|(_, value)| &**value);
        let body = || serde_json::from_slice::<Value>(&response.body).expect("the body is JSON");
        if response.status.is_client_error() {
            assert_eq!(content_type, Some("application/problem+json"), "{response:?}");
            assert_eq!(body()["status"], response.status.as_u16(), "{response:?}");
            assert!(body()["detail"].is_string(), "{response:?}");
        } else if content_type == Some("application/json") {
            body();
        }
        if !ids.is_empty() && response.status.is_success() {
            decode_answer("function", &response.body, ids.iter().map(String::as_str)).expect("an answer to a delivery");
        }
    }
}

/// Whether an input may be a request with an `Idempotency-Key`.
fn is_keyed(input: &[u8]) -> bool {
    const NAME: &[u8] = b"idempotency-key";
    input.windows(NAME.len()).any(|bytes| bytes.eq_ignore_ascii_case(NAME))
}

/// The ids of the events that a delivery brings.
fn http_ids(request: &Request) -> Vec<String> {
    if !request.path.starts_with("/_selvedge/deliver/") || request.method != Method::POST {
        return Vec::new();
    }
    let events = selvedge_events::http_binding::decode(&request.headers, &request.body);
    events.unwrap_or_default().into_iter().map(|event| event.id).collect()
}
