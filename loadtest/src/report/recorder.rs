//! What a worker thread fills while it runs.
//!
//! One a thread, without locks; [`Recorder::take`] hands over what came since the last time, so that one thread can merge and
//! show them while the run goes on. Bounds: a histogram grows to about 200 kB; kinds of errors stop at [`KINDS`] a stage, and
//! what comes after them is counted as `other`, since a server can put any text in its refusals.

use std::collections::BTreeMap;
use std::mem;

use hdrhistogram::Histogram as Hdr;

use super::forwards::ForwardsResult;
use super::histogram::{HIGHEST_US, Histogram, empty};
use super::hostile::HostileResult;
use super::model::{
    Counts, Latencies, PersonaCounts, PersonaResult, Run, Sample, ServerCost, Setting, Stage, StageErrors,
    Throughput, VERSION, Validity,
};

/// Kinds of errors that are told apart in a stage.
const KINDS: usize = 32;

/// Characters kept of an error's text.
const KIND_CHARS: usize = 160;

/// Latencies, counts and errors of one thread, or of several merged.
///
/// Latencies are recorded in microseconds; the fields have the names and meanings of [`Latencies`] and [`Counts`].
#[derive(Clone, Debug)]
pub struct Recorder {
    tcp_connect: Hdr<u64>,
    tls_handshake: Hdr<u64>,
    handshake: Hdr<u64>,
    publish_accepted: Hdr<u64>,
    play_accepted: Hdr<u64>,
    first_frame: Hdr<u64>,
    e2e: Hdr<u64>,
    gap: Hdr<u64>,
    generator_late: Hdr<u64>,
    rtt: Hdr<u64>,
    /// How long after its time a thread woke, all that was to be read then included. Tells whether the run is valid, and no more.
    woken_late: Hdr<u64>,
    /// What happened how often.
    pub counts: Counts,
    /// Bytes written to the server.
    pub bytes_in: u64,
    /// Bytes read from the server.
    pub bytes_out: u64,
    /// Publish and play requests accepted while measured.
    pub sessions: u64,
    /// Publish requests of steady peers accepted.
    pub steady_publishes: u64,
    /// When the first and the last connection was opened, µs, without those opened again.
    opened_us: Option<(u64, u64)>,
    /// Messages that came after they were counted as lost, maybe by a recorder that was handed over since: settled by
    /// [`Recorder::merge`].
    pub recovered: u64,
    errors: Errors,
    personas: Vec<PersonaRecorder>,
}

/// The same of one kind of peers.
#[derive(Clone, Debug)]
pub struct PersonaRecorder {
    /// What happened how often.
    pub counts: PersonaCounts,
    /// As [`Recorder::recovered`].
    pub recovered: u64,
    e2e: Hdr<u64>,
    gap: Hdr<u64>,
    errors: Errors,
}

/// Takes what came after all off what was counted as missing, as far as it is known here.
fn settle(missing: &mut u64, recovered: &mut u64) {
    let settled = (*missing).min(*recovered);
    *missing -= settled;
    *recovered -= settled;
}

/// How often which failure was, with bounded kinds.
#[derive(Clone, Debug, Default)]
struct Errors(BTreeMap<(Stage, String), u64>);

/// Declares a method that records for each histogram, and what walks over all of them.
macro_rules! latencies {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        impl Recorder {
            /// An empty one.
            pub fn new() -> Self {
                Self {
                    $($name: empty(),)*
                    woken_late: empty(),
                    counts: Counts::default(),
                    bytes_in: 0,
                    bytes_out: 0,
                    sessions: 0,
                    steady_publishes: 0,
                    opened_us: None,
                    recovered: 0,
                    errors: Errors::default(),
                    personas: Vec::new(),
                }
            }

            $($(#[$doc])* pub fn $name(&mut self, us: u64) {
                // `saturating_record` would not let the histogram grow; `record` fails only where it may not grow.
                self.$name.record(us.min(HIGHEST_US)).expect("a histogram that grows takes any value");
            })*

            fn merge_latencies(&mut self, other: &Self) {
                $(self.$name.add(&other.$name).expect("a histogram that grows takes another of its digits");)*
            }

            fn latencies(&self) -> Latencies {
                Latencies { $($name: Histogram::from(&self.$name),)* }
            }
        }
    };
}

latencies! {
    /// Records the time from `connect(2)` to connected.
    tcp_connect,
    /// Records the time of the TLS handshake.
    tls_handshake,
    /// Records the time of the RTMP handshake.
    handshake,
    /// Records the time from `publish` to its acceptance.
    publish_accepted,
    /// Records the time from `play` to its acceptance.
    play_accepted,
    /// Records the time from `play` to the first media message.
    first_frame,
    /// Records the time from a message's due time to its last byte at a player.
    e2e,
    /// Records the time from one message to the next at a player.
    gap,
    /// Records how long after its due time the harness wrote a message.
    generator_late,
    /// Records a publisher's round-trip time.
    rtt,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// What the run's thread knows besides what was recorded.
#[derive(Clone, Debug, Default)]
pub struct RunFacts {
    /// When the load started, milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// What was asked for.
    pub setting: Setting,
    /// Kinds of peers in the order of their numbers, each with how many there are; empty when all are steady.
    pub personas: Vec<(String, u64)>,
    /// What came of hostile peers, who are recorded by themselves.
    pub hostile: Vec<HostileResult>,
    /// What came of what the server forwards, which is recorded by itself as well.
    pub forwards: Option<ForwardsResult>,
    /// Whether the figures may be believed.
    pub valid: Validity,
    /// How long was measured, seconds.
    pub duration_s: f64,
    /// What the server's process took, with `--server-pid`.
    pub server: Option<ServerUse>,
    /// The run over time.
    pub series: Vec<Sample>,
}

/// What the server's process took while measured, as `/proc` tells it.
#[derive(Clone, Debug, Default)]
pub struct ServerUse {
    /// CPU seconds outside the kernel.
    pub user_s: f64,
    /// CPU seconds in the kernel.
    pub system_s: f64,
    /// Resident memory at its highest.
    pub rss_bytes: u64,
    /// Proportional memory at the end, where it can be read.
    pub pss_bytes: Option<u64>,
    /// The same memory (PSS, else RSS) before the first connection.
    pub idle_bytes: u64,
    /// Connections open when the memory was read.
    pub connections: u64,
    /// Publishers among them.
    pub publishers: u64,
}

impl Recorder {
    /// Counts a failure of a steady peer. `kind` is the error's text; what is too long of it is cut, and what a terminal would
    /// obey is replaced.
    pub fn error(&mut self, stage: Stage, kind: &str) {
        self.errors.count(stage, kind);
    }

    /// The part of one kind of peers, by its number in the run's cast.
    pub fn persona(&mut self, number: usize) -> &mut PersonaRecorder {
        if self.personas.len() <= number {
            self.personas.resize_with(number + 1, PersonaRecorder::default);
        }
        &mut self.personas[number]
    }

    /// Adds what another one holds.
    pub fn merge(&mut self, other: &Self) {
        self.merge_latencies(other);
        self.woken_late.add(&other.woken_late).expect("a histogram that grows takes another of its digits");
        self.counts.merge(&other.counts);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.sessions += other.sessions;
        self.steady_publishes += other.steady_publishes;
        if let Some((first_us, last_us)) = other.opened_us {
            self.widen_opened(first_us, last_us);
        }
        self.recovered += other.recovered;
        settle(&mut self.counts.lost, &mut self.recovered);
        self.errors.merge(&other.errors);
        for (number, persona) in other.personas.iter().enumerate() {
            self.persona(number).merge(persona);
        }
    }

    /// Counts a connection opened now, and `again` if its peer had one before.
    pub fn opened(&mut self, persona: usize, again: bool, now_us: u64) {
        if !again {
            self.widen_opened(now_us, now_us);
        }
        self.counts.connections_opened += 1;
        self.counts.reconnects += u64::from(again);
        let counts = &mut self.persona(persona).counts;
        counts.opened += 1;
        counts.reconnects += u64::from(again);
    }

    fn widen_opened(&mut self, first_us: u64, last_us: u64) {
        let (first, last) = self.opened_us.unwrap_or((first_us, last_us));
        self.opened_us = Some((first.min(first_us), last.max(last_us)));
    }

    /// What came since the last call; nothing is left behind.
    pub fn take(&mut self) -> Self {
        mem::take(self)
    }

    /// p99 of the end-to-end latency held, µs; `None` without a message.
    pub fn e2e_p99_us(&self) -> Option<u64> {
        (!self.e2e.is_empty()).then(|| self.e2e.value_at_percentile(99.0))
    }

    /// The value that `percent` of the messages were at most late by in the harness itself, µs; `None` without a message.
    pub fn generator_late_us(&self, percent: f64) -> Option<u64> {
        (!self.generator_late.is_empty()).then(|| self.generator_late.value_at_percentile(percent))
    }

    /// Records how long after its time a thread woke.
    pub fn woken_late(&mut self, us: u64) {
        self.woken_late.record(us.min(HIGHEST_US)).expect("a histogram that grows takes any value");
    }

    /// The value that `percent` of the times when a thread was to wake were at most late by, µs; `None` when it never was to.
    pub fn woken_late_us(&self, percent: f64) -> Option<u64> {
        (!self.woken_late.is_empty()).then(|| self.woken_late.value_at_percentile(percent))
    }

    /// What failed most often.
    pub fn commonest_error(&self) -> Option<(Stage, &str)> {
        let most = self.errors.0.iter().max_by_key(|(_, count)| **count);
        most.map(|((stage, kind), _)| (*stage, kind.as_str()))
    }

    /// Makes the run of it.
    pub fn into_run(self, facts: RunFacts) -> Run {
        let RunFacts {
            started_at_unix_ms,
            setting,
            personas,
            hostile,
            forwards,
            valid,
            duration_s,
            server,
            series,
        } = facts;
        // Those that recorded nothing are there as well.
        let parts = self.personas.iter().cloned().chain(std::iter::repeat_with(PersonaRecorder::default));
        let gb_in = self.bytes_in as f64 / 1e9;
        let gb_out = self.bytes_out as f64 / 1e9;
        let a_second = |count: f64| if duration_s > 0.0 { count / duration_s } else { 0.0 };
        let throughput = Throughput {
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            gb_in,
            gb_out,
            mbit_per_second_in: a_second(gb_in * 8e3),
            mbit_per_second_out: a_second(gb_out * 8e3),
            messages_per_second_in: a_second(self.counts.sent as f64),
            messages_per_second_out: a_second(self.counts.received as f64),
            connections_per_second: match self.opened_us {
                Some((first_us, last_us)) if last_us > first_us => {
                    let opened = self.counts.connections_opened.saturating_sub(self.counts.reconnects);
                    // From the first to the last there is one less.
                    opened.saturating_sub(1) as f64 * 1e6 / (last_us - first_us) as f64
                }
                _ => 0.0,
            },
            sessions_per_second: a_second(self.sessions as f64),
        };
        let server = server.map(|used| {
            let cpu_s = used.user_s + used.system_s;
            let grown = used.pss_bytes.unwrap_or(used.rss_bytes).saturating_sub(used.idle_bytes) as f64;
            let each = |count: u64| (count > 0).then(|| grown / count as f64);
            ServerCost {
                user_s: used.user_s,
                system_s: used.system_s,
                cpu_share: a_second(cpu_s),
                cpu_s_per_gb_in: (gb_in > 0.0).then(|| cpu_s / gb_in),
                // Without players, what comes out are answers to publishers.
                cpu_s_per_gb_out: (gb_out > 0.0 && setting.players > 0).then(|| cpu_s / gb_out),
                cpu_us_per_session: (self.sessions > 0).then(|| cpu_s * 1e6 / self.sessions as f64),
                rss_bytes: used.rss_bytes,
                pss_bytes: used.pss_bytes,
                per_connection_bytes: each(used.connections),
                // Of what players hold beside them, publishers would bear a part.
                per_publisher_bytes: each(used.publishers).filter(|_| used.publishers == used.connections),
            }
        });
        Run {
            version: VERSION,
            tool: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
            started_at_unix_ms,
            setting,
            valid,
            duration_s,
            latencies: self.latencies(),
            counts: Counts { lost: self.counts.lost.saturating_sub(self.recovered), ..self.counts },
            errors: self.errors.into_list(),
            personas: personas
                .into_iter()
                .zip(parts)
                .map(|((name, peers), part)| part.into_result(name, peers))
                .collect(),
            hostile,
            forwards,
            throughput,
            server,
            series,
        }
    }
}

impl Default for PersonaRecorder {
    fn default() -> Self {
        Self {
            counts: PersonaCounts::default(),
            recovered: 0,
            e2e: empty(),
            gap: empty(),
            errors: Errors::default(),
        }
    }
}

impl PersonaRecorder {
    /// Records the time from a message's due time to its last byte at a player.
    pub fn e2e(&mut self, us: u64) {
        self.e2e.record(us.min(HIGHEST_US)).expect("a histogram that grows takes any value");
    }

    /// Records the time from one message to the next at a player.
    pub fn gap(&mut self, us: u64) {
        self.gap.record(us.min(HIGHEST_US)).expect("a histogram that grows takes any value");
    }

    /// Counts a failure, as [`Recorder::error`].
    pub fn error(&mut self, stage: Stage, kind: &str) {
        self.errors.count(stage, kind);
    }

    fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.recovered += other.recovered;
        self.e2e.add(&other.e2e).expect("a histogram that grows takes another of its digits");
        self.gap.add(&other.gap).expect("a histogram that grows takes another of its digits");
        self.errors.merge(&other.errors);
    }

    fn into_result(self, name: String, peers: u64) -> PersonaResult {
        let (e2e, gap) = (Histogram::from(&self.e2e), Histogram::from(&self.gap));
        let missing = self.counts.missing.saturating_sub(self.recovered);
        let counts = PersonaCounts { missing, ..self.counts };
        PersonaResult { name, peers, counts, e2e, gap, errors: self.errors.into_list() }
    }
}

impl Errors {
    fn count(&mut self, stage: Stage, kind: &str) {
        let shown = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
        self.add(stage, kind.chars().take(KIND_CHARS).map(shown).collect(), 1);
    }

    fn add(&mut self, stage: Stage, kind: String, count: u64) {
        let known = self.0.contains_key(&(stage, kind.clone()));
        let full = self.0.keys().filter(|(at, _)| *at == stage).count() >= KINDS;
        let kind = if known || !full { kind } else { "other".to_owned() };
        *self.0.entry((stage, kind)).or_default() += count;
    }

    fn merge(&mut self, other: &Self) {
        for ((stage, kind), count) in &other.0 {
            self.add(*stage, kind.clone(), *count);
        }
    }

    fn into_list(self) -> Vec<StageErrors> {
        self.0.into_iter().map(|((stage, kind), count)| StageErrors { stage, kind, count }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_is_as_if_one_had_recorded_all() {
        let (mut a, mut b, mut both) = (Recorder::new(), Recorder::new(), Recorder::new());
        for us in [1, 50_000, u64::MAX] {
            a.e2e(us);
            both.e2e(us);
            b.gap(us / 2);
            both.gap(us / 2);
        }
        for recorder in [&mut b, &mut both] {
            recorder.counts.lost += 3;
            recorder.bytes_out += 10;
            recorder.error(Stage::Play, "refused");
            recorder.persona(2).e2e(9_000);
            recorder.persona(2).counts.missing += 1;
            recorder.persona(2).error(Stage::Media, "gone");
        }
        let taken = a.take();
        assert_eq!(a.e2e_p99_us(), None);
        a.merge(&taken);
        a.merge(&b);
        let facts = RunFacts { personas: vec![(String::new(), 1); 3], ..RunFacts::default() };
        let (a, both) = (a.into_run(facts.clone()), both.into_run(facts));
        assert_eq!((a.personas[0].counts.missing, a.personas[2].counts.missing), (0, 1));
        assert_eq!((a.personas[2].e2e.count, a.personas[2].errors.len()), (1, 1));
        assert_eq!(a, both);
        // What is longer than an hour is an hour, within three digits.
        assert!(a.latencies.e2e.max.abs_diff(HIGHEST_US) < HIGHEST_US / 1000);
        assert_eq!(a.latencies.e2e.check(), Ok(()));
    }

    /// A message is missed before a hand-over and comes after it, on another thread even.
    #[test]
    fn what_was_lost_and_came_is_not_lost() {
        for lost_first in [true, false] {
            let (mut before, mut after, mut total) = (Recorder::new(), Recorder::new(), Recorder::new());
            before.counts.lost = 3;
            after.recovered = 2;
            let order = if lost_first { [&before, &after] } else { [&after, &before] };
            for recorder in order {
                total.merge(recorder);
            }
            assert_eq!(total.into_run(RunFacts::default()).counts.lost, 1);
        }
    }

    #[test]
    fn what_comes_a_second_after_it_was_missed_is_not_lost() {
        let mut recorder = Recorder::new();
        recorder.counts.lost += 3;
        let mut total = recorder.take();
        recorder.recovered += 2;
        recorder.persona(0).recovered += 1;
        total.merge(&recorder);
        assert_eq!(total.into_run(RunFacts::default()).counts.lost, 1);
    }

    /// On two threads, the second of which had a connection again long after.
    #[test]
    fn connections_a_second_are_from_the_first_to_the_last() {
        let (mut a, mut b) = (Recorder::new(), Recorder::new());
        for at_us in [1_000_000, 1_200_000] {
            a.opened(0, false, at_us);
            b.opened(0, false, at_us + 100_000);
        }
        b.opened(0, true, 9_000_000);
        let mut total = a.take();
        total.merge(&b);
        let run = total.into_run(RunFacts::default());
        assert_eq!((run.counts.connections_opened, run.counts.reconnects), (5, 1));
        assert!((run.throughput.connections_per_second - 10.0).abs() < 1e-9);
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let mut recorder = Recorder::new();
        for at in 0..1000 {
            recorder.error(Stage::Media, &format!("{at} {}", "x".repeat(10_000)));
        }
        recorder.error(Stage::Play, "\u{1b}[2J");
        let run = recorder.into_run(RunFacts::default());
        assert_eq!(run.errors.len(), KINDS + 2);
        assert!(run.errors.iter().all(|errors| errors.kind.chars().count() <= KIND_CHARS));
        assert!(run.errors.iter().any(|errors| errors.kind == "\u{fffd}[2J"));
        let other = run.errors.iter().find(|errors| errors.kind == "other").unwrap();
        assert_eq!(other.count, 1000 - KINDS as u64);
    }

    /// A player's memory is no publisher's, and an answer to a publisher is no output.
    #[test]
    fn a_figure_is_told_of_those_alone_that_it_is_of() {
        for (players, per_publisher_bytes, cpu_s_per_gb_out) in [(0, Some(500.0), None), (2, None, Some(0.5))]
        {
            let used = ServerUse { user_s: 1.0, rss_bytes: 1_000, ..ServerUse::default() };
            let facts = RunFacts {
                setting: Setting { publishers: 2, players: players as u32, ..Setting::default() },
                server: Some(ServerUse { publishers: 2, connections: 2 + players, ..used }),
                ..RunFacts::default()
            };
            let mut recorder = Recorder::new();
            recorder.bytes_out = 2_000_000_000;
            let cost = recorder.into_run(facts).server.unwrap();
            assert_eq!(
                (cost.per_publisher_bytes, cost.cpu_s_per_gb_out),
                (per_publisher_bytes, cpu_s_per_gb_out)
            );
        }
    }

    #[test]
    fn nothing_measured_divides_by_nothing() {
        let run =
            Recorder::new().into_run(RunFacts { server: Some(ServerUse::default()), ..RunFacts::default() });
        assert_eq!(run.server.as_ref().unwrap().cpu_s_per_gb_in, None);
        assert_eq!(run.throughput, Throughput::default());
        assert_eq!(Run::from_json(&run.to_json()).unwrap(), run);
    }
}
