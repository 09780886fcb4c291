//! Synthetic H.264 and AAC, made so that a decoder takes them: a small picture and silence, filled up to the bit rate.
//!
//! A key frame is an IDR picture of raw (I_PCM) macroblocks, any other a picture that skips all macroblocks; filler goes into
//! supplemental information (H.264 Annex D.1.7) and data stream elements (ISO/IEC 14496-3 §4.4.2.7), which decoders read over. One round is
//! one GOP, so frame numbers start anew with each round, as they must.

use bytes::Bytes;
use inrush::rtmp::amf::{Value, amf0};

use super::{Media, Message, type_id};

/// Width and height in macroblocks of 16 pixels.
const SIDE_MACROBLOCKS: u32 = 4;
const MACROBLOCK_BYTES: usize = 384;
/// AAC-LC, 48 kHz, stereo.
const AUDIO_SPECIFIC_CONFIG: [u8; 2] = [0x11, 0x90];
const SAMPLE_RATE: u64 = 48_000;
const FRAME_SAMPLES: u64 = 1_024;
/// A channel pair without a sound, and the end of the frame.
const SILENCE: [u8; 6] = [0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c];
/// Audio's share of the bit rate is what it leaves of 128 kbit/s, at most a fifth.
const AUDIO_BPS_MAX: u64 = 128_000;

/// What a synthetic stream looks like.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// Bits a second of audio and video together.
    pub bitrate_bps: u64,
    /// Video frames a second.
    pub fps: u32,
    /// Video frames from key frame to key frame.
    pub gop_frames: u32,
    /// Of the filler.
    pub seed: u64,
}

/// One GOP of it.
pub fn media(pattern: &Pattern) -> Media {
    let fps = u64::from(pattern.fps.max(1));
    let gop_frames = u64::from(pattern.gop_frames.max(1));
    let period_ms = (gop_frames * 1_000 / fps).max(1) as u32;
    let audio_bps = AUDIO_BPS_MAX.min(pattern.bitrate_bps / 5);
    let audio_frames = (u64::from(period_ms) * SAMPLE_RATE / FRAME_SAMPLES / 1_000).max(1);
    let audio_bytes = (audio_bps * u64::from(period_ms) / 8_000 / audio_frames) as usize;
    let round_bytes = pattern.bitrate_bps * u64::from(period_ms) / 8_000;
    let video_bytes = round_bytes.saturating_sub(audio_bytes as u64 * audio_frames);
    // A key frame has the weight of five others.
    let unit_bytes = video_bytes / (gop_frames + 4);

    let mut filler = Filler(pattern.seed ^ 0x9e37_79b9_7f4a_7c15);
    let video = (0..gop_frames).map(|frame| {
        let time_ms = (frame * 1_000 / fps) as u32;
        let bytes = if frame == 0 { unit_bytes * 5 } else { unit_bytes } as usize;
        Message::new(type_id::VIDEO, time_ms, picture(frame as u32, bytes, &mut filler))
    });
    let mut round: Vec<_> = video.collect();
    round.extend((0..audio_frames).map(|frame| {
        let time_ms = (frame * u64::from(period_ms) / audio_frames) as u32;
        Message::new(type_id::AUDIO, time_ms, sound(audio_bytes, &mut filler))
    }));
    // Stable: of two that are due together, video goes first.
    round.sort_by_key(|message| message.time_ms);
    let headers = vec![
        Message::new(type_id::DATA_AMF0, 0, metadata(pattern, audio_bps)),
        Message::new(type_id::VIDEO, 0, avc_sequence_header()),
        Message::new(type_id::AUDIO, 0, Bytes::from([&[0xaf, 0], &AUDIO_SPECIFIC_CONFIG[..]].concat())),
    ];
    Media::new(headers, round, period_ms)
}

fn metadata(pattern: &Pattern, audio_bps: u64) -> Bytes {
    let number = |name: &str, value: f64| (name.to_owned(), Value::Number(value));
    let side = f64::from(SIDE_MACROBLOCKS * 16);
    let properties = vec![
        number("width", side),
        number("height", side),
        number("framerate", f64::from(pattern.fps)),
        number("videocodecid", 7.0),
        number("videodatarate", pattern.bitrate_bps.saturating_sub(audio_bps) as f64 / 1e3),
        number("audiocodecid", 10.0),
        number("audiodatarate", audio_bps as f64 / 1e3),
        number("audiosamplerate", SAMPLE_RATE as f64),
    ];
    let mut out = bytes::BytesMut::new();
    for value in ["@setDataFrame".into(), "onMetaData".into(), Value::EcmaArray(properties)] {
        amf0::write(&value, &mut out).expect("short names and numbers have an AMF0 form");
    }
    out.freeze()
}

/// AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1) behind its tag header.
fn avc_sequence_header() -> Bytes {
    let (sps, pps) = (sequence_parameter_set(), picture_parameter_set());
    let mut out = vec![0x17, 0, 0, 0, 0, 1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    for (count, set) in [(None, &sps), (Some(1), &pps)] {
        out.extend(count);
        out.extend((set.len() as u16).to_be_bytes());
        out.extend(set);
    }
    Bytes::from(out)
}

/// H.264 §7.3.2.1.1: Baseline 3.1, pictures in coding order (pic_order_cnt_type 2), one reference frame.
fn sequence_parameter_set() -> Vec<u8> {
    let mut bits = Bits::new(&[0x67, 66, 0xc0, 31]);
    bits.ue(0); // seq_parameter_set_id
    bits.ue(FRAME_NUM_BITS - 4); // log2_max_frame_num_minus4
    bits.ue(2); // pic_order_cnt_type
    bits.ue(1); // max_num_ref_frames
    bits.put(0, 1); // gaps_in_frame_num_value_allowed_flag
    bits.ue(SIDE_MACROBLOCKS - 1);
    bits.ue(SIDE_MACROBLOCKS - 1);
    bits.put(0b1100, 4); // frame_mbs_only, direct_8x8_inference, no cropping, no VUI
    bits.finish()
}

const FRAME_NUM_BITS: u32 = 16;

/// H.264 §7.3.2.2: CAVLC, one slice group.
fn picture_parameter_set() -> Vec<u8> {
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
    bits.finish()
}

/// The tag of a picture of about `bytes` bytes, less what a stamp adds.
fn picture(frame: u32, bytes: usize, filler: &mut Filler) -> Bytes {
    let key = frame == 0;
    let slice = slice(frame, filler);
    let mut out = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
    let left = bytes.saturating_sub(out.len() + super::stamp::Carrier::Avc.bytes() + 4 + slice.len());
    if left > 64 {
        // Payload type 5 and its size, a UUID, filler.
        let size = left - 4 - 3 - left / 255;
        let mut unit = vec![0x06, 0x05];
        unit.extend(std::iter::repeat_n(0xff, size / 255));
        unit.push((size % 255) as u8);
        unit.extend(std::iter::repeat_with(|| filler.byte()).take(size));
        unit.push(0x80);
        append_unit(&mut out, &unit);
    }
    append_unit(&mut out, &slice);
    Bytes::from(out)
}

fn append_unit(out: &mut Vec<u8>, unit: &[u8]) {
    out.extend((unit.len() as u32).to_be_bytes());
    out.extend(unit);
}

/// H.264 §7.3.3 and §7.3.4.
fn slice(frame: u32, filler: &mut Filler) -> Vec<u8> {
    let key = frame == 0;
    let mut bits = Bits::new(&[if key { 0x65 } else { 0x41 }]);
    bits.ue(0); // first_mb_in_slice
    bits.ue(if key { 7 } else { 5 }); // slice_type: all I, all P
    bits.ue(0); // pic_parameter_set_id
    bits.put(frame % (1 << FRAME_NUM_BITS), FRAME_NUM_BITS);
    if key {
        bits.ue(0); // idr_pic_id
        bits.put(0, 2); // no_output_of_prior_pics_flag, long_term_reference_flag
    } else {
        bits.put(0, 3); // no override, no modification of the reference list, no adaptive marking
    }
    bits.ue(0); // slice_qp_delta, se(0)
    bits.ue(1); // disable_deblocking_filter_idc
    if key {
        for _ in 0..SIDE_MACROBLOCKS * SIDE_MACROBLOCKS {
            bits.ue(25); // I_PCM
            bits.align();
            for _ in 0..MACROBLOCK_BYTES {
                bits.put(u32::from(filler.byte()), 8);
            }
        }
    } else {
        bits.ue(SIDE_MACROBLOCKS * SIDE_MACROBLOCKS); // mb_skip_run
    }
    bits.finish()
}

/// The tag of an AAC frame of about `bytes` bytes, less what a stamp adds.
fn sound(bytes: usize, filler: &mut Filler) -> Bytes {
    let mut out = vec![0xaf, 1];
    let mut left = bytes.saturating_sub(2 + super::stamp::Carrier::Aac.bytes() + SILENCE.len());
    while left > 2 {
        let count = (left - 2).min(254);
        out.extend([0x81, count as u8]);
        out.extend(std::iter::repeat_with(|| filler.byte()).take(count));
        left -= 2 + count;
    }
    out.extend(SILENCE);
    Bytes::from(out)
}

/// Bytes from 1 to 255: no start code and no emulation of one can come up in them. (xorshift64*)
struct Filler(u64);

impl Filler {
    fn byte(&mut self) -> u8 {
        self.0 = if self.0 == 0 { 1 } else { self.0 };
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56).max(1) as u8
    }
}

/// A NAL unit as it is written, bit by bit.
struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are in use; 0 when it is full.
    used: u32,
}

impl Bits {
    fn new(header: &[u8]) -> Self {
        Self { bytes: header.to_vec(), used: 0 }
    }

    fn put(&mut self, value: u32, count: u32) {
        for shift in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let bit = (value >> shift & 1) as u8;
            *self.bytes.last_mut().expect("there is a header") |= bit << (7 - self.used);
            self.used = (self.used + 1) % 8;
        }
    }

    /// Exp-Golomb (§9.1).
    fn ue(&mut self, value: u32) {
        let length = 32 - (value + 1).leading_zeros();
        self.put(0, length - 1);
        self.put(value + 1, length);
    }

    fn align(&mut self) {
        if self.used != 0 {
            self.put(0, 8 - self.used);
        }
    }

    /// With rbsp_trailing_bits, and emulation prevention where it is needed (§7.4.1).
    fn finish(mut self) -> Vec<u8> {
        self.put(1, 1);
        self.align();
        let mut out = Vec::with_capacity(self.bytes.len());
        let mut zeros = 0;
        for byte in self.bytes {
            if zeros == 2 && byte <= 3 {
                out.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            out.push(byte);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(bitrate_bps: u64) -> Pattern {
        Pattern { bitrate_bps, fps: 25, gop_frames: 50, seed: 1 }
    }

    #[test]
    fn the_bit_rate_is_what_was_asked_for() {
        for bitrate_bps in [300_000, 1_000_000, 3_000_000, 20_000_000] {
            let media = media(&pattern(bitrate_bps));
            let off = media.bits_per_second() as f64 / bitrate_bps as f64 - 1.0;
            assert!(off.abs() < 0.02, "{bitrate_bps}: {}", media.bits_per_second());
        }
    }

    #[test]
    fn a_round_is_a_gop_with_its_sound() {
        let media = media(&pattern(3_000_000));
        let video: Vec<_> = media.round.iter().filter(|m| m.type_id == type_id::VIDEO).collect();
        assert_eq!((video.len(), media.period_ms), (50, 2_000));
        assert_eq!((media.video_messages(), media.key_frames()), (50, 1));
        assert_eq!(media.round.len() - video.len(), 93); // 2 s of 48,000 samples in frames of 1,024
        assert!(media.round.is_sorted_by_key(|message| message.time_ms));
        assert!(media.round.iter().all(|message| message.carrier.is_some()));
    }

    #[test]
    fn the_seed_decides_and_the_parser_of_the_engine_agrees() {
        let one = media(&pattern(1_000_000));
        assert_eq!(one.round[0].body, media(&pattern(1_000_000)).round[0].body);
        let other = media(&Pattern { seed: 2, ..pattern(1_000_000) });
        assert_ne!(one.round[0].body, other.round[0].body);
        let record = one.headers[1].body.slice(5..);
        let config = inrush::media::config::avc::AvcConfig::parse(&record).unwrap();
        assert_eq!(config.size.map(|size| (size.width, size.height)), Ok((64, 64)));
    }
}
