//! `GET /api/v1/forwards`: what is forwarded where, and the families of `/metrics` about it.
//!
//! One entry for each target of each stream, sorted by app, name and target:
//! ```json
//! {"forwards": [{"app": "live", "name": "test", "name_hash": "9f86d081", "target": "rtmps://origin.example:443/live/…",
//!   "named_by": "file", "group": "origins", "rank": "primary", "active": true, "state": "live", "state_seconds": 12.5,
//!   "connection": "17", "bits_out_per_second": 3012000, "bytes_out": 9412345, "messages_out": 4711, "dropped": 0,
//!   "queued_bytes": 0, "queued_ms": 0, "reconnects": 1, "last_error": "refused: NetStream.Publish.BadName",
//!   "next_try_seconds": null}], "stalled_cores": []}
//! ```
//! A target is shown without the stream's name there and without its query, which are its keys. `named_by` is `file` or `back_end`.
//! `state` is `standby` (another one of its group has the stream), `waiting` (for `next_try_seconds`), `resolving`, `connecting`,
//! `securing` (TLS), `starting` (until the target says yes), `ready` (until the next key frame) or `live`. `connection` is its id among the
//! connections, null without one. `bytes_out` and `dropped` are of all connections to the target for this stream, the present one included;
//! `last_error` is empty when nothing went wrong.

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

/// Who forwards, as control sees it. Must not wait.
pub trait Forwards: Send + Sync + 'static {
    /// Every target of every stream that is forwarded, as it is now.
    fn forwards(&self) -> Vec<ForwardInfo>;
}

impl Forwards for Board {
    fn forwards(&self) -> Vec<ForwardInfo> {
        Self::forwards(self)
    }
}

pub(super) async fn forwards<C: Cores>(
    State(control): State<Arc<Control<C>>>,
) -> Result<Json<List>, Refusal> {
    let cores = control.running()?;
    let _permit = permit(&control).await?;
    let (connections, stalled_cores) = gather(cores.outgoing(QUERY_MAX).await);
    let connections: HashMap<OutgoingId, OutgoingInfo> =
        connections.into_iter().map(|connection| (connection.id, connection)).collect();
    let mut all = control.forwards.get().map(|forwards| forwards.forwards()).unwrap_or_default();
    all.sort_by(|a, b| (&a.app, &a.name, &a.target, a.rank).cmp(&(&b.app, &b.name, &b.target, b.rank)));
    let now = Instant::now();
    let forwards = all.into_iter().map(|info| {
        let connection = info.connection.and_then(|id| connections.get(&id));
        Forward::new(now, info, connection)
    });
    Ok(Json(List { forwards: forwards.collect(), stalled_cores }))
}

/// `GET /api/v1/forwards`.
#[derive(Serialize)]
pub(super) struct List {
    forwards: Vec<Forward>,
    stalled_cores: Vec<u16>,
}

/// [`ForwardInfo`] as JSON, with what the core says of its connection.
#[derive(Serialize)]
struct Forward {
    app: String,
    name: String,
    name_hash: String,
    target: String,
    named_by: &'static str,
    group: String,
    rank: String,
    active: bool,
    state: &'static str,
    state_seconds: f64,
    connection: Option<String>,
    bits_out_per_second: u64,
    bytes_out: u64,
    messages_out: u64,
    dropped: u64,
    queued_bytes: u64,
    queued_ms: u32,
    reconnects: u64,
    last_error: String,
    next_try_seconds: Option<f64>,
}

impl Forward {
    fn new(now: Instant, info: ForwardInfo, connection: Option<&OutgoingInfo>) -> Self {
        let of_connection = |value: fn(&OutgoingInfo) -> u64| connection.map(value).unwrap_or_default();
        Self {
            app: info.app,
            name: info.name,
            name_hash: info.name_hash,
            target: info.target,
            named_by: info.named_by.label(),
            group: info.group,
            rank: info.rank.to_string(),
            active: info.is_active,
            state: info.state.label(),
            state_seconds: now.saturating_duration_since(info.since).as_secs_f64(),
            connection: connection.map(|connection| connection.connection.0.to_string()),
            bits_out_per_second: of_connection(|it| it.bits_per_second),
            bytes_out: info.bytes_before + of_connection(|it| it.bytes_out),
            messages_out: of_connection(|it| it.messages),
            dropped: info.dropped_before + of_connection(|it| it.dropped),
            queued_bytes: of_connection(|it| it.queued_bytes),
            queued_ms: connection.map(|it| it.queued_ms).unwrap_or_default(),
            reconnects: info.reconnects,
            last_error: info.last_error,
            next_try_seconds: info.next_try.map(|at| at.saturating_duration_since(now).as_secs_f64()),
        }
    }
}

/// Labels are states and kinds, never streams or targets.
impl Exhibitor for Board {
    fn families(&self) -> Vec<Family> {
        let counts = self.counts();
        let states = self
            .states()
            .into_iter()
            .map(|(state, count)| (vec![("state", state.label().to_owned())], Value::Whole(count)));
        let by_kind = |name, help, counts: std::collections::BTreeMap<&'static str, u64>| {
            let samples = counts
                .into_iter()
                .map(|(kind, count)| (vec![("kind", kind.to_owned())], Value::Whole(count)));
            Family::new(name, help, true, samples.collect())
        };
        let counter =
            |name, help, count| Family::new(name, help, true, vec![(Vec::new(), Value::Whole(count))]);
        vec![
            Family::new(
                "inrush_forwards",
                "Targets of streams that are forwarded, by state",
                false,
                states.collect(),
            ),
            counter("inrush_forward_tries", "Connections to targets that were begun", counts.tries),
            counter("inrush_forward_began", "Connections to targets on which media began", counts.began),
            by_kind(
                "inrush_forward_lost",
                "Tries and connections to targets that ended without being asked to, by reason",
                counts.lost,
            ),
            counter(
                "inrush_forward_failovers",
                "Times that the next target of a group was tried",
                counts.failovers,
            ),
            counter(
                "inrush_forward_failbacks",
                "Times that a better target of a group got a stream back",
                counts.failbacks,
            ),
            counter(
                "inrush_forward_redirects",
                "Requests of targets to connect elsewhere, followed",
                counts.redirects,
            ),
            by_kind(
                "inrush_forward_redirect_refused",
                "Requests of targets to connect elsewhere that were not followed, by reason",
                counts.redirects_refused,
            ),
            counter(
                "inrush_forward_targets_refused",
                "Targets that cannot be used: bad URLs of a back end, URLs that became too long",
                counts.targets_refused,
            ),
            counter(
                "inrush_forward_ended_bytes",
                "Bytes sent to targets, by connections that are over",
                counts.bytes,
            ),
            counter(
                "inrush_forward_ended_dropped",
                "Frames kept from targets that were too slow, by connections that are over",
                counts.dropped,
            ),
        ]
    }
}
