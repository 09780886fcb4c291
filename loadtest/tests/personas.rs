//! Personas at small scale against the engine: each does what it is for, and the steady peers beside it do not notice.

mod support;

use inrush_loadtest::report::{PersonaResult, Run};
use support::server::Server;
use support::{measure, passed};

/// Loads it with synthetic media of low rate, and gives the report; the harness has come to its end.
#[track_caller]
fn loaded(server: &Server, mode: &str, name: &str, args: &[&str]) -> Run {
    let url = server.url(&format!("{name}{{i}}"));
    let setting = [mode, "--url", &url, "--bitrate", "300k", "--gop", "25", "--warmup", "0.5"];
    let (output, run) = measure(&[&setting, args].concat());
    assert!(passed(&output, &run), "{output:?}");
    run
}

#[track_caller]
fn persona<'a>(run: &'a Run, kind: &str) -> &'a PersonaResult {
    run.personas.iter().find(|persona| persona.kind() == kind).expect("the persona was asked for")
}

/// The steady peers lost nothing, and nothing failed for them.
#[track_caller]
fn assert_steady_peers_are_well(run: &Run) {
    let counts = &run.counts;
    assert_eq!((counts.lost, counts.duplicated, counts.reordered, counts.unstamped), (0, 0, 0, 0));
    assert_eq!((counts.connections_failed, counts.connections_lost), (0, 0), "{:?}", run.errors);
    assert!(run.errors.is_empty(), "{:?}", run.errors);
}

#[test]
fn churning_publishers_are_counted_as_sessions() {
    let server = Server::inrush();
    let pid = server.pid();
    let load =
        ["--publishers", "8", "--duration", "1.5", "--persona", "churning:0/0=1", "--server-pid", &pid];
    let run = loaded(&server, "publish", "churning", &load);
    assert_steady_peers_are_well(&run);
    let churning = persona(&run, "churning");
    assert_eq!((churning.peers, churning.counts.sent, run.counts.sent), (8, 0, 0));
    assert_eq!(run.counts.publishes_accepted, churning.counts.accepted);
    assert_eq!(churning.counts.reconnects, churning.counts.opened - 8);
    // Each has come back, how often is the machine's doing.
    assert!(churning.counts.accepted > 8, "{:?}", churning.counts);
    let in_window = run.throughput.sessions_per_second * run.duration_s;
    assert!(in_window > 0.0 && in_window.round() <= churning.counts.accepted as f64, "{in_window}");
    let cost = run.server.expect("a process was given").cpu_us_per_session.expect("there were sessions");
    assert!(cost > 0.0);
    assert_eq!(run.counts.connections_opened - run.counts.reconnects, 8);
}

#[test]
fn churning_players_leave_as_they_should_and_return() {
    let server = Server::inrush();
    let load = ["--players", "4", "--duration", "1.5", "--persona", "play.churning:0.2/0.1=0.5"];
    let run = loaded(&server, "mixed", "leaving", &load);
    assert_steady_peers_are_well(&run);
    let churning = persona(&run, "churning");
    assert!(churning.counts.reconnects >= 4, "{:?}", churning.counts);
    assert_eq!((churning.counts.lost, churning.counts.failed), (0, 0), "{:?}", churning.errors);
    assert!(churning.counts.received > 0);
    assert_eq!(persona(&run, "steady").counts.received, 2 * run.counts.sent);
}

#[test]
fn a_storm_cuts_all_of_its_share_and_all_come_back() {
    let server = Server::inrush();
    let load = ["--publishers", "4", "--players", "8", "--duration", "2.5", "--persona", "play.storm:1=0.5"];
    let run = loaded(&server, "mixed", "storm", &load);
    assert_steady_peers_are_well(&run);
    let storm = persona(&run, "storm");
    // Four players, cut after one second and after two; one that the machine let in late missed the second cut.
    let (opened, reconnects) = (storm.counts.opened, storm.counts.reconnects);
    assert_eq!((storm.peers, opened, reconnects), (4, 4 + run.counts.reconnects, run.counts.reconnects));
    assert!((4..=8).contains(&reconnects), "{:?}", storm.counts);
    assert!(storm.counts.accepted >= 8 && storm.counts.refused == 0, "{:?}", storm.counts);
    assert_eq!(persona(&run, "steady").counts.received, run.counts.sent);
}

/// Their streams go on under the same name, and what that costs a player is not the run's loss.
#[test]
fn reconnecting_publishers_come_back_to_their_streams() {
    let server = Server::inrush();
    let load = [
        "--publishers",
        "4",
        "--players",
        "4",
        "--duration",
        "2.5",
        "--persona",
        "publish.reconnecting:1=0.5",
    ];
    let run = loaded(&server, "mixed", "reconnecting", &load);
    assert_eq!(run.counts.lost, 0);
    let reconnecting = persona(&run, "reconnecting");
    assert_eq!(reconnecting.peers, 2);
    // Each is cut twice or thrice; a server that has not seen the cut refuses the name until it has.
    assert!(reconnecting.counts.accepted >= 2 + 4, "{:?}", reconnecting.counts);
    assert_eq!(
        reconnecting.counts.accepted + reconnecting.counts.refused,
        reconnecting.counts.opened,
        "{:?}",
        reconnecting.errors
    );
    assert!(reconnecting.counts.sent > 0 && persona(&run, "steady").counts.received > 0);
}

#[test]
fn a_stalling_player_takes_nothing_from_the_steady_ones() {
    let server = Server::inrush();
    let load = ["--players", "4", "--duration", "2", "--persona", "stalling:0.4=0.25"];
    let run = loaded(&server, "mixed", "stalling", &load);
    assert_steady_peers_are_well(&run);
    let (steady, stalling) = (persona(&run, "steady"), persona(&run, "stalling"));
    assert_eq!((steady.peers, stalling.peers), (1 + 3, 1));
    assert_eq!(steady.counts.received, 3 * run.counts.sent);
    assert_eq!(run.latencies.e2e.count, steady.counts.received);
    // What falls due at the begin of a stop waits for its end.
    assert!(stalling.e2e.max >= 350_000, "{} µs", stalling.e2e.max);
    assert!(stalling.gap.max >= 350_000, "{} µs", stalling.gap.max);
}

#[test]
fn a_slow_link_is_late_by_itself() {
    let server = Server::inrush();
    let load =
        ["--publishers", "2", "--players", "4", "--duration", "2", "--persona", "play.slow-link:100k=0.5"];
    let run = loaded(&server, "mixed", "slow", &load);
    assert_steady_peers_are_well(&run);
    let slow = persona(&run, "slow-link");
    assert_eq!(slow.peers, 2);
    assert_eq!(persona(&run, "steady").counts.received, run.counts.sent);
    // A third of the rate gets through; the rest is missing, or is late by seconds.
    assert!(slow.counts.received < run.counts.sent * 2 / 3, "{:?}", slow.counts);
    assert!(slow.counts.received + slow.counts.missing > 0);
}

#[test]
fn a_slow_publisher_writes_at_its_rate() {
    let server = Server::inrush();
    let load = ["--publishers", "2", "--duration", "2", "--persona", "slow-link:100k=0.5"];
    let run = loaded(&server, "publish", "uplink", &load);
    let slow = persona(&run, "slow-link");
    assert_eq!(slow.peers, 1);
    let steady = persona(&run, "steady").counts.sent;
    assert!(steady > 100 && slow.counts.sent < steady * 2 / 3, "{} of {steady}", slow.counts.sent);
    assert!(run.counts.due > run.counts.sent);
}

#[test]
fn what_is_written_byte_by_byte_arrives_whole() {
    let server = Server::inrush();
    let load = ["--players", "2", "--duration", "1", "--persona", "one-byte=1"];
    let run = loaded(&server, "mixed", "bytes", &load);
    assert_steady_peers_are_well(&run);
    let one_byte = persona(&run, "one-byte");
    assert!(one_byte.counts.sent > 50, "{:?}", one_byte.counts);
    // Its players are steady, and are charged to it.
    assert_eq!(one_byte.counts.received, 2 * one_byte.counts.sent);
    assert_eq!((one_byte.counts.missing, one_byte.counts.lost), (0, 0));
    assert_eq!(one_byte.e2e.count, one_byte.counts.received);
}

#[test]
fn extras_come_beside_the_load_and_a_wrong_key_is_counted() {
    let server = Server::inrush();
    let shares = ["garbage=0.5", "half-open=0.5", "wrong-key:key=no=0.5"];
    let mut load = vec!["--publishers", "2", "--players", "2", "--duration", "1"];
    load.extend(shares.iter().flat_map(|share| ["--persona", share]));
    let run = loaded(&server, "mixed", "extras", &load);
    assert_steady_peers_are_well(&run);
    assert_eq!(persona(&run, "steady").peers, 4);
    assert_eq!((persona(&run, "garbage").counts.opened, persona(&run, "garbage").counts.ended), (2, 2));
    assert_eq!(persona(&run, "half-open").counts.opened, 2);
    // This server asks for no key: it lets them in, and they leave.
    let wrong = persona(&run, "wrong-key");
    assert_eq!((wrong.counts.accepted, wrong.counts.refused, wrong.counts.lost), (2, 0, 0));
    assert_eq!(wrong.name, "wrong-key:key=…");
}

#[test]
fn players_wait_for_a_stream_that_nobody_publishes() {
    let server = Server::inrush();
    let pid = server.pid();
    let load = ["--players", "50", "--duration", "1", "--server-pid", &pid, "--fail-if", "errors>0"];
    let run = loaded(&server, "play", "nobody", &load);
    assert_steady_peers_are_well(&run);
    assert_eq!((run.counts.plays_accepted, run.counts.received), (50, 0));
    assert!(run.personas.is_empty());
    let each = run.server.expect("a process was given").per_connection_bytes.expect("there were connections");
    assert!((1.0..1e6).contains(&each), "{each}");
}

#[test]
fn publishers_tell_their_round_trip_times_and_what_each_costs() {
    let server = Server::inrush();
    let pid = server.pid();
    let run =
        loaded(&server, "publish", "rtt", &["--publishers", "5", "--duration", "2", "--server-pid", &pid]);
    let rtt = &run.latencies.rtt;
    assert!((5..=15).contains(&rtt.count) && rtt.max > 0, "{}", rtt.count);
    let cost = run.server.expect("a process was given");
    assert_eq!(cost.cpu_us_per_session, None);
    let (connection, publisher) = (cost.per_connection_bytes, cost.per_publisher_bytes);
    assert_eq!(connection.map(f64::to_bits), publisher.map(f64::to_bits));
    assert!(publisher.is_some_and(|bytes| bytes > 0.0));
}

#[test]
fn shares_that_make_no_sense_are_one_line_and_exit_2() {
    let table = [
        (&["--persona", "storm=1"][..], "NAME=SHARE"),
        (&["--persona", "stalling:1=0.5"], "stalling:1=0.5 is a share of nobody in this load"),
        (&["--persona", "storm:1=0.6", "--persona", "one-byte=0.6"], "add up to more than 1"),
    ];
    for (args, message) in table {
        let output = support::harness(&[])
            .args(["publish", "--url", "rtmp://127.0.0.1:1/live/s{i}", "--publishers", "10"])
            .args(args)
            .output()
            .expect("run the harness");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(message), "{args:?}: {error}");
    }
}
