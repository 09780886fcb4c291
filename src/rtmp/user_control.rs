//! User control events (RTMP 1.0 §6.2, §7.1.7).

use bytes::{BufMut, BytesMut};

use super::Payload;

/// An event of the streaming layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserControl {
    /// The message stream works.
    StreamBegin(u32),
    /// Playback on the message stream is over.
    StreamEof(u32),
    /// No data on the message stream for now.
    StreamDry(u32),
    /// The client buffers so much.
    SetBufferLength {
        /// Message stream.
        stream_id: u32,
        /// Buffer, milliseconds.
        ms: u32,
    },
    /// The message stream is a recorded one.
    StreamIsRecorded(u32),
    /// Asks for a [`Self::PingResponse`] with the same number: the sender's time, milliseconds.
    PingRequest(u32),
    /// Answers a [`Self::PingRequest`].
    PingResponse(u32),
    /// An event that we do not know, such as Flash's undocumented ones: its type. Its data is ignored.
    Unknown(u16),
}

impl UserControl {
    /// Parses the body of a user control message; `None` when it is shorter than its event needs.
    pub(super) fn parse(body: &Payload) -> Option<Self> {
        let data = |offset| body.array(offset).map(u32::from_be_bytes);
        Some(match u16::from_be_bytes(body.array(0)?) {
            0 => Self::StreamBegin(data(2)?),
            1 => Self::StreamEof(data(2)?),
            2 => Self::StreamDry(data(2)?),
            3 => Self::SetBufferLength { stream_id: data(2)?, ms: data(6)? },
            4 => Self::StreamIsRecorded(data(2)?),
            6 => Self::PingRequest(data(2)?),
            7 => Self::PingResponse(data(2)?),
            event => Self::Unknown(event),
        })
    }

    /// Writes the body of the message.
    pub(super) fn write(&self, out: &mut BytesMut) {
        let (event, data, more) = match *self {
            Self::StreamBegin(stream_id) => (0, Some(stream_id), None),
            Self::StreamEof(stream_id) => (1, Some(stream_id), None),
            Self::StreamDry(stream_id) => (2, Some(stream_id), None),
            Self::SetBufferLength { stream_id, ms } => (3, Some(stream_id), Some(ms)),
            Self::StreamIsRecorded(stream_id) => (4, Some(stream_id), None),
            Self::PingRequest(ms) => (6, Some(ms), None),
            Self::PingResponse(ms) => (7, Some(ms), None),
            Self::Unknown(event) => (event, None, None),
        };
        out.put_u16(event);
        [data, more].into_iter().flatten().for_each(|number| out.put_u32(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [(UserControl, &[u8]); 8] = [
        (UserControl::StreamBegin(1), &[0, 0, 0, 0, 0, 1]),
        (UserControl::StreamEof(0x01020304), &[0, 1, 1, 2, 3, 4]),
        (UserControl::StreamDry(2), &[0, 2, 0, 0, 0, 2]),
        (UserControl::SetBufferLength { stream_id: 1, ms: 3000 }, &[0, 3, 0, 0, 0, 1, 0, 0, 0x0b, 0xb8]),
        (UserControl::StreamIsRecorded(1), &[0, 4, 0, 0, 0, 1]),
        (UserControl::PingRequest(u32::MAX), &[0, 6, 0xff, 0xff, 0xff, 0xff]),
        (UserControl::PingResponse(9), &[0, 7, 0, 0, 0, 9]),
        (UserControl::Unknown(0x1f), &[0, 0x1f]),
    ];

    #[test]
    fn events_have_the_bytes_of_the_specification_and_read_back() {
        for (event, bytes) in EVENTS {
            let mut out = BytesMut::new();
            event.write(&mut out);
            assert_eq!(out, bytes);
            assert_eq!(UserControl::parse(&Payload::from(out.freeze())), Some(event));
        }
    }

    #[test]
    fn an_event_shorter_than_its_data_is_none() {
        for (_, bytes) in EVENTS {
            for end in 0..bytes.len() {
                let body = Payload::from(bytes::Bytes::copy_from_slice(&bytes[..end]));
                assert_eq!(UserControl::parse(&body), None, "{bytes:?} cut to {end}");
            }
        }
    }
}
