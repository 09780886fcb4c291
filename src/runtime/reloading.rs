//! Other settings and listeners while the engine runs.
//!
//! [`Handle::prepare`] does all that can fail: it binds new listeners and reads certificates, and changes nothing. [`Handle::reload`] cannot fail:
//! each core is given the settings and its part of the listeners through its inbox, so that it goes by one set of them within a step, without a
//! lock. [`Told::wait`] says when all of them do.
//!
//! # From when on
//! | settings | hold for |
//! |---|---|
//! | of an app | publishers from then on; `queue_…` and `stall_ms_max` for players; limits and quotas for whoever is let in, whatever the stream |
//! | its takeover and continuity | a stream at its next publisher, also one that is refused |
//! | its GOP cache | streams that begin, but for one that players wait for on another core than its home: those have what was set when the first of them came |
//! | of a session (`[rtmp]`, `[deadlines]` but for `write_seconds`, limits of one session), `[proxy]` | connections from then on |
//! | limits of a core or a prefix, `write_seconds`, the latency budget, shares of TLS handshakes | all, at once |
//! | listeners | at once; connections of one that is gone live on |
//! | their `congestion` and `dscp` | connections from then on |
//!
//! Not to be changed are the number of cores, placement and recordings: whoever calls leaves them as they were.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::accepting;
use super::core::{Core, CoreRef};
use super::engine::{Listeners, StartError, bind, certificates, endpoint, listen};
use super::handle::{Handle, core_id};
use super::inbox::ToCore;
use super::listener::{Listener, ListenerPlace, Serves, overlap};
use super::settings::RuntimeSettings;
use super::shared::InForce;
use super::tls::certificates::{Certificates, Endpoint};
use super::traffic::Traffic;

/// How long an address that is in use is tried: a listener of ours that has just been given up may still be there.
const BIND_PATIENCE: Duration = Duration::from_millis(500);

/// A listener, and where it really listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listening {
    pub(crate) place: ListenerPlace,
    pub(crate) bound: SocketAddr,
}

/// The listeners that settings ask for, in their order.
pub(super) fn places(settings: &RuntimeSettings) -> Vec<ListenerPlace> {
    let rtmp = settings.listen.iter().map(|address| (*address, Serves::Rtmp));
    let rtmps = settings.tls.listen.iter().map(|address| (*address, Serves::Rtmps));
    rtmp.chain(rtmps).map(|(address, serves)| ListenerPlace { address, serves }).collect()
}

/// What the connections of such a listener are to have.
pub(super) fn traffic_of(settings: &RuntimeSettings, serves: Serves) -> &Traffic {
    match serves {
        Serves::Rtmps => &settings.tls.traffic,
        _ => &settings.traffic,
    }
}

/// Settings that can be put in force without fail. Dropping it gives up the listeners that were bound for it.
pub struct Prepared {
    settings: RuntimeSettings,
    listening: Vec<Listening>,
    listeners: Listeners,
    tls: Option<Tls>,
}

/// What becomes of RTMPS.
enum Tls {
    Begins(Endpoint),
    Replaced(Certificates),
}

/// One core's part of a reload.
pub(crate) struct Reload {
    in_force: InForce,
    wanted: Arc<[ListenerPlace]>,
    new: Vec<(OwnedFd, ListenerPlace)>,
    done: oneshot::Sender<()>,
}

/// Cores that have been told of other settings, and go by them soon.
#[must_use = "they do not yet go by them"]
pub struct Told {
    cores: Vec<oneshot::Receiver<()>>,
    /// Listeners that are gone then.
    gone: Vec<SocketAddr>,
}

impl Told {
    /// Waits so long until all cores go by them; gives those that do not yet. One that has ended is none of them.
    pub async fn wait(self, timeout: Duration) -> Vec<u16> {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut missing = Vec::new();
        for (core, done) in self.cores.into_iter().enumerate() {
            if tokio::time::timeout_at(deadline, done).await.is_err() {
                missing.push(core_id(core).0);
            }
        }
        for address in self.gone.iter().filter(|_| missing.is_empty()) {
            info!(%address, "listens no more; connections from there go on");
        }
        missing
    }
}

impl Handle {
    /// Makes what these settings need beside what is there.
    ///
    /// # Errors
    /// When a new address cannot be bound, or certificates cannot be used. Then nothing has changed.
    pub fn prepare(&self, settings: RuntimeSettings) -> Result<Prepared, StartError> {
        let tls = self.prepare_tls(&settings)?;
        let before = self.shared.listening();
        let mut listeners: Listeners = (0..self.cores()).map(|_| Vec::new()).collect();
        let mut listening = Vec::new();
        for place in places(&settings) {
            let traffic = traffic_of(&settings, place.serves);
            let there = before.iter().find(|there| there.place.can_become(place));
            let bound = match there {
                Some(there) => {
                    traffic
                        .check(there.bound)
                        .map_err(|source| StartError::Listen { address: there.bound, source })?;
                    there.bound
                }
                None => {
                    // One address may stand for another, and it is the new one that is bound before the old one goes. Else nobody may have it: another
                    // server would share it and never know.
                    let joins = before.iter().any(|there| overlap(there.bound, place.address));
                    bind(place, traffic, &mut listeners, BIND_PATIENCE, joins)?
                }
            };
            listening.push(Listening { place, bound });
        }
        // When all of them can be had, since from then on they are seen from outside.
        listen(&listeners)?;
        Ok(Prepared { settings, listening, listeners, tls })
    }

    fn prepare_tls(&self, settings: &RuntimeSettings) -> Result<Option<Tls>, StartError> {
        let tls = &settings.tls;
        if self.shared.tls.get().is_none() {
            return Ok(endpoint(tls)?.map(Tls::Begins));
        }
        // One that we have made ourselves stays as long as no other is named; one from a file that is named no more does not.
        let is_of_files = !self.certificate_ends().is_empty();
        let is_read = tls.is_wanted() && (!tls.certificates.is_empty() || is_of_files);
        Ok(if is_read { Some(Tls::Replaced(certificates(tls)?)) } else { None })
    }

    /// Puts these settings in force; streams that are live go on. Each core goes by them when it comes to it.
    pub fn reload(&self, prepared: Prepared) -> Told {
        let Prepared { settings, listening, listeners, tls } = prepared;
        match tls {
            // Nobody else makes one: reloads come one after the other.
            Some(Tls::Begins(endpoint)) => drop(self.shared.tls.set(endpoint)),
            Some(Tls::Replaced(certificates)) => self.replace_certificates(certificates),
            None => {}
        }
        let before = self.shared.listening();
        for new in listening.iter().filter(|new| before.iter().all(|old| old.bound != new.bound)) {
            info!(address = %new.bound, "listens");
        }
        let is_gone = |old: &&Listening| listening.iter().all(|new| old.bound != new.bound);
        let gone = before.iter().filter(is_gone).map(|old| old.bound).collect();
        let wanted: Arc<[ListenerPlace]> = listening.iter().map(|one| one.place).collect();
        self.shared.set_listening(listening);
        let in_force = self.shared.replace_settings(settings);
        let mut cores = Vec::new();
        for (core, new) in listeners.into_iter().enumerate() {
            let (done, is_done) = oneshot::channel();
            let reload = Reload { in_force: in_force.clone(), wanted: Arc::clone(&wanted), new, done };
            self.shared.inboxes.push(core_id(core), ToCore::Reload(Box::new(reload)));
            cores.push(is_done);
        }
        Told { cores, gone }
    }

    /// The addresses that RTMP is really served on, in the order of the settings.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound(Serves::Rtmp)
    }

    /// Those of RTMPS, likewise.
    pub fn tls_addresses(&self) -> Vec<SocketAddr> {
        self.bound(Serves::Rtmps)
    }

    fn bound(&self, serves: Serves) -> Vec<SocketAddr> {
        let all = self.shared.listening();
        all.iter().filter(|one| one.place.serves == serves).map(|one| one.bound).collect()
    }
}

/// A core's part.
pub(super) fn reload(core: &CoreRef, reload: Reload) {
    let Reload { in_force, wanted, new, done } = reload;
    let takes_connections = Core::caught(core, None, |core| core.go_by(in_force, &wanted));
    if takes_connections == Some(true) {
        new.into_iter().map(Listener::new).for_each(|listener| accepting::start(core, listener));
    }
    // Whoever asked may have waited long enough.
    let _ = done.send(());
}

impl Core {
    /// Goes by these settings and listeners; says whether it takes connections still.
    fn go_by(&mut self, in_force: InForce, wanted: &[ListenerPlace]) -> bool {
        let InForce { settings, session } = in_force;
        self.polling.set_budget(settings.latency_budget);
        self.handshakes.set_bounds(settings.tls.handshakes_max, settings.tls.handshake_percent_max);
        self.settings = settings;
        self.session_settings = session;
        self.listeners.retain(|listener| listener.become_one_of(wanted));
        for listener in &self.listeners {
            // It was tried on another socket before anything changed.
            if let Err(error) = traffic_of(&self.settings, listener.serves()).replace(&listener.socket) {
                warn!(core = self.id.0, %error, "a listener keeps the congestion control or DSCP that it had");
            }
        }
        !self.stopping && !self.shared.is_draining()
    }
}
