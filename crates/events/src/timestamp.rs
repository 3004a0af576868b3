//! Points in time, as milliseconds in the model and as RFC 3339 text in the codecs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{Error, excerpt};

/// 0000-01-01T00:00:00.000Z, the first millisecond that RFC 3339 can write.
const MIN_UNIX_MS: i64 = -62_167_219_200_000;
/// 9999-12-31T23:59:59.999Z, the last millisecond that RFC 3339 can write.
const MAX_UNIX_MS: i64 = 253_402_300_799_999;

/// A point in time, in whole milliseconds since the Unix epoch.
///
/// As text it is RFC 3339 in UTC with three digits for the milliseconds, so that texts sort like the times they stand
/// for. Parsing takes any RFC 3339 text; what is finer than a millisecond is cut off, and the offset from UTC is
/// accounted for and not kept.
///
/// ```
/// use selvedge_events::Timestamp;
///
/// let time: Timestamp = "2018-04-05T19:31:00.1239+02:00".parse()?;
/// assert_eq!(time.to_string(), "2018-04-05T17:31:00.123Z");
/// assert_eq!(time, Timestamp::from_unix_ms(1_522_949_460_123));
/// # Ok::<(), selvedge_events::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    unix_ms: i64,
}

impl Timestamp {
    /// The point in time this many milliseconds after the Unix epoch, or before it when negative. What lies outside
    /// the years 0 to 9999, which RFC 3339 can't write, becomes the nearest time inside them.
    pub const fn from_unix_ms(unix_ms: i64) -> Self {
        let unix_ms = if unix_ms < MIN_UNIX_MS {
            MIN_UNIX_MS
        } else if unix_ms > MAX_UNIX_MS {
            MAX_UNIX_MS
        } else {
            unix_ms
        };
        Self { unix_ms }
    }

    /// Milliseconds since the Unix epoch, negative before it.
    pub const fn unix_ms(self) -> i64 {
        self.unix_ms
    }

    /// Reads RFC 3339 text on behalf of the attribute `name`.
    pub(crate) fn parse_attribute(name: &str, text: &str) -> Result<Self, Error> {
        let unix_ms = OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .map(|time| time.unix_timestamp() * 1000 + i64::from(time.millisecond()))
            .filter(|unix_ms| (MIN_UNIX_MS..=MAX_UNIX_MS).contains(unix_ms));
        unix_ms
            .map(|unix_ms| Self { unix_ms })
            .ok_or_else(|| Error::InvalidAttribute {
                name: name.to_owned(),
                value: excerpt(text),
                reason: "send a time as RFC 3339 has it, such as 2018-04-05T17:31:00Z",
            })
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse_attribute("time", text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp(self.unix_ms.div_euclid(1000))
            .expect("the constructors keep the time within the years 0 to 9999");
        let millisecond = self.unix_ms.rem_euclid(1000) as u32;
        // On the hot path of every event: one buffer and no formatting machinery.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let fields = [
            (0, 4, time.year() as u32),
            (5, 2, u32::from(u8::from(time.month()))),
            (8, 2, u32::from(time.day())),
            (11, 2, u32::from(time.hour())),
            (14, 2, u32::from(time.minute())),
            (17, 2, u32::from(time.second())),
            (20, 3, millisecond),
        ];
        for (start, digits, mut value) in fields {
            for byte in text[start..start + digits].iter_mut().rev() {
                *byte = b'0' + (value % 10) as u8;
                value /= 10;
            }
        }
        formatter.write_str(std::str::from_utf8(&text).expect("digits and ASCII punctuation"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_rfc_3339_has_them() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:00z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2018-04-05T17:31:00+02:00", 1_522_942_260_000),
            ("2018-04-05T17:31:00.123456789Z", 1_522_949_460_123),
            ("0000-01-01T00:00:00Z", MIN_UNIX_MS),
            ("9999-12-31T23:59:59.999999Z", MAX_UNIX_MS),
        ];
        for (text, unix_ms) in cases {
            assert_eq!(text.parse::<Timestamp>().expect(text).unix_ms(), unix_ms, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_an_example() {
        let texts = [
            "",
            "now",
            "1522949460",
            "2018-04-05",
            "2018-04-05T17:31:00",
            "2018-02-30T00:00:00Z",
            "2018-04-05T25:00:00Z",
            "2018-04-05T17:31:00Z ",
            "2018-04-05T17:31:00+0200",
            "12018-04-05T17:31:00Z",
            "0000-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
        ];
        for text in texts {
            let error = text.parse::<Timestamp>().expect_err(text);
            assert!(error.to_string().contains("2018-04-05T17:31:00Z"), "{error}");
        }
    }

    #[test]
    fn the_ends_of_the_range_can_be_written_and_read() {
        for (unix_ms, text) in [
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            let time = Timestamp::from_unix_ms(unix_ms);
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse::<Timestamp>().expect("in range"), time);
        }
        assert_eq!(Timestamp::from_unix_ms(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn it_is_a_json_string() {
        let time = Timestamp::from_unix_ms(1_522_949_460_123);
        let json = serde_json::to_string(&time).expect("a string");
        assert_eq!(json, r#""2018-04-05T17:31:00.123Z""#);
        assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("the same"), time);
        assert!(serde_json::from_str::<Timestamp>("1522949460123").is_err());
    }
}
