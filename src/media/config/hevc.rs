//! H.265: HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3.1) and its sequence parameter set (H.265 §7.3.2.2).

use alloc::format;
use alloc::string::String;

use super::bits::BitReader;
use super::{ConfigError, Description, Size};

/// What an HEVCDecoderConfigurationRecord says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HevcConfig {
    /// `general_profile_space`, 0..=3.
    pub profile_space: u8,
    /// `general_profile_idc`.
    pub profile: u8,
    /// `general_profile_compatibility_flags`, the first flag in the highest bit.
    pub compatibility: u32,
    /// `general_tier_flag`: high tier.
    pub high_tier: bool,
    /// `general_level_idc`: thirty times the level.
    pub level: u8,
    /// `general_constraint_indicator_flags`.
    pub constraints: [u8; 6],
    /// Bytes of the length before each NAL unit: 1, 2 or 4 (3 is not legal, but is read).
    pub nal_length_bytes: u8,
    /// Size from the first sequence parameter set of the base layer, or why there is none.
    pub size: Result<Size, ConfigError>,
}

/// Bytes before the arrays of parameter sets.
const FIXED_BYTES: usize = 23;

impl HevcConfig {
    /// Reads the record. Fails only where not even profile and level can be read.
    pub fn parse(record: &[u8]) -> Result<Self, ConfigError> {
        let (head, arrays) = match record {
            [] => return Err(ConfigError::Empty),
            // Version 0 was written before the format was settled; the layout is the same.
            [0 | 1, ..] => record.split_first_chunk::<FIXED_BYTES>().ok_or(ConfigError::Truncated)?,
            [version, ..] => return Err(ConfigError::Version(*version)),
        };
        let [
            _,
            space_tier_profile,
            c0,
            c1,
            c2,
            c3,
            i0,
            i1,
            i2,
            i3,
            i4,
            i5,
            level,
            ..,
            length_size,
            array_count,
        ] = *head;
        Ok(Self {
            profile_space: space_tier_profile >> 6,
            high_tier: space_tier_profile & 0x20 != 0,
            profile: space_tier_profile & 0x1f,
            compatibility: u32::from_be_bytes([c0, c1, c2, c3]),
            constraints: [i0, i1, i2, i3, i4, i5],
            level,
            nal_length_bytes: (length_size & 3) + 1,
            size: first_sps(array_count, arrays).and_then(sps_size),
        })
    }

    /// The parts that tracks show.
    pub fn describe(&self) -> Description {
        Description {
            codec_string: self.codec_string(),
            profile: Some(self.profile),
            level: Some(self.level),
            size: self.size.ok(),
            fault: self.size.err(),
            ..Description::default()
        }
    }

    /// `hvc1.1.6.L93.B0` (ISO/IEC 14496-15 §E.3): profile with its space, compatibility flags in reverse bit
    /// order, tier and level, constraint bytes without trailing zeros.
    fn codec_string(&self) -> String {
        let space = ["", "A", "B", "C"][usize::from(self.profile_space & 3)];
        let tier = if self.high_tier { 'H' } else { 'L' };
        let compatibility = self.compatibility.reverse_bits();
        let mut string = format!("hvc1.{space}{}.{compatibility:X}.{tier}{}", self.profile, self.level);
        let kept = self.constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for byte in &self.constraints[..kept] {
            string += &format!(".{byte:X}");
        }
        string
    }
}

const NAL_TYPE_SPS: u8 = 33;

/// The first sequence parameter set of the base layer in the arrays of NAL units.
fn first_sps(array_count: u8, mut rest: &[u8]) -> Result<&[u8], ConfigError> {
    for _ in 0..array_count {
        let ([_array_type, count @ ..], after) =
            rest.split_first_chunk::<3>().ok_or(ConfigError::Truncated)?;
        rest = after;
        for _ in 0..u16::from_be_bytes(*count) {
            let (len, after) = rest.split_first_chunk::<2>().ok_or(ConfigError::Truncated)?;
            let len = usize::from(u16::from_be_bytes(*len));
            let (nal, after) = after.split_at_checked(len).ok_or(ConfigError::Truncated)?;
            rest = after;
            // The NAL unit's own header decides (H.265 §7.3.1.2): type, then layer id in six bits.
            if let [h0, h1, ..] = nal
                && h0 >> 1 & 0x3f == NAL_TYPE_SPS
                && h0 & 1 == 0
                && h1 >> 3 == 0
            {
                return Ok(nal);
            }
        }
    }
    Err(ConfigError::NoParameterSet)
}

/// Size out of a sequence parameter set NAL unit, whose two header bytes are there.
fn sps_size(nal: &[u8]) -> Result<Size, ConfigError> {
    let mut bits = BitReader::rbsp(nal.get(2..).ok_or(ConfigError::Truncated)?);
    bits.skip(4)?; // sps_video_parameter_set_id
    let sub_layers = bits.bits(3)?; // sps_max_sub_layers_minus1
    bits.skip(1)?; // sps_temporal_id_nesting_flag
    skip_profile_tier_level(&mut bits, sub_layers)?;
    bits.ue()?; // sps_seq_parameter_set_id
    let chroma_format = bits.ue()?;
    match chroma_format {
        0..=2 => {}
        3 => bits.skip(1)?, // separate_colour_plane_flag
        _ => return Err(ConfigError::OutOfRange),
    }
    let coded = (u64::from(bits.ue()?), u64::from(bits.ue()?));
    let mut crop = (0, 0);
    if bits.bit()? {
        // SubWidthC and SubHeightC (H.265 table 6-1).
        let (sub_width, sub_height) = match chroma_format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let mut offset = || bits.ue().map(u64::from);
        let (left, right, top, bottom) = (offset()?, offset()?, offset()?, offset()?);
        crop = ((left + right) * sub_width, (top + bottom) * sub_height);
    }
    Size::cropped(coded, crop)
}

/// `profile_tier_level(1, sub_layers)` (H.265 §7.3.3).
fn skip_profile_tier_level(bits: &mut BitReader<'_>, sub_layers: u32) -> Result<(), ConfigError> {
    const PROFILE_BITS: u32 = 88;
    const LEVEL_BITS: u32 = 8;
    bits.skip(PROFILE_BITS + LEVEL_BITS)?;
    if sub_layers == 0 {
        return Ok(());
    }
    let mut skip = 0;
    for layer in 0..8 {
        // From the last sub-layer to the eighth, the flags are two reserved bits.
        let (profile_present, level_present) = (bits.bit()?, bits.bit()?);
        if layer < sub_layers {
            skip += u32::from(profile_present) * PROFILE_BITS + u32::from(level_present) * LEVEL_BITS;
        }
    }
    bits.skip(skip)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::hex;
    use super::*;

    // Made by ffmpeg 9.0 (libx265) from `testsrc`.
    pub(crate) const MAIN_1080P: &str = "01016000000090000000000078f000fcfdf8f800000f03200001001840010c01ffff016000000300900000030000030078959409210001002b420101016000000300900000030000030078a003c0801107cb965654a4c2f016808000000300800000050422000100064401c073c189";
    const MAIN10_720P: &str = "0102200000009000000000005df000fcfdfafa00000f03200001001840010c01ffff02200000030090000003000003005d959409210001002b42010102200000030090000003000003005da00280802d136595952930bc05a0200000030020000003014122000100064401c073c189";
    pub(crate) const MAIN_TWO_LAYERS_426X242: &str = "0101600000009000000000003cf000fcfdf8f800001303200001001c40010c02ffff01600000030090000003000003003c00009594aca048210001003042010201600000030090000003000003003c0000a00d880407244659594aca94985e02d010000003001000000300a08022000100064401c073c189";
    const HIGH_TIER_444: &str = "0124080000009e080000000099f000fcfff8f800000f03200001001740010c01ffff2408000003009e08000003000099959409210001002c4201012408000003009e080000030000999001510080e3e3f2caca94985e02d010000003001000000300a08022000100084401c07318301890";

    /// Two temporal layers, high tier, three bit depths and chroma formats, with and without cropping.
    #[test]
    fn records_of_x265_are_read() {
        for (record, codec_string, width, height) in [
            (MAIN_1080P, "hvc1.1.6.L120.90", 1920, 1080),
            (MAIN10_720P, "hvc1.2.4.L93.90", 1280, 720),
            (MAIN_TWO_LAYERS_426X242, "hvc1.1.6.L60.90", 426, 242),
            (HIGH_TIER_444, "hvc1.4.10.H153.9E.8", 322, 242),
        ] {
            let config = HevcConfig::parse(&hex(record)).unwrap();
            let description = config.describe();
            assert_eq!(description.codec_string, codec_string);
            assert_eq!(description.size, Some(Size { width, height }), "{codec_string}");
            assert_eq!((description.fault, config.nal_length_bytes), (None, 4));
        }
    }

    /// The example strings of ISO/IEC 14496-15 §E.3.
    #[test]
    fn codec_strings_of_the_standard() {
        let config = HevcConfig {
            profile_space: 0,
            profile: 1,
            compatibility: 0x4000_0000,
            high_tier: false,
            level: 93,
            constraints: [0xb0, 0, 0, 0, 0, 0],
            nal_length_bytes: 4,
            size: Err(ConfigError::NoParameterSet),
        };
        assert_eq!(config.codec_string(), "hvc1.1.2.L93.B0");
        let other = HevcConfig {
            profile_space: 1,
            profile: 4,
            compatibility: 0x0800_0000,
            high_tier: true,
            level: 120,
            constraints: [0xb0, 0x23, 0, 0, 0, 0],
            ..config
        };
        assert_eq!(other.codec_string(), "hvc1.A4.10.H120.B0.23");
    }

    /// Profile and level survive arrays that end early; the fault is told.
    #[test]
    fn a_bad_parameter_set_leaves_profile_and_level() {
        let record = hex(MAIN_1080P);
        let description = HevcConfig::parse(&record[..60]).unwrap().describe();
        assert_eq!(description.codec_string, "hvc1.1.6.L120.90");
        assert_eq!((description.size, description.fault), (None, Some(ConfigError::Truncated)));
        let mut bare = record[..FIXED_BYTES].to_vec();
        bare[FIXED_BYTES - 1] = 0;
        assert_eq!(HevcConfig::parse(&bare).unwrap().size, Err(ConfigError::NoParameterSet));
        assert_eq!(HevcConfig::parse(&record[..FIXED_BYTES - 1]), Err(ConfigError::Truncated));
    }
}
