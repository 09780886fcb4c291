//! What TLS costs on top of the plain path, which neither looks at these bytes nor copies them.
//!
//! `in` opens what a publisher sent: the receive buffer is full of records, and their plain text is handed on as slices of it. `in, rustls`
//! is rustls's own buffered connection with the same records, which copies. `out` seals what a write gathers for a player, from slices of 4,096
//! bytes. Throughput is plain text; seconds a GB are its inverse.
//!
//! One core of an AMD EPYC with VAES that had other work to do (profile `ci`, the better of two runs; to be measured anew on a quiet machine),
//! seconds a GB: AES-128-GCM in 0.27 with records of 4 to 16 kB and 0.57 with 1 kB, ChaCha20 in 1.4; rustls's own connection 0.53;
//! AES-128-GCM out 0.36, of which the copy is 0.05; ChaCha20 out 1.2. A handshake with an ECDSA key takes 0.4 ms.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inrush::runtime::tls::anybody::Anybody;
use inrush::runtime::tls::certificates::{Certificates, Endpoint};
use inrush::runtime::tls::{Part, Tls};
use inrush::session::Instant;
use rustls::crypto::ring::{self, cipher_suite};
use rustls::{ClientConfig, ClientConnection, ServerConnection, SupportedCipherSuite};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plain text of one round.
const BYTES: usize = 64 * 1024;

const SUITES: [(&str, SupportedCipherSuite); 3] = [
    ("TLS 1.3 AES-128-GCM", cipher_suite::TLS13_AES_128_GCM_SHA256),
    ("TLS 1.3 ChaCha20", cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS 1.2 AES-128-GCM", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
];

fn client(suite: SupportedCipherSuite) -> ClientConnection {
    let provider = rustls::crypto::CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[suite.version()])
        .expect("a version of this suite")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody::new()))
        .with_no_client_auth();
    let mut client =
        ClientConnection::new(Arc::new(config), "localhost".try_into().expect("a name")).expect("a client");
    client.set_buffer_limit(None);
    client
}

fn endpoint() -> Endpoint {
    Endpoint::new(Certificates::self_signed().expect("a certificate")).expect("an endpoint")
}

fn says(client: &mut ClientConnection, out: &mut impl std::io::Write) {
    while client.wants_write() {
        client.write_tls(out).expect("write to memory");
    }
}

fn hears(client: &mut ClientConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).expect("read from memory");
        client.process_new_packets().expect("a handshake that goes well");
    }
}

/// A client and our side, with the handshake done.
fn ours(suite: SupportedCipherSuite) -> (ClientConnection, Tls) {
    let mut client = client(suite);
    let mut server = Tls::new(Instant::default(), endpoint().config(), u32::MAX);
    let mut buffer = BytesMut::new();
    while server.is_shaking_hands() {
        let mut said = Vec::new();
        says(&mut client, &mut said);
        buffer.extend_from_slice(&said);
        while server.has_step(&buffer) == Ok(true) {
            server.shake(&mut buffer).expect("a handshake that goes well");
        }
        hears(&mut client, &server.take_ready());
    }
    (client, server)
}

/// The same with rustls's side.
fn rustls_own(suite: SupportedCipherSuite) -> (ClientConnection, ServerConnection) {
    let mut client = client(suite);
    let mut server = ServerConnection::new(endpoint().config()).expect("a server");
    while server.is_handshaking() || client.is_handshaking() || server.wants_write() {
        let (mut said, mut answer) = (Vec::new(), Vec::new());
        says(&mut client, &mut said);
        let mut said = &said[..];
        while !said.is_empty() {
            server.read_tls(&mut said).expect("read from memory");
            server.process_new_packets().expect("a handshake that goes well");
        }
        while server.wants_write() {
            server.write_tls(&mut answer).expect("write to memory");
        }
        hears(&mut client, &answer);
    }
    (client, server)
}

/// A round of records of this size.
fn records(client: &mut ClientConnection, record_bytes: usize, out: &mut impl std::io::Write) {
    let plain = [0x55; 16 * 1024];
    let mut left = BYTES;
    while left > 0 {
        let taken = left.min(record_bytes);
        client.writer().write_all(&plain[..taken]).expect("no limit");
        left -= taken;
    }
    says(client, out);
}

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("tls in");
    group.throughput(Throughput::Bytes(BYTES as u64));
    for (name, suite) in SUITES {
        for record_bytes in [16 * 1024, 4096, 1024] {
            let (mut client, mut server) = ours(suite);
            let parameter = format!("records of {record_bytes}");
            group.bench_function(BenchmarkId::new(name, &parameter), |b| {
                b.iter_batched(
                    || {
                        let mut said = Vec::with_capacity(2 * BYTES);
                        records(&mut client, record_bytes, &mut said);
                        BytesMut::from(&said[..])
                    },
                    |mut buffer| {
                        let hand_on = |part| {
                            if let Part::Plain(bytes) = part {
                                black_box(bytes);
                            }
                        };
                        server.read(Instant::default(), &mut buffer, hand_on).expect("good records");
                        buffer
                    },
                    // In the order in which they were sealed, one round at a time.
                    BatchSize::PerIteration,
                );
            });
        }
    }
    let (name, suite) = SUITES[0];
    let (mut client, mut server) = rustls_own(suite);
    let mut plain = vec![0; BYTES];
    group.bench_function(BenchmarkId::new(format!("{name}, rustls"), "records of 16384"), |b| {
        b.iter_batched(
            || {
                let mut said = Vec::with_capacity(2 * BYTES);
                records(&mut client, 16 * 1024, &mut said);
                said
            },
            |said| {
                let (mut rest, mut read) = (&said[..], 0);
                while !rest.is_empty() {
                    server.read_tls(&mut rest).expect("read from memory");
                    server.process_new_packets().expect("good records");
                    while let Ok(more) = server.reader().read(&mut plain[read..]) {
                        read += more;
                        if more == 0 {
                            break;
                        }
                    }
                }
                assert_eq!(read, BYTES);
                said
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn writing(c: &mut Criterion) {
    let mut group = c.benchmark_group("tls out");
    group.throughput(Throughput::Bytes(BYTES as u64));
    let plain = [[0x55; 4096]; 4];
    let slices = plain.each_ref().map(|slice| &slice[..]);
    for (name, suite) in SUITES {
        let (_client, mut server) = ours(suite);
        group.bench_function(BenchmarkId::new(name, "records of 16384"), |b| {
            b.iter(|| {
                for _ in 0..BYTES / (16 * 1024) {
                    black_box(server.seal(black_box(&slices)).expect("keys that hold"));
                }
                server.take_ready()
            });
        });
    }
    // What of it is the copy.
    group.bench_function(BenchmarkId::new("copied only", "16384"), |b| {
        b.iter(|| {
            for _ in 0..BYTES / (16 * 1024) {
                black_box(black_box(&slices).concat());
            }
        });
    });
    group.finish();
}

fn shaking_hands(c: &mut Criterion) {
    let endpoint = endpoint();
    let mut group = c.benchmark_group("tls handshake");
    for (name, suite) in [SUITES[0], SUITES[2]] {
        // The server's part alone: what the client does meanwhile is subtracted by measuring the steps themselves.
        group.bench_function(BenchmarkId::new(name, "ECDSA P-256"), |b| {
            b.iter_custom(|rounds| {
                let mut took = std::time::Duration::ZERO;
                for _ in 0..rounds {
                    let mut client = client(suite);
                    let mut server = Tls::new(Instant::default(), endpoint.config(), u32::MAX);
                    let mut buffer = BytesMut::new();
                    while server.is_shaking_hands() {
                        let mut said = Vec::new();
                        says(&mut client, &mut said);
                        buffer.extend_from_slice(&said);
                        let began = std::time::Instant::now();
                        while server.has_step(&buffer) == Ok(true) {
                            server.shake(&mut buffer).expect("a handshake that goes well");
                        }
                        took += began.elapsed();
                        hears(&mut client, &server.take_ready());
                    }
                }
                took
            });
        });
    }
    group.finish();
}

criterion_group!(benches, reading, writing, shaking_hands);
criterion_main!(benches);
