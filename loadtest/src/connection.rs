//! One client session on one socket: what publishers and players have in common.
//!
//! Under TLS, what the session says is encrypted when it is written, and what is sent past it when it is sent. Bytes are counted as RTMP
//! has them, without what TLS adds.
//!
//! # Bounds
//! Reads go into the thread's buffer, so an idle connection holds none. What the session has to say waits in `unsent`, which
//! grows only by answers to what the server says; under TLS, what the socket did not take of one [`Connection::send`] waits encrypted.
//! # Errors
//! [`Failure`]: where in the connection's life, and what.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use inrush::rtmp::handshake::{Entropy, PACKET_BYTES};
use inrush::session::{
    ClientCloseReason, ClientEvent, ClientOutput, ClientSession, ClientSettings, Instant, Role,
};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::clock::now_us;
use crate::link::{Link, sleep_until_us};
use crate::report::{Recorder, Stage};
use crate::socket::{connect, send_now, shut_down};
use crate::tls::Secured;
use crate::tls::session::TlsSession;

/// S0, S1 and S2.
const HANDSHAKE_BYTES: u64 = 1 + 2 * PACKET_BYTES as u64;
/// Longest wait for a TCP connection, and from there to the accepted publish or play.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a server may take to close after a goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// Spare capacity of the thread's buffer before each read.
const READ_BYTES: usize = 64 * 1024;

/// Why a connection ended that was to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where in its life.
    pub stage: Stage,
    /// What, as error messages say it.
    pub kind: String,
    /// Whether the server said no, rather than broke off.
    pub refused: bool,
}

impl Failure {
    fn io(stage: Stage, error: &io::Error) -> Self {
        // Without the number of the error, so that the same cause counts as one.
        Self { stage, kind: error.kind().to_string(), refused: false }
    }

    fn tls(stage: Stage, error: &rustls::Error) -> Self {
        Self { stage, kind: error.to_string(), refused: false }
    }
}

/// Where and how to connect.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// Where from; the kernel chooses when `None`.
    pub source: Option<IpAddr>,
    /// How it is secured; not at all when `None`.
    pub secured: Option<Secured>,
    /// What the session says.
    pub settings: ClientSettings,
    /// What may pass when.
    pub link: Link,
    /// Number of the persona, to count for.
    pub persona: usize,
}

/// What became of what waits to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing waits any more.
    All,
    /// The socket is full.
    Full,
    /// The link lets nothing through until then, µs.
    Until(u64),
}

/// One connection.
pub struct Connection {
    socket: Rc<TcpStream>,
    tls: Option<Box<TlsSession>>,
    session: ClientSession,
    role: Role,
    link: Link,
    unsent: BytesMut,
    received: u64,
    began_us: u64,
    asked_us: Option<u64>,
    ready_us: Option<u64>,
    connected: bool,
}

impl Connection {
    /// Connects and says what must be said until the server has accepted the publish or play. What came after that is still to be
    /// taken with [`Self::next_event`]. `again` tells whether the same peer had one before; `stage` is kept up to date.
    pub async fn open(
        target: Target,
        again: bool,
        stage: &Cell<Stage>,
        recorder: &std::cell::RefCell<Recorder>,
        buffer: &std::cell::RefCell<BytesMut>,
    ) -> Result<Self, Failure> {
        let connecting_us = now_us();
        let connecting = tokio::time::timeout(PATIENCE, connect(target.address, target.source, target.link));
        let socket = match connecting.await {
            Ok(socket) => socket.map_err(|error| Failure::io(Stage::TcpConnect, &error))?,
            Err(_) => return Err(Failure::io(Stage::TcpConnect, &io::ErrorKind::TimedOut.into())),
        };
        let began_us = now_us();
        {
            let mut recorder = recorder.borrow_mut();
            recorder.tcp_connect(began_us - connecting_us);
            recorder.opened(target.persona, again, began_us);
        }
        let tls = match target.secured.map(TlsSession::new).transpose() {
            Ok(tls) => tls.map(Box::new),
            Err(error) => return Err(Failure::tls(Stage::TlsHandshake, &error)),
        };
        let role = target.settings.role;
        let entropy = Entropy { time_ms: 0, random: [(began_us & 0xff) as u8; PACKET_BYTES - 8] };
        let session = ClientSession::new(Instant::from_micros(began_us), target.settings, Box::new(entropy));
        let mut connection = Self {
            socket: Rc::new(socket),
            tls,
            session,
            role,
            link: target.link,
            unsent: BytesMut::new(),
            received: 0,
            began_us,
            asked_us: None,
            ready_us: None,
            connected: false,
        };
        let establishing = async {
            connection.secure(stage, recorder, buffer).await?;
            connection.establish(stage, recorder, buffer).await
        };
        match tokio::time::timeout(PATIENCE, establishing).await {
            Ok(result) => result.map(|()| connection),
            Err(_) => {
                Err(Failure { stage: connection.stage(), kind: "no answer in time".into(), refused: false })
            }
        }
    }

    /// Does the TLS handshake, if there is to be one.
    async fn secure(
        &mut self,
        stage: &Cell<Stage>,
        recorder: &std::cell::RefCell<Recorder>,
        buffer: &std::cell::RefCell<BytesMut>,
    ) -> Result<(), Failure> {
        if self.tls.is_none() {
            return Ok(());
        }
        stage.set(Stage::TlsHandshake);
        loop {
            self.write_out().await?;
            if self.tls.as_ref().is_none_or(|tls| tls.is_established()) {
                break;
            }
            if self.session.is_closed() {
                let kind = "closed by the server".to_owned();
                return Err(Failure { stage: Stage::TlsHandshake, kind, refused: false });
            }
            self.read_when_ready(buffer).await?;
        }
        let is_resumed = self.tls.as_ref().is_some_and(|tls| tls.is_resumed());
        let mut recorder = recorder.borrow_mut();
        recorder.counts.tls_handshakes += 1;
        recorder.counts.tls_resumed += u64::from(is_resumed);
        let now = now_us();
        // What a narrow link adds is not the server's.
        if self.link == Link::Free {
            recorder.tls_handshake(now - self.began_us);
        }
        // RTMP begins here.
        self.began_us = now;
        Ok(())
    }

    /// Writes all that waits.
    async fn write_out(&mut self) -> Result<(), Failure> {
        loop {
            match self.flush()? {
                Flushed::All => return Ok(()),
                Flushed::Full => {
                    self.socket.writable().await.map_err(|error| Failure::io(self.stage(), &error))?;
                }
                Flushed::Until(at_us) => sleep_until_us(at_us).await,
            }
        }
    }

    /// Reads once, when there is something and the link lets it through.
    async fn read_when_ready(&mut self, buffer: &std::cell::RefCell<BytesMut>) -> Result<(), Failure> {
        if let Err(at_us) = self.link.may_read(now_us()) {
            sleep_until_us(at_us).await;
        }
        self.socket.readable().await.map_err(|error| Failure::io(self.stage(), &error))?;
        self.read(&mut buffer.borrow_mut()).map(|_| ())
    }

    async fn establish(
        &mut self,
        stage: &Cell<Stage>,
        recorder: &std::cell::RefCell<Recorder>,
        buffer: &std::cell::RefCell<BytesMut>,
    ) -> Result<(), Failure> {
        loop {
            stage.set(self.stage());
            while let Some(event) = self.next_event()? {
                match event {
                    ClientEvent::Connected { .. } => self.connected = true,
                    ClientEvent::Ready => {
                        self.flush()?;
                        return Ok(());
                    }
                    _ => {}
                }
            }
            if self.asked_us.is_none() && self.session.stream_id().is_some() {
                self.asked_us = Some(now_us());
            }
            self.write_out().await?;
            let before = self.received;
            self.read_when_ready(buffer).await?;
            recorder.borrow_mut().bytes_out += self.received - before;
            // What a narrow link adds is not the server's.
            let free = self.link == Link::Free;
            if free && before < HANDSHAKE_BYTES && self.received >= HANDSHAKE_BYTES {
                recorder.borrow_mut().handshake(now_us() - self.began_us);
            }
        }
    }

    /// Where in its life it is.
    pub fn stage(&self) -> Stage {
        match (self.role, self.ready_us) {
            _ if self.tls.as_ref().is_some_and(|tls| !tls.is_established()) => Stage::TlsHandshake,
            _ if self.received < HANDSHAKE_BYTES => Stage::Handshake,
            _ if !self.connected => Stage::Connect,
            (_, Some(_)) => Stage::Media,
            (Role::Publish, None) => Stage::Publish,
            (Role::Play, None) => Stage::Play,
        }
    }

    /// The socket, to wait on.
    pub fn socket(&self) -> Rc<TcpStream> {
        self.socket.clone()
    }

    /// The session, to send media with.
    pub fn session(&mut self) -> &mut ClientSession {
        &mut self.session
    }

    /// When `publish` or `play` was sent.
    pub fn asked_us(&self) -> u64 {
        self.asked_us.unwrap_or(self.began_us)
    }

    /// When it was accepted; 0 before.
    pub fn ready_us(&self) -> u64 {
        self.ready_us.unwrap_or(0)
    }

    /// The link, to ask when it lets something through.
    pub fn link(&self) -> Link {
        self.link
    }

    /// Reads once, what there is and the link lets through; how many bytes of RTMP. `buffer` is empty, before and after.
    pub fn read(&mut self, buffer: &mut BytesMut) -> Result<usize, Failure> {
        let now_us = now_us();
        let Ok(bytes_max) = self.link.may_read(now_us) else { return Ok(0) };
        buffer.reserve(READ_BYTES);
        let now = Instant::from_micros(now_us);
        match self.socket.try_read_buf(&mut buffer.limit(bytes_max.min(READ_BYTES))) {
            Ok(0) => {
                self.session.handle_eof(now);
                Ok(0)
            }
            Ok(read) => {
                self.link.on_read(read, now_us);
                let mut is_last = false;
                if let Some(tls) = &mut self.tls {
                    let network = buffer.split();
                    let received = tls.receive(network, buffer);
                    is_last = tls.is_closed();
                    received.map_err(|error| Failure::tls(self.stage(), &error))?;
                }
                let bytes = buffer.split().freeze();
                let read = bytes.len();
                self.received += read as u64;
                self.session.handle_bytes(now, bytes);
                if is_last {
                    self.session.handle_eof(now);
                }
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(Failure::io(self.stage(), &error)),
        }
    }

    /// What the session tells next; its answers go to `unsent`. `Err` when it is over.
    pub fn next_event(&mut self) -> Result<Option<ClientEvent>, Failure> {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Send(bytes) => self.unsent.extend_from_slice(&bytes),
                ClientOutput::Event(ClientEvent::Closed { reason }) => {
                    let (kind, refused) = match reason {
                        ClientCloseReason::Refused(status) if status.code.is_empty() => {
                            ("refused".to_owned(), true)
                        }
                        ClientCloseReason::Refused(status) => (status.code, true),
                        ClientCloseReason::Eof => ("closed by the server".to_owned(), false),
                        other => (other.label().to_owned(), false),
                    };
                    return Err(Failure { stage: self.stage(), kind, refused });
                }
                ClientOutput::Event(event) => {
                    if matches!(event, ClientEvent::Ready) && self.ready_us.is_none() {
                        self.ready_us = Some(now_us());
                    }
                    return Ok(Some(event));
                }
                ClientOutput::Timeout(_) | ClientOutput::Progress => {}
            }
        }
        Ok(None)
    }

    /// Writes what waits, as much as socket and link take. The socket is not to be in the middle of a message.
    pub fn flush(&mut self) -> Result<Flushed, Failure> {
        if let Some(tls) = &mut self.tls
            && tls.is_established()
            && !self.unsent.is_empty()
        {
            let encrypted = tls.encrypt(&std::mem::take(&mut self.unsent));
            encrypted.map_err(|error| Failure::tls(self.stage(), &error))?;
        }
        self.flush_socket()
    }

    /// Writes what waits and has its last form.
    fn flush_socket(&mut self) -> Result<Flushed, Failure> {
        let mut written = 0;
        loop {
            let stage = self.stage();
            let waiting = match &mut self.tls {
                Some(tls) => tls.outgoing(),
                None => &mut self.unsent,
            };
            if waiting.is_empty() {
                *waiting = BytesMut::new();
                return Ok(Flushed::All);
            }
            let now_us = if self.link == Link::Free { 0 } else { now_us() };
            let bytes_max = match self.link.may_write(written, now_us) {
                Ok(bytes_max) => bytes_max.min(waiting.len()),
                Err(at_us) => return Ok(Flushed::Until(at_us)),
            };
            match self.socket.try_write(&waiting[..bytes_max]) {
                Ok(bytes) => {
                    waiting.advance(bytes);
                    self.link.on_written(bytes, now_us);
                    written += bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Full),
                Err(error) => return Err(Failure::io(stage, &error)),
            }
        }
    }

    /// Whether the socket may take more after it was full. Until the kernel tells so, asking costs no system call.
    pub fn has_room(&self) -> bool {
        self.socket.try_io(Interest::WRITABLE, || Ok(())).is_ok()
    }

    /// Writes media past what waits and past the link; how many bytes were taken, `None` when there is no room.
    ///
    /// `was_full` says that there was none before. Only then the runtime is asked and told, whose own state of the socket another
    /// connection's has driven out of the caches since the last write. Under TLS all is taken if anything is, and
    /// [`Self::finish_sending`] tells when the socket has it.
    pub fn send(&mut self, bytes: &[u8], was_full: bool) -> Result<Option<usize>, Failure> {
        if self.tls.is_some() {
            return self.send_secured(bytes, was_full);
        }
        let sent = if was_full { self.socket.try_write(bytes) } else { send_now(&self.socket, bytes) };
        match sent {
            Ok(sent) => Ok(Some(sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Failure::io(Stage::Media, &error)),
        }
    }

    fn send_secured(&mut self, bytes: &[u8], was_full: bool) -> Result<Option<usize>, Failure> {
        if !self.finish_sending()? {
            return Ok(None);
        }
        let Some(tls) = &mut self.tls else { return Ok(None) };
        tls.encrypt(bytes).map_err(|error| Failure::tls(Stage::Media, &error))?;
        let outgoing = tls.outgoing();
        let sent = if was_full { self.socket.try_write(outgoing) } else { send_now(&self.socket, outgoing) };
        match sent {
            Ok(sent) if sent == outgoing.len() => *outgoing = BytesMut::new(),
            Ok(sent) => outgoing.advance(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(Failure::io(Stage::Media, &error)),
        }
        Ok(Some(bytes.len()))
    }

    /// Whether the socket has all that [`Self::send`] took; writes what it lacks, if it has room for that.
    pub fn finish_sending(&mut self) -> Result<bool, Failure> {
        if self.tls.as_ref().is_none_or(|tls| !tls.has_outgoing()) {
            return Ok(true);
        }
        Ok(self.flush_socket()? == Flushed::All)
    }

    /// Leaves in good order: says so, and waits until the server has closed its side. The socket is not to be in the middle of
    /// a message.
    pub async fn leave(mut self) -> Result<(), Failure> {
        self.session.stop(Instant::from_micros(now_us()));
        let leaving = async {
            // The session tells its own end here, which is no failure.
            let _ = self.next_event();
            self.write_out().await?;
            if let Some(tls) = &mut self.tls {
                tls.close().map_err(|error| Failure::tls(Stage::Media, &error))?;
                self.write_out().await?;
            }
            shut_down(&self.socket).map_err(|error| Failure::io(Stage::Media, &error))?;
            let mut buffer = [0; 4096];
            loop {
                let read = match self.socket.try_read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.socket.readable().await.map(|()| 1)
                    }
                    read => read,
                };
                match read {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    // We are through with each other either way.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                    Err(error) => return Err(Failure::io(Stage::Media, &error)),
                }
            }
        };
        match tokio::time::timeout(GOODBYE, leaving).await {
            Ok(result) => result,
            Err(_) => {
                let kind = "not closed after a goodbye".to_owned();
                Err(Failure { stage: Stage::Media, kind, refused: false })
            }
        }
    }

    /// Bytes that wait, but for what is encrypted already.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }
}
