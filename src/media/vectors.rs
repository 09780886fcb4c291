//! What the specification enumerates, for the tests of tag headers.

use alloc::vec::Vec;

use super::audio_tag::AudioPacket;
use super::codec::{AudioCodec, FourCc, VideoCodec};
use super::config::hex;
use super::frame::FrameRole;
use super::video_tag::VideoPacket;

/// The bytes of a vector: hex, with FourCCs as text in quotes.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let part = |(nth, part): (usize, &str)| if nth % 2 == 0 { hex(part) } else { part.as_bytes().to_vec() };
    text.split('\'').enumerate().flat_map(part).collect()
}

/// Each `VideoFourCc`, and one that there is not.
pub(super) const VIDEO_FOURCCS: [(&[u8; 4], VideoCodec); 7] = [
    (b"avc1", VideoCodec::Avc),
    (b"hvc1", VideoCodec::Hevc),
    (b"av01", VideoCodec::Av1),
    (b"vp08", VideoCodec::Vp8),
    (b"vp09", VideoCodec::Vp9),
    (b"vvc1", VideoCodec::Vvc),
    (b"zz99", VideoCodec::UnknownFourCc(FourCc(*b"zz99"))),
];

/// Each `AudioFourCc`, and one that there is not.
pub(super) const AUDIO_FOURCCS: [(&[u8; 4], AudioCodec); 7] = [
    (b"mp4a", AudioCodec::Aac),
    (b".mp3", AudioCodec::Mp3),
    (b"Opus", AudioCodec::Opus),
    (b"fLaC", AudioCodec::Flac),
    (b"ac-3", AudioCodec::Ac3),
    (b"ec-3", AudioCodec::Eac3),
    (b"zz99", AudioCodec::UnknownFourCc(FourCc(*b"zz99"))),
];

/// Each `VideoPacketType` in its number, with the role of a key frame's message.
pub(super) const VIDEO_PACKETS: [(u8, VideoPacket, FrameRole); 8] = [
    (0, VideoPacket::SequenceStart, FrameRole::SequenceHeader),
    (1, VideoPacket::CodedFrames, FrameRole::Key),
    (2, VideoPacket::SequenceEnd, FrameRole::Other),
    (3, VideoPacket::CodedFramesX, FrameRole::Key),
    (4, VideoPacket::Metadata, FrameRole::TrackInfo),
    (5, VideoPacket::Mpeg2TsSequenceStart, FrameRole::SequenceHeader),
    (8, VideoPacket::Unknown(8), FrameRole::Other),
    (15, VideoPacket::Unknown(15), FrameRole::Other),
];

/// Each `AudioPacketType` in its number.
pub(super) const AUDIO_PACKETS: [(u8, AudioPacket, FrameRole); 7] = [
    (0, AudioPacket::SequenceStart, FrameRole::SequenceHeader),
    (1, AudioPacket::CodedFrames, FrameRole::Audio),
    (2, AudioPacket::SequenceEnd, FrameRole::Other),
    (3, AudioPacket::Unknown(3), FrameRole::Other),
    (4, AudioPacket::MultichannelConfig, FrameRole::TrackInfo),
    (6, AudioPacket::Unknown(6), FrameRole::Other),
    (15, AudioPacket::Unknown(15), FrameRole::Other),
];
