//! `GET /events`: filters, pages, and what is no filter.

use http::StatusCode;
use selvedge_testkit::World;
use serde_json::{Value, json};

use super::{BATCH, event, send};
use crate::harness::{create, simulate};

/// Follows the links from a path to the end: the ids of each page, and the last page's cursor.
async fn follow(world: &World, path: &str) -> (Vec<Vec<String>>, String) {
    let (mut pages, mut path) = (Vec::new(), path.to_owned());
    loop {
        let answer = world.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.json());
        assert_eq!(answer.header("content-type"), BATCH);
        let ids = answer.json().as_array().expect("a batch").iter().map(id).collect();
        pages.push(ids);
        match answer.header("link").split_once(">; rel=\"next\"") {
            Some((link, _)) => path = link.trim_start_matches('<').to_owned(),
            None => return (pages, answer.header("selvedge-cursor").to_owned()),
        }
        assert!(pages.len() < 50, "the links lead in a circle");
    }
}

fn id(event: &Value) -> String {
    event["id"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_journal_is_read_page_by_page() -> anyhow::Result<()> {
    simulate(async |world| {
        let (pages, cursor) = follow(&world, "/events").await;
        assert_eq!((pages, &*cursor), (vec![vec![]], "0"));
        let events: Vec<_> = (0..7).map(|number| event(&number.to_string())).collect();
        send(&world, BATCH, json!(events)).await;
        let (pages, cursor) = follow(&world, "/events?limit=3").await;
        assert_eq!(pages, [vec!["0", "1", "2"], vec!["3", "4", "5"], vec!["6"]]);
        assert_eq!(cursor, "7");
        let (rest, _) = follow(&world, "/events?after=7").await;
        assert_eq!(rest, [Vec::<String>::new()]);
        create(&world, "Buy groceries", "u1").await;
        let (rest, _) = follow(&world, "/events?after=7").await;
        assert_eq!(rest[0].len(), 1, "the cursor goes on where the last page ended");
        Ok(())
    })
}

#[test]
fn filters_are_kept_from_page_to_page() -> anyhow::Result<()> {
    simulate(async |world| {
        let todo = create(&world, "Buy groceries", "u1").await;
        let events: Vec<_> = (0..4).map(|number| event(&number.to_string())).collect();
        send(&world, BATCH, json!(events)).await;
        world.post(&format!("/todos/{todo}/complete"), &json!({})).await;

        let (weather, _) = follow(&world, "/events?type=weather.*.*&limit=2").await;
        assert_eq!(weather.concat(), ["0", "1", "2", "3"]);
        let (both, _) = follow(&world, "/events?limit=1&type=weather.*.*,todos.task.created").await;
        assert_eq!(both.concat().len(), 5);
        let answer = world.get(&format!("/events?stream=todos.task/{todo}")).await;
        let types: Vec<_> = answer
            .json()
            .as_array()
            .expect("a batch")
            .iter()
            .map(|event| event["type"].clone())
            .collect();
        assert_eq!(types, ["todos.task.created", "todos.task.completed"]);
        let created = &answer.json()[0];
        assert_eq!(created["dataschema"], "selvedge:/schemas/todos.task.created.json");
        assert_eq!(created["correlationid"], created["id"]);
        Ok(())
    })
}

#[test]
fn what_is_no_filter_is_a_400_that_names_it() -> anyhow::Result<()> {
    simulate(async |world| {
        for path in ["/events", "/events/stream"] {
            let many = format!("type={}", vec!["a.b.c"; 21].join(","));
            for query in [
                "after=x",
                "after=-1",
                "after=1.5",
                "type=Nonsense",
                "type=",
                "type=a.b",
                &many,
            ] {
                let answer = world.get(&format!("{path}?{query}")).await;
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}?{query}");
                let name = query.split('=').next().unwrap_or_default();
                let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
                assert!(detail.contains(name), "{detail}");
            }
        }
        assert_eq!(world.get("/events?limit=0").await.status, StatusCode::BAD_REQUEST);
        Ok(())
    })
}
