//! A run as data: what was asked for, whether it may be believed, and what was measured.
//!
//! This is the format of `--json`, described for readers in `README.md`. Times are microseconds in histograms and seconds in
//! fields that end in `_s`; a GB is 10⁹ bytes. *In* is what the harness wrote to the server, *out* what it read from it.
//! Fields may be added within one [`VERSION`]; none changes its meaning or goes away.

use serde::{Deserialize, Serialize};

use super::forwards::ForwardsResult;
use super::histogram::Histogram;
use super::hostile::HostileResult;

/// The version of the format.
pub const VERSION: u32 = 1;

/// All that one run tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Name and version of the writer.
    pub tool: String,
    /// When the load started, milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// What was asked for.
    pub setting: Setting,
    /// Whether the figures may be believed.
    pub valid: Validity,
    /// How long was measured (without the warm-up), seconds.
    pub duration_s: f64,
    /// Distributions of what took how long.
    pub latencies: Latencies,
    /// What happened how often.
    pub counts: Counts,
    /// What failed for steady peers, by stage and kind.
    pub errors: Vec<StageErrors>,
    /// What each kind of peers made of it; empty when all are steady.
    #[serde(default)]
    pub personas: Vec<PersonaResult>,
    /// What hostile peers made of it; empty when there were none.
    #[serde(default)]
    pub hostile: Vec<HostileResult>,
    /// What arrived of what the server forwards; absent without `--listen`.
    #[serde(default)]
    pub forwards: Option<ForwardsResult>,
    /// How much was moved.
    pub throughput: Throughput,
    /// What it cost the server; absent without `--server-pid`.
    pub server: Option<ServerCost>,
    /// The run over time, about one sample a second.
    pub series: Vec<Sample>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setting {
    /// `publish`, `play` or `mixed`.
    pub mode: String,
    /// The server and the pattern of stream names, as [`without_secrets`] leaves it.
    pub url: String,
    /// Publishers.
    pub publishers: u32,
    /// Players, over all streams.
    pub players: u32,
    /// Connections opened a second; 0 for all at once.
    pub ramp_per_s: f64,
    /// How long the load ran before anything was measured, seconds.
    pub warmup_s: f64,
    /// How long was to be measured, seconds.
    pub duration_s: f64,
    /// `frame`, `wan` or `burst:MS`.
    pub pace: String,
    /// The chunk size that publishers announce, bytes.
    pub chunk_size: u32,
    /// The first timestamp of each stream, milliseconds.
    pub timestamp_start_ms: u32,
    /// What is published.
    pub media: MediaSetting,
    /// Kinds of peers and their shares.
    pub personas: Vec<PersonaShare>,
    /// Share of the players of streams with tracks that say they take several; 1 where that does not matter.
    pub player_multitrack: f64,
    /// How RTMPS is spoken; absent without it.
    pub tls: Option<TlsSetting>,
    /// Where forwards of the server are taken; absent when they are not.
    pub listen: Option<String>,
    /// Hostile peers, as `KIND=COUNT`.
    pub hostile: Vec<String>,
    /// Prefixes that hostile peers come from; empty when the kernel chose.
    pub hostile_sources: Vec<String>,
    /// Seconds from one connection's end to the hostile peer's next one.
    pub hostile_pause_s: f64,
    /// Full TLS handshakes a second that hostile peers offer.
    pub tls_flood_per_s: Option<f64>,
    /// Threads that make the load.
    pub threads: u32,
    /// CPUs they are pinned to; empty when they are not.
    pub cpus: Vec<u32>,
    /// Source addresses; empty when the kernel chose.
    pub sources: Vec<String>,
}

/// What is published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaSetting {
    /// `synthetic`, or the name of the FLV file.
    pub source: String,
    /// Bits a second of audio and video together.
    pub bitrate_bps: u64,
    /// Video frames a second.
    pub fps: f64,
    /// Seconds from key frame to key frame.
    pub gop_s: f64,
    /// Seed of the synthetic payload.
    pub seed: u64,
    /// Codecs of video tracks with their weights, as `avc=70,hevc=30`; empty for a file.
    pub video: String,
    /// The same of audio tracks.
    pub audio: String,
    /// Video and audio tracks of each stream, as `2:3`; empty for a file.
    pub tracks: String,
    /// How tracks lie in messages: `one`, `many`, `many-codecs`; absent without a multitrack header.
    pub multitrack: Option<String>,
}

/// How RTMPS is spoken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsSetting {
    /// Whether any certificate is accepted.
    pub insecure: bool,
    /// Share of connections that may resume, 0 to 1.
    pub resume: f64,
    /// Whose certificate is wanted, where that is not the URL's host.
    pub server_name: Option<String>,
}

/// How many of the peers are of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PersonaShare {
    /// As on the command line, without secrets.
    pub name: String,
    /// Its share, 0 to 1.
    pub share: f64,
}

/// Whether the figures may be believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validity {
    /// The harness kept its schedule and the run came to its end.
    pub ok: bool,
    /// Why not, a sentence each; empty when `ok`.
    pub reasons: Vec<String>,
}

impl Default for Validity {
    fn default() -> Self {
        Self { ok: true, reasons: Vec::new() }
    }
}

impl Validity {
    /// Takes the run's validity away, and says why.
    pub fn spoil(&mut self, reason: impl Into<String>) {
        self.ok = false;
        self.reasons.push(reason.into());
    }
}

/// Distributions, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latencies {
    /// `connect(2)` to connected.
    pub tcp_connect: Histogram,
    /// ClientHello sent to the handshake done, over RTMPS only.
    pub tls_handshake: Histogram,
    /// C0 sent to S2 read.
    pub handshake: Histogram,
    /// `publish` sent to `NetStream.Publish.Start`.
    pub publish_accepted: Histogram,
    /// `play` sent to `NetStream.Play.Start`.
    pub play_accepted: Histogram,
    /// `play` sent to the first media message.
    pub first_frame: Histogram,
    /// A message's due time to its last byte at a player.
    pub e2e: Histogram,
    /// From one message to the next at a player.
    pub gap: Histogram,
    /// A message's due time to the moment at which the harness wrote it: what the harness itself adds.
    pub generator_late: Histogram,
    /// Publishers' smoothed round-trip time (`tcpi_rtt` of `TCP_INFO`), about once a second each.
    pub rtt: Histogram,
}

impl Latencies {
    /// Each distribution with its name, in the order of a connection's life.
    pub fn named(&self) -> [(&'static str, &Histogram); 10] {
        [
            ("tcp_connect", &self.tcp_connect),
            ("tls_handshake", &self.tls_handshake),
            ("handshake", &self.handshake),
            ("publish_accepted", &self.publish_accepted),
            ("play_accepted", &self.play_accepted),
            ("first_frame", &self.first_frame),
            ("e2e", &self.e2e),
            ("gap", &self.gap),
            ("generator_late", &self.generator_late),
            ("rtt", &self.rtt),
        ]
    }
}

/// Declares a struct of counts with what must not forget a field.
macro_rules! counts {
    ($(#[$about:meta])* $counts:ident: $($(#[$doc:meta])* $name:ident,)*) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl $counts {
            /// Adds another thread's.
            pub fn merge(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
            }

            /// Each count with its name.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counts! {
    /// What happened how often. Failures, and what is wrong with messages, are those of steady peers: the others' are in
    /// [`PersonaCounts`].
    Counts:
    /// Media messages that fell due while measured.
    due,
    /// Media messages that publishers wrote.
    sent,
    /// Media messages that players read.
    received,
    /// Messages missing between two that a player read (by sequence number).
    lost,
    /// Messages that a player read again, or more than 128 numbers too late.
    duplicated,
    /// Messages that a player read after a later one.
    reordered,
    /// Messages that a player read without an intact stamp, or with that of another stream.
    unstamped,
    /// Messages of other tracks than the default ones that a player read which had not said that it takes several.
    unnegotiated,
    /// Connections opened.
    connections_opened,
    /// Connections that failed before they published or played, those refused and those without an answer at the end among them.
    connections_failed,
    /// Connections that ended although they were to go on.
    connections_lost,
    /// Connections opened again, on a schedule or after a loss.
    reconnects,
    /// TLS handshakes done.
    tls_handshakes,
    /// TLS handshakes among them that resumed an earlier connection's.
    tls_resumed,
    /// `publish` requests accepted.
    publishes_accepted,
    /// `publish` requests refused.
    publishes_refused,
    /// `play` requests accepted.
    plays_accepted,
    /// `play` requests refused.
    plays_refused,
    /// Connections of hostile personas that the server ended, as it should.
    hostile_ended,
}

counts! {
    /// What happened to the peers of one kind how often.
    PersonaCounts:
    /// Connections opened.
    opened,
    /// `publish` and `play` requests accepted.
    accepted,
    /// `publish` and `play` requests refused.
    refused,
    /// Connections that failed before they published or played, those refused among them.
    failed,
    /// Connections that ended although they were to go on.
    lost,
    /// Connections opened again.
    reconnects,
    /// Connections of hostile peers that the server ended, as it should.
    ended,
    /// Media messages that its publishers wrote.
    sent,
    /// Media messages read by its players, and by steady players of its publishers.
    received,
    /// Of these streams, messages missing between two that a player read.
    missing,
    /// Of these streams, messages that a player read again.
    duplicated,
    /// Of these streams, messages that a player read after a later one.
    reordered,
}

/// What the peers of one kind made of the run.
///
/// A message is charged to the player's persona, or to its publisher's where the player is steady.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PersonaResult {
    /// As on the command line, without secrets: `steady`, `stalling:2`, …
    pub name: String,
    /// Peers that are of this kind.
    pub peers: u64,
    /// What happened how often.
    #[serde(flatten)]
    pub counts: PersonaCounts,
    /// A message's due time to its last byte at a player, microseconds.
    pub e2e: Histogram,
    /// From one message to the next at a player, microseconds.
    pub gap: Histogram,
    /// What failed, by stage and kind.
    pub errors: Vec<StageErrors>,
}

impl PersonaResult {
    /// The name without its parameter, and without `publish.` or `play.`.
    pub fn kind(&self) -> &str {
        let name = self.name.split(':').next().unwrap_or_default();
        name.strip_prefix("publish.").or(name.strip_prefix("play.")).unwrap_or(name)
    }
}

/// Where in a connection's life something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// TCP connect.
    TcpConnect,
    /// TLS handshake.
    TlsHandshake,
    /// RTMP handshake.
    Handshake,
    /// The `connect` command.
    Connect,
    /// `createStream` and `publish`.
    Publish,
    /// `createStream` and `play`.
    Play,
    /// While media flowed.
    Media,
}

impl Stage {
    /// As in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpConnect => "tcp_connect",
            Self::TlsHandshake => "tls_handshake",
            Self::Handshake => "handshake",
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Play => "play",
            Self::Media => "media",
        }
    }
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageErrors {
    /// Where.
    pub stage: Stage,
    /// What, as the error says it.
    pub kind: String,
    /// How often.
    pub count: u64,
}

/// How much was moved while measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Throughput {
    /// Bytes written to the server.
    pub bytes_in: u64,
    /// Bytes read from the server.
    pub bytes_out: u64,
    /// `bytes_in` in 10⁹ bytes.
    pub gb_in: f64,
    /// `bytes_out` in 10⁹ bytes.
    pub gb_out: f64,
    /// Megabits (10⁶) a second written to the server.
    pub mbit_per_second_in: f64,
    /// Megabits (10⁶) a second read from the server.
    pub mbit_per_second_out: f64,
    /// Media messages a second written to the server.
    pub messages_per_second_in: f64,
    /// Media messages a second read from the server.
    pub messages_per_second_out: f64,
    /// Connections opened a second, from the first to the last; without those opened again.
    pub connections_per_second: f64,
    /// Publish and play requests accepted a second.
    pub sessions_per_second: f64,
}

/// What the run cost the server's process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerCost {
    /// CPU seconds outside the kernel, while measured.
    pub user_s: f64,
    /// CPU seconds in the kernel, while measured.
    pub system_s: f64,
    /// CPU seconds a second of wall clock: 1 is one full core.
    pub cpu_share: f64,
    /// CPU seconds for each GB in; absent when nothing went in.
    pub cpu_s_per_gb_in: Option<f64>,
    /// CPU seconds for each GB out; absent without players, and when nothing came out.
    pub cpu_s_per_gb_out: Option<f64>,
    /// CPU microseconds for each publish and play accepted while measured; absent when none was.
    pub cpu_us_per_session: Option<f64>,
    /// Resident memory at its highest.
    pub rss_bytes: u64,
    /// Proportional memory (PSS) at the end of the measurement; absent when the kernel does not let us read it.
    pub pss_bytes: Option<u64>,
    /// PSS (RSS without it) above what the process held before the load, for each connection.
    pub per_connection_bytes: Option<f64>,
    /// The same for each publisher; absent unless all connections are publishers.
    pub per_publisher_bytes: Option<f64>,
}

/// A moment of the run; figures of the interval since the last one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// The interval's end, seconds since the measurement started; negative in the warm-up.
    pub t_s: f64,
    /// Bytes written to the server in the interval.
    pub bytes_in: u64,
    /// Bytes read from the server in the interval.
    pub bytes_out: u64,
    /// CPU seconds a second that the server took; absent without `--server-pid`.
    pub cpu_share: Option<f64>,
    /// The server's resident memory at the interval's end.
    pub rss_bytes: Option<u64>,
    /// p99 of end-to-end latency within the interval; absent when nothing was read.
    pub e2e_p99_us: Option<u64>,
    /// Connections open at the interval's end.
    pub connections: u64,
}

/// Why a file is not a run. All of them are the file's fault.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not JSON, or not the fields of a run.
    #[error("not a report of inrush-loadtest: {0}")]
    Format(#[from] serde_json::Error),
    /// A later format.
    #[error("written in format {0}, and this program reads up to {VERSION}: use the newer one")]
    Version(u32),
    /// A distribution contradicts itself.
    #[error("damaged: {name} {what}")]
    Histogram {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Run {
    /// Reads what [`Run::to_json`] wrote.
    pub fn from_json(text: &str) -> Result<Self, ReadError> {
        // The version first: a later format may lack fields that this one needs.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text)?;
        if version == 0 || version > VERSION {
            return Err(ReadError::Version(version));
        }
        let run: Self = serde_json::from_str(text)?;
        let personas = run.personas.iter().flat_map(|persona| [("e2e", &persona.e2e), ("gap", &persona.gap)]);
        let hostile = run
            .hostile
            .iter()
            .flat_map(|hostile| [("lasted", &hostile.lasted), ("tls_handshake", &hostile.tls_handshake)]);
        for (name, histogram) in run.distributions().into_iter().chain(personas).chain(hostile) {
            histogram.check().map_err(|what| ReadError::Histogram { name, what })?;
        }
        Ok(run)
    }

    /// Each distribution of the run with its name as thresholds have it; those of the far end come last, if there is one.
    pub fn distributions(&self) -> Vec<(&'static str, &Histogram)> {
        let far = self.forwards.iter();
        let far = far.flat_map(|far| [("forwards.e2e", &far.e2e), ("forwards.gap", &far.gap)]);
        self.latencies.named().into_iter().chain(far).collect()
    }

    /// The text of `--json`: one object, indented, ended by a newline.
    pub fn to_json(&self) -> String {
        // Maps have string keys and no `Serialize` here is written by hand, so nothing can fail.
        let mut text = serde_json::to_string_pretty(self).expect("a run is plain data");
        text.push('\n');
        text
    }
}

/// A URL without what lets others publish: user and password, and the values of its query.
pub fn without_secrets(url: &str) -> String {
    let (before_query, query) = match url.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (url, None),
    };
    let mut shown = match before_query.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => before_query.to_owned(),
    };
    if let Some(query) = query {
        let names: Vec<_> = query
            .split('&')
            .map(|pair| pair.split_once('=').map_or("…".into(), |(name, _)| format!("{name}=…")))
            .collect();
        shown.push('?');
        shown.push_str(&names.join("&"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let run = fixture::run();
        assert_eq!(Run::from_json(&run.to_json()).unwrap(), run);
    }

    /// Names that scripts of others read; one that goes away or changes needs a new [`VERSION`].
    #[test]
    fn the_fields_of_the_format() {
        let json: serde_json::Value = serde_json::from_str(&fixture::run().to_json()).unwrap();
        let keys = |pointer: &str| -> Vec<String> {
            json.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
        };
        let mut top: Vec<_> = "version tool started_at_unix_ms setting valid duration_s latencies counts errors personas hostile forwards throughput server series"
            .split(' ')
            .collect();
        top.sort_unstable();
        let mut there = keys("");
        there.sort_unstable();
        assert_eq!(there, top);
        for name in "count min mean stdev p50 p75 p90 p95 p99 p999 p9999 max buckets".split(' ') {
            assert!(keys("/latencies/e2e").iter().any(|key| key == name), "{name}");
        }
        assert_eq!(
            json["errors"][0],
            serde_json::json!({"stage": "handshake", "kind": "the peer closed", "count": 3})
        );
        assert_eq!(json["server"]["cpu_s_per_gb_in"], 1.0);
        assert_eq!(json["server"]["cpu_s_per_gb_out"], 2.0);
        assert_eq!(json["server"]["per_connection_bytes"], 1.5e6);
        assert!(json["server"]["per_publisher_bytes"].is_null());
        assert_eq!(json["throughput"]["mbit_per_second_in"], 4000.0);
        assert_eq!(json["throughput"]["connections_per_second"], 4.0);
        assert_eq!(json["valid"], serde_json::json!({"ok": true, "reasons": []}));
    }

    /// A field that the README does not name is one that nobody can rely on.
    #[test]
    fn the_readme_names_every_field() {
        let readme = include_str!("../../README.md");
        let (top, json) = readme.split_once("## The JSON").unwrap();
        assert!(!top.is_empty());
        let run: serde_json::Value = serde_json::from_str(&fixture::run().to_json()).unwrap();
        for pointer in [
            "",
            "/latencies",
            "/latencies/e2e",
            "/counts",
            "/errors/0",
            "/personas/0",
            "/hostile/0",
            "/hostile/0/ends/0",
            "/forwards",
            "/forwards/ends/0",
            "/forwards/each/0",
            "/setting/tls",
            "/throughput",
            "/server",
            "/series/0",
            "/valid",
        ] {
            for key in run.pointer(pointer).unwrap().as_object().unwrap().keys() {
                assert!(
                    json.contains(&format!("`{key}`")) || json.contains(&format!("`{key}[]`")),
                    "{pointer}/{key}"
                );
            }
        }
    }

    #[test]
    fn files_that_are_no_run_are_told() {
        let error = |text: &str| Run::from_json(text).unwrap_err().to_string();
        assert!(error("").starts_with("not a report of inrush-loadtest: "));
        assert!(error("{}").contains("missing field `version`"));
        assert_eq!(
            error(r#"{"version": 9}"#),
            "written in format 9, and this program reads up to 1: use the newer one"
        );
        let mut run = fixture::run();
        run.latencies.e2e.count += 1;
        assert_eq!(error(&run.to_json()), "damaged: e2e has buckets that do not add up to its count");
    }

    #[test]
    fn a_later_writer_of_the_format_may_add_fields() {
        let text = fixture::run().to_json().replacen("\"version\": 1,", "\"version\": 1, \"added\": [1],", 1);
        assert_eq!(Run::from_json(&text).unwrap(), fixture::run());
    }

    #[test]
    fn urls_keep_their_secrets() {
        for (url, shown) in [
            ("rtmp://host/live/s{i}", "rtmp://host/live/s{i}"),
            ("rtmp://me:word@host:1935/live/s?key=abc&t=1", "rtmp://host:1935/live/s?key=…&t=…"),
            ("rtmp://host/live/a@b?abc", "rtmp://host/live/a@b?…"),
            ("host", "host"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
