//! Every kind of hostile peer against the engine, beside honest streams: it does what it is for, is counted apart, and takes nothing from
//! the others. The engine's deadlines are short here, so that slow peers meet theirs.

mod support;

use inrush_loadtest::report::{HostileResult, Run};
use support::server::Server;
use support::{Scratch, harness, measure, passed};

const SHORT: &str = "stall_ms_max = 1500\n\
                     [deadlines]\nhandshake_seconds = 1\nconnect_seconds = 1\npublish_or_play_seconds = 1\n\
                     first_media_seconds = 2\n";

/// Two honest streams with their players, and these hostile peers beside them.
#[track_caller]
fn loaded(name: &str, hostile: &str, bitrate: &str, seconds: &str) -> Run {
    let server = Server::inrush_with(SHORT);
    let url = server.url(&format!("{name}{{i}}"));
    let load =
        ["mixed", "--url", &url, "--publishers", "2", "--players", "2", "--bitrate", bitrate, "--gop", "25"];
    let rest = ["--warmup", "1", "--duration", seconds, "--hostile", hostile, "--hostile-pause", "0.2"];
    let fails = ["--fail-if", "lost>0", "--fail-if", "errors>0", "--fail-if", "connections_failed>0"];
    let (output, run) = measure(&[&load[..], &rest[..], &fails[..]].concat());
    assert!(passed(&output, &run), "{output:?}");
    let counts = &run.counts;
    assert_eq!(counts.received, counts.sent);
    assert_eq!((counts.duplicated, counts.reordered, counts.unstamped), (0, 0, 0));
    // None of theirs is the run's.
    let honest = (counts.connections_opened, counts.publishes_accepted, counts.plays_accepted);
    assert_eq!((honest, counts.hostile_ended), ((4, 2, 2), 0));
    assert!(run.errors.is_empty() && run.personas.is_empty(), "{:?}", run.errors);
    for kind in &run.hostile {
        assert!(kind.opened >= kind.peers && kind.peers > 0, "{kind:?}");
        assert_eq!(kind.opened, kind.ended + kind.left + kind.open, "{kind:?}");
        assert_eq!(kind.lasted.count, kind.ended, "{kind:?}");
        let ends: u64 = kind.ends.iter().map(|end| end.count).sum();
        assert!(ends >= kind.ended + kind.left, "{kind:?}");
    }
    run
}

#[track_caller]
fn of<'a>(run: &'a Run, kind: &str) -> &'a HostileResult {
    run.hostile.iter().find(|result| result.kind == kind).expect("the kind was asked for")
}

/// Garbage is ended at once, and comes again; what is slow or says nothing is ended when its time is over, and not before.
#[test]
fn peers_that_never_get_in_are_ended() {
    let slow = ["half-open", "slow-handshake", "slow-command"];
    let run = loaded("early", "garbage=3,half-open=2,slow-handshake=2,slow-command=2,churn=2", "300k", "3");
    let garbage = of(&run, "garbage");
    assert!(garbage.ended > garbage.peers && garbage.bytes_in > 0, "{garbage:?}");
    for kind in slow {
        let slow = of(&run, kind);
        assert!(slow.ended >= slow.peers, "{slow:?}");
        assert!(slow.lasted.min >= 900_000, "{slow:?}");
    }
    let churn = of(&run, "churn");
    // It leaves by itself; one that was cut while it was looked at counts as open.
    assert!(churn.left > 2 * churn.peers && churn.ended == 0 && churn.open <= churn.peers, "{churn:?}");
}

/// Floods cost their senders the connection.
#[test]
fn floods_are_run_and_counted() {
    let hostile = "tiny-chunks=1,header-flood=1,ack-flood=1,ping-flood=1,command-flood=1";
    let run = loaded("floods", hostile, "300k", "3");
    for kind in ["tiny-chunks", "header-flood", "ack-flood", "ping-flood", "command-flood"] {
        let flood = of(&run, kind);
        assert!(flood.bytes_in > 0 && flood.ended > 0, "{flood:?}");
    }
}

/// Hogs send what they hold, up to its last byte, and are ended at the latest by the deadline for a publish.
#[test]
fn hogs_fill_what_they_may_and_are_ended() {
    let run = loaded("hogs", "memory-hog=2,reassembly-hog=2", "300k", "3");
    for kind in ["memory-hog", "reassembly-hog"] {
        let hog = of(&run, kind);
        assert!(hog.ended >= hog.peers, "{hog:?}");
        // A server that takes less ends it earlier; the engine's default takes the most of it.
        assert!(hog.bytes_in > 1_000_000, "{hog:?}");
    }
}

/// Who does not read is let in, and ended when what waits for it has waited too long; who asks for a taken name is refused each time.
#[test]
fn peers_that_do_not_read_and_peers_that_are_refused() {
    let hostile = "never-reading-player=1,never-reading-publisher=1,failed-publish=1";
    let run = loaded("unread", hostile, "2M", "9");
    let player = of(&run, "never-reading-player");
    // Buffers fill, it stalls for 1.5 s, and learns of its end a second later at most.
    assert!(player.ended > 0 && player.lasted.min >= 1_400_000, "{player:?}");
    let publisher = of(&run, "never-reading-publisher");
    // 25 messages of 1,500 bytes a second, whoever ends it.
    assert!(publisher.refused == 0 && publisher.bytes_in > 50_000, "{publisher:?}");
    let failed = of(&run, "failed-publish");
    // The last one may wait for its answer when the run ends.
    assert!(failed.refused > 5 && failed.left <= failed.peers, "{failed:?}");
    assert!(failed.ends.iter().any(|end| end.how == "refused: NetStream.Publish.BadName"), "{failed:?}");
}

/// They come from the addresses of their prefix, and the honest do not; the reports show them apart, and thresholds reach them.
#[test]
fn hostile_peers_come_from_their_prefix_and_are_shown_apart() {
    let server = Server::inrush();
    let (url, page) = (server.url("sources{i}"), Scratch::new("hostile.html"));
    let html = page.path().to_str().expect("a path of ours is text");
    let load =
        ["publish", "--url", &url, "--publishers", "2", "--warmup", "0.5", "--duration", "1.5", "--gop", "5"];
    let hostile = ["--hostile", "half-open=8", "--hostile-source", "127.66.0.0/16", "--html", html];
    let fails = ["--fail-if", "hostile.half-open.opened<8", "--fail-if", "hostile.half-open.open>7"];
    let json = Scratch::new("hostile.json");
    let mut command = harness(&[&load[..], &hostile[..], &fails[..]].concat());
    let child = command.arg("--json").arg(json.path()).stdout(std::process::Stdio::piped()).spawn();
    let child = child.expect("run the harness");
    let peers = support::wait_until("all connections are there", || {
        let connections = server.connections();
        (connections.len() == 10).then_some(connections)
    });
    let foreign: std::collections::BTreeSet<_> = peers
        .iter()
        .filter_map(|connection| connection["peer"].as_str())
        .filter(|peer| peer.starts_with("127.66."))
        .map(|peer| peer.split(':').next().expect("an address").to_owned())
        .collect();
    assert_eq!(foreign.len(), 8, "{peers:?}");
    let networks: std::collections::BTreeSet<_> =
        foreign.iter().map(|peer| peer.rsplit_once('.').expect("an IPv4 address").0).collect();
    assert!(networks.len() > 4, "{networks:?}");
    let output = child.wait_with_output().expect("wait for a child");
    let run = Run::from_json(&json.text()).expect("a report");
    assert_eq!(run.setting.hostile_sources, ["127.66.0.0/16"]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("ok: hostile.half-open.opened is 8"), "{told}");
    assert!(told.contains("failed: hostile.half-open.open is 8"), "{told}");
    assert!(told.contains("\nhostile\n  half-open"), "{told}");
    let page = page.text();
    assert!(page.contains("<h2>Hostile</h2>") && page.contains("half-open"));
}
