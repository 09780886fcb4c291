//! Behind a balancer: the PROXY protocol says where connections come from, and only those may say it who are trusted to.
#![cfg(feature = "engine")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use support::client::Client;
use support::server::{Inrush, Server};
use support::tls::Tls;
use support::{PATIENCE, wait_until, wire};

/// We are the balancer. Loopback is exempt from limits by default, and what it passes on is not.
const TRUSTED: &str = "[proxy]\ntrusted = [\"127.0.0.0/8\"]\n";

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

fn v1(source: SocketAddr) -> Vec<u8> {
    let family = if source.is_ipv4() { "TCP4 {} 192.0.2.9" } else { "TCP6 {} 2001:db8::9" };
    let addresses = family.replace("{}", &source.ip().to_string());
    format!("PROXY {addresses} {} 1935\r\n", source.port()).into_bytes()
}

/// With an extension behind the addresses, as balancers have them.
fn v2(source: SocketAddr) -> Vec<u8> {
    let (family, mut block) = match source {
        SocketAddr::V4(v4) => (0x11, [v4.ip().octets(), [192, 0, 2, 9]].concat()),
        SocketAddr::V6(v6) => (0x21, [v6.ip().octets(), [9; 16]].concat()),
    };
    block.extend(source.port().to_be_bytes());
    block.extend([0x07, 0x8f]);
    block.extend([0x05, 0, 4, 1, 2, 3, 4]);
    let length = u16::try_from(block.len()).expect("short").to_be_bytes();
    [&SIGNATURE[..], &[0x21, family], &length, &block].concat()
}

fn connect(address: SocketAddr, first: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("connect");
    socket.set_nodelay(true).expect("set TCP_NODELAY");
    socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
    socket.write_all(first).expect("send");
    socket
}

/// Whether the server closes the connection, in order or not.
fn is_closed(socket: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[track_caller]
fn peer_of(server: &Server, name: &str) -> String {
    server.wait_for_publisher("live", name);
    server.connections_of("publisher", "live", name)[0]["peer"].as_str().expect("a peer").to_owned()
}

#[track_caller]
fn expect_error(server: &Server, kind: &str, count: u64) {
    wait_until(kind, PATIENCE, || (server.metrics().of_kind("session_error", kind) == count).then_some(()));
}

/// Both versions and both families, plain and in front of TLS, in one piece and byte by byte: API and log show who it really is.
#[test]
fn the_real_address_is_shown() {
    let server =
        Inrush::new().rtmps().args(&["--rtmps-self-signed", "--rtmps-detect"]).config(TRUSTED).start();
    let mut kept = Vec::new();
    for (nth, source) in ["203.0.113.7:50001", "[2001:db8::7]:50002"].into_iter().enumerate() {
        let source: SocketAddr = source.parse().expect("an address");
        for (form, header) in [("v1", v1(source)), ("v2", v2(source))] {
            let name = format!("plain-{form}-{nth}");
            kept.push(Client::over(connect(server.rtmp(), &header)).connect("live").publish(&name));
            assert_eq!(peer_of(&server, &name), source.to_string());

            let name = format!("tls-{form}-{nth}");
            let mut socket = connect(server.rtmps(), b"");
            for byte in &header {
                socket.write_all(&[*byte]).expect("send");
            }
            kept.push(Client::over_transport(Tls::new().over(socket)).connect("live").publish(&name));
            assert_eq!(peer_of(&server, &name), source.to_string());
        }
    }
    drop(kept);
    for source in ["203.0.113.7:50001", "[2001:db8::7]:50002"] {
        wait_until("the log tells who left", PATIENCE, || {
            let log = server.log();
            let told = log
                .lines()
                .any(|line| line.contains("session ended") && line.contains(&format!("peer={source}")));
            told.then_some(())
        });
    }
}

/// The header and the first bytes behind it may come in one segment.
#[test]
fn what_follows_the_header_is_not_lost() {
    let server = Inrush::new().config(TRUSTED).start();
    let source = "203.0.113.7:50001".parse().expect("an address");
    let mut socket = connect(server.rtmp(), &[v2(source), wire::c0_c1()].concat());
    let mut answer = vec![0; 1 + 2 * wire::HANDSHAKE_PACKET_BYTES];
    socket.read_exact(&mut answer).expect("S0, S1 and S2");
    assert_eq!(answer[0], 3);
}

/// A balancer that speaks for itself, or does not know, is who it is.
#[test]
fn a_balancer_may_speak_for_itself() {
    let server = Inrush::new().config(TRUSTED).start();
    let unix = [&SIGNATURE[..], &[0x21, 0x31, 0, 216], &[b'/'; 216]].concat();
    let local = [&SIGNATURE[..], &[0x20, 0x00, 0, 0]].concat();
    for (nth, header) in [b"PROXY UNKNOWN\r\n".to_vec(), local, unix].into_iter().enumerate() {
        let name = format!("s{nth}");
        let socket = connect(server.rtmp(), &header);
        let own = socket.local_addr().expect("an address").to_string();
        let publisher = Client::over(socket).connect("live").publish(&name);
        assert_eq!(peer_of(&server, &name), own);
        drop(publisher);
    }
}

/// Limits are for who connects, not for the balancer: one network fills up, another has room, and a place that is left is free.
#[test]
fn limits_go_by_the_real_address() {
    let config = format!("{TRUSTED}[limits]\ntrusted = []\nprefix_connections_max = 2\n");
    let server = Inrush::new().config(&config).start();
    let from = |source: &str| connect(server.rtmp(), &v1(source.parse().expect("an address")));
    let first = Client::over(from("203.0.113.1:1")).connect("live");
    let _second = Client::over(from("203.0.113.2:1")).connect("live");
    let mut third = from("203.0.113.3:1");
    assert!(is_closed(&mut third));
    wait_until("it is counted", PATIENCE, || {
        (server.metrics().of_kind("refused", "prefix_connections_max") == 1).then_some(())
    });
    let _elsewhere = Client::over(from("198.51.100.1:1")).connect("live");
    // More of the balancer's own than its network could have: none takes a place before it has said for whom it is.
    let waiting: Vec<_> = (0..5).map(|_| connect(server.rtmp(), b"PROXY ")).collect();
    drop(first);
    wait_until("the place is free again", PATIENCE, || {
        let mut next = from("203.0.113.4:1");
        next.write_all(&wire::c0_c1()).expect("send");
        next.read_exact(&mut [0; 1]).is_ok().then_some(())
    });
    drop(waiting);
}

/// Who is not trusted must not say where it comes from, and who is must; what is said must be right.
#[test]
fn headers_are_refused_by_name() {
    let source = "203.0.113.7:50001".parse().expect("an address");
    let open = Inrush::new().rtmps().args(&["--rtmps-self-signed"]).start();
    for (nth, (address, header)) in [
        (open.rtmp(), v1(source)),
        (open.rtmp(), v2(source)),
        (open.rtmps(), v1(source)),
        (open.rtmps(), v2(source)),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(is_closed(&mut connect(address, &header)));
        expect_error(&open, "proxy_untrusted", nth as u64 + 1);
    }
    // Trust is in the networks that are named, and in no other.
    let elsewhere = Inrush::new().config("[proxy]\ntrusted = [\"192.0.2.0/24\"]\n").start();
    assert!(is_closed(&mut connect(elsewhere.rtmp(), &v1(source))));
    expect_error(&elsewhere, "proxy_untrusted", 1);
    drop(Client::open(elsewhere.rtmp()).connect("live"));

    let trusted = Inrush::new().config(TRUSTED).start();
    assert!(is_closed(&mut connect(trusted.rtmp(), &wire::c0_c1())));
    expect_error(&trusted, "proxy_missing", 1);
    assert!(is_closed(&mut connect(trusted.rtmp(), b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n")));
    let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
    assert!(is_closed(&mut connect(trusted.rtmp(), &endless)));
    expect_error(&trusted, "proxy_malformed", 2);
}

/// Half a header, and then nothing: the handshake's deadline is for it, too.
#[test]
fn half_a_header_is_closed_by_the_deadline() {
    let config = format!("{TRUSTED}[deadlines]\nhandshake_seconds = 1\n");
    let server = Inrush::new().config(&config).start();
    let source = "203.0.113.7:50001".parse().expect("an address");
    let halves = [v1(source)[..20].to_vec(), v2(source)[..20].to_vec(), Vec::new()];
    let mut sockets = halves.map(|half| connect(server.rtmp(), &half));
    for socket in &mut sockets {
        assert!(is_closed(socket));
    }
    expect_error(&server, "deadline", 3);
}
