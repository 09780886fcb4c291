//! The hostile cast: peers of every kind that means harm, each from an address of its own, again as soon as the server has ended it.
//!
//! All of them are tasks of one thread, so that they take one core of the machine at most.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::amf::Amf;
use crate::support::chunk_header::{type_0, type_3};
use crate::support::script;
use crate::support::wire::{self, ChunkWriter, Message};

/// Longest life of one connection of the cast: who is not ended by then leaves, and comes again.
const LIFE_MAX: Duration = Duration::from_secs(10);
/// From the end of one connection to the next of the same actor.
const PAUSE: Duration = Duration::from_millis(50);
/// From byte to byte of those that are slow on purpose: often enough that something always moves.
const DRIP: Duration = Duration::from_millis(100);
/// What a flooder writes at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// What a hog has unfinished at most: beyond 16 MiB a session is ended, and read buffers count whole.
const HOG_BYTES: usize = 15 << 20;
/// Messages that a hog begins, of 8 MB each as the longest may be.
const HOG_CHUNK_STREAMS: u32 = 50;

/// What an actor plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Bytes that mean nothing, instead of a handshake or after one.
    Garbage,
    /// Publishes in chunks of one byte, as fast as they are taken.
    OneByteChunks,
    /// Messages without a body, whose headers are one byte each.
    HeadersAlone,
    /// Asks for a pong again and again, and reads none.
    Pings,
    /// Changes its acknowledgement window with every message, to one byte and back.
    Windows,
    /// Calls again and again, and reads no answer.
    Commands,
    /// Connects and says nothing.
    Silent,
    /// Stops in the middle of the handshake.
    HalfOpen,
    /// Says its handshake byte by byte.
    SlowHandshake,
    /// Says its `connect` byte by byte.
    SlowCommand,
    /// Plays what honest publishers send, and never reads.
    NeverReads,
    /// Has as much of unfinished messages as it may, before it has published.
    MemoryHog,
    /// Publishes, and has more of unfinished messages than it may.
    ReassemblyHog,
}

/// Every part, and how many play it.
pub const PARTS: [(Part, usize); 13] = [
    (Part::Garbage, 4),
    (Part::OneByteChunks, 2),
    (Part::HeadersAlone, 2),
    (Part::Pings, 2),
    (Part::Windows, 2),
    (Part::Commands, 2),
    (Part::Silent, 50),
    (Part::HalfOpen, 100),
    (Part::SlowHandshake, 25),
    (Part::SlowCommand, 25),
    (Part::NeverReads, 25),
    (Part::MemoryHog, 60),
    (Part::ReassemblyHog, 1),
];

/// The cast at work.
pub struct Cast {
    over: Arc<AtomicBool>,
    ended: Arc<[AtomicU64; PARTS.len()]>,
    thread: JoinHandle<()>,
}

impl Cast {
    /// Sends all of them in. Those who play take the streams `stream-0` to `stream-(streams - 1)`.
    pub fn start(server: SocketAddr, streams: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::new([const { AtomicU64::new(0) }; PARTS.len()]);
        let (is_over, counts) = (Arc::clone(&over), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
            runtime.block_on(async {
                let mut actors = Vec::new();
                for (at, (part, count)) in PARTS.into_iter().enumerate() {
                    for number in 0..count {
                        let actor = Actor { part, number, server, streams };
                        let (is_over, counts) = (Arc::clone(&is_over), Arc::clone(&counts));
                        actors.push(tokio::spawn(async move {
                            while !is_over.load(Ordering::Relaxed) {
                                // Whatever ends it before its time is the server's doing: it is refused, closed or reset.
                                if tokio::time::timeout(LIFE_MAX, actor.play()).await.is_ok() {
                                    counts[at].fetch_add(1, Ordering::Relaxed);
                                }
                                tokio::time::sleep(PAUSE).await;
                            }
                        }));
                    }
                }
                // Those that are at it are broken off: nobody waits for the end of a slow handshake.
                while !is_over.load(Ordering::Relaxed) {
                    tokio::time::sleep(PAUSE).await;
                }
                actors.iter().for_each(|actor| actor.abort());
            });
        });
        Self { over, ended, thread }
    }

    /// Calls them off; gives how often the server has ended one of each part.
    pub fn finish(self) -> Vec<(Part, u64)> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        PARTS
            .iter()
            .zip(&*self.ended)
            .map(|((part, _), ended)| (*part, ended.load(Ordering::Relaxed)))
            .collect()
    }
}

#[derive(Clone, Copy)]
struct Actor {
    part: Part,
    number: usize,
    server: SocketAddr,
    streams: usize,
}

impl Actor {
    /// Plays the part until the server ends it.
    async fn play(&self) -> std::io::Result<()> {
        let mut socket = self.connect().await?;
        match self.part {
            Part::Garbage => {
                if self.number % 2 == 1 {
                    self.shake_hands(&mut socket).await?;
                }
                flood(&mut socket, &garbage(self.number)).await
            }
            Part::OneByteChunks => {
                self.publish(&mut socket).await?;
                socket.write_all(&ChunkWriter::default().write(&Message::set_chunk_size(1))).await?;
                let body = [0xc6, 0x17].repeat(BLOCK_BYTES / 2 - 1);
                flood(&mut socket, &[&type_0(6, 0, BLOCK_BYTES / 2, 9, 1)[..], &[0x17], &body].concat()).await
            }
            Part::HeadersAlone => {
                self.publish(&mut socket).await?;
                socket.write_all(&type_0(6, 0, 0, 9, 1)).await?;
                flood(&mut socket, &[0xc6; BLOCK_BYTES]).await
            }
            Part::Pings => {
                self.be_connected(&mut socket).await?;
                let ping = [&type_0(2, 0, 6, 4, 0)[..], &[0, 6, 0, 0, 0, 1]].concat();
                flood(&mut socket, &ping.repeat(BLOCK_BYTES / ping.len())).await
            }
            Part::Windows => {
                self.be_connected(&mut socket).await?;
                let window = |bytes: u32| [&type_0(2, 0, 4, 5, 0)[..], &bytes.to_be_bytes()].concat();
                let both = [window(1), window(u32::MAX)].concat();
                flood(&mut socket, &both.repeat(BLOCK_BYTES / both.len())).await
            }
            Part::Commands => {
                self.be_connected(&mut socket).await?;
                let call =
                    Message::command(0, &["getStreamLength".into(), 9.0.into(), Amf::Null, "x".into()]);
                let call = ChunkWriter::default().write(&call);
                flood(&mut socket, &call.repeat(BLOCK_BYTES / call.len())).await
            }
            Part::Silent => until_closed(&mut socket).await,
            Part::HalfOpen => {
                socket.write_all(&wire::c0_c1()[..700]).await?;
                until_closed(&mut socket).await
            }
            Part::SlowHandshake => drip(&mut socket, &wire::c0_c1()).await,
            Part::SlowCommand => {
                self.shake_hands(&mut socket).await?;
                drip(&mut socket, &ChunkWriter::default().write(&script::connect("live", &"x".repeat(900))))
                    .await
            }
            Part::NeverReads => {
                self.be_connected(&mut socket).await?;
                let mut writer = ChunkWriter::default();
                let name = format!("stream-{}", self.number % self.streams);
                let play = [script::create_stream(), script::play(script::FIRST_STREAM, &name)];
                socket.write_all(&play.map(|message| writer.write(&message)).concat()).await?;
                // Sends a byte of nothing now and then, which fails once the server has closed.
                let acknowledgement = Message { type_id: 3, stream_id: 0, timestamp: 0, body: vec![0; 4] };
                loop {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    socket.write_all(&writer.write(&acknowledgement)).await?;
                }
            }
            Part::MemoryHog => {
                self.be_connected(&mut socket).await?;
                self.hog(&mut socket, HOG_BYTES).await?;
                until_closed(&mut socket).await
            }
            Part::ReassemblyHog => {
                self.publish(&mut socket).await?;
                self.hog(&mut socket, 3 * HOG_BYTES).await?;
                until_closed(&mut socket).await
            }
        }
    }

    /// From an address of its own: each in a network of its own, as far as admission can tell.
    async fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if self.part == Part::NeverReads {
            socket.set_recv_buffer_size(16 * 1024)?;
        }
        let source = Ipv4Addr::new(127, 1 + self.part as u8, self.number as u8, 1);
        socket.bind((source, 0).into())?;
        let socket = socket.connect(self.server).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    async fn shake_hands(&self, socket: &mut TcpStream) -> std::io::Result<()> {
        socket.write_all(&wire::c0_c1()).await?;
        socket.read_exact(&mut vec![0; 1 + 2 * wire::HANDSHAKE_PACKET_BYTES]).await?;
        socket.write_all(&wire::c2()).await
    }

    async fn be_connected(&self, socket: &mut TcpStream) -> std::io::Result<()> {
        self.shake_hands(socket).await?;
        socket
            .write_all(&ChunkWriter::default().write(&script::connect("live", "rtmp://localhost/live")))
            .await
    }

    async fn publish(&self, socket: &mut TcpStream) -> std::io::Result<()> {
        self.be_connected(socket).await?;
        let name = format!("{:?}-{}", self.part, self.number);
        let publish = [script::create_stream(), script::publish(script::FIRST_STREAM, &name)];
        let mut writer = ChunkWriter::default();
        socket.write_all(&publish.map(|message| writer.write(&message)).concat()).await
    }

    /// Begins one message after the other and finishes none, until so many bytes are unfinished.
    async fn hog(&self, socket: &mut TcpStream, bytes: usize) -> std::io::Result<()> {
        let piece = BLOCK_BYTES;
        socket.write_all(&ChunkWriter::default().write(&Message::set_chunk_size(piece as u32))).await?;
        for number in 0..bytes / piece {
            let chunk_stream = 70 + number as u32 % HOG_CHUNK_STREAMS;
            let header = match number as u32 / HOG_CHUNK_STREAMS {
                0 => type_0(chunk_stream, 0, 8 << 20, 9, 1),
                _ => type_3(chunk_stream, None),
            };
            socket.write_all(&[header, vec![0x17; piece]].concat()).await?;
        }
        Ok(())
    }
}

/// Writes it again and again until the server has had enough; reads nothing. The others get their turn, since a task has a budget.
async fn flood(socket: &mut TcpStream, block: &[u8]) -> std::io::Result<()> {
    loop {
        socket.write_all(block).await?;
    }
}

async fn drip(socket: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        socket.write_all(&[*byte]).await?;
        tokio::time::sleep(DRIP).await;
    }
    until_closed(socket).await
}

async fn until_closed(socket: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    while socket.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Bytes without meaning that begin with no version of a handshake.
fn garbage(seed: usize) -> Vec<u8> {
    let mut random = crate::support::random::Random::with_seed(seed as u64);
    let mut bytes: Vec<u8> = (0..BLOCK_BYTES).map(|_| random.next() as u8).collect();
    bytes[0] = b'G';
    bytes
}
