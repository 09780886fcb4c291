//! Reading the configuration again while streams are live (floor 6): on SIGHUP, and when the control HTTP asks for it.
//!
//! # Invariant
//! Whole or not at all. All that can fail is made first: the file is read and checked, the files that it names are read, new listeners are bound. Only
//! then is anything changed, and no change can fail. What cannot change while the process runs stays as it is and is named
//! ([`Config::reloaded`]).
//! # Errors
//! One line, as at the start; then nothing has changed.

use std::time::Duration;

use tracing::{error, info, warn};

use crate::config::{Config, Loaded, Sources};
use crate::control::{Reloaded, Server};
use crate::edge::Edge;
use crate::edge::auth::Problem;
use crate::edge::auth::rules::Rules;
use crate::edge::notices::Recipient;
use crate::edge::relay::{self, Ways};
use crate::log::Log;
use crate::runtime::Handle;
use crate::runtime::tls::certificates::Watch;

/// How long a reload waits until all go by what it has changed. A core comes to it within a step, so that one that does not hangs.
const IN_FORCE_MAX: Duration = Duration::from_secs(1);

/// What a reload reaches.
pub(crate) struct Reached<'a> {
    pub(crate) log: &'a Log,
    pub(crate) engine: Handle,
    pub(crate) edge: &'a Edge,
    pub(crate) control: &'a Server<Handle>,
}

/// Who reads the configuration again.
pub(crate) struct Reloader<'a> {
    /// What is in force.
    config: Config,
    sources: &'a Sources,
    watch: Watch,
    reached: Reached<'a>,
}

impl<'a> Reloader<'a> {
    /// `config` is in force, and was read from `sources`; `watch` looks at its certificates.
    pub(crate) fn new(config: Config, sources: &'a Sources, watch: Watch, reached: Reached<'a>) -> Self {
        Self { config, sources, watch, reached }
    }

    /// What is in force.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The engine that it reloads.
    pub(crate) fn engine(&self) -> &Handle {
        &self.reached.engine
    }

    /// Reads all again, and says in the log what came of it once it is in force.
    pub(crate) async fn reload(&mut self) -> Result<Reloaded, String> {
        let reloaded = self.try_reload().await;
        match &reloaded {
            Err(line) => error!("configuration not reloaded, the old one stays: {line}"),
            Ok(Reloaded { changed, needs_restart }) => {
                info!(changed = changed.join(", "), "configuration reloaded");
                if !needs_restart.is_empty() {
                    warn!("these take effect at the next start: {}", needs_restart.join(", "));
                }
            }
        }
        reloaded
    }

    async fn try_reload(&mut self) -> Result<Reloaded, String> {
        let wanted = Loaded::load(self.sources).map_err(|error| error.to_string())?.config;
        let next = self.config.reloaded(&wanted);
        let changed = self.config.differences(&next);
        let needs_restart = next.differences(&wanted);

        // What can fail. Files are read again whether their names are others or not: who asks for a reload has replaced them, as a rule.
        let rules = rules(&next)?;
        // Before they are read: what changes meanwhile is found by the first look.
        let watch = Watch::new(next.runtime.tls.certificates.clone());
        let recipient =
            Recipient::new(&next.notices).map_err(|(key, problem)| format!("notify.{key}: {problem}"))?;
        let ways = Ways::read(&next.relay).map_err(|error| error.to_string())?;
        let door = self.reached.control.door(&next.control).map_err(|error| error.to_string())?;
        // Last, since it is seen from outside: what has been bound is given up again if something fails.
        let engine = &self.reached.engine;
        if engine.is_draining() {
            return Err("the engine drains, and nothing is reloaded any more".into());
        }
        let prepared = engine.prepare(next.runtime.clone()).map_err(|error| error.to_string())?;

        // What cannot.
        let Reached { log, engine, edge, control } = &self.reached;
        let told = engine.reload(prepared);
        let mut relay_is_done = None;
        self.watch = watch;
        if self.config.auth != next.auth || !next.auth.tables.is_empty() {
            edge.auth().replace(rules);
            info!("who may publish and play is read again");
        }
        if self.config.notices != next.notices || !next.notices.url.is_empty() {
            edge.tell(recipient);
        }
        if self.config.relay != next.relay || next.relay != relay::Settings::default() {
            relay_is_done = Some(edge.relay_by(ways));
        }
        if control.change_door(door) {
            info!("the control HTTP asks for another token, or of others");
        }
        control.change_top_streams(next.control.top_streams);
        if self.config.log.filter != next.log.filter {
            log.set_filter(&next.log.filter);
        }
        self.config = next;
        let missing = told.wait(IN_FORCE_MAX).await;
        if !missing.is_empty() {
            warn!(cores = ?missing, "these cores hang, and do not go by the new configuration yet");
        }
        if let Some(is_done) = relay_is_done
            && tokio::time::timeout(IN_FORCE_MAX, is_done).await.is_err()
        {
            warn!("targets and upstreams are not changed yet: the edge's thread is late");
        }
        Ok(Reloaded { changed, needs_restart })
    }

    /// Puts certificates in force whose files have changed. Such that cannot be used change nothing, and are told once, since the files are read
    /// again only when they have changed again.
    pub(crate) fn look_at_certificates(&mut self) {
        match self.watch.look() {
            None => {}
            Some(Ok(certificates)) => {
                self.reached.engine.replace_certificates(certificates);
                info!("certificates read again: new connections get them");
            }
            Some(Err(error)) => error!("certificates not replaced, the old ones stay: {error}"),
        }
    }
}

/// Who may publish and play. The configuration has been checked, but files may have changed since.
pub(crate) fn rules(config: &Config) -> Result<Rules, String> {
    Rules::new(&config.auth).map_err(|Problem { key, problem, .. }| format!("{key}: {problem}"))
}
