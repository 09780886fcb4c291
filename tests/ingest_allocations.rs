//! What a publisher without readers costs in allocations a media message, from the receive to the end of `Hub::ingest`. The bound is two.
//! The read buffer's share is counted, as the runtime splits and freezes it: one buffer and its reference count for what fits in.
#![cfg(feature = "engine")]

mod counting;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use counting::allocations_so_far;
use inrush::hub::{AppSettings, ConnectionRef, CoreId, Hub, HubSettings, PublisherKey};
use inrush::rtmp::handshake::Entropy;
use inrush::session::{
    ClientEvent, ClientOutput, ClientSession, ClientSettings, ClientUrl, Event, Instant, MediaKind, Output,
    Role, ServerSession, ServerSettings,
};

/// A publisher's read buffer to begin with, what it grows to when receives fill it, the room below which it is replaced, and how often it
/// must have been filled, as in `runtime/buffer.rs`. That polled publishers share the buffers that nobody keeps makes them fewer, not more.
const BUFFER_BYTES: usize = 20 * 1024;
const BUFFER_BYTES_MAX: usize = 80 * 1024;
const SPARE_BYTES_MIN: usize = 512;
const FILLED_WEIGHT: u8 = 8;
const FILLED_MAX: u8 = 4 * FILLED_WEIGHT;

/// 3 Mbit/s: 25 pictures a second, the key frame of each 2 s ten times the others, and 50 AAC messages.
const PICTURES: u32 = 25;
const GOP_PICTURES: u32 = 50;
const PICTURE_BYTES: usize = 11_900;
const KEY_BYTES: usize = 119_000;
const AUDIO_BYTES: usize = 370;

/// How the bytes reach the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Each message is there at its due time, and a receive takes what is there.
    Message,
    /// A segment of a wide-area path wakes a receive.
    Segment,
    /// The socket is visited every 10 ms: a receive takes what the buffer has room for.
    Tick,
}

fn entropy() -> Box<Entropy> {
    Box::new(Entropy { time_ms: 0, random: [7; 1528] })
}

/// A publisher and the engine's floors 0 to 3 for it, without a socket between them.
struct Link {
    client: ClientSession,
    server: ServerSession,
    hub: Hub,
    publisher: Option<PublisherKey>,
    settings: AppSettings,
    buffer: BytesMut,
    buffer_bytes: usize,
    filled: u8,
    now: Instant,
    messages: u64,
}

impl Link {
    /// A link whose publish has been accepted.
    fn publishing(chunk_size: u32, gop_cache: bool) -> Self {
        let url = ClientUrl::parse("rtmp://server/live/s").unwrap();
        let client_settings =
            ClientSettings { chunk_size_out: chunk_size, ..ClientSettings::new(url, Role::Publish) };
        let now = Instant::default();
        let mut settings = AppSettings::default();
        settings.gop.enabled = gop_cache;
        let mut link = Self {
            client: ClientSession::new(now, client_settings, entropy()),
            server: ServerSession::new(now, Arc::new(ServerSettings::default()), entropy()),
            hub: Hub::new(HubSettings { core: CoreId(0), cores: 1 }),
            publisher: None,
            settings,
            buffer: BytesMut::new(),
            buffer_bytes: BUFFER_BYTES,
            filled: 0,
            now,
            messages: 0,
        };
        loop {
            let said = link.said();
            if link.client.is_ready() {
                break;
            }
            assert!(!said.is_empty(), "the client waits for what will not come");
            link.receive(&said);
        }
        link
    }

    /// What the client has to say.
    fn said(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        while let Some(output) = self.client.poll_output() {
            match output {
                ClientOutput::Send(bytes) => said.extend_from_slice(&bytes),
                ClientOutput::Event(ClientEvent::Closed { reason }) => panic!("closed: {reason:?}"),
                _ => {}
            }
        }
        said
    }

    /// The wire bytes of one message.
    fn wire(&mut self, kind: MediaKind, timestamp: u32, head: &[u8], len: usize) -> Vec<u8> {
        let body = Bytes::from([head, &vec![0x55; len - head.len()]].concat());
        self.client.send_media(self.now, kind, timestamp, &body.into()).unwrap();
        self.said()
    }

    /// One second of the stream: each picture with two audio messages behind it, and the time in microseconds when they are due.
    fn second(&mut self, second: u32) -> Vec<(u64, Vec<u8>)> {
        let mut messages = Vec::new();
        for picture in second * PICTURES..(second + 1) * PICTURES {
            let at = picture * 40;
            let (head, len) = match picture % GOP_PICTURES {
                0 => ([0x17, 1, 0, 0, 0], KEY_BYTES),
                _ => ([0x27, 1, 0, 0, 0], PICTURE_BYTES),
            };
            messages.push((u64::from(at) * 1000, self.wire(MediaKind::Video, at, &head, len)));
            for at in [at + 10, at + 30] {
                messages
                    .push((u64::from(at) * 1000, self.wire(MediaKind::Audio, at, &[0xaf, 1], AUDIO_BYTES)));
            }
        }
        messages
    }

    /// Hands on what one receive after another takes of what is there, as a connection's reader does.
    fn receive(&mut self, mut there: &[u8]) {
        while !there.is_empty() {
            let spare = self.buffer.capacity() - self.buffer.len();
            if spare < self.buffer_bytes
                && !self.buffer.try_reclaim(self.buffer_bytes)
                && spare < SPARE_BYTES_MIN
            {
                self.buffer = BytesMut::with_capacity(self.buffer_bytes);
            }
            let (taken, rest) = there.split_at(there.len().min(self.buffer.capacity() - self.buffer.len()));
            self.buffer.extend_from_slice(taken);
            there = rest;
            if taken.len() < self.buffer_bytes {
                self.filled = self.filled.saturating_sub(1);
            } else if self.buffer_bytes < BUFFER_BYTES_MAX {
                self.filled += FILLED_WEIGHT;
                if self.filled >= FILLED_MAX {
                    self.filled = 0;
                    self.buffer_bytes *= 2;
                }
            }
            self.server.handle_bytes(self.now, self.buffer.split().freeze());
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send(bytes) => self.client.handle_bytes(self.now, bytes),
                Output::Event(Event::PublishRequested(publish)) => {
                    let key = &publish.address.key;
                    let claim = ConnectionRef(0).into();
                    self.publisher =
                        self.hub.publish(self.now, key, claim, &self.settings).unwrap().publisher();
                    self.server.accept_publish(self.now, publish.request);
                }
                Output::Event(Event::Media(message)) => {
                    self.messages += 1;
                    self.hub.ingest(self.now, self.publisher.unwrap(), message);
                }
                Output::Event(Event::Closed { reason, .. }) => panic!("closed: {reason:?}"),
                _ => {}
            }
        }
        while self.hub.poll_event().is_some() {}
    }

    /// What becomes due reaches the server; gives the allocations that this took.
    fn arrive(&mut self, due: &[(u64, Vec<u8>)]) -> u64 {
        let before = allocations_so_far();
        for (due_us, bytes) in due {
            self.now = Instant::from_micros(*due_us);
            self.receive(bytes);
        }
        allocations_so_far() - before
    }
}

/// The same bytes as they come in at this pace.
fn regrouped(messages: Vec<(u64, Vec<u8>)>, pace: Pace) -> Vec<(u64, Vec<u8>)> {
    let piece_bytes = match pace {
        Pace::Message => return messages,
        Pace::Segment => 1448,
        // 10 ms of 3 Mbit/s.
        Pace::Tick => 3750,
    };
    let (start_us, end_us) = (messages[0].0, messages[messages.len() - 1].0);
    let all: Vec<u8> = messages.into_iter().flat_map(|(_, wire)| wire).collect();
    let pieces = all.len().div_ceil(piece_bytes) as u64;
    let due = |nth: u64| start_us + nth * (end_us - start_us) / pieces;
    (0..).zip(all.chunks(piece_bytes)).map(|(nth, piece)| (due(nth), piece.to_vec())).collect()
}

/// Allocations and media messages of 20 s, after 4 s in which tables, queues and the GOP cache have found their size.
fn steady(chunk_size: u32, pace: Pace, gop_cache: bool) -> (u64, u64) {
    let mut link = Link::publishing(chunk_size, gop_cache);
    let mut allocations = 0;
    for second in 0..24 {
        if second == 4 {
            (allocations, link.messages) = (0, 0);
        }
        let messages = link.second(second);
        allocations += link.arrive(&regrouped(messages, pace));
    }
    (allocations, link.messages)
}

/// At most two, with and without the GOP cache. What counts beside the frame's own: up to 0.6 for the read buffers of 20 kB, which are used
/// again when nobody keeps what was in them; the list of a picture's slices when they are more than two; and a share of the block that
/// short pieces are copied to.
#[test]
fn a_media_message_costs_at_most_two_however_it_comes() {
    for chunk_size in [60_000, 4096, 128] {
        for pace in [Pace::Message, Pace::Tick, Pace::Segment] {
            for gop_cache in [false, true] {
                let case = format!("{pace:?}, chunks of {chunk_size}, GOP cache {gop_cache}");
                let (allocations, messages) = steady(chunk_size, pace, gop_cache);
                assert_eq!(messages, 20 * 75);
                let each = allocations as f64 / messages as f64;
                println!("{case}: {each:.3} allocations a message");
                assert!(each <= 2.0, "{case}: {each:.3} allocations a message");
                assert!(each >= 1.0, "each frame is one allocation: the counter does not count");
            }
        }
    }
}
