//! What a flight recorder has kept of one session, and how it is made fit for others to read.
//!
//! # Redaction
//! [`Recording::redact`] writes over what may be secret, byte for byte, so that what is left parses as before: text in commands
//! ([`secret_parts`]), the session's own stream names and URLs wherever they stand, and, behind the last message that could be read, whatever
//! looks like text. Media is left as it is. Where the fault itself lies in what was written over, a replay ends differently; the
//! recording's own account of the fault stands beside it.
//! # Bounds
//! Those of the recorder. A recording from a file is bounded by who reads the file.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::{Bytes, BytesMut};

use super::Instant;
use crate::rtmp::chunk::{ChunkReader, Read, ReaderState};
use crate::rtmp::command::redact::{MASK, is_known, secret_parts, text_like};
use crate::rtmp::handshake::PACKET_BYTES;
use crate::rtmp::limits::Limits;
use crate::rtmp::message::type_id;

/// C0, C1 and C2: what stands before the first chunk (RTMP 1.0 §5.2).
pub const HANDSHAKE_BYTES: usize = 1 + 2 * PACKET_BYTES;

/// The first bytes of a connection that tell what protocol it speaks: never text worth hiding.
const GREETING_BYTES: usize = 2;

/// The last bytes and commands of one session.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Where it begins.
    pub start: Start,
    /// What was received from there on, oldest first.
    pub reads: Vec<RecordedRead>,
    /// The last commands, oldest first; some may lie before the bytes.
    pub commands: Vec<RecordedCommand>,
    /// Texts that must not be shown. Empty once they are redacted.
    pub secrets: Vec<String>,
}

/// Where a recording begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the connection's first byte.
    Connection,
    /// Behind it, where the chunk reader stood like this.
    Middle(ReaderState),
}

/// Bytes that arrived, together or one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRead {
    /// When the first of them did.
    pub at: Instant,
    /// The bytes.
    pub bytes: Bytes,
}

/// A command that was received.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedCommand {
    /// When.
    pub at: Instant,
    /// Its name, as sent.
    pub name: String,
    /// What its answer repeats.
    pub transaction: f64,
    /// The message stream that it came on.
    pub stream_id: u32,
}

impl Recording {
    /// Writes over what may be secret; see the module. `limits` are those of the session.
    pub fn redact(&mut self, limits: &Limits) {
        let mut bytes = BytesMut::with_capacity(self.reads.iter().map(|read| read.bytes.len()).sum());
        self.reads.iter().for_each(|read| bytes.extend_from_slice(&read.bytes));
        let chunks_at = match &self.start {
            Start::Connection => HANDSHAKE_BYTES,
            Start::Middle(_) => 0,
        };
        let mut is_read = false;
        match bytes.len().checked_sub(chunks_at) {
            // No handshake, and so perhaps another protocol.
            None => mask_text(&mut bytes, GREETING_BYTES),
            Some(_) => {
                let mut chunks = bytes.split_off(chunks_at);
                is_read = redact_chunks(&mut chunks, &self.start, limits);
                bytes.unsplit(chunks);
            }
        }
        for secret in core::mem::take(&mut self.secrets) {
            mask_all(&mut bytes, secret.as_bytes());
        }
        // The beginning of a header, if that was one with which a message could be read.
        if let Start::Middle(state) = &mut self.start
            && !is_read
        {
            let mut unparsed = BytesMut::from(&state.unparsed[..]);
            mask_text(&mut unparsed, 0);
            state.unparsed = unparsed.freeze();
        }
        let mut rest = bytes.freeze();
        for read in &mut self.reads {
            read.bytes = rest.split_to(read.bytes.len().min(rest.len()));
        }
        for command in &mut self.commands {
            if !is_known(&command.name) {
                command.name = String::from("(unknown)");
            }
        }
    }
}

/// Writes over text in commands, in those that never became whole as well, and over what looks like text behind the last whole message.
/// Whether there was one.
fn redact_chunks(bytes: &mut BytesMut, start: &Start, limits: &Limits) -> bool {
    let input = Bytes::copy_from_slice(bytes);
    let mut places = Vec::new();
    let (mut is_read, mut read_to) = (false, 0);
    // Where a fault is, all that was unfinished is gone; so it is read twice, the second time up to the last message before that.
    if let (Some(mut first), Some(mut reader)) =
        (reader(&input, start, limits), reader(&input, start, limits))
    {
        while let Ok(Read::Message(_)) = first.poll() {}
        for _ in 0..first.counters().messages {
            let Ok(Read::Message(message)) = reader.poll() else { break };
            let slices = message.payload.slices();
            // What had arrived of it before is zeros, and would be read as numbers.
            let is_whole = slices.iter().all(|slice| place_in(&input, slice).is_some());
            if is_command(message.header.type_id) {
                let body = message.payload.to_vec();
                let is_one = message.header.type_id != type_id::AGGREGATE;
                let hidden = match is_whole && is_one {
                    true => secret_parts(&body, message.header.type_id, &limits.amf),
                    false => text_like(&body).collect(),
                };
                places.extend(places_of(&input, slices, &hidden));
            }
            (is_read, read_to) = (true, input.len().saturating_sub(reader.unparsed_bytes()));
        }
        for (_, slices) in reader.unfinished().filter(|(header, _)| is_command(header.type_id)) {
            let hidden: Vec<_> = text_like(&slices.concat()).collect();
            places.extend(places_of(&input, slices, &hidden));
        }
        for (_, payload) in reader.take_aborted().iter().filter(|(header, _)| is_command(header.type_id)) {
            let hidden: Vec<_> = text_like(&payload.to_vec()).collect();
            places.extend(places_of(&input, payload.slices(), &hidden));
        }
    }
    for place in places {
        if let Some(byte) = bytes.get_mut(place) {
            *byte = MASK;
        }
    }
    mask_text(bytes, read_to);
    is_read
}

/// A reader of a recording's chunks. Nothing is gathered, so that each slice of a message tells where it lay. What was unparsed lies before,
/// in a buffer of its own.
fn reader(input: &Bytes, start: &Start, limits: &Limits) -> Option<ChunkReader> {
    let reader = match start {
        Start::Connection => ChunkReader::new(limits),
        Start::Middle(state) => ChunkReader::resume(limits, state).ok()?,
    };
    let mut reader = reader.with_gather_bytes_max(0).keeping_aborted();
    reader.push(input.clone());
    Some(reader)
}

/// Whether a message is a command, or may hold some: the parts of an aggregate are messages too (RTMP 1.0 §7.1.6).
fn is_command(type_id: u8) -> bool {
    matches!(type_id, type_id::COMMAND_AMF0 | type_id::COMMAND_AMF3 | type_id::AGGREGATE)
}

/// Where in the input the hidden parts of a body lie, which is in these slices.
fn places_of(input: &Bytes, slices: &[Bytes], hidden: &[Range<usize>]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut is_hidden = alloc::vec![false; slices.iter().map(Bytes::len).sum()];
    hidden.iter().for_each(|part| is_hidden[part.clone()].fill(true)); // they were found in it
    let mut at = 0;
    for slice in slices {
        if let Some(place) = place_in(input, slice) {
            let hidden = is_hidden.get(at..).unwrap_or_default().iter().take(slice.len());
            places.extend(hidden.enumerate().filter(|(_, hidden)| **hidden).map(|(i, _)| place + i));
        }
        at += slice.len();
    }
    places
}

/// Where a slice of `whole` begins in it.
fn place_in(whole: &Bytes, slice: &Bytes) -> Option<usize> {
    let range = whole.as_ptr_range();
    range.contains(&slice.as_ptr()).then(|| slice.as_ptr() as usize - range.start as usize)
}

/// Writes over what looks like text from `from` on.
fn mask_text(bytes: &mut [u8], from: usize) {
    let Some(bytes) = bytes.get_mut(from..) else { return };
    let texts: Vec<_> = text_like(bytes).collect();
    texts.into_iter().for_each(|text| bytes[text].fill(MASK)); // they were found in it
}

/// Writes over each occurrence.
fn mask_all(bytes: &mut [u8], secret: &[u8]) {
    let mut at = 0;
    while let Some(window) = bytes.get_mut(at..at + secret.len()).filter(|window| !window.is_empty()) {
        if window == secret {
            window.fill(MASK);
            at += secret.len();
        } else {
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::rtmp::chunk::{CHUNK_SIZE_DEFAULT, ChunkStreamId, ChunkWriter};
    use crate::rtmp::command::{PublishKind, write};
    use crate::rtmp::{Control, Message, MessageHeader, Payload, UserControl};

    const NOW: Instant = Instant::from_micros(5);

    fn written(messages: &[Message]) -> Vec<u8> {
        let mut writer = ChunkWriter::new(CHUNK_SIZE_DEFAULT);
        let mut out = BytesMut::new();
        for message in messages {
            writer.write(ChunkStreamId::COMMAND, message, &mut out);
        }
        out.to_vec()
    }

    fn messages(bytes: &[u8]) -> Vec<Message> {
        let mut reader = ChunkReader::new(&Limits::default());
        reader.push(Bytes::copy_from_slice(bytes));
        let mut messages = Vec::new();
        while let Ok(Read::Message(message)) = reader.poll() {
            messages.push(message);
        }
        messages
    }

    fn redacted(start: Start, bytes: &[u8], split: usize, secrets: &[&str]) -> Vec<u8> {
        let read = |part: &[u8]| RecordedRead { at: NOW, bytes: Bytes::copy_from_slice(part) };
        let mut recording = Recording {
            start,
            reads: bytes.chunks(split).map(read).collect(),
            commands: vec![],
            secrets: secrets.iter().map(|secret| (*secret).into()).collect(),
        };
        recording.redact(&Limits::default());
        assert!(recording.secrets.is_empty());
        recording.reads.iter().flat_map(|read| read.bytes.to_vec()).collect()
    }

    fn session() -> Vec<Message> {
        let key = "a-long-key-".repeat(30);
        let video = MessageHeader { timestamp: 40, type_id: type_id::VIDEO, stream_id: 1 };
        vec![
            write::create_stream(4.0),
            // Longer than a chunk, so that a chunk header lies within the key.
            write::publish(1, 5.0, &key, PublishKind::Live),
            Message::new(video, Bytes::from(vec![b'v'; 300])),
        ]
    }

    /// A key goes, also where chunk headers part it, and everything else stays as it was, to be parsed as before.
    #[test]
    fn keys_go_and_the_rest_stays() {
        let bytes = written(&session());
        let shaken: Vec<u8> = [vec![3], vec![b't'; 2 * PACKET_BYTES], bytes.clone()].concat();
        for split in [1, 100, 4096, 100_000] {
            let shown = redacted(Start::Connection, &shaken, split, &[]);
            assert_eq!(shown[..HANDSHAKE_BYTES], shaken[..HANDSHAKE_BYTES]);
            let (shown, before) = (messages(&shown[HANDSHAKE_BYTES..]), messages(&bytes));
            assert_eq!(shown.len(), before.len());
            assert_eq!((&shown[0], &shown[2]), (&before[0], &before[2]));
            let text = String::from_utf8_lossy(&shown[1].payload.to_vec()).into_owned();
            assert!(text.contains("publish") && text.contains(&"x".repeat(330)) && text.contains("live"));
            assert!(!text.contains("key"));
        }
    }

    /// In the middle of a message too, and where the fault hides what follows.
    #[test]
    fn what_is_not_whole_gives_nothing_away() {
        let bytes = written(&session());
        for cut in 0..bytes.len() {
            let mut reader = ChunkReader::new(&Limits::default());
            reader.push(Bytes::copy_from_slice(&bytes[..cut]));
            while let Ok(Read::Message(_)) = reader.poll() {}
            let Some(state) = reader.state() else { continue };
            for end in [bytes.len(), cut + (bytes.len() - cut) / 2] {
                let shown = redacted(Start::Middle(state.clone()), &bytes[cut..end], 100, &[]);
                let shown = String::from_utf8_lossy(&shown).into_owned();
                assert!(!shown.contains("long") && !shown.contains("-key"), "cut at {cut}, {end}");
            }
        }
        // A length that is refused ends what can be read.
        let fault = [&[3, 0, 0, 0, 0xff, 0xff, 0xff, 9, 0, 0, 0, 0][..], &bytes].concat();
        assert!(
            !String::from_utf8_lossy(&redacted(
                Start::Middle(ChunkReader::new(&Limits::default()).state().unwrap()),
                &fault,
                100,
                &[]
            ))
            .contains("long")
        );
    }

    /// A command that is parted by another message, and never becomes whole: before a fault and before the end.
    #[test]
    fn what_was_begun_before_another_message_gives_nothing_away() {
        let publish = write::publish(1, 5.0, &"kkkk".repeat(30), PublishKind::Live);
        let ping = Control::User(UserControl::PingRequest(7)).to_message();
        for chunk_size in [1, 3, 100] {
            let mut all = BytesMut::from(&written(&[Control::SetChunkSize(chunk_size).to_message()])[..]);
            let mut writer = ChunkWriter::new(chunk_size);
            let mut command = BytesMut::new();
            writer.write(ChunkStreamId::COMMAND, &publish, &mut command);
            // A header of 12 bytes, then 100 of the command in chunks, whose headers are one byte.
            let begun = 12 + 100 + (100_usize.div_ceil(chunk_size as usize) - 1);
            all.extend_from_slice(&command[..begun + usize::from(chunk_size == 3) * 2]);
            assert_eq!(messages(&all).len(), 1);
            writer.write(ChunkStreamId::CONTROL, &ping, &mut all);
            assert_eq!(messages(&all).len(), 2);
            for fault in [&b""[..], &[0x04, 0, 0, 0, 0xff, 0xff, 0xff, 9, 0, 0, 0, 0]] {
                let all = [&all, fault].concat();
                let shaken = [vec![3; HANDSHAKE_BYTES], all.clone()].concat();
                let shown = redacted(Start::Connection, &shaken, 100, &[])[HANDSHAKE_BYTES..].to_vec();
                assert!(all.contains(&b'k') && !shown.contains(&b'k'), "chunks of {chunk_size}: {shown:?}");
                assert_eq!(messages(&shown), messages(&all));
            }
        }
    }

    /// A command that was begun and aborted, and one in an aggregate.
    #[test]
    fn aborted_and_packed_commands_give_nothing_away() {
        let publish = write::publish(1, 5.0, &"kkkk".repeat(40), PublishKind::Live);
        let mut all = BytesMut::from(&written(&[Control::SetChunkSize(5).to_message()])[..]);
        let mut writer = ChunkWriter::new(5);
        let before = all.len();
        writer.write(ChunkStreamId::COMMAND, &publish, &mut all);
        // A header of 12 bytes, then twenty chunks.
        all.truncate(before + 12 + 20 * 6 - 1);
        let abort = Control::Abort(ChunkStreamId::COMMAND.into()).to_message();
        writer.write(ChunkStreamId::CONTROL, &abort, &mut all);
        let body = publish.payload.to_vec();
        let length = (body.len() as u32).to_be_bytes();
        let head = [&[type_id::COMMAND_AMF0][..], &length[1..], &[0; 7]].concat();
        let parts = [head, body.clone(), (11 + body.len() as u32).to_be_bytes().to_vec()].concat();
        let header = MessageHeader { timestamp: 0, type_id: type_id::AGGREGATE, stream_id: 1 };
        writer.write(ChunkStreamId::VIDEO, &Message::new(header, Bytes::from(parts)), &mut all);
        writer.write(ChunkStreamId::CONTROL, &abort, &mut all);
        assert_eq!(messages(&all).len(), 4);
        let shaken = [vec![3; HANDSHAKE_BYTES], all.to_vec()].concat();
        let shown = redacted(Start::Connection, &shaken, 100, &[])[HANDSHAKE_BYTES..].to_vec();
        assert!(all.contains(&b'k') && !shown.contains(&b'k'), "{shown:?}");
        let headers = |bytes| messages(bytes).iter().map(|message| message.header).collect::<Vec<_>>();
        assert_eq!(headers(&shown), headers(&all));
    }

    /// A message without a body is one that could be read, whatever its header looks like.
    #[test]
    fn a_last_message_without_a_body_stays() {
        let header = MessageHeader { timestamp: 0x7a7a7a, type_id: 0x7a, stream_id: 0x7a7a7a7a };
        let bytes = written(&[Message::new(header, Payload::new())]);
        let shaken = [vec![3; HANDSHAKE_BYTES], bytes.clone()].concat();
        assert_eq!(redacted(Start::Connection, &shaken, 100, &[])[HANDSHAKE_BYTES..], bytes);
    }

    /// The beginning of a header before the first byte too, if it was one; what no message was read with may be anything.
    #[test]
    fn a_header_that_had_begun_stays_if_it_is_one() {
        let header = MessageHeader { timestamp: 0x7a7a7a, type_id: 0x7a, stream_id: 0x7a7a7a7a };
        let bytes = written(&[Message::new(header, Bytes::from_static(b"body"))]);
        // All but the last byte of the header; and a length of 16 MB in it, which is refused.
        const CUT: usize = 11;
        for fault in [0, 0xff] {
            let mut begun = bytes[..CUT].to_vec();
            begun[4] |= fault;
            let mut reader = ChunkReader::new(&Limits::default());
            reader.push(Bytes::from(begun.clone()));
            assert_eq!(reader.poll(), Ok(Read::NeedBytes));
            let mut recording = Recording {
                start: Start::Middle(reader.state().unwrap()),
                reads: vec![RecordedRead { at: NOW, bytes: Bytes::copy_from_slice(&bytes[CUT..]) }],
                commands: vec![],
                secrets: vec![],
            };
            recording.redact(&Limits::default());
            let Start::Middle(state) = recording.start else { panic!("begins elsewhere") };
            let masked = state.unparsed.iter().filter(|byte| **byte == MASK).count();
            assert_eq!(state.unparsed == begun, fault == 0);
            assert_eq!(masked > 0, fault != 0);
        }
    }

    /// Another protocol's greeting shows what it is and nothing more.
    #[test]
    fn another_protocol_is_named_by_its_first_bytes() {
        let shown = redacted(Start::Connection, b"GET /live/secret HTTP/1.1\r\n", 10, &[]);
        assert_eq!(shown, b"GExxxxxxxxxxxxxxxxxxxxxxx\r\n");
    }

    /// The session's own secrets go wherever they stand, in media as well.
    #[test]
    fn known_secrets_go_everywhere() {
        let header = MessageHeader { timestamp: 40, type_id: type_id::DATA_AMF0, stream_id: 1 };
        let bytes = written(&[Message::new(header, Bytes::from_static(b"title: the-key the-key"))]);
        let start = || Start::Middle(ChunkReader::new(&Limits::default()).state().unwrap());
        let shown = redacted(start(), &bytes, 7, &["the-key", ""]);
        assert!(shown.ends_with(b"title: xxxxxxx xxxxxxx"));
    }
}
