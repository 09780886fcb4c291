//! Target `proxy`: the header of the PROXY protocol, which stands before everything else on a connection from a trusted prefix.
//!
//! # What is promised
//! - A verdict is final: more bytes change neither a header nor an error, and nothing less than a header is one.
//! - A header is awaited within its bound only.
//! - No connection of RTMP or TLS is taken for one that begins with a header.
//! # Input
//! The first bytes of a connection.

// The parser needs nothing of its floor, which would bring the runtime into the build.
#[path = "../../src/runtime/proxy.rs"]
#[allow(dead_code, reason = "what is for the runtime alone")]
mod parser;

use parser::{Header, Parsed, V1_BYTES_MAX, V2_BYTES_MAX, is_first_byte, parse};

/// The beginning of one connection.
pub fn proxy(data: &[u8]) {
    let verdict = parse(data);
    let Some(first) = data.first() else { return assert_eq!(verdict, Ok(Parsed::Incomplete)) };
    assert!(is_first_byte(*first) || verdict.is_err(), "{first:#04x} begins no header");
    if verdict == Ok(Parsed::Incomplete) {
        let bytes_max = if data.starts_with(b"P") { V1_BYTES_MAX } else { V2_BYTES_MAX };
        assert!(data.len() < bytes_max, "{} bytes are enough", data.len());
    }
    // Where the verdict is not that of a part, that was not whole.
    for end in 0..data.len() {
        let part = parse(&data[..end]);
        match part {
            Ok(Parsed::Incomplete) => {
                if let Ok(Parsed::Header(Header { bytes, .. })) = verdict {
                    assert!(end < bytes, "a header of {bytes} bytes was not seen in {end}");
                }
            }
            Ok(Parsed::Header(Header { bytes, .. })) => {
                assert_eq!(part, verdict);
                assert!(0 < bytes && bytes <= end && bytes <= V2_BYTES_MAX);
            }
            Err(_) => assert_eq!(part.is_err(), verdict.is_err(), "{part:?} became {verdict:?}"),
        }
    }
}
