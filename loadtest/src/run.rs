//! One run from its command line to its report: checks, threads, samples, the end.
//!
//! # Errors
//! [`BadInput`] before any load starts; a server that dies while it runs ends it, and what was measured is in the report.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use inrush::session::{ClientUrl, ClientUrlError, Role};

use crate::cli::Load;
use crate::clock::{machine, now_us};
use crate::live::Live;
use crate::media::flv::{self, FlvError};
use crate::media::synthetic::{self, Pattern};
use crate::persona::Persona;
use crate::plan::{Part, Plan};
use crate::process::{self, Usage};
use crate::report::{
    MediaSetting, PersonaShare, Recorder, Run, RunFacts, Sample, ServerUse, Setting, Validity,
    without_secrets,
};
use crate::schedule::Timetable;
use crate::worker::{self, Tick};

/// How long a TCP connection may take that shows whether there is a server at all.
const PROBE: Duration = Duration::from_secs(5);
/// Until the first connection, so that all threads are there.
const LEAD_US: u64 = 50_000;
/// How long after the end what is on its way may take.
const LINGER_US: u64 = 500_000;
/// How long a publisher may take to write what was due.
const BACKLOG_US_MAX: u64 = 5_000_000;
/// A generator whose p99 is later than this tells nothing about a server.
const LATE_US_MAX: u64 = 10_000;
/// Descriptors of this process beside its connections.
const OTHER_FDS: u64 = 64;

/// What is done with streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `publish`
    Publish,
    /// `play`
    Play,
    /// `mixed`
    Mixed,
}

/// Why no load was started.
#[derive(Debug, thiserror::Error)]
pub enum BadInput {
    /// The URL is not RTMP.
    #[error("--url: {0}")]
    Url(#[from] ClientUrlError),
    /// We have no TLS.
    #[error("--url: rtmps is not supported")]
    Tls,
    /// Many streams of one name.
    #[error("--url: {0} streams need {{i}} in the name, as in rtmp://host/app/name{{i}}")]
    Pattern(u32),
    /// The file is no media.
    #[error("--flv {0}: {1}")]
    Flv(String, FlvError),
    /// There is no such host.
    #[error("{host} has no address: {error}")]
    Resolve {
        /// As in the URL.
        host: String,
        /// What the resolver says.
        error: io::Error,
    },
    /// Nobody answers.
    #[error("no server at {0}: {1}")]
    Connect(SocketAddr, io::Error),
    /// Somebody answers and lets nobody in: what a load is to be of does not exist.
    #[error("the server let in none of {wanted}: {what}")]
    Refused {
        /// Connections.
        wanted: String,
        /// Where in a connection's life, and what.
        what: String,
    },
    /// The process is gone.
    #[error("--server-pid: there is no process {0}")]
    Pid(u32),
    /// Too few descriptors.
    #[error("{wanted} connections need {needed} open files and the limit is {limit}: ulimit -n {needed}")]
    Files {
        /// Connections.
        wanted: u64,
        /// Descriptors.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// Too few ports.
    #[error(
        "{wanted} connections to one address need as many ports, and there are {ports}: give more --source addresses"
    )]
    Ports {
        /// Connections.
        wanted: u64,
        /// Ports of all source addresses.
        ports: u64,
    },
    /// Another family than the server's, or none of this machine's addresses.
    #[error("--source {0}: {1}")]
    Source(IpAddr, io::Error),
    /// A CPU cannot be used.
    #[error("--cpus: {0}: {1}")]
    Cpu(u32, io::Error),
    /// The machine is out of something.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What came of a run.
pub struct Outcome {
    /// The report.
    pub run: Run,
    /// Whether the server was gone before the end.
    pub server_died: bool,
}

/// Runs the load to its end.
pub fn run(mode: Mode, load: &Load) -> Result<Outcome, BadInput> {
    let url = ClientUrl::parse(&load.url.replace("{i}", "0"))?;
    if url.tls {
        return Err(BadInput::Tls);
    }
    let publishers = if mode == Mode::Play { 0 } else { load.publishers };
    let streams = load.publishers;
    if streams > 1 && !load.url.contains("{i}") {
        return Err(BadInput::Pattern(streams));
    }
    let players = match mode {
        Mode::Publish => 0,
        _ if load.per_stream => load.players.saturating_mul(streams),
        _ => load.players,
    };
    let (media, media_setting) = media(load)?;
    if players > 0 && !media.is_stamped() {
        eprintln!(
            "inrush-loadtest: only AVC and AAC can carry stamps: no end-to-end latency and no loss is measured"
        );
    }
    let peers = u64::from(publishers) + u64::from(players);
    let hostile: Vec<_> = load
        .persona
        .iter()
        .flat_map(|share| std::iter::repeat_n(share.persona, (peers as f64 * share.share).round() as usize))
        .collect();
    let connections = peers + hostile.len() as u64;
    raise_file_limit(connections)?;
    let idle = match load.server_pid {
        Some(pid) => Some((pid, process::usage(pid).ok_or(BadInput::Pid(pid))?, process::pss_bytes(pid))),
        None => None,
    };
    for cpu in load.cpus.iter().flat_map(|cpus| &cpus.0) {
        // Tried on a thread of its own, so that this one stays where it is.
        let cpu = *cpu;
        let tried = thread::spawn(move || pin(cpu)).join().expect("pinning does not panic");
        tried.map_err(|error| BadInput::Cpu(cpu, error))?;
    }
    let sources = load.source.as_ref().map(|sources| sources.0.clone()).unwrap_or_default();
    let address = resolve(&url, &sources)?;
    let ports = sources.len().max(1) as u64 * ports_per_source();
    if connections > ports {
        return Err(BadInput::Ports { wanted: connections, ports });
    }

    let started_us = now_us() + LEAD_US;
    let parts = parts(publishers, players, streams, &hostile, load.ramp, started_us);
    let opened_us = parts.last().map_or(started_us, |part| part.open_us);
    let from_us = opened_us + load.warmup.as_micros() as u64;
    let plan = Arc::new(Plan {
        address,
        url: load.url.clone(),
        sources: sources.clone(),
        table: Arc::new(Timetable::new(media, load.pacing)),
        chunk_size: load.chunk_size,
        timestamp_start_ms: load.timestamp_start,
        machine: machine(),
        from_us,
        until_us: from_us + load.duration.as_micros() as u64,
        sent: (0..streams).map(|_| AtomicU64::new(0)).collect(),
        open: AtomicU64::new(0),
        publishing: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let started_at_unix_ms =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_millis() as u64);
    let (sender, ticks) = channel();
    let threads = usize::from(load.threads);
    let mut workers = Vec::new();
    for number in 0..threads {
        let (plan, sender) = (plan.clone(), sender.clone());
        let parts: Vec<_> = parts.iter().skip(number).step_by(threads).copied().collect();
        let cpu = load.cpus.as_ref().map(|cpus| cpus.0[number % cpus.0.len()]);
        let body = move || {
            cpu.map_or(Ok(()), pin)?;
            worker::run(number, plan, parts, &sender)
        };
        workers.push(thread::Builder::new().name(format!("load-{number}")).spawn(body)?);
    }
    drop(sender);

    let mut watch = Watch {
        plan: &plan,
        threads,
        parts: peers,
        publishers: u64::from(publishers),
        pid: load.server_pid,
        total: Recorder::new(),
        series: Vec::new(),
        tick: None,
        last: idle.map(|(_, usage, _)| (now_us(), usage)),
        begin: None,
        end: None,
        rss_bytes_max: 0,
        server_died: false,
        live: Live::new(),
        shown_us: started_us,
    };
    watch.until_the_end(&ticks);
    plan.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    watch.rest(&ticks);

    let counts = &watch.total.counts;
    // Personas may be let in by nobody, and rightly so.
    if load.persona.is_empty()
        && (watch.has_no_publisher() || counts.plays_accepted + counts.publishes_accepted == 0)
    {
        let wanted = match publishers {
            0 => format!("{players} players"),
            _ => format!("{publishers} publishers"),
        };
        let what = watch.total.commonest_error().map(|(stage, kind)| format!("{}: {kind}", stage.name()));
        return Err(BadInput::Refused { wanted, what: what.unwrap_or_else(|| "no answer".to_owned()) });
    }

    let Watch { total, series, begin, end, server_died, rss_bytes_max, .. } = watch;
    let server = match (idle, begin, end) {
        (Some((_, idle, idle_pss)), Some(begin), Some(end)) => Some(ServerUse {
            user_s: end.usage.user_s - begin.usage.user_s,
            system_s: end.usage.system_s - begin.usage.system_s,
            rss_bytes: rss_bytes_max,
            pss_bytes: end.pss_bytes,
            idle_bytes: if end.pss_bytes.is_some() {
                idle_pss.unwrap_or(idle.rss_bytes)
            } else {
                idle.rss_bytes
            },
            connections: end.connections,
            publishers: end.publishers,
        }),
        _ => None,
    };
    let ended_us = end_of_measurement(&plan, end.map(|end| end.at_us));
    let mut valid = Validity::default();
    if let Some(late_us) = total.generator_late_us(99.0).filter(|late_us| *late_us > LATE_US_MAX) {
        valid.spoil(format!(
            "the generator fell behind: p99 of its own lateness is {:.1} ms, more than {} ms",
            late_us as f64 / 1e3,
            LATE_US_MAX / 1_000
        ));
    }
    if server_died {
        valid.spoil("the server went away before the end");
    }
    let facts = RunFacts {
        started_at_unix_ms,
        setting: Setting {
            mode: format!("{mode:?}").to_lowercase(),
            url: without_secrets(&load.url),
            publishers,
            players,
            ramp_per_s: load.ramp,
            warmup_s: load.warmup.as_secs_f64(),
            duration_s: load.duration.as_secs_f64(),
            pace: load.pacing.to_string(),
            chunk_size: load.chunk_size,
            timestamp_start_ms: load.timestamp_start,
            media: media_setting,
            personas: load
                .persona
                .iter()
                .map(|share| PersonaShare { name: share.persona.name().to_owned(), share: share.share })
                .collect(),
            threads: u32::from(load.threads),
            cpus: load.cpus.as_ref().map(|cpus| cpus.0.clone()).unwrap_or_default(),
            sources: sources.iter().map(IpAddr::to_string).collect(),
        },
        valid,
        duration_s: ended_us.saturating_sub(plan.from_us) as f64 / 1e6,
        opening_s: (opened_us - started_us) as f64 / 1e6,
        server,
        series,
    };
    Ok(Outcome { run: total.into_run(facts), server_died })
}

fn end_of_measurement(plan: &Plan, sampled_us: Option<u64>) -> u64 {
    sampled_us.unwrap_or_else(now_us).min(plan.until_us)
}

fn media(load: &Load) -> Result<(crate::media::Media, MediaSetting), BadInput> {
    let gop_frames = load.gop.unwrap_or(load.fps * 2);
    let setting = MediaSetting {
        source: "synthetic".to_owned(),
        bitrate_bps: load.bitrate,
        fps: f64::from(load.fps),
        gop_s: f64::from(gop_frames) / f64::from(load.fps),
        seed: load.seed,
    };
    match &load.flv {
        None => {
            let pattern = Pattern { bitrate_bps: load.bitrate, fps: load.fps, gop_frames, seed: load.seed };
            Ok((synthetic::media(&pattern), setting))
        }
        Some(file) => {
            let name = file.display().to_string();
            let media = flv::media(file).map_err(|error| BadInput::Flv(name.clone(), error))?;
            let period_s = f64::from(media.period_ms) / 1e3;
            let setting = MediaSetting {
                source: name,
                bitrate_bps: media.bits_per_second(),
                fps: media.video_messages() as f64 / period_s,
                gop_s: period_s / media.key_frames().max(1) as f64,
                seed: 0,
            };
            Ok((media, setting))
        }
    }
}

fn resolve(url: &ClientUrl, sources: &[IpAddr]) -> Result<SocketAddr, BadInput> {
    for source in sources {
        TcpListener::bind((*source, 0)).map_err(|error| BadInput::Source(*source, error))?;
    }
    let unresolved = |error| BadInput::Resolve { host: url.host.clone(), error };
    let addresses = (url.host.as_str(), url.port).to_socket_addrs().map_err(unresolved)?;
    let mut failed = None;
    for address in addresses {
        if let Some(source) = sources.iter().find(|source| source.is_ipv4() != address.is_ipv4()) {
            let family = io::Error::other(format!("cannot reach {address} from there"));
            failed = failed.or(Some(BadInput::Source(*source, family)));
            continue;
        }
        match std::net::TcpStream::connect_timeout(&address, PROBE) {
            Ok(_) => return Ok(address),
            Err(error) => failed = failed.or(Some(BadInput::Connect(address, error))),
        }
    }
    Err(failed.unwrap_or_else(|| unresolved(io::ErrorKind::NotFound.into())))
}

/// Ports that the kernel gives out to connections, for each address they come from.
fn ports_per_source() -> u64 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_ascii_whitespace().map_while(|end| end.parse::<u64>().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) if first <= last => last - first + 1,
        _ => 28_232, // the kernel's default
    }
}

/// Publishers first, then players, then those that mean no good.
fn parts(
    publishers: u32,
    players: u32,
    streams: u32,
    hostile: &[Persona],
    ramp: f64,
    started_us: u64,
) -> Vec<Part> {
    let roles = (0..publishers)
        .map(|stream| (Role::Publish, stream))
        .chain((0..players).map(|player| (Role::Play, player % streams)));
    let open_us = |number: u32| match ramp {
        0.0 => started_us,
        ramp => started_us + (f64::from(number) / ramp * 1e6) as u64,
    };
    let peers = roles.map(|(role, stream)| (role, stream, None));
    let hostile = hostile.iter().map(|persona| (Role::Publish, 0, Some(*persona)));
    (0..)
        .zip(peers.chain(hostile))
        .map(|(number, (role, stream, persona))| Part {
            open_us: open_us(number),
            role,
            persona,
            stream,
            number,
        })
        .collect()
}

fn raise_file_limit(connections: u64) -> Result<(), BadInput> {
    let needed = connections + OTHER_FDS;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the length of the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    if limit.rlim_cur >= needed {
        return Ok(());
    }
    if limit.rlim_max < needed {
        return Err(BadInput::Files { wanted: connections, needed, limit: limit.rlim_max });
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

/// Ties the calling thread to a CPU.
fn pin(cpu: u32) -> io::Result<()> {
    // SAFETY: a CPU set is plain bits, all zero is the empty one; `cli` bounds `cpu` below its 1,024; the set outlives the call.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu as usize, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The server at a moment that matters.
#[derive(Clone, Copy)]
struct Reading {
    at_us: u64,
    usage: Usage,
    pss_bytes: Option<u64>,
    connections: u64,
    publishers: u64,
}

/// The run's own thread: gathers what the others record, and looks at the server.
struct Watch<'a> {
    plan: &'a Plan,
    threads: usize,
    parts: u64,
    publishers: u64,
    pid: Option<u32>,
    total: Recorder,
    series: Vec<Sample>,
    /// What came of the second that is being gathered: its end, from how many threads, what.
    tick: Option<(u64, usize, Recorder)>,
    /// The last look at the server's CPU time.
    last: Option<(u64, Usage)>,
    begin: Option<Reading>,
    end: Option<Reading>,
    rss_bytes_max: u64,
    server_died: bool,
    live: Live,
    /// End of the second that was shown last.
    shown_us: u64,
}

impl Watch<'_> {
    fn until_the_end(&mut self, ticks: &Receiver<Tick>) {
        let mut quiet_from_us = None;
        loop {
            let now = now_us();
            let (from_us, until_us) = (self.plan.from_us, self.plan.until_us);
            if self.begin.is_none() && now >= from_us {
                self.begin = self.reading();
            }
            if self.end.is_none() && now >= until_us {
                self.end = self.reading();
            }
            let publishing = self.plan.publishing.load(Ordering::Relaxed);
            if now >= until_us {
                if publishing == 0 || now >= until_us + BACKLOG_US_MAX {
                    let quiet_from_us = *quiet_from_us.get_or_insert(now);
                    if now >= quiet_from_us + LINGER_US {
                        return;
                    }
                }
            } else if self.has_no_publisher() {
                return;
            } else if self.is_server_gone() {
                self.server_died = true;
                self.end = self.end.or_else(|| self.reading());
                return;
            }
            let next_us = [from_us, until_us].into_iter().filter(|at_us| *at_us > now).min();
            let wait_us = next_us.map_or(20_000, |next_us| (next_us - now).min(20_000));
            match ticks.recv_timeout(Duration::from_micros(wait_us)) {
                Ok(tick) => self.on_tick(tick),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// What the threads had left when they ended.
    fn rest(&mut self, ticks: &Receiver<Tick>) {
        while let Ok(tick) = ticks.try_recv() {
            self.on_tick(tick);
        }
        self.finish_tick();
    }

    /// The process is gone, or all connections are that there were to be.
    fn is_server_gone(&self) -> bool {
        self.pid.is_some_and(|pid| process::usage(pid).is_none())
            || self.plan.ended.load(Ordering::Relaxed) >= self.parts
    }

    /// All were refused that were to publish.
    fn has_no_publisher(&self) -> bool {
        let counts = &self.total.counts;
        self.publishers > 0 && counts.publishes_accepted == 0 && counts.publishes_refused >= self.publishers
    }

    fn reading(&mut self) -> Option<Reading> {
        let pid = self.pid?;
        let usage = process::usage(pid)?;
        self.rss_bytes_max = self.rss_bytes_max.max(usage.rss_bytes);
        Some(Reading {
            at_us: now_us(),
            usage,
            pss_bytes: process::pss_bytes(pid),
            connections: self.plan.open.load(Ordering::Relaxed),
            publishers: self.plan.publishing.load(Ordering::Relaxed),
        })
    }

    fn on_tick(&mut self, tick: Tick) {
        match &mut self.tick {
            Some((end_us, threads, recorder)) if *end_us == tick.end_us && *threads < self.threads => {
                recorder.merge(&tick.recorder);
                *threads += 1;
            }
            _ => {
                self.finish_tick();
                self.tick = Some((tick.end_us, 1, tick.recorder));
            }
        }
        if self.tick.as_ref().is_some_and(|(_, threads, _)| *threads == self.threads) {
            self.finish_tick();
        }
    }

    /// A second is complete, or as complete as it gets.
    fn finish_tick(&mut self) {
        let Some((end_us, _, mut recorder)) = self.tick.take() else { return };
        let now = now_us();
        let used = self.pid.and_then(process::usage);
        let cpu_share = match (used, self.last) {
            (Some(used), Some((last_us, last))) if now > last_us => {
                let cpu_s = used.user_s + used.system_s - last.user_s - last.system_s;
                Some(cpu_s * 1e6 / (now - last_us) as f64)
            }
            _ => None,
        };
        self.last = used.map(|used| (now, used));
        if let Some(used) = used {
            self.rss_bytes_max = self.rss_bytes_max.max(used.rss_bytes);
        }
        let sample = Sample {
            t_s: (end_us as f64 - self.plan.from_us as f64) / 1e6,
            bytes_in: recorder.bytes_in,
            bytes_out: recorder.bytes_out,
            cpu_share,
            rss_bytes: used.map(|used| used.rss_bytes),
            e2e_p99_us: recorder.e2e_p99_us(),
            connections: self.plan.open.load(Ordering::Relaxed),
        };
        let interval = Duration::from_micros(end_us.saturating_sub(self.shown_us));
        self.live.show(&sample, interval, &self.total.counts);
        self.shown_us = end_us;
        self.series.push(sample);
        // Bytes are those of the measurement only; whatever else was recorded knows that of itself.
        if end_us <= self.plan.from_us || end_us > self.plan.until_us {
            (recorder.bytes_in, recorder.bytes_out) = (0, 0);
        }
        self.total.merge(&recorder);
    }
}
