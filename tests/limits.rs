//! Limits that a session is let in with, by its app, a key, a token or a back end: each ends the session that exceeds it, which is told why, and
//! no other.
#![cfg(feature = "engine")]

mod support;

use serde_json::{Value, json};

use support::back_end::{Answer, BackEnd};
use support::client::Client;
use support::credentials::{hs256, secret_file, sha256};
use support::live::Live;
use support::media::H264_AAC;
use support::server::Inrush;
use support::synthetic::{Pattern, sequence_headers, stamp};
use support::{PATIENCE, wait_until};

/// What each stream is let in with. They all send the same: 640x360, AVC and AAC, 25 frames a second, some 400 kbit/s.
fn limits_of(event: &str, name: &str) -> Value {
    match (event, name) {
        ("publish", "bits") => json!({"bits_per_second": 250_000}),
        ("publish", "frames") => json!({"frames_per_second": 20}),
        ("publish", "dry") => json!({"frames_per_second": 15}),
        ("publish", "wide") => json!({"width": 639, "height": 360}),
        ("publish", "high") => json!({"width": 640, "height": 359}),
        ("publish", "coded") => json!({"codecs": ["hvc1", "mp4a"]}),
        ("publish", "long") => json!({"seconds": 3}),
        ("publish", "within") => json!({
            "bits_per_second": 600_000, "frames_per_second": 30, "width": 640, "height": 360, "seconds": 3_600,
            "codecs": ["avc1", "mp4a"],
        }),
        // What says nothing to a player, and what does.
        ("play", "within") => json!({"bits_per_second": 1, "width": 1, "codecs": ["flv1"], "seconds": 3}),
        _ => json!({}),
    }
}

/// Every limit at once, on both cores: publishers move to the second one with what they are held to.
#[test]
fn each_limit_ends_its_session_and_no_other() {
    let back_end = BackEnd::start(|request| {
        let asked = request.json();
        let text = |field: &str| asked[field].as_str().unwrap_or_default().to_owned();
        let limits = limits_of(&text("event"), &text("name"));
        Answer::Say(200, json!({"limits": limits, "dry_run": text("name") == "dry"}).to_string())
    });
    let config = format!(
        "[[auth]]\napp = \"*\"\npublish = [\"callback\"]\nplay = [\"callback\"]\ncallback_url = \"{}\"\n",
        back_end.url("/ask")
    );
    let server = Inrush::new().cores(2).placement("core:1").config(&config).start();
    let headers = sequence_headers(&H264_AAC.media());
    let pattern = Pattern::with_bits_per_second(400_000);
    let publish = |name: &str| {
        let client = Client::open(server.rtmp()).connect("live").publish(name);
        Live::start(client, &headers, &pattern, 0)
    };
    let free = publish("free");
    let player = Client::open(server.rtmp()).connect("live").play("free").record_in_background();
    let within = publish("within");
    server.wait_for_publisher("live", "within");
    let mut watcher = Client::open(server.rtmp()).connect("live").play("within");

    let name_and_end = [
        ("wide", "limit_width", "the pictures are 640 pixels wide and may be 639"),
        ("high", "limit_height", "the pictures are 360 pixels high and may be 359"),
        ("coded", "limit_codecs", "this stream may not be coded in avc1"),
        ("long", "limit_seconds", "this session has lasted the 3 seconds that it may"),
        ("bits", "limit_bits_per_second", "bits a second and may have 250000"),
        ("frames", "limit_frames_per_second", "frames a second and may have 20"),
        ("dry", "limit_frames_per_second", "frames a second and may have 15"),
    ];
    let held = name_and_end.map(|(name, _, said)| (name, said, publish(name)));
    let told = watcher.wait_for("the player's time to be over", |event| match event {
        support::client::Event::Status(status) if status.level == "error" => Some(status),
        _ => None,
    });
    assert_eq!(told.code, "NetStream.Play.Failed", "{told:?}");
    assert_eq!(told.description, "this session has lasted the 3 seconds that it may");
    assert!(watcher.wait_for_close(PATIENCE));
    for (name, said, live) in held {
        let (_, ended) = live.closed();
        let status = ended.status.unwrap_or_else(|| panic!("{name} is not told why"));
        assert_eq!((status.level.as_str(), status.code.as_str()), ("error", "NetStream.Publish.Denied"));
        assert!(status.description.contains(said), "{name}: {}", status.description);
        wait_until(&format!("{name} is gone"), PATIENCE, || {
            server.streams().iter().all(|stream| stream["name"] != name).then_some(())
        });
    }
    // Those who keep to theirs, or have none, go on, and nobody was waited for.
    let next = [free.next(), within.next()];
    wait_until("the others go on", PATIENCE, || {
        (free.next() > next[0] + 25 && within.next() > next[1] + 25).then_some(())
    });
    assert!(free.is_running() && within.is_running());
    wait_until("each end is counted, the player's among those for their time", PATIENCE, || {
        let metrics = server.metrics();
        let ends = name_and_end.iter().map(|(_, label, _)| metrics.of_kind("close_reason", label));
        ends.eq([1, 1, 1, 2, 1, 2, 2]).then_some(())
    });
    assert_eq!(server.metrics().counter("graces"), 0);
    let (client, sent) = free.pause_at();
    client.unpublish();
    assert!(within.pause().1.status.is_none_or(|status| status.level != "error"));
    let (_, tags) = player.finish_tags();
    let numbers: Vec<_> =
        tags.iter().filter_map(|tag| stamp(tag.kind, &tag.body)).map(|it| it.number).collect();
    let first = *numbers.first().expect("it has played");
    assert!(numbers.iter().copied().eq(first..sent), "{} of the messages {first} to {sent}", numbers.len());
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("ends a session over its limit")).count();
    assert_eq!(lines, 8, "{log}");
}

/// What an app allows and what lets its sessions in hold together, on the core that the publisher moves to; the API shows what became of both.
#[test]
fn the_stricter_of_an_app_and_of_what_lets_in_holds() {
    let config = format!(
        "[[app]]\nname = \"*\"\nlimit_bits_per_second = 600000\nlimit_codecs = [\"avc1\", \"mp4a\", \"hvc1\"]\n\
         [[app]]\nname = \"narrow\"\nlimit_width = 639\n[[app]]\nname = \"thin\"\nlimit_bits_per_second = 250000\n\
         [[app]]\nname = \"short\"\nlimit_seconds = 2\n\
         [[auth]]\napp = \"*\"\n[[auth]]\napp = \"keys\"\npublish = [\"static\"]\n\
         [[auth]]\napp = \"tokens\"\npublish = [\"jwt\"]\njwt_algorithm = \"HS256\"\njwt_key = \"file:{}\"\n\
         [[key]]\nsha256 = \"{}\"\nlimit_height = 359\n[[key]]\nsha256 = \"{}\"\nlimit_bits_per_second = 9000000\nlimit_height = 360\n",
        secret_file(),
        sha256("low-s3cret"),
        sha256("fair-s3cret"),
    );
    let server = Inrush::new().cores(2).placement("core:1").config(&config).start();
    let headers = sequence_headers(&H264_AAC.media());
    let pattern = Pattern::with_bits_per_second(400_000);
    let publish = |app: &str, name: &str| {
        let client = Client::open(server.rtmp()).connect(app).publish(name);
        Live::start(client, &headers, &pattern, 0)
    };
    let token = |name: &str, limits: Value| {
        let token = hs256(&json!({"exp": 4_000_000_000_u64, "name": name, "limits": limits}));
        format!("{name}?jwt={token}")
    };
    let fair_key = publish("keys", "fair?key=fair-s3cret");
    let fair_token =
        publish("tokens", &token("fair", json!({"seconds": 3600, "codecs": ["mp4a", "avc1", "Opus"]})));
    let mut watcher = Client::open(server.rtmp()).connect("short").play("nothing");
    let ended = [
        ("narrow", "open".to_owned(), "the pictures are 640 pixels wide and may be 639"),
        ("keys", "low?key=low-s3cret".to_owned(), "the pictures are 360 pixels high and may be 359"),
        (
            "tokens",
            token("coded", json!({"codecs": ["hvc1", "mp4a"]})),
            "this stream may not be coded in avc1",
        ),
        ("tokens", token("nothing", json!({"codecs": ["Opus"]})), "this stream may not be coded in "),
        ("short", "open".to_owned(), "this session has lasted the 2 seconds that it may"),
        ("thin", "open".to_owned(), "bits a second and may have 250000"),
    ]
    .map(|(app, name, said)| (said, publish(app, &name)));
    for (said, live) in ended {
        let status = live.closed().1.status.unwrap_or_else(|| panic!("it is not told that {said}"));
        assert_eq!((status.level.as_str(), status.code.as_str()), ("error", "NetStream.Publish.Denied"));
        assert!(status.description.contains(said), "{said}: {}", status.description);
    }
    let told = watcher.wait_for("the player's time to be over", |event| match event {
        support::client::Event::Status(status) if status.level == "error" => Some(status),
        _ => None,
    });
    assert_eq!(told.description, "this session has lasted the 2 seconds that it may");
    let shown = |app: &str| {
        let streams = server.streams();
        let stream =
            streams.iter().find(|stream| stream["app"] == app).unwrap_or_else(|| panic!("{app} is gone"));
        stream["limits"].clone()
    };
    assert_eq!(
        shown("keys"),
        json!({"bits_per_second": 600_000, "frames_per_second": null, "width": null, "height": 360, "seconds": null,
            "codecs": ["avc1", "mp4a", "hvc1"]})
    );
    let limits = shown("tokens");
    assert_eq!((&limits["bits_per_second"], &limits["seconds"]), (&json!(600_000), &json!(3_600)));
    let mut codecs: Vec<_> =
        limits["codecs"].as_array().expect("codecs").iter().map(Value::to_string).collect();
    codecs.sort();
    assert_eq!(codecs, ["\"avc1\"", "\"mp4a\""]);
    assert!(fair_key.is_running() && fair_token.is_running());
}

/// Streams of an app and of a key, and connections of an app: on all cores together, and a seat is free again when whoever had it has gone.
#[test]
fn an_app_and_a_key_have_only_so_many_at_a_time() {
    let config = format!(
        "[[app]]\nname = \"few\"\nlimit_streams = 2\nlimit_connections = 4\ntakeover = \"newest\"\n\
         [[auth]]\napp = \"*\"\n[[auth]]\napp = \"keys\"\npublish = [\"static\"]\n\
         [[key]]\nsha256 = \"{}\"\nlimit_streams = 1\n[[key]]\nsha256 = \"{}\"\n",
        sha256("one-s3cret"),
        sha256("any-s3cret"),
    );
    let server = Inrush::new().cores(2).config(&config).start();
    let open = |app: &str| Client::open(server.rtmp()).connect(app);
    let refused = |app: &str, name: &str| {
        let status = open(app).request_publish(name);
        assert_eq!(status.code, "NetStream.Publish.Denied", "{app}/{name}: {}", status.description);
        status.description
    };
    let full = "this app has the 2 streams that it may have at a time: try again when one of them has ended";
    let first = open("few").publish("a");
    let second = open("few").publish("b");
    assert_eq!(refused("few", "c"), full);
    // Others of a stream that is there make no further one, and a dry run makes none.
    let newest = open("few").publish("b");
    wait_until("the newest one has taken over", PATIENCE, || {
        (server.metrics().counter("takeovers_newest") == 1).then_some(())
    });
    drop(second);
    let dry = wait_until("the one that was taken over from has gone", PATIENCE, || {
        let mut client = open("few");
        (client.request_publish("d?bandwidthtest=1").code == "NetStream.Publish.Start").then_some(client)
    });
    let mut player = open("few").play("a");
    assert_eq!(player.wait_for_status().code, "NetStream.Play.Reset");
    let mut one_too_many = open("few").play("a");
    let told = one_too_many.wait_for_status();
    assert_eq!(told.code, "NetStream.Play.Failed");
    assert!(told.description.contains("the 4 connections that it may have"), "{}", told.description);
    // What is another app's is nobody's business here.
    let elsewhere = open("many").publish("c");
    dry.unpublish();
    first.unpublish();
    let next = wait_until("a stream that has ended makes room for another", PATIENCE, || {
        let mut client = open("few");
        (client.request_publish("c").code == "NetStream.Publish.Start").then_some(client)
    });
    assert_eq!(refused("few", "a"), full);

    let keyed = open("keys").publish("x?key=one-s3cret");
    assert_eq!(
        refused("keys", "y?key=one-s3cret"),
        "with this key 1 streams may be published at a time, and are: end one of them first"
    );
    let other_key = open("keys").publish("y?key=any-s3cret");
    keyed.unpublish();
    let keyed = wait_until("its key is free for another stream", PATIENCE, || {
        let mut client = open("keys");
        (client.request_publish("z?key=one-s3cret").code == "NetStream.Publish.Start").then_some(client)
    });
    wait_until("each refusal is counted under its name", PATIENCE, || {
        let metrics = server.metrics();
        let denied = |label: &str| metrics.of_kind("denied", label);
        let is_counted = denied("limit_app_streams") >= 2
            && denied("limit_app_connections") >= 1
            && denied("limit_identity_streams") >= 1;
        is_counted.then_some(())
    });
    let log = server.log();
    let logged =
        log.lines().any(|line| line.contains("denied") && line.contains("why=\"limit_app_streams\""));
    assert!(logged, "{log}");
    drop((newest, player, elsewhere, next, other_key, keyed));
}
