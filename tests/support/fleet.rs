//! Publishers of synthetic streams, as many on one thread as a test wants: each is a task of whoever's runtime.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::amf::{self, Amf};
use super::flv::Tag;
use super::synthetic::Pattern;
use super::wire::{self, ChunkReader, ChunkWriter, Message};
use super::{PATIENCE, script};

/// Chunk size that they announce.
const CHUNK_BYTES: u32 = 4096;

/// A connection that publishes. Dropping it cuts it, without a goodbye.
pub struct Publisher {
    socket: TcpStream,
    reader: ChunkReader,
    writer: ChunkWriter,
    name: String,
    pattern: Pattern,
    began: Instant,
    number: u64,
    codes: Vec<String>,
}

/// What came of asking.
pub enum Asked {
    /// It publishes.
    Accepted(Box<Publisher>),
    /// The server said no, with this code.
    Refused(String),
}

impl Publisher {
    /// Connects and asks to publish; its sequence headers are sent when it may.
    pub async fn open(
        address: SocketAddr,
        app: &str,
        name: &str,
        pattern: &Pattern,
        headers: &[Tag],
    ) -> io::Result<Asked> {
        Self::open_with(address, app, name, pattern, headers, &[]).await
    }

    /// The same, saying more of itself in `connect`.
    pub async fn open_with(
        address: SocketAddr,
        app: &str,
        name: &str,
        pattern: &Pattern,
        headers: &[Tag],
        properties: &[(&str, Amf)],
    ) -> io::Result<Asked> {
        let mut socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        socket.write_all(&wire::c0_c1()).await?;
        let mut answer = vec![0; 1 + 2 * wire::HANDSHAKE_PACKET_BYTES];
        socket.read_exact(&mut answer).await?;
        let mut writer = ChunkWriter::default();
        let mut commands = wire::c2();
        commands.extend(writer.set_chunk_size(CHUNK_BYTES));
        commands.extend(writer.write(&script::connect_with(
            app,
            &format!("rtmp://{address}/{app}"),
            properties,
        )));
        let publish = script::publish(script::FIRST_STREAM, name);
        for message in script::before_publish(name).into_iter().chain([publish]) {
            commands.extend(writer.write(&message));
        }
        socket.write_all(&commands).await?;
        let mut reader = ChunkReader::default();
        let code = status_code(&mut socket, &mut reader).await?;
        if code != "NetStream.Publish.Start" {
            return Ok(Asked::Refused(code));
        }
        for header in headers {
            socket.write_all(&writer.write(&Message::media(script::FIRST_STREAM, header))).await?;
        }
        let (name, pattern) = (name.to_owned(), pattern.clone());
        let (began, number, codes) = (Instant::now(), 0, Vec::new());
        let publisher = Self { socket, reader, writer, name, pattern, began, number, codes };
        Ok(Asked::Accepted(Box::new(publisher)))
    }

    /// Messages sent so far.
    pub fn sent(&self) -> u64 {
        self.number
    }

    /// Sends the next message when it is due. An error when the server has closed.
    pub async fn send_next(&mut self) -> io::Result<()> {
        let due = Duration::from_millis(self.pattern.timestamp(self.number).into());
        tokio::time::sleep_until(self.began + due).await;
        let message = Message::media(script::FIRST_STREAM, &self.pattern.tag(self.number));
        self.socket.write_all(&self.writer.write(&message)).await?;
        self.number += 1;
        let mut buffer = [0; 4096];
        match self.socket.try_read(&mut buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            Ok(read) => {
                self.hear(&buffer[..read]);
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// The codes of the statuses that came since it publishes.
    pub fn codes(&self) -> &[String] {
        &self.codes
    }

    /// Hears what the server still says, up to its close.
    pub async fn hear_to_the_end(&mut self) {
        let mut buffer = [0; 4096];
        let heard = async {
            while let Ok(read @ 1..) = self.socket.read(&mut buffer).await {
                self.hear(&buffer[..read]);
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("the server closes");
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
        while let Some(message) = self.reader.next_message() {
            self.codes.extend(code_of(&message));
        }
    }

    /// Says goodbye, and waits until the server has closed.
    pub async fn leave(mut self) -> io::Result<()> {
        for message in script::unpublish(script::FIRST_STREAM, &self.name) {
            self.socket.write_all(&self.writer.write(&message)).await?;
        }
        self.socket.shutdown().await?;
        let mut buffer = [0; 4096];
        let closed = async {
            while self.socket.read(&mut buffer).await? > 0 {}
            io::Result::Ok(())
        };
        tokio::time::timeout(PATIENCE, closed).await?
    }
}

/// The code of the first status that comes.
async fn status_code(socket: &mut TcpStream, reader: &mut ChunkReader) -> io::Result<String> {
    let mut buffer = [0; 4096];
    loop {
        while let Some(message) = reader.next_message() {
            if let Some(code) = code_of(&message) {
                return Ok(code);
            }
        }
        match socket.read(&mut buffer).await? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => reader.push(&buffer[..read]),
        }
    }
}

/// The code of a status, if the message is one.
fn code_of(message: &Message) -> Option<String> {
    if message.type_id != 20 {
        return None;
    }
    let values = amf::read(&message.body);
    let is_status = values.first().and_then(Amf::as_str) == Some("onStatus");
    let code = values.last().and_then(|information| information.property("code"));
    is_status.then(|| code.and_then(Amf::as_str).unwrap_or_default().to_owned())
}
