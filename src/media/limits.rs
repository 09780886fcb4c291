//! What a publisher is held to, and whether it keeps to it.
//!
//! | limit | judged | by |
//! |---|---|---|
//! | bits a second, frames a second | with the publishers' health, every [`JUDGED_EVERY`] | [`Pace`] |
//! | width and height, codecs | where a track becomes known, before anything of it is handed on | [`Ingest`](super::Ingest) |
//! | seconds | by whoever has the connection: it is all that holds for a player as well | |
//!
//! Rates are averages over all tracks together: over the last [`SHORT`], and over the last [`LONG`] or as long as the publisher has been
//! judged. They exceed a limit when both are more than a tenth above it. So neither a key frame is an excess, nor what an encoder makes up
//! for after the network has held it back for some seconds; a steady excess from the beginning on is found within [`FOUND_WITHIN`], a later
//! one within [`LONG`] and two judgements. What comes before the first judgement that finds anything is free: encoders begin with what they
//! have kept while they connected.
//!
//! Sizes are those of configuration records; a record that is too long to be kept, or cannot be read, is an excess where the size is
//! limited. The size of pictures whose codec has none in its record (VP8, VP9, the legacy codecs) is not known, and whoever limits the size
//! allows only codecs that tell it. What is more than [`TRACKS_MAX`](super::track::TRACKS_MAX) tracks is held to the codecs alone. This is for
//! encoders that are set wrongly, not against those that lie: parameter sets inside of frames are not looked at, nor frames that no record came
//! before, nor what lies behind the part of a multitrack message that can be read.
//!
//! [`Limits`] come with a session's grant and from its app. All that become of it, publishers, dry runs and players, go on with what
//! `runtime/asking.rs` has made of both: the stricter of each ([`Limits::stricter`]).
//! # Bounds
//! Nothing is kept or done for a publisher without limits. One with a limited rate: [`SAMPLES_MAX`] samples, looked at once a second.
//! # Errors
//! None here: an [`Excess`] ends its session.

use alloc::borrow::Cow;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::num::{NonZeroU32, NonZeroU64};
use core::time::Duration;

use super::codec::Codec;
use super::config::Size;
use super::health::{JUDGED_EVERY, Vitals};
use crate::session::excess::{CodecName, Excess};
use crate::session::{Instant, MediaKind};

/// The shorter time that a rate is averaged over.
pub const SHORT: Duration = Duration::from_secs(4);

/// The longer one.
pub const LONG: Duration = Duration::from_secs(12);

/// A rate that is too high from the first message on is found within this time of that: a judgement to begin with, the shorter average, and one more.
pub const FOUND_WITHIN: Duration = Duration::from_secs(SHORT.as_secs() + 2 * JUDGED_EVERY.as_secs());

/// Samples that are kept: those of the longer average, one before it, and some for judgements that come irregularly.
pub const SAMPLES_MAX: usize = 16;

/// A rate may be above its limit by this part of it: nobody sends exactly what it is set to, and the network brings it unevenly.
const TOLERATED_PART: u128 = 10;

/// What a session may come to; what is not set is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bits a second that a publisher sends: media messages of all kinds with their headers.
    pub bits_per_second: Option<NonZeroU64>,
    /// How long the session may last, from the accepted publish or play on, seconds.
    pub seconds: Option<NonZeroU32>,
    /// Largest width of a picture, pixels.
    pub width: Option<NonZeroU32>,
    /// Largest height of a picture, pixels.
    pub height: Option<NonZeroU32>,
    /// Messages with pictures a second, of all video tracks together.
    pub frames_per_second: Option<NonZeroU32>,
    /// The only codecs that a track may have.
    pub codecs: Option<Arc<[Codec]>>,
}

impl Limits {
    /// What holds where both hold: of each limit the lower one, and the codecs that both allow. If there is none of those, no track may be at all.
    pub fn stricter(&self, other: &Self) -> Self {
        fn lower<T: Ord>(ours: Option<T>, theirs: Option<T>) -> Option<T> {
            match (ours, theirs) {
                (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
                (ours, theirs) => ours.or(theirs),
            }
        }
        let codecs = match (&self.codecs, &other.codecs) {
            (Some(ours), Some(theirs)) => {
                Some(ours.iter().copied().filter(|codec| theirs.contains(codec)).collect())
            }
            (ours, theirs) => ours.clone().or_else(|| theirs.clone()),
        };
        Self {
            bits_per_second: lower(self.bits_per_second, other.bits_per_second),
            seconds: lower(self.seconds, other.seconds),
            width: lower(self.width, other.width),
            height: lower(self.height, other.height),
            frames_per_second: lower(self.frames_per_second, other.frames_per_second),
            codecs,
        }
    }

    /// Whether a rate is limited.
    pub fn has_rates(&self) -> bool {
        self.bits_per_second.is_some() || self.frames_per_second.is_some()
    }

    /// Whether the size of pictures is limited.
    pub fn has_size(&self) -> bool {
        self.width.is_some() || self.height.is_some()
    }

    /// Whether a track may not have this codec.
    pub fn judge_codec(&self, codec: Codec) -> Option<Excess> {
        let is_allowed = self.codecs.as_ref().is_none_or(|allowed| allowed.contains(&codec));
        (!is_allowed).then(|| Excess::Codec(name_of(codec)))
    }

    /// Whether a picture may not be as large.
    pub fn judge_size(&self, size: Size) -> Option<Excess> {
        let over = |found: u32, max: Option<NonZeroU32>| max.map(NonZeroU32::get).filter(|max| found > *max);
        let width = over(size.width, self.width).map(|max| Excess::Width { found: size.width, max });
        width.or_else(|| over(size.height, self.height).map(|max| Excess::Height { found: size.height, max }))
    }
}

fn name_of(codec: Codec) -> CodecName {
    match codec.fourcc() {
        Some(fourcc) => CodecName::FourCc(fourcc),
        None => match codec.name() {
            Cow::Borrowed(name) => CodecName::Legacy(name),
            Cow::Owned(_) => CodecName::Legacy("an unknown codec"),
        },
    }
}

/// How fast one publisher sends.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// What had come by the last judgements, oldest first.
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    bits: u64,
    pictures: u64,
}

impl Pace {
    /// Judges what was measured up to now; to be called every [`JUDGED_EVERY`]. Begins with the first time that anything has come.
    pub fn judge(&mut self, now: Instant, vitals: &Vitals, limits: &Limits) -> Option<Excess> {
        vitals.message_at()?;
        let bytes: u64 = [MediaKind::Audio, MediaKind::Video, MediaKind::Data]
            .into_iter()
            .map(|kind| vitals.of(kind).bytes())
            .sum();
        let bits = bytes.saturating_mul(8);
        let sample = Sample { at: now, bits, pictures: vitals.of(MediaKind::Video).frames() };
        let excess = self.excess(sample, limits);
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        excess
    }

    fn excess(&self, sample: Sample, limits: &Limits) -> Option<Excess> {
        let since = |time: Duration| self.samples.iter().rev().find(|before| sample.at - before.at >= time);
        let short = since(SHORT)?;
        let long = since(LONG).or(self.samples.front())?;
        // `grain`: what may have come at the very ends of a time, so that there is one more of it than the time has room for.
        let judge = |max: Option<NonZeroU64>, grain: u64, count: fn(&Sample) -> u64| {
            let max = max?.get();
            let came = |before: &Sample| count(&sample).saturating_sub(count(before));
            let exceeds = |before: &Sample| {
                let parts = u128::from(came(before).saturating_sub(grain)) * 1_000_000 * TOLERATED_PART;
                parts > u128::from(max) * (TOLERATED_PART + 1) * (sample.at - before.at).as_micros()
            };
            let is_excess = exceeds(short) && exceeds(long);
            is_excess.then(|| (rate(came(short), sample.at - short.at), max))
        };
        let bits = judge(limits.bits_per_second, 0, |sample| sample.bits);
        if let Some((found, max)) = bits {
            return Some(Excess::BitsPerSecond { found, max });
        }
        let pictures = judge(limits.frames_per_second.map(NonZeroU64::from), 1, |sample| sample.pictures);
        pictures.map(|(found, max)| Excess::FramesPerSecond { found, max })
    }
}

/// So much in that time, a second, rounded up: what is just above a whole number is shown above it.
fn rate(came: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from((u128::from(came) * 1_000_000).div_ceil(micros)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
