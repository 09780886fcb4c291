//! The client's side: C0 C1 out, S0 S1 in, C2 out, S2 in.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::digest::{self, Digest, Scheme, Signer};
use super::gather::Gather;
use super::{
    ApiMisuse, Entropy, Error, HELLO_BYTES, HandshakeKind, PACKET_BYTES, Packet, Progress, VERSION,
    check_version, packet,
};

/// Version in C1 when it carries a digest (Flash Player 9.0.124.2): anything other than zero makes servers look for one.
const DIGEST_VERSION: [u8; 4] = [9, 0, 124, 2];

/// The client's side of one handshake.
///
/// C2 leaves as soon as S1 is whole; `done` comes when S2 is, since nothing else may be sent before (RTMP 1.0 §5.2.1). A
/// server that does not answer a digest with one is taken to speak the simple kind.
pub struct ClientHandshake {
    state: State,
    kind: HandshakeKind,
    verified: Option<bool>,
}

/// C1 as it was or will be sent.
struct Hello {
    c1: Packet,
    /// The digest in it; none in the simple kind.
    digest: Option<Digest>,
}

enum State {
    /// C0 and C1 are made and not sent.
    New(Box<Hello>),
    /// S0 and S1 are not whole yet.
    Hello { sent: Box<Hello>, gather: Gather<HELLO_BYTES> },
    /// S2 is not whole yet.
    Answer { sent: Box<Hello>, gather: Gather<PACKET_BYTES> },
    /// Complete, or refused.
    Ended,
}

impl ClientHandshake {
    /// Makes C1 of this kind.
    pub fn new(entropy: Box<Entropy>, kind: HandshakeKind) -> Self {
        Self::with_scheme(entropy, (kind == HandshakeKind::Digest).then_some(Scheme::DigestFirst))
    }

    /// As [`Self::new`], with the digest where `scheme` puts it.
    pub(super) fn with_scheme(entropy: Box<Entropy>, scheme: Option<Scheme>) -> Self {
        let hello = match scheme {
            None => Hello { c1: packet(&entropy, [0; 4]), digest: None },
            Some(scheme) => {
                let mut c1 = packet(&entropy, DIGEST_VERSION);
                let digest = digest::imprint(&mut c1, scheme, Signer::Client);
                Hello { c1, digest: Some(digest) }
            }
        };
        let kind = if scheme.is_some() { HandshakeKind::Digest } else { HandshakeKind::Simple };
        Self { state: State::New(Box::new(hello)), kind, verified: None }
    }

    /// C0 and C1, to be written out. Empty when called again.
    pub fn start(&mut self) -> Bytes {
        match core::mem::replace(&mut self.state, State::Ended) {
            State::New(sent) => {
                let mut out = Vec::with_capacity(HELLO_BYTES);
                out.push(VERSION);
                out.extend_from_slice(&sent.c1);
                self.state = State::Hello { sent, gather: Gather::default() };
                out.into()
            }
            other => {
                self.state = other;
                Bytes::new()
            }
        }
    }

    /// Memory that it holds beside itself, bytes: our C1 and at most one packet of the server's.
    pub fn retained_bytes(&self) -> usize {
        match &self.state {
            State::New(_) => size_of::<Hello>(),
            State::Hello { gather, .. } => size_of::<Hello>() + gather.retained_bytes(),
            State::Answer { gather, .. } => size_of::<Hello>() + gather.retained_bytes(),
            State::Ended => 0,
        }
    }

    /// Takes what the server sent. After an error or `done`, and before [`Self::start`], nothing may be pushed.
    pub fn handle_bytes(&mut self, mut bytes: Bytes) -> Result<Progress, Error> {
        // Whatever does not put a state back has ended.
        match core::mem::replace(&mut self.state, State::Ended) {
            State::Hello { sent, mut gather } => {
                if gather.is_empty()
                    && let Some(version) = bytes.first()
                {
                    check_version(*version)?;
                }
                let Some([_, s1 @ ..]) = gather.take(&mut bytes) else {
                    self.state = State::Hello { sent, gather };
                    return Ok(Progress::default());
                };
                let send = Some(self.answer(&s1));
                let done = self.handle_answer(sent, Gather::default(), bytes);
                Ok(Progress { send, done })
            }
            State::Answer { sent, gather } => {
                Ok(Progress { send: None, done: self.handle_answer(sent, gather, bytes) })
            }
            new_or_ended => {
                self.state = new_or_ended;
                Err(ApiMisuse::WrongState.into())
            }
        }
    }

    /// At least so many more bytes must come before anything happens; 0 before the start and after the end.
    pub fn missing_bytes(&self) -> usize {
        match &self.state {
            State::Hello { gather, .. } => gather.missing_bytes(),
            State::Answer { gather, .. } => gather.missing_bytes(),
            State::New(_) | State::Ended => 0,
        }
    }

    /// Which kind is spoken: what was asked for, until S1 shows that the server speaks only the simple one.
    pub fn kind(&self) -> HandshakeKind {
        self.kind
    }

    /// Whether S2 was signed for our C1 or echoed it; `None` until it is in.
    ///
    /// For information: a server that answers something else is not refused, since there are some and the answer proves
    /// nothing.
    pub fn is_verified(&self) -> Option<bool> {
        self.verified
    }

    /// C2 for this S1.
    fn answer(&mut self, s1: &Packet) -> Bytes {
        // An exact echo, for the reason given in the server's answer.
        let mut c2 = *s1;
        if self.kind == HandshakeKind::Digest {
            match digest::find(s1, Signer::Server) {
                Some((_, s1_digest)) => digest::sign(&mut c2, Signer::Client, &s1_digest),
                None => self.kind = HandshakeKind::Simple,
            }
        }
        Bytes::copy_from_slice(&c2)
    }

    /// Gathers S2, looks whether it answers C1, and gives what follows it.
    fn handle_answer(
        &mut self,
        sent: Box<Hello>,
        mut gather: Gather<PACKET_BYTES>,
        mut bytes: Bytes,
    ) -> Option<Bytes> {
        let Some(s2) = gather.take(&mut bytes) else {
            self.state = State::Answer { sent, gather };
            return None;
        };
        self.verified = Some(answers(&s2, &sent));
        // An empty slice would keep the read buffer alive.
        Some(if bytes.is_empty() { Bytes::new() } else { bytes })
    }
}

/// Whether S2 is signed for our digest, or echoes our random bytes (RTMP 1.0 §5.2.4).
fn answers(s2: &Packet, sent: &Hello) -> bool {
    sent.digest.is_some_and(|digest| digest::is_signed(s2, Signer::Server, &digest))
        || s2[8..] == sent.c1[8..]
}
