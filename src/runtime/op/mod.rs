//! The media path's own io_uring operations, one kernel operation a file.
//!
//! In flight means owned: every operation takes the socket (`Rc<OwnedFd>`) and its buffers by value and keeps both until its
//! completion. Dropping the future does not stop the kernel, so the driver then keeps what the operation owns until the kernel is
//! done. The descriptor must be owned too: its *number* is resolved only when the submission leaves, and a number that was closed
//! and given out again would read another connection's bytes. Nothing outside this folder may build a submission entry.
//! `timeout` is for the ticks: tokio's timers are too coarse for them.
//! # Invariant
//! [`in_flight`] counts the operations of this thread whose buffers the kernel may still touch; it is zero when a core ends.

pub(crate) mod accept;
pub(crate) mod recv;
pub(crate) mod send;
pub(crate) mod timeout;

pub(crate) use accept::accept;
pub(crate) use recv::{Received, Receiving, Socket, recv, recv_now};
pub(crate) use send::{SendBatch, Sending, send};
pub(crate) use timeout::sleep;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use io_uring::cqueue;

thread_local! {
    static IN_FLIGHT: Cell<u64> = const { Cell::new(0) };
}

/// Operations of this thread that the kernel has not completed.
pub(crate) fn in_flight() -> u64 {
    IN_FLIGHT.get()
}

/// Counts one operation for as long as what it owns is alive.
struct InFlight;

impl InFlight {
    fn new() -> Self {
        IN_FLIGHT.set(IN_FLIGHT.get() + 1);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        IN_FLIGHT.set(IN_FLIGHT.get() - 1);
    }
}

/// What came of an operation, if the kernel is through with it; nobody is woken for it later.
fn outcome<T>(operation: impl Future<Output = T> + Unpin) -> Option<T> {
    let mut operation = operation;
    match Pin::new(&mut operation).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// A completion's result: a count, or an error number negated.
fn result(entry: &cqueue::Entry) -> io::Result<usize> {
    let result = entry.result();
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

#[cfg(test)]
pub(crate) mod counting;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::rc::Rc;
    use std::time::Duration;

    use bytes::{Bytes, BytesMut};

    use super::*;

    fn pair() -> (TcpStream, Rc<OwnedFd>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        (far, Rc::new(near.into()))
    }

    /// Lets completions come in until the condition holds.
    async fn until(condition: impl Fn() -> bool) {
        for _ in 0..2000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("condition never came true");
    }

    /// A receive appends to what the buffer holds, and 0 is the end of the stream.
    #[test]
    fn a_receive_appends() {
        tokio_uring::start(async {
            let (mut far, near) = pair();
            let mut buffer = BytesMut::with_capacity(64);
            buffer.extend_from_slice(b"held ");
            far.write_all(b"more").unwrap();
            let Received { result, buffer, .. } = recv(near.clone().into(), buffer).await;
            assert_eq!(result.unwrap(), 4);
            assert_eq!(&buffer[..], b"held more");
            drop(far);
            let Received { result, .. } = recv(near.into(), buffer).await;
            assert_eq!(result.unwrap(), 0);
            assert_eq!(in_flight(), 0);
        });
    }

    /// The kernel finishes a batch that does not fit the socket's buffer at once.
    #[test]
    fn a_send_is_finished_by_the_kernel() {
        tokio_uring::start(async {
            let (mut far, near) = pair();
            let mut batch = SendBatch::new();
            let large = Bytes::from(vec![7; 8 << 20]);
            batch.push_bytes(large.clone());
            batch.push_bytes(Bytes::from_static(b"end"));
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                far.read_to_end(&mut all).unwrap();
                all
            });
            let expected = batch.bytes();
            let (result, mut batch) = send(near.clone(), batch).await;
            assert_eq!(result.unwrap(), expected);
            batch.clear();
            assert!(batch.is_empty() && batch.bytes() == 0);
            crate::runtime::socket::shut_write(&near);
            let all = reader.join().unwrap();
            assert_eq!(all.len(), expected);
            assert!(all.ends_with(b"end"));
        });
    }

    /// A send of frames costs no allocation once its arrays are there: a subscriber costs one reference a frame.
    #[test]
    fn a_send_of_frames_allocates_nothing() {
        use super::counting::allocations_so_far;
        use crate::media::{Form, Frame, FrameInfo, FrameRole, MediaKind, TrackId};
        use crate::session::Instant;

        tokio_uring::start(async {
            let (mut far, near) = pair();
            let info = FrameInfo {
                kind: MediaKind::Video,
                role: FrameRole::Inter,
                track: TrackId::DEFAULT,
                timestamp: 40,
                arrived: Instant::default(),
                starts_gop: false,
            };
            let body = [vec![7; 900], vec![8; 90]].into_iter().map(Bytes::from).collect();
            let frame = Rc::new(std::sync::Arc::new(Frame::new(info, body, 990)));
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                far.read_to_end(&mut all).unwrap();
                all.len()
            });
            let (warm_up, sends) = (20, 500);
            let mut batch = SendBatch::new();
            let mut before = 0;
            let mut written = 0;
            for nth in 0..warm_up + sends {
                if nth == warm_up {
                    before = allocations_so_far();
                }
                // A picture and a sound of one turn, say.
                batch.push_frame(frame.clone(), Form::Full, 1);
                batch.push_frame(frame.clone(), Form::Full, 1);
                let (result, sent) = send(near.clone(), batch).await;
                written += result.unwrap();
                batch = sent;
                batch.clear();
            }
            assert_eq!(allocations_so_far() - before, 0, "allocations of {sends} sends");
            crate::runtime::socket::shut_write(&near);
            assert_eq!(reader.join().unwrap(), written);
            assert_eq!(Rc::strong_count(&frame), 1);
        });
    }

    /// Shutting a socket both ways ends a receive that waits and a write that is stalled.
    #[test]
    fn a_shutdown_brings_everything_back() {
        tokio_uring::start(async {
            let (_far, near) = pair();
            let read = tokio_uring::spawn(recv(near.clone().into(), BytesMut::with_capacity(64)));
            let mut batch = SendBatch::new();
            batch.push_bytes(Bytes::from(vec![7; 32 << 20]));
            let write = tokio_uring::spawn(send(near.clone(), batch));
            until(|| in_flight() == 2).await;
            crate::runtime::socket::shut_both(&near);
            assert_eq!(read.await.unwrap().result.unwrap(), 0);
            let (result, batch) = write.await.unwrap();
            assert!(result.is_err() || result.unwrap() < batch.bytes());
            assert_eq!(in_flight(), 0);
        });
    }

    /// In flight means owned: a receive whose future is dropped keeps its descriptor and its buffer until the kernel is done.
    #[test]
    fn a_dropped_future_keeps_what_the_kernel_uses() {
        tokio_uring::start(async {
            let (mut far, near) = pair();
            let watched = Rc::downgrade(&near);
            {
                let mut receive = Box::pin(recv(near.into(), BytesMut::with_capacity(64)));
                // Polled once, so that it is submitted, and then dropped.
                let pending = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(receive.as_mut().poll(context).is_pending())
                });
                assert!(pending.await);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(in_flight(), 1, "the kernel still may write");
            assert!(watched.upgrade().is_some(), "the descriptor is still open");
            far.write_all(b"late").unwrap();
            until(|| in_flight() == 0).await;
            assert!(watched.upgrade().is_none(), "the completion let go of the descriptor");
        });
    }

    /// An accept that waits comes back when its listener is shut.
    #[test]
    fn a_shut_listener_ends_its_accepts() {
        tokio_uring::start(async {
            let (mut listeners, address) = crate::runtime::listener::bind(
                "127.0.0.1:0".parse().unwrap(),
                1,
                &Default::default(),
                Duration::ZERO,
                false,
            )
            .unwrap();
            listeners.iter().for_each(|listener| crate::runtime::listener::listen(listener).unwrap());
            let listener = Rc::new(listeners.remove(0));
            let first = tokio_uring::spawn(accept(listener.clone()));
            let far = TcpStream::connect(address).unwrap();
            let (_socket, peer) = first.await.unwrap().unwrap();
            assert_eq!(peer, far.local_addr().unwrap());
            let second = tokio_uring::spawn(accept(listener.clone()));
            until(|| in_flight() == 1).await;
            crate::runtime::listener::shut(&listener);
            assert!(second.await.unwrap().is_err());
            assert_eq!(in_flight(), 0);
        });
    }

    /// A write that is queued beside twenty tasks that always have work leaves before any of them has had two budgets, because each
    /// waits for an empty operation after its budget: only a parked thread submits.
    #[test]
    fn a_write_leaves_within_two_budgets() {
        tokio_uring::start(async {
            let (far, near) = pair();
            far.set_nonblocking(true).unwrap();
            let arrived = Rc::new(std::cell::Cell::new(None));
            let budgets = Rc::new(std::cell::Cell::new(0_u32));
            let mut tasks = Vec::new();
            for _ in 0..20 {
                let (arrived, budgets) = (arrived.clone(), budgets.clone());
                let mut far = far.try_clone().unwrap();
                tasks.push(tokio_uring::spawn(async move {
                    for nth in 1.. {
                        // One budget's work; then look whether the write has arrived.
                        budgets.set(budgets.get() + 1);
                        if arrived.get().is_none() && far.read(&mut [0; 16]).is_ok() {
                            arrived.set(Some(nth));
                        }
                        if arrived.get().is_some() || nth > 100 {
                            break;
                        }
                        let _ = tokio_uring::no_op().await;
                    }
                }));
            }
            let mut batch = SendBatch::new();
            batch.push_bytes(Bytes::from_static(b"now"));
            let write = tokio_uring::spawn(send(near, batch));
            for task in tasks {
                task.await.unwrap();
            }
            write.await.unwrap().0.unwrap();
            let nth = arrived.get().expect("the write arrived");
            assert!(nth <= 3, "seen at the start of budget {nth}: it left after more than two");
        });
    }
}
