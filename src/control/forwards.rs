//! `GET /api/v1/forwards`: what is forwarded where, and the families of `/metrics` about it.
//!
//! One entry for each target of each stream, sorted by app, name and target:
//! ```json
//! {"forwards": [{"app": "live", "name": "test", "name_hash": "9f86d081", "target": "rtmps://origin.example:443/live/…",
//!   "named_by": "file", "group": "origins", "rank": "primary", "bits_out_per_second": 3012000, "bytes_out": 9412345,
//!   "messages_out": 4711, "dropped": 0, "queued_bytes": 0, "queued_ms": 0, "active": true, "state": "live", "state_seconds": 12.5,
//!   "connection": "17", "tcp": {"rtt_us": 20400, …}, "reconnects": 1, "last_error": "refused: NetStream.Publish.BadName", "next_try_seconds": null,
//!   "traffic": {"congestion": "cubic", "dscp": 34}}],
//!   "stalled_cores": []}
//! ```
//! A target is shown without the stream's name there and without its query, which are its keys. `named_by` is `file` or `back_end`.
//! `state` is `standby` (another one of its group has the stream), `waiting` (for `next_try_seconds`), `in_line` (for a place to dial in),
//! `resolving`, `connecting`, `securing` (TLS), `starting` (until the target says yes), `ready` (until the next key frame) or `live`. `connection` is its id among the
//! connections, null without one, and `tcp` what the kernel knows of its path (see `control/tcp.rs`). `bytes_out` and `dropped` are of all connections to the target for this stream, the present one included;
//! `traffic` is the congestion control and the DSCP that the present one has, null without one;
//! `last_error` is empty when nothing went wrong.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::cores::Cores;
use super::far_ends::{FarEnd, by_kind, counter, entries, said, states};
use super::metrics::{Exhibitor, Family};
use super::refusal::Refusal;
use super::router::Control;
use crate::edge::relay::observe::{Board, ForwardInfo};
use crate::runtime::OutgoingInfo;

pub(super) async fn forwards<C: Cores>(
    State(control): State<Arc<Control<C>>>,
) -> Result<Json<List>, Refusal> {
    let (forwards, stalled_cores) = entries(&control, &control.forwards, Forward::new).await?;
    Ok(Json(List { forwards, stalled_cores }))
}

/// `GET /api/v1/forwards`.
#[derive(Serialize)]
pub(super) struct List {
    forwards: Vec<FarEnd<Forward>>,
    stalled_cores: Vec<u16>,
}

/// What is said of a target beside what is said of every far end.
#[derive(Serialize)]
pub(super) struct Forward {
    target: String,
    named_by: &'static str,
    group: String,
    rank: String,
    bits_out_per_second: u64,
    bytes_out: u64,
    messages_out: u64,
    dropped: u64,
    queued_bytes: u64,
    queued_ms: u32,
}

impl Forward {
    pub(super) fn new(info: &ForwardInfo, connection: Option<&OutgoingInfo>) -> Self {
        Self {
            target: info.target.clone(),
            named_by: info.named_by.label(),
            group: info.group.clone(),
            rank: info.rank.to_string(),
            bits_out_per_second: said(connection, |it| it.bits_per_second),
            bytes_out: info.bytes_before + said(connection, |it| it.bytes_out),
            messages_out: said(connection, |it| it.messages),
            dropped: info.dropped_before + said(connection, |it| it.dropped),
            queued_bytes: said(connection, |it| it.queued_bytes),
            queued_ms: said(connection, |it| it.queued_ms),
        }
    }
}

/// Labels are states and kinds, never streams or targets.
impl Exhibitor for Board {
    fn families(&self) -> Vec<Family> {
        let counts = self.counts();
        vec![
            states("inrush_forwards", "Targets of streams that are forwarded, by state", self),
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
