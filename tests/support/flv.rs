//! FLV files as lists of tags (Video File Format 10.1, annex E): what RTMP carries, as players record it.

use std::path::Path;

/// The three kinds of tag and of media message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Type 8.
    Audio,
    /// Type 9.
    Video,
    /// Type 18.
    Data,
}

impl Kind {
    /// From a tag's or message's type.
    pub fn from_type(type_id: u8) -> Option<Self> {
        match type_id {
            8 => Some(Self::Audio),
            9 => Some(Self::Video),
            18 => Some(Self::Data),
            _ => None,
        }
    }

    /// The tag's or message's type.
    pub fn type_id(self) -> u8 {
        match self {
            Self::Audio => 8,
            Self::Video => 9,
            Self::Data => 18,
        }
    }
}

/// One tag of a file, or one media message of a connection: the body is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Audio, video or data.
    pub kind: Kind,
    /// Milliseconds, wrapping at 2^32.
    pub timestamp: u32,
    /// Tag header and payload.
    pub body: Vec<u8>,
}

/// All tags of a file. Panics where the file is no FLV file or ends inside a tag.
#[track_caller]
pub fn read(path: &Path) -> Vec<Tag> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&bytes).unwrap_or_else(|fault| panic!("{} ({} bytes): {fault}", path.display(), bytes.len()))
}

fn parse(bytes: &[u8]) -> Result<Vec<Tag>, String> {
    let mut tags = Vec::new();
    if !bytes.starts_with(b"FLV\x01") {
        return Err("no FLV header".to_owned());
    }
    let mut rest = bytes.get(13..).ok_or("no room for the header")?; // 9 bytes and the first PreviousTagSize
    while !rest.is_empty() {
        let header = rest.get(..11).ok_or("ends inside a tag header")?;
        let size = u24(&header[1..]) as usize;
        let body = rest.get(11..11 + size).ok_or("ends inside a tag")?;
        if let Some(kind) = Kind::from_type(header[0]) {
            let timestamp = u24(&header[4..]) | u32::from(header[7]) << 24;
            tags.push(Tag { kind, timestamp, body: body.to_vec() });
        }
        rest = rest.get(11 + size + 4..).ok_or("ends before the size of a tag")?;
    }
    Ok(tags)
}

fn u24(bytes: &[u8]) -> u32 {
    u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2])
}
