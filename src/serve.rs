//! Running the engine: from a checked configuration to a clean end (floor 6).
//!
//! preflight -> control HTTP -> edge -> cores -> greeting -> signals -> end. The main thread waits for signals and for the cores, tells the
//! service manager of each turn ([`crate::systemd`]), and does nothing else.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{info, warn};

use crate::config::{Config, Loaded, Sources};
use crate::control::{self, Reloaded};
use crate::edge;
use crate::edge::notices::Recipient;
use crate::greeting::{Greeting, host_address};
use crate::log::Log;
use crate::reload::{Reached, Reloader, rules};
use crate::runtime::preflight::{self, Finding, Verdict};
use crate::runtime::tls::certificates::Watch;
use crate::runtime::{self, Engine, Handle, NameHasher, Report};
use crate::systemd::Systemd;

/// How often certificate files are looked at: four `stat` calls a certificate.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(2);

/// Why the engine did not run to a clean end.
#[derive(Debug, Error)]
pub enum Failure {
    /// This host is not ready: a check failed, or an address or a ring cannot be had. Says what and the command that fixes it.
    #[error("{0}")]
    Host(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Runs until a signal ends it. `sources` are what `loaded` was read from, for SIGHUP.
pub fn run(loaded: Loaded, sources: &Sources) -> Result<(), Failure> {
    let Loaded { config, warnings, .. } = loaded;
    let log = Log::start(&config.log).map_err(|error| Failure::Other(format!("cannot log: {error}")))?;
    for warning in warnings {
        warn!("{warning}");
    }
    // From here on a signal ends it in order, also one that comes while it starts.
    let mut waiting =
        Waiting::new().map_err(|error| Failure::Other(format!("cannot wait for signals: {error}")))?;
    check_host()?;
    let control = control::start(&config.control).map_err(|error| Failure::Host(error.to_string()))?;
    // Before they are read: what changes meanwhile is found by the first look.
    let watch = Watch::new(config.runtime.tls.certificates.clone());
    let rules = rules(&config).map_err(Failure::Other)?;
    let recipient = Recipient::new(&config.notices)
        .map_err(|(key, problem)| Failure::Other(format!("notify.{key}: {problem}")))?;
    let names = NameHasher::random();
    let edge = edge::start(edge::Settings { rules, recipient, relay: config.relay.clone() }, names.clone())
        .map_err(|error| Failure::Host(format!("cannot start the edge's thread: {error}")))?;
    edge.exhibitors().into_iter().for_each(|exhibitor| control.exhibit(exhibitor));
    let engine = runtime::start(config.runtime.clone(), names, edge.outside())
        .map_err(|error| Failure::Host(error.to_string()))?;
    let handle = engine.handle();
    control.attach(handle.clone());
    control.attach_forwards(edge.forwards());
    control.attach_pulls(edge.pulls());
    control.exhibit(Arc::new(control::PullFamilies(edge.pulls())));
    edge.attach(handle.clone());
    greet(&Greeting {
        rtmp: &handle.addresses(),
        rtmps: &handle.tls_addresses(),
        control: control.address(),
        token: config.control.token.as_ref(),
        cores: handle.cores(),
        host: host_address(),
        auth: &config.auth,
    });
    waiting.systemd.ready(serving(&handle));

    let (asked, reloads) = mpsc::channel(control::reload::WAITING_MAX);
    control.attach_reloads(asked);
    let reached = Reached { log: &log, engine: handle, edge: &edge, control: &control };
    let report = waiting.watch(engine, Reloader::new(config, sources, watch, reached), reloads)?;
    info!(panics = report.panics, "stopped");
    drop(edge);
    // The control HTTP answers to the last, and the log outlives it.
    drop(control);
    drop(log);
    judge(&report)
}

/// All that is to know about this host before a start: the host itself, and whether the addresses can be had.
pub fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = preflight::check();
    findings.extend(preflight::advise(config.runtime.cores));
    findings.extend(config.runtime.listen.iter().map(|address| can_listen("rtmp_address", *address)));
    findings.extend(config.runtime.tls.listen.iter().map(|address| can_listen("rtmps_address", *address)));
    findings.push(can_listen("control_address", config.control.listen));
    findings
}

fn can_listen(name: &'static str, address: SocketAddr) -> Finding {
    let error = match TcpListener::bind(address) {
        Ok(_) => {
            let detail = format!("{address} is free");
            return Finding { name, verdict: Verdict::Ok, detail, fix: String::new() };
        }
        Err(error) => error,
    };
    let port = address.port();
    let fix = match error.kind() {
        io::ErrorKind::AddrInUse => format!("ss -ltnp 'sport = :{port}' names who has it"),
        io::ErrorKind::PermissionDenied => format!("sysctl -w net.ipv4.ip_unprivileged_port_start={port}"),
        _ => "ip address lists this host's addresses".into(),
    };
    Finding { name, verdict: Verdict::Failed, detail: format!("{address} cannot be had: {error}"), fix }
}

/// What preflight finds: warnings are logged, a failure ends the start.
fn check_host() -> Result<(), Failure> {
    let mut failures = Vec::new();
    for Finding { name, verdict, detail, fix } in preflight::check() {
        match verdict {
            Verdict::Ok | Verdict::Unknown => {}
            Verdict::Warning => warn!(check = name, fix, "{detail}"),
            Verdict::Failed => failures.push(format!("host not ready ({name}): {detail}; {fix}")),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Host(failures.join("\n"))) }
}

/// Nobody may be reading: a closed pipe is no reason to end.
fn greet(greeting: &Greeting<'_>) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(greeting.text().as_bytes());
    let _ = stdout.flush();
}

/// What `systemctl status` shows while all is well.
fn serving(engine: &Handle) -> String {
    let list =
        |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut text = format!("Serving on {} cores: rtmp {}", engine.cores(), list(&engine.addresses()));
    let rtmps = engine.tls_addresses();
    if !rtmps.is_empty() {
        text += &format!(", rtmps {}", list(&rtmps));
    }
    text
}

/// The configuration is read again; the service manager is told so.
async fn reload(reloader: &mut Reloader<'_>, systemd: &mut Systemd) -> Result<Reloaded, String> {
    systemd.reloading();
    let reloaded = reloader.reload().await;
    let is_in_force = reloaded.as_ref().is_ok_and(|reloaded| reloaded.needs_restart.is_empty());
    systemd.reloaded(serving(reloader.engine()), is_in_force);
    reloaded
}

/// Where the main thread waits.
struct Waiting {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
    systemd: Systemd,
}

impl Waiting {
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _inside = runtime.enter();
            Signals::new()?
        };
        Ok(Self { runtime, signals, systemd: Systemd::from_environment() })
    }

    /// Waits for signals and for who asks for a reload until the cores have ended.
    fn watch(
        &mut self,
        engine: Engine,
        mut reloader: Reloader<'_>,
        mut reloads: mpsc::Receiver<control::reload::Asked>,
    ) -> Result<Report, Failure> {
        let Self { runtime, signals, systemd } = self;
        runtime.block_on(async {
            let handle = engine.handle();
            let mut ended = join(engine)
                .map_err(|error| Failure::Other(format!("cannot wait for the engine: {error}")))?;
            let mut stop = Stop::default();
            let mut look = tokio::time::interval(CERTIFICATES_EVERY);
            let mut heartbeat = Heartbeat::new(systemd.heartbeat());
            loop {
                tokio::select! {
                    report = &mut ended => {
                        let report = report.map_err(|_| Failure::Other("the engine's end was lost".into()))?;
                        return match stop {
                            Stop::NotAsked if !handle.is_draining() => Err(Failure::Other(format!("the engine ended unasked: {report:?}"))),
                            Stop::NotAsked | Stop::Draining | Stop::Now => Ok(report),
                        };
                    }
                    asked = signals.next() => match asked {
                        Asked::End => {
                            stop = stop.next(&handle);
                            match stop {
                                Stop::NotAsked => {}
                                Stop::Draining => systemd.draining(reloader.config().runtime.drain_deadline),
                                Stop::Now => systemd.stopping(),
                            }
                        }
                        Asked::Reload => {
                            let _ = reload(&mut reloader, systemd).await;
                        }
                    },
                    Some(asked) = reloads.recv() => {
                        // Whoever asked may have gone.
                        let _ = asked.send(reload(&mut reloader, systemd).await);
                    }
                    // Through the API; after a signal it has been told.
                    () = handle.drain_began() => if stop == Stop::NotAsked {
                        let deadline = handle.drain_state().times.map(|(deadline, _)| deadline);
                        systemd.draining(deadline.unwrap_or(reloader.config().runtime.drain_deadline));
                    },
                    () = heartbeat.is_due() => systemd.alive(&control::stalled_cores(&handle)),
                    _ = look.tick() => reloader.look_at_certificates(),
                }
            }
        })
    }
}

/// When the service manager wants a sign of life; never, if it wants none.
struct Heartbeat(Option<Interval>);

impl Heartbeat {
    fn new(every: Option<Duration>) -> Self {
        Self(every.map(|every| {
            let mut interval = tokio::time::interval(every);
            // One that is late says as much as several.
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        }))
    }

    async fn is_due(&mut self) {
        match &mut self.0 {
            Some(interval) => _ = interval.tick().await,
            None => std::future::pending().await,
        }
    }
}

/// Waits for the cores on a thread of its own, as that blocks.
fn join(engine: Engine) -> io::Result<oneshot::Receiver<Report>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("join".into()).spawn(move || {
        // Nobody waits for it any more only when the wait itself failed, and that has been said.
        let _ = sender.send(engine.join());
    })?;
    Ok(receiver)
}

/// How far the end has been asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stop {
    #[default]
    NotAsked,
    Draining,
    Now,
}

impl Stop {
    /// The first signal drains, or leaves a drain as it is that the API was asked for; the second stops, further ones change nothing.
    fn next(self, handle: &Handle) -> Self {
        match self {
            Self::NotAsked => {
                // Who has asked for a drain through the API may send the signal as well, as Kubernetes does after `preStop`.
                match handle.drain() {
                    true => info!(
                        "draining: publishers may finish, nobody new is let in; a second signal stops at once"
                    ),
                    false => info!("drains already; a second signal stops at once"),
                }
                Self::Draining
            }
            Self::Draining => {
                info!("stopping at once");
                handle.stop_now();
                Self::Now
            }
            Self::Now => Self::Now,
        }
    }
}

/// What a signal asks for.
enum Asked {
    End,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

/// A clean end leaves nothing behind.
fn judge(report: &Report) -> Result<(), Failure> {
    let Report { operations_in_flight, connections, hub_entries, directory_entries, panics: _, cores_lost } =
        *report;
    if cores_lost > 0 {
        return Err(Failure::Other(format!("{cores_lost} cores ended by a panic")));
    }
    let left = operations_in_flight + (connections + hub_entries + directory_entries) as u64;
    if left > 0 {
        return Err(Failure::Other(format!("not everything was given back at the end: {report:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_clean_when_nothing_is_left() {
        assert!(judge(&Report::default()).is_ok());
        // Caught and counted while it ran; the end is clean all the same.
        assert!(judge(&Report { panics: 1, ..Report::default() }).is_ok());
        for unclean in [
            Report { operations_in_flight: 1, ..Report::default() },
            Report { connections: 1, ..Report::default() },
            Report { hub_entries: 1, ..Report::default() },
            Report { directory_entries: 1, ..Report::default() },
            Report { cores_lost: 1, ..Report::default() },
        ] {
            assert!(matches!(judge(&unclean), Err(Failure::Other(_))), "{unclean:?}");
        }
    }

    /// The page tells of every check by the name that preflight prints, in its order, and of none that there is not.
    #[test]
    fn the_host_page_and_preflight_name_the_same_checks() {
        let mut config = Config::default();
        config.runtime.tls.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let checked: Vec<&str> = findings(&config).iter().map(|finding| finding.name).collect();
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/HOST.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows = page.lines().skip_while(|line| !line.starts_with("| check |")).skip(2);
        let told: Vec<&str> = rows
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.split('|').nth(1).unwrap_or_default().trim().trim_matches('`'))
            .collect();
        assert_eq!(told, checked);
    }

    #[test]
    fn an_address_in_use_is_found_with_who_to_ask() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let finding = can_listen("rtmp_address", address);
        assert_eq!(finding.verdict, Verdict::Failed);
        assert_eq!(finding.fix, format!("ss -ltnp 'sport = :{}' names who has it", address.port()));
        drop(taken);
        assert_eq!(can_listen("rtmp_address", address).verdict, Verdict::Ok);
    }
}
