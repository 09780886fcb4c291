//! How many tracks a stream has, and how they lie in messages (E-RTMP v2 "Multitrack").

use std::fmt;
use std::str::FromStr;

/// Tracks of a kind at most: as many as the engine tells apart.
pub const TRACKS_MAX: u8 = inrush::media::track::TRACKS_MAX as u8;

/// `--tracks VIDEO:AUDIO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackCount {
    /// Video tracks.
    pub video: u8,
    /// Audio tracks.
    pub audio: u8,
}

impl TrackCount {
    /// Picture and sound.
    pub const ONE_EACH: Self = Self { video: 1, audio: 1 };

    /// Whether there is more than one of a kind, which takes a multitrack header.
    pub fn are_many(self) -> bool {
        self.video > 1 || self.audio > 1
    }
}

impl FromStr for TrackCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|count| *count <= TRACKS_MAX);
        let counts = text.split_once(':').and_then(|(video, audio)| Some((number(video)?, number(audio)?)));
        match counts {
            Some((video, audio)) if (video, audio) != (0, 0) => Ok(Self { video, audio }),
            _ => Err(format!("VIDEO:AUDIO, from 0 to {TRACKS_MAX} each and not 0:0, as 2:3")),
        }
    }
}

impl fmt::Display for TrackCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.video, self.audio)
    }
}

/// `--multitrack`: which `AvMultitrackType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Multitrack {
    /// A message for each track (`OneTrack`)
    One,
    /// A message for all tracks of one codec (`ManyTracks`)
    Many,
    /// A message for all tracks, each of the next codec of the list (`ManyTracksManyCodecs`)
    ManyCodecs,
}

impl Multitrack {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Many => "many",
            Self::ManyCodecs => "many-codecs",
        }
    }

    /// `AvMultitrackType`.
    pub fn bits(self) -> u8 {
        match self {
            Self::One => 0,
            Self::Many => 1,
            Self::ManyCodecs => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_shown_alike() {
        for text in ["1:1", "2:3", "0:1", "1:0", "16:16"] {
            assert_eq!(text.parse::<TrackCount>().unwrap().to_string(), text);
        }
        for text in ["", "2", "2:", ":3", "0:0", "17:1", "1:17", "-1:1", "1:1:1", "a:b"] {
            let error = text.parse::<TrackCount>().expect_err(text);
            assert!(error.contains("as 2:3"), "{error}");
        }
        assert!(!TrackCount::ONE_EACH.are_many());
    }
}
