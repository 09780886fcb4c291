//! The control HTTP: health, metrics, streams and connections while real clients publish and play, and closing a connection.
#![cfg(feature = "engine")]

#[path = "control_http/document.rs"]
mod document;
mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use document::Document;
use inrush::control::metrics::{CORE_SERIES_MAX, SERIES_MAX};
use inrush::control::stream_series::STREAM_SERIES_MAX;
use serde_json::Value;
use support::amf::{self, Amf};
use support::api::Metrics;
use support::client::Client;
use support::ffmpeg::{self, Generation};
use support::fleet;
use support::flv::{Kind, Tag};
use support::live::Live;
use support::media::{H264_AAC, HEVC_AAC};
use support::prometheus::tool;
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::wire::Message;
use support::{PATIENCE, ports, scratch_file, wait_until};

/// Waits until the API lists a stream with everything that shows only after some media.
fn stream(server: &Server, name: &str) -> Value {
    wait_until("the stream is listed with its resolution and rate", PATIENCE, || {
        let streams = server.streams();
        let stream = streams.into_iter().find(|stream| stream["name"] == name)?;
        let is_complete = stream["resolution"].is_object() && stream["audio"].is_object();
        (is_complete && stream["bits_in_per_second"].as_u64()? > 100_000).then_some(stream)
    })
}

/// Streams and connections are listed with what a publisher really sends and who it is; metrics agree.
#[test]
fn streams_and_connections_are_described() {
    let server = Inrush::new().cores(2).start();
    let publishers = [("avc", Generation::Five, H264_AAC), ("hevc", Generation::Nine, HEVC_AAC)].map(
        |(name, generation, recipe)| {
            let url = server.url("live", name);
            ffmpeg::Publisher::start_with(generation, &recipe.media(), &url, &[])
        },
    );
    let player = ffmpeg::play(Generation::Nine, &server.url("live", "avc"));
    server.wait_for_players("live", "avc", 1);
    // The player may be on the other core, which tells the stream's home of it at its next sweep.
    wait_until("the stream counts its player", PATIENCE, || {
        (stream(&server, "avc")["subscribers"] == 1).then_some(())
    });

    let avc = stream(&server, "avc");
    assert_eq!(avc["resolution"], serde_json::json!({"width": 640, "height": 360}));
    assert_eq!(avc["audio"], serde_json::json!({"sample_rate_hz": 44100, "channels": 1}));
    assert_eq!(avc["subscribers"], 1);
    let codecs = avc["codecs"].as_array().expect("a list of codecs");
    assert!(
        codecs.iter().any(|codec| codec.as_str().is_some_and(|codec| codec.starts_with("avc1."))),
        "{avc}"
    );
    assert!(codecs.contains(&"mp4a.40.2".into()), "{avc}");
    let hevc = stream(&server, "hevc");
    assert!(hevc["codecs"].to_string().contains("hvc1."), "{hevc}");
    assert_eq!(hevc["resolution"], serde_json::json!({"width": 640, "height": 360}));

    let publisher = &server.connections_of("publisher", "live", "avc")[0];
    assert_eq!(avc["publisher"], publisher["id"]);
    assert_eq!(avc["name_hash"], publisher["name_hash"]);
    assert_ne!(avc["name_hash"], hevc["name_hash"]);
    assert!(publisher["flash_ver"].as_str().is_some_and(|name| name.contains("Lavf")), "{publisher}");
    assert_eq!(publisher["encoder"], "ffmpeg");
    assert!(publisher["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{publisher}");
    assert!(publisher["bytes_in"].as_u64() > Some(10_000), "{publisher}");
    let watching = &server.connections_of("player", "live", "avc")[0];
    assert!(watching["bytes_out"].as_u64() > Some(1_000) && watching["dropped"] == 0, "{watching}");

    let one = server.get("/api/v1/streams/live/avc").json();
    assert_eq!(one["stream"]["name"], "avc");
    assert_eq!(server.try_get("/api/v1/streams/live/nothing").expect("an answer").status, 404);
    wait_until("metrics agree with the lists", PATIENCE, || {
        let metrics = server.metrics();
        let gauges =
            ["connections", "publishers", "subscribers", "streams_home"].map(|name| metrics.gauge(name));
        (gauges == [3, 2, 1, 2]).then_some(())
    });
    publishers.into_iter().for_each(ffmpeg::Publisher::finish);
    player.finish();
    wait_until("metrics show that all is over", PATIENCE, || {
        let metrics = server.metrics();
        let gauges = ["connections", "publishers", "subscribers", "streams", "gop_bytes"]
            .map(|name| metrics.gauge(name));
        (gauges == [0; 5]).then_some(())
    });
    assert_eq!((server.streams().len(), server.connections().len()), (0, 0));
}

/// A connection is closed by its id; its neighbour is not; what does not exist is not found.
#[test]
fn connections_can_be_closed() {
    let server = Inrush::new().cores(2).start();
    let mut one = Client::open(server.rtmp()).connect("live").publish("one");
    let mut two = Client::open(server.rtmp()).connect("live").publish("two");
    let mut player = Client::open(server.rtmp()).connect("live").play("one");
    server.wait_for_players("live", "one", 1);
    let id = server.connections_of("publisher", "live", "one")[0]["id"].as_str().expect("an id").to_owned();
    let delete =
        |id: &str| server.request("DELETE", &format!("/api/v1/connections/{id}")).expect("an answer").status;
    assert_eq!(delete(&id), 204);
    assert!(one.wait_for_close(PATIENCE));
    wait_until("it is gone", PATIENCE, || (delete(&id) == 404).then_some(()));
    let notice = player.wait_for("the notice", |event| match event {
        support::client::Event::Status(status) if status.code.ends_with("UnpublishNotify") => Some(status),
        _ => None,
    });
    assert_eq!(notice.code, "NetStream.Play.UnpublishNotify");
    assert_eq!(server.connections_of("publisher", "live", "two").len(), 1);
    two.send_paced(&H264_AAC.media().tags[..20], 4.0);
    two.unpublish();
    assert_eq!(delete("12345678"), 404);
    assert_eq!(delete("nonsense"), 404);
}

/// E-RTMP v2: an unknown FourCC, an unknown packet type and an unknown layout of tracks are forwarded byte for byte, counted in the API,
/// and no reason to close; only of the layout nothing comes to a player that did not negotiate multitrack. What onMetaData announces is
/// shown beside.
#[test]
fn what_nobody_knows_is_forwarded_untouched_and_counted() {
    let server = Inrush::new().cores(2).start();
    let (plain, full) = (Client::open(server.rtmp()).connect("live"), Client::open(server.rtmp()));
    let (full, _) = full.connect_with("live", &[("capsEx", 2.0.into())]);
    let [plain, full] = [plain, full].map(|player| player.play("news").record_in_background());
    server.wait_for_players("live", "news", 2);
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("news");
    let property = |name: &str, value: Amf| (name.to_owned(), value);
    let track = Amf::Object(vec![property("width", 1024.0.into()), property("height", 768.0.into())]);
    let metadata = Amf::Object(vec![
        property("videocodecid", f64::from(u32::from_be_bytes(*b"zz99")).into()),
        property("videoTrackIdInfoMap", Amf::Object(vec![property("1", track)])),
    ]);
    let metadata = amf::write(&["@setDataFrame".into(), "onMetaData".into(), metadata]);
    publisher.send_tag(&Tag { kind: Kind::Data, timestamp: 0, body: metadata });
    let unknown = [
        (Kind::Video, &b"\x90zz99 sequence start"[..]),
        (Kind::Video, b"\x93zz99 key frame"),
        (Kind::Video, b"\x9fhvc1 packet type 15"),
        (Kind::Video, b"\x96\xf1hvc1 layout 15"),
        (Kind::Audio, b"\x91zz98 coded frames"),
        (Kind::Audio, b"\x9fOpus packet type 15"),
    ];
    let tags = unknown.map(|(kind, body)| Tag { kind, timestamp: 40, body: body.to_vec() });
    tags.iter().for_each(|tag| publisher.send_tag(tag));
    let stream = wait_until("all of it is counted", PATIENCE, || {
        server.streams().into_iter().find(|stream| stream["name"] == "news" && stream["messages_in"] == 7)
    });
    let seen = &stream["ingest"];
    assert_eq!((seen["frames"].as_u64(), seen["tags_malformed"].as_u64()), (Some(7), Some(0)), "{seen}");
    assert!(
        seen["codecs_unknown"].as_u64() >= Some(2) && seen["packets_unknown"].as_u64() >= Some(3),
        "{seen}"
    );
    let announced = &stream["announced_tracks"][0];
    assert_eq!((&announced["id"], &announced["codec"]), (&1.into(), &"zz99".into()), "{announced}");
    assert_eq!(announced["resolution"], serde_json::json!({"width": 1024, "height": 768}));
    publisher.unpublish();
    let media = |(_, received): (Client, Vec<Tag>)| -> Vec<Tag> {
        received.into_iter().filter(|tag| tag.kind != Kind::Data).collect()
    };
    assert_eq!(media(full.finish_tags()), tags);
    let known: Vec<Tag> = tags.iter().filter(|tag| tag.body[0] != 0x96).cloned().collect();
    assert_eq!(media(plain.finish_tags()), known);
}

/// Health, readiness and refusals of the HTTP itself.
#[test]
fn health_and_unknown_paths() {
    let server = Inrush::new().cores(2).start();
    assert_eq!(server.get("/healthz").json()["status"], "ok");
    assert_eq!(server.get("/readyz").json()["status"], "ready");
    assert_eq!(server.try_get("/nothing").expect("an answer").status, 404);
    assert_eq!(server.request("DELETE", "/api/v1/streams").expect("an answer").status, 405);
    assert_eq!(server.metrics().gauge("connections"), 0);
    assert_eq!(server.metrics().per_core("connections").len(), 2);
}

/// A reload reads the token anew: the old one is worth nothing then. One that cannot be used changes nothing.
#[test]
fn a_token_is_changed_without_a_restart() {
    let (first, second) = ("the-first-token-of-some", "the-second-token-of-some");
    let file = scratch_file("rotated-token");
    std::fs::write(&file, first).expect("write a token");
    let config = format!("[control]\ntoken = \"file:{}\"\nmetrics_open = true\n", file.display());
    let server = Inrush::new().config(&config).start();
    let status =
        |token| server.request_with(Some(token), "GET", "/api/v1/streams").expect("an answer").status;
    assert_eq!((status(first), status(second)), (200, 401));
    std::fs::write(&file, second).expect("write a token");
    server.process().signal(libc::SIGHUP);
    wait_until("the second is asked for", PATIENCE, || (status(second) == 200).then_some(()));
    assert_eq!(status(first), 401);
    std::fs::write(&file, "no token").expect("write a token");
    server.process().signal(libc::SIGHUP);
    let refused = || server.log().contains("not reloaded").then_some(());
    wait_until("the reload is refused", PATIENCE, refused);
    assert_eq!((status(first), status(second)), (401, 200));
}

/// Where others reach it, the control HTTP asks for its token, and without one there is no start; the token is in no log.
#[test]
fn who_comes_from_elsewhere_says_the_token() {
    const TOKEN: &str = "s3cret-token-of-the-control-http";
    let server = Inrush::new().cores(2).http("0.0.0.0:0").token(TOKEN).args(&["--log", "debug"]).start();
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("camera");
    let id =
        server.connections_of("publisher", "live", "camera")[0]["id"].as_str().expect("an id").to_owned();
    let kick = format!("/api/v1/connections/{id}");
    let asked = |token, method, path: &str| server.request_with(token, method, path).expect("an answer");
    for token in [None, Some("another-token-that-is-long"), Some("")] {
        for (method, path) in
            [("GET", "/metrics"), ("GET", "/api/v1/streams"), ("DELETE", &kick), ("GET", "/x")]
        {
            let answer = asked(token, method, path);
            assert_eq!(answer.status, 401, "{method} {path} with {token:?}");
            assert_eq!(answer.json()["error"]["code"], "unauthorized");
            assert!(answer.head.to_lowercase().contains("\r\nwww-authenticate: bearer "), "{}", answer.head);
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(asked(token, "GET", path).status, 200, "{path}");
        }
    }
    assert_eq!(server.streams().len(), 1, "nothing was closed");
    assert_eq!(server.metrics().whole("control_unauthorized"), 12);
    assert_eq!(asked(Some(TOKEN), "DELETE", &kick).status, 204);
    assert!(publisher.wait_for_close(PATIENCE));
    let stopped = server.stop();
    assert!(stopped.stdout.contains("watch:                   printf 'Authorization: Bearer %s' \"$(cat '"));
    assert!(!(stopped.stdout + &stopped.stderr).contains(TOKEN));

    let mut open = Inrush::new().http("0.0.0.0:0").spawn();
    assert_eq!(open.wait(PATIENCE).code(), Some(2));
    let line = "inrush: --http: control HTTP on 0.0.0.0:0, where others reach it, and there is no control.token; allowed: ";
    assert!(open.stderr().starts_with(line), "{}", open.stderr());
}

/// What Prometheus's own tool says of `/metrics` in the older form, the one that it reads: nothing at all, whatever has happened meanwhile.
#[test]
fn promtool_finds_nothing_wrong_with_metrics() {
    let check = |metrics: &str| {
        let file = scratch_file("metrics");
        std::fs::write(&file, metrics).expect("write metrics");
        let mut command = Command::new(tool("promtool"));
        command.args(["check", "metrics"]).stdin(File::open(&file).expect("read them"));
        let output = command.output().expect("promtool starts; .ci/setup brings it");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let twice = "# HELP a_total A\n# TYPE a_total counter\na_total{b=\"1\"} 1\n# HELP a_total A\na_total{b=\"2\"} 1\n";
    assert!(!check(twice).0, "what is wrong is seen");

    // Families about forwards, pulls, notices, questions and TLS are there, and something has come of each.
    let nobody = ports::free_port();
    let config = format!(
        "[notify]\nurl = \"http://127.0.0.1:{nobody}/\"\n\
         [[auth]]\napp = \"closed\"\npublish = \"callback\"\ncallback_url = \"http://127.0.0.1:{nobody}/\"\n\
         [[auth]]\napp = \"*\"\n\
         [[target]]\nurl = \"rtmp://127.0.0.1:{nobody}/{{app}}/{{name}}\"\n\
         [[upstream]]\napp = \"far\"\nurl = \"rtmp://127.0.0.1:{nobody}/{{app}}/{{name}}\"\n"
    );
    let server = Inrush::new().cores(2).rtmps().args(&["--rtmps-self-signed"]).config(&config).start();
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("camera");
    let player = Client::open(server.rtmp()).connect("live").play("camera").record_in_background();
    let _wanting = Client::open(server.rtmp()).connect("far").play("movie");
    server.wait_for_players("live", "camera", 1);
    publisher.send_paced(&H264_AAC.media().tags[..20], 4.0);
    let refused = Client::open(server.rtmp()).connect("closed").request_publish("camera");
    assert_eq!(refused.level, "error", "{refused:?}");
    let mut broken = Client::open(server.rtmp()).connect("live").publish("broken");
    broken.send(&Message::set_chunk_size(0));
    assert!(broken.wait_for_close(PATIENCE));
    let text = wait_until("all of that has been counted", PATIENCE, || {
        let text = server.get("/metrics").body;
        let metrics = Metrics::parse(&text);
        let counted = metrics.of_all_kinds("session_error") > 0
            && metrics.of_all_kinds("forward_lost") > 0
            && metrics.of_all_kinds("pull_lost") > 0
            && metrics.gauge("publishers") == 1;
        counted.then_some(text)
    });
    let (is_right, said) = check(&text);
    assert!(is_right && said.is_empty(), "{said}");
    publisher.unpublish();
    player.finish();
}

/// Series do not grow with publishers: a few of them or hundreds (`.ci/deep series`: thousands) give the same ones, below the bound that
/// `control/metrics.rs` states; of single streams there are those of the highest bitrates, and others when they are asked for.
#[test]
fn series_are_bounded_however_many_publish() {
    const TOP: usize = 10;
    let count = std::env::var("INRUSH_SERIES_PUBLISHERS")
        .map_or(300, |count| count.parse().expect("INRUSH_SERIES_PUBLISHERS is a number"));
    let server = Inrush::new().cores(2).config(&format!("[control]\ntop_streams = {TOP}\n")).start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let headers: Arc<[Tag]> = sequence_headers(&H264_AAC.media()).into();
    let address = server.rtmp();
    let publish = async |name: String, video_bytes| {
        let pattern = Pattern { frame_ms: 1000, gop_frames: 2, video_bytes, audio_bytes: 100 };
        match fleet::Publisher::open(address, "live", &name, &pattern, &headers).await.expect("a connection")
        {
            fleet::Asked::Accepted(publisher) => *publisher,
            fleet::Asked::Refused(code) => panic!("{name} is refused: {code}"),
        }
    };
    // Two groups of which the first has many times the bitrate.
    let mut publishers = runtime.block_on(async {
        let mut first = Vec::new();
        for number in 0..2 * TOP {
            first.push(publish(format!("p{number}"), if number < TOP { 40_000 } else { 1000 }).await);
        }
        first
    });
    let fastest: BTreeSet<String> = (0..TOP).map(|number| format!("p{number}")).collect();
    // Drives all of them until the fastest ones are those that have series.
    let settle = |publishers: &mut Vec<fleet::Publisher>| {
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            runtime.block_on(async {
                for publisher in publishers.iter_mut() {
                    publisher.send_next().await.expect("it publishes");
                }
            });
            let metrics = server.metrics();
            let all_count = metrics.gauge("publishers") == publishers.len() as u64;
            if all_count && metrics.label_values("inrush_stream_bytes_in_total", "name") == fastest {
                return metrics;
            }
            assert!(Instant::now() < deadline, "{} publishers: the fastest are not shown", publishers.len());
        }
    };
    let node = |metrics: &Metrics| {
        metrics.series(|name, labels| !name.starts_with("inrush_stream_") && !labels.contains_key("kind"))
    };
    let few = settle(&mut publishers);
    runtime.block_on(async {
        for number in publishers.len()..count {
            publishers.push(publish(format!("p{number}"), 1000).await);
        }
    });
    let many = settle(&mut publishers);
    assert_eq!(node(&few), node(&many), "the node's own series do not depend on who publishes");
    let bound = SERIES_MAX + 2 * CORE_SERIES_MAX + TOP * STREAM_SERIES_MAX;
    let check = |metrics: &Metrics| {
        let all = metrics.series(|_, _| true);
        assert!(all <= bound, "{all} series, and there may be {bound}");
        let of_streams = metrics.series(|name, _| name.starts_with("inrush_stream_"));
        assert!(of_streams <= TOP * STREAM_SERIES_MAX, "{of_streams} series of streams");
        all
    };
    let all = check(&many);
    println!("{count} publishers: {all} series, at most {bound}");

    let last = format!("p{}", count - 1);
    let asked =
        Metrics::parse(&server.get(&format!("/metrics?stream=live%2F{last}&stream=live%2Fnone")).body);
    assert_eq!(asked.sum("inrush_stream_live", &[("app", "live"), ("name", &last)]), 1);
    assert_eq!(
        asked.label_values("inrush_stream_live", "name"),
        BTreeSet::from([last.clone(), "none".into()])
    );
    assert_eq!(asked.label_values("inrush_stream_bytes_in_total", "name"), BTreeSet::from([last]));
    assert_eq!(server.try_get("/metrics?stream=none").expect("an answer").status, 400);

    // What is counted by kind as they go is bounded as well.
    drop(publishers);
    let gone = wait_until("all have gone", 2 * PATIENCE, || {
        let metrics = server.metrics();
        (metrics.gauge("connections") == 0).then_some(metrics)
    });
    check(&gone);
}

/// The elements of a document by name, each with those inside it; of clients the publisher comes first.
fn tree(node: roxmltree::Node<'_, '_>) -> String {
    let mut inside: Vec<(bool, String)> = node
        .children()
        .filter(roxmltree::Node::is_element)
        .map(|child| {
            let is_reader =
                child.has_tag_name("client") && !child.children().any(|mark| mark.has_tag_name("publishing"));
            (is_reader, tree(child))
        })
        .collect();
    if node.has_tag_name("stream") {
        // Only clients may be in another order; they stand together.
        let of_clients = inside.iter().position(|(_, text)| text.starts_with("client("));
        if let Some(first) = of_clients {
            let count = inside.iter().filter(|(_, text)| text.starts_with("client(")).count();
            inside[first..first + count].sort();
        }
    }
    let inside: Vec<_> = inside.into_iter().map(|(_, text)| text).collect();
    format!("{}({})", node.tag_name().name(), inside.join(" "))
}

/// `/stat` has the elements of nginx-rtmp's for the same stream and player, in the same order, and says the same of the media in them; a name
/// that is made of markup stays a name.
#[test]
fn stat_is_that_of_nginx_rtmp() {
    let (inrush, nginx) = (Inrush::new().cores(2).start(), Server::nginx_rtmp());
    let media = H264_AAC.media();
    let mut texts = Vec::new();
    for server in [&inrush, &nginx] {
        let player = ffmpeg::play(Generation::Nine, &server.url("live", "camera"));
        server.wait_for_players("live", "camera", 1);
        let publisher =
            ffmpeg::Publisher::start_endless(Generation::Nine, &media, &server.url("live", "camera"));
        let text = wait_until("rates are known", PATIENCE, || {
            let text = server.get("/stat").body;
            let document = roxmltree::Document::parse(&text).expect("XML");
            let rate = |name| {
                let stream = document.descendants().find(|node| node.has_tag_name("stream"))?;
                stream.children().find(|node| node.has_tag_name(name))?.text()?.parse::<u64>().ok()
            };
            let is_frame_rate = |node: &roxmltree::Node<'_, '_>| node.has_tag_name("frame_rate");
            let frame_rate = document.descendants().find(is_frame_rate)?.text()?.parse::<u64>().ok()?;
            if !(24..=26).contains(&frame_rate) {
                return None;
            }
            // nginx-rtmp's are averages over ten seconds.
            (rate("bw_video")? > 100_000 && rate("bw_audio")? > 10_000 && rate("bw_out")? > 0)
                .then_some(text.clone())
        });
        publisher.kill();
        drop(player);
        texts.push(text);
    }
    let [ours, theirs] = [&texts[0], &texts[1]].map(|text| roxmltree::Document::parse(text).expect("XML"));
    assert_eq!(tree(ours.root_element()), tree(theirs.root_element()));
    let said = |document: &roxmltree::Document<'_>, parent: &str, name: &str| {
        let is_it = |node: &roxmltree::Node<'_, '_>| {
            node.has_tag_name(name) && node.parent().is_some_and(|outer| outer.has_tag_name(parent))
        };
        document.descendants().find(is_it).and_then(|node| node.text()).unwrap_or_default().to_owned()
    };
    for (parent, name) in [
        ("application", "name"),
        ("stream", "name"),
        ("stream", "nclients"),
        ("live", "nclients"),
        ("client", "address"),
        ("video", "width"),
        ("video", "height"),
        ("video", "codec"),
        ("video", "profile"),
        ("video", "compat"),
        ("video", "level"),
        ("audio", "codec"),
        ("audio", "profile"),
        ("audio", "channels"),
        ("audio", "sample_rate"),
    ] {
        let (ours, theirs) = (said(&ours, parent, name), said(&theirs, parent, name));
        assert!(!ours.is_empty(), "{parent}/{name}");
        assert_eq!(ours, theirs, "{parent}/{name}");
    }
    let rate = |document| said(document, "video", "frame_rate").parse::<i64>().expect("a whole number");
    assert!((rate(&ours) - rate(&theirs)).abs() <= 1, "{} and {}", rate(&ours), rate(&theirs));

    let name = "a<b>&\"'";
    let _markup = Client::open(inrush.rtmp()).connect("live").publish(name);
    inrush.wait_for_publisher("live", name);
    let text = inrush.get("/stat").body;
    let document = roxmltree::Document::parse(&text).expect("XML");
    assert!(
        document.descendants().any(|node| node.has_tag_name("name") && node.text() == Some(name)),
        "{text}"
    );
}

/// Answers of every path are as the document says, of a server with streams, players, a standby, forwards and pulls that go well and that do
/// not, TLS, limits, and something wrong.
#[test]
fn answers_are_as_the_document_says() {
    let far = Inrush::new().cores(1).start();
    let media = H264_AAC.media();
    let live = |server: &Server, app: &str, name: &str| {
        let client = Client::open(server.rtmp()).connect_movable(app).publish(name);
        Live::start(client, &sequence_headers(&media), &Pattern::with_bits_per_second(500_000), 0)
    };
    let _movie = live(&far, "far", "movie");
    let (nobody, there) = (ports::free_port(), far.rtmp());
    let server = Inrush::new().cores(2).rtmps().args(&["--rtmps-self-signed"]);
    let server = server.config(&format!(
        "[[app]]\nname = \"live\"\nstandby = true\nlimit_bits_per_second = 90000000\nlimit_codecs = [\"avc1\", \"mp4a\"]\n\
         [[target]]\napp = \"live\"\nurl = \"rtmp://127.0.0.1:{nobody}/{{app}}/{{name}}\"\n\
         [[target]]\napp = \"live\"\nurl = \"rtmp://{there}/{{app}}/{{name}}\"\n\
         [[upstream]]\napp = \"lost\"\nurl = \"rtmp://127.0.0.1:{nobody}/{{app}}/{{name}}\"\n\
         [[upstream]]\napp = \"far\"\nurl = \"rtmp://{there}/{{app}}/{{name}}\"\n"
    ));
    let server = server.start();
    // This generation of ffmpeg believes any certificate.
    let secured =
        ffmpeg::Publisher::start_endless(Generation::Five, &media, &server.tls_url("live", "secured"));
    stream(&server, "secured");
    let _standby = Client::open(server.rtmp()).connect("live").publish("secured");
    let silent = Client::open(server.rtmp()).connect_movable("live").publish("silent");
    let _player = Client::open(server.rtmp()).connect("live").play("secured");
    let _wanting = ["lost", "far"].map(|app| Client::open(server.rtmp()).connect(app).play("movie"));
    let _pending = Client::open(server.rtmp()).connect("live");
    wait_until("all of it shows", PATIENCE, || {
        let has_both = |list: Vec<Value>| {
            let has = |is_one: fn(&Value) -> bool| list.iter().any(is_one);
            has(|it| it["last_error"] != "") && has(|it| it["state"] == "live" && it["tcp"].is_object())
        };
        let streams = server.streams();
        let has = |is_one: fn(&Value) -> bool| streams.iter().any(is_one);
        let is_there = has(|it| it["health"][0].is_object())
            && has(|it| it["standby"].is_string())
            && has(|it| it["media"]["gop_ms"].is_u64() && it["tcp"].is_object());
        (is_there && has_both(server.forwards()) && has_both(server.pulls())).then_some(())
    });

    let document = Document::new(server.get("/api/v1/openapi.json").json());
    let mut asked = BTreeSet::new();
    let mut ask = |method: &str, path: &str, template: &str| {
        let answer = server.request(method, path).expect("an answer");
        document.hold(&answer, method, template);
        asked.insert(format!("{method} {template}"));
        answer.status
    };
    for path in document.paths_without_parameters() {
        assert_eq!(ask("GET", &path, &path), 200, "{path}");
    }
    document.hold_event(server.http());
    let (one, connection) = ("/api/v1/streams/{path}", "/api/v1/connections/{id}");
    assert_eq!(ask("GET", "/api/v1/streams/live/secured", one), 200);
    assert_eq!(ask("GET", "/api/v1/streams/live/none", one), 404);
    let id =
        server.connections_of("publisher", "live", "silent")[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(ask("DELETE", &format!("/api/v1/connections/{id}"), connection), 204);
    assert_eq!(ask("DELETE", "/api/v1/connections/none", connection), 404);
    assert_eq!(ask("GET", "/metrics?stream=none", "/metrics"), 400);
    assert_eq!(ask("POST", "/api/v1/reload", "/api/v1/reload"), 200);
    drop((silent, secured));
    for (body, status) in
        [("{\"deadline_seconds\": []}", 400), ("{", 400), ("{\"deadline_seconds\": 1}", 202)]
    {
        let answer = server.post("/api/v1/drain", body);
        assert_eq!(answer.status, status, "{}", answer.body);
        document.hold(&answer, "POST", "/api/v1/drain");
        asked.insert("POST /api/v1/drain".to_owned());
    }
    asked.insert("GET /api/v1/events".to_owned());
    assert_eq!(asked, document.operations(), "all of them were asked");
    assert!(server.wait_for_end().status.success());
}

/// What an encoder is taken for shows beside its own name, and its faults are counted by it.
#[test]
fn faults_are_counted_by_encoder() {
    let server = Inrush::new().cores(2).start();
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("camera");
    let metadata = [
        amf::write(&["@setDataFrame".into(), "onMetaData".into()]),
        amf::write(&[Amf::Object(vec![("encoder".into(), "GoPro Hero".into())])]),
    ];
    publisher.send_tag(&Tag { kind: Kind::Data, timestamp: 0, body: metadata.concat() });
    wait_until("the encoder is recognised", PATIENCE, || {
        let publishers = server.connections_of("publisher", "live", "camera");
        (publishers.first()?["encoder"] == "gopro").then_some(())
    });
    // Set Chunk Size of 0.
    publisher.send(&Message { type_id: 1, stream_id: 0, timestamp: 0, body: vec![0; 4] });
    assert!(publisher.wait_for_close(PATIENCE));
    wait_until("its fault and its session are counted", PATIENCE, || {
        let metrics = server.metrics();
        let counted = |family| metrics.of_kind(family, "gopro");
        (counted("encoder_error") == 1 && counted("encoder_session") == 1).then_some(())
    });
}
