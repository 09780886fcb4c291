//! Protocol control messages (RTMP 1.0 §5.4) and user control messages (§6.2), typed.
//!
//! They take effect wherever they stand: the specification wants them on chunk stream 2 and message stream 0
//! with a timestamp that is ignored, and peers do not always keep to it.
//! # Errors
//! A message shorter than its fields is [`PeerMisbehaved::ControlLength`]; what follows the fields is
//! ignored. A chunk size of 0 or with the top bit set is [`PeerMisbehaved::ChunkSize`].

use bytes::{BufMut, BytesMut};

use super::{
    Message, MessageHeader, Payload, PeerMisbehaved, UserControl, chunk::CHUNK_SIZE_MAX, message::type_id,
};

/// A control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The sender's chunks hold up to so many bytes from now on, 1..=0x7FFFFFFF (§5.4.1). Taken as it is: to
    /// clamp it would put both sides out of step.
    SetChunkSize(u32),
    /// The sender will not finish the message under way on this chunk stream (§5.4.2).
    Abort(u32),
    /// So many bytes have been received since the session began, wrapping at 2^32 (§5.4.3).
    Acknowledgement(u32),
    /// The sender expects an acknowledgement after each so many bytes (§5.4.4).
    WindowAckSize(u32),
    /// The receiver is to have no more than so many bytes unacknowledged (§5.4.5).
    SetPeerBandwidth {
        /// Window, bytes.
        bytes: u32,
        /// How strictly.
        limit: BandwidthLimit,
    },
    /// An event of the streaming layer (§6.2).
    User(UserControl),
}

/// How the window of Set Peer Bandwidth is meant (RTMP 1.0 §5.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandwidthLimit {
    /// This window.
    Hard,
    /// This window or the one in effect, whichever is smaller.
    Soft,
    /// As hard, if the last one was hard; otherwise to be ignored. Also stands for a limit type that we do
    /// not know.
    Dynamic,
}

impl Control {
    /// Parses a control message; `None` when the message is of another type. A user control event that we do
    /// not know is [`UserControl::Unknown`], to be ignored and counted.
    pub fn parse(message: &Message) -> Result<Option<Self>, PeerMisbehaved> {
        let payload = &message.payload;
        let too_short =
            || PeerMisbehaved::ControlLength { type_id: message.header.type_id, len: payload.len() };
        let number = || payload.array(0).map(u32::from_be_bytes).ok_or_else(too_short);
        Ok(Some(match message.header.type_id {
            type_id::SET_CHUNK_SIZE => match number()? {
                bytes @ 1..=CHUNK_SIZE_MAX => Self::SetChunkSize(bytes),
                bytes => return Err(PeerMisbehaved::ChunkSize(bytes)),
            },
            type_id::ABORT => Self::Abort(number()?),
            type_id::ACKNOWLEDGEMENT => Self::Acknowledgement(number()?),
            type_id::WINDOW_ACK_SIZE => Self::WindowAckSize(number()?),
            type_id::SET_PEER_BANDWIDTH => {
                let bytes = number()?;
                // librtmp takes a missing limit type as none; so do we.
                let limit = payload.byte(4).map_or(BandwidthLimit::Dynamic, BandwidthLimit::from_wire);
                Self::SetPeerBandwidth { bytes, limit }
            }
            type_id::USER_CONTROL => Self::User(UserControl::parse(payload).ok_or_else(too_short)?),
            _ => return Ok(None),
        }))
    }

    /// The message that says this: on message stream 0, to be sent on
    /// [`super::chunk::ChunkStreamId::CONTROL`].
    pub fn to_message(&self) -> Message {
        let mut body = BytesMut::with_capacity(12);
        let type_id = match *self {
            Self::SetChunkSize(bytes) => {
                body.put_u32(bytes);
                type_id::SET_CHUNK_SIZE
            }
            Self::Abort(chunk_stream) => {
                body.put_u32(chunk_stream);
                type_id::ABORT
            }
            Self::Acknowledgement(bytes) => {
                body.put_u32(bytes);
                type_id::ACKNOWLEDGEMENT
            }
            Self::WindowAckSize(bytes) => {
                body.put_u32(bytes);
                type_id::WINDOW_ACK_SIZE
            }
            Self::SetPeerBandwidth { bytes, limit } => {
                body.put_u32(bytes);
                body.put_u8(limit.to_wire());
                type_id::SET_PEER_BANDWIDTH
            }
            Self::User(event) => {
                event.write(&mut body);
                type_id::USER_CONTROL
            }
        };
        Message::new(MessageHeader { timestamp: 0, type_id, stream_id: 0 }, Payload::from(body.freeze()))
    }
}

impl BandwidthLimit {
    fn from_wire(byte: u8) -> Self {
        match byte {
            0 => Self::Hard,
            1 => Self::Soft,
            _ => Self::Dynamic,
        }
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::Hard => 0,
            Self::Soft => 1,
            Self::Dynamic => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(type_id: u8, body: &'static [u8]) -> Message {
        Message::new(MessageHeader { timestamp: 7, type_id, stream_id: 3 }, Bytes::from_static(body))
    }

    /// Each control message has the bytes of the specification's figures, and reads back.
    #[test]
    fn golden_bytes() {
        for (control, type_id, body) in [
            (Control::SetChunkSize(60_000), 1, &[0, 0, 0xea, 0x60][..]),
            (Control::Abort(6), 2, &[0, 0, 0, 6]),
            (Control::Acknowledgement(u32::MAX), 3, &[0xff, 0xff, 0xff, 0xff]),
            (Control::User(UserControl::StreamBegin(1)), 4, &[0, 0, 0, 0, 0, 1]),
            (Control::WindowAckSize(2_500_000), 5, &[0, 0x26, 0x25, 0xa0]),
            (
                Control::SetPeerBandwidth { bytes: 2_500_000, limit: BandwidthLimit::Dynamic },
                6,
                &[0, 0x26, 0x25, 0xa0, 2],
            ),
            (Control::SetPeerBandwidth { bytes: 1, limit: BandwidthLimit::Soft }, 6, &[0, 0, 0, 1, 1]),
        ] {
            let made = control.to_message();
            assert_eq!((made.header.type_id, made.header.stream_id), (type_id, 0));
            assert_eq!(made.payload.to_vec(), body);
            assert_eq!(Control::parse(&made), Ok(Some(control)));
        }
    }

    #[test]
    fn chunk_size_is_taken_as_it_is_or_refused() {
        let parse = |body| Control::parse(&message(type_id::SET_CHUNK_SIZE, body));
        assert_eq!(parse(&[0, 0, 0, 1]), Ok(Some(Control::SetChunkSize(1))));
        assert_eq!(parse(&[0x7f, 0xff, 0xff, 0xff]), Ok(Some(Control::SetChunkSize(CHUNK_SIZE_MAX))));
        assert_eq!(parse(&[0, 0, 0, 0]), Err(PeerMisbehaved::ChunkSize(0)));
        assert_eq!(parse(&[0x80, 0, 0, 0]), Err(PeerMisbehaved::ChunkSize(0x8000_0000)));
    }

    #[test]
    fn a_message_shorter_than_its_fields_is_refused_and_a_longer_one_is_not() {
        for type_id in [1, 2, 3, 5, 6] {
            let short = Control::parse(&message(type_id, &[0, 0, 1]));
            assert_eq!(short, Err(PeerMisbehaved::ControlLength { type_id, len: 3 }));
            assert!(matches!(Control::parse(&message(type_id, &[0, 0, 0, 1, 0, 9])), Ok(Some(_))));
        }
        let empty = Control::parse(&message(type_id::USER_CONTROL, &[0]));
        assert_eq!(empty, Err(PeerMisbehaved::ControlLength { type_id: 4, len: 1 }));
    }

    #[test]
    fn set_peer_bandwidth_without_a_known_limit_type_is_dynamic() {
        let dynamic = Ok(Some(Control::SetPeerBandwidth { bytes: 9, limit: BandwidthLimit::Dynamic }));
        assert_eq!(Control::parse(&message(6, &[0, 0, 0, 9])), dynamic);
        assert_eq!(Control::parse(&message(6, &[0, 0, 0, 9, 77])), dynamic);
    }

    #[test]
    fn other_messages_are_not_control() {
        for type_id in (0..=255).filter(|type_id| !(1..=6).contains(type_id)) {
            assert_eq!(Control::parse(&message(type_id, &[0; 8])), Ok(None));
        }
    }
}
