//! How long each stage of a connection may last, and when somebody must look again.

use core::time::Duration;

use super::Instant;
use crate::rtmp::Stage;

/// Longest duration of each stage of a server session.
///
/// Together they bound the life of a connection that never publishes or plays: 10 + 10 + 20 s by default.
#[derive(Clone, Debug)]
pub struct Deadlines {
    /// From the first byte we could have had to the end of C2.
    pub handshake: Duration,
    /// From there to `connect`.
    pub connect: Duration,
    /// From the answer to `connect`, or from the end of the last publish and play, to the next `publish` or `play`.
    pub publish_or_play: Duration,
    /// From the accepted `publish` to the first audio, video or data message.
    pub first_media: Duration,
    /// While publishing: between two reads that bring bytes.
    pub idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            publish_or_play: Duration::from_secs(20),
            first_media: Duration::from_secs(20),
            idle: Duration::from_secs(30),
        }
    }
}

impl Deadlines {
    /// How long `stage` may last.
    pub fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Handshake => self.handshake,
            Stage::Connect => self.connect,
            Stage::PublishOrPlay => self.publish_or_play,
            Stage::FirstMedia => self.first_media,
            Stage::Idle => self.idle,
        }
    }
}

/// Remembers which wake-up the driver was last asked for, so that it is asked again only when that changes something.
///
/// Deadlines mostly move away: the idle one does with every read. Then the old wake-up stays; when it comes, the
/// session finds nothing due and asks for the next one. So a stream costs one timer every few seconds, not one a read.
#[derive(Clone, Debug)]
pub(crate) struct Announced(Instant);

impl Default for Announced {
    fn default() -> Self {
        Self(Instant::FAR_FUTURE)
    }
}

impl Announced {
    /// The wake-up to ask for now, if `due` is nearer than the one asked for.
    pub(crate) fn update(&mut self, due: Instant) -> Option<Instant> {
        (due < self.0).then(|| {
            self.0 = due;
            due
        })
    }

    /// Time has come to `now`: a wake-up asked for until then is used up.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        if self.0 <= now {
            self.0 = Instant::FAR_FUTURE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_is_asked_for_when_nearer_or_used_up() {
        let at = Instant::from_micros;
        let mut announced = Announced::default();
        assert_eq!(announced.update(at(100)), Some(at(100)));
        assert_eq!(announced.update(at(200)), None, "it moved away");
        assert_eq!(announced.update(at(50)), Some(at(50)));
        announced.on_timeout(at(49));
        assert_eq!(announced.update(at(200)), None, "still ahead");
        announced.on_timeout(at(50));
        assert_eq!(announced.update(at(200)), Some(at(200)));
    }
}
