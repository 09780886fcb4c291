//! The far end of what a server forwards: an RTMP server of the harness's own that takes what is published to it and checks every message.
//!
//! | module | what it is |
//! |---|---|
//! | [`mod@line`] | one connection of the server, which publishes here |
//! | [`stream`] | what came of one stream, whichever connections it came over |
//! | [`tally`] | what came of all of them |
//!
//! Messages are told by the stamps that the run's own publishers put in: so it does not matter what the server calls a stream here, a stream
//! that comes again over another connection goes on where it was, and latency is that from the publisher through the server to here.
//!
//! # Bounds
//! One thread; connections as many as there may be open files, and what a session of the engine holds for each. Streams are those of the run.
//! # Errors
//! What a connection does wrong ends that connection, and is told under `ends`.

pub mod line;
pub mod stream;
pub mod tally;

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use hdrhistogram::Histogram;
use inrush::session::ServerSettings;
use tokio::task::LocalSet;

use crate::clock::{Alarm, now_us};
use crate::input::pin;
use crate::plan::Plan;
use crate::report::{ForwardsResult, HIGHEST_US, empty};
use tally::Tally;

/// How often it is looked whether the run is over, and how late the thread is.
const LOOK_US: u64 = 10_000;

/// The thread's state, shared by its tasks.
pub(super) struct Desk {
    plan: Arc<Plan>,
    settings: Arc<ServerSettings>,
    /// What is read goes through this, whichever connection's it is.
    buffer: RefCell<BytesMut>,
    tally: RefCell<Tally>,
}

/// Where forwards are to come. Taken before any load, so that the server finds somebody there.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes what comes until the run is over. Tells what came, and by how many µs 99 % of the times when the thread was to wake were at most late
/// while measured. `steady` says of each stream whether its publisher is.
pub fn run(
    listener: TcpListener,
    plan: Arc<Plan>,
    steady: Vec<bool>,
    cpus: &[u32],
) -> io::Result<(ForwardsResult, u64)> {
    if !cpus.is_empty() {
        pin(cpus)?;
    }
    let desk = Rc::new(Desk {
        plan,
        settings: Arc::new(ServerSettings::default()),
        buffer: RefCell::default(),
        tally: RefCell::new(Tally::new(steady)),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let late = tasks.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::task::spawn_local(welcome(desk.clone(), listener));
        watch(&desk).await
    });
    desk.tally.borrow_mut().on_end(&desk.plan);
    // Tasks hold references to the tally: they go first, and their connections with them.
    drop(tasks);
    let late_us = late?.value_at_percentile(99.0);
    Ok((desk.tally.take().into_result(), late_us))
}

async fn welcome(desk: Rc<Desk>, listener: tokio::net::TcpListener) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                tokio::task::spawn_local(line::serve(desk.clone(), socket));
            }
            // One that was gone before it was taken; or too many files, which a pause may mend.
            Err(_) => tokio::time::sleep(std::time::Duration::from_micros(LOOK_US)).await,
        }
    }
}

/// Waits for the end of the run, and tells its thread meanwhile how many streams lack something that was sent.
async fn watch(desk: &Desk) -> io::Result<Histogram<u64>> {
    let (alarm, mut late, mut told) = (Alarm::new()?, empty(), 0);
    while !desk.plan.is_over() {
        let now = now_us();
        if now >= desk.plan.until_us {
            let lacking = desk.tally.borrow().lacking(&desk.plan);
            desk.plan.census.lacking.fetch_add(lacking.wrapping_sub(told), Ordering::Relaxed);
            told = lacking;
        }
        let at_us = now + LOOK_US;
        alarm.wait(at_us).await?;
        if desk.plan.is_measured(at_us) {
            let late_us = (now_us() - at_us).min(HIGHEST_US);
            late.record(late_us).expect("a histogram that grows takes any value");
        }
    }
    Ok(late)
}
