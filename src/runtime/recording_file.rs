//! The file of one flight recording: JSON, bytes as hexadecimal digits, one line a read.
//!
//! For people first: what happened stands at the top, and any tool can read it. `inrush replay` feeds it to the parser again.
//! # Bounds
//! Reading takes at most [`FILE_BYTES_MAX`]; what a file claims is checked by the parser that it is fed to, like a peer's bytes.
//! # Errors
//! [`FileError`]: the file cannot be read, or is none of ours.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::rtmp::MessageHeader;
use crate::rtmp::chunk::{ChunkStreamId, ReaderState, StreamState};
use crate::session::recording::{RecordedCommand, RecordedRead, Start};
use crate::session::{Instant, Recording};

/// Longest file that is read: two segments of the recorder, each of 2 MiB at most, in hexadecimal digits are an eighth of it.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// The format; a file of another one is refused.
const FORMAT: u32 = 1;

/// What a recording is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Version of the engine that wrote it.
    pub engine: String,
    /// When it was written, milliseconds since 1970.
    pub unix_ms: u64,
    /// The connection's number, as in the log.
    pub connection: u64,
    /// The peer's address.
    pub peer: String,
    /// The client's name for itself, if it got so far.
    pub flash_ver: Option<String>,
    /// The fault's name, as in the metrics.
    pub kind: String,
    /// The fault in words.
    pub fault: String,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// Too long to be one of ours.
    #[error("is longer than {FILE_BYTES_MAX} bytes, and so no recording")]
    TooLong,
    /// It is no JSON, or other JSON.
    #[error("is no recording: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version's.
    #[error("is a recording of format {0}; this version reads format {FORMAT}")]
    Format(u32),
    /// A part of it says nothing that can be.
    #[error("is no recording: {0} cannot be read")]
    Part(&'static str),
}

#[derive(Serialize, Deserialize)]
struct RecordingFile {
    inrush_recording: u32,
    #[serde(flatten)]
    about: About,
    commands: Vec<CommandLine>,
    /// Absent when the recording begins with the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    reader: Option<ReaderPart>,
    reads: Vec<ReadLine>,
}

#[derive(Serialize, Deserialize)]
struct CommandLine {
    at_us: u64,
    name: String,
    transaction: f64,
    stream_id: u32,
}

#[derive(Serialize, Deserialize)]
struct ReadLine {
    at_us: u64,
    hex: String,
}

#[derive(Serialize, Deserialize)]
struct ReaderPart {
    chunk_size: u32,
    open: Option<(u32, usize)>,
    unparsed: String,
    streams: Vec<StreamPart>,
}

#[derive(Serialize, Deserialize)]
struct StreamPart {
    id: u32,
    timestamp: u32,
    type_id: u8,
    stream_id: u32,
    length: u32,
    delta: u32,
    extended: Option<u32>,
    repeats_extended: Option<bool>,
    arrived: Option<u32>,
}

/// The text of a recording's file. It should be redacted by now.
pub fn write(about: &About, recording: &Recording) -> String {
    let file = RecordingFile {
        inrush_recording: FORMAT,
        about: about.clone(),
        commands: recording
            .commands
            .iter()
            .map(|command| CommandLine {
                at_us: command.at.as_micros(),
                name: command.name.clone(),
                // JSON has no infinity and no NaN.
                transaction: if command.transaction.is_finite() { command.transaction } else { -1.0 },
                stream_id: command.stream_id,
            })
            .collect(),
        reader: match &recording.start {
            Start::Connection => None,
            Start::Middle(state) => Some(reader_part(state)),
        },
        reads: recording
            .reads
            .iter()
            .map(|read| ReadLine { at_us: read.at.as_micros(), hex: hex(&read.bytes) })
            .collect(),
    };
    // Its maps have text for keys, so that this cannot fail.
    serde_json::to_string_pretty(&file).unwrap_or_default()
}

/// Reads a recording's file.
pub fn read(path: &Path) -> Result<(About, Recording), FileError> {
    let mut text = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLong);
    }
    parse(&text)
}

fn parse(text: &[u8]) -> Result<(About, Recording), FileError> {
    #[derive(Deserialize)]
    struct Header {
        inrush_recording: u32,
    }
    let Header { inrush_recording: format } = serde_json::from_slice(text)?;
    if format != FORMAT {
        return Err(FileError::Format(format));
    }
    let file: RecordingFile = serde_json::from_slice(text)?;
    let start = match file.reader {
        None => Start::Connection,
        Some(part) => Start::Middle(reader_state(part)?),
    };
    let reads = file.reads.into_iter().map(|line| {
        let bytes = unhex(&line.hex).ok_or(FileError::Part("reads"))?;
        Ok(RecordedRead { at: Instant::from_micros(line.at_us), bytes })
    });
    let recording = Recording {
        start,
        reads: reads.collect::<Result<_, FileError>>()?,
        commands: file
            .commands
            .into_iter()
            .map(|line| RecordedCommand {
                at: Instant::from_micros(line.at_us),
                name: line.name,
                transaction: line.transaction,
                stream_id: line.stream_id,
            })
            .collect(),
        secrets: Vec::new(),
    };
    Ok((file.about, recording))
}

fn reader_part(state: &ReaderState) -> ReaderPart {
    let streams = state.streams.iter().map(|stream| {
        let MessageHeader { timestamp, type_id, stream_id } = stream.header;
        let StreamState { length, delta, extended, repeats_extended, arrived, .. } = *stream;
        let id = stream.id.into();
        StreamPart { id, timestamp, type_id, stream_id, length, delta, extended, repeats_extended, arrived }
    });
    ReaderPart {
        chunk_size: state.chunk_size,
        open: state.open.map(|(id, left)| (id.into(), left)),
        unparsed: hex(&state.unparsed),
        streams: streams.collect(),
    }
}

fn reader_state(part: ReaderPart) -> Result<ReaderState, FileError> {
    let chunk_stream = |id| ChunkStreamId::new(id).ok_or(FileError::Part("reader"));
    let streams = part.streams.into_iter().map(|part| {
        let StreamPart { length, delta, extended, repeats_extended, arrived, .. } = part;
        let header =
            MessageHeader { timestamp: part.timestamp, type_id: part.type_id, stream_id: part.stream_id };
        Ok(StreamState {
            id: chunk_stream(part.id)?,
            header,
            length,
            delta,
            extended,
            repeats_extended,
            arrived,
        })
    });
    Ok(ReaderState {
        chunk_size: part.chunk_size,
        streams: streams.collect::<Result<_, FileError>>()?,
        open: part.open.map(|(id, left)| Ok::<_, FileError>((chunk_stream(id)?, left))).transpose()?,
        unparsed: unhex(&part.unparsed).ok_or(FileError::Part("reader"))?,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Bytes> {
    let digits = text.as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let pairs = digits.chunks(2).map(|pair| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About {
            engine: "0.1.0".into(),
            unix_ms: 1_764_000_000_000,
            connection: 7,
            peer: "192.0.2.1:5000".into(),
            flash_ver: Some("FMLE/3.0 \"quoted\"\u{7}".into()),
            kind: "message_too_long".into(),
            fault: "message of 16777215 bytes is longer than allowed".into(),
        }
    }

    fn recording(start: Start) -> Recording {
        let at = Instant::from_micros(1234);
        let command = |transaction| RecordedCommand { at, name: "connect".into(), transaction, stream_id: 0 };
        Recording {
            start,
            reads: vec![
                RecordedRead { at, bytes: Bytes::from_static(&[0, 1, 0xfe, 0xff]) },
                RecordedRead { at, bytes: Bytes::new() },
            ],
            commands: vec![command(1.0), command(-0.5)],
            secrets: Vec::new(),
        }
    }

    fn state() -> ReaderState {
        let stream = StreamState {
            id: ChunkStreamId::new(65_599).unwrap(),
            header: MessageHeader { timestamp: u32::MAX, type_id: 9, stream_id: 1 },
            length: 1000,
            delta: 40,
            extended: Some(0xff_ffff),
            repeats_extended: Some(false),
            arrived: Some(7),
        };
        ReaderState {
            chunk_size: 60_000,
            streams: vec![stream],
            open: Some((stream.id, 9)),
            unparsed: Bytes::from_static(&[0xc3]),
        }
    }

    /// A file says what it was written of, from either start.
    #[test]
    fn files_round_trip() {
        for start in [Start::Connection, Start::Middle(state())] {
            let recording = recording(start);
            let text = write(&about(), &recording);
            assert_eq!(parse(text.as_bytes()).unwrap(), (about(), recording));
        }
    }

    /// What is no recording is refused with what is wrong.
    #[test]
    fn other_files_are_refused() {
        let text = write(&about(), &recording(Start::Middle(state())));
        let wrong = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        assert!(wrong("").starts_with("is no recording: EOF"));
        assert!(wrong("{\"inrush_recording\": 2}").starts_with("is a recording of format 2"));
        assert!(wrong("{\"inrush_recording\": 1}").starts_with("is no recording: missing field"));
        assert!(wrong(&text.replace("0001feff", "0001fef")).ends_with("reads cannot be read"));
        assert!(wrong(&text.replace("0001feff", "0001fefg")).ends_with("reads cannot be read"));
        assert!(wrong(&text.replace("65599", "1")).ends_with("reader cannot be read"));
        assert!(matches!(read(Path::new("/nowhere")), Err(FileError::Io(_))));
    }

    /// What is not a number in JSON does not make a file unreadable.
    #[test]
    fn numbers_that_json_lacks_are_written_as_others() {
        let mut recording = recording(Start::Connection);
        recording.commands[0].transaction = f64::NAN;
        let (_, read) = parse(write(&about(), &recording).as_bytes()).unwrap();
        assert_eq!(read.commands[0].transaction, -1.0);
    }
}
