//! `GET /api/v1/events`: a snapshot of the node a second, as server-sent events (`text/event-stream`).
//!
//! Each event is one line `data:` with a whole snapshot as JSON (its shape is in [`super::snapshot`]); nothing has to be remembered from one
//! to the next, so whoever comes again begins anew. One snapshot is composed for all listeners together, and none while nobody listens.
//!
//! The stream ends with the process, when the token changes, and with its connection's life
//! ([`CONNECTION_LIFE_MAX`](crate::control::server::CONNECTION_LIFE_MAX)): so also one whom the network has lost, or whose tab was
//! forgotten, keeps its place for a bounded time alone. Listeners come again by themselves, as an `EventSource` does.
//!
//! # Bounds
//! [`LISTENERS_MAX`] listeners; each may be [`BEHIND_MAX`] snapshots behind and is dropped then; a snapshot has
//! [`SNAPSHOT_BYTES_MAX`](super::snapshot::SNAPSHOT_BYTES_MAX) at most, and its listeners share it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::snapshot;
use crate::control::cores::Cores;
use crate::control::refusal::Refusal;
use crate::control::router::Control;

/// From one snapshot to the next.
pub const PERIOD: Duration = Duration::from_secs(1);

/// Listeners at a time.
pub const LISTENERS_MAX: usize = 16;

/// Snapshots that a listener may be behind.
pub const BEHIND_MAX: usize = 4;

pub(in crate::control) async fn events<C: Cores>(
    State(control): State<Arc<Control<C>>>,
) -> Result<Response, Refusal> {
    let snapshots = control.listeners.join().ok_or(Refusal::TooManyListeners)?;
    let head = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((head, Body::new(snapshots)).into_response())
}

/// Composes for whoever listens, for as long as it is polled.
pub(in crate::control) async fn compose<C: Cores>(control: &Control<C>) -> Infallible {
    loop {
        control.listeners.somebody().await;
        let next = Instant::now() + PERIOD;
        // With too many questions on the way there is none this time.
        if let Some(json) = snapshot::compose(control).await {
            control.listeners.tell(&event(&json));
        }
        sleep_until(next).await;
    }
}

/// JSON has no line feed outside its strings, where it is written `\n`; so it is one line.
fn event(json: &str) -> Bytes {
    ["data: ", json, "\n\n"].concat().into()
}

/// Everybody who listens.
#[derive(Debug, Default)]
pub(in crate::control) struct Listeners {
    all: Mutex<Vec<mpsc::Sender<Bytes>>>,
    came: Notify,
    dropped: AtomicU64,
}

impl Listeners {
    /// One more; `None` when there are too many.
    fn join(&self) -> Option<Snapshots> {
        let mut all = self.lock();
        all.retain(|listener| !listener.is_closed());
        if all.len() >= LISTENERS_MAX {
            return None;
        }
        let (sender, snapshots) = mpsc::channel(BEHIND_MAX);
        all.push(sender);
        self.came.notify_one();
        Some(Snapshots(snapshots))
    }

    /// Waits until there is one.
    async fn somebody(&self) {
        while self.count() == 0 {
            self.came.notified().await;
        }
    }

    fn tell(&self, event: &Bytes) {
        self.lock().retain(|listener| match listener.try_send(event.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                false
            }
        });
    }

    /// Ends what all of them hear.
    pub(in crate::control) fn dismiss(&self) {
        self.lock().clear();
    }

    /// How many there are now.
    pub(in crate::control) fn count(&self) -> usize {
        self.lock().iter().filter(|listener| !listener.is_closed()).count()
    }

    /// How many were dropped for being behind.
    pub(in crate::control) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<mpsc::Sender<Bytes>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one listener hears: the body of the answer.
struct Snapshots(mpsc::Receiver<Bytes>);

impl HttpBody for Snapshots {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_behind_is_dropped_and_nobody_else() {
        let listeners = Listeners::default();
        let (mut quick, mut slow) = (listeners.join().expect("a place"), listeners.join().expect("a place"));
        let heard = |of: &mut Snapshots| std::iter::from_fn(|| of.0.try_recv().ok()).count();
        for round in 0..=BEHIND_MAX {
            assert_eq!((listeners.count(), listeners.dropped()), (2, 0), "round {round}");
            listeners.tell(&event("{}"));
            assert_eq!(heard(&mut quick), 1);
        }
        assert_eq!((listeners.count(), listeners.dropped()), (1, 1));
        assert_eq!(heard(&mut slow), BEHIND_MAX, "what it was promised before");
        assert_eq!(slow.0.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        assert_eq!(quick.0.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    }

    #[test]
    fn places_are_bounded_and_become_free() {
        let listeners = Listeners::default();
        let mut all: Vec<_> = (0..LISTENERS_MAX).map(|_| listeners.join().expect("a place")).collect();
        assert!(listeners.join().is_none());
        all.pop();
        assert_eq!(listeners.count(), LISTENERS_MAX - 1);
        all.push(listeners.join().expect("a place again"));
        listeners.dismiss();
        assert_eq!(listeners.count(), 0);
        let ended = |of: &mut Snapshots| of.0.try_recv() == Err(mpsc::error::TryRecvError::Disconnected);
        assert!(all.iter_mut().all(ended));
    }
}
