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

mod bounds;
mod document;
mod doors;
mod drains;
mod events;
mod forwards_and_pulls;
mod lists;
mod scrapes;

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

/// `POST` with a JSON body: status, and the answer's JSON, which has to be as the document says.
fn post(address: SocketAddr, path: &str, body: &str) -> (u16, Value) {
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let text = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n{body}");
    let (status, _, answer) = exchange(address, &text);
    let answer = serde_json::from_str(&answer).expect(&answer);
    document::assert_documented("POST", path, status, &answer);
    (status, answer)
}

/// Where [`TOKEN`] stands, and the file to remove.
fn token_file(name: &str) -> (SecretPlace, PathBuf) {
    let path = std::env::temp_dir().join(format!("inrush-control-{name}-{}", std::process::id()));
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    (SecretPlace::File(path.clone()), path)
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
