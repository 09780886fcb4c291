//! All hostile peers of a run, on a thread of their own.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use inrush::session::{ClientSettings, ClientUrl, Role};
use tokio::task::LocalSet;

use super::attack;
use super::flood;
use super::kind::{Kind, Troop};
use super::line::{Ended, Line};
use super::source::Sources;
use super::tally::Tally;
use crate::clock::now_us;
use crate::input::pin;
use crate::link::{Link, sleep_until_us};
use crate::plan::{Plan, renamed};
use crate::report::HostileResult;
use crate::tls::Secured;

/// How often it is looked whether the run is over, and whether a name is taken.
const LOOK: Duration = Duration::from_millis(20);
/// Pause of those whose point it is to come again.
const RESTLESS_PAUSE: Duration = Duration::from_millis(20);
/// How much the thread gives way (`nice`): where both want a processor, a thread of the load gets three quarters of it. More, and on a busy
/// machine nobody would attack.
const NICE: libc::c_int = 5;

/// What is to come.
#[derive(Debug)]
pub struct Party {
    /// Who.
    pub troops: Vec<Troop>,
    /// Where they come from.
    pub sources: Sources,
    /// How those are secured that speak RTMP, if the load is.
    pub secured: Option<Secured>,
    /// Where TLS is, and how it is spoken, for those who are of it.
    pub tls: Option<(SocketAddr, Secured)>,
    /// Full TLS handshakes a second.
    pub tls_flood: Option<f64>,
    /// From one connection's end to the peer's next one.
    pub pause: Duration,
    /// When the first one is opened.
    pub from_us: u64,
    /// Peers a second from there; 0 for all at once.
    pub ramp: f64,
    /// The processors that the harness may use; all when empty.
    pub cpus: Vec<u32>,
}

impl Party {
    /// How many peers there are, without the flood.
    pub fn count(&self) -> u64 {
        self.troops.iter().map(|troop| u64::from(troop.count)).sum()
    }

    /// Connections open at once, at most.
    pub fn connections_max(&self) -> u64 {
        self.count() + if self.tls_flood.is_some() { flood::IN_FLIGHT_MAX as u64 } else { 0 }
    }

    /// Whether nobody comes.
    pub fn is_empty(&self) -> bool {
        self.troops.is_empty() && self.tls_flood.is_none()
    }

    /// When the last peer is opened.
    pub fn all_there_us(&self) -> u64 {
        self.opens_us(self.count().saturating_sub(1))
    }

    fn opens_us(&self, number: u64) -> u64 {
        match self.ramp {
            0.0 => self.from_us,
            ramp => self.from_us + (number as f64 / ramp * 1e6) as u64,
        }
    }
}

/// The thread's state, shared by its tasks.
pub(super) struct Guests {
    pub(super) party: Party,
    pub(super) plan: Arc<Plan>,
    /// By the number of the troop; the flood's comes last.
    pub(super) tallies: RefCell<Vec<Tally>>,
    /// Connections opened so far: tells where the next one comes from.
    opened: Cell<u64>,
    /// Handshakes of the flood that were begun, or skipped.
    pub(super) flood_begun: Cell<u64>,
}

/// Lets all of them in, and tells what came of it when the run is over.
pub fn run(party: Party, plan: Arc<Plan>) -> io::Result<Vec<HostileResult>> {
    give_way();
    if !party.cpus.is_empty() {
        pin(&party.cpus)?;
    }
    let mut tallies: Vec<_> =
        party.troops.iter().map(|troop| Tally::new(troop.kind, troop.count.into())).collect();
    if party.tls_flood.is_some() {
        tallies.push(Tally::new(Kind::TlsFlood, 0));
    }
    let guests = Rc::new(Guests {
        party,
        plan,
        tallies: RefCell::new(tallies),
        opened: Cell::new(0),
        flood_begun: Cell::new(0),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let mut number = 0;
        for (at, troop) in guests.party.troops.iter().enumerate() {
            for _ in 0..troop.count {
                tokio::task::spawn_local(guests.clone().attend(at, troop.kind, number));
                number += 1;
            }
        }
        if let (Some(_), Some((address, secured))) = (guests.party.tls_flood, &guests.party.tls) {
            let at = guests.party.troops.len();
            tokio::task::spawn_local(flood::run(guests.clone(), at, *address, secured.clone()));
        }
        while !guests.plan.is_over() {
            tokio::time::sleep(LOOK).await;
        }
    });
    if let Some(flood) = guests.tallies.borrow_mut().get_mut(guests.party.troops.len()) {
        flood.skipped(flood::due(&guests).saturating_sub(guests.flood_begun.get()));
    }
    // Tasks hold references to the tallies: they go first, and their connections with them.
    drop(tasks);
    Ok(guests.tallies.take().into_iter().map(Tally::into_result).collect())
}

impl Guests {
    /// Where the next connection comes from.
    fn next_source(&self) -> Option<IpAddr> {
        let number = self.opened.get();
        self.opened.set(number + 1);
        self.party.sources.address(number)
    }

    /// Lives peer `number`, one connection after the other.
    async fn attend(self: Rc<Self>, at: usize, kind: Kind, number: u64) {
        sleep_until_us(self.party.opens_us(number)).await;
        let pause = if kind.is_restless() { RESTLESS_PAUSE } else { self.party.pause };
        let mut is_odd = number % 2 == 1;
        while !self.plan.is_over() {
            // A name that is not taken yet, or not any more, would be given to whoever asks.
            if kind != Kind::FailedPublish || self.is_live(number) {
                self.attack(at, kind, number, is_odd).await;
                is_odd = !is_odd;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn attack(&self, at: usize, kind: Kind, number: u64, is_odd: bool) {
        let address = match &self.party.tls {
            Some((address, _)) if kind.is_of_tls() => *address,
            _ => self.plan.address,
        };
        let link = if kind == Kind::NeverReadingPlayer { Link::Shallow } else { Link::Free };
        let mut visit = match self.open(at, address, link).await {
            Ok(visit) => visit,
            Err(error) => return self.tallies.borrow_mut()[at].not_opened(&error),
        };
        let ended = match self.begin(kind, &mut visit.line, at).await {
            Ok(()) => attack::play(kind, &mut visit.line, self.settings(kind, number)).await,
            Err(ended) => ended,
        };
        if kind == Kind::Churn && is_odd {
            // A socket that takes no options is closed as well.
            let _ = visit.line.reset_on_close();
        }
        visit.end(&ended);
    }

    /// Opens a connection of those that are counted there.
    pub(super) async fn open(&self, at: usize, address: SocketAddr, link: Link) -> io::Result<Visit<'_>> {
        let line = Line::open(address, self.next_source(), link).await?;
        self.tallies.borrow_mut()[at].opened();
        Ok(Visit { guests: self, at, line, opened_us: now_us() })
    }

    /// What comes before RTMP.
    async fn begin(&self, kind: Kind, line: &mut Line, at: usize) -> Result<(), Ended> {
        match (&self.party.tls, &self.party.secured) {
            (Some((_, secured)), _) if kind == Kind::TlsHello => line.hello(secured.clone()).await,
            (_, Some(secured)) if !kind.is_below_tls() => {
                let began_us = now_us();
                line.secure(secured.clone()).await?;
                self.tallies.borrow_mut()[at].handshake(now_us() - began_us);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What it says in RTMP: those who play take a stream of the load, those who are to be refused its name, and the rest a name of their own.
    fn settings(&self, kind: Kind, number: u64) -> ClientSettings {
        let stream = self.stream(number).to_string();
        let url = match kind {
            Kind::NeverReadingPlayer => self.plan.url.replace("{i}", &stream),
            Kind::FailedPublish => {
                let url = self.plan.url.split('?').next().unwrap_or_default();
                url.replace("{i}", &stream)
            }
            _ => renamed(&self.plan.url, &format!("hostile-{number}"), true),
        };
        let url = ClientUrl::parse(&url).expect("another name leaves a URL a URL, and it was one");
        let role = if kind == Kind::NeverReadingPlayer { Role::Play } else { Role::Publish };
        let mut settings = ClientSettings::new(url, role);
        settings.chunk_size_out = attack::chunk_size(kind).unwrap_or(self.plan.chunk_size);
        settings
    }

    fn stream(&self, number: u64) -> usize {
        (number % self.plan.sent.len().max(1) as u64) as usize
    }

    /// Whether its stream has a publisher, here or in another process. At the end of the run they leave.
    fn is_live(&self, number: u64) -> bool {
        let sent = &self.plan.sent[self.stream(number)];
        let has_begun = !self.plan.publishes || sent.iter().any(|lane| lane.sent.load(Ordering::Relaxed) > 0);
        has_begun && now_us() < self.plan.until_us
    }
}

/// A connection whose bytes are counted, however it comes to its end.
pub(super) struct Visit<'a> {
    guests: &'a Guests,
    at: usize,
    pub(super) line: Line,
    opened_us: u64,
}

impl Visit<'_> {
    /// Since it was opened.
    pub(super) fn lasted_us(&self) -> u64 {
        now_us() - self.opened_us
    }

    /// It is over before the run is.
    pub(super) fn end(self, ended: &Ended) {
        self.guests.tallies.borrow_mut()[self.at].ended(ended, self.lasted_us());
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.guests.tallies.borrow_mut()[self.at].moved(self.line.sent, self.line.received);
    }
}

/// Lets other threads of the machine go first.
fn give_way() {
    // SAFETY: no pointers; 0 is the calling thread. One that may not do even this runs as the others do.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}
