//! The information object: how `onStatus`, `_result` and `_error` say what happened (RTMP 1.0 §7.2.2).

use crate::rtmp::amf::Value;

/// The words for how serious it is.
pub mod level {
    /// As expected.
    pub const STATUS: &str = "status";
    /// Not quite as expected.
    pub const WARNING: &str = "warning";
    /// Refused or failed.
    pub const ERROR: &str = "error";
}

/// The three properties that every information object has; each is empty if it was missing or no string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// One of [`level`]'s.
    pub level: &'a str,
    /// What happened, as `NetStream.Play.Start`.
    pub code: &'a str,
    /// The same in words.
    pub description: &'a str,
}

impl<'a> Status<'a> {
    /// Reads an information object; of anything else all three are empty.
    pub fn of(info: &'a Value) -> Self {
        let text = |name| info.property(name).and_then(Value::as_str).unwrap_or_default();
        Self { level: text("level"), code: text("code"), description: text("description") }
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.level == level::ERROR
    }
}
