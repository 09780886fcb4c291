//! What can be known before any load starts: whether the command line makes sense here and now.
//!
//! # Errors
//! [`BadInput`], one line each.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use inrush::session::{ClientUrl, ClientUrlError};
use ipnet::IpNet;

use crate::cli::Load;
use crate::enhanced::Enhanced;
use crate::hostile::party::Party;
use crate::hostile::source::Sources;
use crate::media::Media;
use crate::media::codec::Video;
use crate::media::flv::{self, FlvError};
use crate::media::layout::Multitrack;
use crate::media::synthetic::{self, Pattern, Shape};
use crate::report::MediaSetting;
use crate::tls::{self, Secured};

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
    /// An option of TLS without TLS.
    #[error("{0} is of RTMPS, and --url does not begin with rtmps://")]
    Plain(&'static str),
    /// Certificates to trust cannot be had.
    #[error("--tls-ca {0}: {1}")]
    Ca(String, String),
    /// Nothing that a certificate could be of.
    #[error("{option}: \"{name}\" is no name of a host and no address")]
    ServerName {
        /// Where it stands.
        option: &'static str,
        /// What stands there.
        name: String,
    },
    /// A codec that several tracks cannot be of.
    #[error("--codec legacy-hevc: codec id 12 has no place in a multitrack header; hevc has")]
    LegacyTracks,
    /// Hostile peers of TLS without TLS.
    #[error("{0} wants a TLS port: an rtmps:// URL, or --hostile-tls ADDRESS:PORT")]
    HostileTls(&'static str),
    /// An option of hostile peers without any.
    #[error("{0} is of nobody: there is no --hostile and no --tls-flood")]
    NoHostile(&'static str),
    /// The same kind of hostile peers more than once.
    #[error("--hostile: {0} stands there twice")]
    HostileTwice(&'static str),
    /// An address that hostile peers cannot come from.
    #[error("--hostile-source {0}: {1}")]
    HostileSource(IpNet, io::Error),
    /// Forwards of streams that are not published here.
    #[error("--listen is of streams that are published here: there are none with play")]
    NothingForwarded,
    /// Nobody can listen there.
    #[error("--listen {0}: {1}")]
    Listen(SocketAddr, io::Error),
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

/// What is published.
pub struct Published {
    /// In each form that there is.
    pub media: Vec<Media>,
    /// For each stream, which of them.
    pub media_of: Vec<usize>,
    /// What peers say of it.
    pub enhanced: Enhanced,
    /// How the report describes it.
    pub setting: MediaSetting,
}

/// What so many streams publish.
pub fn media(load: &Load, streams: u32) -> Result<Published, BadInput> {
    let gop_frames = load.gop.unwrap_or(load.fps * 2);
    let multitrack = load.multitrack.or(load.tracks.are_many().then_some(Multitrack::One));
    let setting = MediaSetting {
        source: "synthetic".to_owned(),
        bitrate_bps: load.bitrate,
        fps: f64::from(load.fps),
        gop_s: f64::from(gop_frames) / f64::from(load.fps),
        seed: load.seed,
        video: load.codec.to_string(),
        audio: load.audio.to_string(),
        tracks: load.tracks.to_string(),
        multitrack: multitrack.map(|multitrack| multitrack.name().to_owned()),
    };
    match &load.flv {
        None => {
            let pattern = Pattern { bitrate_bps: load.bitrate, fps: load.fps, gop_frames, seed: load.seed };
            let (shapes, media_of) = shapes(load, multitrack, streams)?;
            let media = shapes.iter().map(|shape| synthetic::shaped(&pattern, shape)).collect();
            Ok(Published { media, media_of, enhanced: Enhanced::of(&shapes), setting })
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
                ..MediaSetting::default()
            };
            let (media, media_of) = (vec![media], vec![0; streams as usize]);
            Ok(Published { media, media_of, enhanced: Enhanced::default(), setting })
        }
    }
}

/// The shapes that streams come in, and for each stream which of them.
fn shapes(
    load: &Load,
    multitrack: Option<Multitrack>,
    streams: u32,
) -> Result<(Vec<Shape>, Vec<usize>), BadInput> {
    let (videos, audios) = (load.codec.choices(), load.audio.choices());
    if multitrack.is_some() && videos.contains(&Video::LegacyHevc) {
        return Err(BadInput::LegacyTracks);
    }
    // Each track of the next codec where a message can say so, else all of one.
    let step = usize::from(multitrack == Some(Multitrack::ManyCodecs));
    let dealt = load.codec.deal(streams, load.seed).into_iter().zip(load.audio.deal(streams, !load.seed));
    let mut shapes = Vec::new();
    let media_of = dealt.map(|(video, audio)| {
        let video =
            (0..usize::from(load.tracks.video)).map(|track| videos[(video + track * step) % videos.len()]);
        let audio =
            (0..usize::from(load.tracks.audio)).map(|track| audios[(audio + track * step) % audios.len()]);
        let shape = Shape { video: video.collect(), audio: audio.collect(), multitrack };
        shapes.iter().position(|known| *known == shape).unwrap_or_else(|| {
            shapes.push(shape);
            shapes.len() - 1
        })
    });
    let media_of = media_of.collect();
    Ok((shapes, media_of))
}

/// Whether what is said of hostile peers makes sense, seen without a network.
pub fn check_hostile(load: &Load, url: &ClientUrl) -> Result<(), BadInput> {
    let is_none = load.hostile.is_empty() && load.tls_flood.is_none();
    if is_none && !load.hostile_source.is_empty() {
        return Err(BadInput::NoHostile("--hostile-source"));
    }
    if is_none && load.hostile_tls.is_some() {
        return Err(BadInput::NoHostile("--hostile-tls"));
    }
    for (at, troop) in load.hostile.iter().enumerate() {
        if load.hostile[..at].iter().any(|before| before.kind == troop.kind) {
            return Err(BadInput::HostileTwice(troop.kind.name()));
        }
    }
    if !url.tls && load.hostile_tls.is_none() {
        if load.tls_flood.is_some() {
            return Err(BadInput::HostileTls("--tls-flood"));
        }
        if load.hostile.iter().any(|troop| troop.kind.is_of_tls()) {
            return Err(BadInput::HostileTls("--hostile tls-hello"));
        }
    }
    Ok(())
}

/// Who comes beside the load, from `from_us` on; `secured` is how the load is.
pub fn party(
    load: &Load,
    address: SocketAddr,
    secured: Option<&Secured>,
    from_us: u64,
) -> Result<Party, BadInput> {
    let sources = Sources::new(&load.hostile_source);
    for (number, prefix) in (0..).zip(&load.hostile_source) {
        let wrong = |error| BadInput::HostileSource(*prefix, error);
        let goes_to = load.hostile_tls.map_or(address, |tls| tls);
        for to in [address, goes_to] {
            if prefix.addr().is_ipv4() != to.is_ipv4() {
                return Err(wrong(io::Error::other(format!("cannot reach {to} from there"))));
            }
        }
        let first = sources.address(number).unwrap_or(prefix.addr());
        TcpListener::bind((first, 0)).map_err(wrong)?;
    }
    // Careless ones go by the load's name; elsewhere, by the address.
    let careless = secured.map(|secured| tls::careless(secured.name.clone()));
    let tls = match load.hostile_tls {
        Some(address) => Some((address, tls::careless(tls::name_of(address)))),
        None => careless.clone().map(|secured| (address, secured)),
    };
    Ok(Party {
        troops: load.hostile.clone(),
        sources,
        secured: careless,
        tls,
        tls_flood: load.tls_flood,
        pause: load.hostile_pause,
        from_us,
        ramp: load.ramp,
        cpus: load.cpus.as_ref().map(|cpus| cpus.0.clone()).unwrap_or_default(),
    })
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

/// Ties the calling thread to CPUs.
pub fn pin(cpus: &[u32]) -> io::Result<()> {
    // SAFETY: a CPU set is plain bits, all zero is the empty one; `cli` bounds each CPU below its 1,024; the set outlives the call.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for cpu in cpus {
            libc::CPU_SET(*cpu as usize, &mut set);
        }
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
