//! What encoders and players do once they are ready.

use bytes::{BufMut, Bytes, BytesMut};
use inrush::media::{MediaKind, VIDEO_SILENT_MAX};
use inrush::rtmp::command::{PublishKind, write};
use inrush::rtmp::message::type_id;
use inrush::rtmp::{Control, Payload};
use inrush::session::{Instant, MediaMessage, Role};

use super::ledger::Ledger;
use super::world::{Action, NAMES, World};
use crate::simulation::chunker::{Chunker, Habit};
use crate::simulation::encoder::Encoder;
use crate::simulation::rng::Rng;

/// A publisher's media, and how it goes on the wire.
pub(super) struct Publishing {
    pub(super) encoder: Encoder,
    /// Media as encoders chunk it; as the session does without one.
    chunker: Option<Chunker>,
    /// Does not wait for the answer to its `publish`.
    eager: bool,
    /// Has unpublished: what it sends belongs to nobody.
    pub(super) stopped: bool,
    /// Sends sound alone for now.
    camera_off_since: Option<Instant>,
    /// Has sent what all its players must have got in the end.
    pub(super) served: bool,
}

impl Publishing {
    pub(super) fn new(rng: &mut Rng, ledger: &mut Ledger, name: &'static str, chunk_size: u32) -> Self {
        let habit = rng.pick(&[Habit::Repeat, Habit::Omit]);
        let chunker = rng.percent(50).then(|| Chunker::new(habit, rng.percent(70), chunk_size as usize));
        let eager = chunker.is_some() && rng.percent(30);
        let life = ledger.begin(name);
        let encoder = ledger.encoder(life, rng);
        Self { encoder, chunker, eager, stopped: false, camera_off_since: None, served: false }
    }

    /// Sends pictures again, if it ever did.
    pub(super) fn switch_camera_on(&mut self) {
        self.encoder.has_video |= self.camera_off_since.take().is_some();
    }

    pub(super) fn life(&self) -> u32 {
        self.encoder.life
    }
}

impl World {
    /// Does the client's next operation.
    pub(super) fn operate(&mut self, index: usize) {
        let link = &self.links[index];
        if link.client_done || self.is_calm {
            return;
        }
        let eager = link.publishing.as_ref().is_some_and(|publishing| publishing.eager);
        let ready = link.client.is_ready() || eager && link.client.stream_id().is_some();
        let ms = match (ready, link.role) {
            (false, _) => 50,
            (true, Role::Publish) => self.encode(index),
            (true, Role::Play) => self.watch(index),
        };
        self.transmit(index);
        self.schedule_in_ms(ms, Action::Operate(index));
    }

    /// An encoder's next step; gives the milliseconds until the one after.
    fn encode(&mut self, index: usize) -> u64 {
        let link = &mut self.links[index];
        let stream_id = link.client.stream_id().expect("it publishes");
        let Some(publishing) = &mut link.publishing else { return 1_000 };
        if !link.client.is_ready() {
            self.tally.eager_publishers += 1;
        }
        match self.rng.below(120) {
            0 => {
                // Another stream in the place of this one, or the same again, which changes nothing.
                let other = NAMES[self.rng.index(self.names)];
                if other != link.name || publishing.stopped {
                    self.begin_anew(index, other);
                    self.tally.republishes += 1;
                } else {
                    self.tally.publishes_repeated += 1;
                }
                self.say(index, &write::publish(stream_id, 7.0, other, PublishKind::Live));
            }
            1 => {
                let name = link.name;
                let stop = self.rng.pick(&[0, 1, 2]);
                let message = match stop {
                    0 => write::fc_unpublish(6.0, name),
                    1 => write::close_stream(stream_id),
                    _ => write::unpublish(stream_id, 6.0),
                };
                self.begin_anew(index, name);
                self.say(index, &message);
                self.links[index].publishing.as_mut().expect("it publishes").stopped = true;
                self.send_media(index);
                return self.rng.below(800);
            }
            2 => {
                self.say(index, &write::delete_stream(6.0, stream_id));
                self.tally.streams_deleted += 1;
                let name = self.links[index].name;
                self.begin_anew(index, name);
                self.links[index].publishing.as_mut().expect("it publishes").stopped = true;
            }
            3..6 if publishing.stopped => {}
            3..6 => {
                let size = self.rng.pick(&[100, 128, 4096, 65_536]);
                if let Some(chunker) = &mut publishing.chunker {
                    chunker.chunk_size = size as usize;
                }
                self.tally.chunk_size_changes += 1;
                self.say(index, &Control::SetChunkSize(size).to_message());
            }
            6 => {
                let clear = b"\x02\x00\x0f@clearDataFrame";
                self.put(index, MediaKind::Data, type_id::DATA_AMF0, 0, Bytes::from_static(clear));
                self.tally.metadata_cleared += 1;
            }
            7 => return 1_000 + self.rng.below(5_000),
            8 => self.links[index].client.stop(self.now),
            9 if self.rng.percent(30) => {
                self.say(index, &write::play(stream_id + 1, 7.0, NAMES[0], -2.0, -1.0, true))
            }
            10 if self.rng.percent(50) => {
                // What has piled up while it could not send.
                for _ in 0..20 + self.rng.below(120) {
                    self.send_media(index);
                }
                self.tally.bursts += 1;
            }
            11..17 if self.is_long => self.switch_camera(index),
            _ if publishing.stopped => {
                let name = link.name;
                // What it sent meanwhile is lost, so this is one that begins again.
                self.begin_anew(index, name);
                self.say(index, &write::publish(stream_id, 7.0, name, PublishKind::Live));
                self.tally.republishes += 1;
            }
            _ => {
                for _ in 0..1 + self.rng.below(3) {
                    self.send_media(index);
                }
            }
        }
        20 + self.rng.below(350)
    }

    /// Switches the camera off while some core falls behind, so that its feed pauses and finds no key frame to go on at; or on again, once
    /// nobody waits for its pictures any more.
    fn switch_camera(&mut self, index: usize) {
        let now = self.now;
        let publishing = self.links[index].publishing.as_mut().expect("it publishes");
        if !publishing.encoder.has_audio || publishing.stopped {
            return;
        }
        match publishing.camera_off_since {
            Some(since) if now - since > VIDEO_SILENT_MAX => {
                publishing.camera_off_since = None;
                publishing.encoder.has_video = true;
            }
            Some(_) => {}
            None if publishing.encoder.has_video => {
                publishing.encoder.stretch_gops();
                self.stall_a_core();
                for _ in 0..20 {
                    self.send_media(index);
                }
                let publishing = self.links[index].publishing.as_mut().expect("it publishes");
                publishing.camera_off_since = Some(now);
                publishing.encoder.has_video = false;
                self.tally.cameras_off += 1;
            }
            None => {}
        }
    }

    /// What it sends from here on is another life's, of this name.
    fn begin_anew(&mut self, index: usize, name: &'static str) {
        let life = self.ledger.begin(name);
        let encoder = self.ledger.encoder(life, &mut self.rng);
        let link = &mut self.links[index];
        link.name = name;
        let publishing = link.publishing.as_mut().expect("it publishes");
        publishing.encoder = encoder;
        (publishing.stopped, publishing.camera_off_since) = (false, None);
    }

    /// What the encoder makes next.
    fn send_media(&mut self, index: usize) {
        let publishing = self.links[index].publishing.as_mut().expect("it publishes");
        let messages = publishing.encoder.next(&mut self.rng);
        messages.into_iter().for_each(|message| self.send_message(index, message));
    }

    /// Sends one message, data in one of the forms that reach players as the same.
    pub(super) fn send_message(&mut self, index: usize, message: MediaMessage) {
        self.ledger.note(&message);
        self.tally.messages_sent += 1;
        let MediaMessage { kind, mut type_id, timestamp, payload, .. } = message;
        let mut body = payload.to_bytes();
        if kind == MediaKind::Data && body.starts_with(b"\x02\x00\x0aonMetaData") && self.rng.percent(50) {
            body = [b"\x02\x00\x0d@setDataFrame", &body[..]].concat().into();
            self.tally.metadata_set += 1;
        }
        if kind == MediaKind::Data && self.rng.percent(30) {
            type_id = type_id::DATA_AMF3;
            let mut with_format = BytesMut::with_capacity(body.len() + 1);
            with_format.put_u8(0);
            with_format.extend_from_slice(&body);
            body = with_format.freeze();
            self.tally.data_in_amf3 += 1;
        }
        self.put(index, kind, type_id, timestamp, body);
    }

    fn put(&mut self, index: usize, kind: MediaKind, type_id: u8, timestamp: u32, body: Bytes) {
        let link = &mut self.links[index];
        let Some(stream_id) = link.client.stream_id() else { return };
        match link.publishing.as_mut().and_then(|publishing| publishing.chunker.as_mut()) {
            Some(chunker) => chunker.write(type_id, stream_id, timestamp, &body, &mut link.media_out),
            None => {
                let payload = Payload::from(body);
                let sent = match type_id {
                    type_id::DATA_AMF3 => link.client.send_media_type(self.now, type_id, timestamp, &payload),
                    _ => link.client.send_media(self.now, kind, timestamp, &payload),
                };
                sent.expect("ready");
            }
        }
        self.transmit(index);
    }

    /// A player's next step; gives the milliseconds until the one after.
    fn watch(&mut self, index: usize) -> u64 {
        let stream_id = self.links[index].client.stream_id().expect("it plays");
        let name = NAMES[self.rng.index(self.names)];
        match self.rng.below(40) {
            0..6 => {
                let pause = self.rng.percent(60);
                self.say(index, &write::pause(stream_id, 6.0, pause, 0.0));
            }
            6 => {
                self.tally.seeks += 1;
                self.say(index, &write::seek(stream_id, 6.0, 100.0));
            }
            7..10 => {
                let receive = self.rng.percent(60);
                self.say(index, &write::receive_audio(stream_id, receive));
            }
            10..13 => {
                let receive = self.rng.percent(60);
                self.say(index, &write::receive_video(stream_id, receive));
            }
            13 => self.say(index, &write::play(stream_id, 7.0, name, -2.0, -1.0, true)),
            14 => self.say(index, &write::play(stream_id + 1, 7.0, name, -2.0, -1.0, true)),
            15 => {
                self.tally.plays_closed += 1;
                self.say(index, &write::close_stream(stream_id));
            }
            16 => {
                self.tally.streams_deleted += 1;
                let deleted = stream_id + self.rng.pick(&[0, 1]);
                self.say(index, &write::delete_stream(6.0, deleted));
            }
            17 if self.rng.percent(50) => {
                let on = stream_id + self.rng.pick(&[0, 1]);
                self.say(index, &write::publish(on, 7.0, name, PublishKind::Live));
            }
            18 => self.links[index].client.stop(self.now),
            _ => {}
        }
        300 + self.rng.below(1_500)
    }
}
