//! The health codes: their names, and how long a cause must last.

use core::ops::{Index, IndexMut};
use core::time::Duration;

/// How many codes there are.
pub const CODES: usize = Code::ALL.len();

/// What can be wrong with what a publisher sends. Names are stable: alerts and back ends know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// No message of the publisher comes.
    Starving,
    /// Messages come, and no picture is among them.
    NoVideo,
    /// Messages come, and no sound is among them.
    NoAudio,
    /// Key frames are further apart than they should be.
    GopTooLong,
    /// Sound and pictures that arrive together are far apart by their timestamps.
    AvDrift,
    /// The encoder's clock is faster or slower than ours.
    ClockDrift,
    /// More comes than there should.
    BitrateOverLimit,
    /// The steps between pictures vary.
    VariableFrameRate,
}

/// How long a code's cause must last before it begins, and be away before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Time that the cause must have lasted.
    pub begins_after: Duration,
    /// Time that it must have been away. Not less than `begins_after`: a single frame ends nothing, since without a second one the cause
    /// is there again before that.
    pub ends_after: Duration,
}

impl Terms {
    const fn seconds(begins_after: u64, ends_after: u64) -> Self {
        assert!(ends_after >= begins_after, "a single frame would end it");
        let (begins_after, ends_after) = (Duration::from_secs(begins_after), Duration::from_secs(ends_after));
        Self { begins_after, ends_after }
    }
}

/// Longer than a slow encoder leaves between two messages, and about as long as a player's buffer lasts.
const STARVING: Terms = Terms::seconds(3, 3);

/// Longer than a live picture leaves to the next one; who sends pictures more seldom beside sound (a slide show) is said to have none. Less than
/// [`VIDEO_SILENT_MAX`](crate::media::VIDEO_SILENT_MAX): who watches hears of it before joiners are no longer kept waiting for a picture.
const NO_VIDEO: Terms = Terms::seconds(4, 4);

/// As for pictures. Sound comes many times a second, but not from every encoder while nobody speaks.
const NO_AUDIO: Terms = Terms::seconds(4, 4);
/// The length is a threshold already; what is asked for beside it is that more than one frame says so.
const GOP_TOO_LONG: Terms = Terms::seconds(1, 5);
/// Longer than a network holds one kind up.
const AV_DRIFT: Terms = Terms::seconds(5, 5);
/// On top of the time that it takes to know a clock. It ends after the time that it takes to know one anew: a clock that is set has not ceased to drift.
const CLOCK_DRIFT: Terms = Terms::seconds(5, 10);
/// Longer than an encoder makes up for what a network has held back.
const BITRATE_OVER_LIMIT: Terms = Terms::seconds(5, 5);
/// Longer than a change of scenes or a lost picture makes its steps uneven.
const VARIABLE_FRAME_RATE: Terms = Terms::seconds(5, 5);

impl Code {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Starving,
        Self::NoVideo,
        Self::NoAudio,
        Self::GopTooLong,
        Self::AvDrift,
        Self::ClockDrift,
        Self::BitrateOverLimit,
        Self::VariableFrameRate,
    ];

    /// As the API, notices, metrics and logs call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Starving => "starving",
            Self::NoVideo => "no_video",
            Self::NoAudio => "no_audio",
            Self::GopTooLong => "gop_too_long",
            Self::AvDrift => "av_drift",
            Self::ClockDrift => "clock_drift",
            Self::BitrateOverLimit => "bitrate_over_limit",
            Self::VariableFrameRate => "variable_frame_rate",
        }
    }

    /// When it begins and ends.
    pub fn terms(self) -> Terms {
        match self {
            Self::Starving => STARVING,
            Self::NoVideo => NO_VIDEO,
            Self::NoAudio => NO_AUDIO,
            Self::GopTooLong => GOP_TOO_LONG,
            Self::AvDrift => AV_DRIFT,
            Self::ClockDrift => CLOCK_DRIFT,
            Self::BitrateOverLimit => BITRATE_OVER_LIMIT,
            Self::VariableFrameRate => VARIABLE_FRAME_RATE,
        }
    }
}

/// One value for each code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerCode<T>([T; CODES]);

impl<T> PerCode<T> {
    /// The value that `f` gives for each code.
    pub fn from_fn(f: impl FnMut(Code) -> T) -> Self {
        Self(Code::ALL.map(f))
    }

    /// Each code with its value.
    pub fn iter(&self) -> impl Iterator<Item = (Code, &T)> {
        Code::ALL.into_iter().zip(&self.0)
    }

    /// The same, to change values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Code, &mut T)> {
        Code::ALL.into_iter().zip(&mut self.0)
    }
}

// A code's number is its place in `Code::ALL`, which a test holds, so that no index fails.
impl<T> Index<Code> for PerCode<T> {
    type Output = T;

    fn index(&self, code: Code) -> &T {
        &self.0[code as usize]
    }
}

impl<T> IndexMut<Code> for PerCode<T> {
    fn index_mut(&mut self, code: Code) -> &mut T {
        &mut self.0[code as usize]
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    /// Each code finds its own value, and the table in the module's header says what holds.
    #[test]
    fn codes_are_numbered_and_documented() {
        let labels = PerCode::from_fn(Code::label);
        for code in Code::ALL {
            assert_eq!(labels[code], code.label());
            let Terms { begins_after, ends_after } = code.terms();
            let start = format!("//! | `{}` |", code.label());
            let end = format!("| {} s | {} s |", begins_after.as_secs(), ends_after.as_secs());
            let is_its_row = |line: &&str| line.starts_with(&start) && line.ends_with(&end);
            assert_eq!(include_str!("mod.rs").lines().filter(is_its_row).count(), 1, "{start} … {end}");
        }
    }
}
