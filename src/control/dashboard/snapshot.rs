//! One snapshot of the node, as JSON:
//!
//! ```json
//! {"time_ms": 1764147600000,
//!  "node": {"name": "edge1", "version": "0.1.0", "state": "ready", "uptime_seconds": 3600.5, "resident_bytes": 90000000,
//!    "open_fds": 120, "max_fds": 20000},
//!  "cores": [{"core": 0, "stalled": false, "cpu_seconds": 12.5, "polling": true, "connections": 40, "publishers": 30, "subscribers": 10,
//!    "streams": 30, "bytes_in": 1, "bytes_out": 1, "wakeups": 1, "polls": 1, "polls_empty": 0, "frames_dropped": 0, "tick_overruns": 0}],
//!  "streams_count": 30, "streams_unhealthy": 1, "bits_in_per_second": 90000000, "streams": [{…}],
//!  "forwards_count": 1, "forwards": [{…}], "pulls_count": 0, "pulls": [],
//!  "histograms": [{"name": "read_to_written", "help": "From when …", "buckets": [[0.00005, 17], …, [null, 0]]}],
//!  "stalled_cores": []}
//! ```
//! Entries of `streams`, `forwards` and `pulls` are those of `/api/v1/streams`, `/api/v1/forwards` and `/api/v1/pulls`. Of streams come
//! [`ENTRIES_MAX`] at most: first those that something is wrong with, then those of the highest bitrate; of forwards and pulls as many,
//! those that are not `live` or `standby` first. The counts are of all.
//! `state` is `starting`, `ready` or `draining`. What a core counts grows from its start on, and `cpu_seconds` is its thread's processor time, null
//! where the kernel does not tell it: two snapshots and their `time_ms` make a rate. Histograms are durations in seconds, summed over cores;
//! a bucket is its upper bound, null for the last, and what fell into it and not into one before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::control::api::{QUERY_MAX, Stream, gather, permit};
use crate::control::cores::Cores;
use crate::control::far_ends::{FarEnd, by_id, listed};
use crate::control::forwards::Forward;
use crate::control::health::SWEEP_AGE_MAX;
use crate::control::process;
use crate::control::pulls::Pull;
use crate::control::router::Control;
use crate::runtime::histogram::{Histogram, Unit};
use crate::runtime::observe::StreamInfo;

/// Entries of a list.
pub const ENTRIES_MAX: usize = 100;

/// Longest snapshot, bytes. One that would be longer, because of streams with very many tracks, has fewer entries.
pub const SNAPSHOT_BYTES_MAX: usize = 512 * 1024;

#[derive(Serialize)]
struct Snapshot<'a> {
    time_ms: u64,
    node: &'a Node,
    cores: &'a [CoreState],
    streams_count: usize,
    streams_unhealthy: usize,
    bits_in_per_second: u64,
    streams: &'a [Stream],
    forwards_count: usize,
    forwards: &'a [FarEnd<Forward>],
    pulls_count: usize,
    pulls: &'a [FarEnd<Pull>],
    histograms: &'a [Durations],
    stalled_cores: &'a [u16],
}

#[derive(Serialize)]
struct Node {
    name: String,
    version: &'static str,
    state: &'static str,
    uptime_seconds: f64,
    resident_bytes: Option<u64>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
}

#[derive(Serialize)]
struct CoreState {
    core: usize,
    stalled: bool,
    cpu_seconds: Option<f64>,
    polling: bool,
    connections: u64,
    publishers: u64,
    subscribers: u64,
    streams: u64,
    bytes_in: u64,
    bytes_out: u64,
    wakeups: u64,
    polls: u64,
    polls_empty: u64,
    frames_dropped: u64,
    tick_overruns: u64,
}

#[derive(Serialize)]
struct Durations {
    name: &'static str,
    help: &'static str,
    buckets: Vec<(Option<f64>, u64)>,
}

/// What there is to see now; `None` while too many questions are on the way to the cores.
pub(super) async fn compose<C: Cores>(control: &Control<C>) -> Option<String> {
    let (mut streams, outgoing, mut stalled_cores) = match control.cores.get() {
        None => Default::default(),
        Some(cores) => {
            let _permit = permit(control).await.ok()?;
            let (streams, outgoing) = tokio::join!(cores.streams(QUERY_MAX), cores.outgoing(QUERY_MAX));
            let ((streams, mut stalled), (outgoing, others)) = (gather(streams), gather(outgoing));
            stalled.extend(others);
            (streams, outgoing, stalled)
        }
    };
    stalled_cores.sort_unstable();
    stalled_cores.dedup();
    let (streams_count, bits_in_per_second) =
        (streams.len(), streams.iter().map(|stream| stream.bits_in_per_second).sum());
    let streams_unhealthy = streams.iter().filter(|stream| is_wrong(stream)).count();
    streams.sort_by(|a, b| rank(a).cmp(&rank(b)));
    streams.truncate(ENTRIES_MAX);
    let streams: Vec<_> = streams.into_iter().map(Stream::from).collect();
    let outgoing = by_id(outgoing);
    let (forwards_count, forwards) = first(listed(&control.forwards, &outgoing, Forward::new));
    let (pulls_count, pulls) = first(listed(&control.pulls, &outgoing, Pull::new));
    let (node, cores, histograms) = (node(control), core_states(control), histograms(control));
    let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let with = |entries_max: usize| Snapshot {
        time_ms: u64::try_from(time_ms).unwrap_or(u64::MAX),
        node: &node,
        cores: &cores,
        streams_count,
        streams_unhealthy,
        bits_in_per_second,
        streams: up_to(&streams, entries_max),
        forwards_count,
        forwards: up_to(&forwards, entries_max),
        pulls_count,
        pulls: up_to(&pulls, entries_max),
        histograms: &histograms,
        stalled_cores: &stalled_cores,
    };
    fitting(|entries_max| serde_json::to_string(&with(entries_max)).ok())
}

/// The text with as many entries as fit.
fn fitting(text: impl Fn(usize) -> Option<String>) -> Option<String> {
    let fewer = std::iter::successors(Some(ENTRIES_MAX), |entries| (*entries > 0).then_some(entries / 2));
    fewer.filter_map(text).find(|text| text.len() <= SNAPSHOT_BYTES_MAX)
}

fn up_to<T>(all: &[T], count: usize) -> &[T] {
    all.get(..count).unwrap_or(all)
}

fn is_wrong(stream: &StreamInfo) -> bool {
    stream.absent || !stream.health.is_empty()
}

/// Sorts what is worth to be seen first.
fn rank(stream: &StreamInfo) -> impl Ord + '_ {
    (!is_wrong(stream), std::cmp::Reverse(stream.bits_in_per_second), &stream.app, &stream.name)
}

/// How many there are, and the first of them: those that are on their way before those that are where they should be.
fn first<T>(mut all: Vec<FarEnd<T>>) -> (usize, Vec<FarEnd<T>>) {
    let count = all.len();
    all.sort_by_key(FarEnd::is_settled);
    all.truncate(ENTRIES_MAX);
    (count, all)
}

fn node<C: Cores>(control: &Control<C>) -> Node {
    let state = match control.cores.get() {
        Some(cores) if cores.is_draining() => "draining",
        Some(cores) if cores.is_ready() => "ready",
        _ => "starting",
    };
    let usage = process::Usage::now();
    Node {
        name: process::host_name(),
        version: env!("CARGO_PKG_VERSION"),
        state,
        uptime_seconds: control.started.elapsed().unwrap_or_default().as_secs_f64(),
        resident_bytes: usage.as_ref().map(|usage| usage.resident_bytes),
        open_fds: usage.as_ref().map(|usage| usage.open_fds),
        max_fds: usage.as_ref().map(|usage| usage.max_fds),
    }
}

fn core_states<C: Cores>(control: &Control<C>) -> Vec<CoreState> {
    let Some(cores) = control.cores.get() else { return Vec::new() };
    let cpu_seconds = process::cpu_seconds_of_threads();
    let state = |core| {
        let counts = cores.counts(core);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CoreState {
            core,
            stalled: cores.sweep_age(core) > SWEEP_AGE_MAX,
            cpu_seconds: cpu_seconds.get(&format!("core-{core}")).copied(),
            polling: read(&counts.polling) > 0,
            connections: read(&counts.connections),
            publishers: read(&counts.publishers),
            subscribers: read(&counts.subscribers),
            streams: read(&counts.streams_home),
            bytes_in: read(&counts.bytes_in),
            bytes_out: read(&counts.bytes_out),
            wakeups: read(&counts.wakeups),
            polls: read(&counts.polls),
            polls_empty: read(&counts.polls_empty),
            frames_dropped: read(&counts.frames_dropped),
            tick_overruns: read(&counts.tick_overruns),
        }
    };
    (0..cores.cores()).map(state).collect()
}

/// Those of durations, over all cores.
fn histograms<C: Cores>(control: &Control<C>) -> Vec<Durations> {
    let Some(cores) = control.cores.get() else { return Vec::new() };
    let mut sums: Vec<Durations> = Vec::new();
    for core in 0..cores.cores() {
        let histograms = cores.histograms(core);
        histograms.for_each(|name, help, histogram| {
            if histogram.unit() != Unit::Seconds {
                return;
            }
            match sums.iter_mut().find(|sum| sum.name == name) {
                Some(sum) => {
                    for ((_, sum), (_, count)) in sum.buckets.iter_mut().zip(histogram.buckets()) {
                        *sum += count;
                    }
                }
                None => sums.push(Durations { name, help, buckets: buckets(histogram) }),
            }
        });
    }
    sums
}

fn buckets(histogram: &Histogram) -> Vec<(Option<f64>, u64)> {
    histogram.buckets().map(|(bound, count)| ((bound < f64::MAX).then_some(bound), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_is_too_long_has_fewer_entries() {
        let of_entries_with = |bytes: usize| {
            let text = fitting(|entries| Some("x".repeat(100 + entries * bytes))).expect("one that fits");
            (text.len() - 100) / bytes
        };
        assert_eq!(of_entries_with(1_000), ENTRIES_MAX);
        assert_eq!(of_entries_with(10_000), ENTRIES_MAX / 2);
        assert_eq!(of_entries_with(SNAPSHOT_BYTES_MAX), 0);
        assert_eq!(fitting(|_| Some("x".repeat(SNAPSHOT_BYTES_MAX + 1))), None);
    }
}
