//! The control HTTP: health, metrics and the admin API (floor 5).
//!
//! It runs on a thread of its own with an ordinary tokio runtime, never on a media core, and touches no core's state: what it
//! wants to know it asks ([`Cores`]), and waits with a timeout. A core that does not answer is named in the answer and not
//! waited for. Hot counters are not even asked for: each core's sweep publishes them as atomics.
//!
//! | path | answer |
//! |---|---|
//! | `GET /` | the dashboard, see [`dashboard`] |
//! | `GET /healthz` | 200 while the process and all cores live; 503 names the cores that stand still |
//! | `GET /readyz` | 200 when publishers and players are welcome; 503 while starting and draining |
//! | `GET /metrics` | Prometheus text, see [`metrics`] |
//! | `GET /metrics?stream=APP/NAME` | the same of this stream alone, see [`stream_series`] |
//! | `GET /stat` | what nginx-rtmp's `rtmp_stat all` gives (`stat.rs`) |
//! | `GET /api/v1/streams`, `/api/v1/streams/{app}/{name}` | live streams, see [`api`] |
//! | `GET /api/v1/connections` | connections |
//! | `GET /api/v1/forwards` | what is forwarded where, see [`forwards`] |
//! | `GET /api/v1/pulls` | what is pulled from where, see [`pulls`] |
//! | `GET /api/v1/events` | a snapshot of the node a second, see [`dashboard::events`] |
//! | `GET /api/v1/drain`, `POST /api/v1/drain` | how far the end is, and its beginning, see [`drain`] |
//! | `GET /api/v1/openapi.json` | this table for programs: paths, fields and refusals, as OpenAPI 3.1 (`openapi.json`) |
//! | `DELETE /api/v1/connections/{id}` | closes one: 204; 404 when there is none |
//! | `POST /api/v1/reload` | reads the configuration again, see [`reload`] |
//!
//! Where a token is set, all of it asks for `Authorization: Bearer TOKEN` but the first three ([`token`]).
//!
//! # Bounds
//! [`server::CONNECTIONS_MAX`] connections; a request head of [`server::HEAD_BYTES_MAX`] within [`server::HEAD_MAX`]; a body
//! as [`body`] has it; a connection lives for [`server::CONNECTION_LIFE_MAX`]; [`api::QUERIES_MAX`] questions to the cores
//! at a time; [`dashboard::events::LISTENERS_MAX`] listeners to events.
//! # Errors
//! Every refusal has one shape: `{"error": {"code": "not_found", "message": "…"}}`, the code from a fixed set.

use std::net::SocketAddr;

use crate::edge::secret::SecretPlace;

pub mod api;
pub mod body;
mod cores;
pub mod dashboard;
pub mod drain;
mod far_ends;
pub mod forwards;
mod guard;
mod health;
mod media;
pub mod metrics;
mod openapi;
mod process;
pub mod pulls;
mod refusal;
pub mod reload;
mod router;
pub mod server;
mod stat;
pub mod stream_series;
mod tcp;
#[cfg(test)]
mod tests;
pub mod token;

pub use cores::{CoreAnswer, Cores};
pub use far_ends::Forwards;
pub use health::stalled_cores;
pub use pulls::PullFamilies;
pub use reload::Reloaded;
pub use server::{Server, StartError, start};

/// What the control HTTP is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens. The default is loopback: it shows the names of streams, and closes connections.
    pub listen: SocketAddr,
    /// Where the token stands that it asks for; must be set where `listen` is no loopback address.
    pub token: Option<SecretPlace>,
    /// Whether `/metrics` asks for none all the same; the default is that it does. Who says none gets no series of streams then.
    pub metrics_open: bool,
    /// Of how many streams `/metrics` has series of their own, those with the highest bitrates; 0 to
    /// [`TOP_STREAMS_MAX`](stream_series::TOP_STREAMS_MAX), 20 by default.
    pub top_streams: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8935));
        Self { listen, token: None, metrics_open: false, top_streams: 20 }
    }
}
