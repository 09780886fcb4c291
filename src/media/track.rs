//! The tracks of one publisher: what is known of each from tag headers and configuration records.
//!
//! `onMetaData` has no say here: encoders leave it out, send it late or get it wrong.
//! # Bounds
//! [`TRACKS_MAX`] tracks a kind. What comes on more is forwarded, but not described.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::codec::Codec;
use super::config::{Description, Size};
use super::frame::{MediaKind, TrackId};

/// Tracks of one kind that are told apart: more than any known encoder sends (OBS sends up to 6), and little enough
/// for a list that is searched on every frame.
pub const TRACKS_MAX: usize = 16;

/// One audio or video track.
#[derive(Clone, Debug)]
pub struct Track {
    /// Its number among those of its kind.
    pub id: TrackId,
    /// Audio or video.
    pub kind: MediaKind,
    /// What it is coded in.
    pub codec: Codec,
    /// RFC 6381 codec string, or the codec's bare name while there is no readable configuration.
    pub codec_string: String,
    /// The codec's own profile number.
    pub profile: Option<u8>,
    /// The codec's own level number.
    pub level: Option<u8>,
    /// Size of the picture.
    pub size: Option<Size>,
    /// Samples a second, Hz.
    pub sample_rate: Option<u32>,
    /// Channels.
    pub channels: Option<u8>,
    /// The last sequence header message, in memory of its own.
    header: Option<Bytes>,
}

/// All tracks of one publisher, video before audio, by number.
#[derive(Clone, Debug, Default)]
pub struct Tracks {
    tracks: Vec<Track>,
}

impl Track {
    fn new(kind: MediaKind, id: TrackId, codec: Codec) -> Self {
        Self {
            id,
            kind,
            codec,
            codec_string: codec.name().into_owned(),
            profile: None,
            level: None,
            size: None,
            sample_rate: None,
            channels: None,
            header: None,
        }
    }

    /// Takes over what a configuration record says; without a record (it was unreadable) only the codec stays.
    pub(super) fn describe(&mut self, description: Option<Description>) {
        let description = description.unwrap_or_else(|| Description {
            codec_string: self.codec.name().into_owned(),
            ..Default::default()
        });
        self.codec_string = description.codec_string;
        self.profile = description.profile;
        self.level = description.level;
        self.size = description.size;
        self.sample_rate = description.sample_rate;
        self.channels = description.channels;
    }

    /// The last sequence header message.
    pub(super) fn header(&self) -> Option<&Bytes> {
        self.header.as_ref()
    }

    /// Keeps a sequence header message to compare the next one with.
    pub(super) fn set_header(&mut self, message: Bytes) {
        self.header = Some(message);
    }
}

impl Tracks {
    /// All tracks.
    pub fn iter(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter()
    }

    /// One track.
    pub fn find(&self, kind: MediaKind, id: TrackId) -> Option<&Track> {
        self.tracks.iter().find(|track| track.kind == kind && track.id == id)
    }

    pub(super) fn find_mut(&mut self, kind: MediaKind, id: TrackId) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.kind == kind && track.id == id)
    }

    /// The video track that a player shows when nobody tells it otherwise: the one with the lowest number.
    pub fn default_video(&self) -> Option<&Track> {
        self.iter().find(|track| track.kind == MediaKind::Video)
    }

    /// The audio track that a player plays when nobody tells it otherwise: the one with the lowest number.
    pub fn default_audio(&self) -> Option<&Track> {
        self.iter().find(|track| track.kind == MediaKind::Audio)
    }

    /// The track's entry, made when it is new, begun anew when its codec changed; `None` when there are too many.
    /// Allocates only then.
    pub(super) fn entry(&mut self, kind: MediaKind, id: TrackId, codec: Codec) -> Option<&mut Track> {
        let order = |kind: MediaKind, id: TrackId| (kind != MediaKind::Video, id);
        match self.tracks.binary_search_by_key(&order(kind, id), |track| order(track.kind, track.id)) {
            Ok(at) => {
                let track = &mut self.tracks[at]; // found there
                if track.codec != codec {
                    *track = Track::new(kind, id, codec);
                }
                Some(track)
            }
            Err(_) if self.tracks.iter().filter(|track| track.kind == kind).count() >= TRACKS_MAX => None,
            Err(at) => {
                self.tracks.insert(at, Track::new(kind, id, codec));
                self.tracks.get_mut(at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::{AudioCodec, VideoCodec};

    const AVC: Codec = Codec::Video(VideoCodec::Avc);
    const AAC: Codec = Codec::Audio(AudioCodec::Aac);

    /// The list is ordered, and the defaults are the lowest numbers.
    #[test]
    fn tracks_are_kept_in_order() {
        let mut tracks = Tracks::default();
        tracks.entry(MediaKind::Audio, TrackId(2), AAC).unwrap();
        tracks.entry(MediaKind::Video, TrackId(1), AVC).unwrap();
        tracks.entry(MediaKind::Audio, TrackId(0), AAC).unwrap();
        tracks.entry(MediaKind::Video, TrackId(0), AVC).unwrap();
        let order: Vec<_> = tracks.iter().map(|track| (track.kind, track.id.0)).collect();
        use MediaKind::{Audio, Video};
        assert_eq!(order, [(Video, 0), (Video, 1), (Audio, 0), (Audio, 2)]);
        assert_eq!(tracks.default_video().unwrap().id, TrackId(0));
        assert_eq!(tracks.default_audio().unwrap().id, TrackId(0));
        assert_eq!(tracks.find(Audio, TrackId(2)).unwrap().codec_string, "mp4a.40");
        assert!(tracks.find(Audio, TrackId(1)).is_none());
    }

    /// The bound holds for each kind by itself.
    #[test]
    fn there_are_at_most_so_many_tracks_a_kind() {
        let mut tracks = Tracks::default();
        for id in 0..=255 {
            assert_eq!(
                tracks.entry(MediaKind::Video, TrackId(id), AVC).is_some(),
                usize::from(id) < TRACKS_MAX
            );
        }
        assert!(tracks.entry(MediaKind::Audio, TrackId(0), AAC).is_some());
        assert_eq!(tracks.iter().count(), TRACKS_MAX + 1);
    }

    /// A new codec on a track leaves nothing of the old one.
    #[test]
    fn a_new_codec_begins_the_track_anew() {
        let mut tracks = Tracks::default();
        let track = tracks.entry(MediaKind::Video, TrackId(0), AVC).unwrap();
        track.describe(Some(Description {
            codec_string: "avc1.64001f".into(),
            level: Some(31),
            ..Default::default()
        }));
        track.set_header(Bytes::from_static(b"header"));
        assert_eq!(tracks.entry(MediaKind::Video, TrackId(0), AVC).unwrap().codec_string, "avc1.64001f");
        let track = tracks.entry(MediaKind::Video, TrackId(0), Codec::Video(VideoCodec::Hevc)).unwrap();
        assert_eq!((track.codec_string.as_str(), track.level, track.header()), ("hvc1", None, None));
    }
}
