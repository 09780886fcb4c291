//! Reading the head of an audio or video message, which has the form of an FLV tag body.
//!
//! The head is copied once, [`PREFIX_BYTES`] of it, wherever the payload's slices part; a header that reaches
//! further (ModEx data before it) is read byte by byte.

use thiserror::Error;

use super::codec::FourCc;
use crate::rtmp::Payload;

/// Bytes that hold every header but those behind ModEx data: enhanced multitrack of several tracks with
/// composition time is 1 + 1 + 4 + 1 + 3 + 3.
pub const PREFIX_BYTES: usize = 16;

/// Why a message has no readable header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TagError {
    /// It ends within the header.
    #[error("tag header is truncated")]
    Truncated,
    /// More ModEx prefixes than [`super::ex_header::MOD_EX_MAX`].
    #[error("tag header has too many ModEx prefixes")]
    TooManyModEx,
}

/// A cursor over the head of a message's body.
pub(super) struct TagReader<'a> {
    payload: &'a Payload,
    prefix: [u8; PREFIX_BYTES],
    filled: usize,
    at: usize,
}

impl<'a> TagReader<'a> {
    pub(super) fn new(payload: &'a Payload) -> Self {
        let (prefix, filled) = payload.prefix();
        Self { payload, prefix, filled, at: 0 }
    }

    /// A cursor that starts further in, without a copied prefix.
    pub(super) fn at(payload: &'a Payload, at: usize) -> Self {
        Self { payload, prefix: [0; PREFIX_BYTES], filled: 0, at }
    }

    /// Bytes read so far, from the start of the body.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn u8(&mut self) -> Result<u8, TagError> {
        let byte = match self.prefix[..self.filled].get(self.at) {
            Some(byte) => *byte,
            None => self.payload.byte(self.at).ok_or(TagError::Truncated)?,
        };
        self.at += 1;
        Ok(byte)
    }

    /// Two nibbles of one byte, the upper one first.
    pub(super) fn nibbles(&mut self) -> Result<(u8, u8), TagError> {
        self.u8().map(|byte| (byte >> 4, byte & 0x0f))
    }

    pub(super) fn u16(&mut self) -> Result<u16, TagError> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    pub(super) fn u24(&mut self) -> Result<u32, TagError> {
        Ok(u32::from_be_bytes([0, self.u8()?, self.u8()?, self.u8()?]))
    }

    /// Signed 24 bits: composition times may be negative.
    pub(super) fn i24(&mut self) -> Result<i32, TagError> {
        Ok((self.u24()? << 8) as i32 >> 8)
    }

    pub(super) fn fourcc(&mut self) -> Result<FourCc, TagError> {
        Ok(FourCc([self.u8()?, self.u8()?, self.u8()?, self.u8()?]))
    }

    /// Moves on over `len` bytes, which must be there.
    pub(super) fn skip(&mut self, len: usize) -> Result<(), TagError> {
        if len > self.payload.len().saturating_sub(self.at) {
            return Err(TagError::Truncated);
        }
        self.at += len;
        Ok(())
    }
}
