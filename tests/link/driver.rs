//! The drivers of a run: they take what sessions give, answer what servers ask, and pass media on.

use std::time::Duration;

use bytes::BytesMut;
use inrush::rtmp::chunk::WireHeaders;
use inrush::rtmp::{Error, MessageHeader, PeerMisbehaved};
use inrush::session::{
    ClientCloseReason, ClientEvent, ClientOutput, CloseReason, Event, Instant, MediaMessage, Notice, Output,
    Rejection, RequestId, StreamKey,
};

use super::connection::{Item, Question, Side};
use super::world::{Action, Player, World};

impl World {
    /// Takes outputs up to a random budget.
    pub(super) fn drain_server(&mut self, index: usize) {
        let budget = self.rng.pick(&[1, 4, usize::MAX, usize::MAX]);
        for _ in 0..budget {
            let Some(output) = self.connections[index].server.poll_output() else {
                return self.check_server(index);
            };
            match output {
                Output::Send(bytes) => self.transmit(index, Side::Server, bytes),
                Output::Event(event) => self.on_server_event(index, event),
                Output::Timeout(at) => self.on_wake_asked(index, Side::Server, at),
                Output::Progress => {}
            }
        }
        self.drain_later(index, Side::Server);
    }

    pub(super) fn drain_client(&mut self, index: usize) {
        let budget = self.rng.pick(&[1, 4, usize::MAX, usize::MAX]);
        for _ in 0..budget {
            let Some(output) = self.connections[index].client.poll_output() else { return };
            match output {
                ClientOutput::Send(bytes) => self.transmit(index, Side::Client, bytes),
                ClientOutput::Event(event) => self.on_client_event(index, event),
                ClientOutput::Timeout(at) => self.on_wake_asked(index, Side::Client, at),
                ClientOutput::Progress => {}
            }
        }
        self.drain_later(index, Side::Client);
    }

    /// A driver that has used up its budget comes back at once or after others, while more input may arrive.
    fn drain_later(&mut self, index: usize, side: Side) {
        let delay = Duration::from_millis(self.rng.pick(&[0, 0, 20]));
        self.schedule(self.now + delay, Action::Drain(index, side));
    }

    fn on_wake_asked(&mut self, index: usize, side: Side, at: Instant) {
        let at = at.max(self.now);
        self.connections[index].wake_at[side as usize] = Some(at);
        self.schedule(at, Action::Wake(index, side));
    }

    /// What must hold whenever a session has no output left.
    fn check_server(&mut self, index: usize) {
        let connection = &self.connections[index];
        let server = &connection.server;
        match connection.wake_at[Side::Server as usize] {
            Some(at) => assert!(at <= server.next_timeout().max(self.now), "woken too late"),
            None => assert_eq!(server.next_timeout(), Instant::FAR_FUTURE, "never woken"),
        }
        assert!(server.missing_bytes() > 0);
    }

    fn on_server_event(&mut self, index: usize, event: Event) {
        assert!(!self.connections[index].server_done, "{event:?} after Closed");
        match event {
            Event::Connected => self.kinds.count("server connected"),
            Event::PublishRequested(request) => {
                self.kinds.count("server publish requested");
                self.ask(index, request.request, request.stream_id, request.address.key, true);
            }
            Event::PlayRequested(request) => {
                self.kinds.count("server play requested");
                self.ask(index, request.request, request.stream_id, request.address.key, false);
            }
            Event::Media(message) => self.on_media(index, message),
            Event::Stopped { stream_id } => {
                self.kinds.count("server stopped");
                self.stop(index, Some(stream_id));
            }
            Event::Paused { stream_id, paused } => {
                self.kinds.count("server paused");
                let of = |p: &&mut Player| p.connection == index && p.stream_id == stream_id;
                self.players.iter_mut().find(of).expect("a player paused").paused = paused;
            }
            Event::ReceiveAudio { .. } => self.kinds.count("server receive audio"),
            Event::ReceiveVideo { .. } => self.kinds.count("server receive video"),
            Event::Tolerated(oddity) => self.kinds.count(format!("server tolerated {}", oddity.label())),
            Event::Closed { reason, linger } => {
                self.kinds.count(format!("server closed {}", label(&reason)));
                self.kinds.count(format!("server closed, linger {linger}"));
                let counters = self.connections[index].server.counters().clone();
                if counters.pings_sent > 0 {
                    self.kinds.count("server pinged");
                }
                if counters.round_trip.is_some() {
                    self.kinds.count("server round trip measured");
                }
                if counters.acknowledgements_sent > 0 {
                    self.kinds.count("server acknowledged");
                }
                self.stop(index, None);
                self.connections[index].server_done = true;
                self.finish(index, Side::Server);
            }
        }
    }

    fn ask(&mut self, index: usize, request: RequestId, stream_id: u32, key: StreamKey, publish: bool) {
        let question = Question { request, stream_id, key, publish };
        assert!(self.connections[index].question.replace(question).is_none(), "one question at a time");
        let delay = Duration::from_millis(self.rng.pick(&[0, 0, 100, 3_000]));
        self.schedule(self.now + delay, Action::Answer(index));
    }

    pub(super) fn answer(&mut self, index: usize) {
        let now = self.now;
        let refused = self.rng.percent(self.refused_percent);
        let connection = &mut self.connections[index];
        let Some(question) = connection.question.take() else { return };
        let taken = question.publish && self.publishers.contains_key(&question.key);
        if taken || refused {
            let rejection = match question.publish {
                _ if taken => Rejection::already_published(),
                true => Rejection::publish_denied("not today"),
                false => Rejection { close: self.rng.percent(50), ..Rejection::play_denied("not today") },
            };
            connection.lossless = false;
            connection.server.reject(now, question.request, rejection);
        } else if question.publish {
            connection.server.accept_publish(now, question.request);
            if connection.server.is_publishing() {
                connection.publishing = true;
                self.publishers.insert(question.key.clone(), index);
                self.notify(&question.key, Notice::PublishNotify);
            }
        } else {
            connection.server.accept_play(now, question.request);
            if connection.server.is_playing() {
                let (connection, stream_id, key) = (index, question.stream_id, question.key);
                self.players.push(Player { connection, stream_id, key, paused: false });
            }
        }
        self.drain_server(index);
        // What was left unread while the answer was awaited.
        for _ in 0..self.connections[index].pipe_from(Side::Client).waiting(now) {
            self.schedule(now, Action::Deliver(index, Side::Server));
        }
    }

    fn notify(&mut self, key: &StreamKey, notice: Notice) {
        let told: Vec<_> =
            self.players.iter().filter(|p| p.key == *key).map(|p| (p.connection, p.stream_id)).collect();
        for (connection, stream_id) in told {
            self.connections[connection].server.notify(self.now, stream_id, notice);
            self.drain_server(connection);
        }
    }

    /// An accepted publish or play ended; all of the connection's, without a stream.
    fn stop(&mut self, index: usize, stream_id: Option<u32>) {
        let before = self.players.len();
        self.players.retain(|p| p.connection != index || stream_id.is_some_and(|id| id != p.stream_id));
        let plays = self.players.len() < before;
        assert!(plays || stream_id.is_none() || self.connections[index].publishing, "nothing to stop");
        if !plays && self.connections[index].publishing {
            self.connections[index].publishing = false;
            let key = self
                .publishers
                .iter()
                .find(|(_, publisher)| **publisher == index)
                .map(|(key, _)| key.clone());
            let key = key.expect("a publisher has a key");
            self.publishers.remove(&key);
            self.notify(&key, Notice::UnpublishNotify);
        }
        self.connections[index].question = None;
    }

    fn on_media(&mut self, index: usize, message: MediaMessage) {
        self.kinds.count("server media");
        assert!(self.connections[index].publishing, "media of a stream that was not accepted");
        self.connections[index].on_media_arrived(&message);
        let key =
            self.publishers.iter().find(|(_, publisher)| **publisher == index).map(|(key, _)| key.clone());
        let to: Vec<_> = self
            .players
            .iter()
            .filter(|player| !player.paused && Some(&player.key) == key.as_ref())
            .map(|player| (player.connection, player.stream_id))
            .collect();
        for (player, stream_id) in to {
            // What the session has said so far goes first.
            self.flush(player);
            let connection = &mut self.connections[player];
            let header = MessageHeader { timestamp: message.timestamp, type_id: message.type_id, stream_id };
            let wire = WireHeaders::new(&header, message.payload.len(), connection.chunk_size_to_client);
            let mut bytes = BytesMut::new();
            wire.write_to(&message.payload, &mut bytes);
            connection.server.on_bytes_sent(self.now, bytes.len() as u64);
            connection.passed_on.push_back(Item::of(
                message.type_id,
                message.timestamp,
                &message.payload.to_bytes(),
            ));
            self.transmit(player, Side::Server, bytes.freeze());
        }
    }

    /// Takes all outputs, whatever the budget.
    fn flush(&mut self, index: usize) {
        while let Some(output) = self.connections[index].server.poll_output() {
            match output {
                Output::Send(bytes) => self.transmit(index, Side::Server, bytes),
                Output::Event(event) => self.on_server_event(index, event),
                Output::Timeout(at) => self.on_wake_asked(index, Side::Server, at),
                Output::Progress => {}
            }
        }
    }

    fn on_client_event(&mut self, index: usize, event: ClientEvent) {
        let connection = &mut self.connections[index];
        assert!(!connection.client_done, "{event:?} after Closed");
        match event {
            ClientEvent::Connected { .. } => self.kinds.count("client connected"),
            ClientEvent::Reconnect { url, .. } => {
                assert_eq!((&*url.app, &*url.name), ("live", "key"));
                self.kinds.count("client asked to reconnect");
            }
            ClientEvent::Ready => {
                let again = std::mem::replace(&mut connection.was_ready, true);
                self.kinds.count(if again { "client ready again" } else { "client ready" });
            }
            ClientEvent::Status(_) => self.kinds.count("client status"),
            ClientEvent::Ended => self.kinds.count("client ended"),
            ClientEvent::Media(message) => {
                if connection.on_media_received(&message) {
                    self.kinds.count("client media");
                }
            }
            ClientEvent::Closed { reason } => {
                let label = match &reason {
                    ClientCloseReason::Error(Error::PeerMisbehaved(error @ PeerMisbehaved::Deadline(_))) => {
                        format!("deadline: {error}")
                    }
                    reason => reason.label().to_string(),
                };
                self.kinds.count(format!("client closed {label}"));
                connection.client_done = true;
                connection.client_reason = Some(reason);
                self.finish(index, Side::Client);
            }
        }
    }
}

fn label(reason: &CloseReason) -> String {
    match reason {
        CloseReason::Error(Error::PeerMisbehaved(error @ PeerMisbehaved::Deadline(_))) => {
            format!("deadline: {error}")
        }
        reason => reason.label().to_string(),
    }
}
