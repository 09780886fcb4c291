//! AV1: AV1CodecConfigurationRecord (AV1-ISOBMFF §2.3.3) and its sequence header OBU (AV1 §5.5).

use alloc::format;

use super::bits::BitReader;
use super::{ConfigError, Description, Size};

/// What an AV1CodecConfigurationRecord says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Av1Config {
    /// `seq_profile`: 0 Main, 1 High, 2 Professional.
    pub profile: u8,
    /// `seq_level_idx_0`: 4 times (major - 2) plus minor.
    pub level: u8,
    /// `seq_tier_0`: high tier.
    pub high_tier: bool,
    /// Bits a sample: 8, 10 or 12.
    pub bit_depth: u8,
    /// Largest frame size of the sequence header OBU, or why there is none.
    pub size: Result<Size, ConfigError>,
}

impl Av1Config {
    /// Reads the record. Fails only where not even profile and level can be read.
    pub fn parse(record: &[u8]) -> Result<Self, ConfigError> {
        const MARKER_AND_VERSION: u8 = 0x81;
        let (head, obus) = match record {
            [] => return Err(ConfigError::Empty),
            [MARKER_AND_VERSION, ..] => record.split_first_chunk::<4>().ok_or(ConfigError::Truncated)?,
            [version, ..] => return Err(ConfigError::Version(*version)),
        };
        let [_, profile_level, flags, _presentation_delay] = *head;
        let (high_bitdepth, twelve_bit) = (flags & 0x40 != 0, flags & 0x20 != 0);
        let profile = profile_level >> 5;
        Ok(Self {
            profile,
            level: profile_level & 0x1f,
            high_tier: flags & 0x80 != 0,
            bit_depth: match (high_bitdepth, twelve_bit) {
                (false, _) => 8,
                (true, true) if profile == 2 => 12,
                (true, _) => 10,
            },
            size: sequence_header(obus).and_then(frame_size),
        })
    }

    /// The parts that tracks show. A record may leave its OBUs out (the stream has them), so that is no fault.
    pub fn describe(&self) -> Description {
        let tier = if self.high_tier { 'H' } else { 'M' };
        Description {
            // `av01.P.LLT.DD` (AV1-ISOBMFF §5).
            codec_string: format!("av01.{}.{:02}{tier}.{:02}", self.profile, self.level, self.bit_depth),
            profile: Some(self.profile),
            level: Some(self.level),
            size: self.size.ok(),
            fault: self.size.err().filter(|error| *error != ConfigError::NoParameterSet),
            ..Description::default()
        }
    }
}

/// The first sequence header among low-overhead OBUs (AV1 §5.3).
fn sequence_header(mut rest: &[u8]) -> Result<&[u8], ConfigError> {
    const OBU_SEQUENCE_HEADER: u8 = 1;
    while let [header, after @ ..] = rest {
        rest = after;
        if header & 0x04 != 0 {
            rest = rest.get(1..).ok_or(ConfigError::Truncated)?; // obu_extension_header
        }
        let len = if header & 0x02 != 0 { leb128(&mut rest)? } else { rest.len() };
        let (body, after) = rest.split_at_checked(len).ok_or(ConfigError::Truncated)?;
        if header >> 3 & 0x0f == OBU_SEQUENCE_HEADER {
            return Ok(body);
        }
        rest = after;
    }
    Err(ConfigError::NoParameterSet)
}

/// `leb128()` (AV1 §4.10.5): at most eight bytes, and no more than 32 bits.
fn leb128(rest: &mut &[u8]) -> Result<usize, ConfigError> {
    let mut value = 0u64;
    for i in 0..8 {
        let (byte, after) = rest.split_first().ok_or(ConfigError::Truncated)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << (i * 7);
        if byte & 0x80 == 0 {
            return u32::try_from(value).map(|len| len as usize).map_err(|_| ConfigError::OutOfRange);
        }
    }
    Err(ConfigError::OutOfRange)
}

/// `sequence_header_obu()` up to the frame size (AV1 §5.5.1).
fn frame_size(obu: &[u8]) -> Result<Size, ConfigError> {
    let mut bits = BitReader::new(obu);
    bits.skip(3 + 1)?; // seq_profile, still_picture
    let reduced_still_picture_header = bits.bit()?;
    if reduced_still_picture_header {
        bits.skip(5)?; // seq_level_idx
    } else {
        skip_operating_points(&mut bits)?;
    }
    let width_bits = bits.bits(4)? + 1;
    let height_bits = bits.bits(4)? + 1;
    let width = u64::from(bits.bits(width_bits)?) + 1;
    let height = u64::from(bits.bits(height_bits)?) + 1;
    Size::cropped((width, height), (0, 0))
}

/// Timing, decoder model and operating points, which stand before the frame size.
fn skip_operating_points(bits: &mut BitReader<'_>) -> Result<(), ConfigError> {
    let mut delay_bits = None; // of the decoder model, if there is one
    if bits.bit()? {
        bits.skip(32 + 32)?; // num_units_in_display_tick, time_scale
        if bits.bit()? {
            bits.ue()?; // num_ticks_per_picture_minus_1
        }
        if bits.bit()? {
            delay_bits = Some(bits.bits(5)? + 1);
            bits.skip(32 + 5 + 5)?; // num_units_in_decoding_tick, two lengths
        }
    }
    let initial_display_delays = bits.bit()?;
    let points = bits.bits(5)? + 1;
    for _ in 0..points {
        bits.skip(12)?; // operating_point_idc
        if bits.bits(5)? > 7 {
            bits.skip(1)?; // seq_tier
        }
        if let Some(delay_bits) = delay_bits
            && bits.bit()?
        {
            bits.skip(2 * delay_bits + 1)?; // decoder and encoder buffer delay, low_delay_mode_flag
        }
        if initial_display_delays && bits.bit()? {
            bits.skip(4)?; // initial_display_delay_minus_1
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::hex;
    use super::*;

    // Made by ffmpeg 9.0 (libaom, SVT-AV1) from `testsrc`.
    pub(crate) const MAIN_720P: &str = "81050c000a0b0000002d4cffb3cdaf9004";
    const MAIN_10_BIT_480P: &str = "81044c000a0b00000024c6abdf36be5010";
    const SVT_360P: &str = "81010c000a0c0200000d2627fb3805f00080";

    /// Codec strings are those of ffmpeg's DASH muxer, sizes those given to the encoder.
    #[test]
    fn records_of_aom_and_svt_are_read() {
        for (record, codec_string, width, height) in [
            (MAIN_720P, "av01.0.05M.08", 1280, 720),
            (MAIN_10_BIT_480P, "av01.0.04M.10", 854, 480),
            (SVT_360P, "av01.0.01M.08", 640, 360),
        ] {
            let description = Av1Config::parse(&hex(record)).unwrap().describe();
            assert_eq!(description.codec_string, codec_string);
            assert_eq!(description.size, Some(Size { width, height }), "{codec_string}");
            assert_eq!(description.fault, None);
        }
    }

    /// OBUs may be missing; one that is cut off is a fault; other OBUs before the sequence header are passed over.
    #[test]
    fn obus_are_optional() {
        let record = hex(MAIN_720P);
        let bare = Av1Config::parse(&record[..4]).unwrap();
        assert_eq!(bare.size, Err(ConfigError::NoParameterSet));
        assert_eq!(bare.describe().fault, None);
        assert_eq!(Av1Config::parse(&record[..9]).unwrap().describe().fault, Some(ConfigError::Truncated));
        assert_eq!(Av1Config::parse(&record[..3]), Err(ConfigError::Truncated));
        assert_eq!(Av1Config::parse(&[0x01, 0, 0, 0]), Err(ConfigError::Version(1)));

        let mut padded = record[..4].to_vec();
        padded.extend([0x12, 0, 0x7e, 0xff, 2, 9, 9]); // temporal delimiter, padding with an extension byte
        padded.extend(&record[4..]);
        assert_eq!(Av1Config::parse(&padded).unwrap().size, Ok(Size { width: 1280, height: 720 }));
        // The same header without a size field, which only the last OBU may do.
        let mut unsized_obu = record[..4].to_vec();
        unsized_obu.push(0x08);
        unsized_obu.extend(&record[6..]);
        assert_eq!(Av1Config::parse(&unsized_obu).unwrap().size, Ok(Size { width: 1280, height: 720 }));
    }

    /// A sequence header with timing, decoder model, two operating points and display delays.
    #[test]
    fn every_optional_part_before_the_size_is_stepped_over() {
        let bits = [
            "000 0 0",                                     // profile 0
            "1",                                           // timing info
            &"0".repeat(64),                               // units, scale
            "1 00101",                                     // equal interval, uvlc 4
            "1 00100",                                     // decoder model, delays of 5 bits
            &"1".repeat(32),                               // units in decoding tick
            "11111 11111",                                 // lengths
            "1",                                           // display delays
            "00001",                                       // two points
            "000000000000 01000 1 1 11111 00000 1 1 1010", // level 8: tier; model; delay
            "000000000001 00111 0 0",                      // level 7: no tier, no model, no delay
            "1001 0111",                                   // 10 and 8 bits
            "0100111111 10110011",                         // 319 + 1, 179 + 1
        ]
        .concat()
        .replace(' ', "")
            + "0000000";
        let obu: Vec<u8> =
            bits.as_bytes().chunks_exact(8).map(|b| b.iter().fold(0, |v, c| v << 1 | (c - b'0'))).collect();
        assert_eq!(frame_size(&obu), Ok(Size { width: 320, height: 180 }));
    }
}
