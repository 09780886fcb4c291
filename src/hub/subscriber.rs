//! One reader of a stream: what it wants, what it may be shown now, and what is queued for it.
//!
//! # Invariant
//! What a subscriber gets of a video track between two gaps is a gapless run from a key frame on, of its own or of a track that comes in
//! the same messages ([`Gate`]); what it gets of audio and
//! data is a gapless run. No frame comes twice or out of order. Before the first frame that needs them come the current sequence headers
//! and metadata, with that frame's timestamp: headers that were withheld or dropped are *due*, and go out before the next frame.
//! One that is to begin at the next key frame gets nothing before it, whatever its kind.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use super::gate::{Gate, TrackBits};
use super::kinds::Kinds;
use super::queue::{Dropped, Queue, Queued, Stamp, TakeBudget};
use super::{LocalFrame, QueueSettings, Reader, StreamId};
use crate::media::{Form, Frame, FrameRole, GopCache, MediaKind};
use crate::session::{Instant, Notice};

/// A reader is not hopeless before what it should take has been there for this long, milliseconds: when the drop policy has emptied a
/// queue and the stream then rests, the reader's last sign of life may be old without any fault of its own.
const CHANCE_MS: u32 = 500;

/// How a frame passes a subscriber's gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passage {
    /// Audio and data: always.
    Free,
    /// Sequence headers and metadata: always, and sent again when they could not.
    Header,
    /// A key frame opens its track.
    Key,
    /// Other video: while its track is open.
    Gated,
}

/// A frame as it is offered to subscribers of one form: what each of them would otherwise have to find out anew.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    frame: &'a LocalFrame,
    bytes: usize,
    kind: Kinds,
    passage: Passage,
    tracks: TrackBits,
}

/// The current headers in front of one frame, made for the first reader that is owed them and shared by all others.
#[derive(Debug)]
pub(super) struct DueHeaders<'a> {
    gop: &'a GopCache,
    timestamp: u32,
    full: OnceCell<Vec<LocalFrame>>,
    plain: OnceCell<Vec<LocalFrame>>,
}

impl<'a> DueHeaders<'a> {
    /// Those in front of a frame of this time.
    pub(super) fn new(gop: &'a GopCache, timestamp: u32) -> Self {
        Self { gop, timestamp, full: OnceCell::new(), plain: OnceCell::new() }
    }

    fn of(&self, form: Form) -> &[LocalFrame] {
        let made = match form {
            Form::Full => &self.full,
            Form::Plain => &self.plain,
        };
        made.get_or_init(|| self.gop.headers(form, self.timestamp).into_iter().map(Rc::new).collect())
    }
}

impl<'a> Offer<'a> {
    /// Of a frame that has something for readers of this form. A header for plain ones is the one that is made for them.
    pub(super) fn new(frame: &'a LocalFrame, form: Form) -> Self {
        let passage = match frame.role() {
            FrameRole::Key => Passage::Key,
            role if role.is_header() => Passage::Header,
            _ if frame.kind() == MediaKind::Video => Passage::Gated,
            _ => Passage::Free,
        };
        let tracks = match (form, frame.several_tracks()) {
            (Form::Full, Some(tracks)) => tracks.into(),
            (Form::Full, None) => frame.track().into(),
            (Form::Plain, _) => frame.plain_track().unwrap_or(frame.track()).into(),
        };
        let bytes = frame.in_form(form).1.wire_len();
        Self { frame, bytes, kind: frame.kind().into(), passage, tracks }
    }
}

/// Frames that the drop policy, or a core that fell behind, kept from readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounts {
    /// Audio frames.
    pub audio: u64,
    /// Video frames.
    pub video: u64,
    /// Data messages.
    pub data: u64,
}

impl DropCounts {
    /// All kinds.
    pub fn total(&self) -> u64 {
        self.audio + self.video + self.data
    }

    fn add(&mut self, dropped: Dropped) {
        self.audio += dropped.audio;
        self.video += dropped.video;
        self.data += dropped.data;
    }
}

/// What a subscriber's life comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriberTotals {
    /// Frames taken.
    pub frames: u64,
    /// Their bytes as they go on the wire.
    pub bytes: u64,
    /// Frames kept from it.
    pub dropped: DropCounts,
}

/// What fan-out counts while it goes over the subscribers of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) queued: u64,
    pub(super) overflows: u64,
    pub(super) dropped: DropCounts,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Subscriber {
    queue: Queue,
    gate: Gate,
    /// What it gets now: what it receives, or nothing while it is paused.
    wants: Kinds,
    /// Kinds whose headers go out before the next frame.
    due: Kinds,
    /// What it receives when it is not paused.
    receives: Kinds,
    /// It has seen what came before: nothing is for it until the next key frame.
    awaits_key_frame: bool,
    paused: bool,
    hopeless: bool,
    /// Since when something waits without its driver having taken anything; what the drop policy takes does not end it.
    waiting_since: Option<Stamp>,
    /// Frames of its stream when it was paused.
    frames_seen: u64,
    pub(super) reader: Reader,
    pub(super) stream: StreamId,
    pub(super) totals: SubscriberTotals,
}

impl Subscriber {
    pub(super) fn new(stream: StreamId, reader: Reader, queue: QueueSettings) -> Self {
        Self {
            queue: Queue::new(queue, reader.form),
            gate: Gate::default(),
            wants: Kinds::ALL,
            due: Kinds::NONE,
            receives: Kinds::ALL,
            awaits_key_frame: false,
            paused: false,
            hopeless: false,
            waiting_since: None,
            frames_seen: 0,
            reader,
            stream,
            totals: SubscriberTotals::default(),
        }
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The form in which it gets frames.
    pub(super) fn form(&self) -> Form {
        self.queue.form()
    }

    /// The headers of this kind go out before the next frame.
    pub(super) fn owe_headers(&mut self, kind: MediaKind) {
        self.due = self.due.with(kind.into());
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn awaits_key_frame(&self) -> bool {
        self.awaits_key_frame
    }

    /// Nothing is for it before the next key frame.
    pub(super) fn await_key_frame(&mut self) {
        self.awaits_key_frame = true;
        self.due = self.due_at_start();
        self.set_wants();
    }

    /// The wait for a key frame is over: the next frame is for it, whatever it is, with the headers in front.
    pub(super) fn begin(&mut self) {
        self.awaits_key_frame = false;
        self.set_wants();
    }

    /// What is due where nothing has been withheld: all headers of one that has yet to begin.
    fn due_at_start(&self) -> Kinds {
        if self.awaits_key_frame { Kinds::ALL } else { Kinds::NONE }
    }

    /// Queues a live frame if the subscriber is to see it. True when the queue was empty before.
    ///
    /// This is the inner loop of fan-out: one reference count and one push, no allocation once the queue has its size.
    pub(super) fn offer(
        &mut self,
        now: Stamp,
        offer: &Offer<'_>,
        due: &DueHeaders<'_>,
        tally: &mut Tally,
    ) -> bool {
        if self.keeps_back(offer, tally) {
            return false;
        }
        if self.queue.is_over(now, offer.bytes) {
            self.make_room(now, offer.bytes, tally);
            if self.keeps_back(offer, tally) {
                return false;
            }
        }
        if offer.passage == Passage::Key {
            self.gate.open(offer.tracks);
            if self.awaits_key_frame {
                self.begin();
            }
        }
        let was_empty = self.queue.is_empty();
        if self.due.meets(self.wants) && offer.passage != Passage::Header {
            self.push_due_headers(now, due);
        }
        self.queue.push(now, LocalFrame::clone(offer.frame), false);
        tally.queued += 1;
        self.note_waiting(now);
        was_empty
    }

    /// Starts a reader that has seen nothing of these frames, which are in its form: headers, then a GOP. Headers alone wait for the first frame, whose
    /// timestamp they are to carry. True when the queue was empty before and is not now.
    pub(super) fn join(&mut self, now: Stamp, frames: &[Arc<Frame>]) -> bool {
        self.gate.close();
        self.due = self.due_at_start();
        let frames = if self.awaits_key_frame { &[] } else { frames };
        let headers_only = frames.iter().all(|frame| frame.role().is_header());
        let was_empty = self.queue.is_empty();
        for frame in frames {
            let frame: LocalFrame = Rc::new(Arc::clone(frame));
            let offer = Offer::new(&frame, self.form());
            let is_wanted = self.wants.meets(offer.kind);
            match offer.passage {
                Passage::Header if headers_only || !is_wanted => self.due = self.due.with(offer.kind),
                Passage::Gated if !self.gate.is_open(offer.tracks) => {}
                _ if !is_wanted => {}
                passage => {
                    if passage == Passage::Key {
                        self.gate.open(offer.tracks);
                    }
                    self.queue.push(now, frame, true);
                }
            }
        }
        self.became_ready(now, was_empty)
    }

    /// The stream has skipped frames that this reader had a right to.
    pub(super) fn lose(&mut self) {
        self.gate.close_at_loss();
        self.due = self.due_at_start();
    }

    /// What comes next is another publisher's. Nothing of that is missed, and all of its headers are due.
    pub(super) fn restart(&mut self) {
        self.gate.close();
        self.due = Kinds::ALL;
    }

    /// A publisher is there, or is gone. True when the queue was empty before.
    pub(super) fn notify(&mut self, now: Stamp, notice: Notice, tally: &mut Tally) -> bool {
        self.expire(now, tally);
        self.gate.close();
        self.due = self.due_at_start();
        let was_empty = self.queue.is_empty();
        self.queue.push_notice(now, notice);
        self.became_ready(now, was_empty)
    }

    /// Nothing more is for it but a last notice, behind what is queued. True when the queue was empty before.
    pub(super) fn finish(&mut self, now: Stamp, tally: &mut Tally) -> bool {
        self.receives = Kinds::NONE;
        self.wants = Kinds::NONE;
        self.notify(now, Notice::UnpublishNotify, tally)
    }

    /// Stops all frames (`pause`); `frames` counts those of the stream so far. What was queued is dropped: a live player that goes on
    /// later wants the live edge.
    pub(super) fn pause(&mut self, frames: u64) {
        if !self.paused {
            self.paused = true;
            self.frames_seen = frames;
            self.set_wants();
        }
    }

    /// Lets frames flow again. True when the GOP cache, whose first frame is number `gop_started` of the stream, holds nothing that
    /// the reader has seen, so that it may join anew; otherwise it goes on at the next key frame.
    pub(super) fn unpause(&mut self, now: Stamp, gop_started: u64) -> bool {
        if !self.paused {
            return false;
        }
        self.paused = false;
        self.waiting_since = self.waiting_since.map(|_| now);
        self.set_wants();
        gop_started > self.frames_seen
    }

    /// Takes kinds out of what the reader receives (`receiveAudio`, `receiveVideo`), or puts them in again.
    pub(super) fn set_receives(&mut self, kinds: Kinds, receive: bool) {
        self.receives = if receive { self.receives.with(kinds) } else { self.receives.without(kinds) };
        self.set_wants();
    }

    fn set_wants(&mut self) {
        let wants = match (self.paused, self.awaits_key_frame) {
            (true, _) => Kinds::NONE,
            // Of these its gate lets none in before a key frame.
            (false, true) => self.receives.common(Kinds::VIDEO),
            (false, false) => self.receives,
        };
        let unwanted = self.wants.without(wants);
        if !unwanted.is_empty() {
            self.due = self.due.with(self.queue.remove(unwanted).headers);
        }
        if unwanted.meets(Kinds::VIDEO) {
            self.gate.close();
        }
        self.wants = wants;
    }

    /// Moves queued entries to `out`; gives their slices.
    pub(super) fn take(&mut self, now: Stamp, budget: TakeBudget, out: &mut Vec<Queued>) -> usize {
        let taken = self.queue.take(budget, out);
        self.totals.frames += taken.frames as u64;
        self.totals.bytes += taken.bytes as u64;
        self.waiting_since = if self.queue.is_empty() { None } else { Some(now) };
        taken.slices
    }

    /// Applies the drop policy to what has become too old without anything new coming.
    pub(super) fn expire(&mut self, now: Stamp, tally: &mut Tally) {
        if self.queue.is_over(now, 0) {
            self.make_room(now, 0, tally);
        }
    }

    /// True once, when a reader has taken nothing for too long while something waits for it. A paused player may rest.
    pub(super) fn has_become_hopeless(&mut self, now: Stamp) -> bool {
        let settings = self.queue.settings();
        let stalled = self.waiting_since.is_some_and(|since| now.since(since) >= settings.stall_ms_max)
            && self.queue.next_waits_ms(now) >= CHANCE_MS.min(settings.ms_max / 2);
        if !stalled || self.paused || self.hopeless {
            return false;
        }
        self.hopeless = true;
        true
    }

    fn make_room(&mut self, now: Stamp, bytes: usize, tally: &mut Tally) {
        let dropped = self.queue.make_room(now, bytes);
        if dropped.video > 0 {
            self.gate.close_at_loss();
        }
        self.due = self.due.with(dropped.headers);
        self.totals.dropped.add(dropped);
        tally.dropped.add(dropped);
        tally.overflows += u64::from(dropped != Dropped::NOTHING);
    }

    /// Whether the frame is not for this reader now, and what follows from that.
    fn keeps_back(&mut self, offer: &Offer<'_>, tally: &mut Tally) -> bool {
        if !self.wants.meets(offer.kind) {
            if offer.passage == Passage::Header {
                self.due = self.due.with(offer.kind);
            }
            return true;
        }
        match offer.passage {
            Passage::Gated if !self.gate.is_open(offer.tracks) => {
                let lost = u64::from(self.gate.is_lost(offer.tracks));
                self.totals.dropped.video += lost;
                tally.dropped.video += lost;
                true
            }
            // The cache has it, so it goes out with those that are due.
            Passage::Header => self.due.meets(offer.kind),
            _ => false,
        }
    }

    /// They may take the queue over its bounds, until the next frame comes.
    #[cold]
    fn push_due_headers(&mut self, now: Stamp, headers: &DueHeaders<'_>) {
        let due = self.due.common(self.wants);
        for header in headers.of(self.form()) {
            if due.meets(header.kind().into()) {
                self.queue.push(now, LocalFrame::clone(header), false);
            }
        }
        self.due = self.due.without(due);
    }

    fn became_ready(&mut self, now: Stamp, was_empty: bool) -> bool {
        let is_ready = was_empty && !self.queue.is_empty();
        if !self.queue.is_empty() {
            self.note_waiting(now);
        }
        is_ready
    }

    fn note_waiting(&mut self, now: Stamp) {
        self.waiting_since.get_or_insert(now);
    }

    /// Milliseconds that the oldest queued entry has waited.
    pub(super) fn age_ms(&self, now: Instant) -> u32 {
        self.queue.age_ms(now.into())
    }
}
