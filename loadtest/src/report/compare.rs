//! `compare A.json B.json …`: runs side by side, each figure with its ratio to the first run.
//!
//! A ratio is shown where both runs measured something other than 0. What differs in the settings is told first, since a ratio
//! between different loads is no comparison, and so is a run that was not valid.

use std::fmt::Write;

use super::metric::Metric;
use super::model::Run;
use super::summary;

/// The figures compared; a row that no run measured is left out.
const FIGURES: &[&str] = &[
    "tcp_connect.p50",
    "tcp_connect.p99",
    "tls_handshake.p50",
    "tls_handshake.p99",
    "handshake.p50",
    "handshake.p99",
    "publish_accepted.p50",
    "publish_accepted.p99",
    "play_accepted.p50",
    "play_accepted.p99",
    "first_frame.p50",
    "first_frame.p99",
    "e2e.p50",
    "e2e.p90",
    "e2e.p99",
    "e2e.p999",
    "e2e.max",
    "gap.p99",
    "generator_late.p99",
    "rtt.p50",
    "rtt.p99",
    "forwards.e2e.p50",
    "forwards.e2e.p99",
    "forwards.received",
    "forwards.lost",
    "sent",
    "received",
    "lost",
    "duplicated",
    "reordered",
    "connections_failed",
    "connections_lost",
    "errors",
    "mbit_per_second_in",
    "mbit_per_second_out",
    "connections_per_second",
    "sessions_per_second",
    "user_s",
    "system_s",
    "cpu_share",
    "cpu_s_per_gb_in",
    "cpu_s_per_gb_out",
    "cpu_us_per_session",
    "rss_bytes",
    "pss_bytes",
    "per_connection_bytes",
    "per_publisher_bytes",
];

/// The comparison, for runs with the names of their files. The first is what the others are held against.
pub fn text(runs: &[(String, Run)]) -> String {
    let mut text = String::new();
    let Some(table) = table(runs) else { return text };
    notes(runs, &mut text);
    let columns = table[0].len();
    let widths: Vec<_> = (0..columns)
        .map(|column| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    for row in &table {
        // The names to the left, the figures to the right. Writing to a `String` cannot fail.
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(line, "  {cell:>width$}");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The same as a table in Markdown.
pub fn markdown(runs: &[(String, Run)]) -> String {
    let mut text = String::new();
    let Some(table) = table(runs) else { return text };
    notes(runs, &mut text);
    for (at, row) in table.iter().enumerate() {
        // Names of files may hold what would end a cell.
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if at == 0 {
            let _ = writeln!(text, "|---|{}", "---:|".repeat(row.len() - 1));
        }
    }
    text
}

/// The cells, with a heading; every row has as many. `None` without runs.
fn table(runs: &[(String, Run)]) -> Option<Vec<Vec<String>>> {
    let (_, base) = runs.first()?;
    let mut table = vec![vec![String::new()]];
    for (at, (name, _)) in runs.iter().enumerate() {
        table[0].push(name.clone());
        if at > 0 {
            table[0].push("ratio".to_owned());
        }
    }
    for metric in FIGURES.iter().filter_map(|name| name.parse::<Metric>().ok()) {
        let values: Vec<_> = runs.iter().map(|(_, run)| metric.of(run)).collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        let mut row = vec![metric.name().to_owned()];
        for (at, value) in values.iter().enumerate() {
            row.push(value.map_or("-".to_owned(), |value| metric.show(value)));
            if at > 0 {
                row.push(ratio(metric.of(base), *value));
            }
        }
        table.push(row);
    }
    Some(table)
}

fn ratio(base: Option<f64>, value: Option<f64>) -> String {
    match (base, value) {
        (Some(base), Some(value)) if base != 0.0 && value != 0.0 => format!("{:.2}x", value / base),
        _ => String::new(),
    }
}

/// What keeps the runs from being compared.
fn notes(runs: &[(String, Run)], text: &mut String) {
    let before = text.len();
    for (name, run) in runs.iter().filter(|(_, run)| !run.valid.ok) {
        let _ = writeln!(text, "not valid: {name}: {}", run.valid.reasons.join("; "));
    }
    let Some((base_name, base)) = runs.first() else { return };
    let base_rows = rows(base);
    for (name, run) in &runs[1..] {
        let other_rows = rows(run);
        let mut names: Vec<_> = base_rows.iter().chain(&other_rows).map(|(name, _)| *name).collect();
        let mut seen = Vec::new();
        names.retain(|name| {
            !seen.contains(name) && {
                seen.push(*name);
                true
            }
        });
        for row in names {
            let of = |rows: &[(&str, String)]| {
                rows.iter().find(|(name, _)| *name == row).map_or("-".to_owned(), |(_, value)| value.clone())
            };
            let (here, there) = (of(&base_rows), of(&other_rows));
            if here != there {
                let _ = writeln!(text, "different {row}: {base_name}: {here} | {name}: {there}");
            }
        }
    }
    if text.len() > before {
        text.push('\n');
    }
}

/// The settings that make a load what it is; the URL may differ, since comparing servers is what this is for.
fn rows(run: &Run) -> Vec<(&'static str, String)> {
    let mut rows = vec![("mode", run.setting.mode.clone())];
    rows.extend(summary::setting(&run.setting));
    rows
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn two() -> [(String, Run); 2] {
        let mut other = fixture::run();
        if let Some(server) = &mut other.server {
            server.cpu_s_per_gb_in = Some(0.5);
            server.pss_bytes = None;
        }
        other.counts.lost = 0;
        [("a.json".to_owned(), fixture::run()), ("b.json".to_owned(), other)]
    }

    #[test]
    fn exact_text() {
        assert_eq!(text(&two()), EXPECTED);
    }

    const EXPECTED: &str = "                         a.json   b.json  ratio
tcp_connect.p50           80 µs    80 µs  1.00x
tcp_connect.p99           80 µs    80 µs  1.00x
tls_handshake.p50        900 µs   900 µs  1.00x
tls_handshake.p99        900 µs   900 µs  1.00x
handshake.p50            400 µs   400 µs  1.00x
handshake.p99            400 µs   400 µs  1.00x
publish_accepted.p50     2.00 s   2.00 s  1.00x
publish_accepted.p99     2.00 s   2.00 s  1.00x
e2e.p50                 5.00 ms  5.00 ms  1.00x
e2e.p90                 9.01 ms  9.01 ms  1.00x
e2e.p99                 9.90 ms  9.90 ms  1.00x
e2e.p999                10.0 ms  10.0 ms  1.00x
e2e.max                 10.0 ms  10.0 ms  1.00x
gap.p99                 33.0 ms  33.0 ms  1.00x
generator_late.p99        99 µs    99 µs  1.00x
rtt.p50                  110 µs   110 µs  1.00x
rtt.p99                  300 µs   300 µs  1.00x
forwards.e2e.p50        6.00 ms  6.00 ms  1.00x
forwards.e2e.p99        6.00 ms  6.00 ms  1.00x
forwards.received            99       99  1.00x
forwards.lost                 3        3  1.00x
sent                        102      102  1.00x
received                    100      100  1.00x
lost                          2        0
duplicated                    0        0
reordered                     0        0
connections_failed            0        0
connections_lost              0        0
errors                        5        5  1.00x
mbit_per_second_in        4,000    4,000  1.00x
mbit_per_second_out       2,000    2,000  1.00x
connections_per_second        4        4  1.00x
sessions_per_second           1        1  1.00x
user_s                  0.500 s  0.500 s  1.00x
system_s                 1.50 s   1.50 s  1.00x
cpu_share                 0.500    0.500  1.00x
cpu_s_per_gb_in          1.00 s  0.500 s  0.50x
cpu_s_per_gb_out         2.00 s   2.00 s  1.00x
cpu_us_per_session       500 ms   500 ms  1.00x
rss_bytes               34.0 MB  34.0 MB  1.00x
pss_bytes               33.0 MB        -
per_connection_bytes    1.50 MB  1.50 MB  1.00x
";

    #[test]
    fn what_differs_is_told_first() {
        let mut runs = two();
        runs[1].1.setting.publishers = 2;
        runs[1].1.setting.url = "rtmp://other/live/s{i}".to_owned();
        runs[1].1.valid.spoil("the server went away");
        let text = text(&runs);
        let notes = text.split("\n\n").next().unwrap();
        assert_eq!(
            notes,
            "not valid: b.json: the server went away\n\
             different load: a.json: 1 publisher, 1 player | b.json: 2 publishers, 1 player"
        );
    }

    #[test]
    fn every_figure_has_a_name_that_exists() {
        for name in FIGURES {
            assert!(name.parse::<Metric>().is_ok(), "{name}");
        }
    }

    #[test]
    fn markdown_has_the_same_rows() {
        let mut runs = two();
        runs[1].0 = "b|c".to_owned();
        let markdown = markdown(&runs);
        let lines: Vec<_> = markdown.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "|  | a.json | b\\|c | ratio |",
                "|---|---:|---:|---:|",
                "| tcp_connect.p50 | 80 µs | 80 µs | 1.00x |"
            ]
        );
        assert_eq!(lines.len(), text(&runs).lines().count() + 1);
        assert!(lines.contains(&"| cpu_s_per_gb_in | 1.00 s | 0.500 s | 0.50x |"));
    }

    #[test]
    fn no_runs_is_no_table() {
        assert_eq!(text(&[]), "");
        assert_eq!(markdown(&[]), "");
    }
}
