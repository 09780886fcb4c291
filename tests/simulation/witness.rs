//! What one reader has seen, and whether it may see what comes next.

use std::collections::BTreeMap;

use inrush::hub::{DropCounts, Queued};
use inrush::media::{Frame, MediaKind};
use inrush::session::Notice;

use super::encoder::{Label, Seen, index};

/// What readers have seen, in numbers.
#[derive(Clone, Debug, Default)]
pub struct Sights {
    pub frames: u64,
    pub headers: u64,
    pub notices: u64,
    pub picture_gaps: u64,
    pub sound_gaps: u64,
    pub switches: u64,
}

/// One reader's memory.
#[derive(Debug, Default)]
pub struct Witness {
    /// Publishers' lives, in the order in which they came. None comes again, unless one follows another without a word.
    lives: Vec<u32>,
    /// One publisher may follow another without a word: with its headers first, from a key frame on.
    follow: bool,
    /// How often one has.
    switches: u64,
    /// No publisher's clock jumps, so no time ever steps back within a broadcast.
    steady: bool,
    /// The newest time of each kind since the last notice.
    times: [Option<u32>; 3],
    /// The newest frame of each life that is no header.
    last_of_life: BTreeMap<u32, Label>,
    /// A notice came since the last life's first frame.
    told: bool,
    /// The newest frame that is no header.
    last: Option<Label>,
    /// The newest of each kind: audio, video, data.
    last_of_kind: [Option<Label>; 3],
    /// The newest header of each kind: life and version.
    headers: [Option<(u32, u32)>; 3],
    /// Kinds in which the next gap is the reader's own doing.
    own_gaps: [bool; 3],
    /// Gaps that nobody but a core that fell behind can have made.
    gaps: u64,
    /// Frames missing from gaps that are not the reader's own doing.
    missed: [u64; 3],
    /// The publisher whose end was told.
    ended: Option<u32>,
}

impl Witness {
    /// The reader has just asked for something that makes a gap in these kinds.
    pub fn asks_for_gap(&mut self, kinds: &[MediaKind]) {
        kinds.iter().for_each(|kind| self.own_gaps[index(*kind)] = true);
    }

    /// Of a stream whose publishers may follow each other; `steady` when their clocks never jump.
    pub fn of_followers(steady: bool) -> Self {
        Self { follow: true, steady, ..Self::default() }
    }

    /// How often one publisher has followed another without a word.
    pub fn switches(&self) -> u64 {
        self.switches
    }

    /// The newest frame seen that is no header.
    pub fn last(&self) -> Option<Label> {
        self.last
    }

    /// The newest metadata seen: life and version.
    pub fn metadata(&self) -> Option<(u32, u32)> {
        self.headers[index(MediaKind::Data)]
    }

    /// Whether the newest that it heard of its newest publisher is the end.
    pub fn saw_end(&self) -> bool {
        self.last.is_none_or(|last| self.ended == Some(last.life))
    }

    /// Takes note of what the reader has taken, and panics if it should not have been there.
    ///
    /// `dropped` counts what was kept from the reader so far; `resyncs` the gaps that its core has had since it joined.
    pub fn see(&mut self, queued: &Queued, dropped: &DropCounts, resyncs: u64, sights: &mut Sights) {
        match queued {
            Queued::Frame(frame) => {
                self.see_time(frame);
                self.see_frame(
                    &Seen::of(frame.kind(), &frame.payload().to_bytes()),
                    dropped,
                    resyncs,
                    sights,
                );
            }
            Queued::Notice(notice) => self.see_notice(*notice, sights),
        }
    }

    /// Within a broadcast time goes on, whoever publishes.
    pub fn see_time(&mut self, frame: &Frame) {
        if !self.steady || !frame.role().is_coded() {
            return;
        }
        let newest = &mut self.times[index(frame.kind())];
        let step = newest.map_or(0, |newest| frame.timestamp().wrapping_sub(newest) as i32);
        assert!(step >= 0, "time steps back by {step} ms: {frame:?} after {self:?}");
        *newest = Some(frame.timestamp());
    }

    pub fn see_notice(&mut self, notice: Notice, sights: &mut Sights) {
        sights.notices += 1;
        self.told = true;
        self.times = [None; 3];
        if notice == Notice::UnpublishNotify {
            self.ended = self.last.map(|last| last.life);
        }
    }

    pub fn see_frame(&mut self, seen: &Seen, dropped: &DropCounts, resyncs: u64, sights: &mut Sights) {
        let kind = index(seen.kind);
        let label = seen.label;
        if self.lives.last() != Some(&label.life) {
            // Its own beginning or the end of the one before it, whichever is the newest; or both.
            let is_told = self.lives.is_empty() || self.told;
            assert!(is_told || self.follow, "a publisher that nobody told of: {seen:?} after {self:?}");
            let comes_again = self.lives.contains(&label.life);
            assert!(!comes_again || !is_told, "a publisher comes again: {seen:?} after {self:?}");
            if !is_told {
                self.switches += 1;
                sights.switches += 1;
            }
            self.told = false;
            self.last_of_kind = [None; 3];
            self.lives.push(label.life);
        }
        if seen.is_header {
            sights.headers += 1;
            let header = (label.life, label.number);
            let goes_back =
                self.headers[kind].is_some_and(|before| before.0 == header.0 && before.1 > header.1);
            assert!(!goes_back, "header goes back: {seen:?} after {self:?}");
            self.headers[kind] = Some(header);
            return;
        }
        sights.frames += 1;
        let is_next = self.last_of_life.get(&label.life).is_none_or(|last| *last < label);
        assert!(is_next, "frame twice or out of order: {seen:?} after {self:?}");
        assert_ne!(self.ended, Some(label.life), "frame after its publisher's end: {seen:?}");
        if label.header > 0 && seen.kind != MediaKind::Data {
            assert_eq!(
                self.headers[kind],
                Some((label.life, label.header)),
                "the header it needs: {seen:?} after {self:?}"
            );
        }
        self.check_gap(seen, dropped, resyncs, sights);
        self.last = Some(label);
        self.last_of_life.insert(label.life, label);
        self.last_of_kind[kind] = Some(label);
        self.own_gaps[kind] = false;
    }

    fn check_gap(&mut self, seen: &Seen, dropped: &DropCounts, resyncs: u64, sights: &mut Sights) {
        let kind = index(seen.kind);
        let before = self.last_of_kind[kind].filter(|before| before.life == seen.label.life);
        let is_next = before.is_some_and(|before| before.of_kind + 1 == seen.label.of_kind);
        if is_next {
            return;
        }
        if seen.kind == MediaKind::Video {
            assert!(seen.is_key, "pictures start in the middle: {seen:?} after {self:?}");
        }
        let Some(before) = before else { return };
        match seen.kind {
            MediaKind::Video => sights.picture_gaps += 1,
            _ => sights.sound_gaps += 1,
        }
        if self.own_gaps[kind] {
            return;
        }
        // Every frame missing here was dropped, and counted, on this core; or the home left it out for want of room.
        self.missed[kind] += u64::from(seen.label.of_kind - before.of_kind - 1);
        let kept = [dropped.audio, dropped.video, dropped.data][kind];
        if self.missed[kind] > kept {
            self.missed[kind] = kept;
            self.gaps += 1;
            assert!(
                self.gaps <= 3 * resyncs,
                "a gap that nobody has made: {seen:?} after {self:?}, {dropped:?}"
            );
        }
    }
}
