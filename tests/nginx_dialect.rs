//! nginx-rtmp's callback dialect: the same calls as nginx-rtmp makes itself, what their answers do, and a back end that is away.
#![cfg(feature = "engine")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::back_end::{Answer, BackEnd, Request};
use support::client::{Client, Event, Status};
use support::ffmpeg::{self, Generation};
use support::media::VIDEO_ONLY;
use support::server::{Inrush, Server};
use support::{PATIENCE, wait_until};

const STARTED: &str = "NetStream.Publish.Start";
const DENIED: &str = "NetStream.Publish.Denied";

/// The calls that have a URL, by their keys here, which are directives there.
const ON: [&str; 7] =
    ["on_connect", "on_publish", "on_play", "on_update", "on_publish_done", "on_play_done", "on_done"];

/// What nginx-rtmp keeps of flashVer, bytes.
const NGINX_FLASHVER_BYTES_MAX: usize = 31;

fn value<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

/// A table of an app that asks this back end about everything.
fn table(app: &str, back_end: &BackEnd, more: &str) -> String {
    let urls = ON.map(|key| format!("{key} = \"{}\"\n", back_end.url(&format!("/{key}"))));
    format!("[[auth]]\napp = \"{app}\"\npublish = \"nginx\"\nplay = \"nginx\"\n{}{more}\n", urls.concat())
}

/// What a back end has heard: which URL, and what of whom. Order is that of arrival.
fn heard(back_end: &BackEnd) -> Vec<String> {
    let of = |request: &Request| {
        let form = request.form();
        let (call, name) = (value(&form, "call"), value(&form, "name"));
        let path = request.path.split('?').next().unwrap_or_default();
        format!("{path} {} {}", call.unwrap_or("?"), name.unwrap_or("-"))
    };
    back_end.requests().iter().map(of).collect()
}

#[track_caller]
fn wait_to_hear(back_end: &BackEnd, what: &str) {
    let what_for = format!("the back end hears {what:?}");
    wait_until(&what_for, PATIENCE, || heard(back_end).iter().any(|one| one == what).then_some(()));
}

/// Each call that a server makes while ffmpeg publishes with a query and our client plays with another: by who caused it, with its fields in
/// their order. What cannot be the same is masked.
fn calls_of(
    start: impl Fn(&BackEnd, &str) -> Server,
    method: &str,
) -> BTreeMap<String, Vec<(String, String)>> {
    let back_end = BackEnd::start(|_| Answer::Say(200, String::new()));
    let server = start(&back_end, method);
    let port = server.rtmp().port().to_string();
    let url = server.url("live", "test-1?user=a%2Fb&pass=c+d%26e");
    let publisher = ffmpeg::Publisher::start_endless_with(
        Generation::Five,
        &VIDEO_ONLY.media(),
        &url,
        &["-rtmp_swfurl", "http://h/p.swf?a=1&b=2"],
    );
    wait_to_hear(&back_end, "/on_update update_publish test-1");
    let properties = [("pageUrl", "http://h/page é".into()), ("swfUrl", "http://h/player.swf".into())];
    let mut player =
        Client::open(server.rtmp()).connect_with("live", &properties).0.play("test-1?viewer=1&q=x%20y");
    wait_until("the player's update comes", PATIENCE, || {
        while player.next_event(Duration::from_millis(1)).is_some() {}
        heard(&back_end).iter().any(|one| one == "/on_update update_play test-1").then_some(())
    });
    drop(player);
    wait_to_hear(&back_end, "/on_play_done play_done test-1");
    drop(publisher);
    wait_to_hear(&back_end, "/on_publish_done publish_done test-1");
    wait_until("both are done", PATIENCE, || {
        (heard(&back_end).iter().filter(|one| *one == "/on_done done test-1").count() == 2).then_some(())
    });
    let mut calls = BTreeMap::new();
    for request in back_end.requests() {
        let mut form = request.form();
        let is_player = value(&form, "swfurl").is_some_and(|it| it.contains("player"));
        let who = if is_player { "player" } else { "publisher" };
        for (name, value) in &mut form {
            match name.as_str() {
                "clientid" | "epoch" | "time" | "timestamp" => {
                    assert!(value.parse::<u64>().is_ok(), "{name} is a number: {value:?}");
                    *value = "NUMBER".into();
                }
                "tcurl" => *value = value.replace(&port, "PORT"),
                "flashver" => value.truncate(NGINX_FLASHVER_BYTES_MAX),
                _ => {}
            }
        }
        let call = value(&form, "call").unwrap_or_default().to_owned();
        let path = request.path.split('?').next().unwrap_or_default();
        calls.entry(format!("{who} {path} {call}")).or_insert(form);
    }
    calls
}

/// Field by field, over both methods: a back end cannot tell us from nginx-rtmp.
#[test]
fn the_calls_are_those_of_nginx_rtmp() {
    let nginx = |back_end: &BackEnd, method: &str| {
        let urls = ON.map(|key| format!("{key} {};\n", back_end.url(&format!("/{key}"))));
        Server::nginx_rtmp_with(&format!(
            "{}notify_method {method};\nnotify_update_timeout 200ms;",
            urls.concat()
        ))
    };
    let inrush = |back_end: &BackEnd, method: &str| {
        let more = format!("notify_method = \"{method}\"\nnotify_update_ms = 200");
        Inrush::new().cores(2).config(&table("live", back_end, &more)).start()
    };
    std::thread::scope(|scope| {
        for method in ["post", "get"] {
            let (theirs, ours) =
                (scope.spawn(move || calls_of(nginx, method)), scope.spawn(move || calls_of(inrush, method)));
            let theirs = theirs.join().expect("nginx-rtmp's calls");
            let mut ours = ours.join().expect("our calls");
            // There `connect` knows the query of the app alone; here it is asked when the stream's is known.
            for (call, form) in &mut ours {
                if call.ends_with(" connect") {
                    form.retain(|(name, _)| !["user", "pass", "viewer", "q"].contains(&name.as_str()));
                }
            }
            println!("{method}: {} calls", theirs.len());
            assert_eq!(
                theirs.len(),
                10,
                "two connects, publish, play, two updates, two ends, two dones: {theirs:#?}"
            );
            assert_eq!(ours, theirs, "{method}");
        }
    });
}

/// Asks to publish, and says what the answer is.
#[track_caller]
fn ask(server: &Server, app: &str, name: &str) -> Status {
    Client::open(server.rtmp()).connect(app).request_publish(name)
}

/// Yes, no and redirects of each question; and what is told of who was let in.
#[test]
fn answers_are_obeyed() {
    let target = Inrush::new().start();
    let forward = format!("rtmp://{}/live/there", target.rtmp());
    let location = forward.clone();
    let back_end = BackEnd::start(move |request| {
        let form = request.form();
        let moved = |to: &str| Answer::With(302, "Location", to.to_owned());
        let (call, app, name) = (value(&form, "call"), value(&form, "app"), value(&form, "name"));
        match (call.unwrap_or_default(), app.unwrap_or_default(), name.unwrap_or_default()) {
            ("connect", "shut", _) => Answer::Say(403, String::new()),
            ("connect", "old", _) => moved("live"),
            ("publish" | "play", _, "renamed") => moved("real/name"),
            ("publish", _, "forwarded") | ("play", _, "pulled") => moved(&location),
            ("publish" | "play", _, "refused") => Answer::Say(404, "<html>".into()),
            ("publish", _, "broken") => Answer::Say(500, String::new()),
            ("publish", _, "nonsense") => moved("http://elsewhere/name"),
            _ => Answer::Say(200, "ok".into()),
        }
    });
    let config = ["live", "shut", "old"].map(|app| table(app, &back_end, "")).concat()
        + &table("hashed", &back_end, "notify_relay_redirect = true")
        + &table("open", &back_end, "fail = \"open\"")
        + "[engine]\ndrain_seconds = 1\n";
    let server = Inrush::new().cores(2).config(&config).start();

    let renamed = Client::open(server.rtmp())
        .connect("live")
        .publish("renamed?key=s3cret&addr=192.0.2.1&a%64dr=x&call[]=y");
    assert_eq!(server.audience("live", "real/name"), (1, 0));
    let player = Client::open(server.rtmp()).connect("live").play("renamed");
    server.wait_for_players("live", "real/name", 1);
    let moved = Client::open(server.rtmp()).connect("old").publish("elsewhere");
    assert_eq!(server.audience("live", "elsewhere"), (1, 0));
    for (app, name, code) in [
        ("live", "refused", DENIED),
        ("live", "broken", DENIED),
        ("live", "nonsense", DENIED),
        ("shut", "anything", DENIED),
        ("open", "refused", DENIED),
        ("open", "broken", STARTED),
    ] {
        assert_eq!(ask(&server, app, name).code, code, "{app}/{name}");
    }
    let mut refused = Client::open(server.rtmp()).connect("live").play("refused");
    assert_eq!(refused.wait_for_status().code, "NetStream.Play.Failed");
    let forwarded = Client::open(server.rtmp()).connect("live").publish("forwarded");
    target.wait_for_publisher("live", "there");
    let pulled = Client::open(server.rtmp()).connect("live").play("pulled");
    target.wait_for_players("live", "there", 1);
    let pulls = server.pulls();
    assert_eq!((pulls.len(), pulls[0]["name"].as_str()), (1, Some("pulled")), "{pulls:?}");
    assert_eq!(pulls[0]["named_by"], "back_end", "{pulls:?}");
    drop((forwarded, pulled));
    let hashed = Client::open(server.rtmp()).connect("hashed").publish("forwarded");
    let md5 = <md5::Md5 as md5::Digest>::digest(&forward);
    let md5: String = md5.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(server.audience("hashed", &md5), (1, 0));
    drop((hashed, player));
    wait_to_hear(&back_end, "/on_done done forwarded");
    renamed.unpublish();
    moved.unpublish();
    for what in [
        "/on_publish_done publish_done renamed",
        "/on_done done elsewhere",
        "/on_play_done play_done renamed",
    ] {
        wait_to_hear(&back_end, what);
    }
    wait_until("publisher and player of one name are done", PATIENCE, || {
        (heard(&back_end).iter().filter(|one| *one == "/on_done done renamed").count() == 2).then_some(())
    });

    // Updates and ends tell what was asked for, by the app that it has become; no query stands for a field; each question had its own call.
    let requests = back_end.requests();
    let published = requests
        .iter()
        .map(Request::form)
        .find(|form| value(form, "call") == Some("publish") && value(form, "name") == Some("renamed"));
    let published = published.expect("it was asked about");
    let values = |name: &str| published.iter().filter(|(found, _)| found == name).count();
    assert_eq!(
        (value(&published, "addr"), values("addr"), values("call")),
        (Some("127.0.0.1"), 1, 1),
        "{published:?}"
    );
    assert_eq!((value(&published, "key"), values("call[]")), (Some("s3cret"), 0));
    // The player of that name has an end of its own.
    let publisher = value(&published, "clientid");
    let place = |call: &str| {
        let is_it = |form: &Vec<_>| value(form, "call") == Some(call) && value(form, "clientid") == publisher;
        requests.iter().map(Request::form).position(|form| is_it(&form)).expect("it was told")
    };
    let (first, second) = (place("publish_done"), place("done"));
    assert!(first < second, "{first} {second}");
    let done = requests
        .iter()
        .map(Request::form)
        .find(|form| value(form, "call") == Some("publish_done") && value(form, "name") == Some("elsewhere"));
    assert_eq!(value(&done.expect("it was told"), "app"), Some("live"));
    let metrics = server.metrics();
    let calls = |labels: &[(&str, &str)]| metrics.sum("inrush_nginx_calls_total", labels);
    assert_eq!(calls(&[("table", "shut"), ("call", "connect"), ("result", "refused")]), 1);
    assert_eq!(calls(&[("table", "shut"), ("call", "publish")]), 0, "it was refused before");
    assert_eq!(calls(&[("table", "live"), ("call", "publish"), ("result", "redirected")]), 3);
    let outcome =
        |outcome| metrics.sum("inrush_auth_decisions_total", &[("source", "nginx"), ("outcome", outcome)]);
    assert_eq!((outcome("nginx_denied"), outcome("back_end_failed")), (4, 2));

    // What ends with the process is told too.
    let stays = Client::open(server.rtmp()).connect("live").publish("stays");
    let stopped = server.stop();
    drop(stays);
    wait_to_hear(&back_end, "/on_publish_done publish_done stays");
    assert!(!(stopped.stdout + &stopped.stderr).contains("s3cret"), "a query shows in the log");
}

/// An update that is answered with no ends that session and tells its encoder; one that is not answered ends nothing.
#[test]
fn updates_end_one_session_and_a_dead_back_end_ends_none() {
    let back_end = BackEnd::start(|_| Answer::Say(200, String::new()));
    let mut config = table("live", &back_end, "notify_update_ms = 100");
    config += "[[auth]]\napp = \"strict\"\npublish = \"nginx\"\nnotify_update_ms = 100\nnotify_update_strict = true\n";
    config +=
        &format!("on_update = \"{}\"\n[deadlines]\nfirst_media_seconds = 120\n", back_end.url("/strict"));
    let server = Inrush::new().cores(2).config(&config).start();
    let mut publishers =
        ["a", "b", "c"].map(|name| Client::open(server.rtmp()).connect("live").publish(name));
    let mut strict = Client::open(server.rtmp()).connect("strict").publish("s");
    let players = ["a", "b"].map(|name| Client::open(server.rtmp()).connect("live").play(name));
    for name in ["a", "b"] {
        wait_to_hear(&back_end, &format!("/on_update update_publish {name}"));
        wait_to_hear(&back_end, &format!("/on_update update_play {name}"));
    }
    wait_to_hear(&back_end, "/strict update_publish s");
    // A redirect and a proxy without a back end let go on who is not strict; a no is for the publisher of `b` alone.
    back_end.change_mind(|request| {
        let form = request.form();
        match (request.path.as_str(), value(&form, "call"), value(&form, "name")) {
            ("/on_update", Some("update_publish"), Some("b")) => Answer::Say(403, String::new()),
            ("/strict", ..) => Answer::With(302, "Location", "/".into()),
            ("/on_update", _, Some("a")) => Answer::Say(503, String::new()),
            ("/on_update", _, Some("c")) => Answer::With(302, "Location", "/".into()),
            _ => Answer::Say(200, String::new()),
        }
    });
    for ended in [&mut publishers[1], &mut strict] {
        let status = ended.wait_for_status();
        assert_eq!(
            (status.level.as_str(), status.code.as_str(), status.description.as_str()),
            (
                "error",
                "NetConnection.Connect.Closed",
                "this is allowed no longer: the back end has ended the session"
            )
        );
        assert!(ended.wait_for_close(PATIENCE));
    }
    wait_to_hear(&back_end, "/on_publish_done publish_done b");
    let asked = heard(&back_end).len();
    wait_until("many more updates are made", PATIENCE, || {
        (heard(&back_end).len() > asked + 20).then_some(())
    });
    assert_eq!(
        ["a", "b", "c"].map(|name| server.audience("live", name)),
        [(1, 1), (0, 1), (1, 0)],
        "nobody else has ended"
    );

    // Gone: connections are refused.
    drop(back_end);
    let no_answer = || {
        server
            .metrics()
            .sum("inrush_nginx_calls_total", &[("call", "update_publish"), ("result", "no_answer")])
    };
    wait_until("many updates have no answer", PATIENCE, || (no_answer() > 10).then_some(()));
    assert_eq!(["a", "c"].map(|name| server.audience("live", name)), [(1, 1), (1, 0)]);
    let mut publishers = publishers.into_iter();
    let mut a = publishers.next().expect("the first");
    let quiet = a.next_event(Duration::from_millis(200));
    assert!(!matches!(quiet, Some(Event::Closed | Event::Status(_))), "{quiet:?}");
    assert_eq!(server.metrics().sum("inrush_nginx_sessions_ended_total", &[]), 2);
    let lines = server.log().lines().filter(|line| line.contains("a back end does not answer")).count();
    assert!((1..=2).contains(&lines), "once a minute and table: {lines}");
    drop((a, publishers, players));
    wait_until("ends that nobody takes are dropped", PATIENCE, || {
        (server.metrics().sum("inrush_nginx_ends_dropped_total", &[]) == 4).then_some(())
    });
    assert_eq!(server.metrics().sum("inrush_nginx_sessions", &[]), 0);
}
