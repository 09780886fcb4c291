//! Health codes: each is caused, and seen to begin and to end in the API, in the notices, in the log and in the metrics; nobody else is told of.
#![cfg(feature = "engine")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use inrush::media::health::{Code, JUDGED_EVERY, Terms};
use serde_json::Value;

use support::back_end::{Answer, BackEnd};
use support::client::Client;
use support::flv::{Kind, Tag};
use support::live::Live;
use support::media::H264_AAC;
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::{PATIENCE, wait_until};

/// What a machine that is busy may add to a time that the engine states: sweeps come late then.
const BUSY: Duration = Duration::from_secs(5);

/// A server with two cores, and the back end that it tells.
fn server() -> (Server, BackEnd) {
    let back_end = BackEnd::start(|_| Answer::Say(204, String::new()));
    let config = format!("[engine]\ndrain_seconds = 1\n[notify]\nurl = \"{}\"\n", back_end.url("/told"));
    (Inrush::new().cores(2).config(&config).start(), back_end)
}

fn headers() -> &'static [Tag] {
    static HEADERS: OnceLock<Vec<Tag>> = OnceLock::new();
    HEADERS.get_or_init(|| sequence_headers(&H264_AAC.media()))
}

fn client(server: &Server, name: &str) -> Client {
    Client::open(server.rtmp()).connect("live").publish(name)
}

fn publish(server: &Server, name: &str, pattern: &Pattern) -> Live {
    Live::start(client(server, name), headers(), pattern, 0)
}

/// What was told of a stream: event, code and state.
fn told(back_end: &BackEnd, name: &str) -> Vec<Value> {
    let events = back_end.requests().into_iter().flat_map(|request| match request.json()["events"].take() {
        Value::Array(events) => events,
        other => panic!("no list of events: {other}"),
    });
    events.filter(|event| event["name"] == name && event["event"] != "publish").collect()
}

/// The same as words.
fn words(back_end: &BackEnd, name: &str) -> Vec<String> {
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let word = |event: &Value| match text(event, "event").as_str() {
        "health" => format!("{} {}", text(event, "code"), text(event, "state")),
        other => other.to_owned(),
    };
    told(back_end, name).iter().map(word).collect()
}

/// The codes that a stream shows in the API.
fn shown(server: &Server, name: &str) -> Vec<String> {
    let streams = server.streams();
    let stream = streams.iter().find(|stream| stream["name"] == name).expect("it is published");
    let codes = stream["health"].as_array().expect("a list");
    codes.iter().map(|code| code["code"].as_str().expect("text").to_owned()).collect()
}

/// The lines of the log that say this of a stream.
fn logged(server: &Server, name: &str, message: &str) -> Vec<String> {
    let streams = server.streams();
    let stream = streams.iter().find(|stream| stream["name"] == name).expect("it is published");
    let hash = stream["name_hash"].as_str().expect("text");
    let log = server.log();
    log.lines().filter(|line| line.contains(message) && line.contains(hash)).map(str::to_owned).collect()
}

/// Waits until a code holds for a stream, or no longer, wherever that is to be seen.
#[track_caller]
fn wait_for(server: &Server, back_end: &BackEnd, name: &str, code: &str, began: bool) {
    let (state, message, holding) = match began {
        true => ("began", "unhealthy", vec![code.to_owned()]),
        false => ("ended", "healthy again", Vec::new()),
    };
    wait_until(&format!("{code} of {name} has {state}"), PATIENCE, || {
        let is_shown = shown(server, name) == holding;
        let is_told = words(back_end, name).contains(&format!("{code} {state}"));
        let is_logged = logged(server, name, message).iter().any(|line| line.contains(code));
        (is_shown && is_told && is_logged).then_some(())
    });
}

/// Each code begins and ends with its cause, for the stream that has it and for no other, and with no other code; what holds for a publisher
/// ends with it.
#[test]
fn each_code_is_told_from_beginning_to_end() {
    let (server, back_end) = server();
    let pattern = Pattern::with_bits_per_second(200_000);
    let steady = publish(&server, "steady", &pattern);
    let slow = publish(&server, "slow", &Pattern { frame_ms: 1_000, gop_frames: 2, ..pattern.clone() });
    // Not a single picture: one would be missed.
    let radio = Live::start_without(client(&server, "radio"), Kind::Video, headers(), &pattern);
    let never_sends = client(&server, "never_sends");
    let causes = [
        (Code::Starving, "starves", &[Kind::Video, Kind::Audio][..]),
        (Code::NoVideo, "blind", &[Kind::Video]),
        (Code::NoAudio, "mute", &[Kind::Audio]),
    ]
    .map(|(code, name, kinds)| (code, name, kinds, publish(&server, name, &pattern)));
    for (.., live) in &causes {
        wait_until("it sends", PATIENCE, || (live.next() >= 20).then_some(()));
    }
    let withheld_at = Instant::now();
    let withhold = |withheld| {
        for (_, _, kinds, live) in &causes {
            kinds.iter().for_each(|kind| live.withhold(*kind, withheld));
        }
    };
    withhold(true);
    wait_for(&server, &back_end, "never_sends", "starving", true);
    for (code, name, ..) in &causes {
        wait_for(&server, &back_end, name, code.label(), true);
    }
    println!("all have begun after {:?}", withheld_at.elapsed());
    wait_until("they are counted", PATIENCE, || {
        let metrics = server.metrics();
        let count = |code| metrics.sum("inrush_streams_unhealthy", &[("code", code)]);
        ((count("starving"), count("no_video"), count("no_audio")) == (2, 1, 1)).then_some(())
    });
    let back_at = Instant::now();
    withhold(false);
    never_sends.unpublish();
    for (code, name, ..) in &causes {
        wait_for(&server, &back_end, name, code.label(), false);
    }
    println!("all have ended after {:?}", back_at.elapsed());
    wait_until("its end is told", PATIENCE, || {
        words(&back_end, "never_sends").contains(&"publish_done".into()).then_some(())
    });
    assert_eq!(words(&back_end, "never_sends"), ["starving began", "starving ended", "publish_done"]);
    for (code, name, ..) in &causes {
        let label = code.label();
        assert_eq!(words(&back_end, name), [format!("{label} began"), format!("{label} ended")]);
        let Terms { begins_after, ends_after } = code.terms();
        let seconds: Vec<_> =
            told(&back_end, name).iter().map(|event| event["seconds"].as_f64().expect("a number")).collect();
        println!("{label}: began after {} s, held for {} s", seconds[0], seconds[1]);
        let began = Duration::from_secs_f64(seconds[0]);
        assert!((begins_after..begins_after + JUDGED_EVERY + BUSY).contains(&began), "{label}: {began:?}");
        assert!(Duration::from_secs_f64(seconds[1]) >= ends_after, "{label}: {seconds:?}");
        for message in ["unhealthy", "healthy again"] {
            assert_eq!(logged(&server, name, message).len(), 1, "{label}: {message}");
        }
    }
    for (name, live) in [("steady", &steady), ("slow", &slow), ("radio", &radio)] {
        assert!(live.is_running(), "{name}");
        assert_eq!((words(&back_end, name), shown(&server, name)), (Vec::new(), Vec::new()), "{name}");
        assert_eq!(logged(&server, name, "healthy"), [""; 0], "{name}");
    }
    let metrics = wait_until("nothing is wrong any more", PATIENCE, || {
        let metrics = server.metrics();
        (metrics.sum("inrush_streams_unhealthy", &[]) == 0).then_some(metrics)
    });
    let began = |code| metrics.sum("inrush_health_events_total", &[("code", code)]);
    assert_eq!((began("starving"), began("no_video"), began("no_audio")), (2, 1, 1));
}

/// What a stream does wrong while it is told to: changes a message before it is sent.
type Wrong = fn(&mut Tag, number: u64, ahead_ms: &mut u32, is_wrong: bool);

/// Each code of figures begins and ends with its cause, for the stream that has it and for no other, and with no other code.
#[test]
fn codes_of_figures_are_told_from_beginning_to_end() {
    let back_end = BackEnd::start(|_| Answer::Say(204, String::new()));
    let config = format!(
        "[engine]\ndrain_seconds = 1\n[notify]\nurl = \"{}\"\n[[app]]\nname = \"live\"\nwarn_gop_ms = 2000\n\
        warn_skew_ms = 300\nwarn_drift_ppm = 5000\nwarn_bits_per_second = 400000\n",
        back_end.url("/told")
    );
    let server = Inrush::new().cores(2).config(&config).start();
    let pattern = Pattern::with_bits_per_second(200_000);
    let steady = publish(&server, "steady", &pattern);
    let wrongs: [(Code, Wrong); 5] = [
        (Code::GopTooLong, |tag, _, _, is_wrong| {
            if is_wrong && tag.kind == Kind::Video && tag.body[0] == 0x17 {
                tag.body[0] = 0x27;
            }
        }),
        // By a tenth; later the sound's clock is set right.
        (Code::AvDrift, |tag, _, ahead_ms, is_wrong| {
            if tag.kind == Kind::Audio {
                *ahead_ms = if is_wrong { *ahead_ms + 4 } else { 0 };
                tag.timestamp += *ahead_ms;
            }
        }),
        // Twice as fast, so that it soon shows when it goes right; then both clocks go on with what they have.
        (Code::ClockDrift, |tag, number, ahead_ms, is_wrong| {
            if is_wrong && number.is_multiple_of(2) {
                *ahead_ms += 40;
            }
            tag.timestamp += *ahead_ms;
        }),
        (Code::BitrateOverLimit, |tag, _, _, is_wrong| {
            if is_wrong && tag.kind == Kind::Video {
                tag.body.resize(tag.body.len() + 5_000, 0);
            }
        }),
        (Code::VariableFrameRate, |tag, number, _, is_wrong| {
            if is_wrong && tag.kind == Kind::Video && number.is_multiple_of(4) {
                tag.timestamp += 30;
            }
        }),
    ];
    let is_wrong = Arc::new(AtomicBool::new(true));
    let streams = wrongs.map(|(code, wrong)| {
        let (is_wrong, mut ahead_ms) = (Arc::clone(&is_wrong), 0);
        let alter = move |tag: &mut Tag, number: u64| {
            wrong(tag, number, &mut ahead_ms, is_wrong.load(Ordering::Relaxed));
        };
        (code, Live::start_altered(client(&server, code.label()), headers(), &pattern, 0, alter))
    });
    let wrong_at = Instant::now();
    for (code, _) in &streams {
        wait_for(&server, &back_end, code.label(), code.label(), true);
    }
    println!("all have begun after {:?}", wrong_at.elapsed());
    let right_at = Instant::now();
    is_wrong.store(false, Ordering::Relaxed);
    for (code, _) in &streams {
        wait_for(&server, &back_end, code.label(), code.label(), false);
    }
    println!("all have ended after {:?}", right_at.elapsed());
    for (code, live) in &streams {
        let label = code.label();
        assert!(live.is_running(), "{label}");
        assert_eq!(words(&back_end, label), [format!("{label} began"), format!("{label} ended")]);
        let seconds: Vec<_> =
            told(&back_end, label).iter().map(|event| event["seconds"].as_f64().expect("a number")).collect();
        println!("{label}: began after {} s, held for {} s", seconds[0], seconds[1]);
        let Terms { begins_after, ends_after } = code.terms();
        let began = Duration::from_secs_f64(seconds[0]);
        assert!((begins_after..begins_after + JUDGED_EVERY + BUSY).contains(&began), "{label}: {began:?}");
        assert!(Duration::from_secs_f64(seconds[1]) >= ends_after, "{label}: {seconds:?}");
    }
    assert!(steady.is_running());
    assert_eq!((words(&back_end, "steady"), shown(&server, "steady")), (Vec::new(), Vec::new()));
    assert_eq!(logged(&server, "steady", "healthy"), [""; 0]);
    let metrics = server.metrics();
    assert_eq!(metrics.sum("inrush_health_events_total", &[]), 5);
}

/// A server that stood still tells of nobody whose media lay in the socket all the while.
#[test]
fn a_server_that_stood_still_blames_nobody() {
    let (server, back_end) = server();
    let pattern = Pattern::with_bits_per_second(100_000);
    let names = ["a", "b", "c"];
    let publishers = names.map(|name| publish(&server, name, &pattern));
    let all_send = |count| {
        let targets = publishers.each_ref().map(|live| live.next() + count);
        wait_until("messages are sent", PATIENCE, || {
            publishers.iter().zip(targets).all(|(live, target)| live.next() >= target).then_some(())
        });
    };
    all_send(50);
    server.process().signal(libc::SIGSTOP);
    // Some 5 s: longer than anything begins after.
    let messages = 1 + 5_000 / u64::from(pattern.frame_ms / 2);
    all_send(messages);
    server.process().signal(libc::SIGCONT);
    let sent: u64 = publishers.iter().map(Live::next).sum();
    wait_until("what has come is read", PATIENCE, || {
        (server.metrics().counter("messages_in") >= sent).then_some(())
    });
    // Each is judged once more, and twice.
    all_send(110);
    for name in names {
        assert_eq!((words(&back_end, name), shown(&server, name)), (Vec::new(), Vec::new()), "{name}");
        assert_eq!(logged(&server, name, "healthy"), [""; 0], "{name}");
    }
    assert_eq!(server.metrics().sum("inrush_health_events_total", &[]), 0);
}
