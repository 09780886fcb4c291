//! What a server holds when nobody is connected.

use super::server::Server;
use super::{PATIENCE, wait_until};

/// What must be the same before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// File descriptors.
    pub open_files: usize,
    /// Operations that the kernel has.
    pub operations_in_flight: u64,
}

/// What is held when nothing is connected; `None` as long as anything is left of a connection.
pub fn at_rest(server: &Server) -> Option<Rest> {
    let metrics = server.metrics();
    let left = ["connections", "publishers", "subscribers", "streams", "reassembly_bytes", "gop_bytes"];
    let is_empty = left.iter().all(|name| metrics.gauge(name) == 0);
    is_empty.then(|| Rest {
        open_files: server.open_files(),
        operations_in_flight: metrics.gauge("operations_in_flight"),
    })
}

/// What is held at rest once it no longer changes: right after a close, a request of ours may still hold a descriptor.
#[track_caller]
pub fn rest_that_lasts(server: &Server) -> Rest {
    const SAME_IN_A_ROW: u32 = 5;
    let (mut last, mut same) = (None, 0);
    wait_until("the server is at rest", PATIENCE, || {
        let now = at_rest(server)?;
        same = if last == Some(now) { same + 1 } else { 0 };
        last = Some(now);
        (same >= SAME_IN_A_ROW).then_some(now)
    })
}
