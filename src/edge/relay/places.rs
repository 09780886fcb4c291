//! Places to dial in: how many connections to targets and upstreams are in the making at a time, and who waits for a place.
//!
//! A dial has its place from the lookup of the name until a core can have the socket, with TLS where that is spoken. A stream whose dial finds
//! none waits in line: for a place at its host (and port), and then for one of all. Its target's time begins with the place, so that a wait is
//! neither a failure nor a timeout of anybody's; what a group gives its first target before it tries the next as well (`failover_ms`) passes in
//! line too, since that is the stream's time and blames nobody.
//!
//! # Order
//! First come, first served, in the line of each host and then among those whom their hosts have let through. So a host that swallows what
//! is sent to it fills its own places, and its line behind them costs nobody else anything. Only when as many hosts do so that their places are all
//! there are, others wait, for one of those to have had its time and for at most [`PER_HOST_MAX`] of each such host before them.
//! # Kinds
//! Without TLS, with it (whose arithmetic is done on the edge's thread, where all else of the edge waits meanwhile), and where targets send
//! us: three that have nothing in common, so that what a target chooses does not stand in the way of what the operator or a back end chose. A
//! dial of the third kind counts at the host that it leads to, and stands in line at the one that sent us there before: one that sends each of
//! its streams to another port where nobody answers fills no more places than one that does not answer itself.
//! # Bounds
//! [`PER_HOST_MAX`] dials a host and kind, [`DIALS_MAX`] in all, each of which holds a socket for each address that it is trying, at most
//! [`super::race::ADDRESSES_MAX`]. Who waits is a task that sleeps, at most two for each target of each stream.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::control::metrics::{Exhibitor, Family, Value};
use crate::session::ClientUrl;

/// Dials to one host and port at a time, of one kind. At a round trip of 100 ms that is 640 connections a second without TLS, and 200 with it.
pub const PER_HOST_MAX: usize = 64;

/// Dials without TLS at a time.
pub const PLAIN_MAX: usize = 512;

/// Dials with TLS at a time. If all have a step of their handshake to compute at once, that keeps the edge's thread for a tenth of a second or two.
pub const TLS_MAX: usize = 256;

/// Dials at a time that lead where a target has sent us, with or without TLS.
pub const REDIRECTS_MAX: usize = 256;

/// Dials of all kinds at a time.
pub const DIALS_MAX: usize = PLAIN_MAX + TLS_MAX + REDIRECTS_MAX;

/// Dials that count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Without TLS.
    Plain,
    /// With TLS.
    Tls,
    /// Where a target has sent us, with or without TLS.
    Redirect,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Tls, Self::Redirect];

    /// What a dial counts as.
    pub fn of(url: &ClientUrl, is_redirect: bool) -> Self {
        match (is_redirect, url.tls) {
            (true, _) => Self::Redirect,
            (false, true) => Self::Tls,
            (false, false) => Self::Plain,
        }
    }

    /// How many there may be at a time.
    pub fn max(self) -> usize {
        match self {
            Self::Plain => PLAIN_MAX,
            Self::Tls => TLS_MAX,
            Self::Redirect => REDIRECTS_MAX,
        }
    }

    /// Metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
            Self::Redirect => "redirect",
        }
    }
}

/// The places of all kinds.
#[derive(Debug)]
pub struct Dials([Arc<Places>; Kind::ALL.len()]);

impl Default for Dials {
    fn default() -> Self {
        Self(Kind::ALL.map(|kind| Arc::new(Places::new(PER_HOST_MAX, kind.max()))))
    }
}

impl Dials {
    /// Those of one kind.
    pub fn of(&self, kind: Kind) -> &Arc<Places> {
        let [plain, tls, redirect] = &self.0;
        match kind {
            Kind::Plain => plain,
            Kind::Tls => tls,
            Kind::Redirect => redirect,
        }
    }
}

/// Labels are kinds and states, never hosts.
impl Exhibitor for Dials {
    fn families(&self) -> Vec<Family> {
        let of_each = |value: fn(&PlaceCounts) -> u64, state: Option<&'static str>| {
            Kind::ALL.map(|kind| {
                let state = state.map(|state| ("state", state.to_owned()));
                let labels = std::iter::once(("kind", kind.label().to_owned())).chain(state).collect();
                (labels, Value::Whole(value(&self.of(kind).counts())))
            })
        };
        let now = [of_each(|it| it.in_flight, Some("in_flight")), of_each(|it| it.waiting, Some("waiting"))];
        vec![
            Family::new(
                "inrush_dials",
                "Connections to targets and upstreams that are being made, and those that wait for a place to be, by kind",
                false,
                now.concat(),
            ),
            Family::new(
                "inrush_dials_waited",
                "Dials that had to wait for a place, by kind",
                true,
                of_each(|it| it.waited, None).to_vec(),
            ),
        ]
    }
}

/// A host and port, and which way dials go there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Host {
    has_sent_us: bool,
    name: String,
    port: u16,
}

/// The places of one kind. Whoever wants one asks [`Self::take`].
#[derive(Debug)]
pub struct Places {
    per_host_max: usize,
    lines: Mutex<HashMap<Host, Line>>,
    all: Arc<Semaphore>,
    in_flight: AtomicU64,
    waiting: AtomicU64,
    waited: AtomicU64,
}

/// The line of one host: there as long as somebody is in it or has been let through. Semaphores serve in the order of asking.
#[derive(Debug)]
struct Line {
    permits: Arc<Semaphore>,
    users: usize,
}

/// How many have places and wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaceCounts {
    /// Have one.
    pub in_flight: u64,
    /// Wait for one.
    pub waiting: u64,
    /// Had to wait, so far.
    pub waited: u64,
}

/// A place; others may have it when this is dropped.
#[derive(Debug)]
pub struct Place {
    // In the order in which they are given back.
    _in_flight: Counted,
    // None is ever closed, so that there is always one.
    _of_all: Option<OwnedSemaphorePermit>,
    _at_host: Passed,
    _at_sender: Option<Passed>,
}

/// A permit of a line, and the seat in it.
#[derive(Debug)]
struct Passed {
    _permit: Option<OwnedSemaphorePermit>,
    _seat: Seat,
}

impl Places {
    /// As many as that.
    pub fn new(per_host_max: usize, max: usize) -> Self {
        Self {
            per_host_max,
            lines: Mutex::default(),
            all: Arc::new(Semaphore::new(max)),
            in_flight: AtomicU64::default(),
            waiting: AtomicU64::default(),
            waited: AtomicU64::default(),
        }
    }

    /// A place at the host that a URL leads to, once it is the asker's turn; `sender` is the one whose far end has sent us there, if one has. Who is
    /// dropped meanwhile is in line no more.
    pub async fn take(self: &Arc<Self>, url: &ClientUrl, sender: Option<&ClientUrl>) -> Place {
        let host =
            |url: &ClientUrl, has_sent_us| Host { has_sent_us, name: url.host.clone(), port: url.port };
        let mut waiting = None;
        let at_sender = match sender {
            Some(sender) => Some(self.pass(host(sender, true), &mut waiting).await),
            None => None,
        };
        let at_host = self.pass(host(url, false), &mut waiting).await;
        let of_all = self.permit(&self.all, &mut waiting).await;
        let in_flight = Counted::new(self, |places| &places.in_flight);
        Place { _in_flight: in_flight, _of_all: of_all, _at_host: at_host, _at_sender: at_sender }
    }

    /// How many have places and wait.
    pub fn counts(&self) -> PlaceCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PlaceCounts {
            in_flight: read(&self.in_flight),
            waiting: read(&self.waiting),
            waited: read(&self.waited),
        }
    }

    async fn pass(self: &Arc<Self>, host: Host, waiting: &mut Option<Counted>) -> Passed {
        let (seat, permits) = self.sit_down(host);
        Passed { _permit: self.permit(&permits, waiting).await, _seat: seat }
    }

    async fn permit(
        self: &Arc<Self>,
        permits: &Arc<Semaphore>,
        waiting: &mut Option<Counted>,
    ) -> Option<OwnedSemaphorePermit> {
        // Nobody is overtaken: what is free with somebody in line is theirs already.
        if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
            return Some(permit);
        }
        if waiting.is_none() {
            self.waited.fetch_add(1, Ordering::Relaxed);
            *waiting = Some(Counted::new(self, |places| &places.waiting));
        }
        Arc::clone(permits).acquire_owned().await.ok()
    }

    fn sit_down(self: &Arc<Self>, host: Host) -> (Seat, Arc<Semaphore>) {
        let mut lines = self.lines();
        let new = || Line { permits: Arc::new(Semaphore::new(self.per_host_max)), users: 0 };
        let line = lines.entry(host.clone()).or_insert_with(new);
        line.users += 1;
        (Seat { places: Arc::clone(self), host }, Arc::clone(&line.permits))
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Host, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody in a line, or let through; the last one takes the line along.
#[derive(Debug)]
struct Seat {
    places: Arc<Places>,
    host: Host,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut lines = self.places.lines();
        if let Entry::Occupied(mut line) = lines.entry(std::mem::take(&mut self.host)) {
            line.get_mut().users -= 1;
            if line.get().users == 0 {
                line.remove();
            }
        }
    }
}

/// One more in a gauge, until it is dropped.
#[derive(Debug)]
struct Counted {
    places: Arc<Places>,
    gauge: fn(&Places) -> &AtomicU64,
}

impl Counted {
    fn new(places: &Arc<Places>, gauge: fn(&Places) -> &AtomicU64) -> Self {
        gauge(places).fetch_add(1, Ordering::Relaxed);
        Self { places: Arc::clone(places), gauge }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.gauge)(&self.places).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
