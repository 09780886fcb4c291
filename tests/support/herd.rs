//! Many live streams on one thread, each with a player that checks every message it gets: for what must not disturb any of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::amf::{self, Amf};
use super::crowd::{self, Report};
use super::flv::Tag;
use super::media::H264_AAC;
use super::synthetic::{Pattern, sequence_headers};
use super::wire::{self, ChunkReader, ChunkWriter, Message};
use super::{PATIENCE, script, wait_until};

/// 10 messages a second.
const PATTERN: Pattern = Pattern { frame_ms: 200, gop_frames: 5, video_bytes: 400, audio_bytes: 100 };

/// The streams at work.
pub struct Herd {
    thread: Option<JoinHandle<Vec<(u64, Report)>>>,
    over: Arc<AtomicBool>,
    started: Arc<AtomicUsize>,
}

impl Herd {
    /// Lets `count` streams `NAME-0`, `NAME-1`, … of an app begin, each with a player that was there first, and waits until all of them are live.
    #[track_caller]
    pub fn start(address: SocketAddr, app: &str, name: &str, count: usize) -> Self {
        let (over, started) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let headers = Arc::new(sequence_headers(&H264_AAC.media()));
        let (app, name) = (app.to_owned(), name.to_owned());
        let (ours, counter) = (Arc::clone(&over), Arc::clone(&started));
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
            runtime.block_on(async {
                let start = |number: usize| {
                    let (app, name) = (app.clone(), format!("{name}-{number}"));
                    let player = tokio::spawn(crowd::play(address, app.clone(), name.clone()));
                    let (headers, over, counter) =
                        (Arc::clone(&headers), Arc::clone(&ours), Arc::clone(&counter));
                    let publisher = tokio::spawn(async move {
                        publish(address, &app, &name, &headers, &over, &counter)
                            .await
                            .expect("its server is there")
                    });
                    (publisher, player)
                };
                let all: Vec<_> = (0..count).map(start).collect();
                let mut reports = Vec::new();
                for (publisher, player) in all {
                    let sent = publisher.await.expect("a publisher does not panic");
                    reports.push((sent, player.await.expect("a player does not panic")));
                }
                reports
            })
        });
        let herd = Self { thread: Some(thread), over, started };
        wait_until("all of the herd are live", 2 * PATIENCE, || {
            (herd.started.load(Ordering::Relaxed) == count).then_some(())
        });
        herd
    }

    /// Ends all of them. Fails the test unless every player got every message from where it joined, in order, and was told of the end. Gives the
    /// number of messages.
    #[track_caller]
    pub fn finish_whole(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("finished once");
        let reports = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let mut messages = 0;
        for (number, (sent, report)) in reports.iter().enumerate() {
            let first = report.first.unwrap_or_else(|| panic!("the player of stream {number} got nothing"));
            assert!(report.starts_at_key_frame, "stream {number} starts at {first}");
            let seen = (report.last, report.out_of_order, report.notified);
            assert_eq!(seen, (Some(sent - 1), 0, true), "stream {number}, of {sent} messages");
            messages += sent - first;
        }
        messages
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        // The test has failed: a player may wait in vain, and nobody is to wait for it.
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Publishes until it is over, and to the end of a group of pictures; gives how many messages it sent.
async fn publish(
    address: SocketAddr,
    app: &str,
    name: &str,
    headers: &[Tag],
    over: &AtomicBool,
    started: &AtomicUsize,
) -> std::io::Result<u64> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    socket.write_all(&wire::c0_c1()).await?;
    let mut answer = vec![0; 1 + 2 * wire::HANDSHAKE_PACKET_BYTES];
    socket.read_exact(&mut answer).await?;
    let mut writer = ChunkWriter::default();
    let mut commands = wire::c2();
    commands.extend(writer.write(&script::connect(app, &format!("rtmp://{address}/{app}"))));
    for message in script::before_publish(name) {
        commands.extend(writer.write(&message));
    }
    commands.extend(writer.write(&script::publish(script::FIRST_STREAM, name)));
    socket.write_all(&commands).await?;
    wait_for_start(&mut socket, name).await?;
    started.fetch_add(1, Ordering::Relaxed);
    let (mut reading, mut writing) = socket.into_split();
    let drain = tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while reading.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    });
    for header in headers {
        writing.write_all(&writer.write(&Message::media(script::FIRST_STREAM, header))).await?;
    }
    let start = Instant::now();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) || number % (2 * PATTERN.gop_frames) != 0 {
        sleep_until(start + Duration::from_millis(PATTERN.timestamp(number).into())).await;
        let tag = PATTERN.tag(number);
        writing.write_all(&writer.write(&Message::media(script::FIRST_STREAM, &tag))).await?;
        number += 1;
    }
    for message in script::unpublish(script::FIRST_STREAM, name) {
        writing.write_all(&writer.write(&message)).await?;
    }
    writing.shutdown().await?;
    let _ = drain.await;
    Ok(number)
}

/// Reads up to the answer that it may publish.
async fn wait_for_start(socket: &mut TcpStream, name: &str) -> std::io::Result<()> {
    let mut reader = ChunkReader::default();
    let mut buffer = [0; 4096];
    loop {
        let read = socket.read(&mut buffer).await?;
        assert!(read > 0, "{name} may not publish");
        reader.push(&buffer[..read]);
        while let Some(message) = reader.next_message() {
            let code = |values: Vec<Amf>| Some(values.last()?.property("code")?.as_str()?.to_owned());
            if message.type_id == 20
                && code(amf::read(&message.body)).as_deref() == Some("NetStream.Publish.Start")
            {
                return Ok(());
            }
        }
    }
}
