//! What came of all that was forwarded: streams by their number in the load, and what is told of all of them together.
//!
//! What is wrong with messages, and latency, are told of streams with steady publishers; the others are in their own lines of the report.

use std::collections::BTreeMap;
use std::rc::Rc;

use hdrhistogram::Histogram as Hdr;
use inrush::session::{MediaKind, MediaMessage};

use super::stream::Stream;
use crate::media::stamp::Stamp;
use crate::plan::Plan;
use crate::report::{ForwardEnd, ForwardsResult, HIGHEST_US, Histogram, empty};

/// Filled by one thread.
#[derive(Debug)]
pub(super) struct Tally {
    streams: Vec<Stream>,
    steady: Vec<bool>,
    opened: u64,
    published: u64,
    ends: BTreeMap<String, u64>,
    /// Read while measured, as the network has it.
    pub(super) bytes: u64,
    unstamped: u64,
    e2e: Hdr<u64>,
    gap: Hdr<u64>,
    /// By stream, what was missing at the end.
    missing: Vec<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Tally {
    /// Of so many streams, each with or without a steady publisher.
    pub(super) fn new(steady: Vec<bool>) -> Self {
        Self {
            streams: steady.iter().map(|_| Stream::default()).collect(),
            missing: vec![0; steady.len()],
            steady,
            opened: 0,
            published: 0,
            ends: BTreeMap::new(),
            bytes: 0,
            unstamped: 0,
            e2e: empty(),
            gap: empty(),
        }
    }

    /// A connection came.
    pub(super) fn opened(&mut self) {
        self.opened += 1;
    }

    /// A publish was accepted.
    pub(super) fn published(&mut self) {
        self.published += 1;
    }

    /// A connection ended like this before the run did.
    pub(super) fn ended(&mut self, how: &str) {
        *self.ends.entry(how.to_owned()).or_default() += 1;
    }

    /// A message of a publish of this name came; `stream` is kept with the publish, which is of one stream.
    pub(super) fn on_message(
        &mut self,
        name: &Rc<str>,
        stream: &mut Option<u32>,
        message: &MediaMessage,
        now_us: u64,
        plan: &Plan,
    ) {
        if message.kind == MediaKind::Data {
            return;
        }
        let mut is_new = true;
        Stamp::read_all(message.type_id, &message.payload, |found| {
            let is_of_stream = |stamp: &Stamp| {
                let is_ours = stamp.machine == plan.machine && (stamp.stream as usize) < self.streams.len();
                is_ours && stream.is_none_or(|stream| stream == stamp.stream)
            };
            let Some(stamp) = found.stamp.filter(is_of_stream) else {
                let is_owed = found.is_owed || plan.all_is_stamped;
                self.unstamped += u64::from(is_owed && plan.is_measured(now_us));
                return;
            };
            let number = stamp.stream as usize;
            let (seen, is_steady) = (&mut self.streams[number], self.steady[number]);
            if stream.replace(stamp.stream).is_none() {
                seen.connections += 1;
                seen.name = Some(name.clone());
            }
            // Once a message, however many tracks it carries.
            if std::mem::take(&mut is_new) {
                let gap_us = seen.on_message(message.payload.len(), now_us, plan);
                gap_us.filter(|_| is_steady).into_iter().for_each(|us| record(&mut self.gap, us));
            }
            let e2e_us = seen.on_stamp(&stamp, &plan.sent[number], now_us, plan);
            e2e_us.filter(|_| is_steady).into_iter().for_each(|us| record(&mut self.e2e, us));
        });
    }

    /// How many streams of steady publishers lack something that was sent.
    pub(super) fn lacking(&self, plan: &Plan) -> u64 {
        let all = self.streams.iter().zip(&plan.sent).zip(&self.steady);
        all.filter(|((stream, lanes), is_steady)| **is_steady && stream.missing_at_end(lanes) > 0).count()
            as u64
    }

    /// The run is over: what has not come by now is lost.
    pub(super) fn on_end(&mut self, plan: &Plan) {
        let missing = |(stream, lanes): (&Stream, &Vec<_>)| stream.missing_at_end(lanes);
        self.missing = self.streams.iter().zip(&plan.sent).map(missing).collect();
    }

    /// As the report has it.
    pub(super) fn into_result(self) -> ForwardsResult {
        let each: Vec<_> = (0..)
            .zip(self.streams.into_iter().zip(self.missing))
            .map(|(number, (stream, missing))| stream.into_result(number, missing))
            .collect();
        let steady =
            || each.iter().zip(&self.steady).filter(|(_, is_steady)| **is_steady).map(|(one, _)| one);
        let ended: u64 = self.ends.values().sum();
        ForwardsResult {
            streams: each.iter().filter(|stream| stream.connections > 0).count() as u64,
            opened: self.opened,
            published: self.published,
            ended,
            open: self.opened - ended,
            received: each.iter().map(|stream| stream.received).sum(),
            bytes: self.bytes,
            lost: steady().map(|stream| stream.lost).sum(),
            duplicated: steady().map(|stream| stream.duplicated).sum(),
            reordered: steady().map(|stream| stream.reordered).sum(),
            unstamped: self.unstamped,
            e2e: Histogram::from(&self.e2e),
            gap: Histogram::from(&self.gap),
            ends: self.ends.into_iter().map(|(how, count)| ForwardEnd { how, count }).collect(),
            each,
        }
    }
}

fn record(histogram: &mut Hdr<u64>, us: u64) {
    histogram.record(us.min(HIGHEST_US)).expect("a histogram that grows takes any value");
}
