//! What cannot be run is told in one line, at once, with exit code 2, and leaves nothing behind.

mod support;

use std::io::Read;
use std::net::{Shutdown, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use inrush_loadtest::report::{Run, Stage};
use support::server::Server;
use support::{Scratch, harness, measure, wait_until};

/// A run that is refused at once takes none of its own time; only a machine that stands still needs so long to say no.
const AT_ONCE: Duration = Duration::from_secs(10);

#[track_caller]
fn assert_bad_input(output: &Output, message: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}: {error}");
    assert!(error.starts_with("inrush-loadtest: ") && error.contains(message), "{message}: {error}");
    assert_eq!((error.lines().count(), error.ends_with('\n')), (1, true), "{message}: {error}");
    assert!(output.stdout.is_empty(), "{message}: {output:?}");
}

#[test]
fn a_bad_command_line_is_one_line_and_exit_2() {
    let server = Server::inrush();
    let url = server.url("s");
    let many = server.url("s{i}");
    let (flv, empty, cut) = (Scratch::new("no.flv"), Scratch::new("empty.flv"), Scratch::new("cut.flv"));
    std::fs::write(flv.path(), b"RIFF, but no FLV").expect("write a file");
    std::fs::write(empty.path(), b"FLV\x01\x05\0\0\0\x09\0\0\0\0").expect("write a file");
    std::fs::write(cut.path(), b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x09\0\0\xff\0\0\0\0\0\0\0\x17")
        .expect("write a file");
    let [flv, empty, cut] =
        [&flv, &empty, &cut].map(|file| file.path().to_str().expect("a path of ours is text"));
    let gone = gone().to_string();
    // Longer than a label of a name can be (RFC 1035 §2.3.4), so that no resolver is asked.
    let nowhere = format!("rtmp://{}/live/s", "a".repeat(64));
    // Options are looked at before anybody is asked for a handshake.
    let tls = url.replace("rtmp://", "rtmps://");
    let tls = tls.as_str();
    let table: &[(&[&str], &str)] = &[
        (&["publish", "--url", "http://127.0.0.1/live/s"], "begins with rtmp://"),
        (&["publish", "--url", "rtmps://127.0.0.1:1/live/s"], "no server at 127.0.0.1:1"),
        (
            &["publish", "--url", &url, "--tls-insecure"],
            "--tls-insecure is of RTMPS, and --url does not begin with",
        ),
        (&["publish", "--url", &url, "--tls-ca", flv], "--tls-ca is of RTMPS"),
        (&["publish", "--url", &url, "--tls-server-name", "a"], "--tls-server-name is of RTMPS"),
        (&["publish", "--url", &url, "--tls-resume", "0.5"], "--tls-resume is of RTMPS"),
        (&["publish", "--url", tls, "--tls-ca", "/no/such.pem"], "--tls-ca /no/such.pem: No such file"),
        (&["publish", "--url", tls, "--tls-ca", flv], "holds no certificate"),
        (&["publish", "--url", tls, "--tls-ca", flv, "--tls-insecure"], "cannot be used with"),
        (
            &["publish", "--url", tls, "--tls-server-name", "a b"],
            "\"a b\" is no name of a host and no address",
        ),
        (&["publish", "--url", "rtmps://under..dots/live/s"], "--url: \"under..dots\" is no name of a host"),
        (&["publish", "--url", tls, "--tls-resume", "1.5"], "--tls-resume <SHARE>': a share, from 0 to 1"),
        (
            &["play", "--url", &url, "--listen", "127.0.0.1:1"],
            "--listen is of streams that are published here",
        ),
        (&["publish", "--url", &url, "--listen", "192.0.2.1:1940"], "--listen 192.0.2.1:1940: "),
        (
            &["publish", "--url", &url, "--listen", "127.0.0.1:0"],
            "a port that the server under test was told",
        ),
        (&["publish", "--url", &url, "--codec", "h264"], "there are avc, enhanced-avc, hevc"),
        (&["publish", "--url", &url, "--codec", "avc=0"], "a weight is a number"),
        (&["publish", "--url", &url, "--codec", "avc,avc"], "stands there twice"),
        (&["publish", "--url", &url, "--audio", "vorbis"], "there are aac, enhanced-aac, opus"),
        (&["publish", "--url", &url, "--tracks", "17:1"], "from 0 to 16 each and not 0:0"),
        (&["publish", "--url", &url, "--tracks", "0:0"], "as 2:3"),
        (&["publish", "--url", &url, "--multitrack", "all"], "one, many, many-codecs"),
        (
            &["publish", "--url", &url, "--tracks", "2:1", "--codec", "legacy-hevc"],
            "codec id 12 has no place",
        ),
        (&["publish", "--url", &url, "--flv", empty, "--codec", "hevc"], "cannot be used with"),
        (&["publish", "--url", &url, "--flv", empty, "--tracks", "2:2"], "cannot be used with"),
        (&["mixed", "--url", &url, "--player-multitrack", "2"], "a share, from 0 to 1"),
        (&["publish", "--url", &url, "--hostile", "slowloris=3"], "there are garbage, half-open"),
        (&["publish", "--url", &url, "--hostile", "garbage"], "say how many, from 1 to 100000"),
        (&["publish", "--url", &url, "--hostile", "garbage=0"], "as garbage=50"),
        (&["publish", "--url", &url, "--hostile", "churn=1,churn=2"], "--hostile: churn stands there twice"),
        (&["publish", "--url", &url, "--hostile", "tls-hello=1"], "--hostile tls-hello wants a TLS port"),
        (&["publish", "--url", &url, "--tls-flood", "10"], "--tls-flood wants a TLS port"),
        (&["publish", "--url", &url, "--tls-flood", "0"], "from 0.1 to 100000"),
        (&["publish", "--url", &url, "--hostile-source", "127.1.0.0/16"], "--hostile-source is of nobody"),
        (&["publish", "--url", &url, "--hostile-tls", "127.0.0.1:1"], "--hostile-tls is of nobody"),
        (&["publish", "--url", &url, "--hostile-tls", "localhost"], "--hostile-tls"),
        (&["publish", "--url", &url, "--hostile-source", "127.1.0.0"], "write it as 127.1.0.0/16"),
        (
            &["publish", "--url", &url, "--hostile", "churn=1", "--hostile-source", "192.0.2.0/24"],
            "192.0.2.0/24: ",
        ),
        (
            &["publish", "--url", &url, "--hostile", "churn=1", "--hostile-source", "::1/128"],
            "cannot reach 127.0.0.1",
        ),
        (
            &["publish", "--url", &url, "--hostile", "churn=1", "--hostile-pause", "0"],
            "0.02 to 1000000 seconds",
        ),
        (&["publish", "--url", &url, "--fail-if", "hostile.churn.fun>0"], "hostile.churn.fun"),
        (&["publish", "--url", "127.0.0.1:1935"], "begins with rtmp://"),
        (&["publish", "--url", "rtmp://127.0.0.1:99999/live/s"], "port"),
        (&["publish", "--url", "rtmp://127.0.0.1:19350x/live/s"], "port"),
        (&["publish", "--url", &url, "--ramp", "0.0001"], "--ramp"),
        (&["publish"], "--url"),
        (&["publish", "--url", "rtmp://127.0.0.1:1/live/s"], "no server at 127.0.0.1:1"),
        (&["play", "--url", &nowhere], "has no address"),
        (&["publish", "--url", &url, "--flv", "/no/such.flv"], "--flv /no/such.flv"),
        (&["publish", "--url", &url, "--flv", flv], "not an FLV file"),
        (&["publish", "--url", &url, "--flv", empty], "holds no media"),
        (&["publish", "--url", &url, "--flv", cut], "ends inside a tag"),
        (&["publish", "--url", &url, "--publishers", "2"], "{i}"),
        (&["publish", "--url", &url, "--publishers", "0"], "--publishers"),
        (&["publish", "--url", &url, "--server-pid", &gone], "there is no process"),
        (&["publish", "--url", &url, "--server-pid", "4194305"], "there is no process 4194305"),
        (&["publish", "--url", &many, "--publishers", "4000000000"], "open files"),
        (&["publish", "--url", &url, "--cpus", "1000"], "--cpus"),
        (&["publish", "--url", &url, "--source", "192.0.2.1"], "--source 192.0.2.1"),
        (&["publish", "--url", &url, "--source", "::1"], "--source ::1"),
        (&["publish", "--url", &url, "--source", "localhost"], "--source"),
        (&["publish", "--url", &url, "--fail-if", "e2e.p99>50"], "e2e.p99>50"),
        (&["publish", "--url", &url, "--fail-if", "fun>3"], "fun"),
        (&["publish", "--url", &url, "--pacing", "walk"], "--pacing"),
        (&["publish", "--url", &url, "--json", "/no/such/folder/a.json"], "/no/such/folder/a.json"),
        (&["publish", "--url", &url, "--html", "/"], "/: "),
        (&["publish", "--url", &url, "--no-such-option"], "--no-such-option"),
        (&["compare", "/no/such.json"], "/no/such.json"),
        (&["compare", flv], "not a report"),
    ];
    for (args, message) in table {
        let began = Instant::now();
        let output = harness(args).output().expect("run the harness");
        assert_bad_input(&output, message);
        assert!(began.elapsed() < AT_ONCE, "{args:?}");
    }
}

/// The hard limit of the process itself: no larger one can be asked for.
#[test]
fn more_connections_than_open_files_are_told_before_any_load() {
    let server = Server::inrush();
    let url = server.url("s{i}");
    let mut command = harness(&["mixed", "--url", &url, "--publishers", "100", "--players", "200"]);
    // SAFETY: setrlimit is a system call that may be made between fork and exec, and its argument is on the stack.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: 200, rlim_max: 200 };
            match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let output = command.output().expect("run the harness");
    assert_bad_input(&output, "300 connections need 364 open files and the limit is 200");
}

/// A report that cannot be written is told before the run, and what could be written is left as it was.
#[test]
fn a_refused_run_leaves_reports_alone() {
    let (old, new) = (Scratch::new("old.json"), Scratch::new("new.html"));
    std::fs::write(old.path(), "precious").expect("write a file");
    let (json, html) = (old.path().to_str(), new.path().to_str());
    let [json, html] = [json, html].map(|path| path.expect("a path of ours is text"));
    let line = ["publish", "--url", "rtmp://127.0.0.1:1/live/s", "--json", json, "--html", html];
    assert_bad_input(&harness(&line).output().expect("run the harness"), "no server at");
    assert_eq!((old.text().as_str(), new.path().exists()), ("precious", false));
}

/// It takes connections, reads what they say, and ends them.
#[test]
fn a_server_that_only_closes_is_no_server() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let address = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("accept a connection");
            let _ = socket.read(&mut [0; 2048]);
            let _ = socket.shutdown(Shutdown::Both);
        }
    });
    let began = Instant::now();
    let url = format!("rtmp://{address}/live/s{{i}}");
    for line in [
        &["mixed", "--publishers", "3", "--players", "3"][..],
        &["play", "--players", "2"],
        &["publish", "--publishers", "2", "--persona", "garbage=0.5"],
    ] {
        let output =
            harness(line).args(["--url", &url, "--duration", "60"]).output().expect("run the harness");
        assert_bad_input(&output, "handshake");
    }
    assert!(began.elapsed() < 3 * AT_ONCE);
}

/// It takes connections and says nothing: all there is to tell at the end is that nobody was let in.
#[test]
fn a_server_that_says_nothing_is_no_server() {
    // Connections wait in its backlog.
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let url = format!("rtmp://{}/live/s", listener.local_addr().expect("a bound socket has an address"));
    let line = ["mixed", "--url", &url, "--warmup", "0", "--duration", "0.5"];
    let output = harness(&line).output().expect("run the harness");
    assert_bad_input(&output, "handshake: no answer before the end");
}

/// Who publishes nothing loads nothing: exit 2 when all are refused, players or not. When some are let in, the run goes on, and tells.
#[test]
fn a_name_that_is_taken_is_refused() {
    let server = Server::inrush();
    let holder = Holder::start(&server.url("taken0"));
    wait_until("the name is taken", || {
        let mut line =
            harness(&["play", "--url", &server.url("taken0"), "--warmup", "0", "--duration", "0.5"]);
        let file = Scratch::new("taken.json");
        let output = line.arg("--json").arg(file.path()).output().expect("run the harness");
        assert!(output.status.success(), "{output:?}");
        Run::from_json(&file.text()).is_ok_and(|run| run.counts.received > 0).then_some(())
    });
    let began = Instant::now();
    // Those beside the load are let in by this server, and are no publishers of it.
    for mode in [&["publish"][..], &["mixed"], &["publish", "--persona", "wrong-key=1"]] {
        let url = server.url("taken0");
        let output =
            harness(mode).args(["--url", &url, "--duration", "60"]).output().expect("run the harness");
        assert_bad_input(&output, "none of 1 publishers: publish: NetStream.Publish.BadName");
    }
    assert!(began.elapsed() < 3 * AT_ONCE);

    let line =
        ["publish", "--url", &server.url("taken{i}"), "--publishers", "2", "--warmup", "0", "--gop", "25"];
    let (output, run) = measure(&[&line[..], &["--duration", "1.5", "--fail-if", "errors>0"]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!((run.counts.publishes_accepted, run.counts.publishes_refused), (1, 1));
    // A busy machine may have made the generator late, but the server was there.
    assert!(run.counts.sent > 0 && !run.valid.reasons.iter().any(|reason| reason.contains("went away")));
    let refused: Vec<_> =
        run.errors.iter().map(|error| (error.stage, error.kind.as_str(), error.count)).collect();
    assert_eq!(refused, [(Stage::Publish, "NetStream.Publish.BadName", 1)]);
    drop(holder);
}

/// A harness that publishes one stream until it is dropped.
struct Holder(Child);

impl Holder {
    fn start(url: &str) -> Self {
        let mut command =
            harness(&["publish", "--url", url, "--duration", "600", "--bitrate", "100k", "--gop", "5"]);
        Self(command.stdout(Stdio::null()).spawn().expect("run the harness"))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The number of a process that has ended.
fn gone() -> u32 {
    let mut child = Command::new("true").spawn().expect("start a process");
    let id = child.id();
    assert!(child.wait().expect("wait for a child").success());
    id
}
