//! A stream whose publisher changes: networks that are cut, encoders that come back, two that want the same name, a standby.
#![cfg(feature = "engine")]

mod support;

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use inrush::hub::Identity;
use inrush::runtime::outside::{Admission, Grant, News, Notify, Question, Verdict};
use inrush::runtime::{self, App, NameHasher, Outside, RuntimeSettings};
use support::client::{Client, Event, Recording};
use support::ffmpeg::{self, Generation};
use support::flv::{Kind, Tag};
use support::live::Live;
use support::media::H264_AAC;
use support::namespaces::Link;
use support::packets::{Clock, Defect, Packet, Role, gapless_run};
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers, stamp};
use support::tls::Tls;
use support::{PATIENCE, wait_until};

const BAD_NAME: &str = "NetStream.Publish.BadName";
const START: &str = "NetStream.Publish.Start";

/// The second publisher's messages are numbered from here on: a key frame.
const SECOND: u64 = 1_000_000;

/// A key frame each second.
fn pattern() -> Pattern {
    Pattern::with_bits_per_second(400_000)
}

/// The headers of every synthetic stream: read once, since all tests wait for them.
fn headers() -> &'static [Tag] {
    static HEADERS: OnceLock<Vec<Tag>> = OnceLock::new();
    HEADERS.get_or_init(|| sequence_headers(&H264_AAC.media()))
}

/// Two cores, so that players sit at home and elsewhere, and these keys for all apps.
fn server(keys: &str) -> Server {
    Inrush::new().cores(2).config(&format!("[[app]]\nname = \"*\"\n{keys}\n")).start()
}

fn connect(address: SocketAddr) -> Client {
    Client::open(address).connect("live")
}

/// Publishes media from this number on.
fn publish(address: SocketAddr, name: &str, from: u64) -> Live {
    Live::start(connect(address).publish(name), headers(), &pattern(), from)
}

/// Players on whichever cores, who record until the broadcast is over.
fn players(server: &Server, name: &str) -> Vec<Recording> {
    let play = |_| connect(server.rtmp()).play(name).record_in_background();
    let players = (0..3).map(play).collect();
    server.wait_for_players("live", name, 3);
    players
}

/// Waits until a publisher has sent so many messages more.
fn sends(live: &Live, count: u64) {
    let target = live.next() + count;
    wait_until("messages are sent", PATIENCE, || (live.next() >= target).then_some(()));
}

/// What a player saw of one publisher in one go.
#[derive(Debug)]
struct Part {
    first: u64,
    last: u64,
    /// Times of the first and the last message, ms.
    times: (u32, u32),
}

/// A player's broadcast, publisher by publisher. Checks what always holds: time goes on for sound and for pictures, each part is whole,
/// begins at a key frame, and comes with its headers first.
#[track_caller]
fn parts(tags: &[Tag]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut times = [None::<u32>; 2];
    let mut headers_seen = [false; 2];
    for tag in tags.iter().filter(|tag| tag.kind != Kind::Data) {
        let kind = usize::from(tag.kind == Kind::Video);
        let Some(stamp) = stamp(tag.kind, &tag.body) else {
            headers_seen[kind] = true;
            continue;
        };
        if let Some(before) = times[kind].replace(tag.timestamp) {
            let step = tag.timestamp.wrapping_sub(before) as i32;
            assert!(step >= 0, "time steps back by {step} ms at message {}", stamp.number);
        }
        match parts.last_mut().filter(|part| part.last + 1 == stamp.number) {
            Some(part) => (part.last, part.times.1) = (stamp.number, tag.timestamp),
            None => {
                assert!(stamp.key, "message {} begins a part, after {parts:?}", stamp.number);
                assert_eq!(headers_seen, [true; 2], "headers before message {}", stamp.number);
                let times = (tag.timestamp, tag.timestamp);
                parts.push(Part { first: stamp.number, last: stamp.number, times });
            }
        }
        if parts.last().is_some_and(|part| part.last == stamp.number && part.first != stamp.number) {
            headers_seen = [false; 2];
        }
    }
    parts
}

fn refused(server: &Server, kind: &str) -> u64 {
    server.metrics().of_kind("publish_refused", kind)
}

/// An encoder that is killed and started again within the grace: players stay, hear nothing, and go on.
#[test]
fn players_stay_while_an_encoder_is_started_again() {
    let server = server("");
    let first = publish(server.rtmp(), "again", 0);
    let players = players(&server, "again");
    sends(&first, 60);
    let (client, _) = first.pause();
    // No word of farewell.
    drop(client);
    let absent = wait_until("the publisher is missed", PATIENCE, || {
        server.streams().into_iter().find(|stream| stream["absent"] == true)
    });
    assert!(absent["publisher"].is_null() && absent["subscribers"] == 3, "{absent}");
    let second = publish(server.rtmp(), "again", SECOND);
    sends(&second, 60);
    let stream = server.streams().remove(0);
    assert_eq!((&stream["absent"], &stream["discontinuities"]), (&false.into(), &1.into()), "{stream}");
    second.pause().0.unpublish();
    for player in players {
        let parts = parts(&player.tags());
        let [old, new] = &parts[..] else { panic!("{parts:?}") };
        assert!(old.first < SECOND && new.first == SECOND, "{parts:?}");
    }
    let metrics = wait_until("it is counted", PATIENCE, || {
        let metrics = server.metrics();
        (metrics.counter("discontinuities") == 1).then_some(metrics)
    });
    assert_eq!((metrics.counter("graces"), metrics.counter("graces_resumed")), (1, 1));
    wait_until("nothing is left of the stream", PATIENCE, || server.streams().is_empty().then_some(()));
}

/// Nobody comes back: the players are told when the grace is over.
#[test]
fn a_grace_ends() {
    let server = server("grace_ms = 500");
    let first = publish(server.rtmp(), "gone", 0);
    let players = players(&server, "gone");
    sends(&first, 20);
    drop(first.pause());
    for player in players {
        assert_eq!(parts(&player.tags()).len(), 1);
    }
    let expired = || server.metrics().counter("graces_expired") == 1;
    wait_until("it is counted", PATIENCE, || expired().then_some(()));
}

/// Under `reject` an encoder that lives keeps its stream, and does not notice that another one came.
#[test]
fn a_second_encoder_is_refused() {
    let server = server("");
    let first = publish(server.rtmp(), "mine", 0);
    let players = players(&server, "mine");
    let mut second = connect(server.rtmp());
    assert_eq!(second.request_publish("mine").code, BAD_NAME);
    assert!(second.wait_for_close(PATIENCE));
    sends(&first, 20);
    assert_eq!(refused(&server, "already_publishing"), 1);
    first.pause().0.unpublish();
    for player in players {
        let parts = parts(&player.tags());
        assert_eq!(parts.len(), 1, "{parts:?}");
    }
}

/// Under `newest` a second encoder takes over: the first one is told, players go on.
#[test]
fn the_newest_encoder_takes_over() {
    let server = server("takeover = \"newest\"");
    let first = publish(server.rtmp(), "newest", 0);
    let players = players(&server, "newest");
    sends(&first, 30);
    let second = publish(server.rtmp(), "newest", SECOND);
    let (_, ended) = first.closed();
    let status = ended.status.expect("it is told why");
    assert_eq!((status.code.as_str(), status.level.as_str()), (BAD_NAME, "error"), "{status:?}");
    sends(&second, 60);
    second.pause().0.unpublish();
    for player in players {
        let parts = parts(&player.tags());
        let [old, new] = &parts[..] else { panic!("{parts:?}") };
        assert!(old.first < SECOND && new.first == SECOND, "{parts:?}");
        assert!(new.times.0.wrapping_sub(old.times.1) < 5_000, "{parts:?}");
    }
    assert_eq!(server.metrics().of_kind("close_reason", "replaced"), 1);
}

/// Two encoders under `newest` that both come back whenever they are closed: after so many takeovers one of them stays.
#[test]
fn two_encoders_that_come_back_settle() {
    let server = server("takeover = \"newest\"\ntakeover_tenure_ms = 200\ntakeover_flaps_max = 3");
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = support::SetOnDrop(&over);
        for from in [0, SECOND] {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut client = connect(server.rtmp());
                    if client.request_publish("both").code == START {
                        let live = Live::start(client, headers(), &pattern(), from);
                        while live.is_running() && !over.load(std::sync::atomic::Ordering::Relaxed) {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                }
            });
        }
        wait_until("one of them is refused again and again", PATIENCE, || {
            (refused(&server, "flapping") >= 3).then_some(())
        });
        let holder = || server.streams()[0]["publisher"].clone();
        let (before, refused_before) = (holder(), refused(&server, "flapping"));
        wait_until("it goes on being refused", PATIENCE, || {
            (refused(&server, "flapping") >= refused_before + 3).then_some(())
        });
        assert_eq!(holder(), before, "the other one stays");
        assert_eq!(server.metrics().counter("takeovers_newest"), 3);
    });
}

/// Where media has to match, one that does not is closed with a word why, and the one on the air stays; one that does takes over.
#[test]
fn an_encoder_with_other_media_is_refused() {
    let server = server("takeover = \"newest\"\nmismatch = \"refuse\"\ntakeover_tenure_ms = 0");
    let first = publish(server.rtmp(), "match", 0);
    let players = players(&server, "match");
    sends(&first, 30);
    // Pictures alone, and of another codec: H.263 has no headers.
    let mut other = connect(server.rtmp()).publish("match");
    let body = [&[0x12][..], &[0x55; 40]].concat();
    other.send_tag(&Tag { kind: Kind::Video, timestamp: 0, body });
    let status = other.wait_for_status();
    assert_eq!((status.code.as_str(), status.level.as_str()), ("NetStream.Publish.Denied", "error"));
    assert!(status.description.contains("codecs or tracks"), "{status:?}");
    assert!(other.wait_for_close(PATIENCE));
    sends(&first, 30);
    let second = publish(server.rtmp(), "match", SECOND);
    first.closed();
    sends(&second, 30);
    second.pause().0.unpublish();
    for player in players {
        let parts = parts(&player.tags());
        assert_eq!(parts.iter().map(|part| part.first >= SECOND).collect::<Vec<_>>(), [false, true]);
    }
    assert_eq!(server.metrics().counter("mismatches_refused"), 1);
}

/// The standby goes on at its next key frame when the first encoder dies, and that one, back again, stands by.
#[test]
fn a_standby_goes_on_within_a_gop() {
    let server = server("standby = true");
    let first = publish(server.rtmp(), "backup", 0);
    let players = players(&server, "backup");
    let second = publish(server.rtmp(), "backup", SECOND);
    sends(&second, 30);
    let standbys = server.connections_of("standby", "live", "backup");
    assert_eq!(standbys.len(), 1, "{:?}", server.connections());
    assert_eq!(server.streams()[0]["standby"], standbys[0]["id"]);
    sends(&first, 30);
    let (client, _) = first.pause();
    let died = second.next();
    client.socket().shutdown(Shutdown::Both).expect("shut a socket");
    drop(client);
    wait_until("the standby goes on", PATIENCE, || {
        server.connections_of("standby", "live", "backup").is_empty().then_some(())
    });
    sends(&second, 80);
    let third = publish(server.rtmp(), "backup", 2 * SECOND);
    sends(&third, 30);
    assert_eq!(server.connections_of("standby", "live", "backup").len(), 1, "who is back stands by");
    second.pause().0.unpublish();
    sends(&third, 80);
    third.pause().0.unpublish();
    // A GOP is 50 messages, sound and pictures.
    for player in players {
        let parts = parts(&player.tags());
        let [old, new, last] = &parts[..] else { panic!("{parts:?}") };
        assert!(old.first < SECOND && last.first >= 2 * SECOND, "{parts:?}");
        let waited = new.first - died;
        println!("the standby went on {waited} messages, {} ms, after the death", new.times.0 - old.times.1);
        assert!(waited <= 100, "not at its first key frame after the death: {waited}");
    }
    wait_until("it is counted", PATIENCE, || (server.metrics().counter("failovers") == 2).then_some(()));
}

/// A network is cut without a word, and its encoder is back from another address after 1, 3, 8 and 20 seconds. It is never refused; and
/// while the stream is kept, players see one gap in a timeline that goes on.
#[test]
fn an_encoder_whose_network_was_cut_comes_back() {
    std::thread::scope(|scope| {
        for away_s in [1, 3, 8, 20] {
            scope.spawn(move || comes_back_after(Duration::from_secs(away_s)));
        }
    });
}

fn comes_back_after(away: Duration) {
    let link = Link::new();
    let elsewhere = link.another_client();
    let server = Inrush::new().cores(2).namespace(&link.server).rtmp(format!("{}:0", Link::SERVER)).start();
    let socket = || TcpStream::connect(server.rtmp());
    let first = Client::over(link.client.enter(socket).expect("connect over the link")).connect("live");
    let first = Live::start(first.publish("cut"), headers(), &pattern(), 0);
    let player = Client::over(link.server.enter(socket).expect("connect inside")).connect("live").play("cut");
    server.wait_for_players("live", "cut", 1);
    sends(&first, 50);
    let player = player.record_in_background();
    link.cut();
    let cut = Instant::now();
    std::thread::sleep(away);
    let socket = elsewhere.enter(socket).expect("connect over the other link");
    let mut second = Client::over(socket).connect("live");
    let status = second.request_publish("cut");
    println!("{away:?} after the cut: {} after {:?}", status.code, cut.elapsed() - away);
    assert_eq!(status.code, START, "{}", status.description);
    let second = Live::start(second, headers(), &pattern(), SECOND);
    sends(&second, 80);
    second.pause().0.unpublish();
    let (player, tags) = player.finish_tags();
    let parts = parts(&tags);
    if away < Duration::from_secs(15) {
        let [old, new] = &parts[..] else { panic!("{away:?}: {parts:?}") };
        assert!(new.first == SECOND, "{parts:?}");
        let gap = new.times.0.wrapping_sub(old.times.1);
        println!("{away:?}: a gap of {gap} ms in the player's timeline");
        assert!(u128::from(gap) + 1_000 >= away.as_millis(), "the gap is as long as it was: {gap} ms");
        assert_eq!(server.metrics().counter("discontinuities"), 1);
    } else {
        assert_eq!(parts.len(), 1, "the stream has ended by then: {parts:?}");
    }
    drop((player, first));
}

/// Publishers say their own rank, and whose they are, in the query.
struct ByQuery;

impl Admission for ByQuery {
    fn ask(&self, question: Question) -> Option<Verdict> {
        let (name, priority) = question.facts.params.split_once('=').unwrap_or_default();
        let grant = Grant {
            identity: Some(Identity(name.into())),
            priority: priority.parse().unwrap_or_default(),
            ..Grant::default()
        };
        Some(Verdict::Allow(grant))
    }
}

#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Notify for Diary {
    fn notify(&self, news: News) {
        let word = match news {
            News::StreamBegan { .. } => "stream began",
            News::StreamEnded { .. } => "stream ended",
            News::PublishBegan { .. } => "publish began",
            News::PublishEnded { .. } => "publish ended",
            _ => return,
        };
        self.0.lock().expect("nobody panics with it").push(word.to_owned());
    }
}

/// Under `priority` the higher one takes over and an equal one is refused; a stream's life encloses those of all its publishers.
#[test]
fn the_higher_priority_takes_over() {
    let mut app = App::default();
    app.settings.continuity.takeover = inrush::hub::TakeoverPolicy::Priority;
    app.settings.continuity.grace_ms = 200;
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    let settings = RuntimeSettings { listen, cores: 2, apps: vec![app], ..RuntimeSettings::default() };
    let diary = Diary::default();
    let outside = Outside { admission: Arc::new(ByQuery), notify: Arc::new(diary.clone()) };
    let engine = runtime::start(settings, NameHasher::random(), outside).expect("start an engine");
    let address = engine.addresses()[0];
    let first = publish(address, "ranked?one=5", 0);
    let mut equal = connect(address);
    let status = equal.request_publish("ranked?two=5");
    assert_eq!(status.code, BAD_NAME);
    assert!(status.description.contains("priority"), "{status:?}");
    let second = publish(address, "ranked?three=6", SECOND);
    assert!(first.closed().1.closed);
    sends(&second, 20);
    drop(second.pause());
    let wanted = "stream began, publish began, publish began, publish ended, publish ended, stream ended";
    wait_until("the stream is over", PATIENCE, || {
        let told = diary.0.lock().expect("nobody panics with it").join(", ");
        (told.ends_with("stream ended")).then(|| assert_eq!(told, wanted))
    });
    engine.handle().drain();
    assert_eq!(engine.join(), runtime::Report::default());
}

/// A newcomer that waits for a ghost costs nobody anything: it may leave, and one that comes later waits in its stead.
#[test]
fn newcomers_that_wait_are_few() {
    let server = server("yield_silent_ms = 3000");
    // It has stopped sending, and its connection stays.
    let (ghost, _) = publish(server.rtmp(), "ghost", 0).pause();
    let ask = || {
        let mut client = connect(server.rtmp());
        std::thread::spawn(move || (client.request_publish("ghost").code, client))
    };
    let held = |count| {
        wait_until("a newcomer waits", PATIENCE, || {
            (server.metrics().counter("publishes_held") == count).then_some(())
        })
    };
    let first = ask();
    held(1);
    let second = ask();
    held(2);
    assert_eq!(first.join().expect("no panic").0, BAD_NAME);
    let (code, client) = second.join().expect("no panic");
    assert_eq!(code, START);
    let mut ghost = ghost;
    let status = ghost.wait_for_status();
    assert_eq!(status.code, BAD_NAME);
    assert_eq!(refused(&server, "turned_away"), 1);
    wait_until("it is counted", PATIENCE, || {
        (server.metrics().counter("takeovers_silent") == 1).then_some(())
    });
    client.unpublish();
}

/// A newcomer that has waited until the holder said goodbye begins another broadcast, which is forwarded like any other.
#[test]
fn what_a_newcomer_begins_is_forwarded() {
    let origin = Inrush::new().start();
    let target =
        format!("[[target]]\nurl = \"rtmp://{}/{{app}}/{{name}}\"\nbackoff_ms_min = 100\n", origin.rtmp());
    let edge = Inrush::new().cores(2).config(&target).start();
    let (first, _) = publish(edge.rtmp(), "next", 0).pause();
    let mut player = connect(origin.rtmp()).play("next");
    let mut second = connect(edge.rtmp());
    let second = std::thread::spawn(move || (second.request_publish("next").code, second));
    wait_until("a newcomer waits", PATIENCE, || {
        (edge.metrics().counter("publishes_held") == 1).then_some(())
    });
    first.unpublish();
    let (code, second) = second.join().expect("no panic");
    assert_eq!(code, START);
    let second = Live::start(second, headers(), &pattern(), SECOND);
    player.wait_for("the target has it", |event| match event {
        Event::Media(tag) => stamp(tag.kind, &tag.body).filter(|stamp| stamp.number >= SECOND),
        _ => None,
    });
    assert_eq!(edge.metrics().counter("takeovers_silent"), 0);
    second.pause().0.unpublish();
}

/// The same over TLS: an encoder that comes back waits for its ghost, and players go on, over TLS and without.
#[test]
fn an_encoder_comes_back_over_tls() {
    let server = Inrush::new().rtmps().args(&["--rtmps-self-signed"]).cores(2).start();
    let tls = Tls::new();
    let open = || Client::open_tls(server.rtmps(), &tls).connect("live");
    let first = Live::start(open().publish("sealed"), headers(), &pattern(), 0);
    let players = [open(), connect(server.rtmp())].map(|client| client.play("sealed").record_in_background());
    server.wait_for_players("live", "sealed", 2);
    sends(&first, 60);
    // It has stopped sending, and its connection stays.
    let ghost = first.pause();
    let second = Live::start(open().publish("sealed"), headers(), &pattern(), SECOND);
    sends(&second, 60);
    second.pause().0.unpublish();
    for player in players {
        let parts = parts(&player.tags());
        let [old, new] = &parts[..] else { panic!("{parts:?}") };
        assert!(old.first < SECOND && new.first == SECOND, "{parts:?}");
        assert!(new.times.0.wrapping_sub(old.times.1) >= 1_900, "the gap is as long as it was: {parts:?}");
    }
    assert_eq!(server.metrics().counter("takeovers_silent"), 1);
    drop(ghost);
}

/// ffmpeg is killed and started again within the grace. ffmpeg as a player has one file of it: what came until then, and then all of the
/// second run, in a timeline that goes on.
#[test]
fn ffmpeg_plays_through_the_death_of_ffmpeg() {
    let server = server("");
    let media = H264_AAC.media();
    let url = server.url("live", "killed");
    let first = ffmpeg::Publisher::start(Generation::Five, &media, &url);
    server.wait_for_publisher("live", "killed");
    let player = ffmpeg::play(Generation::Five, &url);
    server.wait_for_players("live", "killed", 1);
    let received = || server.connections_of("publisher", "live", "killed")[0]["bytes_in"].as_u64();
    let began = received();
    wait_until("it has sent for a while", PATIENCE, || {
        (received() > began.map(|bytes| bytes + 200_000)).then_some(())
    });
    first.kill();
    wait_until("it is missed", PATIENCE, || {
        server.streams().iter().any(|stream| stream["absent"] == true).then_some(())
    });
    ffmpeg::Publisher::start(Generation::Five, &media, &url).finish();
    let packets = player.finish().packets;

    let start = media.packets.iter().find(|packet| packet.track == Kind::Video && packet.role == Role::Key);
    let start = start.expect("a key frame");
    // The first run may have been joined at its very start, too.
    let is_start = |packet: &Packet| (packet.role, packet.checksum) == (start.role, start.checksum);
    let again = packets.iter().rfind(|packet| is_start(packet)).expect("the second run").timestamp;
    for track in [Kind::Video, Kind::Audio] {
        let of_track = packets.iter().filter(|packet| packet.track == track && packet.role != Role::Config);
        let times: Vec<_> = of_track.map(|packet| packet.timestamp).collect();
        let steps = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as i32);
        assert!(steps.clone().all(|step| step >= 0), "{track:?} steps back: {times:?}");
        assert_eq!(steps.filter(|step| *step > 150).count(), 1, "gaps of {track:?}: {times:?}");
    }
    let is_of_second = |packet: &Packet| packet.timestamp.wrapping_sub(again) as i32 >= -100;
    let (mut second, first): (Vec<_>, Vec<_>) = packets.into_iter().partition(is_of_second);
    println!("{} packets, and {} of the second run", first.len(), second.len());
    let first = gapless_run(&media.packets, &first, Clock::Bits31);
    assert!(matches!(first, Err(Defect::CutShort { .. })), "{first:?}");
    let offset = again.wrapping_sub(start.timestamp);
    // They are the same ones, and ffmpeg writes them once.
    second.extend(media.packets.iter().filter(|packet| packet.role == Role::Config).cloned());
    second.iter_mut().for_each(|packet| packet.timestamp = packet.timestamp.wrapping_sub(offset));
    let run = gapless_run(&media.packets, &second, Clock::Bits31).expect("all of the second run");
    assert!(run.skipped <= 2, "more than sound that came before the first picture: {run:?}");
}
