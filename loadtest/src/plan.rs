//! What all threads of a run go by, and what they tell each other while it runs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use inrush::session::{ClientSettings, ClientUrl, Role};

use crate::connection::Target;
use crate::enhanced::Enhanced;
use crate::link::Link;
use crate::media::Media;
use crate::media::stamp::Lane;
use crate::persona::Persona;
use crate::persona::cast::Casting;
use crate::persona::share::Share;
use crate::schedule::Timetable;
use crate::tls::Tls;

/// One connection to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// When, on [`crate::clock::now_us`].
    pub open_us: u64,
    /// As what.
    pub role: Role,
    /// How it behaves.
    pub casting: Casting,
    /// Number of the persona that what it sees is charged to: its own, or that of the stream's publisher if it is steady.
    pub charged: usize,
    /// Number of its stream; of those beside the load, one that nobody publishes.
    pub stream: u32,
    /// Number among all connections.
    pub number: u32,
    /// Of a player, whether it says that it takes several tracks.
    pub multitrack: bool,
}

/// Shared by all threads.
pub struct Plan {
    /// The server.
    pub address: SocketAddr,
    /// With `{i}` for the number of the stream.
    pub url: String,
    /// Where connections come from, in turn; the kernel chooses when empty.
    pub sources: Vec<IpAddr>,
    /// How connections are secured; not at all when `None`.
    pub tls: Option<Tls>,
    /// What publishers send, in each form that there is.
    pub tables: Vec<Arc<Timetable>>,
    /// For each stream, which of them.
    pub table_of: Vec<usize>,
    /// What publishers and players say of Enhanced RTMP.
    pub enhanced: Enhanced,
    /// Chunk size of publishers.
    pub chunk_size: u32,
    /// First timestamp of each stream, milliseconds.
    pub timestamp_start_ms: u32,
    /// [`crate::clock::machine`].
    pub machine: u32,
    /// Messages due from here...
    pub from_us: u64,
    /// ... and before this are measured; publishers end here.
    pub until_us: u64,
    /// Whether the streams are published here, rather than by another process.
    pub publishes: bool,
    /// Whether everything of these streams that is coded media carries a stamp.
    pub all_is_stamped: bool,
    /// Of each stream, what was sent.
    pub sent: Vec<Vec<LaneCounts>>,
    /// What there is to play; the first is steady.
    pub shares: Vec<Share>,
    /// How many there are of what, over all threads.
    pub census: Census,
    /// Told to all threads: end now.
    pub stop: AtomicBool,
}

/// What was sent of one lane of a stream.
#[derive(Debug)]
pub struct LaneCounts {
    /// What.
    pub lane: Lane,
    /// Stamps.
    pub sent: AtomicU64,
    /// Number of the first stamp that was sent while measured; `u64::MAX` before.
    pub measured_from: AtomicU64,
}

impl LaneCounts {
    /// Nothing yet, of each lane.
    pub fn of(media: &Media) -> Vec<Self> {
        let none = |(lane, _): &(Lane, u64)| Self {
            lane: *lane,
            sent: AtomicU64::new(0),
            measured_from: AtomicU64::new(u64::MAX),
        };
        media.lanes.iter().map(none).collect()
    }
}

/// How many peers do what now.
#[derive(Debug, Default)]
pub struct Census {
    /// Connections that publish or play.
    pub open: AtomicU64,
    /// Publishers among them.
    pub publishers: AtomicU64,
    /// Publishers that have something to send yet.
    pub publishing: AtomicU64,
    /// Steady players that lack messages which were sent.
    pub lacking: AtomicU64,
    /// Peers that ended or failed and do not come back.
    pub ended: AtomicU64,
    /// Publishers among them.
    pub publishers_ended: AtomicU64,
}

impl Plan {
    /// Whether what is due then is measured.
    pub fn is_measured(&self, due_us: u64) -> bool {
        (self.from_us..self.until_us).contains(&due_us)
    }

    /// Whether the run is over.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What the publisher of this stream sends; of those beside the load, what the first one does.
    pub fn table(&self, stream: u32) -> &Arc<Timetable> {
        &self.tables[self.table_of.get(stream as usize).copied().unwrap_or(0)]
    }

    /// How this part behaves.
    pub fn persona(&self, part: &Part) -> &Persona {
        &self.shares[part.casting.persona].persona
    }

    /// What the connection of this part connects to, and what it says.
    pub fn target(&self, part: &Part) -> Target {
        let persona = self.persona(part);
        let url = match persona {
            Persona::WrongKey { query } => with_query(&self.url, part.stream, query),
            _ => self.url.replace("{i}", &part.stream.to_string()),
        };
        let url =
            ClientUrl::parse(&url).expect("a number in the place of {i} leaves a URL a URL, and it was one");
        let mut settings = ClientSettings::new(url, part.role);
        settings.chunk_size_out = self.chunk_size;
        settings.capabilities = self.enhanced.capabilities(part.role, part.multitrack);
        let source = match self.sources.len() {
            0 => None,
            count => Some(self.sources[part.number as usize % count]),
        };
        let (link, persona) = (Link::of(persona), part.casting.persona);
        let secured = self.tls.as_ref().map(Tls::next);
        Target { address: self.address, source, secured, settings, link, persona }
    }
}

/// The URL with a name of its own, with or without its query.
pub(crate) fn renamed(url: &str, name: &str, with_query: bool) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let named = match base.replace("{i}", name) {
        same if same == base => format!("{base}-{name}"),
        named => named,
    };
    match query.filter(|_| with_query) {
        Some(query) => format!("{named}?{query}"),
        None => named,
    }
}

/// The URL of a stream with another query, and a name of its own.
fn with_query(url: &str, stream: u32, query: &str) -> String {
    let named = renamed(url, &stream.to_string(), false);
    if query.is_empty() { named } else { format!("{named}?{query}") }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::media::synthetic::{self, Pattern};
    use crate::pace::Pace;

    /// Two streams with these lanes, measured from message 20 on.
    pub(crate) fn plan_of(lanes: &[Lane]) -> Plan {
        let pattern = Pattern { bitrate_bps: 300_000, fps: 25, gop_frames: 25, seed: 1 };
        let counts = || {
            let of = |lane: &Lane| LaneCounts {
                lane: *lane,
                sent: AtomicU64::new(50),
                measured_from: AtomicU64::new(20),
            };
            lanes.iter().map(of).collect()
        };
        Plan {
            address: ([127, 0, 0, 1], 1935).into(),
            url: "rtmp://127.0.0.1/live/s{i}".to_owned(),
            sources: Vec::new(),
            tls: None,
            tables: vec![Arc::new(Timetable::new(synthetic::media(&pattern), Pace::Frame))],
            table_of: vec![0, 0],
            enhanced: Enhanced::default(),
            chunk_size: 4_096,
            timestamp_start_ms: 0,
            machine: 1,
            from_us: 1_000,
            until_us: 10_000,
            publishes: true,
            all_is_stamped: false,
            sent: vec![counts(), counts()],
            shares: Vec::new(),
            census: Census::default(),
            stop: AtomicBool::new(false),
        }
    }

    #[test]
    fn a_wrong_key_goes_to_a_name_of_its_own() {
        assert_eq!(with_query("rtmp://h/live/s{i}?key=right", 7, "key=wrong"), "rtmp://h/live/s7?key=wrong");
        assert_eq!(with_query("rtmp://h/live/s?key=right", 7, ""), "rtmp://h/live/s-7");
        assert_eq!(renamed("rtmp://h/live/s{i}?key=right", "x", true), "rtmp://h/live/sx?key=right");
    }
}
