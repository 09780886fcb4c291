//! Timeout: a sleep as precise as the kernel's clock, where tokio's timers are rounded up to whole milliseconds twice.

use std::future::Future;
use std::time::Duration;

use io_uring::{cqueue, opcode, types};
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

struct Elapsed;

impl OneshotOutputTransform for Elapsed {
    type Output = ();
    type StoredData = Box<types::Timespec>;

    fn transform_oneshot_output(self, _: Self::StoredData, _: cqueue::Entry) {}
}

/// Sleeps. Not counted as in flight: the kernel reads the time when the operation is submitted and touches nothing of ours later.
pub(crate) fn sleep(duration: Duration) -> impl Future<Output = ()> {
    let time = Box::new(types::Timespec::new().sec(duration.as_secs()).nsec(duration.subsec_nanos()));
    let entry = opcode::Timeout::new(&raw const *time).build();
    UnsubmittedOneshot::new(time, Elapsed, entry).submit()
}
