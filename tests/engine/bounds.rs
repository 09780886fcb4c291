//! What holds after every step, whatever the peers do.

use std::time::Duration;

use super::client::SEGMENT_BYTES_MAX;
use super::served::{CONTROL_BYTES_MAX, Served};
use super::world::{Action, GOP_BYTES_MAX, GOP_FRAMES_MAX, QUEUE, World};

/// The largest message is a key frame of three times 3,000 bytes, a header far smaller; with chunk headers.
const FRAME_BYTES_MAX: usize = 9_200;
const HEADERS_BYTES_MAX: usize = 3 * 200;

/// What one segment brings.
const READ_BYTES_MAX: usize = SEGMENT_BYTES_MAX as usize;

impl World {
    /// Checks the connection and the core that a step has touched.
    pub(super) fn check_bounds(&self, action: Action) {
        match action {
            Action::ToServer(link) | Action::Drive(link) | Action::Write(link) | Action::ToClient(link) => {
                if let Some(served) = &self.links[link].served {
                    self.check_connection(served);
                    self.check_core(served.core);
                }
            }
            Action::Inbox(core) | Action::Flush(core) | Action::Sweep(core) => self.check_core(core),
            _ => {}
        }
    }

    fn check_connection(&self, served: &Served) {
        let limits = &self.session_settings.limits;
        let session = &served.session;
        assert!(session.held_bytes() < limits.held_bytes_max + READ_BYTES_MAX, "more is held than may be");
        // Encoders send one message at a time: beside what is held for an answer, its pieces, the segments that they begin and end in
        // with all else in them, and what is not parsed yet.
        let retained_max = session.held_bytes() + FRAME_BYTES_MAX + 3 * READ_BYTES_MAX;
        assert!(session.retained_bytes() <= retained_max, "{} bytes retained", session.retained_bytes());
        assert!(served.control_bytes <= CONTROL_BYTES_MAX || !served.is_open(), "answers pile up");
        assert_eq!(served.control_bytes, served.control.iter().map(|bytes| bytes.len()).sum::<usize>());
        if let Some(write) = &served.in_flight {
            let notices = 2 * 1024;
            assert!(write.bytes <= self.write_bytes_max + CONTROL_BYTES_MAX.max(FRAME_BYTES_MAX) + notices);
        }
        let hub = &self.cores[served.core].hub;
        for playing in served.playing() {
            let view = hub.subscriber(playing.subscriber).expect("it is there");
            assert_eq!((view.key(), view.stream_id()), (&playing.key, playing.stream_id));
            assert!(
                view.queued_bytes() <= QUEUE.bytes_max + FRAME_BYTES_MAX + HEADERS_BYTES_MAX + GOP_BYTES_MAX,
                "{} bytes queued",
                view.queued_bytes()
            );
            // A burst, a queue, and what may go over it: headers that were due, notices.
            assert!(view.queued() <= QUEUE.frames_max + GOP_FRAMES_MAX + 8, "{} queued", view.queued());
            assert!(!playing.paused || view.queued() <= QUEUE.frames_max);
            // Nobody sleeps while something is queued.
            let awake = served.in_flight.is_some() || served.write_due || !served.is_open();
            assert!(awake || view.queued() == 0, "a writer sleeps while something is queued");
        }
    }

    fn check_core(&self, index: usize) {
        let core = &self.cores[index];
        let here =
            self.links.iter().filter_map(|link| link.served.as_ref()).filter(|served| served.core == index);
        let (mut connections, mut players) = (0, 0);
        for served in here {
            connections += 1;
            players += served.playing().len();
        }
        assert_eq!(
            (core.connections, core.hub.subscribers().count()),
            (connections, players),
            "what is here is somebody's"
        );
        for stream in core.hub.streams() {
            assert!(stream.gop_frames() <= GOP_FRAMES_MAX);
            assert!(
                stream.gop_bytes() <= GOP_BYTES_MAX + 2 * HEADERS_BYTES_MAX + 4_096,
                "{}",
                stream.gop_bytes()
            );
            let is_somebody = stream.publisher().is_some() || stream.is_absent();
            assert!(!stream.is_home() || is_somebody == stream.is_live());
        }
    }

    /// After a sweep nobody is left who has taken nothing for too long.
    pub(super) fn check_nobody_hopeless(&self, core: usize) {
        for served in
            self.links.iter().filter_map(|link| link.served.as_ref()).filter(|served| served.core == core)
        {
            for playing in served.playing().iter().filter(|playing| !playing.paused && !playing.idle) {
                let rested = self.now - playing.alive_at;
                let view = self.cores[core].hub.subscriber(playing.subscriber).expect("it plays");
                let waits_ms = view.queued_ms(self.now);
                assert!(
                    rested <= Duration::from_millis(u64::from(QUEUE.stall_ms_max) + 1)
                        || waits_ms < QUEUE.ms_max / 2,
                    "hopeless for {rested:?}, and nobody said so"
                );
            }
        }
    }
}
