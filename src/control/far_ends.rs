//! What `/api/v1/forwards` and `/api/v1/pulls` are made of: one entry for each far end of each stream, and families of `/metrics`.
//!
//! Both show a [`Board`], which speaks of targets where the others are sources, together with what the cores say of the connections that
//! are on it. What an entry has beside this is in [`super::forwards`] and [`super::pulls`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde::Serialize;

use super::api::{QUERY_MAX, Traffic, gather, permit};
use super::cores::Cores;
use super::metrics::{Family, Value};
use super::refusal::Refusal;
use super::router::Control;
use super::tcp::Tcp;
use crate::edge::relay::life::{LifeState, Step};
use crate::edge::relay::observe::{Board, ForwardInfo};
use crate::runtime::{OutgoingId, OutgoingInfo};

/// Who forwards or pulls, as control sees it. Must not wait.
pub trait Forwards: Send + Sync + 'static {
    /// Every far end of every stream that is forwarded or pulled, as it is now.
    fn forwards(&self) -> Vec<ForwardInfo>;
}

impl Forwards for Board {
    fn forwards(&self) -> Vec<ForwardInfo> {
        Self::forwards(self)
    }
}

/// One far end of one stream as JSON, with what the core says of its connection.
#[derive(Serialize)]
pub(super) struct FarEnd<T> {
    app: String,
    name: String,
    name_hash: String,
    /// What forwards and pulls have each for themselves.
    #[serde(flatten)]
    own: T,
    active: bool,
    state: &'static str,
    state_seconds: f64,
    connection: Option<String>,
    tcp: Option<Tcp>,
    reconnects: u64,
    last_error: String,
    next_try_seconds: Option<f64>,
    traffic: Option<Traffic>,
}

impl<T> FarEnd<T> {
    fn new(now: Instant, info: ForwardInfo, connection: Option<&OutgoingInfo>, own: T) -> Self {
        Self {
            app: info.app,
            name: info.name,
            name_hash: info.name_hash,
            own,
            active: info.is_active,
            state: info.state.label(),
            state_seconds: now.saturating_duration_since(info.since).as_secs_f64(),
            connection: connection.map(|connection| connection.connection.0.to_string()),
            tcp: connection.and_then(|connection| connection.tcp).map(Tcp::from),
            reconnects: info.reconnects,
            last_error: info.last_error,
            next_try_seconds: info.next_try.map(|at| at.saturating_duration_since(now).as_secs_f64()),
            traffic: connection.and_then(|connection| connection.traffic.clone()).map(Traffic::from),
        }
    }

    /// Whether it is where it should be: media flows, or another one of its group has the stream.
    pub(super) fn is_settled(&self) -> bool {
        [LifeState::On(Step::Live), LifeState::Standby].iter().any(|state| state.label() == self.state)
    }
}

/// The entries of a list, sorted, and the cores that did not say what they know; `own` makes an entry's own part.
pub(super) async fn entries<C: Cores, T>(
    control: &Control<C>,
    of: &OnceLock<Arc<dyn Forwards>>,
    own: fn(&ForwardInfo, Option<&OutgoingInfo>) -> T,
) -> Result<(Vec<FarEnd<T>>, Vec<u16>), Refusal> {
    let cores = control.running()?;
    let _permit = permit(control).await?;
    let (connections, stalled_cores) = gather(cores.outgoing(QUERY_MAX).await);
    Ok((listed(of, &by_id(connections), own), stalled_cores))
}

/// Connections, to be found by their ids.
pub(super) fn by_id(connections: Vec<OutgoingInfo>) -> HashMap<OutgoingId, OutgoingInfo> {
    connections.into_iter().map(|connection| (connection.id, connection)).collect()
}

/// The entries of a list, sorted, with what is known of these connections.
pub(super) fn listed<T>(
    of: &OnceLock<Arc<dyn Forwards>>,
    connections: &HashMap<OutgoingId, OutgoingInfo>,
    own: fn(&ForwardInfo, Option<&OutgoingInfo>) -> T,
) -> Vec<FarEnd<T>> {
    let mut all = of.get().map(|board| board.forwards()).unwrap_or_default();
    all.sort_by(|a, b| (&a.app, &a.name, &a.target, a.rank).cmp(&(&b.app, &b.name, &b.target, b.rank)));
    let now = Instant::now();
    let entries = all.into_iter().map(|info| {
        let connection = info.connection.and_then(|id| connections.get(&id));
        let own = own(&info, connection);
        FarEnd::new(now, info, connection, own)
    });
    entries.collect()
}

/// What a connection says; nothing without one.
pub(super) fn said<T: Default>(connection: Option<&OutgoingInfo>, value: fn(&OutgoingInfo) -> T) -> T {
    connection.map(value).unwrap_or_default()
}

/// How many far ends there are in each state.
pub(super) fn states(name: &str, help: &str, board: &Board) -> Family {
    let samples = board
        .states()
        .into_iter()
        .map(|(state, count)| (vec![("state", state.label().to_owned())], Value::Whole(count)));
    Family::new(name, help, false, samples.collect())
}

/// A counter without labels.
pub(super) fn counter(name: &str, help: &str, count: u64) -> Family {
    Family::new(name, help, true, vec![(Vec::new(), Value::Whole(count))])
}

/// Counters by kind.
pub(super) fn by_kind(name: &str, help: &str, counts: BTreeMap<&'static str, u64>) -> Family {
    let samples =
        counts.into_iter().map(|(kind, count)| (vec![("kind", kind.to_owned())], Value::Whole(count)));
    Family::new(name, help, true, samples.collect())
}
