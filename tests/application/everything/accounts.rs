//! Users: registered, by two at once with the same address too, renamed and closed.

use http::Method;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::json;

use super::client::Client;

pub async fn register(client: &Client<'_>, chance: &mut StdRng) -> Option<String> {
    let mark = client.mark();
    let account = json!({ "email": format!("{mark}@Example.org"), "name": format!("Ada {mark}") });
    if chance.random_ratio(1, 3) {
        let (one, other) = (format!("one-{mark}"), format!("other-{mark}"));
        let both = futures::future::join(
            client.command("/users", &one, &account),
            client.command("/users", &other, &account),
        );
        return at_once(client, both.await.into());
    }
    let registered = client.command("/users", &format!("register-{mark}"), &account).await?;
    client.expect("a registration", &registered.answer, &[201]);
    opened(client, &registered.answer)
}

/// Of two who register the same address at once, one has it.
fn at_once(client: &Client<'_>, answers: [Option<selvedge_testkit::client::Insisted>; 2]) -> Option<String> {
    for insisted in answers.iter().flatten() {
        client.expect("a registration of two", &insisted.answer, &[201, 409]);
    }
    let accepted: Vec<_> = answers
        .iter()
        .flatten()
        .filter(|insisted| insisted.answer.status == 201)
        .collect();
    if accepted.len() > 1 || accepted.is_empty() && answers.iter().all(Option::is_some) {
        let count = accepted.len();
        client.broken(format!("{count} of two have the address {}@example.org", client.mark()));
    }
    opened(client, &accepted.first()?.answer)
}

fn opened(client: &Client<'_>, answer: &selvedge_testkit::simulation::Answer) -> Option<String> {
    let id = answer.json()["id"].as_str()?.to_owned();
    client.told().users.push(id.clone());
    Some(format!("users.account/{id}"))
}

pub async fn change(client: &Client<'_>, chance: &mut StdRng) {
    let Some(id) = client.told().users.choose(chance).cloned() else {
        return;
    };
    let path = format!("/users/{id}");
    let stale = [("if-match", "\"77\"")];
    let headers: &[(&str, &str)] = if chance.random_ratio(1, 4) { &stale } else { &[] };
    if chance.random_ratio(1, 3) {
        let closed = client.insist(Method::DELETE, &path, headers, "").await;
        let Some(closed) = closed else { return };
        client.expect("closing an account", &closed.answer, &[204, 404, 412]);
        if closed.answer.status != 412 {
            let mut told = client.told();
            told.users.retain(|user| *user != id);
            told.closed.push(id);
        }
        return;
    }
    let name = json!({ "name": client.mark() }).to_string();
    let headers = [headers, &[("content-type", "application/json")]].concat();
    if let Some(renamed) = client.insist(Method::PATCH, &path, &headers, name).await {
        client.expect("renaming an account", &renamed.answer, &[200, 404, 412]);
        client.refused(&renamed, client.mark());
    }
}

/// When all is over an account can be registered, and a todo for it is verified at once: no breaker is left open.
pub async fn works(client: &Client<'_>) {
    let account = json!({ "email": "last@example.org", "name": "Last" });
    let Some(registered) = client.command("/users", "last-account", &account).await else {
        return client.broken("in the end no account can be registered".to_owned());
    };
    client.expect("the last registration", &registered.answer, &[201]);
    let todo = json!({ "title": "the last todo", "userId": registered.answer.json()["id"] });
    let Some(created) = client.command("/todos", "last-todo", &todo).await else {
        return client.broken("in the end no todo can be created".to_owned());
    };
    client.expect("the last todo", &created.answer, &[201]);
    if created.answer.json()["userVerified"] != true {
        client.broken(format!(
            "in the end a todo's user isn't verified: {}",
            created.answer.json()
        ));
    }
}
