//! A publisher's messages, and what can be read off a frame again: who sent it, its place among its kind, the headers it needs.

use bytes::{BufMut, Bytes, BytesMut};
use inrush::media::MediaKind;
use inrush::rtmp::Payload;
use inrush::rtmp::message::type_id;
use inrush::session::MediaMessage;

use super::rng::Rng;

/// 640x360 H.264 Baseline: one SPS, and the head of a PPS of 11 bytes whose last eight are the label.
const AVC_CONFIGURATION: [u8; 25] = [
    0x01, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0x00, 0x0a, 0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5,
    0x40, 0x01, 0x00, 0x0b, 0x68, 0xce, 0x3c, 0x80,
];

/// What a message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// Which publisher, counted over all.
    pub life: u32,
    /// Of a header its version; of other messages their number among all of the publisher's, from 1.
    pub number: u32,
    /// Number among those of its kind, from 1; 0 in headers.
    pub of_kind: u32,
    /// Version of its kind's newest header; 0 when there has been none. A data message stands for itself.
    pub header: u32,
}

const LABEL_BYTES: usize = 16;

impl Label {
    fn write(&self, body: &mut BytesMut) {
        [self.life, self.number, self.of_kind, self.header].into_iter().for_each(|field| body.put_u32(field));
    }

    fn read(bytes: &[u8]) -> Self {
        let field = |n: usize| u32::from_be_bytes(bytes[4 * n..4 * n + 4].try_into().expect("four bytes"));
        Self { life: field(0), number: field(1), of_kind: field(2), header: field(3) }
    }
}

/// A frame as a reader sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub kind: MediaKind,
    pub is_header: bool,
    pub is_key: bool,
    pub label: Label,
}

impl Seen {
    /// Reads the label off the body; the label is found by the tag alone, not by what the engine says of the frame.
    pub fn of(kind: MediaKind, body: &[u8]) -> Self {
        let (is_header, is_key, at) = match kind {
            MediaKind::Video if body[1] == 0 => (true, false, 5 + AVC_CONFIGURATION.len()),
            MediaKind::Video => (false, body[0] == 0x17, 5),
            MediaKind::Audio if body[1] == 0 => (true, false, 4),
            MediaKind::Audio => (false, false, 2),
            MediaKind::Data => (body.starts_with(b"\x02\x00\x0aonMetaData"), false, DATA_HEAD_BYTES),
        };
        let label = match kind {
            MediaKind::Data => Label::read(&unhex(&body[at..at + 2 * LABEL_BYTES])),
            _ => Label::read(&body[at..at + LABEL_BYTES]),
        };
        Self { kind, is_header, is_key, label }
    }
}

/// Name (a string of 10 bytes) and the head of the label, a string as well.
const DATA_HEAD_BYTES: usize = 3 + 10 + 3;

fn data(name: &[u8; 10], label: &Label) -> BytesMut {
    let mut bytes = BytesMut::new();
    label.write(&mut bytes);
    let mut body = BytesMut::from(&b"\x02\x00\x0a"[..]);
    body.put_slice(name);
    body.put_slice(&[0x02, 0x00, 2 * LABEL_BYTES as u8]);
    body.put_slice(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().as_bytes());
    body
}

fn unhex(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a digit") as u8;
    text.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// One publisher's habits and how far it is.
pub struct Encoder {
    pub life: u32,
    pub has_video: bool,
    pub has_audio: bool,
    /// Its clock never jumps.
    pub steady: bool,
    gop_pictures: usize,
    bytes_max: usize,
    timestamp: u32,
    number: u32,
    /// By kind: audio, video, data.
    of_kind: [u32; 3],
    headers: [u32; 3],
    pictures: usize,
    started: bool,
}

impl Encoder {
    pub fn new(life: u32, rng: &mut Rng) -> Self {
        let kinds = rng.below(10);
        Self {
            life,
            has_video: kinds != 0,
            has_audio: kinds != 1,
            steady: false,
            gop_pictures: rng.pick(&[1, 5, 12, 40, 200]),
            bytes_max: rng.pick(&[60, 400, 3_000]),
            timestamp: rng.pick(&[0, 5_000, 0x00ff_ff00, u32::MAX - 500]),
            number: 0,
            of_kind: [0; 3],
            headers: [0; 3],
            pictures: 0,
            started: false,
        }
    }

    /// From now on a key frame comes hardly ever.
    pub fn stretch_gops(&mut self) {
        self.gop_pictures = 200;
    }

    /// What comes next, at random.
    pub fn next(&mut self, rng: &mut Rng) -> Vec<MediaMessage> {
        if !self.started {
            return self.start(rng);
        }
        match rng.below(100) {
            0..3 if self.has_video => vec![self.header(MediaKind::Video, rng.percent(60))],
            3..6 if self.has_audio => vec![self.header(MediaKind::Audio, rng.percent(60))],
            6..8 => vec![self.header(MediaKind::Data, true)],
            8..12 => vec![self.data()],
            12..14 => {
                let jump = rng.pick(&[20_000, 1u32.wrapping_neg() - 700, 0x8000_0000]);
                self.timestamp = self.timestamp.wrapping_add(if self.steady { 0 } else { jump });
                Vec::new()
            }
            14..50 if self.has_audio => vec![self.audio(rng)],
            _ if self.has_video => vec![self.picture(false, rng)],
            _ => vec![self.audio(rng)],
        }
    }

    /// The beginning of a publication, or a new one in the middle: headers, a key frame and what follows it.
    pub fn start(&mut self, rng: &mut Rng) -> Vec<MediaMessage> {
        self.started = true;
        let mut messages = vec![self.header(MediaKind::Data, true)];
        if self.has_video {
            messages.push(self.header(MediaKind::Video, true));
        }
        if self.has_audio {
            messages.push(self.header(MediaKind::Audio, true));
        }
        if self.has_video {
            messages.push(self.picture(true, rng));
        }
        messages.push(if self.has_audio { self.audio(rng) } else { self.picture(false, rng) });
        messages
    }

    /// Number of the newest message that is no header.
    pub fn newest(&self) -> u32 {
        self.number
    }

    /// Version of the newest metadata.
    pub fn metadata(&self) -> u32 {
        self.headers[index(MediaKind::Data)]
    }

    fn header(&mut self, kind: MediaKind, changed: bool) -> MediaMessage {
        let version = &mut self.headers[index(kind)];
        *version = (*version + u32::from(changed)).max(1);
        let label = Label { life: self.life, number: *version, of_kind: 0, header: 0 };
        let body = match kind {
            MediaKind::Video => tagged(&[&[0x17, 0, 0, 0, 0], &AVC_CONFIGURATION[..]].concat(), &label, 0),
            MediaKind::Audio => tagged(&[0xaf, 0, 0x12, 0x10], &label, 0),
            MediaKind::Data => data(b"onMetaData", &label),
        };
        self.message(kind, body)
    }

    fn picture(&mut self, key: bool, rng: &mut Rng) -> MediaMessage {
        let key = key || self.pictures.is_multiple_of(self.gop_pictures);
        self.pictures = if key { 1 } else { self.pictures + 1 };
        let label = self.label(MediaKind::Video);
        let head = if key { [0x17, 1, 0, 0, 0] } else { [0x27, 1, 0, 0, 0] };
        let padding = rng.index(self.bytes_max) * if key { 3 } else { 1 };
        self.message(MediaKind::Video, tagged(&head, &label, padding))
    }

    /// The next sound.
    pub fn audio(&mut self, rng: &mut Rng) -> MediaMessage {
        let label = self.label(MediaKind::Audio);
        let padding = rng.index(60);
        self.message(MediaKind::Audio, tagged(&[0xaf, 1], &label, padding))
    }

    fn data(&mut self) -> MediaMessage {
        let label = self.label(MediaKind::Data);
        self.message(MediaKind::Data, data(b"onTextData", &label))
    }

    fn label(&mut self, kind: MediaKind) -> Label {
        self.number += 1;
        self.timestamp = self.timestamp.wrapping_add(10);
        let of_kind = &mut self.of_kind[index(kind)];
        *of_kind += 1;
        Label { life: self.life, number: self.number, of_kind: *of_kind, header: self.headers[index(kind)] }
    }

    fn message(&self, kind: MediaKind, body: BytesMut) -> MediaMessage {
        let type_id = match kind {
            MediaKind::Audio => type_id::AUDIO,
            MediaKind::Video => type_id::VIDEO,
            MediaKind::Data => type_id::DATA_AMF0,
        };
        let wire_bytes = u32::try_from(body.len() + 12).expect("small");
        let payload = Payload::from(Bytes::from(body));
        MediaMessage { kind, type_id, stream_id: 1, timestamp: self.timestamp, payload, wire_bytes }
    }
}

/// The place of a kind in a list.
pub fn index(kind: MediaKind) -> usize {
    match kind {
        MediaKind::Audio => 0,
        MediaKind::Video => 1,
        MediaKind::Data => 2,
    }
}

fn tagged(head: &[u8], label: &Label, padding: usize) -> BytesMut {
    let mut body = BytesMut::from(head);
    label.write(&mut body);
    body.put_bytes(0x55, padding);
    body
}
