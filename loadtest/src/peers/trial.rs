//! One server under one load.
//!
//! The load is a run of this very program in a process of its own, so that it is what anybody gets who types the same line; its
//! JSON is what is read. Where a figure needs it the server is looked at meanwhile, memory and `/metrics` at the same moment.

use std::fmt;
use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::child::{self, Child};
use super::figure::Figure;
use super::http;
use super::link::{self, Link};
use super::server::{Programs, Running, Server};
use super::table::shown;
use crate::process;
use crate::report::Run;

/// How often a watched server is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// What a trial may take longer than planned.
const PATIENCE: Duration = Duration::from_secs(60);
/// What starting and ending both processes takes, about, seconds.
const AROUND_S: f64 = 1.0;
/// Before a server's memory counts as that of an idle one, and for what the last trial left to be gone.
const SETTLE: Duration = Duration::from_millis(300);

/// Where everything is.
pub(super) struct Place {
    pub(super) programs: Programs,
    /// This program.
    harness: PathBuf,
    /// Where JSON goes.
    runs: PathBuf,
    /// Where servers have their files.
    scratch: Scratch,
    /// CPUs that there are: the first is the server's, the second the harness's.
    pub(super) cores: Vec<usize>,
}

/// A folder that goes with its value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Place {
    pub(super) fn find(programs: Programs, out: PathBuf) -> Result<Self, String> {
        let cores = child::cpus().map_err(|error| error.to_string())?;
        if cores.len() < 2 {
            return Err("two CPUs are needed: one for the server, one for the harness".into());
        }
        let scratch = std::env::temp_dir().join(format!("inrush-peers-{}", std::process::id()));
        let runs = out.join("runs");
        for folder in [&runs, &scratch] {
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        child::catch_interrupts();
        child::stay_on(cores[1]).map_err(|error| error.to_string())?;
        let harness = std::env::current_exe().map_err(|error| error.to_string())?;
        Ok(Self { programs, harness, runs, scratch: Scratch(scratch), cores })
    }
}

/// The load: options of this program.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    pub(super) mode: &'static str,
    pub(super) publishers: u32,
    pub(super) players: u32,
    pub(super) per_stream: bool,
    pub(super) bitrate_kbit: u32,
    pub(super) pacing: &'static str,
    /// 0 for all at once.
    pub(super) ramp: u32,
    pub(super) warmup_s: f64,
    pub(super) duration_s: f64,
    /// Publishers leave as soon as they are accepted, and come back.
    pub(super) churning: bool,
    /// To the second core.
    pub(super) pinned: bool,
    /// The server forwards every stream, and the harness is the far end.
    pub(super) forwarded: bool,
    /// Frames from key frame to key frame; 2 s of them if not told.
    pub(super) gop_frames: Option<u32>,
}

impl Drive {
    fn connections(&self) -> u32 {
        let publishers = if self.mode == "play" { 0 } else { self.publishers };
        publishers + if self.per_stream { self.players * self.publishers } else { self.players }
    }

    fn arguments(
        &self,
        address: SocketAddr,
        pid: u32,
        core: usize,
        far_end: Option<SocketAddr>,
    ) -> Vec<String> {
        let mut options = vec![
            ("--url", format!("rtmp://{address}/live/s{{i}}")),
            ("--publishers", self.publishers.to_string()),
            ("--bitrate", format!("{}k", self.bitrate_kbit)),
            ("--pacing", self.pacing.to_owned()),
            ("--ramp", self.ramp.to_string()),
            ("--warmup", self.warmup_s.to_string()),
            ("--duration", self.duration_s.to_string()),
            ("--server-pid", pid.to_string()),
        ];
        if self.players > 0 {
            options.push(("--players", self.players.to_string()));
        }
        if self.churning {
            options.push(("--persona", "churning:0/0=1".to_owned()));
        }
        if let Some(frames) = self.gop_frames {
            options.push(("--gop", frames.to_string()));
        }
        if let Some(far_end) = far_end {
            options.push(("--listen", far_end.to_string()));
        }
        if self.pinned {
            options.push(("--cpus", core.to_string()));
        }
        let mut arguments = vec![self.mode.to_owned()];
        arguments.extend(options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        arguments.extend(self.per_stream.then(|| "--per-stream".to_owned()));
        arguments
    }
}

/// A server and the load on it.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) server: Server,
    drive: Drive,
    watched: bool,
    across_link: bool,
    /// The load is told beside the server: another trial of the case differs in it.
    tells_pacing: bool,
}

/// The server, and of the load what tells it from another trial of the case.
impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tells_pacing {
            true => write!(f, "`{}`, {}", self.drive.pacing, self.server),
            false => self.server.fmt(f),
        }
    }
}

impl Trial {
    pub(super) fn new(server: Server, drive: Drive) -> Self {
        Self { server, drive, watched: false, across_link: false, tells_pacing: false }
    }

    /// The server's memory and `/metrics` are read while it runs.
    pub(super) fn watched(self) -> Self {
        Self { watched: true, ..self }
    }

    /// The load comes from another network namespace.
    pub(super) fn across_link(self) -> Self {
        Self { across_link: true, ..self }
    }

    /// Its pace is told wherever it is named.
    pub(super) fn telling_pacing(self) -> Self {
        Self { tells_pacing: true, ..self }
    }

    /// Its part of a file's name.
    pub(super) fn file_name(&self) -> String {
        let kept = |char: char| if char.is_ascii_alphanumeric() { char } else { '-' };
        self.to_string().replace([',', '`'], "").chars().map(kept).collect()
    }

    /// How long it takes, about.
    pub(super) fn seconds(&self) -> f64 {
        let opening_s = match self.drive.ramp {
            0 => 0.0,
            ramp => f64::from(self.drive.connections()) / f64::from(ramp),
        };
        opening_s + self.drive.warmup_s + self.drive.duration_s + AROUND_S
    }

    /// Runs it; the JSON goes to a file of this name.
    pub(super) fn run(&self, place: &Place, file_name: &str) -> Result<Measured, String> {
        let link = if self.across_link { Some(Link::new()?) } else { None };
        let host = if link.is_some() { link::HOST } else { "127.0.0.1" };
        let server_cpus = &place.cores[..self.server.cores().min(place.cores.len())];
        let far_end = if self.drive.forwarded { Some(free_address()?) } else { None };
        let server = self.server.start(&place.programs, host, server_cpus, &place.scratch.0, far_end)?;
        sleep(SETTLE);
        let idle_pss = process::pss_bytes(server.pid());
        let json = place.runs.join(file_name);
        // What an earlier command left is not what this trial gave.
        let _ = fs::remove_file(&json);
        let mut command = match &link {
            Some(link) => link.command(&place.harness),
            None => Command::new(&place.harness),
        };
        command
            .args(self.drive.arguments(server.rtmp()?, server.pid(), place.cores[1], far_end))
            .arg("--json")
            .arg(&json);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let cpus = if self.drive.pinned { &place.cores[1..2] } else { &place.cores[..] };
        let mut harness = Child::spawn(&mut command, cpus).map_err(|error| error.to_string())?;
        let looks = self.wait(&mut harness, &server)?;
        let text = fs::read_to_string(&json).map_err(|_| {
            // It says so in one line when nothing could be started.
            let mut said = String::new();
            if let Some(mut errors) = harness.inner().stderr.take() {
                let _ = errors.read_to_string(&mut said);
            }
            said.lines().next().unwrap_or("the harness wrote nothing").to_owned()
        })?;
        let damaged = |error: &dyn std::fmt::Display| format!("{}: {error}", json.display());
        let run = Run::from_json(&text).map_err(|error| damaged(&error))?;
        Ok(self.measured(run, &looks, idle_pss))
    }

    /// Waits for the end of the load, and looks at the server meanwhile.
    fn wait(&self, harness: &mut Child, server: &Running) -> Result<Vec<Look>, String> {
        let began = Instant::now();
        let limit = Duration::from_secs_f64(self.seconds()) + PATIENCE;
        let mut looks = Vec::new();
        while harness.ended().map_err(|error| error.to_string())?.is_none() {
            if child::is_interrupted() {
                return Err("interrupted".into());
            }
            if began.elapsed() > limit {
                return Err(format!("not done after {} s", limit.as_secs()));
            }
            if self.watched {
                looks.extend(Look::at(server));
                sleep(LOOK);
            } else {
                sleep(LOOK / 4);
            }
        }
        Ok(looks)
    }

    fn measured(&self, run: Run, looks: &[Look], idle_pss: Option<u64>) -> Measured {
        let mut faults = run.valid.reasons.clone();
        let counts = &run.counts;
        if !self.drive.churning && counts.connections_failed + counts.connections_lost > 0 {
            faults.push(format!("{} connections lost", counts.connections_failed + counts.connections_lost));
        }
        // Sessions come and go, each to its end.
        let broken: u64 =
            run.personas.iter().map(|persona| persona.counts.failed + persona.counts.lost).sum();
        if self.drive.churning && broken > 0 {
            faults.push(format!("{broken} sessions failed or were cut"));
        }
        // What is not handed on costs nothing.
        if matches!(self.server, Server::Inrush(_)) && counts.lost > 0 {
            faults.push(format!("{} messages lost", counts.lost));
        }
        // The same of what is not forwarded. Of another server so little is let pass that no ratio shows it.
        if self.drive.forwarded {
            let far = run.forwards.clone().unwrap_or_default();
            let wrong = far.lost + far.duplicated + far.reordered;
            let passed = if matches!(self.server, Server::Inrush(_)) { 0 } else { counts.sent / 100 };
            if wrong > passed {
                faults.push(format!(
                    "of forwarded messages {} lost, {} again, {} out of order",
                    far.lost, far.duplicated, far.reordered
                ));
            }
            if far.received == 0 {
                faults.push("nothing was forwarded".to_owned());
            }
        }
        let setting = &run.setting;
        let opening_s = match setting.ramp_per_s {
            0.0 => 0.0,
            ramp => f64::from(self.drive.connections().saturating_sub(1)) / ramp,
        };
        let from_ms = run.started_at_unix_ms as f64 + (opening_s + setting.warmup_s) * 1e3;
        let until_ms = from_ms + run.duration_s * 1e3;
        let looks: Vec<_> =
            looks.iter().filter(|look| (from_ms..=until_ms).contains(&(look.unix_ms as f64))).collect();
        let waking = looks.iter().filter(|look| !look.polling).count();
        // A core may wait for a moment and poll again; the figure is a median.
        if self.across_link && looks.is_empty() {
            faults.push("nobody saw whether the server polled".to_owned());
        }
        if self.across_link && waking * 10 > looks.len() {
            faults.push(format!("the server did not poll in {waking} of {} looks", looks.len()));
        }
        let mean = |of: &dyn Fn(&Look) -> f64| {
            (!looks.is_empty()).then(|| looks.iter().map(|look| of(look)).sum::<f64>() / looks.len() as f64)
        };
        let memory = idle_pss.zip(mean(&|look| look.pss_bytes)).map(|(idle, pss)| Memory {
            above_idle_bytes: pss - idle as f64,
            gop_bytes: mean(&|look| look.gop_bytes),
        });
        let wakeups_per_second = looks.first().zip(looks.last()).and_then(|(first, last)| {
            let seconds = last.unix_ms.checked_sub(first.unix_ms).filter(|ms| *ms > 0)? as f64 / 1e3;
            Some((last.wakeups_sent - first.wakeups_sent) / seconds)
        });
        Measured { run, memory, wakeups_per_second, faults }
    }
}

/// An address that was free a moment ago, for the harness to take: the server must know it before that is there.
fn free_address() -> Result<SocketAddr, String> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.map_err(|error| error.to_string())
}

/// What came of a trial.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) run: Run,
    pub(super) memory: Option<Memory>,
    pub(super) wakeups_per_second: Option<f64>,
    /// Why it is not valid.
    pub(super) faults: Vec<String>,
}

impl Measured {
    /// The figures in a line.
    pub(super) fn told(&self, figures: &[Figure]) -> String {
        let mut parts: Vec<String> = Vec::new();
        for figure in figures {
            let part = match figure.of(self) {
                Some(value) => format!("{} {}", shown(value), figure.unit()),
                None => format!("no {}", figure.name()),
            };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        if !self.faults.is_empty() {
            parts.push(format!("not valid: {}", self.faults.join("; ")));
        }
        parts.join(", ")
    }
}

/// The server's memory while it was measured.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) above_idle_bytes: f64,
    /// What GOP caches held at the same moments.
    pub(super) gop_bytes: Option<f64>,
}

/// A look at a server while it runs.
#[derive(Clone, Debug)]
struct Look {
    unix_ms: u64,
    pss_bytes: f64,
    gop_bytes: f64,
    wakeups_sent: f64,
    polling: bool,
}

impl Look {
    /// `None` when it cannot be asked, as one that is about to end.
    fn at(server: &Running) -> Option<Self> {
        let metrics = http::request("GET", server.http?, "/metrics").ok()?;
        let pss_bytes = process::pss_bytes(server.pid())? as f64;
        Some(Self {
            unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis() as u64,
            pss_bytes,
            gop_bytes: sum(&metrics, "inrush_gop_bytes")?,
            wakeups_sent: sum(&metrics, "inrush_wakeups_sent_total")?,
            polling: sum(&metrics, "inrush_polling")? > 0.0,
        })
    }
}

/// A metric over all cores; `None` when there is none of this name.
fn sum(metrics: &str, name: &str) -> Option<f64> {
    let mut values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = if rest.starts_with('{') { rest.rsplit_once('}')?.1 } else { rest.strip_prefix(' ')? };
        value.trim().parse::<f64>().ok()
    });
    let first = values.next()?;
    Some(first + values.sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::size::{Length, Size};
    use crate::report::{ForwardsResult, PersonaCounts, PersonaResult};

    #[test]
    fn a_metric_is_summed_over_the_cores_and_not_taken_for_another_of_its_beginning() {
        let text = "# TYPE inrush_gop_bytes gauge\ninrush_gop_bytes{core=\"0\"} 5\ninrush_gop_bytes{core=\"1\"} 7\n\
                    inrush_gop_bytes_more{core=\"0\"} 100\ninrush_cores 2\n";
        assert_eq!(sum(text, "inrush_gop_bytes"), Some(12.0));
        assert_eq!(sum(text, "inrush_cores"), Some(2.0));
        assert_eq!(sum(text, "inrush_polling"), None);
    }

    /// Memory is compared with what the caches held in the same looks, and only while it was measured.
    #[test]
    fn looks_outside_the_measurement_do_not_count() {
        let server = Server::Inrush(Default::default());
        let drive = Drive {
            mode: "publish",
            publishers: 10,
            players: 0,
            per_stream: false,
            bitrate_kbit: 3_000,
            pacing: "frame",
            ramp: 0,
            warmup_s: 1.0,
            duration_s: 2.0,
            churning: false,
            pinned: true,
            forwarded: false,
            gop_frames: None,
        };
        let mut run = Run { started_at_unix_ms: 10_000, duration_s: 2.0, ..Run::default() };
        run.setting.warmup_s = 1.0;
        run.setting.publishers = 10;
        let look = |unix_ms: u64, pss_bytes: f64, gop_bytes: f64, wakeups_sent: f64| Look {
            unix_ms,
            pss_bytes,
            gop_bytes,
            wakeups_sent,
            polling: true,
        };
        let looks = [
            look(10_500, 9e9, 9e9, 0.0),
            look(11_000, 3_000_000.0, 500_000.0, 100.0),
            look(13_000, 3_200_000.0, 700_000.0, 500.0),
            look(13_500, 9e9, 9e9, 0.0),
        ];
        let trial = Trial::new(server, drive);
        let measured = trial.measured(run.clone(), &looks, Some(1_000_000));
        assert_eq!(Figure::PublisherMemory.of(&measured), Some(210.0));
        assert!((Figure::PublisherMemoryBeyondGop.of(&measured).unwrap() - 144.0).abs() < 1e-6);
        assert_eq!(Figure::WakeUps.of(&measured), Some(200.0));
        assert_eq!(Figure::Rtt.of(&measured), None);
        assert!(measured.faults.is_empty());
        // Whether the server polled must have been seen while it was measured.
        let unseen = trial.across_link().measured(run, &looks[..1], Some(1_000_000));
        assert_eq!(unseen.faults, ["nobody saw whether the server polled"]);
    }

    /// Which is cheaper than forwarding it.
    #[test]
    fn what_was_not_forwarded_whole_is_a_fault() {
        let drive = Drive { forwarded: true, ..Size::of(Length::Short).publish(8, 3_000) };
        let mut run = Run::default();
        run.counts.sent = 1_000;
        let inrush = Server::Inrush(Default::default());
        let far = |received, lost, reordered| {
            Some(ForwardsResult { received, lost, reordered, ..ForwardsResult::default() })
        };
        let lost = |lost| format!("of forwarded messages {lost} lost, 0 again, 1 out of order");
        for (server, forwards, faults) in [
            (&inrush, far(1_000, 0, 0), vec![]),
            (&inrush, far(999, 1, 1), vec![lost(1)]),
            (&inrush, None, vec!["nothing was forwarded".to_owned()]),
            (&Server::Nginx, far(991, 9, 1), vec![]),
            (&Server::Nginx, far(989, 11, 1), vec![lost(11)]),
        ] {
            let trial = Trial::new(server.clone(), drive.clone());
            assert_eq!(trial.measured(Run { forwards, ..run.clone() }, &[], None).faults, faults);
        }
    }

    #[test]
    fn sessions_that_broke_are_a_fault() {
        let drive = Drive {
            mode: "publish",
            publishers: 8,
            players: 0,
            per_stream: false,
            bitrate_kbit: 3_000,
            pacing: "frame",
            ramp: 0,
            warmup_s: 0.0,
            duration_s: 1.0,
            churning: true,
            pinned: true,
            forwarded: false,
            gop_frames: None,
        };
        let counts = PersonaCounts { accepted: 100, failed: 2, lost: 1, ..PersonaCounts::default() };
        let personas = vec![PersonaResult { counts, ..PersonaResult::default() }];
        let run = Run { personas, ..Run::default() };
        let measured = Trial::new(Server::Nginx, drive).measured(run, &[], None);
        assert_eq!(measured.faults, ["3 sessions failed or were cut"]);
    }
}
