//! Fan-out: from one frame to every core and every reader of a stream.

use std::rc::Rc;
use std::sync::Arc;

use super::queue::Stamp;
use super::stream::Role;
use super::subscriber::{DueHeaders, Offer, Tally};
use super::{Hub, HubEvent, LocalFrame, MeshMessage, StreamId};
use crate::media::{Form, Frame, GopCache, plain};
use crate::session::{Instant, Notice};

impl Hub {
    /// Hands a frame to the stream's cache, to the cores it feeds and to this core's readers.
    ///
    /// One `Rc` a frame, made only when somebody reads here; a reader costs one reference count and one push: 30 to 40 ns, its `Ready`
    /// event included (`benches/fan_out.rs`, 300 and 3,000 readers). What a frame has nothing of for a reader's form is not offered to it.
    pub(super) fn fan_out(&mut self, now: Instant, stream: StreamId, frame: Arc<Frame>) {
        let Some(stream) = self.streams.get_mut(stream) else { return };
        let has_new_default = stream.record(&frame);
        let resumes = stream.resumes_at(now, &frame);
        if let Role::Home { feeds, .. } = &mut stream.role {
            for feed in feeds {
                let replica = feed.replica;
                if feed.flowing {
                    self.outgoing.push(feed.core, MeshMessage::Frame { replica, frame: Arc::clone(&frame) });
                } else if resumes && !self.outgoing.is_congested(feed.core) {
                    let mut frames = stream.gop.headers(Form::Full, frame.timestamp());
                    frames.push(Arc::clone(&frame));
                    let message = match std::mem::take(&mut feed.restarts) {
                        true => MeshMessage::Resume { replica, frames },
                        false => MeshMessage::Snapshot { replica, frames },
                    };
                    self.outgoing.push(feed.core, message);
                    feed.flowing = true;
                } else {
                    self.counters.feed_frames_withheld += 1;
                }
            }
        }
        if stream.subscribers.is_empty() {
            return;
        }
        let frame: LocalFrame = Rc::new(frame);
        let plain_header = plain_header(&frame, &stream.gop);
        let full = Offer::new(&frame, Form::Full);
        let plain = match &plain_header {
            Some(header) => Some(Offer::new(header, Form::Plain)),
            None if frame.role().is_header() => None,
            None => frame.plain_track().map(|_| Offer::new(&frame, Form::Plain)),
        };
        let now = Stamp::from(now);
        let mut tally = Tally::default();
        let due = DueHeaders::new(&stream.gop, frame.timestamp());
        for &key in &stream.subscribers {
            let Some(subscriber) = self.subscribers.get_mut(key) else { continue };
            let offer = match subscriber.form() {
                Form::Full => &full,
                Form::Plain => {
                    let Some(plain) = &plain else { continue };
                    if has_new_default {
                        subscriber.owe_headers(frame.kind());
                    }
                    plain
                }
            };
            if subscriber.offer(now, offer, &due, &mut tally) {
                let connection = subscriber.reader.connection;
                self.events.push_back(HubEvent::Ready { subscriber: key, connection });
            }
        }
        self.counters.add(&tally);
    }

    /// Tells this core's readers, in order with the frames, that a publisher is there or gone.
    pub(super) fn notify_subscribers(&mut self, now: Instant, stream: StreamId, notice: Notice) {
        let Some(stream) = self.streams.get(stream) else { return };
        let mut tally = Tally::default();
        for &key in &stream.subscribers {
            if let Some(subscriber) = self.subscribers.get_mut(key)
                && subscriber.notify(now.into(), notice, &mut tally)
            {
                let connection = subscriber.reader.connection;
                self.events.push_back(HubEvent::Ready { subscriber: key, connection });
            }
        }
        self.counters.add(&tally);
    }

    /// Another publisher goes on with the stream: its headers come first, and each track from a key frame on.
    pub(super) fn restart_subscribers(&mut self, stream: StreamId) {
        for key in self.streams.get(stream).into_iter().flat_map(|stream| &stream.subscribers) {
            if let Some(subscriber) = self.subscribers.get_mut(*key) {
                subscriber.restart();
            }
        }
    }

    /// Gives this core's readers their start.
    pub(super) fn start_subscribers(&mut self, now: Instant, stream: StreamId, frames: &[Arc<Frame>]) {
        let Some(stream) = self.streams.get(stream) else { return };
        let mut plain = None;
        for &key in &stream.subscribers {
            let Some(subscriber) = self.subscribers.get_mut(key) else { continue };
            let frames = match subscriber.form() {
                Form::Full => frames,
                Form::Plain => plain.get_or_insert_with(|| plain::run(frames, stream.gop.defaults())),
            };
            if subscriber.join(now.into(), frames) {
                let connection = subscriber.reader.connection;
                self.events.push_back(HubEvent::Ready { subscriber: key, connection });
            }
        }
    }
}

/// The header that plain readers get of this one, if it is one and says something of the track that they are given.
fn plain_header(frame: &LocalFrame, gop: &GopCache) -> Option<LocalFrame> {
    if !frame.role().is_header() {
        return None;
    }
    let header = plain::header(frame, gop.defaults().of(frame.kind()))?;
    Some(if Arc::ptr_eq(&header, frame) { Rc::clone(frame) } else { Rc::new(header) })
}
