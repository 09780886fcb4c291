//! What each message of a peer does, but for commands: media, control messages, and what is let pass.

use super::{Failure, ServerSession, ping_stamp};
use crate::rtmp::message::type_id;
use crate::rtmp::{Control, Message, PeerMisbehaved, UserControl};
use crate::session::acknowledgement::INTERVAL_BYTES_MIN;
use crate::session::{MediaKind, MediaMessage, Oddity};

/// Bytes of media that a session may send between one publish and the next before that is an offence.
///
/// An encoder that stops, or does not wait for our answer to `publish`, has at most a second or so on its way: 1 MiB is one
/// second at 8 Mbit/s. It is dropped and counted.
pub const STRAY_MEDIA_BYTES_MAX: u64 = 1024 * 1024;

/// What one step of parsing came to.
pub(super) enum Parsed {
    Media(MediaMessage),
    /// Something else, whose outputs are queued, if it has any.
    Other,
    NeedBytes,
}

impl ServerSession {
    /// Parses one message.
    pub(super) fn parse(&mut self) -> Result<Parsed, Failure> {
        let message = self.incoming.next(self.now);
        if self.incoming.take_headerless_start() {
            self.behaviour.headerless_start = true;
            self.tolerate(Oddity::HeaderlessStart);
        }
        match message? {
            Some(message) => {
                self.counters.messages_in += 1;
                self.on_message(message)
            }
            None => Ok(Parsed::NeedBytes),
        }
    }

    fn on_message(&mut self, message: Message) -> Result<Parsed, Failure> {
        self.unclaimed_bytes = self.unclaimed_bytes.saturating_add(message.wire_bytes);
        match message.header.type_id {
            type_id::AUDIO => return self.on_media(MediaKind::Audio, message),
            type_id::VIDEO => return self.on_media(MediaKind::Video, message),
            type_id::DATA_AMF0 | type_id::DATA_AMF3 => return self.on_media(MediaKind::Data, message),
            type_id::COMMAND_AMF0 | type_id::COMMAND_AMF3 => self.on_command(&message)?,
            type_id::SHARED_OBJECT_AMF0 | type_id::SHARED_OBJECT_AMF3 => self.tolerate(Oddity::SharedObject),
            _ => match Control::parse(&message)? {
                Some(control) => self.on_control(control)?,
                None => self.tolerate(Oddity::UnknownMessageType),
            },
        }
        Ok(Parsed::Other)
    }

    fn on_media(&mut self, kind: MediaKind, message: Message) -> Result<Parsed, Failure> {
        let Some((publishing_id, _)) = self.streams.publishing() else {
            self.tolerate(Oddity::StrayMedia);
            self.counters.stray_media_bytes += u64::from(message.wire_bytes);
            self.stray_media_bytes += u64::from(message.wire_bytes);
            return match self.stray_media_bytes {
                ..=STRAY_MEDIA_BYTES_MAX => Ok(Parsed::Other),
                _ => Err(PeerMisbehaved::MediaBeforePublish.into()),
            };
        };
        if message.header.stream_id != publishing_id {
            self.tolerate(Oddity::MediaOnOtherStream);
        }
        self.media_seen = true;
        let count = match kind {
            MediaKind::Audio => &mut self.counters.audio,
            MediaKind::Video => &mut self.counters.video,
            MediaKind::Data => &mut self.counters.data,
        };
        count.messages += 1;
        count.bytes += message.payload.len() as u64;
        Ok(Parsed::Media(MediaMessage {
            kind,
            type_id: message.header.type_id,
            stream_id: publishing_id,
            timestamp: message.header.timestamp,
            payload: message.payload,
            wire_bytes: core::mem::take(&mut self.unclaimed_bytes),
        }))
    }

    /// Set Chunk Size and Abort have taken effect in the reader already.
    fn on_control(&mut self, control: Control) -> Result<(), Failure> {
        match control {
            Control::WindowAckSize(bytes) => {
                self.acknowledgements.on_window(bytes);
                if u64::from(bytes) < 2 * INTERVAL_BYTES_MIN {
                    self.tolerate(Oddity::TinyWindow);
                }
            }
            Control::Acknowledgement(sequence) => self.counters.acknowledged_by_peer = sequence,
            Control::User(UserControl::PingRequest(stamp)) => {
                self.send_control(Control::User(UserControl::PingResponse(stamp)));
            }
            Control::User(UserControl::PingResponse(stamp)) => {
                if self.counters.pings_sent > 0 && stamp == ping_stamp(self.pinged_at) {
                    self.counters.round_trip = Some(self.received_at - self.pinged_at);
                }
            }
            Control::User(UserControl::Unknown(_)) => self.tolerate(Oddity::UnknownUserControl),
            // Nothing here waits for acknowledgements, so there is no window of ours to set; a player's buffer length is
            // its own matter, since everything here is live.
            Control::SetPeerBandwidth { .. } | Control::User(_) => {}
            Control::SetChunkSize(_) | Control::Abort(_) => {}
        }
        Ok(())
    }
}
