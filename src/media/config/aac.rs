//! AAC: AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1), with spectral band replication and parametric stereo
//! however they are signalled.

use alloc::format;

use super::bits::BitReader;
use super::{ConfigError, Description};

/// What an AudioSpecificConfig says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AacConfig {
    /// Audio object type of the core coder (2 is AAC-LC, 42 is USAC).
    pub object_type: u8,
    /// Samples a second of the core coder, Hz.
    pub core_sample_rate: u32,
    /// Samples a second that come out, Hz: twice the core's, as a rule, with SBR.
    pub sample_rate: u32,
    /// Channels that come out; `None` where the configuration does not tell.
    pub channels: Option<u8>,
    /// Spectral band replication is signalled: HE-AAC.
    pub sbr: bool,
    /// Parametric stereo is signalled: HE-AAC version 2.
    pub ps: bool,
}

const OBJECT_TYPE_SBR: u8 = 5;
const OBJECT_TYPE_ER_BSAC: u8 = 22;
const OBJECT_TYPE_PS: u8 = 29;

impl AacConfig {
    /// Reads the configuration. Extensions behind the part that can be read are taken as absent.
    pub fn parse(config: &[u8]) -> Result<Self, ConfigError> {
        if config.is_empty() {
            return Err(ConfigError::Empty);
        }
        let mut bits = BitReader::new(config);
        let mut object_type = read_object_type(&mut bits)?;
        let core_sample_rate = read_sample_rate(&mut bits)?;
        let channel_configuration = bits.byte(4)?;
        let mut aac = Self {
            object_type,
            core_sample_rate,
            sample_rate: core_sample_rate,
            channels: channels_of(channel_configuration),
            sbr: false,
            ps: false,
        };
        // Hierarchical signalling: the outer type says SBR or PS, the inner one is the core.
        if object_type == OBJECT_TYPE_SBR || object_type == OBJECT_TYPE_PS {
            aac.sbr = true;
            aac.ps = object_type == OBJECT_TYPE_PS;
            aac.sample_rate = read_sample_rate(&mut bits)?;
            object_type = read_object_type(&mut bits)?;
            aac.object_type = object_type;
            if object_type == OBJECT_TYPE_ER_BSAC {
                bits.skip(4)?; // extensionChannelConfiguration
            }
        }
        if is_general_audio(object_type) {
            // What follows is optional knowledge: without it the configuration still plays.
            match read_general_audio(&mut bits, object_type, channel_configuration) {
                Ok(channels) => aac.channels = aac.channels.or(channels),
                Err(ConfigError::Truncated) => return Ok(aac.with_ps_channels()),
                Err(error) => return Err(error),
            }
            if !aac.sbr {
                let _ = aac.read_sync_extension(&mut bits);
            }
        }
        Ok(aac.with_ps_channels())
    }

    /// The parts that tracks show. `mp4a.40.N` is RFC 6381 §3.3, where N names what decodes the whole.
    pub fn describe(&self) -> Description {
        let object_type = match self {
            Self { ps: true, .. } => OBJECT_TYPE_PS,
            Self { sbr: true, .. } => OBJECT_TYPE_SBR,
            _ => self.object_type,
        };
        Description {
            codec_string: format!("mp4a.40.{object_type}"),
            profile: Some(object_type),
            sample_rate: Some(self.sample_rate),
            channels: self.channels,
            ..Description::default()
        }
    }

    /// Backward compatible signalling: sync words behind the core's configuration.
    fn read_sync_extension(&mut self, bits: &mut BitReader<'_>) -> Result<(), ConfigError> {
        const SYNC_SBR: u32 = 0x2b7;
        const SYNC_PS: u32 = 0x548;
        if bits.bits(11)? != SYNC_SBR {
            return Ok(());
        }
        if read_object_type(bits)? != OBJECT_TYPE_SBR || !bits.bit()? {
            return Ok(());
        }
        self.sample_rate = read_sample_rate(bits)?;
        self.sbr = true;
        if bits.bits(11)? == SYNC_PS {
            self.ps = bits.bit()?;
        }
        Ok(())
    }

    /// Parametric stereo makes two channels out of one.
    fn with_ps_channels(mut self) -> Self {
        if self.ps && self.channels == Some(1) {
            self.channels = Some(2);
        }
        self
    }
}

/// `GetAudioObjectType()`: 31 is the escape to six more bits.
fn read_object_type(bits: &mut BitReader<'_>) -> Result<u8, ConfigError> {
    match bits.byte(5)? {
        31 => Ok(32 + bits.byte(6)?),
        object_type => Ok(object_type),
    }
}

/// `samplingFrequencyIndex`, whose 15 is the escape to the frequency itself in 24 bits.
fn read_sample_rate(bits: &mut BitReader<'_>) -> Result<u32, ConfigError> {
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
    ];
    let index = bits.bits(4)?;
    let rate = if index == 15 { Some(bits.bits(24)?) } else { RATES.get(index as usize).copied() };
    rate.filter(|rate| *rate > 0).ok_or(ConfigError::OutOfRange)
}

/// Channels by `channelConfiguration` (ISO/IEC 14496-3 table 1.19).
fn channels_of(configuration: u8) -> Option<u8> {
    match configuration {
        1..=6 => Some(configuration),
        7 | 12 | 14 => Some(8),
        11 => Some(7),
        13 => Some(24),
        _ => None,
    }
}

/// Object types whose configuration is a GASpecificConfig (ISO/IEC 14496-3 table 1.15).
fn is_general_audio(object_type: u8) -> bool {
    matches!(object_type, 1..=4 | 6 | 7 | 17 | 19..=23)
}

/// GASpecificConfig (ISO/IEC 14496-3 §4.4.1); gives the channels of its program config element, if there is one.
fn read_general_audio(
    bits: &mut BitReader<'_>,
    object_type: u8,
    channel_configuration: u8,
) -> Result<Option<u8>, ConfigError> {
    bits.skip(1)?; // frameLengthFlag
    if bits.bit()? {
        bits.skip(14)?; // coreCoderDelay
    }
    let extension = bits.bit()?;
    let channels = if channel_configuration == 0 { Some(read_program_config(bits)?) } else { None };
    if matches!(object_type, 6 | 20) {
        bits.skip(3)?; // layerNr
    }
    if extension {
        match object_type {
            22 => bits.skip(5 + 11)?,           // numOfSubFrame, layer_length
            17 | 19 | 20 | 23 => bits.skip(3)?, // resilience flags
            _ => {}
        }
        bits.skip(1)?; // extensionFlag3
    }
    Ok(channels)
}

/// `program_config_element()` (ISO/IEC 14496-3 §4.4.1.1): counts the channels.
fn read_program_config(bits: &mut BitReader<'_>) -> Result<u8, ConfigError> {
    bits.skip(4 + 2 + 4)?; // element_instance_tag, object_type, sampling_frequency_index
    let (front, side, back) = (bits.byte(4)?, bits.byte(4)?, bits.byte(4)?);
    let (lfe, assoc_data, coupling) = (bits.byte(2)?, bits.bits(3)?, bits.bits(4)?);
    for mixdown_bits in [4, 4, 3] {
        if bits.bit()? {
            bits.skip(mixdown_bits)?; // mono, stereo, matrix mixdown
        }
    }
    let mut channels = lfe;
    for _ in 0..front + side + back {
        channels += 1 + u8::from(bits.bit()?); // is_cpe; at most 3 + 45 * 2
        bits.skip(4)?; // element_tag_select
    }
    bits.skip(u32::from(lfe) * 4 + assoc_data * 4 + coupling * 5)?;
    // byte_alignment() counts from the start of the AudioSpecificConfig, which the reader does too.
    bits.align();
    let comment_bytes = bits.bits(8)?;
    bits.skip(comment_bytes * 8)?;
    if channels == 0 { Err(ConfigError::OutOfRange) } else { Ok(channels) }
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;

    fn parsed(config: &str) -> AacConfig {
        AacConfig::parse(&hex(config)).unwrap()
    }

    fn summary(config: &str) -> (String, u32, Option<u8>) {
        let aac = parsed(config);
        (aac.describe().codec_string, aac.sample_rate, aac.channels)
    }

    /// Made by ffmpeg 9.0's own encoder: plain LC with a sync extension that says "no SBR".
    #[test]
    fn configurations_of_ffmpeg_are_read() {
        assert_eq!(summary("119056e500"), ("mp4a.40.2".into(), 48_000, Some(2)));
        assert_eq!(summary("120856e500"), ("mp4a.40.2".into(), 44_100, Some(1)));
        assert_eq!(summary("11b056e500"), ("mp4a.40.2".into(), 48_000, Some(6)));
        assert_eq!(summary("1210"), ("mp4a.40.2".into(), 44_100, Some(2)));
    }

    /// HE-AAC signalled by the outer object type: as fdk-aac writes it (explicit hierarchical).
    #[test]
    fn sbr_and_ps_by_object_type() {
        // 5, 24 kHz, 2 channels, 48 kHz, core 2.
        assert_eq!(summary("2b118800"), ("mp4a.40.5".into(), 48_000, Some(2)));
        // 29, 22.05 kHz, 1 channel, 44.1 kHz, core 2.
        assert_eq!(summary("eb8a0800"), ("mp4a.40.29".into(), 44_100, Some(2)));
        assert_eq!(parsed("2b118800").core_sample_rate, 24_000);
        assert_eq!(parsed("2b118800").object_type, 2);
    }

    /// HE-AAC signalled behind the core's configuration, with and without PS.
    #[test]
    fn sbr_and_ps_by_sync_extension() {
        // 2, 24 kHz, 2 channels, GA 000; 0x2b7, 5, present, 48 kHz.
        assert_eq!(summary("131056e598"), ("mp4a.40.5".into(), 48_000, Some(2)));
        // 2, 22.05 kHz, 1 channel, GA 000; 0x2b7, 5, present, 44.1 kHz; 0x548, present.
        assert_eq!(summary("138856e5a54880"), ("mp4a.40.29".into(), 44_100, Some(2)));
    }

    /// Escapes: object types from 32 on, and a sample rate in 24 bits.
    #[test]
    fn escapes_are_read() {
        // 31 + 10 = 42 (USAC), 48 kHz, 2 channels.
        assert_eq!(summary("f94640"), ("mp4a.40.42".into(), 48_000, Some(2)));
        // 2, escape, 50 000 Hz, 2 channels: 00010 1111 000000001100001101010000 0010 000
        assert_eq!(summary("1780 61a8 10"), ("mp4a.40.2".into(), 50_000, Some(2)));
        assert_eq!(AacConfig::parse(&hex("1780000010")), Err(ConfigError::OutOfRange));
    }

    /// Channel configuration 0 counts the elements of the program config element.
    #[test]
    fn a_program_config_element_tells_the_channels() {
        let bits = [
            "00010 0011 0000 000",        // LC, 48 kHz, configuration 0, GA
            "0000 01 0011",               // tag, profile, rate
            "0010 0000 0001 01 000 0000", // front 2, back 1, LFE 1
            "000",                        // no mixdown
            "0 0000 1 0000",              // front: single, pair
            "1 0001",                     // back: pair
            "0000",                       // LFE tag
            "0000000 00000000",           // alignment, no comment
        ]
        .concat()
        .replace(' ', "");
        let bytes: Vec<u8> =
            bits.as_bytes().chunks(8).map(|b| b.iter().fold(0, |v, c| v << 1 | (c - b'0'))).collect();
        assert_eq!(AacConfig::parse(&bytes).unwrap().channels, Some(6));
    }

    /// What cannot be meant is refused, what is cut off is named, and the core survives a missing extension.
    #[test]
    fn faults_are_named() {
        assert_eq!(AacConfig::parse(&[]), Err(ConfigError::Empty));
        assert_eq!(AacConfig::parse(&[0x12]), Err(ConfigError::Truncated));
        assert_eq!(
            AacConfig::parse(&[0x16, 0x90]),
            Err(ConfigError::OutOfRange),
            "rate index 13 is reserved"
        );
        assert_eq!(summary("119056e5"), ("mp4a.40.2".into(), 48_000, Some(2)));
    }
}
