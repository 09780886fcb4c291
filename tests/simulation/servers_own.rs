//! What a server says to players in data messages of its own.

use inrush::rtmp::message::type_id;
use inrush::session::MediaMessage;

/// Whether the message is the server's own, not the publisher's.
pub fn is_servers_own(message: &MediaMessage) -> bool {
    let (prefix, len) = message.payload.prefix::<20>();
    message.type_id == type_id::DATA_AMF0
        && [&b"\x02\x00\x11|RtmpSampleAccess"[..], b"\x02\x00\x08onStatus"]
            .iter()
            .any(|own| prefix[..len].starts_with(own))
}
