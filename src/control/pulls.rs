//! `GET /api/v1/pulls`: what is pulled from where, and the families of `/metrics` about it.
//!
//! One entry for each upstream of each stream that is wanted, sorted by app, name and source:
//! ```json
//! {"pulls": [{"app": "live", "name": "test", "name_hash": "9f86d081", "source": "rtmps://origin.example:443/live/…", "active": true,
//!   "state": "live", "state_seconds": 12.5, "connection": "17", "bits_in_per_second": 3012000, "bytes_in": 9412345, "messages_in": 4711,
//!   "reconnects": 1, "last_error": "refused: NetStream.Play.StreamNotFound", "next_try_seconds": null}], "stalled_cores": []}
//! ```
//! A source is shown without the stream's name there and without its query. `state` is as of forwards (see [`super::forwards`]): `standby` while
//! another upstream has the stream, `ready` while the source has said yes and nothing comes. `bytes_in` is of all connections to the source
//! for this stream: of those that are over their media, of the present one all that it has received.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::api::{QUERY_MAX, gather, permit};
use super::cores::Cores;
use super::metrics::{Exhibitor, Family, Value};
use super::refusal::Refusal;
use super::router::Control;
use crate::edge::relay::observe::{Board, ForwardInfo};
use crate::runtime::{OutgoingId, OutgoingInfo};

pub(super) async fn pulls<C: Cores>(State(control): State<Arc<Control<C>>>) -> Result<Json<List>, Refusal> {
    let cores = control.running()?;
    let _permit = permit(&control).await?;
    let (connections, stalled_cores) = gather(cores.outgoing(QUERY_MAX).await);
    let connections: HashMap<OutgoingId, OutgoingInfo> =
        connections.into_iter().map(|connection| (connection.id, connection)).collect();
    let mut all = control.pulls.get().map(|pulls| pulls.forwards()).unwrap_or_default();
    all.sort_by(|a, b| (&a.app, &a.name, &a.target).cmp(&(&b.app, &b.name, &b.target)));
    let now = Instant::now();
    let pulls = all.into_iter().map(|info| {
        let connection = info.connection.and_then(|id| connections.get(&id));
        Pull::new(now, info, connection)
    });
    Ok(Json(List { pulls: pulls.collect(), stalled_cores }))
}

/// `GET /api/v1/pulls`.
#[derive(Serialize)]
pub(super) struct List {
    pulls: Vec<Pull>,
    stalled_cores: Vec<u16>,
}

/// One upstream of one stream as JSON, with what the core says of its connection.
#[derive(Serialize)]
struct Pull {
    app: String,
    name: String,
    name_hash: String,
    source: String,
    active: bool,
    state: &'static str,
    state_seconds: f64,
    connection: Option<String>,
    bits_in_per_second: u64,
    bytes_in: u64,
    messages_in: u64,
    reconnects: u64,
    last_error: String,
    next_try_seconds: Option<f64>,
}

impl Pull {
    fn new(now: Instant, info: ForwardInfo, connection: Option<&OutgoingInfo>) -> Self {
        let of_connection = |value: fn(&OutgoingInfo) -> u64| connection.map(value).unwrap_or_default();
        Self {
            app: info.app,
            name: info.name,
            name_hash: info.name_hash,
            source: info.target,
            active: info.is_active,
            state: info.state.label(),
            state_seconds: now.saturating_duration_since(info.since).as_secs_f64(),
            connection: connection.map(|connection| connection.connection.0.to_string()),
            bits_in_per_second: of_connection(|it| it.bits_per_second),
            bytes_in: info.bytes_before + of_connection(|it| it.bytes_in),
            messages_in: of_connection(|it| it.messages),
            reconnects: info.reconnects,
            last_error: info.last_error,
            next_try_seconds: info.next_try.map(|at| at.saturating_duration_since(now).as_secs_f64()),
        }
    }
}

/// The families about pulls. Labels are states and kinds, never streams or sources.
pub struct PullFamilies(pub Arc<Board>);

impl Exhibitor for PullFamilies {
    fn families(&self) -> Vec<Family> {
        let counts = self.0.counts();
        let states = self.0.states().into_iter();
        let states =
            states.map(|(state, count)| (vec![("state", state.label().to_owned())], Value::Whole(count)));
        let lost = counts.lost.into_iter();
        let lost = lost.map(|(kind, count)| (vec![("kind", kind.to_owned())], Value::Whole(count)));
        let counter =
            |name, help, count| Family::new(name, help, true, vec![(Vec::new(), Value::Whole(count))]);
        vec![
            Family::new(
                "inrush_pulls",
                "Upstreams of streams that are wanted, by state",
                false,
                states.collect(),
            ),
            counter("inrush_pull_tries", "Connections to upstreams that were begun", counts.tries),
            counter("inrush_pull_began", "Times that media began to come from an upstream", counts.began),
            Family::new(
                "inrush_pull_lost",
                "Tries and connections to upstreams that ended without being asked to, by reason",
                true,
                lost.collect(),
            ),
            counter(
                "inrush_pull_failovers",
                "Times that the next upstream of an app was tried",
                counts.failovers,
            ),
            counter(
                "inrush_pull_refused",
                "Streams that were wanted and not pulled: too many at a time, or URLs that became too long",
                counts.targets_refused,
            ),
            counter(
                "inrush_pull_ended_bytes",
                "Bytes of media received from upstreams, by connections that are over",
                counts.bytes,
            ),
        ]
    }
}
