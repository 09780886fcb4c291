//! A blocking RTMP client that shows every message as it came: for tests that need one exact publisher or player.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::Range;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::amf::{self, Amf};
use super::flv::Tag;
use super::packets::{Packet, gapless_sequence};
use super::synthetic::Pattern;
use super::tls::{Tls, Transport};
use super::wire::{self, ChunkReader, ChunkWriter, Message};
use super::{PATIENCE, script};

/// TCP from another address of this machine: all of 127.0.0.0/8 is.
#[track_caller]
pub fn connect_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("make a socket");
    socket
        .bind(&SocketAddr::new(source, 0).into())
        .unwrap_or_else(|error| panic!("bind to {source}: {error}"));
    socket
        .connect(&address.into())
        .unwrap_or_else(|error| panic!("connect from {source} to {address}: {error}"));
    socket.into()
}

/// What a client sees.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Audio, video or data.
    Media(Tag),
    /// `onStatus`.
    Status(Status),
    /// `_result` or `_error`: its name, transaction and what follows.
    Answer(String, f64, Vec<Amf>),
    /// Any other message.
    Other(Message),
    /// The server has closed the connection, orderly or not.
    Closed,
}

/// The information object of an `onStatus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `status`, `warning` or `error`.
    pub level: String,
    /// `NetStream.…`
    pub code: String,
    /// For people.
    pub description: String,
    /// Where a request to connect again leads; empty if it does not say.
    pub tc_url: String,
}

/// `NetConnection.Connect.ReconnectRequest`.
pub const RECONNECT_REQUEST: &str = "NetConnection.Connect.ReconnectRequest";

/// One connection.
pub struct Client {
    transport: Transport,
    reader: ChunkReader,
    writer: ChunkWriter,
    stream_id: u32,
    name: String,
    read_rate: Option<f64>,
}

impl Client {
    /// TCP and handshake.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        Self::over(
            TcpStream::connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}")),
        )
    }

    /// Handshake over a socket that is connected already.
    #[track_caller]
    pub fn over(socket: TcpStream) -> Self {
        Self::over_transport(Transport::Plain(socket))
    }

    /// Handshake over TLS.
    #[track_caller]
    pub fn open_tls(address: SocketAddr, tls: &Tls) -> Self {
        Self::over_transport(tls.connect(address))
    }

    /// Handshake over what is connected already.
    #[track_caller]
    pub fn over_transport(mut transport: Transport) -> Self {
        let socket = transport.socket();
        socket.set_nodelay(true).expect("set TCP_NODELAY");
        socket.set_write_timeout(Some(PATIENCE)).expect("set a timeout");
        socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        transport.write_all(&wire::c0_c1()).expect("send C0 and C1");
        let mut answer = vec![0; 1 + 2 * wire::HANDSHAKE_PACKET_BYTES];
        transport.read_exact(&mut answer).expect("receive S0, S1 and S2");
        assert_eq!(answer[0], 3, "S0 is the version");
        transport.write_all(&answer[1..=wire::HANDSHAKE_PACKET_BYTES]).expect("send C2");
        Self {
            transport,
            reader: ChunkReader::default(),
            writer: ChunkWriter::default(),
            stream_id: 0,
            name: String::new(),
            read_rate: None,
        }
    }

    /// TCP and handshake from another address of this machine.
    #[track_caller]
    pub fn open_from(source: IpAddr, address: SocketAddr) -> Self {
        Self::over(connect_from(source, address))
    }

    /// TCP and handshake over a socket that holds little for a reader who is slow: some 32 kB.
    #[track_caller]
    pub fn open_narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("make a socket");
        // The kernel doubles it for its own needs. Once set, it does not grow by itself.
        socket.set_recv_buffer_size(16 * 1024).expect("set SO_RCVBUF");
        socket.connect(&address.into()).unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        Self::over(socket.into())
    }

    /// Reads no more than this many bytes a second from now on.
    pub fn limit_reading(&mut self, bytes_per_second: f64) {
        self.read_rate = Some(bytes_per_second);
    }

    /// Uses these habits of writing from now on.
    pub fn with_writer(mut self, writer: ChunkWriter) -> Self {
        self.writer = writer;
        self
    }

    /// Announces another chunk size, and uses it from then on.
    pub fn set_chunk_size(&mut self, bytes: u32) {
        let announcement = self.writer.set_chunk_size(bytes);
        self.send_bytes(&announcement);
    }

    /// `connect`, up to its answer.
    #[track_caller]
    pub fn connect(self, app: &str) -> Self {
        self.connect_with(app, &[]).0
    }

    /// `connect` with further properties; gives the information object of the answer as well.
    #[track_caller]
    pub fn connect_with(mut self, app: &str, properties: &[(&str, Amf)]) -> (Self, Amf) {
        let peer = self.socket().peer_addr().expect("a connected socket has a peer");
        self.send(&script::connect_with(app, &format!("rtmp://{peer}/{app}"), properties));
        let information = self.wait_for_answer(script::CONNECT).pop().expect("the answer tells something");
        (self, information)
    }

    /// `connect` of a client that understands requests to connect again (E-RTMP v2 `CapsExMask.Reconnect`).
    #[track_caller]
    pub fn connect_movable(self, app: &str) -> Self {
        self.connect_with(app, &[("capsEx", 1.0.into())]).0
    }

    /// Asks to publish, up to the answer.
    #[track_caller]
    pub fn request_publish(&mut self, name: &str) -> Status {
        for message in script::before_publish(name) {
            self.send(&message);
        }
        self.take_stream(name);
        self.send(&script::publish(self.stream_id, name));
        self.wait_for_status()
    }

    /// Publishes, or fails the test.
    #[track_caller]
    pub fn publish(mut self, name: &str) -> Self {
        let status = self.request_publish(name);
        assert_eq!(status.code, "NetStream.Publish.Start", "{}", status.description);
        self
    }

    /// Plays; whether the stream is there shows later.
    #[track_caller]
    pub fn play(mut self, name: &str) -> Self {
        self.send(&script::create_stream());
        self.take_stream(name);
        self.send(&script::play(self.stream_id, name));
        self
    }

    /// Takes this message stream for granted: for clients that do not wait for answers.
    pub fn on_stream(mut self, stream_id: u32, name: &str) -> Self {
        (self.stream_id, self.name) = (stream_id, name.to_owned());
        self
    }

    #[track_caller]
    fn take_stream(&mut self, name: &str) {
        let answer = self.wait_for_answer(script::CREATE_STREAM);
        let stream_id = answer.last().and_then(Amf::as_number).expect("createStream gives a number");
        self.stream_id = stream_id as u32;
        self.name = name.to_owned();
    }

    /// Sends one message.
    #[track_caller]
    pub fn send(&mut self, message: &Message) {
        let bytes = self.writer.write(message);
        self.send_bytes(&bytes);
    }

    /// Sends one audio, video or data message.
    #[track_caller]
    pub fn send_tag(&mut self, tag: &Tag) {
        self.send(&Message::media(self.stream_id, tag));
    }

    /// Sends one, or says why that cannot be.
    pub fn try_send_tag(&mut self, tag: &Tag) -> std::io::Result<()> {
        let bytes = self.writer.write(&Message::media(self.stream_id, tag));
        self.transport.write_all(&bytes)
    }

    /// Sends raw bytes.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.transport.write_all(bytes).expect("send");
    }

    /// Sends media at its own pace, times `speed`: each message when its timestamp is due, the first at once.
    #[track_caller]
    pub fn send_paced(&mut self, tags: &[Tag], speed: f64) {
        let start = Instant::now();
        let Some(first) = tags.first() else { return };
        for tag in tags {
            let media_ms = tag.timestamp.wrapping_sub(first.timestamp) as i32;
            let due = Duration::from_secs_f64(f64::from(media_ms.max(0)) / 1000.0 / speed);
            if let Some(early) = due.checked_sub(start.elapsed()) {
                std::thread::sleep(early);
            }
            self.send_tag(tag);
            self.discard_input();
        }
    }

    /// Sends these messages of a synthetic stream in real time, each made when it is due.
    #[track_caller]
    pub fn send_synthetic(&mut self, pattern: &Pattern, numbers: Range<u64>) {
        let (start, first) = (Instant::now(), pattern.timestamp(numbers.start));
        for number in numbers {
            let due = Duration::from_millis(pattern.timestamp(number).wrapping_sub(first).into());
            if let Some(early) = due.checked_sub(start.elapsed()) {
                std::thread::sleep(early);
            }
            self.send_tag(&pattern.tag(number));
            self.discard_input();
        }
    }

    /// Says that it stops publishing, and closes.
    #[track_caller]
    pub fn unpublish(mut self) {
        for message in script::unpublish(self.stream_id, &self.name.clone()) {
            self.send(&message);
        }
        // The server must see all of it before the close, which is a reset while there is unread input.
        self.transport.shut_write();
        self.wait_for_close(PATIENCE);
    }

    /// Takes what the server says to a publisher, so that it does not pile up.
    fn discard_input(&mut self) {
        self.socket().set_nonblocking(true).expect("change the mode of a socket");
        let mut buffer = [0; 4096];
        while self.transport.read(&mut buffer).is_ok_and(|read| read > 0) {}
        self.socket().set_nonblocking(false).expect("change the mode of a socket");
    }

    /// The next event, or `None` when there is none within the time.
    pub fn next_event(&mut self, timeout: Duration) -> Option<Event> {
        let start = Instant::now();
        loop {
            if let Some(message) = self.reader.next_message() {
                return Some(self.event(message));
            }
            let left = timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero())?;
            self.socket().set_read_timeout(Some(left)).expect("set a timeout");
            let mut buffer = [0; 65536];
            let room = if self.read_rate.is_some() { 4096 } else { buffer.len() };
            match self.transport.read(&mut buffer[..room]) {
                Ok(0) => return Some(Event::Closed),
                Ok(read) => {
                    self.reader.push(&buffer[..read]);
                    if let Some(rate) = self.read_rate {
                        std::thread::sleep(Duration::from_secs_f64(read as f64 / rate));
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some(Event::Closed),
            }
        }
    }

    fn event(&mut self, message: Message) -> Event {
        if message.type_id == 20 {
            let values = amf::read(&message.body);
            let name = values.first().and_then(Amf::as_str).expect("a command starts with its name");
            return match name {
                "onStatus" => {
                    let text = |name| {
                        let value = values.last().and_then(|info| info.property(name));
                        value.and_then(Amf::as_str).unwrap_or_default().to_owned()
                    };
                    let (level, code, description) = (text("level"), text("code"), text("description"));
                    Event::Status(Status { level, code, description, tc_url: text("tcUrl") })
                }
                "_result" | "_error" => {
                    let transaction =
                        values.get(1).and_then(Amf::as_number).expect("an answer has a transaction");
                    Event::Answer(name.to_owned(), transaction, values[2..].to_vec())
                }
                _ => Event::Other(message),
            };
        }
        if let Some(kind) = super::flv::Kind::from_type(message.type_id) {
            return Event::Media(Tag { kind, timestamp: message.timestamp, body: message.body });
        }
        if message.type_id == 4 && message.body.starts_with(&[0, 6]) {
            let mut body = message.body.clone();
            body[1] = 7; // Ping Response with the timestamp of the request (RTMP 1.0 §7.1.7)
            self.send(&Message { body, ..message.clone() });
        }
        Event::Other(message)
    }

    /// The next event that `choose` takes; fails the test when the connection closes or nothing comes.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, mut choose: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            match self.next_event(PATIENCE) {
                None => panic!("waited {PATIENCE:?} in vain: {what}"),
                Some(Event::Closed) => panic!("the server closed the connection before {what}"),
                Some(event) => {
                    if let Some(value) = choose(event) {
                        return value;
                    }
                }
            }
        }
    }

    /// The values of the `_result` with this transaction.
    #[track_caller]
    pub fn wait_for_answer(&mut self, wanted: f64) -> Vec<Amf> {
        self.wait_for("an answer", |event| match event {
            Event::Answer(name, transaction, values) if transaction == wanted => {
                assert_eq!(name, "_result", "{values:?}");
                Some(values)
            }
            _ => None,
        })
    }

    /// The next status.
    #[track_caller]
    pub fn wait_for_status(&mut self) -> Status {
        self.wait_for("a status", |event| match event {
            Event::Status(status) => Some(status),
            _ => None,
        })
    }

    /// Waits until the server has closed the connection, and says whether it did so in time.
    pub fn wait_for_close(&mut self, deadline: Duration) -> bool {
        let start = Instant::now();
        while let Some(left) = deadline.checked_sub(start.elapsed()) {
            if self.next_event(left) == Some(Event::Closed) {
                return true;
            }
        }
        false
    }

    /// Everything up to the end of the stream or of the connection: media in order.
    #[track_caller]
    pub fn record(&mut self) -> Vec<Tag> {
        let mut tags = Vec::new();
        loop {
            match self.next_event(PATIENCE) {
                None => panic!("nothing came for {PATIENCE:?} after {} messages", tags.len()),
                Some(Event::Media(tag)) => tags.push(tag),
                Some(Event::Status(status)) if status.code == "NetStream.Play.UnpublishNotify" => {
                    return tags;
                }
                Some(Event::Closed) => return tags,
                Some(_) => {}
            }
        }
    }

    /// Records on a thread of its own, so that the player keeps reading whatever the test is doing.
    pub fn record_in_background(mut self) -> Recording {
        Recording(std::thread::spawn(move || {
            let tags = self.record();
            (self, tags)
        }))
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        self.transport.socket()
    }

    /// What it writes to and reads from.
    pub fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }
}

/// A player that records on a thread of its own.
pub struct Recording(JoinHandle<(Client, Vec<Tag>)>);

impl Recording {
    /// Waits for the end of the stream and gives every message that it got, as it came.
    #[track_caller]
    pub fn tags(self) -> Vec<Tag> {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).1
    }

    /// Waits for the end of the stream; gives the player back, which may stay for the next publisher, and what it got.
    #[track_caller]
    pub fn finish(self) -> (Client, Vec<Packet>) {
        let (client, tags) = self.finish_tags();
        (client, Packet::from_tags(&tags))
    }

    /// As `finish`, with every message as it came.
    #[track_caller]
    pub fn finish_tags(self) -> (Client, Vec<Tag>) {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Fails the test unless the player got the source, message by message, in order. Gives the player back.
    #[track_caller]
    pub fn assert_whole(self, source: &[Packet]) -> Client {
        let (client, received) = self.finish();
        match gapless_sequence(source, &received) {
            Ok(run) => assert_eq!(run.skipped, 0, "the player of {} missed the start", client.name),
            Err(defect) => {
                panic!("{} of {} packets of {}: {defect:?}", received.len(), source.len(), client.name)
            }
        }
        client
    }
}
