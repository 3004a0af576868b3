//! Brings events to an application that speaks Dapr, as its sidecar would.

use std::collections::BTreeMap;

use futures::future::{Either, join_all};
use selvedge_events::{Event, json};

use super::parcel::Parcel;
use crate::dapr::deliveries::{self, Message, on_topic};
use crate::dapr::envelope::{PUBSUB_NAME, TOPIC, message};
use crate::dapr::routes::Topics;
use crate::dapr::{PUBSUB, SUBSCRIBE_PATH, TOKEN, answers};
use crate::delivery::Outcome;
use crate::http::{Answer, Call};
use crate::{Error, Host};

/// An application, and the time that a call to it may take.
struct App<'a> {
    host: &'a Host,
    url: &'a str,
    token: Option<String>,
    timeout_ms: u64,
}

/// An event on its way to one of the application's paths.
struct Letter {
    /// Its place in the parcel.
    place: usize,
    path: String,
    pubsub: String,
    topic: String,
    /// The event in CloudEvents' JSON format.
    event: String,
    /// Its message, where the application wants that without an envelope.
    raw: Option<Vec<u8>>,
    /// How many of them the application wants at once; `None` where it wants them one by one.
    bulk: Option<usize>,
}

/// Brings each event to the path that the application names for its topic; to the target's own path where it has one.
/// What the application doesn't subscribe to becomes a dead letter: nothing is lost silently.
pub(super) async fn deliver(
    host: &Host,
    parcel: &Parcel,
    url: &str,
    token_variable: Option<&str>,
    bodies: Vec<Vec<u8>>,
) -> Result<Vec<Outcome>, Error> {
    let token = match token_variable {
        Some(variable) => host.variable(variable).await?,
        None => None,
    };
    let (timeout_ms, url) = (parcel.subscription.timeout_ms, url.trim_end_matches('/'));
    let app = App {
        host,
        url,
        token,
        timeout_ms,
    };
    let own_path = has_path(url);
    let topics = if own_path {
        Topics::default()
    } else {
        app.topics().await?
    };
    let mut outcomes = vec![Outcome::Success; bodies.len()];
    let (mut singles, mut bulks) = (Vec::new(), BTreeMap::<(String, String), Vec<Letter>>::new());
    for (place, body) in bodies.iter().enumerate() {
        match letter(place, body, (!own_path).then_some(&topics)) {
            Err(outcome) => outcomes[place] = outcome,
            Ok(letter) if letter.bulk.is_none() => singles.push(letter),
            Ok(letter) => bulks
                .entry((letter.path.clone(), letter.topic.clone()))
                .or_default()
                .push(letter),
        }
    }
    let singles = singles.iter().map(|letter| Either::Left(app.bring(letter)));
    let several = bulks
        .values()
        .flat_map(|letters| letters.chunks(letters[0].bulk.unwrap_or(1).max(1)));
    let several = several.map(|letters| Either::Right(app.bring_several(letters)));
    for (place, outcome) in join_all(singles.chain(several)).await.into_iter().flatten() {
        outcomes[place] = outcome;
    }
    Ok(outcomes)
}

/// Where an event goes, or what becomes of it when it goes nowhere.
fn letter(place: usize, body: &[u8], topics: Option<&Topics>) -> Result<Letter, Outcome> {
    let event: Event = json::decode(body).map_err(|error| Outcome::drop(error.to_string()))?;
    let named = |name: &str| event.extensions.get(name).and_then(|value| value.as_str());
    let pubsub = named(PUBSUB_NAME).unwrap_or(PUBSUB).to_owned();
    let topic = named(TOPIC).unwrap_or(&event.event_type).to_owned();
    let envelope = on_topic(&String::from_utf8_lossy(body), &pubsub, &topic);
    let letter = |path, raw, bulk| Letter {
        place,
        path,
        pubsub: pubsub.clone(),
        topic: topic.clone(),
        event: envelope.clone(),
        raw,
        bulk,
    };
    let Some(topics) = topics else {
        return Ok(letter(String::new(), None, None));
    };
    let Some(subscribed) = topics.find(&pubsub, &topic) else {
        let reason = format!("the application doesn't subscribe to the topic {topic} of {pubsub}");
        return Err(Outcome::drop(reason));
    };
    let path = subscribed.path(&envelope).map_err(Outcome::retry)?;
    let path = path.ok_or_else(|| Outcome::drop(format!("no rule of the application's topic {topic} is met")))?;
    let raw = subscribed.is_raw().then(|| message(&event)).transpose();
    let raw = raw.map_err(|error| Outcome::drop(error.to_string()))?;
    Ok(letter(path, raw, subscribed.bulk_events_max()))
}

impl App<'_> {
    /// What the application subscribes to.
    async fn topics(&self) -> Result<Topics, Error> {
        let answer = self.send(Call::get(format!("{}{SUBSCRIBE_PATH}", self.url))).await?;
        Topics::read(answer.status, &answer.body).map_err(|reason| Error::Answer {
            target: self.url.to_owned(),
            reason,
        })
    }

    async fn bring(&self, letter: &Letter) -> Vec<(usize, Outcome)> {
        let body = match &letter.raw {
            None => letter.event.clone().into_bytes(),
            Some(raw) => deliveries::around_raw(&letter.event, raw),
        };
        let outcome = match self.post(&letter.path, body).await {
            Ok(answer) => answers::outcome(self.url, answer.status, &answer.body),
            Err(error) => Outcome::retry(error.to_string()),
        };
        vec![(letter.place, outcome)]
    }

    /// Letters for one path and topic.
    async fn bring_several(&self, letters: &[Letter]) -> Vec<(usize, Outcome)> {
        let ids: Vec<_> = letters.iter().map(|letter| letter.place.to_string()).collect();
        let message = |letter: &'_ Letter| match &letter.raw {
            None => Message::Event(letter.event.clone()),
            Some(raw) => Message::Raw(raw.clone()),
        };
        let messages = ids.iter().map(String::as_str).zip(letters.iter().map(message));
        let first = &letters[0];
        let body = deliveries::envelope(&self.host.new_id(), &first.pubsub, &first.topic, messages);
        let outcomes = match self.post(&first.path, body).await {
            Ok(answer) => answers::outcomes(self.url, answer.status, &answer.body, ids.iter().map(String::as_str)),
            Err(error) => vec![Outcome::retry(error.to_string()); letters.len()],
        };
        letters.iter().map(|letter| letter.place).zip(outcomes).collect()
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> Result<Answer, Error> {
        self.send(Call::post(format!("{}{path}", self.url), json::MEDIA_TYPE, body))
            .await
    }

    async fn send(&self, call: Call) -> Result<Answer, Error> {
        let call = match &self.token {
            Some(token) => call.header(TOKEN, token.clone()),
            None => call,
        };
        self.host.send_within(call, self.timeout_ms).await
    }
}

/// Whether a URL goes on after its host.
fn has_path(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'))
}
