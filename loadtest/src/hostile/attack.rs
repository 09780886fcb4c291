//! What each kind of hostile peer does on one connection, until the server ends it.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use inrush::rtmp::chunk::{ChunkStreamId, ChunkWriter};
use inrush::rtmp::command::write;
use inrush::rtmp::handshake::PACKET_BYTES;
use inrush::rtmp::message::type_id;
use inrush::rtmp::{Control, Message, Payload, UserControl};
use inrush::session::ClientSettings;

use super::dialogue::{Dialogue, Moment, now};
use super::kind::Kind;
use super::line::{Ended, Line};
use crate::clock::now_us;

/// From byte to byte of a slow one.
const DRIP: Duration = Duration::from_secs(1);
/// From block to block of a flood, and its size: 1.6 MB a second, from each.
const FLOOD_EVERY: Duration = Duration::from_millis(10);
const FLOOD_BYTES: usize = 16 * 1024;
/// What a hog writes before others of its thread get their turn.
const HOG_TURN_BYTES: usize = 256 * 1024;
/// The two messages of a memory hog, of which all but the last byte is sent: within what most servers take as one message.
const HOG_MESSAGE_BYTES: u32 = 7 * 1024 * 1024;
const HOG_MESSAGES: u8 = 2;
/// The chunk streams of a reassembly hog, from the first that needs no second byte and is nobody's.
const HOG_STREAMS: std::ops::Range<u8> = 10..61;
/// Length of each of its messages, and how much of it is sent.
const HOG_STREAM_BYTES: u32 = 1024 * 1024;
const HOG_STREAM_SENT_BYTES: u32 = 200 * 1024;
/// A never-reading publisher's: media each so often, and as many bytes.
const UNREAD_EVERY: Duration = Duration::from_millis(40);
const UNREAD_BYTES: usize = 1_500;
/// From word to word of a never-reading player.
const UNREAD_WORD_EVERY: Duration = Duration::from_secs(1);
/// Of one message that is sent in chunks of a byte.
const TINY_MESSAGE_BYTES: usize = 4_096;

/// Chunk size of the peers that choose one for their purpose.
pub fn chunk_size(kind: Kind) -> Option<u32> {
    match kind {
        Kind::TinyChunks => Some(1),
        Kind::MemoryHog => Some(65_536),
        Kind::ReassemblyHog => Some(4_096),
        _ => None,
    }
}

/// Plays the part until the server ends it, or the peer goes.
pub async fn play(kind: Kind, line: &mut Line, settings: ClientSettings) -> Ended {
    let played = match kind {
        Kind::Garbage => garbage(line).await,
        Kind::HalfOpen => half_open(line).await,
        Kind::Churn => Err(Ended::Left("cut by itself")),
        Kind::SlowHandshake => {
            let hello = Dialogue::new(settings).hello();
            Err(line.repeat(&hello, 1, DRIP).await)
        }
        Kind::SlowCommand => slow_command(line, settings).await,
        Kind::FailedPublish => match Dialogue::new(settings).until(Moment::Ready, line).await {
            Ok(()) => Err(Ended::Left("accepted, and left")),
            Err(ended) => Err(ended),
        },
        Kind::NeverReadingPlayer => never_reading_player(line, settings).await,
        Kind::NeverReadingPublisher => never_reading_publisher(line, settings).await,
        Kind::TinyChunks => tiny_chunks(line, settings).await,
        Kind::HeaderFlood | Kind::AckFlood | Kind::PingFlood | Kind::CommandFlood => {
            flood(kind, line, settings).await
        }
        Kind::MemoryHog => memory_hog(line, settings).await,
        Kind::ReassemblyHog => reassembly_hog(line, settings).await,
        // Said by the party, which knows how it is secured.
        Kind::TlsHello | Kind::TlsFlood => Ok(()),
    };
    match played {
        Ok(()) => line.until_ended().await,
        Err(ended) => ended,
    }
}

/// Bytes that mean nothing. Also a persona's.
pub async fn garbage(line: &mut Line) -> Result<(), Ended> {
    let mut random = now_us() | 1;
    let word = move || {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_be_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(word).take(1_024).flatten().collect();
    bytes[0] = b'G'; // never the version of a handshake by chance
    line.send(&bytes).await
}

/// The version, and the first bytes of C1. Also a persona's.
pub async fn half_open(line: &mut Line) -> Result<(), Ended> {
    line.send(&[3, 0, 0, 0, 0]).await
}

async fn slow_command(line: &mut Line, settings: ClientSettings) -> Result<(), Ended> {
    let rest = Dialogue::new(settings).after_handshake(line).await?;
    let (c2, connect) = rest.split_at(PACKET_BYTES.min(rest.len()));
    line.send(c2).await?;
    Err(line.repeat(connect, 1, DRIP).await)
}

/// A server's end waits behind what is not read, for ever: so it says something from time to time, which a socket that the server has
/// closed answers with a reset.
async fn never_reading_player(line: &mut Line, settings: ClientSettings) -> Result<(), Ended> {
    let mut dialogue = Dialogue::new(settings);
    dialogue.until(Moment::Ready, line).await?;
    let stream_id = dialogue.session().stream_id().unwrap_or_default();
    for ms in 1_000.. {
        let buffer = Control::User(UserControl::SetBufferLength { stream_id, ms }).to_message();
        let said = dialogue.session().send_message(now(), &buffer);
        said.map_err(|error| Ended::Broken(error.to_string()))?;
        line.send(&dialogue.said()).await?;
        if let Some(ended) = line.wait_unread(UNREAD_WORD_EVERY).await {
            return Err(ended);
        }
    }
    Ok(())
}

async fn never_reading_publisher(line: &mut Line, settings: ClientSettings) -> Result<(), Ended> {
    let mut dialogue = Dialogue::new(settings);
    dialogue.until(Moment::Ready, line).await?;
    let mut payload = vec![0x27, 1, 0, 0, 0];
    payload.resize(UNREAD_BYTES, 0xff);
    let payload = Payload::from(Bytes::from(payload));
    for turn in 0_u32.. {
        let timestamp = turn * UNREAD_EVERY.as_millis() as u32;
        let ping = Control::User(UserControl::PingRequest(timestamp)).to_message();
        let session = dialogue.session();
        let said = session
            .send_media_type(now(), type_id::VIDEO, timestamp, &payload)
            .and_then(|()| session.send_message(now(), &ping));
        // It is ready until it is told otherwise, and it does not listen.
        said.map_err(|error| Ended::Broken(error.to_string()))?;
        line.send(&dialogue.said()).await?;
        if let Some(ended) = line.wait_unread(UNREAD_EVERY).await {
            return Err(ended);
        }
    }
    Ok(())
}

async fn tiny_chunks(line: &mut Line, settings: ClientSettings) -> Result<(), Ended> {
    let mut dialogue = Dialogue::new(settings);
    dialogue.until(Moment::Ready, line).await?;
    let mut payload = vec![0x27, 1, 0, 0, 0];
    payload.resize(TINY_MESSAGE_BYTES, 0xff);
    let payload = Payload::from(Bytes::from(payload));
    let sent = dialogue.session().send_media_type(now(), type_id::VIDEO, 0, &payload);
    sent.map_err(|error| Ended::Broken(error.to_string()))?;
    // The same message over and over, at the same time.
    Err(line.repeat(&dialogue.said(), FLOOD_BYTES, FLOOD_EVERY / 2).await)
}

async fn flood(kind: Kind, line: &mut Line, settings: ClientSettings) -> Result<(), Ended> {
    let chunk_size = settings.chunk_size_out;
    Dialogue::new(settings).until(Moment::Connected, line).await?;
    let block = flood_block(kind, chunk_size);
    Err(line.repeat(&block, FLOOD_BYTES, FLOOD_EVERY).await)
}

/// What is sent over and over; it ends where a message does.
fn flood_block(kind: Kind, chunk_size: u32) -> Bytes {
    let mut writer = ChunkWriter::new(chunk_size);
    let mut out = BytesMut::new();
    let message = |number: u32| -> Message {
        match kind {
            Kind::AckFlood => Control::WindowAckSize(1 + number % 2).to_message(),
            Kind::PingFlood => Control::User(UserControl::PingRequest(number)).to_message(),
            _ => write::check_bandwidth(f64::from(number)),
        }
    };
    if kind == Kind::HeaderFlood {
        // An empty video message, and then one of the same in each byte (RTMP 1.0 §5.3.1.2.4).
        put_header(&mut out, 6, 0);
        out.put_bytes(0xc6, FLOOD_BYTES - out.len());
        return out.freeze();
    }
    for number in 0.. {
        let message = message(number);
        let id = if kind == Kind::CommandFlood { ChunkStreamId::COMMAND } else { ChunkStreamId::CONTROL };
        let before = out.len();
        writer.write(id, &message, &mut out);
        if out.len() > FLOOD_BYTES {
            out.truncate(before);
            break;
        }
    }
    out.freeze()
}

/// The header of a video message on message stream 1 (RTMP 1.0 §5.3.1.2.1), in a chunk stream below 64.
fn put_header(out: &mut BytesMut, chunk_stream: u8, length: u32) {
    out.put_u8(chunk_stream);
    out.put_slice(&[0; 3]);
    out.put_slice(&length.to_be_bytes()[1..]);
    out.put_u8(type_id::VIDEO);
    out.put_u32_le(1);
}

async fn memory_hog(line: &mut Line, settings: ClientSettings) -> Result<(), Ended> {
    let chunk = vec![0x27; settings.chunk_size_out as usize];
    Dialogue::new(settings).until(Moment::Connected, line).await?;
    for stream in 6..6 + HOG_MESSAGES {
        let mut head = BytesMut::new();
        put_header(&mut head, stream, HOG_MESSAGE_BYTES);
        let mut left = HOG_MESSAGE_BYTES as usize;
        let mut since_turn = 0;
        while left > 1 {
            let part = chunk.len().min(left - 1);
            head.extend_from_slice(&chunk[..part]);
            line.send(&head).await?;
            left -= part;
            since_turn += part;
            head.clear();
            head.put_u8(0xc0 | stream);
            if since_turn >= HOG_TURN_BYTES {
                since_turn = 0;
                if let Some(ended) = line.drain(Duration::from_millis(1)).await {
                    return Err(ended);
                }
            }
        }
    }
    Ok(())
}

async fn reassembly_hog(line: &mut Line, settings: ClientSettings) -> Result<(), Ended> {
    let chunk = vec![0x27; settings.chunk_size_out as usize];
    Dialogue::new(settings).until(Moment::Connected, line).await?;
    for round in 0..HOG_STREAM_SENT_BYTES / chunk.len() as u32 {
        let mut block = BytesMut::new();
        for stream in HOG_STREAMS {
            match round {
                0 => put_header(&mut block, stream, HOG_STREAM_BYTES),
                _ => block.put_u8(0xc0 | stream),
            }
            block.extend_from_slice(&chunk);
        }
        line.send(&block).await?;
        if let Some(ended) = line.drain(Duration::from_millis(1)).await {
            return Err(ended);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use inrush::rtmp::Limits;
    use inrush::rtmp::chunk::{ChunkReader, Read};

    use super::*;

    /// Messages in a block that is sent twice, as the engine reads them.
    fn read(block: &Bytes) -> Vec<(u8, usize)> {
        let mut reader = ChunkReader::new(&Limits::default());
        let mut seen = Vec::new();
        for _ in 0..2 {
            reader.push(block.clone());
            while let Read::Message(message) = reader.poll().expect("well-formed chunks") {
                seen.push((message.header.type_id, message.payload.len()));
            }
        }
        seen
    }

    #[test]
    fn floods_are_whole_messages_however_often_they_are_repeated() {
        for (kind, type_id, count_min) in [
            (Kind::HeaderFlood, type_id::VIDEO, 16_000),
            (Kind::AckFlood, type_id::WINDOW_ACK_SIZE, 1_000),
            (Kind::PingFlood, type_id::USER_CONTROL, 900),
            (Kind::CommandFlood, type_id::COMMAND_AMF0, 300),
        ] {
            let block = flood_block(kind, 128);
            assert!(block.len() <= FLOOD_BYTES, "{kind:?}");
            let seen = read(&block);
            assert!(seen.iter().all(|(seen, _)| *seen == type_id), "{kind:?}");
            assert!(seen.len() >= 2 * count_min && seen.len().is_multiple_of(2), "{kind:?}: {}", seen.len());
            assert_eq!(seen.iter().any(|(_, len)| *len == 0), kind == Kind::HeaderFlood);
        }
    }
}
