//! Sessions in this process, on a clock that the test turns: for what takes days, or an answer that never comes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use inrush::rtmp::handshake::Entropy;
use inrush::session::{
    ClientEvent, ClientOutput, ClientSession, ClientSettings, Event, Instant, MediaMessage, Output,
    PublishRequest, ServerSession, ServerSettings,
};

use crate::support::script;
use crate::support::wire::{self, ChunkWriter, Message};

/// Some randomness for a handshake.
pub fn entropy() -> Box<Entropy> {
    Box::new(Entropy { time_ms: 0, random: [7; wire::HANDSHAKE_PACKET_BYTES - 8] })
}

/// A session and its encoder.
pub struct Encoder {
    pub session: ServerSession,
    pub now: Instant,
    writer: ChunkWriter,
    /// Events that the test has not looked at yet.
    pub events: Vec<Event>,
}

impl Encoder {
    /// One that has shaken hands and connected to `live`.
    pub fn connected(settings: ServerSettings) -> Self {
        let now = Instant::from_micros(1_000_000);
        let session = ServerSession::new(now, Arc::new(settings), entropy());
        let mut encoder = Self { session, now, writer: ChunkWriter::default(), events: Vec::new() };
        encoder.send(&[wire::c0_c1(), wire::c2()].concat());
        encoder.say(&script::connect("live", "rtmp://localhost/live"));
        assert!(matches!(encoder.events[..], [Event::Connected]), "{:?}", encoder.events);
        encoder.events.clear();
        encoder
    }

    /// Says a message, in chunks.
    pub fn say(&mut self, message: &Message) {
        let bytes = self.writer.write(message);
        self.send(&bytes);
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.session.handle_bytes(self.now, Bytes::copy_from_slice(bytes));
        self.drain();
    }

    /// Lets time pass, in steps of at most a second, as a driver's sweep does.
    pub fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = end.min(self.now + Duration::from_secs(1));
            self.session.handle_timeout(self.now);
            self.drain();
        }
    }

    /// Asks to publish; gives the question that the server is asked.
    pub fn request_publish(&mut self, name: &str) -> PublishRequest {
        self.say(&script::create_stream());
        self.say(&script::publish(script::FIRST_STREAM, name));
        match self.events.pop() {
            Some(Event::PublishRequested(request)) => request,
            event => panic!("no publish was requested: {event:?}"),
        }
    }

    /// The media that came out since this was last asked.
    pub fn take_media(&mut self) -> Vec<MediaMessage> {
        let events = std::mem::take(&mut self.events);
        let media = |event| if let Event::Media(message) = event { Some(message) } else { None };
        events.into_iter().filter_map(media).collect()
    }

    /// Does what a driver does after each input.
    pub fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            if let Output::Event(event) = output {
                self.events.push(event);
            }
        }
    }
}

/// What came of a conversation between our client and our server.
pub struct Conversation {
    pub client: ClientSession,
    pub client_events: Vec<ClientEvent>,
    pub server_events: Vec<Event>,
    /// All that the client said, its handshake included.
    pub client_said: Vec<u8>,
}

/// Lets our client talk to our server until neither has more to say. A play is accepted; a publish waits for its answer for ever.
pub fn converse(settings: ClientSettings) -> Conversation {
    let now = Instant::from_micros(1);
    let client = ClientSession::new(now, settings, entropy());
    let mut server = ServerSession::new(now, ServerSettings::default().into(), entropy());
    let (client_events, server_events, client_said) = (Vec::new(), Vec::new(), Vec::new());
    let mut conversation = Conversation { client, client_events, server_events, client_said };
    let Conversation { client, client_events, server_events, client_said } = &mut conversation;
    loop {
        let mut is_over = true;
        while let Some(output) = client.poll_output() {
            match output {
                ClientOutput::Send(bytes) => {
                    is_over = false;
                    client_said.extend_from_slice(&bytes);
                    server.handle_bytes(now, bytes);
                }
                ClientOutput::Event(event) => client_events.push(event),
                ClientOutput::Timeout(_) | ClientOutput::Progress => {}
            }
        }
        while let Some(output) = server.poll_output() {
            match output {
                Output::Send(bytes) => client.handle_bytes(now, bytes),
                Output::Event(event) => {
                    if let Event::PlayRequested(request) = &event {
                        server.accept_play(now, request.request);
                    }
                    server_events.push(event);
                }
                Output::Timeout(_) | Output::Progress => {}
            }
        }
        if is_over {
            return conversation;
        }
    }
}
