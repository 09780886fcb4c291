//! One client session on one socket: what publishers and players have in common.
//!
//! # Bounds
//! Reads go into the thread's buffer, so an idle connection holds none. What the session has to say waits in `unsent`, which
//! grows only by answers to what the server says.
//! # Errors
//! [`Failure`]: where in the connection's life, and what.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use inrush::rtmp::handshake::{Entropy, PACKET_BYTES};
use inrush::session::{
    ClientCloseReason, ClientEvent, ClientOutput, ClientSession, ClientSettings, Instant, Role,
};
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};

use crate::clock::now_us;
use crate::link::{Link, sleep_until_us};
use crate::report::{Recorder, Stage};

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
}

/// Where and how to connect.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// Where from; the kernel chooses when `None`.
    pub source: Option<IpAddr>,
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
        let role = target.settings.role;
        let entropy = Entropy { time_ms: 0, random: [(began_us & 0xff) as u8; PACKET_BYTES - 8] };
        let session = ClientSession::new(Instant::from_micros(began_us), target.settings, Box::new(entropy));
        let mut connection = Self {
            socket: Rc::new(socket),
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
        match tokio::time::timeout(PATIENCE, connection.establish(stage, recorder, buffer)).await {
            Ok(result) => result.map(|()| connection),
            Err(_) => {
                Err(Failure { stage: connection.stage(), kind: "no answer in time".into(), refused: false })
            }
        }
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
            match self.flush()? {
                Flushed::All => {}
                Flushed::Full => {
                    self.socket.writable().await.map_err(|error| Failure::io(self.stage(), &error))?;
                    continue;
                }
                Flushed::Until(at_us) => {
                    sleep_until_us(at_us).await;
                    continue;
                }
            }
            if let Err(at_us) = self.link.may_read(now_us()) {
                sleep_until_us(at_us).await;
            }
            self.socket.readable().await.map_err(|error| Failure::io(self.stage(), &error))?;
            let before = self.received;
            self.read(&mut buffer.borrow_mut())?;
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

    /// Reads once, what there is and the link lets through; how many bytes.
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
                self.received += read as u64;
                self.link.on_read(read, now_us);
                self.session.handle_bytes(now, buffer.split().freeze());
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

    /// Writes what waits, as much as socket and link take.
    pub fn flush(&mut self) -> Result<Flushed, Failure> {
        let mut written = 0;
        while !self.unsent.is_empty() {
            let now_us = if self.link == Link::Free { 0 } else { now_us() };
            let bytes_max = match self.link.may_write(written, now_us) {
                Ok(bytes_max) => bytes_max.min(self.unsent.len()),
                Err(at_us) => return Ok(Flushed::Until(at_us)),
            };
            match self.socket.try_write(&self.unsent[..bytes_max]) {
                Ok(bytes) => {
                    self.unsent.advance(bytes);
                    self.link.on_written(bytes, now_us);
                    written += bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Full),
                Err(error) => return Err(Failure::io(self.stage(), &error)),
            }
        }
        self.unsent = BytesMut::new();
        Ok(Flushed::All)
    }

    /// Whether the socket may take more after it was full. Until the kernel tells so, asking costs no system call.
    pub fn has_room(&self) -> bool {
        self.socket.try_io(Interest::WRITABLE, || Ok(())).is_ok()
    }

    /// Writes media past what waits and past the link; how many bytes the socket took, `None` when it is full.
    ///
    /// `was_full` says that it was before. Only then the runtime is asked and told, whose own state of the socket another connection's
    /// has driven out of the caches since the last write.
    pub fn send(&self, bytes: &[u8], was_full: bool) -> Result<Option<usize>, Failure> {
        let sent = if was_full { self.socket.try_write(bytes) } else { send_now(&self.socket, bytes) };
        match sent {
            Ok(sent) => Ok(Some(sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Failure::io(Stage::Media, &error)),
        }
    }

    /// Leaves in good order: says so, and waits until the server has closed its side. The socket is not to be in the middle of
    /// a message.
    pub async fn leave(mut self) -> Result<(), Failure> {
        self.session.stop(Instant::from_micros(now_us()));
        let leaving = async {
            // The session tells its own end here, which is no failure.
            let _ = self.next_event();
            loop {
                match self.flush()? {
                    Flushed::All => break,
                    Flushed::Full => {
                        self.socket.writable().await.map_err(|error| Failure::io(Stage::Media, &error))?;
                    }
                    Flushed::Until(at_us) => sleep_until_us(at_us).await,
                }
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

    /// Bytes that wait.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }
}

/// Connects, with nothing said yet.
pub async fn connect(address: SocketAddr, source: Option<IpAddr>, link: Link) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(bytes) = link.receive_bytes() {
        // Before connecting, since the window's scale is agreed on there.
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = source {
        // Otherwise the port would be taken for all destinations, before the one is known.
        choose_port_at_connect(&socket)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let socket = socket.connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// What a socket takes at once. The runtime does not learn that it is full.
fn send_now(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the descriptor is open; the kernel reads at most `bytes.len()` bytes of what lives longer than the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Says that nothing more comes from us.
fn shut_down(socket: &TcpStream) -> io::Result<()> {
    // SAFETY: the descriptor is open; no pointers.
    let result = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's smoothed round-trip time of a connection, µs; `None` where it does not tell.
pub fn rtt_us(socket: &TcpStream) -> Option<u64> {
    // SAFETY: `tcp_info` is plain numbers, for which all zero is valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the descriptor is open; the kernel writes at most `length` bytes to `info`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    (result == 0 && info.tcpi_rtt > 0).then_some(u64::from(info.tcpi_rtt))
}

fn choose_port_at_connect(socket: &TcpSocket) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the option's value is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
