//! Starting the engine and waiting for its end: listeners, one pinned thread and one ring a core.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing::{debug, error};

use super::core::{Core, CoreRef};
use super::handle::Handle;
use super::listener::{BIND_RETRY_MAX, Listener, ListenerPlace};
use super::names::NameHasher;
use super::outside::Outside;
use super::recordings::Recordings;
use super::reloading::Listening;
use super::settings::{RuntimeSettings, TlsSettings};
use super::shared::{OpenCore, Shared};
use super::tls::certificates::{CertificateError, Certificates, Endpoint};
use super::tls::handshakes;
use super::traffic::Traffic;
use super::{accepting, affinity, fan_out, listener, op, polling, reloading, turn};
use crate::hub::CoreId;

/// Submission entries of a ring; what does not fit is submitted early.
const RING_ENTRIES: u32 = 1024;
/// Completion entries: an overflow loses nothing, but costs a system call.
const RING_COMPLETIONS: u32 = 8192;
/// Cores are bits of a `u128` in the directory.
const CORES_MAX: usize = 128;

/// How often a core that has nothing left looks whether the others are done.
const END_POLL: Duration = Duration::from_millis(1);

/// Why the engine did not start: always the host's or the settings' doing, told with the command that fixes it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}{}", listen_hint(.address, .source))]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The flight recorder's directory cannot be had.
    #[error("cannot write flight recordings to {}: {source}", .directory.display())]
    Recordings {
        /// The directory asked for.
        directory: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// RTMPS is to be served, and its certificates cannot be used.
    #[error("cannot serve RTMPS: {0}")]
    Certificate(#[from] CertificateError),
    /// RTMPS is to be served, and the machine has no random numbers.
    #[error("cannot serve RTMPS: {0}")]
    Tls(#[from] rustls::Error),
    /// A core's ring or thread cannot be made.
    #[error("core {core} cannot start: {source}; `inrush preflight` tells more")]
    Core {
        /// Which one.
        core: usize,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn listen_hint(address: &SocketAddr, source: &io::Error) -> String {
    let port = address.port();
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            format!("; another program listens there: `ss -ltnp 'sport = :{port}'` names it")
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "; ports below 1024 need a capability: `setcap cap_net_bind_service=+ep inrush`, or sysctl net.ipv4.ip_unprivileged_port_start={port}"
            )
        }
        io::ErrorKind::AddrNotAvailable => "; no interface has this address: `ip address` lists them".into(),
        _ => String::new(),
    }
}

/// A running engine.
pub struct Engine {
    handle: Handle,
    threads: Vec<JoinHandle<CoreReport>>,
}

/// What was left when the engine ended: all zero, or something leaked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Operations that the kernel had not completed.
    pub operations_in_flight: u64,
    /// Connections in slabs.
    pub connections: usize,
    /// Streams, subscribers and publishers in hubs.
    pub hub_entries: usize,
    /// Keys in the directory.
    pub directory_entries: usize,
    /// Panics caught while it ran.
    pub panics: u64,
    /// Cores whose thread ended by a panic.
    pub cores_lost: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct CoreReport {
    operations_in_flight: u64,
    connections: usize,
    hub_entries: usize,
    panics: u64,
}

/// Starts all cores; returns once every listener is bound and every ring is made.
///
/// # Errors
/// When an address cannot be bound or a ring cannot be made. Nothing runs then.
pub fn start(settings: RuntimeSettings, names: NameHasher, outside: Outside) -> Result<Engine, StartError> {
    let cpus = affinity::allowed();
    let cores = match settings.cores {
        0 => cpus.len(),
        wanted => wanted,
    }
    .clamp(1, CORES_MAX);
    let tls = endpoint(&settings.tls)?;
    let mut listeners: Listeners = (0..cores).map(|_| Vec::new()).collect();
    let mut listening = Vec::new();
    for place in reloading::places(&settings) {
        let bound = bind(
            place,
            reloading::traffic_of(&settings, place.serves),
            &mut listeners,
            BIND_RETRY_MAX,
            false,
        )?;
        listening.push(Listening { place, bound });
    }
    listen(&listeners)?;
    let recordings = Recordings::start(&settings.recorder, &settings.session.limits).map_err(|source| {
        let directory = settings.recorder.directory.clone().unwrap_or_default();
        StartError::Recordings { directory, source }
    })?;
    let shared = Arc::new(Shared::new(settings, tls, cores, names, outside, recordings));
    shared.set_listening(listening);
    let handle = Handle { shared: shared.clone() };
    let mut engine = Engine { handle, threads: Vec::new() };
    for (core, listeners) in listeners.into_iter().enumerate() {
        let (started, has_started) = mpsc::sync_channel(1);
        let shared = shared.clone();
        let cpu = cpus.get(core % cpus.len().max(1)).copied();
        let id = CoreId(u16::try_from(core).unwrap_or(u16::MAX));
        let thread = thread::Builder::new()
            .name(format!("core-{core}"))
            .spawn(move || run(id, cpu, shared, listeners, &started));
        let result = match thread {
            Ok(thread) => {
                engine.threads.push(thread);
                has_started.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended")))
            }
            Err(error) => Err(error),
        };
        if let Err(source) = result {
            engine.handle.stop_now();
            engine.join();
            return Err(StartError::Core { core, source });
        }
    }
    Ok(engine)
}

/// Of each core, its listeners.
pub(super) type Listeners = Vec<Vec<(OwnedFd, ListenerPlace)>>;

/// Lets clients connect to all of them.
pub(super) fn listen(listeners: &Listeners) -> Result<(), StartError> {
    for (socket, place) in listeners.iter().flatten() {
        listener::listen(socket).map_err(|source| StartError::Listen { address: place.address, source })?;
    }
    Ok(())
}

/// One listener a core, which nobody can connect to yet; gives the address really bound.
pub(super) fn bind(
    place: ListenerPlace,
    traffic: &Traffic,
    listeners: &mut Listeners,
    patience: Duration,
    joins: bool,
) -> Result<SocketAddr, StartError> {
    let address = place.address;
    let (sockets, bound) = listener::bind(address, listeners.len(), traffic, patience, joins)
        .map_err(|source| StartError::Listen { address, source })?;
    for (of_core, socket) in listeners.iter_mut().zip(sockets) {
        of_core.push((socket, place));
    }
    Ok(bound)
}

pub(super) fn endpoint(settings: &TlsSettings) -> Result<Option<Endpoint>, StartError> {
    if !settings.is_wanted() {
        return Ok(None);
    }
    Ok(Some(Endpoint::new(certificates(settings)?)?))
}

/// The certificates that the settings name, or one that nobody has signed.
pub(super) fn certificates(settings: &TlsSettings) -> Result<Certificates, CertificateError> {
    match settings.certificates.as_slice() {
        [] => Certificates::self_signed(),
        files => Certificates::read(files),
    }
}

impl Engine {
    /// The engine as other threads see it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The addresses that RTMP is really served on, in the order of the settings.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.handle.addresses()
    }

    /// Blocks until all cores have ended, and tells what they left.
    pub fn join(self) -> Report {
        let mut report = Report::default();
        for thread in self.threads {
            match thread.join() {
                Ok(core) => {
                    report.operations_in_flight += core.operations_in_flight;
                    report.connections += core.connections;
                    report.hub_entries += core.hub_entries;
                    report.panics += core.panics;
                }
                Err(_) => report.cores_lost += 1,
            }
        }
        report.directory_entries = self.handle.shared.directory.len();
        report
    }
}

/// One core's thread.
fn run(
    id: CoreId,
    cpu: Option<usize>,
    shared: Arc<Shared>,
    listeners: Vec<(OwnedFd, ListenerPlace)>,
    started: &mpsc::SyncSender<io::Result<()>>,
) -> CoreReport {
    if let Some(cpu) = cpu
        && let Err(error) = affinity::pin(cpu)
    {
        debug!(core = id.0, cpu, %error, "not pinned");
    }
    let mut ring = tokio_uring::uring_builder();
    ring.setup_cqsize(RING_COMPLETIONS).setup_coop_taskrun().setup_single_issuer();
    let mut builder = tokio_uring::builder();
    builder.entries(RING_ENTRIES).uring_builder(&ring);
    // The only receiver waits for this message, so sending cannot fail.
    let runtime = match tokio_uring::Runtime::new(&builder) {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error));
            return CoreReport::default();
        }
    };
    let report = runtime.block_on(async {
        let open = OpenCore::new(shared.clone());
        let core: CoreRef = Rc::new(RefCell::new(Core::new(id, shared)));
        let ended = core.borrow().ended.clone();
        tokio_uring::spawn(turn::inbox(core.clone()));
        tokio_uring::spawn(turn::outgoing(core.clone()));
        tokio_uring::spawn(turn::sweep(core.clone()));
        tokio_uring::spawn(polling::tick(core.clone()));
        tokio_uring::spawn(fan_out::write(core.clone()));
        tokio_uring::spawn(handshakes::by_turns(core.clone()));
        listeners.into_iter().map(Listener::new).for_each(|listener| accepting::start(&core, listener));
        {
            let mut core = core.borrow_mut();
            let now = core.now();
            core.publish_counts(now);
        }
        let _ = started.send(Ok(()));
        ended.raised().await;
        // Streams are shared between cores: what this one held of others' it gives back now, and it stays for what they give back.
        Core::caught(&core, None, Core::flush_outgoing);
        drop(open);
        while !core.borrow().has_ended() {
            tokio::time::sleep(END_POLL).await;
        }
        let mut core = core.borrow_mut();
        let now = core.now();
        core.publish_counts(now);
        CoreReport {
            operations_in_flight: op::in_flight(),
            connections: core.connections.len(),
            hub_entries: core.hub.entries(),
            panics: core.counts.panics,
        }
    });
    drop(runtime);
    if report.operations_in_flight > 0 {
        error!(core = id.0, operations = report.operations_in_flight, "operations in flight at the end");
    }
    report
}
