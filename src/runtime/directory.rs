//! Which core a stream lives on: `StreamKey -> core`.
//!
//! Touched on publish, play and their ends, never on a frame.
//! # Invariant
//! A key stays, with the same home, while any core holds a stream of that key or a publisher is on its way to its home; the last
//! release removes it. So the home that one core was told is still the home when its message arrives there.
//! # Bounds
//! One entry a live key; keys are bounded by connections.

use std::collections::HashMap;
use std::sync::Mutex;

use super::settings::Placement;
use crate::hub::CoreId;
use crate::session::StreamKey;

/// How many more streams than the least busy core a core may be home to before a new stream goes elsewhere.
///
/// Small enough to even out what the kernel's hash over listeners does not (64 publishers over two cores end no worse than 33:31), large
/// enough that an even spread moves hardly anybody.
const CLEARLY_BUSIER: usize = 2;

/// The table of live keys, shared by all cores.
#[derive(Debug)]
pub(crate) struct Directory {
    table: Mutex<Table>,
    placement: Placement,
}

#[derive(Debug)]
struct Table {
    entries: HashMap<StreamKey, Entry>,
    /// Streams by home core.
    homes: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    home: CoreId,
    /// One bit a core that holds a stream of this key.
    holders: u128,
    /// Publishers that are on their way to the home core.
    arriving: usize,
}

impl Directory {
    pub(crate) fn new(cores: usize, placement: Placement) -> Self {
        let table = Table { entries: HashMap::new(), homes: vec![0; cores] };
        Self { table: Mutex::new(table), placement }
    }

    /// The key's home, chosen now if it has none; `core` holds the key from here on.
    pub(crate) fn hold(&self, key: &StreamKey, core: CoreId) -> CoreId {
        self.with(|table| {
            let entry = table.entry(key, core, self.placement);
            entry.holders |= bit(core);
            entry.home
        })
    }

    /// The key's home for a publisher that `core` accepted. When that is another core, the publisher counts as on its way there until
    /// [`Directory::arrived`]; when it is `core` itself, `core` holds the key.
    pub(crate) fn send_home(&self, key: &StreamKey, core: CoreId) -> CoreId {
        self.with(|table| {
            let entry = table.entry(key, core, self.placement);
            if entry.home == core {
                entry.holders |= bit(core);
            } else {
                entry.arriving += 1;
            }
            entry.home
        })
    }

    /// A publisher that was on its way is there: the home holds the key in its stead.
    pub(crate) fn arrived(&self, key: &StreamKey, home: CoreId) {
        self.with(|table| {
            if let Some(entry) = table.entries.get_mut(key) {
                entry.arriving = entry.arriving.saturating_sub(1);
                entry.holders |= bit(home);
            }
        });
    }

    /// A publisher that was on its way will not come.
    pub(crate) fn lost(&self, key: &StreamKey) {
        self.with(|table| {
            if let Some(entry) = table.entries.get_mut(key) {
                entry.arriving = entry.arriving.saturating_sub(1);
                table.remove_unheld(key);
            }
        });
    }

    /// `core` has no stream of this key any more.
    pub(crate) fn release(&self, key: &StreamKey, core: CoreId) {
        self.with(|table| {
            if let Some(entry) = table.entries.get_mut(key) {
                entry.holders &= !bit(core);
                table.remove_unheld(key);
            }
        });
    }

    /// Publishers that are on their way to their home cores.
    pub(crate) fn arriving(&self) -> usize {
        self.with(|table| table.entries.values().map(|entry| entry.arriving).sum())
    }

    /// Live keys.
    pub(crate) fn len(&self) -> usize {
        self.with(|table| table.entries.len())
    }

    fn with<T>(&self, f: impl FnOnce(&mut Table) -> T) -> T {
        // A panic under the lock cannot leave the table half changed: every change is a single assignment.
        f(&mut self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Table {
    fn entry(&mut self, key: &StreamKey, accepting: CoreId, placement: Placement) -> &mut Entry {
        let homes = &mut self.homes;
        self.entries.entry(key.clone()).or_insert_with(|| {
            let home = choose(homes, accepting, placement);
            homes[usize::from(home.0)] += 1;
            Entry { home, holders: 0, arriving: 0 }
        })
    }

    fn remove_unheld(&mut self, key: &StreamKey) {
        if let Some(entry) = self.entries.get(key)
            && entry.holders == 0
            && entry.arriving == 0
        {
            self.homes[usize::from(entry.home.0)] -= 1;
            self.entries.remove(key);
        }
    }
}

fn choose(homes: &[usize], accepting: CoreId, placement: Placement) -> CoreId {
    match placement {
        Placement::Accept => accepting,
        Placement::Core(core) => CoreId(core.min(u16::try_from(homes.len() - 1).unwrap_or(u16::MAX))),
        Placement::Home => {
            let least = (0..homes.len()).min_by_key(|core| homes[*core]).unwrap_or(0);
            if homes[usize::from(accepting.0)] > homes[least] + CLEARLY_BUSIER {
                CoreId(u16::try_from(least).unwrap_or(0))
            } else {
                accepting
            }
        }
    }
}

fn bit(core: CoreId) -> u128 {
    1 << core.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> StreamKey {
        StreamKey::new("live", name)
    }

    /// The accepting core is home while the load is even; a clearly busier one is not.
    #[test]
    fn new_streams_go_to_the_least_busy_core() {
        let directory = Directory::new(2, Placement::Home);
        let homes: Vec<_> = (0..64).map(|i| directory.send_home(&key(&format!("s{i}")), CoreId(0))).collect();
        let first = homes.iter().filter(|home| home.0 == 0).count();
        assert!((28..=36).contains(&first), "{first} of 64 on the accepting core");
    }

    /// A key keeps its home while anybody holds it, and is forgotten with the last.
    #[test]
    fn the_last_release_removes_the_key() {
        let directory = Directory::new(2, Placement::Accept);
        assert_eq!(directory.hold(&key("a"), CoreId(1)), CoreId(1));
        assert_eq!(directory.send_home(&key("a"), CoreId(0)), CoreId(1), "the player's core is home");
        directory.release(&key("a"), CoreId(1));
        assert_eq!(directory.len(), 1, "a publisher is on its way");
        directory.arrived(&key("a"), CoreId(1));
        directory.release(&key("a"), CoreId(1));
        assert_eq!(directory.len(), 0);
        assert_eq!(directory.hold(&key("a"), CoreId(0)), CoreId(0), "a new life, a new home");
    }

    /// A publisher that dies on its way leaves nothing behind.
    #[test]
    fn a_lost_publisher_leaves_no_entry() {
        let directory = Directory::new(2, Placement::Core(1));
        assert_eq!(directory.send_home(&key("a"), CoreId(0)), CoreId(1));
        directory.lost(&key("a"));
        assert_eq!(directory.len(), 0);
    }
}
