//! Streams: entries that are kept, up to a number of them.

use std::collections::BTreeMap;

use selvedge_engine::ports::RedisValue;

/// How many entries a real server keeps beyond a length that is said with `~`: it removes whole nodes of that many.
const ENTRIES_BEYOND_MAX: usize = 100;

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Milliseconds of the server's clock, and a number among those of the same millisecond.
    pub id: (u64, u64),
    /// Names and values, in turn.
    pub fields: Vec<Vec<u8>>,
}

impl Entry {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let mut pairs = self.fields.chunks_exact(2);
        pairs.find(|pair| pair[0] == name.as_bytes()).map(|pair| &*pair[1])
    }

    /// As it stands in an answer, with what is nested in it after what it is nested in.
    pub(super) fn flattened(&self) -> Vec<RedisValue> {
        let id = [written(self.id).into_bytes()];
        id.into_iter()
            .chain(self.fields.clone())
            .map(RedisValue::Binary)
            .collect()
    }
}

fn written((ms, number): (u64, u64)) -> String {
    format!("{ms}-{number}")
}

#[derive(Debug, Default)]
pub(super) struct Streams(BTreeMap<String, Vec<Entry>>);

impl Streams {
    pub fn entries(&self, stream: &str) -> &[Entry] {
        self.0.get(stream).map(Vec::as_slice).unwrap_or_default()
    }

    /// `XADD stream [MAXLEN [=|~] length] * name value …`; says the entry's id, or why there is none.
    pub fn add(&mut self, stream: &str, arguments: &[Vec<u8>], now_ms: u64) -> Result<String, String> {
        let (kept, fields) = match arguments {
            [word, arguments @ ..] if word.eq_ignore_ascii_case(b"MAXLEN") => {
                let (beyond, arguments) = match arguments {
                    [about, arguments @ ..] if **about == *b"~" => (ENTRIES_BEYOND_MAX, arguments),
                    [exactly, arguments @ ..] if **exactly == *b"=" => (0, arguments),
                    arguments => (0, arguments),
                };
                let [length, star, fields @ ..] = arguments else {
                    return Err(WRONG.to_owned());
                };
                let length = std::str::from_utf8(length).ok().and_then(|length| length.parse().ok());
                let length: usize = length.ok_or("ERR value is not an integer or out of range")?;
                (Some((length, beyond)), (star, fields))
            }
            [star, fields @ ..] => (None, (star, fields)),
            [] => return Err(WRONG.to_owned()),
        };
        let (star, fields) = fields;
        if **star != *b"*" {
            return Err("ERR Invalid stream ID specified as stream command argument".to_owned());
        }
        if fields.is_empty() || !fields.len().is_multiple_of(2) {
            return Err(WRONG.to_owned());
        }
        let entries = self.0.entry(stream.to_owned()).or_default();
        // A clock that was set back gives no smaller ids.
        let id = match entries.last().map(|last| last.id) {
            Some((ms, number)) if ms >= now_ms => (ms, number + 1),
            _ => (now_ms, 0),
        };
        entries.push(Entry {
            id,
            fields: fields.to_vec(),
        });
        if let Some((length, beyond)) = kept
            && entries.len() > length + beyond
        {
            entries.drain(..entries.len() - length);
        }
        Ok(written(id))
    }
}

const WRONG: &str = "ERR wrong number of arguments for 'xadd' command";
