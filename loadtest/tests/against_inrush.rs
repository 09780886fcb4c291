//! The harness against a server, at small scale: what it says it did is what it did.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use inrush_loadtest::report::Run;

/// `inrush` on a port of its own; killed when dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(inrush())
            .args(["--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--cores", "1", "--log", "error"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("start inrush");
        let output = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        let address = output
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening rtmp ").map(|address| address.trim().to_owned()))
            .expect("inrush says where it listens");
        Self { process, address }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a child of ours that was not waited for, so its number is its own.
        assert_eq!(unsafe { libc::kill(self.process.id() as i32, signal) }, 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The engine's binary beside this test's own; built when it is not there.
fn inrush() -> PathBuf {
    let harness = Path::new(env!("CARGO_BIN_EXE_inrush-loadtest"));
    let folder = harness.parent().expect("a binary is in a folder");
    let inrush = folder.join("inrush");
    if !inrush.exists() {
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let target = folder.parent().expect("a profile's folder is in the target folder");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--package", "inrush", "--bin", "inrush", "--profile", profile, "--target-dir"])
            .arg(target)
            .status()
            .expect("run cargo");
        assert!(built.success(), "cargo builds inrush");
    }
    inrush
}

fn harness(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inrush-loadtest"));
    command.args(args);
    command
}

/// Runs the harness with `--json`, and gives what it wrote.
fn measure(name: &str, args: &[&str]) -> (Output, Run) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.json", std::process::id()));
    let output = harness(args).arg("--json").arg(&file).output().expect("run the harness");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    fs::remove_file(&file).expect("remove the report");
    (output, Run::from_json(&text).expect("a report"))
}

#[test]
fn all_that_is_sent_is_received_at_every_pace() {
    let server = Server::start();
    let pid = server.process.id().to_string();
    for (number, pacing) in ["frame", "wan", "burst:100"].into_iter().enumerate() {
        let url = format!("rtmp://{}/live/pace{number}-{{i}}", server.address);
        let (output, run) = measure(
            &format!("pace{number}"),
            &[
                "mixed",
                "--url",
                &url,
                "--publishers",
                "3",
                "--players",
                "6",
                "--duration",
                "1",
                "--warmup",
                "1.2",
                "--gop",
                "25",
                "--bitrate",
                "600k",
                "--pacing",
                pacing,
                "--server-pid",
                &pid,
                "--chunk-size",
                "300",
                "--timestamp-start",
                "16777000",
                "--fail-if",
                "lost>0",
                "--source",
                "127.0.0.2-127.0.0.4",
                "--fail-if",
                "errors>0",
            ],
        );
        assert!(output.status.success(), "{pacing}: {output:?}");
        // 25 frames of video and 46 of audio a second, but for what one round has more or less at its ends.
        assert!((3 * 66..=3 * 76).contains(&run.counts.due), "{pacing}: {}", run.counts.due);
        assert_eq!(run.counts.sent, run.counts.due, "{pacing}");
        assert_eq!(run.counts.received, 2 * run.counts.sent, "{pacing}");
        assert_eq!(
            (run.counts.duplicated, run.counts.reordered, run.counts.unstamped),
            (0, 0, 0),
            "{pacing}"
        );
        assert_eq!((run.counts.publishes_accepted, run.counts.plays_accepted), (3, 6), "{pacing}");
        assert_eq!(run.latencies.e2e.count, run.counts.received, "{pacing}");
        assert_eq!(run.latencies.tcp_connect.count, 9, "{pacing}");
        assert!(run.server.is_some_and(|server| server.rss_bytes > 1_000_000), "{pacing}");
        let mbit = run.throughput.mbit_per_second_in;
        assert!((1.4..2.4).contains(&mbit), "{pacing}: {mbit}");
    }
}

/// A server that stands still delays every message that falls due meanwhile, and each of them counts.
#[test]
fn a_server_that_stops_for_a_while_is_seen_in_every_message() {
    let server = Server::start();
    let url = format!("rtmp://{}/live/stopped", server.address);
    let running = std::thread::spawn(move || {
        measure(
            "stopped",
            &["mixed", "--url", &url, "--duration", "3", "--warmup", "1", "--gop", "25", "--bitrate", "300k"],
        )
    });
    std::thread::sleep(Duration::from_millis(1_500));
    server.signal(libc::SIGSTOP);
    let stopped = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    server.signal(libc::SIGCONT);
    let stood_still = stopped.elapsed();
    let (_, run) = running.join().expect("the harness ran");
    assert_eq!((run.counts.lost, run.counts.received), (0, run.counts.due));
    let e2e = &run.latencies.e2e;
    assert!(e2e.max as f64 >= stood_still.as_micros() as f64 * 0.95, "{} µs", e2e.max);
    // Of 71 messages a second, those of the first half of the pause were late by half of it at least.
    let late: u64 =
        e2e.buckets.iter().filter(|bucket| bucket.up_to_us >= 500_000).map(|bucket| bucket.count).sum();
    assert!((30..=60).contains(&late), "{late} messages");
}

#[test]
fn a_server_that_dies_ends_the_run_with_what_was_measured() {
    let server = Server::start();
    let url = format!("rtmp://{}/live/dies", server.address);
    let pid = server.process.id().to_string();
    let began = Instant::now();
    let running = std::thread::spawn(move || {
        measure(
            "dies",
            &["mixed", "--url", &url, "--duration", "60", "--warmup", "0.5", "--server-pid", &pid],
        )
    });
    std::thread::sleep(Duration::from_millis(1_800));
    server.signal(libc::SIGKILL);
    let (output, run) = running.join().expect("the harness ran");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!run.valid.ok && run.counts.received > 0);
}

#[test]
fn hostile_peers_are_ended_and_the_others_do_not_notice() {
    let server = Server::start();
    let url = format!("rtmp://{}/live/hostile{{i}}", server.address);
    let shares = ["--persona", "garbage=1", "--persona", "half-open=0.5", "--fail-if", "lost>0"];
    let load =
        ["mixed", "--url", &url, "--publishers", "2", "--players", "2", "--duration", "1", "--gop", "25"];
    let (output, run) = measure("hostile", &[&load[..], &shares[..]].concat());
    assert!(output.status.success(), "{output:?}");
    // Garbage does not begin as a handshake does, and is ended at once; half a handshake may take 10 s.
    assert_eq!(run.counts.hostile_ended, 4);
    assert_eq!(run.counts.received, run.counts.sent);
    assert!(run.counts.sent > 100 && run.errors.is_empty(), "{:?}", run.errors);
}

#[test]
fn bad_input_is_one_line_and_exit_2_before_any_load() {
    let server = Server::start();
    let url = format!("rtmp://{}/live/s", server.address);
    let many = format!("{url}{{i}}");
    let table: &[(&[&str], &str)] = &[
        (&["publish", "--url", "http://127.0.0.1/live/s"], "begins with rtmp://"),
        (&["publish", "--url", "rtmp://127.0.0.1:1/live/s"], "no server at 127.0.0.1:1"),
        (&["publish", "--url", "rtmp://no-such-host.invalid/live/s"], "no-such-host.invalid has no address"),
        (&["publish", "--url", &url, "--flv", "/no/such.flv"], "--flv /no/such.flv"),
        (&["publish", "--url", &url, "--publishers", "2"], "{i}"),
        (&["publish", "--url", &url, "--server-pid", "4194305"], "there is no process 4194305"),
        (&["publish", "--url", &many, "--publishers", "4000000000"], "open files"),
        (&["publish", "--url", &url, "--cpus", "1000"], "--cpus"),
        (&["publish", "--url", &url, "--source", "192.0.2.1"], "--source 192.0.2.1"),
        (&["publish", "--url", &url, "--source", "::1"], "--source ::1"),
        (&["publish", "--url", &url, "--fail-if", "e2e.p99>50"], "e2e.p99>50"),
        (&["compare", "/no/such.json"], "/no/such.json"),
    ];
    for (args, message) in table {
        let output = harness(args).output().expect("run the harness");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(message), "{args:?}: {error}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}
