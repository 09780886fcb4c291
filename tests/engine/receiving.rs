//! What players get, held against what the server has written for them and what publishers have sent.

use inrush::hub::{DropCounts, LocalFrame};
use inrush::media::MediaKind;
use inrush::session::{MediaMessage, Notice, status::code};

use super::world::World;
use crate::simulation::encoder::{Seen, index};
use crate::simulation::servers_own::is_servers_own;
use crate::simulation::witness::Witness;

/// One thing that the server has written for a player, and how things stood then.
pub(super) struct Expected {
    pub(super) what: What,
    /// Which of the connection's plays it is of, from 1.
    pub(super) play: u32,
    pub(super) stream_id: u32,
    pub(super) name: &'static str,
    /// What was kept from the player so far.
    pub(super) dropped: DropCounts,
    /// Gaps that its core has had since it joined.
    pub(super) resyncs: u64,
    /// Kinds in which the next gap is the player's own doing.
    pub(super) own_gaps: Vec<MediaKind>,
}

pub(super) enum What {
    Frame(LocalFrame),
    Notice(Notice),
}

/// A player's memory.
pub(super) struct Viewing {
    /// Publishers may follow one another.
    follows: bool,
    /// Plays that the server said have begun.
    pub(super) begun: u32,
    /// What was seen of each message stream's newest play.
    pub(super) witnesses: Vec<Seat>,
}

pub(super) struct Seat {
    pub(super) stream_id: u32,
    pub(super) play: u32,
    pub(super) witness: Witness,
    /// Of the last picture and sound, by kind, to see that none steps back.
    last: [Option<(u32, u32)>; 3],
}

impl Viewing {
    pub(super) fn new(follows: bool) -> Self {
        Self { follows, begun: 0, witnesses: Vec::new() }
    }

    /// The seat of a play; a newer play of the same message stream begins with an empty memory.
    fn seat(&mut self, stream_id: u32, play: u32) -> &mut Seat {
        let witness = || if self.follows { Witness::of_followers(true) } else { Witness::default() };
        let fresh = || Seat { stream_id, play, witness: witness(), last: [None; 3] };
        let at = match self.witnesses.iter().position(|seat| seat.stream_id == stream_id) {
            Some(at) => at,
            None => {
                self.witnesses.push(fresh());
                self.witnesses.len() - 1
            }
        };
        let seat = &mut self.witnesses[at];
        if seat.play != play {
            assert!(seat.play < play, "a frame of a play that is over");
            *seat = fresh();
        }
        seat
    }
}

impl World {
    /// The next of what was written for the player, of a play that it was told has begun.
    fn take_expected(&mut self, link: usize) -> Expected {
        let link = &mut self.links[link];
        let expected = link.expected.pop_front().expect("nothing more was written");
        assert!(expected.play <= link.viewing.begun, "a frame before the answer to its play");
        for kind in &expected.own_gaps {
            link.viewing.seat(expected.stream_id, expected.play).witness.asks_for_gap(&[*kind]);
        }
        expected
    }

    pub(super) fn on_media(&mut self, link: usize, message: &MediaMessage) {
        if is_servers_own(message) {
            return;
        }
        let expected = self.take_expected(link);
        let What::Frame(frame) = &expected.what else { panic!("a frame before the notice that was due") };
        let body = message.payload.to_bytes();
        assert_eq!(
            (message.kind, message.timestamp, message.stream_id),
            (frame.kind(), frame.timestamp(), expected.stream_id),
        );
        assert!(frame.payload().to_bytes() == body, "not what was written");

        let seen = Seen::of(message.kind, &body);
        self.ledger.check(expected.name, &seen, message.timestamp, &body);
        let seat = self.links[link].viewing.seat(expected.stream_id, expected.play);
        seat.witness.see_time(frame);
        seat.witness.see_frame(&seen, &expected.dropped, expected.resyncs, &mut self.sights);
        if self.ledger.is_monotonic() && !seen.is_header {
            let last = &mut seat.last[index(seen.kind)];
            let is_back = |(life, timestamp): (u32, u32)| {
                life == seen.label.life && message.timestamp.wrapping_sub(timestamp) > u32::MAX / 2
            };
            assert!(!last.is_some_and(is_back), "{seen:?} steps back to {}", message.timestamp);
            *last = Some((seen.label.life, message.timestamp));
        }
    }

    pub(super) fn on_status(&mut self, link: usize, said: &str) {
        let notice = match said {
            code::PLAY_RESET => {
                self.links[link].viewing.begun += 1;
                return;
            }
            code::PLAY_PUBLISH_NOTIFY => Notice::PublishNotify,
            code::PLAY_UNPUBLISH_NOTIFY => Notice::UnpublishNotify,
            _ => return,
        };
        let expected = self.take_expected(link);
        assert!(
            matches!(expected.what, What::Notice(due) if due == notice),
            "{notice:?} is not what was due"
        );
        let seat = self.links[link].viewing.seat(expected.stream_id, expected.play);
        seat.witness.see_notice(notice, &mut self.sights);
    }

    /// The server has closed, and nothing has got lost on the way.
    pub(super) fn check_all_received(&mut self, link: usize) {
        self.tally.ends_with_all_received += 1;
        assert!(self.links[link].expected.is_empty(), "written and never received");
    }
}
