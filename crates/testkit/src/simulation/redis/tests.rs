use futures::StreamExt;

use super::super::broker::Fate;
use super::*;

const ADDRESS: &str = "redis://127.0.0.1:6379";

fn server() -> SimulatedRedis {
    SimulatedRedis::new(Arc::new(SimulatedClock::new()))
}

fn words(words: &[&str]) -> Vec<RedisParameter> {
    words
        .iter()
        .map(|word| RedisParameter::Binary(word.as_bytes().to_vec()))
        .collect()
}

async fn publish(connection: &Arc<dyn RedisConnection>, payload: &str) -> Result<Vec<RedisValue>, RedisError> {
    connection.execute("PUBLISH", words(&["todos", payload])).await
}

/// What has come by now, and whether the connection is still there.
async fn heard(messages: &mut RedisMessages) -> (Vec<String>, bool) {
    let mut heard = Vec::new();
    while let Ok(message) = tokio::time::timeout(Duration::from_millis(1), messages.next()).await {
        match message {
            Some(message) => heard.push(String::from_utf8_lossy(&message.payload).into_owned()),
            None => return (heard, false),
        }
    }
    (heard, true)
}

#[tokio::test(start_paused = true)]
async fn a_message_reaches_who_listens_just_then_and_nobody_else() {
    let server = server();
    let connection = server.connect(ADDRESS).expect("it runs");
    assert_eq!(publish(&connection, "early").await, Ok(vec![RedisValue::Int64(0)]));
    let channels = ["todos".to_owned()];
    let mut one = server.subscribe(ADDRESS, &channels).expect("it runs");
    let mut other = server.subscribe(ADDRESS, &["events".to_owned()]).expect("it runs");
    let gone = server.subscribe(ADDRESS, &channels).expect("it runs");
    assert_eq!(publish(&connection, "both").await, Ok(vec![RedisValue::Int64(2)]));
    drop(gone);
    assert_eq!(publish(&connection, "one").await, Ok(vec![RedisValue::Int64(1)]));
    assert_eq!(heard(&mut one).await, (vec!["both".to_owned(), "one".to_owned()], true));
    assert_eq!(heard(&mut other).await, (vec![], true));
    assert_eq!(server.published(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_takes_connections_and_what_is_under_way_with_it() {
    let server = server();
    let channels = ["todos".to_owned()];
    let (connection, mut messages) = (
        server.connect(ADDRESS).expect("it runs"),
        server.subscribe(ADDRESS, &channels).expect("it runs"),
    );
    publish(&connection, "waits").await.expect("it is taken");
    server.restart(Duration::from_secs(1));
    assert_eq!(heard(&mut messages).await, (vec![], false));
    for address in [ADDRESS, "redis://other"] {
        let refused = server.connect(address).err();
        assert!(matches!(refused, Some(RedisError::Other(text)) if text.contains("Connection refused")));
    }
    assert_eq!(server.connect("http://other").err(), Some(RedisError::InvalidAddress));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(
        publish(&connection, "lost").await.is_err(),
        "the connection is another life's"
    );
    let connection = server.connect(ADDRESS).expect("it runs again");
    assert_eq!(publish(&connection, "nobody").await, Ok(vec![RedisValue::Int64(0)]));
}

#[tokio::test(start_paused = true)]
async fn messages_are_lost_doubled_and_late_as_it_is_said() {
    let server = server();
    let connection = server.connect(ADDRESS).expect("it runs");
    let mut messages = server.subscribe(ADDRESS, &["todos".to_owned()]).expect("it runs");
    server.fates(|fates| {
        fates.decide(|passing| match passing.payload {
            b"late" => Fate::Late { by_ms: 100 },
            b"twice" => Fate::Doubled { after_ms: 50 },
            b"lost" => Fate::Lost,
            _ => Fate::Arrives,
        });
    });
    for payload in ["late", "lost", "twice", "once"] {
        assert_eq!(publish(&connection, payload).await, Ok(vec![RedisValue::Int64(1)]));
    }
    assert_eq!(heard(&mut messages).await.0, ["twice", "once"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(heard(&mut messages).await.0, ["twice", "late"]);
    server.fates(Fates::calm);
    server.fates(|fates| fates.next(Fate::Lost));
    for payload in ["first", "second"] {
        publish(&connection, payload).await.expect("it is taken");
    }
    assert_eq!(heard(&mut messages).await.0, ["second"]);
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_the_same_fates() {
    let fates = |seed| {
        let mut fates = Fates::default();
        fates.unreliable(seed, 50, 1_000);
        let passing = Passing {
            number: 0,
            channel: "todos",
            payload: b"",
            listener: 1,
        };
        (0..100).map(|_| fates.of(None, &passing)).collect::<Vec<_>>()
    };
    assert_eq!(fates(1), fates(1));
    assert_ne!(fates(1), fates(2));
    for fate in [Fate::Arrives, Fate::Lost] {
        assert!(fates(1).contains(&fate));
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_too_slow_is_thrown_out() {
    let server = server();
    let connection = server.connect(ADDRESS).expect("it runs");
    let mut messages = server.subscribe(ADDRESS, &["todos".to_owned()]).expect("it runs");
    for _ in 0..=super::super::broker::QUEUE_MAX {
        publish(&connection, "more").await.expect("it is taken");
    }
    assert!(!heard(&mut messages).await.1);
    assert_eq!(server.listeners("todos"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_keeps_its_newest_entries_over_a_restart() {
    let server = server();
    let connection = server.connect(ADDRESS).expect("it runs");
    for number in 0..150 {
        let added = words(&["log", "MAXLEN", "~", "20", "*", "event", &number.to_string()]);
        connection.execute("XADD", added).await.expect("it is taken");
    }
    let entries = server.entries("log");
    assert!((20..=120).contains(&entries.len()), "{}", entries.len());
    assert!(entries.iter().map(|entry| entry.id).is_sorted());
    assert_eq!(entries.last().and_then(|entry| entry.field("event")), Some(&b"149"[..]));
    server.restart(Duration::from_secs(1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let connection = server.connect(ADDRESS).expect("it runs again");
    let exactly = words(&["log", "MAXLEN", "2", "*", "event", "last"]);
    connection.execute("XADD", exactly).await.expect("it is taken");
    assert_eq!(
        connection.execute("XLEN", words(&["log"])).await,
        Ok(vec![RedisValue::Int64(2)])
    );
    let all = connection
        .execute("XRANGE", words(&["log", "-", "+"]))
        .await
        .expect("entries");
    assert_eq!(all.len(), 6);
    assert_eq!(all[5], RedisValue::Binary(b"last".to_vec()));
    for wrong in [&["log"][..], &["log", "1-1", "event", "x"], &["log", "*", "event"]] {
        let refused = connection.execute("XADD", words(wrong)).await;
        assert!(
            matches!(refused, Err(RedisError::Other(text)) if text.contains("ERR")),
            "{wrong:?}"
        );
    }
    assert!(connection.execute("BLPOP", words(&["log", "0"])).await.is_err());
}
