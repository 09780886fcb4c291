//! How far a hostile peer behaves: the engine's own client session, spoken over a [`Line`].

use bytes::{Bytes, BytesMut};
use inrush::rtmp::handshake::{Entropy, PACKET_BYTES};
use inrush::session::{ClientCloseReason, ClientEvent, ClientOutput, ClientSession, ClientSettings, Instant};

use super::line::{Ended, Line};
use crate::clock::now_us;

/// A moment in a session's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The server has accepted `connect`; what comes next is asked for, and not published or played yet.
    Connected,
    /// The server has accepted the publish or play.
    Ready,
}

/// One session.
pub struct Dialogue {
    session: ClientSession,
    unsent: BytesMut,
}

impl Dialogue {
    /// One that begins now.
    pub fn new(settings: ClientSettings) -> Self {
        let entropy = Entropy { time_ms: 0, random: [(now_us() & 0xff) as u8; PACKET_BYTES - 8] };
        let session = ClientSession::new(now(), settings, Box::new(entropy));
        Self { session, unsent: BytesMut::new() }
    }

    /// C0 and C1.
    pub fn hello(&mut self) -> Bytes {
        // Nothing else comes before an answer.
        let _ = self.poll();
        self.unsent.split().freeze()
    }

    /// What follows S2, unsent: C2, and `connect` from `PACKET_BYTES` on.
    pub async fn after_handshake(&mut self, line: &mut Line) -> Result<Bytes, Ended> {
        let hello = self.hello();
        line.send(&hello).await?;
        while self.unsent.is_empty() {
            self.read(line).await?;
            self.poll()?;
        }
        Ok(self.unsent.split().freeze())
    }

    /// Behaves until then.
    pub async fn until(&mut self, moment: Moment, line: &mut Line) -> Result<(), Ended> {
        loop {
            let reached = self.poll()?;
            line.send(&self.unsent.split()).await?;
            if reached.is_some_and(|reached| reached == moment || reached == Moment::Ready) {
                return Ok(());
            }
            self.read(line).await?;
        }
    }

    /// The session, to send more with.
    pub fn session(&mut self) -> &mut ClientSession {
        &mut self.session
    }

    /// What the session has to say since it was asked last.
    pub fn said(&mut self) -> Bytes {
        // How it ended shows at the line.
        let _ = self.poll();
        self.unsent.split().freeze()
    }

    async fn read(&mut self, line: &mut Line) -> Result<(), Ended> {
        let mut buffer = BytesMut::new();
        match line.read(&mut buffer).await {
            Ok(()) => self.session.handle_bytes(now(), buffer.freeze()),
            Err(Ended::Closed) => {
                // What the server said before may be why.
                self.session.handle_eof(now());
                self.poll()?;
                return Err(Ended::Closed);
            }
            Err(ended) => return Err(ended),
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Moment>, Ended> {
        let mut reached = None;
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Send(bytes) => self.unsent.extend_from_slice(&bytes),
                ClientOutput::Event(ClientEvent::Connected { .. }) => reached = Some(Moment::Connected),
                ClientOutput::Event(ClientEvent::Ready) => reached = Some(Moment::Ready),
                ClientOutput::Event(ClientEvent::Closed { reason }) => {
                    return Err(match reason {
                        ClientCloseReason::Refused(status) => Ended::Refused(status.code),
                        ClientCloseReason::Eof => Ended::Closed,
                        other => Ended::Broken(other.label().to_owned()),
                    });
                }
                ClientOutput::Event(_) | ClientOutput::Timeout(_) | ClientOutput::Progress => {}
            }
        }
        Ok(reached)
    }
}

/// Now, as sessions have it.
pub(super) fn now() -> Instant {
    Instant::from_micros(now_us())
}
