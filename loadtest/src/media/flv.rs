//! Media out of an FLV file (Video File Format 10.1, annex E).
//!
//! # Errors
//! The file's: it cannot be read, is no FLV, ends inside a tag, or holds nothing to send.

use std::path::Path;

use bytes::Bytes;

use super::{Media, Message, type_id};

/// Why a file is no media.
#[derive(Debug, thiserror::Error)]
pub enum FlvError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It has another format.
    #[error("not an FLV file")]
    Signature,
    /// It ends too early.
    #[error("ends inside a tag")]
    Cut,
    /// There is no audio and no video in it.
    #[error("holds no media")]
    Empty,
}

/// FLV header, and the size of the tag before the first.
const HEADER_BYTES: usize = 9 + 4;
const TAG_HEADER_BYTES: usize = 11;

/// Reads a file whole.
pub fn media(path: &Path) -> Result<Media, FlvError> {
    parse(Bytes::from(std::fs::read(path)?))
}

fn parse(bytes: Bytes) -> Result<Media, FlvError> {
    if !bytes.starts_with(b"FLV\x01") {
        return Err(FlvError::Signature);
    }
    if bytes.len() < HEADER_BYTES {
        return Err(FlvError::Cut);
    }
    let mut rest = bytes.slice(HEADER_BYTES..);
    let (mut headers, mut round) = (Vec::new(), Vec::<Message>::new());
    let mut first_ms = None;
    while !rest.is_empty() {
        if rest.len() < TAG_HEADER_BYTES {
            return Err(FlvError::Cut);
        }
        let header = rest.split_to(TAG_HEADER_BYTES);
        let size = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        let time_ms = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
        if rest.len() < size {
            return Err(FlvError::Cut);
        }
        let tag = rest.split_to(size);
        // The last tag's size may be missing.
        rest = rest.slice(rest.len().min(4)..);
        if tag.is_empty() {
            continue;
        }
        match (header[0], tag[0], tag.get(1)) {
            // ECMA arrays that say @setDataFrame are what servers keep for players who come later.
            (type_id::DATA_AMF0, ..) => {
                let set_data_frame = b"\x02\x00\x0d@setDataFrame";
                let framed = [set_data_frame, &tag[..]].concat();
                headers.push(Message::new(type_id::DATA_AMF0, 0, Bytes::from(framed)));
            }
            // Sequence headers: AVCPacketType or AACPacketType 0, or an Enhanced tag's SequenceStart.
            (type_id::VIDEO, first, Some(0)) if first & 0x8f == 7 => {
                headers.push(Message::new(type_id::VIDEO, 0, tag));
            }
            // AVC end of sequence: the file's end, where ours begins again.
            (type_id::VIDEO, first, Some(2)) if first & 0x8f == 7 => {}
            (type_id::VIDEO, first, _) if first & 0x8f == 0x80 => {
                headers.push(Message::new(type_id::VIDEO, 0, tag));
            }
            (type_id::AUDIO, first, Some(0)) if first >> 4 == 10 => {
                headers.push(Message::new(type_id::AUDIO, 0, tag));
            }
            (type_id::AUDIO, 0x90, _) => {
                headers.push(Message::new(type_id::AUDIO, 0, tag));
            }
            (kind @ (type_id::AUDIO | type_id::VIDEO), ..) => {
                let since_first_ms = time_ms.saturating_sub(*first_ms.get_or_insert(time_ms));
                // A file may step back; what we send does not.
                let time_ms = since_first_ms.max(round.last().map_or(0, |last| last.time_ms));
                round.push(Message::new(kind, time_ms, tag));
            }
            _ => {}
        }
    }
    let (Some(last), count) = (round.last(), round.len() as u32) else { return Err(FlvError::Empty) };
    // The last message lasts as long as the others do on average.
    let period_ms = last.time_ms + (last.time_ms / count).max(1);
    Ok(Media::new(headers, round, period_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(kind: u8, time_ms: u32, body: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = (body.len() as u32).to_be_bytes();
        let [upper, d, e, f] = time_ms.to_be_bytes();
        let mut out = vec![kind, a, b, c, d, e, f, upper, 0, 0, 0];
        out.extend(body);
        out.extend((11 + body.len() as u32).to_be_bytes());
        out
    }

    fn file(tags: &[Vec<u8>]) -> Vec<u8> {
        [b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00".to_vec(), tags.concat()].concat()
    }

    #[test]
    fn headers_go_first_and_the_rest_goes_round() {
        let bytes = file(&[
            tag(18, 0, b"\x02\x00\x0aonMetaData\x05"),
            tag(9, 0, &[0x17, 0, 0, 0, 0, 1]),
            tag(8, 0, &[0xaf, 0, 0x11, 0x90]),
            tag(9, 100, &[0x17, 1, 0, 0, 0, 9, 9]),
            tag(8, 120, &[0xaf, 1, 7]),
            tag(9, 110, &[0x27, 1, 0, 0, 0, 8]),
            tag(9, 120, &[0x17, 2, 0, 0, 0]),
        ]);
        let media = parse(bytes.clone().into()).unwrap();
        assert_eq!(media.headers.len(), 3);
        let times: Vec<_> = media.round.iter().map(|message| message.time_ms).collect();
        assert_eq!((times, media.period_ms), (vec![0, 20, 20], 26));
        assert_eq!(
            (&media.round[0].parts[0].head[..], &media.round[0].parts[0].body[..]),
            (&[0x17, 1, 0, 0, 0][..], &[9, 9][..])
        );
        assert!(media.is_stamped());
        for len in 1..bytes.len() {
            let _ = parse(Bytes::copy_from_slice(&bytes[..len])); // no panic
        }
        assert!(matches!(parse(Bytes::copy_from_slice(&bytes[..45])), Err(FlvError::Cut)));
    }

    #[test]
    fn what_is_no_media_says_so() {
        assert!(matches!(parse(Bytes::from_static(b"RIFF")), Err(FlvError::Signature)));
        assert!(matches!(parse(file(&[]).into()), Err(FlvError::Empty)));
    }
}
