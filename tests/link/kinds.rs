//! Counts by kind of event, and the list of kinds that must occur.

use std::collections::BTreeMap;

use inrush::session::Oddity;

use crate::simulation::seeds::Sum;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kinds(BTreeMap<String, u64>);

impl Sum for Kinds {
    fn add(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            *self.0.entry(kind.clone()).or_default() += count;
        }
    }
}

impl Kinds {
    pub fn count(&mut self, kind: impl Into<String>) {
        *self.0.entry(kind.into()).or_default() += 1;
    }

    pub fn of(&self, kind: &str) -> u64 {
        self.0.get(kind).copied().unwrap_or_default()
    }

    pub fn print(&self) {
        for (kind, count) in &self.0 {
            println!("{count:>10}  {kind}");
        }
    }

    /// Kinds that must occur and did not.
    pub fn missing(&self) -> Vec<String> {
        let oddities = Oddity::ALL.iter().map(|oddity| format!("server tolerated {}", oddity.label()));
        REQUIRED
            .iter()
            .map(|kind| kind.to_string())
            .chain(oddities)
            .filter(|kind| self.of(kind) == 0)
            .collect()
    }
}

const REQUIRED: &[&str] = &[
    "client asked to reconnect",
    "client closed deadline: connect took too long",
    "client closed deadline: handshake took too long",
    "client closed deadline: publish or play took too long",
    "client closed eof",
    "client closed refused",
    "client closed stopped",
    "client connected",
    "client ended",
    "client media",
    "client ready",
    "client ready again",
    "client status",
    "link corrupted",
    "link cut",
    "link silent down",
    "link silent up",
    "server acknowledged",
    "server asked to reconnect",
    "server closed connect_twice",
    "server closed deadline: connect took too long",
    "server closed deadline: first media took too long",
    "server closed deadline: handshake took too long",
    "server closed deadline: next byte took too long",
    "server closed deadline: publish or play took too long",
    "server closed drained",
    "server closed eof",
    "server closed hopeless",
    "server closed io",
    "server closed kicked",
    "server closed media_before_publish",
    "server closed overload",
    "server closed rejected",
    "server closed replaced",
    "server closed reset",
    "server closed too_many_commands",
    "server closed too_many_message_streams",
    "server connected",
    "server held all it may",
    "server media",
    "server paused",
    "server pinged",
    "server play requested",
    "server publish requested",
    "server receive audio",
    "server receive video",
    "server round trip measured",
    "server stopped",
];
