//! Event ids: UUIDv7, fresh or derived from the event that caused them.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid, Version};

/// A fresh id: a UUIDv7 in its usual text form, from the time and from ten random bytes that the caller owns. Ids sort
/// by time, to the millisecond. Of `unix_ms` the lower 48 bits count, which last until the year 10889.
///
/// ```
/// let id = selvedge_events::new_id(1_767_225_600_000, [0; 10]);
/// assert_eq!(id, "019b76da-a800-7000-8000-000000000000");
/// ```
pub fn new_id(unix_ms: u64, random: [u8; 10]) -> String {
    Builder::from_unix_timestamp_millis(unix_ms, &random)
        .into_uuid()
        .to_string()
}

/// The id for the `index`-th event that `producer` appends because of the event `cause_id` of `cause_source`.
///
/// The same arguments give the same id, always and everywhere, so that a redelivered cause appends nothing twice; any
/// other arguments give another id. `producer` is whoever reacts, usually the subscription's name: two subscriptions
/// that react to one event append two events.
///
/// When the cause's id is a UUIDv7, so is the derived id: it takes over the cause's time, and sorts with its cause, and
/// a SHA-256 of the arguments stands where the random bits are. Otherwise it is a UUIDv8 made of that hash alone.
///
/// ```
/// use selvedge_events::{derived_id, new_id};
///
/// let cause = new_id(1_767_225_600_000, [7; 10]);
/// let first = derived_id("/orders", &cause, "payments", 0);
/// assert_eq!(first, derived_id("/orders", &cause, "payments", 0));
/// assert_ne!(first, derived_id("/orders", &cause, "payments", 1));
/// assert_eq!(first[..13], cause[..13]);
/// ```
pub fn derived_id(cause_source: &str, cause_id: &str, producer: &str, index: u32) -> String {
    let mut hash = Sha256::new();
    for part in [cause_source, cause_id, producer] {
        // The length goes first, so that no two lists of parts run together into the same bytes.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(index.to_be_bytes());
    let digest: [u8; 32] = hash.finalize().into();

    let id = match unix_ms_of(cause_id) {
        Some(unix_ms) => {
            let (random, _) = digest.split_first_chunk().expect("a SHA-256 has more than ten bytes");
            Builder::from_unix_timestamp_millis(unix_ms, random)
        }
        None => {
            let (bytes, _) = digest
                .split_first_chunk()
                .expect("a SHA-256 has more than sixteen bytes");
            Builder::from_custom_bytes(*bytes)
        }
    };
    id.into_uuid().to_string()
}

/// Whether a text is a UUID in its usual form, which all ids of this crate have: 36 characters, with hyphens.
///
/// ```
/// assert!(selvedge_events::is_uuid(&selvedge_events::new_id(1_767_225_600_000, [0; 10])));
/// assert!(!selvedge_events::is_uuid("u1"));
/// ```
pub fn is_uuid(text: &str) -> bool {
    text.len() == uuid::fmt::Hyphenated::LENGTH && Uuid::try_parse(text).is_ok()
}

/// The time within a UUIDv7, in milliseconds since the Unix epoch; `None` for any other id.
pub fn unix_ms_of(id: &str) -> Option<u64> {
    let id = Uuid::try_parse(id).ok()?;
    if id.get_version() != Some(Version::SortRand) {
        return None;
    }
    let (unix_ms, _) = id.as_bytes().split_first_chunk::<6>()?;
    Some(unix_ms.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const NOW_MS: u64 = 1_767_225_600_000;

    #[test]
    fn fresh_ids_are_uuid_v7_and_sort_by_time() {
        let earlier = new_id(NOW_MS, [0xff; 10]);
        let later = new_id(NOW_MS + 1, [0; 10]);
        assert!(earlier < later);
        let id = Uuid::try_parse(&earlier).expect("a UUID");
        assert_eq!(id.get_version(), Some(Version::SortRand));
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(unix_ms_of(&earlier), Some(NOW_MS));
    }

    #[test]
    fn derived_ids_keep_the_time_of_a_uuid_v7() {
        let id = derived_id("/orders", &new_id(NOW_MS, [1; 10]), "payments", 0);
        assert_eq!(unix_ms_of(&id), Some(NOW_MS));
    }

    #[test]
    fn derived_ids_of_other_causes_are_uuid_v8() {
        for cause in ["A234-1234-1234", "", "9f0c1d3e-6f7a-4c3b-8a51-2f1f6d1c9e11"] {
            let id = Uuid::try_parse(&derived_id("/github", cause, "audit", 0)).expect("a UUID");
            assert_eq!(id.get_version(), Some(Version::Custom), "{cause}");
            assert_eq!(unix_ms_of(&id.to_string()), None);
        }
    }

    #[test]
    fn every_argument_counts_and_none_runs_into_the_next() {
        let ids: HashSet<_> = [
            derived_id("/a", "1", "p", 0),
            derived_id("/a", "1", "p", 1),
            derived_id("/a", "1", "q", 0),
            derived_id("/a", "2", "p", 0),
            derived_id("/b", "1", "p", 0),
            derived_id("/a1", "", "p", 0),
            derived_id("/a", "1p", "", 0),
        ]
        .into();
        assert_eq!(ids.len(), 7);
    }

    #[test]
    fn derived_ids_never_change_between_versions() {
        // Ids that older versions wrote to a journal must be derived again by newer ones.
        assert_eq!(
            derived_id("/orders", "order-1", "payments", 0),
            "e6ba0e5c-2491-8598-b868-07b3f64d5d46"
        );
        let cause = new_id(NOW_MS, [7; 10]);
        assert_eq!(
            derived_id("/orders", &cause, "payments", 0),
            "019b76da-a800-7f75-85fa-d367e2e5c86b"
        );
    }
}
