//! `/api/v1/drain`: the end of the process in good order, asked for and watched.
//!
//! `POST` begins it, as SIGTERM does: nobody new is let in, who understands is asked to connect again, publishers that are left are closed at
//! a key frame in the last quarter of the time, and then the process ends with exit code 0. There is no way back. The body may say how long
//! it may take, in whole seconds up to a day; without it `engine.drain_seconds` holds:
//! ```json
//! {"deadline_seconds": 20}
//! ```
//! The answer is 202 with what `GET` says, or 409 when a drain is on already, which goes on as it was. `GET`, at any time:
//! ```json
//! {"state": "draining", "deadline_seconds": 20.0, "elapsed_seconds": 3.2,
//!   "began_with": {"pending": 1, "publishers": 500, "standbys": 0, "players": 40, "forwards": 3, "pulls": 0},
//!   "left": {"pending": 0, "publishers": 210, "standbys": 0, "players": 38, "forwards": 2, "pulls": 0},
//!   "told": 400, "moved": 290, "closed_at_key_frame": 0, "closed_without_video": 0, "closed_at_deadline": 0, "stalled_cores": []}
//! ```
//! `state` is `serving`, `draining`, `cutting` (publishers are closed at their next key frame) or `stopping`; both times are null while it is
//! `serving`, and `began_with` is null then. `told` were asked to connect again, `moved` are those of them that have gone by themselves. Of
//! the publishers that did not go, the last three count how they were closed: in front of a key frame, without pictures to wait for, and at the
//! deadline wherever they were. A core that has ended, or stands still, is named in `stalled_cores`, and the counts lack it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Serialize;
use tracing::info;

use super::api::{QUERY_MAX, permit};
use super::body::Fields;
use super::cores::{CoreAnswer, Cores};
use super::refusal::Refusal;
use super::router::Control;
use crate::runtime::DRAIN_DEADLINE_MAX;
use crate::runtime::observe::{DrainFigures, DrainStage, DrainState, RoleCounts};

/// What `deadline_seconds` may be; a test holds it to [`DRAIN_DEADLINE_MAX`].
const DEADLINE_ALLOWED: &str = "a whole number of seconds, 0 to 86400";

pub(super) async fn begin<C: Cores>(
    State(control): State<Arc<Control<C>>>,
    request: Request,
) -> Result<(StatusCode, Json<Drain>), Refusal> {
    let cores = control.running()?;
    let mut fields = Fields::read(request, control.body_max).await?;
    let deadline = fields.whole_number("deadline_seconds", DRAIN_DEADLINE_MAX.as_secs(), DEADLINE_ALLOWED)?;
    fields.finish("deadline_seconds")?;
    if !cores.drain(deadline.map(Duration::from_secs)) {
        return Err(Refusal::Draining);
    }
    info!(deadline_seconds = deadline, "drains, as the API was asked to");
    Ok((StatusCode::ACCEPTED, Json(describe(&control, cores).await?)))
}

pub(super) async fn progress<C: Cores>(
    State(control): State<Arc<Control<C>>>,
) -> Result<Json<Drain>, Refusal> {
    Ok(Json(describe(&control, control.running()?).await?))
}

async fn describe<C: Cores>(control: &Control<C>, cores: &C) -> Result<Drain, Refusal> {
    let _permit = permit(control).await?;
    let (mut sum, mut stalled_cores) = (DrainFigures::default(), Vec::new());
    for answer in cores.drain_figures(QUERY_MAX).await {
        match answer {
            CoreAnswer::Answer(figures) => sum += figures,
            CoreAnswer::Stalled { core } => stalled_cores.push(core),
        }
    }
    Ok(Drain::new(cores.drain_state(), &sum, stalled_cores))
}

/// `GET /api/v1/drain`.
#[derive(Serialize)]
pub(super) struct Drain {
    state: &'static str,
    deadline_seconds: Option<f64>,
    elapsed_seconds: Option<f64>,
    began_with: Option<Roles>,
    left: Roles,
    told: u64,
    moved: u64,
    closed_at_key_frame: u64,
    closed_without_video: u64,
    closed_at_deadline: u64,
    stalled_cores: Vec<u16>,
}

/// [`RoleCounts`] as JSON.
#[derive(Serialize)]
struct Roles {
    pending: u64,
    publishers: u64,
    standbys: u64,
    players: u64,
    forwards: u64,
    pulls: u64,
}

impl Drain {
    fn new(state: DrainState, figures: &DrainFigures, stalled_cores: Vec<u16>) -> Self {
        let DrainState { stage, times } = state;
        Self {
            state: stage.label(),
            deadline_seconds: times.map(|(deadline, _)| deadline.as_secs_f64()),
            elapsed_seconds: times.map(|(_, elapsed)| elapsed.as_secs_f64()),
            began_with: (stage != DrainStage::Serving).then(|| figures.began_with.into()),
            left: figures.left.into(),
            told: figures.told,
            moved: figures.moved,
            closed_at_key_frame: figures.closed_at_key_frame,
            closed_without_video: figures.closed_without_video,
            closed_at_deadline: figures.closed_at_deadline,
            stalled_cores,
        }
    }
}

impl From<RoleCounts> for Roles {
    fn from(counts: RoleCounts) -> Self {
        let RoleCounts { pending, publishers, standbys, players, forwards, pulls } = counts;
        Self { pending, publishers, standbys, players, forwards, pulls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_what_is_told() {
        assert!(DEADLINE_ALLOWED.ends_with(&format!(" 0 to {}", DRAIN_DEADLINE_MAX.as_secs())));
    }
}
