//! SQLite as a component sees it: one writer at a time and none starved, transactions that end, errors in SQLite's words.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::*;

fn database() -> (tempfile::TempDir, SqliteDatabases) {
    let folder = tempfile::tempdir().unwrap();
    let databases = SqliteDatabases::new([("default".to_owned(), folder.path().join("database.db"))]).unwrap();
    (folder, databases)
}

async fn run(connection: &Arc<dyn SqlConnection>, statement: &str) -> Result<SqlRows, SqlError> {
    connection.execute(statement, Vec::new()).await
}

async fn number(connection: &Arc<dyn SqlConnection>, statement: &str) -> i64 {
    match run(connection, statement).await.unwrap().rows[0][0] {
        SqlValue::Integer(number) => number,
        ref value => panic!("{statement}: {value:?}"),
    }
}

#[tokio::test]
async fn values_go_in_and_come_out_unchanged() {
    let (_folder, databases) = database();
    let connection = databases.open("default").await.unwrap();
    run(&connection, "CREATE TABLE t(a, b, c, d, e)").await.unwrap();
    let values = vec![
        SqlValue::Integer(i64::MIN),
        SqlValue::Real(1.5),
        SqlValue::Text("größe\0nul".into()),
        SqlValue::Blob(vec![0, 255]),
        SqlValue::Null,
    ];
    let insert = "INSERT INTO t VALUES (?, ?, ?, ?, ?) RETURNING rowid AS position";
    let inserted = connection.execute(insert, values.clone()).await.unwrap();
    assert_eq!(inserted.columns, ["position"]);
    assert_eq!(inserted.rows, [[SqlValue::Integer(1)]]);
    assert_eq!(connection.last_insert_rowid().await, Ok(1));
    assert_eq!(connection.changes().await, Ok(1));
    let rows = run(&connection, "SELECT * FROM t").await.unwrap();
    assert_eq!(rows.columns, ["a", "b", "c", "d", "e"]);
    assert_eq!(rows.rows, [values]);
    run(&connection, "ALTER TABLE t ADD COLUMN f").await.unwrap();
    let rows = run(&connection, "SELECT * FROM t").await.unwrap();
    assert_eq!(
        (rows.columns.len(), rows.rows[0].len()),
        (6, 6),
        "the prepared statement knows the new column"
    );
}

#[tokio::test]
async fn errors_come_in_sqlites_words() {
    let (_folder, databases) = database();
    let connection = databases.open("default").await.unwrap();
    run(
        &connection,
        "CREATE TABLE journal(stream, version, UNIQUE(stream, version))",
    )
    .await
    .unwrap();
    run(&connection, "INSERT INTO journal VALUES ('a', 1)").await.unwrap();
    for (statement, expected) in [
        (
            "INSERT INTO journal VALUES ('a', 1)",
            "UNIQUE constraint failed: journal.stream, journal.version",
        ),
        (
            "SELECT missing",
            "no such column: missing in SELECT missing at offset 7",
        ),
        (
            "SELECT ?",
            "Wrong number of parameters passed to query. Got 0, needed 1",
        ),
        ("ATTACH DATABASE '/tmp/other.db' AS other", "not authorized"),
        (
            "SELECT CAST(x'ff' AS TEXT)",
            "invalid utf-8 sequence of 1 bytes from index 0 at index 0",
        ),
        ("SELECT 1; SELECT 2", "Multiple statements provided"),
        ("COMMIT", "cannot commit - no transaction is active"),
    ] {
        assert_eq!(
            run(&connection, statement).await,
            Err(SqlError::Io(expected.into())),
            "{statement}"
        );
    }
    assert_eq!(
        number(&connection, "SELECT count(*) FROM journal").await,
        1,
        "the connection goes on"
    );
}

#[tokio::test]
async fn a_file_that_is_full_and_an_answer_that_is_too_large_are_said() {
    let (_folder, databases) = database();
    let connection = databases.open("default").await.unwrap();
    run(&connection, "PRAGMA max_page_count = 20").await.unwrap();
    run(&connection, "CREATE TABLE t(v)").await.unwrap();
    let full = run(&connection, "INSERT INTO t VALUES (zeroblob(1000000))").await;
    assert_eq!(full, Err(SqlError::DatabaseFull));
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT zeroblob(20000000) FROM n";
    let Err(SqlError::Io(text)) = run(&connection, endless).await else {
        panic!("it has no end")
    };
    assert!(text.starts_with("query result exceeds limit"), "{text}");
}

#[tokio::test]
async fn labels_and_paths_that_are_wrong_are_refused() {
    let (folder, databases) = database();
    assert!(databases.has("default") && !databases.has("other"));
    assert_eq!(databases.open("other").await.err(), Some(SqlError::NoSuchDatabase));
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
        let error = SqliteDatabases::new([("x".to_owned(), path.clone())])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&*path.to_string_lossy()) && error.contains("\"x\""),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_lose_nothing_and_none_waits_long() {
    let (_folder, databases) = database();
    let databases = Arc::new(databases);
    let setup = databases.open("default").await.unwrap();
    run(&setup, "PRAGMA journal_mode = WAL").await.unwrap();
    run(&setup, "CREATE TABLE t(id INTEGER PRIMARY KEY, task INTEGER)")
        .await
        .unwrap();
    run(&setup, "CREATE TABLE sum(n INTEGER)").await.unwrap();
    run(&setup, "INSERT INTO sum VALUES (0)").await.unwrap();
    let mut tasks = Vec::new();
    for task in 0..16 {
        let databases = Arc::clone(&databases);
        tasks.push(tokio::spawn(async move {
            let connection = databases.open("default").await.unwrap();
            run(&connection, "PRAGMA synchronous = OFF").await.unwrap();
            for _ in 0..50 {
                connection
                    .execute("INSERT INTO t(task) VALUES (?)", vec![SqlValue::Integer(task)])
                    .await
                    .unwrap();
                // Read, then write, in one transaction: without its turn from the read on, SQLite would refuse the write.
                run(&connection, "BEGIN").await.unwrap();
                let n = number(&connection, "SELECT n FROM sum").await;
                connection
                    .execute("UPDATE sum SET n = ?", vec![SqlValue::Integer(n + 1)])
                    .await
                    .unwrap();
                run(&connection, "COMMIT").await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(number(&setup, "SELECT count(*) FROM t").await, 800);
    assert_eq!(number(&setup, "SELECT n FROM sum").await, 800);
}

#[tokio::test]
async fn a_transaction_keeps_others_out_until_it_ends_or_its_connection_is_dropped() {
    let (_folder, databases) = database();
    let first = databases.open("default").await.unwrap();
    let second = databases.open("default").await.unwrap();
    run(&first, "PRAGMA journal_mode = WAL").await.unwrap();
    run(&first, "CREATE TABLE t(v)").await.unwrap();
    for end in ["COMMIT", "drop"] {
        let holder = databases.open("default").await.unwrap();
        run(&holder, "BEGIN IMMEDIATE").await.unwrap();
        run(&holder, &format!("INSERT INTO t VALUES ('{end}')")).await.unwrap();
        let mut waiting = Box::pin(run(&second, "INSERT INTO t VALUES ('second')"));
        let early = tokio::time::timeout(Duration::from_millis(20), &mut waiting).await;
        assert!(early.is_err(), "it writes beside a transaction");
        assert_eq!(
            number(&first, "SELECT count(*) FROM t WHERE v = 'drop'").await,
            0,
            "readers read on"
        );
        if end == "COMMIT" {
            run(&holder, "COMMIT").await.unwrap();
        }
        drop(holder);
        waiting.await.unwrap();
    }
    let left = run(&first, "SELECT v FROM t ORDER BY rowid").await.unwrap().rows;
    let text = |text: &str| vec![SqlValue::Text(text.into())];
    assert_eq!(
        left,
        [text("COMMIT"), text("second"), text("second")],
        "what was dropped was rolled back"
    );
}

#[tokio::test]
async fn who_waits_and_is_cancelled_leaves_the_queue() {
    let (_folder, databases) = database();
    let holder = databases.open("default").await.unwrap();
    let other = databases.open("default").await.unwrap();
    run(&holder, "CREATE TABLE t(v)").await.unwrap();
    run(&holder, "BEGIN IMMEDIATE").await.unwrap();
    let cancelled = tokio::time::timeout(Duration::from_millis(5), run(&other, "INSERT INTO t VALUES (1)")).await;
    assert!(cancelled.is_err());
    run(&holder, "ROLLBACK").await.unwrap();
    run(&holder, "INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(number(&other, "SELECT sum(v) FROM t").await, 2);
}

#[tokio::test]
async fn a_lock_of_another_process_is_waited_for() {
    let (folder, databases) = database();
    let connection = databases.open("default").await.unwrap();
    run(&connection, "CREATE TABLE t(v)").await.unwrap();
    // A connection outside the queue, as another process has it.
    let outside = Connection::open(folder.path().join("database.db")).unwrap();
    outside
        .execute_batch("BEGIN EXCLUSIVE; INSERT INTO t VALUES (1)")
        .unwrap();
    let mut waiting = Box::pin(run(&connection, "INSERT INTO t VALUES (2)"));
    assert!(
        tokio::time::timeout(Duration::from_millis(30), &mut waiting)
            .await
            .is_err()
    );
    outside.execute_batch("COMMIT").unwrap();
    waiting.await.unwrap();
    assert_eq!(number(&connection, "SELECT sum(v) FROM t").await, 3);
}

#[tokio::test]
async fn an_old_snapshot_is_refused_at_once() {
    let (folder, databases) = database();
    let connection = databases.open("default").await.unwrap();
    run(&connection, "PRAGMA journal_mode = WAL").await.unwrap();
    run(&connection, "CREATE TABLE t(v)").await.unwrap();
    run(&connection, "BEGIN").await.unwrap();
    assert_eq!(number(&connection, "SELECT count(*) FROM t").await, 0);
    let outside = Connection::open(folder.path().join("database.db")).unwrap();
    outside.execute_batch("INSERT INTO t VALUES (1)").unwrap();
    let start = Instant::now();
    assert_eq!(
        run(&connection, "INSERT INTO t VALUES (2)").await,
        Err(SqlError::Io("database is locked".into()))
    );
    assert!(start.elapsed() < Duration::from_secs(1));
    run(&connection, "ROLLBACK").await.unwrap();
    run(&connection, "INSERT INTO t VALUES (2)").await.unwrap();
}

#[tokio::test]
async fn labels_of_one_file_share_its_queue() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database.db");
    let other_way = folder.path().join(".").join("database.db");
    let databases = SqliteDatabases::new([("a".to_owned(), path), ("b".to_owned(), other_way)]).unwrap();
    assert!(Arc::ptr_eq(&databases.files["a"], &databases.files["b"]));
}

/// What `PRAGMA synchronous`, `last_insert_rowid()`, `changes()` and `total_changes()` say on a connection.
async fn traits(connection: &Arc<dyn SqlConnection>) -> [i64; 3] {
    let (rowid, changes) = (connection.last_insert_rowid().await, connection.changes().await);
    let told = run(connection, "SELECT last_insert_rowid(), changes(), total_changes()").await;
    let SqlRows { rows, .. } = told.unwrap();
    let [
        SqlValue::Integer(told_rowid),
        SqlValue::Integer(told_changes),
        SqlValue::Integer(total),
    ] = rows[0][..]
    else {
        panic!("{rows:?}")
    };
    assert_eq!((rowid, changes), (Ok(told_rowid), Ok(told_changes.unsigned_abs())));
    [told_rowid, told_changes, total]
}

#[tokio::test]
async fn what_was_counted_is_each_connections_own() {
    let (_folder, databases) = database();
    let setup = databases.open("default").await.unwrap();
    run(&setup, "CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)")
        .await
        .unwrap();
    let first = databases.open("default").await.unwrap();
    let second = databases.open("default").await.unwrap();
    assert_eq!(traits(&first).await, [0, 0, 0]);
    run(&first, "INSERT INTO t VALUES (10, 'a'), (11, 'b')").await.unwrap();
    run(&second, "INSERT INTO t VALUES (20, 'c')").await.unwrap();
    assert_eq!(traits(&first).await, [11, 2, 2]);
    assert_eq!(traits(&second).await, [20, 1, 1]);
    run(&second, "UPDATE t SET v = v || changes()").await.unwrap();
    assert_eq!(number(&second, "SELECT count(*) FROM t WHERE v LIKE '%1'").await, 3);
    assert_eq!(traits(&second).await, [20, 3, 4]);
    run(&first, "INSERT INTO t VALUES (?, 'x')").await.unwrap_err();
    assert_eq!(traits(&first).await, [11, 2, 2], "it never ran");
    run(&first, "INSERT INTO t VALUES (12, 'a1')").await.unwrap_err();
    assert_eq!(traits(&first).await, [11, 0, 2], "it changed nothing");
    // From here on with a connection of its own, which takes on what was counted.
    run(&second, "BEGIN").await.unwrap();
    assert_eq!(traits(&second).await, [20, 3, 4]);
    run(&second, "/* in a transaction */ INSERT INTO t VALUES (21, 'd')")
        .await
        .unwrap();
    run(&second, "COMMIT").await.unwrap();
    assert_eq!(traits(&second).await, [21, 1, 5]);
    assert_eq!(traits(&first).await, [11, 0, 2]);
}

#[tokio::test]
async fn what_one_connection_sets_no_other_has() {
    let (_folder, databases) = database();
    let first = databases.open("default").await.unwrap();
    let second = databases.open("default").await.unwrap();
    run(&first, "CREATE TABLE t(v)").await.unwrap();
    assert_eq!(
        run(&second, "PRAGMA synchronous = NORMAL").await,
        Ok(SqlRows::default())
    );
    let wal = run(&second, "PRAGMA journal_mode = WAL").await.unwrap();
    assert_eq!(wal.columns, ["journal_mode"]);
    assert_eq!(wal.rows, [[SqlValue::Text("wal".into())]]);
    for _ in 0..2 {
        run(&first, "INSERT INTO t VALUES (1)").await.unwrap();
        run(&second, "INSERT INTO t VALUES (2)").await.unwrap();
    }
    assert_eq!(number(&first, "PRAGMA synchronous").await, 2);
    assert_eq!(number(&second, "PRAGMA synchronous").await, 1);
    run(&first, "CREATE TEMP TABLE mine(v)").await.unwrap();
    run(&first, "INSERT INTO mine VALUES (1)").await.unwrap();
    let missing = run(&second, "INSERT INTO mine VALUES (2)").await;
    assert_eq!(missing, Err(SqlError::Io("no such table: mine".into())));
    run(&first, "PRAGMA query_only = ON").await.unwrap();
    run(&first, "INSERT INTO t VALUES (1)").await.unwrap_err();
    run(&second, "INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(number(&first, "SELECT sum(v) FROM t").await, 8);
}

#[tokio::test]
async fn a_statement_that_is_prepared_already_sees_what_others_changed_in_the_schema() {
    let (_folder, databases) = database();
    let connection = databases.open("default").await.unwrap();
    let other = databases.open("default").await.unwrap();
    run(&other, "CREATE TABLE t(a)").await.unwrap();
    let insert = "WITH new(a) AS (VALUES (1)) INSERT INTO t (a) SELECT a FROM new RETURNING *";
    assert_eq!(run(&connection, insert).await.unwrap().columns, ["a"]);
    run(&other, "ALTER TABLE t ADD COLUMN b DEFAULT 7").await.unwrap();
    let inserted = run(&connection, insert).await.unwrap();
    assert_eq!(inserted.columns, ["a", "b"]);
    assert_eq!(inserted.rows, [[SqlValue::Integer(1), SqlValue::Integer(7)]]);
}
