//! Every bound of this crate, in one place.
//!
//! They are generous for events and small for a component's 128 MiB of memory. Decoders check them before or while
//! they read, never after, so that what arrives can't cost more than its own size.

/// The most bytes one event may have: names and values of its attributes plus its data as raw bytes, so that the same
/// event is within or beyond the limit in every content mode.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// The most bytes an encoded event or batch may have. Above [`MAX_EVENT_BYTES`], because escapes and Base64 make the
/// same event longer.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// The most events a batch may have.
pub const MAX_BATCH_EVENTS: usize = 1000;

/// The most bytes the value of one attribute may have.
pub const MAX_ATTRIBUTE_BYTES: usize = 4 * 1024;

/// The most bytes an event type may have.
pub const MAX_TYPE_BYTES: usize = 255;

/// The most extension attributes an event may have.
pub const MAX_EXTENSIONS: usize = 64;

/// The most bytes the name of an extension attribute may have. CloudEvents advises 20 and permits more.
pub const MAX_EXTENSION_NAME_BYTES: usize = 64;

/// How deep arrays and objects may nest in JSON data. serde_json gives up at 128, and the event and its batch take two
/// of them: data within this limit can be read by every consumer.
pub const MAX_JSON_DEPTH: usize = 100;

/// How much of an offending value an error message repeats, in characters.
pub(crate) const MAX_EXCERPT_CHARS: usize = 80;
