//! A stream's name as a peer sent it.

use alloc::string::String;
use core::fmt;
use core::ops::Deref;

/// The name of a stream in a command, query and all.
///
/// For most users the name is the key that lets them publish, so it is neither shown by `Debug` nor has it a `Display`;
/// who wants the text says so by taking it as a `&str` or a `String`.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(String);

impl StreamName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl Deref for StreamName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<String> for StreamName {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl From<&str> for StreamName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_show_in_debug_output() {
        let name = StreamName::from("live_secret?token=1");
        assert_eq!(alloc::format!("{name:?}"), "<19 bytes>");
    }
}
