//! The page of a real run.

mod support;

use support::server::Server;
use support::{Scratch, measure, passed};

/// It needs nothing else, shows setting, percentiles, what went on over time and the figures, and its plots have points.
#[test]
fn the_page_of_a_run_is_whole_and_needs_nothing_else() {
    let server = Server::inrush();
    let (url, pid, page) = (server.url("page{i}"), server.pid(), Scratch::new("page.html"));
    let html = page.path().to_str().expect("a path of ours is text");
    let load = ["mixed", "--url", &url, "--publishers", "2", "--players", "2", "--gop", "25"];
    let time = ["--warmup", "0.5", "--duration", "3", "--fail-if", "lost>0", "--html", html];
    let (output, run) = measure(&[&load[..], &["--server-pid", &pid], &time[..]].concat());
    assert!(passed(&output, &run), "{output:?}");
    let page = page.text();

    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    let lower = page.to_lowercase();
    for outside in [
        "<script",
        "javascript:",
        "http://",
        "https://",
        "<link",
        "<img",
        "<iframe",
        "@import",
        "url(",
        " src=",
    ] {
        assert!(!lower.contains(outside), "{outside}");
    }
    let section = |title: &str| {
        let (_, after) =
            page.split_once(&format!("<h2>{title}</h2>")).unwrap_or_else(|| panic!("no section {title}"));
        after.split_once("</section>").expect("a section has an end").0
    };
    for title in ["Thresholds", "Latencies", "Counts", "Throughput", "Server", "Setting"] {
        assert!(section(title).contains("<tr>") || section(title).contains("<li"), "{title}");
    }
    assert!(page.contains(&format!("<h1>mixed {url}</h1>")) && section("Setting").contains("2 publishers"));
    assert!(section("Counts").contains(&grouped(run.counts.received)), "{}", section("Counts"));
    for (title, lines) in [
        ("Latency, by percentile", &["e2e", "gap", "generator_late"][..]),
        ("Connecting, by percentile", &["tcp_connect", "handshake", "publish_accepted", "play_accepted"]),
        ("Throughput, Mbit/s", &["in", "out"]),
        ("End-to-end latency, p99 of each interval", &["e2e"]),
        ("Server CPU, of one core", &["cpu"]),
        ("Server memory", &["rss"]),
        ("Connections", &["connections"]),
    ] {
        let plot = section(title);
        let drawn: Vec<_> =
            plot.split("points=\"").skip(1).map(|rest| rest.split('"').next().unwrap_or_default()).collect();
        assert!(drawn.len() >= lines.len(), "{title}: {} lines\n{plot}", drawn.len());
        for points in drawn {
            let points: Vec<_> = points.split_whitespace().collect();
            assert!(points.len() >= 2, "{title}: {points:?}");
            let numbers = points.iter().flat_map(|point| point.split(','));
            assert!(
                numbers.map(str::parse::<f64>).all(|number| number.is_ok_and(f64::is_finite)),
                "{title}: {points:?}"
            );
        }
        for line in lines {
            assert!(plot.contains(line), "{title}: {line}");
        }
    }
}

/// As the page writes numbers: 1,234.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group)).collect();
    groups.join(",")
}
