//! The body of a request: a small JSON object, field by field.
//!
//! # Bounds
//! [`BODY_BYTES_MAX`], also of a body that does not say its length; it has to be there within [`BODY_MAX`].
//! # Errors
//! Each names the field, what is wrong and what is allowed; a field that nobody knows is refused, so that no misspelt one is believed in.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::refusal::Refusal;

/// Longest body of a request, bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024;

/// How long a body may take.
pub const BODY_MAX: Duration = Duration::from_secs(10);

/// The fields of a body; none when there is no body.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads the whole body.
    ///
    /// # Errors
    /// [`Refusal::BodyTooLong`], [`Refusal::SlowBody`], [`Refusal::NotJson`] and [`Refusal::BadBody`].
    pub(super) async fn read(request: Request, patience: Duration) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let read = timeout(patience, to_bytes(body, BODY_BYTES_MAX)).await;
        // It fails for its length, or because the peer has gone, to whom nothing can be said any more.
        let body = read.map_err(|_| Refusal::SlowBody)?.map_err(|_| Refusal::BodyTooLong)?;
        if body.is_empty() {
            return Ok(Self(Map::new()));
        }
        // A page of another site can send a body of any other type without asking first.
        let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::NotJson);
        }
        match serde_json::from_slice(&body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Refusal::BadBody("the body is no JSON object".into())),
            Err(error) => Err(Refusal::BadBody(format!("the body is no JSON: {error}"))),
        }
    }

    /// Takes a whole number of 0 to `max`; `None` when it is not there or null.
    pub(super) fn whole_number(
        &mut self,
        name: &'static str,
        max: u64,
        allowed: &'static str,
    ) -> Result<Option<u64>, Refusal> {
        let bad =
            |problem: String| Refusal::BadField { field: name.into(), problem: problem.into(), allowed };
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => match number.as_u64().filter(|number| *number <= max) {
                Some(number) => Ok(Some(number)),
                None => Err(bad(format!("{number} is out of range"))),
            },
            Some(other) => Err(bad(format!("{} is no number", brief(&other)))),
        }
    }

    /// Refuses what nobody has taken.
    pub(super) fn finish(self, allowed: &'static str) -> Result<(), Refusal> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => {
                let field = brief(&Value::String(name)).trim_matches('"').to_owned();
                Err(Refusal::BadField {
                    field: field.into(),
                    problem: "there is no such field".into(),
                    allowed,
                })
            }
        }
    }
}

/// A value as an error shows it: no longer than a line.
fn brief(value: &Value) -> String {
    const CHARS_MAX: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
