//! `compare`, from runs to their ratios: what it shows is what the files hold.

mod support;

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::Value;
use support::server::Server;
use support::{Scratch, harness};

/// Runs a load, and gives the file.
#[track_caller]
fn report(server: &Server, publishers: &str, bitrate: &str) -> Scratch {
    let (file, pid) = (Scratch::new("run.json"), server.pid());
    let url = server.url(&format!("compared-{publishers}-{{i}}"));
    let load = ["mixed", "--url", &url, "--publishers", publishers, "--bitrate", bitrate, "--gop", "25"];
    let rest = ["--players", "2", "--warmup", "0.7", "--duration", "1", "--server-pid", &pid];
    let output = harness(&load).args(rest).arg("--json").arg(file.path()).output().expect("run the harness");
    assert!(output.status.success(), "{output:?}");
    file
}

#[track_caller]
fn compare(args: &[&str]) -> Output {
    harness(&["compare"]).args(args).output().expect("run the harness")
}

/// The third column, or what stands for it, of each row; `|` and whitespace part the cells of either form.
fn ratios(told: &str) -> BTreeMap<String, String> {
    let cells = |line: &str| -> Vec<String> {
        let parts: Vec<_> = if line.starts_with('|') {
            line.trim_matches('|').split('|').collect()
        } else {
            line.split("  ").filter(|cell| !cell.is_empty()).collect()
        };
        parts.into_iter().map(|cell| cell.trim().to_owned()).collect()
    };
    told.lines().map(cells).filter(|row| row.len() == 4).map(|row| (row[0].clone(), row[3].clone())).collect()
}

/// As anybody would compute them from the two files, in text and in Markdown alike.
#[test]
fn ratios_are_those_of_the_two_reports() {
    let server = Server::inrush();
    let (one, two) = (report(&server, "1", "300k"), report(&server, "2", "600k"));
    let [a, b] = [&one, &two].map(|file| file.path().to_str().expect("a path of ours is text"));
    let [first, second]: [Value; 2] =
        [&one, &two].map(|file| serde_json::from_str(&file.text()).expect("a report is JSON"));
    for form in [&[a, b][..], &["--markdown", a, b]] {
        let output = compare(form);
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
        assert!(
            told.contains(&format!(
                "different load: {a}: 1 publisher, 2 players | {b}: 2 publishers, 2 players"
            )),
            "{told}"
        );
        let ratios = ratios(&told);
        for (row, path) in [
            ("sent", "/counts/sent"),
            ("received", "/counts/received"),
            ("e2e.p50", "/latencies/e2e/p50"),
            ("e2e.p99", "/latencies/e2e/p99"),
            ("e2e.max", "/latencies/e2e/max"),
            ("first_frame.p99", "/latencies/first_frame/p99"),
            ("mbit_per_second_in", "/throughput/mbit_per_second_in"),
            ("mbit_per_second_out", "/throughput/mbit_per_second_out"),
            ("rss_bytes", "/server/rss_bytes"),
        ] {
            let [before, after] =
                [&first, &second].map(|run| run.pointer(path).and_then(Value::as_f64).expect("a figure"));
            let expected = format!("{:.2}x", after / before);
            assert_eq!(ratios.get(row), Some(&expected), "{row}: {after} to {before}: {told}");
        }
        // Twice the publishers of twice the rate.
        let ratio: f64 = ratios["mbit_per_second_in"].trim_end_matches('x').parse().expect("a number");
        assert!((3.0..5.0).contains(&ratio), "{ratio}");
    }
}

/// Whichever place it has, and whatever else it is: one line, exit 2, and no half of a table.
#[test]
fn a_file_that_is_no_run_is_refused() {
    let server = Server::inrush();
    let run = report(&server, "1", "300k");
    let run_path = run.path().to_str().expect("a path of ours is text");
    for content in ["", "{}", "[1, 2]", "not JSON", "{\"version\": 1, \"counts\": {}}", &run.text()[..200]] {
        let file = Scratch::new("no-run.json");
        std::fs::write(file.path(), content).expect("write a file");
        let path = file.path().to_str().expect("a path of ours is text");
        for files in [[run_path, path], [path, run_path]] {
            let output = compare(&files);
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{content}: {output:?}");
            assert!(error.contains(path) && error.lines().count() == 1, "{content}: {error}");
        }
    }
}
