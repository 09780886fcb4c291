//! What the runtime needs to be told: plain data with defaults; `config.rs` fills it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::recordings::RecorderSettings;
use super::tls::certificates::CertificateFiles;
use super::traffic::Traffic;
use crate::session::{ReconnectUrl, ServerSettings};

/// What a connection takes that neither publishes nor plays, beside what its peer makes it hold, bytes: its entry and session, its two tasks,
/// and the buffer that its receive is armed with. Measured: 6 to 8 kB (`tests/admission.rs` holds it).
pub const PENDING_CONNECTION_BYTES: usize = 8 * 1024;

/// Settings of all cores.
#[derive(Clone, Debug)]
pub struct RuntimeSettings {
    /// Addresses that RTMP is served on; `[::]` serves both families.
    pub listen: Vec<SocketAddr>,
    /// What its connections have.
    pub traffic: Traffic,
    /// RTMPS: where, with which certificates, and what its handshakes may take.
    pub tls: TlsSettings,
    /// Cores, each with a pinned thread; 0 means all that the process may run on.
    pub cores: usize,
    /// Where streams live.
    pub placement: Placement,
    /// What every server session is told.
    pub session: ServerSettings,
    /// Settings by app; the last one, named `*`, serves every app without a block of its own.
    pub apps: Vec<App>,
    /// How long a message may wait for a busy core's next look at its publisher; zero means that cores never poll.
    pub latency_budget: Duration,
    /// How long a drain waits for publishers before it closes them.
    pub drain_deadline: Duration,
    /// Where a drain sends the clients that understand to be sent; without it they are asked to come back to the URL that they have.
    pub reconnect_url: Option<ReconnectUrl>,
    /// Backlog that the kernel may hold unsent for a subscriber, bytes (`TCP_NOTSENT_LOWAT`).
    pub subscriber_unsent_bytes_max: u32,
    /// Bytes that one core's inbox holds for one other core before its feeds pause until their next key frame.
    pub inbox_bytes_max: usize,
    /// Unfinished messages and held bytes, all sessions of a core together. Not in it is what a session may keep beside: a read buffer
    /// (80 KiB at most, and 18 KiB of a TLS record that is not whole), two blocks that short pieces are copied to (64 KiB) and a list
    /// (4 KiB), 166 KiB times `core_connections_max`; a usual publisher keeps a sixth of that.
    pub core_reassembly_bytes_max: usize,
    /// Connections of a core.
    pub core_connections_max: usize,
    /// What sessions of a core that neither publish nor play may hold together, bytes: unparsed and unfinished input, handshakes, answers
    /// not yet written, and [`PENDING_CONNECTION_BYTES`] each. Beyond it the greediest of them go, never one that publishes or
    /// plays. The default of 64 MiB is some 6,000 connections in their handshake.
    pub pre_publish_bytes_max: usize,
    /// Bounds of one address: an IPv4 /32 or an IPv6 /64.
    pub address: PrefixLimits,
    /// Bounds of one network: an IPv4 /24 or an IPv6 /48.
    pub network: PrefixLimits,
    /// How long a write may wait for a peer that does not read, unless it plays: players have their app's stall limit.
    pub write_deadline: Duration,
    /// Balancers, whose connections begin with a PROXY header that says where they really come from.
    pub proxies: Vec<IpNet>,
    /// Networks that are not counted: the operator's own.
    pub trusted: Vec<IpNet>,
    /// The flight recorder. How much it keeps is told to the sessions when the engine starts.
    pub recorder: RecorderSettings,
}

impl Default for RuntimeSettings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 1935))],
            traffic: Traffic::default(),
            tls: TlsSettings::default(),
            cores: 0,
            placement: Placement::default(),
            session: ServerSettings::default(),
            apps: vec![App::default()],
            latency_budget: Duration::from_millis(10),
            drain_deadline: Duration::from_secs(20),
            reconnect_url: None,
            subscriber_unsent_bytes_max: 128 * 1024,
            inbox_bytes_max: 32 * 1024 * 1024,
            core_reassembly_bytes_max: 256 * 1024 * 1024,
            core_connections_max: 20_000,
            pre_publish_bytes_max: 64 * 1024 * 1024,
            address: PrefixLimits::ADDRESS,
            network: PrefixLimits::NETWORK,
            write_deadline: Duration::from_secs(10),
            proxies: Vec::new(),
            trusted: vec![
                Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
                Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into(),
            ],
            recorder: RecorderSettings::default(),
        }
    }
}

/// Bounds of the connections of one prefix, on all cores together.
///
/// # Defaults
/// Sized for carrier NAT, the densest place that honest encoders come from. Carriers give each subscriber a block of ports; with blocks as
/// small as 64, one address of 64,512 ports serves 1,008 subscribers. At a mass event one in twenty of them sends: **50 encoders** an
/// address. Their connections are doubled for up to 10 s after a cut, until the old ones are found dead: 100.
///
/// | | an address | a network | why |
/// |---|---:|---:|---|
/// | connections | 250 | 1,000 | 2.5 times those 100; a /24 of such addresses with one sender in 260, a mobile /48 of 65,536 phones with one in 65 |
/// | pending | 100 | 500 | an honest one is pending for some five round trips, a second over mobile networks: all 50 twice |
/// | accepts a second (ten times that at once) | 20 | 100 | all 50 come back at once four times; one in five cannot publish and tries each half second |
/// | failures a second (ten times that at once) | 5 | 25 | of the 50, ten with a wrong key try every two seconds |
///
/// A venue, a relay or a load balancer with more behind one address belongs into `trusted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLimits {
    /// Connections.
    pub connections_max: usize,
    /// Connections that neither publish nor play.
    pub pending_max: usize,
    /// New connections a second.
    pub accepts_per_second_max: u32,
    /// Connections a second that end without having published or played, or for an offence: beyond it no new ones are taken.
    pub failures_per_second_max: u32,
}

impl PrefixLimits {
    /// The defaults of an address.
    pub const ADDRESS: Self = Self {
        connections_max: 250,
        pending_max: 100,
        accepts_per_second_max: 20,
        failures_per_second_max: 5,
    };

    /// The defaults of a network.
    pub const NETWORK: Self = Self {
        connections_max: 1_000,
        pending_max: 500,
        accepts_per_second_max: 100,
        failures_per_second_max: 25,
    };
}

/// Settings of RTMPS.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Addresses that RTMPS is served on; `[::]` serves both families.
    pub listen: Vec<SocketAddr>,
    /// What its connections have.
    pub traffic: Traffic,
    /// The first one serves who names none of the others.
    pub certificates: Vec<CertificateFiles>,
    /// RTMP and RTMPS are told apart by their first byte on every listener, of RTMP and of RTMPS.
    pub detect: bool,
    /// Without certificates: one that nobody has signed, made at the start.
    pub self_signed: bool,
    /// Handshakes in progress, a core. Each may hold 36 kB of what its peer has sent.
    pub handshakes_max: usize,
    /// Share of each core's time that handshakes may take.
    pub handshake_percent_max: u32,
}

impl TlsSettings {
    /// Whether any listener needs certificates.
    pub fn is_wanted(&self) -> bool {
        self.detect || !self.listen.is_empty()
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            traffic: Traffic::default(),
            certificates: Vec::new(),
            detect: false,
            self_signed: false,
            handshakes_max: 1_000,
            handshake_percent_max: 25,
        }
    }
}

/// Settings of one app.
#[derive(Clone, Debug)]
pub struct App {
    /// The app's name, or `*`.
    pub name: String,
    /// What the hub is told.
    pub settings: crate::hub::AppSettings,
    /// What each of its sessions may come to, beside what it is granted with.
    pub limits: crate::media::Limits,
    /// Streams that it may have at a time, on all cores together; `None` is as many as come.
    pub streams_max: Option<NonZeroU32>,
    /// Connections that publish or play in it at a time, likewise; one counts for each stream that it publishes or plays.
    pub connections_max: Option<NonZeroU32>,
}

impl Default for App {
    fn default() -> Self {
        Self {
            name: "*".into(),
            settings: crate::hub::AppSettings::default(),
            limits: crate::media::Limits::default(),
            streams_max: None,
            connections_max: None,
        }
    }
}

/// Where a stream's home is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// The core that accepted the connection.
    Accept,
    /// The accepting core, unless it is clearly busier than the least busy one.
    #[default]
    Home,
    /// Always this core, for tests.
    Core(u16),
}
