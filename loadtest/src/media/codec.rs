//! What synthetic tracks are coded in, and how the codecs are dealt out over publishers.

use std::fmt;
use std::str::FromStr;

use super::stamp::Carrier;

/// A codec that `--codec` or `--audio` can name.
pub trait Choice: Copy + Eq + 'static {
    /// All of them, by name.
    const ALL: &'static [(&'static str, Self)];

    /// As on the command line.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, choice)| *choice == self).map_or("", |(name, _)| name)
    }

    /// The names, to choose from.
    fn names() -> String {
        Self::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// What pictures are coded in, and whether behind a legacy header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Video {
    /// H.264 behind the legacy header (codec id 7).
    Avc,
    /// H.264 behind the enhanced header (`avc1`).
    EnhancedAvc,
    /// H.265 (`hvc1`).
    Hevc,
    /// H.265 behind the legacy header (codec id 12, which no specification has).
    LegacyHevc,
    /// AV1 (`av01`).
    Av1,
    /// VP8 (`vp08`).
    Vp8,
    /// VP9 (`vp09`).
    Vp9,
    /// H.266 (`vvc1`).
    Vvc,
}

/// What sound is coded in, and whether behind a legacy header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audio {
    /// AAC behind the legacy header (format 10).
    Aac,
    /// AAC behind the enhanced header (`mp4a`).
    EnhancedAac,
    /// Opus (`Opus`).
    Opus,
    /// FLAC (`fLaC`).
    Flac,
    /// AC-3 (`ac-3`).
    Ac3,
    /// E-AC-3 (`ec-3`).
    Eac3,
    /// MP3 behind the legacy header (format 2).
    Mp3,
    /// MP3 behind the enhanced header (`.mp3`).
    EnhancedMp3,
}

impl Choice for Video {
    const ALL: &'static [(&'static str, Self)] = &[
        ("avc", Self::Avc),
        ("enhanced-avc", Self::EnhancedAvc),
        ("hevc", Self::Hevc),
        ("legacy-hevc", Self::LegacyHevc),
        ("av1", Self::Av1),
        ("vp8", Self::Vp8),
        ("vp9", Self::Vp9),
        ("vvc", Self::Vvc),
    ];
}

impl Choice for Audio {
    const ALL: &'static [(&'static str, Self)] = &[
        ("aac", Self::Aac),
        ("enhanced-aac", Self::EnhancedAac),
        ("opus", Self::Opus),
        ("flac", Self::Flac),
        ("ac3", Self::Ac3),
        ("eac3", Self::Eac3),
        ("mp3", Self::Mp3),
        ("enhanced-mp3", Self::EnhancedMp3),
    ];
}

impl Video {
    /// E-RTMP v2 `VideoFourCc`.
    pub fn fourcc(self) -> [u8; 4] {
        *match self {
            Self::Avc | Self::EnhancedAvc => b"avc1",
            Self::Hevc | Self::LegacyHevc => b"hvc1",
            Self::Av1 => b"av01",
            Self::Vp8 => b"vp08",
            Self::Vp9 => b"vp09",
            Self::Vvc => b"vvc1",
        }
    }

    /// The legacy codec id, where it stands in the header.
    pub fn legacy_id(self) -> Option<u8> {
        match self {
            Self::Avc => Some(7),
            Self::LegacyHevc => Some(12),
            _ => None,
        }
    }

    /// What carries its stamps.
    pub fn carrier(self) -> Carrier {
        match self {
            Self::Avc | Self::EnhancedAvc => Carrier::Avc,
            Self::Hevc | Self::LegacyHevc => Carrier::Hevc,
            Self::Av1 => Carrier::Av1,
            Self::Vp8 | Self::Vp9 | Self::Vvc => Carrier::Bare,
        }
    }

    /// Whether pictures have a composition time (E-RTMP v2 "ExVideoTagBody").
    pub fn has_composition_time(self) -> bool {
        !matches!(self, Self::Av1 | Self::Vp8 | Self::Vp9)
    }
}

impl Audio {
    /// E-RTMP v2 `AudioFourCc`.
    pub fn fourcc(self) -> [u8; 4] {
        *match self {
            Self::Aac | Self::EnhancedAac => b"mp4a",
            Self::Opus => b"Opus",
            Self::Flac => b"fLaC",
            Self::Ac3 => b"ac-3",
            Self::Eac3 => b"ec-3",
            Self::Mp3 | Self::EnhancedMp3 => b".mp3",
        }
    }

    /// The legacy format, where it stands in the header.
    pub fn legacy_id(self) -> Option<u8> {
        match self {
            Self::Aac => Some(10),
            Self::Mp3 => Some(2),
            _ => None,
        }
    }

    /// What carries its stamps.
    pub fn carrier(self) -> Carrier {
        match self {
            Self::Aac | Self::EnhancedAac => Carrier::Aac,
            _ => Carrier::Bare,
        }
    }

    /// Samples of a frame.
    pub fn frame_samples(self) -> u64 {
        match self {
            Self::Aac | Self::EnhancedAac => 1_024,
            Self::Opus => 960,
            Self::Flac => 4_096,
            Self::Ac3 | Self::Eac3 => 1_536,
            Self::Mp3 | Self::EnhancedMp3 => 1_152,
        }
    }
}

/// Codecs with their weights: `avc=70,hevc=20,av1=10`, or `avc,hevc` for as many of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix<C>(Vec<(C, f64)>);

impl<C: Choice> Mix<C> {
    /// All of one codec.
    pub fn all_of(choice: C) -> Self {
        Self(vec![(choice, 1.0)])
    }

    /// The codecs, in the order given.
    pub fn choices(&self) -> Vec<C> {
        self.0.iter().map(|(choice, _)| *choice).collect()
    }

    /// For each of `count` numbers, which of the choices: by weight to the number, and spread evenly. `seed` decides which.
    pub fn deal(&self, count: u32, seed: u64) -> Vec<usize> {
        // Multiples of the golden ratio modulo 1: any range of them is spread evenly over the numbers.
        let turn = seed.wrapping_add(1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let key = |number: &u32| u64::from(*number).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(turn);
        let mut numbers: Vec<u32> = (0..count).collect();
        numbers.sort_unstable_by_key(key);
        let total: f64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut dealt = vec![0; count as usize];
        let (mut sum, mut first) = (0.0, 0);
        for (at, (_, weight)) in self.0.iter().enumerate() {
            sum += weight;
            let end = ((sum / total * f64::from(count)).round() as usize).clamp(first, count as usize);
            for number in &numbers[first..end] {
                dealt[*number as usize] = at;
            }
            first = end;
        }
        dealt
    }
}

impl<C: Choice> FromStr for Mix<C> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mix: Vec<(C, f64)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let Some((_, choice)) = C::ALL.iter().find(|(known, _)| *known == name) else {
                return Err(format!("no codec \"{name}\"; there are {}", C::names()));
            };
            let weight = weight.parse().ok().filter(|weight| (0.001..=1e6).contains(weight));
            let weight = weight.ok_or_else(|| {
                format!("\"{part}\": a weight is a number from 0.001 to 1000000, as {name}=70")
            })?;
            if mix.iter().any(|(known, _)| known == choice) {
                return Err(format!("\"{name}\" stands there twice"));
            }
            mix.push((*choice, weight));
        }
        Ok(Self(mix))
    }
}

/// As on the command line.
impl<C: Choice> fmt::Display for Mix<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(only, _)] = self.0[..] {
            return f.write_str(only.name());
        }
        for (at, (choice, weight)) in self.0.iter().enumerate() {
            write!(f, "{}{}={weight}", if at > 0 { "," } else { "" }, choice.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_read_and_shown_alike() {
        for text in ["avc", "avc=70,hevc=20,av1=10", "hevc=1,enhanced-avc=2.5", "legacy-hevc"] {
            assert_eq!(text.parse::<Mix<Video>>().unwrap().to_string(), text);
        }
        assert_eq!("aac,opus".parse::<Mix<Audio>>().unwrap().to_string(), "aac=1,opus=1");
        for choice in Video::names().split(", ") {
            assert_eq!(choice.parse::<Mix<Video>>().unwrap().to_string(), choice);
        }
        for choice in Audio::names().split(", ") {
            assert_eq!(choice.parse::<Mix<Audio>>().unwrap().to_string(), choice);
        }
    }

    #[test]
    fn what_is_no_mix_says_what_is_allowed() {
        let error = |text: &str| text.parse::<Mix<Video>>().unwrap_err();
        assert_eq!(
            error("h264"),
            "no codec \"h264\"; there are avc, enhanced-avc, hevc, legacy-hevc, av1, vp8, vp9, vvc"
        );
        for text in ["", "avc=", "avc=0", "avc=-1", "avc=NaN", "avc=x", "avc=inf", "avc,", "avc=1=2", "opus"]
        {
            assert!(text.parse::<Mix<Video>>().is_err(), "{text}");
        }
        assert_eq!(error("avc,avc=3"), "\"avc\" stands there twice");
    }

    #[test]
    fn weights_come_out_to_the_number_and_are_spread_evenly() {
        let mix: Mix<Video> = "avc=70,hevc=20,av1=10".parse().unwrap();
        for seed in [0, 1, 7, u64::MAX] {
            let dealt = mix.deal(1_000, seed);
            let count = |part: &[usize], which| part.iter().filter(|at| **at == which).count();
            assert_eq!([0, 1, 2].map(|which| count(&dealt, which)), [700, 200, 100]);
            assert!(dealt.chunks(100).all(|hundred| count(hundred, 1).abs_diff(20) <= 2), "{seed}");
        }
        assert_ne!(mix.deal(100, 1), mix.deal(100, 2));
        let few = mix.deal(2, 1);
        assert_eq!(few.iter().filter(|at| **at == 0).count(), 1);
        assert_eq!(mix.deal(0, 1), Vec::<usize>::new());
    }
}
