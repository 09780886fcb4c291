//! Who may publish and play: every source, dry runs, notices, and a back end that fails in every way while streams are live.
#![cfg(feature = "engine")]

mod support;

use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use support::back_end::{Answer, BackEnd, Request};
use support::client::{Client, Status};
use support::credentials::{SECRET, hs256, secret_file, sha256};
use support::ffmpeg::{self, Generation};
use support::herd::Herd;
use support::media::{THIN, VIDEO_ONLY};
use support::server::{Inrush, Server};
use support::{PATIENCE, scratch_file, wait_until};

const STARTED: &str = "NetStream.Publish.Start";
const DENIED: &str = "NetStream.Publish.Denied";

/// Asks to publish, and says what the answer is.
#[track_caller]
fn ask(server: &Server, app: &str, name: &str) -> Status {
    Client::open(server.rtmp()).connect(app).request_publish(name)
}

/// Whether somebody may publish. Who may has left again when this returns.
#[track_caller]
fn may_publish(server: &Server, app: &str, name: &str) -> bool {
    let mut client = Client::open(server.rtmp()).connect(app);
    match client.request_publish(name).code.as_str() {
        STARTED => {
            client.unpublish();
            true
        }
        DENIED => false,
        other => panic!("{app}/{name}: {other}"),
    }
}

/// Whether somebody may play.
#[track_caller]
fn may_play(server: &Server, app: &str, name: &str) -> bool {
    let mut player = Client::open(server.rtmp()).connect(app).play(name);
    match player.wait_for_status().code.as_str() {
        "NetStream.Play.Reset" | "NetStream.Play.Start" => true,
        "NetStream.Play.Failed" => false,
        other => panic!("{app}/{name}: {other}"),
    }
}

/// A key for ES256: what signs, and its key set.
fn es256() -> (ring::signature::EcdsaKeyPair, Value) {
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as ALGORITHM, EcdsaKeyPair, KeyPair as _};
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ALGORITHM, &random).expect("make a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ALGORITHM, pkcs8.as_ref(), &random).expect("it is one");
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "x": x, "y": y}]});
    (pair, set)
}

/// The address that `inrush sign` makes, with this configuration.
#[track_caller]
fn signed(config: &str, arguments: &[&str]) -> String {
    sign(config, arguments).unwrap_or_else(|said| panic!("{said}"))
}

/// Likewise; or what it says instead.
fn sign(config: &str, arguments: &[&str]) -> Result<String, String> {
    let file = scratch_file("sign.toml");
    std::fs::write(&file, config).expect("write a configuration");
    let output = Command::new(env!("CARGO_BIN_EXE_inrush"))
        .arg("--config")
        .arg(&file)
        .arg("sign")
        .args(arguments)
        .output()
        .expect("run inrush");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8(output.stdout).expect("text").trim().to_owned())
}

fn seconds_from_now(seconds: i64) -> i64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    i64::try_from(now).expect("before the year 292277026596") + seconds
}

/// Keys and signed addresses: what each is for, and nothing else, by the test's client and by ffmpeg; no key shows in a log.
#[test]
fn keys_and_signatures_open_what_they_are_for() {
    let secret = secret_file();
    let config = format!(
        "[[auth]]\napp = \"live\"\npublish = [\"static\", \"signed\"]\nplay = [\"static\"]\nsigned_secrets = [\"1=file:{secret}\"]\n\
         [[auth]]\napp = \"open\"\n[[auth]]\napp = \"shut\"\npublish = []\nplay_deny = [\"127.0.0.0/8\"]\n\
         [[auth]]\napp = \"live\"\nhost = \"other.example\"\npublish = []\n\
         [[key]]\nsha256 = \"{}\"\nname = \"studio\"\n[[key]]\nsha256 = \"{}\"\nstream = \"stage\"\n\
         [[key]]\nsha256 = \"{}\"\nrole = \"play\"\n",
        sha256("key-of-studio-s3cret"),
        sha256("key-as-name-s3cret"),
        sha256("key-to-watch-s3cret"),
    );
    let server = Inrush::new().cores(2).args(&["--log", "debug"]).config(&config).start();
    assert!(may_publish(&server, "live", "studio?key=key-of-studio-s3cret"));
    assert!(!may_publish(&server, "live", "other?key=key-of-studio-s3cret"));
    assert!(!may_publish(&server, "live", "studio?key=wrong-s3cret"));
    assert!(!may_publish(&server, "live", "studio"));
    assert!(may_play(&server, "live", "studio?key=key-to-watch-s3cret"));
    assert!(!may_play(&server, "live", "studio?key=key-of-studio-s3cret"));
    assert!(may_publish(&server, "open", "anything"));
    assert!(may_play(&server, "open", "anything"));
    assert!(!may_publish(&server, "shut", "anything"));
    assert!(!may_play(&server, "shut", "anything"), "its network is denied");
    assert!(!may_publish(&server, "nothing", "says who may"));

    // The key is all that the encoder knows; the stream has a name of its own.
    let url = server.url("live", "key-as-name-s3cret");
    let publisher = ffmpeg::Publisher::start_endless(Generation::Five, &VIDEO_ONLY.media(), &url);
    server.wait_for_publisher("live", "stage");
    drop(publisher);
    let (code, log) = ffmpeg::Publisher::start(
        Generation::Nine,
        &VIDEO_ONLY.media(),
        &server.url("live", "no-such-key-s3cret"),
    )
    .wait();
    assert_ne!(code, Some(0), "{log}");

    let address = signed(&config, &["--app", "live", "--name", "signed", "--expires-in", "1h"]);
    let url = format!("rtmp://{}/{address}", server.rtmp());
    let publisher = ffmpeg::Publisher::start_endless(Generation::Nine, &VIDEO_ONLY.media(), &url);
    server.wait_for_publisher("live", "signed");
    drop(publisher);
    let name = |address: &str| address.strip_prefix("live/").expect("of this app").to_owned();
    assert!(!may_publish(&server, "live", &name(&address).replace("signed?", "another?")));
    assert!(!may_publish(&server, "live", &name(&address).replace("r=publish", "r=both")));
    // The same stream by other words; and a name that none can say is not signed.
    let deep = name(&signed(&config, &["--app", "live", "--name", "a/b", "--expires-in", "1h"]));
    assert!(may_publish(&server, "live", &deep.replace("a/b?", "a%2Fb?")));
    assert!(may_publish(&server, "live", &deep.replace("a/b?", "/a//b/?")));
    assert!(!may_publish(&server, "live", &deep.replace("a/b?", "a%252Fb?")));
    assert!(!may_publish(&server, "live", &deep.replace("a/b?", "A/b?")));
    assert!(sign(&config, &["--app", "live", "--name", "a//b", "--expires-in", "1h"]).is_err());
    let elsewhere = ["--app", "live", "--name", "s", "--expires-in", "1h", "--address", "192.0.2.0/24"];
    assert!(!may_publish(&server, "live", &name(&signed(&config, &elsewhere))));
    let here = ["--app", "live", "--name", "s", "--expires-in", "1h", "--address", "127.0.0.0/8"];
    assert!(may_publish(&server, "live", &name(&signed(&config, &here))));

    let mut of_other_host = Client::open(server.rtmp());
    of_other_host.send(&support::script::connect("live", "rtmp://Other.example/live"));
    of_other_host.wait_for_answer(support::script::CONNECT);
    assert_eq!(of_other_host.request_publish("studio?key=key-of-studio-s3cret").code, DENIED);

    let metrics = server.metrics();
    let decisions = |labels: &[(&str, &str)]| metrics.sum("inrush_auth_decisions_total", labels);
    assert_eq!(
        decisions(&[
            ("table", "live"),
            ("source", "static"),
            ("outcome", "key_wrong"),
            ("action", "publish")
        ]),
        2
    );
    assert!(decisions(&[("table", "live"), ("source", "static"), ("outcome", "allowed")]) >= 3);
    assert_eq!(decisions(&[("table", "live"), ("source", "signed"), ("outcome", "signature_wrong")]), 4);
    assert_eq!(decisions(&[("table", "live"), ("source", "signed"), ("outcome", "signature_address")]), 1);
    assert_eq!(decisions(&[("table", "shut"), ("source", "network"), ("outcome", "address_denied")]), 1);
    assert_eq!(decisions(&[("table", "live@other.example"), ("outcome", "no_credential")]), 1);
    let stopped = server.stop();
    let log = stopped.stdout + &stopped.stderr;
    let line = "warning: open to everybody who reaches these addresses: publish in open; play in open, shut, live@other.example";
    assert!(log.contains(line), "{log}");
    let shown = log.lines().find(|line| line.contains("s3cret"));
    assert_eq!(shown, None, "a key shows");
}

/// Tokens with a secret, and with a key set that is fetched: also one that has become another since.
#[test]
fn tokens_open_what_they_say() {
    let secret = secret_file();
    let (first, first_set) = es256();
    let back_end = BackEnd::start(move |_| Answer::Say(200, first_set.to_string()));
    let config = format!(
        "[[auth]]\napp = \"secret\"\npublish = [\"jwt\"]\nplay = [\"jwt\"]\njwt_algorithm = \"HS256\"\njwt_key = \"file:{secret}\"\njwt_issuer = \"me\"\n\
         [[auth]]\napp = \"set\"\npublish = [\"jwt\"]\njwt_key_set = \"{}\"\n",
        back_end.url("/keys")
    );
    let server = Inrush::new().cores(2).config(&config).start();
    let with = |name: &str, claims: Value| format!("{name}?jwt={}", hs256(&claims));
    let soon = seconds_from_now(60);
    assert!(may_publish(&server, "secret", &with("a", json!({"exp": soon, "iss": "me", "name": "a"}))));
    assert!(!may_publish(&server, "secret", &with("b", json!({"exp": soon, "iss": "me", "name": "a"}))));
    assert!(!may_publish(&server, "secret", &with("a", json!({"exp": soon, "iss": "you", "name": "a"}))));
    assert!(!may_publish(
        &server,
        "secret",
        &with("a", json!({"exp": soon - 120, "iss": "me", "name": "a"}))
    ));
    assert!(!may_play(&server, "secret", &with("a", json!({"exp": soon, "iss": "me", "name": "a"}))));
    let both = json!({"exp": soon, "iss": "me", "name": "*", "role": "both"});
    assert!(may_play(&server, "secret", &with("a", both)));
    assert!(!may_publish(&server, "secret", "a"));
    let expired = ask(&server, "secret", &with("a", json!({"exp": 1, "iss": "me", "name": "a"})));
    assert_eq!(expired.description, "this token has expired: get a new one", "the encoder is told why");

    let es256_token = |pair: &ring::signature::EcdsaKeyPair| {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({"exp": soon, "name": "*"});
        let message = format!("{}.{}", part(&json!({"alg": "ES256", "kid": "1"})), part(&claims));
        let random = ring::rand::SystemRandom::new();
        let signature = pair.sign(&random, message.as_bytes()).expect("sign");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    assert!(may_publish(&server, "set", &format!("a?jwt={}", es256_token(&first))));
    let (stranger, _) = es256();
    assert!(!may_publish(&server, "set", &format!("a?jwt={}", es256_token(&stranger))));
    assert!(
        !may_publish(&server, "set", &with("a", json!({"exp": soon, "name": "*"}))),
        "a secret is no key of the set"
    );
    let metrics = server.metrics();
    assert_eq!(metrics.sum("inrush_auth_key_set_keys", &[("table", "set")]), 1);
    assert_eq!(back_end.requests().len(), 1, "one fetch is enough");

    // Somebody else's keys, from now on: read again with the configuration.
    let (second, second_set) = es256();
    back_end.change_mind(move |_| Answer::Say(200, second_set.to_string()));
    server.process().signal(libc::SIGHUP);
    wait_until("the new keys are good", PATIENCE, || {
        may_publish(&server, "set", &format!("a?jwt={}", es256_token(&second))).then_some(())
    });
    assert!(
        !may_publish(&server, "set", &format!("a?jwt={}", es256_token(&first))),
        "and the old ones are not"
    );
}

/// A back end is asked with all that is documented, signed, and its answers are obeyed.
#[test]
fn a_back_end_decides() {
    let secret = secret_file();
    let back_end = BackEnd::start(|request: &Request| {
        let asked = request.json();
        match (asked["event"].as_str(), asked["name"].as_str()) {
            (Some("publish"), Some("renamed")) => Answer::Say(200, r#"{"stream": "real/name"}"#.into()),
            (Some("publish"), Some("plain")) => Answer::Say(204, String::new()),
            (Some("publish"), Some("dry")) => Answer::Say(200, r#"{"dry_run": true}"#.into()),
            (Some("publish"), Some("refused")) => {
                Answer::Say(200, r#"{"allow": false, "reason": "not today"}"#.into())
            }
            (Some("play"), Some("plain")) => Answer::Say(200, "{}".into()),
            _ => Answer::Say(403, r#"{"reason": "who are you?"}"#.into()),
        }
    });
    let config = format!(
        "[[auth]]\napp = \"live\"\npublish = \"callback\"\nplay = \"callback\"\ncallback_url = \"{}\"\ncallback_secret = \"file:{secret}\"\n",
        back_end.url("/ask?tenant=7")
    );
    let server = Inrush::new().cores(2).config(&config).start();
    let publisher = Client::open(server.rtmp()).connect("live").publish("renamed?token=x");
    assert_eq!(server.audience("live", "real/name"), (1, 0));
    assert_eq!(ask(&server, "live", "other").description, "who are you?");
    assert_eq!(ask(&server, "live", "refused").description, "not today");
    assert!(may_play(&server, "live", "plain"));
    assert!(!may_play(&server, "live", "other"));
    // The same question in quick succession is asked once.
    for _ in 0..5 {
        assert!(may_publish(&server, "live", "plain"));
    }
    let asked = back_end.requests();
    let of_plain =
        asked.iter().filter(|one| one.json()["name"] == "plain" && one.json()["event"] == "publish");
    assert_eq!(of_plain.count(), 1);
    assert_eq!(server.metrics().sum("inrush_auth_answers_total", &[("table", "live"), ("from", "cache")]), 4);

    let first = &asked[0];
    assert_eq!(first.path, "/ask?tenant=7");
    let body = first.json();
    let connection = server.connections_of("publisher", "live", "real/name").remove(0);
    let peer = connection["peer"].as_str().expect("an address").to_owned();
    assert_eq!(
        body,
        json!({
            "event": "publish", "app": "live", "name": "renamed", "params": "token=x", "address": "127.0.0.1",
            "port": peer.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()),
            "flashVer": "FMLE/3.0 (compatible; inrush-tests)", "tls": false, "server_name": null, "host": "127.0.0.1",
            "tcUrl": format!("rtmp://{}/live", server.rtmp()), "connection": connection["id"],
        })
    );
    let timestamp = first.header("x-inrush-timestamp").expect("a timestamp");
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    let mac = mac.chain_update(timestamp).chain_update(".").chain_update(&first.body).finalize().into_bytes();
    let expected: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(first.header("x-inrush-signature"), Some(format!("sha256={expected}").as_str()));
    assert!((timestamp.parse::<i64>().expect("seconds") - seconds_from_now(0)).abs() <= 60);

    let dry = Client::open(server.rtmp()).connect("live").publish("dry");
    wait_until("the dry run shows as one", PATIENCE, || {
        server
            .streams()
            .iter()
            .any(|stream| stream["name"] == "dry" && stream["dry_run"] == true)
            .then_some(())
    });
    drop((publisher, dry));
}

/// A dry run is taken in whole and reaches nobody; real publishers of its name, and its players, do not notice.
#[test]
fn a_dry_run_is_for_nobody() {
    let server = Inrush::new().cores(2).start();
    let media = THIN.media();
    let player = Client::open(server.rtmp()).connect("live").play("test").record_in_background();
    server.wait_for_players("live", "test", 1);
    let mut dry = Client::open(server.rtmp()).connect("live").publish("test?bandwidthtest=1");
    let mut again = Client::open(server.rtmp()).connect("live").publish("test?bandwidthtest=true");
    for tag in &media.tags {
        dry.send_tag(tag);
        again.send_tag(tag);
    }
    let shown = wait_until("both are taken in whole", PATIENCE, || {
        let streams = server.streams();
        let is_whole = |stream: &&Value| {
            stream["dry_run"] == true && stream["messages_in"].as_u64() == Some(media.tags.len() as u64)
        };
        (streams.iter().filter(is_whole).count() == 2).then_some(streams)
    });
    let dry_one = shown.iter().find(|stream| stream["dry_run"] == true).expect("a dry run");
    assert_eq!((&dry_one["subscribers"], &dry_one["gop_frames"]), (&json!(0), &json!(0)));
    assert!(
        dry_one["codecs"].as_array().is_some_and(|codecs| !codecs.is_empty()),
        "its health is known: {dry_one}"
    );

    let mut real = Client::open(server.rtmp()).connect("live").publish("test");
    let one = server.get("/api/v1/streams/live/test").json();
    assert_eq!((&one["stream"]["dry_run"], &one["stream"]["subscribers"]), (&json!(false), &json!(1)));
    for tag in &media.tags {
        real.send_tag(tag);
    }
    again.unpublish();
    real.unpublish();
    player.assert_whole(&support::packets::Packet::from_tags(&media.tags));
    dry.unpublish();
    wait_until("nothing is left", PATIENCE, || server.streams().is_empty().then_some(()));
}

/// Notices come in order, are repeated until they are taken, and the last ones come with the end of the process.
#[test]
fn what_happens_is_told() {
    let secret = secret_file();
    let back_end = BackEnd::start(|_| Answer::Say(500, String::new()));
    let config = format!(
        "[engine]\ndrain_seconds = 1\n[notify]\nurl = \"{}\"\nsecret = \"file:{secret}\"\nconnects = true\n",
        back_end.url("/told")
    );
    let server = Inrush::new().cores(2).config(&config).start();
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("test?key=s3cret");
    wait_until("it has failed to take them", PATIENCE, || {
        (server.metrics().sum("inrush_notice_failures_total", &[]) > 0).then_some(())
    });
    back_end.change_mind(|_| Answer::Say(204, String::new()));
    let player = Client::open(server.rtmp()).connect("live").play("test").record_in_background();
    server.wait_for_players("live", "test", 1);
    let media = THIN.media();
    media.tags.iter().for_each(|tag| publisher.send_tag(tag));
    publisher.unpublish();
    player.finish();
    let stays = Client::open(server.rtmp()).connect("live").publish("stays");
    let taken = || -> Vec<Value> {
        let requests = back_end.requests();
        let after_the_failures =
            requests.iter().skip_while(|request| first_number(request) == 1).collect::<Vec<_>>();
        let first = requests.iter().rev().find(|request| first_number(request) == 1);
        let events =
            first.into_iter().chain(after_the_failures).map(|request| request.json()["events"].take());
        events.flat_map(|events| events.as_array().cloned().unwrap_or_default()).collect()
    };
    wait_until("all that happened was told", PATIENCE, || {
        taken().iter().any(|event| event["event"] == "publish" && event["name"] == "stays").then_some(())
    });
    server.stop();
    drop(stays);
    let events = taken();
    let words: Vec<_> = events
        .iter()
        .filter(|event| event["event"] != "connect")
        .map(|event| {
            format!(
                "{} {}",
                event["event"].as_str().unwrap_or_default(),
                event["name"].as_str().unwrap_or_default()
            )
        })
        .collect();
    let mut sorted = words.clone();
    sorted.sort();
    let expected = [
        "play test",
        "play_done test",
        "publish stays",
        "publish test",
        "publish_done stays",
        "publish_done test",
    ];
    assert_eq!(sorted, expected, "{words:?}");
    assert_eq!((words[0].as_str(), words[5].as_str()), ("publish test", "publish_done stays"), "{words:?}");
    assert_eq!(events.iter().filter(|event| event["event"] == "connect").count(), 3);
    let numbers: Vec<_> = events.iter().filter_map(|event| event["number"].as_u64()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    let done = events.iter().find(|event| event["event"] == "publish_done").expect("there is one");
    assert_eq!(done["messages"], json!(media.tags.len()));
    assert!(events.iter().all(|event| !event.to_string().contains("s3cret")), "{events:?}");
    assert!(back_end.requests().iter().all(|request| request.header("x-inrush-signature").is_some()));
}

fn first_number(request: &Request) -> u64 {
    request.json()["events"][0]["number"].as_u64().unwrap_or_default()
}

/// A back end that is slow, wrong and dead, and comes back each time: 200 live streams lose nothing, new publishes follow the policy, and the
/// breaker's states are to be seen.
#[test]
fn streams_outlive_their_back_end() {
    const LIVE: usize = 200;
    const FAILURES_MAX: usize = 2;
    let fine = |_: &Request| Answer::Say(200, "{}".into());
    let back_end = BackEnd::start(fine);
    let table = |app: &str, timeout_ms: u32, more: &str| {
        format!(
            "[[auth]]\napp = \"{app}\"\npublish = \"callback\"\ncallback_url = \"{}\"\ncallback_timeout_ms = {timeout_ms}\n\
             callback_failures_max = {FAILURES_MAX}\ncallback_open_seconds = 1\ncallback_allow_seconds = 0\ncallback_deny_seconds = 0\n\
             {more}\n",
            back_end.url("/ask")
        )
    };
    let config = [
        table("herd", 14_000, ""),
        table("live", 1_000, "callback_stale_seconds = 0"),
        table("lenient", 300, "fail = \"open\"\ncallback_stale_seconds = 0"),
        table("known", 300, "callback_stale_seconds = 600"),
    ]
    .concat();
    let server = Inrush::new().cores(2).config(&config).start();
    let herd = Herd::start(server.rtmp(), "herd", "stream", LIVE);
    wait_until("one is known", PATIENCE, || may_publish(&server, "known", "before").then_some(()));
    let state = || server.metrics().sum("inrush_auth_breaker_state", &[("table", "live")]);
    let failures =
        |kind: &str| server.metrics().sum("inrush_auth_failures_total", &[("table", "live"), ("kind", kind)]);

    let phase = |what: &str, failing: [(&str, Answer); FAILURES_MAX]| {
        assert_eq!(state(), 0, "{what}: not yet");
        for (kind, answer) in failing {
            let before = failures(kind);
            back_end.change_mind(move |_| answer.clone());
            let refused = ask(&server, "live", "new");
            assert_eq!(refused.code, DENIED, "{what}: {kind}");
            assert_eq!(
                refused.description,
                "the server could not find out whether this is allowed: try again"
            );
            assert_eq!(failures(kind), before + 1, "{what}: {kind}");
        }
        assert_ne!(state(), 0, "{what}: the breaker is open");
        assert!(!may_publish(&server, "live", "new"), "{what}: closed is the policy");
        assert!(may_publish(&server, "lenient", "new"), "{what}: open is the other one");
        assert!(may_publish(&server, "known", "before"), "{what}: who was known is let in");
        assert!(!may_publish(&server, "known", "never"), "{what}: and others are not");
        back_end.change_mind(fine);
        wait_until("it is asked again", PATIENCE, || may_publish(&server, "live", "new").then_some(()));
        assert_eq!(state(), 0, "{what}: closed again");
    };
    let slow = Answer::Late(Duration::from_secs(3), 200, "{}".into());
    phase("slow", [("timeout", slow.clone()), ("timeout", slow)]);
    let html = Answer::Say(200, "<html>welcome</html>".into());
    phase("wrong", [("nonsense", html), ("status", Answer::Say(500, "{\"allow\": true}".into()))]);
    let huge = Answer::Say(200, format!("{{\"reason\": \"{}\"}}", "x".repeat(1 << 20)));
    let redirect = Answer::With(302, "Location", back_end.url("/elsewhere"));
    phase("wrong in other ways", [("too_long", huge), ("status", redirect)]);
    phase("dead", [("unreachable", Answer::HangUp), ("unreachable", Answer::HangUp)]);

    let metrics = server.metrics();
    assert!(metrics.sum("inrush_auth_breaker_opened_total", &[("table", "live")]) >= 4);
    assert!(metrics.sum("inrush_auth_not_asked_total", &[("table", "live"), ("kind", "breaker_open")]) >= 1);
    assert_eq!(metrics.sum("inrush_auth_call_seconds_count", &[("table", "herd")]), LIVE as u64);
    assert!(metrics.sum("inrush_auth_answers_total", &[("table", "known"), ("from", "stale")]) >= 4);
    assert!(back_end.requests().iter().all(|request| request.path == "/ask"), "a redirect is not followed");
    assert_eq!(metrics.counter("frames_dropped"), 0);
    let messages = herd.finish_whole();
    println!("{LIVE} streams: {messages} messages, none lost");
    let complaints = server.log().matches("a back end has failed").count();
    assert!((1..=3).contains(&complaints), "each table complains once a minute: {complaints}");
}
