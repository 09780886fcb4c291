//! Each packet type and FourCC of the specification, in bytes made by hand, read and written; and whatever else can be written, read back.

use proptest::prelude::*;

use super::*;
use crate::media::audio_tag::AudioTag;
use crate::media::config::hex;
use crate::media::ex_header::TrackBody;
use crate::media::frame::FrameRole;
use crate::media::vectors::{AUDIO_FOURCCS, AUDIO_PACKETS, VIDEO_FOURCCS, VIDEO_PACKETS, bytes};
use crate::media::video_tag::VideoTag;

fn payload(bytes: &[u8]) -> Payload {
    Bytes::copy_from_slice(bytes).into()
}

/// Every video packet type with every FourCC, alone and in each of the three track layouts: composed by hand, read, and written again.
#[test]
fn every_video_packet_type_and_fourcc() {
    let time_and_data = payload(&[0xff, 0xff, 0xd8, 0xaa, 0xbb]);
    for (name, codec) in VIDEO_FOURCCS {
        let fourcc = FourCc(*name);
        for (number, packet, role) in VIDEO_PACKETS {
            let has_time = packet == VideoPacket::CodedFrames && matches!(name, b"avc1" | b"hvc1" | b"vvc1");
            let check = |expected: Vec<u8>, written: Payload, track: u8| {
                assert_eq!(written.to_vec(), expected, "{fourcc} {packet:?}");
                let tag = VideoTag::parse(&written).unwrap();
                assert_eq!((tag.codec, tag.packet, tag.role()), (Some(codec), packet, role));
                assert_eq!((tag.frame_type, tag.track), (VideoFrameType::Key, TrackId(track)));
                assert_eq!(tag.composition_ms, if has_time { -40 } else { 0 }, "{fourcc} {packet:?}");
                assert!(tag.bodies.iter(&written).all(|body| body.payload == time_and_data));
                tag.bodies.iter(&written).count()
            };
            let write = |body| ex_video(VideoFrameType::Key, packet, &[], &body);
            let body = [0xff, 0xff, 0xd8, 0xaa, 0xbb];
            let single = [&[0x90 | number], &name[..], &body].concat();
            assert_eq!(check(single, write(ExBody::Single(fourcc, &time_and_data)), 0), 1);
            let one = [&[0x96, number], &name[..], &[3], &body].concat();
            assert_eq!(check(one, write(ExBody::OneTrack(fourcc, TrackId(3), &time_and_data)), 3), 1);
            let many =
                [&[0x96, 0x10 | number], &name[..], &[2, 0, 0, 5], &body, &[0, 0, 0, 5], &body].concat();
            let tracks = [2, 0].map(|track| (TrackId(track), time_and_data.clone()));
            assert_eq!(check(many, write(ExBody::ManyTracks(fourcc, &tracks)), 2), 2);
            let codecs =
                [&[0x96, 0x20 | number], &name[..], &[1, 0, 0, 5], &body, &b"av01"[..], &[9, 0, 0, 5], &body];
            let tracks = [(fourcc, TrackId(1)), (FourCc(*b"av01"), TrackId(9))];
            let tracks = tracks.map(|(fourcc, track)| (fourcc, track, time_and_data.clone()));
            assert_eq!(check(codecs.concat(), write(ExBody::ManyTracksManyCodecs(&tracks)), 1), 2);
        }
    }
}

/// The same for audio.
#[test]
fn every_audio_packet_type_and_fourcc() {
    let data = payload(&[0xaa, 0xbb]);
    for (name, codec) in AUDIO_FOURCCS {
        let fourcc = FourCc(*name);
        for (number, packet, role) in AUDIO_PACKETS {
            let check = |expected: Vec<u8>, written: Payload, track: u8| {
                assert_eq!(written.to_vec(), expected, "{fourcc} {packet:?}");
                let tag = AudioTag::parse(&written).unwrap();
                assert_eq!((tag.codec, tag.packet, tag.role()), (Some(codec), packet, role));
                assert_eq!((tag.track, tag.sample_rate, tag.channels), (TrackId(track), None, None));
                assert!(tag.bodies.iter(&written).all(|body| body.payload == data));
                tag.bodies.iter(&written).count()
            };
            let write = |body| ex_audio(packet, &[], &body);
            let single = [&[0x90 | number], &name[..], &[0xaa, 0xbb]].concat();
            assert_eq!(check(single, write(ExBody::Single(fourcc, &data)), 0), 1);
            let one = [&[0x95, number], &name[..], &[7, 0xaa, 0xbb]].concat();
            assert_eq!(check(one, write(ExBody::OneTrack(fourcc, TrackId(7), &data)), 7), 1);
            let track = |id: u8| [id, 0, 0, 2, 0xaa, 0xbb];
            let many = [&[0x95, 0x10 | number], &name[..], &track(4), &track(2)].concat();
            let tracks = [4, 2].map(|track| (TrackId(track), data.clone()));
            assert_eq!(check(many, write(ExBody::ManyTracks(fourcc, &tracks)), 4), 2);
            let codecs = [&[0x95, 0x20 | number], &name[..], &track(0), &b"Opus"[..], &track(255)].concat();
            let tracks = [(fourcc, TrackId(0)), (FourCc(*b"Opus"), TrackId(255))];
            let tracks = tracks.map(|(fourcc, track)| (fourcc, track, data.clone()));
            assert_eq!(check(codecs, write(ExBody::ManyTracksManyCodecs(&tracks)), 0), 2);
        }
    }
}

/// Legacy messages of every codec id, by hand.
#[test]
fn legacy_messages() {
    let avc = |frame_type, id, packet, time, body: &str| {
        avc_video(frame_type, id, packet, time, payload(&bytes(body))).to_vec()
    };
    use VideoFrameType::{Command, DisposableInter, Inter, Key};
    assert_eq!(avc(Key, 7, VideoPacket::SequenceStart, 0, "0142"), bytes("17 00 000000 0142"));
    assert_eq!(avc(Key, 7, VideoPacket::CodedFrames, 200, "aa"), bytes("17 01 0000c8 aa"));
    assert_eq!(avc(Inter, 12, VideoPacket::CodedFrames, -40, "aa"), bytes("2c 01 ffffd8 aa"));
    assert_eq!(avc(Inter, 7, VideoPacket::CodedFramesX, 0, "aa"), bytes("27 01 000000 aa"));
    assert_eq!(avc(Key, 7, VideoPacket::SequenceEnd, 0, ""), bytes("17 02 000000"));
    assert_eq!(legacy_video(DisposableInter, 2, payload(&[1])).to_vec(), bytes("32 01"));
    assert_eq!(legacy_video(Command, 7, payload(&[1])).to_vec(), bytes("57 01"));
    assert_eq!(aac_audio(AudioPacket::SequenceStart, payload(&hex("1190"))).to_vec(), bytes("af 00 1190"));
    assert_eq!(aac_audio(AudioPacket::CodedFrames, payload(&hex("2111"))).to_vec(), bytes("af 01 2111"));
    assert_eq!(legacy_audio(2, 0xf, payload(&hex("fffb"))).to_vec(), bytes("2f fffb"));
}

/// Seeks begin and end in either header; what is reserved is kept.
#[test]
fn video_commands() {
    let commands = [(0, VideoCommand::StartSeek), (1, VideoCommand::EndSeek), (9, VideoCommand::Reserved(9))];
    for (byte, command) in commands {
        let legacy = legacy_video(VideoFrameType::Command, 7, payload(&[byte]));
        let enhanced = ex_video_command(command, &[]);
        assert_eq!((legacy.to_vec(), enhanced.to_vec()), (vec![0x57, byte], vec![0xd0, byte]));
        let prefixed = ex_video_command(command, &[ModEx::TimestampOffsetNano(1)]);
        for message in [legacy, enhanced, prefixed] {
            let tag = VideoTag::parse(&message).unwrap();
            assert_eq!(
                (tag.packet, tag.codec, tag.command(&message)),
                (VideoPacket::Command, None, Some(command))
            );
            assert_eq!(tag.role(), FrameRole::Other);
        }
    }
    let cut_off = payload(&[0xd0]);
    assert_eq!(VideoTag::parse(&cut_off).unwrap().command(&cut_off), None);
    let key = payload(&hex("1701000000aa"));
    assert_eq!(VideoTag::parse(&key).unwrap().command(&key), None);
}

/// ModEx data of one, of 255, 256 and 65,536 bytes, before each other and before tracks.
#[test]
fn mod_ex_prefixes() {
    let body = payload(&[0xcc]);
    let single = ExBody::Single(FourCc(*b"Opus"), &body);
    let nano = ex_audio(AudioPacket::CodedFrames, &[ModEx::TimestampOffsetNano(999_999)], &single);
    assert_eq!(nano.to_vec(), bytes("97 02 0f423f 01 'Opus' cc"));
    let long = [0x55; 65_536];
    for (len, size) in [(1, "00"), (255, "fe"), (256, "ff00ff"), (65_536, "ffffff")] {
        let other = ModEx::Other { kind: 14, data: &long[..len] };
        let one = ExBody::OneTrack(FourCc(*b"hvc1"), TrackId(1), &body);
        let mod_ex = [other, ModEx::TimestampOffsetNano(7)];
        let written = ex_video(VideoFrameType::Inter, VideoPacket::CodedFramesX, &mod_ex, &one);
        let expected =
            [bytes(&format!("a7 {size}")), long[..len].to_vec(), bytes("e7 02 000007 06 03 'hvc1' 01 cc")];
        assert_eq!(written.to_vec(), expected.concat(), "{len}");
        let tag = VideoTag::parse(&written).unwrap();
        assert_eq!((tag.timestamp_offset_ns, tag.track, tag.role()), (7, TrackId(1), FrameRole::Inter));
    }
}

/// Bodies are shared.
#[test]
fn bodies_are_not_copied() {
    let body = payload(&[0xcc; 100]);
    let written = [
        ex_audio(AudioPacket::CodedFrames, &[], &ExBody::Single(FourCc(*b"Opus"), &body)),
        ex_audio(
            AudioPacket::CodedFrames,
            &[],
            &ExBody::ManyTracks(FourCc(*b"Opus"), &[(TrackId(0), body.clone())]),
        ),
        aac_audio(AudioPacket::CodedFrames, body.clone()),
    ];
    for message in written {
        assert_eq!(message.slices()[1].as_ptr(), body.slices()[0].as_ptr());
    }
}

#[derive(Clone, Debug)]
enum Layout {
    Single,
    OneTrack(u8),
    ManyTracks(Vec<u8>),
    ManyTracksManyCodecs(Vec<u8>),
}

fn layout() -> impl Strategy<Value = Layout> {
    let ids = || prop::collection::vec(any::<u8>(), 1..6);
    prop_oneof![
        Just(Layout::Single),
        any::<u8>().prop_map(Layout::OneTrack),
        ids().prop_map(Layout::ManyTracks),
        ids().prop_map(Layout::ManyTracksManyCodecs),
    ]
}

fn mod_ex() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    prop::collection::vec((1u8..16, prop::collection::vec(any::<u8>(), 1..600)), 0..3)
}

proptest! {
    /// Whatever is written is read back: type, prefixes, tracks and bodies.
    #[test]
    fn what_is_written_is_read(
        layout in layout(), prefixes in mod_ex(), offset_ns in prop::option::of(0u32..1_000_000),
        video: bool, frame_type in 0u8..8, packet in 0usize..7, fourccs in prop::collection::vec(0usize..7, 6),
        data in prop::collection::vec(prop::collection::vec(any::<u8>(), 3..40), 6),
    ) {
        let frame_type = VideoTag::parse(&payload(&[frame_type << 4 | 2])).unwrap().frame_type;
        // With the frame type of a command a message is one, unless it is metadata without a multitrack header.
        let may_be_command = packet == 4 && matches!(layout, Layout::Single);
        prop_assume!(!video || frame_type != VideoFrameType::Command || may_be_command);
        let fourcc = |nth: usize| FourCc(*if video { VIDEO_FOURCCS[fourccs[nth]].0 } else { AUDIO_FOURCCS[fourccs[nth]].0 });
        let mut mod_ex: Vec<ModEx<'_>> = prefixes.iter().map(|(kind, data)| ModEx::Other { kind: *kind, data }).collect();
        mod_ex.extend(offset_ns.map(ModEx::TimestampOffsetNano));
        let bodies: Vec<Payload> = data.iter().map(|data| payload(data)).collect();
        let of_one = |ids: &[u8]| ids.iter().zip(&bodies).map(|(id, body)| (TrackId(*id), body.clone())).collect::<Vec<_>>();
        let of_many = |ids: &[u8]| {
            let tracks = ids.iter().zip(&bodies).enumerate();
            tracks.map(|(nth, (id, body))| (fourcc(nth), TrackId(*id), body.clone())).collect::<Vec<_>>()
        };
        let write = |body: &ExBody<'_>| match video {
            true => ex_video(frame_type, VIDEO_PACKETS[packet].1, &mod_ex, body),
            false => ex_audio(AUDIO_PACKETS[packet].1, &mod_ex, body),
        };
        let body = |nth: usize, id: u8, fourcc: FourCc| TrackBody { fourcc: Some(fourcc), track: TrackId(id), payload: bodies[nth].clone() };
        let (written, expected) = match &layout {
            Layout::Single => (write(&ExBody::Single(fourcc(0), &bodies[0])), vec![body(0, 0, fourcc(0))]),
            Layout::OneTrack(id) => (write(&ExBody::OneTrack(fourcc(0), TrackId(*id), &bodies[0])), vec![body(0, *id, fourcc(0))]),
            Layout::ManyTracks(ids) => {
                let expected = ids.iter().enumerate().map(|(nth, id)| body(nth, *id, fourcc(0))).collect();
                (write(&ExBody::ManyTracks(fourcc(0), &of_one(ids))), expected)
            }
            Layout::ManyTracksManyCodecs(ids) => {
                let expected = ids.iter().enumerate().map(|(nth, id)| body(nth, *id, fourcc(nth))).collect();
                (write(&ExBody::ManyTracksManyCodecs(&of_many(ids))), expected)
            }
        };
        let written = Payload::from(Bytes::from(written.to_vec()));
        let (read, offset, bodies) = if video {
            let tag = VideoTag::parse(&written).unwrap();
            prop_assert_eq!((tag.packet, tag.frame_type), (VIDEO_PACKETS[packet].1, frame_type));
            (tag.track, tag.timestamp_offset_ns, tag.bodies)
        } else {
            let tag = AudioTag::parse(&written).unwrap();
            prop_assert_eq!(tag.packet, AUDIO_PACKETS[packet].1);
            (tag.track, tag.timestamp_offset_ns, tag.bodies)
        };
        prop_assert_eq!((read, offset), (expected[0].track, offset_ns.unwrap_or(0)));
        prop_assert_eq!(bodies.iter(&written).collect::<Vec<_>>(), expected);
    }
}
