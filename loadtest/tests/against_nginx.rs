//! The harness against nginx-rtmp, at small scale: a server that shares no code with it.

mod support;

use support::server::Server;
use support::{measure, passed};

/// nginx-rtmp keeps no GOP: a player's first message is a key frame, at most a second and the start of its publisher away,
/// and so the warm-up is over before all players read everything.
const WARMUP: &str = "2.5";

#[test]
fn all_that_is_sent_is_received_at_every_pace() {
    let server = Server::nginx_rtmp();
    let (pid, peers) = (server.pid(), ["--publishers", "3", "--players", "2", "--per-stream"]);
    for (number, pacing) in ["frame", "wan", "burst:100"].into_iter().enumerate() {
        let url = server.url(&format!("pace{number}-{{i}}"));
        let load = ["mixed", "--url", &url, "--duration", "1", "--warmup", WARMUP, "--pacing", pacing];
        let media = ["--gop", "25", "--bitrate", "600k", "--server-pid", &pid, "--fail-if", "errors>0"];
        let (output, run) = measure(&[&load[..], &peers[..], &media[..]].concat());
        assert!(passed(&output, &run), "{pacing}: {output:?}");
        let counts = &run.counts;
        // 25 frames of video and 46 of audio a second, but for what one round has more or less at its ends.
        assert!((3 * 66..=3 * 76).contains(&counts.due), "{pacing}: {}", counts.due);
        assert_eq!(counts.sent, counts.due, "{pacing}");
        assert_eq!(counts.received, 2 * counts.sent, "{pacing}");
        assert_eq!(
            (counts.lost, counts.duplicated, counts.reordered, counts.unstamped),
            (0, 0, 0, 0),
            "{pacing}"
        );
        assert_eq!((counts.publishes_accepted, counts.plays_accepted), (3, 6), "{pacing}");
        assert_eq!(run.latencies.e2e.count, counts.received, "{pacing}");
        let server = run.server.expect("--server-pid was given");
        assert!(server.rss_bytes > 1_000_000 && server.user_s + server.system_s < 1.5, "{server:?}");
    }
}

#[test]
fn publishers_alone_send_what_is_due() {
    let server = Server::nginx_rtmp();
    let (url, pid) = (server.url("alone{i}"), server.pid());
    let load = ["publish", "--url", &url, "--publishers", "5", "--duration", "1", "--warmup", "0.5"];
    let (output, run) =
        measure(&[&load[..], &["--gop", "10", "--server-pid", &pid, "--fail-if", "errors>0"]].concat());
    assert!(passed(&output, &run), "{output:?}");
    let counts = &run.counts;
    assert!((5 * 66..=5 * 76).contains(&counts.due), "{}", counts.due);
    assert_eq!((counts.sent, counts.received, counts.publishes_accepted), (counts.due, 0, 5));
}
