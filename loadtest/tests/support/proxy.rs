//! A proxy that understands RTMP and is as bad as a test wants: it drops, repeats, holds back and delays media messages on
//! their way to players, keeps everything else as it is, and knows exactly what it did.
//!
//! From the server on, each message is read, judged by the number in its stamp, and written anew. What was done is counted
//! when it is written, so that what the harness must report is what is in [`Deeds`], to the frame.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use inrush::rtmp::chunk::{CHUNK_SIZE_DEFAULT, ChunkReader, ChunkStreamId, ChunkWriter, Read as Poll};
use inrush::rtmp::handshake::PACKET_BYTES;
use inrush::rtmp::{Control, Limits, Message, message::type_id};
use inrush_loadtest::clock::now_us;
use inrush_loadtest::media::stamp::Stamp;

/// S0, S1 and S2.
const HANDSHAKE_BYTES: usize = 1 + 2 * PACKET_BYTES;

/// What becomes of one message on its way to one player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes its way.
    Pass,
    /// It does not arrive.
    Drop,
    /// It arrives, and once more after so many other media messages.
    Again(u32),
    /// It arrives only after so many other media messages.
    Hold(u32),
}

/// How bad it is to players, who are numbered as their first media message comes.
#[derive(Clone, Copy)]
pub struct Manners {
    /// What becomes of message `sequence` for a player.
    pub fate: fn(player: usize, sequence: u64) -> Fate,
    /// How much later than it could a player gets everything, from its first media message on.
    pub delay: fn(player: usize) -> Duration,
}

impl Manners {
    /// Passes all on at once: a witness.
    pub const GOOD: Self = Self { fate: |_, _| Fate::Pass, delay: |_| Duration::ZERO };
}

/// One message as a player got it.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// Which player.
    pub player: usize,
    /// Its number in its stream.
    pub sequence: u64,
    /// When it was due, by its stamp.
    pub due_us: u64,
    /// When the proxy had read it.
    pub read_us: u64,
    /// When the proxy went to write it.
    pub released_us: u64,
    /// When it had written it. The reader may have it before, since it can be woken in the midst of a write.
    pub written_us: u64,
}

impl Passed {
    /// From its due time until the proxy went to write it.
    pub fn latency_us(&self) -> u64 {
        self.released_us - self.due_us
    }

    /// From its due time until the proxy had written it.
    pub fn latency_us_max(&self) -> u64 {
        self.written_us - self.due_us
    }
}

/// What the proxy did.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    /// Stamped messages written to players, each copy for itself.
    pub passed: Vec<Passed>,
    /// Messages not passed on.
    pub dropped: u64,
    /// Copies written of messages that were written before.
    pub repeated: u64,
    /// Messages written after a later one.
    pub reordered: u64,
}

/// A running proxy. All its connections end when the harness's do.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    manners: Manners,
    players: AtomicUsize,
    deeds: Mutex<Deeds>,
    stop: AtomicBool,
}

impl Proxy {
    /// In front of `server`, on a port of its own.
    pub fn start(server: SocketAddr, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            server,
            manners,
            players: AtomicUsize::new(0),
            deeds: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        let listening = Some(thread::spawn(move || accepting.listen(&listener)));
        Self { address, shared, listening }
    }

    /// The URL of a stream, or a pattern of them, through the proxy.
    pub fn url(&self, name: &str) -> String {
        format!("rtmp://{}/live/{name}", self.address)
    }

    /// Waits until all connections are over, and tells what was done.
    #[track_caller]
    pub fn finish(mut self) -> Deeds {
        self.stop_listening();
        self.shared.deeds.lock().expect("no thread panicked over it").clone()
    }

    fn stop_listening(&mut self) {
        if let Some(listening) = self.listening.take() {
            self.shared.stop.store(true, Ordering::Relaxed);
            // Wakes `accept`.
            let _ = TcpStream::connect(self.address);
            let joined = listening.join();
            assert!(joined.is_ok() || thread::panicking(), "the proxy panicked");
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

impl Shared {
    fn listen(self: Arc<Self>, listener: &TcpListener) {
        let mut connections = Vec::new();
        for client in listener.incoming() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let client = client.expect("accept a connection");
            let shared = self.clone();
            connections.push(thread::spawn(move || shared.serve(&client)));
        }
        for connection in connections {
            connection.join().expect("a connection of the proxy does not panic");
        }
    }

    /// One connection to its end, whichever side ends it.
    fn serve(&self, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(self.server) else { return };
        for socket in [client, &server] {
            socket.set_nodelay(true).expect("a connected socket takes the option");
        }
        let (sender, queue) = channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                copy(client, &server);
                // Whoever is left reading or writing on either of them ends with this.
                let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
            });
            scope.spawn(|| {
                self.write(client, queue);
                let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
            });
            let mut way = Way {
                shared: self,
                player: None,
                held: Vec::new(),
                highest: None,
                forward: |item| sender.send(item).is_ok(),
            };
            way.read(&server);
            drop(sender);
        });
    }

    fn write(&self, mut client: &TcpStream, queue: Receiver<Item>) {
        let mut writer = ChunkWriter::new(CHUNK_SIZE_DEFAULT);
        let mut out = BytesMut::new();
        for Item { at_us, what } in queue {
            let now = now_us();
            if at_us > now {
                thread::sleep(Duration::from_micros(at_us - now));
            }
            out.clear();
            match &what {
                What::Bytes(bytes) => out.extend_from_slice(bytes),
                What::Message { message, .. } => {
                    writer.write(chunk_stream(message), message, &mut out);
                    if let Ok(Some(Control::SetChunkSize(bytes))) = Control::parse(message) {
                        writer.set_chunk_size(bytes);
                    }
                }
            }
            let released_us = now_us();
            if client.write_all(&out).is_err() {
                return;
            }
            if let What::Message { trace: Some(trace), .. } = what {
                let mut deeds = self.deeds.lock().expect("no thread panicked over it");
                deeds.passed.push(Passed { released_us, written_us: now_us(), ..trace.passed });
                deeds.repeated += u64::from(trace.is_repeated);
                deeds.reordered += u64::from(trace.is_reordered);
            }
        }
    }
}

/// Something to be written, not before its time.
struct Item {
    at_us: u64,
    what: What,
}

enum What {
    Bytes(Bytes),
    Message { message: Message, trace: Option<Trace> },
}

/// What is to be noted of a message when it is written.
#[derive(Clone, Copy)]
struct Trace {
    passed: Passed,
    is_repeated: bool,
    is_reordered: bool,
}

/// From the server to one client, up to the queue of the one who writes.
struct Way<'a, F> {
    shared: &'a Shared,
    player: Option<usize>,
    /// What is still to come, after how many other messages, and whether it was passed on already.
    held: Vec<(u32, Message, Passed, bool)>,
    /// The highest number passed on.
    highest: Option<u64>,
    forward: F,
}

impl<F: FnMut(Item) -> bool> Way<'_, F> {
    fn read(&mut self, mut server: &TcpStream) {
        let mut handshake = HANDSHAKE_BYTES;
        let mut reader = ChunkReader::new(&Limits::default());
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(read @ 1..) = server.read(&mut buffer) else { return };
            let read_us = now_us();
            let mut bytes = Bytes::copy_from_slice(&buffer[..read]);
            let greeting = bytes.split_to(handshake.min(read));
            handshake -= greeting.len();
            if !greeting.is_empty() && !(self.forward)(Item { at_us: 0, what: What::Bytes(greeting) }) {
                return;
            }
            if bytes.is_empty() {
                continue;
            }
            reader.push(bytes);
            while let Poll::Message(message) = reader.poll().expect("the server writes chunks as it should") {
                if !self.judge(message, read_us) {
                    return;
                }
            }
        }
    }

    /// Whether there is still somebody to write it.
    fn judge(&mut self, message: Message, read_us: u64) -> bool {
        let Some(stamp) = Stamp::read(message.header.type_id, &message.payload) else {
            return self.send(read_us, message, None);
        };
        let players = &self.shared.players;
        let player = *self.player.get_or_insert_with(|| players.fetch_add(1, Ordering::Relaxed));
        let (sequence, due_us) = (stamp.sequence, stamp.due_us);
        let passed = Passed { player, sequence, due_us, read_us, released_us: 0, written_us: 0 };
        match (self.shared.manners.fate)(player, stamp.sequence) {
            Fate::Pass => self.pass(message, passed, false),
            Fate::Drop => {
                self.shared.deeds.lock().expect("no thread panicked over it").dropped += 1;
                true
            }
            Fate::Again(0) => self.pass(message.clone(), passed, false) && self.pass(message, passed, true),
            Fate::Again(after) => {
                let sent = self.pass(message.clone(), passed, false);
                self.held.push((after, message, passed, true));
                sent
            }
            Fate::Hold(after) => {
                self.held.push((after, message, passed, false));
                true
            }
        }
    }

    /// Passes a message on, and after it those that waited for it.
    fn pass(&mut self, message: Message, passed: Passed, is_repeated: bool) -> bool {
        let is_reordered = !is_repeated && self.highest.is_some_and(|highest| passed.sequence < highest);
        self.highest = self.highest.max(Some(passed.sequence));
        if !self.send(passed.read_us, message, Some(Trace { passed, is_repeated, is_reordered })) {
            return false;
        }
        let mut due = Vec::new();
        for (after, ..) in &mut self.held {
            *after = after.saturating_sub(1);
        }
        while let Some(at) = self.held.iter().position(|(after, ..)| *after == 0) {
            due.push(self.held.remove(at));
        }
        due.into_iter().all(|(_, message, held, is_repeated)| {
            // It waited for this one, and is delayed from here on.
            self.pass(message, Passed { read_us: passed.read_us, ..held }, is_repeated)
        })
    }

    fn send(&mut self, read_us: u64, message: Message, trace: Option<Trace>) -> bool {
        let delay = self.player.map_or(Duration::ZERO, self.shared.manners.delay);
        let at_us = read_us + delay.as_micros() as u64;
        (self.forward)(Item { at_us, what: What::Message { message, trace } })
    }
}

fn chunk_stream(message: &Message) -> ChunkStreamId {
    match message.header.type_id {
        type_id::AUDIO => ChunkStreamId::AUDIO,
        type_id::VIDEO => ChunkStreamId::VIDEO,
        type_id::DATA_AMF0 | type_id::DATA_AMF3 => ChunkStreamId::DATA,
        type_id::SET_CHUNK_SIZE..=type_id::SET_PEER_BANDWIDTH => ChunkStreamId::CONTROL,
        _ => ChunkStreamId::COMMAND,
    }
}

/// Until either side ends.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}
