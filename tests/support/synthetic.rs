//! Media messages that know which one they are and when they were sent, for players that check every one of them at little cost.
//!
//! Message `n` is a video frame when `n` is even and an audio frame when it is odd. Its payload holds `n`, the time of sending,
//! and filler that depends on `n`, so that a receiver sees loss, order, damage and delay without knowing anything else.

use std::sync::OnceLock;
use std::time::Instant;

use super::flv::{Kind, Tag};
use super::media::Media;

/// Bytes of number and time.
const STAMP_BYTES: usize = 16;
/// Bytes of an AVC tag header and of the length of the NAL unit in it.
const VIDEO_HEADER_BYTES: usize = 9;
/// Bytes of an AAC tag header.
const AUDIO_HEADER_BYTES: usize = 2;

/// Largest payload of a message.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// What a synthetic stream looks like.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Milliseconds from video frame to video frame.
    pub frame_ms: u32,
    /// Video frames from key frame to key frame.
    pub gop_frames: u64,
    /// Bytes of a video frame's payload.
    pub video_bytes: usize,
    /// Bytes of an audio frame's payload.
    pub audio_bytes: usize,
}

impl Pattern {
    /// 25 frames a second, a key frame each second, this many bits a second in all.
    pub fn with_bits_per_second(bits: usize) -> Self {
        let audio_bytes = 200;
        Self { frame_ms: 40, gop_frames: 25, video_bytes: bits / 8 / 25 - audio_bytes, audio_bytes }
    }

    /// Timestamp of message `number`.
    pub fn timestamp(&self, number: u64) -> u32 {
        let frame = (number / 2) as u32;
        frame.wrapping_mul(self.frame_ms).wrapping_add(if number.is_multiple_of(2) {
            0
        } else {
            self.frame_ms / 2
        })
    }

    /// Message `number`, sent now.
    pub fn tag(&self, number: u64) -> Tag {
        let (kind, mut body, bytes) = if number.is_multiple_of(2) {
            let key = (number / 2).is_multiple_of(self.gop_frames);
            let length = u32::try_from(self.video_bytes).expect("frames are small").to_be_bytes();
            let header = [if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
            (Kind::Video, [&header[..], &length[..]].concat(), self.video_bytes)
        } else {
            (Kind::Audio, vec![0xaf, 1], self.audio_bytes)
        };
        body.extend(number.to_be_bytes());
        body.extend(now_us().to_be_bytes());
        body.extend(filler(number, bytes - STAMP_BYTES));
        Tag { kind, timestamp: self.timestamp(number), body }
    }
}

/// Sequence headers for synthetic media: those of a real file, so that a server which parses them finds them right.
pub fn sequence_headers(media: &Media) -> Vec<Tag> {
    let is_config = |tag: &&Tag| {
        matches!((tag.kind, &tag.body[..2]), (Kind::Video, [0x17, 0]) | (Kind::Audio, [0xaf, 0]))
    };
    media.tags.iter().filter(is_config).map(|tag| Tag { timestamp: 0, ..tag.clone() }).collect()
}

/// What a synthetic message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which one it is.
    pub number: u64,
    /// Whether it is a video key frame.
    pub key: bool,
    /// Microseconds from its sending until now.
    pub age_us: u64,
}

/// Reads the stamp of a message; `None` for sequence headers and data. Panics when the payload was damaged.
pub fn stamp(kind: Kind, body: &[u8]) -> Option<Stamp> {
    let header_bytes = match (kind, body.get(..2)?) {
        (Kind::Video, [_, 1]) => VIDEO_HEADER_BYTES,
        (Kind::Audio, [_, 1]) => AUDIO_HEADER_BYTES,
        _ => return None,
    };
    let integer = |at: usize| u64::from_be_bytes(body[at..at + 8].try_into().expect("eight bytes"));
    let (number, sent_us) = (integer(header_bytes), integer(header_bytes + 8));
    let payload = &body[header_bytes + STAMP_BYTES..];
    assert!(payload == filler(number, payload.len()), "message {number} is damaged");
    let key = kind == Kind::Video && body[0] == 0x17;
    Some(Stamp { number, key, age_us: now_us().saturating_sub(sent_us) })
}

/// Bytes that differ from message to message, out of one table: making and comparing them is a copy and a comparison of memory.
fn filler(number: u64, bytes: usize) -> &'static [u8] {
    static TABLE: [u8; 256 + PAYLOAD_BYTES_MAX] = {
        let mut table = [0; 256 + PAYLOAD_BYTES_MAX];
        let mut at = 0;
        while at < table.len() {
            table[at] = (at % 251) as u8;
            at += 1;
        }
        table
    };
    let first = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize;
    &TABLE[first..first + bytes]
}

/// Microseconds since the first call in this process.
fn now_us() -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed().as_micros() as u64
}
