//! `GET /api/v1/openapi.json`: the control HTTP for programs, as OpenAPI 3.1.
//!
//! The document is written by hand and stands beside this file. Tests hold it against the router, both ways, and every answer against its
//! schemas, those of a running server as well: a field that it does not name fails there, though it lets clients expect further ones.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// The document.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
