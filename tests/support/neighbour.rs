//! A stream that goes on while something happens beside it, and must not lose a message.

use std::sync::atomic::{AtomicBool, Ordering};

use super::client::Client;
use super::crowd::Crowd;
use super::media::H264_AAC;
use super::server::Server;
use super::synthetic::{Pattern, sequence_headers};
use super::{SetOnDrop, unique};

/// Publishes and plays a stream of 50 messages a second while `work` is done. Fails the test unless its player got every message, in
/// order, and was told of the end.
#[track_caller]
pub fn undisturbed(server: &Server, work: impl FnOnce()) {
    let name = format!("neighbour-{}", unique());
    let watcher = Crowd::join(server.rtmp(), "live", &name, 1);
    server.wait_for_players("live", &name, 1);
    let headers = sequence_headers(&H264_AAC.media());
    let over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut publisher = Client::open(server.rtmp()).connect("live").publish(&name);
            headers.iter().for_each(|header| publisher.send_tag(header));
            let pattern = Pattern::with_bits_per_second(500_000);
            let mut number = 0;
            loop {
                publisher.send_synthetic(&pattern, number..number + 10);
                number += 10;
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
            publisher.unpublish();
            number
        });
        {
            let _end = SetOnDrop(&over);
            server.wait_for_publisher("live", &name);
            work();
        }
        publishing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let reports = watcher.finish();
    let report = &reports[0];
    let seen = (report.first, report.last, report.out_of_order, report.notified);
    assert_eq!(seen, (Some(0), Some(sent - 1), 0, true), "of {sent} messages");
    assert_eq!(server.metrics().counter("frames_dropped"), 0);
}
