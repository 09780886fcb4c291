//! `StreamKey -> core`, as the runtime has it: a key stays, with the same home, while a core holds it or a publisher is on its way.

use std::collections::BTreeMap;

use inrush::session::StreamKey;

#[derive(Debug, Default)]
pub struct Directory(BTreeMap<StreamKey, Entry>);

#[derive(Debug, Default)]
pub struct Entry {
    pub home: usize,
    /// One bit a core that holds a stream of this key.
    pub holders: u32,
    /// Publishers on their way to the home.
    pub arriving: usize,
}

impl Directory {
    /// The entry of a key, made with this home if there is none.
    pub fn entry(&mut self, key: &StreamKey, home: usize) -> &mut Entry {
        self.0.entry(key.clone()).or_insert(Entry { home, ..Entry::default() })
    }

    /// Where a key lives, if it does.
    pub fn home(&self, key: &StreamKey) -> Option<usize> {
        self.0.get(key).map(|entry| entry.home)
    }

    pub fn get_mut(&mut self, key: &StreamKey) -> Option<&mut Entry> {
        self.0.get_mut(key)
    }

    pub fn forget_unheld(&mut self, key: &StreamKey) {
        if self.0.get(key).is_some_and(|entry| entry.holders == 0 && entry.arriving == 0) {
            self.0.remove(key);
        }
    }

    pub fn assert_empty(&self) {
        assert!(self.0.is_empty(), "the directory still holds {:?}", self.0);
    }

    pub fn arriving(&self) -> usize {
        self.0.values().map(|entry| entry.arriving).sum()
    }
}
