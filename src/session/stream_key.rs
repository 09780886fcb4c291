//! Which stream is meant: one key from every place that encoders put it.

use alloc::string::String;
use alloc::sync::Arc;

/// App and name of a stream: what publishers and players must agree on. Cloning shares the strings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    app: Arc<str>,
    name: Arc<str>,
}

impl StreamKey {
    /// A key from its two parts, taken as they are.
    pub fn new(app: &str, name: &str) -> Self {
        Self { app: app.into(), name: name.into() }
    }

    /// The application, without slashes around it; may be empty.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The stream's name, without query.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A stream key together with what else the address said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamAddress {
    /// App and name.
    pub key: StreamKey,
    /// Host of the tcUrl, lower case, without port and brackets.
    pub host: Option<String>,
    /// The query, without its question mark; several are joined with `&`.
    pub params: String,
}
