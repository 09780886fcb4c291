//! Streams that are played here and published elsewhere are fetched from there: once for all players, and for as long as somebody plays.
#![cfg(feature = "engine")]

mod support;

use support::client::{Client, Event};
use support::crowd::Crowd;
use support::ffmpeg::{self, Generation};
use support::media::H264_AAC;
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, Stamp, sequence_headers, stamp};
use support::{PATIENCE, ports, rtmpdump, wait_until};

/// One upstream's table: each stream by the name that it has here, with a key that must show nowhere.
fn upstream(address: impl std::fmt::Display) -> String {
    format!(
        "[[upstream]]\nurl = \"rtmp://{address}/{{app}}/{{name}}?{{params}}\"\nparams = \"token=hush\"\nlinger_ms = 500\n\
         failover_ms = 500\nbackoff_ms_min = 100\nbackoff_ms_max = 300\n"
    )
}

fn pattern() -> Pattern {
    Pattern::with_bits_per_second(500_000)
}

/// Publishes, headers first, and says nothing more yet.
fn publish(server: &Server, name: &str) -> Client {
    let mut publisher = Client::open(server.rtmp()).connect("live").publish(name);
    sequence_headers(&H264_AAC.media()).iter().for_each(|header| publisher.send_tag(header));
    publisher
}

/// The first message that a player gets from this one on.
#[track_caller]
fn first_from(player: &mut Client, number: u64) -> Stamp {
    player.wait_for("a frame comes", |event| match event {
        Event::Media(tag) => stamp(tag.kind, &tag.body).filter(|stamp| stamp.number >= number),
        _ => None,
    })
}

#[track_caller]
fn wait_for_no_pull(edge: &Server) {
    wait_until("nothing is pulled any more", PATIENCE, || edge.pulls().is_empty().then_some(()));
}

/// Three players and one connection at the origin; it goes with the last of them, and comes back with the next. Who publishes at the edge has
/// precedence.
#[test]
fn a_stream_is_pulled_once_for_all_players_and_let_go_after_the_last() {
    let origin = Inrush::new().cores(2).start();
    let edge = Inrush::new().cores(2).config(&upstream(origin.rtmp())).start();
    let name = "pulled-by-three";
    let mut publisher = publish(&origin, name);
    let crowd = Crowd::join(edge.rtmp(), "live", name, 3);
    edge.wait_for_players("live", name, 3);
    origin.wait_for_players("live", name, 1);
    publisher.send_synthetic(&pattern(), 0..50);
    let pull = wait_until("it is live", PATIENCE, || {
        edge.pulls().into_iter().find(|pull| pull["state"] == "live" && pull["active"] == true)
    });
    assert_eq!(
        (&pull["name"], &pull["source"]),
        (&name.into(), &format!("rtmp://{}/live/…", origin.rtmp()).into())
    );
    assert_eq!(origin.connections_of("player", "live", name).len(), 1);
    publisher.unpublish();
    for report in crowd.finish() {
        let seen = (report.first, report.last, report.out_of_order, report.notified);
        assert_eq!(seen, (Some(0), Some(49), 0, true));
    }
    wait_for_no_pull(&edge);
    origin.wait_for_players("live", name, 0);

    // The next player has it back; when that one goes while the stream is live, so does the pull.
    let mut publisher = publish(&origin, name);
    let mut player = Client::open(edge.rtmp()).connect("live").play(name);
    origin.wait_for_players("live", name, 1);
    publisher.send_synthetic(&pattern(), 100..130);
    assert_eq!(first_from(&mut player, 0).number, 100);
    drop(player);
    wait_for_no_pull(&edge);
    origin.wait_for_players("live", name, 0);
    publisher.unpublish();

    // A stream that the origin does not have is nobody's, so whoever has it may publish it here.
    let mut player = Client::open(edge.rtmp()).connect("live").play(name);
    origin.wait_for_players("live", name, 1);
    let mut publisher = publish(&edge, name);
    wait_for_no_pull(&edge);
    origin.wait_for_players("live", name, 0);
    publisher.send_synthetic(&pattern(), 200..210);
    assert_eq!(first_from(&mut player, 0).number, 200);
    publisher.unpublish();
    origin.wait_for_players("live", name, 1);

    let metrics = edge.get("/metrics").body;
    assert!(metrics.lines().any(|line| line == "inrush_pull_began_total 2"), "{metrics}");
    for (what, text) in [("log", edge.log()), ("metrics", metrics), ("API", edge.get("/api/v1/pulls").body)] {
        assert!(!text.contains("hush"), "the {what} shows the source's key: {text}");
    }
    assert!(!edge.log().contains(name));
}

/// The first upstream is away and the second one is killed: the player stays, and has the stream again from a key frame when that one is back.
#[test]
fn players_stay_while_an_origin_is_killed_and_started_again() {
    let (away, port) = (ports::free_port(), ports::free_port());
    let start = || Inrush::new().rtmp(format!("127.0.0.1:{port}")).start();
    let origin = start();
    let tables = [away, port].map(|port| upstream(format!("localhost:{port}"))).concat();
    let edge = Inrush::new().config(&tables).start();
    let name = "outlives-its-origin";
    let mut publisher = publish(&origin, name);
    let mut player = Client::open(edge.rtmp()).connect("live").play(name);
    origin.wait_for_players("live", name, 1);
    publisher.send_synthetic(&pattern(), 0..20);
    assert_eq!(first_from(&mut player, 0).number, 0);
    let state_of = |port: u16| {
        let is_it = |source: &str| source.contains(&format!(":{port}/"));
        let pull = edge.pulls().into_iter().find(|pull| pull["source"].as_str().is_some_and(is_it))?;
        Some(pull["state"].as_str()?.to_owned())
    };
    assert_eq!((state_of(away).as_deref(), state_of(port).as_deref()), (Some("standby"), Some("live")));
    origin.kill();
    drop(publisher);
    wait_until("both are tried", PATIENCE, || {
        (state_of(away)? != "standby" && state_of(port)? != "live").then_some(())
    });
    let origin = start();
    origin.wait_for_players("live", name, 1);
    let mut publisher = publish(&origin, name);
    publisher.send_synthetic(&pattern(), 100_000..100_020);
    let first = first_from(&mut player, 100_000);
    assert_eq!((first.number, first.key), (100_000, true));
    publisher.unpublish();
}

/// nginx-rtmp as the origin: real players at the edge get what ffmpeg has published there.
#[test]
fn nginx_rtmp_is_a_source_like_any_other() {
    let nginx = Server::nginx_rtmp();
    let edge = Inrush::new().cores(2).config(&upstream(nginx.rtmp())).start();
    let media = H264_AAC.media();
    let publisher = ffmpeg::Publisher::start(Generation::Nine, &media, &nginx.url("live", "test"));
    nginx.wait_for_publisher("live", "test");
    let players = [
        rtmpdump::play(&edge.url("live", "test")),
        ffmpeg::play(Generation::Nine, &edge.url("live", "test")),
    ];
    edge.wait_for_players("live", "test", 2);
    nginx.wait_for_players("live", "test", 1);
    publisher.finish();
    for player in players {
        let run = player.finish().assert_gapless(&media.packets);
        println!("{run:?}");
    }
    wait_for_no_pull(&edge);
    nginx.wait_for_players("live", "test", 0);
}
