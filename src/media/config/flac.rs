//! FLAC: the STREAMINFO block (RFC 9639 §8.2), behind `fLaC` and its block header as E-RTMP's sequence start has it, or alone, as ffmpeg
//! sends it.

use super::{ConfigError, Description};

/// Bytes of a STREAMINFO block.
const STREAM_INFO_BYTES: usize = 34;

/// What STREAMINFO says of the sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlacConfig {
    /// Samples a second, Hz.
    pub sample_rate: u32,
    /// Channels, 1 to 8.
    pub channels: u8,
    /// Bits a sample, 1 to 32.
    pub sample_bits: u8,
}

impl FlacConfig {
    /// Reads the block.
    pub fn parse(record: &[u8]) -> Result<Self, ConfigError> {
        if record.is_empty() {
            return Err(ConfigError::Empty);
        }
        let block = match record.strip_prefix(b"fLaC") {
            None => record,
            Some(rest) => {
                // STREAMINFO, block type 0, must be the first; the bit above the type says whether it is the last.
                let ([kind, ..], block) = rest.split_first_chunk::<4>().ok_or(ConfigError::Truncated)?;
                if kind & 0x7f != 0 {
                    return Err(ConfigError::NoParameterSet);
                }
                block
            }
        };
        let block = block.first_chunk::<STREAM_INFO_BYTES>().ok_or(ConfigError::Truncated)?;
        // Behind block and frame sizes of 2 and 3 bytes: 20 bits of rate, 3 of channels and 5 of bits a sample, both less 1.
        let [_, _, _, _, _, _, _, _, _, _, a, b, c, d, ..] = *block;
        let packed = u32::from_be_bytes([a, b, c, d]);
        let config = Self {
            sample_rate: packed >> 12,
            channels: (packed >> 9 & 7) as u8 + 1,
            sample_bits: (packed >> 4 & 31) as u8 + 1,
        };
        if config.sample_rate == 0 { Err(ConfigError::OutOfRange) } else { Ok(config) }
    }

    /// The parts that tracks show.
    pub fn describe(&self) -> Description {
        Description {
            codec_string: "flac".into(),
            sample_rate: Some(self.sample_rate),
            channels: Some(self.channels),
            ..Description::default()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::media::config::hex;

    /// Made by ffmpeg 9: 48 kHz, mono, 16 bits.
    pub(crate) const MONO: &str =
        "0400 0400 000000 000815 0bb800f0 00000000 00000000000000000000000000000000";

    #[test]
    fn stream_info_of_ffmpeg() {
        let expected = FlacConfig { sample_rate: 48_000, channels: 1, sample_bits: 16 };
        assert_eq!(FlacConfig::parse(&hex(MONO)), Ok(expected));
        let whole = [&b"fLaC"[..], &[0x80, 0, 0, 34], &hex(MONO)].concat();
        assert_eq!(FlacConfig::parse(&whole), Ok(expected), "as the specification has it");
        let description = expected.describe();
        assert_eq!((description.codec_string.as_str(), description.channels), ("flac", Some(1)));
    }

    #[test]
    fn what_is_no_stream_info() {
        assert_eq!(FlacConfig::parse(b"fLaC"), Err(ConfigError::Truncated));
        assert_eq!(FlacConfig::parse(&hex(MONO)[..33]), Err(ConfigError::Truncated));
        let padding = [&b"fLaC"[..], &[1, 0, 0, 34], &hex(MONO)].concat();
        assert_eq!(FlacConfig::parse(&padding), Err(ConfigError::NoParameterSet));
        assert_eq!(FlacConfig::parse(&[0; 34]), Err(ConfigError::OutOfRange), "0 Hz");
    }
}
