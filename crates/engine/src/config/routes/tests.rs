use super::*;
use std::path::Path;

fn manifest(routes: &[&str]) -> Manifest {
    let mut text = "spin_manifest_version = 2\n[application]\nname = \"a\"\n[trigger]\n".to_owned();
    for (number, route) in routes.iter().enumerate() {
        text += &format!("[[trigger.http]]\nroute = {route:?}\ncomponent = \"c{number}\"\n");
    }
    Manifest::parse(&text, Path::new("spin.toml"), Path::new("/")).unwrap()
}

fn router(routes: &[&str]) -> Router {
    Router::build(&manifest(routes)).unwrap()
}

/// A route, what its wildcard stands for, and its parameters.
type Found = (String, String, Vec<(String, String)>);

fn found(router: &Router, path: &str) -> Option<Found> {
    let found = router.route(path)?;
    let parameters = found
        .parameters
        .iter()
        .map(|parameter| (parameter.name.to_owned(), parameter.value.clone()));
    Some((
        found.raw_route.to_owned(),
        found.trailing_wildcard.clone(),
        parameters.collect(),
    ))
}

#[test]
fn the_most_specific_route_wins() {
    let router = router(&[
        "/...",
        "/todos/...",
        "/todos/:id",
        "/todos/new",
        "/todos/:id/done",
        "/:a/:b",
        "/users",
    ]);
    for (path, route) in [
        ("/", "/..."),
        ("/other", "/..."),
        ("/users", "/users"),
        ("/users/", "/users"),
        ("/todos", "/todos/..."),
        ("/todos/", "/todos/..."),
        ("/todos/new", "/todos/new"),
        ("/todos/7", "/todos/:id"),
        ("/todos/7/done", "/todos/:id/done"),
        ("/todos/7/undone", "/todos/..."),
        ("/one/two", "/:a/:b"),
        ("/one/two/three", "/..."),
    ] {
        assert_eq!(found(&router, path).unwrap().0, route, "{path}");
    }
}

#[test]
fn wildcards_keep_their_slashes() {
    let router = router(&["/foo/..."]);
    for (path, rest) in [
        ("/foo", ""),
        ("/foo/", "/"),
        ("/foo/bar", "/bar"),
        ("/foo/bar/", "/bar/"),
        ("/foo/bar/baz", "/bar/baz"),
        ("/foo/%20", "/%20"),
    ] {
        assert_eq!(found(&router, path).unwrap().1, rest, "{path}");
    }
    for path in ["/", "/food", "/fo", "/bar/foo", "", "/Foo"] {
        assert_eq!(found(&router, path), None, "{path}");
    }
}

#[test]
fn parameters_stand_for_one_segment() {
    let router = router(&["/u/:user_id/t/:task/..."]);
    let (_, rest, parameters) = found(&router, "/u/42/t/a%2Fb/x/y").unwrap();
    assert_eq!(rest, "/x/y");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(parameters, [pair("user_id", "42"), pair("task", "a%2Fb")]);
    assert_eq!(found(&router, "/u/42/t"), None);
    // As on Spin: a segment may be empty.
    assert_eq!(
        found(&router, "/u//t/1").unwrap().2,
        [pair("user_id", ""), pair("task", "1")]
    );
}

#[test]
fn the_root_is_a_route() {
    for root in ["/", ""] {
        let router = router(&[root]);
        assert!(found(&router, "/").is_some());
        assert_eq!(found(&router, "/x"), None);
    }
}

#[test]
fn targets_are_told_apart() {
    let text = "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\nroute = \"/s\"\n\
                static_response = { body = \"hello\" }\n[[trigger.http]]\nroute = \"/c\"\ncomponent = \"c\"\n\
                [[trigger.http]]\nroute = { private = true }\ncomponent = \"p\"\n";
    let manifest = Manifest::parse(text, Path::new("spin.toml"), Path::new("/")).unwrap();
    let router = Router::build(&manifest).unwrap();
    assert_eq!(router.route("/c").unwrap().component(), Some("c"));
    let RouteTarget::Static(response) = router.route("/s").unwrap().target else {
        panic!("no static response")
    };
    assert_eq!((response.status.as_u16(), response.body.as_str()), (200, "hello"));
    assert_eq!(router.route("/s").unwrap().component(), None);
    assert_eq!(router.routes().count(), 2, "a private route is no route");
    assert_eq!(RouteMatch::chained("p", "/x").component(), Some("p"));
}

#[test]
fn colliding_routes_are_found() {
    for (first, second) in [
        ("/a", "/a"),
        ("/a", "/a/"),
        ("/a", "a"),
        ("/a/...", "/a/*"),
        ("/:x", "/:y"),
        ("/a/:x/...", "/a/:y/..."),
        ("/", ""),
    ] {
        let manifest = manifest(&[first, second]);
        let collisions = collisions(&manifest.triggers.http);
        assert_eq!(collisions.len(), 1, "{first} {second}");
        assert_eq!((collisions[0].first_line, collisions[0].second_line), (5, 8));
        let error = Router::build(&manifest).unwrap_err().to_string();
        assert!(
            error.starts_with("spin.toml, line 8: ") && error.contains("in line 5"),
            "{error}"
        );
    }
    let manifest = manifest(&["/a", "/a/...", "/:x", "/b", "/:x/b", "/a.b", "/A"]);
    assert_eq!(collisions(&manifest.triggers.http), []);
}

#[test]
fn malformed_routes_are_refused() {
    for (route, names) in [
        ("/:", "without a name"),
        ("/*name", "a wildcard has no name"),
        ("/a/.b", "begins with a dot"),
        ("/a/*/b", "behind its wildcard"),
        ("/.well-known/spin/health", "/.well-known/spin/"),
        ("/é/:a", "ASCII"),
        ("/a\nb", "header"),
        ("/:a b", "header"),
    ] {
        let error = Router::build(&manifest(&[route])).unwrap_err().to_string();
        assert!(
            error.starts_with("spin.toml, line 5: the route ") && error.contains(names),
            "{error}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_route_and_no_path_makes_it_panic(
        routes in proptest::collection::vec("(/(\\.\\.\\.|\\*|:?[a-c.é*:]{0,3})){0,4}", 1..6),
        path in "[/a-c.é%*:]{0,12}",
    ) {
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        if let Ok(router) = Router::build(&manifest(&routes)) {
            let _ = router.route(&path).map(|found| found.spin_headers("http", "h", &path, "1.2.3.4:5".parse().unwrap()));
        }
    }
}
