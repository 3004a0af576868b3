//! The cases of the contract, one function each. They share an application, one after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use selvedge_events::{Data, Event, json};
use serde_json::{Value, json};

use super::Bus;
use super::application::{BusApplication, append, until};

/// The size of a large payload, in bytes.
const LARGE_BYTES: usize = 256 * 1024;
/// How long a server or the application is away.
const AWAY: Duration = Duration::from_millis(500);
/// How many events are accepted before something is killed, and again after that.
const UNDER_LOAD: usize = 60;

/// A case: what it is about, and how it is tried.
type Case = (
    &'static str,
    fn(&mut dyn Bus, &mut BusApplication) -> anyhow::Result<()>,
);

/// What holds on every bus.
const EVERYWHERE: [Case; 5] = [
    ("every event arrives", every_event_arrives),
    ("a stream keeps its order", a_stream_keeps_its_order),
    ("payloads arrive unchanged", payloads_arrive_unchanged),
    ("the server is killed under load", the_server_is_killed_under_load),
    (
        "the application is killed under load",
        the_application_is_killed_under_load,
    ),
];

/// What holds where functions of the application hear the bus.
const WITH_CONSUMERS: [Case; 4] = [
    (
        "a failed attempt is followed by the next",
        a_failed_attempt_is_followed_by_the_next,
    ),
    (
        "the last attempt makes a dead letter",
        the_last_attempt_makes_a_dead_letter,
    ),
    ("two replicas have one effect", two_replicas_have_one_effect),
    ("a slow consumer is not flooded", a_slow_consumer_is_not_flooded),
];

/// Tries every case that the bus's features ask for, and prints how long each took.
///
/// # Errors
/// The first case that doesn't hold, by its name.
pub fn hold(bus: &mut dyn Bus, root: &Path) -> anyhow::Result<()> {
    let features = bus.features();
    let mut application = BusApplication::start(bus, root)?;
    let cases = EVERYWHERE
        .iter()
        .chain(WITH_CONSUMERS.iter().filter(|_| features.has_consumers));
    for (name, case) in cases {
        let begun = Instant::now();
        case(bus, &mut application).with_context(|| format!("{}: {name}", features.name))?;
        println!("{}: {name}: {:?}", features.name, begun.elapsed());
    }
    Ok(())
}

/// An event of a kind, in the stream of a key.
fn event(kind: &str, id: impl ToString, key: &str) -> Event {
    Event::new(id.to_string(), "/bus", format!("bus.{kind}.published")).with_extension("partitionkey", key)
}

fn wish(event: Event, wish: &Value) -> anyhow::Result<Event> {
    Ok(event.with_json(wish)?)
}

/// Waits until all of these events have arrived, and gives them as they did, in the order of their arrival.
fn until_arrived(
    bus: &dyn Bus,
    application: &BusApplication,
    kind: &str,
    ids: &[String],
) -> anyhow::Result<Vec<Event>> {
    if bus.features().has_consumers {
        until_consumed(application, ids)
    } else {
        until_taken(bus, application, kind, ids)
    }
}

fn until_consumed(application: &BusApplication, ids: &[String]) -> anyhow::Result<Vec<Event>> {
    application.until_done(ids)?;
    let heard = application.heard()?;
    let dead = application.dead_letters()?;
    let mut arrived = BTreeMap::new();
    for id in ids {
        let effect = heard.get(id).and_then(|heard| heard.effect.as_ref());
        let (number, event) = effect.with_context(|| format!("{id} has no effect; dead letter: {:?}", dead.get(id)))?;
        arrived.insert(*number, json::decode(event.as_bytes())?);
        ensure!(!dead.contains_key(id), "{id} has an effect and is a dead letter");
    }
    ensure!(
        arrived.len() == ids.len(),
        "{} effects of {} events",
        arrived.len(),
        ids.len()
    );
    Ok(arrived.into_values().collect())
}

/// Others may get an event twice; the first time counts.
fn until_taken(bus: &dyn Bus, application: &BusApplication, kind: &str, ids: &[String]) -> anyhow::Result<Vec<Event>> {
    application.until_at_rest()?;
    let mut arrived: Vec<Event> = Vec::new();
    for text in bus.taken_by_others(kind)? {
        let event = json::decode(text.as_bytes())?;
        if ids.contains(&event.id) && !arrived.iter().any(|earlier| earlier.id == event.id) {
            arrived.push(event);
        }
    }
    ensure!(
        arrived.len() == ids.len(),
        "{} of {} events were taken",
        arrived.len(),
        ids.len()
    );
    Ok(arrived)
}

fn every_event_arrives(bus: &mut dyn Bus, application: &mut BusApplication) -> anyhow::Result<()> {
    let ids: Vec<String> = (0..200).map(|number| format!("every-{number}")).collect();
    for chunk in ids.chunks(20) {
        let events: Vec<_> = chunk.iter().map(|id| event("item", id, id)).collect();
        application.append(&events)?;
    }
    until_arrived(bus, application, "item", &ids)?;
    let calls = application.heard()?;
    let often = ids
        .iter()
        .filter(|id| calls.get(*id).is_some_and(|heard| heard.calls > 1));
    let often: Vec<_> = often.collect();
    ensure!(
        often.is_empty(),
        "nothing went wrong, and these came more than once: {often:?}"
    );
    Ok(())
}

fn a_stream_keeps_its_order(bus: &mut dyn Bus, application: &mut BusApplication) -> anyhow::Result<()> {
    let mut ids = Vec::new();
    for step in 0..20 {
        let mut events = Vec::new();
        for stream in ["a", "b", "c", "d"] {
            let id = format!("order-{stream}-{step}");
            let event = event("step", &id, &format!("order-{stream}"));
            // One of them fails at first: its stream waits for it.
            let behave = json!({ "behave": "retry", "times": i64::from(stream == "b" && step == 7) });
            events.push(wish(event, &behave)?);
            ids.push(id);
        }
        application.append(&events)?;
    }
    let arrived = until_arrived(bus, application, "step", &ids)?;
    for stream in ["a", "b", "c", "d"] {
        let prefix = format!("order-{stream}-");
        let steps = arrived
            .iter()
            .filter_map(|event| event.id.strip_prefix(&prefix)?.parse::<u32>().ok());
        let steps: Vec<_> = steps.collect();
        ensure!(steps == (0..20).collect::<Vec<_>>(), "stream {stream}: {steps:?}");
    }
    Ok(())
}

fn payloads_arrive_unchanged(bus: &mut dyn Bus, application: &mut BusApplication) -> anyhow::Result<()> {
    let bytes = |length: usize| (0..length).map(|place| (place * 31 % 251) as u8).collect::<Vec<_>>();
    let text = "\u{0}\u{1f}\"\\ äöü ß 漢字 🦀 \u{200d} \u{feff} e\u{301}";
    let sent = [
        event("item", "payload-none", "payload"),
        event("item", "payload-large", "payload").with_data("text/plain", Data::Text("x".repeat(LARGE_BYTES))),
        event("item", "payload-large-binary", "payload")
            .with_data("application/octet-stream", Data::Binary(bytes(LARGE_BYTES))),
        event("item", "payload-binary", "payload").with_data("image/png", Data::Binary(bytes(256))),
        event("item", "payload-unicode", "payload")
            .with_json(&json!({ text: [text, 1.5, null] }))?
            .with_subject("🦀/ä"),
        event("item", "payload-text", "payload").with_data("text/plain", Data::Text(text.to_owned())),
        event("item", "payload-ünïcode", "payload").with_extension("deliveryattempts", 7),
    ];
    for event in &sent {
        application.append(std::slice::from_ref(event))?;
    }
    let ids: Vec<String> = sent.iter().map(|event| event.id.clone()).collect();
    let arrived = until_arrived(bus, application, "item", &ids)?;
    for sent in sent {
        let found = arrived.iter().find(|arrived| arrived.id == sent.id);
        let mut found = found.with_context(|| sent.id.clone())?.clone();
        // What the journal adds.
        found.time = sent.time;
        found.extensions.retain(|name, _| sent.extensions.contains_key(name));
        // In binary mode numbers travel as texts.
        for (name, value) in &mut found.extensions {
            let sent = &sent.extensions[name];
            if value.to_canonical_string() == sent.to_canonical_string() {
                *value = sent.clone();
            }
        }
        let id = &sent.id;
        ensure!(found == sent, "{id} isn't what it was");
    }
    Ok(())
}

/// Appends events in the background, one after the other, until it is told to stop; gives the ids of those that were accepted.
fn load(url: String, prefix: &str, stop: &AtomicBool, accepted: &dyn Fn()) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let id = format!("{prefix}-{number}");
        match append(&url, &[event("item", &id, &id)]) {
            Ok(()) => {
                ids.push(id);
                accepted();
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    ids
}

/// Runs `trouble` in the middle of a load, and gives the ids of what was accepted. `trouble` is done under load when it ends
/// with the application running.
fn under_load(
    application: &mut BusApplication,
    prefix: &str,
    trouble: impl FnOnce(&mut BusApplication) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<String>> {
    let (stop, count) = (AtomicBool::new(false), std::sync::atomic::AtomicUsize::new(0));
    let (url, stop, count) = (application.url(), &stop, &count);
    std::thread::scope(|scope| {
        let accepted = move || _ = count.fetch_add(1, Relaxed);
        let loading = scope.spawn(move || load(url, prefix, stop, &accepted));
        let begun = until("events are accepted before the trouble", || {
            Ok(count.load(Relaxed) >= UNDER_LOAD)
        });
        let result = begun.and_then(|()| trouble(application));
        stop.store(true, Relaxed);
        let ids = loading.join().map_err(|_| anyhow::anyhow!("the load panicked"))?;
        result.map(|()| ids)
    })
}

fn the_server_is_killed_under_load(bus: &mut dyn Bus, application: &mut BusApplication) -> anyhow::Result<()> {
    let ids = under_load(application, "server-killed", |_| {
        if bus.kill()? {
            std::thread::sleep(AWAY);
            bus.start_again()?;
            std::thread::sleep(AWAY);
        }
        Ok(())
    })?;
    until_arrived(bus, application, "item", &ids)?;
    println!("{} events were accepted around it", ids.len());
    Ok(())
}

fn the_application_is_killed_under_load(bus: &mut dyn Bus, application: &mut BusApplication) -> anyhow::Result<()> {
    let mut ids = under_load(application, "before-the-kill", |application| Ok(application.kill()?))?;
    application.start_again()?;
    ids.extend(under_load(application, "after-the-kill", |_| Ok(()))?);
    until_arrived(bus, application, "item", &ids)?;
    println!("{} events were accepted around it", ids.len());
    Ok(())
}

fn a_failed_attempt_is_followed_by_the_next(_: &mut dyn Bus, application: &mut BusApplication) -> anyhow::Result<()> {
    let wishes = [
        ("again-retry", json!({ "behave": "retry", "times": 2 }), 3),
        ("again-trap", json!({ "behave": "trap", "times": 1 }), 2),
        // Longer than the subscription's timeout.
        (
            "again-wait",
            json!({ "behave": "wait", "times": 1, "wait_ms": 2_500 }),
            1,
        ),
        ("again-not", json!({}), 1),
    ];
    let events = wishes.iter().map(|(id, asked, _)| wish(event("item", id, id), asked));
    application.append(&events.collect::<anyhow::Result<Vec<_>>>()?)?;
    let ids = wishes.each_ref().map(|(id, ..)| (*id).to_owned());
    until_consumed(application, &ids)?;
    let heard = application.heard()?;
    for (id, _, calls_min) in wishes {
        let calls = heard[id].calls;
        ensure!(calls >= calls_min, "{id} came {calls} times, expected {calls_min}");
    }
    Ok(())
}

fn the_last_attempt_makes_a_dead_letter(_: &mut dyn Bus, application: &mut BusApplication) -> anyhow::Result<()> {
    let wishes = [
        (
            "dead-retry",
            json!({ "behave": "retry", "times": 1_000 }),
            3,
            "it was asked for",
        ),
        ("dead-trap", json!({ "behave": "trap", "times": 1_000 }), 3, ""),
        (
            "dead-drop",
            json!({ "behave": "drop", "times": 1_000 }),
            1,
            "it was asked for",
        ),
    ];
    for (id, asked, ..) in &wishes {
        // One after the other: the trap would take the others' attempt with it.
        application.append(&[wish(event("poison", id, id), asked)?])?;
        application.until_done(&[(*id).to_owned()])?;
    }
    application.append(&[event("poison", "alive", "alive")])?;
    until_consumed(application, &["alive".to_owned()])?;
    let dead = application.dead_letters()?;
    for (id, _, expected, reason) in wishes {
        let (attempts, said) = dead.get(id).with_context(|| format!("{id} is no dead letter"))?;
        let is_told = !said.is_empty() && said.contains(reason);
        ensure!(*attempts == expected && is_told, "{id}: {attempts} attempts, {said}");
    }
    Ok(())
}

fn two_replicas_have_one_effect(_: &mut dyn Bus, application: &mut BusApplication) -> anyhow::Result<()> {
    let _second = application.replica()?;
    let ids: Vec<String> = (0..100).map(|number| format!("replica-{number}")).collect();
    for chunk in ids.chunks(5) {
        let events: Vec<_> = chunk.iter().map(|id| event("item", id, id)).collect();
        application.append(&events)?;
    }
    until_consumed(application, &ids)?;
    let heard = application.heard()?;
    let calls: i64 = ids.iter().map(|id| heard[id].calls).sum();
    println!("two replicas: {calls} calls for {} events", ids.len());
    Ok(())
}

fn a_slow_consumer_is_not_flooded(_: &mut dyn Bus, application: &mut BusApplication) -> anyhow::Result<()> {
    const IN_FLIGHT_MAX: i64 = 20;
    const UNDER_WAY: &str = "SELECT (SELECT count(DISTINCT id) FROM calls WHERE id LIKE 'slow-%') - (SELECT count(*) FROM heard WHERE id LIKE 'slow-%')";
    let ids: Vec<String> = (0..200).map(|number| format!("slow-{number}")).collect();
    for chunk in ids.chunks(50) {
        let slow = json!({ "behave": "wait", "times": 1_000, "wait_ms": 5 });
        let events = chunk.iter().map(|id| wish(event("slow", id, id), &slow));
        application.append(&events.collect::<anyhow::Result<Vec<_>>>()?)?;
    }
    let mut most = 0;
    until("all slow events are heard", || {
        most = most.max(application.number(UNDER_WAY)?);
        Ok(application.number("SELECT count(*) FROM heard WHERE id LIKE 'slow-%'")? == 200)
    })?;
    ensure!(
        most <= IN_FLIGHT_MAX,
        "{most} events were under way at once, the subscription allows {IN_FLIGHT_MAX}"
    );
    until_consumed(application, &ids).map(drop)
}
