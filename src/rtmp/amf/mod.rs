//! AMF, the Action Message Format: the values inside commands and data messages (AMF0 and AMF3 specifications).
//!
//! [`amf0`] and [`amf3`] have the same shape: a `Decoder` over the bytes of one message, and `write`. AMF0 switches to
//! AMF3 by itself where the peer does (marker 0x11), for one value at a time.
//! # Invariant
//! One decoder lives for one message: its reference tables and its budget start and end with it. A resolved reference is
//! read again from the bytes it points to and charged again, so that neither nesting nor references multiply work or
//! memory; a value that refers to itself while it is still being read is refused.
//! # Bounds
//! [`AmfLimits`](super::limits::AmfLimits), all three over the whole message. A declared count or length reserves nothing.
//! # Errors
//! Reading: the peer's fault, except externalizable objects and reserved types, which are rightful but unsupported.
//! Writing: `ApiMisuse::AmfValue`, and then nothing was written.
//!
//! Strings that are not UTF-8 are read with U+FFFD in place of the bad bytes: encoders send Latin-1 or GBK in metadata,
//! and refusing a stream for its title helps nobody. Where a string names a stream, `command` refuses it.

pub mod amf0;
pub mod amf3;
mod cursor;
#[cfg(test)]
mod properties;
mod value;

pub use value::Value;

/// Deepest value that is written. More than any decoder of ours accepts, and little enough to recurse into.
const WRITTEN_DEPTH_MAX: usize = 64;
