//! The work that a peer makes us do, charged in the time that it costs.
//!
//! Media of usual size is paid for by its bytes, which cost its sender as much as us: an encoder that sends a file as fast as the network
//! goes is welcome. What is not: chunks with next to nothing in them, short messages, control messages, and whatever has to be answered or
//! decoded. Each has a weight in *units*, and a session has so many units a second (`work_per_second_max`). One unit is the time of one
//! tiny chunk.
//!
//! # Weights
//! `benches/work.rs` on an AMD EPYC core (profile `ci`), nanoseconds a message, with the hub and without players; what should hold on other
//! machines too, the ratio to a chunk of one byte; and what is charged, the chunk itself included where it is a tiny one:
//!
//! | work | ns | ratio | units |
//! |---|---:|---:|---:|
//! | a chunk of 1 byte, of 15 bytes | 31, 44 | 1, 1.4 | 1 |
//! | acknowledgement, window, chunk size, a type that nobody knows | 110-125 | 4 | 5 |
//! | video of 1,500 bytes, audio of 10, a part of an aggregate of 5 | 380, 470, 690 | 12, 15, 22 | 0, 11, 11 |
//! | data: a short text, `onMetaData` with 20 properties (350 bytes) | 730, 8,200 | 24, 260 | 20 + 15, 20 + 175 |
//! | ping | 280 | 9 | 101 |
//! | a command that is answered | 610-1,300 | 20-42 | 500 and more |
//!
//! A ping and a command cost more than is measured there: the answer may take a system call of its own, some 3 microseconds, and
//! what a command brings about (a publish: hub, directory, a line in the log) several times that.
//!
//! A media message of no bytes is charged 10 units, and one less for each 32 bytes: to receive them costs the kernel 0.15 to 1 ns each,
//! one unit for some 30 to 200. So 3,000 of the shortest messages a second are half of the default. Values in AMF are charged by the bytes
//! that they are decoded from, before that is done; a message of nothing but one-byte values costs twice what is charged.
//! # Bounds
//! With the default of 60,000 units, 2 ms of each second, and [`SECONDS_AT_ONCE`] times that at once.
//! # Errors
//! The peer's, named by the work at which the budget ran out: it may have been used up by another kind.

use super::Instant;
use super::rate::TokenBucket;
use crate::rtmp::message::type_id;
use crate::rtmp::{Limits, Message, PeerMisbehaved};

/// A budget that was not used for so long is there at once, seconds: what comes after a stall of the network may be several seconds of a
/// stream.
pub const SECONDS_AT_ONCE: u32 = 4;

/// Any control message that needs no answer, and a message that nobody knows.
const CONTROL: u64 = 4;
/// An audio or video message without a body.
const MEDIA: u64 = 10;
/// Bytes of media that pay for one unit.
const MEDIA_BYTES_A_UNIT: u64 = 32;
/// A data message, beside its bytes.
const DATA: u64 = 20;
/// A control message that is to be answered.
const ANSWERED: u64 = 100;
/// A command, beside its bytes.
const COMMAND: u64 = 500;
/// Bytes of AMF that cost one unit to decode.
const AMF_BYTES_A_UNIT: u64 = 2;
/// Bytes of a data message that may be decoded: a longer one is handed on as it is.
const DATA_BYTES_MAX: u64 = 32 * 1024;

/// Event type of a Ping Request (RTMP 1.0 §7.1.7).
const PING_REQUEST: [u8; 2] = [0, 6];

/// What one session may still make us do.
#[derive(Debug)]
pub(super) struct WorkBudget(TokenBucket);

impl WorkBudget {
    /// A budget that nothing was taken from.
    pub(super) fn new(now: Instant, limits: &Limits) -> Self {
        let per_second = limits.work_per_second_max;
        Self(TokenBucket::with_burst(now, per_second, per_second.saturating_mul(SECONDS_AT_ONCE)))
    }

    /// Tiny chunks that may be read before the budget is used up.
    pub(super) fn tiny_chunks_left(&mut self, now: Instant) -> u64 {
        self.0.level(now)
    }

    /// Pays for chunks, or parts of aggregates, with next to nothing in them.
    ///
    /// # Errors
    /// `TooManyTinyChunks`.
    pub(super) fn charge_tiny_chunks(&mut self, now: Instant, count: u64) -> Result<(), PeerMisbehaved> {
        match count == 0 || self.0.take(now, count) {
            true => Ok(()),
            false => Err(PeerMisbehaved::TooManyTinyChunks),
        }
    }

    /// Pays for a message, but for its chunks: before anything is done with it.
    ///
    /// # Errors
    /// `TooManyMessages`, `TooManyControlMessages` or `TooManyCommands`.
    pub(super) fn charge_message(&mut self, now: Instant, message: &Message) -> Result<(), PeerMisbehaved> {
        let amf = |bytes: u64| bytes / AMF_BYTES_A_UNIT;
        let len = message.payload.len() as u64;
        let (units, error) = match message.header.type_id {
            type_id::AUDIO | type_id::VIDEO => {
                (MEDIA.saturating_sub(len / MEDIA_BYTES_A_UNIT), PeerMisbehaved::TooManyMessages)
            }
            type_id::DATA_AMF0 | type_id::DATA_AMF3 => {
                (DATA + amf(len.min(DATA_BYTES_MAX)), PeerMisbehaved::TooManyMessages)
            }
            type_id::COMMAND_AMF0 | type_id::COMMAND_AMF3 => {
                (COMMAND + amf(len), PeerMisbehaved::TooManyCommands)
            }
            type_id::USER_CONTROL if message.payload.array(0) == Some(PING_REQUEST) => {
                (ANSWERED, PeerMisbehaved::TooManyControlMessages)
            }
            // A client answers it with its own window (RTMP 1.0 §5.4.5); a server does not, and nobody needs two a session.
            type_id::SET_PEER_BANDWIDTH => (ANSWERED, PeerMisbehaved::TooManyControlMessages),
            type_id::SET_CHUNK_SIZE..=type_id::WINDOW_ACK_SIZE => {
                (CONTROL, PeerMisbehaved::TooManyControlMessages)
            }
            _ => (CONTROL, PeerMisbehaved::TooManyMessages),
        };
        if self.0.take(now, units) { Ok(()) } else { Err(error) }
    }
}
