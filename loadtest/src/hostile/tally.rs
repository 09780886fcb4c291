//! What came of hostile peers of one kind.
//!
//! # Bounds
//! A few dozen kinds of ends are told apart; what comes after them is `other`, since a server can put any text in its refusals.

use std::collections::BTreeMap;

use hdrhistogram::Histogram as Hdr;

use super::kind::Kind;
use super::line::Ended;
use crate::report::{HIGHEST_US, Histogram, HostileEnd, HostileResult, empty};

/// Kinds of ends that are told apart.
const ENDS: usize = 32;

/// Characters kept of an end's text.
const HOW_CHARS: usize = 160;

/// Counts of one kind.
#[derive(Debug)]
pub struct Tally {
    kind: Kind,
    peers: u64,
    opened: u64,
    refused: u64,
    ended: u64,
    left: u64,
    handshakes: u64,
    skipped: u64,
    bytes_in: u64,
    bytes_out: u64,
    lasted: Hdr<u64>,
    tls_handshake: Hdr<u64>,
    ends: BTreeMap<String, u64>,
}

impl Tally {
    /// Nothing yet, of so many peers.
    pub fn new(kind: Kind, peers: u64) -> Self {
        Self {
            kind,
            peers,
            opened: 0,
            refused: 0,
            ended: 0,
            left: 0,
            handshakes: 0,
            skipped: 0,
            bytes_in: 0,
            bytes_out: 0,
            lasted: empty(),
            tls_handshake: empty(),
            ends: BTreeMap::new(),
        }
    }

    /// A connection could not be opened.
    pub fn not_opened(&mut self, error: &std::io::Error) {
        self.refused += 1;
        self.end(format!("not connected: {}", error.kind()));
    }

    /// A connection was opened.
    pub fn opened(&mut self) {
        self.opened += 1;
    }

    /// A TLS handshake was done in so long.
    pub fn handshake(&mut self, us: u64) {
        self.handshakes += 1;
        record(&mut self.tls_handshake, us);
    }

    /// So many handshakes that were due were not begun.
    pub fn skipped(&mut self, count: u64) {
        self.skipped += count;
    }

    /// So many bytes were written and read.
    pub fn moved(&mut self, sent: u64, received: u64) {
        self.bytes_in += sent;
        self.bytes_out += received;
    }

    /// A connection is over, `us` after it was opened.
    pub fn ended(&mut self, ended: &Ended, us: u64) {
        match ended {
            Ended::Left(_) => self.left += 1,
            _ => {
                self.ended += 1;
                record(&mut self.lasted, us);
            }
        }
        self.refused += u64::from(matches!(ended, Ended::Refused(_)));
        self.end(ended.to_string());
    }

    fn end(&mut self, how: String) {
        let shown = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
        let how: String = how.chars().take(HOW_CHARS).map(shown).collect();
        let known = self.ends.contains_key(&how) || self.ends.len() < ENDS;
        *self.ends.entry(if known { how } else { "other".to_owned() }).or_default() += 1;
    }

    /// As the report has it.
    pub fn into_result(self) -> HostileResult {
        HostileResult {
            kind: self.kind.name().to_owned(),
            peers: self.peers,
            opened: self.opened,
            refused: self.refused,
            ended: self.ended,
            left: self.left,
            open: self.opened - self.ended - self.left,
            handshakes: self.handshakes,
            skipped: self.skipped,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            lasted: Histogram::from(&self.lasted),
            tls_handshake: Histogram::from(&self.tls_handshake),
            ends: self.ends.into_iter().map(|(how, count)| HostileEnd { how, count }).collect(),
        }
    }
}

fn record(histogram: &mut Hdr<u64>, us: u64) {
    histogram.record(us.min(HIGHEST_US)).expect("a histogram that grows takes any value");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_is_ended_or_left_or_open() {
        let mut tally = Tally::new(Kind::Garbage, 2);
        for _ in 0..5 {
            tally.opened();
        }
        tally.ended(&Ended::Closed, 10);
        tally.ended(&Ended::Reset, 30);
        tally.ended(&Ended::Refused("NetStream.Publish.BadName\u{1b}".to_owned()), 20);
        tally.ended(&Ended::Left("cut by itself"), 1_000);
        tally.not_opened(&std::io::ErrorKind::ConnectionRefused.into());
        let result = tally.into_result();
        assert_eq!((result.opened, result.ended, result.left, result.open), (5, 3, 1, 1));
        assert_eq!((result.refused, result.lasted.count, result.lasted.max), (2, 3, 30));
        let ends: Vec<_> = result.ends.iter().map(|end| (end.how.as_str(), end.count)).collect();
        let wanted = [
            "closed by the server",
            "cut by itself",
            "not connected: connection refused",
            "refused: NetStream.Publish.BadName\u{fffd}",
            "reset by the server",
        ];
        assert_eq!(ends, wanted.map(|how| (how, 1)));
    }

    #[test]
    fn ends_are_bounded() {
        let mut tally = Tally::new(Kind::FailedPublish, 1);
        for at in 0..1_000 {
            tally.opened();
            tally.ended(&Ended::Refused(format!("{at} {}", "x".repeat(1_000))), 1);
        }
        let result = tally.into_result();
        assert_eq!((result.ends.len(), result.ended), (ENDS + 1, 1_000));
        assert!(result.ends.iter().all(|end| end.how.chars().count() <= HOW_CHARS));
    }
}
