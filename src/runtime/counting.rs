//! What a core counts as its connections come and go: events by label, and what those that are pending hold together.
//!
//! A connection carries what was counted of it (`counted_pending_bytes`, `counted_bytes`), so that a sum follows by the difference and what
//! a connection has in it leaves with the connection.
//! # Bounds
//! What pending connections hold: [`pre_publish_bytes_max`](super::settings::RuntimeSettings::pre_publish_bytes_max), beyond which
//! [`pre_publish`] says who goes.

use std::collections::VecDeque;

use super::connection::{Connection, ConnectionKey};
use super::core::Core;
use super::pre_publish::{self, Pending};
use crate::session::CloseReason;

impl Core {
    /// Counts an event of a labelled family.
    pub(crate) fn count(&mut self, family: &'static str, label: &'static str) {
        *self.labelled.entry((family, label)).or_default() += 1;
        self.labelled_changed = true;
    }

    /// The core's sum of what pending connections hold follows this one; when it grows over the bound, the greediest of them go.
    pub(crate) fn count_pending(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connection(key) else { return };
        let bytes = connection.pending_bytes();
        let counted = std::mem::replace(&mut connection.counted_pending_bytes, bytes);
        if bytes == counted {
            return;
        }
        self.on_pending_change(counted, bytes);
        if bytes > counted && self.counts.pre_publish_bytes > self.settings.pre_publish_bytes_max as u64 {
            self.shed_pending();
        }
    }

    fn on_pending_change(&mut self, from: usize, to: usize) {
        let counts = &mut self.counts;
        counts.pre_publish_bytes = (counts.pre_publish_bytes + to as u64).saturating_sub(from as u64);
        counts.pre_publish = (counts.pre_publish + u64::from(to > 0)).saturating_sub(u64::from(from > 0));
    }

    /// A connection leaves this core: what was counted of it leaves the sums.
    pub(crate) fn uncount(&mut self, connection: &Connection) {
        self.counts.reassembly_bytes =
            self.counts.reassembly_bytes.saturating_sub(connection.counted_bytes as u64);
        self.on_pending_change(connection.counted_pending_bytes, 0);
    }

    /// Ends the greediest of those that neither publish nor play, without a word: what they hold is wanted back at once.
    fn shed_pending(&mut self) {
        let (now, bytes_max) = (self.now(), self.settings.pre_publish_bytes_max);
        let keys = self.keys_where(|connection| connection.pending_bytes() > 0);
        let mut pending = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(connection) = self.connection(key) else { continue };
            // Answers that were written since are still counted.
            let bytes = connection.pending_bytes();
            let counted = std::mem::replace(&mut connection.counted_pending_bytes, bytes);
            pending.push(Pending { key, bytes, age: now - connection.pending_since });
            self.on_pending_change(counted, bytes);
        }
        if self.counts.pre_publish_bytes <= bytes_max as u64 {
            return;
        }
        for key in pre_publish::to_shed(pending, pre_publish::target_bytes(bytes_max)) {
            self.counts.pre_publish_shed += 1;
            if let Some(connection) = self.connection(key) {
                connection.session.close(now, CloseReason::Overload);
            }
            self.shut(key, CloseReason::Overload);
            if let Some(connection) = self.connection(key) {
                connection.control = VecDeque::new();
                connection.control_bytes = 0;
                let counted = std::mem::take(&mut connection.counted_pending_bytes);
                self.on_pending_change(counted, 0);
            }
        }
    }
}
