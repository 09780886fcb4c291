//! Publishers that the server closes after it let them in, while it stays: not refused, but cut.

mod support;

use std::thread;

use inrush_loadtest::report::Stage;
use support::server::Server;
use support::{measure, wait_until};

/// One of them alone is an error of the run, which goes on to its end with the others.
#[test]
fn a_run_of_which_one_publisher_is_closed_goes_on_and_counts_it() {
    let server = Server::inrush();
    let url = server.url("closed{i}");
    let (output, run) = thread::scope(|scope| {
        let running = scope.spawn(|| {
            let load = ["mixed", "--url", &url, "--publishers", "2", "--players", "2", "--bitrate", "300k"];
            let rest =
                ["--gop", "25", "--warmup", "0.5", "--duration", "4", "--fail-if", "connections_lost>0"];
            measure(&[&load[..], &rest[..]].concat())
        });
        let publisher = wait_until("a publisher sends", || {
            let sends = |connection: &serde_json::Value| {
                connection["role"] == "publisher" && connection["messages_in"].as_u64() > Some(100)
            };
            server.connections().into_iter().find(sends)
        });
        server.kick(&publisher);
        running.join().expect("the harness ran")
    });
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("failed: connections_lost is 1"), "{told}");
    assert_eq!((run.counts.publishes_accepted, run.counts.connections_lost), (2, 1));
    let lost: Vec<_> = run.errors.iter().map(|error| (error.stage, error.count)).collect();
    assert_eq!(lost, [(Stage::Media, 1)], "{:?}", run.errors);
    // The other one's player read to the end.
    assert!(run.duration_s > 3.9 && run.counts.lost == 0 && run.counts.received > 250, "{:?}", run.counts);
}
