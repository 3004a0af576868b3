//! `GET /events`: the journal, page by page.

use selvedge::feed::{self, Filter};
use selvedge::http::{Problem, Request, Response};
use selvedge::{Host, limits};
use selvedge_events::{BatchWriter, TypePattern, json};

/// Where to read on after the page, in every answer.
const CURSOR: http::HeaderName = http::HeaderName::from_static("selvedge-cursor");

/// Oldest first. While there is more, `Link` leads to the next page.
pub async fn answer(host: Host, request: Request) -> Result<Response, Problem> {
    let filter = filter(&request)?;
    let limit = request.page_items()?;
    let page = feed::read(&host, &filter, position(&request, "after")?.unwrap_or(0), limit)?;

    let mut batch = BatchWriter::new();
    let (mut cursor, mut has_more) = (page.cursor, page.has_more);
    let mut last = None;
    for record in &page.records {
        // A full batch ends the page early: the next one begins with what didn't fit.
        if batch.push(&record.event).is_err() {
            (cursor, has_more) = (last.unwrap_or(record.position), true);
            break;
        }
        last = Some(record.position);
    }
    let mut response = Response {
        status: http::StatusCode::OK,
        headers: vec![
            (http::header::CONTENT_TYPE, json::BATCH_MEDIA_TYPE.to_owned()),
            (CURSOR, cursor.to_string()),
        ],
        body: batch.finish(),
    };
    if has_more {
        let link = format!("<{}>; rel=\"next\"", next(&request, cursor));
        response = response.header(http::header::LINK, link);
    }
    Ok(response)
}

/// The same request, from another position.
fn next(request: &Request, after: i64) -> String {
    let query = request.query.as_deref().unwrap_or_default();
    let mut next = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "after") {
        next.append_pair(&name, &value);
    }
    next.append_pair("after", &after.to_string());
    format!("/events?{}", next.finish())
}

/// What the query parameters `type`, several of them or with commas between them, and `stream` ask for.
pub fn filter(request: &Request) -> Result<Filter, Problem> {
    let query = request.query.as_deref().unwrap_or_default();
    let mut types = Vec::new();
    for (_, value) in form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "type") {
        for pattern in value.split(',') {
            let pattern = TypePattern::parse(pattern.trim());
            types.push(pattern.map_err(|error| Problem::bad_request(format!("`type` isn't usable: {error}.")))?);
        }
    }
    if types.len() > limits::FEED_PATTERNS_MAX {
        let max = limits::FEED_PATTERNS_MAX;
        return Err(Problem::bad_request(format!(
            "`type` has more than {max} patterns. Send fewer."
        )));
    }
    Ok(Filter {
        types,
        stream: request.query("stream").map(std::borrow::Cow::into_owned),
    })
}

/// A query parameter that is a position of the journal.
pub fn position(request: &Request, name: &str) -> Result<Option<i64>, Problem> {
    request.query(name).map(|text| parse_position(name, &text)).transpose()
}

/// A position as this function writes them.
pub fn parse_position(name: &str, text: &str) -> Result<i64, Problem> {
    let position = text.parse().ok().filter(|position| *position >= 0);
    position.ok_or_else(|| {
        Problem::bad_request(format!(
            "`{name}` must be a position of the journal: a whole number, 0 for its beginning."
        ))
    })
}
