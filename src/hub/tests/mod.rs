//! What publishers and readers of one hub, or of several, get to see. The messages are real ones; what a reader takes is written
//! as one word an entry, so that a test reads as a story:
//!
//! `M1` metadata, `C` its end (`@clearDataFrame`; nobody gets to see it), `V1` and `A1` sequence headers (version 1), `k7` key frame, `i8` inter frame, `a9` audio, `d10` data (number 7 to 10 of
//! the publisher's messages), `+` publish notice, `-` unpublish notice.
//!
//! Of a second video track, HEVC behind multitrack headers: `H1` sequence header, `I1` colours, `q7` key frame, `p8` inter frame. Of both in
//! one message, AVC: `B1` sequence headers, `m7` key frames, `n8` inter frames. What has been made for readers without multitrack has a `'`.
//!
//! Readers are such ones unless a test says otherwise.

mod continuity;
mod drop_policy;
mod forms;
mod health;
mod late_join;
mod lifecycle;
mod limits;
mod mesh;
mod starts;
mod tracks;
mod wishes;

use std::fmt::Write;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::*;
use crate::rtmp::Payload;
use crate::rtmp::message::type_id;
use crate::session::{MediaMessage, Notice};

/// 640x360 H.264 Baseline, without its PPS.
const AVC_CONFIGURATION: [u8; 19] = [
    0x01, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0x00, 0x0a, // SPS of 10 bytes
    0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0x40, 0x01,
];

/// One publisher's messages.
struct Encoder {
    number: u32,
    timestamp: u32,
    /// Bytes of padding in every picture and sound.
    padding: usize,
}

impl Encoder {
    fn new() -> Self {
        Self { number: 0, timestamp: 5_000, padding: 80 }
    }

    fn message(&mut self, type_id: u8, body: &[u8]) -> MediaMessage {
        let kind = match type_id {
            type_id::AUDIO => MediaKind::Audio,
            type_id::VIDEO => MediaKind::Video,
            _ => MediaKind::Data,
        };
        let payload = Payload::from(Bytes::copy_from_slice(body));
        let wire_bytes = u32::try_from(body.len() + 12).unwrap();
        MediaMessage { kind, type_id, stream_id: 1, timestamp: self.timestamp, payload, wire_bytes }
    }

    fn numbered(&mut self, type_id: u8, head: &[u8]) -> MediaMessage {
        self.number += 1;
        self.timestamp = self.timestamp.wrapping_add(20);
        let mut body = BytesMut::from(head);
        body.put_u32(self.number);
        body.put_bytes(0x55, self.padding);
        self.message(type_id, &body)
    }

    /// What the word stands for; see the module.
    fn next(&mut self, word: &str) -> MediaMessage {
        let version: u8 = word[1..].parse().unwrap_or(0);
        match &word[..1] {
            "M" => {
                let mut body = b"\x02\x00\x0aonMetaData\x08\0\0\0\x01\0\x01v\0".to_vec();
                body.extend(f64::from(version).to_be_bytes());
                body.extend([0, 0, 9]);
                self.message(type_id::DATA_AMF0, &body)
            }
            "C" => self.message(type_id::DATA_AMF0, b"\x02\x00\x0f@clearDataFrame"),
            "V" => {
                let pps = [0x01, 0x00, 0x05, 0x68, 0xce, 0x3c, 0x80, version];
                self.message(type_id::VIDEO, &[&[0x17, 0, 0, 0, 0], &AVC_CONFIGURATION[..], &pps].concat())
            }
            "A" => self.message(type_id::AUDIO, &[0xaf, 0, 0x12, 0x10, version]),
            "k" => self.numbered(type_id::VIDEO, &[0x17, 1, 0, 0, 0]),
            "i" => self.numbered(type_id::VIDEO, &[0x27, 1, 0, 0, 0]),
            // HEVC, one track a message, coded frames without composition time (E-RTMP v2 "ExVideoTagHeader").
            "q" => self.numbered(type_id::VIDEO, b"\x96\x03hvc1\x01"),
            "p" => self.numbered(type_id::VIDEO, b"\xa6\x03hvc1\x01"),
            "H" => self.message(type_id::VIDEO, &[&b"\x96\x00hvc1\x01"[..], &[version]].concat()),
            "I" => self.message(type_id::VIDEO, &[&b"\x96\x04hvc1\x01"[..], &[version]].concat()),
            "B" => {
                let tracks = [0, 0, 0, 1, version, 1, 0, 0, 1, version];
                self.message(type_id::VIDEO, &[&b"\x96\x10avc1"[..], &tracks].concat())
            }
            "m" | "n" => {
                let (first, padding) = (if word == "m" { 0x96 } else { 0xa6 }, self.padding);
                let len = u8::try_from(4 + padding).unwrap();
                // Track 1 has nothing, and then comes track 0.
                self.numbered(
                    type_id::VIDEO,
                    &[&[first, 0x13], &b"avc1\x01\0\0\0\0\0\0"[..], &[len]].concat(),
                )
            }
            "a" => self.numbered(type_id::AUDIO, &[0xaf, 1]),
            "d" => self.numbered(type_id::DATA_AMF0, b"\x02\x00\x06onText\x00\0\0\0\0"),
            other => panic!("no message {other}"),
        }
    }
}

/// The word for a frame as a reader of this form gets it.
fn word(frame: &Frame, form: Form) -> String {
    let body = frame.in_form(form).0.to_vec();
    let number = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
    let last = body[body.len() - 1];
    match (frame.kind(), body[0], body[1]) {
        (MediaKind::Video, 0x96, 0x00) => format!("H{last}"),
        (MediaKind::Video, 0x96, 0x04) => format!("I{last}"),
        (MediaKind::Video, 0x96, 0x10) => format!("B{last}"),
        (MediaKind::Video, 0x96, 0x13) => format!("m{}", number(14)),
        (MediaKind::Video, 0xa6, 0x13) => format!("n{}", number(14)),
        (MediaKind::Video, 0x96, _) => format!("q{}", number(7)),
        (MediaKind::Video, 0xa6, _) => format!("p{}", number(7)),
        (MediaKind::Video, 0x90, _) => format!("H{last}'"),
        (MediaKind::Video, 0x94, _) => format!("I{last}'"),
        (MediaKind::Video, 0x93, _) => format!("q{}'", number(5)),
        (MediaKind::Video, 0xa3, _) => format!("p{}'", number(5)),
        (MediaKind::Video, 0x17, 0) if body.len() == 6 => format!("B{last}'"),
        (MediaKind::Video, ..) if frame.several_tracks().is_some() => {
            format!("{}{}'", if body[0] == 0x17 { "m" } else { "n" }, number(5))
        }
        (MediaKind::Video, _, 0) => format!("V{}", body[body.len() - 1]),
        (MediaKind::Video, 0x17, _) => format!("k{}", number(5)),
        (MediaKind::Video, ..) => format!("i{}", number(5)),
        (MediaKind::Audio, _, 0) => format!("A{}", body[body.len() - 1]),
        (MediaKind::Audio, ..) => format!("a{}", number(2)),
        (MediaKind::Data, ..) if body.starts_with(b"\x02\x00\x0aonMetaData") => {
            format!("M{}", f64::from_be_bytes(body[22..30].try_into().unwrap()))
        }
        (MediaKind::Data, ..) => format!("d{}", number(14)),
    }
}

/// Several hubs as the cores of one engine, with a transport that keeps order.
struct Rig {
    hubs: Vec<Hub>,
    now: Instant,
    settings: AppSettings,
    encoder: Encoder,
    /// The form of readers that subscribe from now on.
    form: Form,
}

const CORE: CoreId = CoreId(0);
const ELSEWHERE: CoreId = CoreId(1);
const EVERYTHING: TakeBudget = TakeBudget { bytes: usize::MAX, slices: usize::MAX };

fn key() -> StreamKey {
    StreamKey::new("live", "test")
}

impl Rig {
    fn new() -> Self {
        Self::with_queue(QueueSettings::default())
    }

    fn with_queue(queue: QueueSettings) -> Self {
        let hub = |core| Hub::new(HubSettings { core: CoreId(core), cores: 2 });
        Self {
            hubs: (0..2).map(hub).collect(),
            now: Instant::from_micros(1_000_000),
            settings: AppSettings { queue, ..AppSettings::default() },
            encoder: Encoder::new(),
            form: Form::Plain,
        }
    }

    fn hub(&mut self, core: CoreId) -> &mut Hub {
        &mut self.hubs[core.index()]
    }

    /// The home.
    fn home(&mut self) -> &mut Hub {
        self.hub(CORE)
    }

    fn wait_ms(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    fn publish(&mut self) -> PublisherKey {
        self.claim(ConnectionRef(1).into()).unwrap().publisher().unwrap()
    }

    fn publish_dry(&mut self) -> PublisherKey {
        let (now, settings) = (self.now, self.settings.clone());
        self.home().publish_dry(now, &key(), ConnectionRef(3), &settings)
    }

    fn claim(&mut self, claim: Claim) -> Result<Entry, PublishRefused> {
        let (now, settings) = (self.now, self.settings.clone());
        self.home().publish(now, &key(), claim, &settings)
    }

    fn subscribe(&mut self, core: CoreId) -> SubscriberKey {
        let (now, settings, form) = (self.now, self.settings.clone(), self.form);
        self.hub(core).subscribe(
            now,
            &key(),
            CORE,
            Reader { connection: ConnectionRef(2), stream_id: 1, form },
            &settings,
        )
    }

    /// Lets the publisher send what the words stand for.
    fn send(&mut self, publisher: PublisherKey, words: &str) {
        for word in words.split_whitespace() {
            let (now, message) = (self.now, self.encoder.next(word));
            self.home().ingest(now, publisher, message);
        }
    }

    /// Carries everything between the cores until nothing is on its way.
    fn carry(&mut self) {
        let now = self.now;
        while self.hubs.iter().any(Hub::has_outgoing) {
            for (from, to) in [(CORE, ELSEWHERE), (ELSEWHERE, CORE)] {
                for message in self.hub(from).take_outgoing(to) {
                    self.hub(to).handle_mesh(now, from, message);
                }
            }
        }
    }

    fn take_some(&mut self, core: CoreId, subscriber: SubscriberKey, budget: TakeBudget) -> String {
        let mut out = Vec::new();
        let now = self.now;
        let form = self.hub(core).subscriber(subscriber).map(|view| view.form()).unwrap_or_default();
        let slices = self.hub(core).take(now, subscriber, budget, &mut out);
        assert_eq!(slices == 0, out.is_empty());
        let mut words = String::new();
        for queued in out {
            let word = match queued {
                Queued::Frame(frame) => word(&frame, form),
                Queued::Notice(Notice::PublishNotify) => "+".into(),
                Queued::Notice(Notice::UnpublishNotify) => "-".into(),
            };
            write!(words, "{}{word}", if words.is_empty() { "" } else { " " }).unwrap();
        }
        words
    }

    /// All that is queued, as words.
    fn take(&mut self, core: CoreId, subscriber: SubscriberKey) -> String {
        self.take_some(core, subscriber, EVERYTHING)
    }

    /// Timestamps of all that is queued.
    fn take_timestamps(&mut self, core: CoreId, subscriber: SubscriberKey) -> Vec<u32> {
        let mut out = Vec::new();
        let now = self.now;
        self.hub(core).take(now, subscriber, EVERYTHING, &mut out);
        let timestamp = |queued| match queued {
            Queued::Frame(frame) => Some(LocalFrame::as_ref(&frame).timestamp()),
            Queued::Notice(_) => None,
        };
        out.into_iter().filter_map(timestamp).collect()
    }

    fn events(&mut self, core: CoreId) -> Vec<HubEvent> {
        std::iter::from_fn(|| self.hub(core).poll_event()).collect()
    }
}
