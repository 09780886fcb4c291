//! What waits for one subscriber, and what is dropped when it waits too long or is too much.
//!
//! # Drop policy
//! A queue is over its bounds when its oldest entry has waited longer than `ms_max`, or when a frame more would exceed `bytes_max` or
//! `frames_max`. Then all video goes, so that the reader finds its way back to the live edge at once instead of seeing one hole after
//! the other; the subscriber lets video in again from the next key frame on. Audio goes on: only what still exceeds the bounds
//! goes, oldest first. Sequence headers and metadata that went are named in [`Dropped::headers`], for the subscriber to have them sent
//! again before the next frame. A notice is never lost: the newest of those that have nothing left before them waits in `overtaken`.
//! # Invariant
//! Entries are in the order in which they were queued, so the first is the oldest. `Sums` is what the entries come to.
//! # Bounds
//! Outside of a burst: `frames_max` entries and `bytes_max`, or one frame when that alone is larger; and, until the next frame comes, the
//! headers that were due, of which there are as many as the GOP cache keeps. A burst is what the GOP cache held.

use std::collections::VecDeque;
use std::mem::size_of;

use super::kinds::Kinds;
use super::{LocalFrame, QueueSettings};
use crate::media::{Form, Frame, MediaKind};
use crate::session::{Instant, Notice};

/// Entries that an idle queue keeps room for after a burst (4 kB): more than a steady reader ever has queued.
const CAPACITY_KEPT: usize = 256;

/// One thing that was taken out of a subscriber's queue.
#[derive(Clone, Debug)]
pub enum Queued {
    /// A frame to be written in its wire form.
    Frame(LocalFrame),
    /// What the session has to tell the player at this place between the frames.
    Notice(Notice),
}

/// How much a writer wants. It gets one entry, if there is any, even when that alone is more.
#[derive(Clone, Copy, Debug)]
pub struct TakeBudget {
    /// Bytes as they go on the wire.
    pub bytes: usize,
    /// Slices of the wire form.
    pub slices: usize,
}

/// Milliseconds that wrap after 49 days: what orders the entries of one queue, in half the room of an [`Instant`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp(u32);

impl Stamp {
    /// Milliseconds since an earlier stamp; 0 when it is later.
    pub(super) fn since(self, earlier: Self) -> u32 {
        let ms = self.0.wrapping_sub(earlier.0);
        if ms > u32::MAX / 2 { 0 } else { ms }
    }
}

impl From<Instant> for Stamp {
    fn from(now: Instant) -> Self {
        Self(now.as_millis() as u32) // wraps
    }
}

/// What a queue let go of, unsent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) audio: u64,
    pub(super) video: u64,
    pub(super) data: u64,
    /// Kinds of which a sequence header or metadata (a header of data) went. Those are not in the counts: they are sent again.
    pub(super) headers: Kinds,
}

impl Dropped {
    pub(super) const NOTHING: Self = Self { audio: 0, video: 0, data: 0, headers: Kinds::NONE };

    pub(super) fn count(&mut self, frame: &Frame) {
        if frame.role().is_header() {
            self.headers = self.headers.with(frame.kind().into());
            return;
        }
        match frame.kind() {
            MediaKind::Audio => self.audio += 1,
            MediaKind::Video => self.video += 1,
            MediaKind::Data => self.data += 1,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.audio += other.audio;
        self.video += other.video;
        self.data += other.data;
        self.headers = self.headers.with(other.headers);
    }
}

#[derive(Debug)]
enum Entry {
    Frame { frame: LocalFrame, at: Stamp, burst: bool },
    Notice { notice: Notice, at: Stamp },
}

// A queue is 16 bytes a frame, whatever a frame is.
const _: () = assert!(size_of::<Entry>() == 16);

impl Entry {
    fn at(&self) -> Stamp {
        match self {
            Self::Frame { at, .. } | Self::Notice { at, .. } => *at,
        }
    }
}

/// What the frames of a queue come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    /// Wire bytes, outside of bursts.
    bytes: usize,
    burst_bytes: usize,
    burst_frames: usize,
    videos: usize,
}

impl Sums {
    fn add(&mut self, frame: &Frame, bytes: usize, burst: bool) {
        self.videos += usize::from(frame.kind() == MediaKind::Video);
        if burst {
            self.burst_bytes += bytes;
            self.burst_frames += 1;
        } else {
            self.bytes += bytes;
        }
    }

    /// Takes out what [`Sums::add`] has put in.
    fn subtract(&mut self, frame: &Frame, bytes: usize, burst: bool) {
        self.videos -= usize::from(frame.kind() == MediaKind::Video);
        if burst {
            self.burst_bytes -= bytes;
            self.burst_frames -= 1;
        } else {
            self.bytes -= bytes;
        }
    }
}

/// Bytes of a frame as its reader gets it.
fn wire_len(frame: &Frame, form: Form) -> usize {
    frame.in_form(form).1.wire_len()
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// Goes out before all entries.
    overtaken: Option<(Stamp, Notice)>,
    sums: Sums,
    settings: QueueSettings,
    /// The form in which its frames go on the wire.
    form: Form,
}

impl Queue {
    pub(super) fn new(settings: QueueSettings, form: Form) -> Self {
        Self { entries: VecDeque::new(), overtaken: None, sums: Sums::default(), settings, form }
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.overtaken.is_none()
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len() + usize::from(self.overtaken.is_some())
    }

    /// Wire bytes of all entries.
    pub(super) fn bytes(&self) -> usize {
        self.sums.bytes + self.sums.burst_bytes
    }

    /// Milliseconds that the oldest entry has waited, an overtaken notice aside; 0 without one.
    pub(super) fn age_ms(&self, now: Stamp) -> u32 {
        self.entries.front().map_or(0, |oldest| now.since(oldest.at()))
    }

    /// Milliseconds that what goes out next has waited; 0 when nothing waits.
    pub(super) fn next_waits_ms(&self, now: Stamp) -> u32 {
        self.overtaken.map_or_else(|| self.age_ms(now), |(at, _)| now.since(at))
    }

    pub(super) fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// Whether the drop policy has to make room before `bytes` more are queued.
    pub(super) fn is_over(&self, now: Stamp, bytes: usize) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        self.age_ms(now) > self.settings.ms_max
            || self.sums.bytes != 0 && self.sums.bytes + bytes > self.settings.bytes_max
            || self.entries.len() - self.sums.burst_frames >= self.settings.frames_max
    }

    /// Appends a frame. One of a burst does not count against the bounds: it comes from the GOP cache, which has its own.
    pub(super) fn push(&mut self, now: Stamp, frame: LocalFrame, burst: bool) {
        self.sums.add(&frame, wire_len(&frame, self.form), burst);
        self.entries.push_back(Entry::Frame { frame, at: now, burst });
    }

    /// Appends a notice.
    pub(super) fn push_notice(&mut self, now: Stamp, notice: Notice) {
        self.entries.push_back(Entry::Notice { notice, at: now });
    }

    /// The drop policy: see the module.
    pub(super) fn make_room(&mut self, now: Stamp, bytes: usize) -> Dropped {
        let mut dropped = if self.sums.videos > 0 { self.remove(Kinds::VIDEO) } else { Dropped::NOTHING };
        while self.is_over(now, bytes) {
            match self.pop() {
                Some((_, Queued::Frame(frame))) => {
                    dropped.count(&frame);
                    if frame.role().is_header() && frame.kind() == MediaKind::Audio {
                        // What is queued behind it cannot be understood without it.
                        dropped.add(self.remove(Kinds::AUDIO));
                    }
                }
                Some((at, Queued::Notice(notice))) => self.overtaken = Some((at, notice)),
                None => break,
            }
        }
        dropped
    }

    /// Removes all frames of these kinds.
    pub(super) fn remove(&mut self, kinds: Kinds) -> Dropped {
        let mut dropped = Dropped::NOTHING;
        let Self { entries, sums, form, .. } = self;
        entries.retain(|entry| match entry {
            Entry::Frame { frame, burst, .. } if kinds.meets(frame.kind().into()) => {
                dropped.count(frame);
                sums.subtract(frame, wire_len(frame, *form), *burst);
                false
            }
            _ => true,
        });
        dropped
    }

    /// Moves entries out, oldest first, within the budget; gives what they come to.
    pub(super) fn take(&mut self, budget: TakeBudget, out: &mut Vec<Queued>) -> Taken {
        let mut taken = Taken::default();
        if let Some((_, notice)) = self.overtaken.take() {
            out.push(Queued::Notice(notice));
            taken.slices += 1;
        }
        while let Some(next) = self.entries.front() {
            let (frames, bytes, slices) = match next {
                Entry::Frame { frame, .. } => {
                    let (payload, wire) = frame.in_form(self.form);
                    (1, wire.wire_len(), wire.slice_count(payload))
                }
                Entry::Notice { .. } => (0, 0, 1),
            };
            let is_over = taken.bytes + bytes > budget.bytes || taken.slices + slices > budget.slices;
            if is_over && taken.slices > 0 {
                break;
            }
            taken.frames += frames;
            taken.bytes += bytes;
            taken.slices += slices;
            out.extend(self.pop().map(|(_, queued)| queued));
        }
        if self.entries.is_empty() && self.entries.capacity() > 2 * CAPACITY_KEPT {
            self.entries.shrink_to(CAPACITY_KEPT);
        }
        taken
    }

    fn pop(&mut self) -> Option<(Stamp, Queued)> {
        let (at, frame, burst) = match self.entries.pop_front()? {
            Entry::Notice { notice, at } => return Some((at, Queued::Notice(notice))),
            Entry::Frame { frame, at, burst } => (at, frame, burst),
        };
        self.sums.subtract(&frame, wire_len(&frame, self.form), burst);
        Some((at, Queued::Frame(frame)))
    }
}

/// What one [`Queue::take`] moved out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub(super) frames: usize,
    pub(super) bytes: usize,
    /// A notice counts as one.
    pub(super) slices: usize,
}

#[cfg(test)]
mod tests;
