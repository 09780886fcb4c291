//! What faces outward (floor 5): who may publish and play, and where streams go and come from.
//!
//! It answers the engine's questions and hears its news ([`Outside`]). All of it runs on one thread of its own, an ordinary tokio runtime, and
//! never on a media core: what takes time (a back end, a name server, a connection, a TLS handshake) takes it there.
//! # Invariant
//! Nothing here is waited for by a stream that is live.

pub mod relay;

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::runtime::{Handle, Outside};

/// The outside as it runs. Dropping it ends its thread, and what goes on there.
pub struct Edge {
    engine: Arc<OnceLock<Handle>>,
    outside: Outside,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread.
///
/// # Errors
/// When no thread or runtime can be made.
pub fn start() -> io::Result<Edge> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<Infallible>();
    let thread = std::thread::Builder::new().name("edge".into()).spawn(move || {
        // Ends with the sender.
        let _ = runtime.block_on(stopped);
    })?;
    let engine = Arc::new(OnceLock::new());
    Ok(Edge { engine, outside: Outside::default(), stop: Some(stop), thread: Some(thread) })
}

impl Edge {
    /// What the engine is given to ask and to tell.
    pub fn outside(&self) -> Outside {
        self.outside.clone()
    }

    /// Tells it of the engine, which runs now. A second engine is ignored.
    pub fn attach(&self, engine: Handle) {
        let _ = self.engine.set(engine);
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
