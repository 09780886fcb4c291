//! Admission by address: no network takes all the places, and none keeps the engine busy with coming and failing.
//!
//! Each address is looked at twice: as an *address* (IPv4 /32, IPv6 /64: one line, one subscriber or one NAT) and as a *network* (IPv4
//! /24, IPv6 /48: the smallest block that is routed on its own, what one site is given). For each there are bounds on connections, on
//! those that neither publish nor play yet (*pending*), on new ones a second, and on failures a second. Counted on all cores together, on
//! accept, publish, play, stop and close; never touched on a message. Networks that the operator trusts are not counted at all.
//!
//! A connection has *failed* when it ends without having published or played, or for an offence; who calls [`Place::fail`] says so.
//! Failures do not close anything: while a prefix has used up its failures, no new connection of it is taken. One that succeeds costs
//! nothing, so those behind a NAT whose encoders work come in as soon as the bucket has a drop again.
//! # Bounds
//! One entry a prefix and table with connections, so never more than connections; and at most [`REMEMBERED_MAX`] a table of those that have
//! none any more and whose buckets are not full yet: some 7 MB in both. Beyond it the less used half is forgotten: whoever commands more
//! prefixes than that could begin afresh with each anyway, and nobody else pays for it. The bounds by core hold against him
//! (`core_connections_max`, `pre_publish_bytes_max`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::settings::PrefixLimits;
use crate::session::Instant;
use crate::session::rate::TokenBucket;

/// Prefixes without connections that are remembered for their buckets, in each table.
pub(crate) const REMEMBERED_MAX: usize = 16 * 1024;

/// What was not used for so long may be used at once, seconds: everybody behind a NAT comes back at once when a network was away.
pub(crate) const SECONDS_AT_ONCE: u32 = 10;

/// A prefix that is refused again and again is told of in the log once in so long.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How much of an address counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// IPv4 /32, IPv6 /64.
    Address,
    /// IPv4 /24, IPv6 /48.
    Network,
}

impl Width {
    fn prefix_of(self, address: IpAddr) -> IpNet {
        let (ipv4_bits, ipv6_bits) = match self {
            Self::Address => (32, 64),
            Self::Network => (24, 48),
        };
        // The lengths are within their families' bounds, so neither can fail.
        match address {
            IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new_assert(v4, ipv4_bits).trunc()),
            IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new_assert(v6, ipv6_bits).trunc()),
        }
    }
}

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Connections,
    Pending,
    Accepts,
    Failures,
}

/// Why a connection was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) width: Width,
    pub(crate) bound: Bound,
    pub(crate) prefix: IpNet,
    /// Whether this is news: the log was not told of this prefix of late.
    pub(crate) is_news: bool,
}

impl Refused {
    /// The name of the key that sets the bound, and the kind in `/metrics`.
    pub(crate) fn label(&self) -> &'static str {
        match (self.width, self.bound) {
            (Width::Address, Bound::Connections) => "address_connections_max",
            (Width::Address, Bound::Pending) => "address_pending_max",
            (Width::Address, Bound::Accepts) => "address_accepts_per_second_max",
            (Width::Address, Bound::Failures) => "address_failures_per_second_max",
            (Width::Network, Bound::Connections) => "prefix_connections_max",
            (Width::Network, Bound::Pending) => "prefix_pending_max",
            (Width::Network, Bound::Accepts) => "prefix_accepts_per_second_max",
            (Width::Network, Bound::Failures) => "prefix_failures_per_second_max",
        }
    }
}

/// Counts by prefix, and refuses what is over the bounds.
#[derive(Debug)]
pub(crate) struct Prefixes {
    tables: Mutex<[Table; 2]>,
    trusted: RwLock<Vec<IpNet>>,
}

/// The place of one connection; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place(Option<Counted>);

#[derive(Debug)]
struct Counted {
    prefixes: Arc<Prefixes>,
    address: IpAddr,
    is_pending: bool,
}

#[derive(Debug)]
struct Table {
    width: Width,
    limits: PrefixLimits,
    entries: HashMap<IpNet, Entry>,
    /// Entries without connections.
    remembered: usize,
    /// The latest time that anybody told.
    now: Instant,
}

#[derive(Debug)]
struct Entry {
    connections: usize,
    pending: usize,
    accepts: TokenBucket,
    failures: TokenBucket,
    told_at: Option<Instant>,
}

impl Prefixes {
    /// The bounds of an address and of a network; addresses in `trusted` are not counted.
    pub(crate) fn new(address: PrefixLimits, network: PrefixLimits, trusted: Vec<IpNet>) -> Arc<Self> {
        let tables = [Table::new(Width::Address, address), Table::new(Width::Network, network)];
        Arc::new(Self { tables: Mutex::new(tables), trusted: RwLock::new(trusted) })
    }

    /// Other bounds, from the next connection on. What a prefix has used of its accepts and failures is forgotten where their bound is another;
    /// connections keep the places that they have.
    pub(crate) fn replace_limits(&self, address: PrefixLimits, network: PrefixLimits, trusted: &[IpNet]) {
        *self.trusted.write().unwrap_or_else(PoisonError::into_inner) = trusted.to_vec();
        for (table, limits) in self.tables().iter_mut().zip([address, network]) {
            table.replace_limits(limits);
        }
    }

    /// A place for a new connection of this address, which is pending.
    ///
    /// # Errors
    /// The first bound that it would exceed. Then nothing is counted.
    pub(crate) fn admit(self: &Arc<Self>, now: Instant, address: IpAddr) -> Result<Place, Refused> {
        let trusted = self.trusted.read().unwrap_or_else(PoisonError::into_inner);
        if trusted.iter().any(|trusted| trusted.contains(&address)) {
            return Ok(Place(None));
        }
        drop(trusted);
        let mut tables = self.tables();
        for table in tables.iter_mut() {
            table.now = table.now.max(now);
            table.check(address)?;
        }
        tables.iter_mut().for_each(|table| table.enter(address));
        Ok(Place(Some(Counted { prefixes: self.clone(), address, is_pending: true })))
    }

    fn tables(&self) -> MutexGuard<'_, [Table; 2]> {
        // A panic under the lock cannot leave a count half changed.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The connection publishes or plays, and is pending no longer; or it does neither any more. That may exceed the bound, which is only
    /// looked at when somebody new comes.
    pub(crate) fn set_pending(&mut self, is_pending: bool) {
        let Some(counted) = &mut self.0 else { return };
        if counted.is_pending == is_pending {
            return;
        }
        counted.is_pending = is_pending;
        for table in counted.prefixes.tables().iter_mut() {
            table.with_entry(counted.address, |entry| match is_pending {
                true => entry.pending += 1,
                false => entry.pending = entry.pending.saturating_sub(1),
            });
        }
    }

    /// The connection has failed.
    pub(crate) fn fail(&self, now: Instant) {
        let Some(counted) = &self.0 else { return };
        for table in counted.prefixes.tables().iter_mut() {
            table.now = table.now.max(now);
            let now = table.now;
            // When none is left there is none to take.
            table.with_entry(counted.address, |entry| _ = entry.failures.take(now, 1));
        }
    }
}

impl Place {
    /// Of a connection that is not counted.
    pub(crate) const NONE: Self = Self(None);
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(counted) = &self.0 else { return };
        for table in counted.prefixes.tables().iter_mut() {
            table.leave(counted.address, counted.is_pending);
        }
    }
}

impl Table {
    fn new(width: Width, limits: PrefixLimits) -> Self {
        Self { width, limits, entries: HashMap::new(), remembered: 0, now: Instant::default() }
    }

    fn replace_limits(&mut self, limits: PrefixLimits) {
        let old = std::mem::replace(&mut self.limits, limits);
        let now = self.now;
        for entry in self.entries.values_mut() {
            if old.accepts_per_second_max != limits.accepts_per_second_max {
                entry.accepts = bucket(now, limits.accepts_per_second_max);
            }
            if old.failures_per_second_max != limits.failures_per_second_max {
                entry.failures = bucket(now, limits.failures_per_second_max);
            }
        }
    }

    fn check(&mut self, address: IpAddr) -> Result<(), Refused> {
        let (now, width, prefix) = (self.now, self.width, self.width.prefix_of(address));
        // Whom nobody knows is within all bounds: each of them allows one.
        let Some(entry) = self.entries.get_mut(&prefix) else { return Ok(()) };
        let bound = if entry.failures.level(now) == 0 {
            Bound::Failures
        } else if entry.connections >= self.limits.connections_max {
            Bound::Connections
        } else if entry.pending >= self.limits.pending_max {
            Bound::Pending
        } else if entry.accepts.level(now) == 0 {
            Bound::Accepts
        } else {
            return Ok(());
        };
        let is_news = entry.told_at.is_none_or(|told_at| now - told_at >= TELL_EVERY);
        if is_news {
            entry.told_at = Some(now);
        }
        Err(Refused { width, bound, prefix, is_news })
    }

    /// A connection comes for which [`Table::check`] found room.
    fn enter(&mut self, address: IpAddr) {
        let (now, prefix) = (self.now, self.width.prefix_of(address));
        let limits = &self.limits;
        let entry = self.entries.entry(prefix).or_insert_with(|| {
            self.remembered += 1;
            Entry {
                connections: 0,
                pending: 0,
                accepts: bucket(now, limits.accepts_per_second_max),
                failures: bucket(now, limits.failures_per_second_max),
                told_at: None,
            }
        });
        self.remembered -= usize::from(entry.connections == 0);
        entry.connections += 1;
        entry.pending += 1;
        let _ = entry.accepts.take(now, 1);
    }

    fn leave(&mut self, address: IpAddr, is_pending: bool) {
        let (now, prefix) = (self.now, self.width.prefix_of(address));
        let Some(entry) = self.entries.get_mut(&prefix) else { return };
        entry.connections = entry.connections.saturating_sub(1);
        entry.pending = entry.pending.saturating_sub(usize::from(is_pending));
        if entry.connections > 0 {
            return;
        }
        if entry.is_fresh(now) {
            self.entries.remove(&prefix);
            return;
        }
        self.remembered += 1;
        if self.remembered > REMEMBERED_MAX {
            self.forget();
        }
    }

    fn with_entry(&mut self, address: IpAddr, change: impl FnOnce(&mut Entry)) {
        // A place has its entries until it is given back.
        if let Some(entry) = self.entries.get_mut(&self.width.prefix_of(address)) {
            change(entry);
        }
    }

    /// Forgets who has no connections and full buckets, and of the others without connections those that used the least, until no more
    /// than half of [`REMEMBERED_MAX`] are left. So the table is gone through once in as many closes at most.
    fn forget(&mut self) {
        let now = self.now;
        let mut spent: Vec<(u64, IpNet)> = Vec::with_capacity(self.remembered);
        for (prefix, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.connections == 0) {
            spent.push((entry.spent(now), *prefix));
        }
        let excess = spent.len().saturating_sub(REMEMBERED_MAX / 2);
        if let Some(last) = excess.checked_sub(1) {
            spent.select_nth_unstable_by_key(last, |(spent, _)| *spent);
        }
        self.remembered = spent.len();
        for (nth, (spent, prefix)) in spent.into_iter().enumerate() {
            if nth < excess || spent == 0 {
                self.entries.remove(&prefix);
                self.remembered -= 1;
            }
        }
    }
}

/// A full one.
fn bucket(now: Instant, per_second: u32) -> TokenBucket {
    TokenBucket::with_burst(now, per_second, per_second.saturating_mul(SECONDS_AT_ONCE))
}

impl Entry {
    /// Whether one that is made anew would do as well.
    fn is_fresh(&mut self, now: Instant) -> bool {
        self.accepts.is_full(now) && self.failures.is_full(now)
    }

    /// How much of the more used bucket is gone, of a million.
    fn spent(&mut self, now: Instant) -> u64 {
        self.accepts.spent_millionths(now).max(self.failures.spent_millionths(now))
    }
}

#[cfg(test)]
mod tests;
