//! The control HTTP over real sockets, with a made-up engine behind it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::edge::relay::Rank;
use crate::edge::relay::life::{LifeState, Step};
use crate::edge::relay::observe::{ForwardInfo, NamedBy};
use crate::edge::secret::SecretPlace;
use crate::hub::HealthCounts;
use crate::media::codec::{Codec, VideoCodec};
use crate::media::health::Code;
use crate::media::metadata::TrackHints;
use crate::media::{IngestCounters, Limits, MediaKind, TrackId};
use crate::rtmp::command::{Capabilities, CapsEx};
use crate::runtime::histogram::Histograms;
use crate::runtime::observe::{
    ConnectionId, ConnectionInfo, Counts, DrainFigures, DrainStage, DrainState, HealthInfo, MediaFigures,
    PublishedCounts, Role, RoleCounts, Selection, StreamInfo, TcpInfo, TlsInfo, TrackInfo,
};
use crate::runtime::tls::certificates::CertificateEnd;
use crate::runtime::traffic::TrafficInUse;
use crate::runtime::{OutgoingId, OutgoingInfo, OutgoingState};

mod document;
mod events;

/// What a token file of these tests holds.
const TOKEN: &str = "a-token-of-24-characters";

/// Two cores with whatever a test puts on them.
#[derive(Default)]
struct Engine {
    counts: [PublishedCounts; 2],
    stalled: [AtomicBool; 2],
    streams: Mutex<Vec<StreamInfo>>,
    connections: Mutex<Vec<ConnectionInfo>>,
    outgoing: Mutex<Vec<OutgoingInfo>>,
    ready: AtomicBool,
    draining: AtomicBool,
    drain: Mutex<Option<Duration>>,
}

impl Engine {
    /// What each core says, or that it stands still.
    fn ask<T>(&self, answer: impl Fn(u16) -> T) -> Vec<CoreAnswer<T>> {
        let one = |core: u16| match self.stalled[usize::from(core)].load(Ordering::Relaxed) {
            true => CoreAnswer::Stalled { core },
            false => CoreAnswer::Answer(answer(core)),
        };
        vec![one(0), one(1)]
    }
}

impl Cores for Arc<Engine> {
    fn cores(&self) -> usize {
        2
    }

    async fn streams(&self, _timeout: Duration) -> Vec<CoreAnswer<Vec<StreamInfo>>> {
        let streams = self.streams.lock().unwrap();
        self.ask(|core| streams.iter().filter(|stream| stream.core == core).cloned().collect())
    }

    async fn selected_streams(&self, of: &Selection, timeout: Duration) -> Vec<CoreAnswer<Vec<StreamInfo>>> {
        // Each core selects by itself.
        let mut answers = self.streams(timeout).await;
        for answer in &mut answers {
            let CoreAnswer::Answer(streams) = answer else { continue };
            streams.retain(|stream| !stream.dry_run);
            match of {
                Selection::Top(count) => {
                    streams.sort_by_key(|stream| std::cmp::Reverse(stream.bits_in_per_second));
                    streams.truncate(*count);
                }
                Selection::Named(names) => streams
                    .retain(|stream| names.iter().any(|it| *it == (stream.app.clone(), stream.name.clone()))),
            }
        }
        answers
    }

    async fn connections(&self, _timeout: Duration) -> Vec<CoreAnswer<Vec<ConnectionInfo>>> {
        let connections = self.connections.lock().unwrap();
        self.ask(|core| connections.iter().filter(|connection| connection.core == core).cloned().collect())
    }

    async fn outgoing(&self, _timeout: Duration) -> Vec<CoreAnswer<Vec<OutgoingInfo>>> {
        self.ask(|core| if core == 0 { self.outgoing.lock().unwrap().clone() } else { Vec::new() })
    }

    async fn kick(&self, id: ConnectionId, _timeout: Duration) -> Vec<CoreAnswer<bool>> {
        let mut connections = self.connections.lock().unwrap();
        let answers = self.ask(|core| connections.iter().any(|c| c.core == core && c.id == id));
        connections.retain(|connection| connection.id != id);
        answers
    }

    fn drain(&self, deadline: Option<Duration>) -> bool {
        let mut drain = self.drain.lock().unwrap();
        let has_begun = drain.is_none();
        drain.get_or_insert(deadline.unwrap_or(Duration::from_secs(20)));
        self.draining.store(true, Ordering::Relaxed);
        has_begun
    }

    fn drain_state(&self) -> DrainState {
        match *self.drain.lock().unwrap() {
            None => DrainState { stage: DrainStage::Serving, times: None },
            Some(deadline) => DrainState {
                stage: DrainStage::Cutting,
                times: Some((deadline, Duration::from_millis(1500))),
            },
        }
    }

    async fn drain_figures(&self, _timeout: Duration) -> Vec<CoreAnswer<DrainFigures>> {
        self.ask(|core| DrainFigures {
            began_with: RoleCounts { publishers: 3, pulls: u64::from(core), ..RoleCounts::default() },
            left: RoleCounts { players: 2, ..RoleCounts::default() },
            told: 1,
            ..DrainFigures::default()
        })
    }

    fn histograms(&self, _core: usize) -> Histograms {
        Histograms::default()
    }

    fn counts(&self, core: usize) -> &PublishedCounts {
        &self.counts[core]
    }

    fn labelled(&self, core: usize) -> Vec<(&'static str, &'static str, u64)> {
        match core {
            0 => vec![("session_error", "amf_depth", 2), ("close_reason", "eof", 5)],
            _ => vec![("close_reason", "eof", 6), ("close_reason", "kicked", 1)],
        }
    }

    fn health(&self, core: usize) -> HealthCounts {
        let mut counts = HealthCounts::default();
        (counts.holding[Code::NoVideo], counts.began[Code::NoVideo]) = (core as u64, 2 + core as u64);
        counts
    }

    fn certificate_ends(&self) -> Vec<CertificateEnd> {
        // One file may be named twice.
        let end = CertificateEnd { chain_file: "/etc/a \"b\".pem".into(), unix_seconds: 1_800_000_000 };
        vec![end.clone(), end]
    }

    fn sweep_age(&self, core: usize) -> Duration {
        match self.stalled[core].load(Ordering::Relaxed) {
            true => Duration::from_secs(60),
            false => Duration::from_millis(250),
        }
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

fn stream(core: u16, app: &str, name: &str) -> StreamInfo {
    StreamInfo {
        app: app.into(),
        name: name.into(),
        name_hash: "0badcafe".into(),
        core,
        dry_run: false,
        publisher: Some(ConnectionId(17)),
        standby: Some(ConnectionId(18)),
        absent: false,
        discontinuities: 2,
        health: vec![HealthInfo { code: Code::NoAudio, lasted: Duration::from_millis(3_200) }],
        subscribers: 3,
        codecs: vec!["avc1.64001f".into(), "mp4a.40.2".into()],
        tracks: vec![
            TrackInfo {
                id: 0,
                is_video: true,
                codec: "avc1".into(),
                codec_string: "avc1.64001f".into(),
                resolution: Some((1280, 720)),
                sample_rate_hz: None,
                channels: None,
            },
            TrackInfo {
                id: 3,
                is_video: false,
                codec: "mp4a".into(),
                codec_string: "mp4a.40.2".into(),
                resolution: None,
                sample_rate_hz: Some(48_000),
                channels: Some(2),
            },
        ],
        resolution: Some((1280, 720)),
        audio: Some((48_000, 2)),
        limits: Limits { height: std::num::NonZeroU32::new(1080), ..Limits::default() },
        announced_tracks: vec![TrackHints {
            id: TrackId(1),
            codec: Some(Codec::Video(VideoCodec::Av1)),
            kind: MediaKind::Video,
            kbps: Some(2000),
            size: Some((1024, 768)),
            frame_rate: None,
            sample_rate: None,
            channels: None,
        }],
        bits_in_per_second: 3_000_000,
        bytes_in: 9,
        messages_in: 8,
        gop_bytes: 7,
        gop_frames: 6,
        timestamp_steps_back: 5,
        timestamp_jumps: 4,
        timestamps_held: 12,
        timestamp_clock_changes: 13,
        media: Some(MediaFigures {
            video_bits_per_second: 1,
            audio_bits_per_second: 2,
            frames_per_second: 29.970_03,
            gop_frames: Some(3),
            gop_ms: Some(4),
            key_frame_interval_ms: Some(5),
            av_skew_ms: Some(-6),
            clock_drift_ppm: None,
            arrival_jitter_us: 7_001,
        }),
        tcp: None,
        ingest: IngestCounters { frames: 3, codecs_unknown: 2, ..IngestCounters::default() },
        uptime_seconds: 1.5,
    }
}

fn tcp_info() -> TcpInfo {
    TcpInfo {
        rtt_us: 1,
        rtt_deviation_us: 2,
        rtt_min_us: 3,
        receive_rtt_us: 4,
        congestion_window_segments: 5,
        segment_bytes: 6,
        send_window_bytes: 7,
        bytes_sent: 8,
        bytes_acknowledged: 9,
        bytes_received: 10,
        bytes_retransmitted: 11,
        retransmits: 12,
        lost_segments: 13,
        out_of_order_segments: 14,
        unsent_bytes: 15,
        busy_us: 16,
        receive_window_limited_us: 17,
        send_buffer_limited_us: 18,
        delivery_bits_per_second: 19,
    }
}

fn tcp_json() -> Value {
    json!({
        "rtt_us": 1, "rtt_deviation_us": 2, "rtt_min_us": 3, "receive_rtt_us": 4, "congestion_window_segments": 5, "segment_bytes": 6, "send_window_bytes": 7, "bytes_sent": 8, "bytes_acknowledged": 9, "bytes_received": 10, "bytes_retransmitted": 11, "retransmits": 12, "lost_segments": 13, "out_of_order_segments": 14, "unsent_bytes": 15, "busy_us": 16, "receive_window_limited_us": 17, "send_buffer_limited_us": 18, "delivery_bits_per_second": 19
    })
}

fn connection(core: u16, id: u64, role: Role) -> ConnectionInfo {
    ConnectionInfo {
        id: ConnectionId(id),
        peer: "[2001:db8::1]:50000".parse().unwrap(),
        core,
        role,
        app: "live".into(),
        name: "a".into(),
        name_hash: "0badcafe".into(),
        flash_ver: "FMLE/3.0 \"x\"\n".into(),
        capabilities: match role {
            Role::Publisher => Capabilities::forwarder(CapsEx::RECONNECT | CapsEx::MOD_EX),
            _ => Capabilities::default(),
        },
        encoder: crate::session::Encoder::Ffmpeg,
        bits_in_per_second: 1,
        bits_out_per_second: 2,
        bytes_in: 3,
        bytes_out: 4,
        messages_in: 5,
        messages_out: 6,
        dropped: 7,
        held_bytes: 9,
        uptime_seconds: 8.0,
        codecs: String::new(),
        resolution: None,
        health: Vec::new(),
        tls: Some(TlsInfo {
            version: "TLSv1.2",
            cipher: "TLS_X",
            server_name: (role == Role::Publisher).then(|| "a.example".into()),
            resumed: true,
        }),
        tcp: (role == Role::Publisher).then(tcp_info),
        traffic: Some(TrafficInUse { congestion: "cubic".into(), dscp: 34 }),
    }
}

/// A server on a free port, with an engine that is ready.
fn serve() -> (Server<Arc<Engine>>, Arc<Engine>) {
    let server = start_on("127.0.0.1:0");
    let engine = Arc::new(Engine::default());
    engine.ready.store(true, Ordering::Relaxed);
    server.attach(Arc::clone(&engine));
    (server, engine)
}

fn start_on(address: &str) -> Server<Arc<Engine>> {
    start(&Settings { listen: address.parse().unwrap(), ..Settings::default() }).unwrap()
}

/// Sends `head` with a `Host` and reads to the end: status, head, body.
fn request(address: SocketAddr, line: &str, headers: &str) -> (u16, String, String) {
    let text = format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    exchange(address, &text)
}

fn exchange(address: SocketAddr, text: &str) -> (u16, String, String) {
    try_exchange(address, text).expect("an answer")
}

/// `None` when the connection is closed without an answer.
fn try_exchange(address: SocketAddr, text: &str) -> Option<(u16, String, String)> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(text.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_lowercase(), body.to_owned()))
}

/// `GET` of JSON, which has to be as the document says: status, and the answer.
fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let (status, head, body) = request(address, &format!("GET {path}"), "");
    assert!(head.contains("content-type: application/json"), "{head}");
    let answer = serde_json::from_str(&body).expect(&body);
    document::assert_documented("GET", path, status, &answer);
    (status, answer)
}

#[test]
fn while_the_engine_starts_the_process_lives_and_is_not_ready() {
    let server = start_on("127.0.0.1:0");
    assert_eq!(get(server.address(), "/healthz"), (200, json!({"status": "starting"})));
    assert_eq!(get(server.address(), "/readyz"), (503, json!({"status": "starting"})));
    let (status, body) = get(server.address(), "/api/v1/streams");
    assert_eq!((status, &body["error"]["code"]), (503, &json!("starting")));
    let (status, _, body) = request(server.address(), "GET /metrics", "");
    assert_eq!(status, 200);
    assert!(body.contains("inrush_build_info{"), "{body}");
}

#[test]
fn readiness_follows_the_engine() {
    let (server, engine) = serve();
    assert_eq!(get(server.address(), "/readyz"), (200, json!({"status": "ready"})));
    engine.draining.store(true, Ordering::Relaxed);
    assert_eq!(get(server.address(), "/readyz"), (503, json!({"status": "draining"})));
    assert_eq!(get(server.address(), "/healthz"), (200, json!({"status": "draining"})));
    engine.draining.store(false, Ordering::Relaxed);
    engine.ready.store(false, Ordering::Relaxed);
    assert_eq!(get(server.address(), "/readyz"), (503, json!({"status": "starting"})));
}

#[test]
fn health_names_the_core_that_stands_still() {
    let (server, engine) = serve();
    assert_eq!(get(server.address(), "/healthz"), (200, json!({"status": "ok"})));
    engine.stalled[1].store(true, Ordering::Relaxed);
    assert_eq!(get(server.address(), "/healthz"), (503, json!({"status": "stalled", "stalled_cores": [1]})));
}

#[test]
fn streams_of_all_cores_come_sorted_and_in_the_documented_shape() {
    let (server, engine) = serve();
    *engine.streams.lock().unwrap() =
        vec![stream(1, "live", "b"), stream(0, "live", "a"), stream(1, "a", "z")];
    let (status, mut body) = get(server.address(), "/api/v1/streams");
    assert_eq!(status, 200);
    let names: Vec<_> =
        body["streams"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["z", "a", "b"]);
    assert_eq!(body["stalled_cores"], json!([]));
    let ingest = body["streams"][1].as_object_mut().unwrap().remove("ingest").unwrap();
    assert_eq!(
        (&ingest["frames"], &ingest["codecs_unknown"], &ingest["packets_unknown"]),
        (&json!(3), &json!(2), &json!(0))
    );
    assert_eq!(
        body["streams"][1],
        json!({
            "app": "live", "name": "a", "name_hash": "0badcafe", "core": 0, "dry_run": false, "publisher": "17",
            "standby": "18", "absent": false, "discontinuities": 2, "health": [{"code": "no_audio", "seconds": 3.2}], "subscribers": 3, "codecs": ["avc1.64001f", "mp4a.40.2"], "tracks": [
                {"id": 0, "kind": "video", "codec": "avc1", "codec_string": "avc1.64001f",
                 "resolution": {"width": 1280, "height": 720}, "sample_rate_hz": null, "channels": null},
                {"id": 3, "kind": "audio", "codec": "mp4a", "codec_string": "mp4a.40.2", "resolution": null,
                 "sample_rate_hz": 48000, "channels": 2},
            ],
            "resolution": {"width": 1280, "height": 720},
            "audio": {"sample_rate_hz": 48000, "channels": 2}, "announced_tracks": [{
                "id": 1, "kind": "video", "codec": "av01", "kbps": 2000, "resolution": {"width": 1024, "height": 768},
                "frame_rate": null, "sample_rate_hz": null, "channels": null
            }], "limits": {
                "bits_per_second": null, "frames_per_second": null, "width": null, "height": 1080, "seconds": null, "codecs": null
            }, "bits_in_per_second": 3000000, "bytes_in": 9,
            "messages_in": 8, "gop_bytes": 7, "gop_frames": 6, "timestamp_steps_back": 5, "timestamp_jumps": 4, "timestamps_held": 12, "timestamp_clock_changes": 13,
            "media": {
                "video_bits_per_second": 1, "audio_bits_per_second": 2, "frames_per_second": 29.97, "gop_frames": 3, "gop_ms": 4,
                "key_frame_interval_ms": 5, "av_skew_ms": -6, "clock_drift_ppm": null, "arrival_jitter_ms": 7.001
            }, "tcp": null,
            "uptime_seconds": 1.5
        })
    );
}

#[test]
fn one_stream_is_found_by_app_and_name_however_they_are_written() {
    let (server, engine) = serve();
    *engine.streams.lock().unwrap() =
        vec![stream(0, "live", "a/b c"), stream(1, "x/y", "n"), stream(1, "", "bare")];
    for path in ["live/a/b%20c", "live/a%2Fb%20c", "l%69ve/a/b%20c", "x%2Fy/n", "/bare"] {
        let (status, body) = get(server.address(), &format!("/api/v1/streams/{path}"));
        assert_eq!(status, 200, "{path}: {body}");
        assert_eq!(body["stalled_cores"], json!([]));
        assert!(body["stream"]["name"].is_string());
    }
    for path in ["live/a", "x/y/n", "live", "live/%ff", "live/"] {
        let (status, body) = get(server.address(), &format!("/api/v1/streams/{path}"));
        assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")), "{path}");
    }
}

#[test]
fn connections_come_in_the_documented_shape_and_once_each() {
    let (server, engine) = serve();
    *engine.connections.lock().unwrap() = vec![
        connection(1, 7, Role::Player),
        connection(0, u64::MAX, Role::Publisher),
        // Seen on both cores, as it moved while they answered.
        connection(0, 7, Role::Pending),
    ];
    let (status, body) = get(server.address(), "/api/v1/connections");
    assert_eq!(status, 200);
    assert_eq!(body["connections"].as_array().unwrap().len(), 2);
    assert_eq!(
        body["connections"][1],
        json!({
            "id": "18446744073709551615", "peer": "[2001:db8::1]:50000", "core": 0, "role": "publisher", "app": "live",
            "name": "a", "name_hash": "0badcafe", "flash_ver": "FMLE/3.0 \"x\"\n", "encoder": "ffmpeg",
            "enhanced": {"fourcc": ["*"], "caps": ["reconnect", "mod_ex"]}, "bits_in_per_second": 1, "bits_out_per_second": 2, "bytes_in": 3, "bytes_out": 4, "messages_in": 5, "messages_out": 6, "dropped": 7,
            "held_bytes": 9, "uptime_seconds": 8.0, "codecs": "", "resolution": null, "health": [],
            "tls": {"version": "TLSv1.2", "cipher": "TLS_X", "server_name": "a.example", "resumed": true},
            "tcp": tcp_json(),
            "traffic": {"congestion": "cubic", "dscp": 34}
        })
    );
    assert_eq!(body["connections"][0]["enhanced"], json!(null));
    assert_eq!(body["connections"][0]["tls"]["server_name"], json!(null));
    assert_eq!(body["connections"][0]["tcp"], json!(null));
}

struct Targets(Vec<ForwardInfo>);

impl Forwards for Targets {
    fn forwards(&self) -> Vec<ForwardInfo> {
        self.0.clone()
    }
}

fn forward(name: &str, target: &str, state: LifeState) -> ForwardInfo {
    ForwardInfo {
        app: "live".into(),
        name: name.into(),
        name_hash: "0badcafe".into(),
        target: target.into(),
        named_by: NamedBy::File,
        group: "g".into(),
        rank: Rank::BACKUP,
        is_active: state == LifeState::On(Step::Live),
        state,
        since: Instant::now() - Duration::from_secs(10),
        next_try: (state == LifeState::Waiting).then(|| Instant::now() + Duration::from_secs(100)),
        connection: Some(OutgoingId(5)),
        bytes_before: 1000,
        dropped_before: 1,
        reconnects: 2,
        last_error: "eof".into(),
    }
}

#[test]
fn forwards_come_sorted_in_the_documented_shape_with_what_their_core_says() {
    let (server, engine) = serve();
    assert_eq!(
        get(server.address(), "/api/v1/forwards"),
        (200, json!({"forwards": [], "stalled_cores": []}))
    );
    server.attach_forwards(Arc::new(Targets(vec![
        forward("b", "rtmp://a/live/…", LifeState::Waiting),
        forward("a", "rtmp://b/live/…", LifeState::On(Step::Live)),
        forward("a", "rtmp://a/live/…", LifeState::Standby),
    ])));
    *engine.outgoing.lock().unwrap() = vec![OutgoingInfo {
        id: OutgoingId(5),
        connection: ConnectionId(17),
        state: OutgoingState::Live,
        bytes_in: 3,
        bytes_out: 500,
        messages: 40,
        dropped: 2,
        queued_bytes: 7,
        queued_ms: 8,
        bits_per_second: 9,
        tcp: Some(tcp_info()),
        lasted: Duration::from_secs(4),
        traffic: Some(TrafficInUse { congestion: "bbr".into(), dscp: 0 }),
    }];
    let (status, mut body) = get(server.address(), "/api/v1/forwards");
    assert_eq!((status, &body["stalled_cores"]), (200, &json!([])));
    let forwards = body["forwards"].as_array_mut().unwrap();
    let order: Vec<_> =
        forwards.iter().map(|it| (it["name"].as_str().unwrap(), it["target"].as_str().unwrap())).collect();
    assert_eq!(order, [("a", "rtmp://a/live/…"), ("a", "rtmp://b/live/…"), ("b", "rtmp://a/live/…")]);
    let seconds = forwards[1].as_object_mut().unwrap().remove("state_seconds").unwrap().as_f64().unwrap();
    assert!((10.0..40.0).contains(&seconds), "{seconds}");
    assert_eq!(
        forwards[1],
        json!({
            "app": "live", "name": "a", "name_hash": "0badcafe", "target": "rtmp://b/live/…", "named_by": "file",
            "group": "g", "rank": "backup", "active": true, "state": "live", "connection": "17",
            "bits_out_per_second": 9, "bytes_out": 1500, "messages_out": 40, "dropped": 3, "queued_bytes": 7, "queued_ms": 8,
            "tcp": tcp_json(), "reconnects": 2, "last_error": "eof", "next_try_seconds": null,
            "traffic": {"congestion": "bbr", "dscp": 0}
        })
    );
    let next_try = forwards[2]["next_try_seconds"].as_f64().unwrap();
    assert!((70.0..=100.0).contains(&next_try), "{next_try}");
    // What the engine does not know of is shown without it.
    engine.stalled[0].store(true, Ordering::Relaxed);
    let (_, body) = get(server.address(), "/api/v1/forwards");
    assert_eq!((&body["stalled_cores"], &body["forwards"][1]["connection"]), (&json!([0]), &json!(null)));
    assert_eq!(body["forwards"][1]["bytes_out"], json!(1000));
}

#[test]
fn pulls_come_sorted_in_the_documented_shape_with_what_their_core_says() {
    let (server, engine) = serve();
    assert_eq!(get(server.address(), "/api/v1/pulls"), (200, json!({"pulls": [], "stalled_cores": []})));
    server.attach_pulls(Arc::new(Targets(vec![
        forward("b", "rtmp://a/live/…", LifeState::Waiting),
        forward("a", "rtmp://b/live/…", LifeState::Standby),
        forward("a", "rtmp://a/live/…", LifeState::On(Step::Live)),
    ])));
    *engine.outgoing.lock().unwrap() = vec![OutgoingInfo {
        id: OutgoingId(5),
        connection: ConnectionId(17),
        state: OutgoingState::Live,
        bytes_in: 500,
        bytes_out: 3,
        messages: 40,
        dropped: 0,
        queued_bytes: 0,
        queued_ms: 0,
        bits_per_second: 9,
        tcp: None,
        lasted: Duration::from_secs(4),
        traffic: Some(TrafficInUse { congestion: "bbr".into(), dscp: 0 }),
    }];
    let (_, mut body) = get(server.address(), "/api/v1/pulls");
    let pulls = body["pulls"].as_array_mut().unwrap();
    let order: Vec<_> =
        pulls.iter().map(|it| (it["name"].as_str().unwrap(), it["source"].as_str().unwrap())).collect();
    assert_eq!(order, [("a", "rtmp://a/live/…"), ("a", "rtmp://b/live/…"), ("b", "rtmp://a/live/…")]);
    let seconds = pulls[0].as_object_mut().unwrap().remove("state_seconds").unwrap().as_f64().unwrap();
    assert!((10.0..40.0).contains(&seconds), "{seconds}");
    assert_eq!(
        pulls[0],
        json!({
            "app": "live", "name": "a", "name_hash": "0badcafe", "source": "rtmp://a/live/…", "named_by": "file", "active": true, "state": "live",
            "connection": "17", "bits_in_per_second": 9, "bytes_in": 1500, "messages_in": 40, "tcp": null, "reconnects": 2, "last_error": "eof",
            "next_try_seconds": null,
            "traffic": {"congestion": "bbr", "dscp": 0}
        })
    );
    let next_try = pulls[2]["next_try_seconds"].as_f64().unwrap();
    assert!((70.0..=100.0).contains(&next_try), "{next_try}");
    // Forwards are another list.
    assert_eq!(get(server.address(), "/api/v1/forwards").1["forwards"], json!([]));
}

#[test]
fn a_stalled_core_is_named_and_the_others_answer() {
    let (server, engine) = serve();
    *engine.streams.lock().unwrap() = vec![stream(0, "live", "a"), stream(1, "live", "b")];
    engine.stalled[1].store(true, Ordering::Relaxed);
    let (status, body) = get(server.address(), "/api/v1/streams");
    assert_eq!((status, &body["stalled_cores"]), (200, &json!([1])));
    assert_eq!(body["streams"].as_array().unwrap().len(), 1);
    let (status, body) = get(server.address(), "/api/v1/connections");
    assert_eq!((status, &body["stalled_cores"]), (200, &json!([1])));
    // The stream that is seen is found; one that is not may be on the core that does not answer.
    assert_eq!(get(server.address(), "/api/v1/streams/live/a").0, 200);
    let (status, body) = get(server.address(), "/api/v1/streams/live/b");
    assert_eq!((status, &body["error"]["stalled_cores"]), (503, &json!([1])));
}

#[test]
fn a_connection_is_closed_once() {
    let (server, engine) = serve();
    let delete = |id: &str| {
        let (status, _, body) = request(server.address(), &format!("DELETE /api/v1/connections/{id}"), "");
        (status, serde_json::from_str::<Value>(&body).map(|body| body["error"]["code"].clone()).ok())
    };
    *engine.connections.lock().unwrap() =
        vec![connection(1, 7, Role::Player), connection(0, 8, Role::Player)];
    assert_eq!(delete("7"), (204, None));
    assert_eq!(delete("7"), (404, Some(json!("not_found"))));
    assert_eq!(delete("seven"), (404, Some(json!("not_found"))));
    assert_eq!(delete("%ff"), (404, Some(json!("not_found"))), "also what no name can be");
    engine.stalled[1].store(true, Ordering::Relaxed);
    assert_eq!(delete("9"), (503, Some(json!("stalled"))));
    assert_eq!(delete("8"), (204, None), "another core's silence is no reason");
}

/// `POST` with a JSON body: status, and the answer's JSON, which has to be as the document says.
fn post(address: SocketAddr, path: &str, body: &str) -> (u16, Value) {
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let text = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n{body}");
    let (status, _, answer) = exchange(address, &text);
    let answer = serde_json::from_str(&answer).expect(&answer);
    document::assert_documented("POST", path, status, &answer);
    (status, answer)
}

#[test]
fn a_drain_is_begun_once_and_shown() {
    let (server, engine) = serve();
    let roles = |publishers: u64, players: u64, pulls: u64| json!({"pending": 0, "publishers": publishers, "standbys": 0, "players": players, "forwards": 0, "pulls": pulls});
    let (status, shown) = get(server.address(), "/api/v1/drain");
    assert_eq!((status, &shown["state"], &shown["began_with"]), (200, &json!("serving"), &Value::Null));
    assert_eq!((&shown["deadline_seconds"], &shown["left"]), (&Value::Null, &roles(0, 4, 0)));
    let (status, shown) = post(server.address(), "/api/v1/drain", "{\"deadline_seconds\": 7}");
    assert_eq!(status, 202, "{shown}");
    assert_eq!(*engine.drain.lock().unwrap(), Some(Duration::from_secs(7)));
    let expected = json!({
        "state": "cutting", "deadline_seconds": 7.0, "elapsed_seconds": 1.5, "began_with": roles(6, 0, 1), "left": roles(0, 4, 0),
        "told": 2, "moved": 0, "closed_at_key_frame": 0, "closed_without_video": 0, "closed_at_deadline": 0, "stalled_cores": []
    });
    assert_eq!(shown, expected);
    assert_eq!(get(server.address(), "/api/v1/drain"), (200, expected));
    let (status, body) = post(server.address(), "/api/v1/drain", "");
    assert_eq!((status, &body["error"]["code"]), (409, &json!("draining")));
    assert_eq!(*engine.drain.lock().unwrap(), Some(Duration::from_secs(7)), "it goes on as it was");
    engine.stalled[1].store(true, Ordering::Relaxed);
    assert_eq!(get(server.address(), "/api/v1/drain").1["stalled_cores"], json!([1]));
}

#[test]
fn a_bad_body_is_refused_with_the_field_and_what_it_may_be() {
    let (server, engine) = serve();
    let allowed = "a whole number of seconds, 0 to 86400";
    for (body, message) in [
        ("{\"deadline_seconds\": 86401}", "86401 is out of range"),
        ("{\"deadline_seconds\": -1}", "-1 is out of range"),
        ("{\"deadline_seconds\": 1.5}", "1.5 is out of range"),
        ("{\"deadline_seconds\": \"20\"}", "\"20\" is no number"),
        ("{\"deadline_seconds\": [20]}", "[20] is no number"),
    ] {
        let (status, answer) = post(server.address(), "/api/v1/drain", body);
        assert_eq!(status, 400, "{body}");
        let error =
            json!({"code": "bad_field", "message": message, "field": "deadline_seconds", "allowed": allowed});
        assert_eq!(answer["error"], error, "{body}");
    }
    let (status, answer) = post(server.address(), "/api/v1/drain", "{\"deadline\": 20}");
    let error = json!({
        "code": "bad_field", "message": "there is no such field", "field": "deadline", "allowed": "deadline_seconds"
    });
    assert_eq!((status, &answer["error"]), (400, &error));
    for body in ["{", "20", "[]", "{\"deadline_seconds\": 20} x", "\u{fffd}"] {
        let (status, answer) = post(server.address(), "/api/v1/drain", body);
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("bad_body")), "{body}");
    }
    for (headers, status, code) in [
        ("Content-Length: 2\r\nContent-Type: text/plain\r\n", 415, "not_json"),
        ("Content-Length: 2\r\n", 415, "not_json"),
        // Its length is not known before it is over the bound.
        ("Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n", 413, "body_too_long"),
        (
            "Content-Length: 2\r\nContent-Type: application/json\r\nOrigin: http://evil.example\r\n",
            403,
            "foreign_origin",
        ),
    ] {
        let body = match headers.contains("chunked") {
            true => format!("5000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x5000)),
            false => "{}".to_owned(),
        };
        let text = format!(
            "POST /api/v1/drain HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n{body}",
            server.address()
        );
        let (refused, _, answer) = exchange(server.address(), &text);
        assert_eq!(refused, status, "{headers}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    }
    assert_eq!(*engine.drain.lock().unwrap(), None, "nothing has begun");
    let mixed = "POST /api/v1/drain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Type: Application/JSON; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(exchange(server.address(), mixed).0, 202);
}

#[test]
fn other_paths_and_methods_get_the_documented_refusal() {
    let (server, _engine) = serve();
    for path in ["/index.html", "/api", "/api/v1", "/api/v2/streams", "/api/v1/nothing", "/metrics/x"] {
        let (status, body) = get(server.address(), path);
        assert_eq!((status, &body["error"]["code"]), (404, &json!("no_route")), "{path}");
        assert!(body["error"]["message"].is_string());
    }
    for line in ["POST /api/v1/streams", "GET /api/v1/connections/7", "DELETE /metrics"] {
        let (status, _, body) = request(server.address(), line, "");
        assert_eq!(status, 405, "{line}");
        assert!(body.contains("\"code\":\"no_method\""), "{body}");
    }
}

#[test]
fn a_page_of_another_origin_gets_nothing() {
    let (server, engine) = serve();
    *engine.connections.lock().unwrap() = vec![connection(0, 7, Role::Player)];
    for header in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n", "Origin: null\r\n"] {
        for line in ["DELETE /api/v1/connections/7", "GET /api/v1/streams", "GET /metrics"] {
            let (status, head, body) = request(server.address(), line, header);
            assert_eq!(status, 403, "{line} {header}");
            assert!(body.contains("\"code\":\"foreign_origin\""), "{body}");
            assert!(!head.contains("access-control-"), "{head}");
        }
    }
    let rebound =
        "DELETE /api/v1/connections/7 HTTP/1.1\r\nHost: evil.example:8935\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(server.address(), rebound).0, 403);
    assert_eq!(engine.connections.lock().unwrap().len(), 1, "nothing was closed");
    let own = format!("Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n", server.address());
    assert_eq!(request(server.address(), "DELETE /api/v1/connections/7", &own).0, 204);
}

/// Where [`TOKEN`] stands, and the file to remove.
fn token_file(name: &str) -> (SecretPlace, PathBuf) {
    let path = std::env::temp_dir().join(format!("inrush-control-{name}-{}", std::process::id()));
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    (SecretPlace::File(path.clone()), path)
}

#[test]
fn with_a_token_everything_but_the_probes_asks_for_it() {
    let (token, path) = token_file("asks");
    let engine = Arc::new(Engine::default());
    engine.ready.store(true, Ordering::Relaxed);
    *engine.connections.lock().unwrap() = vec![connection(0, 7, Role::Player)];
    let started = |metrics_open| {
        let listen = "127.0.0.1:0".parse().unwrap();
        let settings = Settings { listen, token: Some(token.clone()), metrics_open, ..Settings::default() };
        let server: Server<Arc<Engine>> = start(&settings).unwrap();
        server.attach(Arc::clone(&engine));
        server
    };
    let server = started(false);
    let closed = [
        ("GET /metrics", 200),
        ("GET /api/v1/streams", 200),
        ("GET /api/v1/connections", 200),
        ("GET /api/v1/forwards", 200),
        ("DELETE /api/v1/connections/7", 204),
        // What exists is nobody's business either.
        ("GET /dashboard", 404),
        ("GET /api/v1/streams/live/none", 404),
        ("DELETE /metrics", 405),
        ("OPTIONS /api/v1/streams", 405),
    ];
    for (line, with_token) in closed {
        for (said, challenge) in [
            ("", "www-authenticate: bearer realm=\"inrush\"\r\n"),
            (
                "Authorization: Bearer 0123456789abcdef\r\n",
                "www-authenticate: bearer realm=\"inrush\", error=\"invalid_token\"\r\n",
            ),
        ] {
            let (status, head, body) = request(server.address(), line, said);
            assert_eq!(status, 401, "{line} {said}");
            assert!(head.contains(challenge), "{head}");
            assert!(body.starts_with("{\"error\":{\"code\":\"unauthorized\",\"message\":"), "{body}");
        }
        let (status, ..) = request(server.address(), line, &format!("Authorization: Bearer {TOKEN}\r\n"));
        assert_eq!(status, with_token, "{line}");
    }
    for line in ["GET /healthz", "GET /readyz"] {
        assert_eq!(request(server.address(), line, "").0, 200, "{line}");
    }
    // The page asks for the token itself.
    for path in dashboard::PAGES {
        let (status, head, body) = request(server.address(), &format!("GET {path}"), "");
        assert_eq!((status, body.contains(TOKEN)), (200, false), "{path}");
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'; "), "{head}");
    }
    // The token makes no other site's page welcome.
    let page = format!("Authorization: Bearer {TOKEN}\r\nOrigin: http://evil.example\r\n");
    assert_eq!(request(server.address(), "GET /api/v1/streams", &page).0, 403);

    let server = started(true);
    let (status, _, body) = request(server.address(), "GET /metrics", "");
    assert_eq!(status, 200);
    assert!(body.contains("\ninrush_control_unauthorized_total 0\n"), "{body}");
    assert_eq!(request(server.address(), "GET /api/v1/streams", "").0, 401);
    let (.., body) = request(server.address(), "GET /metrics", "");
    assert!(body.contains("\ninrush_control_unauthorized_total 1\n"), "{body}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn nobody_listens_to_others_without_a_token() {
    let everybody = Settings { listen: "0.0.0.0:0".parse().unwrap(), ..Settings::default() };
    let error = start::<Arc<Engine>>(&everybody).err().expect("refused").to_string();
    assert_eq!(error, "control HTTP on 0.0.0.0:0, where others reach it, and there is no control.token");
}

#[test]
fn metrics_have_every_counter_of_every_core_in_both_formats() {
    let (server, engine) = serve();
    engine.counts[0].publish(&Counts {
        accepted: 11,
        connections: 2,
        tls_handshake_us: 1_500_000,
        ..Counts::default()
    });
    engine.counts[1].publish(&Counts { accepted: 22, panics: 1, ..Counts::default() });

    let (status, head, plain) = request(server.address(), "GET /metrics", "");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1\r\n";
    let (_, head, open_metrics) = request(server.address(), "GET /metrics", accept);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");

    for (line, text) in [
        ("# TYPE inrush_accepted_total counter", &plain),
        ("# TYPE inrush_accepted counter", &open_metrics),
        ("# TYPE inrush_connections gauge", &plain),
        ("inrush_close_reason_total{core=\"1\",kind=\"kicked\"} 1", &plain),
        ("# TYPE inrush_close_reason_total counter", &plain),
        ("inrush_session_error_total{core=\"0\",kind=\"amf_depth\"} 2", &plain),
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is missing from\n{text}");
    }
    for line in [
        "inrush_accepted_total{core=\"0\"} 11",
        "inrush_accepted_total{core=\"1\"} 22",
        "inrush_tls_handshake_seconds_total{core=\"0\"} 1.5",
        "inrush_connections{core=\"0\"} 2",
        "inrush_panics_total{core=\"1\"} 1",
        "inrush_cores 2",
        "inrush_ready 1",
        "inrush_streams_unhealthy{code=\"no_video\"} 1",
        "inrush_streams_unhealthy{code=\"starving\"} 0",
        "inrush_health_events_total{code=\"no_video\"} 5",
        "inrush_draining 0",
        "inrush_sweep_age_seconds{core=\"0\"} 0.25",
        "inrush_control_connections_refused_total 0",
        "inrush_certificate_not_after_timestamp_seconds{chain_file=\"/etc/a \\\"b\\\".pem\"} 1800000000",
        "inrush_tick_seconds_bucket{le=\"+Inf\",core=\"0\"} 0",
    ] {
        for text in [&plain, &open_metrics] {
            assert!(text.lines().any(|one| one == line), "{line} is missing from\n{text}");
        }
    }
    PublishedCounts::default().for_each(|name, _, is_gauge, _| {
        let suffix = if is_gauge { "" } else { "_total" };
        let name = name.strip_suffix("_us").map_or_else(|| name.to_owned(), |name| format!("{name}_seconds"));
        assert!(plain.contains(&format!("\ninrush_{name}{suffix}{{core=\"1\"}} ")), "{name}");
    });
    assert!(open_metrics.ends_with("# EOF\n"));
    assert!(!plain.contains("# EOF"));

    // One family, one place: help and type stand once, before all of its samples.
    let mut seen = std::collections::BTreeSet::new();
    let families = plain.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    for (family, _) in families {
        assert!(seen.insert(family.to_owned()), "{family} stands twice");
    }
}

/// Lines of samples that carry this stream's name.
fn series_of<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let label = format!("name=\"{name}\"");
    text.lines().filter(|line| line.contains(&label)).collect()
}

#[test]
fn streams_with_the_highest_bitrates_have_series_and_others_when_asked_for() {
    let settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), top_streams: 2, ..Settings::default() };
    let server: Server<Arc<Engine>> = start(&settings).unwrap();
    let engine = Arc::new(Engine::default());
    server.attach(Arc::clone(&engine));
    let with_rate = |core, name: &str, bits_in_per_second| StreamInfo {
        bits_in_per_second,
        ..stream(core, "live", name)
    };
    *engine.streams.lock().unwrap() = vec![
        with_rate(0, "slow", 10),
        with_rate(0, "fast\"\\\n", 30),
        with_rate(1, "middling", 20),
        with_rate(1, "slower", 9),
        StreamInfo { dry_run: true, ..with_rate(1, "tried", 40) },
        // It changes its home just now.
        with_rate(1, "fast\"\\\n", 30),
    ];
    let metrics = |query: &str| request(server.address(), &format!("GET /metrics{query}"), "");
    let (_, _, text) = metrics("");
    let hostile = "inrush_stream_bytes_in_per_second{app=\"live\",name=\"fast\\\"\\\\\\n\"} 3";
    assert!(text.lines().any(|line| line == hostile), "{text}");
    assert_eq!(text.lines().filter(|line| *line == hostile).count(), 1);
    for (name, is_shown) in [("middling", true), ("slow", false), ("slower", false), ("tried", false)] {
        assert_eq!(!series_of(&text, name).is_empty(), is_shown, "{name}");
    }
    assert!(text.contains("inrush_stream_unhealthy{app=\"live\",name=\"middling\",code=\"no_audio\"} 1\n"));
    assert!(text.contains("\ninrush_stream_bytes_in_total{app=\"live\",name=\"middling\"} 9\n"));
    assert!(series_of(&text, "middling").len() <= stream_series::STREAM_SERIES_MAX);

    // By name: these alone, and nothing of the node.
    let (status, _, text) = metrics("?stream=live%2Fslow&stream=live/none&x=y");
    assert_eq!(status, 200);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    assert!(samples.clone().all(|line| line.starts_with("inrush_stream_")), "{text}");
    assert_eq!(series_of(&text, "slow").len(), samples.count() - 1);
    assert!(text.contains("\ninrush_stream_live{app=\"live\",name=\"slow\"} 1\n"), "{text}");
    assert!(text.contains("\ninrush_stream_live{app=\"live\",name=\"none\"} 0\n"), "{text}");
    for query in ["?stream=slow", "?stream=", "?stream=live/%25ff", &format!("?{}", "stream=a/b&".repeat(21))]
    {
        let (status, _, body) = metrics(query);
        assert_eq!(status, 400, "{query}");
        let error = serde_json::from_str::<Value>(&body).expect(&body)["error"].clone();
        assert_eq!((&error["code"], &error["field"]), (&json!("bad_field"), &json!("stream")));
        assert!(error["allowed"].is_string() && error["message"].is_string(), "{body}");
    }

    // A core that stands still takes nothing but its streams away, and no end of a stream is made up.
    engine.stalled[0].store(true, Ordering::Relaxed);
    let (_, _, text) = metrics("");
    assert_eq!((series_of(&text, "slow").len(), series_of(&text, "middling").is_empty()), (0, false));
    assert!(text.contains("inrush_cores 2\n"));
    assert_eq!(metrics("?stream=live/slower").0, 200);
    assert_eq!(metrics("?stream=live/slow").0, 503);
}

#[test]
fn open_metrics_name_no_stream_to_who_says_no_token() {
    let (token, path) = token_file("names");
    let listen = "127.0.0.1:0".parse().unwrap();
    let settings = Settings { listen, token: Some(token), metrics_open: true, ..Settings::default() };
    let server: Server<Arc<Engine>> = start(&settings).unwrap();
    let engine = Arc::new(Engine::default());
    *engine.streams.lock().unwrap() = vec![stream(0, "live", "secret")];
    server.attach(engine);
    let with_token = format!("Authorization: Bearer {TOKEN}\r\n");
    for (said, names) in [("", false), ("Authorization: Bearer x\r\n", false), (&*with_token, true)] {
        let (status, _, text) = request(server.address(), "GET /metrics", said);
        assert_eq!((status, text.contains("secret")), (200, names), "{said}");
        let (status, _, text) = request(server.address(), "GET /metrics?stream=live/secret", said);
        assert_eq!((status, text.contains("secret")), (if names { 200 } else { 401 }, names), "{said}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn long_heads_and_long_bodies_are_refused() {
    let (server, _engine) = serve();
    let long = format!("X-Long: {}\r\n", "x".repeat(server::HEAD_BYTES_MAX + 1));
    assert_eq!(request(server.address(), "GET /healthz", &long).0, 431);
    let (status, _, body) = request(server.address(), "GET /healthz", "Content-Length: 16385\r\n");
    assert_eq!(status, 413);
    assert!(body.contains("\"code\":\"body_too_long\""), "{body}");
}

#[test]
fn connections_beyond_the_bound_are_closed_and_counted_and_the_others_stay() {
    let (server, _engine) = serve();
    let connect = || TcpStream::connect(server.address()).unwrap();
    let idle: Vec<_> = (0..server::CONNECTIONS_MAX).map(|_| connect()).collect();
    let mut one_more = connect();
    one_more.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(matches!(one_more.read(&mut [0; 1]), Ok(0) | Err(_)), "closed without a word");
    drop(idle);
    let deadline = Instant::now() + Duration::from_secs(5);
    let scrape = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address());
    let (_, _, body) = loop {
        match try_exchange(server.address(), &scrape) {
            Some(answer) => break answer,
            None => assert!(Instant::now() < deadline, "the idle ones are gone and there is no room"),
        }
    };
    let refused =
        body.lines().find_map(|line| line.strip_prefix("inrush_control_connections_refused_total "));
    assert!(refused.expect("counted").parse::<u64>().unwrap() >= 1);
}

#[test]
fn a_slow_client_is_cut_and_a_busy_one_ends_with_its_life() {
    let patience = server::Patience {
        head: Duration::from_millis(200),
        body: Duration::from_millis(200),
        unread: Duration::from_millis(200),
        life: Duration::from_millis(600),
    };
    let settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
    let server: Server<Arc<Engine>> = server::start_with(&settings, patience).unwrap();
    let connect = || {
        let socket = TcpStream::connect(server.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    };

    // Half a head and then nothing.
    let start = Instant::now();
    let mut slow = connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    let _ = slow.read_to_end(&mut Vec::new());
    assert!((200..2000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());

    // A body that does not come: it is said why, as the head was whole.
    server.attach(Arc::new(Engine::default()));
    let start = Instant::now();
    let mut slow = connect();
    let head = "POST /api/v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n{";
    slow.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = slow.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"slow_body\""), "{answer}");
    assert!((200..2000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());

    // One request after the other, without end.
    let start = Instant::now();
    let mut busy = connect();
    let mut answers = 0;
    while busy.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").is_ok() {
        match busy.read(&mut [0; 1024]) {
            Ok(0) | Err(_) => break,
            Ok(_) => answers += 1,
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(answers >= 2, "served while it lived");
    assert!((600..3000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[test]
fn a_port_in_use_is_an_error_that_says_what_to_do() {
    let server = start_on("127.0.0.1:0");
    let taken = Settings { listen: server.address(), ..Settings::default() };
    let error = start::<Arc<Engine>>(&taken).err().expect("refused").to_string();
    let port = server.address().port();
    assert_eq!(
        error,
        format!(
            "control HTTP: 127.0.0.1:{port} is in use; see who has it with `ss -ltnp 'sport = :{port}'`, \
             or choose another with --http"
        )
    );
    let (token, path) = token_file("elsewhere");
    let elsewhere =
        Settings { listen: "192.0.2.1:8935".parse().unwrap(), token: Some(token), ..Settings::default() };
    let error = start::<Arc<Engine>>(&elsewhere).err().expect("refused").to_string();
    assert!(error.starts_with("control HTTP: cannot listen on 192.0.2.1:8935: "), "{error}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn dropping_the_server_frees_its_port_also_under_open_connections() {
    let (server, _engine) = serve();
    let address = server.address();
    let _idle = TcpStream::connect(address).unwrap();
    assert_eq!(get(address, "/healthz").0, 200);
    drop(server);
    let again: Server<Arc<Engine>> =
        start(&Settings { listen: address, ..Settings::default() }).expect("free again");
    assert_eq!(get(again.address(), "/healthz").0, 200);
}
