//! The journal is read page by page, filtered, at a bounded cost.

mod support;

use std::rc::Rc;

use selvedge::feed::{self, Filter};
use selvedge::{Event, TypePattern, journal, limits};
use support::World;

fn append(world: &Rc<World>, stream: &str, version: i64, ids: impl Iterator<Item = i64>, event_type: &str) {
    let events = ids.map(|id| Event::new(id.to_string(), "/tests", event_type));
    journal::append(&world.host(), stream, version, events.collect()).expect("new");
}

fn types(patterns: &[&str]) -> Filter {
    let parse = |pattern: &&str| TypePattern::parse(pattern).expect("valid");
    Filter {
        types: patterns.iter().map(parse).collect(),
        stream: None,
    }
}

fn positions(page: &feed::Page) -> Vec<i64> {
    page.records.iter().map(|record| record.position).collect()
}

#[test]
fn pages_follow_each_other_to_the_end() {
    let world = World::new(&[]);
    let host = world.host();
    let empty = feed::read(&host, &Filter::default(), 0, 2).expect("readable");
    assert_eq!((empty.records.len(), empty.cursor, empty.has_more), (0, 0, false));
    append(&world, "s", 0, 1..=5, "a.b.c");
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page = feed::read(&host, &Filter::default(), after, 2).expect("readable");
        seen.extend(positions(&page));
        after = page.cursor;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    let beyond = feed::read(&host, &Filter::default(), 99, 2).expect("readable");
    assert_eq!((beyond.records.len(), beyond.cursor, beyond.has_more), (0, 99, false));
}

#[test]
fn filters_are_types_and_a_stream() {
    let world = World::new(&[]);
    let host = world.host();
    append(&world, "s", 0, 1..=2, "a.b.c");
    append(&world, "t", 0, 3..=3, "a.x.c");
    append(&world, "s", 2, 4..=4, "b.b.c");
    append(&world, "u", 0, 5..=5, "a.b.x.c");
    let read = |filter: &Filter| positions(&feed::read(&host, filter, 0, 10).expect("readable"));
    assert_eq!(read(&types(&["a.b.c"])), [1, 2]);
    assert_eq!(read(&types(&["a.*.c"])), [1, 2, 3], "a star is one part");
    assert_eq!(read(&types(&["a.x.*", "b.*.*"])), [3, 4]);
    assert_eq!(read(&types(&["*"])), [1, 2, 3, 4, 5]);
    let stream = Filter {
        stream: Some("s".to_owned()),
        ..Filter::default()
    };
    assert_eq!(read(&stream), [1, 2, 4]);
    let both = Filter {
        stream: Some("s".to_owned()),
        ..types(&["a.*.*"])
    };
    assert_eq!(read(&both), [1, 2]);
}

#[test]
fn a_filter_that_little_passes_reads_a_bounded_part_at_a_time() {
    let world = World::new(&[]);
    let host = world.host();
    let last = limits::FEED_SCAN_EVENTS_MAX + 100;
    for version in (0..last).step_by(100) {
        append(&world, "s", version, version + 1..=version + 100, "a.b.c");
    }
    append(&world, "rare", 0, 0..=0, "a.b.rare");
    let filter = types(&["*.*.rare"]);
    let first = feed::read(&host, &filter, 0, 10).expect("readable");
    assert_eq!(
        (positions(&first), first.cursor, first.has_more),
        (vec![], limits::FEED_SCAN_EVENTS_MAX, true)
    );
    let second = feed::read(&host, &filter, first.cursor, 10).expect("readable");
    assert_eq!((positions(&second), second.has_more), (vec![last + 1], false));
    let stream = Filter {
        stream: Some("rare".to_owned()),
        ..Filter::default()
    };
    let found = feed::read(&host, &stream, 0, 10).expect("readable");
    assert_eq!(positions(&found), [last + 1], "a stream is found at once");
}
