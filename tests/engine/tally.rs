//! How often each kind of event occurred: a simulation in which something never happens proves nothing about it.

use std::collections::BTreeMap;
use std::fmt;

use inrush::hub::HubCounters;

use crate::simulation::seeds::Sum;
use crate::simulation::witness::Sights;

macro_rules! tally {
    ($($name:ident),* $(,)?) => {
        /// Every count but those by close reason must be above 0 in the end; of close reasons, those in [`ENDS`].
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Tally {
            $(pub(crate) $name: u64,)*
            /// Ends of server and client sessions, by label.
            pub(crate) server_ends: BTreeMap<String, u64>,
            pub(crate) client_ends: BTreeMap<String, u64>,
        }

        impl Sum for Tally {
            fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
                for (into, from) in
                    [(&mut self.server_ends, &other.server_ends), (&mut self.client_ends, &other.client_ends)]
                {
                    from.iter().for_each(|(label, count)| *into.entry(label.clone()).or_default() += count);
                }
            }
        }

        impl Tally {
            fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

tally! {
    steps, connections, connections_refused, publishers_moved, publishers_moved_while_cut, publishes, publishes_refused,
    takeovers_refused, ghosts_refused, republishes, publishes_repeated, unpublishes, eager_publishers, bursts, cameras_off,
    publishes_while_playing,    plays_while_publishing, plays, plays_before_publish, plays_of_replicas, second_plays, plays_again, plays_closed, streams_deleted,
    pauses, unpauses, seeks, receive_audio, receive_video, messages_sent, messages_ingested, frames_received, headers_received, notices_received, picture_gaps,
    sound_gaps, metadata_set, metadata_cleared, data_in_amf3, chunk_size_changes, links_cut, links_reset, links_frozen, links_silent,
    readers_stalled, cores_stalled, kicked, drains, stops, budgets_used_up, inputs_moved, writes_waited, sends_failed, lingered,
    gave_up, pings, overflows, dropped_audio, dropped_video, dropped_data, hopeless, feed_pauses, feed_frames_withheld, resyncs, resumed_at_sound,
    claims_held, claims_turned_away, claims_withdrawn, replaced, publishers_lost, takeovers_newest, takeovers_priority, takeovers_silent,
    graces_resumed, graces_expired, discontinuities, switches_seen,
    stale_messages, streams_gone, served_again, ends_heard, ends_with_all_received, audiences_told,
}

/// How sessions must have ended, each at least once.
const SERVER_ENDS: &[&str] = &[
    "deadline: connect",
    "deadline: first media",
    "deadline: handshake",
    "deadline: next byte",
    "deadline: publish or play",
    "drained",
    "eof",
    "hopeless",
    "kicked",
    "rejected",
    "reset",
];
const CLIENT_ENDS: &[&str] = &["deadline", "eof", "refused", "stopped"];

impl Tally {
    pub(crate) fn add_hub(&mut self, counters: &HubCounters) {
        self.messages_ingested += counters.messages_ingested;
        self.publishes_refused += counters.publishes_refused;
        self.claims_held += counters.publishes_held;
        self.takeovers_newest += counters.takeovers_newest;
        self.takeovers_priority += counters.takeovers_priority;
        self.takeovers_silent += counters.takeovers_silent;
        self.graces_resumed += counters.graces_resumed;
        self.graces_expired += counters.graces_expired;
        self.discontinuities += counters.discontinuities;
        self.overflows += counters.overflows;
        self.dropped_audio += counters.dropped.audio;
        self.dropped_video += counters.dropped.video;
        self.dropped_data += counters.dropped.data;
        self.hopeless += counters.hopeless;
        self.feed_pauses += counters.feed_pauses;
        self.feed_frames_withheld += counters.feed_frames_withheld;
        self.resyncs += counters.resyncs;
        self.stale_messages += counters.mesh_messages_stale;
    }

    pub(crate) fn add_sights(&mut self, sights: &Sights) {
        self.frames_received += sights.frames;
        self.headers_received += sights.headers;
        self.notices_received += sights.notices;
        self.picture_gaps += sights.picture_gaps;
        self.sound_gaps += sights.sound_gaps;
        self.switches_seen += sights.switches;
    }

    pub(crate) fn assert_all_occurred(&self) {
        let never: Vec<_> = self.each().into_iter().filter(|(_, count)| *count == 0).collect();
        assert!(never.is_empty(), "never occurred: {never:?}");
        for (ends, required) in [(&self.server_ends, SERVER_ENDS), (&self.client_ends, CLIENT_ENDS)] {
            let never: Vec<_> = required.iter().filter(|label| !ends.contains_key(**label)).collect();
            assert!(never.is_empty(), "no session ended with {never:?}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.each().iter().try_for_each(|(name, count)| writeln!(f, "{count:>12} {name}"))?;
        for (side, ends) in [("server", &self.server_ends), ("client", &self.client_ends)] {
            ends.iter().try_for_each(|(label, count)| writeln!(f, "{count:>12} {side} ended: {label}"))?;
        }
        Ok(())
    }
}
