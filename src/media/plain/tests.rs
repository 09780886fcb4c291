//! What plain readers get of messages made by hand, and of any others.

use proptest::prelude::*;

use super::*;
use crate::media::FrameInfo;
use crate::media::codec::FourCc;
use crate::media::tag_writer::ModEx;
use crate::media::vectors::{AUDIO_FOURCCS, AUDIO_PACKETS, VIDEO_FOURCCS, VIDEO_PACKETS, bytes};
use crate::session::Instant;

fn payload(bytes: &[u8]) -> Payload {
    Bytes::copy_from_slice(bytes).into()
}

fn video_of(message: &Payload, default: u8, codec: Option<VideoCodec>) -> Plain {
    let tag = VideoTag::parse(message).unwrap();
    of_video(&tag, tag.track, message, TrackId(default), || codec)
}

fn audio_of(message: &Payload, default: u8) -> Plain {
    let tag = AudioTag::parse(message).unwrap();
    of_audio(&tag, tag.track, message, TrackId(default))
}

fn video(text: &str, default: u8) -> Plain {
    video_of(&payload(&bytes(text)), default, None)
}

fn audio(text: &str, default: u8) -> Plain {
    audio_of(&payload(&bytes(text)), default)
}

fn made(text: &str) -> Plain {
    Plain::Made(payload(&bytes(text)))
}

/// What legacy RTMP can say is said so; what is plain already is left alone.
#[test]
fn one_track_as_it_comes() {
    for same in ["17 00 000000 01", "27 01 000010 aa", "12 aa", "1c 01 000000 aa", "57 00", "d0 00"] {
        assert_eq!(video(same, 0), Plain::Same, "{same}");
    }
    for same in ["91 'hvc1' 000010 aa", "90 'av01'", "94 'vp09' 02", "92 'vvc1'", "93 'zz99' aa", "9f 'vp08'"]
    {
        assert_eq!(video(same, 0), Plain::Same, "{same}");
        assert_eq!(video(same, 1), Plain::Nothing, "{same}");
    }
    assert_eq!(video("27 01 000010 aa", 1), Plain::Nothing);
    assert_eq!(video("90 'avc1' 0142", 0), made("17 00 000000 0142"));
    assert_eq!(video("91 'avc1' ffffd8 aabb", 0), made("17 01 ffffd8 aabb"));
    assert_eq!(video("a3 'avc1' aabb", 0), made("27 01 000000 aabb"));
    assert_eq!(video("92 'avc1'", 0), made("17 02 000000"));
    for untold in ["94 'avc1' 020009", "95 'avc1' aa", "98 'avc1' aa"] {
        assert_eq!(video(untold, 0), Plain::Nothing, "{untold}");
    }

    for same in
        ["af 00 1190", "2f fffb", "7f aa", "90 'Opus'", "91 'fLaC' aa", "94 'Opus' 0002", "9e 'ac-3' 01"]
    {
        assert_eq!(audio(same, 0), Plain::Same, "{same}");
        assert_eq!(audio(same, 7), Plain::Nothing, "{same}");
    }
    assert_eq!(audio("90 'mp4a' 1190", 0), made("af 00 1190"));
    assert_eq!(audio("91 'mp4a' 2111", 0), made("af 01 2111"));
    assert_eq!(audio("91 '.mp3' fffb9064", 0), made("2f fffb9064"));
    for untold in ["92 'mp4a'", "94 'mp4a' 01 06 0000003f", "90 '.mp3'", "92 '.mp3'", "98 'mp4a'"] {
        assert_eq!(audio(untold, 0), Plain::Nothing, "{untold}");
    }
}

/// The default track alone, wherever it is in the message, and without a multitrack header.
#[test]
fn one_of_several_tracks() {
    assert_eq!(video("96 01 'hvc1' 02 000010 aa", 2), made("91 'hvc1' 000010 aa"));
    assert_eq!(video("a6 01 'avc1' 02 000010 aa", 2), made("27 01 000010 aa"));
    assert_eq!(video("a6 01 'avc1' 02 000010 aa", 0), Plain::Nothing);
    assert_eq!(video("d4 'hvc1' 0200", 0), Plain::Same);
    assert_eq!(video("96 04 'hvc1' 00 0200", 0), made("94 'hvc1' 0200"));
    let many = "96 13 'avc1' 01 000002 aabb 00 000001 cc 02 000000";
    assert_eq!(video(many, 0), made("17 01 000000 cc"));
    assert_eq!(video(many, 2), made("17 01 000000"));
    assert_eq!(video(many, 3), Plain::Nothing);
    let codecs = "a6 21 'av01' 00 000001 aa 'avc1' 01 000004 000010 bb";
    assert_eq!(video(codecs, 0), made("a1 'av01' aa"));
    assert_eq!(video(codecs, 1), made("27 01 000010 bb"));
    assert_eq!(video("96 33 'avc1' 00 aa", 0), Plain::Nothing, "a layout that nobody knows");
    assert_eq!(
        video("a6 21 'av01' 00 000001 aa 'avc1' 01 000001 bb", 1),
        Plain::Nothing,
        "no room for a time"
    );

    assert_eq!(audio("95 01 'Opus' 01 fc", 1), made("91 'Opus' fc"));
    assert_eq!(audio("95 00 'mp4a' 00 1190", 0), made("af 00 1190"));
    let codecs = "95 21 'Opus' 05 000001 fc '.mp3' 03 000002 ffff";
    assert_eq!(audio(codecs, 3), made("2f ffff"));
    assert_eq!(audio(codecs, 5), made("91 'Opus' fc"));
}

/// ModEx goes.
#[test]
fn prefixes_go() {
    assert_eq!(video("97 02 0f423f 03 'hvc1' aa", 0), made("93 'hvc1' aa"));
    assert_eq!(video("97 00 ee 57 02 000001 03 'avc1' aa", 0), made("17 01 000000 aa"));
    assert_eq!(video("97 02 0f423f 06 03 'hvc1' 04 aa", 4), made("93 'hvc1' aa"));
    assert_eq!(audio("97 02 000064 01 'Opus' fc", 0), made("91 'Opus' fc"));
}

/// Commands reach players of AVC behind a legacy header.
#[test]
fn commands_are_for_the_picture() {
    let of = |text: &str, codec| video_of(&payload(&bytes(text)), 3, codec);
    for (codec, plain) in [(VideoCodec::Avc, made("57 01")), (VideoCodec::Hevc, Plain::Same)] {
        assert_eq!(of("d0 01", Some(codec)), plain);
        assert_eq!(of("57 01", Some(codec)), Plain::Same);
    }
    assert_eq!(of("d7 02 000001 00 01", Some(VideoCodec::Avc)), made("57 01"));
    assert_eq!(of("d7 02 000001 00 01", None), made("d0 01"));
    assert_eq!(of("d0", Some(VideoCodec::Avc)), Plain::Same, "without its byte");
}

/// The legacy bits of MP3 are those of its own frame header.
#[test]
fn mp3_is_flagged_as_it_is() {
    for (frame_header, expected) in [
        ("fffb9064", (2, 0b1111)),  // MPEG 1, 44.1 kHz, joint stereo
        ("fffb94c4", (2, 0b1110)),  // MPEG 1, 48 kHz, mono
        ("fff390c4", (2, 0b1010)),  // MPEG 2, 22.05 kHz, mono
        ("ffe39064", (2, 0b0111)),  // MPEG 2.5, 11.025 kHz
        ("ffe398c4", (14, 0b0010)), // MPEG 2.5, 8 kHz, mono
        ("494433", (2, 0b1111)),    // no frame header
    ] {
        assert_eq!(mp3_format(&payload(&bytes(frame_header))), expected, "{frame_header}");
    }
}

/// A frame as ingest makes it when `default` is the default track.
fn frame(text: &str, timestamp: u32, default: u8) -> Arc<Frame> {
    let message = payload(&bytes(text));
    let is_video = text.contains("'hvc1'") || text.contains("'avc1'") || text.starts_with(['1', '2']);
    let (kind, role, track, plain, bodies) = if is_video {
        let tag = VideoTag::parse(&message).unwrap();
        (MediaKind::Video, tag.role(), tag.track, video_of(&message, default, None), tag.bodies)
    } else {
        let tag = AudioTag::parse(&message).unwrap();
        (MediaKind::Audio, tag.role(), tag.track, audio_of(&message, default), tag.bodies)
    };
    let starts_gop = role == FrameRole::Key && plain != Plain::Nothing;
    let info = FrameInfo { kind, role, track, timestamp, arrived: Instant::from_micros(0), starts_gop };
    let several = bodies.may_be_several().then(|| bodies.spans(&message).map(|span| span.track).collect());
    let plain = if role.is_header() { Plain::Same } else { plain };
    Arc::new(Frame::new(info, message, 0).with_plain(several, TrackId(default), plain))
}

fn hex_of(payload: &Payload) -> String {
    payload.to_vec().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The run in the plain form, as (timestamp, bytes).
fn plain_run(frames: &[Arc<Frame>], defaults: DefaultTracks) -> Vec<(u32, String)> {
    let run = run(frames, defaults);
    run.iter().map(|frame| (frame.timestamp(), hex_of(frame.in_form(super::super::Form::Plain).0))).collect()
}

fn expect(expected: &[(u32, &str)]) -> Vec<(u32, String)> {
    expected.iter().map(|(timestamp, text)| (*timestamp, hex_of(&payload(&bytes(text))))).collect()
}

/// Headers of other tracks stay out; a track that takes over comes with its headers, in the version of that place.
#[test]
fn a_run_follows_the_default_tracks() {
    let frames = [
        frame("90 'hvc1' 01", 10, 0),
        frame("96 00 'avc1' 01 02", 10, 0),
        frame("94 'hvc1' 03", 10, 0),
        frame("95 00 'mp4a' 02 1190", 10, 2),
        frame("93 'hvc1' aa", 20, 0),
        frame("96 03 'avc1' 01 bb", 20, 0),
        frame("95 01 'mp4a' 02 2111", 25, 2),
        frame("95 00 'Opus' 01 00", 30, 2),
        frame("95 00 'Opus' 01 05", 31, 2),
        frame("95 00 'mp4a' 02 1210", 32, 2),
        frame("95 01 'Opus' 01 fc", 35, 1),
        frame("95 00 'Opus' 01 06", 36, 1),
        frame("95 01 'mp4a' 02 2111", 37, 1),
    ];
    let expected = expect(&[
        (10, "90 'hvc1' 01"),
        (10, "94 'hvc1' 03"),
        (20, "93 'hvc1' aa"),
        (25, "af 00 1190"),
        (25, "af 01 2111"),
        (32, "af 00 1210"),
        (35, "90 'Opus' 05"),
        (35, "91 'Opus' fc"),
        (36, "90 'Opus' 06"),
    ]);
    assert_eq!(plain_run(&frames, DefaultTracks::default()), expected);
    let seeded = DefaultTracks { audio: TrackId(2), ..DefaultTracks::default() };
    assert_eq!(
        plain_run(&frames[3..7], seeded)[0],
        (10, "af001190".into()),
        "where it came, if that is known"
    );
}

/// A header of several tracks gives each reader that of its track, and shares its bytes.
#[test]
fn a_header_of_several_tracks_has_each() {
    let several = frame("96 20 'hvc1' 03 000002 aabb 'avc1' 05 000001 cc", 10, 0);
    let of =
        |track| header(&several, TrackId(track)).map(|header| (header.track().0, hex_of(header.payload())));
    assert_eq!(of(3), Some((3, hex_of(&payload(&bytes("90 'hvc1' aabb"))))));
    assert_eq!(of(5), Some((5, "1700000000cc".into())));
    assert_eq!(of(0), None);
    let body = &header(&several, TrackId(3)).unwrap().payload().slices()[1].as_ptr();
    assert_eq!(*body, several.payload().slices()[0][14 - 4..].as_ptr());
    let plain = frame("17 00 000000 01", 10, 0);
    assert!(Arc::ptr_eq(&header(&plain, TrackId(0)).unwrap(), &plain), "what is plain is not made anew");
}

proptest! {
    /// Of any message, of several tracks or of one: the plain form is the part of that track, in a header without tracks and ModEx, of the
    /// same packet type and codec, legacy exactly where that has a name for the codec.
    #[test]
    fn the_plain_form_is_the_part_of_one_track(
        is_video: bool, packet in 0usize..7, fourccs in [0usize..7, 0usize..7], tracks in [0u8..4, 0u8..4],
        data in prop::collection::vec(any::<u8>(), 3..40), layout in 0u8..4, nano: bool, default in 0u8..4,
    ) {
        prop_assume!(tracks[0] != tracks[1]);
        let (bodies, mod_ex) = ([payload(&data), payload(&data[1..])], [ModEx::TimestampOffsetNano(5)]);
        let mod_ex = &mod_ex[..usize::from(nano)];
        let fourcc = |nth: usize| FourCc(*if is_video { VIDEO_FOURCCS[fourccs[nth]].0 } else { AUDIO_FOURCCS[fourccs[nth]].0 });
        let write = |body: &ExBody<'_>| match is_video {
            true => tag_writer::ex_video(VideoFrameType::Key, VIDEO_PACKETS[packet].1, mod_ex, body),
            false => tag_writer::ex_audio(AUDIO_PACKETS[packet].1, mod_ex, body),
        };
        let one_codec = [0, 1].map(|nth| (TrackId(tracks[nth]), bodies[nth].clone()));
        let codecs = [0, 1].map(|nth| (fourcc(nth), TrackId(tracks[nth]), bodies[nth].clone()));
        let (message, parts) = match layout {
            0 => (write(&ExBody::Single(fourcc(0), &bodies[0])), vec![(0, fourcc(0), &bodies[0])]),
            1 => (write(&ExBody::OneTrack(fourcc(0), TrackId(tracks[0]), &bodies[0])), vec![(tracks[0], fourcc(0), &bodies[0])]),
            2 => (write(&ExBody::ManyTracks(fourcc(0), &one_codec)), [0, 1].map(|nth| (tracks[nth], fourcc(0), &bodies[nth])).into()),
            _ => (write(&ExBody::ManyTracksManyCodecs(&codecs)), [0, 1].map(|nth| (tracks[nth], fourcc(nth), &bodies[nth])).into()),
        };
        let plain = if is_video { video_of(&message, default, None) } else { audio_of(&message, default) };
        let plain = match plain {
            Plain::Same => message.clone(),
            Plain::Made(made) => made,
            Plain::Nothing => {
                let part = parts.iter().find(|(track, ..)| *track == default);
                let untold = part.is_none_or(|(_, fourcc, body)| {
                    matches!(&fourcc.0, b"avc1" | b"mp4a" | b".mp3") && (body.len() < 3 || !matches!(packet, 0 | 1) || fourcc.0 == *b".mp3")
                });
                prop_assert!(untold, "{:?} has nothing for {}", message, default);
                return Ok(());
            }
        };
        let (_, fourcc, body) = parts.iter().find(|(track, ..)| *track == default).unwrap();
        let is_legacy = matches!(&fourcc.0, b"avc1" | b"mp4a" | b".mp3");
        if is_video {
            let tag = VideoTag::parse(&plain).unwrap();
            prop_assert_eq!(tag.codec, Some(VideoCodec::from_fourcc(*fourcc)));
            prop_assert_eq!((tag.frame_type, tag.timestamp_offset_ns), (VideoFrameType::Key, 0));
            prop_assert_eq!((tag.bodies.is_legacy(), tag.bodies.is_bare()), (is_legacy, !is_legacy));
            let had = VideoTag::parse(&message).unwrap().role();
            prop_assert_eq!(tag.role(), had);
            let skip = if is_legacy && VIDEO_PACKETS[packet].1 == VideoPacket::CodedFrames { 3 } else { 0 };
            prop_assert_eq!(plain.skip(tag.bodies.start), body.skip(skip));
            if skip == 3 {
                prop_assert_eq!(Some(tag.composition_ms.to_be_bytes()[1..].to_vec()), body.array::<3>(0).map(|it| it.to_vec()));
            }
        } else {
            let tag = AudioTag::parse(&plain).unwrap();
            prop_assert_eq!((tag.codec, tag.packet), (Some(AudioCodec::from_fourcc(*fourcc)), AUDIO_PACKETS[packet].1));
            prop_assert_eq!((tag.bodies.is_legacy(), tag.bodies.is_bare()), (is_legacy, !is_legacy));
            prop_assert_eq!(&plain.skip(tag.bodies.start), *body);
        }
    }
}
