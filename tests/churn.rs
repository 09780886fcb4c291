//! Connections that come and go badly: thousands are cut at every stage, and nothing of them stays.
#![cfg(feature = "engine")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use support::client::{Client, Event};
use support::crowd::Crowd;
use support::live::Live;
use support::media::H264_AAC;
use support::random::Random;
use support::rest::{at_rest, rest_that_lasts};
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::wire::{self, ChunkWriter, Message};
use support::{PATIENCE, script};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Connections that are opened and cut, unless `INRUSH_CHURN` says otherwise.
const CONNECTIONS: usize = 20_000;
/// Connections at a time.
const WAVE: usize = 250;
/// The stream that players join in the middle: its GOP does not fit into any socket's buffers.
const FAT_BITS: usize = 6_000_000;

/// Where a connection is cut: within the bytes of this step, or while it waits for what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Handshake,
    Connect,
    Publish,
    /// Cut as soon as the publish is sent: where another core is the home, on the way there.
    Move,
    PublishTaken,
    Media,
    /// Within one chunk of a message.
    MidChunk,
    Play,
    LateJoin,
    BlockedWriter,
}

const STAGES: [Stage; 10] = [
    Stage::Handshake,
    Stage::Connect,
    Stage::Publish,
    Stage::Move,
    Stage::PublishTaken,
    Stage::Media,
    Stage::MidChunk,
    Stage::Play,
    Stage::LateJoin,
    Stage::BlockedWriter,
];

/// How a connection is cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// FIN, or a reset where the kernel has unread bytes.
    Close,
    /// Reset.
    Reset,
    /// FIN, then nothing for a while.
    HalfClose,
}

const CUTS: [Cut; 3] = [Cut::Close, Cut::Reset, Cut::HalfClose];

/// Thousands of connections are cut at random stages while a stream runs: its players miss nothing, and afterwards descriptors, slabs,
/// retained bytes and operations in flight are what they were before. All streams live on core 0, so that half of the publishers are
/// cut while they move.
#[test]
fn nothing_stays_of_connections_cut_at_any_stage() {
    let count = std::env::var("INRUSH_CHURN")
        .map_or(CONNECTIONS, |count| count.parse().expect("INRUSH_CHURN is a number"));
    let mut random = Random::from_environment();
    let server = Inrush::new().cores(2).placement("core:0").start();
    churn(&server, &mut random, WAVE); // what is allocated once is allocated now
    let before = rest_that_lasts(&server);

    let crowd = Crowd::join(server.rtmp(), "live", "fat", 4);
    server.wait_for_players("live", "fat", 4);
    let address = server.rtmp();
    let (stop, stopped) = channel::<()>();
    let messages = std::thread::scope(|scope| {
        let publisher = scope.spawn(move || publish_until(address, stopped));
        server.wait_for_publisher("live", "fat");
        let stages = churn(&server, &mut random, count);
        drop(stop);
        println!("cut at: {stages:?}");
        assert!(STAGES.iter().all(|stage| stages.contains_key(stage)), "a stage never occurred: {stages:?}");
        publisher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    for report in crowd.finish() {
        let seen = (report.first, report.last, report.out_of_order, report.latencies_us.len() as u64);
        assert_eq!(seen, (Some(0), Some(messages - 1), 0, messages), "a player noticed the others");
    }

    let mut after = None;
    let settled = wait_settled(|| {
        after = at_rest(&server);
        after == Some(before)
    });
    assert!(settled, "before: {before:?}, after: {after:?}, {:?}", server.connections());
    let metrics = server.metrics();
    // The churn, the first wave, four players and a publisher.
    assert_eq!(metrics.counter("accepted"), (count + WAVE + 5) as u64, "not every connection came about");
    assert!(metrics.counter("moved_in") > 0, "no publisher moved");
    println!("accepted {}, moved {}", metrics.counter("accepted"), metrics.counter("moved_in"));
    // An exit code of 0 says, in the server's own words, that no operation was in flight and nothing was left in a slab.
    server.stop();
}

/// Waits for a condition without failing, so that the caller can say what is wrong.
fn wait_settled(mut condition: impl FnMut() -> bool) -> bool {
    let start = std::time::Instant::now();
    while !condition() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    true
}

/// Publishes the fat stream until it is told to stop; gives the number of messages.
fn publish_until(address: SocketAddr, stopped: Receiver<()>) -> u64 {
    let mut publisher = Client::open(address).connect("live").publish("fat");
    publisher.set_chunk_size(65_536);
    sequence_headers(&H264_AAC.media()).iter().for_each(|header| publisher.send_tag(header));
    let pattern = Pattern::with_bits_per_second(FAT_BITS);
    let mut sent = 0;
    while stopped.try_recv() == Err(TryRecvError::Empty) {
        publisher.send_synthetic(&pattern, sent..sent + 50);
        sent += 50;
    }
    publisher.unpublish();
    sent
}

/// Opens and cuts connections in waves; gives how many were cut at each stage.
fn churn(server: &Server, random: &mut Random, count: usize) -> BTreeMap<Stage, usize> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
    let mut stages = BTreeMap::new();
    let mut number = 0;
    while number < count {
        let wave: Vec<Plan> =
            (number..count.min(number + WAVE)).map(|number| Plan::draw(random, number)).collect();
        number += wave.len();
        for plan in &wave {
            *stages.entry(plan.stage).or_default() += 1;
        }
        runtime.block_on(async {
            let running: Vec<_> =
                wave.into_iter().map(|plan| tokio::spawn(plan.carry_out(server.rtmp()))).collect();
            for connection in running {
                // Errors are what a cut connection gives; a panic is not.
                let _ = connection.await.expect("a connection does not panic");
            }
        });
    }
    stages
}

/// What one connection does.
struct Plan {
    stage: Stage,
    cut: Cut,
    /// What it sends before it is cut.
    bytes: Vec<u8>,
    /// What it reads before it is cut.
    read_bytes: usize,
    /// How long it stays afterwards.
    stay: Duration,
}

impl Plan {
    fn draw(random: &mut Random, number: usize) -> Self {
        let stage = random.choose(&STAGES);
        // One publisher in eight wants a key that others want too.
        let name = if random.below(8) == 0 { "contested".to_owned() } else { format!("churn-{number}") };
        let (before, within) = conversation(stage, &name);
        let cut_within = match stage {
            Stage::LateJoin | Stage::BlockedWriter | Stage::PublishTaken | Stage::Move => within.len(),
            Stage::MidChunk => 1 + random.below(within.len() - 1),
            _ => random.below(within.len() + 1),
        };
        let read_bytes = match stage {
            Stage::LateJoin => 3_073 + random.below(300_000),
            Stage::BlockedWriter | Stage::Move => 0,
            _ => random.choose(&[0, 1, 3_073, 3_500]),
        };
        let stay = match stage {
            Stage::BlockedWriter => 300 + random.below(300),
            Stage::Move => random.below(4),
            _ => random.choose(&[0, 0, 1, 5, 50]),
        };
        Self {
            stage,
            cut: random.choose(&CUTS),
            bytes: [before, within[..cut_within].to_vec()].concat(),
            read_bytes,
            stay: Duration::from_millis(stay as u64),
        }
    }

    async fn carry_out(self, address: SocketAddr) -> std::io::Result<()> {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(&self.bytes).await?;
        let read_some = async {
            let mut buffer = [0; 4096];
            let mut left = self.read_bytes;
            while left > 0 {
                let room = left.min(buffer.len());
                match socket.read(&mut buffer[..room]).await? {
                    0 => break,
                    read => left -= read,
                }
            }
            std::io::Result::Ok(())
        };
        // A server that has nothing more to say is as good as one that was read to the end.
        let _ = tokio::time::timeout(Duration::from_millis(300), read_some).await;
        tokio::time::sleep(self.stay).await;
        match self.cut {
            Cut::Close => {}
            Cut::Reset => socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))?,
            Cut::HalfClose => {
                socket.shutdown().await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }
}

/// What a connection says before this stage, and what it says in it.
fn conversation(stage: Stage, name: &str) -> (Vec<u8>, Vec<u8>) {
    let mut writer = ChunkWriter::default();
    let mut write =
        |messages: &[Message]| messages.iter().flat_map(|message| writer.write(message)).collect::<Vec<u8>>();
    let handshake = [wire::c0_c1(), wire::c2()].concat();
    let connect = write(&[script::connect("live", "rtmp://127.0.0.1/live")]);
    if stage == Stage::Handshake {
        return (Vec::new(), handshake);
    }
    if stage == Stage::Connect {
        return (handshake, connect);
    }
    if matches!(stage, Stage::Play | Stage::LateJoin | Stage::BlockedWriter) {
        let play = write(&[script::create_stream(), script::play(script::FIRST_STREAM, "fat")]);
        return ([handshake, connect].concat(), play);
    }
    let [release, fc_publish, create] = script::before_publish(name);
    let publish = write(&[release, fc_publish, create, script::publish(script::FIRST_STREAM, name)]);
    if !matches!(stage, Stage::Media | Stage::MidChunk) {
        return ([handshake, connect].concat(), publish);
    }
    let pattern = Pattern::with_bits_per_second(500_000);
    let media: Vec<Message> =
        (0..8).map(|number| Message::media(script::FIRST_STREAM, &pattern.tag(number))).collect();
    if stage == Stage::MidChunk {
        let announcement = writer.set_chunk_size(65_536);
        return ([handshake, connect, publish, announcement].concat(), writer.write(&media[0]));
    }
    ([handshake, connect, publish].concat(), write(&media))
}

/// Publishers that are refused and never stop sending get to see why, each of them, and are closed then.
#[test]
fn refused_publishers_see_their_status() {
    let server = Inrush::new().cores(2).start();
    let holder = Client::open(server.rtmp()).connect("live").publish("held");
    let pattern = Pattern::with_bits_per_second(4_000_000);
    // It has to be heard of: one that is silent for two seconds yields.
    let holder = Live::start(holder, &[], &pattern, 0);
    for _ in 0..10 {
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| publish_stubbornly(server.rtmp(), &pattern));
            }
        });
    }
    let (holder, ended) = holder.pause();
    assert!(!ended.closed && ended.status.is_none(), "{ended:?}");
    holder.unpublish();
}

fn publish_stubbornly(address: SocketAddr, pattern: &Pattern) {
    let mut client = Client::open(address).connect("live");
    for message in
        script::before_publish("held").into_iter().chain([script::publish(script::FIRST_STREAM, "held")])
    {
        client.send(&message);
    }
    let mut socket = client.socket().try_clone().expect("clone a socket");
    std::thread::scope(|scope| {
        // Sends as an encoder does that never looks at what comes back, until the connection is gone.
        scope.spawn(move || {
            let mut writer = ChunkWriter::default();
            for number in 0.. {
                let message = Message::media(script::FIRST_STREAM, &pattern.tag(number));
                if socket.write_all(&writer.write(&message)).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let status = client.wait_for("the status", |event| match event {
            Event::Status(status) => Some(status),
            _ => None,
        });
        assert_eq!(status.code, "NetStream.Publish.BadName");
        assert!(client.wait_for_close(PATIENCE), "a refused publisher is closed");
    });
}
