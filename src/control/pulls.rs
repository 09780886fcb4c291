//! `GET /api/v1/pulls`: what is pulled from where, and the families of `/metrics` about it.
//!
//! One entry for each upstream of each stream that is wanted, sorted by app, name and source:
//! ```json
//! {"pulls": [{"app": "live", "name": "test", "name_hash": "9f86d081", "source": "rtmps://origin.example:443/live/…",
//!   "named_by": "file", "bits_in_per_second": 3012000, "bytes_in": 9412345, "messages_in": 4711, "active": true, "state": "live", "state_seconds": 12.5,
//!   "connection": "17", "tcp": {"rtt_us": 20400, …}, "reconnects": 1, "last_error": "refused: NetStream.Play.StreamNotFound", "next_try_seconds": null,
//!   "traffic": {"congestion": "cubic", "dscp": 34}}],
//!   "stalled_cores": []}
//! ```
//! A source is shown without the stream's name there and without its query; `named_by` is `file` or `back_end`. `state` is as of forwards (see [`super::forwards`]): `standby` while
//! another upstream has the stream, `ready` while the source has said yes and nothing comes. `bytes_in` is of all connections to the source
//! for this stream: of those that are over their media, of the present one all that it has received.

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

pub(super) async fn pulls<C: Cores>(State(control): State<Arc<Control<C>>>) -> Result<Json<List>, Refusal> {
    let (pulls, stalled_cores) = entries(&control, &control.pulls, Pull::new).await?;
    Ok(Json(List { pulls, stalled_cores }))
}

/// `GET /api/v1/pulls`.
#[derive(Serialize)]
pub(super) struct List {
    pulls: Vec<FarEnd<Pull>>,
    stalled_cores: Vec<u16>,
}

/// What is said of an upstream beside what is said of every far end.
#[derive(Serialize)]
pub(super) struct Pull {
    source: String,
    named_by: &'static str,
    bits_in_per_second: u64,
    bytes_in: u64,
    messages_in: u64,
}

impl Pull {
    pub(super) fn new(info: &ForwardInfo, connection: Option<&OutgoingInfo>) -> Self {
        Self {
            source: info.target.clone(),
            named_by: info.named_by.label(),
            bits_in_per_second: said(connection, |it| it.bits_per_second),
            bytes_in: info.bytes_before + said(connection, |it| it.bytes_in),
            messages_in: said(connection, |it| it.messages),
        }
    }
}

/// The families about pulls. Labels are states and kinds, never streams or sources.
pub struct PullFamilies(pub Arc<Board>);

impl Exhibitor for PullFamilies {
    fn families(&self) -> Vec<Family> {
        let counts = self.0.counts();
        vec![
            states("inrush_pulls", "Upstreams of streams that are wanted, by state", &self.0),
            counter("inrush_pull_tries", "Connections to upstreams that were begun", counts.tries),
            counter("inrush_pull_began", "Times that media began to come from an upstream", counts.began),
            by_kind(
                "inrush_pull_lost",
                "Tries and connections to upstreams that ended without being asked to, by reason",
                counts.lost,
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
