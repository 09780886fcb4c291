//! Options that say how the load is made and what is written of it, from the command line to the server and the file.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use inrush_loadtest::peers::child;
use inrush_loadtest::report::Run;
use support::server::Server;
use support::{Scratch, harness, measure, passed, wait_until};

/// A harness that runs, to be looked at meanwhile; killed when dropped.
struct Running {
    child: Option<Child>,
    json: Scratch,
}

impl Running {
    #[track_caller]
    fn start(args: &[&str]) -> Self {
        let json = Scratch::new("run.json");
        let mut command = harness(args);
        command.arg("--json").arg(json.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: Some(command.spawn().expect("run the harness")), json }
    }

    fn id(&self) -> u32 {
        self.child.as_ref().expect("not finished yet").id()
    }

    /// Waits for its end, which must be one without faults.
    #[track_caller]
    fn finish(mut self) -> Run {
        let child = self.child.take().expect("not finished yet");
        let output = child.wait_with_output().expect("wait for a child");
        assert!(self.json.path().exists(), "no report: {output:?}");
        let run = Run::from_json(&self.json.text()).expect("a report");
        assert!(passed(&output, &run), "{output:?}");
        run
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Threads of the load: name, the CPUs it may run on, and nanoseconds that it has run.
fn threads(pid: u32) -> Vec<(String, String, u64)> {
    let read = |task: &fs::DirEntry, file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut threads: Vec<_> = tasks
        .filter_map(|task| {
            let name = read(&task, "comm").trim().to_owned();
            let status = read(&task, "status");
            let cpus =
                status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().to_owned();
            let ran_ns = read(&task, "schedstat").split(' ').next()?.parse().ok()?;
            name.starts_with("load-").then_some((name, cpus, ran_ns))
        })
        .collect();
    threads.sort();
    threads
}

/// Each thread has its CPU and works, and together they do what was asked for, no more and no less.
#[test]
fn two_threads_share_the_load_each_on_its_cpu() {
    let server = Server::inrush();
    let mut cpus = child::cpus().expect("the processors are known");
    // Where there is but one, both are pinned to it.
    cpus.resize(2, cpus[0]);
    let list = format!("{},{}", cpus[0], cpus[1]);
    let url = server.url("threads{i}");
    let load = ["mixed", "--url", &url, "--publishers", "7", "--players", "14", "--bitrate", "300k"];
    let rest = ["--gop", "25", "--warmup", "1.5", "--duration", "1.5", "--threads", "2", "--cpus", &list];
    let harness =
        Running::start(&[&load[..], &rest[..], &["--fail-if", "errors>0", "--fail-if", "lost>0"]].concat());
    let wanted =
        [("load-0", cpus[0]), ("load-1", cpus[1])].map(|(name, cpu)| (name.to_owned(), cpu.to_string()));
    wait_until("both threads work on their CPUs", || {
        let threads = threads(harness.id());
        let placed: Vec<_> = threads.iter().map(|(name, cpus, _)| (name.clone(), cpus.clone())).collect();
        // Opening connections alone takes less than this.
        (placed == wanted && threads.iter().all(|(.., ran_ns)| *ran_ns > 10_000_000)).then_some(())
    });
    wait_until("all connections are there", || (server.connections().len() == 21).then_some(()));
    let run = harness.finish();
    let counts = &run.counts;
    assert_eq!((run.setting.threads, &run.setting.cpus), (2, &cpus.iter().map(|cpu| *cpu as u32).collect()));
    assert_eq!((counts.connections_opened, counts.publishes_accepted, counts.plays_accepted), (21, 7, 14));
    assert_eq!((counts.sent, counts.received), (counts.due, 2 * counts.due));
    // 25 frames of video and 46 of audio a second from each.
    assert!((7 * 100..=7 * 113).contains(&counts.due), "{}", counts.due);
}

/// The server has as many connections from each address as the others, and none from elsewhere.
#[test]
fn connections_come_from_the_source_addresses_in_turn() {
    let server = Server::inrush();
    let url = server.url("sources{i}");
    let load = ["mixed", "--url", &url, "--publishers", "3", "--players", "6", "--bitrate", "300k"];
    let rest = ["--gop", "25", "--warmup", "1.5", "--duration", "1", "--source", "127.0.0.2-127.0.0.4"];
    let harness = Running::start(&[&load[..], &rest[..], &["--fail-if", "errors>0"]].concat());
    let connections = wait_until("all connections are there", || {
        let connections = server.connections();
        let ready = connections.iter().filter(|connection| connection["role"] != "pending").count();
        (ready == 9).then_some(connections)
    });
    let mut seen = BTreeMap::new();
    for connection in &connections {
        let peer: SocketAddr =
            connection["peer"].as_str().and_then(|peer| peer.parse().ok()).expect("an address");
        *seen
            .entry((peer.ip().to_string(), connection["role"].as_str().expect("a role").to_owned()))
            .or_insert(0) += 1;
    }
    let expected: BTreeMap<_, _> = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
        .into_iter()
        .flat_map(|ip| {
            [("player", 2), ("publisher", 1)].map(|(role, count)| ((ip.to_owned(), role.to_owned()), count))
        })
        .collect();
    assert_eq!(seen, expected);
    let run = harness.finish();
    assert_eq!(run.setting.sources, ["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    assert_eq!(run.counts.received, 2 * run.counts.sent);
}

/// The percentiles of HdrHistogram's format ascend, and their end is all that the JSON counts.
#[test]
fn the_percentile_file_holds_the_distribution_of_the_report() {
    let server = Server::inrush();
    let (url, file) = (server.url("hgrm{i}"), Scratch::new("e2e.hgrm"));
    let path = file.path().to_str().expect("a path of ours is text");
    let load =
        ["mixed", "--url", &url, "--publishers", "2", "--players", "4", "--bitrate", "300k", "--gop", "25"];
    let (output, run) =
        measure(&[&load[..], &["--warmup", "0.7", "--duration", "1.5", "--hgrm", path]].concat());
    assert!(output.status.success(), "{output:?}");
    let e2e = &run.latencies.e2e;
    assert!(e2e.count > 300, "{}", e2e.count);

    let text = file.text();
    let mut lines = text.lines();
    let heading: Vec<_> = lines.next().expect("a heading").split_whitespace().collect();
    assert_eq!(heading, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
    let (notes, rows): (Vec<_>, Vec<_>) =
        lines.filter(|line| !line.is_empty()).partition(|line| line.starts_with('#'));
    let rows: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| row.split_whitespace().map(|cell| cell.parse().expect("a number")).collect())
        .collect();
    assert!(
        rows.len() > 10 && rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] < b[1] && a[2] <= b[2]),
        "{text}"
    );
    let (last, others) = rows.split_last().expect("there are rows");
    assert_eq!(last[..], [e2e.max as f64 / 1e3, 1.0, e2e.count as f64]);
    for row in others {
        assert!((row[3] * (1.0 - row[1]) - 1.0).abs() < 0.01, "{row:?}");
        // So many values are at or below, by the report's own buckets.
        let us = (row[0] * 1e3).round() as u64;
        let below: u64 =
            e2e.buckets.iter().filter(|bucket| bucket.up_to_us <= us).map(|bucket| bucket.count).sum();
        assert_eq!((below as f64, row[2] / e2e.count as f64 >= row[1] - 1e-9), (row[2], true), "{row:?}");
    }
    let note = |name: &str| -> f64 {
        let text = notes.iter().find_map(|line| line.split_once(name)).expect("a note").1;
        let number = text.trim_start_matches([' ', '=']).split([',', ']']).next().expect("a number");
        number.trim().parse().expect("a number")
    };
    assert_eq!((note("Total count"), note("Max")), (e2e.count as f64, e2e.max as f64 / 1e3));
    assert!((note("Mean") - e2e.mean / 1e3).abs() < 0.001);
}
