//! The server's side: C0 C1 in, S0 S1 S2 out, C2 in.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use super::digest::{self, Signer};
use super::gather::Gather;
use super::{
    ApiMisuse, Entropy, Error, HELLO_BYTES, HandshakeKind, PACKET_BYTES, Packet, Progress, VERSION,
    check_version, packet,
};

/// Version in S1 towards a client that sends a digest (Flash Media Server 4.5.0.1).
///
/// ffmpeg looks for our digest only when the first byte is 3 or more.
const DIGEST_VERSION: [u8; 4] = [4, 5, 0, 1];

/// The server's side of one handshake.
///
/// Answers in the kind that the client speaks: simple when C1's version field is zero or no digest stands in C1 (some
/// clients write a version and no digest), else digest, in the client's scheme. S0, S1 and S2 leave together as soon as C1
/// is whole. C2 is counted, not looked at.
pub struct ServerHandshake {
    state: State,
    kind: Option<HandshakeKind>,
}

enum State {
    /// C0 and C1 are not whole yet.
    Hello { entropy: Box<Entropy>, gather: Gather<HELLO_BYTES> },
    /// So many bytes of C2 are still to come.
    Answer { missing: usize },
    /// Complete, or refused.
    Ended,
}

impl ServerHandshake {
    /// Waits for C0.
    pub fn new(entropy: Box<Entropy>) -> Self {
        Self { state: State::Hello { entropy, gather: Gather::default() }, kind: None }
    }

    /// Takes what the client sent. After an error or `done` nothing more may be pushed.
    pub fn handle_bytes(&mut self, mut bytes: Bytes) -> Result<Progress, Error> {
        // Whatever does not put a state back has ended.
        match core::mem::replace(&mut self.state, State::Ended) {
            State::Hello { entropy, mut gather } => {
                // At the first byte, so that an HTTP client does not wait for an answer that never comes.
                if gather.is_empty()
                    && let Some(version) = bytes.first()
                {
                    check_version(*version)?;
                }
                let Some([_, c1 @ ..]) = gather.take(&mut bytes) else {
                    self.state = State::Hello { entropy, gather };
                    return Ok(Progress::default());
                };
                let (kind, send) = answer(&c1, &entropy);
                self.kind = Some(kind);
                let done = self.handle_answer(PACKET_BYTES, bytes);
                Ok(Progress { send: Some(send), done })
            }
            State::Answer { missing } => {
                Ok(Progress { send: None, done: self.handle_answer(missing, bytes) })
            }
            State::Ended => Err(ApiMisuse::WrongState.into()),
        }
    }

    /// At least so many more bytes must come before anything happens; 0 after the end.
    pub fn missing_bytes(&self) -> usize {
        match &self.state {
            State::Hello { gather, .. } => gather.missing_bytes(),
            State::Answer { missing } => *missing,
            State::Ended => 0,
        }
    }

    /// Which kind the client speaks, once C1 is in.
    pub fn kind(&self) -> Option<HandshakeKind> {
        self.kind
    }

    /// Memory that it holds beside itself, bytes: at most two packets, and nothing once C1 is whole.
    pub fn retained_bytes(&self) -> usize {
        match &self.state {
            State::Hello { gather, .. } => size_of::<Entropy>() + gather.retained_bytes(),
            State::Answer { .. } | State::Ended => 0,
        }
    }

    /// Skips C2, and gives what follows it.
    fn handle_answer(&mut self, missing: usize, mut bytes: Bytes) -> Option<Bytes> {
        if bytes.len() < missing {
            self.state = State::Answer { missing: missing - bytes.len() };
            return None;
        }
        bytes.advance(missing);
        // An empty slice would keep the read buffer alive.
        Some(if bytes.is_empty() { Bytes::new() } else { bytes })
    }
}

/// S0, S1 and S2 for this C1.
fn answer(c1: &Packet, entropy: &Entropy) -> (HandshakeKind, Bytes) {
    // A version of zero is what RTMP 1.0 §5.2.3 prescribes, so nobody who writes it expects a digest.
    let found = if c1[4..8] == [0; 4] { None } else { digest::find(c1, Signer::Client) };
    // An exact echo. RTMP 1.0 §5.2.4 wants the time at which C1 was read in bytes 4-7; but librtmp and others compare S2
    // with all of C1 and complain of any difference, and nobody reads that time.
    let mut s2 = *c1;
    let (kind, s1) = match found {
        None => (HandshakeKind::Simple, packet(entropy, [0; 4])),
        Some((scheme, c1_digest)) => {
            let mut s1 = packet(entropy, DIGEST_VERSION);
            digest::imprint(&mut s1, scheme, Signer::Server);
            digest::sign(&mut s2, Signer::Server, &c1_digest);
            (HandshakeKind::Digest, s1)
        }
    };
    let mut out = Vec::with_capacity(HELLO_BYTES + PACKET_BYTES);
    out.push(VERSION);
    out.extend_from_slice(&s1);
    out.extend_from_slice(&s2);
    (kind, out.into())
}
