//! The admin API: streams and connections as JSON, and closing one.
//!
//! Names of fields are stable; fields may be added. Lists come from all cores; a core that did not answer within
//! [`QUERY_MAX`] is named in `stalled_cores`, and the list lacks what it has.
//!
//! `GET /api/v1/streams`, sorted by app and name:
//! ```json
//! {"streams": [{"app": "live", "name": "test", "name_hash": "9f86d081", "core": 0, "dry_run": false, "publisher": "17",
//!   "standby": null, "absent": false, "discontinuities": 0, "health": [{"code": "no_audio", "seconds": 3.2}], "subscribers": 2, "codecs": ["avc1.64001f", "mp4a.40.2"], "tracks": [
//!     {"id": 0, "kind": "video", "codec": "avc1", "codec_string": "avc1.64001f",
//!      "resolution": {"width": 1280, "height": 720}, "sample_rate_hz": null, "channels": null},
//!     {"id": 0, "kind": "audio", "codec": "mp4a", "codec_string": "mp4a.40.2", "resolution": null, "sample_rate_hz": 48000,
//!      "channels": 2}],
//!   "resolution": {"width": 1280, "height": 720}, "audio": {"sample_rate_hz": 48000, "channels": 2},
//!   "announced_tracks": [{"id": 1, "kind": "video", "codec": "av01", "kbps": 2000, "resolution": {"width": 1024, "height": 768},
//!     "frame_rate": 30.0, "sample_rate_hz": null, "channels": null}],
//!   "limits": {"bits_per_second": 6000000, "frames_per_second": null, "width": null, "height": 1080, "seconds": null, "codecs": ["avc1", "mp4a"]},
//!   "bits_in_per_second": 3012000, "bytes_in": 9412345, "messages_in": 4711, "gop_bytes": 512000, "gop_frames": 96,
//!   "timestamp_steps_back": 0, "timestamp_jumps": 0, "timestamps_held": 0, "timestamp_clock_changes": 0,
//!   "media": {"video_bits_per_second": 2880000, …}, "tcp": {"rtt_us": 20400, …},
//!   "ingest": {"frames": 4711, "codecs_unknown": 0, "packets_unknown": 0, …}, "uptime_seconds": 25.1}], "stalled_cores": []}
//! ```
//! `dry_run` is true of what a publisher sends that asked for a dry run (`?bandwidthtest=1`): nobody can play it, and several, or a real
//! stream, may go by one name. `standby` is the connection that goes on
//! with the stream when its publisher dies or starves. `absent` says that the publisher was lost and is waited for.
//! `discontinuities` counts how often the stream has gone on with another publisher. `announced_tracks` is what the encoder's `onMetaData` says of tracks beside the default ones, whether they come or not.
//! `limits` is what its publisher is held to, by its app and by what let it in: the stricter of both; null is no limit.
//! `health` has what is wrong with what the publisher sends, and for how long that has been told: the codes are those of [`crate::media::health`].
//! `timestamps_held` and `timestamp_clock_changes` count what `timestamps = "monotonic"` has repaired. `media` is what the publisher's media comes
//! to (see `control/media.rs`), null without a publisher.
//! `tcp` is what the kernel knows of the publisher's path (see `control/tcp.rs`), null without a publisher.
//! `ingest` counts by kind what was seen of the publisher's messages: what we do not know of them is forwarded as it came.
//!
//! `GET /api/v1/streams/{app}/{name}`: `{"stream": {…}, "stalled_cores": []}`. Both parts percent-decoded; slashes inside the
//! name may stand as they are, slashes inside the app are written `%2F`.
//!
//! `GET /api/v1/connections`, sorted by id:
//! ```json
//! {"connections": [{"id": "17", "peer": "192.0.2.7:50412", "core": 0, "role": "publisher", "app": "live",
//!   "name": "test", "name_hash": "9f86d081", "flash_ver": "FMLE/3.0 (compatible; Lavf59.27.100)",
//!   "enhanced": {"fourcc": ["hvc1", "av01"], "caps": ["reconnect", "multitrack"]},
//!   "encoder": "ffmpeg",
//!   "bits_in_per_second": 3012000, "bits_out_per_second": 0, "bytes_in": 9412345, "bytes_out": 3500, "messages_in": 4711,
//!   "messages_out": 0, "dropped": 0, "held_bytes": 0, "uptime_seconds": 25.4, "codecs": "avc1.64001f,mp4a.40.2",
//!   "resolution": {"width": 1280, "height": 720}, "health": [], "tls": {"version": "TLSv1.3", "cipher": "TLS13_AES_128_GCM_SHA256",
//!   "server_name": "live.example.org", "resumed": false}, "tcp": {"rtt_us": 20400, …}, "traffic": {"congestion": "cubic", "dscp": 34}}], "stalled_cores": []}
//! ```
//! Ids are strings, as they may use all 64 bits and many JSON readers keep 53. `role` is `pending`, `publisher`,
//! `standby` or `player`, or of a connection that we made `forward` or `pull`. `enhanced`
//! is what the peer said of its Enhanced RTMP: codecs (`*` for any) and of `reconnect`, `multitrack`, `mod_ex` and
//! `timestamp_nano_offset` what it does; null when it said nothing.
//! `health` is a publisher's, as for streams; here a standby's is to be seen as well.
//! `tcp` is what the kernel knows of the path (see `control/tcp.rs`).
//! `tls` is null without TLS, and its `server_name` when the client asked for none.
//! `traffic` is the congestion control and the DSCP that its socket has, asked of the kernel; null when it does not say.
//!
//! `DELETE /api/v1/connections/{id}`: 204 when it is being closed, 404 when no core has it, 503 when none has it and a core did
//! not answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::sync::SemaphorePermit;
use tracing::info;

use super::cores::{CoreAnswer, Cores};
use super::media::Media;
use super::refusal::Refusal;
use super::router::Control;
use super::tcp::Tcp;
use crate::edge::auth::said_limits::SaidLimits;
use crate::media::metadata::TrackHints;
use crate::media::{IngestCounters, MediaKind};
use crate::rtmp::command::Capabilities;
use crate::runtime::observe::{ConnectionId, ConnectionInfo, HealthInfo, StreamInfo, TlsInfo, TrackInfo};
use crate::runtime::traffic::TrafficInUse;

/// How long a core may take to answer.
pub const QUERY_MAX: Duration = Duration::from_secs(1);

/// Questions that the cores are asked at a time: each costs a core a walk over its slab.
pub const QUERIES_MAX: usize = 4;

pub(super) async fn streams<C: Cores>(
    State(control): State<Arc<Control<C>>>,
) -> Result<Json<Streams>, Refusal> {
    let cores = control.running()?;
    let _permit = permit(&control).await?;
    let (mut streams, stalled_cores) = gather(cores.streams(QUERY_MAX).await);
    streams.sort_by(|a, b| (&a.app, &a.name).cmp(&(&b.app, &b.name)));
    Ok(Json(Streams { streams: streams.into_iter().map(Stream::from).collect(), stalled_cores }))
}

pub(super) async fn stream<C: Cores>(
    State(control): State<Arc<Control<C>>>,
    request: Request,
) -> Result<Json<OneStream>, Refusal> {
    const NONE: Refusal = Refusal::NotFound("no such stream");
    let cores = control.running()?;
    // Not the router's decoded path: it no longer tells a slash from %2F. Nesting has taken the front of the path away.
    let (app, name) = request.uri().path().strip_prefix("/streams/").and_then(address).ok_or(NONE)?;
    let _permit = permit(&control).await?;
    let (streams, stalled_cores) = gather(cores.streams(QUERY_MAX).await);
    // Dry runs stand beside the stream that their name belongs to.
    let named = streams.into_iter().filter(|stream| stream.app == app && stream.name == name);
    match named.min_by_key(|stream| stream.dry_run) {
        Some(stream) => Ok(Json(OneStream { stream: stream.into(), stalled_cores })),
        None if stalled_cores.is_empty() => Err(NONE),
        None => Err(Refusal::Stalled(stalled_cores)),
    }
}

pub(super) async fn connections<C: Cores>(
    State(control): State<Arc<Control<C>>>,
) -> Result<Json<Connections>, Refusal> {
    let cores = control.running()?;
    let _permit = permit(&control).await?;
    let (mut connections, stalled_cores) = gather(cores.connections(QUERY_MAX).await);
    // One that moves between cores while they answer may be seen on both.
    connections.sort_by_key(|connection| connection.id);
    connections.dedup_by_key(|connection| connection.id);
    let connections = connections.into_iter().map(Connection::from).collect();
    Ok(Json(Connections { connections, stalled_cores }))
}

pub(super) async fn kick<C: Cores>(
    State(control): State<Arc<Control<C>>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Refusal> {
    const NONE: Refusal = Refusal::NotFound("no such connection");
    let cores = control.running()?;
    // Axum's own refusal of what is no UTF-8 would have another shape than ours.
    let Path(id) = id.map_err(|_| NONE)?;
    let id = ConnectionId(id.parse().map_err(|_| NONE)?);
    let _permit = permit(&control).await?;
    let mut stalled = Vec::new();
    for answer in cores.kick(id, QUERY_MAX).await {
        match answer {
            CoreAnswer::Answer(true) => {
                info!(connection = id.0, "closed through the API");
                return Ok(StatusCode::NO_CONTENT);
            }
            CoreAnswer::Answer(false) => {}
            CoreAnswer::Stalled { core } => stalled.push(core),
        }
    }
    if stalled.is_empty() { Err(NONE) } else { Err(Refusal::Stalled(stalled)) }
}

/// `GET /api/v1/streams`.
#[derive(Serialize)]
pub(super) struct Streams {
    streams: Vec<Stream>,
    stalled_cores: Vec<u16>,
}

/// `GET /api/v1/streams/{app}/{name}`.
#[derive(Serialize)]
pub(super) struct OneStream {
    stream: Stream,
    stalled_cores: Vec<u16>,
}

/// `GET /api/v1/connections`.
#[derive(Serialize)]
pub(super) struct Connections {
    connections: Vec<Connection>,
    stalled_cores: Vec<u16>,
}

/// [`StreamInfo`] as JSON.
#[derive(Serialize)]
pub(super) struct Stream {
    app: String,
    name: String,
    name_hash: String,
    core: u16,
    dry_run: bool,
    publisher: Option<String>,
    standby: Option<String>,
    absent: bool,
    discontinuities: u64,
    health: Vec<Health>,
    subscribers: u64,
    codecs: Vec<String>,
    tracks: Vec<Track>,
    resolution: Option<Resolution>,
    audio: Option<Audio>,
    announced_tracks: Vec<AnnouncedTrack>,
    limits: SaidLimits,
    bits_in_per_second: u64,
    bytes_in: u64,
    messages_in: u64,
    gop_bytes: u64,
    gop_frames: u64,
    timestamp_steps_back: u64,
    timestamp_jumps: u64,
    timestamps_held: u64,
    timestamp_clock_changes: u64,
    media: Option<Media>,
    tcp: Option<Tcp>,
    ingest: BTreeMap<&'static str, u64>,
    uptime_seconds: f64,
}

/// [`ConnectionInfo`] as JSON.
#[derive(Serialize)]
struct Connection {
    id: String,
    peer: String,
    core: u16,
    role: &'static str,
    app: String,
    name: String,
    name_hash: String,
    flash_ver: String,
    enhanced: Option<Enhanced>,
    encoder: &'static str,
    bits_in_per_second: u64,
    bits_out_per_second: u64,
    bytes_in: u64,
    bytes_out: u64,
    messages_in: u64,
    messages_out: u64,
    dropped: u64,
    held_bytes: u64,
    uptime_seconds: f64,
    codecs: String,
    resolution: Option<Resolution>,
    health: Vec<Health>,
    tls: Option<Tls>,
    tcp: Option<Tcp>,
    traffic: Option<Traffic>,
}

/// [`HealthInfo`] as JSON.
#[derive(Serialize)]
struct Health {
    code: &'static str,
    seconds: f64,
}

/// [`TlsInfo`] as JSON.
#[derive(Serialize)]
struct Tls {
    version: &'static str,
    cipher: &'static str,
    server_name: Option<String>,
    resumed: bool,
}

/// [`TrafficInUse`] as JSON.
#[derive(Serialize)]
pub(super) struct Traffic {
    congestion: String,
    dscp: u8,
}

/// [`TrackInfo`] as JSON.
#[derive(Serialize)]
struct Track {
    id: u8,
    kind: &'static str,
    codec: String,
    codec_string: String,
    resolution: Option<Resolution>,
    sample_rate_hz: Option<u32>,
    channels: Option<u8>,
}

/// [`TrackHints`] as JSON.
#[derive(Serialize)]
struct AnnouncedTrack {
    id: u8,
    kind: &'static str,
    codec: Option<String>,
    kbps: Option<u32>,
    resolution: Option<Resolution>,
    frame_rate: Option<f64>,
    sample_rate_hz: Option<u32>,
    channels: Option<u8>,
}

/// [`Capabilities`] as JSON.
#[derive(Serialize)]
struct Enhanced {
    fourcc: Vec<String>,
    caps: Vec<&'static str>,
}

#[derive(Serialize)]
struct Resolution {
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct Audio {
    sample_rate_hz: u32,
    channels: u8,
}

impl From<StreamInfo> for Stream {
    fn from(info: StreamInfo) -> Self {
        Self {
            app: info.app,
            name: info.name,
            name_hash: info.name_hash,
            core: info.core,
            dry_run: info.dry_run,
            publisher: info.publisher.map(|id| id.0.to_string()),
            standby: info.standby.map(|id| id.0.to_string()),
            absent: info.absent,
            discontinuities: info.discontinuities,
            health: health(info.health),
            subscribers: info.subscribers,
            codecs: info.codecs,
            tracks: info.tracks.into_iter().map(Track::from).collect(),
            resolution: resolution(info.resolution),
            audio: info.audio.map(|(sample_rate_hz, channels)| Audio { sample_rate_hz, channels }),
            limits: SaidLimits::from(&info.limits),
            announced_tracks: info.announced_tracks.into_iter().map(AnnouncedTrack::from).collect(),
            bits_in_per_second: info.bits_in_per_second,
            bytes_in: info.bytes_in,
            messages_in: info.messages_in,
            gop_bytes: info.gop_bytes,
            gop_frames: info.gop_frames,
            timestamp_steps_back: info.timestamp_steps_back,
            timestamp_jumps: info.timestamp_jumps,
            timestamps_held: info.timestamps_held,
            timestamp_clock_changes: info.timestamp_clock_changes,
            media: info.media.map(Media::from),
            tcp: info.tcp.map(Tcp::from),
            ingest: counters(&info.ingest),
            uptime_seconds: info.uptime_seconds,
        }
    }
}

impl From<TrackInfo> for Track {
    fn from(info: TrackInfo) -> Self {
        Self {
            id: info.id,
            kind: if info.is_video { "video" } else { "audio" },
            codec: info.codec,
            codec_string: info.codec_string,
            resolution: resolution(info.resolution),
            sample_rate_hz: info.sample_rate_hz,
            channels: info.channels,
        }
    }
}

impl From<TrackHints> for AnnouncedTrack {
    fn from(hints: TrackHints) -> Self {
        Self {
            id: hints.id.0,
            kind: if hints.kind == MediaKind::Video { "video" } else { "audio" },
            codec: hints
                .codec
                .map(|codec| codec.fourcc().map_or_else(|| codec.name().into_owned(), |it| it.to_string())),
            kbps: hints.kbps,
            resolution: resolution(hints.size),
            frame_rate: hints.frame_rate,
            sample_rate_hz: hints.sample_rate,
            channels: hints.channels,
        }
    }
}

impl From<ConnectionInfo> for Connection {
    fn from(info: ConnectionInfo) -> Self {
        Self {
            id: info.id.0.to_string(),
            peer: info.peer.to_string(),
            core: info.core,
            role: info.role.label(),
            app: info.app,
            name: info.name,
            name_hash: info.name_hash,
            flash_ver: info.flash_ver,
            enhanced: enhanced(&info.capabilities),
            encoder: info.encoder.label(),
            bits_in_per_second: info.bits_in_per_second,
            bits_out_per_second: info.bits_out_per_second,
            bytes_in: info.bytes_in,
            bytes_out: info.bytes_out,
            messages_in: info.messages_in,
            messages_out: info.messages_out,
            dropped: info.dropped,
            held_bytes: info.held_bytes,
            uptime_seconds: info.uptime_seconds,
            codecs: info.codecs,
            resolution: resolution(info.resolution),
            health: health(info.health),
            tls: info.tls.map(Tls::from),
            tcp: info.tcp.map(Tcp::from),
            traffic: info.traffic.map(Traffic::from),
        }
    }
}

fn health(codes: Vec<HealthInfo>) -> Vec<Health> {
    let code = |info: HealthInfo| Health { code: info.code.label(), seconds: info.lasted.as_secs_f64() };
    codes.into_iter().map(code).collect()
}

fn counters(seen: &IngestCounters) -> BTreeMap<&'static str, u64> {
    let mut counters = BTreeMap::new();
    seen.for_each(|name, value| {
        counters.insert(name, value);
    });
    counters
}

fn enhanced(said: &Capabilities) -> Option<Enhanced> {
    said.speaks_enhanced()
        .then(|| Enhanced { fourcc: said.codec_names(), caps: said.caps_ex.labels().collect() })
}

impl From<TrafficInUse> for Traffic {
    fn from(in_use: TrafficInUse) -> Self {
        let TrafficInUse { congestion, dscp } = in_use;
        Self { congestion, dscp }
    }
}

impl From<TlsInfo> for Tls {
    fn from(info: TlsInfo) -> Self {
        let TlsInfo { version, cipher, server_name, resumed } = info;
        Self { version, cipher, server_name, resumed }
    }
}

fn resolution(size: Option<(u32, u32)>) -> Option<Resolution> {
    size.map(|(width, height)| Resolution { width, height })
}

/// Leave to ask the cores something.
pub(super) async fn permit<C>(control: &Control<C>) -> Result<SemaphorePermit<'_>, Refusal> {
    match tokio::time::timeout(QUERY_MAX, control.queries.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Refusal::Busy),
    }
}

/// One list from all cores, and the cores that are missing from it.
pub(super) fn gather<T>(answers: Vec<CoreAnswer<Vec<T>>>) -> (Vec<T>, Vec<u16>) {
    let (mut all, mut stalled) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            CoreAnswer::Answer(mut part) => all.append(&mut part),
            CoreAnswer::Stalled { core } => stalled.push(core),
        }
    }
    (all, stalled)
}

/// App and name of `{app}/{name}`, still encoded: split first, decoded afterwards.
pub(super) fn address(path: &str) -> Option<(String, String)> {
    let (app, name) = path.split_once('/')?;
    let decode = |part| Some(percent_decode_str(part).decode_utf8().ok()?.into_owned());
    Some((decode(app)?, decode(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_split_before_it_is_decoded() {
        let address = |path| address(path).map(|(app, name)| format!("{app}|{name}"));
        assert_eq!(address("live/test").as_deref(), Some("live|test"));
        assert_eq!(address("live/a/b").as_deref(), Some("live|a/b"));
        assert_eq!(address("live%2Feu/a%2Fb%20c").as_deref(), Some("live/eu|a/b c"));
        assert_eq!(address("/name").as_deref(), Some("|name"), "an empty app is an app");
        assert_eq!(address("live"), None);
        assert_eq!(address("live/%ff"), None);
    }
}
