//! What faces outward (floor 5): who may publish and play, and where streams go and come from.
//!
//! It answers the engine's questions and hears its news ([`Outside`]). All of it runs on one thread of its own, an ordinary tokio runtime, and
//! never on a media core: what takes time (a back end, a name server, a connection, a TLS handshake) takes it there.
//! # Invariant
//! Nothing here is waited for by a stream that is live.

pub mod relay;

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use self::relay::Relay;
use self::relay::observe::Board;
use crate::runtime::{Handle, NameHasher, Outside};

/// What it is started with.
#[derive(Debug, Default)]
pub struct Settings {
    /// Where streams are forwarded to.
    pub relay: relay::Settings,
}

/// The outside as it runs. Dropping it ends its thread, and what goes on there.
pub struct Edge {
    relay: Arc<Relay>,
    /// What is to be done once there is an engine.
    work: Mutex<Option<relay::Work>>,
    runtime: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread. Logs call streams as `names` has them.
///
/// # Errors
/// When no thread or runtime can be made, or a file of certificates cannot be read any more.
pub fn start(settings: Settings, names: NameHasher) -> io::Result<Edge> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (relay, work) = Relay::new(settings.relay, names).map_err(io::Error::other)?;
    let (stop, stopped) = oneshot::channel::<Infallible>();
    let thread = std::thread::Builder::new().name("edge".into()).spawn(move || {
        // Ends with the sender.
        let _ = runtime.block_on(stopped);
        // A name server may keep one of its threads for long.
        runtime.shutdown_background();
    })?;
    let (relay, work) = (Arc::new(relay), Mutex::new(Some(work)));
    Ok(Edge { relay, work, runtime: handle, stop: Some(stop), thread: Some(thread) })
}

impl Edge {
    /// What the engine is given to ask and to tell.
    pub fn outside(&self) -> Outside {
        Outside { notify: Arc::clone(&self.relay) as _, ..Outside::default() }
    }

    /// What it forwards.
    pub fn forwards(&self) -> Arc<Board> {
        self.relay.board()
    }

    /// Tells it of the engine, which runs now. A second engine is ignored.
    pub fn attach(&self, engine: Handle) {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            self.runtime.spawn(self.relay.run(engine, work));
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been logged, and the end of the process is no place to say so again.
            let _ = thread.join();
        }
    }
}
