//! How the bytes of a stream are spread over time.

use std::fmt;
use std::str::FromStr;

/// Payload bytes of a segment of a wide-area path: 1,500 less IPv4, TCP and timestamps.
pub const SEGMENT_BYTES: u64 = 1_448;

/// The pace of a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Each message at once, at its time.
    Frame,
    /// The same bytes in segments, evenly over the round, as a wide-area path delivers them.
    Wan,
    /// All that came up within so many milliseconds, at once at their end.
    Burst(u32),
}

impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let burst = || {
            let ms = text.strip_prefix("burst:")?.parse().ok()?;
            (1..=60_000).contains(&ms).then_some(Self::Burst(ms))
        };
        match text {
            "frame" => Ok(Self::Frame),
            "wan" => Ok(Self::Wan),
            _ => burst().ok_or_else(|| "frame, wan or burst:MS, with 1 to 60000 ms".to_owned()),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame => f.write_str("frame"),
            Self::Wan => f.write_str("wan"),
            Self::Burst(ms) => write!(f, "burst:{ms}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paces_are_read_and_shown_alike() {
        for text in ["frame", "wan", "burst:1", "burst:500"] {
            assert_eq!(text.parse::<Pace>().unwrap().to_string(), text);
        }
        for text in ["", "Frame", "burst", "burst:", "burst:0", "burst:-1", "burst:60001"] {
            assert!(text.parse::<Pace>().is_err(), "{text}");
        }
    }
}
