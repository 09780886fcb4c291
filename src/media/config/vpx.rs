//! VP8 and VP9: the codec configuration box (`vpcC`, "VP Codec ISO Media File Format Binding" 1.0). It does not tell the size of the
//! picture.

use alloc::format;

use super::{ConfigError, Description};
use crate::media::codec::FourCc;

/// What the box says of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VpxConfig {
    /// Profile; 0 for VP8.
    pub profile: u8,
    /// Level, times 10; 0 when it is not known.
    pub level: u8,
    /// Bits of a sample.
    pub bit_depth: u8,
}

impl VpxConfig {
    /// Reads the box's content.
    pub fn parse(record: &[u8]) -> Result<Self, ConfigError> {
        if record.is_empty() {
            return Err(ConfigError::Empty);
        }
        // Version and flags, then profile, level, and in one byte bit depth (4 bits), chroma subsampling and range.
        let [version, _, _, _, profile, level, packed] =
            *record.first_chunk::<7>().ok_or(ConfigError::Truncated)?;
        if version != 1 {
            return Err(ConfigError::Version(version));
        }
        let bit_depth = packed >> 4;
        if profile > 3 || !matches!(bit_depth, 8 | 10 | 12) {
            return Err(ConfigError::OutOfRange);
        }
        Ok(Self { profile, level, bit_depth })
    }

    /// The parts that tracks show; `fourcc` is `vp08` or `vp09`.
    pub fn describe(&self, fourcc: FourCc) -> Description {
        Description {
            codec_string: format!("{fourcc}.{:02}.{:02}.{:02}", self.profile, self.level, self.bit_depth),
            profile: Some(self.profile),
            level: Some(self.level),
            ..Description::default()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::media::config::hex;

    /// Made by ffmpeg 9: VP9, profile 0, level 1, 8 bits.
    pub(crate) const PROFILE_0: &str = "01000000 00 0a 82 02 02 02 0000";

    #[test]
    fn vpcc_of_ffmpeg() {
        let config = VpxConfig::parse(&hex(PROFILE_0));
        assert_eq!(config, Ok(VpxConfig { profile: 0, level: 10, bit_depth: 8 }));
        assert_eq!(config.unwrap().describe(FourCc(*b"vp09")).codec_string, "vp09.00.10.08");
    }

    #[test]
    fn what_is_no_vpcc() {
        assert_eq!(VpxConfig::parse(&hex("01000000 00 0a")), Err(ConfigError::Truncated));
        assert_eq!(VpxConfig::parse(&hex("00000000 00 0a 82")), Err(ConfigError::Version(0)));
        assert_eq!(VpxConfig::parse(&hex("01000000 04 0a 82")), Err(ConfigError::OutOfRange));
        assert_eq!(VpxConfig::parse(&hex("01000000 00 0a 92")), Err(ConfigError::OutOfRange), "9 bits");
    }
}
