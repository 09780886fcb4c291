//! The engine's own client role against servers: it publishes to and plays from `inrush` and nginx-rtmp, with each handshake, and
//! what passes is what a client sees that shares no code with it.
#![cfg(feature = "engine")]

mod support;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use inrush::rtmp::Payload;
use inrush::rtmp::command::{Capabilities, CapsEx};
use inrush::rtmp::handshake::{Entropy, HandshakeKind};
use inrush::session::{
    ClientCloseReason, ClientEvent, ClientOutput, ClientSession, ClientSettings, ClientUrl, Instant,
    MediaKind, Role,
};
use support::flv::{Kind, Tag};
use support::media::{LARGE_KEY_FRAMES, THIN};
use support::packets::{Packet, gapless_sequence};
use support::server::{Inrush, Server};
use support::{PATIENCE, rtmpdump, wait_until};

/// Drives a client session over a blocking socket.
struct Driver {
    session: ClientSession,
    socket: TcpStream,
    started: std::time::Instant,
    events: VecDeque<ClientEvent>,
}

impl Driver {
    fn start(url: &str, role: Role, handshake: HandshakeKind) -> Self {
        let settings = ClientSettings::new(ClientUrl::parse(url).expect("a URL"), role);
        Self::start_with(ClientSettings { handshake, ..settings })
    }

    /// One that says that it obeys requests to connect again.
    fn start_movable(url: ClientUrl, role: Role) -> Self {
        let capabilities = Capabilities::forwarder(CapsEx::RECONNECT);
        Self::start_with(ClientSettings { capabilities, ..ClientSettings::new(url, role) })
    }

    fn start_with(settings: ClientSettings) -> Self {
        let url = &settings.url;
        let socket = TcpStream::connect((url.host.as_str(), url.port)).expect("connect");
        socket.set_nodelay(true).expect("set TCP_NODELAY");
        let random = std::array::from_fn(|at| (at * 31 % 251) as u8);
        let entropy = Box::new(Entropy { time_ms: 0, random });
        let session = ClientSession::new(Instant::default(), settings, entropy);
        Self { session, socket, started: std::time::Instant::now(), events: VecDeque::new() }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.started.elapsed().as_micros() as u64)
    }

    /// Writes out and collects what the session gives.
    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Send(bytes) => self.socket.write_all(&bytes).expect("send"),
                ClientOutput::Event(event) => self.events.push_back(event),
                ClientOutput::Timeout(_) | ClientOutput::Progress => {}
            }
        }
    }

    /// The next event, or `None` when nothing comes within the time.
    fn next_event(&mut self, timeout: Duration) -> Option<ClientEvent> {
        let start = std::time::Instant::now();
        loop {
            self.drain();
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let left = timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).expect("set a timeout");
            let mut buffer = [0; 65536];
            match self.socket.read(&mut buffer) {
                Ok(0) => self.session.handle_eof(self.now()),
                Ok(read) => self.session.handle_bytes(self.now(), Bytes::copy_from_slice(&buffer[..read])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("receive: {error}"),
            }
        }
    }

    /// Waits until publishing or playing is on.
    #[track_caller]
    fn ready(mut self) -> Self {
        loop {
            match self.next_event(PATIENCE).expect("an answer") {
                ClientEvent::Ready => return self,
                ClientEvent::Closed { reason } => panic!("closed: {reason:?}"),
                _ => {}
            }
        }
    }

    /// Publishes all of it at some pace, and stops in good order.
    fn publish(mut self, tags: &[Tag]) {
        let start = std::time::Instant::now();
        for tag in tags {
            let due = Duration::from_millis(u64::from(tag.timestamp) / 4);
            if let Some(early) = due.checked_sub(start.elapsed()) {
                std::thread::sleep(early);
            }
            let kind = match tag.kind {
                Kind::Audio => MediaKind::Audio,
                Kind::Video => MediaKind::Video,
                Kind::Data => MediaKind::Data,
            };
            let payload = Payload::from(Bytes::copy_from_slice(&tag.body));
            self.session.send_media(self.now(), kind, tag.timestamp, &payload).expect("it is publishing");
            self.drain();
            assert!(
                self.events.iter().all(|event| !matches!(event, ClientEvent::Closed { .. })),
                "{:?}",
                self.events
            );
        }
        self.session.stop(self.now());
        self.drain();
        self.socket.shutdown(std::net::Shutdown::Write).expect("shut the write side");
        let _ = self.socket.read_to_end(&mut Vec::new());
    }

    /// Plays to the end of the stream.
    fn record(mut self) -> Vec<Tag> {
        let mut tags = Vec::new();
        loop {
            match self.next_event(PATIENCE).expect("the stream goes on") {
                ClientEvent::Media(media) => tags.push(Tag {
                    kind: Kind::from_type(media.type_id).expect("AMF0 data"),
                    timestamp: media.timestamp,
                    body: media.payload.to_vec(),
                }),
                ClientEvent::Ended | ClientEvent::Closed { .. } => return tags,
                _ => {}
            }
        }
    }
}

/// Publishes and plays with the engine's client; rtmpdump watches what it publishes.
fn publish_and_play(server: &Server, handshake: HandshakeKind, skipped_max: usize) {
    let media = LARGE_KEY_FRAMES.media();
    let name = format!("{handshake:?}");
    let url = server.url("live", &name);
    let recorder = rtmpdump::play(&url);
    let player = Driver::start(&url, Role::Play, handshake);
    let playing = std::thread::spawn(move || player.record());
    server.wait_for_players("live", &name, 2);
    Driver::start(&url, Role::Publish, handshake).ready().publish(&media.tags);
    let received = playing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let run = gapless_sequence(&media.packets, &Packet::from_tags(&received)).expect("one gapless run");
    assert!(run.skipped <= skipped_max, "{run:?}");
    assert!(recorder.finish().assert_gapless(&media.packets).skipped <= skipped_max);
}

/// Against `inrush`.
#[test]
fn publishes_to_and_plays_from_inrush() {
    let server = Inrush::new().cores(2).start();
    for handshake in [HandshakeKind::Simple, HandshakeKind::Digest] {
        publish_and_play(&server, handshake, 0);
    }
}

/// Against a server of another make, which keeps back what comes before the first video frame: one audio frame.
#[test]
fn publishes_to_and_plays_from_nginx_rtmp() {
    let server = Server::nginx_rtmp();
    for handshake in [HandshakeKind::Simple, HandshakeKind::Digest] {
        publish_and_play(&server, handshake, 1);
    }
}

/// A publisher and a player of ours obey a server that drains: asked to connect elsewhere, with their app, they do, the stream goes on
/// there, and the server that asked has nothing to wait for.
#[test]
fn a_drain_leads_both_roles_to_another_server() {
    let there = Inrush::new().cores(2).start();
    let config = format!("[engine]\ndrain_seconds = 3600\nreconnect_url = \"rtmp://{}\"\n", there.rtmp());
    let here = Inrush::new().cores(2).config(&config).start();
    let url = ClientUrl::parse(&here.url("live", "moves?token=1")).expect("a URL");
    let mut clients =
        [Role::Publish, Role::Play].map(|role| Driver::start_movable(url.clone(), role).ready());
    here.process().signal(libc::SIGTERM);
    let moved = clients.each_mut().map(|client| {
        loop {
            match client.next_event(PATIENCE).expect("a request") {
                ClientEvent::Reconnect { url, description } => {
                    assert_eq!(url.tc_url, format!("rtmp://{}/live", there.rtmp()));
                    assert_eq!((&*url.name, description.is_empty()), ("moves?token=1", false));
                    break url;
                }
                ClientEvent::Closed { reason } => panic!("closed: {reason:?}"),
                _ => {}
            }
        }
    });
    let [publish, play] = moved;
    let media = THIN.media();
    let player = Driver::start_movable(play, Role::Play).ready();
    let playing = std::thread::spawn(move || player.record());
    there.wait_for_players("live", "moves", 1);
    let publisher = Driver::start_movable(publish, Role::Publish).ready();
    for mut client in clients {
        client.session.stop(client.now());
        client.drain();
    }
    here.wait_for_end();
    publisher.publish(&media.tags);
    let received = playing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let run = gapless_sequence(&media.packets, &Packet::from_tags(&received)).expect("one gapless run");
    assert_eq!(run.skipped, 0);
}

/// A refusal by either server reaches the program with its code.
#[test]
fn refusals_are_told() {
    for server in [Inrush::new().start(), Server::nginx_rtmp()] {
        let url = server.url("live", "taken");
        let mut holder = Driver::start(&url, Role::Publish, HandshakeKind::Simple).ready();
        let mut refused = Driver::start(&url, Role::Publish, HandshakeKind::Simple);
        let payload = Payload::from(Bytes::from(THIN.media().tags[0].body.clone()));
        let reason = wait_until("an answer", PATIENCE, || {
            // A holder that is not heard of may be a ghost, and yields.
            holder.session.send_media(holder.now(), MediaKind::Data, 0, &payload).expect("it is publishing");
            holder.drain();
            match refused.next_event(Duration::from_millis(20))? {
                ClientEvent::Closed { reason } => Some(reason),
                ClientEvent::Ready => panic!("two publishers of one stream"),
                _ => None,
            }
        });
        let ClientCloseReason::Refused(status) = reason else { panic!("closed: {reason:?}") };
        assert_eq!(status.code, "NetStream.Publish.BadName");
        holder.session.send_media(holder.now(), MediaKind::Data, 0, &payload).expect("it is publishing");
        holder.drain();
    }
}
