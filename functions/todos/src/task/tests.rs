use super::*;

fn after(commands: &[Command]) -> Task {
    let mut task = Task::default();
    for command in commands {
        for event in task.decide(command).expect("is allowed") {
            task.evolve(&happened(event)).expect("its own events");
        }
    }
    task
}

fn happened(event: NewEvent) -> Event {
    Event::new("1", Task::SOURCE, event.event_type)
        .with_time(Timestamp::from_unix_ms(1_000))
        .with_data("application/json", event.data)
}

fn create() -> Command {
    create_for(User::Foreign)
}

fn create_for(user: User) -> Command {
    Command::Create {
        title: "Buy groceries".to_owned(),
        user_id: "u1".to_owned(),
        due_at: None,
        user,
    }
}

fn rename(title: &str) -> Command {
    Command::Change {
        title: Some(title.to_owned()),
        due_at: None,
    }
}

#[test]
fn a_created_task_is_open_and_has_its_content() {
    let task = after(&[create()]);
    assert_eq!(
        (task.status, &*task.content.title, &*task.content.user_id),
        (Status::Open, "Buy groceries", "u1")
    );
    assert_eq!(task.created_at, Some(Timestamp::from_unix_ms(1_000)));
}

#[test]
fn a_snapshot_keeps_the_whole_task_in_the_shape_it_says() {
    let task = after(&[create(), Command::Complete]);
    let text = serde_json::to_string(&task).expect("JSON");
    let shape_1 = r#"{"status":"Completed","content":{"title":"Buy groceries","userId":"u1","userVerified":false},"awaits_verification":false,"created_at":"1970-01-01T00:00:01.000Z","completed_at":"1970-01-01T00:00:01.000Z"}"#;
    assert_eq!(
        text, shape_1,
        "another text is another shape: raise the number in SNAPSHOTS"
    );
    assert_eq!(serde_json::from_str::<Task>(&text).expect("a task"), task);
}

#[test]
fn changes_keep_what_they_do_not_mention() {
    let due_at = Some(Timestamp::from_unix_ms(5_000));
    let task = after(&[
        create(),
        Command::Change {
            title: None,
            due_at: Some(due_at),
        },
        rename("Buy bread"),
    ]);
    assert_eq!((&*task.content.title, task.content.due_at), ("Buy bread", due_at));
    let cleared = after(&[
        create(),
        Command::Change {
            title: None,
            due_at: Some(None),
        },
    ]);
    assert_eq!(cleared.content.due_at, None);
}

#[test]
fn what_changes_nothing_is_no_event() {
    let task = after(&[create(), Command::Complete]);
    assert_eq!(task.decide(&Command::Complete), Ok(Vec::new()));
    assert_eq!(task.decide(&rename("Buy groceries")), Ok(Vec::new()));
}

#[test]
fn every_event_says_whom_and_what_it_is_about() {
    let task = after(&[create()]);
    for command in [rename("Buy bread"), Command::Complete, Command::Delete] {
        let events = task.decide(&command).expect("is allowed");
        let content: Content = happened(events.into_iter().next().expect("one"))
            .data_as()
            .expect("a content");
        assert_eq!(content.user_id, "u1", "{command:?}");
        assert!(!content.title.is_empty(), "{command:?}");
    }
}

#[test]
fn what_is_not_there_can_only_be_created_and_only_once() {
    for task in [Task::default(), after(&[create(), Command::Delete])] {
        for command in [rename("x"), Command::Complete, Command::Delete] {
            assert_eq!(task.decide(&command), Err(Refusal::NoSuchTask), "{command:?}");
        }
    }
    assert_eq!(after(&[create()]).decide(&create()), Err(Refusal::AlreadyCreated));
    assert_eq!(
        after(&[create(), Command::Delete]).decide(&create()),
        Err(Refusal::AlreadyCreated)
    );
}

#[test]
fn only_a_user_that_could_not_be_asked_for_is_verified_later() {
    let verify = |is_known| Command::Verify { is_known };
    for (user, is_verified) in [(User::Verified, true), (User::Foreign, false)] {
        let task = after(&[create_for(user)]);
        assert_eq!(
            (task.content.user_verified, task.awaits_verification),
            (is_verified, false)
        );
        assert_eq!(task.decide(&verify(false)), Ok(Vec::new()));
    }
    let confirmed = after(&[create_for(User::Unverified), Command::Complete, verify(true)]);
    assert_eq!(
        (confirmed.content.user_verified, confirmed.status),
        (true, Status::Completed)
    );
    assert_eq!(
        confirmed.decide(&verify(false)),
        Ok(Vec::new()),
        "it is known once and for all"
    );
    let deleted = after(&[create_for(User::Unverified), Command::Delete]);
    assert_eq!(deleted.decide(&verify(true)), Ok(Vec::new()));
}

#[test]
fn a_task_of_nobody_can_only_be_deleted() {
    let denied = after(&[create_for(User::Unverified), Command::Verify { is_known: false }]);
    assert_eq!((denied.content.user_verified, denied.exists()), (false, true));
    for command in [rename("x"), Command::Complete] {
        assert_eq!(denied.decide(&command), Err(Refusal::Rejected), "{command:?}");
    }
    assert_eq!(denied.decide(&Command::Delete).map(|events| events.len()), Ok(1));
}

#[test]
fn fields_are_checked() {
    for title in ["", "  \t ", &"x".repeat(501)] {
        assert!(check_title(title.to_owned()).is_err(), "{title}");
    }
    assert!(check_title("ü".repeat(500)).is_ok(), "characters count, not bytes");
    for user_id in ["", " ", "a\nb", &"x".repeat(201)] {
        assert!(check_user_id(user_id.to_owned()).is_err(), "{user_id:?}");
    }
    for due_at in ["", "tomorrow", "2026-02-30T00:00:00Z"] {
        assert!(check_due_at(due_at).is_err(), "{due_at}");
    }
}
