//! Makes inputs for the fuzz targets out of real sessions: ffmpeg in both generations and rtmpdump publish to and play from a server
//! session of ours, and our own client session does.
//!
//! `seeds DIRECTORY [FFMPEG...]` writes them below `DIRECTORY/TARGET/`. A program that is not there is left out, and said so.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use inrush::media::{FrameRole, Ingest, IngestSettings, MediaKind};
use inrush::rtmp::amf::{Value, amf0, amf3};
use inrush::rtmp::chunk::{ChunkStreamId, ChunkWriter, WireHeaders};
use inrush::rtmp::command::{PublishKind, write};
use inrush::rtmp::handshake::{Entropy, HandshakeKind, PACKET_BYTES};
use inrush::rtmp::message::type_id;
use inrush::rtmp::{Message, MessageHeader};
use inrush::session::{
    ClientOutput, ClientSession, ClientSettings, ClientUrl, CloseReason, Event, MediaMessage, Notice, Output,
    Role, ServerSession, ServerSettings,
};

/// What the network brings of a session: more makes an input that takes long and says little that is new.
const WIRE_BYTES_MAX: usize = 2_500;
/// Bytes of a body in an input of `media`.
const BODY_BYTES_MAX: usize = 120;
/// Bytes of a long message.
const LONG_BODY_BYTES: usize = 4_000;
/// C0, C1 and C2; S0, S1 and S2.
const HANDSHAKE_BYTES: usize = 1 + 2 * PACKET_BYTES;
/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names of what is published, and the options of ffmpeg for it.
const PUBLISHED: [(&str, &str); 9] = [
    ("h264-aac", "-c:v libx264 -preset ultrafast -g 5 -c:a aac -b:a 16k"),
    ("h264-mp3", "-c:v libx264 -preset veryfast -g 5 -bf 2 -c:a libmp3lame -b:a 16k"),
    ("flv1-nellymoser", "-c:v flv1 -g 5 -c:a nellymoser -ac 1"),
    ("audio", "-vn -c:a aac -b:a 16k"),
    ("hevc-aac", "-c:v libx265 -preset ultrafast -x265-params log-level=none -g 5 -c:a aac -b:a 16k"),
    ("av1-opus", "-c:v libsvtav1 -preset 13 -g 5 -c:a libopus -ar 48000 -b:a 16k"),
    ("vp9-flac", "-c:v libvpx-vp9 -deadline realtime -b:v 20k -g 5 -c:a flac"),
    ("hevc-ac3", "-c:v libx265 -preset ultrafast -x265-params log-level=none -g 5 -c:a ac3 -b:a 32k"),
    (
        "two-tracks",
        "-map 0:v -map 0:v -map 1:a -map 1:a -c:v libx264 -preset ultrafast -g 5 -c:a aac -b:a 16k -s:v:1 32x32",
    ),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().expect("seeds DIRECTORY [FFMPEG...]");
    let seeds = Seeds { directory };
    let mut media = own_session(&seeds);
    for (generation, ffmpeg) in arguments.enumerate() {
        for (name, options) in PUBLISHED {
            let sources = "-f lavfi -i testsrc2=s=64x64:r=5 -f lavfi -i sine=440:r=22050 -t 1";
            let arguments = format!("-nostdin -loglevel error {sources} {options} -strict -2 -f flv URL");
            match record(&ffmpeg, &arguments, &[]) {
                Ok(session) if session.media.is_empty() => eprintln!("{ffmpeg} has no {name}"),
                Ok(session) => {
                    seeds.keep(&format!("ffmpeg{generation}-{name}"), &session);
                    media = session.media;
                }
                Err(why) => eprintln!("{ffmpeg} does not publish {name}: {why}"),
            }
        }
        match record(&ffmpeg, "-nostdin -loglevel error -t 1 -i URL -c copy -f null -", &media) {
            Ok(session) => seeds.keep(&format!("ffmpeg{generation}-plays"), &session),
            Err(why) => eprintln!("{ffmpeg} does not play: {why}"),
        }
    }
    match record("rtmpdump", "-q -B 1 -r URL -o /dev/null", &media) {
        Ok(session) => seeds.keep("rtmpdump-plays", &session),
        Err(why) => eprintln!("rtmpdump does not play: {why}"),
    }
    commands(&seeds);
    for (number, header) in PROXY_HEADERS.iter().enumerate() {
        seeds.write("proxy", &format!("header-{number}"), &[header]);
    }
    for (number, text) in URLS.iter().enumerate() {
        seeds.write("urls", &format!("url-{number}"), &[text.as_bytes()]);
    }
}

/// Headers of the PROXY protocol, and what is none.
const PROXY_HEADERS: [&[u8]; 8] = [
    b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n\x03",
    b"PROXY TCP6 2001:db8::1 ::ffff:198.51.100.1 1 65535\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff:f...f:ffff whatever\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\x20\x01\x0d\xb8aaaabbbbccccddddeeeeffffgggg\0\x01\0\x02",
    b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\x04\x03\0\x01x",
    b"GET / HTTP/1.1\r\n",
];

/// Where somebody is, and where that is told to lead.
const URLS: [&str; 8] = [
    "rtmp://host/live/key?token=1\n/other",
    "rtmps://user:word@[::1]:1936/live/a/b\n../x/./y?q=1",
    "rtmp://host/key?a=b\nrtmp://other",
    "rtmp://host:1/live/key\n//other:99/app",
    "RTMP://HOST//live//key\n?q",
    "rtmp://a:b:c/live/key\nrtmps://[::2]/a",
    "rtmp://host/live/\n.",
    "rtmp://host/live/key\nhttp://host/",
];

/// A session as it was: what either side sent, and the media in it.
#[derive(Default)]
struct Session {
    from_client: Vec<u8>,
    from_server: Vec<u8>,
    media: Vec<MediaMessage>,
    is_player: bool,
}

struct Seeds {
    directory: String,
}

impl Seeds {
    fn write(&self, target: &str, name: &str, parts: &[&[u8]]) {
        let directory = Path::new(&self.directory).join(target);
        fs::create_dir_all(&directory).expect("make the directory");
        fs::write(directory.join(name), parts.concat()).expect("write an input");
    }

    /// Every input that a session gives. Steps of a script: reads of 128 bytes, then the rest.
    fn keep(&self, name: &str, session: &Session) {
        eprintln!("{name}: {} bytes in, {} out", session.from_client.len(), session.from_server.len());
        let cut = |bytes: &[u8], from: usize| bytes[from.min(bytes.len())..].to_vec();
        let short = |mut bytes: Vec<u8>| {
            bytes.truncate(WIRE_BYTES_MAX);
            bytes
        };
        let script = [4, 0x40, 0x3f, 0x80, 0x40];
        let (up, down) = (&session.from_client, &session.from_server);
        let role = if session.is_player { 4 } else { 0 };
        // As it was; within limits that it may break, of what is held and of what is done; recorded; and read on by other readers.
        for settings in [0, 1, 64, 128] {
            let name = format!("{name}-{settings}");
            self.write("server_session", &name, &[&[settings], &script, &short(cut(up, HANDSHAKE_BYTES))]);
        }
        for settings in [0, 1, 16] {
            let name = format!("{name}-{settings}");
            self.write("chunk_reader", &name, &[&[settings], &script, &short(cut(up, HANDSHAKE_BYTES))]);
        }
        for settings in [0, 1, 64] {
            let name = format!("{name}-{settings}");
            let down = short(cut(down, HANDSHAKE_BYTES));
            self.write("client_session", &name, &[&[role | settings], &script, &down]);
        }
        if name.ends_with("h264-aac") {
            let short = |mut bytes: Vec<u8>| {
                bytes.truncate(HANDSHAKE_BYTES + 1_000);
                bytes
            };
            self.write("server_session", &format!("{name}-whole"), &[&[2], &script, &short(up.clone())]);
            self.write(
                "client_session",
                &format!("{name}-whole"),
                &[&[role | 2], &script, &short(down.clone())],
            );
        }
        // What a driver may do beside reading, between any two reads: own sessions have the most commands in the fewest bytes.
        for act in (0x80..=0xff).filter(|act| name.starts_with("own-") && act & 15 < 11) {
            let script = [[0x3f, act]; 16].concat();
            for settings in [0, 4] {
                let parts: [&[u8]; 4] = [&[settings], &[32], &script, &cut(up, HANDSHAKE_BYTES)];
                self.write("server_session", &format!("{name}-{act:x}-{settings}"), &parts);
            }
            let parts: [&[u8]; 4] = [&[role], &[32], &script, &cut(down, HANDSHAKE_BYTES)];
            self.write("client_session", &format!("{name}-{act:x}"), &parts);
        }
        if name == "own-publishes" {
            // A message that comes in many reads, and is more than tight limits let one hold.
            let header = MessageHeader { timestamp: 0, type_id: type_id::VIDEO, stream_id: 1 };
            let mut long = BytesMut::new();
            let body = Bytes::from(vec![0x17; LONG_BODY_BYTES]).into();
            WireHeaders::new(&header, LONG_BODY_BYTES, 60_000).write_to(&body, &mut long);
            for target in ["server_session", "chunk_reader"] {
                let parts: [&[u8]; 4] = [&[1], &script, &cut(up, HANDSHAKE_BYTES), &long];
                self.write(target, "long-message-whole", &parts);
            }
        }
        let mut messages = vec![0];
        let mut ingest = Ingest::new(IngestSettings::default());
        for message in &session.media {
            let body = message.payload.to_vec();
            let is_header = ingest
                .frame(inrush::session::Instant::default(), message.clone())
                .is_some_and(|frame| frame.role() == FrameRole::SequenceHeader);
            if is_header {
                self.config(name, message.kind, &body);
            }
            let body = if is_header { &body } else { &body[..body.len().min(BODY_BYTES_MAX)] };
            let kind = match message.kind {
                MediaKind::Video => 0,
                MediaKind::Audio => 1,
                MediaKind::Data => 2,
            };
            messages.push(kind | 4 | 0x10 | 0x40);
            messages.extend((body.len() as u16).to_be_bytes());
            messages.extend(body);
            if message.kind == MediaKind::Data {
                self.write("amf0", name, &[&[0], body]);
            }
        }
        messages.truncate(WIRE_BYTES_MAX);
        self.write("media", name, &[&messages]);
    }

    /// The record behind a tag header, whichever form that has, for the codec that it is of.
    fn config(&self, name: &str, kind: MediaKind, body: &[u8]) {
        let (codec, record) = match (kind, body) {
            (MediaKind::Video, [0x17, 0, _, _, _, record @ ..]) => (0, record),
            (MediaKind::Audio, [0xa0..=0xaf, 0, record @ ..]) => (3, record),
            (_, [_, b'h', b'v', b'c', b'1', record @ ..]) => (1, record),
            (_, [_, b'a', b'v', b'0', b'1', record @ ..]) => (2, record),
            (_, [_, b'O', b'p', b'u', b's', record @ ..]) => (4, record),
            _ => return,
        };
        self.write("codec_config", &format!("{name}-{codec}"), &[&[codec], record]);
    }
}

fn entropy() -> Box<Entropy> {
    Box::new(Entropy { time_ms: 0, random: [7; PACKET_BYTES - 8] })
}

/// Lets a program publish to or play from a server session, and writes down what either says. `URL` stands for the address.
fn record(program: &str, arguments: &str, played: &[MediaMessage]) -> Result<Session, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let url = format!("rtmp://127.0.0.1:{port}/live/key?token=1");
    let arguments = arguments.split_whitespace().map(|word| if word == "URL" { url.as_str() } else { word });
    let mut client = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let session = accept(&listener, &mut client).and_then(|socket| serve(socket, played));
    let _ = client.kill();
    let _ = client.wait();
    session
}

fn accept(listener: &TcpListener, client: &mut std::process::Child) -> Result<TcpStream, String> {
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(false).map_err(|error| error.to_string())?;
            socket.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
            return Ok(socket);
        }
        if let Ok(Some(status)) = client.try_wait() {
            return Err(format!("ended with {status}"));
        }
        sleep(Duration::from_millis(10));
    }
    Err("did not connect".into())
}

fn serve(mut socket: TcpStream, played: &[MediaMessage]) -> Result<Session, String> {
    let now = inrush::session::Instant::default();
    let mut server = ServerSession::new(now, Arc::new(ServerSettings::default()), entropy());
    let mut session = Session::default();
    let mut buffer = [0; 4096];
    loop {
        let count = socket.read(&mut buffer).map_err(|error| error.to_string())?;
        session.from_client.extend(&buffer[..count]);
        match count {
            0 => server.handle_eof(now),
            _ => server.handle_bytes(now, Bytes::copy_from_slice(&buffer[..count])),
        }
        while let Some(output) = server.poll_output() {
            match output {
                Output::Send(bytes) => {
                    // A player that has what it came for goes away at any time.
                    let _ = socket.write_all(&bytes);
                    session.from_server.extend(&bytes);
                }
                Output::Event(Event::PublishRequested(request)) => {
                    server.accept_publish(now, request.request)
                }
                Output::Event(Event::PlayRequested(request)) => {
                    server.accept_play(now, request.request);
                    session.is_player = true;
                    while let Some(bytes) = server.poll_send() {
                        let _ = socket.write_all(&bytes);
                        session.from_server.extend(&bytes);
                    }
                    let media = wire(played, request.stream_id);
                    let _ = socket.write_all(&media);
                    session.from_server.extend(&media);
                    server.notify(now, request.stream_id, Notice::UnpublishNotify);
                    server.close(now, CloseReason::Drained);
                }
                Output::Event(Event::Media(message)) => session.media.push(message),
                Output::Event(Event::Closed { .. }) => return Ok(session),
                Output::Event(_) | Output::Timeout(_) | Output::Progress => {}
            }
        }
    }
}

/// Media as a player is sent it.
fn wire(media: &[MediaMessage], stream_id: u32) -> Vec<u8> {
    let mut out = BytesMut::new();
    for message in media {
        let header = MessageHeader { timestamp: message.timestamp, type_id: message.type_id, stream_id };
        WireHeaders::new(&header, message.payload.len(), 60_000).write_to(&message.payload, &mut out);
    }
    out.to_vec()
}

/// Our own client against our own server, with everything that it can say; gives what it published.
fn own_session(seeds: &Seeds) -> Vec<MediaMessage> {
    let now = inrush::session::Instant::default();
    let mut media = Vec::new();
    for (name, role, handshake) in [
        ("own-publishes", Role::Publish, HandshakeKind::Digest),
        ("own-plays", Role::Play, HandshakeKind::Simple),
    ] {
        let url = ClientUrl::parse("rtmp://host/live/key?token=1").expect("a URL");
        let settings = ClientSettings { handshake, fc_subscribe: true, ..ClientSettings::new(url, role) };
        let mut client = ClientSession::new(now, settings, entropy());
        let mut server = ServerSession::new(now, Arc::new(ServerSettings::default()), entropy());
        let mut session = Session { is_player: role == Role::Play, ..Session::default() };
        let mut has_spoken = false;
        loop {
            let mut is_quiet = true;
            while let Some(output) = client.poll_output() {
                if let ClientOutput::Send(bytes) = output {
                    session.from_client.extend(&bytes);
                    server.handle_bytes(now, bytes);
                    is_quiet = false;
                }
            }
            while let Some(output) = server.poll_output() {
                match output {
                    Output::Send(bytes) => {
                        session.from_server.extend(&bytes);
                        client.handle_bytes(now, bytes);
                        is_quiet = false;
                    }
                    Output::Event(Event::PublishRequested(r)) => server.accept_publish(now, r.request),
                    Output::Event(Event::PlayRequested(r)) => server.accept_play(now, r.request),
                    Output::Event(Event::Media(message)) => session.media.push(message),
                    _ => {}
                }
            }
            if client.is_ready() && !has_spoken {
                has_spoken = true;
                speak(&mut client, role);
            } else if is_quiet {
                break;
            }
        }
        session.from_server.extend(wire(&media, 1));
        let mut request = BytesMut::new();
        let message = write::reconnect_request(Some("/other/app?token=2"), "go on there");
        ChunkWriter::new(60_000).write(ChunkStreamId::COMMAND, &message, &mut request);
        session.from_server.extend(&request);
        seeds.keep(name, &session);
        media = session.media;
    }
    media
}

fn speak(client: &mut ClientSession, role: Role) {
    let now = inrush::session::Instant::default();
    let stream_id = client.stream_id().unwrap_or(1);
    if role == Role::Publish {
        let body = |first: [u8; 2]| Bytes::from([&first[..], &[0; 40]].concat()).into();
        let metadata = Value::ecma_array([("width", 640.0.into()), ("encoder", "own".into())]);
        let _ = client.send_message(now, &write::set_data_frame(stream_id, 0, metadata));
        for (kind, timestamp, first) in [
            (MediaKind::Video, 0xff_ffff, [0x17, 1]),
            (MediaKind::Audio, 0xff_ffff, [0xaf, 1]),
            (MediaKind::Video, 0x100_0010, [0x27, 1]),
        ] {
            let _ = client.send_media(now, kind, timestamp, &body(first));
        }
    }
    for message in said(stream_id) {
        let _ = client.send_message(now, &message);
    }
}

/// Commands that clients send when they play or publish.
fn said(stream_id: u32) -> Vec<Message> {
    vec![
        write::pause(stream_id, 8.0, true, 40.0),
        write::pause(stream_id, 9.0, false, 40.0),
        write::seek(stream_id, 10.0, 40.0),
        write::receive_audio(stream_id, false),
        write::receive_video(stream_id, true),
        write::play2(stream_id, 11.0, "other", "key", "switch"),
        write::check_bandwidth(12.0),
        write::get_stream_length(13.0, "key"),
        write::publish(stream_id, 14.0, "other?a=b", PublishKind::Record),
        write::fc_unpublish(15.0, "key"),
        write::close_stream(stream_id),
        write::delete_stream(16.0, stream_id),
    ]
}

/// Values and commands, one an input.
fn commands(seeds: &Seeds) {
    let values = [
        Value::object([("app", "live".into()), ("objectEncoding", 3.0.into()), ("fpad", false.into())]),
        Value::ecma_array([
            ("width", 1920.0.into()),
            ("stereo", true.into()),
            ("videocodecid", "avc1".into()),
        ]),
        Value::StrictArray([1.0.into(), Value::Null, Value::Undefined, "text".into()].into()),
        Value::Date { ms: 1e12, time_zone: 60 },
        Value::TypedObject { class: "Point".into(), properties: [("x".into(), 1.0.into())].into() },
        Value::Dictionary { weak_keys: true, entries: [("key".into(), Value::Integer(-7))].into() },
        Value::VectorObject { fixed: true, class: "*".into(), items: ["*".into(), Value::Integer(1)].into() },
        Value::ByteArray([1, 2, 3].into()),
        Value::VectorDouble { fixed: false, items: [1.5, 2.5].into() },
        Value::Xml("<a/>".into()),
    ];
    for (number, value) in values.iter().enumerate() {
        let (mut zero, mut three) = (BytesMut::new(), BytesMut::new());
        amf0::write(value, &mut zero).expect("a value");
        amf3::write(value, &mut three).expect("a value");
        seeds.write("amf0", &format!("value-{number}"), &[&[0], &zero]);
        seeds.write("amf3", &format!("value-{number}"), &[&[0], &three]);
    }
    for (number, message) in said(1).iter().chain(&[write::connect(values[0].clone())]).enumerate() {
        seeds.write("amf0", &format!("command-{number}"), &[&[0], &message.payload.to_vec()]);
    }
}
