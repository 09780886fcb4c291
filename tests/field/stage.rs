//! What the tests of the list have in common: a stream whose player sees all of it, and frames made by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::amf::{self, Amf};
use crate::support::client::{Client, Recording};
use crate::support::flv::{Kind, Tag};
use crate::support::media::THIN;
use crate::support::server::{Inrush, Server};
use crate::support::wire::Message;
use crate::support::{PATIENCE, synthetic, wait_until};

/// A server of two cores with the defaults.
pub fn server() -> Server {
    Inrush::new().cores(2).start()
}

/// A player of `live/NAME` that is there before its publisher, and so sees every message of it.
#[track_caller]
pub fn watch(server: &Server, name: &str) -> Recording {
    join(server, name, 0)
}

/// A player of `live/NAME` that joins when the stream has been going on and has so many other players.
#[track_caller]
pub fn join(server: &Server, name: &str, others: usize) -> Recording {
    let player = Client::open(server.rtmp()).connect("live").play(name).record_in_background();
    server.wait_for_players("live", name, others + 1);
    player
}

/// A publisher of `live/NAME` whose publish was taken.
#[track_caller]
pub fn publisher(server: &Server, name: &str) -> Client {
    Client::open(server.rtmp()).connect("live").publish(name)
}

/// A publisher that is heard of: it says something each few milliseconds, none of which is sound or picture. One that is silent for two
/// seconds would yield its name to another.
pub struct Talking {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Client>,
}

/// Has a publisher talk on a thread of its own.
pub fn talk(mut publisher: Client) -> Talking {
    let over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&over);
    let thread = std::thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            publisher.send_tag(&data(&["onTalk".into()]));
            std::thread::sleep(Duration::from_millis(20));
        }
        publisher
    });
    Talking { over, thread }
}

impl Talking {
    /// It talks no more.
    #[track_caller]
    pub fn stop(self) -> Client {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Fails the test unless the player got exactly these messages of sound and picture, in this order, with these timestamps.
#[track_caller]
pub fn assert_seen(player: Recording, sent: &[Tag]) {
    let seen = player.tags();
    let seen: Vec<&Tag> = seen.iter().filter(|tag| tag.kind != Kind::Data).collect();
    let sent: Vec<&Tag> = sent.iter().filter(|tag| tag.kind != Kind::Data).collect();
    let differs = (0..sent.len().max(seen.len())).find(|at| sent.get(*at) != seen.get(*at));
    if let Some(at) = differs {
        panic!(
            "of {} messages sent and {} seen, number {at} differs: sent {}, seen {}",
            sent.len(),
            seen.len(),
            in_short(sent.get(at)),
            in_short(seen.get(at))
        );
    }
}

fn in_short(tag: Option<&&Tag>) -> String {
    tag.map_or("nothing".to_owned(), |tag| {
        let head = &tag.body[..tag.body.len().min(8)];
        format!("{:?} @{} {} bytes {head:02x?}", tag.kind, tag.timestamp, tag.body.len())
    })
}

/// The data messages that the player got and that begin with this name.
pub fn data_named<'a>(seen: &'a [Tag], name: &str) -> Vec<&'a Tag> {
    let start = amf::write(&[name.into()]);
    seen.iter().filter(|tag| tag.kind == Kind::Data && tag.body.starts_with(&start)).collect()
}

/// The sequence headers of a real H.264 and AAC stream, in this order.
pub fn headers() -> Vec<Tag> {
    synthetic::sequence_headers(&THIN.media())
}

/// An H.264 key frame; what is in it says which one it is.
pub fn key(timestamp: u32) -> Tag {
    video(0x17, timestamp)
}

/// An H.264 frame that needs others.
pub fn inter(timestamp: u32) -> Tag {
    video(0x27, timestamp)
}

fn video(first: u8, timestamp: u32) -> Tag {
    // Longer than the default chunk size, so that there are chunks of type 3.
    let body = [&[first, 1, 0, 0, 0, 0, 0, 1, 0x40][..], &filler(timestamp, 320)].concat();
    Tag { kind: Kind::Video, timestamp, body }
}

/// A frame of AAC.
pub fn sound(timestamp: u32) -> Tag {
    Tag { kind: Kind::Audio, timestamp, body: [&[0xaf, 1][..], &filler(timestamp, 60)].concat() }
}

/// A data message.
pub fn data(values: &[Amf]) -> Tag {
    Tag { kind: Kind::Data, timestamp: 0, body: amf::write(values) }
}

/// An AMF object.
pub fn object(properties: &[(&str, Amf)]) -> Amf {
    Amf::Object(properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// Bytes that differ from timestamp to timestamp.
pub fn filler(timestamp: u32, bytes: usize) -> Vec<u8> {
    let start = timestamp.wrapping_mul(0x9e37_79b9) >> 24;
    (0..bytes).map(|at| (at as u32 * 7 + start) as u8).collect()
}

/// A second of stream from `start` on: sequence headers, a key frame, then picture and sound by turns.
pub fn second(start: u32) -> Vec<Tag> {
    let mut tags: Vec<Tag> = headers().into_iter().map(|tag| Tag { timestamp: start, ..tag }).collect();
    tags.extend(frames(start));
    tags
}

/// The same without the headers.
pub fn frames(start: u32) -> Vec<Tag> {
    let frame = |n: u32| {
        let at = start.wrapping_add(n * 40);
        [if n == 0 { key(at) } else { inter(at) }, sound(at.wrapping_add(20))]
    };
    (0..25).flat_map(frame).collect()
}

/// Sends all of it at once, in the publisher's own way of writing chunks.
#[track_caller]
pub fn send_all(publisher: &mut Client, tags: &[Tag]) {
    tags.iter().for_each(|tag| publisher.send_tag(tag));
}

/// A message as it goes on the wire: control messages and commands.
pub fn control(type_id: u8, body: &[u8]) -> Message {
    Message { type_id, stream_id: 0, timestamp: 0, body: body.to_vec() }
}

/// A user control message (RTMP 1.0 §6.2).
pub fn user_control(event: u16, data: &[u8]) -> Message {
    control(4, &[&event.to_be_bytes()[..], data].concat())
}

/// Waits until the server has counted so many oddities of a kind.
#[track_caller]
pub fn wait_for_oddities(server: &Server, kind: &str, count: u64) {
    wait_until(&format!("{count} of the oddity {kind} are counted"), PATIENCE, || {
        (server.metrics().of_kind("oddity", kind) == count).then_some(())
    });
}

/// The stream in the API; waits until it has what `choose` asks for.
#[track_caller]
pub fn in_api<T>(
    server: &Server,
    name: &str,
    what: &str,
    mut choose: impl FnMut(&serde_json::Value) -> Option<T>,
) -> T {
    wait_until(&format!("the API shows {what} of {name}"), PATIENCE, || {
        let streams = server.streams();
        choose(streams.iter().find(|stream| stream["app"] == "live" && stream["name"] == name)?)
    })
}
