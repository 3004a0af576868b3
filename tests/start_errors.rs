//! An application that can't be started as it is written: the binary ends with one sentence that says what and where,
//! and exit code 2, before anything is started.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use selvedge_testkit::real_process;
use tempfile::TempDir;

use crate::harness::{application_copy, edit};

/// How long the binary may take to refuse. It takes a fraction of a second; a machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// A copy of the application that a test breaks, and how it is started.
struct Attempt {
    folder: TempDir,
    arguments: Vec<String>,
}

impl Attempt {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            folder: application_copy()?,
            arguments: Vec::new(),
        })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Replaces a text in one of the application's files.
    fn with(self, file: &str, from: &str, to: &str) -> anyhow::Result<Self> {
        edit(&self.path(file), from, to)?;
        Ok(self)
    }

    fn writing(self, file: &str, content: &[u8]) -> anyhow::Result<Self> {
        std::fs::write(self.path(file), content)?;
        Ok(self)
    }

    fn argument(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.arguments
            .extend([name.to_owned(), value.as_ref().to_string_lossy().into_owned()]);
        self
    }

    fn with_runtime_config(self) -> Self {
        let file = self.path("runtime.toml");
        self.argument("--runtime-config-file", file)
    }

    /// Starts it, on a port that nobody has, and gives back the sentence that it ends with.
    fn refused(&self, says: &[&str]) -> anyhow::Result<String> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let sentence = self.refused_on(address, says)?;
        assert!(TcpStream::connect(address).is_err(), "something listens");
        Ok(sentence)
    }

    fn refused_on(&self, address: SocketAddr, says: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(real_process::binary()?);
        command
            .args(["up", "--listen", &address.to_string(), "--from"])
            .arg(self.path("spin.toml"));
        if !self.arguments.iter().any(|argument| argument == "--state-dir") {
            command.arg("--state-dir").arg(self.path("state"));
        }
        let child = command
            .args(&self.arguments)
            .env("SELVEDGE_CACHE_DIR", self.path("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (code, stdout, stderr) = ended(child)?;
        assert_eq!(code, Some(2), "{stderr}");
        assert_eq!(stdout, "", "it said something before it refused");
        assert_eq!(stderr.lines().count(), 1, "not one line: {stderr}");
        assert!(stderr.starts_with("selvedge: "), "{stderr}");
        for part in says {
            assert!(stderr.contains(part), "no {part:?} in: {stderr}");
        }
        assert!(!self.path("state/sqlite_db.db-wal").exists(), "a database was opened");
        Ok(stderr)
    }
}

/// How the process ended, and what it printed. It is killed where it doesn't end.
fn ended(mut child: Child) -> anyhow::Result<(Option<i32>, String, String)> {
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            let output = child.wait_with_output()?;
            anyhow::bail!("it started: {}", String::from_utf8_lossy(&output.stdout));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output()?;
    Ok((
        output.status.code(),
        String::from_utf8(output.stdout)?,
        String::from_utf8(output.stderr)?,
    ))
}

#[test]
fn a_manifest_that_cannot_be_read() -> anyhow::Result<()> {
    let attempt = Attempt::new()?;
    std::fs::remove_file(attempt.path("spin.toml"))?;
    attempt.refused(&["spin.toml", "cannot be read"])?;

    let folder = Attempt::new()?;
    std::fs::remove_file(folder.path("spin.toml"))?;
    std::fs::create_dir(folder.path("spin.toml"))?;
    folder.refused(&["spin.toml", "cannot be read"])?;

    Attempt::new()?
        .writing("spin.toml", b"\xff\xfe")?
        .refused(&["spin.toml", "cannot be read"])?;
    Attempt::new()?
        .writing("spin.toml", b"")?
        .refused(&["spin.toml", "spin_manifest_version"])?;
    Attempt::new()?
        .with("spin.toml", "name = \"selvedge\"", "name = \"selvedge")?
        .refused(&["spin.toml, line 4"])?;
    Ok(())
}

#[test]
fn an_unknown_key() -> anyhow::Result<()> {
    Attempt::new()?
        .with("spin.toml", "name = \"selvedge\"", "nome = \"selvedge\"")?
        .refused(&["spin.toml, line 4", "nome"])?;
    Attempt::new()?
        .with(
            "subscriptions.toml",
            "[[subscription]]\n",
            "[[subscription]]\nretries = 3\n",
        )?
        .refused(&["subscriptions.toml", "line 4", "retries"])?;
    Attempt::new()?
        .writing("runtime.toml", b"\n[sqlite_databases.default]\ntype = \"spin\"\n")?
        .with_runtime_config()
        .refused(&["runtime.toml", "sqlite_databases"])?;
    Ok(())
}

#[test]
fn an_unknown_component_in_the_subscriptions() -> anyhow::Result<()> {
    let sentence = Attempt::new()?
        .with(
            "subscriptions.toml",
            "target = \"function:notifications\"",
            "target = \"function:notification\"",
        )?
        .refused(&["subscriptions.toml", "line 6", "notification", "analytics"])?;
    assert!(
        sentence.contains("spin.toml"),
        "where components are declared: {sentence}"
    );
    Ok(())
}

#[test]
fn a_topic_that_nobody_consumes() -> anyhow::Result<()> {
    Attempt::new()?
        .with(
            "subscriptions.toml",
            "target = \"function:notifications\"",
            "from = \"kafka:todos\"\ntarget = \"function:notifications\"",
        )?
        .refused(&["subscriptions.toml", "notifications", "kafka:todos", "kafka-consumer"])?;
    Ok(())
}

#[test]
fn a_type_pattern_that_breaks_the_naming_rule() -> anyhow::Result<()> {
    for pattern in [
        "todos",
        "Todos.Task.*",
        "todos.task.",
        "todos.task.created.now",
        "todos task created",
        "todos.**",
    ] {
        Attempt::new()?
            .with("subscriptions.toml", "todos.task.*", pattern)?
            .refused(&["subscriptions.toml", "line 5", pattern])?;
    }
    Ok(())
}

#[test]
fn a_match_that_is_no_expression() -> anyhow::Result<()> {
    Attempt::new()?
        .with(
            "subscriptions.toml",
            "target = \"function:notifications\"",
            "target = \"function:notifications\"\nmatch = \"data.title ==\"",
        )?
        .refused(&["subscriptions.toml", "line 7", "`match` is no valid CEL expression"])?;
    Ok(())
}

#[test]
fn a_webhook_that_the_relay_may_not_reach() -> anyhow::Result<()> {
    Attempt::new()?
        .with(
            "subscriptions.toml",
            "target = \"function:notifications\"",
            "target = \"https://hooks.example/todos\"\nsecret_variable = \"webhook_secret\"",
        )?
        .refused(&[
            "subscriptions.toml",
            "line 6",
            "hooks.example",
            "allowed_outbound_hosts",
            "spin.toml",
        ])?;
    Ok(())
}

#[test]
fn subscriptions_that_are_not_there() -> anyhow::Result<()> {
    let attempt = Attempt::new()?;
    std::fs::remove_file(attempt.path("subscriptions.toml"))?;
    attempt.refused(&["subscriptions.toml"])?;
    Ok(())
}

#[test]
fn a_component_that_was_not_built() -> anyhow::Result<()> {
    Attempt::new()?
        .with("spin.toml", "component/todos.wasm", "component/todo.wasm")?
        .refused(&[
            "spin.toml, line",
            "\"todos\"",
            "component/todo.wasm",
            "cargo xtask build",
        ])?;
    Ok(())
}

#[test]
fn a_component_that_is_none() -> anyhow::Result<()> {
    for (content, what) in [
        (&b"this is no component"[..], "not WebAssembly"),
        (b"", "not WebAssembly"),
        (b"\0asm\x01\0\0\0", "a core module"),
    ] {
        Attempt::new()?
            .writing("broken.wasm", content)?
            .with(
                "spin.toml",
                "target/functions/wasm32-wasip2/component/todos.wasm",
                "broken.wasm",
            )?
            .refused(&["\"todos\"", "broken.wasm", what, "build it"])?;
    }
    Ok(())
}

#[test]
fn a_component_that_its_trigger_cannot_call() -> anyhow::Result<()> {
    Attempt::new()?
        .with("spin.toml", "component/todos.wasm", "component/outbox_cron.wasm")?
        .refused(&["\"todos\"", "outbox_cron.wasm", "http"])?;
    Attempt::new()?
        .with("spin.toml", "component/outbox_cron.wasm", "component/todos.wasm")?
        .refused(&["\"outbox-cron\"", "todos.wasm", "cron"])?;
    Ok(())
}

#[test]
fn a_port_in_use() -> anyhow::Result<()> {
    let other = TcpListener::bind("127.0.0.1:0")?;
    let address = other.local_addr()?;
    Attempt::new()?.refused_on(address, &[&address.to_string(), "--listen", "in use"])?;
    Ok(())
}

#[test]
fn a_state_folder_that_cannot_be_written() -> anyhow::Result<()> {
    // Below a file there can't be a folder, whoever asks.
    let attempt = Attempt::new()?.writing("file", b"")?;
    let below = attempt.path("file/state");
    let says = below.to_string_lossy().into_owned();
    attempt
        .argument("--state-dir", below)
        .refused(&[&says, "can't be created"])?;

    let attempt = Attempt::new()?.writing("file", b"")?;
    let file = attempt.path("file");
    attempt.argument("--state-dir", file).refused(&["file", "can't be"])?;
    Ok(())
}

#[test]
fn a_database_of_a_newer_schema() -> anyhow::Result<()> {
    let attempt = Attempt::new()?;
    std::fs::create_dir(attempt.path("state"))?;
    let database = attempt.path("state/sqlite_db.db");
    Connection::open(&database)?.execute_batch(
        "CREATE TABLE schema_version (name TEXT PRIMARY KEY, version INTEGER NOT NULL);
         INSERT INTO schema_version VALUES ('selvedge', 1);
         UPDATE schema_version SET version = 99 WHERE name = 'selvedge';",
    )?;
    let before = std::fs::read(&database)?;
    attempt.refused(&["sqlite_db.db", "99", "--state-dir"])?;
    assert!(std::fs::read(&database)? == before, "the newer database was changed");
    Ok(())
}

#[test]
fn a_database_of_a_preview() -> anyhow::Result<()> {
    let attempt = Attempt::new()?;
    std::fs::create_dir(attempt.path("state"))?;
    Connection::open(attempt.path("state/sqlite_db.db"))?.execute_batch(
        "CREATE TABLE schema_version (name TEXT PRIMARY KEY, version INTEGER NOT NULL);
         INSERT INTO schema_version VALUES ('selvedge', 2);",
    )?;
    attempt.refused(&["sqlite_db.db", "preview", "--state-dir"]).map(drop)
}

#[test]
fn a_database_that_is_none() -> anyhow::Result<()> {
    let attempt = Attempt::new()?;
    std::fs::create_dir(attempt.path("state"))?;
    let database = attempt.path("state/sqlite_db.db");
    let content = b"this is no database, however long it may be: SQLite looks at the first hundred bytes of a file, so here they are";
    std::fs::write(&database, content)?;
    attempt.refused(&["sqlite_db.db", "--state-dir"])?;
    assert!(std::fs::read(&database)? == content, "the file was changed");
    Ok(())
}

#[test]
fn a_store_of_a_type_that_there_is_not() -> anyhow::Result<()> {
    for (config, line, kind) in [
        ("[key_value_store.default]\ntype = \"pigeon\"\n", 2, "pigeon"),
        ("[sqlite_database.default]\ntype = \"papyrus\"\n", 2, "papyrus"),
        (
            "[sqlite_database.default]\ntype = \"libsql\"\nurl = \"http://x\"\ntoken = \"hidden\"\n",
            2,
            "libsql",
        ),
    ] {
        let sentence = Attempt::new()?
            .writing("runtime.toml", config.as_bytes())?
            .with_runtime_config()
            .refused(&[&format!("runtime.toml, line {line}"), kind])?;
        assert!(!sentence.contains("hidden"), "a secret is printed: {sentence}");
    }
    let attempt = Attempt::new()?.with_runtime_config();
    attempt.refused(&["runtime.toml", "cannot be read"])?;
    Ok(())
}

#[test]
fn a_variable_that_is_not_declared() -> anyhow::Result<()> {
    let sentence = Attempt::new()?
        .argument("--variable", "admin_tokens=hidden")
        .refused(&["spin.toml", "\"admin_tokens\"", "admin_token"])?;
    assert!(!sentence.contains("hidden"), "a secret is printed: {sentence}");
    Attempt::new()?
        .with(
            "spin.toml",
            "app_url = { default = \"http://127.0.0.1:3000\" }",
            "app_url = { default = \"http://127.0.0.1:3000\" }\nmore = { required = true }",
        )?
        .refused(&["spin.toml, line", "\"more\"", "--variable more="])?;
    Ok(())
}
