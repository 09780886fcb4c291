//! The writer of a connection: answers, then frames in their wire form, one write at a time into a socket that takes only so much. The
//! model of `runtime/writing.rs` and `runtime/fan_out.rs`.

use bytes::BytesMut;
use inrush::hub::{Queued, TakeBudget};
use inrush::media::FRAME_STREAM_ID;
use inrush::session::CloseReason;

use super::receiving::{Expected, What};
use super::served::{Activity, Phase, Write};
use super::world::{Action, World};

const SLICES_MAX: usize = 1024;

impl World {
    /// The hub has something for a player of this connection.
    pub(super) fn on_ready(&mut self, link: usize) {
        let now = self.now;
        let Some(served) = &mut self.links[link].served else { return };
        // Until now there was nothing that it could have taken.
        if let Activity::Playing(all) = &mut served.activity {
            let hub = &self.cores[served.core].hub;
            all.iter_mut().filter(|one| one.idle && hub.has_queued(one.subscriber)).for_each(|one| {
                (one.idle, one.alive_at) = (false, now);
            });
        }
        self.wake_writer(link);
    }

    /// Puts the writer on the agenda; one that is at work looks again by itself.
    pub(super) fn wake_writer(&mut self, link: usize) {
        let Some(served) = &mut self.links[link].served else { return };
        if served.in_flight.is_none() && !std::mem::replace(&mut served.write_due, true) {
            self.schedule_in_ms(0, Action::Write(link));
        }
    }

    pub(super) fn write(&mut self, link: usize) {
        let Some(served) = &mut self.links[link].served else { return };
        served.write_due = false;
        if served.in_flight.is_some() || served.writer_ended {
            return;
        }
        if served.is_moving() {
            return self.try_depart(link);
        }
        let batch = self.gather(link);
        if !batch.is_empty() {
            return self.send(link, batch);
        }
        let Some(served) = &mut self.links[link].served else { return };
        match served.phase {
            Phase::Open | Phase::Lingering => {}
            Phase::Flushing { linger: true } => {
                self.tally.lingered += 1;
                served.phase = Phase::Lingering;
                served.writer_ended = true;
                let link = &mut self.links[link];
                link.down.finish(&mut self.rng, self.now);
                let index = link.index;
                self.arm_down(index);
                self.on_task_ended(index);
            }
            Phase::Flushing { linger: false } => self.shut(link, CloseReason::Io),
        }
    }

    /// Takes what waits for the peer, as much as fits one write: answers, then frames.
    fn gather(&mut self, link: usize) -> BytesMut {
        let mut batch = BytesMut::new();
        let Some(served) = &mut self.links[link].served else { return batch };
        let mut slices = 0;
        while batch.len() < self.write_bytes_max && slices < SLICES_MAX {
            let Some(bytes) = served.control.pop_front() else { break };
            served.control_bytes -= bytes.len();
            batch.extend_from_slice(&bytes);
            slices += 1;
        }
        if served.phase == Phase::Open {
            for nth in 0..served.playing().len() {
                if batch.len() >= self.write_bytes_max {
                    break;
                }
                self.gather_frames(link, nth, &mut batch);
            }
        }
        batch
    }

    /// Takes what the hub has queued for one message stream that plays, and notes what the player is to get.
    fn gather_frames(&mut self, link: usize, nth: usize, batch: &mut BytesMut) {
        let now = self.now;
        let link = &mut self.links[link];
        let Some(served) = &mut link.served else { return };
        let hub = &mut self.cores[served.core].hub;
        let Activity::Playing(all) = &mut served.activity else { return };
        let playing = &mut all[nth];
        let budget = TakeBudget { bytes: self.write_bytes_max - batch.len(), slices: SLICES_MAX };
        let mut queued = Vec::new();
        hub.take(now, playing.subscriber, budget, &mut queued);
        let bytes: usize = queued.iter().map(wire_len).sum();
        assert!(queued.len() <= 1 || bytes <= budget.bytes);
        playing.alive_at = now;
        playing.idle = !hub.has_queued(playing.subscriber);
        let dropped = hub.subscriber(playing.subscriber).expect("it plays").totals().dropped;
        let resyncs = if playing.at_home { 0 } else { hub.counters().resyncs - playing.resyncs_before };
        for entry in queued {
            let what = match entry {
                Queued::Frame(frame) if playing.stream_id == FRAME_STREAM_ID => {
                    frame.wire().write_to(frame.payload(), batch);
                    What::Frame(frame)
                }
                Queued::Frame(frame) => {
                    frame.wire().with_stream_id(playing.stream_id).write_to(frame.payload(), batch);
                    What::Frame(frame)
                }
                Queued::Notice(notice) => {
                    served.session.notify(now, playing.stream_id, notice);
                    let Some(bytes) = served.session.poll_send() else { continue };
                    batch.extend_from_slice(&bytes);
                    What::Notice(notice)
                }
            };
            link.expected.push_back(Expected {
                what,
                play: playing.nth,
                stream_id: playing.stream_id,
                name: playing.name,
                dropped,
                resyncs,
                own_gaps: std::mem::take(&mut playing.own_gaps),
            });
        }
    }

    /// Hands a write to the kernel, which carries on with it until all of it is taken.
    fn send(&mut self, link: usize, batch: BytesMut) {
        let Some(served) = &mut self.links[link].served else { return };
        served.in_flight = Some(Write { bytes: batch.len(), rest: batch.freeze(), waited: false });
        self.push_down(link);
    }

    /// As much of the write in flight as the socket takes now.
    pub(super) fn push_down(&mut self, index: usize) {
        let link = &mut self.links[index];
        let Some(write) = link.served.as_mut().and_then(|served| served.in_flight.as_mut()) else { return };
        if link.down.has_ended() {
            self.tally.sends_failed += 1;
            return self.shut(index, CloseReason::Reset);
        }
        let room = link.window.saturating_sub(link.down.bytes()).min(write.rest.len());
        if room > 0 {
            let now_taken = write.rest.split_to(room);
            link.down.send(&mut self.rng, self.now, now_taken);
        }
        if write.rest.is_empty() {
            self.on_sent(index);
        } else if !std::mem::replace(&mut write.waited, true) {
            self.tally.writes_waited += 1;
        }
        self.arm_down(index);
    }

    fn on_sent(&mut self, link: usize) {
        let now = self.now;
        let Some(served) = &mut self.links[link].served else { return };
        let Some(write) = served.in_flight.take() else { return };
        served.session.on_bytes_sent(now, write.bytes as u64);
        let hub = &self.cores[served.core].hub;
        let has_more = !served.control.is_empty()
            || served.playing().iter().any(|one| hub.has_queued(one.subscriber))
            || !served.is_open();
        if has_more {
            self.wake_writer(link);
        }
    }

    /// Puts the client's reader on the agenda for the next that arrives.
    pub(super) fn arm_down(&mut self, link: usize) {
        let link = &mut self.links[link];
        if link.down_armed || link.frozen || link.stalled {
            return;
        }
        if let Some(at) = link.down.next_at() {
            link.down_armed = true;
            let index = link.index;
            self.schedule(at, Action::ToClient(index));
        }
    }
}

fn wire_len(queued: &Queued) -> usize {
    match queued {
        Queued::Frame(frame) => frame.wire().wire_len(),
        Queued::Notice(_) => 0,
    }
}
