//! What peers say of Enhanced RTMP when they connect (E-RTMP v2 "Enhancing NetConnection connect Command").
//!
//! # Invariant
//! A load of legacy codecs without tracks says nothing: its peers are those of before.

use inrush::rtmp::FourCc;
use inrush::rtmp::command::{Capabilities, CapsEx, FourCcInfo, FourCcInfoMap};
use inrush::session::Role;

use crate::media::synthetic::Shape;

/// What the peers of a run have to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enhanced {
    /// FourCCs of all video tracks that come behind an enhanced header.
    video: Vec<FourCc>,
    /// The same of audio tracks.
    audio: Vec<FourCc>,
    /// Whether streams have several tracks, or say that they might.
    multitrack: bool,
}

impl Enhanced {
    /// Of streams of these shapes.
    pub fn of(shapes: &[Shape]) -> Self {
        let mut enhanced = Self::default();
        for shape in shapes {
            let has_tracks = shape.multitrack.is_some();
            enhanced.multitrack |= has_tracks;
            let videos = shape.video.iter().filter(|codec| has_tracks || codec.legacy_id().is_none());
            let audios = shape.audio.iter().filter(|codec| has_tracks || codec.legacy_id().is_none());
            enhanced.video.extend(videos.map(|codec| FourCc(codec.fourcc())));
            enhanced.audio.extend(audios.map(|codec| FourCc(codec.fourcc())));
        }
        for fourccs in [&mut enhanced.video, &mut enhanced.audio] {
            fourccs.sort_unstable();
            fourccs.dedup();
        }
        enhanced
    }

    /// What a peer of this role says. A player of streams with tracks that does not take several says nothing at all, as one that is older
    /// than all of this.
    pub fn capabilities(&self, role: Role, multitrack: bool) -> Capabilities {
        let says_nothing = self.video.is_empty() && self.audio.is_empty();
        if says_nothing || role == Role::Play && self.multitrack && !multitrack {
            return Capabilities::default();
        }
        let info = if role == Role::Publish { FourCcInfo::CAN_ENCODE } else { FourCcInfo::CAN_DECODE };
        let map = |fourccs: &[FourCc]| FourCcInfoMap {
            any: None,
            named: fourccs.iter().map(|fourcc| (*fourcc, info)).collect(),
        };
        Capabilities {
            fourcc_list: map(&[&self.video[..], &self.audio].concat()),
            video: map(&self.video),
            audio: map(&self.audio),
            caps_ex: if self.multitrack { CapsEx::MULTITRACK } else { CapsEx::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::{Audio, Video};
    use crate::media::layout::Multitrack;

    fn shape(video: Video, audio: Audio, multitrack: Option<Multitrack>) -> Shape {
        Shape { video: vec![video], audio: vec![audio], multitrack }
    }

    #[test]
    fn legacy_peers_say_nothing() {
        let enhanced = Enhanced::of(&[Shape::legacy(), shape(Video::LegacyHevc, Audio::Mp3, None)]);
        for role in [Role::Publish, Role::Play] {
            assert!(!enhanced.capabilities(role, true).speaks_enhanced());
        }
    }

    #[test]
    fn codecs_are_said_by_who_encodes_and_who_decodes() {
        let shapes = [shape(Video::Hevc, Audio::Aac, None), shape(Video::Av1, Audio::Opus, None)];
        let enhanced = Enhanced::of(&shapes);
        // Without tracks, there is nothing more to negotiate.
        for (role, info) in [(Role::Publish, FourCcInfo::CAN_ENCODE), (Role::Play, FourCcInfo::CAN_DECODE)] {
            let said = enhanced.capabilities(role, false);
            assert_eq!(said.codec_names(), ["av01", "hvc1", "Opus"]);
            assert_eq!(said.video.info(FourCc(*b"hvc1")), info);
            assert_eq!(said.audio.named, [(FourCc(*b"Opus"), info)]);
            assert!(!said.multitrack());
            let properties: Vec<_> = said.properties().into_iter().map(|(name, _)| name).collect();
            assert_eq!(properties, ["fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap"]);
        }
    }

    #[test]
    fn tracks_are_said_by_those_who_take_them() {
        let enhanced = Enhanced::of(&[shape(Video::Avc, Audio::Aac, Some(Multitrack::One))]);
        assert!(enhanced.capabilities(Role::Publish, false).multitrack());
        assert!(enhanced.capabilities(Role::Play, true).multitrack());
        assert!(!enhanced.capabilities(Role::Play, false).speaks_enhanced());
    }
}
