//! What `deploy/` gives to those who watch: Prometheus's configuration and rules, and Grafana's dashboard. A real Prometheus reads them as they
//! are, scrapes a server under load of every kind, and has something to say to each selector of a rule and to each query of the dashboard.
#![cfg(feature = "engine")]

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use support::amf::Amf;
use support::back_end::{Answer, BackEnd};
use support::client::{self, Client, Recording};
use support::crowd::Crowd;
use support::live::Live;
use support::media::H264_AAC;
use support::ports::HeldPort;
use support::prometheus::{Prometheus, tool};
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::tls::{Certificate, Tls};
use support::wire::{self, Message};
use support::{PATIENCE, scratch_file, wait_until};

const TOKEN: &str = "the-token-that-prometheus-says";

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

/// A public key, in the form that key sets have: that of RFC 7517 A.1.
fn key_set() -> String {
    let (x, y) =
        ("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM");
    json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "x": x, "y": y}]}).to_string()
}

/// A server to which everything happens that it counts, and those around it.
struct Loaded {
    server: Server,
    origin: Server,
    publishers: Vec<Live>,
    players: Vec<Recording>,
    crowd: Crowd,
    _idle: Vec<TcpStream>,
    _back_end: BackEnd,
    _certificate: Certificate,
    recordings: PathBuf,
    _nobody: HeldPort,
}

impl Loaded {
    fn start() -> Self {
        let back_end = BackEnd::start(|request| match request.path.split('?').next() {
            Some("/keys") => Answer::Say(200, key_set()),
            Some("/callback") => Answer::Say(403, String::new()),
            _ => Answer::Say(200, String::new()),
        });
        let nobody = HeldPort::new();
        let origin = Inrush::new().start();
        let (url, away, origin_at) = (back_end.url(""), nobody.address(), origin.rtmp());
        let certificate = Certificate::new(&["localhost"]);
        let recordings = scratch_file("recordings");
        let config = format!(
            "[control]\n\
             [limits]\ntrusted = [\"127.0.0.1/32\"]\naddress_connections_max = 1\n\
             [recorder]\ndirectory = \"{}\"\n\
             [notify]\nurl = \"{url}/notices\"\n\
             [[auth]]\napp = \"asked\"\npublish = [\"jwt\", \"callback\"]\njwt_key_set = \"{url}/keys\"\ncallback_url = \"{url}/callback\"\ncallback_deny_seconds = 0\n\
             [[auth]]\napp = \"old\"\npublish = [\"nginx\"]\non_publish = \"{url}/on_publish\"\non_publish_done = \"{url}/on_publish_done\"\n\
             [[auth]]\napp = \"*\"\n\
             [[target]]\napp = \"live\"\nurl = \"rtmp://{origin_at}/mirror/{{name}}\"\n\
             [[target]]\napp = \"live\"\nurl = \"rtmp://{away}/mirror/{{name}}\"\n\
             [[upstream]]\napp = \"far\"\nurl = \"rtmp://{origin_at}/far/{{name}}\"\n\
             [[upstream]]\napp = \"lost\"\nurl = \"rtmp://{away}/far/{{name}}\"\n{}",
            recordings.display(),
            certificate.table(),
        );
        let server = Inrush::new().cores(2).rtmps().token(TOKEN).config(&config).start();

        let live = |client: Client| {
            let headers = sequence_headers(&H264_AAC.media());
            Live::start(client, &headers, &Pattern::with_bits_per_second(1_000_000), 0)
        };
        let publish = |address, app, name| live(Client::open(address).connect(app).publish(name));
        let mut publishers = vec![
            publish(server.rtmp(), "live", "camera"),
            publish(server.rtmp(), "old", "camera"),
            publish(origin.rtmp(), "far", "movie"),
        ];
        let secure = Client::open_tls(server.rtmps(), &Tls::new()).connect("live").publish("secure");
        publishers.push(live(secure));
        let play = |app, name| Client::open(server.rtmp()).connect(app).play(name).record_in_background();
        let players = vec![play("live", "camera"), play("far", "movie"), play("lost", "movie")];

        // So many writes make a core busy enough to poll, so that it has ticks.
        let crowd = Crowd::join(server.rtmp(), "live", "camera", 120);

        let mut loaded = Self {
            crowd,
            server,
            origin,
            publishers,
            players,
            _idle: Vec::new(),
            _back_end: back_end,
            _certificate: certificate,
            recordings,
            _nobody: nobody,
        };
        loaded.misbehave();
        loaded
    }

    /// Each thing once that ends in a refusal or a fault.
    fn misbehave(&mut self) {
        let server = &self.server;
        let second = Client::open(server.rtmp()).connect("live").request_publish("camera");
        assert_eq!(second.level, "error", "{second:?}");
        let mut broken = Client::open(server.rtmp()).connect("live").publish("broken");
        broken.send(&Message::set_chunk_size(0));
        assert!(broken.wait_for_close(PATIENCE));
        let mut odd = Client::open(server.rtmp()).connect("live");
        odd.send(&Message::command(0, &["doWhatNobodyKnows".into(), 9.0.into(), Amf::Null]));
        drop(odd);
        let mut plain = TcpStream::connect(server.rtmps()).expect("connect");
        plain.write_all(&wire::c0_c1()).expect("send");
        let _ = plain.read_to_end(&mut Vec::new());
        let elsewhere = || client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), server.rtmp());
        self._idle = vec![elsewhere(), elsewhere()];
        assert_eq!(server.request_with(None, "GET", "/metrics").expect("an answer").status, 401);
        self.ask();
    }

    /// Asks the back end, and is denied.
    fn ask(&self) {
        let denied = Client::open(self.server.rtmp()).connect("asked").request_publish("camera");
        assert_eq!(denied.level, "error", "{denied:?}");
    }

    /// Ends it all in order: a player of a stream that never comes stays until the server goes.
    fn finish(self) {
        self.publishers.into_iter().for_each(|publisher| drop(publisher.pause()));
        self.server.stop();
        self.origin.stop();
        self.crowd.finish();
        let _ = std::fs::remove_dir_all(self.recordings);
        self.players.into_iter().for_each(|player| drop(player.finish_tags()));
    }
}

/// `deploy/prometheus` as somebody who follows it would have it: with the nodes and the token's file of this test, and less patience.
fn prometheus_of(address: SocketAddr) -> PathBuf {
    let directory = scratch_file("prometheus");
    std::fs::create_dir_all(&directory).expect("make a directory");
    let token = directory.join("token");
    std::fs::write(&token, TOKEN).expect("write a token");
    std::fs::copy(deployed("prometheus/rules.yml"), directory.join("rules.yml")).expect("copy the rules");
    let mut config = std::fs::read_to_string(deployed("prometheus/prometheus.yml")).expect("read the sample");
    for (there, here) in [
        ("/etc/prometheus/inrush-token", token.display().to_string().as_str()),
        ("ingest-1.example.org:8935", &address.to_string()),
        ("          - ingest-2.example.org:8935\n", ""),
        ("scrape_interval: 15s", "scrape_interval: 300ms"),
        ("evaluation_interval: 15s", "evaluation_interval: 500ms"),
        // Whoever listens there is not to hear of it.
        ("\"127.0.0.1:9093\"", ""),
    ] {
        assert_eq!(config.matches(there).count(), 1, "{there} stands once in the sample");
        config = config.replace(there, here);
    }
    let file = directory.join("prometheus.yml");
    std::fs::write(&file, config).expect("write the configuration");
    file
}

/// Every name of ours in an expression, with the labels that it is asked for by: what has to exist for it to mean anything.
fn selectors(expression: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(at) = rest.find(|c: char| is_name(c) || c == '"' || c == '{') {
        rest = &rest[at..];
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = &quoted[quoted.find('"').map_or(quoted.len(), |end| end + 1)..];
            continue;
        }
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len()).max(1);
        let (name, after) = rest.split_at(end);
        rest = after;
        let prefix = name.split(['_', ':']).next().unwrap_or_default();
        if !["inrush", "process", "instance", "up"].contains(&prefix) || name == prefix && name != "up" {
            continue;
        }
        let labels = match after.starts_with('{') {
            true => &after[..after.find('}').expect("a brace that opens closes") + 1],
            false => "",
        };
        found.insert(format!("{name}{labels}"));
        rest = &after[labels.len()..];
    }
    found
}

#[test]
fn selectors_are_found_in_expressions() {
    let expression = "sum by (job, instance, kind) (rate(inrush_x_total{kind!=\"a b\"}[5m])) / on (instance) instance:y:p99 > process_z and up{job=\"inrush\"} == 0";
    let expected = ["inrush_x_total{kind!=\"a b\"}", "instance:y:p99", "process_z", "up{job=\"inrush\"}"];
    assert_eq!(selectors(expression).into_iter().collect::<Vec<_>>(), expected);
}

/// Waits until each of these expressions gives at least one number; the load goes on meanwhile.
#[track_caller]
fn all_answer(prometheus: &Prometheus, loaded: &Loaded, mut silent: BTreeSet<String>) {
    let begun = Instant::now();
    wait_until("every expression gives a number", 2 * PATIENCE, || {
        // Of a counter that does not grow there is no quantile.
        loaded.ask();
        silent.retain(|expression| prometheus.query(expression).is_empty());
        assert!(begun.elapsed() < PATIENCE, "/metrics has nothing for {silent:#?}");
        silent.is_empty().then_some(())
    });
}

/// What a panel of the dashboard takes on the screen: left, top, right and bottom.
fn place(panel: &Value) -> [u64; 4] {
    let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().expect("a place"));
    [x, y, x + w, y + h]
}

/// The queries of the dashboard, with its variables as Grafana would put them in for all nodes and an hour that is short.
fn dashboard_queries(dashboard: &Value) -> BTreeSet<String> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions = targets.map(|target| target["expr"].as_str().expect("a query").to_owned());
    let queries = expressions.map(|expression| {
        let concrete = expression.replace("$__rate_interval", "5s").replace("$instance", ".*");
        assert!(!concrete.contains('$'), "{expression}");
        for selector in selectors(&expression) {
            assert!(selector.contains("instance=~\"$instance\""), "{selector} is of all nodes: {expression}");
        }
        concrete
    });
    queries.collect()
}

/// The dashboard has a place for each panel, and each panel says what it shows, in which unit, with a name for every line.
#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let (rows, graphs): (Vec<&Value>, Vec<&Value>) = panels.iter().partition(|panel| panel["type"] == "row");
    let rows: Vec<&str> = rows.iter().map(|row| row["title"].as_str().expect("a title")).collect();
    let expected = [
        "Nodes",
        "Cores",
        "Streams",
        "Latency",
        "Forwards and pulls",
        "Authorisation and notices",
        "Refused and faults",
    ];
    assert_eq!(rows, expected);
    for panel in &graphs {
        let has =
            |pointer| panel.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        let unit =
            if panel["type"] == "heatmap" { "/options/yAxis/unit" } else { "/fieldConfig/defaults/unit" };
        assert!(has("/title") && has("/description") && has(unit), "{panel}");
        let targets = panel["targets"].as_array().expect("queries");
        assert!(
            targets.iter().all(|target| target["legendFormat"].as_str().is_some_and(|name| !name.is_empty())),
            "{panel}"
        );
        let sources = targets.iter().chain([*panel]).map(|it| &it["datasource"]["uid"]);
        assert!(sources.into_iter().all(|uid| uid == "${datasource}"), "{panel}");
        let [left, top, right, bottom] = place(panel);
        assert!(right <= 24, "{panel}");
        let covers = |other: &&Value| {
            let [l, t, r, b] = place(other);
            l < right && left < r && t < bottom && top < b
        };
        assert_eq!(panels.iter().filter(covers).count(), 1, "another one is at its place: {panel}");
    }
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len());
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(deployed("grafana/inrush.json")).expect("read the dashboard");
    serde_json::from_str(&text).expect("JSON")
}

/// `promtool` finds nothing wrong with rules and configuration, and each alert fires when it should and not before.
#[test]
fn promtool_finds_nothing_wrong_with_rules_and_configuration() {
    let promtool = |arguments: &[&str]| {
        let mut command = Command::new(tool("promtool"));
        let output = command.current_dir(deployed("prometheus")).args(arguments).output();
        let output = output.expect("promtool starts; .ci/setup brings it");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
        said
    };
    promtool(&["check", "rules", "rules.yml"]);
    let config = prometheus_of(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    promtool(&["check", "config", &config.display().to_string()]);
    promtool(&["test", "rules", "rules_test.yml"]);
    let _ = std::fs::remove_dir_all(config.parent().expect("it is in a directory"));

    let read = |file| std::fs::read_to_string(deployed(file)).expect("read a file of deploy/");
    let (rules, tests) = (read("prometheus/rules.yml"), read("prometheus/rules_test.yml"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 30, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(&format!("- name: {alert}\n")), "{alert} has no test");
        assert!(
            tests.contains(&format!("{{alertname=\"{alert}\",instance=\"a:8935\"}}', value: 1")),
            "{alert} is not seen to fire"
        );
    }
}

/// A Prometheus with the sample configuration scrapes a loaded server by its token, takes every rule, and has series for all that they ask
/// for; and no query of the dashboard is empty.
#[test]
fn rules_and_dashboard_ask_for_what_there_is() {
    let loaded = Loaded::start();
    let config = prometheus_of(loaded.server.http());
    let prometheus = Prometheus::start(&config);
    wait_until("it has scraped the server", PATIENCE, || {
        (prometheus.query("up{job=\"inrush\"}") == [1.0]).then_some(())
    });

    let groups = prometheus.api("rules", &[]).expect("rules");
    let groups = groups["groups"].as_array().expect("groups");
    let rules: Vec<&Value> =
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).collect();
    let query = |rule: &&Value| rule["query"].as_str().expect("a query").to_owned();
    let asked: BTreeSet<String> = rules.iter().flat_map(|rule| selectors(&query(rule))).collect();
    let queries = dashboard_queries(&dashboard());
    assert!(asked.len() > 40 && queries.len() > 80, "{} {}", asked.len(), queries.len());
    all_answer(&prometheus, &loaded, asked.into_iter().chain(queries).collect());
    for rule in rules.iter().filter(|rule| rule["type"] == "alerting") {
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning", "info"].contains(&severity), "{rule}");
        for annotation in ["summary", "description"] {
            assert!(rule["annotations"][annotation].as_str().is_some_and(|text| text.len() > 20), "{rule}");
        }
    }
    wait_until("every rule is evaluated without an error", PATIENCE, || {
        let groups = prometheus.api("rules", &[]).expect("rules");
        let rules = groups["groups"]
            .as_array()?
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
        let health: Vec<Value> = rules.map(|rule| rule["health"].clone()).collect();
        assert!(!health.contains(&json!("err")), "{groups}");
        health.iter().all(|health| health == "ok").then_some(())
    });
    drop(prometheus);
    let _ = std::fs::remove_dir_all(config.parent().expect("it is in a directory"));
    loaded.finish();
}
