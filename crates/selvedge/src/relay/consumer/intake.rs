//! Makes events of the journal of a topic's records.
//!
//! An event that the journal knows is heard as the journal has it, whoever wrote the record; one that it doesn't know is appended, once
//! by source and id. What is no event, or isn't its sender's to send, becomes an event that says so ([`refused`]): nothing is lost, and
//! nothing stands in the way of what comes after it.

mod refused;

use std::collections::{BTreeMap, HashMap, HashSet};

use selvedge_events::kafka_binding;
use selvedge_events::{Data, Event};
use selvedge_kafka::Received;
use selvedge_kafka::fetched::Content;

use super::Admit;
use crate::host::{Value, placeholders};
use crate::ingest::{self, Refused};
use crate::journal::{self, Record};
use crate::relay::batch::Encoded;
use crate::relay::outbox;
use crate::subscription::Subscription;
use crate::{Error, Host, bell, limits};

/// The events that these records are and the subscription hears, in the records' order, each once. Those that are exceptions of the
/// subscription already are the relay's, and left out.
pub(super) fn take(
    host: &Host,
    subscription: &Subscription,
    topic: &str,
    records: &[Received],
    admit: &Admit,
) -> Result<Vec<Encoded>, Error> {
    for _ in 0..limits::DECIDE_ATTEMPTS_MAX {
        let sorted = sort(host, subscription, topic, records, admit)?;
        note(host, sorted.refused)?;
        if append(host, sorted.is_new)? {
            return heard(host, subscription, &sorted.heard, sorted.known);
        }
    }
    Err(Error::DatabaseBusy {
        detail: "others append the same events at the same time".to_owned(),
    })
}

/// An event's source and id.
type Key = (String, String);

/// What records are.
struct Sorted {
    /// The events that are heard.
    heard: Vec<Key>,
    /// Those of them that the journal has.
    known: HashMap<Key, Record>,
    /// Those that it doesn't have yet.
    is_new: Vec<Event>,
    /// What stands for records that are refused.
    refused: Vec<Event>,
}

fn sort(
    host: &Host,
    subscription: &Subscription,
    topic: &str,
    records: &[Received],
    admit: &Admit,
) -> Result<Sorted, Error> {
    let read: Vec<_> = records.iter().map(read).collect();
    let is_heard = |event: &&Event| subscription.hears(&event.event_type);
    let events: Vec<&Event> = read.iter().flatten().filter(is_heard).collect();
    let mut sorted = Sorted {
        heard: Vec::with_capacity(events.len()),
        known: find(host, events.iter().map(|event| (&*event.source, &*event.id)))?,
        is_new: Vec::new(),
        refused: Vec::new(),
    };
    let mut fresh = HashMap::new();
    for (record, read) in records.iter().zip(read) {
        let admitted = match read {
            Ok(event) if !subscription.hears(&event.event_type) => continue,
            Ok(event) => sorted.admit(host, event, &mut fresh, admit),
            Err(reason) => Err(reason),
        };
        match admitted {
            Ok(key) => sorted.heard.push(key),
            Err(reason) => sorted.refused.push(refused::event(topic, record, &reason)?),
        }
    }
    Ok(sorted)
}

/// Why a record is refused that is in neither of the binding's modes.
const NO_EVENT: &str = "it is no CloudEvent: it has neither the headers ce_specversion, ce_id, ce_source and ce_type, nor the header \
    content-type with application/cloudevents+json";

/// The event in a record; why there is none.
fn read(record: &Received) -> Result<Event, String> {
    match &record.content {
        Content::Unreadable { reason, .. } => Err(reason.clone()),
        Content::Record { headers, value, .. } => {
            let headers = headers.iter().map(|(name, value)| (name.clone(), value.to_vec()));
            let record = kafka_binding::Record {
                headers: headers.collect(),
                value: value.as_ref().map(|value| value.to_vec()),
            };
            kafka_binding::decode(&record).map_err(|error| match error {
                selvedge_events::Error::NotACloudEvent => NO_EVENT.to_owned(),
                error => error.to_string(),
            })
        }
    }
}

impl Sorted {
    /// Whether an event may be heard: the journal knows it, or may have it. Gives its source and id. `fresh` has what came before it and
    /// is new.
    fn admit(
        &mut self,
        host: &Host,
        mut event: Event,
        fresh: &mut HashMap<Key, Event>,
        admit: &Admit,
    ) -> Result<Key, String> {
        let key = (event.source.clone(), event.id.clone());
        let earlier = self.known.get(&key).map(|record| &record.event).or(fresh.get(&key));
        match earlier {
            Some(earlier) if is_same(earlier, &event) => return Ok(key),
            Some(_) => {
                let (source, id) = key;
                return Err(format!(
                    "there is another event of the source {source:?} with the id {id:?}"
                ));
            }
            None => {}
        }
        event.validate().map_err(|error| error.to_string())?;
        let (length_bytes, limit) = (event.size_bytes(), limits::EVENT_BYTES_MAX);
        if length_bytes > limit {
            return Err(format!("the event has {length_bytes} bytes, the limit is {limit}"));
        }
        if !host.may_publish(&event.event_type) {
            return Err(format!("{} is outside of what may be appended", event.event_type));
        }
        fresh.insert(key.clone(), event.clone());
        admit(&mut event)?;
        self.is_new.push(event);
        Ok(key)
    }
}

/// Whether an event is the one that the journal has, or that came before, apart from what the journal adds and from what a record can't
/// tell: numbers and booleans arrive as texts, and an absent content type as that of JSON.
fn is_same(stored: &Event, sent: &Event) -> bool {
    const JSON: &str = "application/json";
    let content_type = |event: &Event| match (&event.datacontenttype, &event.data) {
        (None, Data::Json(_)) => Some(JSON.to_owned()),
        (content_type, _) => content_type.clone(),
    };
    let extensions = |event: &Event| {
        let texts = event.extensions.iter().filter(|(name, _)| {
            let is_added = ingest::ADDED.contains(&name.as_str());
            !is_added || sent.extensions.contains_key(*name)
        });
        texts
            .map(|(name, value)| (name.clone(), value.to_canonical_string().into_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    stored.event_type == sent.event_type
        && stored.subject == sent.subject
        && (sent.time.is_none() || stored.time == sent.time)
        && (sent.dataschema.is_none() || stored.dataschema == sent.dataschema)
        && content_type(stored) == content_type(sent)
        && extensions(stored) == extensions(sent)
        && stored.data.as_bytes() == sent.data.as_bytes()
}

/// Those of these events that the journal has.
fn find<'k>(
    host: &Host,
    keys: impl ExactSizeIterator<Item = (&'k str, &'k str)>,
) -> Result<HashMap<Key, Record>, Error> {
    if keys.len() == 0 {
        return Ok(HashMap::new());
    }
    let statement = format!(
        "SELECT {} FROM journal WHERE (source, id) IN (VALUES {})",
        journal::COLUMNS,
        placeholders(keys.len(), 2)
    );
    let parameters = keys.flat_map(|(source, id)| [Value::from(source), Value::from(id)]);
    let records = journal::records(host.execute(&statement, parameters.collect())?)?.into_iter();
    Ok(records
        .map(|record| ((record.event.source.clone(), record.event.id.clone()), record))
        .collect())
}

/// Appends what is new, and wakes the relay for it. False when somebody was faster with one of them, and with another content.
fn append(host: &Host, events: Vec<Event>) -> Result<bool, Error> {
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let some: Vec<Event> = events.by_ref().take(limits::APPEND_EVENTS_MAX).collect();
        match ingest::ingest(host, some, None) {
            Ok(ingested) => {
                if let Some(appended) = ingested.append {
                    bell::ring_after(host, appended);
                }
            }
            Err(Refused::Different { .. }) => return Ok(false),
            Err(Refused::Failed(error)) => return Err(error),
        }
    }
    Ok(true)
}

/// Appends what stands for refused records. One that is there already was refused before, for whatever reason.
fn note(host: &Host, refused: Vec<Event>) -> Result<(), Error> {
    for event in &refused {
        eprintln!(
            "warning: the record {} is refused: GET /events?type={} says why",
            event.subject.as_deref().unwrap_or_default(),
            refused::TYPE
        );
    }
    if append(host, refused.clone())? {
        return Ok(());
    }
    refused
        .into_iter()
        .try_for_each(|event| append(host, vec![event]).map(drop))
}

/// These events as the journal has them, without those that are exceptions of the subscription.
fn heard(
    host: &Host,
    subscription: &Subscription,
    keys: &[Key],
    mut records: HashMap<Key, Record>,
) -> Result<Vec<Encoded>, Error> {
    let appended = keys.iter().filter(|key| !records.contains_key(*key));
    let appended: Vec<_> = appended.map(|(source, id)| (&**source, &**id)).collect();
    records.extend(find(host, appended.into_iter())?);
    let events = keys.iter().filter_map(|key| records.remove(key)).map(outbox::encode);
    let events: Vec<_> = events.collect();
    if events.is_empty() {
        return Ok(events);
    }
    let statement = format!(
        "SELECT position FROM exceptions WHERE subscription = ? AND position IN {}",
        placeholders(1, events.len())
    );
    let mut parameters: Vec<Value> = vec![(*subscription.name).into()];
    parameters.extend(events.iter().map(|event| Value::from(event.position)));
    let rows = host.execute(&statement, parameters)?.into_iter();
    let exceptions: HashSet<i64> = rows.map(|mut row| row.integer()).collect::<Result<_, _>>()?;
    let is_left = |event: &Encoded| !exceptions.contains(&event.position);
    Ok(events.into_iter().filter(is_left).collect())
}
