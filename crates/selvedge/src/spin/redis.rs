//! Commands through `spin:redis`.

use std::cell::RefCell;
use std::rc::Rc;

use futures::future::join_all;
use spin_sdk::redis::{Connection, Error as RedisError, RedisParameter, RedisResult};

use crate::Error;
use crate::host::{RedisAnswer, RedisCommand};

/// Connections that are kept.
const KEPT_MAX: usize = 4;

/// Connections that nobody uses just now, kept for as long as the instance lives: to open one costs more than most commands.
#[derive(Clone, Default)]
pub(super) struct Redis {
    kept: Rc<RefCell<Vec<(String, Connection)>>>,
}

impl Redis {
    pub(super) async fn run(self, url: String, commands: Vec<RedisCommand>) -> Result<Vec<RedisAnswer>, Error> {
        // Taken out while it is used: who gives up on answers leaves no connection behind that still waits for them.
        let connection = match self.take(&url) {
            Some(connection) => connection,
            None => Connection::open(&url).await.map_err(|error| unreachable(&url, error))?,
        };
        let sent = commands.into_iter().map(|command| {
            let parameters = command.arguments.into_iter().map(RedisParameter::Binary);
            connection.execute(command.name, parameters.collect::<Vec<_>>())
        });
        let answers = join_all(sent).await;
        let answers: Vec<_> = answers.into_iter().map(|result| answer(&url, result)).collect();
        // A refusal's text doesn't tell whether the connection is lost: in doubt the next one is made anew.
        if !answers.iter().any(|answer| matches!(answer, RedisAnswer::Refused(_))) {
            self.keep(url, connection);
        }
        Ok(answers)
    }

    fn take(&self, url: &str) -> Option<Connection> {
        let mut kept = self.kept.borrow_mut();
        let place = kept.iter().position(|(of, _)| of == url)?;
        Some(kept.swap_remove(place).1)
    }

    fn keep(&self, url: String, connection: Connection) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.push((url, connection));
        }
    }
}

fn answer(url: &str, result: Result<Vec<RedisResult>, RedisError>) -> RedisAnswer {
    match result {
        Ok(values) => match values.first() {
            Some(RedisResult::Int64(number)) => RedisAnswer::Number(*number),
            _ => RedisAnswer::Done,
        },
        Err(RedisError::Other(detail)) => RedisAnswer::Refused(without_password(url, detail)),
        Err(other) => RedisAnswer::Refused(other.to_string()),
    }
}

fn unreachable(url: &str, error: RedisError) -> Error {
    match error {
        RedisError::InvalidAddress => Error::Configuration {
            name: "the Redis URL".to_owned(),
            reason:
                "isn't `redis://[user:password@]host[:port]` (or `rediss://…`), or the component may not use it: add \
                     its host to the component's allowed_outbound_hosts in spin.toml"
                    .to_owned(),
        },
        RedisError::Other(detail) => Error::Unreachable {
            target: "the Redis server".to_owned(),
            detail: without_password(url, detail),
        },
        other => Error::Unreachable {
            target: "the Redis server".to_owned(),
            detail: other.to_string(),
        },
    }
}

/// What a host says, without the password of the URL if it is in there.
fn without_password(url: &str, detail: String) -> String {
    let user = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    let password = user.and_then(|(user, _)| user.split_once(':'));
    match password {
        Some((_, password)) if !password.is_empty() => detail.replace(password, "***"),
        _ => detail,
    }
}
