//! What all threads of a run go by, and what they tell each other while it runs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use inrush::session::{ClientSettings, ClientUrl, Role};

use crate::connection::Target;
use crate::persona::Persona;
use crate::schedule::Timetable;

/// One connection to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// When, on [`crate::clock::now_us`].
    pub open_us: u64,
    /// As what.
    pub role: Role,
    /// As what instead, if it means no good.
    pub persona: Option<Persona>,
    /// Number of its stream.
    pub stream: u32,
    /// Number among all connections.
    pub number: u32,
}

/// Shared by all threads.
pub struct Plan {
    /// The server.
    pub address: SocketAddr,
    /// With `{i}` for the number of the stream.
    pub url: String,
    /// Where connections come from, in turn; the kernel chooses when empty.
    pub sources: Vec<IpAddr>,
    /// What publishers send.
    pub table: Arc<Timetable>,
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
    /// Messages sent, of each stream.
    pub sent: Vec<AtomicU64>,
    /// Connections that are open.
    pub open: AtomicU64,
    /// Publishers among them that have something to send yet.
    pub publishing: AtomicU64,
    /// Connections that ended or failed.
    pub ended: AtomicU64,
    /// Told to all threads: end now.
    pub stop: AtomicBool,
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

    /// What the connection of this part connects to, and what it says.
    pub fn target(&self, part: &Part) -> Target {
        let url = ClientUrl::parse(&self.url.replace("{i}", &part.stream.to_string()))
            .expect("a number in the place of {i} leaves a URL a URL, and it was one");
        let mut settings = ClientSettings::new(url, part.role);
        settings.chunk_size_out = self.chunk_size;
        let source = match self.sources.len() {
            0 => None,
            count => Some(self.sources[part.number as usize % count]),
        };
        Target { address: self.address, source, settings }
    }
}
