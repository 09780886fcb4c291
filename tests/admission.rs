//! Admission by address and network, with loopback trusted by nobody: who is refused, who is not, and what it costs when nobody is.
#![cfg(feature = "engine")]

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::time::Instant;

use support::client::{Client, connect_from};
use support::live::Live;
use support::neighbour::undisturbed;
use support::server::{Inrush, Server};
use support::synthetic::Pattern;
use support::wire::{ChunkWriter, Message, c0_c1};
use support::{PATIENCE, wait_until};

/// An address of a network of its own: 127.1.NETWORK.HOST.
fn source(network: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(127, 1, network, host).into()
}

/// A server that trusts nobody, with these bounds beside bounds that nothing here reaches.
fn server(limits: &[(&str, u64)]) -> Server {
    let wide = [
        "address_connections_max",
        "prefix_connections_max",
        "address_pending_max",
        "prefix_pending_max",
        "address_accepts_per_second_max",
        "prefix_accepts_per_second_max",
        "address_failures_per_second_max",
        "prefix_failures_per_second_max",
    ];
    let mut config = "[limits]\ntrusted = []\n".to_owned();
    for key in wide.into_iter().filter(|key| limits.iter().all(|(limit, _)| limit != key)) {
        config += &format!("{key} = 100_000\n");
    }
    for (key, value) in limits {
        config += &format!("{key} = {value}\n");
    }
    Inrush::new().cores(1).config(&config).start()
}

/// Whether the server takes a connection: one that is refused is closed before it says anything.
fn is_taken(socket: &mut TcpStream) -> bool {
    socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
    socket.write_all(&c0_c1()).is_ok() && socket.read_exact(&mut [0; 1]).is_ok()
}

/// Comes from `from`: the connection, if it is taken.
fn come(server: &Server, from: IpAddr) -> Option<TcpStream> {
    let mut socket = connect_from(from, server.rtmp());
    is_taken(&mut socket).then_some(socket)
}

fn refused(server: &Server, kind: &str) -> u64 {
    server.metrics().of_kind("refused", kind)
}

#[track_caller]
fn wait_for_refused(server: &Server, kind: &str, count: u64) {
    let what = format!("{count} refused for {kind}");
    wait_until(&what, PATIENCE, || (refused(server, kind) == count).then_some(()));
}

/// An address has so many connections, its network more, other networks their own; a place that is given back is free again.
#[test]
fn connections_are_bounded_by_address_and_by_network() {
    let server = server(&[("address_connections_max", 2), ("prefix_connections_max", 3)]);
    let first = come(&server, source(1, 1)).expect("the first of its address");
    let _second = come(&server, source(1, 1)).expect("the second of its address");
    assert!(come(&server, source(1, 1)).is_none());
    wait_for_refused(&server, "address_connections_max", 1);
    let _third = come(&server, source(1, 2)).expect("another address");
    assert!(come(&server, source(1, 3)).is_none());
    wait_for_refused(&server, "prefix_connections_max", 1);
    let _other = come(&server, source(2, 1)).expect("another network");
    drop(first);
    let _again = wait_until("the place is free", PATIENCE, || come(&server, source(1, 1)));
    assert!(server.log().contains("raise limits.address_connections_max"), "{}", server.log());
    assert!(server.log().contains("prefix=127.1.1.0/24"), "{}", server.log());
}

/// Those that neither publish nor play have a bound of their own: who begins to publish makes room, and who stops takes it again.
#[test]
fn connections_that_do_nothing_are_bounded() {
    let server = server(&[("address_pending_max", 2), ("prefix_pending_max", 3)]);
    let publisher = Client::open_from(source(1, 1), server.rtmp()).connect("live").publish("a");
    let player = Client::open_from(source(1, 1), server.rtmp()).connect("live").play("a");
    server.wait_for_players("live", "a", 1);
    let _idle =
        [come(&server, source(1, 1)).expect("the first"), come(&server, source(1, 1)).expect("the second")];
    assert!(come(&server, source(1, 1)).is_none());
    wait_for_refused(&server, "address_pending_max", 1);
    let third = Client::open_from(source(1, 2), server.rtmp()).connect("live");
    assert!(come(&server, source(1, 3)).is_none());
    wait_for_refused(&server, "prefix_pending_max", 1);
    let third = third.publish("b");
    let _fourth = come(&server, source(1, 3)).expect("who publishes makes room");
    assert!(come(&server, source(1, 4)).is_none());
    wait_for_refused(&server, "prefix_pending_max", 2);
    let _others = come(&server, source(2, 1)).expect("another network");
    drop((publisher, player, third));
}

/// So many come at once, and then so many a second.
#[test]
fn new_connections_are_bounded_by_rate() {
    for (kind, host) in [("address_accepts_per_second_max", 1), ("prefix_accepts_per_second_max", 2)] {
        let server = server(&[(kind, 1)]);
        // Ten at once; those that come while they do are let in as well.
        let taken = (0..200).take_while(|_| come(&server, source(1, 1)).is_some()).count();
        assert!((10..200).contains(&taken), "{taken} of {kind}");
        wait_for_refused(&server, kind, 1);
        let _other = come(&server, source(2, 1)).expect("another network");
        let from = source(1, host);
        let _later = wait_until("another second has passed", PATIENCE, || come(&server, from));
    }
}

/// How a connection fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Garbage,
    LeavesAtOnce,
    LeavesAfterConnect,
    PublishIsRefused,
}

/// Fails once, and waits until the server has closed.
fn fail(server: &Server, from: IpAddr, how: Failure) {
    let mut socket = connect_from(from, server.rtmp());
    socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
    match how {
        Failure::Garbage => drop(socket.write_all(b"GET / HTTP/1.1\r\n\r\n")),
        Failure::LeavesAtOnce => drop(socket.shutdown(Shutdown::Write)),
        Failure::LeavesAfterConnect => {
            let client = Client::over(socket).connect("live");
            client.socket().shutdown(Shutdown::Write).expect("shut the write side");
            socket = client.socket().try_clone().expect("clone a socket");
        }
        Failure::PublishIsRefused => {
            let mut client = Client::over(socket).connect("live");
            assert_eq!(client.request_publish("taken").code, "NetStream.Publish.BadName");
            socket = client.socket().try_clone().expect("clone a socket");
        }
    }
    // A reset is a close too.
    let _ = socket.read_to_end(&mut Vec::new());
}

/// Who fails again and again, however he does it, is not taken for a while: after ten failures, and one more for each second. His
/// neighbours are, and so is he once he has waited.
#[test]
fn who_fails_again_and_again_is_refused() {
    const KIND: &str = "address_failures_per_second_max";
    let server = server(&[(KIND, 1)]);
    let publisher = Client::open_from(source(1, 1), server.rtmp()).connect("live").publish("taken");
    // It has to be heard of: one that is silent for two seconds yields.
    let publisher = Live::start(publisher, &[], &Pattern::with_bits_per_second(400_000), 0);
    let kinds =
        [Failure::Garbage, Failure::LeavesAtOnce, Failure::LeavesAfterConnect, Failure::PublishIsRefused];
    for (how, host) in kinds.into_iter().zip(10..) {
        let (from, began) = (source(1, host), Instant::now());
        // Ten that are taken for certain; then those that need not be, until one is not.
        (0..10).for_each(|_| fail(&server, from, how));
        let mut more = 0;
        while let Some(mut socket) = come(&server, from) {
            let _ = socket.shutdown(Shutdown::Write);
            let _ = socket.read_to_end(&mut Vec::new());
            more += 1;
        }
        // The server closes a little before it counts.
        let allowed = began.elapsed().as_secs() + 5;
        assert!(more <= allowed, "{how:?}: {more} more are taken, and not {allowed}");
        let _later = wait_until("he has waited", PATIENCE, || come(&server, from));
    }
    wait_until("they are counted", PATIENCE, || (refused(&server, KIND) >= 4).then_some(()));
    // Those who work are not counted, however often they come.
    for _ in 0..30 {
        Client::open_from(source(1, 2), server.rtmp()).connect("live").publish("works").unpublish();
    }
    publisher.pause().0.unpublish();
}

/// Whoever is trusted comes as often as he likes, and fails as he likes: by default this machine.
#[test]
fn trusted_networks_are_not_bounded() {
    let config = "[limits]\naddress_connections_max = 1\naddress_failures_per_second_max = 1\naddress_accepts_per_second_max = 1\n";
    let server = Inrush::new().cores(1).config(config).start();
    let all: Vec<_> = (0..50).map(|_| come(&server, source(1, 1)).expect("trusted")).collect();
    assert_eq!(all.len(), 50);
    assert_eq!(refused(&server, "address_connections_max"), 0);
}

/// With the defaults, the encoders of a carrier's NAT come back all at once, and all are taken.
#[test]
fn a_carrier_nat_comes_back_at_once() {
    let server = Inrush::new().cores(1).config("[limits]\ntrusted = []\n").start();
    let publish = |round: usize| -> Vec<Client> {
        std::thread::scope(|scope| {
            let one = |which: usize| {
                let server = &server;
                scope.spawn(move || {
                    let client = Client::open_from(source(1, 1), server.rtmp());
                    client.connect("live").publish(&format!("{round}-{which}"))
                })
            };
            let all: Vec<_> = (0..50).map(one).collect();
            all.into_iter().map(|one| one.join().expect("taken")).collect()
        })
    };
    // The old ones are still there when the new ones come.
    let old = publish(0);
    let new = publish(1);
    drop(old);
    wait_until("the old ones are gone", PATIENCE, || (server.connections().len() == 50).then_some(()));
    drop(new);
}

/// Bytes of a message that a hog begins and never ends.
const HOG_BYTES: usize = 6 << 20;

/// Connects and sends all but the last byte of a long message; gives up when the server closes.
fn hog(server: &Server, from: IpAddr) -> TcpStream {
    let client = Client::open_from(from, server.rtmp()).connect("live");
    let mut writer = ChunkWriter::default();
    let mut bytes = writer.set_chunk_size(1 << 20);
    bytes.extend(writer.write(&Message { type_id: 9, stream_id: 1, timestamp: 0, body: vec![7; HOG_BYTES] }));
    bytes.pop();
    let mut socket = client.socket().try_clone().expect("clone a socket");
    let _ = socket.write_all(&bytes);
    socket
}

/// Peers that never publish and make a core hold as much as they can: the greediest of them go, so that memory stays within its bound;
/// those who publish and play lose nothing, and those who hold little and have just come stay.
#[test]
fn what_is_held_before_publish_is_bounded_and_the_greediest_go() {
    const MIB: u64 = 1 << 20;
    let server = Inrush::new().cores(1).config("[limits]\npre_publish_bytes_max = 33_554_432\n").start();
    undisturbed(&server, || {
        let modest: Vec<_> =
            (0..20).map(|host| Client::open_from(source(1, host), server.rtmp()).connect("live")).collect();
        let before = server.metrics().resident_bytes();
        let mut most = 0;
        let mut hogs = Vec::new();
        for host in 0..40 {
            hogs.push(hog(&server, source(2, host)));
            let metrics = server.metrics();
            assert!(metrics.gauge("pre_publish_bytes") <= 32 * MIB, "{}", metrics.gauge("pre_publish_bytes"));
            most = most.max(metrics.resident_bytes().saturating_sub(before));
        }
        let shed = wait_until("hogs are closed", PATIENCE, || {
            let shed = server.metrics().counter("pre_publish_shed");
            (shed >= 34).then_some(shed)
        });
        println!("40 hogs of {HOG_BYTES} bytes: resident memory grew by {most}, {shed} were closed");
        assert!(most <= (32 + 32) * MIB, "{most}");
        wait_until("they are counted", PATIENCE, || {
            // The last of them may have gone since.
            let metrics = server.metrics();
            (metrics.of_kind("close_reason", "overload") == metrics.counter("pre_publish_shed")).then_some(())
        });
        for (host, client) in modest.into_iter().enumerate() {
            client.publish(&format!("modest-{host}"));
        }
    });
    let at_the_end = wait_until("nothing is pending", PATIENCE, || {
        let metrics = server.metrics();
        (metrics.gauge("connections") == 0).then_some(metrics)
    });
    assert_eq!((at_the_end.gauge("pre_publish"), at_the_end.gauge("pre_publish_bytes")), (0, 0));
}

/// What is counted for pending connections is what they take: with idle ones, with ones in their handshake, with ones that have
/// connected.
#[test]
fn what_is_counted_is_what_connections_take() {
    const COUNT: usize = 1_000;
    let server = Inrush::new().cores(1).start();
    // What the process takes once, and keeps.
    (0..COUNT).map(|_| TcpStream::connect(server.rtmp()).expect("connect")).for_each(drop);
    wait_until("they are gone", PATIENCE, || server.connections().is_empty().then_some(()));
    let before = server.metrics().resident_bytes();
    let mut held = Vec::new();
    for stage in ["idle", "in the handshake", "connected"] {
        for _ in 0..COUNT {
            let mut socket = TcpStream::connect(server.rtmp()).expect("connect");
            match stage {
                "idle" => {}
                "in the handshake" => socket.write_all(&c0_c1()[..1_000]).expect("send"),
                _ => {
                    socket =
                        Client::over(socket).connect("live").socket().try_clone().expect("clone a socket")
                }
            }
            held.push(socket);
        }
        let metrics = wait_until(&format!("all are {stage}"), PATIENCE, || {
            let metrics = server.metrics();
            (metrics.gauge("pre_publish") == held.len() as u64).then_some(metrics)
        });
        let grown = metrics.resident_bytes().saturating_sub(before) / held.len() as u64;
        let counted = metrics.gauge("pre_publish_bytes") / held.len() as u64;
        println!("{} connections, the last {stage}: {grown} bytes each, counted {counted}", held.len());
        assert!(grown <= counted + 2_048, "{grown} bytes each, counted {counted}");
    }
}
