//! Codec configuration records of synthetic tracks: what a sequence header says of pictures of 64 × 64 and of 48 kHz stereo.
//!
//! Those of AVC and AAC are whole, and a decoder takes them. The others have what names and measures the track, and no more.

use super::bits::Bits;
use super::codec::{Audio, Video};

/// Width and height in macroblocks of 16 pixels.
pub(super) const SIDE_MACROBLOCKS: u32 = 4;
/// Width and height in pixels.
pub(super) const SIDE_PIXELS: u32 = SIDE_MACROBLOCKS * 16;
/// Of all sound, Hz.
pub(super) const SAMPLE_RATE: u32 = 48_000;
/// Bits of H.264's `frame_num`.
pub(super) const FRAME_NUM_BITS: u32 = 16;

/// AAC-LC, 48 kHz, stereo (ISO/IEC 14496-3 §1.6.2.1).
const AUDIO_SPECIFIC_CONFIG: [u8; 2] = [0x11, 0x90];

/// The record of a video track.
pub(super) fn of_video(codec: Video) -> Vec<u8> {
    match codec {
        Video::Avc | Video::EnhancedAvc => avc(),
        Video::Hevc | Video::LegacyHevc => hevc(),
        Video::Av1 => av1(),
        // VPCodecConfigurationRecord (VP Codec ISO Media File Format Binding): profile 0, level 1, 8 bits of 4:2:0, BT.709.
        Video::Vp8 | Video::Vp9 => vec![1, 0, 0, 0, 0, 10, 0x82, 1, 1, 1, 0, 0],
        // VvcDecoderConfigurationRecord (ISO/IEC 14496-15 §11.2.4.2): lengths of four bytes, no profile, no arrays.
        Video::Vvc => vec![0xfe, 0],
    }
}

/// The record of an audio track; empty where the codec has none.
pub(super) fn of_audio(codec: Audio) -> Vec<u8> {
    match codec {
        Audio::Aac | Audio::EnhancedAac => AUDIO_SPECIFIC_CONFIG.to_vec(),
        Audio::Opus => opus(),
        Audio::Flac => flac(),
        // Their frames say it all, and what encoders send as a sequence start is empty.
        Audio::Ac3 | Audio::Eac3 | Audio::Mp3 | Audio::EnhancedMp3 => Vec::new(),
    }
}

/// AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1).
fn avc() -> Vec<u8> {
    let (sps, pps) = (avc_sequence_parameter_set(), avc_picture_parameter_set());
    let mut out = vec![1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    for (count, set) in [(None, &sps), (Some(1), &pps)] {
        out.extend(count);
        out.extend((set.len() as u16).to_be_bytes());
        out.extend(set);
    }
    out
}

/// H.264 §7.3.2.1.1: Baseline 3.1, pictures in coding order (pic_order_cnt_type 2), one reference frame.
fn avc_sequence_parameter_set() -> Vec<u8> {
    let mut bits = Bits::new(&[0x67, 66, 0xc0, 31]);
    bits.ue(0); // seq_parameter_set_id
    bits.ue(FRAME_NUM_BITS - 4); // log2_max_frame_num_minus4
    bits.ue(2); // pic_order_cnt_type
    bits.ue(1); // max_num_ref_frames
    bits.put(0, 1); // gaps_in_frame_num_value_allowed_flag
    bits.ue(SIDE_MACROBLOCKS - 1);
    bits.ue(SIDE_MACROBLOCKS - 1);
    bits.put(0b1100, 4); // frame_mbs_only, direct_8x8_inference, no cropping, no VUI
    bits.nal_unit()
}

/// H.264 §7.3.2.2: CAVLC, one slice group.
fn avc_picture_parameter_set() -> Vec<u8> {
    let mut bits = Bits::new(&[0x68]);
    bits.ue(0); // pic_parameter_set_id
    bits.ue(0); // seq_parameter_set_id
    bits.put(0, 2); // CAVLC, no order of fields
    bits.ue(0); // num_slice_groups_minus1
    bits.ue(0); // num_ref_idx_l0_default_active_minus1
    bits.ue(0); // num_ref_idx_l1_default_active_minus1
    bits.put(0, 3); // weighted_pred_flag, weighted_bipred_idc
    bits.ue(0); // pic_init_qp_minus26
    bits.ue(0); // pic_init_qs_minus26
    bits.ue(0); // chroma_qp_index_offset
    bits.put(0b100, 3); // deblocking_filter_control_present, not constrained, no redundant pictures
    bits.nal_unit()
}

/// HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3.1) with the sequence parameter set alone.
fn hevc() -> Vec<u8> {
    let sps = hevc_sequence_parameter_set();
    let mut out = vec![1];
    out.extend(HEVC_PROFILE);
    out.push(HEVC_LEVEL);
    // No segmentation, parallelism unknown, 4:2:0, 8 bits, frame rate unknown, lengths of four bytes.
    out.extend([0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0, 0x0f]);
    // One array: complete, of type 33, with one unit.
    out.extend([1, 0x80 | 33, 0, 1]);
    out.extend((sps.len() as u16).to_be_bytes());
    out.extend(sps);
    out
}

/// Profile space, tier and Main; compatible with Main and Main 10; progressive, frames only.
const HEVC_PROFILE: [u8; 11] = [1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0];
/// Level 2.
const HEVC_LEVEL: u8 = 60;

/// H.265 §7.3.2.2.
fn hevc_sequence_parameter_set() -> Vec<u8> {
    let mut bits = Bits::new(&[33 << 1, 1]);
    bits.put(0, 4); // sps_video_parameter_set_id
    bits.put(0, 3); // sps_max_sub_layers_minus1
    bits.put(1, 1); // sps_temporal_id_nesting_flag
    for byte in HEVC_PROFILE.into_iter().chain([HEVC_LEVEL]) {
        bits.put(byte.into(), 8);
    }
    bits.ue(0); // sps_seq_parameter_set_id
    bits.ue(1); // chroma_format_idc: 4:2:0
    bits.ue(SIDE_PIXELS);
    bits.ue(SIDE_PIXELS);
    bits.put(0, 1); // conformance_window_flag
    bits.ue(0); // bit_depth_luma_minus8
    bits.ue(0); // bit_depth_chroma_minus8
    bits.ue(4); // log2_max_pic_order_cnt_lsb_minus4
    bits.put(1, 1); // sps_sub_layer_ordering_info_present_flag
    bits.ue(0); // sps_max_dec_pic_buffering_minus1
    bits.ue(0); // sps_max_num_reorder_pics
    bits.ue(0); // sps_max_latency_increase_plus1
    bits.ue(0); // log2_min_luma_coding_block_size_minus3
    bits.ue(1); // log2_diff_max_min_luma_coding_block_size
    bits.ue(0); // log2_min_luma_transform_block_size_minus2
    bits.ue(1); // log2_diff_max_min_luma_transform_block_size
    bits.ue(0); // max_transform_hierarchy_depth_inter
    bits.ue(0); // max_transform_hierarchy_depth_intra
    bits.put(0, 4); // no scaling lists, no asymmetric partitions, no sample adaptive offset, no PCM
    bits.ue(0); // num_short_term_ref_pic_sets
    bits.put(0, 5); // no long-term pictures, no temporal motion vectors, no strong smoothing, no VUI, no extension
    bits.nal_unit()
}

/// AV1CodecConfigurationRecord (AV1-ISOBMFF §2.3.3): Main, level 2.0, 8 bits of 4:2:0; then the sequence header OBU.
fn av1() -> Vec<u8> {
    let header = av1_sequence_header();
    let mut out = vec![0x81, 0, 0x0c, 0];
    // OBU_SEQUENCE_HEADER with its size.
    out.extend([1 << 3 | 2, header.len() as u8]);
    out.extend(header);
    out
}

/// AV1 §5.5.1.
fn av1_sequence_header() -> Vec<u8> {
    let mut bits = Bits::new(&[]);
    bits.put(0, 3); // seq_profile
    bits.put(0, 1); // still_picture
    bits.put(0, 1); // reduced_still_picture_header
    bits.put(0, 1); // timing_info_present_flag
    bits.put(0, 1); // initial_display_delay_present_flag
    bits.put(0, 5); // operating_points_cnt_minus_1
    bits.put(0, 12); // operating_point_idc
    bits.put(0, 5); // seq_level_idx
    let side_bits = u32::BITS - (SIDE_PIXELS - 1).leading_zeros();
    bits.put(side_bits - 1, 4); // frame_width_bits_minus_1
    bits.put(side_bits - 1, 4); // frame_height_bits_minus_1
    bits.put(SIDE_PIXELS - 1, side_bits); // max_frame_width_minus_1
    bits.put(SIDE_PIXELS - 1, side_bits); // max_frame_height_minus_1
    bits.put(0, 1); // frame_id_numbers_present_flag
    bits.put(0, 3); // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    bits.put(0, 4); // enable_interintra_compound, masked_compound, warped_motion, dual_filter
    bits.put(0, 1); // enable_order_hint
    bits.put(1, 1); // seq_choose_screen_content_tools
    bits.put(1, 1); // seq_choose_integer_mv
    bits.put(0, 3); // enable_superres, enable_cdef, enable_restoration
    bits.put(0, 3); // high_bitdepth, mono_chrome, color_description_present_flag
    bits.put(0, 1); // color_range
    bits.put(0, 2); // chroma_sample_position
    bits.put(0, 2); // separate_uv_delta_q, film_grain_params_present
    bits.trailed()
}

/// ID header (RFC 7845 §5.1): stereo, 312 samples to skip, 48 kHz, no gain, mapping family 0.
fn opus() -> Vec<u8> {
    let mut out = b"OpusHead\x01\x02".to_vec();
    out.extend(312_u16.to_le_bytes());
    out.extend(SAMPLE_RATE.to_le_bytes());
    out.extend([0, 0, 0]);
    out
}

/// `fLaC` and the STREAMINFO block (RFC 9639 §8.2): blocks of 4,096 samples, 16 bits, length unknown.
fn flac() -> Vec<u8> {
    let mut out = b"fLaC\x80\x00\x00\x22".to_vec();
    out.extend([0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    let mut bits = Bits::new(&[]);
    bits.put(SAMPLE_RATE, 20);
    bits.put(1, 3); // channels - 1
    bits.put(15, 5); // bits of a sample - 1
    bits.put(0, 4); // the upper bits of the number of samples, not known
    bits.put(0, 32); // the lower ones
    out.extend(bits.into_bytes());
    out.extend([0; 16]); // nor is the checksum
    out
}

#[cfg(test)]
mod tests {
    use inrush::media::codec::{AudioCodec, Codec, FourCc, VideoCodec};
    use inrush::media::config::describe;

    use super::super::codec::Choice;
    use super::*;

    /// The engine reads what it reads of such records, and finds no fault.
    #[test]
    fn the_engine_describes_every_track() {
        for (video, codec_string) in
            [(Video::Avc, "avc1.42c01f"), (Video::Hevc, "hvc1.1.6.L60.90"), (Video::Av1, "av01.0.00M.08")]
        {
            let codec = Codec::Video(VideoCodec::from_fourcc(FourCc(video.fourcc())));
            let description = describe(codec, &of_video(video)).unwrap().unwrap();
            assert_eq!(description.codec_string, codec_string);
            let size = description.size.unwrap();
            assert_eq!((size.width, size.height, description.fault), (64, 64, None), "{codec_string}");
        }
        for (audio, codec_string) in [(Audio::Aac, "mp4a.40.2"), (Audio::Opus, "opus"), (Audio::Flac, "flac")]
        {
            let codec = Codec::Audio(AudioCodec::from_fourcc(FourCc(audio.fourcc())));
            let description = describe(codec, &of_audio(audio)).unwrap().unwrap();
            assert_eq!(description.codec_string, codec_string);
            let sound = (description.sample_rate, description.channels, description.fault);
            assert_eq!(sound, (Some(48_000), Some(2), None));
        }
    }

    /// No FourCC of ours is unknown to the engine; STREAMINFO has its length.
    #[test]
    fn every_codec_is_known() {
        for (name, video) in Video::ALL {
            let codec = Codec::Video(VideoCodec::from_fourcc(FourCc(video.fourcc())));
            assert!(!codec.is_unknown() && !of_video(*video).is_empty(), "{name}");
        }
        for (name, audio) in Audio::ALL {
            assert!(!Codec::Audio(AudioCodec::from_fourcc(FourCc(audio.fourcc()))).is_unknown(), "{name}");
        }
        let flac = of_audio(Audio::Flac);
        assert_eq!(flac.len(), 4 + 4 + 34);
        // 20 bits of rate, 3 of channels, 5 of bits.
        assert_eq!(flac[18..22], [0x0b, 0xb8, 0x02, 0xf0]);
    }
}
