//! H.264: AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1) and its sequence parameter set (H.264 §7.3.2.1.1).

use alloc::format;

use super::bits::BitReader;
use super::{ConfigError, Description, Size};

/// What an AVCDecoderConfigurationRecord says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvcConfig {
    /// `AVCProfileIndication`.
    pub profile: u8,
    /// `profile_compatibility`: the constraint flags.
    pub compatibility: u8,
    /// `AVCLevelIndication`: ten times the level.
    pub level: u8,
    /// Bytes of the length before each NAL unit: 1, 2 or 4 (3 is not legal, but is read).
    pub nal_length_bytes: u8,
    /// Size from the first sequence parameter set, or why there is none.
    pub size: Result<Size, ConfigError>,
}

impl AvcConfig {
    /// Reads the record. Fails only where not even profile and level can be read.
    pub fn parse(record: &[u8]) -> Result<Self, ConfigError> {
        let (head, rest) = match record {
            [] => return Err(ConfigError::Empty),
            [1, ..] => record.split_first_chunk::<6>().ok_or(ConfigError::Truncated)?,
            [version, ..] => return Err(ConfigError::Version(*version)),
        };
        let [_, profile, compatibility, level, length_size, sps_count] = *head;
        Ok(Self {
            profile,
            compatibility,
            level,
            nal_length_bytes: (length_size & 3) + 1,
            size: first_sps(sps_count & 0x1f, rest).and_then(sps_size),
        })
    }

    /// The parts that tracks show. `avc1.PPCCLL` is RFC 6381 §3.3.
    pub fn describe(&self) -> Description {
        Description {
            codec_string: format!("avc1.{:02x}{:02x}{:02x}", self.profile, self.compatibility, self.level),
            profile: Some(self.profile),
            level: Some(self.level),
            size: self.size.ok(),
            fault: self.size.err(),
            ..Description::default()
        }
    }
}

fn first_sps(count: u8, rest: &[u8]) -> Result<&[u8], ConfigError> {
    if count == 0 {
        return Err(ConfigError::NoParameterSet);
    }
    let (len, rest) = rest.split_first_chunk::<2>().ok_or(ConfigError::Truncated)?;
    rest.get(..usize::from(u16::from_be_bytes(*len))).ok_or(ConfigError::Truncated)
}

/// Size out of a sequence parameter set NAL unit.
fn sps_size(nal: &[u8]) -> Result<Size, ConfigError> {
    const NAL_TYPE_SPS: u8 = 7;
    match nal {
        [header, ..] if header & 0x1f == NAL_TYPE_SPS => {}
        _ => return Err(ConfigError::NoParameterSet),
    }
    let mut bits = BitReader::rbsp(&nal[1..]);
    let profile = bits.byte(8)?;
    bits.skip(8 + 8)?; // constraint flags, level_idc
    bits.ue()?; // seq_parameter_set_id
    let mut chroma_format = 1;
    if has_chroma_format(profile) {
        chroma_format = bits.ue()?;
        match chroma_format {
            0..=2 => {}
            3 => bits.skip(1)?, // separate_colour_plane_flag
            _ => return Err(ConfigError::OutOfRange),
        }
        bits.ue()?; // bit_depth_luma_minus8
        bits.ue()?; // bit_depth_chroma_minus8
        bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
        if bits.bit()? {
            for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                if bits.bit()? {
                    skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.ue()?; // log2_max_frame_num_minus4
    match bits.ue()? {
        0 => {
            bits.ue()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.skip(1)?; // delta_pic_order_always_zero_flag
            bits.se()?; // offset_for_non_ref_pic
            bits.se()?; // offset_for_top_to_bottom_field
            let cycle = bits.ue()?;
            if cycle > 255 {
                return Err(ConfigError::OutOfRange);
            }
            for _ in 0..cycle {
                bits.se()?; // offset_for_ref_frame
            }
        }
        2 => {}
        _ => return Err(ConfigError::OutOfRange),
    }
    bits.ue()?; // max_num_ref_frames
    bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
    let width_mbs = u64::from(bits.ue()?) + 1;
    let height_map_units = u64::from(bits.ue()?) + 1;
    let frame_mbs_only = bits.bit()?;
    if !frame_mbs_only {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    bits.skip(1)?; // direct_8x8_inference_flag
    let mut crop = (0, 0);
    // A map unit covers two rows of macroblocks when fields may be coded (H.264 §7.4.2.1.1, FrameHeightInMbs).
    let fields = if frame_mbs_only { 1 } else { 2 };
    if bits.bit()? {
        // CropUnitX and CropUnitY (H.264 equations 7-19 to 7-22).
        let (sub_width, sub_height) = match chroma_format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1), // monochrome and 4:4:4, in one plane or three
        };
        let mut edge = || bits.ue().map(u64::from);
        let (left, right, top, bottom) = (edge()?, edge()?, edge()?, edge()?);
        crop = ((left + right) * sub_width, (top + bottom) * sub_height * fields);
    }
    Size::cropped((width_mbs * 16, height_map_units * 16 * fields), crop)
}

/// Profiles whose parameter set says chroma format and bit depth (H.264 §7.3.2.1.1).
fn has_chroma_format(profile: u8) -> bool {
    matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

/// H.264 §7.3.2.1.1.1: deltas are only read while the next scale is not zero.
fn skip_scaling_list(bits: &mut BitReader<'_>, entries: u32) -> Result<(), ConfigError> {
    let mut last = 8;
    for _ in 0..entries {
        let delta = bits.se()?;
        if !(-128..=127).contains(&delta) {
            return Err(ConfigError::OutOfRange);
        }
        let next = (last + delta + 256) % 256;
        if next == 0 {
            break;
        }
        last = next;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::hex;
    use super::*;

    // Made by ffmpeg 9.0 (libx264) from `testsrc`.
    pub(crate) const BASELINE_1080P: &str =
        "0142c028ffe100196742c028da01e0089f97011000000300100000030140f1832a01000468ce0fc8";
    pub(crate) const MAIN_360P: &str =
        "014d4016ffe10018674d4016eca05017fcb80880000003008000000a078b16cb01000568ebe3cb20";
    const BASELINE_426X242: &str =
        "0142c015ffe100186742c015da06c21e488c0440000003004000000503c58ba801000468ce0fc8";
    pub(crate) const HIGH_422_720P: &str =
        "017a001fffe1001a677a001fb6cd9405005bb011000003000100000300140f18319601000668ebe3cb22c0fefafa00";
    pub(crate) const INTERLACED_576: &str =
        "01640016ffe1001867640016acd940b424d80880000003008000000a0f8a14cb01000668fba3cb22c0fdf8f800";
    const INTERLACED_1080: &str =
        "014d4028ffe10019674d4028f403c0227ef011000003000100000300141f162ea001000468de0fc8";
    const DEFAULT_LISTS_444: &str =
        "01f4000cffe1001b67f4000c91968150878f8fc044000003000400000300503c50aa8001000768ce0f19100640fff8f800";
    const MONOCHROME: &str =
        "0164000cffe1001b6764000cf2d02a10f1f1f80b64000003000400000300503c50aa8001000568ce0fc40cfcf8f800";

    /// Codec strings and sizes are those that ffprobe gives for the same files.
    #[test]
    fn records_of_x264_are_read() {
        for (record, codec_string, width, height) in [
            (BASELINE_1080P, "avc1.42c028", 1920, 1080),
            (MAIN_360P, "avc1.4d4016", 640, 360),
            (BASELINE_426X242, "avc1.42c015", 426, 242),
            (HIGH_422_720P, "avc1.7a001f", 1280, 720),
            (INTERLACED_576, "avc1.640016", 720, 576),
            (INTERLACED_1080, "avc1.4d4028", 1920, 1080),
            (DEFAULT_LISTS_444, "avc1.f4000c", 322, 242),
            (MONOCHROME, "avc1.64000c", 322, 242),
        ] {
            let config = AvcConfig::parse(&hex(record)).unwrap();
            let description = config.describe();
            assert_eq!(description.codec_string, codec_string);
            assert_eq!(description.size, Some(Size { width, height }), "{codec_string}");
            assert_eq!((description.fault, config.nal_length_bytes), (None, 4));
        }
    }

    /// Profile and level survive a parameter set that does not parse; the fault is told.
    #[test]
    fn a_bad_parameter_set_leaves_profile_and_level() {
        let mut record = hex(BASELINE_1080P);
        record[6..8].copy_from_slice(&[0xff, 0xff]);
        let description = AvcConfig::parse(&record).unwrap().describe();
        assert_eq!(description.codec_string, "avc1.42c028");
        assert_eq!((description.size, description.fault), (None, Some(ConfigError::Truncated)));

        record[5] = 0xe0;
        assert_eq!(AvcConfig::parse(&record).unwrap().size, Err(ConfigError::NoParameterSet));
        assert_eq!(AvcConfig::parse(&record[..5]), Err(ConfigError::Truncated));
        assert_eq!(
            AvcConfig::parse(&[0, 0, 0, 1, 0x67]),
            Err(ConfigError::Version(0)),
            "Annex B is not a record"
        );
    }

    /// A parameter set NAL unit of this profile: set id 0, then the bits.
    fn sps(profile: u8, bits: &str) -> Vec<u8> {
        let bits = format!("1 {bits}").replace(' ', "") + &"0".repeat(64);
        let mut nal = vec![0x67, profile, 0xc0, 21];
        nal.extend(bits.as_bytes().chunks_exact(8).map(|b| b.iter().fold(0, |v, c| v << 1 | (c - b'0'))));
        nal
    }

    /// Frame number, order count type 2, one reference frame, no gaps.
    const UP_TO_SIZE: &str = "1 011 010 0";

    /// Lists of 16 and of 64, absent ones, one that ends at its first delta, twelve of them with 4:4:4.
    #[test]
    fn scaling_lists_are_stepped_over() {
        let (absent, ends_at_once) = ("0", "1 000010001"); // 8 - 8
        let full = |entries: usize| format!("1 {}", "010 ".repeat(entries));
        let size = Ok(Size { width: 16, height: 16 });
        let eight = [&full(16), absent, absent, absent, absent, ends_at_once, &full(64), absent].join(" ");
        let bits = format!("010 1 1 0 1 {eight} {UP_TO_SIZE} 1 1 1 0 0");
        assert_eq!(sps_size(&sps(100, &bits)), size);
        let twelve = format!("{} {}", "0 ".repeat(11), full(64));
        let bits = format!("00100 0 1 1 0 1 {twelve} {UP_TO_SIZE} 1 1 1 0 0");
        assert_eq!(sps_size(&sps(244, &bits)), size);
        let out_of_range = format!("010 1 1 0 1 1 {}", "0".repeat(15) + "1" + &"0".repeat(15));
        assert_eq!(sps_size(&sps(100, &out_of_range)), Err(ConfigError::OutOfRange));
    }

    /// Cropping more than there is, or a size beyond belief, is refused rather than wrapped.
    #[test]
    fn impossible_sizes_are_out_of_range() {
        let size = |bits: &str| sps_size(&sps(66, &format!("{UP_TO_SIZE} {bits}")));
        // 1 x 1 macroblocks, frames only, no inference, no cropping.
        assert_eq!(size("1 1 1 0 0"), Ok(Size { width: 16, height: 16 }));
        // Seven units of two pixels off the left leave a picture, eight do not.
        assert_eq!(size("1 1 1 0 1 0001000 1 1 1"), Ok(Size { width: 2, height: 16 }));
        assert_eq!(size("1 1 1 0 1 0001001 1 1 1"), Err(ConfigError::OutOfRange));
        // 2^31 macroblocks across.
        let huge = format!("{}1{}", "0".repeat(31), "0".repeat(31));
        assert_eq!(size(&format!("{huge} 1 1 0 0")), Err(ConfigError::OutOfRange));
    }
}
