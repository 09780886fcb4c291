//! A publisher on a thread of its own: synthetic media in real time, until it is stopped, closed, or cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Client, Event, Status};
use super::flv::{Kind, Tag};
use super::synthetic::Pattern;

/// One that publishes.
pub struct Live {
    over: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    withheld: Arc<[AtomicBool; 2]>,
    thread: Option<JoinHandle<(Client, Ended)>>,
}

/// How it has ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// What the server said last.
    pub status: Option<Status>,
    /// The server has closed the connection, or it broke.
    pub closed: bool,
}

impl Live {
    /// Sends these headers, and then messages of the pattern from this number on. The client publishes already.
    pub fn start(client: Client, headers: &[Tag], pattern: &Pattern, from: u64) -> Self {
        Self::start_altered(client, headers, pattern, from, |_, _| ())
    }

    /// Sends nothing of this kind from the beginning on, until [`Self::withhold`] says otherwise.
    pub fn start_without(client: Client, kind: Kind, headers: &[Tag], pattern: &Pattern) -> Self {
        let headers: Vec<_> = headers.iter().filter(|header| header.kind != kind).cloned().collect();
        Self::begin(client, &headers, pattern, 0, Some(kind), |_, _| ())
    }

    /// Likewise, with each message (and its number) altered before it is sent. When it is sent follows from what the pattern says.
    pub fn start_altered(
        client: Client,
        headers: &[Tag],
        pattern: &Pattern,
        from: u64,
        alter: impl FnMut(&mut Tag, u64) + Send + 'static,
    ) -> Self {
        Self::begin(client, headers, pattern, from, None, alter)
    }

    fn begin(
        client: Client,
        headers: &[Tag],
        pattern: &Pattern,
        from: u64,
        without: Option<Kind>,
        alter: impl FnMut(&mut Tag, u64) + Send + 'static,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU64::new(from));
        let (headers, pattern) = (headers.to_vec(), pattern.clone());
        let withheld =
            Arc::new([Kind::Audio, Kind::Video].map(|kind| AtomicBool::new(without == Some(kind))));
        let (ends, counts, withholds) = (Arc::clone(&over), Arc::clone(&next), Arc::clone(&withheld));
        let thread =
            std::thread::spawn(move || run(client, &headers, &pattern, &counts, &ends, &withholds, alter));
        Self { over, next, withheld, thread: Some(thread) }
    }

    /// Keeps messages of this kind back from now on, or no longer: they count as sent.
    pub fn withhold(&self, kind: Kind, withheld: bool) {
        self.withheld[usize::from(kind == Kind::Video)].store(withheld, Ordering::Relaxed);
    }

    /// The number of the message that it sends next.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops sending; the connection stays.
    pub fn pause(mut self) -> (Client, Ended) {
        self.over.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Likewise, and the number of the message that would have been next.
    pub fn pause_at(mut self) -> (Client, u64) {
        self.over.store(true, Ordering::Relaxed);
        let (client, _) = self.join();
        (client, self.next())
    }

    /// Waits until the server has closed it.
    pub fn closed(mut self) -> (Client, Ended) {
        self.join()
    }

    fn join(&mut self) -> (Client, Ended) {
        let thread = self.thread.take().expect("it is joined once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn run(
    mut client: Client,
    headers: &[Tag],
    pattern: &Pattern,
    next: &AtomicU64,
    over: &AtomicBool,
    withheld: &[AtomicBool; 2],
    mut alter: impl FnMut(&mut Tag, u64),
) -> (Client, Ended) {
    let mut ended = Ended::default();
    let first = next.load(Ordering::Relaxed);
    let start = Instant::now();
    ended.closed = headers.iter().any(|header| client.try_send_tag(header).is_err());
    while !ended.closed && !over.load(Ordering::Relaxed) {
        let number = next.load(Ordering::Relaxed);
        let passed_ms = pattern.timestamp(number).wrapping_sub(pattern.timestamp(first));
        let due = Duration::from_millis(passed_ms.into());
        if let Some(early) = due.checked_sub(start.elapsed()) {
            std::thread::sleep(early);
        }
        let mut tag = pattern.tag(number);
        alter(&mut tag, number);
        if !withheld[usize::from(tag.kind == Kind::Video)].load(Ordering::Relaxed) {
            ended.closed = client.try_send_tag(&tag).is_err();
        }
        next.store(number + 1, Ordering::Relaxed);
        while let Some(event) = client.next_event(Duration::from_millis(1)) {
            match event {
                Event::Status(status) => ended.status = Some(status),
                Event::Closed => {
                    ended.closed = true;
                    break;
                }
                _ => {}
            }
        }
    }
    // What the server said before it closed, if a write found out first.
    while ended.closed
        && let Some(event) = client.next_event(Duration::from_millis(100))
        && event != Event::Closed
    {
        if let Event::Status(status) = event {
            ended.status = Some(status);
        }
    }
    (client, ended)
}
