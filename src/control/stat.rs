//! `GET /stat`: what nginx-rtmp's `rtmp_stat all` gives, for tools that read it (bitrate switchers and the like).
//!
//! The elements, their order and their units are the original's; a test compares the tree with the real one's for the same stream. What is
//! said in them is ours where the original has no answer for it:
//!
//! - `nginx_version` and `nginx_rtmp_version` hold the version of inrush, `built` nothing.
//! - An application is listed while it has a stream or somebody who waits for one. Without any, there is one application without a name, since
//!   readers expect one.
//! - A stream's `bw_out` and `bytes_out` are of those who read it now; `nclients` counts forwards and pulls, too.
//! - `timestamp` is the time that a client has been there, in ms: the original gives that of its last message, which no session keeps here.
//! - `frame_rate` is measured, `avsync` is how much further the publisher's sound is than its pictures, for all clients of a stream alike.
//! - Codecs that the original does not know go by their FourCC.
//!
//! Dry runs are not in it. A core that stands still is left out, as there is no place to name it.
//! # Bounds
//! As the API's lists: one entry a stream and a connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::api::{QUERY_MAX, gather, permit};
use super::cores::Cores;
use super::refusal::Refusal;
use super::router::Control;
use crate::runtime::observe::{ConnectionInfo, Role, StreamInfo, TrackInfo};

pub(super) async fn stat<C: Cores>(State(control): State<Arc<Control<C>>>) -> Result<Response, Refusal> {
    let cores = control.running()?;
    let (streams, connections) = {
        let _permit = permit(&control).await?;
        let (streams, _) = gather(cores.streams(QUERY_MAX).await);
        let (connections, _) = gather(cores.connections(QUERY_MAX).await);
        (streams, connections)
    };
    let node = Node {
        uptime_seconds: control.started.elapsed().unwrap_or_default().as_secs(),
        accepted: (0..cores.cores()).map(|core| cores.counts(core).accepted.load(Ordering::Relaxed)).sum(),
        bytes_in: (0..cores.cores()).map(|core| cores.counts(core).bytes_in.load(Ordering::Relaxed)).sum(),
        bytes_out: (0..cores.cores()).map(|core| cores.counts(core).bytes_out.load(Ordering::Relaxed)).sum(),
    };
    Ok(([(CONTENT_TYPE, "text/xml")], document(&node, streams, connections)).into_response())
}

/// What is said of the whole process.
struct Node {
    uptime_seconds: u64,
    accepted: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// A stream with those who take part in it.
#[derive(Default)]
struct Live {
    stream: Option<StreamInfo>,
    clients: Vec<ConnectionInfo>,
}

fn document(node: &Node, streams: Vec<StreamInfo>, connections: Vec<ConnectionInfo>) -> String {
    let (bits_in, bits_out) = connections.iter().fold((0, 0), |(bits_in, bits_out), it| {
        (bits_in + it.bits_in_per_second, bits_out + it.bits_out_per_second)
    });
    let mut applications: BTreeMap<String, BTreeMap<String, Live>> = BTreeMap::new();
    for stream in streams.into_iter().filter(|stream| !stream.dry_run) {
        let live =
            applications.entry(stream.app.clone()).or_default().entry(stream.name.clone()).or_default();
        live.stream = Some(stream);
    }
    for connection in connections {
        // Of a dry run there is a publisher and no stream.
        let live =
            applications.get_mut(&connection.app).and_then(|streams| streams.get_mut(&connection.name));
        if let Some(live) = live
            && connection.role != Role::Pending
        {
            live.clients.push(connection);
        }
    }
    let mut xml = Xml(String::from("<?xml version=\"1.0\" encoding=\"utf-8\" ?>\r\n"));
    xml.element("rtmp", |xml| {
        xml.leaf("nginx_version", concat!("inrush ", env!("CARGO_PKG_VERSION")));
        xml.leaf("nginx_rtmp_version", concat!("inrush ", env!("CARGO_PKG_VERSION")));
        xml.leaf("built", "");
        xml.leaf("pid", std::process::id());
        xml.leaf("uptime", node.uptime_seconds);
        xml.leaf("naccepted", node.accepted);
        xml.leaf("bw_in", bits_in);
        xml.leaf("bytes_in", node.bytes_in);
        xml.leaf("bw_out", bits_out);
        xml.leaf("bytes_out", node.bytes_out);
        xml.element("server", |xml| {
            if applications.is_empty() {
                xml.application("", &BTreeMap::new());
            }
            for (name, streams) in &applications {
                xml.application(name, streams);
            }
        });
    });
    xml.0
}

/// XML as it is written.
struct Xml(String);

impl Xml {
    fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.0.extend(["<", name, ">\r\n"]);
        content(self);
        self.0.extend(["</", name, ">\r\n"]);
    }

    fn leaf(&mut self, name: &str, value: impl ToString) {
        self.0.extend(["<", name, ">"]);
        self.text(&value.to_string());
        self.0.extend(["</", name, ">\r\n"]);
    }

    fn leaf_if(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.leaf(name, value);
        }
    }

    fn mark(&mut self, name: &str, holds: bool) {
        if holds {
            self.0.extend(["<", name, "/>\r\n"]);
        }
    }

    /// What XML has signs for, and what may not stand in it at all (XML 1.0 §2.2): names are their publishers' choice.
    fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\u{fffe}' | '\u{ffff}' => self.0.push(' '),
                character if character.is_control() => self.0.push(' '),
                character => self.0.push(character),
            }
        }
    }

    fn application(&mut self, name: &str, streams: &BTreeMap<String, Live>) {
        self.element("application", |xml| {
            xml.leaf("name", name);
            xml.element("live", |xml| {
                for (name, live) in streams {
                    xml.element("stream", |xml| xml.stream(name, live));
                }
                xml.leaf("nclients", streams.values().map(|live| live.clients.len()).sum::<usize>());
            });
        });
    }

    fn stream(&mut self, name: &str, live: &Live) {
        let idle = StreamInfo::default();
        let stream = live.stream.as_ref().unwrap_or(&idle);
        let readers = || live.clients.iter().filter(|client| reads(client.role));
        let is_published = stream.publisher.is_some();
        self.leaf("name", name);
        self.leaf("time", milliseconds(stream.uptime_seconds));
        self.leaf("bw_in", stream.bits_in_per_second);
        self.leaf("bytes_in", stream.bytes_in);
        self.leaf("bw_out", readers().map(|client| client.bits_out_per_second).sum::<u64>());
        self.leaf("bytes_out", readers().map(|client| client.bytes_out).sum::<u64>());
        let media = stream.media.unwrap_or_default();
        self.leaf("bw_audio", media.audio_bits_per_second);
        self.leaf("bw_video", media.video_bits_per_second);
        for client in &live.clients {
            let skew_ms = media.av_skew_ms.unwrap_or_default();
            self.element("client", |xml| xml.client(client, skew_ms, is_published));
        }
        if is_published {
            self.element("meta", |xml| {
                let of_kind = |is_video| stream.tracks.iter().find(|track| track.is_video == is_video);
                xml.element("video", |xml| xml.video(of_kind(true), media.frames_per_second));
                xml.element("audio", |xml| xml.audio(of_kind(false)));
            });
        }
        self.leaf("nclients", live.clients.len());
        self.mark("publishing", is_published);
        self.mark("active", is_published);
    }

    fn client(&mut self, client: &ConnectionInfo, skew_ms: i64, is_published: bool) {
        let time_ms = milliseconds(client.uptime_seconds);
        self.leaf("id", client.id.0);
        self.leaf("address", client.peer.ip());
        self.leaf("time", time_ms);
        self.leaf_if("flashver", Some(&client.flash_ver).filter(|name| !name.is_empty()));
        self.leaf("dropped", client.dropped);
        self.leaf("avsync", skew_ms);
        self.leaf("timestamp", time_ms);
        self.mark("publishing", matches!(client.role, Role::Publisher | Role::Pull));
        self.mark("active", is_published);
    }

    fn video(&mut self, track: Option<&TrackInfo>, frames_per_second: f64) {
        let (width, height) = track.and_then(|track| track.resolution).unwrap_or_default();
        self.leaf("width", width);
        self.leaf("height", height);
        self.leaf("frame_rate", frames_per_second.round() as u64);
        let Some(track) = track else { return };
        self.leaf("codec", codec_name(&track.codec));
        if let Some(Avc { profile, compat, level }) = Avc::parse(&track.codec_string) {
            self.leaf("profile", avc_profile(profile));
            self.leaf("compat", compat);
            self.leaf("level", format_args!("{}.{}", level / 10, level % 10));
        }
    }

    fn audio(&mut self, track: Option<&TrackInfo>) {
        let Some(track) = track else { return };
        self.leaf("codec", codec_name(&track.codec));
        self.leaf_if("profile", aac_profile(&track.codec_string));
        self.leaf_if("channels", track.channels);
        self.leaf_if("sample_rate", track.sample_rate_hz);
    }
}

fn reads(role: Role) -> bool {
    matches!(role, Role::Player | Role::Forward)
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

/// A codec as the original calls it.
fn codec_name(codec: &str) -> &str {
    match codec {
        "avc1" => "H264",
        "mp4a" => "AAC",
        ".mp3" => "MP3",
        other => other,
    }
}

/// What `avc1.PPCCLL` says (RFC 6381 §3.3).
struct Avc {
    profile: u8,
    compat: u8,
    level: u8,
}

impl Avc {
    fn parse(codec_string: &str) -> Option<Self> {
        let [profile, compat, level, ..] = u32::from_str_radix(codec_string.strip_prefix("avc1.")?, 16)
            .ok()
            .filter(|value| *value <= 0xff_ffff)
            .map(|value| (value << 8).to_be_bytes())?;
        Some(Self { profile, compat, level })
    }
}

fn avc_profile(profile: u8) -> &'static str {
    match profile {
        66 => "Baseline",
        77 => "Main",
        100 => "High",
        _ => "",
    }
}

/// The object type of `mp4a.40.N`, as the original names it.
fn aac_profile(codec_string: &str) -> Option<&'static str> {
    Some(match codec_string.strip_prefix("mp4a.40.")? {
        "1" => "Main",
        "2" => "LC",
        "3" => "SSR",
        "4" => "LTP",
        "5" => "HE",
        "29" => "HEv2",
        _ => "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_whatever_stands_in_them() {
        let mut xml = Xml(String::new());
        xml.leaf("name", "a<b>&\"c'\u{0}\n\u{ffff}\u{e9}]]>");
        assert_eq!(xml.0, "<name>a&lt;b&gt;&amp;&quot;c&#39;   \u{e9}]]&gt;</name>\r\n");
    }

    #[test]
    fn codec_strings_say_profile_and_level() {
        let avc = |text| Avc::parse(text).map(|avc| (avc.profile, avc.compat, avc.level));
        assert_eq!(avc("avc1.64001f"), Some((100, 0, 31)));
        assert_eq!(avc("avc1.42c01e"), Some((66, 0xc0, 30)));
        for other in ["avc1", "avc1.", "avc1.1000000", "avc1.zz", "hvc1.1.6.L93.B0", ""] {
            assert_eq!(avc(other), None, "{other}");
        }
        assert_eq!((aac_profile("mp4a.40.2"), aac_profile("mp4a.40.29")), (Some("LC"), Some("HEv2")));
        assert_eq!((aac_profile("mp4a.40.99"), aac_profile(".mp3")), (Some(""), None));
    }

    #[test]
    fn without_a_stream_there_is_an_application_all_the_same() {
        let node = Node { uptime_seconds: 1, accepted: 2, bytes_in: 3, bytes_out: 4 };
        let text = document(&node, Vec::new(), Vec::new());
        let flat: String = text.split("\r\n").collect();
        let end =
            "<application><name></name><live><nclients>0</nclients></live></application></server></rtmp>";
        assert!(flat.ends_with(end), "{flat}");
    }
}
