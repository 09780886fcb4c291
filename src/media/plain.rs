//! The plain form: what a player gets that did not negotiate multitrack (E-RTMP v2 "Multitrack Streaming via Enhanced RTMP").
//!
//! It is the default track of each kind alone, without a multitrack header and without ModEx; in a legacy header where legacy RTMP has a
//! name for the codec (AVC, AAC, MP3), since every player reads that, else in an enhanced one. A message that is all of that as it came
//! is its own plain form. Otherwise the plain form is some header bytes and slices of the same body.
//!
//! What legacy RTMP cannot say of a codec that it can name (HDR metadata of AVC, speakers of AAC) has no plain form: a player that knows
//! legacy headers alone takes such a message for another track, and the codec says it in its own bytes as well.
//!
//! The plain form of picture and sound is made as they come in, once for all readers: then it is known which track is the default. That of
//! a header is made for whoever gets it ([`header`], [`run`]), since its track may turn out to be the default later.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::audio_tag::{AudioPacket, AudioTag};
use super::codec::{AudioCodec, VideoCodec};
use super::ex_header::{Bodies, BodySpan, TrackLayout};
use super::frame::{self, Frame, FrameRole, MediaKind, TrackId};
use super::tag_writer::{self, ExBody};
use super::video_tag::{self, VideoFrameType, VideoPacket, VideoTag};
use crate::rtmp::Payload;

/// `VideoCodecId` of AVC.
const AVC_ID: u8 = 7;

/// `SoundFormat` of MP3, and of MP3 at 8 kHz.
const MP3_ID: u8 = 2;
const MP3_8_KHZ_ID: u8 = 14;

/// What a message is in the plain form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// What it is anyway.
    Same,
    /// Nothing: it has no part for a plain reader.
    Nothing,
    /// This body.
    Made(Payload),
}

impl Plain {
    fn same_if(same: bool) -> Self {
        if same { Self::Same } else { Self::Nothing }
    }
}

/// The plain form of a video message of `track` (its first one) when `default` is the track of plain readers, of `codec` if
/// that is known.
pub(super) fn of_video(
    tag: &VideoTag,
    track: TrackId,
    message: &Payload,
    default: TrackId,
    codec: impl FnOnce() -> Option<VideoCodec>,
) -> Plain {
    if tag.packet == VideoPacket::Command {
        return of_command(tag, message, codec);
    }
    if tag.bodies.is_legacy() {
        return Plain::same_if(track == default);
    }
    let Some(part) = part(&tag.bodies, track, message, default) else { return Plain::Nothing };
    let Some(fourcc) = part.fourcc else { return Plain::Nothing };
    let is_avc = VideoCodec::from_fourcc(fourcc) == VideoCodec::Avc;
    if !is_avc && tag.bodies.is_bare() {
        return Plain::Same;
    }
    let body = part.payload(message);
    Plain::Made(match tag.packet {
        packet if !is_avc => {
            tag_writer::ex_video(tag.frame_type, packet, &[], &ExBody::Single(fourcc, &body))
        }
        VideoPacket::CodedFrames => match body.array::<3>(0) {
            Some([a, b, c]) => {
                let composition_ms = i32::from_be_bytes([a, b, c, 0]) >> 8;
                tag_writer::avc_video(tag.frame_type, AVC_ID, tag.packet, composition_ms, body.skip(3))
            }
            None => return Plain::Nothing,
        },
        VideoPacket::SequenceStart | VideoPacket::SequenceEnd | VideoPacket::CodedFramesX => {
            tag_writer::avc_video(tag.frame_type, AVC_ID, tag.packet, 0, body)
        }
        _ => return Plain::Nothing,
    })
}

/// A command concerns the picture and names no codec: a player of legacy AVC gets it behind a legacy header.
fn of_command(tag: &VideoTag, message: &Payload, codec: impl FnOnce() -> Option<VideoCodec>) -> Plain {
    let is_legacy = message.byte(0).is_some_and(|first| first & video_tag::EX_HEADER == 0);
    match tag.command(message) {
        Some(command) if !is_legacy && codec() == Some(VideoCodec::Avc) => {
            let body = Bytes::copy_from_slice(&[command.byte()]);
            Plain::Made(tag_writer::legacy_video(VideoFrameType::Command, AVC_ID, body.into()))
        }
        // Behind ModEx.
        Some(command) if tag.bodies.start > 1 => Plain::Made(tag_writer::ex_video_command(command, &[])),
        _ => Plain::Same,
    }
}

/// The plain form of an audio message of `track` (its first one) when `default` is the track of plain readers.
pub(super) fn of_audio(tag: &AudioTag, track: TrackId, message: &Payload, default: TrackId) -> Plain {
    if tag.bodies.is_legacy() {
        return Plain::same_if(track == default);
    }
    let Some(part) = part(&tag.bodies, track, message, default) else { return Plain::Nothing };
    let Some(fourcc) = part.fourcc else { return Plain::Nothing };
    let codec = AudioCodec::from_fourcc(fourcc);
    let has_legacy_id = matches!(codec, AudioCodec::Aac | AudioCodec::Mp3);
    if !has_legacy_id && tag.bodies.is_bare() {
        return Plain::Same;
    }
    let body = part.payload(message);
    Plain::Made(match (codec, tag.packet) {
        (AudioCodec::Aac, AudioPacket::SequenceStart | AudioPacket::CodedFrames) => {
            tag_writer::aac_audio(tag.packet, body)
        }
        (AudioCodec::Mp3, AudioPacket::CodedFrames) => {
            let (format, flags) = mp3_format(&body);
            tag_writer::legacy_audio(format, flags, body)
        }
        _ if has_legacy_id => return Plain::Nothing,
        (_, packet) => tag_writer::ex_audio(packet, &[], &ExBody::Single(fourcc, &body)),
    })
}

/// The default track's part of an enhanced message.
fn part(bodies: &Bodies, track: TrackId, message: &Payload, default: TrackId) -> Option<BodySpan> {
    match bodies.layout {
        TrackLayout::Single if track == default => bodies.spans(message).next(),
        TrackLayout::Single | TrackLayout::Unknown(_) => None,
        _ => bodies.spans(message).find(|span| span.track == default),
    }
}

/// `SoundFormat`, and the bits of rate, size and type, for MP3: as its own frame header has it (ISO 11172-3 §2.4.1.3), or 44.1 kHz
/// stereo where that cannot be read. Rates that FLV has no bits for are given as the next one that it has.
fn mp3_format(body: &Payload) -> (u8, u8) {
    const MONO: u8 = 3;
    const SIXTEEN_BITS: u8 = 1 << 1;
    let Some([0xff, second, third, fourth]) = body.array::<4>(0) else { return (MP3_ID, 0x0f) };
    let (version, rate) = (second >> 3 & 3, third >> 2 & 3);
    // 44.1 kHz and its halves by version: MPEG 1, MPEG 2, and the unofficial 2.5, whose slowest rate is 8 kHz.
    let (format, rate) = match (version, rate) {
        (3, _) => (MP3_ID, 3),
        (2, _) => (MP3_ID, 2),
        (0, 2) => (MP3_8_KHZ_ID, 0),
        (0, _) => (MP3_ID, 1),
        _ => (MP3_ID, 3),
    };
    let is_stereo = u8::from(fourth >> 6 != MONO);
    (format, rate << 2 | SIXTEEN_BITS | is_stereo)
}

/// The plain form of a header (sequence header, track info, metadata) for a reader that is given `track`; `None` when it says nothing of
/// that track, or nothing that a plain reader may hear. Metadata is for everybody.
pub fn header(frame: &Arc<Frame>, track: TrackId) -> Option<Arc<Frame>> {
    let message = frame.payload();
    let plain = match frame.kind() {
        MediaKind::Data => Plain::Same,
        MediaKind::Video => of_video(&VideoTag::parse(message).ok()?, frame.track(), message, track, || None),
        MediaKind::Audio => of_audio(&AudioTag::parse(message).ok()?, frame.track(), message, track),
    };
    match plain {
        Plain::Same => Some(Arc::clone(frame)),
        Plain::Nothing => None,
        Plain::Made(body) => Some(Arc::new(frame.reduced(track, body))),
    }
}

/// The newest sequence header and track info of one track among these headers, oldest first, in the plain form.
pub(super) fn newest<'a>(
    headers: impl DoubleEndedIterator<Item = &'a Arc<Frame>> + Clone,
    kind: MediaKind,
    track: TrackId,
) -> impl Iterator<Item = Arc<Frame>> {
    [FrameRole::SequenceHeader, FrameRole::TrackInfo].into_iter().filter_map(move |role| {
        let mut of_role =
            headers.clone().rev().filter(|header| (header.kind(), header.role()) == (kind, role));
        of_role.find_map(|candidate| header(candidate, track))
    })
}

/// What a plain reader gets of a run of frames, in which `defaults` are the default tracks as far as is known: their parts, and where
/// another track takes over, its headers as they are at that place.
pub fn run(frames: &[Arc<Frame>], mut defaults: DefaultTracks) -> Vec<Arc<Frame>> {
    let mut plain = Vec::with_capacity(frames.len());
    let mut headers: Vec<&Arc<Frame>> = Vec::new();
    for frame in frames {
        if frame.role().is_header() {
            headers.push(frame);
            plain.extend(header(frame, defaults.of(frame.kind())));
        } else if let Some(track) = frame.plain_track() {
            if defaults.note(frame) {
                let newest = newest(headers.iter().copied(), frame.kind(), track);
                plain.extend(newest.map(|header| frame::at(&header, frame.timestamp())));
            }
            plain.push(Arc::clone(frame));
        }
    }
    plain
}

/// Which track of each kind plain readers are given, as the newest picture and sound show it: before the first one, track 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultTracks {
    video: TrackId,
    audio: TrackId,
}

impl DefaultTracks {
    /// That of one kind.
    pub fn of(&self, kind: MediaKind) -> TrackId {
        match kind {
            MediaKind::Video => self.video,
            MediaKind::Audio => self.audio,
            MediaKind::Data => TrackId::DEFAULT,
        }
    }

    /// Takes note of the next frame; gives whether its kind has another default track from here on.
    pub(super) fn note(&mut self, frame: &Frame) -> bool {
        let default = match frame.kind() {
            MediaKind::Video => &mut self.video,
            MediaKind::Audio => &mut self.audio,
            MediaKind::Data => return false,
        };
        match frame.plain_track() {
            Some(track) if frame.role().is_coded() && *default != track => {
                *default = track;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
