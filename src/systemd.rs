//! What the service manager is told, as `sd_notify(3)` has it: ready, reloading, draining, alive (floor 6).
//!
//! A service of `Type=notify` counts as started only when it has said so, and with `WatchdogSec=` it is killed and started anew when it
//! is silent for so long. Started by hand, nobody has to be told, and all of this does nothing.
//!
//! | turn | what is sent |
//! |---|---|
//! | listeners are bound and all cores run | `READY=1`, `STATUS=` with addresses |
//! | SIGHUP | `RELOADING=1`, `MONOTONIC_USEC=`; then `READY=1`, with a `STATUS=` that says if all of the file is in force |
//! | first SIGTERM or SIGINT | `STOPPING=1`, and `EXTEND_TIMEOUT_USEC=` so that the drain is not cut short by `TimeoutStopSec=` |
//! | second one | `STOPPING=1` |
//! | twice in each `WATCHDOG_USEC` | `WATCHDOG=1`, if no core stands still: what `/healthz` goes by as well |
//!
//! # Bounds
//! A message is a few hundred bytes. A service manager that does not read holds the main thread for a second each; media
//! never waits for it.
//! # Errors
//! What cannot be told is logged, and changes nothing else.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::{error, info, warn};

/// How long a message may wait for a service manager that does not read.
const SEND_MAX: Duration = Duration::from_secs(1);

/// What an end takes beyond the drain: the last writes, lingering closes, threads that are joined.
const END_MAX: Duration = Duration::from_secs(15);

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Systemd {
    line: Option<Line>,
    watchdog: Option<Duration>,
    /// What it shows to people while we serve.
    serving: String,
    /// It has been told that we stop, which nothing takes back.
    is_stopping: bool,
    /// The watchdog is left to run out.
    is_withheld: bool,
}

/// Where it listens. Addressed with each message, since it may make its socket anew.
#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Line {
    /// `address` as `NOTIFY_SOCKET` has it: a path, or `@` and an abstract name. There is no virtual machine's (`vsock:`).
    fn open(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_MAX))?;
        Ok(Self { socket, address })
    }
}

impl Systemd {
    /// The one that started us, by `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_environment() -> Self {
        let Some(address) = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Self::default();
        };
        match Line::open(&address) {
            Ok(line) => Self::new(line, sd_notify::watchdog_enabled()),
            Err(error) => {
                warn!(?address, %error, "NOTIFY_SOCKET is no address: the service manager is told nothing");
                Self::default()
            }
        }
    }

    fn new(line: Line, watchdog: Option<Duration>) -> Self {
        // Zero would mean a watchdog that nobody can satisfy.
        let watchdog = watchdog.filter(|watchdog| !watchdog.is_zero());
        Self { line: Some(line), watchdog, ..Self::default() }
    }

    /// How often [`Self::alive`] is to be called: twice in the time after which silence is death. `None` when nobody counts.
    pub fn heartbeat(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| (watchdog / 2).max(Duration::from_millis(1)))
    }

    /// It serves; `status` is for people.
    pub fn ready(&mut self, status: String) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        self.serving = status;
    }

    /// It reads its configuration again, until it is [`Self::reloaded`].
    pub fn reloading(&self) {
        if self.is_stopping {
            return;
        }
        // By this time a service manager that sent the signal tells the reload that it asked for from an earlier one.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => {
                self.tell(&[NotifyState::Reloading, now, NotifyState::Status("Reloading the configuration")]);
            }
            Err(error) => warn!(%error, "no monotonic clock: the service manager is not told of the reload"),
        }
    }

    /// It serves like this now, with all that the configuration now says or without some of it.
    pub fn reloaded(&mut self, serving: String, is_in_force: bool) {
        if self.is_stopping {
            return;
        }
        self.serving = serving;
        let but =
            if is_in_force { "" } else { "; not all of the new configuration is in force, see the log" };
        let status = format!("{}{but}", self.serving);
        self.tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// Nobody new is let in, and it ends within `deadline`.
    pub fn draining(&mut self, deadline: Duration) {
        self.is_stopping = true;
        let allowed = deadline.saturating_add(END_MAX);
        let extension = format!("EXTEND_TIMEOUT_USEC={}", allowed.as_micros());
        let status = format!("Draining for at most {} s", deadline.as_secs());
        self.tell(&[NotifyState::Stopping, NotifyState::Custom(&extension), NotifyState::Status(&status)]);
    }

    /// It ends now.
    pub fn stopping(&mut self) {
        self.is_stopping = true;
        self.tell(&[NotifyState::Stopping, NotifyState::Status("Stopping at once")]);
    }

    /// A sign of life, unless cores stand still: then there is none until they go on, or until we are killed for it.
    pub fn alive(&mut self, stalled_cores: &[u16]) {
        let is_withheld = !stalled_cores.is_empty();
        match (self.is_withheld, is_withheld) {
            (false, true) => error!(?stalled_cores, "cores stand still: the watchdog is left to run out"),
            (true, false) => info!("all cores go on: the watchdog is reset again"),
            _ => {}
        }
        self.is_withheld = is_withheld;
        if !is_withheld {
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(Line { socket, address }) = &self.line else { return };
        let mut message = String::new();
        for state in states {
            // Writing to a string cannot fail.
            let _ = writeln!(message, "{state}");
        }
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            warn!(%error, message = message.trim_end(), "the service manager could not be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service manager at an abstract address, and what tells it.
    fn pair(name: &str, watchdog: Option<Duration>) -> (UnixDatagram, Systemd) {
        let name = format!("inrush-systemd-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        let line = Line::open(OsStr::new(&format!("@{name}"))).unwrap();
        (manager, Systemd::new(line, watchdog))
    }

    /// What has arrived, if anything.
    fn heard(manager: &UnixDatagram) -> Option<String> {
        let mut message = [0; 1024];
        let length = manager.recv(&mut message).ok()?;
        Some(String::from_utf8(message[..length].to_vec()).unwrap())
    }

    /// A core that stands still silences the watchdog, and one that goes on resets it again.
    #[test]
    fn a_stalled_core_stops_the_watchdog() {
        let (manager, mut systemd) = pair("watchdog", Some(Duration::from_secs(30)));
        systemd.alive(&[]);
        assert_eq!(heard(&manager).as_deref(), Some("WATCHDOG=1\n"));
        systemd.alive(&[1]);
        systemd.alive(&[0, 1]);
        assert_eq!(heard(&manager), None);
        systemd.alive(&[]);
        assert_eq!(heard(&manager).as_deref(), Some("WATCHDOG=1\n"));
    }

    /// Signs of life are due at half of what the service manager allows, and never when it does not count.
    #[test]
    fn the_heart_beats_twice_in_the_time_allowed() {
        let beat = |watchdog| pair("heartbeat", watchdog).1.heartbeat();
        assert_eq!(beat(Some(Duration::from_secs(30))), Some(Duration::from_secs(15)));
        assert_eq!(beat(Some(Duration::from_micros(1))), Some(Duration::from_millis(1)));
        assert_eq!(beat(Some(Duration::ZERO)), None);
        assert_eq!(beat(None), None);
    }

    /// A drain asks for its own time and that of the end after it, also where it may take a day.
    #[test]
    fn a_drain_asks_for_the_time_it_may_take() {
        let (manager, mut systemd) = pair("drain", None);
        systemd.draining(Duration::from_secs(86_400));
        assert_eq!(
            heard(&manager).as_deref(),
            Some("STOPPING=1\nEXTEND_TIMEOUT_USEC=86415000000\nSTATUS=Draining for at most 86400 s\n")
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for none in ["vsock:2:1234", "run/notify", ""] {
            assert_eq!(
                Line::open(OsStr::new(none)).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{none}"
            );
        }
    }

    /// A service manager that has gone is no reason to end; nor is none at all.
    #[test]
    fn nobody_has_to_listen() {
        let (manager, mut systemd) = pair("gone", None);
        drop(manager);
        systemd.ready("Serving".into());
        Systemd::default().ready("Serving".into());
        assert_eq!(Systemd::default().heartbeat(), None);
    }
}
