//! The end of a run: everybody is served once more, then all leave. Or the server goes down.

use std::time::Duration;

use inrush::hub::{Hub, SubscriberKey};
use inrush::rtmp::command::write;
use inrush::session::{CloseReason, Role};

use super::core::Letter;
use super::served::{Activity, Served};
use super::world::{Action, World};

const DRAIN: Duration = Duration::from_secs(3);

/// The pace of the sweep, and time for what it says to get home; or for what a hub says to get to its players.
const NEWS_TRAVEL: Duration = Duration::from_millis(300);

impl World {
    /// Nothing breaks any more, half-dead links are given up, and every player wants everything.
    pub(super) fn calm(&mut self) {
        self.is_calm = true;
        self.inbox_bytes_max = usize::MAX;
        for index in 0..self.links.len() {
            if self.links[index].frozen {
                self.cut(index);
            }
            let link = &mut self.links[index];
            link.stalled = false;
            self.arm_down(index);
            let link = &self.links[index];
            if link.role == Role::Play
                && let Some(stream_id) = link.client.stream_id()
            {
                for stream_id in [stream_id, stream_id + 1] {
                    self.say(index, &write::pause(stream_id, 6.0, false, 0.0));
                    self.say(index, &write::receive_audio(stream_id, true));
                    self.say(index, &write::receive_video(stream_id, true));
                }
            }
        }
    }

    /// Each publisher starts a GOP.
    pub(super) fn serve_everybody(&mut self) {
        for served in self.links.iter_mut().filter_map(|link| link.served.as_mut()) {
            let hub = &self.cores[served.core].hub;
            for playing in served.playing_mut() {
                playing.dropped_before = dropped(hub, playing.subscriber);
            }
        }
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            if link.client_done || link.silent || !link.client.is_ready() {
                continue;
            }
            let Some(publishing) = link.publishing.as_mut().filter(|publishing| !publishing.stopped) else {
                continue;
            };
            publishing.served = true;
            publishing.switch_camera_on();
            let messages = publishing.encoder.start(&mut self.rng);
            messages.into_iter().for_each(|message| self.send_message(index, message));
        }
    }

    /// Each player on whatever core has got to the end of what its publisher sent, unless its link is too slow for that and pictures were
    /// dropped; players of streams without a publisher have heard of the end.
    pub(super) fn check_served(&mut self) {
        // Of one whose client cannot be heard nobody knows what it wants.
        for link in self.links.iter().filter(|link| !link.silent) {
            let Some(served) = &link.served else { continue };
            for playing in served.playing() {
                let seat = link
                    .viewing
                    .witnesses
                    .iter()
                    .find(|seat| (seat.stream_id, seat.play) == (playing.stream_id, playing.nth));
                let publisher = self
                    .links
                    .iter()
                    .find(|other| other.served.as_ref().is_some_and(|served| served.publishes(&playing.key)));
                match publisher {
                    Some(publisher) => {
                        let Some(publishing) = publisher.publishing.as_ref().filter(|one| one.served) else {
                            continue;
                        };
                        let witness = &seat.expect("it was served").witness;
                        let encoder = &publishing.encoder;
                        let last = witness.last().expect("a frame");
                        let hub = &self.cores[served.core].hub;
                        if dropped(hub, playing.subscriber) == playing.dropped_before {
                            let newest = (encoder.life, encoder.newest());
                            assert_eq!((last.life, last.number), newest, "{witness:?}");
                        }
                        let metadata = Some((encoder.life, encoder.metadata()));
                        assert_eq!(witness.metadata(), metadata, "{witness:?}");
                        self.tally.served_again += 1;
                    }
                    None => {
                        let told = seat.is_none_or(|seat| seat.witness.saw_end());
                        // Of one that left just now the news may still be on its way, and one that was lost is waited for.
                        let grace = Duration::from_millis(self.settings.continuity.grace_ms.into());
                        let waits = if self.follows { grace + NEWS_TRAVEL } else { NEWS_TRAVEL };
                        let just_now = self.now - self.publisher_left_at < waits;
                        assert!(told || just_now, "an end that was not told");
                        self.tally.ends_heard += u64::from(seat.is_some());
                    }
                }
            }
        }
        self.check_audiences();
    }

    /// Each home knows the players on all cores, unless one has come or left just now.
    fn check_audiences(&mut self) {
        if self.now - self.audience_changed_at < NEWS_TRAVEL {
            return;
        }
        self.tally.audiences_told += 1;
        for core in &self.cores {
            for stream in core.hub.streams().filter(|stream| stream.is_home()) {
                let all = self.links.iter().filter_map(|link| link.served.as_ref());
                let players = all.flat_map(|served| served.playing()).filter(|one| one.key == *stream.key());
                assert_eq!(stream.subscribers(), players.count() as u64, "audience of {:?}", stream.key());
            }
        }
    }

    /// All leave, one by one and in every way.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        for link in 0..self.links.len() {
            let ms = self.rng.below(500);
            self.schedule_in_ms(ms, Action::LeaveOne(link));
        }
        if self.rng.percent(30) {
            self.schedule_in_ms(250, Action::Drain);
        }
    }

    pub(super) fn leave_one(&mut self, link: usize) {
        match self.rng.below(6) {
            0 => self.cut(link),
            1 => self.close(link, CloseReason::Kicked),
            2 => {} // by its deadline, by a drain, or when the kernel gives up on it
            _ => {
                self.links[link].client.stop(self.now);
                self.drain_client(link);
            }
        }
    }

    pub(super) fn cut_all(&mut self) {
        for link in 0..self.links.len() {
            self.cut(link);
        }
    }

    /// Takes no new connections and waits for publishers to leave, for so long.
    pub(super) fn drain(&mut self) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        self.tally.drains += 1;
        self.drain_ends_at = self.now + DRAIN;
    }

    /// Stops all cores when a drain has nothing more to wait for.
    pub(super) fn end_drain(&mut self) {
        let publishes = |served: &Served| matches!(served.activity, Activity::Publishing { .. });
        let publishers =
            self.links.iter().filter_map(|link| link.served.as_ref()).filter(|served| publishes(served));
        let waits = publishers.count() > 0 || self.directory.arriving() > 0;
        if !self.draining || self.stopping || waits && self.now < self.drain_ends_at {
            return;
        }
        self.stopping = true;
        self.tally.stops += 1;
        (0..self.cores.len()).for_each(|core| self.push(core, Letter::Stop));
    }
}

fn dropped(hub: &Hub, subscriber: SubscriberKey) -> u64 {
    hub.subscriber(subscriber).map_or(0, |view| view.totals().dropped.total())
}
