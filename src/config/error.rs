//! What is wrong with a setting: one line that names where, what, and what is allowed.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Where a setting was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the built-in default.
    Default,
    /// A line of the configuration file, counted from 1.
    Line {
        /// The file, as it was named.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
    },
    /// The configuration file as a whole.
    File(PathBuf),
    /// An environment variable.
    Variable(&'static str),
    /// A flag, with its dashes.
    Flag(&'static str),
    /// The command line as a whole.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Line { path, line } => write!(f, "{}:{line}", path.display()),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// A setting that cannot be used. Its `Display` is one line, whatever the setting contains.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{origin}: {problem}; allowed: {allowed}")]
pub struct ConfigError {
    /// Where the setting was made.
    pub origin: Origin,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub allowed: String,
}

impl ConfigError {
    pub(super) fn new(origin: Origin, problem: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self { origin, problem: one_line(problem), allowed: one_line(allowed) }
    }
}

/// Parsers quote what they met, line feeds included.
fn one_line(text: impl fmt::Display) -> String {
    text.to_string()
        .split(['\r', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_even_when_the_setting_is_not() {
        let error = ConfigError::new(Origin::Flag("--log"), "\"a\nb\" is\r\n no filter", "a level\n");
        assert_eq!(error.to_string(), "--log: \"a b\" is no filter; allowed: a level");
    }
}
