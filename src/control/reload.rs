//! `POST /api/v1/reload`: the configuration is read again, as SIGHUP has it; answered when all that could change has changed, or after a
//! second in which a core or the edge's thread has not come to it, of which the log warns.
//!
//! ```json
//! {"changed": ["log.filter", "app \"live\""], "needs_restart": ["engine.cores"]}
//! ```
//! Keys as `table.key`, and tables that may come several times by their name. `changed` is in force now; `needs_restart` is what the file says
//! otherwise than what is in force, until the next start.
//! # Bounds
//! One at a time: one more waits, further ones are `busy`.
//! # Errors
//! 422 `bad_configuration`, with the line that `inrush check` would say, or why something that it asks for cannot be had. Then nothing has changed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use tracing::info;

use super::cores::Cores;
use super::refusal::Refusal;
use super::router::Control;

/// Reloads that may wait while one is made.
pub const WAITING_MAX: usize = 1;

/// What a reload has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Keys that have another value now.
    pub changed: Vec<String>,
    /// Keys whose value in the file is not the one in force, and will be at the next start.
    pub needs_restart: Vec<String>,
}

/// A reload that is asked for. Whoever makes it answers with what it has done, or with the line that says why nothing was done.
pub type Asked = oneshot::Sender<Result<Reloaded, String>>;

pub(super) async fn reload<C: Cores>(
    State(control): State<Arc<Control<C>>>,
) -> Result<Json<Reloaded>, Refusal> {
    let reloads = control.reloads.get().ok_or(Refusal::Starting)?;
    let (asked, answer) = oneshot::channel();
    reloads.try_send(asked).map_err(|error| match error {
        TrySendError::Full(_) => Refusal::Busy,
        TrySendError::Closed(_) => Refusal::Ending,
    })?;
    info!("reload asked for through the API");
    match answer.await {
        Ok(Ok(reloaded)) => Ok(Json(reloaded)),
        Ok(Err(line)) => Err(Refusal::BadConfiguration(line)),
        Err(_) => Err(Refusal::Ending),
    }
}
