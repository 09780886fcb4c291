//! How often each kind of event occurred: a simulation in which something never happens proves nothing about it.

use std::fmt;

use inrush::hub::HubCounters;

use crate::simulation::seeds::Sum;
use crate::simulation::witness::Sights;

macro_rules! tally {
    ($($name:ident),* $(,)?) => {
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Tally { $(pub(crate) $name: u64,)* }

        impl Sum for Tally {
            fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
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
    steps, publishes, publishes_refused, publishers_moved, unpublishes, streams_without_video, streams_without_audio,
    joins_at_home, joins_of_replicas, joins_of_waiting_streams, bursts, leaves, readers_stalled, pauses, unpauses, receive_audio,
    receive_video, frames_read, headers_read, notices_read, picture_gaps, sound_gaps, overflows, dropped_audio, dropped_video,
    dropped_data, hopeless, hopeless_kept, feed_pauses, feed_frames_withheld, resyncs, stale_messages, streams_gone, homes_changed,
    lost, claims_held, claims_decided, claims_turned_away, claims_withdrawn, replaced, mismatched, refused_by_tenure,
    refused_by_flapping, refused_by_priority, takeovers_newest, takeovers_priority, takeovers_silent, standbys, failovers, graces,
    graces_resumed, graces_expired, discontinuities, switches_seen, broadcasts_over, publishers_silent,
    codes_began,
}

impl Tally {
    pub(crate) fn add_hub(&mut self, counters: &HubCounters) {
        self.publishes_refused += counters.publishes_refused;
        self.overflows += counters.overflows;
        self.dropped_audio += counters.dropped.audio;
        self.dropped_video += counters.dropped.video;
        self.dropped_data += counters.dropped.data;
        self.hopeless += counters.hopeless;
        self.feed_pauses += counters.feed_pauses;
        self.feed_frames_withheld += counters.feed_frames_withheld;
        self.resyncs += counters.resyncs;
        self.stale_messages += counters.mesh_messages_stale;
        self.claims_held += counters.publishes_held;
        self.takeovers_newest += counters.takeovers_newest;
        self.takeovers_priority += counters.takeovers_priority;
        self.takeovers_silent += counters.takeovers_silent;
        self.standbys += counters.standbys;
        self.failovers += counters.failovers;
        self.graces += counters.graces;
        self.graces_resumed += counters.graces_resumed;
        self.graces_expired += counters.graces_expired;
        self.discontinuities += counters.discontinuities;
    }

    pub(crate) fn add_sights(&mut self, sights: &Sights) {
        self.frames_read += sights.frames;
        self.headers_read += sights.headers;
        self.notices_read += sights.notices;
        self.picture_gaps += sights.picture_gaps;
        self.sound_gaps += sights.sound_gaps;
        self.switches_seen += sights.switches;
    }

    pub(crate) fn assert_all_occurred(&self) {
        let never: Vec<_> = self.each().into_iter().filter(|(_, count)| *count == 0).collect();
        assert!(never.is_empty(), "never occurred: {never:?}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.each().iter().try_for_each(|(name, count)| writeln!(f, "{count:>10} {name}"))
    }
}
