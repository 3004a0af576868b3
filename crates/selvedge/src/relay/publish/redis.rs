//! Redis: channels, which reach whoever listens just now, and streams, which keep their newest entries.

use crate::delivery::Outcome;
use crate::host::{RedisAnswer, RedisCommand};
use crate::subscription::Address;
use crate::{Error, Host, limits};

/// The variable with the server's URL.
const URL: &str = "redis_url";
/// The variable that says how many entries a stream keeps.
const STREAM_ENTRIES: &str = "redis_stream_entries";
/// The field of a stream's entry that has the event, as a structured CloudEvent.
const FIELD: &str = "event";

/// Publishes messages, each with how many events are in it, and says what became of each event.
pub(super) async fn to_channel(
    host: &Host,
    address: &Address,
    channel: &str,
    messages: Vec<(Vec<u8>, usize)>,
) -> Result<Vec<Outcome>, Error> {
    let (messages, counts): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
    let publish = |message| RedisCommand::new("PUBLISH").with(channel).with(message);
    let answers = run(host, address, messages.into_iter().map(publish).collect()).await?;
    let outcomes = counts.into_iter().zip(answers);
    Ok(outcomes
        .flat_map(|(count, answer)| vec![outcome(address, answer); count])
        .collect())
}

/// Appends the events to a stream, an entry each, and lets go of its oldest entries.
pub(super) async fn to_stream(
    host: &Host,
    address: &Address,
    stream: &str,
    bodies: Vec<Vec<u8>>,
) -> Result<Vec<Outcome>, Error> {
    let entries = stream_entries(host).await?.to_string();
    let append = |body| {
        let trimmed = RedisCommand::new("XADD")
            .with(stream)
            .with("MAXLEN")
            .with("~")
            .with(&*entries);
        trimmed.with("*").with(FIELD).with(body)
    };
    let answers = run(host, address, bodies.into_iter().map(append).collect()).await?;
    Ok(answers.into_iter().map(|answer| outcome(address, answer)).collect())
}

/// One message of several events, and their number: a batch, or the event itself when there is one.
pub(super) fn batch(mut letters: Vec<Vec<u8>>) -> (Vec<u8>, usize) {
    match letters.len() {
        1 => (letters.remove(0), 1),
        count => ([b"[".as_slice(), &letters.join(&b","[..]), b"]"].concat(), count),
    }
}

/// Asks the server whether it is there.
pub(super) async fn check(host: &Host) -> Result<(), Error> {
    let url = url(host).await?;
    let refused = |detail: &str| Error::Broker {
        address: "redis".to_owned(),
        reason: refusal(detail),
    };
    match host.redis(&url, vec![RedisCommand::new("PING")]).await {
        Err(error) => Err(refused(&error.to_string())),
        Ok(answers) => match answers.first() {
            Some(RedisAnswer::Refused(detail)) => Err(refused(detail)),
            _ => Ok(()),
        },
    }
}

async fn run(host: &Host, address: &Address, commands: Vec<RedisCommand>) -> Result<Vec<RedisAnswer>, Error> {
    let count = commands.len();
    let url = url(host).await?;
    let answers = host.redis(&url, commands).await.map_err(|error| Error::Broker {
        address: address.to_string(),
        reason: refusal(&error.to_string()),
    })?;
    assert_eq!(answers.len(), count, "every command has an answer");
    Ok(answers)
}

async fn url(host: &Host) -> Result<String, Error> {
    host.variable(URL).await?.ok_or_else(|| Error::Configuration {
        name: format!("the variable {URL}"),
        reason:
            "is empty: set it to the server's URL, redis://[user:password@]host[:port], and give it to the component"
                .to_owned(),
    })
}

async fn stream_entries(host: &Host) -> Result<u32, Error> {
    let Some(text) = host.variable(STREAM_ENTRIES).await? else {
        return Ok(limits::REDIS_STREAM_ENTRIES);
    };
    let entries = text.parse().ok().filter(|entries| *entries > 0);
    entries.ok_or_else(|| Error::Configuration {
        name: format!("the variable {STREAM_ENTRIES}"),
        reason: "must be a number from 1: how many entries a stream keeps".to_owned(),
    })
}

fn outcome(address: &Address, answer: RedisAnswer) -> Outcome {
    match (address, answer) {
        (Address::RedisChannel { .. }, RedisAnswer::Number(0)) => Outcome::retry(format!(
            "{address}: nobody listens just now: look whether its consumers run, with a trigger on this channel"
        )),
        (_, RedisAnswer::Number(_) | RedisAnswer::Done) => Outcome::Success,
        (_, RedisAnswer::Refused(detail)) => Outcome::retry(format!("{address}: {}", refusal(&detail))),
    }
}

/// What the server or the host said, and what to do where that is known.
fn refusal(detail: &str) -> String {
    let is_about_password = ["WRONGPASS", "NOAUTH", "uthentication"]
        .iter()
        .any(|word| detail.contains(word));
    if is_about_password {
        format!("{detail}: check user and password in the variable {URL}")
    } else {
        detail.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_an_event_or_a_batch() {
        assert_eq!(batch(vec![b"{}".to_vec()]), (b"{}".to_vec(), 1));
        let three = vec![b"{\"a\":1}".to_vec(), b"{}".to_vec(), b"{}".to_vec()];
        assert_eq!(batch(three), (b"[{\"a\":1},{},{}]".to_vec(), 3));
    }

    #[test]
    fn a_refused_password_names_the_variable() {
        let detail = "Password authentication failed - AuthenticationFailed: WRONGPASS";
        assert!(refusal(detail).contains(URL));
        assert_eq!(refusal("Connection refused"), "Connection refused");
    }
}
