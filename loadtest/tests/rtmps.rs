//! The harness over TLS, through a front that shares no code with its client but rustls, and with the engine's own TLS: what it says it did
//! is what it did.

mod support;

use inrush_loadtest::report::{Run, Stage};
use support::secured::{NAME, Secured};
use support::server::Server;
use support::{harness, measure, passed};

/// Both ways at every pace: each message once, each connection with a handshake of its own, and nobody in plain.
#[test]
fn all_that_is_sent_over_tls_is_received_at_every_pace() {
    let server = Server::inrush();
    let front = Secured::start(server.address());
    for (number, pacing) in ["frame", "wan", "burst:100"].into_iter().enumerate() {
        let before = front.handshakes().len() as u64;
        let url = front.url(&format!("pace{number}-{{i}}"));
        let load = ["mixed", "--url", &url, "--publishers", "3", "--players", "6", "--tls-ca"];
        let rest =
            ["--duration", "1", "--warmup", "1.2", "--gop", "25", "--bitrate", "600k", "--pacing", pacing];
        let fails = ["--chunk-size", "300", "--fail-if", "lost>0", "--fail-if", "errors>0"];
        let (output, run) = measure(&[&load[..], &[front.certificate()], &rest[..], &fails[..]].concat());
        assert!(passed(&output, &run), "{pacing}: {output:?}");
        let counts = &run.counts;
        assert!((3 * 66..=3 * 76).contains(&counts.due), "{pacing}: {}", counts.due);
        assert_eq!((counts.sent, counts.received), (counts.due, 2 * counts.due), "{pacing}");
        let odd = (counts.duplicated, counts.reordered, counts.unstamped, counts.lost);
        assert_eq!(odd, (0, 0, 0, 0), "{pacing}");
        assert_eq!(run.latencies.e2e.count, counts.received, "{pacing}");
        // Each with its own, which the front saw as well.
        assert_eq!((counts.tls_handshakes, run.latencies.tls_handshake.count), (9, 9), "{pacing}");
        assert_eq!(front.handshakes().len() as u64 - before, counts.tls_handshakes, "{pacing}");
        assert_eq!(run.latencies.handshake.count, 9, "{pacing}");
        let mbit = run.throughput.mbit_per_second_in;
        assert!((1.4..2.4).contains(&mbit), "{pacing}: {mbit}");
        let tls = run.setting.tls.expect("the setting tells of TLS");
        assert!(!tls.insecure && tls.server_name.is_none(), "{tls:?}");
    }
}

/// Messages of hundreds of kilobytes, more than a socket takes at once: what the socket does not take waits, and arrives in time.
#[test]
fn a_full_socket_loses_nothing() {
    let server = Server::inrush();
    let front = Secured::start(server.address());
    let url = front.url("large");
    let load =
        ["mixed", "--url", &url, "--players", "2", "--tls-insecure", "--bitrate", "40M", "--fps", "10"];
    let rest = ["--gop", "10", "--duration", "1.5", "--warmup", "1.2", "--pacing", "burst:500"];
    let (output, run) = measure(&[&load[..], &rest[..], &["--fail-if", "lost>0"]].concat());
    assert!(passed(&output, &run), "{output:?}");
    assert_eq!((run.counts.sent, run.counts.received), (run.counts.due, 2 * run.counts.due));
    assert!(run.throughput.bytes_in > 4_000_000, "{}", run.throughput.bytes_in);
}

#[track_caller]
fn refused(args: &[&str], front: &Secured) -> String {
    let url = front.url("s");
    let load = ["publish", "--url", &url, "--duration", "60"];
    let output = harness(&[&load[..], args].concat()).output().expect("run the harness");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{args:?}: {error}");
    error
}

/// Unless it is told not to care, the harness publishes to nobody whose certificate it cannot verify.
#[test]
fn certificates_are_verified_by_default() {
    let server = Server::inrush();
    let front = Secured::start(server.address());
    let unknown = refused(&[], &front);
    assert!(unknown.contains("tls_handshake: invalid peer certificate: UnknownIssuer"), "{unknown}");
    let ca = front.certificate();
    let other = refused(&["--tls-ca", ca, "--tls-server-name", "other.example"], &front);
    assert!(
        other.contains("tls_handshake: invalid peer certificate: certificate not valid for name"),
        "{other}"
    );
    assert_eq!(front.handshakes(), [], "no handshake was done");

    let url = front.url("s");
    let load = ["publish", "--url", &url, "--warmup", "0", "--duration", "0.5", "--gop", "5"];
    for (args, name) in [
        (&["--tls-ca", ca][..], None), // an address is no SNI (RFC 6066 §3)
        (&["--tls-ca", ca, "--tls-server-name", NAME], Some(NAME)),
        (&["--tls-insecure", "--tls-server-name", "other.example"], Some("other.example")),
    ] {
        let (output, run) = measure(&[&load[..], args].concat());
        assert!(output.status.success() && run.counts.sent > 0, "{args:?}: {output:?}");
        let seen = front.handshakes();
        assert_eq!(seen.last().and_then(|seen| seen.name.as_deref()), name, "{args:?}");
    }
}

/// Publishers that come and go.
fn churning(front: &Secured, resume: &str) -> Run {
    let url = front.url("churning{i}");
    let load =
        ["publish", "--url", &url, "--publishers", "4", "--persona", "churning:0/0=1", "--warmup", "0"];
    let rest = ["--tls-insecure", "--tls-resume", resume, "--ramp", "20", "--duration", "1.5"];
    let (output, run) = measure(&[&load[..], &rest[..]].concat());
    assert!(output.status.success(), "{output:?}");
    assert!(run.counts.tls_handshakes > 8, "{:?}", run.counts);
    run
}

/// Those that come again resume, if they may, in both versions; the front counts as many.
#[test]
fn a_share_of_connections_resumes() {
    let server = Server::inrush();
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let front = Secured::start_with(server.address(), versions);
        let mut before = 0;
        for (resume, wanted) in [("1", 1.0), ("0.5", 0.5), ("0", 0.0)] {
            let run = churning(&front, resume);
            let seen = front.handshakes();
            let resumed = seen[before..].iter().filter(|seen| seen.resumed).count() as u64;
            before = seen.len();
            assert!(seen.iter().all(|seen| seen.version == Some(versions[0].version)));
            let counts = &run.counts;
            // One more may have been under way at the end on either side.
            assert!(resumed.abs_diff(counts.tls_resumed) <= 4, "{resume}: {resumed}, {counts:?}");
            let share = counts.tls_resumed as f64 / counts.tls_handshakes as f64;
            // The first ones have nothing to resume, and neither has who comes before a ticket was read.
            assert!(share <= wanted && (resume == "0" || share > 0.0), "{resume}: {share}, {counts:?}");
        }
    }
}

/// RTMPS to a port that speaks RTMP fails at the TLS handshake, and says so.
#[test]
fn a_server_without_tls_is_told() {
    let server = Server::inrush();
    let url = format!("rtmps://{}/live/s", server.address());
    let load = ["publish", "--url", &url, "--tls-insecure", "--duration", "60"];
    let output = harness(&load).output().expect("run the harness");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(Stage::TlsHandshake.name()) && error.lines().count() == 1, "{error}");
}

/// Plain streams while the TLS port is flooded: handshakes are offered at their rate and timed, ClientHellos lie there, and the streams
/// lose nothing.
#[test]
fn a_flood_of_handshakes_is_counted_beside_plain_streams() {
    let server = Server::inrush();
    let front = Secured::start(server.address());
    let (url, address) = (server.url("plain{i}"), front.address().to_string());
    let load =
        ["mixed", "--url", &url, "--publishers", "2", "--players", "2", "--bitrate", "300k", "--gop", "25"];
    let rest = ["--warmup", "0.5", "--duration", "1.5", "--fail-if", "lost>0", "--fail-if", "errors>0"];
    let hostile = ["--tls-flood", "40", "--hostile", "tls-hello=5", "--hostile-tls", &address];
    let (output, run) = measure(&[&load[..], &rest[..], &hostile[..]].concat());
    assert!(passed(&output, &run), "{output:?}");
    assert_eq!((run.counts.received, run.counts.tls_handshakes), (run.counts.sent, 0));
    let [hello, flood] = &run.hostile[..] else { panic!("{:?}", run.hostile) };
    assert_eq!((hello.kind.as_str(), hello.opened, hello.open), ("tls-hello", 5, 5), "{hello:?}");
    assert_eq!(flood.kind, "tls-flood");
    // Two seconds and what the end takes, at 40 a second: what a busy machine left no time for is told.
    assert!(flood.handshakes > 0 && flood.opened + flood.refused + flood.skipped >= 80, "{flood:?}");
    assert_eq!(flood.tls_handshake.count, flood.handshakes);
    assert_eq!(flood.opened, flood.ended + flood.left + flood.open);
    assert!(flood.ends.iter().any(|end| end.how == "handshake done" && end.count == flood.handshakes));
    assert!(front.handshakes().iter().all(|seen| !seen.resumed && seen.name.is_none()));
}

/// The engine's own TLS, with a certificate that it made for the try-out.
const SELF_SIGNED: &str = "[tls]\nlisten = [\"127.0.0.1:0\"]\nself_signed = true\n\
                           [deadlines]\nhandshake_seconds = 1\n";

/// Several tracks over TLS both ways, nothing between harness and engine: each stamp once, a handshake for each connection.
#[test]
fn the_engine_takes_and_gives_streams_over_its_own_tls() {
    let server = Server::inrush_with(SELF_SIGNED);
    let url = format!("rtmps://{}/live/own{{i}}", server.tls_address());
    let load =
        ["mixed", "--url", &url, "--publishers", "3", "--players", "6", "--tls-insecure", "--tracks", "2:3"];
    let rest =
        ["--duration", "1", "--warmup", "1.2", "--gop", "25", "--bitrate", "600k", "--multitrack", "many"];
    let (output, run) =
        measure(&[&load[..], &rest[..], &["--fail-if", "lost>0", "--fail-if", "errors>0"]].concat());
    assert!(passed(&output, &run), "{output:?}");
    let counts = &run.counts;
    assert_eq!((counts.sent, counts.received), (counts.due, 2 * counts.due));
    assert_eq!((counts.duplicated, counts.reordered, counts.unstamped, counts.unnegotiated), (0, 0, 0, 0));
    assert_eq!((counts.tls_handshakes, counts.connections_opened), (9, 9));
    assert!(counts.sent > 3 * 150, "{}", counts.sent);
}

/// Publishers that come again to the engine resume with its tickets, and not at all when they may not.
#[test]
fn the_engines_tickets_resume() {
    let server = Server::inrush_with(SELF_SIGNED);
    let url = format!("rtmps://{}/live/again{{i}}", server.tls_address());
    for (resume, resumes) in [("1", true), ("0", false)] {
        let load =
            ["publish", "--url", &url, "--publishers", "4", "--persona", "churning:0/0=1", "--warmup", "0"];
        let rest = ["--tls-insecure", "--tls-resume", resume, "--ramp", "20", "--duration", "1.5"];
        let (output, run) = measure(&[&load[..], &rest[..]].concat());
        assert!(output.status.success(), "{output:?}");
        assert_eq!(run.counts.tls_resumed > 0, resumes, "{resume}: {:?}", run.counts);
        assert!(run.counts.publishes_accepted > 4, "{:?}", run.counts);
    }
}

/// Handshakes and ClientHellos go to the engine's TLS port while its plain one serves: it ends what says no more, the handshakes are timed,
/// and the plain streams lose nothing.
#[test]
fn the_engine_bears_a_flood_of_handshakes_beside_plain_streams() {
    let server = Server::inrush_with(SELF_SIGNED);
    let (url, address) = (server.url("beside{i}"), server.tls_address().to_string());
    let load =
        ["mixed", "--url", &url, "--publishers", "2", "--players", "2", "--bitrate", "300k", "--gop", "25"];
    let rest = ["--warmup", "1", "--duration", "2", "--fail-if", "lost>0", "--fail-if", "errors>0"];
    let hostile = ["--tls-flood", "40", "--hostile", "tls-hello=5", "--hostile-tls", &address];
    let (output, run) = measure(&[&load[..], &rest[..], &hostile[..]].concat());
    assert!(passed(&output, &run), "{output:?}");
    assert_eq!(run.counts.received, run.counts.sent);
    let [hello, flood] = &run.hostile[..] else { panic!("{:?}", run.hostile) };
    assert!(hello.ended >= 5 && hello.lasted.min >= 900_000, "{hello:?}");
    // Three seconds of 40; those that the engine refuses are ended, and none is forgotten.
    assert!(flood.handshakes > 0 && flood.tls_handshake.count == flood.handshakes, "{flood:?}");
    assert!(flood.opened + flood.refused + flood.skipped >= 120, "{flood:?}");
    assert_eq!(flood.opened, flood.ended + flood.left + flood.open);
}
