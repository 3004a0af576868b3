//! A function's answer to a delivery, as the relay reads it.

use selvedge::delivery::{decode_answer, encode_answer};
use selvedge::{Outcome, limits};

use crate::target::{Execute, Target};

const IDS: [&str; 3] = ["1", "2", "01a2096d-38ee-7a68-8518-166e3a253332"];

/// The answer's body.
pub const TARGET: Target = Target {
    name: "answers",
    words: &[
        "statuses",
        "entryId",
        "status",
        "reason",
        "SUCCESS",
        "RETRY",
        "DROP",
        "\"reason\":null",
        "{\"entryId\":\"1\",\"status\":\"DROP\"},",
        "\"1\"",
        "\"2\"",
        "\\u0031",
    ],
    prepare: || -> Execute {
        Box::new(|input| match decode_answer("function", input, IDS) {
            Ok(outcomes) => {
                assert_eq!(outcomes.len(), IDS.len(), "one outcome per event");
                for outcome in &outcomes {
                    if let Outcome::Retry { reason } | Outcome::Drop { reason } = outcome {
                        assert!(reason.len() <= limits::REASON_BYTES_MAX);
                    }
                }
                let body = encode_answer(IDS.into_iter().zip(&outcomes));
                assert_eq!(decode_answer("function", &body, IDS).expect("an answer"), outcomes);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        })
    },
};
