//! Forwarding: a connection that we made publishes there what is published here.
//!
//! When the target says yes, the connection subscribes to its stream like a player, and what is queued for it is written like a player's
//! ([`super::writing`]), in the wire form that all share: nothing is copied or parsed again, but for metadata. Its end is in the queue too:
//! the hub's last notice stands behind what was published before it, and when that is reached the session says that it stops. So a stream's
//! end and [`Core::hang_up`] lose nothing that the target still takes.
//! # Bounds
//! What waits for a target is the hub's queue, with the drop policy of a player's.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::smallvec;
use tracing::{debug, info};

use super::connection::{Activity, ConnectionKey, Playing};
use super::core::Core;
use super::lease::Lease;
use super::outgoing::{OutgoingEnd, OutgoingEvent, Task};
use super::outside::News;
use super::requests::user_timeout;
use super::socket;
use crate::hub::{Reader, SubscriberKey};
use crate::media::frame::FRAME_CHUNK_SIZE;
use crate::media::{Form, Frame, FrameRole};
use crate::rtmp::Payload;
use crate::rtmp::chunk::WireHeaders;
use crate::rtmp::message::{MessageHeader, type_id};
use crate::session::{CloseReason, Instant};

/// `@setDataFrame` as an AMF0 string.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";

/// Whether frames go to a target that we have connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarding {
    /// To a player.
    No,
    /// Nothing that a target can begin with has left yet.
    Starts,
    /// It has.
    HasBegun,
}

impl Forwarding {
    /// Whether this frame is any different for it than for a player: nearly none is.
    pub(crate) fn concerns(self, frame: &Frame) -> bool {
        match self {
            Self::No => false,
            Self::Starts => true,
            Self::HasBegun => frame.role() == FrameRole::Metadata,
        }
    }
}

impl Core {
    /// Whether this connection forwards.
    pub(crate) fn forwarding(&self, key: ConnectionKey) -> Forwarding {
        match self.connection_ref(key).and_then(|connection| connection.session.made()) {
            None => Forwarding::No,
            Some(outgoing) if outgoing.has_begun => Forwarding::HasBegun,
            Some(_) => Forwarding::Starts,
        }
    }

    /// The target has said yes: the connection reads its stream.
    pub(crate) fn begin_forward(&mut self, key: ConnectionKey, now: Instant) {
        let shared = Arc::clone(&self.shared);
        let home = self.id;
        let Some(connection) = self.connection(key) else { return };
        let Some(outgoing) = connection.session.made_mut() else { return };
        let Task::Forward { from, queue } = outgoing.task else { return };
        let (Some(stream_id), stream) = (outgoing.session.stream_id(), outgoing.stream.clone()) else {
            return;
        };
        let form = if outgoing.takes_tracks { Form::Full } else { Form::Plain };
        // It lives here: the directory knows of it as long as the hub does.
        if !self.hub.is_published(&stream) {
            return self.end_made(key, OutgoingEnd::StreamGone, CloseReason::Stopped);
        }
        let mut settings = self.app_settings(stream.app());
        settings.queue = queue;
        let unsent_bytes_max = self.settings.subscriber_unsent_bytes_max;
        let reader = Reader { connection: key.into(), stream_id, form };
        let subscriber = self.hub.subscribe_from(now, &stream, home, reader, &settings, from);
        let Some(connection) = self.connection(key) else { return };
        if let Err(error) =
            socket::tune_subscriber(&connection.socket, unsent_bytes_max, user_timeout(&queue))
        {
            debug!(parent: &connection.span, %error, "forward's socket options");
        }
        info!(
            parent: &connection.span,
            app = stream.app(),
            stream = shared.names.hash(stream.name()),
            "forwards"
        );
        connection.activity = Activity::Playing(smallvec![Playing {
            since: now,
            reader,
            subscriber,
            key: stream,
            lease: Lease::default(),
            seat: None,
        }]);
        self.pump_hub();
    }

    /// A forward has taken this frame out of its queue. Gives what is to be written; `None` for a frame that goes out in its shared form.
    /// Nothing comes of it for other frames than metadata once it has begun.
    ///
    /// Of metadata a publisher says that it is to be set: so encoders send it, and services read nothing else. That is rare, and copied.
    pub(crate) fn forwarded(
        &mut self,
        key: ConnectionKey,
        now: Instant,
        subscriber: SubscriberKey,
        frame: &Frame,
        reader: Reader,
    ) -> Option<Bytes> {
        let is_first = match frame.role() {
            FrameRole::Key => true,
            role if role.is_header() => false,
            _ => !self.hub.subscriber(subscriber).is_some_and(|view| view.stream_has_video(now)),
        };
        let outgoing = self.connection(key)?.session.made_mut()?;
        if is_first && !std::mem::replace(&mut outgoing.has_begun, true) {
            let id = outgoing.id;
            self.tell(News::Outgoing { id, event: OutgoingEvent::Began });
        }
        (frame.role() == FrameRole::Metadata).then(|| set_data_frame(frame, reader))
    }

    /// The hub has nothing more for a forward: what its session says last, to be written behind all else.
    pub(crate) fn last_words(&mut self, key: ConnectionKey, now: Instant) -> Option<Bytes> {
        let outgoing = self.connection(key)?.session.made_mut()?;
        outgoing.end.get_or_insert(OutgoingEnd::StreamGone);
        outgoing.session.stop(now);
        outgoing.session.poll_send()
    }
}

/// `@setDataFrame` in front of metadata, whole: the frame's copy for one target.
fn set_data_frame(frame: &Frame, reader: Reader) -> Bytes {
    let (payload, _) = frame.in_form(reader.form);
    let named = std::iter::once(Bytes::from_static(SET_DATA_FRAME));
    let payload: Payload = named.chain(payload.slices().iter().cloned()).collect();
    let header = MessageHeader {
        timestamp: frame.timestamp(),
        type_id: type_id::DATA_AMF0,
        stream_id: reader.stream_id,
    };
    let mut out = BytesMut::new();
    WireHeaders::new(&header, payload.len(), FRAME_CHUNK_SIZE).write_to(&payload, &mut out);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::ConnectionRef;
    use crate::media::{FrameInfo, MediaKind, TrackId};

    fn frame(kind: MediaKind, role: FrameRole, body: Payload) -> Frame {
        let (track, arrived) = (TrackId::DEFAULT, Instant::default());
        Frame::new(FrameInfo { kind, role, track, timestamp: 0x0102, arrived, starts_gop: false }, body, 0)
    }

    /// Metadata gets its name in front, and everything else stays: its time, its slices, the target's message stream.
    #[test]
    fn metadata_is_said_to_be_set() {
        let body: Payload =
            [&b"\x02\x00\x0aonMeta"[..], b"Data\x05"].map(Bytes::from_static).into_iter().collect();
        let frame = frame(MediaKind::Data, FrameRole::Metadata, body);
        for (form, stream_id) in [(Form::Full, 1), (Form::Plain, 7)] {
            let reader = Reader { connection: ConnectionRef(1), stream_id, form };
            let expected = [
                &[5, 0, 1, 2, 0, 0, 30, 18, stream_id as u8, 0, 0, 0][..],
                b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData\x05",
            ];
            assert_eq!(set_data_frame(&frame, reader), expected.concat());
        }
    }

    /// Of what a forward that has begun is given only metadata is looked at; of a player's nothing.
    #[test]
    fn few_frames_concern_a_forward() {
        let picture = frame(MediaKind::Video, FrameRole::Key, Bytes::from_static(b"body").into());
        let metadata = frame(MediaKind::Data, FrameRole::Metadata, Bytes::from_static(b"body").into());
        let concerns = |forwarding: Forwarding| [&picture, &metadata].map(|frame| forwarding.concerns(frame));
        assert_eq!(concerns(Forwarding::No), [false, false]);
        assert_eq!(concerns(Forwarding::Starts), [true, true]);
        assert_eq!(concerns(Forwarding::HasBegun), [false, true]);
    }
}
