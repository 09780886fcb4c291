//! AMF3 (Action Message Format 3 specification, January 2013): all types, both ways.
//!
//! Three reference tables (§2.2): strings (the empty one is never listed), objects (everything that is not a plain
//! value, in the order it begins) and traits. They last for one message.
//!
//! Choices where the specification leaves one:
//! - Externalizable objects (§3.12) carry bytes that only their class can read, so that nothing behind them can be read
//!   either: refused as `PeerUnsupported::AmfExternalizable`.
//! - A reference must point to an object of the type whose marker it follows.
//! - Written: anonymous objects as dynamic, typed objects as sealed, strings and traits by reference. An empty ECMA array
//!   is the same bytes as an empty strict array; a date loses its time zone; a typed object without a class name is an
//!   anonymous one.

mod decoder;
mod encoder;

pub use decoder::Decoder;
pub use encoder::write;

pub(super) use decoder::{Tables, value};
pub(super) use encoder::write_unreferenced;

/// Type markers (AMF3 §3.1).
mod marker {
    pub(super) const UNDEFINED: u8 = 0x00;
    pub(super) const NULL: u8 = 0x01;
    pub(super) const FALSE: u8 = 0x02;
    pub(super) const TRUE: u8 = 0x03;
    pub(super) const INTEGER: u8 = 0x04;
    pub(super) const DOUBLE: u8 = 0x05;
    pub(super) const STRING: u8 = 0x06;
    pub(super) const XML_DOCUMENT: u8 = 0x07;
    pub(super) const DATE: u8 = 0x08;
    pub(super) const ARRAY: u8 = 0x09;
    pub(super) const OBJECT: u8 = 0x0A;
    pub(super) const XML: u8 = 0x0B;
    pub(super) const BYTE_ARRAY: u8 = 0x0C;
    pub(super) const VECTOR_INT: u8 = 0x0D;
    pub(super) const VECTOR_UINT: u8 = 0x0E;
    pub(super) const VECTOR_DOUBLE: u8 = 0x0F;
    pub(super) const VECTOR_OBJECT: u8 = 0x10;
    pub(super) const DICTIONARY: u8 = 0x11;
}
