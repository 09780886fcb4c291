//! Writes what `video_tag` and `audio_tag` read: legacy (FLV 10.1 §E.4.2.1, §E.4.3.1) and enhanced tag headers (E-RTMP v2
//! "ExVideoTagHeader", "ExAudioTagHeader").
//!
//! For [`super::plain`], for whoever publishes or tests. A message is a few bytes of its own and the slices of its bodies; nothing is copied.
//! # Errors
//! None: what has no place in a field's bits is cut to them, and a body too long for a 24-bit length makes a message that is too long
//! for RTMP in any case.

use bytes::Bytes;
use smallvec::SmallVec;

use super::audio_tag::{self, AudioPacket};
use super::codec::FourCc;
use super::ex_header::{MOD_EX, TIMESTAMP_OFFSET_NANO, TrackLayout};
use super::frame::TrackId;
use super::video_tag::{self, VideoCommand, VideoFrameType, VideoPacket};
use crate::rtmp::Payload;

/// The bytes before a body.
type Head = SmallVec<[u8; 16]>;

/// A prefix that modifies a message (E-RTMP v2 "ModEx").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModEx<'a> {
    /// Nanoseconds that are added to the message's timestamp, up to 999,999.
    TimestampOffsetNano(u32),
    /// Any other kind (4 bits) with its data, 1 to 65,536 bytes.
    Other {
        /// `AudioPacketModExType` or `VideoPacketModExType`.
        kind: u8,
        /// What it says.
        data: &'a [u8],
    },
}

/// What follows the packet type of an enhanced message.
#[derive(Clone, Copy, Debug)]
pub enum ExBody<'a> {
    /// The default track's body, without a multitrack header.
    Single(FourCc, &'a Payload),
    /// One track, named.
    OneTrack(FourCc, TrackId, &'a Payload),
    /// Several tracks of one codec.
    ManyTracks(FourCc, &'a [(TrackId, Payload)]),
    /// Several tracks, each of its own codec.
    ManyTracksManyCodecs(&'a [(FourCc, TrackId, Payload)]),
}

/// An enhanced video message. A [`VideoPacket::Command`] is none of these: see [`ex_video_command`].
pub fn ex_video(
    frame_type: VideoFrameType,
    packet: VideoPacket,
    mod_ex: &[ModEx<'_>],
    body: &ExBody<'_>,
) -> Payload {
    let first = video_tag::EX_HEADER | frame_type.bits() << 4;
    ex_message(first, packet.ex_type().unwrap_or_default(), video_tag::MULTITRACK, mod_ex, body)
}

/// A video command in an enhanced header (E-RTMP v2 `VideoCommand`).
pub fn ex_video_command(command: VideoCommand, mod_ex: &[ModEx<'_>]) -> Payload {
    let mut head = ex_head(video_tag::EX_HEADER | VideoFrameType::Command.bits() << 4, 0, mod_ex);
    head.push(command.byte());
    with_head(&head, Payload::new())
}

/// An enhanced audio message.
pub fn ex_audio(packet: AudioPacket, mod_ex: &[ModEx<'_>], body: &ExBody<'_>) -> Payload {
    ex_message(audio_tag::EX_HEADER << 4, packet.ex_type(), audio_tag::MULTITRACK, mod_ex, body)
}

/// A legacy message of AVC (codec id 7) or of what has taken its form over (12, HEVC): `AVCVIDEOPACKET`, FLV 10.1 §E.4.3.2. Of
/// packets that it has no type for, an `AVCPacketType` of 3 or more is written as it is.
pub fn avc_video(
    frame_type: VideoFrameType,
    codec_id: u8,
    packet: VideoPacket,
    composition_ms: i32,
    body: Payload,
) -> Payload {
    let avc_type = match packet {
        VideoPacket::CodedFramesX => 1,
        packet => packet.ex_type().unwrap_or_default(),
    };
    let [_, time @ ..] = composition_ms.to_be_bytes();
    let mut head = Head::from_slice(&[frame_type.bits() << 4 | codec_id & 0x0f, avc_type]);
    head.extend_from_slice(&time);
    with_head(&head, body)
}

/// A legacy message of any other codec; a command when the frame type says so, its byte being the body.
pub fn legacy_video(frame_type: VideoFrameType, codec_id: u8, body: Payload) -> Payload {
    with_head(&[frame_type.bits() << 4 | codec_id & 0x0f], body)
}

/// A legacy message of AAC (FLV 10.1 §E.4.2.2): flagged 44.1 kHz, 16 bits, stereo, as the specification asks, whatever the
/// configuration says. Of packets that it has no type for, an `AACPacketType` of 2 or more is written as it is.
pub fn aac_audio(packet: AudioPacket, body: Payload) -> Payload {
    with_head(&[0xaf, packet.ex_type()], body)
}

/// A legacy message of any other format; `flags` are the four bits of rate, size and type.
pub fn legacy_audio(format: u8, flags: u8, body: Payload) -> Payload {
    with_head(&[format << 4 | flags & 0x0f], body)
}

fn ex_message(first: u8, packet: u8, multitrack: u8, mod_ex: &[ModEx<'_>], body: &ExBody<'_>) -> Payload {
    let layout = match body {
        ExBody::Single(..) => TrackLayout::Single,
        ExBody::OneTrack(..) => TrackLayout::OneTrack,
        ExBody::ManyTracks(..) => TrackLayout::ManyTracks,
        ExBody::ManyTracksManyCodecs(..) => TrackLayout::ManyTracksManyCodecs,
    };
    let mut head = match layout.bits() {
        None => ex_head(first, packet, mod_ex),
        Some(layout) => {
            let mut head = ex_head(first, multitrack, mod_ex);
            head.push(layout << 4 | packet);
            head
        }
    };
    match *body {
        ExBody::Single(fourcc, body) => {
            head.extend_from_slice(&fourcc.0);
            with_head(&head, body.clone())
        }
        ExBody::OneTrack(fourcc, track, body) => {
            head.extend_from_slice(&fourcc.0);
            head.push(track.0);
            with_head(&head, body.clone())
        }
        ExBody::ManyTracks(fourcc, tracks) => {
            head.extend_from_slice(&fourcc.0);
            let tracks = tracks.iter().map(|(track, body)| (None, *track, body));
            with_tracks(head, tracks)
        }
        ExBody::ManyTracksManyCodecs(tracks) => {
            let tracks = tracks.iter().map(|(fourcc, track, body)| (Some(*fourcc), *track, body));
            with_tracks(head, tracks)
        }
    }
}

/// The first byte and what ModEx puts behind it, up to the packet type.
fn ex_head(first: u8, packet: u8, mod_ex: &[ModEx<'_>]) -> Head {
    let mut head = Head::new();
    head.push(first | if mod_ex.is_empty() { packet } else { MOD_EX });
    for (nth, prefix) in mod_ex.iter().enumerate() {
        let next = if nth + 1 < mod_ex.len() { MOD_EX } else { packet };
        match *prefix {
            ModEx::TimestampOffsetNano(ns) => {
                let [_, bytes @ ..] = ns.to_be_bytes();
                head.push(2); // a length is written less 1
                head.extend_from_slice(&bytes);
                head.push(TIMESTAMP_OFFSET_NANO << 4 | next);
            }
            ModEx::Other { kind, data } => {
                let data = if data.is_empty() { &[0] } else { &data[..data.len().min(65_536)] };
                match u8::try_from(data.len() - 1) {
                    Ok(len @ ..=254) => head.push(len),
                    _ => {
                        head.push(255);
                        head.extend_from_slice(&((data.len() - 1) as u16).to_be_bytes());
                    }
                }
                head.extend_from_slice(data);
                head.push(kind << 4 | next);
            }
        }
    }
    head
}

/// Tracks one after another, each with its length before it.
fn with_tracks<'a>(
    mut head: Head,
    tracks: impl Iterator<Item = (Option<FourCc>, TrackId, &'a Payload)>,
) -> Payload {
    let mut message = Payload::new();
    for (fourcc, track, body) in tracks {
        head.extend_from_slice(fourcc.as_ref().map_or(&[], |fourcc| &fourcc.0));
        head.push(track.0);
        let [_, len @ ..] = (body.len() as u32).to_be_bytes();
        head.extend_from_slice(&len);
        message.push(Bytes::copy_from_slice(&head));
        body.slices().iter().for_each(|slice| message.push(slice.clone()));
        head.clear();
    }
    message.push(Bytes::copy_from_slice(&head));
    message
}

/// The body with some bytes before it.
fn with_head(head: &[u8], body: Payload) -> Payload {
    core::iter::once(Bytes::copy_from_slice(head)).chain(body.slices().iter().cloned()).collect()
}

#[cfg(test)]
mod tests;
