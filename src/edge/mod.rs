//! What faces outward (floor 5): who may publish and play, and where streams go and come from.
//!
//! It answers the engine's questions and hears its news ([`Outside`]). All of it runs on one thread of its own, an ordinary tokio runtime, and
//! never on a media core: what takes time (a back end, a name server, a connection, a TLS handshake) takes it there.
//! # Invariant
//! Nothing here is waited for by a stream that is live.

pub mod auth;
pub mod http;
pub mod notices;
pub mod relay;
pub mod secret;

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use self::auth::Auth;
use self::auth::rules::Rules;
use self::notices::{Notices, Recipient};
use self::relay::observe::Board;
use self::relay::{Relay, Ways};
use crate::control::metrics::{Exhibitor, Family};
use crate::runtime::outside::{News, Notify};
use crate::runtime::{Handle, NameHasher, Outside};

/// What it is started with: checked, and read as far as authorisation names files.
#[derive(Debug)]
pub struct Settings {
    /// Who may publish and play.
    pub rules: Rules,
    /// Who is told of what happens.
    pub recipient: Option<Recipient>,
    /// Where streams are forwarded to and pulled from.
    pub relay: relay::Settings,
}

/// The outside as it runs. Dropping it ends its thread, and what goes on there.
pub struct Edge {
    engine: Arc<OnceLock<Handle>>,
    auth: Arc<Auth>,
    notices: Arc<Notices>,
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
    let engine = Arc::new(OnceLock::new());
    let (auth, reporter) = Auth::start(settings.rules, handle.clone(), Arc::clone(&engine));
    let auth = Arc::new(auth);
    let (notices, teller) = Notices::start(settings.recipient, &handle);
    let notices = Arc::new(notices);
    let (relay, work) = Relay::new(settings.relay, names).map_err(io::Error::other)?;
    let (stop, stopped) = oneshot::channel::<Infallible>();
    let thread = std::thread::Builder::new().name("edge".into()).spawn(move || {
        runtime.block_on(async {
            // Ends with the sender.
            let _ = stopped.await;
            tokio::join!(teller.finish(), reporter.finish());
        });
        // A name server may keep one of its threads for long.
        runtime.shutdown_background();
    })?;
    let (relay, work) = (Arc::new(relay), Mutex::new(Some(work)));
    Ok(Edge { engine, auth, notices, relay, work, runtime: handle, stop: Some(stop), thread: Some(thread) })
}

impl Edge {
    /// What the engine is given to ask and to tell.
    pub fn outside(&self) -> Outside {
        let hearers: Vec<Arc<dyn Notify>> =
            vec![Arc::clone(&self.relay) as _, Arc::clone(&self.auth) as _, Arc::clone(&self.notices) as _];
        Outside { admission: Arc::clone(&self.auth) as _, notify: Arc::new(Everybody(hearers)) }
    }

    /// Who may publish and play.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Tells somebody else of what happens from now on, or nobody.
    pub fn tell(&self, recipient: Option<Recipient>) {
        self.notices.replace(recipient);
    }

    /// Forwards and pulls by these from now on; see [`Relay::replace`].
    pub fn relay_by(&self, ways: Ways) -> oneshot::Receiver<()> {
        self.relay.replace(ways)
    }

    /// What it forwards.
    pub fn forwards(&self) -> Arc<Board> {
        self.relay.board()
    }

    /// Those of it who have something to show in `/metrics`.
    pub fn exhibitors(&self) -> Vec<Arc<dyn Exhibitor>> {
        vec![Arc::clone(&self.auth) as _, self.forwards(), self.relay.dials(), Arc::clone(&self.notices) as _]
    }

    /// What it pulls.
    pub fn pulls(&self) -> Arc<Board> {
        self.relay.pulls()
    }

    /// Tells it of the engine, which runs now. A second engine is ignored.
    pub fn attach(&self, engine: Handle) {
        let _ = self.engine.set(engine.clone());
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            self.runtime.spawn(self.relay.run(engine, work));
        }
    }
}

/// All who hear what happens.
struct Everybody(Vec<Arc<dyn Notify>>);

impl Notify for Everybody {
    fn notify(&self, news: News) {
        for hearer in &self.0 {
            hearer.notify(news.clone());
        }
    }

    fn hears_who_connects(&self) -> bool {
        self.0.iter().any(|hearer| hearer.hears_who_connects())
    }
}

impl Exhibitor for Auth {
    fn families(&self) -> Vec<Family> {
        Self::families(self)
    }
}

impl Exhibitor for Notices {
    fn families(&self) -> Vec<Family> {
        Self::families(self)
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
