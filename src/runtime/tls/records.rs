//! TLS records after the handshake: opened where they lie, sealed as they are gathered (RFC 8446 §5, RFC 5246 §6.2).
//!
//! The keys and ciphers are rustls's, and so is the renewal of keys; this file counts records and knows their types. Rustls's own
//! record layer copies each record's plain text into a vector of its own, which a media stream should not pay for.
//! # Errors
//! A [`Failure`] ends the connection, and its alert is ready to be sent. Nothing can be opened or sealed after it.
//! # Bounds
//! A record is [`RECORD_BYTES_MAX`] long at most. What a record costs beside its bytes is counted (`Opened::work`). At most one answer to
//! key updates waits. Keys protect no more records than their cipher allows: TLS 1.3 renews them before, TLS 1.2 ends.

use std::ops::Range;

use rustls::client::ClientConnectionData;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, ExtractedSecrets, HandshakeType,
    ProtocolVersion, SupportedCipherSuite,
};

use super::Failure;
use crate::rtmp::{PeerMisbehaved, PeerUnsupported};
use crate::session::CloseReason;

/// Type, version and length before each record (RFC 8446 §5.1).
pub const HEADER_BYTES: usize = 5;
/// Plain text of one record (RFC 8446 §5.1).
pub const PLAIN_BYTES_MAX: usize = 16 * 1024;
/// The longest record, header included: TLS 1.2 may add 2,048 bytes to the plain text (RFC 5246 §6.2.3), TLS 1.3 only 256.
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + PLAIN_BYTES_MAX + 2048;

/// Records are sealed for so many fewer than the cipher allows when the keys are renewed: the renewal itself takes one.
const RENEWAL_RECORDS: u64 = 16;
/// Warnings that TLS 1.2 clients may send in a connection's life.
const WARNINGS_MAX: u8 = 4;
/// Asking to renegotiate is refused once with a word, and then with the connection.
const RENEGOTIATIONS_MAX: u8 = 1;
/// What a key update costs, in records with next to nothing in them: two derivations and a key schedule each way.
const KEY_UPDATE_WORK: u64 = 20;
/// And what a session ticket of a server's costs, likewise: a derivation, and a place in the list that all connections share.
const TICKET_WORK: u64 = 20;

/// Length of the record that begins here, header included; `None` when its header is not whole.
///
/// # Errors
/// When it is longer than any record.
pub fn length(buffer: &[u8]) -> Result<Option<usize>, PeerMisbehaved> {
    let [_, _, _, high, low, ..] = buffer else { return Ok(None) };
    match HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low])) {
        length if length > RECORD_BYTES_MAX => Err(PeerMisbehaved::TlsRecord),
        length => Ok(Some(length)),
    }
}

/// Length of the record that begins here, if all of it is there.
///
/// # Errors
/// As [`length`].
pub fn whole(buffer: &[u8]) -> Result<Option<usize>, PeerMisbehaved> {
    Ok(length(buffer)?.filter(|length| *length <= buffer.len()))
}

/// What a record held.
pub(super) struct Opened {
    /// Where in the record plain text for the session lies; empty for what is TLS's own.
    pub(super) data: Range<usize>,
    /// What it cost beside its bytes, in records with next to nothing in them.
    pub(super) work: u64,
    /// The peer will send no more.
    pub(super) closed: bool,
}

/// Both directions of a connection whose handshake is done.
pub(super) struct Records {
    connection: Side,
    reader: Reader,
    writer: Writer,
    warnings: u8,
    renegotiations: u8,
    /// The answer to a key update waits to be sent: further ones need no answer of their own.
    update_waits: bool,
}

/// Rustls's part of what is left of a connection, by role.
enum Side {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

struct Reader {
    decrypter: Box<dyn MessageDecrypter>,
    sequence: u64,
}

struct Writer {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
    /// Records that these keys may protect.
    sequence_max: u64,
}

impl Records {
    /// Takes over from a server's handshake.
    pub(super) fn of_server(
        secrets: ExtractedSecrets,
        connection: KernelConnection<ServerConnectionData>,
    ) -> Result<Self, Failure> {
        Self::new(secrets, Side::Server(connection))
    }

    /// Takes over from a client's handshake.
    pub(super) fn of_client(
        secrets: ExtractedSecrets,
        connection: KernelConnection<ClientConnectionData>,
    ) -> Result<Self, Failure> {
        Self::new(secrets, Side::Client(connection))
    }

    fn new(secrets: ExtractedSecrets, connection: Side) -> Result<Self, Failure> {
        let suite = connection.suite();
        let (read_sequence, read_secrets) = secrets.rx;
        let (write_sequence, write_secrets) = secrets.tx;
        Ok(Self {
            reader: Reader { decrypter: decrypter(suite, read_secrets)?, sequence: read_sequence },
            writer: Writer {
                encrypter: encrypter(suite, write_secrets)?,
                sequence: write_sequence,
                sequence_max: confidentiality_limit(suite),
            },
            connection,
            warnings: 0,
            renegotiations: 0,
            update_waits: false,
        })
    }

    fn is_tls13(&self) -> bool {
        self.connection.version() == ProtocolVersion::TLSv1_3
    }

    /// Opens one whole record in its place. What is to be sent because of it is appended to `ready`.
    pub(super) fn open(&mut self, record: &mut [u8], ready: &mut Vec<u8>) -> Result<Opened, Failure> {
        let Some((header, payload)) = record.split_at_mut_checked(HEADER_BYTES) else {
            return Err(self.refuse(AlertDescription::DecodeError, ready));
        };
        let kind = ContentType::from(header[0]);
        // Once keys are in force everything of TLS 1.3 comes as application data (RFC 8446 §5.2).
        if self.is_tls13() && kind != ContentType::ApplicationData {
            return Err(self.refuse(AlertDescription::UnexpectedMessage, ready));
        }
        let version = ProtocolVersion::from(u16::from_be_bytes([header[1], header[2]]));
        let sequence = self.reader.sequence;
        let begin = payload.as_ptr().addr();
        let message = InboundOpaqueMessage::new(kind, version, payload);
        let plain = match self.reader.decrypter.decrypt(message, sequence) {
            Ok(plain) => plain,
            Err(error) => {
                let alert = match error {
                    rustls::Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
                    rustls::Error::DecryptError => AlertDescription::BadRecordMac,
                    _ => AlertDescription::UnexpectedMessage,
                };
                return Err(self.refuse(alert, ready));
            }
        };
        self.reader.sequence = sequence.wrapping_add(1);
        let nothing = Opened { data: 0..0, work: 1, closed: false };
        match plain.typ {
            ContentType::ApplicationData => {
                // Where the cipher has put it: behind an explicit nonce, say.
                let from = HEADER_BYTES + (plain.payload.as_ptr().addr() - begin);
                let length = plain.payload.len();
                let work = u64::from(length < crate::rtmp::chunk::TINY_CHUNK_BYTES);
                Ok(Opened { data: from..from + length, work, closed: false })
            }
            ContentType::Alert => {
                let &[level, code] = plain.payload else {
                    return Err(self.refuse(AlertDescription::DecodeError, ready));
                };
                match AlertDescription::from(code) {
                    AlertDescription::CloseNotify => Ok(Opened { closed: true, ..nothing }),
                    // TLS 1.3 ignores levels and has one alert that is no end (RFC 8446 §6.1); those of TLS 1.2 are warnings.
                    AlertDescription::UserCanceled => self.warned(code).map(|()| nothing),
                    _ if level == 1 && !self.is_tls13() => self.warned(code).map(|()| nothing),
                    _ => Err(Failure::peer(PeerMisbehaved::TlsAlert(code))),
                }
            }
            ContentType::Handshake if self.is_tls13() => {
                let (work, wanted) = match self.connection.on_handshake(plain.payload) {
                    Ok(met) => met,
                    Err(alert) => return Err(self.refuse(alert, ready)),
                };
                if let Some(wanted) = wanted {
                    self.renew_reading(wanted, ready)?;
                }
                Ok(Opened { work, ..nothing })
            }
            ContentType::Handshake => {
                let asks = plain.payload.first().copied().map(HandshakeType::from)
                    == Some(self.connection.renegotiation());
                if !asks || self.renegotiations == RENEGOTIATIONS_MAX {
                    return Err(self.refuse(AlertDescription::NoRenegotiation, ready));
                }
                self.renegotiations += 1;
                self.alert(1, AlertDescription::NoRenegotiation, ready);
                Ok(nothing)
            }
            _ => Err(self.refuse(AlertDescription::UnexpectedMessage, ready)),
        }
    }

    /// Seals one record of plain text: [`PLAIN_BYTES_MAX`] at most, all slices together.
    pub(super) fn seal(&mut self, plain: &[&[u8]], ready: &mut Vec<u8>) -> Result<Vec<u8>, Failure> {
        if self.writer.sequence.saturating_add(RENEWAL_RECORDS) >= self.writer.sequence_max {
            if !self.is_tls13() {
                return Err(Failure { reason: CloseReason::Error(PeerUnsupported::TlsKeysUsedUp.into()) });
            }
            self.renew_writing(ready)?;
        }
        self.writer.seal(ContentType::ApplicationData, plain)
    }

    /// Says that we send no more.
    pub(super) fn close(&mut self, ready: &mut Vec<u8>) {
        self.alert(1, AlertDescription::CloseNotify, ready);
    }

    /// What was appended to `ready` is on its way.
    pub(super) fn on_ready_taken(&mut self) {
        self.update_waits = false;
    }

    /// New keys for what the peer sends, and, if it wants that, for what we send.
    fn renew_reading(&mut self, wanted: bool, ready: &mut Vec<u8>) -> Result<(), Failure> {
        let (sequence, secrets) = self.connection.update_rx_secret().map_err(Failure::ours)?;
        self.reader = Reader { decrypter: decrypter(self.connection.suite(), secrets)?, sequence };
        if wanted && !std::mem::replace(&mut self.update_waits, true) {
            self.renew_writing(ready)?;
        }
        Ok(())
    }

    /// Says with the old keys that new ones follow (RFC 8446 §4.6.3).
    fn renew_writing(&mut self, ready: &mut Vec<u8>) -> Result<(), Failure> {
        const NOT_REQUESTED: [u8; 5] = [24, 0, 0, 1, 0];
        ready.append(&mut self.writer.seal(ContentType::Handshake, &[&NOT_REQUESTED])?);
        let (sequence, secrets) = self.connection.update_tx_secret().map_err(Failure::ours)?;
        let suite = self.connection.suite();
        self.writer.encrypter = encrypter(suite, secrets)?;
        self.writer.sequence = sequence;
        Ok(())
    }

    fn warned(&mut self, code: u8) -> Result<(), Failure> {
        self.warnings += 1;
        if self.warnings > WARNINGS_MAX { Err(Failure::peer(PeerMisbehaved::TlsAlert(code))) } else { Ok(()) }
    }

    /// Tells the peer why its record ends the connection.
    fn refuse(&mut self, alert: AlertDescription, ready: &mut Vec<u8>) -> Failure {
        self.alert(2, alert, ready);
        Failure::peer(PeerMisbehaved::TlsRecord)
    }

    fn alert(&mut self, level: u8, alert: AlertDescription, ready: &mut Vec<u8>) {
        // A peer that is not told sees the close all the same.
        if let Ok(mut record) = self.writer.seal(ContentType::Alert, &[&[level, u8::from(alert)]]) {
            ready.append(&mut record);
        }
    }

    #[cfg(test)]
    pub(super) fn set_sequence_max(&mut self, records: u64) {
        self.writer.sequence_max = records;
    }
}

impl Side {
    fn suite(&self) -> SupportedCipherSuite {
        match self {
            Self::Server(connection) => connection.negotiated_cipher_suite(),
            Self::Client(connection) => connection.negotiated_cipher_suite(),
        }
    }

    fn version(&self) -> ProtocolVersion {
        match self {
            Self::Server(connection) => connection.protocol_version(),
            Self::Client(connection) => connection.protocol_version(),
        }
    }

    fn update_rx_secret(&mut self) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error> {
        match self {
            Self::Server(connection) => connection.update_rx_secret(),
            Self::Client(connection) => connection.update_rx_secret(),
        }
    }

    fn update_tx_secret(&mut self) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error> {
        match self {
            Self::Server(connection) => connection.update_tx_secret(),
            Self::Client(connection) => connection.update_tx_secret(),
        }
    }

    /// What the peer asks with to renegotiate in TLS 1.2 (RFC 5246 §7.4.1.1, §7.4.1.2).
    fn renegotiation(&self) -> HandshakeType {
        match self {
            Self::Server(_) => HandshakeType::ClientHello,
            Self::Client(_) => HandshakeType::HelloRequest,
        }
    }

    /// The messages of a TLS 1.3 handshake record behind the handshake (RFC 8446 §4.6): session tickets of a server's, which rustls keeps for
    /// the next connection to it, and a key update. Gives what they cost and whether keys are renewed, and if so whether ours are wanted
    /// renewed too.
    ///
    /// A message that goes on in the next record is refused: none of these is nearly as long as a record.
    fn on_handshake(&mut self, mut rest: &[u8]) -> Result<(u64, Option<bool>), AlertDescription> {
        let mut work = 0;
        loop {
            let Some((&[kind, high, middle, low], behind)) = rest.split_first_chunk() else {
                return Err(AlertDescription::UnexpectedMessage);
            };
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            let Some((body, behind)) = behind.split_at_checked(length) else {
                return Err(AlertDescription::UnexpectedMessage);
            };
            match (HandshakeType::from(kind), body, &mut *self) {
                // Keys change at a record's border, so a key update is the last that its record holds (RFC 8446 §5.1).
                (HandshakeType::KeyUpdate, &[wanted @ (0 | 1)], _) if behind.is_empty() => {
                    return Ok((work + KEY_UPDATE_WORK, Some(wanted == 1)));
                }
                (HandshakeType::NewSessionTicket, ticket, Self::Client(connection)) => {
                    work += TICKET_WORK;
                    let taken = connection.handle_new_session_ticket(ticket);
                    taken.map_err(|_| AlertDescription::DecodeError)?;
                }
                _ => return Err(AlertDescription::UnexpectedMessage),
            }
            if behind.is_empty() {
                return Ok((work, None));
            }
            rest = behind;
        }
    }
}

impl Writer {
    fn seal(&mut self, kind: ContentType, plain: &[&[u8]]) -> Result<Vec<u8>, Failure> {
        let message = OutboundPlainMessage {
            typ: kind,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::new(plain),
        };
        let sealed = self.encrypter.encrypt(message, self.sequence).map_err(Failure::ours)?;
        self.sequence += 1;
        Ok(sealed.encode())
    }
}

fn decrypter(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Result<Box<dyn MessageDecrypter>, Failure> {
    let (key, iv, fixed_bytes) = parts(secrets)?;
    Ok(match suite {
        SupportedCipherSuite::Tls12(suite) => {
            suite.aead_alg.decrypter(key, iv.as_ref().get(..fixed_bytes).unwrap_or_default())
        }
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
    })
}

fn encrypter(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Result<Box<dyn MessageEncrypter>, Failure> {
    let (key, iv, fixed_bytes) = parts(secrets)?;
    Ok(match suite {
        SupportedCipherSuite::Tls12(suite) => {
            let (fixed, explicit) = iv.as_ref().split_at_checked(fixed_bytes).unwrap_or_default();
            suite.aead_alg.encrypter(key, fixed, explicit)
        }
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
    })
}

/// Key, nonce, and how much of that nonce TLS 1.2 keeps fixed: GCM's is 4 bytes, with 8 that come with each record (RFC 5288 §3).
fn parts(secrets: ConnectionTrafficSecrets) -> Result<(AeadKey, Iv, usize), Failure> {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } | ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
            Ok((key, iv, 4))
        }
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Ok((key, iv, 12)),
        // The provider has no other.
        _ => Err(Failure::fault()),
    }
}

fn confidentiality_limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
    }
}
