//! The one shape of every refusal.

use std::borrow::Cow;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A refusal: `{"error": {"code": …, "message": …}}`; with `field` and `allowed` when something that was said is wrong, and `stalled_cores` when
/// that is why. Codes are stable; messages are for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No such path.
    NoRoute,
    /// The path exists, the method does not.
    NoMethod,
    /// No such stream or connection.
    NotFound(&'static str),
    /// The cores that might know did not answer.
    Stalled(Vec<u16>),
    /// The engine does not run yet.
    Starting,
    /// More questions at a time than allowed.
    Busy,
    /// More listeners at a time than allowed.
    TooManyListeners,
    /// No token was said.
    NoToken,
    /// What was said is not the token.
    WrongToken,
    /// A page of another origin, or a name that is not ours.
    ForeignOrigin(&'static str),
    /// Something that was said is not what it has to be.
    BadField {
        /// Where it stands: the name of a parameter, or of a field of the body.
        field: Cow<'static, str>,
        /// What is wrong with it.
        problem: Cow<'static, str>,
        /// What it may be.
        allowed: &'static str,
    },
    /// A body that is no JSON object; says why.
    BadBody(String),
    /// A body that does not say that it is JSON.
    NotJson,
    /// A body that was not there in time.
    SlowBody,
    /// A body longer than any request needs.
    BodyTooLong,
    /// The configuration cannot be used: the one line that says why.
    BadConfiguration(String),
    /// The process is about to end.
    Ending,
    /// A drain is on already.
    Draining,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stalled_cores: Option<&'a [u16]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'static str>,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = match &self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route", "no such path"),
            Self::NoMethod => (StatusCode::METHOD_NOT_ALLOWED, "no_method", "this path has no such method"),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, "not_found", *message),
            Self::Stalled(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "stalled", "a core that may know does not answer")
            }
            Self::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting", "the engine does not run yet"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "too many questions at a time"),
            Self::TooManyListeners => {
                (StatusCode::SERVICE_UNAVAILABLE, "busy", "too many listeners at a time")
            }
            Self::NoToken => {
                (StatusCode::UNAUTHORIZED, "unauthorized", "say the token: Authorization: Bearer TOKEN")
            }
            Self::WrongToken => (StatusCode::UNAUTHORIZED, "unauthorized", "this is not the token"),
            Self::ForeignOrigin(message) => (StatusCode::FORBIDDEN, "foreign_origin", *message),
            Self::BadField { problem, .. } => (StatusCode::BAD_REQUEST, "bad_field", &**problem),
            Self::BadBody(problem) => (StatusCode::BAD_REQUEST, "bad_body", problem.as_str()),
            Self::NotJson => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "say Content-Type: application/json")
            }
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "slow_body", "the body was not there in time"),
            Self::Draining => {
                (StatusCode::CONFLICT, "draining", "a drain is on already; GET says how far it is")
            }
            Self::BodyTooLong => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_long", "no request has such a body")
            }
            Self::BadConfiguration(line) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "bad_configuration", line.as_str())
            }
            Self::Ending => (StatusCode::SERVICE_UNAVAILABLE, "ending", "the process is about to end"),
        };
        let stalled_cores = match &self {
            Self::Stalled(cores) => Some(cores.as_slice()),
            _ => None,
        };
        let (field, allowed) = match &self {
            Self::BadField { field, allowed, .. } => (Some(&**field), Some(*allowed)),
            _ => (None, None),
        };
        // RFC 6750 §3: who said no token is told the scheme alone.
        let challenge = match &self {
            Self::NoToken => Some([(WWW_AUTHENTICATE, "Bearer realm=\"inrush\"")]),
            Self::WrongToken => {
                Some([(WWW_AUTHENTICATE, "Bearer realm=\"inrush\", error=\"invalid_token\"")])
            }
            _ => None,
        };
        let answer = (status, Json(Body { error: Inner { code, message, stalled_cores, field, allowed } }));
        match challenge {
            Some(challenge) => (challenge, answer).into_response(),
            None => answer.into_response(),
        }
    }
}
