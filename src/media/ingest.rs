//! One publisher's view of its stream: from [`MediaMessage`] to [`Frame`].
//!
//! A frame of picture or sound is looked at in its first bytes only, keeps the slices it arrived in, and costs no
//! allocation. What stays for long (sequence headers, track info, metadata) is copied into memory of its own, so that
//! it does not pin the receive buffers it came in.
//!
//! What is handed on is what came, with these exceptions:
//! - `@setDataFrame` is taken off, and so is what stands before a data message's name: players get `onMetaData`.
//! - A data message in AMF3 (type 15) becomes one in AMF0 (type 18), for every player, by dropping its format byte:
//!   what follows that byte is AMF0 (values in AMF3 are behind a marker of AMF0's), and hardly any player knows type 15.
//! - Nothing comes of an empty message, one that ends within its tag header, and `@clearDataFrame`. An empty audio
//!   message means silence (E-RTMP v2 "ExAudioTagHeader"): the timestamps of what follows say the same.
//! - Timestamps are handed on as [`TimestampPolicy`] says, and moved behind those of the publisher before ([`super::timeline`]).
//!
//! Which track is the default one, for readers that get no other ([`super::plain`]), is settled here: of video the one whose key frames
//! start GOPs, of audio in the same way the lowest that sounds. A lower track takes over with its next key frame or sound, a higher one
//! when nothing has come of the default one for half a minute.
//! # Bounds
//! [`TRACKS_MAX`](super::track::TRACKS_MAX) tracks a kind, each with a sequence header of at most [`HEADER_BYTES_MAX`]; the same for
//! `onMetaData`. That is 33 * 32 KiB, about 1 MiB, and the GOP cache shares those bytes; track info, which only
//! the cache keeps, is as much again.
//! # Errors
//! None: nothing that a publisher puts into its media ends its session, unless it was let in with limits ([`super::limits`]). All oddities are
//! counted, by kind.

use alloc::boxed::Box;
use core::time::Duration;

use bytes::Bytes;

use super::audio_tag::{AudioPacket, AudioTag};
use super::codec::{AudioCodec, Codec, VideoCodec};
use super::config::{ConfigError, describe};
use super::data_message::DataMessage;
use super::ex_header::{Bodies, BodySpan, TrackLayout};
use super::figures::Figures;
use super::frame::{FRAME_SLICES_MAX, Frame, FrameInfo, FrameRole, TrackId};
use super::health::{Announced, Vitals};
use super::ingest_counters::IngestCounters;
use super::limits::Limits;
use super::metadata::MetadataHints;
use super::plain::{self, Plain};
use super::timeline::Rebase;
use super::timestamps::{TimestampCounters, TimestampPolicy, Timestamps};
use super::track::{Track, Tracks};
use super::track_set::TrackSet;
use super::video_tag::{VideoPacket, VideoTag};
use crate::rtmp::Payload;
use crate::rtmp::limits::AmfLimits;
use crate::session::{Excess, Instant, MediaKind, MediaMessage};

/// Longest sequence header, track info or `onMetaData` that is kept for late joiners, bytes. A longer one is
/// forwarded like any other message. The longest met in the field is HEVC's with x265's settings in it, 2.5 kB.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;

/// How long the leading track may go without a key frame, or sound, before another one leads: as long as the longest
/// GOP that the cache holds by default.
const LEAD_SILENT: Duration = Duration::from_secs(30);

/// Settings of one app's publishers.
#[derive(Clone, Debug, Default)]
pub struct IngestSettings {
    /// What becomes of timestamps.
    pub timestamps: TimestampPolicy,
    /// Bounds of `onMetaData`'s values.
    pub amf: AmfLimits,
}

/// One publisher's view of its stream.
#[derive(Clone, Debug)]
pub struct Ingest {
    settings: IngestSettings,
    tracks: Tracks,
    timestamps: Timestamps,
    /// Set when the publisher has followed another one.
    rebase: Option<Rebase>,
    /// Track and codec of the last frame of each kind, video first: nearly every frame is of the same, and its track is not looked up.
    last_of_kind: [Option<(TrackId, Codec)>; 2],
    /// The default track of each kind, video first.
    leads: [Option<Lead>; 2],
    vitals: Vitals,
    figures: Figures,
    metadata: Option<Metadata>,
    /// `@clearDataFrame` has come, and nobody has asked yet.
    metadata_cleared: bool,
    /// Input of messages that were copied or dropped: it lies in the same receive buffers as the frames beside it, so the next
    /// frame that keeps its slices answers for it.
    unclaimed_bytes: usize,
    counters: IngestCounters,
    /// What it is held to, if to anything; set once, before the first message.
    held: Option<Box<Held>>,
}

/// What a publisher is held to, and what was found to be more than that.
#[derive(Clone, Debug)]
struct Held {
    limits: Limits,
    excess: Option<Excess>,
}

/// The default track of a kind: of video, its key frames start GOPs.
#[derive(Clone, Copy, Debug)]
struct Lead {
    track: TrackId,
    /// When its last key frame, or sound, came.
    at: Instant,
}

#[derive(Clone, Debug)]
struct Metadata {
    /// The message, in memory of its own.
    message: Bytes,
    hints: Option<MetadataHints>,
}

/// What a tag header says, audio or video.
struct Tagged {
    role: FrameRole,
    /// The first track.
    track: TrackId,
    /// All tracks, when there may be more than that.
    several: Option<TrackSet>,
    codec: Option<Codec>,
    bodies: Bodies,
    /// Whether the bodies of a sequence header are configuration records that we may know.
    has_records: bool,
}

impl Tagged {
    fn lowest_track(&self) -> TrackId {
        self.several.as_ref().and_then(TrackSet::lowest).unwrap_or(self.track)
    }

    fn has_track(&self, track: TrackId) -> bool {
        self.several.map_or(self.track == track, |several| several.contains(track))
    }
}

/// The codec of one track's part of a message whose first track has `codec`.
fn codec_of(kind: MediaKind, span: &BodySpan, codec: Option<Codec>) -> Option<Codec> {
    match (kind, span.fourcc) {
        (_, None) => codec,
        (MediaKind::Video, Some(fourcc)) => Some(Codec::Video(VideoCodec::from_fourcc(fourcc))),
        (_, Some(fourcc)) => Some(Codec::Audio(AudioCodec::from_fourcc(fourcc))),
    }
}

impl Ingest {
    /// A publisher that has sent nothing yet.
    pub fn new(settings: IngestSettings) -> Self {
        Self {
            timestamps: Timestamps::new(settings.timestamps),
            rebase: None,
            settings,
            tracks: Tracks::default(),
            last_of_kind: [None; 2],
            leads: [None; 2],
            vitals: Vitals::default(),
            figures: Figures::default(),
            metadata: None,
            metadata_cleared: false,
            unclaimed_bytes: 0,
            counters: IngestCounters::default(),
            held: None,
        }
    }

    /// Holds it to these limits as far as they are of tracks: of a message that begins or describes a track beyond them no frame comes, and
    /// [`Ingest::excess`] says why. Rates are for whoever has a [`Pace`](super::limits::Pace).
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.held = (limits != Limits::default()).then(|| Box::new(Held { limits, excess: None }));
        self
    }

    /// What it is held to, if to anything.
    pub fn limits(&self) -> Option<&Limits> {
        self.held.as_ref().map(|held| &held.limits)
    }

    /// What its tracks have exceeded, if they have. To be asked after a message of which no frame came; nothing of the publisher is to be
    /// handed on from then on.
    pub fn excess(&self) -> Option<Excess> {
        self.held.as_ref()?.excess
    }

    /// The frame to hand on for a message, `now` being when it was whole; `None` when there is nothing to hand on.
    pub fn frame(&mut self, now: Instant, message: MediaMessage) -> Option<Frame> {
        self.unclaimed_bytes = self.unclaimed_bytes.saturating_add(message.wire_bytes as usize);
        self.vitals.on_message(now, message.kind, message.wire_bytes);
        if message.payload.is_empty() {
            if message.kind == MediaKind::Audio {
                // E-RTMP v2 "ExAudioTagHeader": silence, until sound comes again.
                self.vitals.on_end(now, message.kind);
            }
            self.counters.messages_empty += 1;
            return None;
        }
        let mut message = message;
        if message.payload.slices().len() > FRAME_SLICES_MAX {
            // A frame of it is copied together anyway; before it is looked at, finding each byte is not a walk over thousands of slices.
            message.payload = message.payload.to_bytes().into();
        }
        let frame = match message.kind {
            MediaKind::Video => self.video(now, message)?,
            MediaKind::Audio => self.audio(now, message)?,
            MediaKind::Data => self.data(now, message)?,
        };
        self.counters.frames += 1;
        Some(frame)
    }

    /// What is known of the tracks.
    pub fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// What was seen.
    pub fn counters(&self) -> &IngestCounters {
        &self.counters
    }

    /// What was seen of timestamps.
    pub fn timestamp_counters(&self) -> &TimestampCounters {
        self.timestamps.counters()
    }

    /// The track that plain readers get and whose key frames start GOPs, of one kind; `None` before any could.
    pub fn lead(&self, kind: MediaKind) -> Option<TrackId> {
        self.leads[usize::from(kind == MediaKind::Audio)].as_ref().map(|lead| lead.track)
    }

    /// When the last picture came, of any track.
    pub fn picture_at(&self) -> Option<Instant> {
        self.vitals.of(MediaKind::Video).frame_at()
    }

    /// What was measured of its messages.
    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// What its media comes to, as it was last measured.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Makes the figures of what has come; for about once a second.
    pub fn measure(&mut self, now: Instant) {
        self.figures.measure(now, &self.vitals);
    }

    /// What is to come, as far as headers, frames and `onMetaData` have said.
    pub fn announced(&self) -> Announced {
        let is_announced = |kind| {
            self.tracks.iter().any(|track| track.kind == kind)
                || self.vitals.of(kind).frames() > 0
                || self.metadata().is_some_and(|hints| hints.announces(kind))
        };
        Announced { video: is_announced(MediaKind::Video), audio: is_announced(MediaKind::Audio) }
    }

    /// The last `onMetaData` that could be read; none after `@clearDataFrame`.
    pub fn metadata(&self) -> Option<&MetadataHints> {
        self.metadata.as_ref()?.hints.as_ref()
    }

    /// Moves all timestamps from here on, or no longer does.
    pub fn set_rebase(&mut self, rebase: Option<Rebase>) {
        self.rebase = rebase;
    }

    /// A timestamp moved behind those of the publisher before; as it is without one.
    pub fn rebased(&mut self, timestamp: u32) -> u32 {
        match &mut self.rebase {
            None => timestamp,
            Some(rebase) => rebase.apply(timestamp),
        }
    }

    /// Whether `@clearDataFrame` has come since this was last asked: then whoever keeps metadata for late joiners has to forget it.
    /// To be asked after each message of which no frame came, before the next one.
    pub fn take_metadata_cleared(&mut self) -> bool {
        core::mem::take(&mut self.metadata_cleared)
    }

    fn video(&mut self, now: Instant, message: MediaMessage) -> Option<Frame> {
        let Ok(tag) = VideoTag::parse(&message.payload) else {
            self.counters.tags_malformed += 1;
            return None;
        };
        self.counters.packets_unknown += u64::from(matches!(tag.packet, VideoPacket::Unknown(_)));
        let kind = MediaKind::Video;
        if tag.packet == VideoPacket::SequenceEnd {
            self.vitals.on_end(now, kind);
        }
        let mut tagged = Tagged {
            role: self.role(kind, tag.role(), &message.payload)?,
            track: tag.track,
            several: None,
            codec: tag.codec.map(Codec::Video),
            bodies: tag.bodies,
            has_records: tag.packet == VideoPacket::SequenceStart,
        };
        self.note_tracks(kind, &mut tagged, &message.payload)?;
        let default = self.default_track(now, kind, &tagged);
        if tag.is_of_no_track() {
            // It is for whoever sees pictures, and those are let pass by their track.
            tagged.track = default;
        }
        let plain = if tagged.role.is_header() {
            Plain::Same // made for whoever gets it
        } else {
            let codec = || match self.tracks.find(kind, default)?.codec {
                Codec::Video(codec) => Some(codec),
                Codec::Audio(_) => None,
            };
            plain::of_video(&tag, tagged.track, &message.payload, default, codec)
        };
        self.tagged(now, message, tagged, default, plain)
    }

    fn audio(&mut self, now: Instant, message: MediaMessage) -> Option<Frame> {
        let Ok(tag) = AudioTag::parse(&message.payload) else {
            self.counters.tags_malformed += 1;
            return None;
        };
        self.counters.packets_unknown += u64::from(matches!(tag.packet, AudioPacket::Unknown(_)));
        let kind = MediaKind::Audio;
        if tag.packet == AudioPacket::SequenceEnd {
            self.vitals.on_end(now, kind);
        }
        let mut tagged = Tagged {
            role: self.role(kind, tag.role(), &message.payload)?,
            track: tag.track,
            several: None,
            codec: tag.codec.map(Codec::Audio),
            bodies: tag.bodies,
            has_records: tag.packet == AudioPacket::SequenceStart,
        };
        self.note_tracks(kind, &mut tagged, &message.payload)?;
        if let (Some(_), Some(track)) = (tag.sample_rate, self.tracks.find_mut(kind, tagged.track)) {
            (track.sample_rate, track.channels) = (tag.sample_rate, tag.channels);
        }
        if tag.packet == AudioPacket::MultichannelConfig {
            self.note_channels(&tagged, &message.payload);
        }
        let default = self.default_track(now, kind, &tagged);
        let plain = if tagged.role.is_header() {
            Plain::Same // made for whoever gets it
        } else {
            plain::of_audio(&tag, tagged.track, &message.payload, default)
        };
        self.tagged(now, message, tagged, default, plain)
    }

    /// The role that a message can have: one too long to be kept is no header. `None` when it had to tell the size of its pictures.
    fn role(&mut self, kind: MediaKind, role: FrameRole, payload: &Payload) -> Option<FrameRole> {
        if !role.is_header() || payload.len() <= HEADER_BYTES_MAX {
            return Some(role);
        }
        self.counters.headers_oversized += 1;
        if role == FrameRole::SequenceHeader {
            self.must_tell_size(kind)?;
        }
        Some(FrameRole::Other)
    }

    /// `None`, and an excess, where pictures are held to a size: theirs cannot be read.
    fn must_tell_size(&mut self, kind: MediaKind) -> Option<()> {
        let held = self.held.as_mut().filter(|held| kind == MediaKind::Video && held.limits.has_size());
        let Some(held) = held else { return Some(()) };
        held.excess = Some(Excess::Size);
        None
    }

    /// Takes note of the tracks that a message is of, and says which those are; `None` when one is of a codec that it may not have.
    fn note_tracks(&mut self, kind: MediaKind, tagged: &mut Tagged, payload: &Payload) -> Option<()> {
        if tagged.bodies.may_be_several() {
            let mut several = TrackSet::EMPTY;
            for span in tagged.bodies.spans(payload) {
                several.insert(span.track);
                let codec = codec_of(kind, &span, tagged.codec);
                self.note_track(kind, span.track, codec)?;
            }
            tagged.several = Some(several);
        } else if tagged.role == FrameRole::TrackInfo {
            // It describes a track that is known by its configuration or its pictures, and has no say in what that is coded in. ffmpeg 9
            // sends the colours of every track as if they were the default one's; the FourCC tells whose they are.
            let own = self.tracks.find(kind, tagged.track).map(|track| track.codec);
            if own.is_none() {
                self.note_track(kind, tagged.track, tagged.codec)?;
            } else if own != tagged.codec && tagged.bodies.layout == TrackLayout::Single {
                let mut others = self.tracks.iter().filter(|track| track.kind == kind);
                if let Some(other) = others.find(|track| Some(track.codec) == tagged.codec) {
                    tagged.track = other.id;
                }
            }
        } else if self.is_news(kind, tagged) {
            self.note_track(kind, tagged.track, tagged.codec)?;
        }
        Some(())
    }

    /// `audioChannelOrder`, then the count: for codecs whose configuration does not tell.
    fn note_channels(&mut self, tagged: &Tagged, payload: &Payload) {
        let is_single = tagged.bodies.layout == TrackLayout::Single;
        for span in tagged.bodies.spans(payload) {
            let id = if is_single { tagged.track } else { span.track };
            let count = (span.len > 1).then(|| payload.byte(span.start + 1)).flatten();
            if let Some(track) = self.tracks.find_mut(MediaKind::Audio, id)
                && track.channels.is_none()
            {
                track.channels = count.filter(|count| *count > 0);
            }
        }
    }

    /// Whether a frame is of another track or codec than the last one of its kind. What is counted of unknown codecs and of too many tracks
    /// is counted each time, so those are always news.
    fn is_news(&mut self, kind: MediaKind, tagged: &Tagged) -> bool {
        let Some(codec) = tagged.codec else { return true };
        let last = &mut self.last_of_kind[usize::from(kind == MediaKind::Audio)];
        if *last == Some((tagged.track, codec)) {
            return false;
        }
        let is_ordinary = !codec.is_unknown() && self.tracks.find(kind, tagged.track).is_some();
        *last = is_ordinary.then_some((tagged.track, codec));
        true
    }

    /// Makes the track's entry, if the message says what it is coded in and there are not too many; `None` when it may not be coded in that.
    /// Allocates for a new track only.
    fn note_track(&mut self, kind: MediaKind, track: TrackId, codec: Option<Codec>) -> Option<()> {
        let Some(codec) = codec else { return Some(()) };
        if let Some(held) = &mut self.held
            && let Some(excess) = held.limits.judge_codec(codec)
        {
            held.excess = Some(excess);
            return None;
        }
        self.counters.codecs_unknown += u64::from(codec.is_unknown());
        let track = self.tracks.entry(kind, track, codec);
        self.counters.tracks_too_many += u64::from(track.is_none());
        Some(())
    }

    fn tagged(
        &mut self,
        now: Instant,
        message: MediaMessage,
        tagged: Tagged,
        default: TrackId,
        plain: Plain,
    ) -> Option<Frame> {
        let MediaMessage { kind, timestamp, payload, .. } = message;
        let Tagged { role, track, .. } = tagged;
        let leads = tagged.has_track(default);
        let starts_gop = role == FrameRole::Key && leads;
        let timestamp = if role.is_coded() {
            self.vitals.on_frame(now, kind);
            if leads {
                self.figures.on_frame(now, kind, timestamp, starts_gop);
            }
            self.timestamps.of_frame(now, kind, track, timestamp)
        } else {
            self.timestamps.of_header(kind, track, timestamp)
        };
        let timestamp = self.rebased(timestamp);
        let (payload, pinned_bytes) = match role {
            FrameRole::SequenceHeader => (self.sequence_header(kind, &tagged, &payload)?, 0),
            FrameRole::TrackInfo => (own(&payload).into(), 0),
            _ => (payload, self.claim_bytes()),
        };
        let info = FrameInfo { kind, role, track, timestamp, arrived: now, starts_gop };
        Some(Frame::new(info, payload, pinned_bytes).with_plain(tagged.several, default, plain))
    }

    /// The default track as it is with this message: its own, unless another one leads.
    fn default_track(&mut self, now: Instant, kind: MediaKind, tagged: &Tagged) -> TrackId {
        let lead = &mut self.leads[usize::from(kind == MediaKind::Audio)];
        let track = tagged.lowest_track();
        // One that there are too many of is not described, and never leads: each change of the lead costs every player headers.
        let may_lead = matches!(tagged.role, FrameRole::Key | FrameRole::Audio)
            && (lead.is_none() || self.tracks.find(kind, track).is_some());
        match lead {
            Some(lead) if !may_lead || track > lead.track && now - lead.at <= LEAD_SILENT => lead.track,
            None if !may_lead => track,
            _ => {
                *lead = Some(Lead { track, at: now });
                track
            }
        }
    }

    /// Takes note of a sequence header; gives its bytes in memory of their own, those of the last one if it is the same.
    /// `None` when its pictures are larger than they may be.
    fn sequence_header(&mut self, kind: MediaKind, tagged: &Tagged, payload: &Payload) -> Option<Payload> {
        self.counters.sequence_headers += 1;
        let last = self.tracks.find(kind, tagged.track).and_then(Track::header).cloned();
        let is_last_of_all = |last: &Bytes| {
            let of_track = |id| self.tracks.find(kind, id).is_none_or(|track| track.header() == Some(last));
            tagged.several.is_none_or(|several| several.iter().all(of_track))
        };
        if let Some(last) =
            last.filter(|last| Payload::from(last.clone()) == *payload && is_last_of_all(last))
        {
            self.counters.sequence_headers_repeated += 1;
            return Some(last.into());
        }
        let message = own(payload);
        let payload = Payload::from(message.clone());
        for span in tagged.bodies.spans(&payload) {
            let Some(track) = self.tracks.find_mut(kind, span.track) else { continue };
            let malformed = self.counters.configs_malformed;
            if tagged.has_records {
                configure(track, &span.payload(&payload).to_bytes(), &mut self.counters);
            }
            track.set_header(message.clone());
            if self.counters.configs_malformed > malformed && track.size.is_none() {
                self.must_tell_size(kind)?;
                continue;
            }
            if let Some(held) = &mut self.held
                && let Some(excess) = track.size.and_then(|size| held.limits.judge_size(size))
            {
                held.excess = Some(excess);
                return None;
            }
        }
        Some(payload)
    }

    fn data(&mut self, now: Instant, message: MediaMessage) -> Option<Frame> {
        let MediaMessage { kind, type_id, timestamp, payload, .. } = message;
        let track = TrackId::DEFAULT;
        let mut info =
            FrameInfo { kind, role: FrameRole::Data, track, timestamp, arrived: now, starts_gop: false };
        match DataMessage::read(payload, type_id, &mut self.counters) {
            DataMessage::Metadata(payload) => {
                info.role = FrameRole::Metadata;
                let timestamp = self.timestamps.of_header(kind, track, timestamp);
                info.timestamp = self.rebased(timestamp);
                Some(Frame::new(info, self.metadata_message(&payload), 0))
            }
            DataMessage::Other(payload) => {
                let timestamp = self.timestamps.of_frame(now, kind, track, timestamp);
                info.timestamp = self.rebased(timestamp);
                Some(Frame::new(info, payload, self.claim_bytes()))
            }
            DataMessage::ClearMetadata => {
                self.metadata = None;
                self.metadata_cleared = true;
                None
            }
            DataMessage::Nothing => None,
        }
    }

    /// The input that a frame with the slices it came in keeps alive: its own message's, and what nobody has answered for.
    fn claim_bytes(&mut self) -> usize {
        core::mem::take(&mut self.unclaimed_bytes)
    }

    /// Takes note of `onMetaData`; gives its bytes in memory of their own, those of the last one if it is the same.
    fn metadata_message(&mut self, payload: &Payload) -> Payload {
        let last = self.metadata.as_ref().map(|metadata| Payload::from(metadata.message.clone()));
        if let Some(last) = last.filter(|last| last == payload) {
            return last;
        }
        let message = own(payload);
        let payload = Payload::from(message.clone());
        let hints = MetadataHints::parse(&payload, &self.settings.amf).ok();
        self.counters.metadata_malformed += u64::from(hints.is_none());
        self.metadata = Some(Metadata { message, hints });
        payload
    }
}

/// The bytes in memory of their own.
fn own(payload: &Payload) -> Bytes {
    payload.to_vec().into()
}

/// Takes over what a configuration record says of its track.
fn configure(track: &mut Track, record: &[u8], counters: &mut IngestCounters) {
    match describe(track.codec, record) {
        None => {}
        Some(Ok(description)) => {
            counters.configs_malformed += u64::from(description.fault.is_some());
            track.describe(Some(description));
        }
        // Announced, and the record is to follow; or a track that is configured already is announced again.
        Some(Err(ConfigError::Empty)) => counters.configs_empty += 1,
        Some(Err(_)) => {
            counters.configs_malformed += 1;
            track.describe(None);
        }
    }
}

#[cfg(test)]
mod tests;
