//! Four characters that name a codec, in media messages and in what `connect` says of both ends.

use core::fmt;

/// Four characters that name a codec (E-RTMP v2 `VideoFourCc`, `AudioFourCc`). Any four bytes may come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourCc(pub [u8; 4]);

impl FourCc {
    /// From a text of exactly four bytes; `None` for any other.
    pub fn from_text(text: &str) -> Option<Self> {
        text.as_bytes().try_into().ok().map(Self)
    }
}

/// As text when it is printable ASCII without spaces, else as eight hex digits: safe to log and to show.
impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match core::str::from_utf8(&self.0) {
            Ok(text) if self.0.iter().all(u8::is_ascii_graphic) => f.write_str(text),
            _ => write!(f, "0x{:08x}", u32::from_be_bytes(self.0)),
        }
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FourCc({self})")
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    /// Unknown FourCCs are shown only as what is safe in a log line.
    #[test]
    fn a_fourcc_with_control_bytes_is_shown_as_hex() {
        assert_eq!(FourCc(*b"zz99").to_string(), "zz99");
        assert_eq!(FourCc([0x1b, b'[', b'2', b'J']).to_string(), "0x1b5b324a");
        assert_eq!(FourCc(*b"a b\n").to_string(), "0x6120620a");
        assert_eq!(FourCc([0xff; 4]).to_string(), "0xffffffff");
    }

    #[test]
    fn four_bytes_of_text_make_a_fourcc_and_nothing_else_does() {
        assert_eq!(FourCc::from_text("hvc1"), Some(FourCc(*b"hvc1")));
        assert_eq!(FourCc::from_text("éé"), Some(FourCc([0xc3, 0xa9, 0xc3, 0xa9])));
        assert_eq!(["", "*", "hvc", "hvc1 "].map(FourCc::from_text), [None; 4]);
    }
}
