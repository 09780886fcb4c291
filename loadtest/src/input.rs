//! What can be known before any load starts: whether the command line makes sense here and now.
//!
//! # Errors
//! [`BadInput`], one line each.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use inrush::session::{ClientUrl, ClientUrlError};

use crate::cli::Load;
use crate::media::flv::{self, FlvError};
use crate::media::synthetic::{self, Pattern};
use crate::report::MediaSetting;

/// How long a TCP connection may take that shows whether there is a server at all.
const PROBE: Duration = Duration::from_secs(5);
/// Descriptors of this process beside its connections.
const OTHER_FDS: u64 = 64;

/// Why no load was started.
#[derive(Debug, thiserror::Error)]
pub enum BadInput {
    /// The URL is not RTMP.
    #[error("--url: {0}")]
    Url(#[from] ClientUrlError),
    /// We have no TLS.
    #[error("--url: rtmps is not supported")]
    Tls,
    /// Many streams of one name.
    #[error("--url: {0} streams need {{i}} in the name, as in rtmp://host/app/name{{i}}")]
    Pattern(u32),
    /// The file is no media.
    #[error("--flv {0}: {1}")]
    Flv(String, FlvError),
    /// There is no such host.
    #[error("{host} has no address: {error}")]
    Resolve {
        /// As in the URL.
        host: String,
        /// What the resolver says.
        error: io::Error,
    },
    /// Nobody answers.
    #[error("no server at {0}: {1}")]
    Connect(SocketAddr, io::Error),
    /// Somebody answers and lets nobody in: what a load is to be of does not exist.
    #[error("the server let in none of {wanted}: {what}")]
    Refused {
        /// Connections.
        wanted: String,
        /// Where in a connection's life, and what.
        what: String,
    },
    /// The process is gone.
    #[error("--server-pid: there is no process {0}")]
    Pid(u32),
    /// Shares that nobody can play.
    #[error("--persona: {0}")]
    Persona(#[from] crate::persona::cast::BadCast),
    /// Too few descriptors.
    #[error("{wanted} connections need {needed} open files and the limit is {limit}: ulimit -n {needed}")]
    Files {
        /// Connections.
        wanted: u64,
        /// Descriptors.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// Too few ports.
    #[error(
        "{wanted} connections to one address need as many ports, and there are {ports}: give more --source addresses"
    )]
    Ports {
        /// Connections.
        wanted: u64,
        /// Ports of all source addresses.
        ports: u64,
    },
    /// Another family than the server's, or none of this machine's addresses.
    #[error("--source {0}: {1}")]
    Source(IpAddr, io::Error),
    /// A CPU cannot be used.
    #[error("--cpus: {0}: {1}")]
    Cpu(u32, io::Error),
    /// The machine is out of something.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What is published, and how the report describes it.
pub fn media(load: &Load) -> Result<(crate::media::Media, MediaSetting), BadInput> {
    let gop_frames = load.gop.unwrap_or(load.fps * 2);
    let setting = MediaSetting {
        source: "synthetic".to_owned(),
        bitrate_bps: load.bitrate,
        fps: f64::from(load.fps),
        gop_s: f64::from(gop_frames) / f64::from(load.fps),
        seed: load.seed,
    };
    match &load.flv {
        None => {
            let pattern = Pattern { bitrate_bps: load.bitrate, fps: load.fps, gop_frames, seed: load.seed };
            Ok((synthetic::media(&pattern), setting))
        }
        Some(file) => {
            let name = file.display().to_string();
            let media = flv::media(file).map_err(|error| BadInput::Flv(name.clone(), error))?;
            let period_s = f64::from(media.period_ms) / 1e3;
            let setting = MediaSetting {
                source: name,
                bitrate_bps: media.bits_per_second(),
                fps: media.video_messages() as f64 / period_s,
                gop_s: period_s / media.key_frames().max(1) as f64,
                seed: 0,
            };
            Ok((media, setting))
        }
    }
}

/// Where the server is, shown by a connection to it.
pub fn resolve(url: &ClientUrl, sources: &[IpAddr]) -> Result<SocketAddr, BadInput> {
    for source in sources {
        TcpListener::bind((*source, 0)).map_err(|error| BadInput::Source(*source, error))?;
    }
    let unresolved = |error| BadInput::Resolve { host: url.host.clone(), error };
    let addresses = (url.host.as_str(), url.port).to_socket_addrs().map_err(unresolved)?;
    let mut failed = None;
    for address in addresses {
        if let Some(source) = sources.iter().find(|source| source.is_ipv4() != address.is_ipv4()) {
            let family = io::Error::other(format!("cannot reach {address} from there"));
            failed = failed.or(Some(BadInput::Source(*source, family)));
            continue;
        }
        match std::net::TcpStream::connect_timeout(&address, PROBE) {
            Ok(_) => return Ok(address),
            Err(error) => failed = failed.or(Some(BadInput::Connect(address, error))),
        }
    }
    Err(failed.unwrap_or_else(|| unresolved(io::ErrorKind::NotFound.into())))
}

/// Ports that the kernel gives out to connections, for each address they come from.
pub fn ports_per_source() -> u64 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_ascii_whitespace().map_while(|end| end.parse::<u64>().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) if first <= last => last - first + 1,
        _ => 28_232, // the kernel's default
    }
}

/// Raises the limit of open files to what so many connections need.
pub fn raise_file_limit(connections: u64) -> Result<(), BadInput> {
    let needed = connections + OTHER_FDS;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the length of the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    if limit.rlim_cur >= needed {
        return Ok(());
    }
    if limit.rlim_max < needed {
        return Err(BadInput::Files { wanted: connections, needed, limit: limit.rlim_max });
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

/// Ties the calling thread to a CPU.
pub fn pin(cpu: u32) -> io::Result<()> {
    // SAFETY: a CPU set is plain bits, all zero is the empty one; `cli` bounds `cpu` below its 1,024; the set outlives the call.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu as usize, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
