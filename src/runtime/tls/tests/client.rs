//! The client role against rustls's own server, without a socket.

use rustls::ServerConnection;

use super::*;

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// Our client, a server, and the receive buffer between them.
struct Pair {
    client: Tls,
    server: ServerConnection,
    buffer: BytesMut,
    plain: Vec<u8>,
    gaps: usize,
}

impl Pair {
    fn new(endpoint: &Endpoint, config: Arc<ClientConfig>) -> Self {
        Self {
            client: Tls::client(config, name(), NOW).unwrap(),
            server: ServerConnection::new(endpoint.config()).unwrap(),
            buffer: BytesMut::with_capacity(80 * 1024),
            plain: Vec::new(),
            gaps: 0,
        }
    }

    /// With the handshake done.
    fn open(suite: Option<SupportedCipherSuite>) -> Self {
        let mut pair = Self::new(&endpoint(), client_config(suite));
        pair.settle().unwrap();
        assert!(!pair.client.is_shaking_hands() && !pair.server.is_handshaking());
        pair
    }

    fn server_says(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// The client receives this.
    fn client_gets(&mut self, bytes: &[u8]) -> Result<Read, Failure> {
        self.buffer.extend_from_slice(bytes);
        while self.client.has_step(&self.buffer)? {
            self.client.shake(&mut self.buffer)?;
        }
        if self.client.is_shaking_hands() {
            return Ok(Read::Open);
        }
        let (plain, gaps) = (&mut self.plain, &mut self.gaps);
        self.client.read(NOW, &mut self.buffer, |part| match part {
            Part::Plain(bytes) => plain.extend_from_slice(&bytes),
            Part::Gap(bytes) => *gaps += bytes,
        })
    }

    /// The server receives this, and gives what it could read of it.
    fn server_gets(&mut self, bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut bytes = bytes;
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            self.server.read_tls(&mut bytes).unwrap();
            let state = self.server.process_new_packets()?;
            let mut part = vec![0; state.plaintext_bytes_to_read()];
            self.server.reader().read_exact(&mut part).unwrap();
            plain.append(&mut part);
        }
        Ok(plain)
    }

    /// Lets both sides say what they have to, until neither has.
    fn settle(&mut self) -> Result<(), Failure> {
        loop {
            let said = self.client.take_ready();
            let _ = self.server_gets(&said);
            let answer = self.server_says();
            self.client_gets(&answer)?;
            if said.is_empty() && answer.is_empty() {
                return Ok(());
            }
        }
    }

    fn seal(&mut self, slices: &[&[u8]]) -> Vec<u8> {
        let record = self.client.seal(slices).unwrap();
        [self.client.take_ready(), record].concat()
    }
}

/// Every version and cipher: plain text goes both ways unchanged, in records of any size, however they are cut; the tickets that a TLS 1.3
/// server sends behind the handshake disturb nothing.
#[test]
fn text_goes_both_ways_with_every_cipher() {
    let mut count = 0;
    for suite in suites() {
        for pieces in [1, 333, 40_000] {
            let mut pair = Pair::open(Some(suite));
            let info = pair.client.info().unwrap().clone();
            assert_eq!(info.version, if suite.tls13().is_some() { "TLSv1.3" } else { "TLSv1.2" });
            assert_eq!(info.cipher, suite.suite().as_str().unwrap());
            assert_eq!((info.server_name.as_deref(), info.resumed), (Some("localhost"), false));
            assert_eq!(pair.gaps > 0, suite.tls13().is_some(), "tickets of {suite:?}");
            let sent = text(30_000);
            pair.server.writer().write_all(&sent).unwrap();
            let said = pair.server_says();
            for piece in said.chunks(pieces) {
                assert_eq!(pair.client_gets(piece), Ok(Read::Open));
                assert!(pair.buffer.len() < records::RECORD_BYTES_MAX);
            }
            assert!(std::mem::take(&mut pair.plain) == sent, "{suite:?}");
            for record in sent.chunks(records::PLAIN_BYTES_MAX) {
                let (head, tail) = record.split_at(record.len() / 3);
                let sealed = pair.seal(&[head, &[], tail]);
                assert_eq!(pair.server_gets(&sealed).unwrap(), record, "{suite:?}");
            }
        }
        count += 1;
    }
    assert_eq!(count, 6, "three ciphers in each version");
}

/// What a server sends with the last of its handshake is not lost, and a client may speak with the last of its own.
#[test]
fn data_behind_the_handshake_is_not_lost() {
    for suite in suites() {
        let mut pair = Pair::new(&endpoint(), client_config(Some(suite)));
        while pair.client.is_shaking_hands() {
            let said = pair.client.take_ready();
            pair.server_gets(&said).unwrap();
            if !pair.server.is_handshaking() || suite.tls13().is_some() {
                // In TLS 1.3 a server may speak before the client has.
                let _ = pair.server.writer().write_all(b"early");
            }
            let answer = pair.server_says();
            pair.client_gets(&answer).unwrap();
        }
        let sealed = pair.seal(&[b"C0 and C1"]);
        assert_eq!(pair.server_gets(&sealed).unwrap(), b"C0 and C1", "{suite:?}");
        pair.settle().unwrap();
        assert!(pair.plain.starts_with(b"early"), "{suite:?}: {:?}", pair.plain);
    }
}

/// A ticket that came behind the handshake of one connection is good for the next one of the same configuration.
#[test]
fn a_session_is_resumed_by_its_ticket() {
    for suite in suites() {
        let (endpoint, config) = (endpoint(), client_config(Some(suite)));
        for resumed in [false, true, true] {
            let mut pair = Pair::new(&endpoint, config.clone());
            pair.settle().unwrap();
            assert_eq!(pair.client.info().unwrap().resumed, resumed, "{suite:?}");
            let sealed = pair.seal(&[b"again"]);
            assert_eq!(pair.server_gets(&sealed).unwrap(), b"again");
        }
    }
}

/// Either side renews its keys, and both go on.
#[test]
fn keys_are_renewed_by_either_side() {
    let mut pair = Pair::open(None);
    for n in 0..5_u8 {
        pair.server.refresh_traffic_keys().unwrap();
        pair.server.writer().write_all(&[n; 50]).unwrap();
        let said = pair.server_says();
        pair.client_gets(&said).unwrap();
        let sealed = pair.seal(&[&[n; 60]]);
        assert_eq!(pair.server_gets(&sealed).unwrap(), [n; 60]);
    }
    assert_eq!(pair.plain.len(), 250);
    pair.client.records().set_sequence_max(100);
    for _ in 0..1_000 {
        let sealed = pair.seal(&[b"text"]);
        assert_eq!(pair.server_gets(&sealed).unwrap(), b"text");
    }
}

/// A flood of key updates costs what it costs, and is bounded as from clients.
#[test]
fn a_flood_of_key_updates_is_refused() {
    let mut pair = Pair::open(None);
    let end = loop {
        pair.server.refresh_traffic_keys().unwrap();
        let said = pair.server_says();
        if let Err(failure) = pair.client_gets(&said) {
            break failure;
        }
        // The server, too, takes only so many answers in a row.
        let answer = pair.seal(&[b"data"]);
        pair.server_gets(&answer).unwrap();
    };
    assert_eq!(end, misbehaved(PeerMisbehaved::TooManyTinyRecords));
    assert!(!pair.client.can_seal());
}

/// Records that were changed end the connection by their name, and the server is told why.
#[test]
fn bad_records_are_refused_by_name() {
    for suite in suites() {
        let mut pair = Pair::open(Some(suite));
        pair.server.writer().write_all(&text(100)).unwrap();
        let mut record = pair.server_says();
        *record.last_mut().unwrap() ^= 1;
        assert_eq!(pair.client_gets(&record), Err(misbehaved(PeerMisbehaved::TlsRecord)));
        let told = pair.client.take_ready();
        let refusal = rustls::Error::AlertReceived(AlertDescription::BadRecordMac);
        assert_eq!(pair.server_gets(&told), Err(refusal), "{suite:?}");
    }
}

/// A certificate that nobody we know has signed is refused by its name, and the server is told.
#[test]
fn a_certificate_that_is_not_to_be_trusted_is_refused() {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut pair = Pair::new(&endpoint(), Arc::new(config));
    assert_eq!(pair.settle(), Err(misbehaved(PeerMisbehaved::TlsCertificate)));
    let told = pair.client.take_ready();
    let refusal = pair.server_gets(&told).unwrap_err();
    assert_eq!(refusal, rustls::Error::AlertReceived(AlertDescription::UnknownCA));
}

/// Each side tells the other that it sends no more.
#[test]
fn both_ends_are_told() {
    for suite in suites() {
        let mut pair = Pair::open(Some(suite));
        pair.server.writer().write_all(b"last").unwrap();
        pair.server.send_close_notify();
        let said = pair.server_says();
        assert_eq!(pair.client_gets(&said), Ok(Read::Closed));
        assert_eq!(&pair.plain[..], b"last");
        pair.client.close();
        let told = pair.client.take_ready();
        assert_eq!(pair.server_gets(&told).unwrap(), b"");
        assert_eq!(pair.server.reader().read(&mut [0; 8]).unwrap(), 0, "a clean end, not a cut");
    }
}

proptest! {
    /// Nothing that a server can send makes us panic, or hold more than the bounds.
    #[test]
    fn it_stands_any_bytes(
        after in 0..3_usize,
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
        cut in 1..500_usize,
    ) {
        let mut pair = Pair::new(&endpoint(), client_config(None));
        // Some of a real handshake first.
        for _ in 0..after {
            let said = pair.client.take_ready();
            let _ = pair.server_gets(&said);
            let answer = pair.server_says();
            prop_assert_eq!(pair.client_gets(&answer), Ok(Read::Open));
        }
        for piece in [&[0x16, 3, 3, 0, 40], &bytes[..]].concat().chunks(cut) {
            if pair.client_gets(piece).is_err() {
                break;
            }
            prop_assert!(pair.buffer.len() <= HANDSHAKE_BYTES_MAX);
        }
    }
}
