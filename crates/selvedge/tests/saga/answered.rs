//! Whatever is answered, in whatever order and however late, it ends once.

use std::collections::BTreeMap;

use proptest::prelude::*;
use selvedge::saga::{Action, Answer, Input, Status, StepStatus};

use crate::run::*;

/// What a function does with a command.
#[derive(Debug, Clone)]
struct Behaviour {
    /// What it answers; none keeps silent.
    answers: Vec<(bool, i64)>,
    /// How often each answer is delivered.
    copies: u8,
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let delay_ms = prop_oneof![Just(0_i64), 0..50_000_i64, 50_000..70_000_i64, 0..2_000_000_i64];
    let answers = prop::collection::vec((any::<bool>(), delay_ms), 0..3);
    (answers, 1..4_u8).prop_map(|(answers, copies)| Behaviour { answers, copies })
}

/// Answers and timers on their way, in the order in which they arrive.
#[derive(Default)]
struct Mail {
    on_its_way: BTreeMap<(i64, usize), Input>,
    sent: usize,
}

impl Mail {
    fn send(&mut self, at_ms: i64, copies: u8, input: &Input) {
        for copy in 0..copies {
            self.sent += 1;
            self.on_its_way
                .insert((at_ms + i64::from(copy) * 700, self.sent), input.clone());
        }
    }
}

/// Answers what a saga asked for as `behaviours` say, one after the other.
fn respond(run: &Run, actions: &[Action], behaviours: &mut impl Iterator<Item = Behaviour>, mail: &mut Mail) {
    for action in actions {
        let (step, yes, no) = match action {
            Action::SetTimer(timer) => {
                mail.send(timer.due_at.unix_ms(), 2, &Input::Timer(*timer));
                continue;
            }
            Action::Command { step } => (*step, Answer::Succeeded, Answer::Failed),
            Action::Compensate { step } => (*step, Answer::Compensated, Answer::CompensationRefused),
            _ => continue,
        };
        let Behaviour { answers, copies } = behaviours.next().expect("as many as are needed");
        for (does, delay_ms) in answers {
            let answer = if does { yes } else { no };
            mail.send(
                run.now_ms + delay_ms,
                copies,
                &said(step, answer, run.compensation_id(step)),
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_answered_it_ends_once_and_what_was_done_is_kept_or_undone(
        behaviours in prop::collection::vec(behaviour(), 1..12),
    ) {
        let mut behaviours = behaviours.into_iter().cycle();
        let (mut run, mut mail) = (Run::default(), Mail::default());
        let mut done = [false; 3];
        mail.send(0, 2, &Input::Start);
        while let Some(((at_ms, _), input)) = mail.on_its_way.pop_first() {
            run.now_ms = at_ms;
            if let Input::Answer { step, answer: Answer::Succeeded, .. } = input {
                done[step] = true;
            }
            let actions = run.hear(&input).expect("timers come when they are due");
            respond(&run, &actions, &mut behaviours, &mut mail);
            prop_assert!(run.done.len() < 200, "it goes round in circles: {:#?}", run.done);
        }

        prop_assert_eq!(run.ends(), 1, "{:#?}", run.done);
        for (step, done) in done.into_iter().enumerate() {
            prop_assert!(run.count(&Action::Command { step }) <= 1, "a step is commanded once");
            let (status, undoing) = (run.status(step), run.count(&Action::Compensate { step }));
            prop_assert!(undoing <= RETRY.max_attempts as usize);
            match run.state.status {
                Status::Completed => prop_assert_eq!((status, undoing), (StepStatus::Succeeded, 0)),
                Status::Cancelled if done && JOURNEY.steps[step].compensation.is_some() => {
                    let settled = matches!(status, StepStatus::Compensated | StepStatus::Parked);
                    prop_assert!(settled, "step {} was done and is {:?}: {:#?}", step, status, run.done);
                }
                Status::Cancelled => prop_assert_eq!(undoing, 0, "what wasn't done isn't undone"),
                other => prop_assert!(false, "it doesn't end: {:?}", other),
            }
        }
    }
}
