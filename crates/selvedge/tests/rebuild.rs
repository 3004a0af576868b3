//! A rebuild builds a function's projection anew while readers keep the old one, and takes its place when it has caught up.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use selvedge::dead_letter::{self, Selection};
use selvedge::projection::{self, Generation, Projection};
use selvedge::replay::{self, Mode, New, Replay, Start, State};
use selvedge::schema::Tables;
use selvedge::{Error, Event, Function, Host, Outcome, Relay, Timestamp, lease, progress, relay};
use support::World;
use support::listening::{append, drain, subscriptions};

const TABLES: Tables = Tables {
    owner: "tasks",
    migrations: &[&[
        "CREATE TABLE IF NOT EXISTS kept (generation INTEGER, id TEXT, text TEXT, PRIMARY KEY (generation, id))",
        "INSERT INTO projections (function, generation) VALUES ('tasks', 0) ON CONFLICT DO NOTHING",
    ]],
};

type Judge = Rc<RefCell<Box<dyn Fn(&Event, Generation) -> Outcome>>>;

/// A function that keeps what it hears under the text that it is told, and notes which events it tells the outside of.
struct Scene {
    world: Rc<World>,
    relay: Rc<Relay>,
    text: Rc<Cell<&'static str>>,
    judge: Judge,
    told: Rc<RefCell<Vec<String>>>,
}

impl Scene {
    fn new() -> Self {
        let world = World::new(&[TABLES]);
        let relay = world.relay(support::listening::TWO);
        world.component(
            "all",
            Function::new("all").effect(async |_, events| Ok(vec![Outcome::Success; events.len()])),
        );
        let text = Rc::new(Cell::new("old"));
        let judge: Judge = Rc::new(RefCell::new(Box::new(|_, _| Outcome::Success)));
        let told = Rc::new(RefCell::new(Vec::new()));
        let (says, judges, tells) = (text.clone(), judge.clone(), told.clone());
        let effect = move |host: Host, generation: Generation, events: Vec<Event>| {
            let (text, judge, told) = (says.get(), judges.clone(), tells.clone());
            async move {
                host.wait(1).await;
                let keep = |event: &Event| {
                    let outcome = judge.borrow()(event, generation);
                    if outcome == Outcome::Success {
                        let statement =
                            "INSERT INTO kept (generation, id, text) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
                        let parameters = vec![generation.number.into(), (*event.id).into(), text.into()];
                        host.execute(statement, parameters)?;
                        if !generation.is_being_built {
                            told.borrow_mut().push(event.id.clone());
                        }
                    }
                    Ok(outcome)
                };
                events.iter().map(keep).collect::<Result<Vec<_>, Error>>()
            }
        };
        let projection = Projection {
            tables: &[("kept", "id")],
        };
        world.component("tasks", Function::new("tasks").projection(projection, effect));
        Self {
            world,
            relay,
            text,
            judge,
            told,
        }
    }

    /// With this many events that the live projection has.
    fn settled(count: usize) -> Self {
        let scene = Self::new();
        append(&scene.world, 1..=count, "todos.task.created");
        drain(&scene.world, &scene.relay);
        assert_eq!(scene.read(), vec![format!("{count}|old")]);
        scene
    }

    fn judge(&self, judge: impl Fn(&Event, Generation) -> Outcome + 'static) {
        *self.judge.borrow_mut() = Box::new(judge);
    }

    /// What readers see: how many rows of which text.
    fn read(&self) -> Vec<String> {
        let live = projection::live("tasks");
        let statement =
            format!("SELECT COUNT(*), text FROM kept WHERE generation = {live} GROUP BY text ORDER BY text");
        self.world.rows(&statement)
    }

    fn begin(&self, id: &str, rate_per_second: u32) -> Option<Replay> {
        let new = New {
            id: id.to_owned(),
            digest: None,
            subscription: "tasks".to_owned(),
            start: Start::Position(1),
            types: Vec::new(),
            mode: Mode::Rebuild,
            function: Some("tasks".to_owned()),
            rate_per_second,
        };
        replay::create(&self.world.host(), &new).expect("writable")
    }

    fn get(&self, id: &str) -> Replay {
        replay::get(&self.world.host(), id).expect("readable").expect("there")
    }

    /// Has the cron wake the relay every second, as long as something is due.
    fn run(&self, seconds: i64) {
        for _ in 0..seconds {
            self.second();
        }
    }

    fn second(&self) {
        let next_ms = self.world.now_ms() + 1_000;
        if relay::is_due(&self.world.host(), &subscriptions()).expect("readable") {
            self.relay.ring(&self.world.host());
        }
        self.world.run_until_ms(next_ms - 1);
        self.world.set_now_ms(next_ms.max(self.world.now_ms()));
    }
}

#[test]
fn readers_keep_the_old_projection_until_the_new_one_has_caught_up() {
    let scene = Scene::settled(1_200);
    scene.text.set("new");
    let replay = scene.begin("r", 100).expect("there is room");
    assert_eq!(
        (replay.mode, replay.generation, replay.to_position, replay.percent),
        (Mode::Rebuild, Some(1), 1_200, 0)
    );
    let mut seconds = 0;
    while scene.get("r").state == State::Running {
        assert_eq!(scene.read(), ["1200|old"], "after {seconds} s");
        let built = scene.get("r").position;
        assert!(built <= (seconds + 2) * 100, "{built} after {seconds} s are too many");
        scene.second();
        seconds += 1;
    }
    assert!((10..=14).contains(&seconds), "{seconds}");
    assert_eq!(scene.read(), ["1200|new"]);
    assert_eq!(scene.told.borrow().len(), 1_200, "the outside was told once");

    append(&scene.world, ["later"], "todos.task.created");
    drain(&scene.world, &scene.relay);
    assert_eq!(scene.read(), ["1201|new"]);
    assert_eq!(scene.told.borrow().last().map(String::as_str), Some("later"));
    let replay = scene.get("r");
    assert_eq!(
        (replay.percent, replay.position, replay.held_back_by),
        (100, 1_200, Some(0))
    );
    assert!(!relay::is_due(&scene.world.host(), &subscriptions()).expect("readable"));
}

#[test]
fn what_is_left_of_the_old_generation_goes() {
    let scene = Scene::settled(700);
    scene.begin("r", 10_000).expect("there is room");
    scene.run(3);
    assert_eq!(scene.get("r").state, State::Done);
    let markers = |prefix: &str| {
        let store = scene.world.store.borrow();
        store.keys().filter(|key| key.starts_with(prefix)).count()
    };
    assert_eq!((markers("done/tasks/"), markers("done/tasks~1/")), (700, 700));
    for minute in 0..3 {
        scene.world.set_now_ms(scene.world.now_ms() + 61_000);
        append(&scene.world, [format!("later {minute}")], "todos.task.created");
        drain(&scene.world, &scene.relay);
    }
    assert_eq!((markers("done/tasks/"), markers("done/tasks~1/")), (0, 703));
    assert_eq!(
        scene
            .world
            .rows("SELECT generation, COUNT(*) FROM kept GROUP BY generation"),
        ["1|703"]
    );
    assert!(scene.world.rows("SELECT * FROM retired_generations").is_empty());
}

#[test]
fn live_traffic_that_never_ceases_is_in_the_new_projection_when_readers_see_it() {
    let scene = Scene::settled(2_000);
    scene.text.set("new");
    // Each event of the live projection leads to the next: there is no moment at which the rebuild isn't behind.
    let (world, appended) = (scene.world.clone(), Rc::new(Cell::new(0)));
    let appends = appended.clone();
    scene.judge(move |_, generation| {
        if !generation.is_being_built && generation.number == 0 {
            appends.set(appends.get() + 1);
            append(&world, [format!("live {}", appends.get())], "todos.task.created");
        }
        Outcome::Success
    });
    scene.begin("r", 1_000).expect("there is room");
    append(&scene.world, ["first"], "todos.task.created");
    scene.relay.ring(&scene.world.host());
    while scene.get("r").state == State::Running {
        scene.world.run_until_ms(scene.world.now_ms() + 50);
        scene.world.set_now_ms(scene.world.now_ms() + 1);
        let settled = scene
            .world
            .rows("SELECT cursor FROM subscriptions WHERE name = 'tasks'");
        let settled: usize = settled[0].parse().expect("a number");
        let count = |row: &String| row.split('|').next().and_then(|count| count.parse::<usize>().ok());
        let read: usize = scene.read().iter().filter_map(count).sum();
        assert!(read >= settled, "{read} of {settled} are to be read");
        assert!(appended.get() < 10_000, "it never catches up");
    }
    assert!(appended.get() > 100, "{} events came meanwhile", appended.get());
    drain(&scene.world, &scene.relay);
    assert_eq!(scene.read(), [format!("{}|new", 2_001 + appended.get())]);
    assert!(scene.world.rows("SELECT * FROM exceptions").is_empty());
}

#[test]
fn what_fails_in_the_new_projection_holds_it_back_until_someone_decides() {
    let scene = Scene::settled(10);
    scene.judge(|event, generation| match (&*event.id, generation.number) {
        ("3" | "7", 1) => Outcome::drop("a mistake of the new version"),
        _ => Outcome::Success,
    });
    scene.begin("r", 10_000).expect("there is room");
    scene.run(5);
    let replay = scene.get("r");
    assert_eq!(
        (replay.state, replay.held_back_by, replay.position),
        (State::Running, Some(2), 10)
    );
    assert_eq!(scene.read(), ["10|old"]);
    append(&scene.world, ["later"], "todos.task.created");
    scene.run(2);
    assert_eq!(scene.read(), ["11|old"], "the live one goes on meanwhile");

    scene.judge(|_, _| Outcome::Success);
    let host = scene.world.host();
    let of = |position| {
        Selection::Ids(vec![dead_letter::Id {
            subscription: "tasks~1".to_owned(),
            position,
        }])
    };
    assert_eq!(
        dead_letter::redrive(&host, &of(3), 100, host.now_ms())
            .expect("writable")
            .len(),
        1
    );
    scene.run(3);
    assert_eq!(scene.get("r").held_back_by, Some(1));
    let record = dead_letter::Discarded {
        at: Timestamp::from_unix_ms(host.now_ms()),
        by: None,
        reason: "not worth it".to_owned(),
    };
    dead_letter::discard(&host, &of(7), &record).expect("writable");
    scene.run(3);
    assert_eq!(scene.get("r").state, State::Done);
    assert_eq!(scene.read(), ["10|old"], "11 without the discarded one");
    let kept = "SELECT subscription, position, state FROM exceptions";
    assert_eq!(scene.world.rows(kept), ["tasks|7|discarded"], "it stays on record");
}

#[test]
fn what_the_live_projection_is_not_done_with_comes_when_it_is() {
    let scene = Scene::new();
    scene.judge(|event, _| match &*event.id {
        "2" => Outcome::drop("poison"),
        "5" | "6" => Outcome::retry("not yet"),
        _ => Outcome::Success,
    });
    append(&scene.world, 1..=4, "todos.task.created");
    drain(&scene.world, &scene.relay);
    append(&scene.world, 5..=6, "todos.task.created");
    scene.run(1);
    scene.begin("r", 10_000).expect("there is room");
    // Done in the live one before the rebuild is through: then it is to be in the new one too.
    scene.judge(|event, _| match &*event.id {
        "2" => Outcome::drop("poison"),
        "6" => Outcome::retry("not yet"),
        _ => Outcome::Success,
    });
    scene.run(8);
    assert_eq!(scene.get("r").state, State::Done);
    let states = || {
        scene
            .world
            .rows("SELECT subscription, position, state FROM exceptions ORDER BY position")
    };
    assert_eq!(states(), ["tasks|2|dead", "tasks|6|dead"]);
    assert_eq!(
        scene.world.rows("SELECT id FROM kept WHERE generation = 1 ORDER BY id"),
        ["1", "3", "4", "5"]
    );

    // What is redriven after the switch has its whole effect in the new one.
    scene.judge(|_, _| Outcome::Success);
    let host = scene.world.host();
    let all = Selection::Ids(
        [2, 6]
            .map(|position| dead_letter::Id {
                subscription: "tasks".to_owned(),
                position,
            })
            .into(),
    );
    assert_eq!(
        dead_letter::redrive(&host, &all, 100, host.now_ms())
            .expect("writable")
            .len(),
        2
    );
    scene.run(3);
    assert_eq!(scene.read(), ["6|old"]);
    let mut told = scene.told.borrow().clone();
    told.sort();
    assert_eq!(told, ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn a_cancelled_rebuild_leaves_the_old_projection_and_nothing_else() {
    let scene = Scene::settled(100);
    scene.text.set("new");
    scene.begin("r", 10).expect("there is room");
    scene.run(4);
    let host = scene.world.host();
    assert_eq!(
        replay::cancel(&host, "r").expect("writable").expect("there").state,
        State::Cancelled
    );
    assert_eq!(
        replay::resume(&host, "r").expect("writable").expect("there").state,
        State::Cancelled
    );
    append(&scene.world, ["later"], "todos.task.created");
    scene.run(2);
    assert_eq!(scene.read(), ["1|new", "100|old"]);
    assert_eq!(
        scene.world.rows("SELECT name FROM subscriptions ORDER BY name"),
        ["all", "tasks"]
    );
    for _ in 0..2 {
        scene.world.set_now_ms(scene.world.now_ms() + 61_000);
        drain(&scene.world, &scene.relay);
    }
    assert_eq!(scene.world.rows("SELECT DISTINCT generation FROM kept"), ["0"]);
    assert!(
        !scene
            .world
            .store
            .borrow()
            .keys()
            .any(|key| key.starts_with("done/tasks~1/"))
    );

    let again = scene.begin("again", 10_000).expect("there is room");
    assert_eq!(again.generation, Some(2), "no number is used twice");
    scene.run(3);
    assert_eq!(scene.read(), ["101|new"]);
}

#[test]
fn one_rebuild_of_a_projection_at_a_time_and_none_of_what_is_no_projection() {
    let scene = Scene::settled(5);
    scene.begin("first", 1).expect("there is room");
    assert_eq!(scene.begin("second", 1), None);
    let of_none = New {
        id: "none".to_owned(),
        digest: None,
        subscription: "all".to_owned(),
        start: Start::Position(1),
        types: Vec::new(),
        mode: Mode::Rebuild,
        function: Some("all".to_owned()),
        rate_per_second: 1,
    };
    assert_eq!(replay::create(&scene.world.host(), &of_none).expect("writable"), None);
    assert_eq!(scene.world.rows("SELECT id FROM replays"), ["first"]);
}

#[test]
fn a_paused_subscription_is_not_built_anew_meanwhile() {
    let scene = Scene::settled(50);
    scene.begin("r", 5).expect("there is room");
    scene.run(2);
    assert!(progress::pause(&scene.world.host(), "tasks", true).expect("writable"));
    let built = scene.get("r").position;
    scene.run(10);
    assert_eq!((scene.get("r").position, scene.get("r").state), (built, State::Running));
    progress::pause(&scene.world.host(), "tasks", false).expect("writable");
    scene.run(15);
    assert_eq!(scene.get("r").state, State::Done);
}

#[test]
fn a_relay_that_has_not_seen_the_switch_delivers_nothing_to_the_old_generation() {
    let scene = Scene::settled(5);
    let other = Relay::new(subscriptions());
    scene.begin("r", 10_000).expect("there is room");
    scene.run(3);
    assert_eq!(scene.get("r").state, State::Done);
    append(&scene.world, ["later"], "todos.task.created");
    // It still has the generations of the file.
    other.ring(&scene.world.host());
    scene.world.run_until_ms(scene.world.now_ms() + 20_000);
    assert_eq!(
        scene.world.rows("SELECT generation FROM kept WHERE id = 'later'"),
        ["1"]
    );
}

#[test]
fn a_lease_is_of_one_generation() {
    let scene = Scene::settled(5);
    let seen_before = subscriptions();
    let wanted = [&**seen_before.get("tasks").expect("there")];
    let (host, now_ms) = (scene.world.host(), scene.world.now_ms());
    assert_eq!(
        lease::take(&host, &wanted, "before", now_ms).expect("writable").len(),
        1
    );
    scene.run(6);
    scene.begin("r", 10_000).expect("there is room");
    scene.run(3);
    assert_eq!(scene.get("r").state, State::Done);
    assert_eq!(
        lease::take(&host, &wanted, "after", now_ms + 60_000).expect("writable"),
        []
    );
}

#[test]
fn a_rebuild_goes_on_after_whatever_failed() {
    let statements = [
        "INSERT INTO kept",
        "UPDATE replays SET state = 'done'",
        "UPDATE replays SET next_at_ms",
        "SET allowed",
        "UPDATE subscriptions SET cursor",
        "UPDATE subscriptions SET lease_token",
        "state = 'scheduled' AND due_at_ms = ?",
    ];
    for statement in statements {
        let scene = Scene::settled(40);
        scene.text.set("new");
        scene.begin("r", 20).expect("there is room");
        scene.world.broken_statements.borrow_mut().push(statement);
        scene.run(3);
        assert_eq!(scene.read(), ["40|old"], "{statement}");
        scene.world.broken_statements.borrow_mut().clear();
        scene.run(40);
        assert_eq!(scene.get("r").state, State::Done, "{statement}");
        assert_eq!(scene.read(), ["40|new"], "{statement}");
        assert!(scene.world.rows("SELECT * FROM exceptions").is_empty(), "{statement}");
    }
}
