//! What a route matches, and which of two comes first: the rules of `routefinder`, the crate that Spin uses.

use std::cmp::Ordering;

/// A parsed route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Slash,
    /// A dot behind a parameter, which ends there.
    Dot,
    Exact(String),
    Parameter(String),
    /// Always the last.
    Wildcard,
}

impl Pattern {
    /// Parses a route whose `/...` is written as `/*`. The error says what the route is or has.
    pub fn parse(route: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        for part in route.split('/').filter(|part| !part.is_empty()) {
            if !segments.is_empty() {
                if part.starts_with('.') {
                    return Err("has a segment that begins with a dot, which Spin's router reads wrongly".to_owned());
                }
                segments.push(Segment::Slash);
            }
            for (position, text) in part.split('.').enumerate() {
                match (position, segments.last_mut()) {
                    (0, _) => {}
                    (_, Some(Segment::Exact(exact))) => exact.push('.'),
                    (_, _) => segments.push(Segment::Dot),
                }
                if !text.is_empty() {
                    segments.push(Segment::parse(text)?);
                }
            }
        }
        let wildcard = segments.iter().position(|segment| *segment == Segment::Wildcard);
        match wildcard.is_some_and(|position| position + 1 < segments.len()) {
            true => Err("has something behind its wildcard".to_owned()),
            false => Ok(Self { segments }),
        }
    }

    /// What the parameters and then the wildcard stand for in a path; `None` where it doesn't match.
    pub fn matches<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let mut rest = path.trim_start_matches('/').trim_end_matches('/');
        let mut captures = Vec::new();
        for (position, segment) in self.segments.iter().enumerate() {
            let next = self.segments.get(position + 1);
            rest = match segment {
                Segment::Exact(text) => rest.strip_prefix(text.as_str())?,
                Segment::Dot => rest.strip_prefix('.')?,
                Segment::Slash if rest.is_empty() && next == Some(&Segment::Wildcard) => rest,
                Segment::Slash => rest.strip_prefix('/')?,
                Segment::Wildcard => {
                    captures.push(rest);
                    ""
                }
                Segment::Parameter(_) => {
                    let end = match next {
                        Some(Segment::Dot) => rest.find(['.', '/']).filter(|end| rest[*end..].starts_with('.'))?,
                        _ => rest.find('/').unwrap_or(rest.len()),
                    };
                    if rest.is_empty() {
                        return None;
                    }
                    captures.push(&rest[..end]);
                    &rest[end..]
                }
            };
        }
        matches!(rest, "" | "/").then_some(captures)
    }

    /// The names of the parameters, in their order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The route without the names of its parameters: two routes of one shape match exactly the same paths.
    pub fn shape(&self) -> String {
        let text = |segment: &Segment| match segment {
            Segment::Slash => "/".to_owned(),
            Segment::Dot => ".".to_owned(),
            Segment::Exact(text) => text.clone(),
            Segment::Parameter(_) => ":".to_owned(),
            Segment::Wildcard => "*".to_owned(),
        };
        self.segments.iter().map(text).collect()
    }

    /// Whether it is asked before another one that may match the same path.
    pub fn precedes(&self, other: &Self) -> bool {
        let dots = |pattern: &Self| {
            pattern
                .segments
                .iter()
                .filter(|segment| **segment == Segment::Dot)
                .count()
        };
        let pairs = self.segments.iter().zip(&other.segments);
        let by_segment = pairs.map(|(own, others)| own.rank().cmp(&others.rank()));
        let first = by_segment.into_iter().find(|order| *order != Ordering::Equal);
        let order = first.unwrap_or_else(|| {
            dots(self)
                .cmp(&dots(other))
                .then_with(|| other.segments.len().cmp(&self.segments.len()))
        });
        order == Ordering::Greater
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_at(1) {
            ("*", "") => Ok(Self::Wildcard),
            ("*", _) => Err(format!("has the wildcard \"{text}\", and a wildcard has no name")),
            (":", "") => Err("has a parameter without a name".to_owned()),
            (":", name) => Ok(Self::Parameter(name.to_owned())),
            _ => Ok(Self::Exact(text.to_owned())),
        }
    }

    /// The more exact, the higher.
    fn rank(&self) -> u8 {
        match self {
            Self::Slash | Self::Dot => 0,
            Self::Wildcard => 1,
            Self::Parameter(_) => 2,
            Self::Exact(_) => 3,
        }
    }
}
