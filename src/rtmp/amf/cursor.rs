//! The bytes of one message under a decoder, and the budget that reading them draws on.
//!
//! Both AMF versions read through the same cursor, so that a message which switches between them has one budget.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use crate::rtmp::limits::AmfLimits;
use crate::rtmp::{Error, PeerMisbehaved};

/// A read position in a message, with what may still be spent on it.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    depth_left: usize,
    entries_left: usize,
    bytes_left: usize,
    /// Whether a reference is being resolved by reading its target again: then the tables must not grow.
    replaying: bool,
    /// Where text and byte arrays were read, if somebody wants to know. Bounded by the entries.
    texts: Option<Vec<Range<usize>>>,
}

/// Where reading goes on after a reference is resolved.
pub(super) struct Resume {
    position: usize,
    replaying: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], limits: &AmfLimits) -> Self {
        Self {
            bytes,
            position: 0,
            depth_left: limits.depth_max,
            // Every value and every name of a class's member has a byte of its own, unless a reference repeats it: so this refuses nothing
            // but references that make much of little, and the work for a message is bounded by its length.
            entries_left: limits.entries_max.min(bytes.len()),
            bytes_left: limits.bytes_max,
            replaying: false,
            texts: None,
        }
    }

    /// Remembers from now on where text and byte arrays are.
    pub(super) fn remember_texts(&mut self) {
        self.texts = Some(Vec::new());
    }

    /// Where text and byte arrays were read since they are remembered.
    pub(super) fn texts(&self) -> &[Range<usize>] {
        self.texts.as_deref().unwrap_or_default()
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.position == self.bytes.len()
    }

    pub(super) fn is_replaying(&self) -> bool {
        self.replaying
    }

    /// Nothing more can be read: what follows a fault has no meaning.
    pub(super) fn finish(&mut self) {
        self.position = self.bytes.len();
    }

    /// Goes back to `start`, to read the target of a reference again; [`Cursor::resume`] returns.
    pub(super) fn go_back(&mut self, start: usize) -> Resume {
        Resume {
            position: core::mem::replace(&mut self.position, start),
            replaying: core::mem::replace(&mut self.replaying, true),
        }
    }

    pub(super) fn resume(&mut self, resume: Resume) {
        self.position = resume.position;
        self.replaying = resume.replaying;
    }

    /// One more value or property.
    pub(super) fn charge_entry(&mut self) -> Result<(), Error> {
        self.entries_left = self.entries_left.checked_sub(1).ok_or(PeerMisbehaved::AmfEntries)?;
        Ok(())
    }

    /// So many more bytes of text or numbers kept.
    pub(super) fn charge_bytes(&mut self, len: usize) -> Result<(), Error> {
        self.bytes_left = self.bytes_left.checked_sub(len).ok_or(PeerMisbehaved::AmfBytes)?;
        Ok(())
    }

    /// One level down, until [`Cursor::leave`]. An error on the way needs no `leave`: it ends the decoding.
    pub(super) fn enter(&mut self) -> Result<(), Error> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or(PeerMisbehaved::AmfDepth)?;
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth_left += 1;
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let taken = rest.get(..len).ok_or(PeerMisbehaved::AmfTruncated)?;
        self.position += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let taken = self.take(N)?;
        Ok(taken.try_into().map_err(|_| PeerMisbehaved::AmfTruncated)?)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn i16(&mut self) -> Result<i16, Error> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn f64(&mut self) -> Result<f64, Error> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    /// The next `len` bytes, charged, for the caller to keep a copy.
    pub(super) fn blob(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let start = self.position;
        let taken = self.take(len)?;
        self.on_text(start, len);
        self.charge_bytes(len)?;
        Ok(taken)
    }

    /// The next `len` bytes as text, charged.
    pub(super) fn text(&mut self, len: usize) -> Result<String, Error> {
        let start = self.position;
        self.take(len)?;
        self.text_at(start, len)
    }

    /// Text that was passed before, charged again; bad UTF-8 becomes U+FFFD.
    pub(super) fn text_at(&mut self, start: usize, len: usize) -> Result<String, Error> {
        let raw = self.bytes.get(start..).and_then(|rest| rest.get(..len)).unwrap_or_default();
        self.on_text(start, raw.len());
        self.charge_bytes(raw.len())?;
        let text = String::from_utf8_lossy(raw).into_owned();
        // A bad byte becomes three.
        self.charge_bytes(text.len().saturating_sub(raw.len()))?;
        Ok(text)
    }

    fn on_text(&mut self, start: usize, len: usize) {
        if let Some(texts) = &mut self.texts {
            texts.push(start..start + len);
        }
    }
}
