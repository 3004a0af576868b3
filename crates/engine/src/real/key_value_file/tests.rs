//! The file store: what was set is there, counters lose no count, Spin reads the same file.

use super::*;

fn file() -> (tempfile::TempDir, Arc<KeyValueFile>) {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyValueFile::open(folder.path().join("state/key_value.db")).unwrap();
    (folder, file)
}

fn strings(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[tokio::test]
async fn sets_gets_and_deletes_many_at_once() {
    let (_folder, file) = file();
    let store = file.store("default");
    assert_eq!(store.get_many(strings(&["a"])).await, Ok(vec![None]));
    let pairs = vec![
        ("a".into(), b"1".to_vec()),
        ("b".into(), Vec::new()),
        ("a".into(), b"2".to_vec()),
    ];
    store.set_many(pairs).await.unwrap();
    let values = store.get_many(strings(&["b", "none", "a", "a"])).await.unwrap();
    assert_eq!(
        values,
        [Some(Vec::new()), None, Some(b"2".to_vec()), Some(b"2".to_vec())]
    );
    let mut keys = store.keys().await.unwrap();
    keys.sort();
    assert_eq!(keys, ["a", "b"]);
    store.delete_many(strings(&["a", "none"])).await.unwrap();
    assert_eq!(store.keys().await.unwrap(), ["b"]);
    store.set_many(Vec::new()).await.unwrap();
    store.delete_many(Vec::new()).await.unwrap();
    assert_eq!(store.get_many(Vec::new()).await, Ok(Vec::new()));
}

#[tokio::test]
async fn stores_of_one_file_are_apart() {
    let (_folder, file) = file();
    let (first, second) = (file.store("first"), file.store("second"));
    first.set_many(vec![("key".into(), b"1".to_vec())]).await.unwrap();
    assert_eq!(second.get_many(strings(&["key"])).await, Ok(vec![None]));
    assert_eq!(second.keys().await, Ok(Vec::new()));
    second.delete_many(strings(&["key"])).await.unwrap();
    assert_eq!(first.keys().await.unwrap(), ["key"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counters_lose_no_count_and_every_sum_is_seen_once() {
    let (_folder, file) = file();
    let mut tasks = Vec::new();
    for task in 0..8 {
        let store = file.store("default");
        tasks.push(tokio::spawn(async move {
            let mut sums = Vec::new();
            for round in 0..25 {
                sums.push(store.increment("counter".into(), 1).await.unwrap());
                store
                    .set_many(vec![(format!("{task}/{round}"), vec![1])])
                    .await
                    .unwrap();
                let mine = store.get_many(vec![format!("{task}/{round}")]).await.unwrap();
                assert_eq!(mine, [Some(vec![1])], "a task reads what it wrote");
            }
            sums
        }));
    }
    let mut sums = Vec::new();
    for task in tasks {
        sums.extend(task.await.unwrap());
    }
    sums.sort_unstable();
    assert_eq!(sums, (1..=200).collect::<Vec<_>>());
    let store = file.store("default");
    assert_eq!(store.keys().await.unwrap().len(), 201);
    assert_eq!(store.increment("counter".into(), -50).await, Ok(150));
}

#[tokio::test]
async fn what_is_no_counter_stays_as_it_is() {
    let (_folder, file) = file();
    let store = file.store("default");
    store.set_many(vec![("text".into(), b"text".to_vec())]).await.unwrap();
    let error = store.increment("text".into(), 1).await.unwrap_err().to_string();
    assert!(error.contains("\"text\" is no counter"), "{error}");
    store.increment("full".into(), i64::MAX).await.unwrap();
    let error = store.increment("full".into(), 1).await.unwrap_err().to_string();
    assert!(error.contains("overflow"), "{error}");
    assert_eq!(
        store.get_many(strings(&["text"])).await,
        Ok(vec![Some(b"text".to_vec())])
    );
    assert_eq!(
        store.increment("full".into(), 0).await,
        Ok(i64::MAX),
        "the failed call left no transaction open"
    );
}

#[tokio::test]
async fn swap_compares() {
    let (_folder, file) = file();
    let store = file.store("default");
    assert_eq!(
        store.swap("key".into(), Some(b"1".to_vec()), b"2".to_vec()).await,
        Ok(false)
    );
    assert_eq!(store.swap("key".into(), None, b"1".to_vec()).await, Ok(true));
    assert_eq!(
        store.swap("key".into(), Some(b"1".to_vec()), b"2".to_vec()).await,
        Ok(true)
    );
    assert_eq!(
        store.swap("key".into(), Some(b"1".to_vec()), b"3".to_vec()).await,
        Ok(false)
    );
    assert_eq!(store.get_many(strings(&["key"])).await, Ok(vec![Some(b"2".to_vec())]));
}

#[tokio::test]
async fn a_file_that_spin_made_is_taken_over_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sqlite_key_value.db");
    let spin = Connection::open(&path).unwrap();
    spin.execute_batch(
        "CREATE TABLE spin_key_value (store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, key));
         INSERT INTO spin_key_value VALUES ('default', 'count', x'0200000000000000'), ('default', 'key', x'61')",
    )
    .unwrap();
    let store = KeyValueFile::open(&path).unwrap().store("default");
    assert_eq!(store.get_many(strings(&["key"])).await, Ok(vec![Some(b"a".to_vec())]));
    assert_eq!(store.increment("count".into(), 1).await, Ok(3));
    spin.execute_batch("BEGIN IMMEDIATE; UPDATE spin_key_value SET value = x'62' WHERE key = 'key'")
        .unwrap();
    let mut waiting = Box::pin(store.increment("count".into(), 1));
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), &mut waiting).await;
    assert!(early.is_err(), "another process holds the lock");
    spin.execute_batch("COMMIT").unwrap();
    assert_eq!(waiting.await, Ok(4));
    let value: Vec<u8> = spin
        .query_row("SELECT value FROM spin_key_value WHERE key = 'count'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(value, 4i64.to_le_bytes());
}

#[test]
fn a_path_that_cannot_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.db");
    std::fs::write(
        &garbage,
        "this is no database, and long enough to look like one ".repeat(100),
    )
    .unwrap();
    for path in [
        garbage.clone(),
        garbage.join("below-a-file.db"),
        folder.path().to_owned(),
    ] {
        let error = KeyValueFile::open(&path).unwrap_err().to_string();
        assert!(error.contains(&*path.to_string_lossy()), "{error}");
    }
}
