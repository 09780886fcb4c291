//! How many streams and connections an app has at a time, and how many streams one identity publishes: over all cores, and exactly.
//!
//! A session that is let in takes its [`Seat`] before it is accepted, on whichever core it asked, and keeps it until it publishes or plays no
//! more; it goes with a publisher that moves. Two cores that let somebody in at the same moment are told one after the other, so that there is
//! never one too many.
//!
//! - A stream counts once, however many publish it: neither who takes over nor a standby makes a further one. A dry run is nobody's stream, and
//!   is a connection alone. A stream whose publisher was lost and is waited for does not count meanwhile.
//! - A connection counts once for each stream that it publishes or plays. What only connects is bounded by address
//!   ([`super::prefixes`]). Forwards and pulls, which we make ourselves, do not count.
//! # Invariant
//! What is counted is what there are seats for: all is empty when everybody has gone.
//! # Bounds
//! An entry a live app and identity, and one a stream of each. It is touched when a session begins and ends, never on a message.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use super::outside::Identity;
use crate::session::StreamKey;

/// Who has how much.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    apps: HashMap<String, App>,
    identities: HashMap<Identity, Streams>,
}

#[derive(Debug, Default)]
struct App {
    connections: usize,
    streams: Streams,
}

/// The streams that are published, and by how many.
#[derive(Debug, Default)]
struct Streams(HashMap<StreamKey, usize>);

/// How much there may be at a time; `None` is as much as comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QuotaLimits {
    pub(crate) app_streams: Option<NonZeroU32>,
    pub(crate) app_connections: Option<NonZeroU32>,
    pub(crate) identity_streams: Option<NonZeroU32>,
}

/// There is as much already as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Full {
    #[error("this app has the {0} streams that it may have at a time: try again when one of them has ended")]
    AppStreams(NonZeroU32),
    #[error(
        "this app has the {0} connections that it may have at a time: try again when one of them has ended"
    )]
    AppConnections(NonZeroU32),
    #[error("with this key {0} streams may be published at a time, and are: end one of them first")]
    IdentityStreams(NonZeroU32),
}

impl Full {
    /// Metric label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::AppStreams(_) => "limit_app_streams",
            Self::AppConnections(_) => "limit_app_connections",
            Self::IdentityStreams(_) => "limit_identity_streams",
        }
    }
}

/// What one session has of what there is; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    quotas: Arc<Quotas>,
    stream: StreamKey,
    identity: Option<Identity>,
    publishes: bool,
}

impl Quotas {
    /// A seat for somebody of this identity who publishes this stream, or takes part in it otherwise.
    ///
    /// # Errors
    /// When there is none left; nothing is counted then.
    pub(crate) fn take(
        self: &Arc<Self>,
        stream: &StreamKey,
        identity: Option<&Identity>,
        publishes: bool,
        limits: QuotaLimits,
    ) -> Result<Seat, Full> {
        let mut guard = self.held();
        let held = &mut *guard;
        let app = held.apps.get(stream.app());
        if let Some(max) = reached(limits.app_connections, app.map_or(0, |app| app.connections)) {
            return Err(Full::AppConnections(max));
        }
        if publishes {
            let of_app = app.map(|app| &app.streams);
            if let Some(max) = reached(limits.app_streams, others(of_app, stream)) {
                return Err(Full::AppStreams(max));
            }
            let of_identity = identity.and_then(|identity| held.identities.get(identity));
            // Those who were asked for nothing are nobody in common.
            let max = limits.identity_streams.filter(|_| identity.is_some());
            if let Some(max) = reached(max, others(of_identity, stream)) {
                return Err(Full::IdentityStreams(max));
            }
        }
        let app = held.apps.entry(stream.app().to_owned()).or_default();
        app.connections += 1;
        if publishes {
            app.streams.add(stream);
            if let Some(identity) = identity {
                held.identities.entry(identity.clone()).or_default().add(stream);
            }
        }
        drop(guard);
        let identity = identity.filter(|_| publishes).cloned();
        Ok(Seat { quotas: Arc::clone(self), stream: stream.clone(), identity, publishes })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut guard = self.quotas.held();
        let held = &mut *guard;
        if let Some(app) = held.apps.get_mut(self.stream.app()) {
            app.connections = app.connections.saturating_sub(1);
            if self.publishes {
                app.streams.remove(&self.stream);
            }
            if app.connections == 0 {
                held.apps.remove(self.stream.app());
            }
        }
        if let Some(identity) = &self.identity
            && let Some(streams) = held.identities.get_mut(identity)
        {
            streams.remove(&self.stream);
            if streams.0.is_empty() {
                held.identities.remove(identity);
            }
        }
    }
}

impl Streams {
    fn add(&mut self, stream: &StreamKey) {
        *self.0.entry(stream.clone()).or_default() += 1;
    }

    fn remove(&mut self, stream: &StreamKey) {
        if let Some(count) = self.0.get_mut(stream) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(stream);
            }
        }
    }
}

/// How many streams there are beside this one; none where it is there already, since it makes no further one then.
fn others(streams: Option<&Streams>, stream: &StreamKey) -> usize {
    streams.filter(|streams| !streams.0.contains_key(stream)).map_or(0, |streams| streams.0.len())
}

/// The limit, if there is as much already.
fn reached(max: Option<NonZeroU32>, there_are: usize) -> Option<NonZeroU32> {
    max.filter(|max| u32::try_from(there_are).map_or(true, |there_are| there_are >= max.get()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    /// App, stream, identity, whether it publishes, and its seat.
    type Guest = (u8, u8, Option<u8>, bool, Seat);

    fn limits(app_streams: u32, app_connections: u32, identity_streams: u32) -> QuotaLimits {
        QuotaLimits {
            app_streams: NonZeroU32::new(app_streams),
            app_connections: NonZeroU32::new(app_connections),
            identity_streams: NonZeroU32::new(identity_streams),
        }
    }

    fn stream(app: u8, name: u8) -> StreamKey {
        StreamKey::new(&format!("app{app}"), &format!("stream{name}"))
    }

    fn identity(number: u8) -> Identity {
        Identity(format!("user{number}").into())
    }

    #[test]
    fn who_takes_over_makes_no_further_stream() {
        let quotas = Arc::new(Quotas::default());
        let one = limits(1, 0, 1);
        let first = quotas.take(&stream(0, 0), Some(&identity(0)), true, one).unwrap();
        let second = quotas.take(&stream(0, 0), Some(&identity(0)), true, one).unwrap();
        let other = |one| quotas.take(&stream(0, 1), Some(&identity(1)), true, one).err();
        assert_eq!(other(one), Some(Full::AppStreams(NonZeroU32::MIN)));
        drop(first);
        assert_eq!(other(one), Some(Full::AppStreams(NonZeroU32::MIN)), "the second one publishes it still");
        drop(second);
        assert_eq!(other(one), None);
    }

    #[test]
    fn an_identity_is_one_in_all_apps_and_nobody_is_none() {
        let quotas = Arc::new(Quotas::default());
        let one = limits(0, 0, 1);
        let _first = quotas.take(&stream(0, 0), Some(&identity(0)), true, one).unwrap();
        let full = quotas.take(&stream(1, 0), Some(&identity(0)), true, one).unwrap_err();
        assert_eq!((full, full.label()), (Full::IdentityStreams(NonZeroU32::MIN), "limit_identity_streams"));
        let nobodys: Vec<_> =
            (0..5).map(|name| quotas.take(&stream(1, name), None, true, one).unwrap()).collect();
        assert_eq!(nobodys.len(), 5);
        quotas.take(&stream(1, 9), Some(&identity(0)), false, one).expect("to play is no stream");
    }

    /// All cores at once: there is never one too many at a time, and everybody gets in at last.
    #[test]
    fn many_threads_never_have_one_too_many() {
        let quotas = Arc::new(Quotas::default());
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..5_u8 {
                let (quotas, inside, most) = (&quotas, &inside, &most);
                scope.spawn(move || {
                    for round in 0..500_u16 {
                        let stream = StreamKey::new("live", &format!("{thread}-{round}"));
                        let seat = loop {
                            match quotas.take(&stream, None, true, limits(3, 0, 0)) {
                                Ok(seat) => break seat,
                                Err(full) => assert_eq!(full.label(), "limit_app_streams"),
                            }
                            std::thread::yield_now();
                        };
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(seat);
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert!(quotas.held().apps.is_empty() && quotas.held().identities.is_empty());
    }

    proptest! {
        /// Against a list of who is in, counted anew each time; in the end nothing is left.
        #[test]
        fn seats_are_as_many_as_a_list_says(
            steps in proptest::collection::vec((0..2_u8, 0..4_u8, proptest::option::of(0..2_u8), any::<bool>(), any::<bool>(), 0..8_usize), 0..80),
            max in (0..4_u32, 0..6_u32, 0..3_u32),
        ) {
            let quotas = Arc::new(Quotas::default());
            let limits = limits(max.0, max.1, max.2);
            let mut list: Vec<Guest> = Vec::new();
            for (app, name, who, publishes, leaves, which) in steps {
                if leaves {
                    if which < list.len() {
                        list.swap_remove(which);
                    }
                    continue;
                }
                let connections = list.iter().filter(|it| it.0 == app).count();
                let distinct = |chosen: &dyn Fn(&Guest) -> bool| {
                    let mut streams: Vec<_> = list.iter().filter(|it| it.3 && chosen(it)).map(|it| (it.0, it.1)).collect();
                    let is_in = streams.contains(&(app, name));
                    streams.sort_unstable();
                    streams.dedup();
                    (!is_in).then_some(streams.len())
                };
                let is_over = |max: u32, there: usize| max > 0 && there >= max as usize;
                let full = is_over(max.1, connections)
                    || publishes && distinct(&|it| it.0 == app).is_some_and(|there| is_over(max.0, there))
                    || publishes && who.is_some() && distinct(&|it| it.2 == who).is_some_and(|there| is_over(max.2, there));
                let seat = quotas.take(&stream(app, name), who.map(identity).as_ref(), publishes, limits);
                prop_assert_eq!(seat.is_err(), full);
                list.extend(seat.ok().map(|seat| (app, name, who, publishes, seat)));
            }
            list.clear();
            prop_assert!(quotas.held().apps.is_empty() && quotas.held().identities.is_empty());
        }
    }
}
