//! The far end of forwards, against nginx-rtmp's `push`: what a server forwards is told as it came, and what it does not forward is missed.

mod support;

use std::net::{SocketAddr, TcpListener};

use inrush_loadtest::report::{ForwardsResult, Run};
use support::server::Server;
use support::{Scratch, measure, passed};

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    listener.local_addr().expect("a bound socket has an address")
}

/// Three publishers, with these options, and their streams taken at `far_end`.
#[track_caller]
fn publish(server: &Server, far_end: SocketAddr, options: &[&str]) -> (std::process::Output, Run) {
    let (url, listen) = (server.url("forwarded{i}"), far_end.to_string());
    let load = ["publish", "--url", &url, "--publishers", "3", "--listen", &listen, "--gop", "10"];
    let time = ["--warmup", "2", "--duration", "1", "--bitrate", "600k"];
    measure(&[&load[..], &time[..], options].concat())
}

#[track_caller]
fn forwards(run: &Run) -> &ForwardsResult {
    run.forwards.as_ref().expect("--listen was given")
}

#[test]
fn all_that_is_forwarded_is_told_stream_by_stream() {
    let far_end = free_address();
    let server = Server::nginx_rtmp_with(&format!("push rtmp://{far_end}/other;"));
    let page = Scratch::new("forwards.html");
    let html = page.path().to_str().expect("a path of ours is text");
    let conditions = ["--fail-if", "forwards.lost>0", "--fail-if", "forwards.streams!=3", "--html", html];
    let (output, run) = publish(&server, far_end, &conditions);
    assert!(passed(&output, &run), "{output:?}");
    let far = forwards(&run);
    assert!(run.counts.sent >= 3 * 66, "{:?}", run.counts);
    assert_eq!((far.streams, far.opened, far.published, far.ended, far.open), (3, 3, 3, 0, 3));
    assert_eq!((far.received, far.e2e.count), (run.counts.sent, run.counts.sent));
    assert_eq!((far.lost, far.duplicated, far.reordered, far.unstamped), (0, 0, 0, 0));
    // The publishers' bytes, without what they say otherwise, in another chunk size.
    let share = far.bytes as f64 / run.throughput.bytes_in as f64;
    assert!((0.8..1.2).contains(&share), "{} of {}", far.bytes, run.throughput.bytes_in);
    for (number, stream) in (0..).zip(&far.each) {
        assert_eq!(stream.stream, number);
        assert_eq!((stream.connections, &stream.name), (1, &Some(format!("other/forwarded{number}"))));
        assert!(stream.received >= 66 && stream.bytes > 50_000 && stream.lost == 0, "{stream:?}");
        assert!(stream.e2e_mean_us.is_some_and(|mean_us| mean_us > 0.0), "{stream:?}");
    }
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("forwards.e2e") && told.contains(&format!("taken at {far_end}")), "{told}");
    assert!(page.text().contains("<h2>Forwards</h2>"));
}

/// A server that forwards twice to one place is seen to.
#[test]
fn what_is_forwarded_twice_is_told_as_such() {
    let far_end = free_address();
    let push = format!("push rtmp://{far_end}/a; push rtmp://{far_end}/b;");
    let server = Server::nginx_rtmp_with(&push);
    let (_, run) = publish(&server, far_end, &[]);
    let far = forwards(&run);
    assert_eq!((far.streams, far.opened, far.lost), (3, 6, 0));
    assert_eq!(far.received, 2 * run.counts.sent);
    // Where the second connection is ahead of the first, it is the first's that come again.
    assert_eq!(far.duplicated, run.counts.sent, "{far:?}");
}

/// What never comes is lost, and a condition on it fails; without a far end nothing is known of it.
#[test]
fn what_is_not_forwarded_is_missed() {
    let far_end = free_address();
    let server = Server::nginx_rtmp();
    let (output, run) = publish(&server, far_end, &["--fail-if", "forwards.lost>0"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let far = forwards(&run);
    assert_eq!((far.streams, far.opened, far.received), (0, 0, 0));
    assert_eq!(far.lost, run.counts.sent);
    let url = server.url("alone");
    let load = ["publish", "--url", &url, "--warmup", "0", "--duration", "0.3", "--gop", "5"];
    let (output, run) = measure(&[&load[..], &["--fail-if", "forwards.lost>0"]].concat());
    assert_eq!((output.status.code(), run.forwards), (Some(1), None), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("forwards.lost was not measured"), "{told}");
}
