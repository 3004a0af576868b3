//! Notifications: tells people what happened to their todos.
//!
//! Every event becomes one row for the user that it is about, once. When `notify_webhook_url` is set it is also POSTed
//! there, at least once, with the event's id as `Idempotency-Key`. The row comes first: a webhook that fails brings the
//! event again, and then finds its row there. When the rows are built anew, nobody outside is told a second time.

mod webhook;

use selvedge::host::placeholders;
use selvedge::http::{Problem, Request, Response};
use selvedge::projection::{self, Generation, Projection};
use selvedge::schema::Tables;
use selvedge::{Error, Event, Function, Host, Outcome, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

selvedge::export!(function);

const TABLES: Tables = Tables {
    owner: "notifications",
    migrations: &[&[
        "CREATE TABLE IF NOT EXISTS notifications (
            number INTEGER PRIMARY KEY,
            generation INTEGER NOT NULL,
            event_id TEXT NOT NULL,
            source TEXT NOT NULL,
            user_id TEXT NOT NULL,
            type TEXT NOT NULL,
            todo_id TEXT,
            text TEXT NOT NULL,
            at_ms INTEGER NOT NULL,
            UNIQUE (generation, event_id, source)
        )",
        "CREATE INDEX IF NOT EXISTS notifications_by_user ON notifications (user_id, generation, number)",
        "INSERT INTO projections (function, generation) VALUES ('notifications', 0) ON CONFLICT DO NOTHING",
    ]],
};

const PROJECTION: Projection = Projection {
    tables: &[("notifications", "number")],
};

fn function() -> Function {
    Function::new("notifications")
        .publishes(&[])
        .subscribes(&["todos.task.*"])
        .tables(TABLES)
        .get("/notifications", list)
        .projection(PROJECTION, notify)
}

/// What a notification says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<i64>,
    event_id: String,
    user_id: String,
    #[serde(rename = "type")]
    event_type: String,
    todo_id: Option<String>,
    text: String,
    at: Timestamp,
}

async fn notify(host: Host, generation: Generation, events: Vec<Event>) -> Result<Vec<Outcome>, Error> {
    let read: Vec<_> = events.iter().map(notification).collect();
    let notifications: Vec<_> = events
        .iter()
        .zip(&read)
        .filter_map(|(event, read)| Some((event, read.as_ref().ok()?)))
        .collect();
    store(&host, generation, &notifications)?;

    let told = notifications.into_iter().map(|(_, notification)| notification);
    let outcomes = if generation.is_being_built {
        vec![Outcome::Success; told.count()]
    } else {
        webhook::post(&host, told).await?
    };
    let mut outcomes = outcomes.into_iter();
    let outcome = |read: Result<Notification, String>| match read {
        Ok(_) => outcomes.next().expect("every notification has an outcome"),
        Err(reason) => Outcome::drop(reason),
    };
    Ok(read.into_iter().map(outcome).collect())
}

/// What an event says to whom; an event that can't be understood never will be.
fn notification(event: &Event) -> Result<Notification, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct About {
        user_id: String,
        title: String,
    }
    let About { user_id, title } = event.data_as().map_err(|error| error.to_string())?;
    let text = match event.event_type.rsplit('.').next() {
        Some("created") => format!("New: {title}"),
        Some("changed") => format!("Changed: {title}"),
        Some("completed") => format!("Done: {title}"),
        Some("deleted") => format!("Deleted: {title}"),
        _ => format!("{}: {title}", event.event_type),
    };
    Ok(Notification {
        number: None,
        event_id: event.id.clone(),
        user_id,
        event_type: event.event_type.clone(),
        todo_id: event.subject.clone(),
        text,
        at: event.time.unwrap_or(Timestamp::from_unix_ms(0)),
    })
}

/// One statement for all; those that are there already stay as they are.
fn store(host: &Host, generation: Generation, notifications: &[(&Event, &Notification)]) -> Result<(), Error> {
    if notifications.is_empty() {
        return Ok(());
    }
    let statement = format!(
        "INSERT INTO notifications (generation, event_id, source, user_id, type, todo_id, text, at_ms) VALUES {}
         ON CONFLICT DO NOTHING",
        placeholders(notifications.len(), 8)
    );
    let row = |(event, notification): &(&Event, &Notification)| {
        [
            generation.number.into(),
            (*event.id).into(),
            (*event.source).into(),
            (*notification.user_id).into(),
            (*notification.event_type).into(),
            notification.todo_id.as_deref().into(),
            (*notification.text).into(),
            notification.at.unix_ms().into(),
        ]
    };
    host.execute(&statement, notifications.iter().flat_map(row).collect())
        .map(drop)
}

/// Someone's notifications, oldest first. `after` is the number of the last one of the page before.
async fn list(host: Host, request: Request) -> Result<Response, Problem> {
    let user_id = request.required_query("userId")?;
    let limit = request.page_items()?;
    let after: i64 = match request.query("after") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| Problem::bad_request("`after` must be a number: take `next` of the page before."))?,
    };
    let statement = format!(
        "SELECT number, event_id, user_id, type, todo_id, text, at_ms FROM notifications
         WHERE user_id = ? AND generation = {} AND number > ? ORDER BY number LIMIT ?",
        projection::live("notifications")
    );
    // One more than asked for tells whether there is a next page.
    let rows = host.execute(&statement, vec![(*user_id).into(), after.into(), (limit + 1).into()])?;
    let mut notifications = Vec::with_capacity(rows.len());
    for mut row in rows {
        notifications.push(Notification {
            number: Some(row.integer()?),
            event_id: row.text()?,
            user_id: row.text()?,
            event_type: row.text()?,
            todo_id: row.optional_text()?,
            text: row.text()?,
            at: Timestamp::from_unix_ms(row.integer()?),
        });
    }
    let next = (notifications.len() > limit as usize).then(|| notifications[limit as usize - 1].number);
    notifications.truncate(limit as usize);
    Ok(Response::ok(
        &json!({ "notifications": notifications, "next": next.flatten() }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_type: &str, data: serde_json::Value) -> Event {
        Event::new("1", "/todos", event_type)
            .with_subject("t1")
            .with_json(&data)
            .expect("JSON")
    }

    #[test]
    fn every_kind_of_event_has_its_words() {
        for (event_type, text) in [
            ("todos.task.created", "New: Buy groceries"),
            ("todos.task.changed", "Changed: Buy groceries"),
            ("todos.task.completed", "Done: Buy groceries"),
            ("todos.task.deleted", "Deleted: Buy groceries"),
            ("todos.task.archived", "todos.task.archived: Buy groceries"),
        ] {
            let read = notification(&event(event_type, json!({"title": "Buy groceries", "userId": "u1"})));
            let read = read.expect("it says whom it is about");
            assert_eq!(
                (&*read.user_id, &*read.text, read.todo_id.as_deref()),
                ("u1", text, Some("t1"))
            );
        }
    }

    #[test]
    fn an_event_about_nobody_is_not_understood() {
        for data in [
            json!({}),
            json!({"title": "x"}),
            json!({"title": "x", "userId": 5}),
            json!(null),
        ] {
            assert!(notification(&event("todos.task.created", data)).is_err());
        }
    }
}
