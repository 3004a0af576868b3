//! The circuit breaker between todos and users: it opens, lets one probe through, and closes, for all instances.

use std::sync::Arc;
use std::time::Duration;

use selvedge_testkit::World;
use selvedge_testkit::simulation::{Fault, Node, When};
use serde_json::Value;

use crate::harness::{register, simulate, todo};

/// Where todos asks for a user.
const QUESTION: &str = "http://users.spin.internal/users/";
/// How long the breaker cools down.
const COOL_DOWN: Duration = Duration::from_secs(5);

/// From now on users can't be reached from this node.
fn lose_users(node: &Node) {
    node.faults
        .hit("todos", "http.send", QUESTION, usize::MAX, Fault::Fail, When::Before);
}

/// How often users was asked, on all nodes.
fn asked(world: &World) -> usize {
    let times = |node: &Arc<Node>| node.faults.times_ms("todos", "http.send", QUESTION).len();
    world.all_nodes().iter().map(times).sum()
}

/// Creates a todo on this node, and says whether its user was verified.
async fn is_verified(node: &Node, user: &str) -> bool {
    let headers = [("content-type", "application/json")];
    let body = todo("Buy groceries", user).to_string();
    let created = node.request(http::Method::POST, "/todos", &headers, body).await;
    assert_eq!(created.status, 201, "{}", created.json());
    created.json()["userVerified"]
        .as_bool()
        .expect("it is said of every todo")
}

/// What `/health` says of the breaker.
async fn state(world: &World) -> String {
    let report = world.get("/health").await;
    assert_eq!(report.status, 200, "a breaker that is open makes nobody unwell");
    let breakers = report.json()["breakers"].as_array().cloned().unwrap_or_default();
    let users: Vec<_> = breakers.iter().filter(|breaker| breaker["name"] == "users").collect();
    assert!(matches!(&users[..], [breaker] if breaker["since"].is_null() || breaker["since"].is_string()));
    users[0]["state"].as_str().unwrap_or_default().to_owned()
}

/// Opens the breaker by failures on the first node, and gives the user that was asked for.
async fn open(world: &World) -> anyhow::Result<String> {
    let user = register(world, "ada@example.org").await;
    assert!(is_verified(&world.node(), &user).await);
    assert_eq!((state(world).await.as_str(), asked(world)), ("closed", 1));
    lose_users(&world.node());
    while asked(world) < 1 + 5 {
        assert!(!is_verified(&world.node(), &user).await, "it is accepted all the same");
    }
    assert_eq!(state(world).await, "open");
    Ok(user)
}

#[test]
fn it_opens_after_failures_and_asks_nobody_until_it_has_cooled_down() -> anyhow::Result<()> {
    simulate(async |world| {
        let user = open(&world).await?;
        let asked_before = asked(&world);
        for _ in 0..20 {
            assert!(!is_verified(&world.node(), &user).await);
        }
        tokio::time::sleep(COOL_DOWN - Duration::from_millis(500)).await;
        assert!(!is_verified(&world.node(), &user).await);
        assert_eq!(asked(&world), asked_before, "nobody was asked");

        // The probe fails: it cools down anew.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!is_verified(&world.node(), &user).await);
        assert_eq!(
            (state(&world).await.as_str(), asked(&world)),
            ("open", asked_before + 1)
        );
        assert!(!is_verified(&world.node(), &user).await);
        assert_eq!(asked(&world), asked_before + 1);

        // Users is back: the next probe closes it.
        world.node().faults.clear();
        assert!(
            !is_verified(&world.node(), &user).await,
            "not before the cool-down is over"
        );
        tokio::time::sleep(COOL_DOWN).await;
        assert!(is_verified(&world.node(), &user).await);
        assert_eq!(state(&world).await, "closed");
        let since = world.get("/health").await.json()["breakers"].clone();
        assert!(
            since
                .as_array()
                .into_iter()
                .flatten()
                .any(|breaker| breaker["since"].is_string())
        );
        Ok(())
    })
}

#[test]
fn two_instances_share_it_and_one_of_them_probes() -> anyhow::Result<()> {
    simulate(async |world| {
        let (one, two) = (world.node(), world.add_node()?);
        let user = open(&world).await?;
        assert!(
            !is_verified(&two, &user).await,
            "the other node hasn't failed, and knows all the same"
        );
        tokio::time::sleep(COOL_DOWN).await;

        // Users is back, and slow to answer the probe. Nobody else asks meanwhile, on either node.
        one.faults.clear();
        let asked_before = asked(&world);
        one.faults
            .hit("todos", "http.send", QUESTION, 1, Fault::Stall, When::After);
        let during = async {
            let probing = async || asked(&world) > asked_before;
            world
                .until("a probe is under way", Duration::from_millis(100), probing)
                .await?;
            for node in [&one, &two, &one, &two] {
                assert!(!is_verified(node, &user).await);
            }
            assert_eq!(
                (state(&world).await.as_str(), asked(&world)),
                ("half-open", asked_before + 1)
            );
            one.faults.release();
            anyhow::Ok(())
        };
        let (is_probe_verified, during) = tokio::join!(is_verified(&one, &user), during);
        during?;
        assert!(is_probe_verified);
        assert_eq!(state(&world).await, "closed");

        // The other node hears of it within a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(is_verified(&two, &user).await);
        Ok(())
    })
}

#[test]
fn a_probe_that_died_keeps_nobody_from_probing() -> anyhow::Result<()> {
    simulate(async |world| {
        let (one, two) = (world.node(), world.add_node()?);
        let user = open(&world).await?;
        tokio::time::sleep(COOL_DOWN).await;
        one.faults.clear();
        let headers = [("content-type", "application/json")];
        let body = todo("Buy groceries", &user).to_string();
        // The node is lost in the middle of its probe.
        one.faults
            .hit("todos", "http.send", QUESTION, 1, Fault::NodeLost, When::Before);
        let probe = one.request(http::Method::POST, "/todos", &headers, body);
        _ = tokio::time::timeout(Duration::from_secs(1), probe).await;
        assert!(one.faults.is_lost());
        assert!(!is_verified(&two, &user).await);
        assert_eq!(state(&world).await, "half-open");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(
            is_verified(&two, &user).await,
            "its time was over, and the next probe went well"
        );
        assert_eq!(state(&world).await, "closed");
        Ok(())
    })
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_it_open() -> anyhow::Result<()> {
    simulate(async |world| {
        let user = open(&world).await?;
        world.node().faults.clear();
        world.clock.step_ms(-24 * 60 * 60 * 1_000);
        assert!(is_verified(&world.node(), &user).await);
        assert_eq!(state(&world).await, "closed");
        Ok(())
    })
}

#[test]
fn an_answer_that_there_is_no_such_user_is_no_failure() -> anyhow::Result<()> {
    simulate(async |world| {
        for number in 0..20 {
            let user = format!("00000000-0000-7000-8000-0000000000{number:02}");
            let refused = world.post("/todos", &todo("Buy groceries", &user)).await;
            assert_eq!(refused.status, 422, "{}", refused.json());
        }
        assert_eq!((state(&world).await.as_str(), asked(&world)), ("closed", 20));
        let health: Value = world.get("/health").await.json();
        assert!(!health.to_string().contains("00000000-0000-7000"), "no ids are told");
        Ok(())
    })
}
