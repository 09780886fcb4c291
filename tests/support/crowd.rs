//! Many players of one stream, or of several, on one thread, each of which checks every message it gets.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::amf::{self, Amf};
use super::flv::Kind;
use super::script;
use super::synthetic;
use super::wire::{self, ChunkReader, ChunkWriter, Message};

/// Players at work; they stop when the stream ends.
pub struct Crowd {
    thread: JoinHandle<Vec<Report>>,
}

/// What one player saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Number of the first message.
    pub first: Option<u64>,
    /// Number of the last message.
    pub last: Option<u64>,
    /// Whether the first message was a key frame.
    pub starts_at_key_frame: bool,
    /// Messages that were not the successor of the one before.
    pub out_of_order: u64,
    /// From sending to reception, microseconds, of each message that was sent after this player had joined.
    pub latencies_us: Vec<u32>,
    /// Whether the stream ended with a notice; otherwise the connection was lost.
    pub notified: bool,
}

impl Crowd {
    /// Lets `count` players join a stream of synthetic messages.
    pub fn join(address: SocketAddr, app: &str, name: &str, count: usize) -> Self {
        Self::join_each(address, app, vec![name.to_owned(); count])
    }

    /// Lets a player join each of these streams of one app; one of several players may be named several times.
    pub fn join_each(address: SocketAddr, app: &str, names: Vec<String>) -> Self {
        Self::join_streams(address, names.into_iter().map(|name| (app.to_owned(), name)).collect())
    }

    /// Lets a player join each of these streams, an app and a name each.
    pub fn join_streams(address: SocketAddr, streams: Vec<(String, String)>) -> Self {
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
            runtime.block_on(async {
                let play = |(app, name)| tokio::spawn(play(address, app, name));
                let players: Vec<_> = streams.into_iter().map(play).collect();
                let mut reports = Vec::new();
                for player in players {
                    reports.push(player.await.expect("a player does not panic"));
                }
                reports
            })
        });
        Self { thread }
    }

    /// Waits for the end of the streams; reports are in the order of the players.
    pub fn finish(self) -> Vec<Report> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

pub(super) async fn play(address: SocketAddr, app: String, name: String) -> Report {
    let mut report = Report::default();
    // A lost connection is in the report: no notice, and messages missing at the end.
    let _ = watch(address, &app, &name, &mut report).await;
    report
}

async fn watch(address: SocketAddr, app: &str, name: &str, report: &mut Report) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    socket.write_all(&wire::c0_c1()).await?;
    let mut answer = vec![0; 1 + 2 * wire::HANDSHAKE_PACKET_BYTES];
    socket.read_exact(&mut answer).await?;
    let mut writer = ChunkWriter::default();
    let mut commands = wire::c2();
    commands.extend(writer.write(&script::connect(app, &format!("rtmp://{address}/{app}"))));
    commands.extend(writer.write(&script::create_stream()));
    commands.extend(writer.write(&script::play(script::FIRST_STREAM, name)));
    socket.write_all(&commands).await?;

    let mut reader = ChunkReader::default();
    let mut buffer = vec![0; 65536];
    loop {
        let read = socket.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        reader.push(&buffer[..read]);
        while let Some(message) = reader.next_message() {
            if is_end(&message) {
                report.notified = true;
                return Ok(());
            }
            report.add(&message);
        }
    }
}

fn is_end(message: &Message) -> bool {
    message.type_id == 20 && {
        let values = amf::read(&message.body);
        let code = values.last().and_then(|info| info.property("code")).and_then(Amf::as_str);
        code == Some("NetStream.Play.UnpublishNotify")
    }
}

impl Report {
    fn add(&mut self, message: &Message) {
        let Some(kind) = Kind::from_type(message.type_id) else { return };
        let Some(stamp) = synthetic::stamp(kind, &message.body) else { return };
        match self.last {
            None => (self.first, self.starts_at_key_frame) = (Some(stamp.number), stamp.key),
            Some(last) if stamp.number != last + 1 => self.out_of_order += 1,
            Some(_) => {}
        }
        self.last = Some(stamp.number);
        self.latencies_us.push(u32::try_from(stamp.age_us).unwrap_or(u32::MAX));
    }
}

/// The value below which this share of the values lies; the values need no order.
pub fn percentile(mut values: Vec<u32>, share: f64) -> u32 {
    assert!(!values.is_empty(), "no values");
    values.sort_unstable();
    values[((values.len() - 1) as f64 * share) as usize]
}
