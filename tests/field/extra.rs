//! "Extra": the single encoders, players and servers that are named below the list.

use bytes::Bytes;
use inrush::session::{ClientEvent, ClientOutput, ClientSettings, ClientUrl, Instant, Role};

use crate::session::converse;
use crate::stage::{
    assert_seen, control, data, data_named, headers, in_api, inter, key, object, publisher, second, send_all,
    server, sound, user_control, wait_for_oddities, watch,
};
use crate::support::amf::{self, Amf};
use crate::support::chunk_header::{type_0, type_3};
use crate::support::client::{Client, Event};
use crate::support::flv::{Kind, Tag};
use crate::support::script;
use crate::support::server::Inrush;
use crate::support::wire::{self, ChunkReader, ChunkWriter, Message};

/// Extra, MediaMTX #4002 (GLive T80), sound and pictures before their configuration: they are no reason to close, and from the
/// configuration on the stream is whole.
#[test]
fn extra_media_may_come_before_its_configuration() {
    let server = server();
    let player = watch(&server, "glive");
    let mut publisher = publisher(&server, "glive");
    send_all(&mut publisher, &[inter(0), sound(10), inter(40), sound(50), inter(80)]);
    let tags = second(1000);
    send_all(&mut publisher, &tags);
    publisher.unpublish();
    let seen = player.tags();
    let seen: Vec<&Tag> = seen.iter().filter(|tag| tag.timestamp >= 1000 && tag.kind != Kind::Data).collect();
    assert!(seen.into_iter().eq(&tags), "not whole from the configuration on");
}

/// Extra, MediaMTX #5512, user control events of Flash that no specification has (31 and 32: buffer empty, buffer ready): let pass and counted.
#[test]
fn extra_user_control_events_may_be_unknown() {
    let server = server();
    let player = watch(&server, "flash");
    let mut publisher = publisher(&server, "flash");
    for event in [5, 8, 26, 27, 31, 32, 0xffff] {
        publisher.send(&user_control(event, &[0, 0, 0, 1]));
        publisher.send(&user_control(event, &[]));
    }
    send_all(&mut publisher, &second(0));
    publisher.unpublish();
    assert_seen(player, &second(0));
    wait_for_oddities(&server, "unknown_user_control", 14);
}

/// Extra, MediaMTX #5512 seen from the other side: our client bears a server that sends user control events of Flash and other things that nobody
/// knows, and is ready all the same.
#[test]
fn extra_our_client_bears_unknown_messages_of_a_server() {
    let url = ClientUrl::parse("rtmp://localhost/live/key").expect("a URL");
    let conversation = converse(ClientSettings::new(url, Role::Play));
    assert!(conversation.client_events.iter().any(|event| matches!(event, ClientEvent::Ready)));
    let (mut client, mut writer) = (conversation.client, ChunkWriter::default());
    // Short enough for any chunk size.
    for message in [
        user_control(31, &[0, 0, 0, 1]),
        user_control(32, &[0, 0, 0, 1]),
        user_control(0x1a, &[]),
        control(99, b"no such message"),
        control(19, b"shared object"),
        Message::command(0, &["onBWDone".into(), 0.0.into(), Amf::Null, 8192.0.into()]),
        Message::command(0, &["onCustom".into(), 0.0.into()]),
    ] {
        client.handle_bytes(Instant::from_micros(2), Bytes::from(writer.write(&message)));
        while let Some(output) = client.poll_output() {
            assert!(!matches!(output, ClientOutput::Event(ClientEvent::Closed { .. })), "{message:?}");
        }
    }
}

/// Extra, MediaMTX #4673, Abort (RTMP 1.0 §5.4.2): the message under way is forgotten, and what follows on its chunk stream is read right.
#[test]
fn extra_an_unfinished_message_may_be_aborted() {
    let server = server();
    let player = watch(&server, "abort");
    let mut publisher = publisher(&server, "abort");
    send_all(&mut publisher, &headers());
    let whole = key(40);
    publisher.send_bytes(
        &[type_0(70, 0, 5_000, 9, 1), vec![0x17; 128], type_3(70, None), vec![0x18; 128]].concat(),
    );
    publisher.send(&control(2, &70_u32.to_be_bytes()));
    let (first, rest) = whole.body.split_at(128);
    let mut bytes = [type_0(70, 40, whole.body.len(), 9, 1), first.to_vec()].concat();
    for piece in rest.chunks(128) {
        bytes.extend([type_3(70, None), piece.to_vec()].concat());
    }
    publisher.send_bytes(&bytes);
    publisher.unpublish();
    assert_seen(player, &[headers(), vec![whole]].concat());
}

/// Extra, gortmplib #88 (Ecamm Live), composition times below zero: signed 24 bits, handed on bit by bit.
#[test]
fn extra_composition_times_may_be_negative() {
    let server = server();
    let player = watch(&server, "composition");
    let mut publisher = publisher(&server, "composition");
    let mut tags = second(0);
    let offsets: [i32; 5] = [-34, -1, 0, 0x7f_ffff, -0x80_0000];
    let pictures = tags.iter_mut().filter(|tag| tag.kind == Kind::Video && tag.body[1] == 1);
    for (tag, offset) in pictures.zip(offsets.into_iter().cycle()) {
        tag.body[2..5].copy_from_slice(&offset.to_be_bytes()[1..]);
    }
    send_all(&mut publisher, &tags);
    publisher.unpublish();
    assert_seen(player, &tags);
}

/// Extra, decoding times below zero with B-frames, which are timestamps just before 2^32: no step back under either policy, and players
/// see them as they are.
#[test]
fn extra_decoding_times_may_be_negative() {
    let config = "[[app]]\nname = \"*\"\ntimestamps = \"monotonic\"\n";
    for server in [Inrush::new().cores(2).start(), Inrush::new().cores(2).config(config).start()] {
        let tags = second(80_u32.wrapping_neg());
        let player = watch(&server, "negative");
        let mut publisher = publisher(&server, "negative");
        send_all(&mut publisher, &tags);
        in_api(&server, "negative", "all of it without steps and jumps", |stream| {
            let odd = stream["timestamp_steps_back"].as_u64()? + stream["timestamp_jumps"].as_u64()?;
            (odd == 0 && stream["gop_frames"].as_u64()? == 50).then_some(())
        });
        publisher.unpublish();
        assert_seen(player, &tags);
    }
}

/// Extra, MediaMTX #3188 and xiu #183, strict arrays in the metadata: players get it byte by byte.
#[test]
fn extra_metadata_may_hold_strict_arrays() {
    let server = server();
    let points = Amf::Array(vec![Amf::Number(1.0), object(&[("at", 2.0.into())]), Amf::Array(Vec::new())]);
    let as_property = [Amf::String("onMetaData".to_owned()), object(&[("points", points.clone())])];
    let as_whole = [Amf::String("onMetaData".to_owned()), points];
    let player = watch(&server, "arrays");
    let mut publisher = publisher(&server, "arrays");
    for values in [&as_property, &as_whole] {
        publisher.send_tag(&data(&[&["@setDataFrame".into()][..], &values[..]].concat()));
    }
    send_all(&mut publisher, &second(0));
    publisher.unpublish();
    let seen = player.tags();
    let bodies: Vec<&[u8]> = data_named(&seen, "onMetaData").iter().map(|tag| &tag.body[..]).collect();
    assert_eq!(bodies, [amf::write(&as_property), amf::write(&as_whole)]);
}

/// Extra, SRS #3804 (ffmpeg's timecode track), data messages of four bytes that are no AMF: handed on as they are, and the publisher stays.
#[test]
fn extra_a_timecode_is_no_amf() {
    let server = server();
    let player = watch(&server, "timecode");
    let mut publisher = publisher(&server, "timecode");
    let timecodes = [[0, 0, 0x8c, 0xa0], [0, 1, 2, 3]].map(|body| Tag {
        kind: Kind::Data,
        timestamp: 0,
        body: body.to_vec(),
    });
    for (tag, timecode) in second(0).iter().zip(timecodes.iter().cycle()) {
        publisher.send_tag(tag);
        publisher.send_tag(timecode);
    }
    publisher.unpublish();
    let seen = player.tags();
    assert_eq!(seen.iter().filter(|tag| timecodes.contains(tag)).count(), second(0).len());
    assert_eq!(seen.iter().filter(|tag| tag.kind != Kind::Data).count(), second(0).len());
}

/// Extra, ZLM #3362 (Wowza and FMS push), releaseStream and FCPublish: each is answered with the transaction that it came with, before
/// the status of the publish and after `onFCPublish`; who leaves them out is served as well.
#[test]
fn extra_fc_publish_is_answered() {
    let server = server();
    let mut encoder = Client::open(server.rtmp()).connect("live");
    for message in script::before_publish("wowza") {
        encoder.send(&message);
    }
    encoder.send(&script::publish(script::FIRST_STREAM, "wowza"));
    let mut heard = Vec::new();
    encoder.wait_for("the status of the publish", |event| {
        match event {
            Event::Answer(name, transaction, _) => heard.push(format!("{name} {transaction}")),
            Event::Other(message) if message.type_id == 20 => {
                heard.push(amf::read(&message.body)[0].as_str().expect("a name").to_owned());
            }
            Event::Status(status) => {
                heard.push(status.code);
                return Some(());
            }
            _ => {}
        }
        None
    });
    let expected = ["_result 2", "_result 3", "_result 4", "onFCPublish", "NetStream.Publish.Start"];
    heard.retain(|what| what != "onBWDone");
    assert_eq!(heard, expected);

    let mut bare = Client::open(server.rtmp()).connect("live").on_stream(script::FIRST_STREAM, "bare");
    bare.send(&script::create_stream());
    bare.wait_for_answer(script::CREATE_STREAM);
    bare.send(&script::publish(script::FIRST_STREAM, "bare"));
    assert_eq!(bare.wait_for_status().code, "NetStream.Publish.Start");
}

/// Extra, Red5's commits of 2026-05 (relays to Twitch), ingests that are strict about `connect`: what our client says first is a `connect` with
/// transaction 1 and an object of the usual properties alone, each of its usual type, without a query or a name in app and tcUrl.
#[test]
fn extra_our_connect_is_what_strict_ingests_expect() {
    let url = ClientUrl::parse("rtmp://ingest.example/app/stream_key?bandwidthtest=true").expect("a URL");
    let said = converse(ClientSettings::new(url, Role::Publish)).client_said;
    let mut reader = ChunkReader::default();
    reader.push(&said[1 + 2 * wire::HANDSHAKE_PACKET_BYTES..]);
    let connect = loop {
        let message = reader.next_message().expect("it says connect");
        if message.type_id == 20 {
            break amf::read(&message.body);
        }
    };
    assert_eq!((connect[0].as_str(), connect[1].as_number(), connect.len()), (Some("connect"), Some(1.0), 3));
    let text = |name| connect[2].property(name).and_then(Amf::as_str);
    assert_eq!(text("app"), Some("app"));
    assert_eq!(text("tcUrl"), Some("rtmp://ingest.example:1935/app"));
    assert_eq!(text("type"), Some("nonprivate"));
    assert!(text("flashVer").is_some_and(|version| version.starts_with("FMLE/")));
    let Amf::Object(properties) = &connect[2] else { panic!("{connect:?}") };
    assert!(properties.iter().all(|(_, value)| *value != Amf::Null), "{properties:?}");
}
