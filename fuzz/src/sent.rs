//! What a session under test sends, read as its peer would read it.

use bytes::Bytes;
use inrush::rtmp::chunk::{ChunkReader, Read};
use inrush::rtmp::message::type_id;
use inrush::rtmp::{Control, Limits, Message, command};

/// Reads what was sent, behind so many bytes of handshake.
pub struct Sent {
    /// What was sent of the handshake.
    pub handshake: Vec<u8>,
    handshake_bytes: usize,
    reader: ChunkReader,
}

impl Sent {
    /// Nothing is sent yet.
    pub fn new(handshake_bytes: usize) -> Self {
        Self { handshake: Vec::new(), handshake_bytes, reader: ChunkReader::new(&Limits::default()) }
    }

    /// The messages in bytes that were sent together: whole ones, each of which says something. Acknowledgements are left out, since when
    /// one is due depends on how the input is cut; and so is how many bytes each message took, since its header is the shorter the more it
    /// has in common with the acknowledgement before it.
    pub fn read(&mut self, mut bytes: Bytes) -> Vec<Message> {
        let left = self.handshake_bytes - self.handshake.len();
        self.handshake.extend(bytes.split_to(left.min(bytes.len())));
        self.reader.push(bytes);
        let mut messages = Vec::new();
        while let Read::Message(message) = self.reader.poll().expect("what a session sends can be read") {
            check(&message);
            if message.header.type_id != type_id::ACKNOWLEDGEMENT {
                messages.push(Message { wire_bytes: 0, ..message });
            }
        }
        assert_eq!(self.reader.retained_bytes(), 0, "a message is sent whole");
        messages
    }
}

/// A command or control message of ours is one that we would read ourselves.
fn check(message: &Message) {
    match message.header.type_id {
        type_id::COMMAND_AMF0 => {
            command::parse(message, &Limits::default().amf).expect("a command that can be read");
        }
        type_id::AUDIO | type_id::VIDEO | type_id::DATA_AMF0 | type_id::DATA_AMF3 => {}
        _ => {
            Control::parse(message).expect("a control message that can be read").expect("a known message");
        }
    }
}
