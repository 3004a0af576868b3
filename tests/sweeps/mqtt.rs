//! By way of MQTT: topics that notifications and analytics hear, in a shared subscription each.

use selvedge_testkit::World;
use selvedge_testkit::checkers;
use selvedge_testkit::sweep::Sweep;

use super::{Application, assert_kept, no_dead_letters, warm_up};
use crate::todo_journey::{only_its_events, todo_journey};

#[test]
fn every_call_of_a_todo_by_mqtt_may_fail_in_every_way() -> anyhow::Result<()> {
    let application = Application {
        broker: ".mqtt",
        ..Application::default()
    };
    let program = application.compile()?;
    let check = |world: &World| {
        let mut violations = only_its_events(world);
        violations.extend(no_dead_letters(world));
        violations.extend(checkers::words_are_forgotten(world));
        violations
    };
    let report = Sweep::of(&program).after(warm_up).run(&todo_journey, &check);
    assert_kept("a todo by MQTT", 40, &report);
    Ok(())
}
