use proptest::prelude::*;

use super::*;
use crate::subscription::Subscriptions;

const NOW_MS: i64 = 1_000_000;

fn parcel(cause: Cause, attempts: &[u32]) -> Parcel {
    let text =
        "[[subscription]]\nname = \"a\"\ntypes = [\"*\"]\ntarget = \"function:x\"\nmax_attempts = 3\njitter = 0\n";
    let item = |(position, attempt): (i64, &u32)| Item {
        position,
        id: position.to_string().into(),
        stream: "s/1".into(),
        trace: None,
        attempt: *attempt,
        attempt_ever: *attempt,
        isolated: false,
    };
    Parcel {
        subscription: Subscriptions::parse(text)
            .expect("valid")
            .get("a")
            .expect("there")
            .clone(),
        token: "token".into(),
        cause,
        items: (1..).zip(attempts).map(item).collect(),
        aside: Vec::new(),
    }
}

fn settled(parcel: &Parcel, delivered: Delivered) -> Settlement {
    let mut settlement = Settlement::default();
    settlement.add(parcel, delivered, NOW_MS, &mut || 0.0);
    settlement
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Success),
        Just(Outcome::retry("later")),
        Just(Outcome::drop("never"))
    ]
}

#[test]
fn what_nothing_is_known_of_goes_alone_from_then_on() {
    let delivered = Delivered::Partly(
        vec![Some(Outcome::Success), None, Some(Outcome::retry("busy"))],
        "no word".to_owned(),
    );
    let settlement = settled(&parcel(Cause::Range { cursor_after: 3 }, &[1, 1, 1]), delivered);
    let failed = settlement.failed.iter();
    let failed: Vec<_> = failed
        .map(|failed| (failed.position, failed.isolated, &*failed.reason))
        .collect();
    assert_eq!(failed, [(2, true, "no word"), (3, false, "busy")]);
}

proptest! {
    #[test]
    fn every_event_is_settled_in_one_way(
        outcomes in prop::collection::vec((outcome(), 1..=3_u32), 0..30),
        is_retry in any::<bool>(),
        whole_failed in any::<bool>(),
    ) {
        let (outcomes, attempts): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
        let cause = if is_retry { Cause::Retry } else { Cause::Range { cursor_after: 99 } };
        let parcel = parcel(cause, &attempts);
        let delivered = if whole_failed {
            Delivered::Failed("it trapped".to_owned())
        } else {
            Delivered::Answered(outcomes.clone())
        };
        let settlement = settled(&parcel, delivered);

        let exceptions = if is_retry { &settlement.again } else { &settlement.failed };
        let mut positions: Vec<_> = exceptions.iter().map(|exception| exception.position).collect();
        if is_retry {
            positions.extend(settlement.done.iter().map(|done| done.position));
            prop_assert!(settlement.moved.is_empty() && settlement.failed.is_empty());
        } else {
            let succeeded = |(position, outcome): (i64, &Outcome)| {
                (*outcome == Outcome::Success && !whole_failed).then_some(position)
            };
            positions.extend((1..).zip(&outcomes).filter_map(succeeded));
            prop_assert_eq!(settlement.moved.iter().map(|moved| moved.cursor).collect::<Vec<_>>(), [99]);
            prop_assert!(settlement.done.is_empty() && settlement.again.is_empty());
        }
        positions.sort_unstable();
        prop_assert_eq!(positions, parcel.items.iter().map(|item| item.position).collect::<Vec<_>>());
        prop_assert!(exceptions.iter().all(|exception| exception.isolated == whole_failed));
    }
}

#[test]
fn retries_back_off_until_the_last_attempt_makes_a_dead_letter() {
    let settlement = settled(&parcel(Cause::Retry, &[1, 2, 3]), Delivered::Failed("gone".to_owned()));
    let due: Vec<_> = settlement
        .again
        .iter()
        .map(|again| (again.state, again.due_at_ms))
        .collect();
    let expected = [
        (State::Retry, NOW_MS + 1_000),
        (State::Retry, NOW_MS + 2_000),
        (State::Dead, 0),
    ];
    assert_eq!(due, expected);
    assert_eq!(settlement.again[2].reason, "gone");
}

#[test]
fn a_receiver_defers_the_next_attempt_and_makes_none_earlier() {
    let outcomes = vec![Outcome::retry("busy"); 4];
    let not_before_ms = vec![Some(NOW_MS + 60_000), Some(NOW_MS + 1), None, Some(NOW_MS + 60_000)];
    let settlement = settled(
        &parcel(Cause::Retry, &[1, 1, 1, 3]),
        Delivered::Deferred(outcomes, not_before_ms),
    );
    let due: Vec<_> = settlement
        .again
        .iter()
        .map(|again| (again.state, again.due_at_ms))
        .collect();
    let expected = [
        (State::Retry, NOW_MS + 60_000),
        (State::Retry, NOW_MS + 1_000),
        (State::Retry, NOW_MS + 1_000),
        (State::Dead, 0),
    ];
    assert_eq!(
        due, expected,
        "the last attempt isn't followed by another, whatever the receiver asks for"
    );
}

#[test]
fn a_drop_is_a_dead_letter_at_once() {
    let parcel = parcel(Cause::Range { cursor_after: 1 }, &[1]);
    let settlement = settled(&parcel, Delivered::Answered(vec![Outcome::drop("no such user")]));
    assert_eq!(settlement.failed[0].state, State::Dead);
    assert_eq!(settlement.failed[0].attempt, 1);
}

#[test]
fn once_isolated_always_isolated() {
    let mut parcel = parcel(Cause::Retry, &[1]);
    parcel.items[0].isolated = true;
    assert!(settled(&parcel, Delivered::Answered(vec![Outcome::retry("later")])).again[0].isolated);
}
