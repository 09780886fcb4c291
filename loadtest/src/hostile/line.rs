//! A hostile peer's connection: plain or secured, and how it ended.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::link::Link;
use crate::socket::{self, is_established};
use crate::tls::Secured;
use crate::tls::session::TlsSession;

/// How often one that does not read looks whether it still has a connection.
const LOOK: Duration = Duration::from_millis(50);
/// Spare capacity of the buffer before each read.
const READ_BYTES: usize = 16 * 1024;

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server closed it.
    Closed,
    /// The server reset it.
    Reset,
    /// The server said no, with this code.
    Refused(String),
    /// It broke otherwise: what the error says.
    Broken(String),
    /// The peer itself went, as it meant to.
    Left(&'static str),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed by the server"),
            Self::Reset => f.write_str("reset by the server"),
            Self::Refused(code) => write!(f, "refused: {code}"),
            Self::Broken(what) => f.write_str(what),
            Self::Left(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Writing to a connection that the server has closed tells the same as reading its end.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            kind => Self::Broken(kind.to_string()),
        }
    }
}

impl From<rustls::Error> for Ended {
    fn from(error: rustls::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// One connection.
pub struct Line {
    socket: TcpStream,
    tls: Option<Box<TlsSession>>,
    /// Bytes written, as the peer has them.
    pub sent: u64,
    /// Bytes read.
    pub received: u64,
}

impl Line {
    /// Connects, with nothing said yet.
    pub async fn open(address: SocketAddr, source: Option<IpAddr>, link: Link) -> io::Result<Self> {
        let socket = socket::connect(address, source, link).await?;
        Ok(Self { socket, tls: None, sent: 0, received: 0 })
    }

    /// Does a TLS handshake; everything goes through it from there on.
    pub async fn secure(&mut self, secured: Secured) -> Result<(), Ended> {
        let mut tls = Box::new(TlsSession::new(secured)?);
        loop {
            let hello = std::mem::take(tls.outgoing());
            self.write(&hello).await?;
            if tls.is_established() {
                self.tls = Some(tls);
                return Ok(());
            }
            let mut buffer = BytesMut::new();
            self.read_socket(&mut buffer).await?;
            tls.receive(buffer, &mut BytesMut::new())?;
        }
    }

    /// Says a ClientHello, and leaves it there.
    pub async fn hello(&mut self, secured: Secured) -> Result<(), Ended> {
        let hello = std::mem::take(TlsSession::new(secured)?.outgoing());
        self.write(&hello).await
    }

    /// Writes all of it.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        match &mut self.tls {
            None => self.write(bytes).await,
            Some(tls) => {
                tls.encrypt(bytes)?;
                let outgoing = std::mem::take(tls.outgoing());
                self.write(&outgoing).await
            }
        }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Ended> {
        while !bytes.is_empty() {
            match self.socket.try_write(bytes) {
                Ok(written) => {
                    self.sent += written as u64;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket.writable().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what comes next, and appends it.
    pub async fn read(&mut self, plaintext: &mut BytesMut) -> Result<(), Ended> {
        let Some(mut tls) = self.tls.take() else { return self.read_socket(plaintext).await };
        let mut buffer = BytesMut::new();
        self.read_socket(&mut buffer).await?;
        tls.receive(buffer, plaintext)?;
        let is_closed = tls.is_closed();
        self.tls = Some(tls);
        if is_closed && plaintext.is_empty() { Err(Ended::Closed) } else { Ok(()) }
    }

    async fn read_socket(&mut self, buffer: &mut BytesMut) -> Result<(), Ended> {
        loop {
            self.socket.readable().await?;
            buffer.reserve(READ_BYTES);
            match self.socket.try_read_buf(buffer) {
                Ok(0) => return Err(Ended::Closed),
                Ok(read) => {
                    self.received += read as u64;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads and forgets until the server ends it.
    pub async fn until_ended(&mut self) -> Ended {
        let mut buffer = BytesMut::new();
        loop {
            if let Err(ended) = self.read_socket(&mut buffer).await {
                return ended;
            }
            buffer.clear();
        }
    }

    /// Waits for so long without reading; how it ended, if it did.
    pub async fn wait_unread(&self, time: Duration) -> Option<Ended> {
        let until = tokio::time::Instant::now() + time;
        while is_established(&self.socket) {
            let now = tokio::time::Instant::now();
            if now >= until {
                return None;
            }
            tokio::time::sleep(LOOK.min(until - now)).await;
        }
        Some(match self.socket.take_error() {
            Ok(Some(error)) => error.into(),
            _ => Ended::Closed,
        })
    }

    /// Writes a part of `bytes` each `every`, from the begin again when it is through, and reads what comes meanwhile; until the server
    /// ends it. `step` bytes are written at a time.
    pub async fn repeat(&mut self, bytes: &[u8], step: usize, every: Duration) -> Ended {
        loop {
            for part in bytes.chunks(step.max(1)) {
                if let Err(ended) = self.send(part).await {
                    return ended;
                }
                if let Some(ended) = self.drain(every).await {
                    return ended;
                }
            }
        }
    }

    /// Reads and forgets for so long; how it ended, if it did.
    pub async fn drain(&mut self, time: Duration) -> Option<Ended> {
        tokio::time::timeout(time, self.until_ended()).await.ok()
    }

    /// Lets the server read an error rather than an end when this is dropped.
    pub fn reset_on_close(&self) -> io::Result<()> {
        socket::reset_on_close(&self.socket)
    }
}
