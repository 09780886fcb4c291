//! Which bytes of a command may be secret: stream names, URLs, tokens, and whatever else a client puts into text.
//!
//! For recordings that are kept for others to read. What stays is what the protocol itself defines: the names of commands and
//! properties, and the client's name for itself. All other text goes, by place and not by meaning, so that a command that we do not know
//! gives nothing away either.
//! # Bounds
//! Those of [`AmfLimits`]; what they cut off counts as malformed.

use alloc::vec::Vec;
use core::ops::Range;

use super::data::format_bytes;
use crate::rtmp::amf::amf0;
use crate::rtmp::limits::AmfLimits;

/// What a secret is written over with.
pub const MASK: u8 = b'x';

/// Printable characters in a row that may be part of a text, where nothing says what is text.
pub const TEXT_BYTES_MIN: usize = 4;

/// Text that everybody sends: commands, properties of `connect` and of statuses, kinds of publishing, and words of ours.
const KNOWN: &[&str] = &[
    "",
    "connect",
    "createStream",
    "releaseStream",
    "FCPublish",
    "FCUnpublish",
    "FCSubscribe",
    "publish",
    "play",
    "play2",
    "pause",
    "pauseRaw",
    "seek",
    "receiveAudio",
    "receiveVideo",
    "deleteStream",
    "closeStream",
    "getStreamLength",
    "_checkbw",
    "checkBandwidth",
    "_result",
    "_error",
    "onStatus",
    "onBWDone",
    "onFCPublish",
    "onFCUnpublish",
    "onFCSubscribe",
    "close",
    "app",
    "type",
    "flashVer",
    "flashver",
    "swfUrl",
    "tcUrl",
    "pageUrl",
    "fpad",
    "capabilities",
    "audioCodecs",
    "videoCodecs",
    "videoFunction",
    "objectEncoding",
    "fourCcList",
    "capsEx",
    "videoFourCcInfoMap",
    "audioFourCcInfoMap",
    "nonprivate",
    "live",
    "record",
    "append",
    "level",
    "code",
    "description",
    "status",
    "error",
    "avc1",
    "hvc1",
    "av01",
    "vp08",
    "vp09",
    "vvc1",
    "mp4a",
    ".mp3",
    "Opus",
    "fLaC",
    "ac-3",
    "ec-3",
    "*",
];

/// Whether a text is one that everybody sends.
pub fn is_known(text: &str) -> bool {
    KNOWN.contains(&text)
}

/// The parts of a command's body that may be secret, in no order; what cannot be read as AMF counts as text where it looks like text.
pub fn secret_parts(body: &[u8], type_id: u8, limits: &AmfLimits) -> Vec<Range<usize>> {
    let start = format_bytes(type_id, body.first().copied());
    let values = body.get(start..).unwrap_or_default();
    let mut decoder = amf0::Decoder::new(values, limits).remembering_texts();
    let mut read = 0;
    while !decoder.is_empty() {
        if decoder.value().is_err() {
            break;
        }
        read = decoder.position();
    }
    let texts = decoder.texts().to_vec();
    let mut keeps_next = false;
    let mut parts = Vec::new();
    for text in texts {
        let bytes = values.get(text.clone()).unwrap_or_default();
        let is_known = core::str::from_utf8(bytes).is_ok_and(is_known);
        if !is_known && !keeps_next {
            parts.push(start + text.start..start + text.end);
        }
        // The client's name for itself.
        keeps_next = matches!(bytes, b"flashVer" | b"flashver");
    }
    parts.extend(text_like(values.get(read..).unwrap_or_default()).map(|part| {
        let offset = start + read;
        offset + part.start..offset + part.end
    }));
    parts
}

/// Runs of printable characters of at least [`TEXT_BYTES_MIN`].
pub fn text_like(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    core::iter::from_fn(move || {
        while at < bytes.len() {
            let start = at;
            let is_text = |byte: &u8| matches!(byte, 0x20..=0x7e | 0x80..);
            let len = bytes[start..].iter().take_while(|byte| is_text(byte)).count();
            at = start + len.max(1);
            if len >= TEXT_BYTES_MIN {
                return Some(start..start + len);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::rtmp::amf::Value;
    use crate::rtmp::message::type_id::{COMMAND_AMF0, COMMAND_AMF3};

    fn body(values: &[Value]) -> Vec<u8> {
        let mut out = BytesMut::new();
        values.iter().for_each(|value| amf0::write(value, &mut out).unwrap());
        out.to_vec()
    }

    fn redacted(mut body: Vec<u8>, type_id: u8) -> Vec<u8> {
        for part in secret_parts(&body, type_id, &AmfLimits::default()) {
            body[part].fill(MASK);
        }
        body
    }

    /// What names a stream or carries a token goes, what the protocol defines stays, and the command reads as before.
    #[test]
    fn names_urls_and_tokens_go() {
        let values = |url: &str, key: &str, token: &str| {
            let properties = Value::object([
                ("app", key.into()),
                ("flashVer", "FMLE/3.0 (compatible; FMSc/1.0)".into()),
                ("tcUrl", url.into()),
                ("type", "nonprivate".into()),
                ("fourCcList", Value::StrictArray(["av01".into(), "hvc1".into()].into())),
            ]);
            [body(&["connect".into(), 1.0.into(), properties]), {
                body(&["publish".into(), 5.0.into(), Value::Null, token.into(), "live".into()])
            }]
        };
        let secret = values("rtmp://host/live/secret?token=abc", "live/secret", "secret?auth=1");
        let public = values("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "xxxxxxxxxxx", "xxxxxxxxxxxxx");
        for (secret, public) in secret.into_iter().zip(public) {
            assert_eq!(redacted(secret.clone(), COMMAND_AMF0), public);
            let behind_format = |body: Vec<u8>| [&[0][..], &body].concat();
            assert_eq!(redacted(behind_format(secret), COMMAND_AMF3), behind_format(public));
        }
    }

    /// A command that ends early, or is none: what looks like text goes.
    #[test]
    fn what_cannot_be_read_gives_nothing_away() {
        let whole = body(&["publish".into(), 5.0.into(), Value::Null, "a-secret-key".into()]);
        for end in 0..whole.len() {
            let shown = redacted(whole[..end].to_vec(), COMMAND_AMF0);
            assert!(!shown.windows(4).any(|part| b"a-secret-key".windows(4).any(|secret| secret == part)));
        }
        assert_eq!(redacted(b"\x07abc\x00abcd\xc3\xa9\x01".to_vec(), COMMAND_AMF0), b"\x07abc\x00xxxxxx\x01");
    }

    proptest! {
        /// Nothing that a peer can send makes it panic, and all parts lie within the body.
        #[test]
        fn garbage_is_harmless(bytes: Vec<u8>, type_id in 15..=20u8) {
            for part in secret_parts(&bytes, type_id, &AmfLimits::default()) {
                prop_assert!(part.start <= part.end && part.end <= bytes.len());
            }
        }

        /// A text of any length that is not ours goes, wherever it stands.
        #[test]
        fn any_text_goes(key in "[a-zA-Z0-9_?=&/-]{5,300}") {
            prop_assume!(!KNOWN.contains(&key.as_str()));
            let object = Value::object([(key.as_str(), Value::from(key.as_str()))]);
            let shown = redacted(body(&[key.as_str().into(), 1.0.into(), object, key.as_str().into()]), COMMAND_AMF0);
            prop_assert!(!String::from_utf8_lossy(&shown).contains(&key));
        }
    }
}
