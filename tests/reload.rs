//! A reload while streams are live: every key is changed, none of them notices, what cannot be changed is named, and what is wrong changes
//! nothing.
#![cfg(feature = "engine")]

mod support;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use inrush::config::NEEDS_RESTART;
use serde_json::{Value, json};
use support::api::Response;
use support::back_end::{Answer, BackEnd};
use support::client::Client;
use support::herd::Herd;
use support::live::Live;
use support::media::H264_AAC;
use support::ports::HeldPort;
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::tls::{Certificate, Tls};
use support::{PATIENCE, scratch_file, wait_until};

/// Streams that are live while all is changed, each with a player.
const STREAMS: usize = 200;

/// A server whose configuration file can be written anew.
struct Reloadable {
    server: Server,
    file: PathBuf,
    /// Where it listens for RTMP, whatever else the file says.
    rtmp: SocketAddr,
    _port: HeldPort,
}

impl Reloadable {
    #[track_caller]
    fn start(text: &str) -> Self {
        let (file, port) = (scratch_file("reloaded.toml"), HeldPort::new());
        let rtmp = port.address();
        std::fs::write(&file, with_listeners(&[rtmp], text)).expect("write a configuration file");
        let inrush = Inrush::new().default_addresses().environment("INRUSH_HTTP", "127.0.0.1:0").args(&[
            "--config",
            &file.display().to_string(),
            "--cores",
            "2",
        ]);
        Self { server: inrush.start(), file, rtmp, _port: port }
    }

    fn reload(&self, text: &str) -> Response {
        self.reload_listening(&[self.rtmp], text)
    }

    fn reload_listening(&self, rtmp: &[SocketAddr], text: &str) -> Response {
        std::fs::write(&self.file, with_listeners(rtmp, text)).expect("write a configuration file");
        self.server.request("POST", "/api/v1/reload").expect("an answer")
    }

    /// What has changed and what needs a restart.
    #[track_caller]
    fn changes(&self, text: &str) -> Value {
        let answer = self.reload(text);
        assert_eq!(answer.status, 200, "{}: {text}", answer.body);
        answer.json()
    }

    /// The line that refuses it, its number and all behind it.
    #[track_caller]
    fn refusal(&self, text: &str) -> String {
        let answer = self.reload(text);
        let code = &answer.json()["error"]["code"];
        assert_eq!((answer.status, code), (422, &json!("bad_configuration")), "{text}");
        let line = answer.json()["error"]["message"].as_str().expect("a line").to_owned();
        let place = format!("{}:", self.file.display());
        line.strip_prefix(&place).map_or_else(|| panic!("{line} names no line"), str::to_owned)
    }

    fn accepts(&self, address: SocketAddr) -> bool {
        let Ok(mut socket) = TcpStream::connect(address) else { return false };
        socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        std::io::Write::write_all(&mut socket, &support::wire::c0_c1()).is_ok()
            && socket.read_exact(&mut [0]).is_ok()
    }
}

/// The listeners come behind a first line, so that a test's own text begins at the second.
fn with_listeners(rtmp: &[SocketAddr], text: &str) -> String {
    let list: Vec<_> = rtmp.iter().map(|address| format!("\"{address}\"")).collect();
    format!("rtmp.listen = [{}]\n{text}", list.join(", "))
}

fn pattern() -> Pattern {
    Pattern { frame_ms: 40, gop_frames: 10, video_bytes: 400, audio_bytes: 100 }
}

#[track_caller]
fn publish(address: SocketAddr, app: &str, name: &str) -> Live {
    let client = Client::open(address).connect(app).publish(name);
    Live::start(client, &sequence_headers(&H264_AAC.media()), &pattern(), 0)
}

/// The keys of the tables of `deploy/inrush.toml`, which a test of the configuration holds to be all there are, with their defaults.
fn keys() -> BTreeMap<String, Vec<(String, String)>> {
    let sample = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/inrush.toml"));
    let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut table = String::new();
    for line in sample.expect("the sample").lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if line.starts_with('[') && line.ends_with(']') {
            table = line.to_owned();
        } else if let Some((key, value)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        {
            tables.entry(table.clone()).or_default().push((key.into(), value.into()));
        }
    }
    tables
}

/// Another value for a key than its default.
#[track_caller]
fn other_value(table: &str, key: &str, default: &str) -> String {
    let text = match (table, key) {
        ("[engine]", "cores") => "1",
        ("[engine]", "placement") => "\"accept\"",
        ("[engine]", "reconnect_url") => "\"rtmp://elsewhere.example/live\"",
        ("[tls]", "self_signed") => "true",
        ("[proxy]", "trusted") => "[\"198.51.100.0/24\"]",
        ("[notify]", "url") => "\"http://127.0.0.1:1/\"",
        ("[notify]" | "[control]", "secret" | "token") => "\"env:INRUSH_TEST_TOKEN\"",
        ("[limits]", "trusted") => "[\"127.0.0.0/8\", \"198.51.100.0/24\"]",
        ("[control]", "listen") => "\"127.0.0.1:1\"",
        ("[recorder]", "directory") => "\"/nonexistent\"",
        // The other one that every kernel has.
        (_, "congestion") => "\"reno\"",
        ("[log]", "filter") => "\"debug\"",
        ("[log]", "format") => "\"json\"",
        ("[[app]]", "timestamps") => "\"monotonic\"",
        ("[[app]]", "limit_codecs") => "[\"avc1\"]",
        ("[[app]]", "takeover") => "\"newest\"",
        ("[[app]]", "mismatch") => "\"refuse\"",
        ("[[target]]" | "[[upstream]]", "flash_ver") => "\"another\"",
        ("[[target]]" | "[[upstream]]", "params") => "\"a=b\"",
        _ => match (default, default.parse::<u64>()) {
            ("true", _) => "false",
            ("false", _) => "true",
            // Half of it, where the sum of something must not be below its part.
            (_, Ok(number)) if number < 2 => return (number + 1).to_string(),
            (_, Ok(number)) if key == "message_bytes_max" || key.ends_with("_min") => {
                return (number / 2).to_string();
            }
            (_, Ok(number)) if matches!(key, "handshake_percent_max") => return (number + 1).to_string(),
            (_, Ok(number)) => return (number * 2).to_string(),
            _ => panic!("{table} {key} = {default}: say here what else it can be"),
        },
    };
    text.to_owned()
}

/// Each key of the configuration is changed while streams are live: it is named as changed, or as one that needs a restart. A key that is new comes with
/// the sample file, and is changed here or fails. What is changed is seen to be so in the test after this one.
#[test]
fn each_key_is_named_as_changed_or_for_a_restart_while_streams_live() {
    let it = Reloadable::start("");
    let herd = Herd::start(it.rtmp, "live", "herd", STREAMS);
    let mut refused = Vec::new();
    for (table, keys) in keys() {
        // What is changed for real below, and what stands with others alone: tables of authorisation are read again whole, whatever is in them.
        if matches!(&*table, "[[certificate]]" | "[[auth]]" | "[[key]]") {
            continue;
        }
        let (head, names): (&str, &[&str]) = match &*table {
            "[[app]]" => ("name = \"other\"\n", &["name"]),
            // Groups, shards and TLS are in words of their own, and these tables are compared whole as well.
            "[[target]]" => (
                "app = \"nobody\"\nurl = \"rtmp://127.0.0.1:1/{app}/{name}\"\n",
                &[
                    "app",
                    "url",
                    "shards",
                    "group",
                    "rank",
                    "failover_ms",
                    "failback_ms",
                    "tls_ca_file",
                    "tls_verify",
                ],
            ),
            "[[upstream]]" => (
                "app = \"nobody\"\nurl = \"rtmp://127.0.0.1:1/{app}/{name}\"\n",
                &["app", "url", "shards", "tls_ca_file", "tls_verify"],
            ),
            "[rtmp]" | "[tls]" => ("", &["listen", "detect"]),
            // Without a URL a file of certificates is none of anybody's; the control HTTP's is the one that answers us.
            "[notify]" => ("", &["ca_file"]),
            _ => ("", &[]),
        };
        let is_list = table.starts_with("[[");
        it.changes(&if is_list { format!("{table}\n{head}") } else { String::new() });
        for (key, default) in keys.iter().filter(|(key, _)| !names.contains(&&**key)) {
            let path = format!("{}.{key}", table.trim_matches(['[', ']']));
            let value = other_value(&table, key, default);
            let table = if table == "[rtmp]" { String::new() } else { format!("{table}\n") };
            let line = if table.is_empty() {
                format!("rtmp.{key} = {value}\n")
            } else {
                format!("{key} = {value}\n")
            };
            let text = format!("{table}{head}{line}");
            let answer = it.reload(&text);
            // Its variable is not set: it is looked for. `tests/control_http.rs` has the token changed.
            if path == "control.token" {
                assert_eq!(answer.status, 422, "{path}: {}", answer.body);
                continue;
            }
            let is_overridden = matches!(&*path, "engine.cores" | "control.listen");
            let named = match &*table {
                "[[app]]\n" => "app \"other\"",
                "[[target]]\n" => "target",
                "[[upstream]]\n" => "upstream",
                _ => &path,
            };
            let expected = match NEEDS_RESTART.contains(&&*path) {
                // A flag or a variable stands over the file here.
                true if is_overridden => json!({"changed": [], "needs_restart": []}),
                true => json!({"changed": [], "needs_restart": [path]}),
                false => json!({"changed": [named], "needs_restart": []}),
            };
            if (answer.status, answer.json()) != (200, expected) {
                refused.push(format!("{path} = {value}: {}", answer.body));
            }
            it.changes(&if is_list { format!("{table}{head}") } else { String::new() });
        }
        it.changes("");
    }
    assert_eq!(refused, Vec::<String>::new());
    herd.finish_whole();
}

/// What a reload changes is seen to be so, one thing after the other, while streams are live: listeners that come and go, an app's settings,
/// limits, deadlines, notices, targets and upstreams.
#[test]
fn what_is_changed_is_so_while_streams_live() {
    let it = Reloadable::start("");
    let herd = Herd::start(it.rtmp, "live", "herd", STREAMS);
    listeners_come_and_go(&it);
    an_app_has_other_settings(&it);
    limits_and_deadlines_bite(&it);
    somebody_is_told(&it);
    targets_and_upstreams_come_and_go(&it);
    herd.finish_whole();
}

fn listeners_come_and_go(it: &Reloadable) {
    let (second, tls) = (HeldPort::new(), HeldPort::new());
    let certificate = Certificate::new(&["a.example"]);
    let secured = format!("{}[tls]\nlisten = [\"{}\"]\n", certificate.table(), tls.address());
    // The file's own tables come after the key in front.
    let answer = it.reload_listening(&[it.rtmp, second.address()], &secured);
    let changed = json!({"changed": ["rtmp.listen", "tls.listen", "certificate"], "needs_restart": []});
    assert_eq!((answer.status, answer.json()), (200, changed));
    assert!(it.accepts(it.rtmp) && it.accepts(second.address()));
    drop(Tls::new().connect(tls.address()));

    // Told apart by the first byte, where RTMP alone was spoken, with the certificate that is there.
    it.changes(&format!("{}[tls]\ndetect = true\n", certificate.table()));
    drop(Tls::new().connect(it.rtmp));
    assert!(it.accepts(it.rtmp));

    // One address may stand for another of ours, either way; nobody may have one that stands for none of them.
    let everywhere = SocketAddr::from(([0, 0, 0, 0], it.rtmp.port()));
    for address in [everywhere, it.rtmp] {
        let answer = it.reload_listening(&[address], "");
        assert_eq!(answer.status, 200, "{address}: {}", answer.body);
        assert!(it.accepts(it.rtmp));
    }
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], it.rtmp.port()));
    let another = Inrush::new().cores(1).args(&["--rtmp", &elsewhere.to_string()]).start();
    let answer = it.reload_listening(&[it.rtmp, elsewhere], "");
    assert_eq!(answer.status, 422, "a server of the same user has it: {}", answer.body);
    drop(another);

    // The first is the herd's, which lives on without it.
    let answer = it.reload_listening(&[second.address()], "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    wait_until("it refuses", PATIENCE, || TcpStream::connect(it.rtmp).is_err().then_some(()));
    wait_until("RTMPS as well", PATIENCE, || TcpStream::connect(tls.address()).is_err().then_some(()));
    assert!(it.accepts(second.address()));
    let there = publish(second.address(), "live", "through-the-second");
    // What is taken is refused whole: neither the first comes back nor the second goes.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let taken = taken.local_addr().expect("its address");
    let answer = it.reload_listening(&[it.rtmp, taken], "[log]\nfilter = \"debug\"\n");
    let line = answer.json()["error"]["message"].as_str().expect("a line").to_owned();
    assert!(answer.status == 422 && line.starts_with(&format!("cannot listen on {taken}: ")), "{line}");
    assert!(it.accepts(second.address()) && TcpStream::connect(it.rtmp).is_err());

    assert_eq!(it.changes(""), json!({"changed": ["rtmp.listen"], "needs_restart": []}));
    assert!(it.accepts(it.rtmp));
    wait_until("the second refuses", PATIENCE, || {
        TcpStream::connect(second.address()).is_err().then_some(())
    });
    assert!(there.is_running(), "and whoever came by it is there");
    there.pause().0.unpublish();
}

fn an_app_has_other_settings(it: &Reloadable) {
    let gop_frames = |name: &str| {
        let streams = it.server.streams();
        let stream = streams.into_iter().find(|stream| stream["name"] == name)?;
        (stream["messages_in"].as_u64()? > 8).then(|| stream["gop_frames"].as_u64())?
    };
    let kept = |name: &str| wait_until("its messages have come", PATIENCE, || gop_frames(name));
    let before = publish(it.rtmp, "shown", "before");
    assert!(kept("before") > 0);
    let text = "[[app]]\nname = \"shown\"\ngop_cache = false\n";
    assert_eq!(it.changes(text), json!({"changed": ["app \"shown\""], "needs_restart": []}));
    let after = publish(it.rtmp, "shown", "after");
    assert_eq!(kept("after"), 0);
    assert!(kept("before") > 0, "a stream that was there is as it began");
    it.changes("[[app]]\nname = \"shown\"\nlimit_streams = 2\n");
    let refused = Client::open(it.rtmp).connect("shown").request_publish("one-too-many");
    assert_eq!(refused.code, "NetStream.Publish.Denied", "those who were there before are counted");
    it.changes("");
    [before, after].into_iter().for_each(|live| live.pause().0.unpublish());
}

fn limits_and_deadlines_bite(it: &Reloadable) {
    // In force on all cores when the answer comes.
    it.changes("[limits]\ncore_connections_max = 1\n");
    assert!(!it.accepts(it.rtmp), "each core has more than one already");
    it.changes("[deadlines]\nhandshake_seconds = 1\n");
    assert!(it.accepts(it.rtmp), "they are let in again");
    // It is let in and gets its answer to the first half, and never sends the second one.
    let began = Instant::now();
    let mut silent = TcpStream::connect(it.rtmp).expect("it listens");
    silent.set_read_timeout(Some(Duration::from_secs(8))).expect("set a timeout");
    std::io::Write::write_all(&mut silent, &support::wire::c0_c1()).expect("it is let in");
    silent.read_exact(&mut [0]).expect("an answer");
    let end = silent.read_to_end(&mut Vec::new());
    let is_timeout = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(!end.as_ref().is_err_and(is_timeout), "the deadline was 10 s before: {end:?}");
    assert!(began.elapsed() > Duration::from_millis(800), "it is not turned away, but has its time");
    // A bound of one address, where nobody is trusted.
    it.changes("[limits]\ntrusted = []\naddress_connections_max = 1\n");
    wait_until("a second one is turned away", PATIENCE, || {
        let first = TcpStream::connect(it.rtmp).expect("it listens");
        let is_refused = !it.accepts(it.rtmp);
        drop(first);
        is_refused.then_some(())
    });
    // Counted by the core at its next sweep.
    wait_until("it is counted by that name", PATIENCE, || {
        (it.server.metrics().of_kind("refused", "address_connections_max") > 0).then_some(())
    });
    it.changes("");
}

fn somebody_is_told(it: &Reloadable) {
    let hears = |back_end: &BackEnd, name: &str| {
        back_end.requests().iter().any(|request| request.body.contains(name))
    };
    let (first, second) =
        (BackEnd::start(|_| Answer::Say(200, "".into())), BackEnd::start(|_| Answer::Say(200, "".into())));
    let tells = |back_end: &BackEnd, waiting: usize| {
        format!("[notify]\nurl = \"{}\"\nwaiting_max = {waiting}\n", back_end.url("/"))
    };
    let changed = it.changes(&tells(&first, 1000));
    assert_eq!(changed["changed"], json!(["notify.url", "notify.waiting_max"]));
    publish(it.rtmp, "told", "to-the-first").pause().0.unpublish();
    wait_until("the first is told", PATIENCE, || hears(&first, "to-the-first").then_some(()));
    assert_eq!(it.changes(&tells(&second, 1000))["changed"], json!(["notify.url"]));
    publish(it.rtmp, "told", "to-the-second").pause().0.unpublish();
    wait_until("the second is told", PATIENCE, || hears(&second, "to-the-second").then_some(()));
    assert!(!hears(&first, "to-the-second"));
    it.changes("");
    publish(it.rtmp, "told", "to-nobody").pause().0.unpublish();
    it.changes(&tells(&second, 1000));
    publish(it.rtmp, "told", "to-the-second-again").pause().0.unpublish();
    wait_until("the second is told again", PATIENCE, || hears(&second, "to-the-second-again").then_some(()));
    assert!(!hears(&second, "to-nobody"));
    it.changes("");
}

fn targets_and_upstreams_come_and_go(it: &Reloadable) {
    let (one, two) = (Inrush::new().cores(1).start(), Inrush::new().cores(1).start());
    let table = |server: &Server, more: &str| {
        format!(
            "[[target]]\napp = \"sent\"\nurl = \"{}\"\nbackoff_ms_min = 100\n{more}",
            server.url("sent", "{name}")
        )
    };
    let arrived = |server: &Server| {
        let publisher = server.connections_of("publisher", "sent", "camera");
        publisher.first().map(|one| one["id"].as_str().expect("an id").to_owned())
    };
    let camera = publish(it.rtmp, "sent", "camera");
    it.changes(&table(&one, ""));
    let first = wait_until("a target that is new gets a stream that was there", PATIENCE, || arrived(&one));
    it.changes(&format!("{}{}", table(&two, ""), table(&one, "")));
    let second = wait_until("and so does another", PATIENCE, || arrived(&two));
    assert_eq!(arrived(&one), Some(first.clone()), "one that is as before is not touched");
    it.changes(&format!("{}{}", table(&two, "flash_ver = \"another\"\n"), table(&one, "")));
    wait_until("one that is changed is begun anew", PATIENCE, || arrived(&two).filter(|id| *id != second));
    assert_eq!(arrived(&one), Some(first));
    it.changes(&table(&two, "flash_ver = \"another\"\n"));
    wait_until("one that is gone gets nothing more", PATIENCE, || arrived(&one).is_none().then_some(()));
    it.changes("");
    wait_until("nothing is forwarded", PATIENCE, || it.server.forwards().is_empty().then_some(()));
    assert!(camera.is_running());
    camera.pause().0.unpublish();

    let there = publish(one.rtmp(), "fetched", "camera");
    let upstream = |server: &Server| {
        format!(
            "[[upstream]]\napp = \"fetched\"\nurl = \"{}\"\nlinger_ms = 0\nbackoff_ms_min = 100\n",
            server.url("fetched", "{name}")
        )
    };
    it.changes(&upstream(&one));
    let mut player = Client::open(it.rtmp).connect("fetched").play("camera");
    player.wait_for("a frame comes", |event| matches!(event, support::client::Event::Media(_)).then_some(()));
    let id = |server: &Server| {
        let players = server.connections_of("player", "fetched", "camera");
        players.first().map(|one| one["id"].as_str().expect("an id").to_owned())
    };
    let before = wait_until("it is pulled", PATIENCE, || id(&one));
    it.changes(&format!("{}[limits]\namf_depth_max = 33\n", upstream(&one)));
    assert_eq!(id(&one), Some(before), "an upstream that is as before is not touched");
    let elsewhere = publish(two.rtmp(), "fetched", "camera");
    it.changes(&upstream(&two));
    wait_until("it comes from elsewhere", PATIENCE, || {
        (id(&one).is_none() && id(&two).is_some()).then_some(())
    });
    it.changes("");
    wait_until("nothing is pulled", PATIENCE, || id(&two).is_none().then_some(()));
    drop(player);
    [there, elsewhere].into_iter().for_each(|live| live.pause().0.unpublish());
}

/// A bad file is refused whole, with its line, what is wrong and what would be right; what was in force stays.
#[test]
fn a_bad_file_is_refused_with_its_line_and_changes_nothing() {
    let it = Reloadable::start("");
    let live = publish(it.rtmp, "live", "camera");
    let bad = [
        ("[engine]\ncolour = 1\n", "3: unknown key \"colour\" in [engine]; allowed: "),
        ("[engin]\ncores = 1\n", "2: unknown table [engin]; allowed: "),
        ("[[engine]]\ncores = 1\n", "2: engine is not a table; allowed: [engine]"),
        ("cores = 1\n", "2: unknown key \"cores\" outside of any table; allowed: "),
        ("[engine\n", "2: "),
        ("[engine]\ncores = 129\n", "3: engine.cores: 129 is out of range; allowed: 0 to 128"),
        ("[engine]\ncores = -1\n", "3: engine.cores: -1 is out of range; allowed: 0 to 128"),
        ("[engine]\ncores = 1.5\n", "3: engine.cores: a float is not a whole number; allowed: 0 to 128"),
        ("[engine]\ncores = \"two\"\n", "3: engine.cores: \"two\" is not a whole number; allowed: 0 to 128"),
        (
            "[engine]\nplacement = \"away\"\n",
            "3: engine.placement: \"away\" is no placement; allowed: accept, home, core:N",
        ),
        (
            "[engine]\ndrain_seconds = 86401\n",
            "3: engine.drain_seconds: 86401 is out of range; allowed: 0 to 86400",
        ),
        ("[engine]\nreconnect_url = \"http://h\"\n", "3: engine.reconnect_url: \"http://h\": "),
        (
            "rtmp.window_ack_bytes = 1\n",
            "2: rtmp.window_ack_bytes: 1 is out of range; allowed: 65536 to 1073741824",
        ),
        ("rtmp.ping_seconds = 0\n", "2: rtmp.ping_seconds: 0 is out of range; allowed: 1 to 86400"),
        ("rtmp.listen = [\"127.0.0.1:1\"]\n", "2: "),
        ("[tls]\nlisten = [\"here\"]\n", "3: tls.listen: \"here\" is not an address; allowed: "),
        (
            "[tls]\nlisten = [\"127.0.0.1:1\"]\n",
            "3: RTMPS is to be served and there is no certificate; allowed: ",
        ),
        ("[tls]\ndetect = 1\n", "3: tls.detect: 1 is neither true nor false; allowed: true, false"),
        (
            "[tls]\nhandshake_percent_max = 101\n",
            "3: tls.handshake_percent_max: 101 is out of range; allowed: 1 to 100",
        ),
        ("[[certificate]]\nchain_file = \"a.pem\"\n", "2: this [[certificate]] has no key_file; allowed: "),
        (
            "[[certificate]]\nchain_file = \"none.pem\"\nkey_file = \"none.pem\"\n",
            "3: certificate.chain_file: none.pem: cannot be read",
        ),
        ("[proxy]\ntrusted = [\"everybody\"]\n", "3: proxy.trusted: "),
        (
            "[ingest]\nlatency_budget_ms = 1001\n",
            "3: ingest.latency_budget_ms: 1001 is out of range; allowed: 0 to 1000",
        ),
        ("[notify]\nurl = \"ftp://h/\"\n", "3: notify.url: "),
        ("[notify]\nurl = \"http://h/\"\nsecret = \"hunter2\"\n", "4: notify.secret: "),
        ("[notify]\nurl = \"http://h/\"\nsecret = \"file:/nonexistent\"\n", "4: notify.secret: "),
        ("[control]\ntoken = \"file:/nonexistent\"\n", "3: control.token: "),
        (
            "[deadlines]\nidle_seconds = 0\n",
            "3: deadlines.idle_seconds: 0 is out of range; allowed: 1 to 86400",
        ),
        (
            "[deadlines]\nwrite_seconds = \"soon\"\n",
            "3: deadlines.write_seconds: \"soon\" is not a whole number; allowed: 1 to 86400",
        ),
        (
            "[limits]\nmessage_bytes_max = 16777216\n",
            "3: limits.message_bytes_max: 16777216 is out of range; allowed: 65536 to 16777215",
        ),
        (
            "[limits]\nreassembly_bytes_max = 65536\n",
            "3: limits.reassembly_bytes_max = 65536 is below limits.message_bytes_max = 8388608; allowed: message_bytes_max <= reassembly_bytes_max",
        ),
        (
            "[limits]\ncore_connections_max = 0\n",
            "3: limits.core_connections_max: 0 is out of range; allowed: 1 to 1000000",
        ),
        ("[limits]\ntrusted = [\"127.0.0.0/33\"]\n", "3: limits.trusted: "),
        ("[limits]\ntrusted = [1]\n", "3: limits.trusted: 1 in the list is not a string; allowed: "),
        ("[log]\nfilter = \"loud\"\n", "3: log.filter: \"loud\" is no log level; allowed: "),
        ("[log]\nformat = \"xml\"\n", "3: log.format: \"xml\" is no log format; allowed: text, json"),
        ("[log]\nfilter = \"info\"\nfilter = \"info\"\n", "4: "),
        ("[[app]]\ngop_cache = true\n", "2: this [[app]] has no name; allowed: "),
        (
            "[[app]]\nname = \"a\"\n[[app]]\nname = \"a\"\n",
            "5: app \"a\" has a table already; allowed: one [[app]] an app",
        ),
        ("[[app]]\nname = \"/a\"\n", "3: app.name: \"/a\" has slashes around it; allowed: "),
        (
            "[[app]]\nname = \"a\"\ntakeover = \"never\"\n",
            "4: app.takeover: \"never\" is no takeover policy; allowed: reject, newest, priority",
        ),
        (
            "[[app]]\nname = \"a\"\nqueue_ms_max = 0\n",
            "4: app.queue_ms_max: 0 is out of range; allowed: 100 to 600000",
        ),
        ("[[target]]\napp = \"a\"\n", "2: this [[target]] has no url; allowed: "),
        ("[[target]]\nurl = \"http://h/a/b\"\n", "3: target.url: "),
        ("[[target]]\nurl = \"rtmp://h/a/b\"\nshards = 2\n", "4: target.shards: "),
        (
            "[[upstream]]\nurl = \"rtmp://h/a/b\"\nlinger_ms = -1\n",
            "4: upstream.linger_ms: -1 is out of range; allowed: 0 to 3600000",
        ),
        (
            "[[auth]]\napp = \"a\"\npublish = [\"magic\"]\n",
            "4: auth.publish: \"magic\" is no source; allowed: ",
        ),
        ("[[auth]]\napp = \"a\"\npublish = [\"callback\"]\n", "3: auth.callback_url: "),
        ("[[key]]\nsha256 = \"short\"\n", "3: key.sha256: "),
    ];
    assert!(bad.len() >= 40);
    let wrong = bad.iter().filter_map(|(text, line)| {
        // Something that would be seen to have changed, if a part were taken.
        let refused = it.refusal(
            &format!("{text}[[app]]\nname = \"taken\"\n").replace("[engine\n[[app", "[engine\n#[[app"),
        );
        (!refused.starts_with(line)).then(|| format!("{text:?} gives {refused:?}, not {line:?}"))
    });
    let wrong: Vec<_> = wrong.collect();
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(it.changes(""), json!({"changed": [], "needs_restart": []}), "what was in force stayed");
    assert!(live.is_running());
    live.pause().0.unpublish();
    wait_until("the log has each of them", PATIENCE, || {
        let told = it.server.log().matches("configuration not reloaded, the old one stays").count();
        (told == bad.len()).then_some(())
    });
}

/// The API says what has changed and what needs a restart, as the log does; asked for again, the same is no news. SIGHUP does the same.
#[test]
fn a_reload_through_the_api_says_what_came_of_it() {
    let it = Reloadable::start("[log]\nfilter = \"info\"\n");
    let file = "[log]\nfilter = \"debug\"\nformat = \"json\"\n[engine]\nplacement = \"accept\"\n";
    let restart = json!(["engine.placement", "log.format"]);
    assert_eq!(it.changes(file), json!({"changed": ["log.filter"], "needs_restart": restart}));
    assert_eq!(
        it.changes(file),
        json!({"changed": [], "needs_restart": restart}),
        "in force it is what it was"
    );
    let told = || {
        it.server.log().matches("these take effect at the next start: engine.placement, log.format").count()
    };
    wait_until("the log says it as often", PATIENCE, || (told() == 2).then_some(()));
    it.server.process().signal(libc::SIGHUP);
    wait_until("the signal does the same", PATIENCE, || (told() == 3).then_some(()));
    assert_eq!(it.server.request("GET", "/api/v1/reload").expect("an answer").status, 405);
}
