//! What forwarding shows of itself: each forward as it is now, and counters whose labels are bounded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::life::LifeState;
use super::target::Rank;
use crate::runtime::OutgoingId;
use crate::session::ClientUrl;

/// One target of one stream.
#[derive(Clone, Debug)]
pub struct ForwardInfo {
    /// App of the stream.
    pub app: String,
    /// Its name: a secret to most users.
    pub name: String,
    /// As logs call it.
    pub name_hash: String,
    /// Where it goes, without name and query.
    pub target: String,
    /// Who has named the target.
    pub named_by: NamedBy,
    /// Its group; empty without one.
    pub group: String,
    /// Its rank there.
    pub rank: Rank,
    /// Whether it is the one of its group that has the stream.
    pub is_active: bool,
    /// How far it is.
    pub state: LifeState,
    /// Since when.
    pub since: Instant,
    /// When it is tried again, while it waits.
    pub next_try: Option<Instant>,
    /// Its connection, which the core tells more of.
    pub connection: Option<OutgoingId>,
    /// Bytes that its earlier connections have sent.
    pub bytes_before: u64,
    /// Frames that the drop policy kept from those.
    pub dropped_before: u64,
    /// Tries after the first.
    pub reconnects: u64,
    /// What went wrong last; empty when nothing has.
    pub last_error: String,
}

/// Who has named a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// The configuration.
    File,
    /// A back end, for this publisher.
    BackEnd,
}

impl NamedBy {
    /// As the API says it.
    pub fn label(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::BackEnd => "back_end",
        }
    }
}

/// Counters as they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardCounts {
    /// Tries.
    pub tries: u64,
    /// Tries that led to media.
    pub began: u64,
    /// Tries and connections that ended without being asked to, by why.
    pub lost: BTreeMap<&'static str, u64>,
    /// Times that the next target of a group was tried.
    pub failovers: u64,
    /// Times that a better target of a group got the stream back.
    pub failbacks: u64,
    /// Requests to connect again that were followed.
    pub redirects: u64,
    /// Those that were not, by why.
    pub redirects_refused: BTreeMap<&'static str, u64>,
    /// Targets that a back end named and that cannot be used.
    pub targets_refused: u64,
    /// Bytes that connections which have ended had sent.
    pub bytes: u64,
    /// Frames that the drop policy kept from them.
    pub dropped: u64,
}

/// All forwards and their counters, shared between the edge's thread and whoever looks.
#[derive(Debug, Default)]
pub struct Board {
    /// By the group's number.
    forwards: Mutex<BTreeMap<u32, Vec<ForwardInfo>>>,
    pub(super) tries: AtomicU64,
    pub(super) began: AtomicU64,
    pub(super) failovers: AtomicU64,
    pub(super) failbacks: AtomicU64,
    pub(super) redirects: AtomicU64,
    pub(super) targets_refused: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) dropped: AtomicU64,
    lost: Mutex<BTreeMap<&'static str, u64>>,
    redirects_refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Board {
    /// All forwards as they are now.
    pub fn forwards(&self) -> Vec<ForwardInfo> {
        lock(&self.forwards).values().flatten().cloned().collect()
    }

    /// How many there are in each state.
    pub fn states(&self) -> BTreeMap<LifeState, u64> {
        let mut states: BTreeMap<LifeState, u64> =
            LifeState::ALL.into_iter().map(|state| (state, 0)).collect();
        for info in lock(&self.forwards).values().flatten() {
            *states.entry(info.state).or_default() += 1;
        }
        states
    }

    /// The counters.
    pub fn counts(&self) -> ForwardCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ForwardCounts {
            tries: read(&self.tries),
            began: read(&self.began),
            lost: lock(&self.lost).clone(),
            failovers: read(&self.failovers),
            failbacks: read(&self.failbacks),
            redirects: read(&self.redirects),
            redirects_refused: lock(&self.redirects_refused).clone(),
            targets_refused: read(&self.targets_refused),
            bytes: read(&self.bytes),
            dropped: read(&self.dropped),
        }
    }

    pub(super) fn show(&self, group: u32, forwards: Vec<ForwardInfo>) {
        lock(&self.forwards).insert(group, forwards);
    }

    pub(super) fn forget(&self, group: u32) {
        lock(&self.forwards).remove(&group);
    }

    pub(super) fn count_lost(&self, label: &'static str) {
        *lock(&self.lost).entry(label).or_default() += 1;
    }

    pub(super) fn count_redirect_refused(&self, label: &'static str) {
        *lock(&self.redirects_refused).entry(label).or_default() += 1;
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A target's URL as it may be shown: what follows the app, and any query, is a key.
pub fn masked(url: &ClientUrl) -> String {
    let scheme = if url.tls { "rtmps" } else { "rtmp" };
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let app = url.app.split('?').next().unwrap_or_default();
    // With one segment, that may be the name.
    let app = if url.name.is_empty() { String::new() } else { format!("{app}/") };
    format!("{scheme}://{host}:{}/{app}…", url.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_a_key() {
        for (url, shown) in [
            ("rtmp://h/live/secret?k=secret", "rtmp://h:1935/live/…"),
            ("rtmps://[::1]:444/a?secret/secret/secret", "rtmps://[::1]:444/…"),
            ("rtmps://H/live/secret/secret", "rtmps://h:443/live/…"),
            ("rtmp://h/secret", "rtmp://h:1935/…"),
        ] {
            assert_eq!(masked(&ClientUrl::parse(url).unwrap()), shown);
        }
    }
}
