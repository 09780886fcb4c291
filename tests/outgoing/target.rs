//! A target that the test is: it accepts, answers as it is told, and keeps every message that comes, without the engine's code.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use socket2::{Domain, Socket, Type};

use super::support::PATIENCE;
use super::support::amf::{self, Amf};
use super::support::flv::Tag;
use super::support::wire::{self, ChunkReader, ChunkWriter, Message};

/// Media with its message stream, and names of commands.
pub type Recorded = (Vec<(Tag, u32)>, Vec<String>);

/// A listener that targets come from.
pub struct Listener(TcpListener);

impl Listener {
    pub fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("listen"))
    }

    /// One whose connections hold little for a reader that does not read: some 32 kB.
    pub fn narrow() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("make a socket");
        // Accepted connections have it of their listener. Once set, it does not grow by itself.
        socket.set_recv_buffer_size(16 * 1024).expect("set SO_RCVBUF");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
        socket.listen(16).expect("listen");
        Self(socket.into())
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    /// The URL of a stream there.
    pub fn url(&self, name: &str) -> String {
        format!("rtmp://{}/there/{name}", self.address())
    }

    /// The next connection, with its handshake still to come.
    pub fn accept(&self) -> TcpStream {
        let (socket, _) = self.0.accept().expect("accept");
        socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("set a timeout");
        socket
    }

    /// The next connection, after its handshake.
    pub fn target(&self) -> Target {
        Target::new(self.accept())
    }
}

/// One connection.
pub struct Target {
    socket: TcpStream,
    reader: ChunkReader,
    writer: ChunkWriter,
    /// Names of the commands that came.
    pub commands: Vec<String>,
    /// The command object of `connect`.
    pub connect: Amf,
}

/// What the target sees.
#[derive(Debug)]
pub enum Seen {
    /// A command and its values.
    Command(String, Vec<Amf>),
    /// Audio, video or data, and its message stream.
    Media(Tag, u32),
    /// Any other message.
    Other,
    /// The engine has closed.
    Closed,
}

impl Target {
    pub fn new(mut socket: TcpStream) -> Self {
        let mut hello = vec![0; 1 + wire::HANDSHAKE_PACKET_BYTES];
        socket.read_exact(&mut hello).expect("receive C0 and C1");
        assert_eq!(hello[0], 3, "C0 is the version");
        let answer = [&wire::c0_c1()[..], &hello[1..]].concat();
        socket.write_all(&answer).expect("send S0, S1 and S2");
        socket.read_exact(&mut hello[1..]).expect("receive C2");
        Self {
            socket,
            reader: ChunkReader::default(),
            writer: ChunkWriter::default(),
            commands: Vec::new(),
            connect: Amf::Null,
        }
    }

    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    pub fn send(&mut self, message: &Message) {
        let bytes = self.writer.write(message);
        self.socket.write_all(&bytes).expect("send");
    }

    /// Sends, if there is anybody left to hear it.
    pub fn try_send(&mut self, message: &Message) -> std::io::Result<()> {
        let bytes = self.writer.write(message);
        self.socket.write_all(&bytes)
    }

    pub fn status(&mut self, stream_id: u32, level: &str, code: &str) {
        let info = [("level", level), ("code", code), ("description", "as the test says")];
        let info = Amf::Object(info.map(|(name, value)| (name.to_owned(), value.into())).to_vec());
        self.send(&Message::command(stream_id, &["onStatus".into(), 0.0.into(), Amf::Null, info]));
    }

    fn result(&mut self, transaction: Amf, value: Amf) {
        self.send(&Message::command(0, &["_result".into(), transaction, Amf::Null, value]));
    }

    /// The next thing that comes.
    #[track_caller]
    pub fn next(&mut self) -> Seen {
        loop {
            if let Some(message) = self.reader.next_message() {
                return self.seen(message);
            }
            let mut buffer = [0; 65536];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Seen::Closed,
                Ok(read) => self.reader.push(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Seen::Closed,
                Err(error) => panic!("receive: {error}"),
            }
        }
    }

    fn seen(&mut self, message: Message) -> Seen {
        let stream_id = message.stream_id;
        if message.type_id == 20 {
            let values = amf::read(&message.body);
            let name =
                values.first().and_then(Amf::as_str).expect("a command starts with its name").to_owned();
            self.commands.push(name.clone());
            return Seen::Command(name, values);
        }
        match message.into_tag() {
            Some(tag) => Seen::Media(tag, stream_id),
            None => Seen::Other,
        }
    }

    /// Says yes to everything up to `publish` or `play`, which is left to the caller; its stream is `stream_id`. Gives the stream's name.
    #[track_caller]
    pub fn up_to_request(&mut self, stream_id: u32) -> String {
        loop {
            let Seen::Command(name, values) = self.next() else { continue };
            match name.as_str() {
                "connect" => {
                    self.connect = values[2].clone();
                    let info = [("level", "status"), ("code", "NetConnection.Connect.Success")];
                    let info = info.map(|(name, value)| (name.to_owned(), value.into()));
                    self.result(values[1].clone(), Amf::Object(info.to_vec()));
                }
                "createStream" => self.result(values[1].clone(), f64::from(stream_id).into()),
                "publish" | "play" => return values[3].as_str().expect("a name").to_owned(),
                _ => {}
            }
        }
    }

    /// Says yes to a publisher.
    #[track_caller]
    pub fn accept_publish(&mut self, stream_id: u32) -> String {
        let name = self.up_to_request(stream_id);
        self.status(stream_id, "status", "NetStream.Publish.Start");
        name
    }

    /// All media up to the end, and the names of the commands among and behind it; closes then.
    #[track_caller]
    pub fn record(mut self) -> Recorded {
        let mut tags = Vec::new();
        self.commands.clear();
        loop {
            match self.next() {
                Seen::Media(tag, stream_id) => tags.push((tag, stream_id)),
                Seen::Command(..) | Seen::Other => {}
                Seen::Closed => return (tags, self.commands),
            }
        }
    }

    /// Records on a thread of its own.
    pub fn record_in_background(self) -> JoinHandle<Recorded> {
        std::thread::spawn(move || self.record())
    }

    /// Waits until the engine has closed its side, whatever it sends until then, and closes as well.
    #[track_caller]
    pub fn expect_close(mut self) {
        let mut buffer = [0; 65536];
        while match self.socket.read(&mut buffer) {
            Ok(read) => read > 0,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the engine does not close: {error}"),
        } {}
    }
}
