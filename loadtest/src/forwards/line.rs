//! One connection that publishes here: the engine's own server session, which takes every publish and gives nothing.
//!
//! # Bounds
//! What the session holds ([`ServerSettings`](inrush::session::ServerSettings)); what it says waits in `unsent`, which only answers fill.
//! # Errors
//! The reason why it ended, in a word, as the session or the kernel says it.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use inrush::rtmp::handshake::{Entropy, PACKET_BYTES};
use inrush::session::{Event, Instant, Output, Rejection, ServerSession};
use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::Desk;
use crate::clock::now_us;

/// Spare capacity of the thread's buffer before each read.
const READ_BYTES: usize = 64 * 1024;

/// One publish of a connection.
#[derive(Debug)]
struct Published {
    /// Its message stream.
    stream_id: u32,
    /// As it is called here: `app/name`.
    name: Rc<str>,
    /// Number of the load's stream that it is; `None` before its first stamp.
    stream: Option<u32>,
}

/// Takes what comes over the connection until it ends.
pub(super) async fn serve(desk: Rc<Desk>, socket: TcpStream) {
    desk.tally.borrow_mut().opened();
    let mut line = Line::new(&desk, socket);
    let how = line.drive(&desk).await;
    // When the run is over its publishers leave, and their forwards with them.
    if !desk.plan.is_over() {
        desk.tally.borrow_mut().ended(&how);
    }
}

struct Line {
    socket: TcpStream,
    session: ServerSession,
    unsent: BytesMut,
    published: SmallVec<[Published; 1]>,
    /// When the session wants to be called.
    wake_us: u64,
}

impl Line {
    fn new(desk: &Desk, socket: TcpStream) -> Self {
        // A socket that takes no options works as well.
        let _ = socket.set_nodelay(true);
        let now_us = now_us();
        let entropy = Entropy { time_ms: 0, random: [(now_us & 0xff) as u8; PACKET_BYTES - 8] };
        let now = Instant::from_micros(now_us);
        let session = ServerSession::new(now, desk.settings.clone(), Box::new(entropy));
        Self { socket, session, unsent: BytesMut::new(), published: SmallVec::new(), wake_us: u64::MAX }
    }

    /// How it ended.
    async fn drive(&mut self, desk: &Desk) -> String {
        loop {
            if let Some(how) = self.handle_outputs(desk) {
                // Who is told something at the end may be gone.
                let _ = self.write();
                return how;
            }
            if let Err(error) = self.write() {
                return error.kind().to_string();
            }
            let wanted = match self.unsent.is_empty() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            let left = Duration::from_micros(self.wake_us.saturating_sub(now_us()));
            let read = match tokio::time::timeout(left, self.socket.ready(wanted)).await {
                Ok(ready) => ready.and_then(|_| self.read(desk)),
                Err(_) => {
                    self.wake_us = u64::MAX;
                    self.session.handle_timeout(Instant::from_micros(now_us()));
                    Ok(())
                }
            };
            if let Err(error) = read {
                return error.kind().to_string();
            }
        }
    }

    /// All that the session has to tell; how it ended, if it did.
    fn handle_outputs(&mut self, desk: &Desk) -> Option<String> {
        let now_us = now_us();
        let now = Instant::from_micros(now_us);
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) => self.unsent.extend_from_slice(&bytes),
                Output::Timeout(at) => self.wake_us = at.as_micros(),
                Output::Progress => {}
                Output::Event(Event::PublishRequested(request)) => {
                    let key = &request.address.key;
                    let name = format!("{}/{}", key.app(), key.name()).into();
                    self.published.retain(|known| known.stream_id != request.stream_id);
                    self.published.push(Published { stream_id: request.stream_id, name, stream: None });
                    self.session.accept_publish(now, request.request);
                    desk.tally.borrow_mut().published();
                }
                Output::Event(Event::PlayRequested(request)) => {
                    let why = "this is where a load's streams are forwarded to: it gives nothing";
                    self.session.reject(now, request.request, Rejection::play_denied(why));
                }
                Output::Event(Event::Media(message)) => {
                    let of_it = |known: &&mut Published| known.stream_id == message.stream_id;
                    if let Some(published) = self.published.iter_mut().find(of_it) {
                        let mut tally = desk.tally.borrow_mut();
                        let (name, stream) = (&published.name, &mut published.stream);
                        tally.on_message(name, stream, &message, now_us, &desk.plan);
                    }
                }
                Output::Event(Event::Stopped { stream_id }) => {
                    self.published.retain(|known| known.stream_id != stream_id);
                }
                Output::Event(Event::Closed { reason, .. }) => return Some(reason.label().to_owned()),
                Output::Event(_) => {}
            }
        }
        None
    }

    /// Reads once, what there is.
    fn read(&mut self, desk: &Desk) -> io::Result<()> {
        let mut buffer = desk.buffer.borrow_mut();
        buffer.reserve(READ_BYTES);
        match self.socket.try_read_buf(&mut *buffer) {
            Ok(0) => self.session.handle_eof(Instant::from_micros(now_us())),
            Ok(read) => {
                let now_us = now_us();
                if desk.plan.is_measured(now_us) {
                    desk.tally.borrow_mut().bytes += read as u64;
                }
                self.session.handle_bytes(Instant::from_micros(now_us), buffer.split().freeze());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes what waits, as much as the socket takes.
    fn write(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.socket.try_write(&self.unsent) {
                Ok(written) => self.unsent.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
