//! The TLS step against rustls's own client, without a socket.

mod client;

use std::io::{Read as _, Write as _};

use proptest::prelude::*;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite, version,
};

use super::anybody::Anybody;
use super::certificates::{Certificates, Endpoint};
use super::*;

const NOW: Instant = Instant::from_micros(1_000_000);
const TINY_PER_SECOND: u32 = 1_000;

fn endpoint() -> Endpoint {
    Endpoint::new(Certificates::self_signed().unwrap()).unwrap()
}

/// A client that speaks one version with one cipher, or all.
fn client_config(suite: Option<SupportedCipherSuite>) -> Arc<ClientConfig> {
    let mut provider = ring::default_provider();
    if let Some(suite) = suite {
        provider.cipher_suites = vec![suite];
    }
    let versions: &[_] = match suite {
        Some(suite) if suite.tls13().is_none() => &[&version::TLS12],
        Some(_) => &[&version::TLS13],
        None => &[&version::TLS13, &version::TLS12],
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody::new()))
        .with_no_client_auth();
    Arc::new(config)
}

/// Every suite that the certificate's kind of key can be used with.
fn suites() -> impl Iterator<Item = SupportedCipherSuite> {
    let name = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
    ring::ALL_CIPHER_SUITES.iter().copied().filter(move |suite| !name(suite).contains("_RSA_"))
}

/// A client, a server's TLS, and the receive buffer between them.
struct Pair {
    client: ClientConnection,
    server: Tls,
    buffer: BytesMut,
    plain: Vec<u8>,
    gaps: usize,
    /// Bytes that went to the server.
    sent: usize,
}

impl Pair {
    fn new(endpoint: &Endpoint, config: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Self {
            client: ClientConnection::new(config, name).unwrap(),
            server: Tls::new(NOW, endpoint.config(), TINY_PER_SECOND),
            buffer: BytesMut::with_capacity(80 * 1024),
            plain: Vec::new(),
            gaps: 0,
            sent: 0,
        }
    }

    /// With the handshake done.
    fn open(suite: Option<SupportedCipherSuite>) -> Self {
        let mut pair = Self::new(&endpoint(), client_config(suite));
        pair.settle().unwrap();
        assert!(!pair.server.is_shaking_hands() && !pair.client.is_handshaking());
        pair
    }

    /// What the client has to say.
    fn client_says(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// The server receives this.
    fn server_gets(&mut self, bytes: &[u8]) -> Result<Read, Failure> {
        self.buffer.extend_from_slice(bytes);
        self.sent += bytes.len();
        while self.server.has_step(&self.buffer)? {
            self.server.shake(&mut self.buffer)?;
        }
        if self.server.is_shaking_hands() {
            return Ok(Read::Open);
        }
        let (plain, gaps) = (&mut self.plain, &mut self.gaps);
        self.server.read(NOW, &mut self.buffer, |part| match part {
            Part::Plain(bytes) => plain.extend_from_slice(&bytes),
            Part::Gap(bytes) => *gaps += bytes,
        })
    }

    /// The client receives this, and gives what it could read of it.
    fn client_gets(&mut self, bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut bytes = bytes;
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            let state = self.client.process_new_packets()?;
            let mut part = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut part).unwrap();
            plain.append(&mut part);
        }
        Ok(plain)
    }

    /// Lets both sides say what they have to, until neither has.
    fn settle(&mut self) -> Result<(), Failure> {
        loop {
            let said = self.client_says();
            let got = self.server_gets(&said);
            let answer = self.server.take_ready();
            let _ = self.client_gets(&answer);
            got?;
            if said.is_empty() && answer.is_empty() {
                return Ok(());
            }
        }
    }

    fn seal(&mut self, slices: &[&[u8]]) -> Vec<u8> {
        let record = self.server.seal(slices).unwrap();
        [self.server.take_ready(), record].concat()
    }
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

fn misbehaved(error: PeerMisbehaved) -> Failure {
    Failure::peer(error)
}

/// It goes with its connection to another core.
#[test]
fn it_moves_between_threads() {
    fn moves<T: Send + 'static>() {}
    moves::<Tls>();
}

/// Every version and cipher: plain text goes both ways unchanged, in records of any size.
#[test]
fn text_goes_both_ways_with_every_cipher() {
    let mut count = 0;
    for suite in suites() {
        let mut pair = Pair::open(Some(suite));
        let info = pair.server.info().unwrap().clone();
        assert_eq!(info.version, if suite.tls13().is_some() { "TLSv1.3" } else { "TLSv1.2" });
        assert_eq!(info.cipher, suite.suite().as_str().unwrap());
        assert_eq!((info.server_name.as_deref(), info.resumed), (Some("localhost"), false));
        for length in [1, 15, 5_000, 16 * 1024, 100_000] {
            let sent = text(length);
            let mut rest = &sent[..];
            while !rest.is_empty() {
                // The client's own buffer takes 64 kB at a time.
                let taken = pair.client.writer().write(rest).unwrap();
                rest = &rest[taken..];
                pair.settle().unwrap();
            }
            assert_eq!(std::mem::take(&mut pair.plain), sent, "{suite:?}");
            for record in sent.chunks(records::PLAIN_BYTES_MAX) {
                let (head, tail) = record.split_at(record.len() / 3);
                let sealed = pair.seal(&[head, &[], tail]);
                assert_eq!(pair.client_gets(&sealed).unwrap(), record, "{suite:?}");
            }
        }
        count += 1;
    }
    assert_eq!(count, 6, "three ciphers in each version");
}

/// Nothing is copied on the way in: what is handed on lies where the receive has put it, and gaps are all the rest.
#[test]
fn plain_text_stays_where_it_was_received() {
    for suite in suites() {
        let mut pair = Pair::open(Some(suite));
        pair.client.writer().write_all(&text(20_000)).unwrap();
        let said = pair.client_says();
        pair.buffer.reserve(said.len());
        pair.buffer.extend_from_slice(&said);
        let memory = pair.buffer.as_ptr_range();
        let (mut plain, mut all) = (0, 0);
        let read = pair.server.read(NOW, &mut pair.buffer, |part| match part {
            Part::Plain(bytes) => {
                let place = bytes.as_ptr_range();
                assert!(memory.start <= place.start && place.end <= memory.end, "{suite:?}");
                assert_eq!(
                    place.start.addr() - memory.start.addr(),
                    all,
                    "it lies behind the gaps and the text before"
                );
                (plain, all) = (plain + bytes.len(), all + bytes.len());
            }
            Part::Gap(bytes) => all += bytes,
        });
        assert_eq!((read, plain, all), (Ok(Read::Open), 20_000, said.len()), "{suite:?}");
    }
}

/// However the bytes are cut, the outcome is the same, and no more than one record waits.
#[test]
fn bytes_may_come_in_any_pieces() {
    for (nth, suite) in suites().enumerate() {
        for pieces in [1, 7, 333, 4_000] {
            let mut pair = Pair::new(&endpoint(), client_config(Some(suite)));
            let mut to_write = Some(text(30_000 + nth));
            loop {
                let said = pair.client_says();
                for piece in said.chunks(pieces) {
                    assert_eq!(pair.server_gets(piece), Ok(Read::Open));
                    assert!(pair.buffer.len() < records::RECORD_BYTES_MAX);
                }
                let answer = pair.server.take_ready();
                pair.client_gets(&answer).unwrap();
                if !pair.client.is_handshaking()
                    && let Some(text) = to_write.take()
                {
                    pair.client.writer().write_all(&text).unwrap();
                } else if said.is_empty() && answer.is_empty() {
                    break;
                }
            }
            assert!(pair.plain == text(30_000 + nth), "{suite:?} in pieces of {pieces}");
        }
    }
}

/// The first data may come with the last of the handshake, in one segment.
#[test]
fn data_behind_the_handshake_is_not_lost() {
    for suite in suites() {
        let mut pair = Pair::new(&endpoint(), client_config(Some(suite)));
        while pair.client.is_handshaking() {
            let said = pair.client_says();
            pair.server_gets(&said).unwrap();
            let answer = pair.server.take_ready();
            pair.client_gets(&answer).unwrap();
        }
        pair.client.writer().write_all(b"C0 and C1").unwrap();
        let said = pair.client_says();
        assert_eq!(pair.server_gets(&said), Ok(Read::Open));
        assert_eq!(pair.plain, b"C0 and C1", "{suite:?}");
    }
}

/// A ticket of one connection is good for the next, whichever core takes it: all share the keys, and no session is kept. It stays good when
/// the certificate changes.
#[test]
fn a_session_is_resumed_by_its_ticket() {
    for suite in suites() {
        let endpoint = endpoint();
        let config = client_config(Some(suite));
        let mut first = Pair::new(&endpoint, config.clone());
        first.settle().unwrap();
        assert!(!first.server.info().unwrap().resumed);
        endpoint.replace(Certificates::self_signed().unwrap());
        let second = std::thread::scope(|scope| {
            let other_core = scope.spawn(|| {
                let mut second = Pair::new(&endpoint, config.clone());
                second.settle().unwrap();
                second.client.writer().write_all(b"again").unwrap();
                second.settle().unwrap();
                second
            });
            other_core.join().unwrap()
        });
        assert!(second.server.info().unwrap().resumed, "{suite:?}");
        assert_eq!(second.plain, b"again");
        // Another server's keys do not fit, which is no error.
        let mut elsewhere = Pair::new(&self::endpoint(), config);
        elsewhere.settle().unwrap();
        assert!(!elsewhere.server.info().unwrap().resumed);
    }
}

/// The peer renews its keys and asks for ours: both go on, and one answer is enough for several questions.
#[test]
fn keys_are_renewed_when_the_peer_wants() {
    let mut pair = Pair::open(None);
    for n in 0..5_u8 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(&[n; 50]).unwrap();
        let said = pair.client_says();
        pair.server_gets(&said).unwrap();
        let sealed = pair.seal(&[&[n; 60]]);
        assert_eq!(pair.client_gets(&sealed).unwrap(), [n; 60]);
    }
    assert_eq!(pair.plain.len(), 250);
    // Three in one go.
    for _ in 0..3 {
        pair.client.refresh_traffic_keys().unwrap();
    }
    let said = pair.client_says();
    pair.server_gets(&said).unwrap();
    let answer = pair.server.take_ready();
    assert_eq!(records::whole(&answer), Ok(Some(answer.len())), "one record");
    pair.client_gets(&answer).unwrap();
    let sealed = pair.seal(&[b"after"]);
    assert_eq!(pair.client_gets(&sealed).unwrap(), b"after");
}

/// Keys are renewed before they have protected more than they may; TLS 1.2 cannot, and ends.
#[test]
fn keys_are_not_used_longer_than_they_may() {
    for suite in suites() {
        let mut pair = Pair::open(Some(suite));
        pair.server.records().set_sequence_max(100);
        let mut sealed = 0;
        let end = loop {
            if sealed == 1_000 {
                break None;
            }
            match pair.server.seal(&[b"text"]) {
                Ok(record) => {
                    let bytes = [pair.server.take_ready(), record].concat();
                    assert_eq!(pair.client_gets(&bytes).unwrap(), b"text");
                    sealed += 1;
                }
                Err(failure) => break Some(failure),
            }
        };
        match suite.tls13() {
            Some(_) => assert_eq!(end, None, "{suite:?}"),
            None => {
                assert_eq!(end, Some(Failure::peer(PeerUnsupported::TlsKeysUsedUp)));
                assert!((80..100).contains(&sealed), "{sealed} records of {suite:?}");
            }
        }
    }
}

/// Each side tells the other that it sends no more.
#[test]
fn both_ends_are_told() {
    for suite in suites() {
        let mut pair = Pair::open(Some(suite));
        pair.client.writer().write_all(b"last").unwrap();
        pair.client.send_close_notify();
        let said = [pair.client_says(), b"what comes after it is nothing".to_vec()].concat();
        assert_eq!(pair.server_gets(&said), Ok(Read::Closed));
        assert_eq!((&pair.plain[..], pair.buffer.len()), (&b"last"[..], 0));
        let mut sealed = pair.seal(&[b"answer"]);
        pair.server.close();
        assert!(!pair.server.can_seal());
        sealed.append(&mut pair.server.take_ready());
        assert_eq!(pair.client_gets(&sealed).unwrap(), b"answer");
        assert_eq!(pair.client.reader().read(&mut [0; 8]).unwrap(), 0, "a clean end, not a cut");
    }
}

/// Whatever is wrong with a record ends the connection by its name, and the peer is told why.
#[test]
fn bad_records_are_refused_by_name() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change, Option<AlertDescription>); 6] = [
        ("a changed byte", |record| *record.last_mut().unwrap() ^= 1, Some(AlertDescription::BadRecordMac)),
        (
            "a changed length",
            |record| {
                record.pop();
                let length = u16::try_from(record.len() - 5).unwrap().to_be_bytes();
                record[3..5].copy_from_slice(&length);
            },
            Some(AlertDescription::BadRecordMac),
        ),
        (
            "nothing in it",
            |record| {
                record.truncate(5);
                record[3..5].copy_from_slice(&[0, 0]);
            },
            Some(AlertDescription::BadRecordMac),
        ),
        ("too long", |record| record[3..5].copy_from_slice(&[0xff, 0xff]), None),
        ("again", |record| record.extend_from_within(..), Some(AlertDescription::BadRecordMac)),
        ("another type", |record| record[0] = 20, None),
    ];
    for suite in suites() {
        for (what, change, alert) in &cases {
            let mut pair = Pair::open(Some(suite));
            pair.client.writer().write_all(&text(100)).unwrap();
            let mut record = pair.client_says();
            change(&mut record);
            assert_eq!(pair.server_gets(&record), Err(misbehaved(PeerMisbehaved::TlsRecord)), "{what}");
            assert!(!pair.server.can_seal() && pair.buffer.is_empty());
            if let Some(alert) = alert {
                let told = pair.server.take_ready();
                assert_eq!(pair.client_gets(&told), Err(rustls::Error::AlertReceived(*alert)), "{what}");
            }
        }
    }
}

/// Records with next to nothing in them cost as much as others: an encoder's few are taken, a flood is not.
#[test]
fn tiny_records_are_bounded() {
    for payload in [&b""[..], b"x"] {
        let mut pair = Pair::open(None);
        let mut taken = 0;
        let end = loop {
            pair.client.writer().write_all(payload).unwrap();
            if payload.is_empty() {
                // The client sends no empty records of itself; a renewal of keys is as empty and dearer.
                pair.client.refresh_traffic_keys().unwrap();
            }
            let said = pair.client_says();
            match pair.server_gets(&said) {
                Ok(_) => taken += 1,
                Err(failure) => break failure,
            }
            // The client, too, takes only so many answers in a row.
            let answer = pair.seal(&[b"data"]);
            pair.client_gets(&answer).unwrap();
        };
        assert_eq!(end, misbehaved(PeerMisbehaved::TooManyTinyRecords));
        let at_once = SECONDS_AT_ONCE * TINY_PER_SECOND;
        let expected = if payload.is_empty() { at_once / 20 } else { at_once };
        assert_eq!(taken, expected);
    }
}

/// A peer that speaks something else, or nothing of use, is refused at once and by its name.
#[test]
fn what_is_no_handshake_is_refused() {
    let refusal = |bytes: &[u8]| {
        let mut pair = Pair::new(&endpoint(), client_config(None));
        pair.server_gets(bytes).unwrap_err()
    };
    assert_eq!(refusal(&[3]), misbehaved(PeerMisbehaved::NotTls(3)));
    assert_eq!(refusal(b"GET / HTTP/1.1\r\n"), misbehaved(PeerMisbehaved::NotTls(b'G')));
    assert_eq!(refusal(&[0x16, 3, 1, 0xff, 0xff]), misbehaved(PeerMisbehaved::TlsHandshake));
    assert_eq!(refusal(&[0x16, 3, 1, 0, 4, 1, 2, 3, 4]), misbehaved(PeerMisbehaved::TlsHandshake));
    // A message of 64 kB whose parts come and come.
    let part = [&[0x16, 3, 1, 0x40, 0][..], &[1, 0, 0xff, 0xff], &vec![0; 0x4000 - 4]].concat();
    assert_eq!(refusal(&[&part[..], &part, &part].concat()), misbehaved(PeerMisbehaved::TlsHandshake));
}

/// A handshake that is not whole costs no more than its bytes.
#[test]
fn half_a_hello_takes_no_step() {
    let mut pair = Pair::new(&endpoint(), client_config(None));
    let hello = pair.client_says();
    pair.buffer.extend_from_slice(&hello[..hello.len() - 1]);
    assert_eq!(pair.server.has_step(&pair.buffer), Ok(false));
    assert_eq!(pair.server.shake(&mut pair.buffer), Ok(Shaken::Goes));
    assert!(pair.server.is_at_its_beginning());
    pair.buffer.extend_from_slice(&hello[hello.len() - 1..]);
    assert_eq!(pair.server.has_step(&pair.buffer), Ok(true));
}

/// What is counted for a handshake in progress, and for a connection after it, is what it takes, give or take a factor of three.
#[test]
fn it_takes_what_it_is_counted_with() {
    use crate::runtime::op::counting::held_bytes;
    let endpoint = endpoint();
    for suite in suites() {
        let mut pair = Pair::new(&endpoint, client_config(Some(suite)));
        let mut taken = 0;
        while pair.server.is_shaking_hands() {
            let said = pair.client_says();
            pair.buffer.extend_from_slice(&said);
            while pair.server.has_step(&pair.buffer) == Ok(true) {
                let before = held_bytes();
                pair.server.shake(&mut pair.buffer).unwrap();
                taken += held_bytes() - before;
            }
            let counted = pair.server.held_bytes();
            let range = counted / 3..=counted;
            assert!(
                range.contains(&usize::try_from(taken).unwrap()),
                "{taken} bytes, counted as {counted}: {suite:?}"
            );
            // Nobody waits for what has been sent.
            let answer = pair.server.take_ready();
            let sent = answer.len();
            pair.client_gets(&answer).unwrap();
            drop(answer);
            assert_eq!(pair.server.held_bytes(), counted - sent);
            taken -= isize::try_from(sent).unwrap();
        }
    }
}

/// A client that does not trust us says so, and that is what is counted.
#[test]
fn a_client_that_does_not_trust_us_is_known_by_its_alert() {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut pair = Pair::new(&endpoint(), Arc::new(config));
    let failure = pair.settle().unwrap_err();
    assert_eq!(failure, misbehaved(PeerMisbehaved::TlsAlert(48)), "unknown_ca");
}

/// Without anything in common the peer is told, and it is not called misbehaviour.
#[test]
fn a_client_without_our_ciphers_is_told() {
    let mut pair = Pair::new(&endpoint(), client_config(None));
    let mut hello = pair.client_says();
    // Behind version, random and session: the list of suites becomes one that nobody has.
    let session = usize::from(hello[5 + 4 + 34]);
    let list = 5 + 4 + 34 + 1 + session;
    let length = usize::from(u16::from_be_bytes([hello[list], hello[list + 1]]));
    hello[list + 2..list + 2 + length].fill(0xfe);
    assert_eq!(pair.server_gets(&hello), Err(Failure::peer(PeerUnsupported::TlsParameters)));
    let told = pair.server.take_ready();
    let refusal = pair.client_gets(&told).unwrap_err();
    assert_eq!(refusal, rustls::Error::AlertReceived(AlertDescription::HandshakeFailure));
}

proptest! {
    /// Nothing that a peer can send makes it panic, or hold more than its bounds.
    #[test]
    fn it_stands_any_bytes(
        begins in any::<bool>(),
        after in 0..4_usize,
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
        cut in 1..500_usize,
    ) {
        let mut pair = Pair::new(&endpoint(), client_config(None));
        // Some of a real handshake first.
        for _ in 0..after {
            let said = pair.client_says();
            prop_assert_eq!(pair.server_gets(&said), Ok(Read::Open));
            let answer = pair.server.take_ready();
            pair.client_gets(&answer).unwrap();
        }
        let header: &[u8] = if begins { &[0x16, 3, 3, 0, 40] } else { &[] };
        for piece in [header, &bytes].concat().chunks(cut) {
            if pair.server_gets(piece).is_err() {
                break;
            }
            prop_assert!(pair.buffer.len() <= HANDSHAKE_BYTES_MAX);
        }
    }

    /// Any slices come out as they went in, in full records, a write's bytes at a time; what is left is written before what comes then.
    #[test]
    fn a_batch_is_sealed_in_full_records(
        lengths in proptest::collection::vec(0..40_000_usize, 1..12),
        bytes_max in 1..200_000_usize,
    ) {
        let mut pair = Pair::open(None);
        let slices: Vec<Bytes> = lengths.iter().map(|length| Bytes::from(text(*length))).collect();
        let plain = slices.concat();
        let mut batch = crate::runtime::op::SendBatch::new();
        slices.iter().for_each(|slice| batch.push_bytes(slice.clone()));
        let mut got = Vec::new();
        while !batch.is_empty() {
            let expected = bytes_max.min(plain.len() - got.len());
            batch.seal(&mut pair.server, bytes_max).unwrap();
            let sealed = batch.to_vec();
            prop_assert_eq!((batch.bytes(), batch.record_bytes()), (sealed.len(), sealed.len()));
            let (mut records, mut rest) = (0, &sealed[..]);
            while let Ok(Some(length)) = records::whole(rest) {
                records += 1;
                rest = &rest[length..];
            }
            prop_assert_eq!((records, rest.len()), (expected.div_ceil(records::PLAIN_BYTES_MAX), 0));
            got.extend(pair.client_gets(&sealed).unwrap());
            batch.on_written();
        }
        prop_assert!(got == plain);
    }
}
