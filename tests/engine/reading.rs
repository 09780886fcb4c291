//! The reader of a connection and what follows from what it brings, a move to the home core included. The model of
//! `runtime/reading.rs`, `runtime/moving.rs` and `Core::drive`.

use bytes::Bytes;
use inrush::media::MediaKind;
use inrush::rtmp::PeerMisbehaved;
use inrush::session::{CloseReason, Event, Output};

use super::core::Letter;
use super::served::{Activity, CONTROL_BYTES_MAX, LINGER_BYTES_MAX, Phase, Served};
use super::world::{Action, World};
use crate::simulation::pipe::Segment;

/// Outputs that an accepted request may still produce, so that its answer is queued before its first frame.
const OUTPUTS_PER_ANSWER: usize = 16;

impl World {
    /// Something has arrived at the server, or its reader may go on.
    pub(super) fn read(&mut self, index: usize) {
        let now = self.now;
        let link = &mut self.links[index];
        link.up_armed = false;
        let Some(served) = &mut link.served else { return };
        // A reader reads when its session is through with what it has, and is neither to move nor to wait.
        if link.frozen || served.reader_ended || served.yielded || served.is_moving() {
            return;
        }
        if served.phase == Phase::Open && (served.asked.is_some() || !served.session.wants_bytes()) {
            return;
        }
        let Some(segment) = link.up.receive(now) else { return self.resume_reading(index) };
        match (segment, served.phase) {
            (Segment::Bytes(bytes), Phase::Open) => {
                served.heard_at = Some(now);
                served.session.handle_bytes(now, bytes);
                self.drive(index);
            }
            (Segment::Bytes(bytes), _) => {
                served.lingered_bytes += bytes.len();
                if served.lingered_bytes > LINGER_BYTES_MAX {
                    self.shut(index, CloseReason::Io);
                }
            }
            (Segment::End, _) if link.reset => {
                self.tally.links_reset += 1;
                self.shut(index, CloseReason::Reset);
            }
            (Segment::End, Phase::Open) => {
                served.session.handle_eof(now);
                self.drive(index);
                self.end_reader(index);
            }
            (Segment::End, Phase::Flushing { .. }) => self.end_reader(index),
            (Segment::End, Phase::Lingering) => self.shut(index, CloseReason::Eof),
        }
        self.resume_reading(index);
    }

    fn end_reader(&mut self, link: usize) {
        if let Some(served) = &mut self.links[link].served {
            served.reader_ended = true;
        }
        self.on_task_ended(link);
    }

    /// Puts the reader on the agenda for the next that arrives.
    pub(super) fn resume_reading(&mut self, link: usize) {
        let link = &mut self.links[link];
        if link.up_armed || link.frozen {
            return;
        }
        if let Some(at) = link.up.next_at() {
            link.up_armed = true;
            let index = link.index;
            self.schedule(at, Action::ToServer(index));
        }
    }

    /// Deals with what the session has to say, until it wants more bytes or the budget is used up.
    pub(super) fn drive(&mut self, link: usize) {
        let mut budget = self.rng.pick(&[2, 20, 256]);
        while let Some(served) = self.links[link].served.as_mut().filter(|served| served.is_open()) {
            if budget == 0 {
                self.tally.budgets_used_up += 1;
                if !std::mem::replace(&mut served.yielded, true) {
                    self.schedule_in_ms(0, Action::Drive(link));
                }
                return;
            }
            budget -= 1;
            match served.session.poll_output() {
                None => break,
                Some(Output::Timeout(at)) => served.session_timeout = at,
                Some(Output::Progress) => {}
                Some(Output::Send(bytes)) => self.queue_control(link, bytes),
                Some(Output::Event(event)) => {
                    if self.on_event(link, event) {
                        budget = budget.max(OUTPUTS_PER_ANSWER);
                    }
                }
            }
        }
        if let Some(served) = &mut self.links[link].served {
            served.yielded = false;
        }
        self.try_depart(link);
        self.resume_reading(link);
    }

    /// Comes back to a session whose budget was used up.
    pub(super) fn drive_on(&mut self, link: usize) {
        let Some(served) = &mut self.links[link].served else { return };
        if std::mem::take(&mut served.yielded) {
            self.drive(link);
        }
    }

    fn queue_control(&mut self, link: usize, bytes: Bytes) {
        let Some(served) = &mut self.links[link].served else { return };
        served.control_bytes += bytes.len();
        served.control.push_back(bytes);
        if served.control_bytes > CONTROL_BYTES_MAX {
            self.begin_close(link, CloseReason::Error(PeerMisbehaved::NotReading.into()), false);
        }
        self.wake_writer(link);
    }

    /// Deals with one event; true when it was answered, so that the answer should be fetched at once.
    fn on_event(&mut self, link: usize, event: Event) -> bool {
        let now = self.now;
        let Some(served) = &mut self.links[link].served else { return false };
        let core = served.core;
        match event {
            Event::Media(message) => {
                let Activity::Publishing { publisher, .. } = served.activity else {
                    panic!("media of a stream that was not accepted");
                };
                self.cores[core].hub.ingest(now, publisher, message);
                self.pump_hub(core);
                false
            }
            Event::PublishRequested(request) => {
                self.on_publish_requested(link, request);
                true
            }
            Event::PlayRequested(request) => {
                self.on_play_requested(link, &request);
                true
            }
            Event::Stopped { stream_id } => {
                self.stop(link, Some(stream_id));
                true
            }
            Event::Paused { stream_id, paused } => {
                let Some(playing) = served.playing_on(stream_id) else { panic!("a player paused") };
                if std::mem::replace(&mut playing.paused, paused) && !paused {
                    playing.alive_at = now;
                }
                playing.own_gaps.extend([MediaKind::Audio, MediaKind::Video, MediaKind::Data]);
                self.tally.pauses += u64::from(paused);
                self.tally.unpauses += u64::from(!paused);
                self.cores[core].hub.set_paused(now, playing.subscriber, paused);
                self.pump_hub(core);
                false
            }
            Event::ReceiveAudio { stream_id, receive } => {
                let Some(playing) = served.playing_on(stream_id) else { panic!("a player wants audio") };
                playing.own_gaps.push(MediaKind::Audio);
                self.tally.receive_audio += 1;
                self.cores[core].hub.set_receive_audio(playing.subscriber, receive);
                self.pump_hub(core);
                false
            }
            Event::ReceiveVideo { stream_id, receive } => {
                let Some(playing) = served.playing_on(stream_id) else { panic!("a player wants video") };
                playing.own_gaps.push(MediaKind::Video);
                self.tally.receive_video += 1;
                self.cores[core].hub.set_receive_video(playing.subscriber, receive);
                self.pump_hub(core);
                false
            }
            Event::Connected | Event::Tolerated(_) => false,
            Event::Closed { reason, linger } => {
                assert_eq!(served.session.retained_bytes(), 0, "a closed session holds nothing");
                self.begin_close(link, reason, linger);
                false
            }
        }
    }

    /// A connection that is to move leaves as soon as nothing of it is in flight.
    pub(super) fn try_depart(&mut self, link: usize) {
        let Some(served) =
            self.links[link].served.take_if(|served| served.is_moving() && served.in_flight.is_none())
        else {
            return;
        };
        let Activity::Moving { home, .. } = served.activity else { return };
        self.cores[served.core].connections -= 1;
        self.tally.publishers_moved += 1;
        self.tally.inputs_moved += u64::from(served.session.held_bytes() > 0);
        self.push(home, Letter::Arrive(link, Box::new(served)));
    }

    /// Takes over a connection that another core sent home, and publishes what it asked for.
    pub(super) fn arrive(&mut self, core: usize, link: usize, served: Served) {
        self.tally.publishers_moved_while_cut += u64::from(self.links[link].up.has_ended());
        let (session, control, control_bytes, plays) =
            (served.session, served.control, served.control_bytes, served.plays);
        let Activity::Moving { request, .. } = served.activity else { panic!("it moves") };
        let session_timeout = served.session_timeout;
        let key = request.address.key.clone();
        // What stays is what `Moved` carries.
        self.links[link].served =
            Some(Served { control, control_bytes, session_timeout, plays, ..Served::new(core, session) });
        self.cores[core].connections += 1;
        self.publish(link, request);
        let entry = self.directory.get_mut(&key).expect("it was on its way");
        assert_eq!(entry.home, core, "the home does not change while a publisher is on its way");
        entry.arriving -= 1;
        entry.holders |= 1 << core;
        if self.stopping {
            self.close(link, CloseReason::Drained);
        }
        self.wake_writer(link);
        self.drive(link);
    }
}
