//! AMF0 (Action Message Format 0 specification): all types, both ways.
//!
//! Deviations from the letter, each met in the field:
//! - The count of an ECMA array is a hint and is ignored (§2.10): encoders send 0, or one too few.
//! - An ECMA array whose last property ends exactly with the message is complete: some encoders send its end marker
//!   never. An object without its end marker is truncated.
//! - Any non-zero byte is true (§2.3, as specified, but rarely implemented).
//!
//! References (§2.9) count objects, typed objects, ECMA arrays and strict arrays, in the order they begin.

mod decoder;
mod encoder;

pub use decoder::Decoder;
pub use encoder::write;

/// Type markers (AMF0 §2.1).
mod marker {
    pub(super) const NUMBER: u8 = 0x00;
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const STRING: u8 = 0x02;
    pub(super) const OBJECT: u8 = 0x03;
    pub(super) const MOVIECLIP: u8 = 0x04;
    pub(super) const NULL: u8 = 0x05;
    pub(super) const UNDEFINED: u8 = 0x06;
    pub(super) const REFERENCE: u8 = 0x07;
    pub(super) const ECMA_ARRAY: u8 = 0x08;
    pub(super) const OBJECT_END: u8 = 0x09;
    pub(super) const STRICT_ARRAY: u8 = 0x0A;
    pub(super) const DATE: u8 = 0x0B;
    pub(super) const LONG_STRING: u8 = 0x0C;
    pub(super) const UNSUPPORTED: u8 = 0x0D;
    pub(super) const RECORDSET: u8 = 0x0E;
    pub(super) const XML_DOCUMENT: u8 = 0x0F;
    pub(super) const TYPED_OBJECT: u8 = 0x10;
    pub(super) const AVMPLUS_OBJECT: u8 = 0x11;
}
