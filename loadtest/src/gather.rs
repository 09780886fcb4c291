//! The run's own thread: gathers what the others record, and looks at the server.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::clock::now_us;
use crate::live::Live;
use crate::plan::Plan;
use crate::process::{self, Usage};
use crate::report::{Recorder, Sample};
use crate::worker::Tick;

/// How long after the end what is on its way may take.
const LINGER_US: u64 = 500_000;
/// How long a publisher may take to write what was due.
const BACKLOG_US_MAX: u64 = 5_000_000;

/// The server at a moment that matters.
#[derive(Clone, Copy)]
pub struct Reading {
    pub(crate) at_us: u64,
    pub(crate) usage: Usage,
    pub(crate) pss_bytes: Option<u64>,
    pub(crate) connections: u64,
    pub(crate) publishers: u64,
}

/// Why a run ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenOff {
    /// The server's process is gone.
    ServerGone,
    /// All connections are that there were to be, whether the server is gone or has closed them.
    AllClosed,
    /// All publishers are, and none comes back: players are left with nothing to play.
    PublishersClosed,
}

/// What has been gathered.
pub struct Gathering<'a> {
    plan: &'a Plan,
    threads: usize,
    peers: u64,
    publishers: u64,
    steady_publishers: u64,
    pid: Option<u32>,
    pub(crate) total: Recorder,
    pub(crate) series: Vec<Sample>,
    /// What came of the second that is being gathered: its end, from how many threads, what.
    tick: Option<(u64, usize, Recorder)>,
    /// The last look at the server's CPU time.
    last: Option<(u64, Usage)>,
    pub(crate) begin: Option<Reading>,
    pub(crate) end: Option<Reading>,
    /// The last one of a server that was there.
    seen: Option<Reading>,
    pub(crate) rss_bytes_max: u64,
    pub(crate) broken_off: Option<BrokenOff>,
    /// When it was first seen that all publishers, or all peers, have ended.
    pointless_since_us: Option<u64>,
    live: Live,
    /// End of the second that was shown last.
    shown_us: u64,
}

impl Gathering<'_> {
    /// Of a run of so many threads, peers, publishers among them and steady ones among those. `idle` is what the server used before the load.
    pub fn new(
        plan: &Plan,
        threads: usize,
        peers: u64,
        publishers: u64,
        steady_publishers: u64,
        idle: Option<(u32, Usage)>,
    ) -> Gathering<'_> {
        Gathering {
            plan,
            threads,
            peers,
            publishers,
            steady_publishers,
            pid: idle.map(|(pid, _)| pid),
            total: Recorder::new(),
            series: Vec::new(),
            tick: None,
            last: idle.map(|(_, usage)| (now_us(), usage)),
            begin: None,
            end: None,
            seen: None,
            rss_bytes_max: 0,
            broken_off: None,
            pointless_since_us: None,
            live: Live::new(),
            shown_us: now_us(),
        }
    }

    /// Gathers until the run is over.
    pub fn until_the_end(&mut self, ticks: &Receiver<Tick>) {
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
            let publishing = self.plan.census.publishing.load(Ordering::Relaxed);
            if now >= until_us {
                let late = now >= until_us + BACKLOG_US_MAX;
                if publishing == 0 || late {
                    let quiet_from_us = *quiet_from_us.get_or_insert(now);
                    // A server that stands still at the end owes what it was sent.
                    let lacking = self.plan.census.lacking.load(Ordering::Relaxed);
                    if now >= quiet_from_us + LINGER_US && (lacking == 0 || late) {
                        self.read_memory();
                        return;
                    }
                }
            } else if self.is_without_publisher() && self.all_publishers_are_refused() {
                return;
            } else if let Some(why) = self.pointless_since(now) {
                self.broken_off = Some(why);
                // One that lives and has ended all connections can still be looked at; of one that is gone, what was seen counts.
                match self.reading() {
                    Some(reading) => {
                        self.end = Some(reading);
                        self.read_memory();
                    }
                    None => self.end = self.seen,
                }
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
    pub fn rest(&mut self, ticks: &Receiver<Tick>) {
        while let Ok(tick) = ticks.try_recv() {
            self.on_tick(tick);
        }
        self.finish_tick();
    }

    /// Why nothing more can come, once that is clear. Connections of a server that goes away end one by one, and what was sent may
    /// still be read: so publishers alone are waited after for a while.
    fn pointless_since(&mut self, now: u64) -> Option<BrokenOff> {
        let reading = self.reading();
        self.seen = reading.or(self.seen);
        if self.pid.is_some() && reading.is_none() {
            return Some(BrokenOff::ServerGone);
        }
        let publishers_ended = self.plan.census.publishers_ended.load(Ordering::Relaxed);
        let all_ended = self.plan.census.ended.load(Ordering::Relaxed) >= self.peers;
        let no_publishers = self.publishers > 0 && publishers_ended >= self.publishers;
        if !all_ended && !no_publishers {
            return None;
        }
        let since_us = *self.pointless_since_us.get_or_insert(now);
        let why = if all_ended { BrokenOff::AllClosed } else { BrokenOff::PublishersClosed };
        (now >= since_us + LINGER_US).then_some(why)
    }

    /// None was let in of the steady peers that were to publish.
    pub fn is_without_publisher(&self) -> bool {
        self.steady_publishers > 0 && self.total.steady_publishes == 0
    }

    /// As far as they are steady, which is what `publishes_refused` counts.
    fn all_publishers_are_refused(&self) -> bool {
        self.total.counts.publishes_refused >= self.steady_publishers
    }

    fn reading(&mut self) -> Option<Reading> {
        let pid = self.pid?;
        let usage = process::usage(pid)?;
        self.rss_bytes_max = self.rss_bytes_max.max(usage.rss_bytes);
        Some(Reading {
            at_us: now_us(),
            usage,
            pss_bytes: None,
            connections: self.plan.census.open.load(Ordering::Relaxed),
            publishers: self.plan.census.publishers.load(Ordering::Relaxed),
        })
    }

    /// Adds memory to the last reading. The kernel holds the server's address space while it counts, so this waits until
    /// nothing is measured any more; all connections are still there.
    fn read_memory(&mut self) {
        if let (Some(end), Some(pid)) = (&mut self.end, self.pid) {
            end.pss_bytes = process::pss_bytes(pid);
            end.connections = self.plan.census.open.load(Ordering::Relaxed);
            end.publishers = self.plan.census.publishers.load(Ordering::Relaxed);
        }
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
            connections: self.plan.census.open.load(Ordering::Relaxed),
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
