//! Those who publish: they come, with the credentials of others or their own, wait, fall silent, are lost and come back, take over, stand by.

use inrush::hub::{
    Claim, ConnectionRef, ContinuitySettings, End, Entry, Identity, MismatchPolicy, PublishRefused,
    PublisherKey, TakeoverPolicy,
};
use inrush::session::{MediaMessage, StreamKey};

use super::world::{Letter, World, id};
use crate::simulation::encoder::Encoder;
use crate::simulation::rng::Rng;

pub(super) struct Publisher {
    pub(super) core: usize,
    pub(super) key: PublisherKey,
    pub(super) stream: StreamKey,
    pub(super) connection: ConnectionRef,
    pub(super) encoder: Encoder,
    /// Sends nothing for a while.
    silent: bool,
}

/// Somebody whose claim waits.
pub(super) struct Claimant {
    core: usize,
    stream: StreamKey,
    claim: Claim,
}

/// Settings with short times, so that all of them pass within a run.
pub(super) fn continuity(rng: &mut Rng) -> ContinuitySettings {
    ContinuitySettings {
        takeover: rng.pick(&[TakeoverPolicy::Reject, TakeoverPolicy::Newest, TakeoverPolicy::Priority]),
        tenure_ms: rng.pick(&[0, 100, 400]),
        flaps_max: rng.pick(&[1, 3, 100]),
        yield_silent_ms: rng.pick(&[150, 500]),
        mismatch: rng.pick(&[MismatchPolicy::Discontinuity, MismatchPolicy::Refuse]),
        grace_ms: rng.pick(&[0, 300, 1_500]),
        standby: rng.percent(40),
    }
}

impl World {
    pub(super) fn ask_to_publish(&mut self) {
        let (core, Some(key)) = (self.random_core(), self.rng.choose(&self.keys).cloned()) else { return };
        let entry = self.directory.entry(&key, core);
        if entry.home == core {
            entry.holders |= 1 << core;
            self.come(core, key);
        } else {
            entry.arriving += 1;
            self.tally.publishers_moved += 1;
            let home = entry.home;
            self.cores[home].inbox[core].push_back(Letter::Arrive(key));
        }
    }

    /// A newcomer on its stream's home core.
    pub(super) fn come(&mut self, core: usize, stream: StreamKey) {
        self.connections += 1;
        let identity = self.rng.pick(&[None, Some("one"), Some("two")]);
        let identity = identity.map(|name| Identity(name.into()));
        let priority = self.rng.pick(&[0, 1, 2]);
        let claim = Claim { identity, priority, ..ConnectionRef(self.connections).into() };
        self.claim(Claimant { core, stream, claim });
    }

    fn claim(&mut self, claimant: Claimant) {
        let Claimant { core, stream, claim } = &claimant;
        let (core, connection) = (*core, claim.connection);
        let hub = &mut self.cores[core].hub;
        let holder = hub.holder(stream);
        match hub.publish(self.now, stream, claim.clone(), &self.settings) {
            Ok(Entry::Waits) => {
                assert!(holder.is_some(), "nobody is to be waited for");
                self.claimants.push(claimant);
            }
            Ok(entry) => {
                let key = entry.publisher().expect("it does not wait");
                let was_live = self.publishers.iter().any(|publisher| publisher.stream == *stream);
                assert!(!matches!(entry, Entry::Begins(_)) || !was_live, "two beginnings of {stream:?}");
                if matches!(entry, Entry::Begins(_)) {
                    let is_new = self.broadcasts.insert(stream.clone());
                    assert!(is_new, "{stream:?} begins before its driver has heard of its end");
                }
                assert_eq!(
                    matches!(entry, Entry::StandsBy(_)),
                    hub.publisher(key).expect("it is there").is_standby()
                );
                self.lives += 1;
                let mut encoder = Encoder::new(self.lives, &mut self.rng);
                encoder.steady = self.steady;
                self.tally.publishes += 1;
                self.tally.streams_without_video += u64::from(!encoder.has_video);
                self.tally.streams_without_audio += u64::from(!encoder.has_audio);
                let stream = claimant.stream;
                self.publishers.push(Publisher { core, key, stream, connection, encoder, silent: false });
            }
            Err(refused) => {
                assert!(holder.is_some(), "refused without reason");
                match refused {
                    PublishRefused::AlreadyPublishing => {}
                    PublishRefused::Priority => self.tally.refused_by_priority += 1,
                    PublishRefused::Tenure => self.tally.refused_by_tenure += 1,
                    PublishRefused::Flapping => self.tally.refused_by_flapping += 1,
                }
            }
        }
    }

    pub(super) fn ask_again(&mut self, connection: ConnectionRef) {
        let claimant = self.take_claimant(connection);
        self.tally.claims_decided += 1;
        self.claim(claimant);
    }

    pub(super) fn turn_away(&mut self, connection: ConnectionRef) {
        self.take_claimant(connection);
        self.tally.claims_turned_away += 1;
    }

    fn take_claimant(&mut self, connection: ConnectionRef) -> Claimant {
        let found = self.claimants.iter().position(|claimant| claimant.claim.connection == connection);
        self.claimants.swap_remove(found.expect("events name claimants that wait"))
    }

    fn withdraw(&mut self, index: usize) {
        let Claimant { core, stream, claim } = self.claimants.swap_remove(index);
        self.cores[core].hub.withdraw(&stream, claim.connection);
        self.tally.claims_withdrawn += 1;
    }

    pub(super) fn withdraw_all(&mut self) {
        while !self.claimants.is_empty() {
            self.withdraw(0);
            self.turn();
        }
    }

    pub(super) fn unpublish_or_fall_silent(&mut self) {
        if let Some(index) = self.random_index(self.claimants.len())
            && self.rng.percent(20)
        {
            return self.withdraw(index);
        }
        let Some(index) = self.random_index(self.publishers.len()) else { return };
        if self.rng.percent(50) {
            return self.unpublish(index);
        }
        let publisher = &mut self.publishers[index];
        publisher.silent = !publisher.silent;
        self.tally.publishers_silent += u64::from(publisher.silent);
    }

    pub(super) fn unpublish(&mut self, index: usize) {
        let end = self.rng.pick(&[End::Said, End::Lost]);
        self.tally.unpublishes += u64::from(end == End::Said);
        self.tally.lost += u64::from(end == End::Lost);
        self.remove(index, end);
    }

    fn remove(&mut self, index: usize, end: End) {
        let publisher = self.publishers.swap_remove(index);
        let hub = &mut self.cores[publisher.core].hub;
        hub.unpublish(self.now, publisher.key, end);
        // A key that has gone does nothing.
        hub.unpublish(self.now, publisher.key, end);
    }

    /// The hub wants a publisher closed. Its last messages may come first.
    pub(super) fn close_publisher(&mut self, connection: ConnectionRef) {
        let found = self.publishers.iter().position(|publisher| publisher.connection == connection);
        let index = found.expect("events name publishers that are there");
        if self.rng.percent(50) {
            self.send(index);
        }
        self.remove(index, End::Lost);
    }

    pub(super) fn on_over(&mut self, core: usize, stream: &StreamKey) {
        self.tally.broadcasts_over += 1;
        assert!(self.broadcasts.remove(stream), "an end without a beginning");
        // It may have begun anew by now.
        let hub = &self.cores[core].hub;
        let is_live = hub.streams().any(|view| view.key() == stream && view.is_home() && view.is_live());
        assert_eq!(is_live, hub.holder(stream).is_some());
    }

    pub(super) fn send_some(&mut self) {
        if let Some(index) = self.random_index(self.publishers.len())
            && !self.publishers[index].silent
        {
            self.send(index);
        }
    }

    fn send(&mut self, index: usize) {
        for _ in 0..1 + self.rng.index(8) {
            for message in self.publishers[index].encoder.next(&mut self.rng) {
                self.ingest(index, message);
            }
        }
    }

    /// A new beginning in the middle.
    pub(super) fn start(&mut self, index: usize) {
        for message in self.publishers[index].encoder.start(&mut self.rng) {
            self.ingest(index, message);
        }
    }

    pub(super) fn ingest(&mut self, index: usize, message: MediaMessage) {
        let publisher = &self.publishers[index];
        self.cores[publisher.core].hub.ingest(self.now, publisher.key, message);
    }

    /// Who is on the air, or is to be next.
    pub(super) fn on_air(&self, stream: &StreamKey) -> Option<&Publisher> {
        let home = self.directory.home(stream)?;
        let hub = &self.cores[home].hub;
        let view = hub.streams().find(|view| view.key() == stream && view.home() == id(home))?;
        let connection = view.publisher()?.connection();
        self.publishers.iter().find(|publisher| publisher.connection == connection)
    }

    pub(super) fn is_on_air(&self, index: usize) -> bool {
        let publisher = &self.publishers[index];
        self.on_air(&publisher.stream).is_some_and(|on_air| on_air.connection == publisher.connection)
    }

    /// Everybody sends, whoever waited to go on the air does or is closed, and nobody is waited for any more.
    pub(super) fn settle_publishers(&mut self) {
        for round in 0..4 {
            let ms = if round == 0 { 0 } else { 11_000 };
            self.now = self.now + std::time::Duration::from_millis(ms);
            // Whoever is on the air first: what starves goes on.
            let connections: Vec<_> = self.publishers.iter().map(|publisher| publisher.connection).collect();
            for on_air_first in [true, false] {
                for connection in &connections {
                    let found =
                        self.publishers.iter().position(|publisher| publisher.connection == *connection);
                    if let Some(index) = found.filter(|index| self.is_on_air(*index) == on_air_first) {
                        self.start(index);
                        self.turn();
                    }
                }
            }
            self.sweep();
            self.deliver_all();
            self.read_all();
        }
    }
}
