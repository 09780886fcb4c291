//! The servers that are compared, each in a process of its own, on a port of its own.
//!
//! nginx-rtmp has the module's defaults ([`nginx`]). `inrush` has its defaults but for what the case says. The sink is
//! `benches/sink.rs`.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::child::{self, Child};
use super::{link, nginx};

/// How long a server may take to accept connections, or to say where it does.
pub(super) const START_UP: Duration = Duration::from_secs(10);
/// How often a wait for it looks whether it is over.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// What is started.
pub struct Programs {
    /// The engine.
    pub inrush: PathBuf,
    /// The bench `sink`.
    pub sink: PathBuf,
    /// nginx with the module rtmp.
    pub nginx: PathBuf,
}

impl Programs {
    /// Checks that all of them are there, before anything is measured.
    pub(super) fn find(inrush: &Path, sink: &Path, nginx: &Path) -> Result<Self, String> {
        for path in [inrush, sink, nginx, Path::new(nginx::MODULE)] {
            fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(Self { inrush: inrush.into(), sink: sink.into(), nginx: nginx.into() })
    }
}

/// A server and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// nginx-rtmp.
    Nginx,
    /// The engine.
    Inrush(Inrush),
    /// The sink. Wakes for each receive when it does not poll.
    Sink {
        /// From one visit of each publisher to the next.
        poll_ms: Option<u32>,
        /// What one receive takes at most.
        buffer_bytes: u32,
        /// `--threads`, each on a core of its own.
        cores: u16,
    },
}

/// The settings of `inrush` that cases differ in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inrush {
    /// `ingest.latency_budget_ms`.
    pub budget_ms: u32,
    /// `gop_cache` of every app.
    pub gop_cache: bool,
    /// `--cores`.
    pub cores: u16,
    /// `--placement`.
    pub placement: &'static str,
    /// More keys of every app, and tables after them.
    pub more: &'static str,
}

impl Default for Inrush {
    fn default() -> Self {
        Self { budget_ms: 10, gop_cache: true, cores: 1, placement: "home", more: "" }
    }
}

impl Inrush {
    fn configuration(&self, forward_to: Option<SocketAddr>) -> String {
        let Self { budget_ms, gop_cache, more, .. } = self;
        let target = forward_to.map_or(String::new(), |address| {
            format!("[[target]]\nurl = \"rtmp://{address}/{{app}}/{{name}}\"\n")
        });
        format!(
            "[ingest]\nlatency_budget_ms = {budget_ms}\n\
             [limits]\ntrusted = [\"127.0.0.0/8\", \"{}\"]\n\
             [[app]]\nname = \"*\"\ngop_cache = {gop_cache}\n{more}{target}",
            link::NETWORK
        )
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nginx => f.write_str("nginx-rtmp"),
            Self::Inrush(Inrush { budget_ms, gop_cache, cores, .. }) => {
                write!(f, "budget {budget_ms} ms, {}", if *gop_cache { "cache" } else { "no cache" })?;
                if *cores > 1 { write!(f, ", {cores} cores") } else { Ok(()) }
            }
            Self::Sink { poll_ms, cores, .. } => {
                f.write_str("sink")?;
                poll_ms.map_or(Ok(()), |ms| write!(f, " polled every {ms} ms"))?;
                if *cores > 1 { write!(f, ", {cores} cores") } else { Ok(()) }
            }
        }
    }
}

impl Server {
    /// How many cores it is given.
    pub(super) fn cores(&self) -> usize {
        usize::from(match self {
            Self::Nginx => 1,
            Self::Inrush(Inrush { cores, .. }) | Self::Sink { cores, .. } => *cores,
        })
    }

    /// Starts it and waits until it accepts connections. Its files go to `folder`. With `forward_to` it forwards every stream there, under
    /// its own name; the sink forwards nothing.
    pub fn start(
        &self,
        programs: &Programs,
        host: &str,
        cpus: &[usize],
        folder: &Path,
        forward_to: Option<SocketAddr>,
    ) -> Result<Running, String> {
        match self {
            Self::Nginx => {
                let push = forward_to.map_or(String::new(), |address| format!("push rtmp://{address}/live;"));
                nginx::start(&programs.nginx, host, cpus, folder, &push)
            }
            Self::Inrush(settings) => {
                let file = folder.join("inrush.toml");
                fs::write(&file, settings.configuration(forward_to)).map_err(|error| told(&file, &error))?;
                let mut command = Command::new(&programs.inrush);
                command.arg("--config").arg(&file);
                command.args(["--rtmp", &format!("{host}:0"), "--http", "127.0.0.1:0", "--log", "error"]);
                // As flags, which win over what the user's environment says.
                command.args(["--cores", &settings.cores.to_string(), "--placement", settings.placement]);
                Running::that_tells(&mut command, cpus, |line, running| {
                    if let Some(address) = line.strip_prefix("listening rtmp ") {
                        running.rtmp = address.trim().parse().ok();
                    }
                    if let Some(address) = line.strip_prefix("listening rtmps ") {
                        running.rtmps = address.trim().parse().ok();
                    }
                    if let Some(address) = line.strip_prefix("listening http ") {
                        running.http = address.trim().parse().ok();
                    }
                    running.rtmp.is_some() && running.http.is_some()
                })
            }
            Self::Sink { poll_ms, buffer_bytes, cores } => {
                let mut command = Command::new(&programs.sink);
                command.args(["--listen", &format!("{host}:0"), "--buffer-bytes", &buffer_bytes.to_string()]);
                command.args(["--threads", &cores.to_string()]);
                if let Some(ms) = poll_ms {
                    command.args(["--poll-ms", &ms.to_string()]);
                }
                Running::that_tells(&mut command, cpus, |line, running| {
                    let address = line.strip_prefix("sink: rtmp://").and_then(|rest| rest.split(',').next());
                    running.rtmp = address.and_then(|address| address.parse().ok());
                    running.rtmp.is_some()
                })
            }
        }
    }
}

/// A server that runs; dropping it ends it.
pub struct Running {
    process: Child,
    rtmp: Option<SocketAddr>,
    /// Where publishers and players go over TLS, if they can.
    pub rtmps: Option<SocketAddr>,
    /// Where `/metrics` is, if it has any.
    pub http: Option<SocketAddr>,
}

impl Running {
    pub(super) fn new(process: Child, rtmp: Option<SocketAddr>) -> Self {
        Self { process, rtmp, rtmps: None, http: None }
    }

    pub(super) fn process(&mut self) -> &mut Child {
        &mut self.process
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where publishers and players go.
    pub fn rtmp(&self) -> Result<SocketAddr, String> {
        self.rtmp.ok_or_else(|| "the server does not say where it listens".into())
    }

    /// Starts a server that prints its address; `read` takes its lines until it has all.
    fn that_tells(
        command: &mut Command,
        cpus: &[usize],
        read: impl Fn(&str, &mut Self) -> bool,
    ) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut process = Child::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()), cpus)
            .map_err(|error| format!("{name}: {error}"))?;
        let output = process.inner().stdout.take().map(BufReader::new);
        let (sender, lines) = channel();
        // Reads on until the server ends, so that what it says later does not break it.
        thread::spawn(move || {
            for line in output.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
                // Whoever waited for lines may have had enough.
                let _ = sender.send(line);
            }
        });
        let mut running = Self::new(process, None);
        let deadline = Instant::now() + START_UP;
        while Instant::now() < deadline {
            match lines.recv_timeout(LOOK) {
                Ok(line) if read(line.trim_end(), &mut running) => return Ok(running),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("{name} ended before it said where it listens"));
                }
                _ if child::is_interrupted() => return Err("interrupted".into()),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
        Err(format!("{name} did not say within {} s where it listens", START_UP.as_secs()))
    }
}

pub(super) fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> Result<Running, String> {
        let cpus = child::cpus().map_err(|error| error.to_string())?;
        Running::that_tells(Command::new("sh").args(["-c", script]), &cpus, |line, running| {
            running.rtmp = line.strip_prefix("at ").and_then(|address| address.parse().ok());
            running.rtmp.is_some()
        })
    }

    #[test]
    fn a_server_is_heard_until_it_says_where_it_listens() {
        let running = start("echo hello; echo at 127.0.0.1:1935; exec sleep 600").unwrap();
        assert_eq!(running.rtmp(), Ok(([127, 0, 0, 1], 1935).into()));
        let error = start("echo hello").err().unwrap();
        assert_eq!(error, "sh ended before it said where it listens");
    }
}
