//! Opus: the identification header that E-RTMP's sequence start carries (RFC 7845 §5.1), or MP4's `dOps` box,
//! which has the same fields in the other byte order and which some encoders send instead.

use super::{ConfigError, Description};

/// What an Opus identification header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusConfig {
    /// Output channels.
    pub channels: u8,
    /// Samples at 48 kHz to drop from the start.
    pub pre_skip: u16,
    /// Samples a second before encoding, Hz: a hint, the decoder always gives 48 kHz. 0 means unknown.
    pub input_sample_rate: u32,
    /// Channel mapping family.
    pub mapping_family: u8,
}

impl OpusConfig {
    /// Reads the header.
    pub fn parse(header: &[u8]) -> Result<Self, ConfigError> {
        const MAGIC: &[u8] = b"OpusHead";
        let (body, ogg) = match header.strip_prefix(MAGIC) {
            Some(body) => (body, true),
            None if header.is_empty() => return Err(ConfigError::Empty),
            None => (header, false),
        };
        let (head, mapping) = body.split_first_chunk::<11>().ok_or(ConfigError::Truncated)?;
        let [version, channels, skip @ .., _, _, mapping_family] = *head;
        let [p0, p1, r0, r1, r2, r3] = skip;
        // Versions are compatible within the upper four bits (RFC 7845 §5.1); dOps has version 0.
        if version & 0xf0 != 0 {
            return Err(ConfigError::Version(version));
        }
        if channels == 0 {
            return Err(ConfigError::OutOfRange);
        }
        // Every family but 0 has a stream count, a coupled count and one byte a channel.
        if mapping_family != 0 && mapping.len() < 2 + usize::from(channels) {
            return Err(ConfigError::Truncated);
        }
        let (pre_skip, input_sample_rate) = if ogg {
            (u16::from_le_bytes([p0, p1]), u32::from_le_bytes([r0, r1, r2, r3]))
        } else {
            (u16::from_be_bytes([p0, p1]), u32::from_be_bytes([r0, r1, r2, r3]))
        };
        Ok(Self { channels, pre_skip, input_sample_rate, mapping_family })
    }

    /// The parts that tracks show.
    pub fn describe(&self) -> Description {
        Description {
            codec_string: "opus".into(),
            sample_rate: Some(48_000),
            channels: Some(self.channels),
            ..Description::default()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::hex;
    use super::*;

    // Made by ffmpeg 9.0 (libopus).
    const STEREO: &str = "4f70757348656164 01 02 3801 80bb0000 0000 00";
    pub(crate) const SURROUND: &str = "4f70757348656164 01 06 3801 80bb0000 0000 01 0402000401020305";

    /// Channels, pre-skip and rate of headers with mapping families 0 and 1.
    #[test]
    fn headers_of_libopus_are_read() {
        let stereo = OpusConfig::parse(&hex(STEREO)).unwrap();
        let expected =
            OpusConfig { channels: 2, pre_skip: 312, input_sample_rate: 48_000, mapping_family: 0 };
        assert_eq!(stereo, expected);
        assert_eq!(
            OpusConfig::parse(&hex(SURROUND)).unwrap(),
            OpusConfig { channels: 6, mapping_family: 1, ..expected }
        );
        assert_eq!(stereo.describe().codec_string, "opus");
    }

    /// The box of MP4 has no magic and is big endian.
    #[test]
    fn a_dops_box_is_read() {
        let stereo = OpusConfig::parse(&hex("00 02 0138 0000bb80 0000 00")).unwrap();
        assert_eq!((stereo.channels, stereo.pre_skip, stereo.input_sample_rate), (2, 312, 48_000));
    }

    /// No channels, a later version, a mapping table that is cut off.
    #[test]
    fn faults_are_named() {
        assert_eq!(OpusConfig::parse(b"OpusHead\x01"), Err(ConfigError::Truncated));
        assert_eq!(OpusConfig::parse(&hex("00 00 0138 0000bb80 0000 00")), Err(ConfigError::OutOfRange));
        assert_eq!(OpusConfig::parse(&hex("10 02 0138 0000bb80 0000 00")), Err(ConfigError::Version(16)));
        let surround = hex(SURROUND);
        assert_eq!(OpusConfig::parse(&surround[..surround.len() - 1]), Err(ConfigError::Truncated));
    }
}
