//! Dead letters are found, redriven at a bounded rate over a snapshot, and discarded for good.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use selvedge::dead_letter::{self, DeadLetter, Discarded, Filter, Id, Selection, State};
use selvedge::{Outcome, Relay, Timestamp, limits, relay};
use support::World;
use support::listening::{append, drain, heard, listener, subscriptions, world};

/// A world in which these events are dead letters of `tasks`, which refuses everything until the cell says otherwise.
fn with_dead_letters(count: usize) -> (Rc<World>, Rc<Relay>, Rc<Cell<bool>>) {
    let (world, relay) = world();
    let refusing = Rc::new(Cell::new(true));
    let refuses = refusing.clone();
    let judge = move |_: &selvedge::Event| match refuses.get() {
        true => Outcome::drop("50% of it is missing"),
        false => Outcome::Success,
    };
    world.component("tasks", listener("tasks", judge));
    append(&world, 1..=count, "todos.task.created");
    drain(&world, &relay);
    assert_eq!(letters(&world, &Filter::default()).len(), count);
    (world, relay, refusing)
}

fn letters(world: &Rc<World>, filter: &Filter) -> Vec<DeadLetter> {
    dead_letter::list(&world.host(), State::Dead, filter, None, 1_000).expect("readable")
}

fn all() -> Selection {
    Selection::Matching(Filter::default(), None)
}

fn id(position: i64) -> Id {
    Id {
        subscription: "tasks".to_owned(),
        position,
    }
}

fn drain_until_nothing_is_due(world: &Rc<World>, relay: &Rc<Relay>, end_ms: i64) {
    while world.now_ms() < end_ms {
        drain(world, relay);
        world.set_now_ms(world.now_ms() + 1_000);
    }
    assert!(!relay::is_due(&world.host(), &subscriptions()).expect("readable"));
}

#[test]
fn what_is_redriven_gets_its_effect_and_its_attempts_start_anew() {
    let (world, relay, refusing) = with_dead_letters(3);
    let now_ms = world.now_ms();
    let taken = dead_letter::redrive(&world.host(), &all(), 10, now_ms).expect("writable");
    assert_eq!(taken, [id(1), id(2), id(3)]);
    let rows =
        world.rows("SELECT state, attempt, earlier_attempts, redrives, due_at_ms FROM exceptions ORDER BY position");
    let expected = [0, 100, 200].map(|after_ms| format!("retry|0|1|1|{}", now_ms + after_ms));
    assert_eq!(rows, expected, "ten in a second");

    refusing.set(false);
    drain_until_nothing_is_due(&world, &relay, now_ms + 3_000);
    assert_eq!(heard(&world, "tasks"), 3);
    assert!(world.rows("SELECT * FROM exceptions").is_empty());
}

#[test]
fn what_fails_again_is_not_taken_up_by_the_same_redrive() {
    let (world, relay, _refusing) = with_dead_letters(2);
    append(&world, [3], "todos.task.created");
    let taken = dead_letter::redrive(&world.host(), &all(), 100, world.now_ms()).expect("writable");
    assert_eq!(taken.len(), 2);
    drain_until_nothing_is_due(&world, &relay, world.now_ms() + 10_000);
    let again = letters(&world, &Filter::default());
    let counts: Vec<_> = again
        .iter()
        .map(|letter| (letter.attempts, letter.earlier_attempts, letter.redrives))
        .collect();
    assert_eq!(
        counts,
        [(1, 1, 1), (1, 1, 1), (1, 0, 0)],
        "each was tried once more, and the new one once"
    );
}

#[test]
fn two_operators_share_the_letters_between_them() {
    let (world, relay, refusing) = with_dead_letters(5);
    let (host, now_ms) = (world.host(), world.now_ms());
    let first = dead_letter::redrive(&host, &Selection::Ids(vec![id(4), id(2)]), 100, now_ms).expect("writable");
    let second = dead_letter::redrive(&host, &all(), 100, now_ms).expect("writable");
    let third = dead_letter::redrive(&host, &all(), 100, now_ms).expect("writable");
    assert_eq!(
        (first, second, third),
        (vec![id(2), id(4)], vec![id(1), id(3), id(5)], Vec::new())
    );
    refusing.set(false);
    drain_until_nothing_is_due(&world, &relay, now_ms + 2_000);
    assert_eq!(heard(&world, "tasks"), 5, "a second effect would break its unique key");
}

#[test]
fn a_redrive_takes_up_a_bounded_number_and_says_where_it_ended() {
    let (world, relay, _refusing) = with_dead_letters(1);
    let more = i64::from(limits::REDRIVE_LETTERS_MAX) + 3;
    let copy = format!(
        "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {more})
         INSERT INTO journal (position, id, source, type, stream, version, time_ms)
         SELECT i, 'copy-' || i, source, type, 'copies', i, time_ms FROM journal, n WHERE position = 1"
    );
    world.execute(&copy, Vec::new()).expect("writable");
    let copy =
        "INSERT INTO exceptions (subscription, position, state, attempt, due_at_ms, leased_until_ms, isolated, reason,
            first_at_ms, last_at_ms)
        SELECT subscription, journal.position, state, attempt, due_at_ms, 0, isolated, reason, first_at_ms, last_at_ms
        FROM exceptions, journal WHERE journal.position > 1";
    world.execute(copy, Vec::new()).expect("writable");
    world
        .execute(
            "UPDATE subscriptions SET cursor = (SELECT MAX(position) FROM journal)",
            Vec::new(),
        )
        .expect("writable");

    let host = world.host();
    let taken = dead_letter::redrive(&host, &all(), 10_000, world.now_ms()).expect("writable");
    assert_eq!(taken.len(), limits::REDRIVE_LETTERS_MAX as usize);
    let after = taken.last().cloned();
    let rest = dead_letter::redrive(
        &host,
        &Selection::Matching(Filter::default(), after),
        10_000,
        world.now_ms(),
    );
    assert_eq!(rest.expect("writable").len(), 3);
    drop(relay);
}

#[test]
fn letters_are_found_by_everything_that_is_known_of_them() {
    let (world, relay, _refusing) = with_dead_letters(2);
    let later_ms = world.now_ms() + 60_000;
    world.set_now_ms(later_ms);
    append(&world, ["late"], "todos.task.completed");
    drain(&world, &relay);
    let positions = |filter: Filter| -> Vec<i64> {
        letters(&world, &filter)
            .iter()
            .map(|letter| letter.id.position)
            .collect()
    };
    let later = Some(Timestamp::from_unix_ms(later_ms));
    let cases: [(Filter, &[i64]); 13] = [
        (Filter::default(), &[1, 2, 3]),
        (
            Filter {
                subscription: Some("tasks".to_owned()),
                ..Filter::default()
            },
            &[1, 2, 3],
        ),
        (
            Filter {
                subscription: Some("all".to_owned()),
                ..Filter::default()
            },
            &[],
        ),
        (
            Filter {
                event_type: "todos.task.completed".parse().ok(),
                ..Filter::default()
            },
            &[3],
        ),
        (
            Filter {
                event_type: "todos.*.created".parse().ok(),
                ..Filter::default()
            },
            &[1, 2],
        ),
        (
            Filter {
                event_type: "*.*.*".parse().ok(),
                ..Filter::default()
            },
            &[1, 2, 3],
        ),
        (
            Filter {
                event_type: "*".parse().ok(),
                ..Filter::default()
            },
            &[1, 2, 3],
        ),
        (
            Filter {
                reason: Some("50% OF".to_owned()),
                ..Filter::default()
            },
            &[1, 2, 3],
        ),
        (
            Filter {
                reason: Some("5_%".to_owned()),
                ..Filter::default()
            },
            &[],
        ),
        (
            Filter {
                reason: Some("'; DROP TABLE exceptions; --".to_owned()),
                ..Filter::default()
            },
            &[],
        ),
        (
            Filter {
                from: later,
                ..Filter::default()
            },
            &[3],
        ),
        (
            Filter {
                to: later,
                ..Filter::default()
            },
            &[1, 2],
        ),
        (
            Filter {
                from: later,
                to: later,
                ..Filter::default()
            },
            &[],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(positions(filter.clone()), expected, "{filter:?}");
    }
    let page = |after: Option<&Id>| dead_letter::list(&world.host(), State::Dead, &Filter::default(), after, 2);
    let first = page(None).expect("readable");
    let second = page(first.last().map(|letter| &letter.id)).expect("readable");
    assert_eq!((first.len(), second.len(), second[0].id.position), (2, 1, 3));
}

#[test]
fn what_is_discarded_is_on_record_and_never_comes_back() {
    let (world, relay, refusing) = with_dead_letters(2);
    refusing.set(false);
    let host = world.host();
    let record = Discarded {
        at: Timestamp::from_unix_ms(world.now_ms()),
        by: Some("ann".to_owned()),
        reason: "a test".to_owned(),
    };
    let one = Selection::Ids(vec![id(1), id(7)]);
    assert_eq!(dead_letter::discard(&host, &one, &record).expect("writable"), [id(1)]);
    let again = Discarded {
        reason: "another".to_owned(),
        ..record.clone()
    };
    assert!(
        dead_letter::discard(&host, &one, &again).expect("writable").is_empty(),
        "the first reason stays"
    );

    assert_eq!(
        dead_letter::redrive(&host, &all(), 100, world.now_ms()).expect("writable"),
        [id(2)]
    );
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 1);
    let discarded = dead_letter::list(&host, State::Discarded, &Filter::default(), None, 10).expect("readable");
    assert_eq!(discarded.len(), 1);
    assert_eq!(discarded[0].discarded, Some(record));
    let (letter, record) = dead_letter::get(&host, &id(1)).expect("readable").expect("there");
    assert_eq!((letter, &*record.event.id), (discarded[0].clone(), "1"));
    assert_eq!(dead_letter::get(&host, &id(2)).expect("readable"), None, "it is done");
}
