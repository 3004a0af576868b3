//! Answers that are kept under their request's `Idempotency-Key`, for requests whose effect makes no ids that could be derived
//! from it.
//!
//! Before such a request is carried out its key and a digest of what it asks are written down, afterwards its answer. So
//! another request under the same key is refused from the first moment on, and the same one gets the first answer. A crash
//! in between leaves a key without an answer: whoever sends the request again has it carried out again. That is why only
//! requests that do nothing the second time may use this.

use http::{HeaderName, StatusCode};
use sha2::{Digest, Sha256};

use super::Key;
use crate::host::Row;
use crate::http::{Problem, Request, Response};
use crate::{Error, Host, limits};

/// The table of kept answers. `status` is NULL until the request was carried out.
pub(crate) const TABLE: &str = "CREATE TABLE IF NOT EXISTS kept_answers (
            key TEXT PRIMARY KEY,
            digest TEXT NOT NULL,
            status INTEGER,
            headers TEXT,
            body TEXT,
            at_ms INTEGER NOT NULL
        )";

/// Where the oldest keys are found.
pub(crate) const INDEX: &str = "CREATE INDEX IF NOT EXISTS kept_answers_at ON kept_answers (at_ms)";

/// Has a request carried out by `handler`, unless its key says that it was. `source` is the event source of the function that
/// answers it.
///
/// # Errors
/// 400 for a header that is no key, 422 where the key stands for another request; what the handler refuses.
pub(crate) async fn answer<F>(
    host: Host,
    request: Request,
    source: &str,
    handler: &impl Fn(Host, Request) -> F,
) -> Result<Response, Problem>
where
    F: Future<Output = Result<Response, Problem>>,
{
    match look(&host, &request, source)? {
        Kept::Unkeyed => handler(host, request).await,
        Kept::Answered(answer) => Ok(answer),
        Kept::New(slot) => {
            let response = handler(host.clone(), request).await.unwrap_or_else(Response::from);
            Ok(slot.keep(&host, response)?)
        }
    }
}

/// What is to become of a request that may have a key.
enum Kept {
    /// It has no key.
    Unkeyed,
    /// It is to be carried out, and its answer kept.
    New(Slot),
    /// It was carried out, and this is what was answered.
    Answered(Response),
}

/// Where a request's answer is to be kept.
struct Slot {
    key: String,
    digest: String,
}

/// Looks whether a request was carried out before, and writes its key down if it wasn't.
fn look(host: &Host, request: &Request, source: &str) -> Result<Kept, Problem> {
    let Some(key) = Key::of(request, source)? else {
        return Ok(Kept::Unkeyed);
    };
    let (key, digest, now_ms) = (key.entity_id(), digest(request), host.now_ms());
    let end =
        "DELETE FROM kept_answers WHERE key IN (SELECT key FROM kept_answers WHERE at_ms < ? ORDER BY at_ms LIMIT ?)";
    let limit = i64::from(limits::KEPT_ANSWERS_ENDED_AT_ONCE);
    host.execute(end, vec![(now_ms - limits::KEPT_ANSWER_MS).into(), limit.into()])?;
    // The update changes nothing and has the row that is there returned.
    let begin = "INSERT INTO kept_answers (key, digest, at_ms) VALUES (?, ?, ?)
        ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING digest, status, headers, body";
    let rows = host.execute(begin, vec![key.as_str().into(), digest.as_str().into(), now_ms.into()])?;
    let mut row = single(rows)?;
    if row.text()? != digest {
        return Err(Problem::key_reused());
    }
    Ok(match kept(&mut row)? {
        Some(answer) => Kept::Answered(answer),
        None => Kept::New(Slot { key, digest }),
    })
}

impl Slot {
    /// Keeps the answer of a request that was carried out, and gives the one to send: of two that were carried out at the same
    /// moment, both get what was kept first. A refusal isn't kept: nothing was done that must not be done again.
    fn keep(self, host: &Host, response: Response) -> Result<Response, Error> {
        let Self { key, digest } = self;
        if !response.status.is_success() {
            let forget = "DELETE FROM kept_answers WHERE key = ? AND digest = ? AND status IS NULL";
            host.execute(forget, vec![key.into(), digest.into()])?;
            return Ok(response);
        }
        let headers: Vec<(&str, &str)> = response
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), &**value))
            .collect();
        let headers = serde_json::to_string(&headers).unwrap_or_default();
        let keep = "INSERT INTO kept_answers (key, digest, status, headers, body, at_ms) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (key) DO UPDATE SET status = coalesce(status, excluded.status),
                headers = coalesce(headers, excluded.headers), body = coalesce(body, excluded.body)
            RETURNING status, headers, body";
        let values = vec![
            key.into(),
            digest.into(),
            i64::from(response.status.as_u16()).into(),
            headers.into(),
            String::from_utf8_lossy(&response.body).into_owned().into(),
            host.now_ms().into(),
        ];
        let kept = kept(&mut single(host.execute(keep, values)?)?)?;
        Ok(kept.unwrap_or(response))
    }
}

fn single(rows: Vec<Row>) -> Result<Row, Error> {
    rows.into_iter().next().ok_or(Error::UnexpectedRow {
        expected: "the row of a kept answer",
        found: "no row",
    })
}

/// The answer in a row's next three columns.
fn kept(row: &mut Row) -> Result<Option<Response>, Error> {
    let (status, headers, body) = (row.optional_integer()?, row.optional_text()?, row.optional_text()?);
    let Some(status) = status
        .and_then(|status| u16::try_from(status).ok())
        .and_then(|status| StatusCode::from_u16(status).ok())
    else {
        return Ok(None);
    };
    let headers: Vec<(String, String)> = serde_json::from_str(&headers.unwrap_or_default()).unwrap_or_default();
    let header = |(name, value): (String, String)| Some((name.parse::<HeaderName>().ok()?, value));
    Ok(Some(Response {
        status,
        headers: headers.into_iter().filter_map(header).collect(),
        body: body.unwrap_or_default().into_bytes(),
    }))
}

/// What a request asks, in 32 hexadecimal digits: its query, its body, and the headers that say what the body is. In the
/// binary mode of CloudEvents these are the event's attributes.
fn digest(request: &Request) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update(bytes.len().to_be_bytes());
        hash.update(bytes);
    };
    part(request.query.as_deref().unwrap_or_default().as_bytes());
    part(&request.body);
    let is_said = |name: &HeaderName| *name == http::header::CONTENT_TYPE || name.as_str().starts_with("ce-");
    let mut headers: Vec<_> = request.headers.iter().filter(|(name, _)| is_said(name)).collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in headers {
        part(name.as_str().as_bytes());
        part(value.as_bytes());
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
