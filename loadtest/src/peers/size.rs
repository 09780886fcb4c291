//! How much is measured: the numbers in which the two lengths of the table differ.

use super::trial::Drive;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// What the table says.
    Full,
    /// Few connections for a second.
    Short,
}

/// The numbers in which the two lengths differ.
pub(super) struct Size {
    pub(super) publishers: u32,
    /// Of one of them. In the short form so much that CPU time, which is told in 10 ms, is not nothing.
    pub(super) bitrate_kbit: u32,
    pub(super) many_publishers: u32,
    pub(super) many_bitrate_kbit: u32,
    pub(super) players: u32,
    pub(super) waiting: u32,
    pub(super) sessions: u32,
    pub(super) few_publishers: u32,
    pub(super) forwarded: u32,
    /// Of what is forwarded. In the short form so few that all streams have one in the warm-up, from which their forwards begin.
    pub(super) forwarded_gop_frames: Option<u32>,
    /// Connections opened a second; 0 for all at once.
    pub(super) ramp: u32,
    /// Until publishers, whose starts are spread over 2 s, are all at work.
    pub(super) warmup_s: f64,
    /// Until each has a whole GOP of 2 s as well.
    pub(super) gop_warmup_s: f64,
    pub(super) duration_s: f64,
}

impl Size {
    pub(super) fn of(length: Length) -> Self {
        match length {
            Length::Full => Self {
                publishers: 500,
                bitrate_kbit: 3_000,
                many_publishers: 3_000,
                many_bitrate_kbit: 300,
                players: 300,
                waiting: 10_000,
                sessions: 64,
                few_publishers: 100,
                forwarded: 200,
                forwarded_gop_frames: None,
                ramp: 500,
                warmup_s: 2.0,
                gop_warmup_s: 5.0,
                duration_s: 6.0,
            },
            Length::Short => Self {
                publishers: 20,
                bitrate_kbit: 18_000,
                many_publishers: 100,
                many_bitrate_kbit: 3_000,
                players: 20,
                waiting: 100,
                sessions: 16,
                few_publishers: 20,
                forwarded: 20,
                forwarded_gop_frames: Some(5),
                ramp: 0,
                warmup_s: 0.5,
                gop_warmup_s: 0.5,
                duration_s: 1.2,
            },
        }
    }

    /// Publishers and nobody else, as most cases have it.
    pub(super) fn publish(&self, publishers: u32, bitrate_kbit: u32) -> Drive {
        Drive {
            mode: "publish",
            publishers,
            players: 0,
            per_stream: false,
            bitrate_kbit,
            pacing: "frame",
            ramp: self.ramp,
            warmup_s: self.warmup_s,
            duration_s: self.duration_s,
            churning: false,
            pinned: true,
            forwarded: false,
            gop_frames: None,
        }
    }

    pub(super) fn mbit(&self) -> f64 {
        f64::from(self.bitrate_kbit) / 1e3
    }
}
