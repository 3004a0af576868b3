//! From a request's path to the trigger that takes it.
//!
//! A route is a path. It may end in `/...`, which stands for anything below it, itself included, and a segment `:name`
//! in it stands for any one segment. Of several routes that match, exact segments win over parameters and parameters
//! over `/...`, from the left.

mod pattern;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::{HeaderName, HeaderValue};

use super::error::ConfigError;
use super::manifest::{HttpHandler, HttpRoute, HttpTrigger, Manifest, StaticResponse};
use pattern::Pattern;

/// Paths that the host answers itself.
pub const RESERVED_PREFIX: &str = "/.well-known/spin/";

/// All routes of an application.
#[derive(Debug, Clone)]
pub struct Router {
    /// In the order of precedence.
    routes: Vec<Route>,
}

#[derive(Debug, Clone)]
struct Route {
    pattern: Pattern,
    handler: HttpHandler,
    headers: RouteHeaders,
    /// By the position of the parameter; no header for one whose name comes again.
    parameters: Vec<(String, Option<HeaderName>)>,
}

/// What is the same for every request of a route.
#[derive(Debug, Clone)]
pub(super) struct RouteHeaders {
    pub raw: String,
    pub matched_route: HeaderValue,
    pub raw_component_route: HeaderValue,
    pub component_route: HeaderValue,
}

/// Who takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteTarget<'r> {
    /// The component of that id.
    Component(&'r str),
    /// The host itself.
    Static(&'r StaticResponse),
}

/// A route that matches a path. It doesn't borrow the path, so that the request may be changed by it.
#[derive(Debug, Clone)]
pub struct RouteMatch<'r> {
    /// Who takes the request.
    pub target: RouteTarget<'r>,
    /// The route as the manifest writes it.
    pub raw_route: &'r str,
    /// What `/...` stands for, with its leading slash and as the path ends; empty without one.
    pub trailing_wildcard: String,
    /// What each `:name` stands for.
    pub parameters: Vec<RouteParameter<'r>>,
    pub(super) headers: &'r RouteHeaders,
}

/// What one `:name` of a route stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteParameter<'r> {
    /// The name, without its colon.
    pub name: &'r str,
    /// The segment of the path.
    pub value: String,
    /// `spin-path-match-<name>`; `None` where the name comes again later in the route, whose value counts.
    pub header: Option<&'r HeaderName>,
}

/// Two triggers whose routes match exactly the same paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteCollision {
    /// The route of the first, as the manifest writes it.
    pub first_route: String,
    /// The line of the first.
    pub first_line: usize,
    /// The route of the second.
    pub second_route: String,
    /// The line of the second.
    pub second_line: usize,
}

impl Router {
    /// Builds the router of all HTTP triggers with a path. A malformed or reserved route and two that collide are errors.
    pub fn build(manifest: &Manifest) -> Result<Self, ConfigError> {
        let mut routes: Vec<Route> = Vec::new();
        for trigger in &manifest.triggers.http {
            let HttpRoute::Path(path) = &trigger.route else {
                continue;
            };
            let invalid = |problem: String, remedy: &str| {
                ConfigError::invalid(
                    manifest.at(trigger.line),
                    format!("the route \"{path}\" {problem}"),
                    remedy,
                )
            };
            if based_route(path).starts_with(RESERVED_PREFIX) {
                let problem = format!("is below {RESERVED_PREFIX}, which the host answers itself");
                return Err(invalid(problem, "choose another path"));
            }
            let pattern = parse(path)
                .map_err(|problem| invalid(problem, "write a path such as \"/todos/:id\" or \"/todos/...\""))?;
            let route = Route::new(path, pattern, trigger.handler.clone())
                .ok_or_else(|| invalid("can't be told in a header".to_owned(), "use letters, digits, - and _"))?;
            let place = routes.iter().position(|other| route.pattern.precedes(&other.pattern));
            routes.insert(place.unwrap_or(routes.len()), route);
        }
        if let Some(collision) = collisions(&manifest.triggers.http).into_iter().next() {
            let RouteCollision {
                first_route,
                first_line,
                second_route,
                second_line,
            } = collision;
            let problem = format!(
                "the route \"{second_route}\" matches the same paths as \"{first_route}\" in line {first_line}"
            );
            return Err(ConfigError::invalid(
                manifest.at(second_line),
                problem,
                "change or remove one of the two",
            ));
        }
        Ok(Self { routes })
    }

    /// The route that takes a path; the path is without its query.
    pub fn route(&self, path: &str) -> Option<RouteMatch<'_>> {
        self.routes.iter().find_map(|route| route.matches(path))
    }

    /// All routes as the manifest writes them, with who takes them, in the order of precedence.
    pub fn routes(&self) -> impl Iterator<Item = (&str, RouteTarget<'_>)> {
        self.routes
            .iter()
            .map(|route| (route.headers.raw.as_str(), target(&route.handler)))
    }
}

impl Route {
    /// `None` where the route or a parameter's name can't be told in a header.
    fn new(path: &str, pattern: Pattern, handler: HttpHandler) -> Option<Self> {
        let names: Vec<String> = pattern.parameters().map(str::to_owned).collect();
        let mut parameters = Vec::new();
        for (position, name) in names.iter().enumerate() {
            let comes_again = names[position + 1..].contains(name);
            let header = format!("spin-path-match-{}", name.replace('_', "-").to_ascii_lowercase());
            let header = HeaderName::try_from(header).ok()?;
            parameters.push((name.clone(), (!comes_again).then_some(header)));
        }
        let headers = RouteHeaders::new(path, &based_route(path))?;
        Some(Self {
            pattern,
            handler,
            headers,
            parameters,
        })
    }

    fn matches(&self, path: &str) -> Option<RouteMatch<'_>> {
        let captures = self.pattern.matches(path)?;
        let wildcard = captures.get(self.parameters.len());
        let named = self.parameters.iter().zip(&captures);
        let parameters = named.map(|((name, header), value)| RouteParameter {
            name,
            value: (*value).to_owned(),
            header: header.as_ref(),
        });
        Some(RouteMatch {
            target: target(&self.handler),
            raw_route: &self.headers.raw,
            trailing_wildcard: wildcard.map_or_else(String::new, |rest| trailing_wildcard(rest, path)),
            parameters: parameters.collect(),
            headers: &self.headers,
        })
    }
}

impl<'r> RouteMatch<'r> {
    /// The match of a request by service chaining, which reaches the component under any path.
    pub fn chained(component: &'r str, path: &str) -> Self {
        static HEADERS: LazyLock<RouteHeaders> =
            LazyLock::new(|| RouteHeaders::new("/...", "/...").expect("the route of service chaining is ASCII"));
        Self {
            target: RouteTarget::Component(component),
            raw_route: &HEADERS.raw,
            trailing_wildcard: path.to_owned(),
            parameters: Vec::new(),
            headers: &HEADERS,
        }
    }

    /// The id of the component that takes the request; `None` where the host answers it itself.
    pub fn component(&self) -> Option<&'r str> {
        match self.target {
            RouteTarget::Component(id) => Some(id),
            RouteTarget::Static(_) => None,
        }
    }
}

impl RouteHeaders {
    fn new(raw: &str, based: &str) -> Option<Self> {
        Some(Self {
            raw: raw.to_owned(),
            matched_route: HeaderValue::from_str(based).ok()?,
            raw_component_route: HeaderValue::from_str(raw).ok()?,
            component_route: HeaderValue::from_str(raw.strip_suffix("/...").unwrap_or(raw)).ok()?,
        })
    }
}

/// The pairs of triggers whose routes match exactly the same paths.
pub fn collisions(triggers: &[HttpTrigger]) -> Vec<RouteCollision> {
    let mut first_of_shape: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    let mut collisions = Vec::new();
    for trigger in triggers {
        let HttpRoute::Path(path) = &trigger.route else {
            continue;
        };
        let Ok(pattern) = parse(path) else { continue };
        match first_of_shape.entry(pattern.shape()) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert((path, trigger.line));
            }
            std::collections::btree_map::Entry::Occupied(first) => collisions.push(RouteCollision {
                first_route: first.get().0.to_owned(),
                first_line: first.get().1,
                second_route: path.clone(),
                second_line: trigger.line,
            }),
        }
    }
    collisions
}

fn target(handler: &HttpHandler) -> RouteTarget<'_> {
    match handler {
        HttpHandler::Component(id) => RouteTarget::Component(id),
        HttpHandler::Static(response) => RouteTarget::Static(response),
    }
}

/// With a leading slash and without a trailing one.
fn based_route(path: &str) -> String {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let absolute = format!("{slash}{path}");
    absolute.strip_suffix('/').unwrap_or(&absolute).to_owned()
}

fn parse(path: &str) -> Result<Pattern, String> {
    // A path in a request is ASCII too, so no other route would ever match.
    if !path.is_ascii() {
        return Err("isn't ASCII".to_owned());
    }
    let based = based_route(path);
    let pattern = match based.strip_suffix("/...") {
        Some(prefix) => format!("{prefix}/*"),
        None => based,
    };
    Pattern::parse(&pattern)
}

/// The pattern cuts slashes off both ends of the path; components get them as they were.
fn trailing_wildcard(rest: &str, path: &str) -> String {
    match (rest.is_empty(), path.ends_with('/')) {
        (true, false) => String::new(),
        (true, true) => "/".to_owned(),
        (false, false) => format!("/{rest}"),
        (false, true) => format!("/{rest}/"),
    }
}

#[cfg(test)]
mod tests;
