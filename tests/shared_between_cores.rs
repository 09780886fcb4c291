//! What cores hold of each other's: given back at the end, whatever the order in which they end; and messages that no single write takes.
#![cfg(feature = "engine")]

mod support;

use support::client::{Client, Event};
use support::flv::{Kind, Tag};
use support::server::Inrush;
use support::{PATIENCE, wait_until};

/// Connections that are tried before chance cannot be the reason any more: 2^-40.
const TRIES: usize = 40;

/// A core that is home to what only another core's players wait for has nothing of its own to end. It ends with code 0 all the same,
/// which says that no stream and no key is left.
#[test]
fn home_without_connections_ends_clean() {
    let server = Inrush::new().cores(2).placement("core:0").start();
    let mut elsewhere = Vec::new();
    for tried in 0.. {
        assert!(tried < TRIES, "no player is on the other core");
        let name = format!("waiting-{tried}");
        let player = Client::open(server.rtmp()).connect("live").play(&name);
        server.wait_for_players("live", &name, 1);
        if server.connections_of("player", "live", &name)[0]["core"] == 1 {
            elsewhere.push(player);
        }
        if elsewhere.len() == 4 {
            break;
        }
    }
    wait_until("only the other core has connections", PATIENCE, || {
        (server.metrics().per_core("connections") == [0, 4]).then_some(())
    });
    server.stop();
}

/// Publishers that are under way between cores when the engine is told to stop do not keep it, and leave nothing behind.
#[test]
fn publishers_under_way_do_not_keep_the_engine() {
    for round in 0..5 {
        let server = Inrush::new().cores(2).placement("core:1").start();
        let address = server.rtmp();
        let publishers: Vec<_> = (0..8)
            .map(|number| {
                std::thread::spawn(move || {
                    // The server may be gone at any step.
                    let publisher = std::panic::catch_unwind(|| Client::open(address).connect("live"));
                    let Ok(mut publisher) = publisher else { return };
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        publisher.request_publish(&format!("under-way-{number}"))
                    }));
                })
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(round));
        server.stop();
        publishers.into_iter().for_each(|publisher| drop(publisher.join()));
    }
}

/// A frame of more slices than one write may have (1,024) reaches players whole, and
/// what follows it too.
#[test]
fn frame_of_many_slices_reaches_players() {
    let server = Inrush::new().cores(2).start();
    let player = Client::open(server.rtmp()).connect("live").play("slices");
    server.wait_for_players("live", "slices", 1);
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("slices");
    publisher.set_chunk_size(1024);
    let header = [0x17, 1, 0, 0, 0];
    let large = (0..4 << 20).map(|n: u32| n.to_le_bytes()[1]);
    let tags = [
        Tag { kind: Kind::Video, timestamp: 0, body: header.into_iter().chain(large).collect() },
        Tag { kind: Kind::Video, timestamp: 40, body: [&[0x27, 1, 0, 0, 0][..], &[7; 100]].concat() },
    ];
    let reading = std::thread::spawn(move || {
        let mut player = player;
        let mut next = || {
            player.wait_for("media", |event| match event {
                Event::Media(tag) if tag.kind == Kind::Video => Some(tag),
                Event::Closed => panic!("closed"),
                _ => None,
            })
        };
        [next(), next()]
    });
    tags.iter().for_each(|tag| publisher.send_tag(tag));
    let received = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert!(received == tags, "what came is not what was sent");
    publisher.unpublish();
}
