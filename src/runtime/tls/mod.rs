//! TLS in front of a session (RTMPS): bytes in, plain text and bytes to send out. No socket, no clock; one [`Tls`] a connection, in the
//! server or ([`Tls::client`]) the client role.
//!
//! Rustls does the handshake ([`Tls::shake`]), one record a step, so that `handshakes` can ration what it costs. After it the records
//! are ours, with rustls's keys and ciphers (`records`), because rustls itself copies what it decrypts.
//! # What is copied
//! - **In: nothing.** A record is decrypted where the receive put it, and its plain text is a slice of that buffer: the chunk
//!   reader's slices, and the frames that players and caches share, still lie where the kernel wrote them. The beginning of a record that is
//!   not whole yet stays in front of the next receive; it is moved only when the buffer's end is reached.
//! - **Out: once.** What a write gathers lies in many slices that other players share, so it cannot be encrypted in place: up to
//!   [`records::PLAIN_BYTES_MAX`] of it is copied into a record's own memory, encrypted there and sent from there.
//! # Bounds
//! Of a connection: one handshake of [`HANDSHAKE_BYTES_MAX`] in its receive buffer, after that one record at most; one write's records;
//! a few short records that wait ([`Tls::take_ready`]). Records with next to nothing in them have a budget ([`TINY_RECORDS_PER_SECOND_MAX`]).
//! # Errors
//! A [`Failure`] says whose fault it was; the alert that the peer is owed waits in [`Tls::take_ready`].

pub mod anybody;
pub mod certificates;
pub(crate) mod handshakes;
pub mod records;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, HandshakeKind, ProtocolVersion, ServerConfig};

use self::certificates::take_name_asked_for;
use self::records::Records;
use super::observe::TlsInfo;
use crate::rtmp::{Error, PeerMisbehaved, PeerUnsupported};
use crate::session::rate::TokenBucket;
use crate::session::{CloseReason, Instant};

/// What a peer may send of a handshake that is not done, bytes: a ClientHello is 200 to 2,000 long, and comes whole before it is looked at.
pub const HANDSHAKE_BYTES_MAX: usize = 2 * records::RECORD_BYTES_MAX;

/// What rustls keeps while a handshake goes on, bytes; a test measures it.
const HANDSHAKE_STATE_BYTES: usize = 8 * 1024;
/// What keys and ciphers take after it, bytes, likewise.
const OPEN_STATE_BYTES: usize = 4 * 1024;

/// Records with next to nothing in them, a second: ffmpeg puts each chunk's header into a record of its own, so with the chunk size that
/// RTMP begins with, 25 Mbit/s are 24,000. Each costs as much as some 15 tiny chunks, all of them 10 ms of each second. What comes after a
/// stall may be several seconds' worth.
pub const TINY_RECORDS_PER_SECOND_MAX: u32 = 25_000;

/// A second's tiny records that may come at once, as for all that a peer makes us do.
const SECONDS_AT_ONCE: u32 = crate::session::work::SECONDS_AT_ONCE;

/// Content type of a handshake record, and so the first byte of TLS (RFC 8446 §5.1).
pub const FIRST_BYTE: u8 = 0x16;

/// Why TLS ends the connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the connection's end is counted as.
    pub reason: CloseReason,
}

impl Failure {
    fn peer(error: impl Into<Error>) -> Self {
        Self { reason: CloseReason::Error(error.into()) }
    }

    /// What cannot happen with keys and ciphers that are in order.
    fn fault() -> Self {
        Self { reason: CloseReason::Fault }
    }

    fn ours(_: rustls::Error) -> Self {
        Self::fault()
    }
}

/// How far a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shaken {
    /// There is more to do.
    Goes,
    /// Both sides are done; what lies in the buffer now is for [`Tls::read`].
    Done,
}

/// What a read led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// More may come.
    Open,
    /// The peer has said that it sends no more.
    Closed,
}

/// What a record that has begun in this buffer still lacks, bytes; 0 when none has, or its header is not whole.
pub fn lacking_bytes(buffer: &[u8]) -> usize {
    match records::length(buffer) {
        Ok(Some(length)) => length.saturating_sub(buffer.len()),
        Ok(None) | Err(_) => 0,
    }
}

/// One thing that lay in a buffer of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Plain text.
    Plain(Bytes),
    /// So many bytes of TLS's own, which lie between what was plain.
    Gap(usize),
}

/// One connection's TLS. Plain data: it moves between cores as it is.
pub struct Tls {
    stage: Stage,
    /// Records to be sent before anything that is sealed from now on.
    ready: Vec<u8>,
    tiny_records: TokenBucket,
    info: Option<Box<TlsInfo>>,
}

enum Stage {
    /// Nothing whole has come: a peer that only connects costs no more than this.
    Awaits(Arc<ServerConfig>),
    Handshake(Box<Handshake>),
    Open(Box<Records>),
    /// Nothing can be opened or sealed any more.
    Failed,
}

struct Handshake {
    connection: Side,
    /// The name that the client asked for.
    server_name: Option<String>,
    /// Bytes at the front of the buffer that rustls has seen and wants to see again: parts of a message that is not whole.
    seen_bytes: usize,
}

/// Rustls's part of a handshake, by role.
enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl Tls {
    /// For a connection that has just been accepted. Records with next to nothing in them are bounded to `tiny_records_per_second_max`.
    pub fn new(now: Instant, config: Arc<ServerConfig>, tiny_records_per_second_max: u32) -> Self {
        Self { stage: Stage::Awaits(config), ..Self::failed(now, tiny_records_per_second_max) }
    }

    /// For a connection that we have made to a server of this name. The first flight waits in [`Self::take_ready`]: a client speaks first.
    ///
    /// # Errors
    /// When rustls cannot begin with this configuration.
    pub fn client(
        config: Arc<ClientConfig>,
        server_name: ServerName<'static>,
        now: Instant,
    ) -> Result<Self, Failure> {
        let config = match config.enable_secret_extraction {
            true => config,
            // The records are ours, and need the keys.
            false => {
                let mut config = ClientConfig::clone(&config);
                config.enable_secret_extraction = true;
                Arc::new(config)
            }
        };
        let asked_for = server_name.to_str().into_owned();
        let connection = UnbufferedClientConnection::new(config, server_name).map_err(Failure::ours)?;
        let mut handshake = Box::new(Handshake {
            connection: Side::Client(connection),
            server_name: Some(asked_for),
            seen_bytes: 0,
        });
        let mut ready = Vec::new();
        handshake.begin(&mut ready)?;
        Ok(Self {
            stage: Stage::Handshake(handshake),
            ready,
            ..Self::failed(now, TINY_RECORDS_PER_SECOND_MAX)
        })
    }

    fn failed(now: Instant, tiny_records_per_second_max: u32) -> Self {
        let at_once = tiny_records_per_second_max.saturating_mul(SECONDS_AT_ONCE);
        Self {
            stage: Stage::Failed,
            ready: Vec::new(),
            tiny_records: TokenBucket::with_burst(now, tiny_records_per_second_max, at_once),
            info: None,
        }
    }

    /// Whether the handshake is not done yet.
    pub fn is_shaking_hands(&self) -> bool {
        matches!(self.stage, Stage::Awaits(_) | Stage::Handshake(_))
    }

    /// What it holds, bytes: the state of the handshake or of both directions, and records that wait to be sent.
    pub fn held_bytes(&self) -> usize {
        let state_bytes = match &self.stage {
            Stage::Handshake(_) => HANDSHAKE_STATE_BYTES,
            Stage::Open(_) => OPEN_STATE_BYTES,
            Stage::Awaits(_) | Stage::Failed => 0,
        };
        state_bytes + self.ready.len()
    }

    /// Whether the first flight is still to come: the step that costs most is ahead.
    pub fn is_at_its_beginning(&self) -> bool {
        matches!(self.stage, Stage::Awaits(_))
    }

    /// What was agreed, once it is.
    pub fn info(&self) -> Option<&TlsInfo> {
        self.info.as_deref()
    }

    /// Whether [`Self::shake`] has something to do with what is in the buffer.
    ///
    /// # Errors
    /// When what is there cannot be a handshake, or is longer than one.
    pub fn has_step(&self, buffer: &[u8]) -> Result<bool, Failure> {
        let seen_bytes = match &self.stage {
            Stage::Awaits(_) => 0,
            Stage::Handshake(handshake) => handshake.seen_bytes,
            Stage::Open(_) | Stage::Failed => return Ok(false),
        };
        if let (Stage::Awaits(_), Some(first)) = (&self.stage, buffer.first())
            && *first != FIRST_BYTE
        {
            return Err(Failure::peer(PeerMisbehaved::NotTls(*first)));
        }
        match records::whole(buffer.get(seen_bytes..).unwrap_or_default()) {
            Ok(None) if buffer.len() >= HANDSHAKE_BYTES_MAX => {
                Err(Failure::peer(PeerMisbehaved::TlsHandshake))
            }
            Ok(whole) => Ok(whole.is_some()),
            Err(_) => Err(Failure::peer(PeerMisbehaved::TlsHandshake)),
        }
    }

    /// Takes the handshake one record further.
    pub fn shake(&mut self, buffer: &mut BytesMut) -> Result<Shaken, Failure> {
        if !self.has_step(buffer)? {
            return Ok(if self.is_shaking_hands() { Shaken::Goes } else { Shaken::Done });
        }
        let mut handshake = match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Awaits(config) => Box::new(Handshake {
                connection: Side::Server(UnbufferedServerConnection::new(config).map_err(Failure::ours)?),
                server_name: None,
                seen_bytes: 0,
            }),
            Stage::Handshake(handshake) => handshake,
            other => {
                self.stage = other;
                return Ok(Shaken::Done);
            }
        };
        let is_done = handshake.step(buffer, &mut self.ready)?;
        if !is_done {
            self.stage = Stage::Handshake(handshake);
            return Ok(Shaken::Goes);
        }
        self.info = Some(Box::new(handshake.info()));
        let records = match handshake.connection {
            Side::Server(connection) => {
                let (secrets, connection) =
                    connection.dangerous_into_kernel_connection().map_err(Failure::ours)?;
                Records::of_server(secrets, connection)?
            }
            Side::Client(connection) => {
                let (secrets, connection) =
                    connection.dangerous_into_kernel_connection().map_err(Failure::ours)?;
                Records::of_client(secrets, connection)?
            }
        };
        self.stage = Stage::Open(Box::new(records));
        Ok(Shaken::Done)
    }

    /// Opens all records that are whole, in their place, and hands on what was in them, in order. What is not whole stays in the buffer.
    ///
    /// After the peer's last word, or a failure, the buffer is emptied: nothing more will be read of it.
    pub fn read(
        &mut self,
        now: Instant,
        buffer: &mut BytesMut,
        mut hand_on: impl FnMut(Part),
    ) -> Result<Read, Failure> {
        let outcome = self.read_records(now, buffer, &mut hand_on);
        if outcome != Ok(Read::Open) {
            buffer.clear();
        }
        if outcome.is_err() {
            self.stage = Stage::Failed;
        }
        outcome
    }

    fn read_records(
        &mut self,
        now: Instant,
        buffer: &mut BytesMut,
        hand_on: &mut impl FnMut(Part),
    ) -> Result<Read, Failure> {
        let Stage::Open(open) = &mut self.stage else { return Ok(Read::Closed) };
        while let Some(length) = records::whole(buffer).map_err(Failure::peer)? {
            let mut record = buffer.split_to(length);
            let opened = open.open(&mut record, &mut self.ready)?;
            if opened.work > 0 && !self.tiny_records.take(now, opened.work) {
                return Err(Failure::peer(PeerMisbehaved::TooManyTinyRecords));
            }
            if opened.closed {
                return Ok(Read::Closed);
            }
            let (before, behind) = (opened.data.start, length.saturating_sub(opened.data.end));
            if opened.data.is_empty() {
                hand_on(Part::Gap(length));
                continue;
            }
            hand_on(Part::Gap(before));
            record.truncate(opened.data.end);
            record.advance(before);
            hand_on(Part::Plain(record.freeze()));
            hand_on(Part::Gap(behind));
        }
        Ok(Read::Open)
    }

    /// Seals one record of plain text: [`records::PLAIN_BYTES_MAX`] at most, all slices together. What waits in [`Self::take_ready`] goes
    /// before it.
    pub fn seal(&mut self, plain: &[&[u8]]) -> Result<Vec<u8>, Failure> {
        match &mut self.stage {
            Stage::Open(open) => open.seal(plain, &mut self.ready),
            // Nothing is to be said before the handshake is done, nor after a failure.
            _ => Err(Failure::fault()),
        }
    }

    /// Whether plain text can be sealed: after the handshake, until the last word.
    pub fn can_seal(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Says that we send no more, where there is anybody who can be told.
    pub fn close(&mut self) {
        if let Stage::Open(open) = &mut self.stage {
            open.close(&mut self.ready);
            self.stage = Stage::Failed;
        }
    }

    /// Records that are to be sent now, as they are; empty when there are none.
    pub fn take_ready(&mut self) -> Vec<u8> {
        if let Stage::Open(open) = &mut self.stage {
            open.on_ready_taken();
        }
        std::mem::take(&mut self.ready)
    }

    /// Whether [`Self::take_ready`] has something.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    #[cfg(test)]
    fn records(&mut self) -> &mut Records {
        match &mut self.stage {
            Stage::Open(open) => open,
            _ => panic!("the handshake is done"),
        }
    }
}

impl Handshake {
    /// Shows rustls the next record, and takes what it wants to send. True when the handshake is done.
    ///
    /// No more than that record: behind the last one of a handshake lies what we read ourselves.
    fn step(&mut self, buffer: &mut BytesMut, ready: &mut Vec<u8>) -> Result<bool, Failure> {
        let next = buffer.get(self.seen_bytes..).map(records::whole);
        let Some(Ok(Some(length))) = next else { return Ok(false) };
        let mut shown = self.seen_bytes + length;
        loop {
            let part = buffer.get_mut(..shown).unwrap_or_default();
            let (discard, next) = self.connection.process(part, ready);
            self.server_name = take_name_asked_for().or_else(|| self.server_name.take());
            let discard = discard.min(shown);
            buffer.advance(discard);
            shown -= discard;
            self.seen_bytes = shown;
            match next {
                Ok(Next::Again) => {}
                Ok(Next::Blocked) => return Ok(false),
                Ok(Next::Done) => return Ok(!self.connection.common().is_handshaking()),
                Err(failure) => {
                    self.take_alert(buffer.get_mut(..shown).unwrap_or_default(), ready);
                    return Err(failure);
                }
            }
        }
    }

    /// What rustls wants to tell the peer about an error.
    fn take_alert(&mut self, shown: &mut [u8], ready: &mut Vec<u8>) {
        // One alert at most comes before the error again. Rustls counts on seeing what it has not let go of, also now.
        let _ = self.connection.process(shown, ready);
    }

    /// Has a client say its hello.
    fn begin(&mut self, ready: &mut Vec<u8>) -> Result<(), Failure> {
        loop {
            match self.connection.process(&mut [], ready).1? {
                Next::Again => {}
                Next::Blocked | Next::Done => return Ok(()),
            }
        }
    }

    fn info(&self) -> TlsInfo {
        let connection = self.connection.common();
        TlsInfo {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown"),
            server_name: self.server_name.clone(),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

impl Side {
    /// Shows rustls these bytes and takes what it wants to send. Gives how many of them it has done with, and what is next.
    fn process(&mut self, part: &mut [u8], ready: &mut Vec<u8>) -> (usize, Result<Next, Failure>) {
        match self {
            Self::Server(connection) => on_status(connection.process_tls_records(part), ready),
            Self::Client(connection) => on_status(connection.process_tls_records(part), ready),
        }
    }

    fn common(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }
}

enum Next {
    Again,
    Blocked,
    Done,
}

fn on_status<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    ready: &mut Vec<u8>,
) -> (usize, Result<Next, Failure>) {
    let UnbufferedStatus { discard, state } = status;
    let next = match state {
        Ok(state) => on_state(state, ready),
        Err(error) => Err(blame(&error)),
    };
    (discard, next)
}

fn on_state<Data>(state: ConnectionState<'_, '_, Data>, ready: &mut Vec<u8>) -> Result<Next, Failure> {
    match state {
        ConnectionState::EncodeTlsData(mut data) => {
            let from = ready.len();
            // Without room it says how much it wants.
            let length = match data.encode(&mut []) {
                Err(EncodeError::InsufficientSize(wanted)) => wanted.required_size,
                _ => 0,
            };
            ready.resize(from + length, 0);
            data.encode(ready.get_mut(from..).unwrap_or_default()).map_err(|_| Failure::fault())?;
            Ok(Next::Again)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Next::Again)
        }
        ConnectionState::BlockedHandshake => Ok(Next::Blocked),
        ConnectionState::WriteTraffic(_) => Ok(Next::Done),
        // The peer ends before it has begun; or data before the end of the handshake, which rustls refuses by itself.
        _ => Err(Failure::peer(PeerMisbehaved::TlsHandshake)),
    }
}

/// Whose fault an error of the handshake is.
fn blame(error: &rustls::Error) -> Failure {
    match error {
        rustls::Error::AlertReceived(alert) => Failure::peer(PeerMisbehaved::TlsAlert(u8::from(*alert))),
        rustls::Error::PeerIncompatible(_) => Failure::peer(PeerUnsupported::TlsParameters),
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Failure::peer(PeerMisbehaved::TlsCertificate)
        }
        rustls::Error::General(_) | rustls::Error::FailedToGetRandomBytes | rustls::Error::EncryptError => {
            Failure::fault()
        }
        _ => Failure::peer(PeerMisbehaved::TlsHandshake),
    }
}
