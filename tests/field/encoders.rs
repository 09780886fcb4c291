//! Rows 10-17: what encoders send that no specification has, and that must come through all the same.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::stage::{
    assert_seen, data, data_named, frames, headers, in_api, inter, join, key, object, publisher, second,
    send_all, server, wait_for_oddities, watch,
};
use crate::support::amf::{self, Amf};
use crate::support::chunk_header::{type_0, type_1, type_2, type_3};
use crate::support::client::Client;
use crate::support::flv::{Kind, Tag};
use crate::support::media::HEVC_AAC;
use crate::support::script;
use crate::support::server::Server;
use crate::support::wire::{self, ChunkWriter, Message};

/// A chunk stream that no encoder of ours uses.
const CAMERA_CHUNK_STREAM: u32 = 33;

/// Publishes these tags under a name of their own; the player must see all of sound and picture, and gives all it got.
#[track_caller]
fn publish_and_watch(server: &Server, name: &str, tags: &[Tag]) {
    let player = watch(server, name);
    let mut publisher = publisher(server, name);
    send_all(&mut publisher, tags);
    publisher.unpublish();
    assert_seen(player, tags);
}

/// Row 10, MediaMTX #386, #769, #2289, #3301, metadata that is missing, empty or a lie (Dahua, DJI FlightHub, XSplit): tracks come from the sequence
/// headers alone, and at once: codecs and size in the API are those of the headers whatever the metadata says.
#[test]
fn row_10_metadata_is_a_hint() {
    let server = server();
    let lie = object(&[
        ("videocodecid", 2.0.into()),
        ("audiocodecid", Amf::Number(0.0)),
        ("width", 99_999.0.into()),
        ("height", Amf::Number(-1.0)),
        ("framerate", Amf::String("fast".to_owned())),
    ]);
    let kinds: [(&str, Vec<Tag>); 4] = [
        ("no-metadata", Vec::new()),
        ("empty-metadata", vec![data(&["@setDataFrame".into(), "onMetaData".into(), object(&[])])]),
        ("name-alone", vec![data(&["@setDataFrame".into(), "onMetaData".into()])]),
        ("false-metadata", vec![data(&["@setDataFrame".into(), "onMetaData".into(), lie])]),
    ];
    for (name, metadata) in kinds {
        let player = watch(&server, name);
        let mut publisher = publisher(&server, name);
        let tags = [metadata, second(0)].concat();
        send_all(&mut publisher, &tags);
        in_api(&server, name, "codecs and size of the sequence headers", |stream| {
            let codecs = stream["codecs"].as_array()?;
            let has = |prefix: &str| codecs.iter().any(|codec| codec.as_str().unwrap().starts_with(prefix));
            let size = (stream["resolution"]["width"].as_u64()?, stream["resolution"]["height"].as_u64()?);
            (has("avc1.") && has("mp4a.40.2") && size == (160, 90)).then_some(())
        });
        publisher.unpublish();
        assert_seen(player, &tags);
    }
}

/// Row 10, the same threads, a sequence header of AAC without a configuration: neither an error nor the end of the sound.
#[test]
fn row_10_an_aac_configuration_may_be_empty() {
    let server = server();
    let empty = Tag { kind: Kind::Audio, timestamp: 0, body: vec![0xaf, 0] };
    let [video, audio] = <[Tag; 2]>::try_from(headers()).expect("two headers");
    let tags = [vec![video, empty], frames(0), vec![Tag { timestamp: 1000, ..audio }], frames(1000)].concat();
    publish_and_watch(&server, "empty-aac", &tags);
}

/// Row 10, MediaMTX #3802 (DJI Osmo Action 4), the video's configuration twice before the first picture: all of it reaches the player who
/// is there, and one who joins later is given the second one alone.
#[test]
fn row_10_a_configuration_may_come_twice() {
    let server = server();
    let [video, audio] = <[Tag; 2]>::try_from(headers()).expect("two headers");
    let mut other = video.clone();
    *other.body.last_mut().expect("a configuration") ^= 1;
    let start = [other, video.clone(), audio.clone()];
    let tags = [&start[..], &frames(0)].concat();
    let player = watch(&server, "twice");
    let mut publisher = publisher(&server, "twice");
    send_all(&mut publisher, &tags);
    in_api(&server, "twice", "all frames", |stream| (stream["gop_frames"].as_u64()? == 50).then_some(()));
    let late = join(&server, "twice", 1);
    publisher.unpublish();
    assert_seen(player, &tags);
    assert_seen(late, &[&[video, audio][..], &frames(0)].concat());
}

/// Row 10, the same threads (Streamlabs on iOS), a track that begins seconds after the other: nothing waits for it, and nothing of it is lost.
#[test]
fn row_10_a_track_may_begin_late() {
    let server = server();
    let [video, audio] = <[Tag; 2]>::try_from(headers()).expect("two headers");
    let pictures = (0..25).map(|n| if n == 0 { key(0) } else { inter(n * 40) });
    let first: Vec<Tag> = [video].into_iter().chain(pictures).collect();
    let player = watch(&server, "late-sound");
    let mut publisher = publisher(&server, "late-sound");
    send_all(&mut publisher, &first);
    let videos = |stream: &serde_json::Value| (stream["gop_frames"].as_u64()? == 25).then_some(());
    in_api(&server, "late-sound", "pictures without sound", videos);
    let rest = [vec![Tag { timestamp: 1000, ..audio }], frames(1000)].concat();
    send_all(&mut publisher, &rest);
    publisher.unpublish();
    assert_seen(player, &[first, rest].concat());
}

/// Row 10, the same threads, HEVC under the codec id 12 that no specification has: it is known as HEVC, with key frames to join at.
#[test]
fn row_10_hevc_may_be_codec_12() {
    let server = server();
    let enhanced = HEVC_AAC.media();
    let config = enhanced.tags.iter().find(|tag| tag.body.starts_with(b"\x90hvc1")).expect("a configuration");
    let header =
        Tag { timestamp: 0, body: [&[0x1c, 0, 0, 0, 0][..], &config.body[5..]].concat(), ..config.clone() };
    let as_hevc = |mut tag: Tag| {
        if tag.kind == Kind::Video {
            tag.body[0] = tag.body[0] & 0xf0 | 12;
        }
        tag
    };
    let frames: Vec<Tag> = frames(0).into_iter().map(as_hevc).collect();
    let mut publisher = publisher(&server, "codec-12");
    publisher.send_tag(&header);
    send_all(&mut publisher, &frames);
    in_api(&server, "codec-12", "HEVC and its GOP", |stream| {
        let is_hevc =
            stream["codecs"].to_string().contains("hvc1.") || stream["codecs"].to_string().contains("hev1.");
        (is_hevc && stream["gop_frames"].as_u64()? == frames.len() as u64).then_some(())
    });
    let late = watch(&server, "codec-12");
    publisher.unpublish();
    assert_seen(late, &[&[header][..], &frames].concat());
}

/// Row 11, ZLM #4800 (Uniview), two numbers before `@setDataFrame`: the publisher stays, and players get the metadata as if they were not there.
#[test]
fn row_11_numbers_may_stand_before_set_data_frame() {
    let server = server();
    let metadata = [Amf::String("onMetaData".to_owned()), object(&[("width", 160.0.into())])];
    let stray: Vec<Amf> = [Amf::Number(0.0), Amf::Number(1.0), "@setDataFrame".into()]
        .into_iter()
        .chain(metadata.clone())
        .collect();
    let player = watch(&server, "uniview");
    let mut publisher = publisher(&server, "uniview");
    publisher.send_tag(&data(&stray));
    send_all(&mut publisher, &second(0));
    publisher.unpublish();
    let seen = player.tags();
    let bodies: Vec<&[u8]> = data_named(&seen, "onMetaData").iter().map(|tag| &tag.body[..]).collect();
    assert_eq!(bodies, [amf::write(&metadata)]);
    assert_eq!(seen.iter().filter(|tag| tag.kind != Kind::Data).count(), second(0).len());
}

/// Row 11's lesson: whatever a data message holds, it is no reason to end a publisher: no AMF, AMF cut short, nested too deeply, of a
/// length that is a lie, of a marker that nobody knows, or nothing at all.
#[test]
fn row_11_no_data_message_ends_a_publisher() {
    let server = server();
    let name = amf::write(&["onMetaData".into()]);
    let nested = [&name[..], &[3, 0, 1, b'x'].repeat(5_000)].concat();
    let long_string = [&name[..], &[12, 0xff, 0xff, 0xff, 0xff, b'x']].concat();
    let array = [&name[..], &[10, 0xff, 0xff, 0xff, 0xff, 5]].concat();
    let bodies = [
        vec![],
        vec![0xee, 1, 2, 3],
        name[..5].to_vec(),
        nested,
        long_string,
        array,
        [&name[..], &[0x42]].concat(),
    ];
    let player = watch(&server, "nonsense");
    let mut publisher = publisher(&server, "nonsense");
    for body in bodies {
        publisher.send_tag(&Tag { kind: Kind::Data, timestamp: 0, body: body.clone() });
        // The same as AMF3 (type 15), with and without its format byte.
        publisher.send(&Message {
            type_id: 15,
            stream_id: script::FIRST_STREAM,
            timestamp: 0,
            body: body.clone(),
        });
        let body = [&[0][..], &body].concat();
        publisher.send(&Message { type_id: 15, stream_id: script::FIRST_STREAM, timestamp: 0, body });
    }
    send_all(&mut publisher, &second(0));
    publisher.unpublish();
    assert_seen(player, &second(0));
}

/// `publish(false)`: what Wirecast and ActionScript say to stop (RTMP 1.0 §7.2.2.6 knows only names).
fn publish_false() -> Message {
    Message::command(script::FIRST_STREAM, &["publish".into(), 0.0.into(), Amf::Null, Amf::Boolean(false)])
}

/// Row 12, NMS #67, nginx-rtmp #34 and #789 (Wirecast), `publish(false)`: it ends the publish with the status that is strictly looked for, players
/// are told, and the same message stream may publish again.
#[test]
fn row_12_publish_false_ends_the_publish() {
    let server = server();
    let mut player = Client::open(server.rtmp()).connect("live").play("wirecast");
    server.wait_for_players("live", "wirecast", 1);
    let mut publisher = publisher(&server, "wirecast");
    for round in 0..3 {
        let tags = second(round * 1000);
        send_all(&mut publisher, &tags);
        publisher.send(&publish_false());
        let status = publisher.wait_for_status();
        assert_eq!((&*status.level, &*status.code), ("status", "NetStream.Unpublish.Success"));
        let seen = player.record();
        let count = seen.iter().filter(|tag| tag.kind != Kind::Data).count();
        assert_eq!(count, tags.len(), "round {round}");
        publisher.send(&script::publish(script::FIRST_STREAM, "wirecast"));
        let status = publisher.wait_for_status();
        assert_eq!((&*status.level, &*status.code), ("status", "NetStream.Publish.Start"));
    }
}

/// Row 12, the same threads, a second `publish` of the same stream just before it stops: answered, and nothing is interrupted.
#[test]
fn row_12_a_second_publish_changes_nothing() {
    let server = server();
    let player = watch(&server, "again");
    let mut publisher = publisher(&server, "again");
    send_all(&mut publisher, &second(0));
    publisher.send(&script::publish(script::FIRST_STREAM, "again"));
    assert_eq!(publisher.wait_for_status().code, "NetStream.Publish.Start");
    send_all(&mut publisher, &frames(1000));
    publisher.send(&script::publish(script::FIRST_STREAM, "again"));
    publisher.send(&publish_false());
    publisher.unpublish();
    assert_seen(player, &[second(0), frames(1000)].concat());
    wait_for_oddities(&server, "repeated_publish", 2);
}

/// Row 13, mac-local-rtmp-server #28 (DJI Osmo Action), chunk stream 33 that begins with a chunk of type 2, and its kin: such a beginning is
/// a message without length, the chunk stream stays fresh, and a type 1 on it counts from zero.
#[test]
fn row_13_a_chunk_stream_may_begin_with_type_1_2_or_3() {
    let server = server();
    let player = watch(&server, "dji");
    let mut publisher = publisher(&server, "dji");
    send_all(&mut publisher, &headers());
    let sent = [key(7), inter(47), inter(87)];
    let body = |tag: &Tag| tag.body[..128].to_vec();
    let bytes = [
        type_2(CAMERA_CHUNK_STREAM, 5),
        type_3(CAMERA_CHUNK_STREAM, None),
        type_2(CAMERA_CHUNK_STREAM, 0x0102_0304),
        // From here on it makes sense: a delta to zero, then deltas with the same length and type, then all as before.
        [type_1(CAMERA_CHUNK_STREAM, 7, 128, 9), body(&sent[0])].concat(),
        [type_2(CAMERA_CHUNK_STREAM, 40), body(&sent[1])].concat(),
        [type_3(CAMERA_CHUNK_STREAM, None), body(&sent[2])].concat(),
    ];
    publisher.send_bytes(&bytes.concat());
    publisher.unpublish();
    let short = sent.map(|tag| Tag { body: body(&tag), ..tag });
    assert_seen(player, &[headers(), short.to_vec()].concat());
}

/// Row 14, nginx-rtmp #246, chunk streams from 32 on: media may come on any of the 65,598 ids, in each of the three forms that an id has.
#[test]
fn row_14_any_chunk_stream_will_do() {
    let server = server();
    let player = watch(&server, "ids");
    let mut publisher = publisher(&server, "ids");
    send_all(&mut publisher, &headers());
    let ids = [3, 31, 32, 63, 64, 65, 319, 320, 576, 65_598, 65_599];
    let mut sent = Vec::new();
    for (n, id) in ids.into_iter().enumerate() {
        let at = n as u32 * 40;
        let tag = if n == 0 { key(at) } else { inter(at) };
        let mut bytes = type_0(id, at, tag.body.len(), 9, script::FIRST_STREAM);
        for (number, piece) in tag.body.chunks(128).enumerate() {
            if number > 0 {
                bytes.extend(type_3(id, None));
            }
            bytes.extend(piece);
        }
        publisher.send_bytes(&bytes);
        sent.push(tag);
    }
    publisher.unpublish();
    assert_seen(player, &[headers(), sent].concat());
}

/// Row 14, MediaMTX #4909 and #2806, control messages on other chunk streams than 2, and on the message stream of the media: they count all the same.
#[test]
fn row_14_control_messages_count_wherever_they_stand() {
    let server = server();
    let player = watch(&server, "control");
    let mut publisher = publisher(&server, "control");
    send_all(&mut publisher, &headers());
    let mut sent = Vec::new();
    for (n, (chunk_stream, stream_id)) in [(3, 0), (6, 1), (64, 0), (65_599, 7)].into_iter().enumerate() {
        let (at, size) = (n as u32 * 40, 100 + n as u32 * 50);
        publisher.send_bytes(&[&type_0(chunk_stream, 9, 4, 1, stream_id)[..], &size.to_be_bytes()].concat());
        let tag = if n == 0 { key(at) } else { inter(at) };
        let mut bytes = type_0(6, at, tag.body.len(), 9, script::FIRST_STREAM);
        let pieces: Vec<&[u8]> = tag.body.chunks(size as usize).collect();
        bytes.extend(pieces.join(&type_3(6, None)[..]));
        publisher.send_bytes(&bytes);
        sent.push(tag);
    }
    publisher.unpublish();
    assert_seen(player, &[headers(), sent].concat());
}

/// Row 14, joy4 #88 and vdk #16, Set Chunk Size of 128 MB, and the largest there is: taken as it is, so that a message is one chunk.
#[test]
fn row_14_a_chunk_size_may_be_huge() {
    let server = server();
    for (name, size) in [("128-mb", 128 << 20), ("two-gb", 0x7fff_ffff)] {
        let large = Tag { body: [&key(0).body[..], &vec![0x55; 300_000]].concat(), ..key(0) };
        let tags = [headers(), vec![large], frames(40).split_off(1)].concat();
        let player = watch(&server, name);
        let mut publisher = publisher(&server, name);
        publisher.set_chunk_size(size);
        send_all(&mut publisher, &tags);
        publisher.unpublish();
        assert_seen(player, &tags);
    }
}

/// All that a publisher says from `connect` to the end of its first second, in one go.
fn whole_session(name: &str, tags: &[Tag]) -> Vec<u8> {
    let mut writer = ChunkWriter::default();
    let mut bytes = writer.write(&script::connect("live", "rtmp://localhost/live"));
    for message in script::before_publish(name) {
        bytes.extend(writer.write(&message));
    }
    bytes.extend(writer.write(&script::publish(script::FIRST_STREAM, name)));
    for tag in tags {
        bytes.extend(writer.write(&Message::media(script::FIRST_STREAM, tag)));
    }
    for message in script::unpublish(script::FIRST_STREAM, name) {
        bytes.extend(writer.write(&message));
    }
    bytes
}

/// Reads until the server closes, so that no unread answer turns our close into a reset.
#[track_caller]
fn read_to_end(mut socket: &TcpStream) {
    socket.shutdown(std::net::Shutdown::Write).expect("shut the write side");
    socket.read_to_end(&mut Vec::new()).expect("read to the end");
}

/// Row 15, MediaMTX #1244, #1433, #4718 and OME #1631, encoders that wait for nothing: C2 is wrong and comes with all commands, the media and
/// the goodbye in the same write; or everything comes byte by byte. The player sees all of it either way.
#[test]
fn row_15_nothing_needs_to_be_waited_for() {
    let server = server();
    let tags = second(0);
    for (name, step) in [("at-once", usize::MAX), ("in-crumbs", 7)] {
        let player = watch(&server, name);
        let socket = TcpStream::connect(server.rtmp()).expect("connect");
        socket.set_nodelay(true).expect("set TCP_NODELAY");
        let wrong_c2 = vec![0xaa; wire::HANDSHAKE_PACKET_BYTES];
        let bytes = [wire::c0_c1(), wrong_c2, whole_session(name, &tags)].concat();
        for piece in bytes.chunks(step.min(bytes.len())) {
            (&socket).write_all(piece).expect("send");
        }
        read_to_end(&socket);
        assert_seen(player, &tags);
    }
}

/// Row 15, OME #133 (LYNX), Ant #7787 (Larix), MediaMTX #1177 (Neko), an empty app and strange tcUrls: the stream is the one that was meant.
#[test]
fn row_15_app_and_tc_url_may_be_strange() {
    let server = server();
    for (number, (app, tc_url, name, expected_app)) in [
        ("", "rtmp://localhost/", "empty-app", ""),
        ("", "", "nothing-at-all", ""),
        ("live", "", "no-url", "live"),
        ("live", "localhost", "no-scheme", "live"),
        ("live", "rtmp://localhost:1935/other", "another-app", "live"),
        ("live", "'rtmp://localhost/live", "neko", "live"),
        ("live/", "rtmp://localhost//live/", "slashes", "live"),
        ("live", "rtmp://[::1", "half-an-address", "live"),
        ("live", "\u{0}\u{1b}[31m", "controls", "live"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::open(server.rtmp());
        client.send(&script::connect(app, tc_url));
        client.wait_for_answer(script::CONNECT);
        let status = client.request_publish(name);
        assert_eq!(status.code, "NetStream.Publish.Start", "{number}: {status:?}");
        let found = server.connections_of("publisher", expected_app, name);
        assert_eq!(found.len(), 1, "{app:?} {tc_url:?} {name:?} is {:?}", server.connections());
    }
}

/// Row 16, OME #303, NMS #267, SRS #1281, Ant #6704, RootEncoder #2163, owncast #1070, the key in the server field, tokens after app or key,
/// slashes in keys: wherever it stands it is one stream, and who plays it in the usual form sees it.
#[test]
fn row_16_the_key_may_stand_anywhere() {
    let server = server();
    for (number, (app, tc_url, name)) in [
        ("live", "rtmp://h/live", "KEY"),
        ("live/KEY", "rtmp://h/live/KEY", ""),
        ("live/KEY?token=1", "rtmp://h/live/KEY?token=1", ""),
        ("live?token=1/KEY", "rtmp://h/live?token=1/KEY", ""),
        ("live", "rtmp://h/live/KEY", ""),
        ("live", "rtmp://h/live", "KEY?token=1&user=2"),
        ("live?token=1", "rtmp://h/live?token=1", "KEY"),
        ("live/?token=1", "rtmp://h/live/?token=1", "KEY"),
        ("/live/", "rtmp://h//live/", "/KEY/"),
        ("live/_definst_", "rtmp://h/live/_definst_", "KEY"),
        ("live", "rtmp://h/live", "KEY?token=a/b"),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("key-{number}");
        let [app, tc_url, name] = [app, tc_url, name].map(|text| text.replace("KEY", &key));
        let player = watch(&server, &key);
        let mut encoder = Client::open(server.rtmp());
        encoder.send(&script::connect(&app, &tc_url));
        encoder.wait_for_answer(script::CONNECT);
        let status = encoder.request_publish(&name);
        assert_eq!(status.code, "NetStream.Publish.Start", "{app} {tc_url} {name}");
        send_all(&mut encoder, &second(0));
        encoder.unpublish();
        assert_seen(player, &second(0));
    }
    // Slashes in the key, cut in two places.
    let player = watch(&server, "a/b/c");
    let mut encoder = Client::open(server.rtmp()).connect("live/a").publish("b/c");
    send_all(&mut encoder, &second(0));
    encoder.unpublish();
    assert_seen(player, &second(0));
}

/// Row 17, MediaMTX #3685, SRS #4681 and #4239, OBS with several tracks, two of sound, AV1, and codecs of tomorrow: nothing of it ends the
/// publisher, and the stream of the default track is whole.
#[test]
fn row_17_more_tracks_and_newer_codecs_do_no_harm() {
    let server = server();
    let enhanced = |kind, timestamp, head: &[u8]| Tag { kind, timestamp, body: [head, &[7; 50]].concat() };
    let strange = [
        enhanced(Kind::Audio, 0, b"\x95\x00mp4a\x01"), // a second AAC track: its configuration
        enhanced(Kind::Audio, 5, b"\x95\x01mp4a\x01"), // and a frame
        enhanced(Kind::Video, 5, b"\x96\x00avc1\x01"), // a second track of pictures
        enhanced(Kind::Video, 5, b"\x96\x01avc1\x01\x00\x00\x00"), // a key frame of it
        enhanced(Kind::Video, 5, b"\xa6\x11avc1\x01\x00\x00\x32"), // several tracks in one message
        enhanced(Kind::Video, 5, b"\xa6\xf1avc1"),     // a layout that does not exist
        enhanced(Kind::Video, 5, b"\xaeabcd"),         // a packet type that does not exist
        enhanced(Kind::Audio, 5, b"\x9fabcd"),
    ];
    let player = watch(&server, "tracks");
    let mut publisher = publisher(&server, "tracks");
    let tags = second(0);
    for (n, tag) in tags.iter().enumerate() {
        publisher.send_tag(tag);
        if n > 3 {
            publisher.send_tag(&Tag { timestamp: tag.timestamp, ..strange[n % strange.len()].clone() });
        }
    }
    publisher.unpublish();
    let seen = player.tags();
    let seen: Vec<&Tag> = seen.iter().filter(|tag| tags.contains(tag)).collect();
    assert!(seen.into_iter().eq(&tags), "the default track is not whole");

    // Codecs that need the enhanced header, one of which nobody knows: frames come through byte by byte.
    for (name, codec) in [("av1", b"av01"), ("unknown", b"zz99")] {
        let start = enhanced(Kind::Video, 0, &[b"\x90", &codec[..]].concat());
        let first = enhanced(Kind::Video, 0, &[b"\x93", &codec[..]].concat());
        let more = (1..5).map(|n| enhanced(Kind::Video, n * 40, &[b"\xa3", &codec[..]].concat()));
        let tags: Vec<Tag> = [start, first].into_iter().chain(more).collect();
        publish_and_watch(&server, name, &tags);
    }
}
