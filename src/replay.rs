//! `inrush replay`: a flight recording fed to the real parser, message by message in words (floor 6).
//!
//! A recording that begins with its connection goes through a whole session, with the times at which its bytes came: what was refused is
//! refused again, and every publish and play is let in. One that begins in the middle goes to the chunk reader where the engine's stood;
//! then commands and tags are read, and what a session alone can refuse is not found.
//! # Bounds
//! Those of the configuration's limits, as in the engine: the file is a peer's bytes.
//! # Errors
//! None: whatever is wrong with the bytes is what the text tells.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::media::audio_tag::AudioTag;
use crate::media::video_tag::VideoTag;
use crate::rtmp::chunk::{ChunkReader, Read, ReaderState};
use crate::rtmp::command::{self, data_name};
use crate::rtmp::handshake::{Entropy, PACKET_BYTES};
use crate::rtmp::message::type_id;
use crate::rtmp::{Control, Limits, Message};
use crate::runtime::recording_file::About;
use crate::session::recording::{HANDSHAKE_BYTES, Start};
use crate::session::{Event, Instant, Output, Recording, ServerSession, ServerSettings};

/// Tells what a recording holds and where it goes wrong. `settings` bound it, as they do a session.
pub fn replay(about: &About, recording: &Recording, settings: &ServerSettings) -> String {
    let mut out = String::new();
    tell_about(&mut out, about, recording);
    let _ = writeln!(out, "\nMessages:");
    let messages = match &recording.start {
        Start::Connection => tell_from_connection(&mut out, recording, &settings.limits),
        Start::Middle(state) => tell_from_middle(&mut out, recording, state, &settings.limits),
    };
    let fault = match (&recording.start, messages) {
        // The session finds what the reader finds, and more.
        (Start::Connection, _) => fault_of_session(recording, settings),
        (Start::Middle(_), fault) => fault,
    };
    let _ = match fault {
        Some(fault) => writeln!(out, "\nEnds by: {fault}"),
        None => writeln!(
            out,
            "\nEnds without a fault: it lies in what was written over, or a session alone finds it."
        ),
    };
    out
}

/// Writing to a String cannot fail.
fn tell_about(out: &mut String, about: &About, recording: &Recording) {
    let About { engine, unix_ms, connection, peer, flash_ver, kind, fault } = about;
    let flash_ver = flash_ver.as_deref().unwrap_or("not told");
    let bytes: usize = recording.reads.iter().map(|read| read.bytes.len()).sum();
    let start = match recording.start {
        Start::Connection => "from the connection's first byte on",
        Start::Middle(_) => "from the middle of it on",
    };
    // They come from a file, and go to a terminal.
    let [engine, peer, kind, fault] = [engine, peer, kind, fault].map(|text| text.escape_debug());
    let _ = writeln!(
        out,
        "Connection {connection} of {peer}, {flash_ver:?}, recorded by inrush {engine} at {unix_ms} ms since 1970\n\
         Ended by: {fault} ({kind})\n\
         {bytes} bytes in {} reads, {start}\n\nThe last commands:",
        recording.reads.len()
    );
    for command in &recording.commands {
        let at = Clock(command.at);
        let _ = writeln!(
            out,
            "{at}  {:?}, transaction {}, message stream {}",
            command.name, command.transaction, command.stream_id
        );
    }
    if recording.commands.is_empty() {
        let _ = writeln!(out, "  none");
    }
}

fn tell_from_connection(out: &mut String, recording: &Recording, limits: &Limits) -> Option<String> {
    let mut handshake_left = HANDSHAKE_BYTES;
    let mut reader = ChunkReader::new(limits);
    for read in &recording.reads {
        let mut bytes = read.bytes.clone();
        let of_handshake = bytes.split_to(bytes.len().min(handshake_left));
        if !of_handshake.is_empty() {
            handshake_left -= of_handshake.len();
            let _ = writeln!(out, "{}  {} bytes of the handshake", Clock(read.at), of_handshake.len());
        }
        if let Some(fault) = tell_messages(out, read.at, bytes, &mut reader, limits) {
            return Some(fault);
        }
    }
    None
}

fn tell_from_middle(
    out: &mut String,
    recording: &Recording,
    state: &ReaderState,
    limits: &Limits,
) -> Option<String> {
    let mut reader = match ChunkReader::resume(limits, state) {
        Ok(reader) => reader,
        Err(error) => return Some(error.to_string()),
    };
    for read in &recording.reads {
        if let Some(fault) = tell_messages(out, read.at, read.bytes.clone(), &mut reader, limits) {
            return Some(fault);
        }
    }
    None
}

/// Tells each message that the bytes make whole; gives the fault that ends them.
fn tell_messages(
    out: &mut String,
    at: Instant,
    bytes: Bytes,
    reader: &mut ChunkReader,
    limits: &Limits,
) -> Option<String> {
    reader.push(bytes);
    loop {
        match reader.poll() {
            Ok(Read::NeedBytes) => return None,
            Err(error) => return Some(error.to_string()),
            Ok(Read::Message(message)) => {
                let (text, fault) = describe(&message, limits);
                let header = message.header;
                let _ = writeln!(
                    out,
                    "{}  type {:>2}, message stream {}, timestamp {}, {} bytes: {text}",
                    Clock(at),
                    header.type_id,
                    header.stream_id,
                    header.timestamp,
                    message.payload.len()
                );
                if fault.is_some() {
                    return fault;
                }
            }
        }
    }
}

/// What a message is, and the fault in it.
fn describe(message: &Message, limits: &Limits) -> (String, Option<String>) {
    fn wrong(error: impl std::fmt::Display) -> (String, Option<String>) {
        (format!("malformed: {error}"), Some(error.to_string()))
    }
    match message.header.type_id {
        type_id::COMMAND_AMF0 | type_id::COMMAND_AMF3 => match command::parse(message, &limits.amf) {
            Ok(command) => (format!("{:?}", command), None),
            Err(error) => wrong(error),
        },
        type_id::DATA_AMF0 | type_id::DATA_AMF3 => {
            let name = data_name(&message.payload, message.header.type_id);
            (name.map_or("data without a name".into(), |name| format!("data {:?}", name.name)), None)
        }
        // What is wrong with a tag ends no session.
        type_id::VIDEO => match VideoTag::parse(&message.payload) {
            Ok(tag) => (
                format!(
                    "video, {:?}, {:?}, {:?}, track {}",
                    tag.codec, tag.frame_type, tag.packet, tag.track.0
                ),
                None,
            ),
            Err(error) => (format!("video, malformed: {error:?}"), None),
        },
        type_id::AUDIO => match AudioTag::parse(&message.payload) {
            Ok(tag) => (format!("audio, {:?}, {:?}, track {}", tag.codec, tag.packet, tag.track.0), None),
            Err(error) => (format!("audio, malformed: {error:?}"), None),
        },
        type_id::AGGREGATE => ("aggregate".into(), None),
        _ => match Control::parse(message) {
            Ok(Some(control)) => (format!("{control:?}"), None),
            Ok(None) => ("of no type that is known".into(), None),
            Err(error) => wrong(error),
        },
    }
}

/// What ends a session that is fed the recording, if anything does.
fn fault_of_session(recording: &Recording, settings: &ServerSettings) -> Option<String> {
    let first = recording.reads.first().map_or(Instant::default(), |read| read.at);
    let entropy = Box::new(Entropy { time_ms: 0, random: [0; PACKET_BYTES - 8] });
    let mut session = ServerSession::new(first, Arc::new(settings.clone()), entropy);
    for read in &recording.reads {
        session.handle_timeout(read.at);
        session.handle_bytes(read.at, read.bytes.clone());
        while let Some(output) = session.poll_output() {
            let Output::Event(event) = output else { continue };
            match event {
                Event::PublishRequested(request) => session.accept_publish(read.at, request.request),
                Event::PlayRequested(request) => session.accept_play(read.at, request.request),
                Event::Closed { reason, .. } => return Some(format!("{reason} ({})", reason.label())),
                _ => {}
            }
        }
    }
    None
}

/// Seconds of the engine's clock.
struct Clock(Instant);

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let us = self.0.as_micros();
        write!(f, "  {}.{:06}", us / 1_000_000, us % 1_000_000)
    }
}
