//! Packets, and the comparison that the whole suite rests on: is what a player got one gapless run of what was published?

use std::fmt;

use sha2::{Digest, Sha256};

use super::flv::{Kind, Tag};

/// Furthest that audio and video may start apart in a run, milliseconds: interleaving moves them by a frame or two.
const UNEVEN_START_MS_MAX: i32 = 250;

/// One packet of a track, as codecs know it: without the tag header, which a player's muxer makes anew.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// Audio or video.
    pub track: Kind,
    /// Configuration or frame.
    pub role: Role,
    /// Decoding time, milliseconds, wrapping at 2^32.
    pub timestamp: u32,
    /// Presentation minus decoding time, milliseconds.
    pub composition_ms: i32,
    /// Payload bytes.
    pub len: usize,
    /// The first half of the payload's SHA-256.
    pub checksum: [u8; 16],
}

/// What a packet is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A sequence header.
    Config,
    /// A key frame, or any audio frame.
    Key,
    /// A video frame that needs others.
    Inter,
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { track, role, timestamp, composition_ms, len, checksum } = self;
        let sum = u16::from_be_bytes([checksum[0], checksum[1]]);
        write!(f, "{track:?} {role:?} @{timestamp}{composition_ms:+} {len} bytes #{sum:04x}")
    }
}

impl Packet {
    /// The packet in a tag; `None` for what carries none: data, commands and ends of sequences.
    pub fn from_tag(tag: &Tag) -> Option<Self> {
        let (role, composition_ms, header_len) = match tag.kind {
            Kind::Video => video_header(&tag.body)?,
            Kind::Audio => audio_header(&tag.body)?,
            Kind::Data => return None,
        };
        let payload = tag.body.get(header_len..)?;
        let checksum = Sha256::digest(payload)[..16].try_into().expect("a digest is 32 bytes long");
        Some(Self {
            track: tag.kind,
            role,
            timestamp: tag.timestamp,
            composition_ms,
            len: payload.len(),
            checksum,
        })
    }

    /// The packets of a file or a session.
    pub fn from_tags(tags: &[Tag]) -> Vec<Self> {
        tags.iter().filter_map(Self::from_tag).collect()
    }
}

/// Role, composition time and header length of a video tag, legacy or Enhanced.
fn video_header(body: &[u8]) -> Option<(Role, i32, usize)> {
    let first = *body.first()?;
    let frame = if first >> 4 & 7 == 1 { Role::Key } else { Role::Inter };
    let composition = |at: usize| {
        let bytes = body.get(at..at + 3)?;
        Some(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], 0]) >> 8)
    };
    if first & 0x80 != 0 {
        let has_composition = matches!(body.get(1..5)?, b"avc1" | b"hvc1" | b"vvc1");
        return match first & 0x0f {
            0 => Some((Role::Config, 0, 5)),
            1 if has_composition => Some((frame, composition(5)?, 8)),
            1 | 3 => Some((frame, 0, 5)),
            _ => None,
        };
    }
    match first & 0x0f {
        7 | 12 => match *body.get(1)? {
            0 => Some((Role::Config, 0, 5)),
            1 => Some((frame, composition(2)?, 5)),
            _ => None,
        },
        _ => Some((frame, 0, 1)),
    }
}

/// Role, composition time and header length of an audio tag, legacy or Enhanced.
fn audio_header(body: &[u8]) -> Option<(Role, i32, usize)> {
    let first = *body.first()?;
    match first >> 4 {
        9 => match first & 0x0f {
            0 => Some((Role::Config, 0, 5)),
            1 => Some((Role::Key, 0, 5)),
            _ => None,
        },
        10 => match *body.get(1)? {
            0 => Some((Role::Config, 0, 2)),
            _ => Some((Role::Key, 0, 2)),
        },
        _ => Some((Role::Key, 0, 1)),
    }
}

/// How many bits of a timestamp a recording keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// All 32.
    Whole,
    /// 31: ffmpeg's FLV writer clears the top one.
    Bits31,
}

impl Clock {
    fn same(self, left: u32, right: u32) -> bool {
        match self {
            Self::Whole => left == right,
            Self::Bits31 => left << 1 == right << 1,
        }
    }
}

/// A run that was proven gapless: where in the source it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Frames of the source before the run: 0 when all of it came.
    pub skipped: usize,
    /// Frames in the run.
    pub frames: usize,
}

/// Why a recording is not one gapless run.
#[derive(Clone, Debug, PartialEq)]
pub enum Defect {
    /// Nothing of a track that the source has.
    Missing(Kind),
    /// A track whose configuration never came, or another one came.
    Config(Kind),
    /// The video does not start at a key frame.
    NotAtKeyFrame(Packet),
    /// Frames are not there between two that are.
    Lost {
        /// The first frame that is not there.
        first: Packet,
        /// How many.
        count: usize,
    },
    /// A frame came twice.
    Duplicate(Packet),
    /// A frame came after a later one.
    Reordered(Packet),
    /// The right bytes with another timestamp.
    Shifted {
        /// As published.
        sent: Packet,
        /// As received.
        received: Packet,
    },
    /// Bytes that nobody published.
    Foreign(Packet),
    /// The source goes on after the last frame received.
    CutShort {
        /// Frames that never came.
        count: usize,
    },
    /// Audio and video start too far apart.
    UnevenStart {
        /// Audio minus video, milliseconds.
        ms: i32,
    },
}

/// Checks each track of a recording by itself: a run from a key frame to the end of the source, with the source's timestamps
/// and configuration. For players whose muxer interleaves the tracks anew.
pub fn gapless_run(source: &[Packet], received: &[Packet], clock: Clock) -> Result<Run, Defect> {
    let mut run = Run { skipped: 0, frames: 0 };
    let mut starts = Vec::new();
    for track in [Kind::Video, Kind::Audio] {
        let of_track = |packets: &[Packet]| -> Vec<Packet> {
            packets.iter().filter(|packet| packet.track == track).cloned().collect()
        };
        let (source, received) = (of_track(source), of_track(received));
        if source.is_empty() && received.is_empty() {
            continue;
        }
        check_config(track, &source, &received)?;
        let part = gapless_frames(&frames(&source), &frames(&received), clock)?;
        starts.push(frames(&received)[0].timestamp);
        run.skipped += part.skipped;
        run.frames += part.frames;
    }
    if let [video, audio] = starts[..] {
        let ms = audio.wrapping_sub(video) as i32;
        if ms.abs() > UNEVEN_START_MS_MAX {
            return Err(Defect::UnevenStart { ms });
        }
    }
    Ok(run)
}

/// Checks a recording in the order of the wire, audio and video together: for players that record every message as it came.
pub fn gapless_sequence(source: &[Packet], received: &[Packet]) -> Result<Run, Defect> {
    for track in [Kind::Video, Kind::Audio] {
        check_config(track, source, received)?;
    }
    gapless_frames(&frames(source), &frames(received), Clock::Whole)
}

fn frames(packets: &[Packet]) -> Vec<&Packet> {
    packets.iter().filter(|packet| packet.role != Role::Config).collect()
}

/// Every configuration received is one of the source's, and there is one if the source has one.
fn check_config(track: Kind, source: &[Packet], received: &[Packet]) -> Result<(), Defect> {
    let configs = |packets: &[Packet]| -> Vec<[u8; 16]> {
        let of_track = packets.iter().filter(|packet| packet.track == track && packet.role == Role::Config);
        of_track.map(|packet| packet.checksum).collect()
    };
    let (source, received) = (configs(source), configs(received));
    if received.is_empty() != source.is_empty() || received.iter().any(|config| !source.contains(config)) {
        return Err(Defect::Config(track));
    }
    Ok(())
}

fn gapless_frames(source: &[&Packet], received: &[&Packet], clock: Clock) -> Result<Run, Defect> {
    let Some(first) = received.first() else {
        return Err(Defect::Missing(source.first().map_or(Kind::Video, |packet| packet.track)));
    };
    let position = |packet: &Packet| source.iter().position(|candidate| same(candidate, packet, clock));
    let skipped = position(first).ok_or_else(|| not_in_source(source, first))?;
    let first_video = received.iter().find(|packet| packet.track == Kind::Video);
    if let Some(video) = first_video.filter(|video| video.role != Role::Key) {
        return Err(Defect::NotAtKeyFrame((*video).clone()));
    }
    for (offset, packet) in received.iter().enumerate() {
        let expected = skipped + offset;
        if source.get(expected).is_some_and(|candidate| same(candidate, packet, clock)) {
            continue;
        }
        return Err(match position(packet) {
            None => not_in_source(source, packet),
            Some(at) if at + 1 == expected => Defect::Duplicate((*packet).clone()),
            Some(at) if at < expected => Defect::Reordered((*packet).clone()),
            Some(_) if received[offset..].iter().any(|late| same(late, source[expected], clock)) => {
                Defect::Reordered((*packet).clone())
            }
            Some(at) => Defect::Lost { first: source[expected].clone(), count: at - expected },
        });
    }
    match source.len() - skipped - received.len() {
        0 => Ok(Run { skipped, frames: received.len() }),
        count => Err(Defect::CutShort { count }),
    }
}

fn same(left: &Packet, right: &Packet, clock: Clock) -> bool {
    clock.same(left.timestamp, right.timestamp) && same_payload(left, right)
}

fn same_payload(left: &Packet, right: &Packet) -> bool {
    (left.track, left.role, left.composition_ms, left.checksum)
        == (right.track, right.role, right.composition_ms, right.checksum)
}

/// Names what is wrong with a packet that the source does not hold like this.
fn not_in_source(source: &[&Packet], packet: &Packet) -> Defect {
    match source.iter().find(|candidate| same_payload(candidate, packet)) {
        Some(sent) => Defect::Shifted { sent: (*sent).clone(), received: packet.clone() },
        None => Defect::Foreign(packet.clone()),
    }
}
