//! Removes what is left of retired generations: those that a rebuild took the place of, and rebuilds that were cancelled.
//! First their done markers, then the rows of their functions' projections.

use http::Method;

use crate::host::Row;
use crate::http::Call;
use crate::projection::{self, Cleared};
use crate::{Error, Host, inbox, limits};

/// A generation that nobody builds or reads any more.
struct Retired {
    subscription: String,
    generation: i64,
    function: String,
    /// The position up to which its done markers are gone.
    collected: i64,
    /// The position of the last event that may have one.
    last: i64,
}

/// Removes some of what is left, in bounded steps: others get their turn between two of them. A function that can't be asked
/// stops no other, and is asked again with the next collection.
pub(super) async fn clear(host: &Host, now_ms: i64) -> Result<(), Error> {
    let statement = "SELECT subscription, generation, function, collected, last_position FROM retired_generations
        WHERE retired_at_ms <= ? OR retired_at_ms > ?";
    let retired = |mut row: Row| {
        Ok::<_, Error>(Retired {
            subscription: row.text()?,
            generation: row.integer()?,
            function: row.text()?,
            collected: row.integer()?,
            last: row.optional_integer()?.unwrap_or(0),
        })
    };
    // A time in the future was written before the clock was set back.
    let parameters = vec![(now_ms - limits::RETIRED_MS).into(), now_ms.into()];
    for row in host.execute(statement, parameters)? {
        let retired = retired(row)?;
        if let Err(error) = clear_one(host, &retired).await {
            let Retired {
                function, generation, ..
            } = retired;
            eprintln!(
                "warning: generation {generation} of {function} isn't removed yet ({error}); it is tried again later"
            );
        }
    }
    Ok(())
}

async fn clear_one(host: &Host, retired: &Retired) -> Result<(), Error> {
    let (mut collected, mut steps) = (retired.collected, 0..limits::COLLECT_STEPS_MAX);
    while collected < retired.last {
        if steps.next().is_none() {
            return Ok(());
        }
        collected = forget(host, retired, collected)?;
        host.wait(limits::COLLECT_PAUSE_MS).await;
    }
    for _ in steps {
        if clear_rows(host, retired).await? {
            let statement = "DELETE FROM retired_generations WHERE subscription = ? AND generation = ?";
            let parameters = vec![(*retired.subscription).into(), retired.generation.into()];
            return host.execute(statement, parameters).map(drop);
        }
        host.wait(limits::COLLECT_PAUSE_MS).await;
    }
    Ok(())
}

/// Removes the done markers of the next part of the journal, whether the subscription hears its events or not: what it heard
/// then may not be what it hears now. Gives up to where.
fn forget(host: &Host, retired: &Retired, collected: i64) -> Result<i64, Error> {
    let statement =
        "SELECT position, source, id FROM journal WHERE position > ? AND position <= ? ORDER BY position LIMIT ?";
    let parameters = vec![collected.into(), retired.last.into(), limits::COLLECT_EVENTS_MAX.into()];
    let name = projection::name_of(&retired.subscription, retired.generation);
    let (mut keys, mut last) = (Vec::new(), retired.last);
    let rows = host.execute(statement, parameters)?;
    let is_full = rows.len() == limits::COLLECT_EVENTS_MAX as usize;
    for mut row in rows {
        let position = row.integer()?;
        keys.push(inbox::marker(&name, &row.text()?, &row.text()?));
        if is_full {
            last = position;
        }
    }
    if !keys.is_empty() {
        host.delete_many(keys)?;
    }
    let statement = "UPDATE retired_generations SET collected = ? WHERE subscription = ? AND generation = ?";
    let parameters = vec![last.into(), (*retired.subscription).into(), retired.generation.into()];
    host.execute(statement, parameters)?;
    Ok(last)
}

/// Has the function remove some of its rows. True when there are no more.
async fn clear_rows(host: &Host, retired: &Retired) -> Result<bool, Error> {
    let call = Call::chained(
        Method::POST,
        &retired.function,
        &projection::clear_path(retired.generation),
    );
    let target = call.target();
    let answer = host
        .send_within(call, limits::CLEAR_TIMEOUT_MS)
        .await?
        .successful(&target)?;
    let cleared: Cleared = serde_json::from_slice(&answer.body).map_err(|error| Error::Answer {
        target,
        reason: format!("with no word of what is left: {error}"),
    })?;
    Ok(cleared.all)
}
