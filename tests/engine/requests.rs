//! What sessions ask for, and how they end. The model of `runtime/requests.rs`, `runtime/succession.rs`, and of the closing part of
//! `runtime/core.rs`.

use inrush::hub::{Claim, ConnectionRef, End, Entry, Identity, PublisherKey, Reader};
use inrush::media::Form;
use inrush::rtmp::{Error, PeerMisbehaved};
use inrush::session::{CloseReason, PlayRequest, PublishRequest, Rejection, StreamKey, status::code};

use super::core::id;
use super::served::{Activity, CLOSE_TIME_MAX, MOVE_TIME_MAX, Phase, Playing};
use super::world::{Action, NAMES, Placement, World};

impl World {
    /// The core that a key lives on, chosen now if it has none.
    fn home(&mut self, key: &StreamKey, accepting: usize) -> usize {
        let home = match self.placement {
            Placement::Accept => accepting,
            Placement::Core(core) => core,
            Placement::Any => self.rng.index(self.cores.len()),
        };
        self.directory.entry(key, home).home
    }

    pub(super) fn on_publish_requested(&mut self, link: usize, request: PublishRequest) {
        let now = self.now;
        let Some(served) = &mut self.links[link].served else { return };
        let core = served.core;
        if !matches!(served.activity, Activity::None) {
            self.tally.publishes_while_playing += 1;
            let description = "plays or publishes already".into();
            let rejection = Rejection { code: code::STREAM_FAILED, description, close: false };
            return served.session.reject(now, request.request, rejection);
        }
        if self.draining {
            let description = "going down".into();
            let rejection = Rejection { code: code::STREAM_FAILED, description, close: true };
            return served.session.reject(now, request.request, rejection);
        }
        let key = request.address.key.clone();
        let home = self.home(&key, core);
        let entry = self.directory.entry(&key, home);
        if home == core {
            entry.holders |= 1 << core;
            return self.publish(link, request);
        }
        entry.arriving += 1;
        if let Some(served) = &mut self.links[link].served {
            served.activity = Activity::Moving { home, request };
            served.give_up_at = now + MOVE_TIME_MAX;
        }
    }

    /// Publishes on the core where the connection is, the stream's home.
    pub(super) fn publish(&mut self, link: usize, request: PublishRequest) {
        let now = self.now;
        let Some(served) = &self.links[link].served else { return };
        let core = served.core;
        let key = request.address.key.clone();
        let held_by = self
            .links
            .iter()
            .position(|other| other.served.as_ref().is_some_and(|served| served.publishes(&key)));
        // Where they do not follow one another they are strangers all: none is another's ghost.
        let identity = (!self.follows).then(|| Identity(link.to_string().into()));
        let priority = (link % 3) as u32;
        let claim = Claim { identity, priority, ..ConnectionRef(link as u64).into() };
        let incumbents: Vec<_> = self.cores[core].hub.incumbents(&key).collect();
        incumbents
            .into_iter()
            .for_each(|(publisher, connection)| self.listen_for(core, publisher, connection));
        let published = self.cores[core].hub.publish(now, &key, claim, &self.settings);
        if !self.follows {
            assert_eq!(published.is_err(), held_by.is_some(), "publish of {key:?}: {published:?}");
        }
        if let Some(holder) = held_by
            && published.is_err()
        {
            let holder = self.links[holder].served.as_ref().expect("found there");
            assert!(holder.core == core && holder.phase == Phase::Open, "the holder is untouched");
        }
        let Some(served) = &mut self.links[link].served else { return };
        match published {
            Ok(Entry::Waits) => served.asked = Some(request),
            Ok(entry) => {
                let publisher = entry.publisher().expect("it does not wait");
                self.tally.publishes += 1;
                if let Entry::Begins(_) = entry {
                    let is_new = self.broadcasts.insert(key.clone());
                    assert!(is_new, "{key:?} begins before its driver has heard of its end");
                }
                self.links[link].is_admitted = true;
                let Some(served) = &mut self.links[link].served else { return };
                served.activity = Activity::Publishing { publisher, key };
                served.session.accept_publish(now, request.request);
            }
            Err(_) => {
                let holder = &self.links[held_by.expect("refused for it")];
                self.tally.ghosts_refused += u64::from(holder.frozen || holder.up.has_ended());
                self.tally.takeovers_refused += u64::from(!holder.frozen);
                let served = self.links[link].served.as_mut().expect("there before");
                served.session.reject(now, request.request, Rejection::already_published());
            }
        }
        self.pump_hub(core);
    }

    /// Tells the hub when something of a publisher came last.
    fn listen_for(&mut self, core: usize, publisher: PublisherKey, ConnectionRef(link): ConnectionRef) {
        let link = &self.links[link as usize];
        let Some(served) = &link.served else { return };
        let has_unread = !link.frozen && link.up.waiting(self.now) > 0;
        let heard_at = if has_unread { Some(self.now) } else { served.heard_at };
        self.cores[core].hub.heard(heard_at.unwrap_or_default(), publisher);
    }

    /// Likewise, of all whom newcomers wait for.
    pub(super) fn listen_for_awaited(&mut self, core: usize) {
        let awaited: Vec<_> = self.cores[core].hub.awaited().collect();
        awaited.into_iter().for_each(|(publisher, connection)| self.listen_for(core, publisher, connection));
    }

    /// What a newcomer waits for is known.
    pub(super) fn claim_again(&mut self, link: usize) {
        let now = self.now;
        let served = self.links[link].served.as_mut().expect("events name connections that wait");
        let request = served.asked.take().expect("it waits");
        if self.draining {
            let (core, key) = (served.core, &request.address.key);
            self.cores[core].hub.withdraw(key, ConnectionRef(link as u64));
            let description = "going down".into();
            let rejection = Rejection { code: code::STREAM_FAILED, description, close: true };
            served.session.reject(now, request.request, rejection);
        } else {
            self.publish(link, request);
        }
        self.go_on(link);
    }

    /// A newer one waits in its stead.
    pub(super) fn turn_away(&mut self, link: usize) {
        let now = self.now;
        let served = self.links[link].served.as_mut().expect("events name connections that wait");
        let request = served.asked.take().expect("it waits");
        served.session.reject(now, request.request, Rejection::already_published());
        self.tally.claims_turned_away += 1;
        self.go_on(link);
    }

    /// The reader drives a session on that has its answer.
    fn go_on(&mut self, link: usize) {
        if let Some(served) = &mut self.links[link].served
            && !std::mem::replace(&mut served.yielded, true)
        {
            self.schedule_in_ms(0, Action::Drive(link));
        }
    }

    /// A connection ends: if it waits, it does so no longer.
    fn withdraw(&mut self, link: usize) {
        let Some(served) = &mut self.links[link].served else { return };
        if let Some(request) = served.asked.take() {
            self.tally.claims_withdrawn += 1;
            self.cores[served.core].hub.withdraw(&request.address.key, ConnectionRef(link as u64));
        }
    }

    /// How a publisher ends whose connection does: its encoder may come back unless one of the two has said otherwise.
    fn end_of(&self, link: usize, stream_id: Option<u32>) -> End {
        const SAID: &[&str] = &["kicked", "drained", "stopped", "refused", "rejected"];
        let served = self.links[link].served.as_ref();
        let reason = served.and_then(|served| served.close_reason.as_deref());
        let is_lost = reason.is_some_and(|reason| !SAID.contains(&reason));
        if self.follows && is_lost && stream_id.is_none() && !self.draining { End::Lost } else { End::Said }
    }

    pub(super) fn on_play_requested(&mut self, link: usize, request: &PlayRequest) {
        let now = self.now;
        let Some(served) = &mut self.links[link].served else { return };
        let core = served.core;
        if matches!(served.activity, Activity::Publishing { .. }) {
            self.tally.plays_while_publishing += 1;
            let description = "publishes already".into();
            let rejection = Rejection { code: code::PLAY_FAILED, description, close: false };
            return served.session.reject(now, request.request, rejection);
        }
        let takes_tracks = served.session.connect_info().is_some_and(|info| info.capabilities.multitrack());
        let key = request.address.key.clone();
        let home = self.home(&key, core);
        self.directory.entry(&key, home).holders |= 1 << core;
        let form = if takes_tracks { Form::Full } else { Form::Plain };
        let reader = Reader { connection: ConnectionRef(link as u64), stream_id: request.stream_id, form };
        let hub = &mut self.cores[core].hub;
        let subscriber = hub.subscribe(now, &key, id(home), reader, &self.settings);
        let is_live = hub.streams().any(|one| *one.key() == key && one.home() == id(home) && one.is_live());
        let (resyncs_before, is_queued) = (hub.counters().resyncs, hub.has_queued(subscriber));
        let Some(served) = &mut self.links[link].served else { return };
        served.plays += 1;
        let playing = Playing {
            stream_id: request.stream_id,
            subscriber,
            name: NAMES.iter().find(|name| **name == key.name()).expect("a known name"),
            key,
            nth: served.plays,
            at_home: home == core,
            resyncs_before,
            own_gaps: Vec::new(),
            alive_at: now,
            idle: !is_queued,
            paused: false,
            dropped_before: 0,
        };
        self.audience_changed_at = now;
        self.tally.plays += 1;
        self.tally.plays_again += u64::from(served.plays > 1);
        self.tally.plays_before_publish += u64::from(!is_live);
        self.tally.plays_of_replicas += u64::from(home != core);
        match &mut served.activity {
            Activity::Playing(all) => {
                self.tally.second_plays += 1;
                all.push(playing);
            }
            activity => *activity = Activity::Playing(vec![playing]),
        }
        served.session.accept_play(now, request.request);
        self.pump_hub(core);
    }

    /// Ends what the connection publishes or plays: on one message stream, or (`None`) on all.
    pub(super) fn stop(&mut self, link: usize, stream_id: Option<u32>) {
        let now = self.now;
        let end = self.end_of(link, stream_id);
        let Some(served) = &mut self.links[link].served else { return };
        let core = served.core;
        match std::mem::replace(&mut served.activity, Activity::None) {
            Activity::None => {}
            Activity::Publishing { publisher, .. } => {
                self.tally.unpublishes += 1;
                self.publisher_left_at = now;
                self.tally.publishers_lost += u64::from(end == End::Lost);
                self.cores[core].hub.unpublish(now, publisher, end);
                // A key that has gone does nothing.
                self.cores[core].hub.unpublish(now, publisher, end);
            }
            Activity::Playing(all) => {
                let ends = |one: &Playing| stream_id.is_none_or(|id| id == one.stream_id);
                let (ended, stay): (Vec<_>, Vec<_>) = all.into_iter().partition(ends);
                if !stay.is_empty() {
                    served.activity = Activity::Playing(stay);
                }
                self.audience_changed_at = now;
                for playing in ended {
                    assert!(self.cores[core].hub.unsubscribe(playing.subscriber).is_some());
                }
            }
            Activity::Moving { request, .. } => {
                let key = &request.address.key;
                if let Some(entry) = self.directory.get_mut(key) {
                    entry.arriving -= 1;
                }
                self.directory.forget_unheld(key);
            }
        }
        self.pump_hub(core);
    }

    /// Closes a connection for a reason of the server's, telling the peer where the protocol can.
    pub(super) fn close(&mut self, link: usize, reason: CloseReason) {
        let now = self.now;
        let Some(served) = &mut self.links[link].served else { return };
        if served.phase != Phase::Open {
            return;
        }
        if served.is_moving() {
            return self.shut(link, reason);
        }
        served.session.close(now, reason);
        self.drive(link);
    }

    /// Begins the end of a connection: what is queued still goes out.
    pub(super) fn begin_close(&mut self, link: usize, reason: CloseReason, linger: bool) {
        let give_up_at = self.now + CLOSE_TIME_MAX;
        let Some(served) = &mut self.links[link].served else { return };
        if served.phase != Phase::Open {
            return;
        }
        served.phase = Phase::Flushing { linger };
        served.give_up_at = give_up_at;
        self.tally.pings += served.session.counters().pings_sent;
        self.give_reason(link, &reason);
        self.withdraw(link);
        self.stop(link, None);
        self.wake_writer(link);
        self.resume_reading(link);
    }

    fn give_reason(&mut self, link: usize, reason: &CloseReason) {
        let Some(served) = &mut self.links[link].served else { return };
        if served.close_reason.is_none() {
            let label = label(reason);
            *self.tally.server_ends.entry(label.clone()).or_default() += 1;
            served.close_reason = Some(label);
        }
    }

    /// Ends a connection without waiting for anything: its operations all come back at once.
    pub(super) fn shut(&mut self, link: usize, reason: CloseReason) {
        let Some(served) = &mut self.links[link].served else { return };
        let unsent = served.in_flight.take().is_some_and(|write| !write.rest.is_empty());
        self.give_reason(link, &reason);
        self.withdraw(link);
        self.stop(link, None);
        let link = &mut self.links[link];
        link.lossy |= unsent;
        let Some(served) = link.served.take() else { return };
        // Input that nobody has read turns the close into a reset, which may overtake what was written.
        let reset = link.up.waiting(self.now) > 0 && self.rng.percent(50);
        if reset {
            link.lossy = true;
            link.down.cut(&mut self.rng, self.now);
        } else {
            link.down.finish(&mut self.rng, self.now);
        }
        self.cores[served.core].connections -= 1;
        let index = link.index;
        self.arm_down(index);
    }

    /// One of the connection's two tasks has ended; with the last one the connection goes.
    pub(super) fn on_task_ended(&mut self, link: usize) {
        let Some(served) = &self.links[link].served else { return };
        if served.reader_ended && served.writer_ended {
            self.shut(link, CloseReason::Io);
        }
    }
}

pub(super) fn label(reason: &CloseReason) -> String {
    match reason {
        CloseReason::Error(Error::PeerMisbehaved(PeerMisbehaved::Deadline(stage))) => {
            format!("deadline: {stage}")
        }
        reason => reason.label().to_string(),
    }
}
