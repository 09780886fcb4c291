//! Both sides against each other, over links that split the bytes anywhere, and against what is not RTMP.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::digest::{self, Scheme, Signer};
use super::*;

fn entropy(seed: u8) -> Box<Entropy> {
    let random = core::array::from_fn(|i| (i as u8).wrapping_mul(31).wrapping_add(seed));
    Box::new(Entropy { time_ms: u32::from(seed), random })
}

/// Every client that a server has to tell apart.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Simple,
    DigestFirst,
    KeyFirst,
    /// Writes a version into C1 and no digest.
    VersionOnly,
}

const PEERS: [Peer; 4] = [Peer::Simple, Peer::DigestFirst, Peer::KeyFirst, Peer::VersionOnly];

impl Peer {
    /// The client, and its C0 and C1.
    fn start(self) -> (ClientHandshake, Bytes) {
        let mut client = match self {
            Peer::Simple | Peer::VersionOnly => ClientHandshake::new(entropy(1), HandshakeKind::Simple),
            Peer::DigestFirst => ClientHandshake::with_scheme(entropy(1), Some(Scheme::DigestFirst)),
            Peer::KeyFirst => ClientHandshake::with_scheme(entropy(1), Some(Scheme::KeyFirst)),
        };
        let mut hello = BytesMut::from(client.start());
        if let Peer::VersionOnly = self {
            hello[5..9].copy_from_slice(&[10, 0, 45, 2]);
        }
        (client, hello.freeze())
    }

    fn kind(self) -> HandshakeKind {
        match self {
            Peer::Simple | Peer::VersionOnly => HandshakeKind::Simple,
            Peer::DigestFirst | Peer::KeyFirst => HandshakeKind::Digest,
        }
    }
}

/// Cuts `bytes` at these places, modulo its length; pieces may be empty.
fn split(bytes: &Bytes, cuts: &[usize]) -> Vec<Bytes> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts.into_iter().chain([bytes.len()]) {
        pieces.push(bytes.slice(from..cut));
        from = cut;
    }
    pieces
}

/// Pushes the pieces one after another; gives all that is to be sent, and everything after the handshake once it is done.
fn push(
    mut handle: impl FnMut(Bytes) -> Result<Progress, Error>,
    pieces: Vec<Bytes>,
) -> Result<(Vec<u8>, Option<Vec<u8>>), Error> {
    let mut sent = Vec::new();
    let mut rest: Option<Vec<u8>> = None;
    for piece in pieces {
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&piece),
            None => {
                let progress = handle(piece)?;
                sent.extend_from_slice(&progress.send.unwrap_or_default());
                rest = progress.done.map(Into::into);
            }
        }
    }
    Ok((sent, rest))
}

/// S0 S1 S2 of a server that got this C0 C1, and the server, waiting for C2.
fn answer(hello: Bytes) -> (ServerHandshake, Bytes) {
    let mut server = ServerHandshake::new(entropy(2));
    let progress = server.handle_bytes(hello).unwrap();
    assert_eq!(progress.done, None);
    (server, progress.send.unwrap())
}

/// What the client sends after its C1.
fn c2(client: &mut ClientHandshake, answer: Bytes) -> Bytes {
    let progress = client.handle_bytes(answer).unwrap();
    assert_eq!(progress.done, Some(Bytes::new()));
    progress.send.unwrap()
}

proptest! {
    /// However both directions are cut, both sides finish, agree on the kind, and keep what follows.
    #[test]
    fn any_split_works(
        peer in proptest::sample::select(&PEERS[..]),
        hello_cuts in proptest::collection::vec(any::<usize>(), 0..6),
        answer_cuts in proptest::collection::vec(any::<usize>(), 0..6),
        c2_cuts in proptest::collection::vec(any::<usize>(), 0..6),
        rest in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let (mut client, hello) = peer.start();
        let mut server = ServerHandshake::new(entropy(2));
        let (from_server, done) = push(|bytes| server.handle_bytes(bytes), split(&hello, &hello_cuts)).unwrap();
        prop_assert_eq!(from_server.len(), 1 + 2 * PACKET_BYTES);
        prop_assert_eq!(done, None);
        prop_assert_eq!(server.kind(), Some(peer.kind()));

        let mut from_server = from_server;
        from_server.extend_from_slice(&rest);
        let (from_client, done) =
            push(|bytes| client.handle_bytes(bytes), split(&from_server.into(), &answer_cuts)).unwrap();
        prop_assert_eq!(done.as_ref(), Some(&rest));
        prop_assert_eq!(client.is_verified(), Some(true));
        prop_assert_eq!(client.kind(), peer.kind());
        prop_assert_eq!(from_client.len(), PACKET_BYTES);

        let mut from_client = from_client;
        from_client.extend_from_slice(&rest);
        let (sent, done) = push(|bytes| server.handle_bytes(bytes), split(&from_client.into(), &c2_cuts)).unwrap();
        prop_assert!(sent.is_empty());
        prop_assert_eq!(done.as_ref(), Some(&rest));
    }

    /// A client that sends everything without waiting is served too, cut anywhere.
    #[test]
    fn everything_at_once_works(
        peer in proptest::sample::select(&PEERS[..]),
        cuts in proptest::collection::vec(any::<usize>(), 0..4),
        rest in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let (_, hello) = peer.start();
        let all = [&hello[..], &[0xc2; PACKET_BYTES], &rest].concat();
        let mut server = ServerHandshake::new(entropy(2));
        let (sent, done) = push(|bytes| server.handle_bytes(bytes), split(&all.into(), &cuts)).unwrap();
        prop_assert_eq!(sent.len(), 1 + 2 * PACKET_BYTES);
        prop_assert_eq!(done, Some(rest));
    }

    /// Garbage is refused by its first byte or taken for a simple handshake; it never does anything else to either side.
    #[test]
    fn garbage_has_one_of_two_ends(
        garbage in proptest::collection::vec(any::<u8>(), 1..4 * PACKET_BYTES),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
    ) {
        let garbage = Bytes::from(garbage);
        let mut server = ServerHandshake::new(entropy(2));
        let from_server = push(|bytes| server.handle_bytes(bytes), split(&garbage, &cuts));
        let mut client = ClientHandshake::new(entropy(1), HandshakeKind::Digest);
        let _ = client.start();
        let from_client = push(|bytes| client.handle_bytes(bytes), split(&garbage, &cuts));
        match check_version(garbage[0]) {
            Err(error) => {
                prop_assert_eq!(from_server, Err(error));
                prop_assert_eq!(from_client, Err(error));
            }
            Ok(()) => {
                prop_assert_eq!(from_server.unwrap().1.is_some(), garbage.len() > 2 * PACKET_BYTES);
                prop_assert_eq!(from_client.unwrap().1.is_some(), garbage.len() > 2 * PACKET_BYTES);
                prop_assert_ne!(client.is_verified(), Some(true));
            }
        }
    }

    /// A handshake that stops anywhere is unfinished, and says how much is missing.
    #[test]
    fn a_truncated_handshake_waits(peer in proptest::sample::select(&PEERS[..]), len in 0..2 * PACKET_BYTES) {
        let (_, hello) = peer.start();
        let all = Bytes::from([&hello[..], &[0xc2; PACKET_BYTES]].concat());
        let mut server = ServerHandshake::new(entropy(2));
        let progress = server.handle_bytes(all.slice(..len)).unwrap();
        prop_assert_eq!(progress.done, None);
        prop_assert_eq!(progress.send.is_some(), len > PACKET_BYTES);
        let whole = if len > PACKET_BYTES { 1 + 2 * PACKET_BYTES } else { 1 + PACKET_BYTES };
        prop_assert_eq!(server.missing_bytes(), whole - len);
    }
}

/// S1 and S2 are what the specification says, and S2 is C1 byte for byte.
#[test]
fn the_simple_answer_is_an_echo() {
    for peer in [Peer::Simple, Peer::VersionOnly] {
        let (_, hello) = peer.start();
        let (_, answer) = answer(hello.clone());
        assert_eq!(answer[0], 3);
        assert_eq!(answer[1..9], [0, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(answer[9..1537], entropy(2).random);
        assert_eq!(answer[1537..], hello[1..]);
    }
}

/// S1 carries a digest in the scheme of C1, S2 a signature for C1, and C2 one for S1.
#[test]
fn the_digest_answer_is_signed_in_the_clients_scheme() {
    for (peer, scheme) in [(Peer::DigestFirst, Scheme::DigestFirst), (Peer::KeyFirst, Scheme::KeyFirst)] {
        let (mut client, hello) = peer.start();
        let (_, c1_digest) = digest::find(hello[1..].try_into().unwrap(), Signer::Client).unwrap();
        let (_, answer) = answer(hello);
        let (found, s1_digest) = digest::find(answer[1..1537].try_into().unwrap(), Signer::Server).unwrap();
        assert_eq!(found, scheme);
        assert!(answer[5] >= 3, "ffmpeg looks for a digest only from version 3 on");
        assert!(digest::is_signed(answer[1537..].try_into().unwrap(), Signer::Server, &c1_digest));
        let c2 = c2(&mut client, answer);
        assert!(digest::is_signed(c2[..].try_into().unwrap(), Signer::Client, &s1_digest));
    }
}

/// A version of zero means the simple kind even where a digest would be found (RTMP 1.0 §5.2.3).
#[test]
fn version_zero_is_simple_whatever_follows() {
    let mut c1 = packet(&entropy(1), [0; 4]);
    digest::imprint(&mut c1, Scheme::DigestFirst, Signer::Client);
    let (server, answer) = answer([&[3][..], &c1].concat().into());
    assert_eq!(server.kind(), Some(HandshakeKind::Simple));
    assert_eq!(answer[1537..], c1);
}

/// A digest client that meets a server of the simple kind echoes S1.
#[test]
fn a_digest_client_falls_back() {
    let (mut client, hello) = Peer::DigestFirst.start();
    let s1 = packet(&entropy(9), [0; 4]);
    let answer = [&[3][..], &s1, &hello[1..]].concat();
    let c2 = c2(&mut client, answer.into());
    assert_eq!(c2[..], s1);
    assert_eq!(client.kind(), HandshakeKind::Simple);
    assert_eq!(client.is_verified(), Some(true));
}

/// C2 and S2 of the wrong content are no reason to refuse.
#[test]
fn wrong_answers_are_let_pass() {
    for peer in PEERS {
        let (mut client, hello) = peer.start();
        let (mut server, answer) = answer(hello);
        let mut answer = BytesMut::from(answer);
        answer[1537 + 100] ^= 1;
        let _ = c2(&mut client, answer.freeze());
        assert_eq!(client.is_verified(), Some(false), "{peer:?}");
        let progress = server.handle_bytes(Bytes::from_static(&[0; PACKET_BYTES])).unwrap();
        assert_eq!(progress.done, Some(Bytes::new()));
    }
}

/// Each version by its first byte alone: text protocols and RTMPE are named, everything else goes on.
#[test]
fn versions_are_told_apart_by_the_first_byte() {
    for version in 0..=255_u8 {
        let got = ServerHandshake::new(entropy(2)).handle_bytes(Bytes::copy_from_slice(&[version]));
        let expected = match version {
            6 | 8 | 9 => Err(Error::PeerUnsupported(PeerUnsupported::EncryptedHandshake(version))),
            32..=255 => Err(Error::PeerMisbehaved(PeerMisbehaved::HandshakeVersion(version))),
            _ => Ok(Progress::default()),
        };
        assert_eq!(got, expected);
    }
    let get = Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n");
    let error = ServerHandshake::new(entropy(2)).handle_bytes(get).unwrap_err();
    assert_eq!(error.label(), "handshake_version");
}

/// A version that is reserved or deprecated is answered with 3 (RTMP 1.0 §5.2.2).
#[test]
fn other_versions_are_answered_with_3() {
    let (_, hello) = Peer::Simple.start();
    for version in [0, 1, 2, 4, 5, 7, 10, 31] {
        let mut hello = BytesMut::from(&hello[..]);
        hello[0] = version;
        assert_eq!(answer(hello.freeze()).1[0], 3);
    }
}

/// What follows C2 is the pushed buffer itself; where nothing follows, the buffer is let go.
#[test]
fn the_rest_is_shared_and_nothing_else_is_kept() {
    for (peer, rest) in PEERS.into_iter().flat_map(|peer| [(peer, &b"connect"[..]), (peer, b"")]) {
        let (_, hello) = peer.start();
        let pushed = Bytes::from([&hello[..], &[0; PACKET_BYTES], rest].concat());
        let mut server = ServerHandshake::new(entropy(2));
        let done = server.handle_bytes(pushed.clone()).unwrap().done.unwrap();
        assert_eq!(done, rest);
        if rest.is_empty() {
            assert!(pushed.is_unique());
        } else {
            assert_eq!(done.as_ptr(), pushed[2 * PACKET_BYTES + 1..].as_ptr());
            drop(done);
            assert!(pushed.is_unique());
        }
    }
}

/// Bytes that wait for the rest of their packet do not keep the buffer that they came in.
#[test]
fn waiting_bytes_are_copied_out() {
    let pushed = Bytes::from(vec![3; 1000]);
    let mut server = ServerHandshake::new(entropy(2));
    let _ = server.handle_bytes(pushed.clone()).unwrap();
    assert!(pushed.is_unique());
    assert_eq!(server.missing_bytes(), 537);
}

/// After the end and before the start there is nothing to push.
#[test]
fn bytes_out_of_turn_are_misuse() {
    let misuse = Err(Error::ApiMisuse(ApiMisuse::WrongState));
    let bytes = || Bytes::from_static(&[3; 10]);
    let (_, hello) = Peer::Simple.start();
    let (mut server, _) = answer(hello);
    let _ = server.handle_bytes(Bytes::from_static(&[0; PACKET_BYTES])).unwrap();
    assert_eq!(server.missing_bytes(), 0);
    assert_eq!(server.handle_bytes(bytes()), misuse);

    let mut refused = ServerHandshake::new(entropy(2));
    assert!(refused.handle_bytes(Bytes::from_static(b"GET")).is_err());
    assert_eq!(refused.handle_bytes(bytes()), misuse);

    let mut client = ClientHandshake::new(entropy(1), HandshakeKind::Simple);
    assert_eq!(client.handle_bytes(bytes()), misuse);
    assert_eq!(client.start().len(), HELLO_BYTES);
    assert_eq!(client.start(), Bytes::new());
    assert_eq!(client.handle_bytes(bytes()), Ok(Progress::default()));
}

/// Once it is complete, a handshake is a few words: thousands of sessions keep theirs.
#[test]
fn a_finished_handshake_is_small() {
    assert!(size_of::<ServerHandshake>() <= 64, "{}", size_of::<ServerHandshake>());
    assert!(size_of::<ClientHandshake>() <= 64, "{}", size_of::<ClientHandshake>());
}
