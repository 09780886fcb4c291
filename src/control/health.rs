//! Is the process alive, and does it want work?

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::cores::Cores;
use super::router::Control;

/// A core that has not swept for so long stands still.
///
/// A sweep is due several times a second; a core late by seconds has lost its streams already, while a shorter limit would let
/// an orchestrator kill a process for one slow page fault.
pub(super) const SWEEP_AGE_MAX: Duration = Duration::from_secs(5);

/// `{"status": "ok"}`, and which cores stand still if any do.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stalled_cores: Vec<u16>,
}

/// The cores that stand still: of a process that should be killed rather than waited for. None while it drains, as cores end one after
/// another then, and the drain has a deadline of its own.
pub fn stalled_cores<C: Cores>(cores: &C) -> Vec<u16> {
    if cores.is_draining() {
        return Vec::new();
    }
    (0..cores.cores())
        .filter(|core| cores.sweep_age(*core) > SWEEP_AGE_MAX)
        .filter_map(|core| core.try_into().ok())
        .collect()
}

/// Alive: this thread answers and every core has swept lately. Whoever starts or drains is alive as well.
pub(super) async fn healthz<C: Cores>(State(control): State<Arc<Control<C>>>) -> Response {
    let Some(cores) = control.cores.get() else { return answer(StatusCode::OK, "starting", Vec::new()) };
    if cores.is_draining() {
        return answer(StatusCode::OK, "draining", Vec::new());
    }
    let stalled = stalled_cores(cores);
    match stalled.is_empty() {
        true => answer(StatusCode::OK, "ok", stalled),
        false => answer(StatusCode::SERVICE_UNAVAILABLE, "stalled", stalled),
    }
}

/// Ready: publishers and players may be sent here.
pub(super) async fn readyz<C: Cores>(State(control): State<Arc<Control<C>>>) -> Response {
    let status = match control.cores.get() {
        Some(cores) if cores.is_draining() => "draining",
        Some(cores) if cores.is_ready() => return answer(StatusCode::OK, "ready", Vec::new()),
        _ => "starting",
    };
    answer(StatusCode::SERVICE_UNAVAILABLE, status, Vec::new())
}

fn answer(code: StatusCode, status: &'static str, stalled_cores: Vec<u16>) -> Response {
    (code, Json(Health { status, stalled_cores })).into_response()
}
