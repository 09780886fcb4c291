//! TLS of one connection, without its socket: bytes of the network in, plaintext out, and the other way.
//!
//! Over rustls's unbuffered connection: records are decrypted where they were read, and what is sent is encrypted once, into the
//! buffer that is written. One copy takes plaintext out of its records, so that the session above gets it in one piece.
//!
//! # Bounds
//! Kept between reads: the begin of one record, at most 16 kB and its head. `outgoing` holds what the socket did not take.
//! # Errors
//! rustls's, each of which ends the connection.

use bytes::{Buf, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{
    AppDataRecord, ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{Error, HandshakeKind};

use super::Secured;

/// Longest plaintext of a record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// What a record adds at most: head, content type, nonce, tag.
const RECORD_OVERHEAD_BYTES: usize = 5 + 1 + 8 + 16;

/// TLS of one connection in the client role.
pub struct TlsSession {
    connection: UnbufferedClientConnection,
    /// The begin of a record.
    incomplete: BytesMut,
    /// Waits to be written to the socket.
    outgoing: BytesMut,
    established: bool,
    closed: bool,
}

impl TlsSession {
    /// With the ClientHello in [`Self::outgoing`].
    pub fn new(secured: Secured) -> Result<Self, Error> {
        let mut session = Self {
            connection: UnbufferedClientConnection::new(secured.config, secured.name)?,
            incomplete: BytesMut::new(),
            outgoing: BytesMut::new(),
            established: false,
            closed: false,
        };
        session.receive(BytesMut::new(), &mut BytesMut::new())?;
        Ok(session)
    }

    /// Whether the handshake is done, from when on plaintext can be sent.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Whether it was one that resumes an earlier connection's.
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether the server has said that nothing more comes.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// What waits to be written; whoever writes takes it from the front.
    pub fn outgoing(&mut self) -> &mut BytesMut {
        &mut self.outgoing
    }

    /// Whether anything waits to be written.
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Takes what was read from the network; what it says is appended to `plaintext`.
    pub fn receive(&mut self, network: BytesMut, plaintext: &mut BytesMut) -> Result<(), Error> {
        let mut records = if self.incomplete.is_empty() {
            network
        } else {
            self.incomplete.extend_from_slice(&network);
            std::mem::take(&mut self.incomplete)
        };
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.connection.process_tls_records(&mut records);
            let goes_on = match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let AppDataRecord { discard: more, payload, .. } = record?;
                        discard += more;
                        plaintext.extend_from_slice(payload);
                    }
                    true
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let encode = |out: &mut [u8]| match data.encode(out) {
                        Ok(bytes) => Ok(Some(bytes)),
                        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                            Err(required_size)
                        }
                        Err(EncodeError::AlreadyEncoded) => Ok(Some(0)),
                    };
                    append(&mut self.outgoing, RECORD_BYTES, encode);
                    true
                }
                ConnectionState::TransmitTlsData(data) => {
                    // It is in `outgoing`, in order.
                    data.done();
                    true
                }
                ConnectionState::WriteTraffic(_) => {
                    self.established = true;
                    false
                }
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    self.closed = true;
                    false
                }
                // More is wanted from the network.
                _ => false,
            };
            records.advance(discard);
            if !goes_on {
                break;
            }
        }
        self.incomplete = if records.is_empty() { BytesMut::new() } else { records };
        Ok(())
    }

    /// Encrypts to [`Self::outgoing`]. Nothing comes of it before the handshake is done.
    pub fn encrypt(&mut self, plaintext: &[u8]) -> Result<(), Error> {
        let records = plaintext.len() / RECORD_BYTES + 1;
        let room = plaintext.len() + records * RECORD_OVERHEAD_BYTES;
        self.write(room, |traffic, out| traffic.encrypt(plaintext, out))
    }

    /// Says that nothing more comes from us.
    pub fn close(&mut self) -> Result<(), Error> {
        self.write(RECORD_OVERHEAD_BYTES + 2, |traffic, out| traffic.queue_close_notify(out))
    }

    fn write(
        &mut self,
        room: usize,
        mut write: impl FnMut(
            &mut rustls::unbuffered::WriteTraffic<'_, rustls::client::ClientConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> Result<(), Error> {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.incomplete);
        let ConnectionState::WriteTraffic(mut traffic) = state? else { return Ok(()) };
        append(&mut self.outgoing, room, |out| match write(&mut traffic, out) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                Err(required_size)
            }
            Err(EncryptError::EncryptExhausted) => Ok(None),
        })
        .then_some(())
        .ok_or(Error::EncryptError)
    }
}

/// Appends what `encode` makes; it is asked again with the room that it wants. False when it makes nothing.
fn append(
    out: &mut BytesMut,
    room: usize,
    mut encode: impl FnMut(&mut [u8]) -> Result<Option<usize>, usize>,
) -> bool {
    let begin = out.len();
    out.resize(begin + room, 0);
    let made = match encode(&mut out[begin..]) {
        Err(required) => {
            out.resize(begin + required, 0);
            encode(&mut out[begin..]).unwrap_or(None)
        }
        Ok(made) => made,
    };
    out.truncate(begin + made.unwrap_or(0));
    made.is_some()
}
