//! What a session had more of than it may: one list for logs, metrics and the last word to the peer.
//!
//! Who sets limits and who finds them exceeded stands above ([`crate::media::limits`]).

use crate::rtmp::FourCc;

/// A limit that a session has exceeded, with what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It sends more, on average.
    BitsPerSecond {
        /// What it sends.
        found: u64,
        /// What it may.
        max: u64,
    },
    /// It has more pictures, on average.
    FramesPerSecond {
        /// Pictures a second.
        found: u64,
        /// What it may have.
        max: u64,
    },
    /// It has lasted as long as it may.
    Seconds {
        /// That long.
        max: u32,
    },
    /// Its pictures are too wide.
    Width {
        /// Their pixels across.
        found: u32,
        /// What they may have.
        max: u32,
    },
    /// Its pictures are too high.
    Height {
        /// Their pixels down.
        found: u32,
        /// What they may have.
        max: u32,
    },
    /// How large its pictures are cannot be read, and is limited.
    Size,
    /// It is coded in what it may not be.
    Codec(CodecName),
}

/// A codec by its name, for floors that know no more of codecs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecName {
    /// Its E-RTMP v2 FourCC, known or not.
    FourCc(FourCc),
    /// The name of one that only a legacy id stands for.
    Legacy(&'static str),
}

impl Excess {
    /// Metric label: stable, snake case; behind `limit_` the name that the limit has where it is set.
    pub fn label(&self) -> &'static str {
        match self {
            Self::BitsPerSecond { .. } => "limit_bits_per_second",
            Self::FramesPerSecond { .. } => "limit_frames_per_second",
            Self::Seconds { .. } => "limit_seconds",
            Self::Width { .. } => "limit_width",
            Self::Height { .. } => "limit_height",
            Self::Size => "limit_size",
            Self::Codec(_) => "limit_codecs",
        }
    }
}

impl core::fmt::Display for Excess {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BitsPerSecond { found, max } => {
                write!(f, "this stream has {found} bits a second and may have {max}: set a lower bit rate")
            }
            Self::FramesPerSecond { found, max } => {
                write!(
                    f,
                    "this stream has {found} frames a second and may have {max}: set a lower frame rate"
                )
            }
            Self::Seconds { max } => write!(f, "this session has lasted the {max} seconds that it may"),
            Self::Width { found, max } => {
                write!(f, "the pictures are {found} pixels wide and may be {max}: set a smaller size")
            }
            Self::Height { found, max } => {
                write!(f, "the pictures are {found} pixels high and may be {max}: set a smaller size")
            }
            Self::Size => f.write_str("the size of the pictures is limited, and cannot be read"),
            Self::Codec(name) => write!(f, "this stream may not be coded in {name}: set another codec"),
        }
    }
}

impl core::fmt::Display for CodecName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::FourCc(fourcc) => fourcc.fmt(f),
            Self::Legacy(name) => f.write_str(name),
        }
    }
}
