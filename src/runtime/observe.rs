//! What a running engine tells about itself: plain data, made by each core for whoever asks.

use std::net::SocketAddr;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub use super::tcp_info::TcpInfo;
use super::traffic::TrafficInUse;
use crate::media::health::Code;
use crate::media::metadata::TrackHints;
use crate::media::{Figures, IngestCounters, Limits, MediaKind};
use crate::rtmp::command::Capabilities;
use crate::session::Encoder;

/// A connection's name in the API: unique while the process lives. Tells its first core and never changes when it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What a connection is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has neither published nor played yet.
    Pending,
    /// Publishes a stream.
    Publisher,
    /// Publishes one that somebody else is on the air for, in case.
    Standby,
    /// Plays one.
    Player,
    /// A connection that we made, to publish a stream there.
    Forward,
    /// A connection that we made, to fetch a stream from there.
    Pull,
}

impl Role {
    /// As logs and the API say it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Publisher => "publisher",
            Self::Standby => "standby",
            Self::Player => "player",
            Self::Forward => "forward",
            Self::Pull => "pull",
        }
    }
}

/// What a connection's TLS agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its name in the IANA's list; those of TLS 1.3 begin with `TLS13_`.
    pub cipher: &'static str,
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// Whether it went on with a session of before, by a ticket.
    pub resumed: bool,
}

/// One connection, as the API shows it.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Its name in the API.
    pub id: ConnectionId,
    /// The far end.
    pub peer: SocketAddr,
    /// The core that serves it now.
    pub core: u16,
    /// What it is there for.
    pub role: Role,
    /// App of the stream; before publish or play the first path segment of `connect`'s, since what follows may hold a key; empty before.
    pub app: String,
    /// Name of the stream; empty before publish or play.
    pub name: String,
    /// The stream's name as the logs show it: a short keyed hash.
    pub name_hash: String,
    /// The encoder's or player's own name for itself.
    pub flash_ver: String,
    /// What it says of its Enhanced RTMP; empty when it says nothing.
    pub capabilities: Capabilities,
    /// What it is taken for.
    pub encoder: Encoder,
    /// Bits a second received over the last few seconds.
    pub bits_in_per_second: u64,
    /// Bits a second sent over the last few seconds.
    pub bits_out_per_second: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Media messages received.
    pub messages_in: u64,
    /// Media messages sent.
    pub messages_out: u64,
    /// Frames that the drop policy kept from a player.
    pub dropped: u64,
    /// Bytes held on its peer's behalf: input that is not parsed or not a whole message yet, and answers that wait to be read.
    pub held_bytes: u64,
    /// Seconds since it was accepted.
    pub uptime_seconds: f64,
    /// Codec strings, comma separated; publishers only.
    pub codecs: String,
    /// Width and height of the default video track; publishers only.
    pub resolution: Option<(u32, u32)>,
    /// What is wrong with what it sends; publishers only.
    pub health: Vec<HealthInfo>,
    /// What TLS agreed on; `None` without TLS, and before its handshake is done.
    pub tls: Option<TlsInfo>,
    /// What the kernel knows of its path.
    pub tcp: Option<TcpInfo>,
    /// Its congestion control and DSCP; `None` when the socket does not say.
    pub traffic: Option<TrafficInUse>,
}

/// One track of a stream, as the API shows it.
#[derive(Clone, Debug)]
pub struct TrackInfo {
    /// Its number among those of its kind (E-RTMP v2 `videoTrackId`, `audioTrackId`).
    pub id: u8,
    /// Audio or video.
    pub is_video: bool,
    /// FourCC of the codec; for one that has none, its legacy name.
    pub codec: String,
    /// RFC 6381 codec string, or again the name while there is no readable configuration.
    pub codec_string: String,
    /// Width and height.
    pub resolution: Option<(u32, u32)>,
    /// Samples a second, Hz.
    pub sample_rate_hz: Option<u32>,
    /// Channels.
    pub channels: Option<u8>,
}

/// A health code that holds for a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthInfo {
    /// Which.
    pub code: Code,
    /// Time since it began.
    pub lasted: Duration,
}

/// What a publisher's media comes to, as the API shows it; [`crate::media::figures`] says what each is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MediaFigures {
    /// Bits a second of pictures over the last few seconds, all tracks.
    pub video_bits_per_second: u64,
    /// Bits a second of sound, likewise.
    pub audio_bits_per_second: u64,
    /// Pictures a second of the default track.
    pub frames_per_second: f64,
    /// Pictures of the last whole GOP.
    pub gop_frames: Option<u32>,
    /// Its length by its timestamps, ms.
    pub gop_ms: Option<u32>,
    /// Time that passed here from its key frame to the next one, ms.
    pub key_frame_interval_ms: Option<u32>,
    /// How much further the sound's timestamps are than those of the pictures that arrive with them, ms.
    pub av_skew_ms: Option<i64>,
    /// How much faster than ours the encoder's clock runs, millionths; `None` for the first 8 s.
    pub clock_drift_ppm: Option<i64>,
    /// Jitter of what arrives, µs.
    pub arrival_jitter_us: u64,
}

impl From<&Figures> for MediaFigures {
    fn from(figures: &Figures) -> Self {
        let gop = figures.gop();
        Self {
            video_bits_per_second: figures.bits_per_second(MediaKind::Video),
            audio_bits_per_second: figures.bits_per_second(MediaKind::Audio),
            frames_per_second: figures.frames_per_second(),
            gop_frames: gop.map(|gop| gop.frames),
            gop_ms: gop.map(|gop| gop.ms),
            key_frame_interval_ms: gop.map(|gop| gop.arrival_ms),
            av_skew_ms: figures.skew_ms(),
            clock_drift_ppm: figures.drift_ppm(),
            arrival_jitter_us: figures.jitter_us(),
        }
    }
}

/// One live key on its home core, as the API shows it.
#[derive(Clone, Debug, Default)]
pub struct StreamInfo {
    /// Application.
    pub app: String,
    /// Name.
    pub name: String,
    /// The name as the logs show it: a short keyed hash.
    pub name_hash: String,
    /// Home core.
    pub core: u16,
    /// Whether it is a publisher's dry run: taken in and judged, and nobody can play it.
    pub dry_run: bool,
    /// The publisher's connection, if there is one now.
    pub publisher: Option<ConnectionId>,
    /// The connection that stands by for it, if one does.
    pub standby: Option<ConnectionId>,
    /// Its publisher was lost and is waited for.
    pub absent: bool,
    /// Times that it has gone on with another publisher.
    pub discontinuities: u64,
    /// What is wrong with what its publisher sends; nothing while there is none.
    pub health: Vec<HealthInfo>,
    /// Players and forwards on all cores that this core knows of: its own and those of the replicas it feeds.
    pub subscribers: u64,
    /// Codec strings of the tracks.
    pub codecs: Vec<String>,
    /// What is known of each track: video before audio, by id.
    pub tracks: Vec<TrackInfo>,
    /// Width and height of the default video track.
    pub resolution: Option<(u32, u32)>,
    /// Sample rate (Hz) and channels of the default audio track.
    pub audio: Option<(u32, u8)>,
    /// What `onMetaData` says of tracks beside the default ones: hints, which the stream need not bear out.
    pub announced_tracks: Vec<TrackHints>,
    /// What its publisher is held to.
    pub limits: Limits,
    /// Bits a second received over the last few seconds.
    pub bits_in_per_second: u64,
    /// Media bytes received.
    pub bytes_in: u64,
    /// Media messages received.
    pub messages_in: u64,
    /// Bytes that the GOP cache keeps alive.
    pub gop_bytes: u64,
    /// Frames in the GOP cache.
    pub gop_frames: u64,
    /// Timestamps that stepped back, and that jumped ahead by more than 10 s.
    pub timestamp_steps_back: u64,
    /// See `timestamp_steps_back`.
    pub timestamp_jumps: u64,
    /// Timestamps that were held at the one before them, since they lay before it (`timestamps = "monotonic"`).
    pub timestamps_held: u64,
    /// Times that a change of the encoder's clock was evened out, likewise.
    pub timestamp_clock_changes: u64,
    /// What its publisher's media comes to; `None` while there is none.
    pub media: Option<MediaFigures>,
    /// What the kernel knows of its publisher's path.
    pub tcp: Option<TcpInfo>,
    /// What was seen of the publisher's messages.
    pub ingest: IngestCounters,
    /// Seconds since the publisher was accepted.
    pub uptime_seconds: f64,
}

/// Connections by what they are there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleCounts {
    /// Neither publish nor play.
    pub pending: u64,
    /// Publish.
    pub publishers: u64,
    /// Stand by for a publisher.
    pub standbys: u64,
    /// Play.
    pub players: u64,
    /// We made them to publish a stream there.
    pub forwards: u64,
    /// We made them to fetch a stream from there.
    pub pulls: u64,
}

impl RoleCounts {
    /// Counts one more.
    pub(crate) fn add(&mut self, role: Role) {
        *match role {
            Role::Pending => &mut self.pending,
            Role::Publisher => &mut self.publishers,
            Role::Standby => &mut self.standbys,
            Role::Player => &mut self.players,
            Role::Forward => &mut self.forwards,
            Role::Pull => &mut self.pulls,
        } += 1;
    }
}

impl AddAssign for RoleCounts {
    fn add_assign(&mut self, other: Self) {
        self.pending += other.pending;
        self.publishers += other.publishers;
        self.standbys += other.standbys;
        self.players += other.players;
        self.forwards += other.forwards;
        self.pulls += other.pulls;
    }
}

/// What a drain has come to on one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainFigures {
    /// Connections at its beginning; nothing before.
    pub began_with: RoleCounts,
    /// Connections now.
    pub left: RoleCounts,
    /// Connections that were asked to connect again.
    pub told: u64,
    /// Those of them that have gone, in whatever way of their own.
    pub moved: u64,
    /// Publishers closed in front of a key frame.
    pub closed_at_key_frame: u64,
    /// Publishers closed in its last quarter that sent no pictures.
    pub closed_without_video: u64,
    /// Publishers closed at its end, wherever they were.
    pub closed_at_deadline: u64,
}

impl AddAssign for DrainFigures {
    fn add_assign(&mut self, other: Self) {
        self.began_with += other.began_with;
        self.left += other.left;
        self.told += other.told;
        self.moved += other.moved;
        self.closed_at_key_frame += other.closed_at_key_frame;
        self.closed_without_video += other.closed_without_video;
        self.closed_at_deadline += other.closed_at_deadline;
    }
}

/// How far the engine is with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainStage {
    /// Publishers and players are welcome.
    Serving,
    /// Nobody new is let in, and those who are there may leave when they like.
    Draining,
    /// Publishers are closed at their next key frame.
    Cutting,
    /// Everybody is closed, and the engine ends.
    Stopping,
}

impl DrainStage {
    /// As the API says it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Cutting => "cutting",
            Self::Stopping => "stopping",
        }
    }
}

/// The drain as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainState {
    /// How far it is.
    pub stage: DrainStage,
    /// How long it may take in all, and how long it has taken; `None` when there is none.
    pub times: Option<(Duration, Duration)>,
}

/// Which streams a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// So many of those that are published, by their bitrate: the highest ones of each core. Dry runs are not among them.
    Top(usize),
    /// Those with these apps and names, dry runs left out.
    Named(StreamNames),
}

/// Apps and names of streams.
pub type StreamNames = Arc<[(String, String)]>;

/// Defines the counters of a core as plain integers for the core and as atomics for everybody else.
macro_rules! core_counters {
    ($( $(#[doc = $doc:literal])* $kind:ident $name:ident; )*) => {
        /// One core's counters as it counts them: plain integers, published by its sweep.
        #[derive(Clone, Debug, Default)]
        pub struct Counts { $( $(#[doc = $doc])* pub $name: u64, )* }

        /// One core's counters as others read them.
        #[derive(Debug, Default)]
        pub struct PublishedCounts { $( $(#[doc = $doc])* pub $name: AtomicU64, )* }

        impl PublishedCounts {
            /// Makes the plain counters visible to other threads.
            pub fn publish(&self, counts: &Counts) {
                $( self.$name.store(counts.$name, std::sync::atomic::Ordering::Relaxed); )*
            }

            /// Calls `f` with (metric name, help, is a gauge, value) of each counter.
            pub fn for_each(&self, mut f: impl FnMut(&'static str, &'static str, bool, u64)) {
                $( f(stringify!($name), concat!($($doc),*).trim_start(), core_counters!(@gauge $kind),
                     self.$name.load(std::sync::atomic::Ordering::Relaxed)); )*
            }
        }
    };
    (@gauge gauge) => { true };
    (@gauge counter) => { false };
}

core_counters! {
    /// Connections in the slab.
    gauge connections;
    /// Sessions that publish.
    gauge publishers;
    /// Subscribers of streams.
    gauge subscribers;
    /// Streams, homes and replicas.
    gauge streams;
    /// Streams whose home this core is.
    gauge streams_home;
    /// Connections that we made to forward a stream.
    gauge forward_connections;
    /// Connections that we made to pull a stream.
    gauge pull_connections;
    /// Operations in flight in the kernel.
    gauge operations_in_flight;
    /// Bytes of unparsed input and unfinished messages.
    gauge reassembly_bytes;
    /// Connections that neither publish nor play.
    gauge pre_publish;
    /// Bytes that such connections hold, against `limits.pre_publish_bytes_max`.
    gauge pre_publish_bytes;
    /// Bytes that GOP caches keep alive.
    gauge gop_bytes;
    /// Connections accepted.
    counter accepted;
    /// Accepted connections closed.
    counter closed;
    /// Connections that we made, given to this core.
    counter outgoing;
    /// Connections that we made, closed.
    counter outgoing_closed;
    /// Connections closed before they published or played, because such connections held too much together.
    counter pre_publish_shed;
    /// TLS handshakes that have begun and are not done.
    gauge tls_handshakes_in_progress;
    /// TLS handshakes that wait for their share of the core.
    gauge tls_handshakes_waiting;
    /// TLS handshakes done.
    counter tls_handshakes;
    /// TLS handshakes that went on with a session of before.
    counter tls_resumptions;
    /// Time that TLS handshakes took of the core.
    counter tls_handshake_us;
    /// Times that a listener paused for want of file descriptors or memory.
    counter accept_pauses;
    /// Connections moved to another core.
    counter moved_out;
    /// Connections taken over from another core.
    counter moved_in;
    /// Publishes accepted.
    counter publishes;
    /// Plays accepted.
    counter plays;
    /// Publishes whose answer was held back until it was clear whether the stream's publisher lives.
    counter publishes_held;
    /// Publishers that took over as the newest.
    counter takeovers_newest;
    /// Publishers that took over with a higher priority.
    counter takeovers_priority;
    /// Publishers that took over from a silent one with the same credentials.
    counter takeovers_silent;
    /// Publishers taken in as a standby.
    counter standbys;
    /// Standbys called because the publisher was gone or starved.
    counter failovers;
    /// Lost publishers that were waited for.
    counter graces;
    /// Publishers that came while one was waited for.
    counter graces_resumed;
    /// Streams that ended because nobody came in time.
    counter graces_expired;
    /// Times that a stream went on with another publisher.
    counter discontinuities;
    /// Publishers closed because their media was not what their stream has had.
    counter mismatches_refused;
    /// Requests to connect again sent to clients that said that they understand.
    counter reconnect_requests;
    /// Bytes received.
    counter bytes_in;
    /// Bytes sent.
    counter bytes_out;
    /// Media messages received.
    counter messages_in;
    /// Media messages handed to sockets.
    counter messages_out;
    /// Frames that the drop policy kept from subscribers.
    counter frames_dropped;
    /// Receives completed.
    counter receives;
    /// Sends completed.
    counter sends;
    /// Armed receives that came back: each has woken the core for one connection.
    counter wakeups;
    /// 1 while the core polls its publishers, 0 while it waits to be woken.
    gauge polling;
    /// Times that the core changed between the two.
    counter mode_changes;
    /// Visits to publishers on a tick.
    counter polls;
    /// Visits that found nothing.
    counter polls_empty;
    /// Ticks that each latency budget is divided into.
    gauge tick_phases;
    /// Ticks.
    counter ticks;
    /// Ticks whose work was not done when the next one was due.
    counter tick_overruns;
    /// Wake-ups sent to other cores.
    counter wakeups_sent;
    /// Batches taken from other cores.
    counter batches_in;
    /// Times that a feed to another core paused because its inbox was full.
    counter feed_pauses;
    /// Turns that ran over their budget.
    counter stalls;
    /// Panics caught at the core's loop.
    counter panics;
    /// Sweeps done.
    counter sweeps;
}
