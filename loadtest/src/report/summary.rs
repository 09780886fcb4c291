//! What a person reads at the end of a run.
//!
//! First whether it may be believed, then latencies, counts, throughput and cost. Rows carry the names that `--fail-if` takes.

use std::cmp::Reverse;
use std::fmt::Write;

use super::forwards::ForwardedStream;
use super::metric::{bytes, digits, duration, number};
use super::model::{Run, Setting};

/// Forwarded streams that are told one by one: a defect mostly shows in a few, and one in all of them needs no list.
const WORST_STREAMS: usize = 5;

/// The whole summary, ended by a newline.
pub fn text(run: &Run) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{} {}", run.setting.mode, run.setting.url);
    for (name, value) in setting(&run.setting) {
        let _ = writeln!(text, "  {name:<11} {value}");
    }
    let _ = writeln!(text, "  {:<11} {} s", "measured", number(run.duration_s));
    if !run.valid.ok {
        let _ = writeln!(text, "\nNOT VALID: do not compare or publish these figures");
        for reason in &run.valid.reasons {
            let _ = writeln!(text, "  {reason}");
        }
    }
    latencies(run, &mut text);

    section(&mut text, "counts", &counts(run));
    if !run.errors.is_empty() {
        let rows: Vec<_> = run
            .errors
            .iter()
            .map(|errors| {
                (errors.stage.name(), format!("{:>13}  {}", number(errors.count as f64), errors.kind))
            })
            .collect();
        section(&mut text, "errors", &rows);
    }
    if !run.personas.is_empty() {
        section(&mut text, "personas", &personas(run));
    }
    if !run.hostile.is_empty() {
        section(&mut text, "hostile", &hostile(run));
    }
    if run.forwards.is_some() {
        section(&mut text, "forwards", &forwards(run));
    }
    section(&mut text, "throughput", &throughput(run));
    if run.server.is_some() {
        section(&mut text, "server", &server(run));
    }
    text
}

/// What was asked for, as name and value; what was left to the default of nothing is left out.
pub(super) fn setting(setting: &Setting) -> Vec<(&'static str, String)> {
    let media = &setting.media;
    let mut rows = vec![
        (
            "load",
            format!("{}, {}", several(setting.publishers, "publisher"), several(setting.players, "player")),
        ),
        (
            "media",
            format!(
                "{}, {} Mbit/s, {} fps, a key frame every {} s, seed {}",
                media.source,
                digits(media.bitrate_bps as f64 / 1e6),
                number(media.fps),
                number(media.gop_s),
                media.seed
            ),
        ),
        ("pace", format!("{}, chunks of {} bytes", setting.pace, number(setting.chunk_size.into()))),
    ];
    if let Some(tracks) = tracks(setting) {
        rows.push(("tracks", tracks));
    }
    if let Some(tls) = &setting.tls {
        let verified = if tls.insecure { "any certificate" } else { "verified" };
        let name = tls.server_name.as_ref().map_or(String::new(), |name| format!(" as {name}"));
        rows.push(("tls", format!("{verified}{name}, {} % may resume", number(tls.resume * 100.0))));
    }
    if setting.timestamp_start_ms != 0 {
        rows.push(("timestamps", format!("from {} ms", number(setting.timestamp_start_ms.into()))));
    }
    if !setting.personas.is_empty() {
        let shares: Vec<_> = setting
            .personas
            .iter()
            .map(|persona| format!("{} {} %", persona.name, number(persona.share * 100.0)))
            .collect();
        rows.push(("personas", shares.join(", ")));
    }
    let ramp = if setting.ramp_per_s > 0.0 {
        format!("{} connections a second", number(setting.ramp_per_s))
    } else {
        "all at once".to_owned()
    };
    rows.push(("ramp", format!("{ramp}, then {} s of warm-up", number(setting.warmup_s))));
    let cpus: Vec<_> = setting.cpus.iter().map(u32::to_string).collect();
    let pinned =
        if cpus.is_empty() { "not pinned".to_owned() } else { format!("on CPU {}", cpus.join(", ")) };
    rows.push(("threads", format!("{}, {pinned}", setting.threads)));
    if !setting.sources.is_empty() {
        rows.push(("sources", setting.sources.join(", ")));
    }
    if let Some(listen) = &setting.listen {
        rows.push(("forwards", format!("taken at {listen}")));
    }
    if let Some(hostile) = hostile_setting(setting) {
        rows.push(("hostile", hostile));
    }
    rows
}

/// Codecs and tracks, unless they are those that all servers know.
fn tracks(setting: &Setting) -> Option<String> {
    let media = &setting.media;
    let is_plain = matches!(
        (media.video.as_str(), media.audio.as_str(), media.tracks.as_str(), &media.multitrack),
        ("" | "avc", "" | "aac", "" | "1:1", None)
    );
    if is_plain {
        return None;
    }
    let mut told = format!("{} of {} and {}", media.tracks, media.video, media.audio);
    if let Some(multitrack) = &media.multitrack {
        let share = number(setting.player_multitrack * 100.0);
        let _ = write!(told, ", multitrack {multitrack}, taken by {share} % of players");
    }
    Some(told)
}

/// Hostile peers and where they come from.
fn hostile_setting(setting: &Setting) -> Option<String> {
    let mut all = setting.hostile.clone();
    all.extend(setting.tls_flood_per_s.map(|rate| format!("{} TLS handshakes a second", number(rate))));
    if all.is_empty() {
        return None;
    }
    let mut told = all.join(", ");
    if !setting.hostile.is_empty() {
        let _ = write!(told, ", again after {} s", number(setting.hostile_pause_s));
    }
    if !setting.hostile_sources.is_empty() {
        let _ = write!(told, ", from {}", setting.hostile_sources.join(", "));
    }
    Some(told)
}

fn several(count: u32, noun: &str) -> String {
    format!("{} {noun}{}", number(count.into()), if count == 1 { "" } else { "s" })
}

fn latencies(run: &Run, text: &mut String) {
    let named = run.distributions();
    let measured: Vec<_> = named.iter().filter(|(_, histogram)| histogram.count > 0).collect();
    if measured.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n{:<18} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "latencies", "count", "min", "p50", "p90", "p99", "p99.9", "max"
    );
    for (name, histogram) in measured {
        let _ = write!(text, "  {name:<16} {:>9}", number(histogram.count as f64));
        for us in [histogram.min, histogram.p50, histogram.p90, histogram.p99, histogram.p999, histogram.max]
        {
            let _ = write!(text, " {:>9}", duration(us as f64));
        }
        text.push('\n');
    }
}

/// Counts worth a line: what happened, and that nothing was lost wherever something was read.
pub(super) fn counts(run: &Run) -> Vec<(&'static str, String)> {
    let read = run.counts.received > 0;
    let always = |name: &str| name == "sent" || read && matches!(name, "lost" | "duplicated" | "reordered");
    run.counts
        .named()
        .into_iter()
        .filter(|(name, count)| *count > 0 || always(name))
        .map(|(name, count)| (name, format!("{:>13}", number(count as f64))))
        .collect()
}

/// Each kind of peers with what happened to it, and a line for each kind of failure.
pub(super) fn personas(run: &Run) -> Vec<(&str, String)> {
    let mut rows = Vec::new();
    for persona in &run.personas {
        let mut told = format!("{:>13}", number(persona.peers as f64));
        for (name, count) in persona.counts.named().into_iter().filter(|(_, count)| *count > 0) {
            let _ = write!(told, "  {name} {}", number(count as f64));
        }
        if persona.e2e.count > 0 {
            let [p50, p99, max] =
                [persona.e2e.p50, persona.e2e.p99, persona.e2e.max].map(|us| duration(us as f64));
            let _ = write!(told, "  e2e p50 {p50}, p99 {p99}, max {max}");
        }
        rows.push((persona.name.as_str(), told));
        for errors in &persona.errors {
            let (count, stage) = (number(errors.count as f64), errors.stage.name());
            rows.push(("", format!("{count:>13}  {stage}: {}", errors.kind)));
        }
    }
    rows
}

/// Each kind of hostile peers with what happened to it, and a line for each way in which connections ended.
pub(super) fn hostile(run: &Run) -> Vec<(&str, String)> {
    let mut rows = Vec::new();
    for hostile in &run.hostile {
        let mut told = format!("{:>13}", number(hostile.peers as f64));
        let counts = hostile.named().into_iter().filter(|(name, count)| *count > 0 && *name != "peers");
        for (name, count) in counts {
            let shown = if name.starts_with("bytes_") { bytes(count as f64) } else { number(count as f64) };
            let _ = write!(told, "  {name} {shown}");
        }
        for (name, histogram) in [("lasted", &hostile.lasted), ("tls_handshake", &hostile.tls_handshake)] {
            if histogram.count > 0 {
                let [p50, p99, max] =
                    [histogram.p50, histogram.p99, histogram.max].map(|us| duration(us as f64));
                let _ = write!(told, "  {name} p50 {p50}, p99 {p99}, max {max}");
            }
        }
        rows.push((hostile.kind.as_str(), told));
        for end in &hostile.ends {
            rows.push(("", format!("{:>13}  {}", number(end.count as f64), end.how)));
        }
    }
    rows
}

/// What came at the far end, how connections ended there, and the streams with which something is wrong, the worst first.
pub(super) fn forwards(run: &Run) -> Vec<(&str, String)> {
    let Some(far) = &run.forwards else { return Vec::new() };
    let always = |name: &str| matches!(name, "streams" | "received" | "lost" | "duplicated" | "reordered");
    let mut rows: Vec<_> = far
        .named()
        .into_iter()
        .filter(|(name, count)| *count > 0 || always(name))
        .map(|(name, count)| {
            let shown = if name == "bytes" { bytes(count as f64) } else { number(count as f64) };
            (name, format!("{shown:>13}"))
        })
        .collect();
    rows.extend(far.ends.iter().map(|end| ("", format!("{:>13}  {}", number(end.count as f64), end.how))));
    let wrong = |stream: &ForwardedStream| stream.lost + stream.duplicated + stream.reordered;
    let mut worst: Vec<_> = far.each.iter().filter(|stream| wrong(stream) > 0).collect();
    worst.sort_by_key(|stream| Reverse(wrong(stream)));
    for stream in worst.into_iter().take(WORST_STREAMS) {
        let mut told = format!("{:>13}  {}", "stream", number(stream.stream.into()));
        let _ = match &stream.name {
            Some(name) => write!(told, " as {name}"),
            None => write!(told, " never came"),
        };
        for (name, count) in [
            ("connections", stream.connections),
            ("received", stream.received),
            ("lost", stream.lost),
            ("duplicated", stream.duplicated),
            ("reordered", stream.reordered),
        ] {
            if count > 0 {
                let _ = write!(told, "  {name} {}", number(count as f64));
            }
        }
        rows.push(("", told));
    }
    rows
}

/// Rates in and out.
pub(super) fn throughput(run: &Run) -> Vec<(&'static str, String)> {
    let moved = &run.throughput;
    let row = |total: u64, mbit: f64, messages: f64| {
        format!("{:>13}  {} Mbit/s  {} messages/s", bytes(total as f64), digits(mbit), digits(messages))
    };
    vec![
        ("in", row(moved.bytes_in, moved.mbit_per_second_in, moved.messages_per_second_in)),
        ("out", row(moved.bytes_out, moved.mbit_per_second_out, moved.messages_per_second_out)),
        ("connections", format!("{:>13}/s", digits(moved.connections_per_second))),
        ("sessions", format!("{:>13}/s", digits(moved.sessions_per_second))),
    ]
}

/// What it cost the server; nothing without its process.
pub(super) fn server(run: &Run) -> Vec<(&'static str, String)> {
    let Some(cost) = &run.server else { return Vec::new() };
    let mut rows = vec![(
        "cpu",
        format!(
            "{:>13}  user {} s, system {} s, {} % of a core",
            format!("{} s", digits(cost.user_s + cost.system_s)),
            digits(cost.user_s),
            digits(cost.system_s),
            digits(cost.cpu_share * 100.0)
        ),
    )];
    let mut optional = |name, value: Option<f64>, show: &dyn Fn(f64) -> String| {
        if let Some(value) = value {
            rows.push((name, format!("{:>13}", show(value))));
        }
    };
    optional("cpu_s_per_gb_in", cost.cpu_s_per_gb_in, &|value| format!("{} s/GB", digits(value)));
    optional("cpu_s_per_gb_out", cost.cpu_s_per_gb_out, &|value| format!("{} s/GB", digits(value)));
    optional("cpu_us_per_session", cost.cpu_us_per_session, &duration);
    optional("rss_bytes", Some(cost.rss_bytes as f64), &bytes);
    optional("pss_bytes", cost.pss_bytes.map(|pss| pss as f64), &bytes);
    optional("per_connection_bytes", cost.per_connection_bytes, &bytes);
    optional("per_publisher_bytes", cost.per_publisher_bytes, &bytes);
    rows
}

fn section(text: &mut String, title: &str, rows: &[(&str, String)]) {
    let _ = writeln!(text, "\n{title}");
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<20} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn exact_text() {
        assert_eq!(text(&fixture::run()), EXPECTED);
    }

    const EXPECTED: &str = "\
mixed rtmp://127.0.0.1/live/s{i}?key=…
  load        1 publisher, 1 player
  media       synthetic, 3.00 Mbit/s, 30 fps, a key frame every 2 s, seed 7
  pace        frame, chunks of 4,096 bytes
  tracks      2:3 of avc=70,hevc=30 and opus, multitrack one, taken by 50 % of players
  tls         verified as edge.example, 100 % may resume
  personas    steady 100 %
  ramp        10 connections a second, then 1 s of warm-up
  threads     1, on CPU 1
  forwards    taken at 127.0.0.1:1940
  hostile     garbage=3, 2,000 TLS handshakes a second, again after 1 s, from 127.1.0.0/16
  measured    4 s

latencies              count       min       p50       p90       p99     p99.9       max
  tcp_connect              1     80 µs     80 µs     80 µs     80 µs     80 µs     80 µs
  tls_handshake            1    900 µs    900 µs    900 µs    900 µs    900 µs    900 µs
  handshake                1    400 µs    400 µs    400 µs    400 µs    400 µs    400 µs
  publish_accepted         1    2.00 s    2.00 s    2.00 s    2.00 s    2.00 s    2.00 s
  e2e                    100    100 µs   5.00 ms   9.01 ms   9.90 ms   10.0 ms   10.0 ms
  gap                    100   33.0 ms   33.0 ms   33.0 ms   33.0 ms   33.0 ms   33.0 ms
  generator_late         100      1 µs     50 µs     90 µs     99 µs    100 µs    100 µs
  rtt                      3    100 µs    110 µs    300 µs    300 µs    300 µs    300 µs
  forwards.e2e            99   6.00 ms   6.00 ms   6.00 ms   6.00 ms   6.00 ms   6.00 ms
  forwards.gap            98   33.0 ms   33.0 ms   33.0 ms   33.0 ms   33.0 ms   33.0 ms

counts
  due                            102
  sent                           102
  received                       100
  lost                             2
  duplicated                       0
  reordered                        0
  connections_opened               2
  publishes_accepted               1
  plays_accepted                   1

errors
  handshake                        3  the peer closed
  publish                          2  <refused> & \"gone\"

personas
  steady                           1
  stalling:1                       1  opened 1  accepted 1  received 50  missing 7  e2e p50 2.00 s, p99 2.00 s, max 2.00 s
                                   1  media: closed by <the> server

hostile
  garbage                          3  opened 7  refused 1  ended 5  left 1  open 1  handshakes 5  bytes_in 56.0 kB  bytes_out 3.07 kB  lasted p50 1.00 ms, p99 1.00 ms, max 1.00 ms  tls_handshake p50 2.00 ms, p99 2.00 ms, max 2.00 ms
                                   5  reset by <the> server

forwards
  streams                          1
  opened                           2
  published                        2
  ended                            1
  open                             1
  received                        99
  bytes                      1.00 GB
  lost                             3
  duplicated                       0
  reordered                        0
                                   1  eof
                              stream  0 as live/<s0>  connections 2  received 99  lost 3

throughput
  in                         2.00 GB  4000 Mbit/s  25.5 messages/s
  out                        1.00 GB  2000 Mbit/s  25.0 messages/s
  connections                   4.00/s
  sessions                      1.00/s

server
  cpu                         2.00 s  user 0.500 s, system 1.50 s, 50.0 % of a core
  cpu_s_per_gb_in          1.00 s/GB
  cpu_s_per_gb_out         2.00 s/GB
  cpu_us_per_session          500 ms
  rss_bytes                  34.0 MB
  pss_bytes                  33.0 MB
  per_connection_bytes       1.50 MB
";

    #[test]
    fn a_run_that_is_not_valid_says_so_before_its_figures() {
        let mut run = fixture::run();
        run.valid.spoil("the harness was late: p99 80.0 ms");
        let text = text(&run);
        let said = text.find(
            "NOT VALID: do not compare or publish these figures\n  the harness was late: p99 80.0 ms\n",
        );
        assert!(said.unwrap() < text.find("latencies").unwrap());
    }

    #[test]
    fn an_empty_run_has_no_figures_to_show() {
        let text = text(&Run::default());
        assert!(
            ["latencies", "server", "errors", "personas"].iter().all(|section| !text.contains(section)),
            "{text}"
        );
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
