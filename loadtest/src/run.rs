//! One run from its command line to its report: checks, threads, samples, the end.
//!
//! # Errors
//! [`BadInput`] before any load starts; a server that dies while it runs ends it, and what was measured is in the report.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use inrush::session::{ClientUrl, Role};

use crate::cli::Load;
use crate::clock::{machine, now_us};
use crate::forwards;
use crate::gather::{BrokenOff, Gathering};
use crate::hostile;
use crate::input::{
    BadInput, Published, check_hostile, media, party, pin, ports_per_source, raise_file_limit, resolve,
};
use crate::media::Media;
use crate::persona::cast::Cast;
use crate::plan::{Census, LaneCounts, Part, Plan};
use crate::process;
use crate::report::{PersonaShare, Run, RunFacts, ServerUse, Setting, TlsSetting, Validity, without_secrets};
use crate::schedule::Timetable;
use crate::tls::{self, Tls, TlsOptions};
use crate::worker;

/// Until the first connection, so that all threads are there.
const LEAD_US: u64 = 50_000;
/// A generator whose p99 is later than this tells nothing about a server.
const LATE_US_MAX: u64 = 10_000;

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

/// What came of a run.
pub struct Outcome {
    /// The report.
    pub run: Run,
    /// Whether it ended before its time, since nothing more could come.
    pub is_cut_short: bool,
}

/// Runs the load to its end.
pub fn run(mode: Mode, load: &Load) -> Result<Outcome, BadInput> {
    let url = ClientUrl::parse(&load.url.replace("{i}", "0"))?;
    tls::check(load, &url)?;
    check_hostile(load, &url)?;
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
    if load.listen.is_some() && publishers == 0 {
        return Err(BadInput::NothingForwarded);
    }
    // One that goes and one that comes again may be there at once.
    let forwards = if load.listen.is_some() { 2 * u64::from(publishers) } else { 0 };
    // Before anything is made for each of them.
    raise_file_limit(u64::from(publishers) + u64::from(players) + forwards)?;
    let Published { media, media_of, enhanced, setting: media_setting } = media(load, streams)?;
    if players > 0 && !media.iter().all(Media::is_stamped) {
        eprintln!(
            "inrush-loadtest: only AVC and AAC can carry stamps: no end-to-end latency and no loss is measured"
        );
    }
    let peers = u64::from(publishers) + u64::from(players);
    let cast = Cast::new(&load.persona, publishers, players, load.seed)?;
    let connections = peers + cast.extras.len() as u64;
    let tls = match url.tls {
        true => Some(Tls::new(&tls_options(load), &url.host)?),
        false => None,
    };
    let idle = match load.server_pid {
        Some(pid) => Some((pid, process::usage(pid).ok_or(BadInput::Pid(pid))?, process::pss_bytes(pid))),
        None => None,
    };
    for cpu in load.cpus.iter().flat_map(|cpus| &cpus.0) {
        // Tried on a thread of its own, so that this one stays where it is.
        let cpu = *cpu;
        let tried = thread::spawn(move || pin(&[cpu])).join().expect("pinning does not panic");
        tried.map_err(|error| BadInput::Cpu(cpu, error))?;
    }
    let sources = load.source.as_ref().map(|sources| sources.0.clone()).unwrap_or_default();
    let address = resolve(&url, &sources)?;
    let listen = |address| forwards::bind(address).map_err(|error| BadInput::Listen(address, error));
    let listener = load.listen.map(listen).transpose()?;
    let ports = sources.len().max(1) as u64 * ports_per_source();
    let started_us = now_us() + LEAD_US;
    let parts = parts(&cast, streams, load, started_us);
    let opened_us = parts.last().map_or(started_us, |part| part.open_us);
    let party = party(load, address, tls.as_ref().map(Tls::next).as_ref(), opened_us)?;
    raise_file_limit(connections + party.connections_max() + forwards)?;
    let from_there = if load.hostile_source.is_empty() { party.connections_max() } else { 0 };
    if connections + from_there > ports {
        return Err(BadInput::Ports { wanted: connections + from_there, ports });
    }
    let from_us = opened_us.max(party.all_there_us()) + load.warmup.as_micros() as u64;
    let plan = Arc::new(Plan {
        address,
        url: load.url.clone(),
        sources: sources.clone(),
        tls,
        sent: media_of.iter().map(|at| LaneCounts::of(&media[*at])).collect(),
        tables: media.into_iter().map(|media| Arc::new(Timetable::new(media, load.pacing))).collect(),
        table_of: media_of,
        enhanced,
        chunk_size: load.chunk_size,
        timestamp_start_ms: load.timestamp_start,
        machine: machine(),
        from_us,
        until_us: from_us + load.duration.as_micros() as u64,
        publishes: mode != Mode::Play,
        all_is_stamped: mode != Mode::Play && load.flv.is_none(),
        shares: cast.shares.clone(),
        census: Census::default(),
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
            cpu.map_or(Ok(()), |cpu| pin(&[cpu]))?;
            worker::run(number, plan, parts, &sender)
        };
        workers.push(thread::Builder::new().name(format!("load-{number}")).spawn(body)?);
    }
    drop(sender);
    let guests = match party.is_empty() {
        true => None,
        false => {
            let plan = plan.clone();
            let body = move || hostile::party::run(party, plan);
            Some(thread::Builder::new().name("hostile".to_owned()).spawn(body)?)
        }
    };
    let far_end = match listener {
        None => None,
        Some(listener) => {
            let steady = cast.publishers.iter().map(|casting| casting.persona == 0).collect();
            let (plan, cpus) =
                (plan.clone(), load.cpus.as_ref().map(|cpus| cpus.0.clone()).unwrap_or_default());
            let body = move || forwards::run(listener, plan, steady, &cpus);
            Some(thread::Builder::new().name("forwards".to_owned()).spawn(body)?)
        }
    };

    let steady_publishers = cast.publishers.iter().filter(|casting| casting.persona == 0).count() as u64;
    let mut gathering = Gathering::new(
        &plan,
        threads,
        peers,
        cast.publishers.len() as u64,
        steady_publishers,
        idle.map(|(pid, usage, _)| (pid, usage)),
    );
    gathering.until_the_end(&ticks);
    plan.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    let hostile = match guests {
        Some(guests) => guests.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
        None => Vec::new(),
    };
    let far_end = match far_end {
        Some(far_end) => Some(far_end.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?),
        None => None,
    };
    gathering.rest(&ticks);

    let counts = &gathering.total.counts;
    // Personas may be let in by nobody, and rightly so; steady peers may not.
    let nobody = cast.count(0) > 0 && counts.plays_accepted + counts.publishes_accepted == 0;
    if gathering.is_without_publisher() || nobody {
        let wanted = match steady_publishers {
            0 => format!("{players} players"),
            _ => format!("{steady_publishers} publishers"),
        };
        let what = gathering.total.commonest_error().map(|(stage, kind)| format!("{}: {kind}", stage.name()));
        return Err(BadInput::Refused { wanted, what: what.unwrap_or_else(|| "no answer".to_owned()) });
    }

    let Gathering { total, series, begin, end, broken_off, rss_bytes_max, .. } = gathering;
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
    // What is read late is told as the server's latency, and no message's own lateness shows it.
    if let Some(late_us) = total.woken_late_us(99.0).filter(|late_us| *late_us > LATE_US_MAX) {
        valid.spoil(format!(
            "the generator fell behind: p99 of how late its threads wake to read is {:.1} ms, more than {} ms",
            late_us as f64 / 1e3,
            LATE_US_MAX / 1_000
        ));
    }
    if let Some((_, late_us)) = far_end.as_ref().filter(|(_, late_us)| *late_us > LATE_US_MAX) {
        valid.spoil(format!(
            "the generator fell behind: p99 of how late the far end of forwards wakes to read is {:.1} ms, more than {} ms",
            *late_us as f64 / 1e3,
            LATE_US_MAX / 1_000
        ));
    }
    if let Some(why) = broken_off {
        // A server that says no to everybody is there, and yet nothing was measured.
        let accepted = total.counts.publishes_accepted + total.counts.plays_accepted;
        valid.spoil(match (accepted, why) {
            (0, _) => "no publish and no play was accepted",
            (_, BrokenOff::ServerGone) => "the server went away before the end",
            (_, BrokenOff::AllClosed) => "all connections were closed before the end",
            (_, BrokenOff::PublishersClosed) => "all publishers were closed before the end",
        });
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
                .map(|share| PersonaShare { name: share.label(), share: share.share })
                .collect(),
            player_multitrack: load.player_multitrack,
            tls: url.tls.then(|| TlsSetting {
                insecure: load.tls_insecure,
                resume: tls_options(load).resume,
                server_name: load.tls_server_name.clone(),
            }),
            listen: load.listen.map(|address| address.to_string()),
            hostile: load.hostile.iter().map(ToString::to_string).collect(),
            hostile_sources: load.hostile_source.iter().map(ToString::to_string).collect(),
            hostile_pause_s: load.hostile_pause.as_secs_f64(),
            tls_flood_per_s: load.tls_flood,
            threads: u32::from(load.threads),
            cpus: load.cpus.as_ref().map(|cpus| cpus.0.clone()).unwrap_or_default(),
            sources: sources.iter().map(IpAddr::to_string).collect(),
        },
        personas: personas(&cast),
        hostile,
        forwards: far_end.map(|(result, _)| result),
        valid,
        duration_s: ended_us.saturating_sub(plan.from_us) as f64 / 1e6,
        server,
        series,
    };
    Ok(Outcome { run: total.into_run(facts), is_cut_short: broken_off.is_some() })
}

fn end_of_measurement(plan: &Plan, sampled_us: Option<u64>) -> u64 {
    sampled_us.unwrap_or_else(now_us).min(plan.until_us)
}

/// Kinds of peers with how many there are; none where all are steady.
fn personas(cast: &Cast) -> Vec<(String, u64)> {
    let all = cast.shares.iter().enumerate().map(|(at, share)| (share.label(), cast.count(at)));
    if cast.shares.len() > 1 { all.collect() } else { Vec::new() }
}

fn tls_options(load: &Load) -> TlsOptions {
    TlsOptions {
        insecure: load.tls_insecure,
        ca: load.tls_ca.clone(),
        server_name: load.tls_server_name.clone(),
        resume: load.tls_resume.unwrap_or(1.0),
    }
}

/// Publishers first, then players, then those beside the load.
fn parts(cast: &Cast, streams: u32, load: &Load, started_us: u64) -> Vec<Part> {
    // Spread evenly over the players of each stream, who come one after the other.
    let multitrack = |player: u32| {
        let place = f64::from(player / streams);
        let until = |place: f64| (place * load.player_multitrack).floor();
        until(place + 1.0) > until(place)
    };
    let publishers = (0..streams)
        .zip(&cast.publishers)
        .map(|(stream, casting)| (Role::Publish, stream, *casting, casting.persona, true));
    let players = (0..).zip(&cast.players).map(|(player, casting)| {
        let stream: u32 = player % streams;
        let charged = match casting.persona {
            // A stream of another process is as steady as it can be.
            0 => cast.publishers.get(stream as usize).map_or(0, |publisher| publisher.persona),
            own => own,
        };
        (Role::Play, stream, *casting, charged, multitrack(player))
    });
    let extras = (streams..)
        .zip(&cast.extras)
        .map(|(stream, casting)| (Role::Publish, stream, *casting, casting.persona, true));
    (0..)
        .zip(publishers.chain(players).chain(extras))
        .map(|(number, (role, stream, casting, charged, multitrack))| Part {
            open_us: match load.ramp {
                0.0 => started_us,
                ramp => started_us + (f64::from(number) / ramp * 1e6) as u64,
            },
            role,
            casting,
            charged,
            stream,
            number,
            multitrack,
        })
        .collect()
}
