//! The control HTTP's listener, thread and connections.
//!
//! Under a flood of RTMP connections the process can run out of file descriptors, and that is when somebody wants to look: so a
//! few are kept in a reserve and given up one by one when an accept fails for want of them.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::body::BODY_MAX;
use super::cores::Cores;
use super::dashboard::events::compose;
use super::far_ends::Forwards;
use super::metrics::Exhibitor;
use super::router::{Control, router};
use super::token::{Door, DoorError};
use super::{Settings, reload};
use crate::runtime::listener::patiently;

/// Connections at a time; further ones are closed at once.
pub const CONNECTIONS_MAX: usize = 128;

/// Longest request head, bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long a request's head may take, and how long a connection may stay without one.
pub const HEAD_MAX: Duration = Duration::from_secs(15);

/// How long an answer may lie unacknowledged before the connection is given up.
pub const UNREAD_MAX: Duration = Duration::from_secs(10);

/// How long a connection may live; after that the answer under way is its last, and has [`UNREAD_MAX`] to leave.
pub const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(300);

/// The three times above and [`BODY_MAX`], apart, so that a test need not wait for them.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub(super) head: Duration,
    pub(super) body: Duration,
    pub(super) unread: Duration,
    pub(super) life: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: HEAD_MAX, body: BODY_MAX, unread: UNREAD_MAX, life: CONNECTION_LIFE_MAX }
    }
}

/// File descriptors kept for when there are no others.
const RESERVE: usize = 16;

/// Pause after an accept that failed for want of descriptors or memory, the reserve included.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The control HTTP as it runs. Dropping it ends the thread.
pub struct Server<C> {
    address: SocketAddr,
    control: Arc<Control<C>>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// Why the control HTTP cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Somebody else listens there.
    #[error(
        "control HTTP: {address} is in use; see who has it with `ss -ltnp 'sport = :{port}'`, or choose another with --http",
        port = address.port()
    )]
    InUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("control HTTP: cannot listen on {address}: {error}; choose an address of this host with --http")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel says.
        error: io::Error,
    },
    /// The token cannot be had, or there is none where one must be.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// No thread or runtime could be made.
    #[error("control HTTP: cannot start its thread: {0}")]
    Thread(io::Error),
}

/// Binds the listener and starts the thread. Until [`Server::attach`] the answer to most questions is "starting".
pub fn start<C: Cores>(settings: &Settings) -> Result<Server<C>, StartError> {
    start_with(settings, Patience::default())
}

pub(super) fn start_with<C: Cores>(settings: &Settings, patience: Patience) -> Result<Server<C>, StartError> {
    let door = Door::new(settings)?;
    let address = settings.listen;
    let listener = patiently(|| bind(address)).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::InUse { address },
        _ => StartError::Listen { address, error },
    })?;
    let address = listener.local_addr().map_err(|error| StartError::Listen { address, error })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(StartError::Thread)?;
    let control =
        Arc::new(Control::<C>::new(address.ip().is_loopback(), door, settings.top_streams, patience.body));
    let (stop, stopped) = oneshot::channel();
    let shared = Arc::clone(&control);
    let thread = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || runtime.block_on(serve(listener, shared, patience, stopped)))
        .map_err(StartError::Thread)?;
    Ok(Server { address, control, stop: Some(stop), thread: Some(thread) })
}

/// The standard library sets `SO_REUSEADDR`, so that connections of a process just ended are in nobody's way.
fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl<C: Cores> Server<C> {
    /// Where it really listens: tells the port when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The door of these settings, with the token read, at the address that it really listens on.
    ///
    /// # Errors
    /// As [`Door::new`].
    pub fn door(&self, settings: &Settings) -> Result<Door, DoorError> {
        Door::new(&Settings { listen: self.address, ..settings.clone() })
    }

    /// Asks for the token of this door from now on. Says whether it is another one than before.
    pub fn change_door(&self, door: Door) -> bool {
        let mut current = self.control.door.write().unwrap_or_else(PoisonError::into_inner);
        let is_another = *current != door;
        *current = door;
        drop(current);
        if is_another {
            // Whoever listens has said the token of before.
            self.control.listeners.dismiss();
        }
        is_another
    }

    /// Shows series of so many single streams in `/metrics` from now on.
    pub fn change_top_streams(&self, count: usize) {
        self.control.top_streams.store(count, Ordering::Relaxed);
    }

    /// Tells it who reads the configuration again. A second one is ignored.
    pub fn attach_reloads(&self, reloads: mpsc::Sender<reload::Asked>) {
        let _ = self.control.reloads.set(reloads);
    }

    /// Lets somebody beside the engine show something in `/metrics`, from now on.
    pub fn exhibit(&self, exhibitor: Arc<dyn Exhibitor>) {
        self.control.exhibitors.lock().unwrap_or_else(PoisonError::into_inner).push(exhibitor);
    }

    /// Tells it who forwards streams. A second one is ignored.
    pub fn attach_forwards(&self, forwards: Arc<dyn Forwards>) {
        let _ = self.control.forwards.set(forwards);
    }

    /// Tells it who pulls streams. A second one is ignored.
    pub fn attach_pulls(&self, pulls: Arc<dyn Forwards>) {
        let _ = self.control.pulls.set(pulls);
    }

    /// Tells it of the engine, which runs now. A second engine is ignored.
    pub fn attach(&self, cores: C) {
        let _ = self.control.cores.set(cores);
    }
}

impl<C> Drop for Server<C> {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panics nowhere that we know of; and if it did, the end of the process is no place to say so again.
            let _ = thread.join();
        }
    }
}

async fn serve<C: Cores>(
    listener: std::net::TcpListener,
    control: Arc<Control<C>>,
    patience: Patience,
    mut stopped: oneshot::Receiver<Infallible>,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "control HTTP cannot use its listener"),
    };
    let router = router(&control);
    let mut reserve = Reserve::default();
    let mut composer = pin!(compose(&control));
    // Dropped with this function, and its connections with it.
    let mut connections = JoinSet::new();
    loop {
        reserve.refill();
        tokio::select! {
            _ = &mut stopped => return,
            never = &mut composer => match never {},
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if connections.len() < CONNECTIONS_MAX => {
                    debug!(%peer, "control connection");
                    connections.spawn(serve_connection(stream, router.clone(), patience));
                }
                Ok(_) => {
                    control.connections_refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if is_exhaustion(&error) => {
                    // With a descriptor given up the next accept succeeds, unless an RTMP listener was quicker.
                    if !reserve.give_up_one() {
                        sleep(ACCEPT_PAUSE).await;
                    } else if let Ok(Ok((stream, _))) = timeout(Duration::ZERO, listener.accept()).await {
                        connections.spawn(serve_connection(stream, router.clone(), patience));
                    }
                }
                Err(error) => debug!(%error, "control connection ended before it was accepted"),
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, patience: Patience) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(patience.unread));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = timeout(patience.life, connection.as_mut()).await;
    if ended.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(patience.unread, connection).await;
    }
}

/// No descriptor or no memory is left: that passes, and is nobody's fault who connects.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS))
}

/// Open files that stand for nothing but their descriptors.
#[derive(Default)]
struct Reserve(Vec<File>);

impl Reserve {
    fn refill(&mut self) {
        while self.0.len() < RESERVE {
            match File::open("/dev/null") {
                Ok(file) => self.0.push(file),
                Err(_) => return,
            }
        }
    }

    fn give_up_one(&mut self) -> bool {
        self.0.pop().is_some()
    }
}
