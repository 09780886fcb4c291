//! §3b of the list as far as it concerns the wire: the holes that others shipped, each tried on a server whose other stream must not notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::stage::{
    assert_seen, control, data, frames, headers, in_api, key, publisher, second, send_all, server, talk,
    user_control, wait_for_oddities, watch,
};
use crate::support::amf::{self, Amf};
use crate::support::chunk_header::{length, type_0, type_3};
use crate::support::client::{Client, Event, Recording};
use crate::support::flv::{Kind, Tag};
use crate::support::random::Random;
use crate::support::server::{Inrush, Server};
use crate::support::wire::{ChunkWriter, Message};
use crate::support::{PATIENCE, script, wait_until};

/// A stream beside the misdeeds: begun before them, ended after them, and whole.
struct Neighbour {
    publisher: Client,
    player: Recording,
    sent: Vec<Tag>,
}

impl Neighbour {
    #[track_caller]
    fn begin(server: &Server) -> Self {
        let player = watch(server, "neighbour");
        let mut publisher = publisher(server, "neighbour");
        let sent = second(0);
        send_all(&mut publisher, &sent);
        Self { publisher, player, sent }
    }

    #[track_caller]
    fn end(mut self) {
        let more = frames(1000);
        send_all(&mut self.publisher, &more);
        self.publisher.unpublish();
        assert_seen(self.player, &[self.sent, more].concat());
    }
}

/// Sends bytes that must end the connection, under this name in the metrics.
#[track_caller]
fn must_end(server: &Server, client: &mut Client, label: &str, bytes: &[u8]) {
    let before = server.metrics().of_kind("session_error", label);
    // The server may close before it has taken all of it.
    let _ = client.socket().try_clone().expect("clone a socket").write_all(bytes);
    assert!(client.wait_for_close(PATIENCE), "{label}: it is not closed");
    wait_until(&format!("{label} is counted"), PATIENCE, || {
        (server.metrics().of_kind("session_error", label) == before + 1).then_some(())
    });
}

/// CVE-2016-10191 (FFmpeg), the length of a message changed between its chunks: longer, shorter, by type 0 and by type 1, each ends the
/// connection; the same length again is the same message.
#[test]
fn a_message_keeps_its_length() {
    let server = server();
    let neighbour = Neighbour::begin(&server);
    let begun = [type_0(6, 0, 300, 9, 1), vec![0x17; 128]].concat();
    for (number, changed) in [
        type_0(6, 0, 301, 9, 1),
        type_0(6, 0, 0xff_ff00, 9, 1),
        type_0(6, 0, 128, 9, 1),
        type_0(6, 0, 0, 9, 1),
        [&[0x46, 0, 0, 0][..], &length(299), &[9]].concat(),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = publisher(&server, &format!("changed-{number}"));
        let bytes = [&begun[..], &changed, &[0; 128]].concat();
        must_end(&server, &mut client, "message_length_changed", &bytes);
    }
    let player = watch(&server, "repeated");
    let mut client = publisher(&server, "repeated");
    send_all(&mut client, &headers());
    let whole = key(0);
    let header = type_0(6, 0, whole.body.len(), 9, script::FIRST_STREAM);
    let pieces: Vec<&[u8]> = whole.body.chunks(128).collect();
    client.send_bytes(&[header.clone(), pieces.join(&header[..])].concat());
    client.unpublish();
    assert_seen(player, &[headers(), vec![whole]].concat());
    neighbour.end();
}

/// CVE-2016-10192 (ffserver), a chunk size that nobody checks: 0 and everything from 2^31 on end the connection, and the largest one there is
/// reserves nothing.
#[test]
fn a_chunk_size_is_checked_and_reserves_nothing() {
    let server = server();
    let neighbour = Neighbour::begin(&server);
    for (number, size) in [0_u32, 0x8000_0000, 0xffff_ffff].into_iter().enumerate() {
        let mut client = publisher(&server, &format!("size-{number}"));
        let bytes = ChunkWriter::default().write(&Message::set_chunk_size(size));
        must_end(&server, &mut client, "chunk_size", &bytes);
    }
    let before = server.rss_bytes();
    let many: Vec<Client> = (0..50)
        .map(|number| {
            let mut client = publisher(&server, &format!("huge-{number}"));
            client.set_chunk_size(0x7fff_ffff);
            client.send_bytes(&[type_0(6, 0, 8 << 20, 9, 1), vec![0x17]].concat());
            client
        })
        .collect();
    wait_until("all of them are taken in", PATIENCE, || {
        let publishers = server.metrics().gauge("publishers");
        (publishers == 51).then_some(())
    });
    let grown = server.rss_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "50 promises of 8 MB each cost {grown} bytes");
    drop(many);
    neighbour.end();
}

/// Set Chunk Size in the middle of a message, as in nginx-rtmp before 2f2db81 (an overrun): larger, smaller and one byte, it holds from the next
/// chunk on and the message is whole.
#[test]
fn a_chunk_size_may_change_inside_a_message() {
    let server = server();
    let player = watch(&server, "resized");
    let mut client = publisher(&server, "resized");
    send_all(&mut client, &headers());
    let whole = Tag { body: [&key(0).body[..], &vec![0x3c; 3000]].concat(), ..key(0) };
    let (mut rest, mut in_force) = (&whole.body[..], 128);
    let mut bytes = type_0(6, 0, rest.len(), 9, script::FIRST_STREAM);
    for (number, size) in [128, 7, 1, 1000, 2, 0x7fff_ffff].into_iter().enumerate() {
        if number > 0 {
            let announcement = u32::try_from(size).expect("a chunk size").to_be_bytes();
            let pieces: Vec<&[u8]> = announcement.chunks(in_force).collect();
            bytes
                .extend([type_0(2, 0, 4, 1, 0), pieces.join(&type_3(2, None)[..]), type_3(6, None)].concat());
        }
        let (piece, left) = rest.split_at(rest.len().min(size));
        bytes.extend(piece);
        (rest, in_force) = (left, size);
    }
    client.send_bytes(&bytes);
    client.unpublish();
    assert_seen(player, &[headers(), vec![whole]].concat());
}

/// `connect` as AMF3 (type 17), with this behind its transaction.
fn connect_amf3(value: &[u8]) -> Vec<u8> {
    let body = [&[0][..], &amf::write(&["connect".into(), 1.0.into()]), &[0x11], value].concat();
    ChunkWriter::default().write(&Message { type_id: 17, stream_id: 0, timestamp: 0, body })
}

/// CVE-2015-8271 and its two kin (librtmp), counts of AMF3 that nobody checks: of properties, members, dense items, vectors, dictionaries, bytes
/// and references, each 2^28 - 1 with nothing behind it; each ends the connection by name, and reserves nothing.
#[test]
fn amf3_counts_are_not_believed() {
    let server = server();
    let neighbour = Neighbour::begin(&server);
    let before = server.rss_bytes();
    let most = [0xff, 0xff, 0xff, 0xff]; // all 29 bits: inline, and a count of 2^28 - 1
    for (label, value) in [
        ("amf_truncated", [&[0x0a, 0xff, 0xff, 0xff, 0xfb][..], &[1]].concat()), // sealed members, not externalizable
        ("amf_truncated", [&[0x09][..], &most, &[1]].concat()),                  // array
        ("amf_truncated", [&[0x0d][..], &most, &[0]].concat()),                  // vector of int
        ("amf_truncated", [&[0x0f][..], &most, &[0]].concat()),                  // vector of double
        ("amf_truncated", [&[0x10][..], &most, &[0, 1]].concat()),               // vector of objects
        ("amf_truncated", [&[0x11][..], &most, &[0]].concat()),                  // dictionary
        ("amf_truncated", [&[0x0c][..], &most].concat()),                        // byte array
        ("amf_truncated", [&[0x06][..], &most].concat()),                        // string
        ("amf_externalizable", [&[0x0a][..], &most].concat()),
        ("amf_reference", vec![0x0a, 0xff, 0xff, 0xff, 0xfe]),
        ("amf_reference", vec![0x0a, 0x0b, 1, 0xff, 0xff, 0xff, 0xfe]),
    ] {
        must_end(&server, &mut Client::open(server.rtmp()), label, &connect_amf3(&value));
    }
    let grown = server.rss_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "it cost {grown} bytes");
    neighbour.end();
}

/// ZLM #4787, AMF nested until the stack is used up, before anybody has asked who that is: AMF0 objects and arrays, AMF3 objects, arrays and
/// vectors end the connection by name.
#[test]
fn nested_amf_ends_at_its_bound() {
    const LEVELS: usize = 20_000;
    let server = server();
    let neighbour = Neighbour::begin(&server);
    let start = amf::write(&["connect".into(), 1.0.into()]);
    for level in [&[3, 0, 1, b'x'][..], &[8, 0, 0, 0, 1, 0, 1, b'x'], &[10, 0, 0, 0, 1]] {
        let body = [&start[..], &level.repeat(LEVELS)].concat();
        let bytes = ChunkWriter::default().write(&Message { type_id: 20, stream_id: 0, timestamp: 0, body });
        must_end(&server, &mut Client::open(server.rtmp()), "amf_depth", &bytes);
    }
    for level in [&[0x0a, 0x0b, 1, 3, b'x'][..], &[0x09, 3, 1], &[0x10, 3, 0, 1], &[0x11, 3, 0]] {
        let bytes = connect_amf3(&level.repeat(LEVELS));
        must_end(&server, &mut Client::open(server.rtmp()), "amf_depth", &bytes);
    }
    neighbour.end();
}

/// nginx-rtmp before 23e1873 (a null pointer in AMF), nulls where something else belongs: each command is answered or ends its own connection.
#[test]
fn nulls_and_nonsense_in_commands_do_no_harm() {
    let server = server();
    let neighbour = Neighbour::begin(&server);
    let commands = [
        "createStream",
        "releaseStream",
        "FCPublish",
        "FCUnpublish",
        "publish",
        "play",
        "play2",
        "pause",
        "seek",
        "receiveAudio",
        "receiveVideo",
        "deleteStream",
        "closeStream",
        "FCSubscribe",
        "getStreamLength",
        "_checkbw",
        "_result",
        "_error",
        "onStatus",
        "close",
        "connect",
        "",
    ];
    let nothing: [&[Amf]; 6] = [
        &[],
        &[Amf::Null],
        &[Amf::Null, Amf::Null, Amf::Null, Amf::Null],
        &[Amf::Number(f64::NAN), Amf::Number(f64::INFINITY), Amf::Number(-1e300)],
        &[Amf::Number(1e300), Amf::Null, Amf::Object(Vec::new()), Amf::Boolean(true)],
        &[Amf::Object(Vec::new()), Amf::Array(Vec::new()), Amf::Number(-0.5), Amf::String(String::new())],
    ];
    for arguments in nothing {
        for command in commands {
            let client = Client::open(server.rtmp()).connect("live");
            let values = [&[command.into()][..], arguments].concat();
            for stream_id in [0, 1, u32::MAX] {
                let bytes = ChunkWriter::default().write(&Message::command(stream_id, &values));
                let _ = client.socket().try_clone().expect("clone a socket").write_all(&bytes);
            }
        }
    }
    neighbour.end(); // and the end of every test says that nothing panicked
}

/// ZLM #1839, an acknowledgement window so small that acknowledging never ends: the publisher stays, and gets a message for a kilobyte at most.
#[test]
fn a_tiny_window_is_no_flood() {
    let server = server();
    let player = watch(&server, "window");
    let mut client = publisher(&server, "window");
    let tags = [second(0), frames(1000), frames(2000)].concat();
    for window in [0_u32, 1, 2, 100] {
        client.send(&control(5, &window.to_be_bytes()));
        client.send(&control(6, &[&window.to_be_bytes()[..], &[2]].concat()));
    }
    let mut sent = 0;
    for tag in &tags {
        client.send_tag(tag);
        sent += tag.body.len();
    }
    for message in script::unpublish(script::FIRST_STREAM, "window") {
        client.send(&message);
    }
    let mut acknowledgements = 0;
    loop {
        match client.next_event(PATIENCE).expect("the answer to the goodbye") {
            Event::Other(message) if message.type_id == 3 => acknowledgements += 1,
            Event::Status(status) if status.code == "NetStream.Unpublish.Success" => break,
            _ => {}
        }
    }
    assert!((1..=sent / 1024 + 1).contains(&acknowledgements), "{acknowledgements} for {sent} bytes");
    assert_seen(player, &tags);
    wait_for_oddities(&server, "tiny_window", 4);
}

/// Red5 #456, memory for a length that is declared before its body is there: a hundred connections, before and after their publish, each begin
/// sixty messages of 8 MB; it costs what has arrived.
#[test]
fn a_declared_length_reserves_nothing() {
    let server = server();
    let neighbour = Neighbour::begin(&server);
    let before = server.rss_bytes();
    let promise = |id: u32| [type_0(id, 0, 8 << 20, 9, 1), vec![0x17; 128]].concat();
    let promises: Vec<u8> = (70..130).flat_map(promise).collect();
    let mut clients: Vec<Client> = (0..100)
        .map(|number| match number % 2 {
            0 => Client::open(server.rtmp()),
            _ => publisher(&server, &format!("promise-{number}")),
        })
        .collect();
    clients.iter_mut().for_each(|client| client.send_bytes(&promises));
    wait_until("all of it came in", PATIENCE, || {
        let bytes = server.metrics().gauge("reassembly_bytes");
        (bytes >= 100 * 60 * 128).then_some(())
    });
    let grown = server.rss_bytes().saturating_sub(before);
    println!("6,000 promises of 8 MB each: RSS {} kB more", grown / 1024);
    assert!(grown < 48 << 20, "it cost {grown} bytes");
    drop(clients);
    neighbour.end();
}

/// Red5 #482, chunks of one byte: at 100 kbit/s they are merely odd and every frame comes through; as a flood they cost the sender its
/// connection, and the stream beside it nothing.
#[test]
fn one_byte_chunks_are_odd_and_a_flood_of_them_is_not() {
    let server = server();
    let neighbour = Neighbour::begin(&server);
    let player = watch(&server, "crumbs");
    let mut slow = publisher(&server, "crumbs");
    slow.set_chunk_size(1);
    let tags = second(0); // some 10,000 bytes, each in a chunk of its own
    slow.send_paced(&tags, 1.0);
    slow.unpublish();
    assert_seen(player, &tags);

    let mut flood = publisher(&server, "flood");
    flood.set_chunk_size(1);
    let mut socket = flood.socket().try_clone().expect("clone a socket");
    let message = [type_0(6, 0, 100_000, 9, 1), [0x17, 0xc6].repeat(99_999), vec![0x17]].concat();
    // It is closed while it sends.
    for _ in 0..100 {
        if socket.write_all(&message).is_err() {
            break;
        }
    }
    assert!(flood.wait_for_close(PATIENCE), "a flood of 10 million chunks is not closed");
    wait_until("its stream has ended", PATIENCE, || {
        server.streams().iter().all(|it| it["name"] != "flood").then_some(())
    });
    neighbour.end();
}

/// State a chunk stream times 64 thousand of them: the bound on distinct ids ends it, whether their messages are begun, whole or empty.
#[test]
fn chunk_streams_are_counted() {
    let server = server();
    let neighbour = Neighbour::begin(&server);
    let before = server.rss_bytes();
    let begun = |id: u32| [type_0(id, 0, 200, 9, 1), vec![0x17; 128]].concat();
    let whole = |id: u32| [type_0(id, 0, 64, 18, 1), vec![5; 64]].concat();
    let kinds: [(&str, Vec<u8>); 2] = [
        ("begun", (64..65_600).flat_map(begun).collect()),
        ("whole", (64..65_600).flat_map(whole).collect()),
    ];
    for (name, bytes) in kinds {
        let mut client = publisher(&server, name);
        must_end(&server, &mut client, "too_many_chunk_streams", &bytes);
        must_end(&server, &mut Client::open(server.rtmp()), "too_many_chunk_streams", &bytes);
    }
    let grown = server.rss_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "it cost {grown} bytes");
    neighbour.end();
}

/// OME's logs of 2024 and 2025, MediaMTX #3069, bytes that mean nothing, after each step of a session: only their own connection ends, however
/// many come.
#[test]
fn garbage_at_any_step_ends_one_connection_alone() {
    let server = server();
    let neighbour = Neighbour::begin(&server);
    let mut random = Random::from_environment();
    for round in 0..60 {
        let garbage: Vec<u8> = (0..8_000).map(|_| random.next() as u8).collect();
        let socket = match round % 4 {
            0 => TcpStream::connect(server.rtmp()).expect("connect"),
            step => {
                let mut client = Client::open(server.rtmp());
                if step > 1 {
                    client = client.connect("live");
                }
                if step > 2 {
                    client = client.publish(&format!("garbage-{round}"));
                }
                client.socket().try_clone().expect("clone a socket")
            }
        };
        let _ = (&socket).write_all(&garbage);
    }
    neighbour.end();
}

/// OME 2025-07-11, a way in that leads past the check: media in any form, by whoever publishes nothing, reaches nobody, and much of it ends the
/// connection.
#[test]
fn media_without_a_publish_reaches_nobody() {
    let server = server();
    let neighbour = Neighbour::begin(&server);
    let forms = [
        (9, key(0).body),
        (9, b"\x90hvc1\x01".to_vec()),
        (9, b"\x96\x00avc1\x00\x01".to_vec()),
        (8, b"\x95\x01mp4a\x00".to_vec()),
        (18, data(&["@setDataFrame".into(), "onMetaData".into(), Amf::Object(Vec::new())]).body),
        (15, data(&["onMetaData".into(), Amf::Object(Vec::new())]).body),
        (22, [&[9, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0][..], &[0x17, 1, 0, 0, 0, 9, 0, 0, 0, 17]].concat()),
    ];
    let mut stray = Client::open(server.rtmp()).connect("live");
    stray.send(&script::create_stream());
    for message in script::before_publish("neighbour") {
        stray.send(&message);
    }
    for (type_id, body) in forms {
        for stream_id in [0, 1, 2] {
            stray.send(&Message { type_id, stream_id, timestamp: 0, body: body.clone() });
        }
    }
    wait_for_oddities(&server, "stray_media", 21);
    assert_eq!(server.streams().len(), 1, "media made a stream");
    let much = ChunkWriter::default().write(&Message {
        type_id: 9,
        stream_id: 1,
        timestamp: 0,
        body: vec![0x17; 2 << 20],
    });
    must_end(&server, &mut stray, "media_before_publish", &much);
    neighbour.end();
}

/// Names that mean something to somebody else (a file system, a shell, a browser, a terminal, a template), and how they are shown: decoded
/// once, control characters encoded.
const NAMES: [(&str, &str); 8] = [
    ("../../etc/passwd", "../../etc/passwd"),
    ("..\\..\\windows\\system32", "..\\..\\windows\\system32"),
    ("$(id>/tmp/inrush-owned)`id`;rm -rf *|&", "$(id>/tmp/inrush-owned)`id`;rm -rf *|&"),
    ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ("\"},{\"app\":\"x\",\"name\":\"", "\"},{\"app\":\"x\",\"name\":\""),
    ("%2e%2e%2f%2e%2e%2fetc%2fshadow", "../../etc/shadow"),
    ("name\u{1b}[2J\u{7}\r\nSet-Cookie: a=b", "name%1B[2J%07%0D%0ASet-Cookie: a=b"),
    ("{{7*7}}${7*7}%n%s", "{{7*7}}${7*7}%n%s"),
];

/// CVE-2023-34105 (a shell), CVE-2024-29882 (a page), Red5 #456 (a file), names of streams as paths, commands and markup: they are names and
/// nothing else. They publish and play, are found in the API and in series of single streams under themselves, show in no log and no other metric,
/// and make no file.
#[test]
fn names_are_names_and_nothing_else() {
    let server = server();
    for (name, shown) in NAMES {
        let mut player = Client::open(server.rtmp()).connect("live").play(name);
        let mut client = publisher(&server, name);
        send_all(&mut client, &second(0));
        player.wait_for("a frame", |event| match event {
            Event::Media(tag) => (tag.kind == Kind::Video).then_some(()),
            _ => None,
        });
        let streams = server.streams();
        assert_eq!((streams.len(), streams[0]["name"].as_str()), (1, Some(shown)), "{streams:?}");
        let path: String = shown.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = server.get(&format!("/api/v1/streams/live/{path}")).json();
        assert_eq!(found["stream"]["name"].as_str(), Some(shown));
        for text in [server.node_metrics(), server.log()] {
            assert!(!text.contains(shown) && !text.contains(name), "{name:?} is shown");
        }
        client.unpublish();
        drop(player);
        wait_until("it is gone", PATIENCE, || server.streams().is_empty().then_some(()));
    }
    assert!(!Path::new("/tmp/inrush-owned").exists());
}

/// CVE-2024-29882 (SRS), names in answers of the API: it says that it is JSON, whatever callback is asked for, and no answer is a page.
#[test]
fn the_api_answers_with_json_whatever_is_asked() {
    let server = server();
    let mut client = publisher(&server, "<script>alert(1)</script>");
    send_all(&mut client, &second(0));
    in_api(&server, "<script>alert(1)</script>", "the stream", |_| Some(()));
    for path in [
        "/api/v1/streams?callback=alert",
        "/api/v1/connections?jsonp=<script>",
        "/api/v1/streams/live/%3Cscript%3Ealert(1)%3C/script%3E",
        "/api/v1/streams/%3Cscript%3E/x",
        "/%3Cscript%3E",
    ] {
        let mut socket = TcpStream::connect(server.http()).expect("connect");
        socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.http())
            .expect("ask");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("read the answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(!head.to_ascii_lowercase().contains("text/html"), "{path}: {head}");
        assert!(body.is_empty() || body.starts_with('{'), "{path}: {body}");
    }
}

/// Red5 #475, XML in AMF, with entities that name files: a text like any other, in metadata handed on byte by byte, in a command of no effect.
#[test]
fn xml_in_amf_is_text() {
    let server = server();
    let xml = b"<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>";
    let document = [&[15][..], &(xml.len() as u32).to_be_bytes(), xml].concat(); // AMF0 XML document
    let player = watch(&server, "xml");
    let mut encoder = Client::open(server.rtmp());
    let start =
        [&amf::write(&["connect".into(), 1.0.into()])[..], &[3, 0, 3], b"app", &amf::write(&["live".into()])]
            .concat();
    let body = [&start[..], &[0, 3], b"xml", &document, &[0, 0, 9]].concat();
    encoder.send(&Message { type_id: 20, stream_id: 0, timestamp: 0, body });
    encoder.wait_for_answer(script::CONNECT);
    assert_eq!(encoder.request_publish("xml").code, "NetStream.Publish.Start");
    let metadata = [&amf::write(&["onMetaData".into()])[..], &document].concat();
    let body = [&amf::write(&["@setDataFrame".into()])[..], &metadata].concat();
    encoder.send_tag(&Tag { kind: Kind::Data, timestamp: 0, body });
    send_all(&mut encoder, &second(0));
    encoder.unpublish();
    let seen = player.tags();
    assert!(seen.iter().any(|tag| tag.body == metadata), "it was changed or lost");
    assert!(!server.log().contains("root:"));
}

/// Red5 #456, secrets in logs: neither the name nor a token shows in any line, not even at `debug`, whether all goes well or wrong.
#[test]
fn no_log_shows_a_name_or_a_token() {
    const SECRET: &str = "hunter2";
    let server = Inrush::new().cores(2).args(&["--log", "debug"]).start();
    let mut good = publisher(&server, &format!("{SECRET}-good?token={SECRET}"));
    send_all(&mut good, &second(0));
    let good = talk(good);
    let refused = Client::open(server.rtmp()).connect("live").request_publish(&format!("{SECRET}-good"));
    assert_eq!(refused.code, "NetStream.Publish.BadName");
    let mut odd = Client::open(server.rtmp());
    odd.send(&script::connect(
        &format!("live/{SECRET}?k={SECRET}"),
        &format!("rtmp://{SECRET}:{SECRET}@h/live/{SECRET}"),
    ));
    odd.wait_for_answer(script::CONNECT);
    odd.send(&Message::command(0, &[SECRET.into(), 7.0.into(), Amf::Null, SECRET.into()]));
    odd.send(&script::play(1, ""));
    odd.send(&user_control(99, SECRET.as_bytes()));
    odd.send(&Message::set_chunk_size(0));
    assert!(odd.wait_for_close(PATIENCE));
    good.stop().unpublish();
    let stopped = server.stop();
    for line in (stopped.stdout + &stopped.stderr).lines() {
        assert!(!line.contains(SECRET), "{line}");
    }
}

/// MediaMTX #2252, bodies without end: the control HTTP refuses one that is announced and reads none that is not, and goes on answering.
#[test]
fn a_body_without_end_is_not_read() {
    let server = server();
    let before = server.rss_bytes();
    for head in ["Content-Length: 1000000000000", "Transfer-Encoding: chunked"] {
        let mut socket = TcpStream::connect(server.http()).expect("connect");
        socket.set_write_timeout(Some(PATIENCE)).expect("set a timeout");
        write!(socket, "POST /api/v1/streams HTTP/1.1\r\nHost: {}\r\n{head}\r\n\r\n", server.http())
            .expect("ask");
        let piece = [&b"100000\r\n"[..], &vec![b'x'; 1 << 20], b"\r\n"].concat();
        let taken = (0..64).take_while(|_| socket.write_all(&piece).is_ok()).count();
        assert!(taken < 64, "{head}: 64 MB were taken");
    }
    let grown = server.rss_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "it cost {grown} bytes");
    assert_eq!(server.get("/healthz").status, 200);
}

/// Default secrets (NMS, ZLM, lal): there is none. What ships has no key that could be left as it is, and says at the start what is open.
#[test]
fn there_is_no_default_secret() {
    let sample = include_str!("../../deploy/inrush.toml").to_ascii_lowercase();
    for line in sample.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        let is_secret = ["secret", "password", "token", "private"].iter().any(|word| name.contains(word));
        assert!(!is_secret || value.trim().trim_matches(['"', '[', ']']).is_empty(), "{line}");
    }
    assert!(server().log().contains("warning: publish and play are open to everybody"));
}
