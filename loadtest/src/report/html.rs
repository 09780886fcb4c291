//! `--html`: the run as one page that needs nothing else: no script, no request, no font.
//!
//! Whatever comes from outside (names, URLs, texts of errors) passes `escape`. Colours follow the reader's light or dark
//! setting. Drawings are in `plot.rs`.

use std::fmt::Write;

use super::hgrm;
use super::metric::{bytes, digits, duration, number};
use super::model::{Run, Sample};
use super::plot::{Line, Plot, Scale};
use super::summary;

/// Distributions of media, drawn together.
const MEDIA: [&str; 5] = ["e2e", "forwards.e2e", "gap", "generator_late", "rtt"];

/// Distributions of getting connected, drawn together.
const CONNECTING: [&str; 6] =
    ["tcp_connect", "tls_handshake", "handshake", "publish_accepted", "play_accepted", "first_frame"];

/// How pages of the harness look.
pub(crate) const STYLE: &str = include_str!("page.css");

/// The page. `verdicts` are the lines of the thresholds, with whether each failed.
pub fn page(run: &Run, verdicts: &[(String, bool)]) -> String {
    let title = format!("{} {}", run.setting.mode, run.setting.url);
    let mut page = String::new();
    // Writing to a `String` cannot fail.
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<header>\n<h1>{title}</h1>\n<p>{tool}, started {started}, measured {measured} s</p>\n</header>\n<main>\n",
        title = escape(&title),
        tool = escape(&run.tool),
        started = utc(run.started_at_unix_ms),
        measured = number(run.duration_s),
    );
    if !run.valid.ok {
        let reasons: String =
            run.valid.reasons.iter().map(|reason| format!("<li>{}</li>", escape(reason))).collect();
        let _ = writeln!(
            page,
            "<section class=\"bad\"><h2>Not valid</h2><p>Do not compare or publish these figures.</p><ul>{reasons}</ul></section>"
        );
    }
    if !verdicts.is_empty() {
        page.push_str("<section class=\"whole\"><h2>Thresholds</h2>\n<ul class=\"verdicts\">\n");
        for (line, failed) in verdicts {
            let _ = writeln!(
                page,
                "<li class=\"{}\">{}</li>",
                if *failed { "failed" } else { "held" },
                escape(line)
            );
        }
        page.push_str("</ul></section>\n");
    }
    tiles(run, &mut page);
    distributions(run, &mut page);
    over_time(run, &mut page);
    latencies(run, &mut page);
    table(&mut page, "Counts", &summary::counts(run));
    let errors: Vec<_> = run
        .errors
        .iter()
        .map(|errors| (errors.stage.name(), format!("{} × {}", number(errors.count as f64), errors.kind)))
        .collect();
    table(&mut page, "Errors", &errors);
    table(&mut page, "Personas", &summary::personas(run));
    table(&mut page, "Hostile", &summary::hostile(run));
    table(&mut page, "Forwards", &summary::forwards(run));
    table(&mut page, "Throughput", &summary::throughput(run));
    table(&mut page, "Server", &summary::server(run));
    table(&mut page, "Setting", &summary::setting(&run.setting));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// The figures looked at first.
fn tiles(run: &Run, page: &mut String) {
    let mut tiles = Vec::new();
    if run.latencies.e2e.count > 0 {
        tiles.push(("end to end, p99", duration(run.latencies.e2e.p99 as f64)));
        tiles.push(("lost", number(run.counts.lost as f64)));
    }
    if let Some(far) = run.forwards.as_ref().filter(|far| far.e2e.count > 0) {
        tiles.push(("forwarded, p99", duration(far.e2e.p99 as f64)));
        tiles.push(("lost of forwarded", number(far.lost as f64)));
    }
    tiles.push(("in", format!("{} Mbit/s", digits(run.throughput.mbit_per_second_in))));
    tiles.push(("out", format!("{} Mbit/s", digits(run.throughput.mbit_per_second_out))));
    if let Some(server) = &run.server {
        tiles.push(("server CPU, of a core", format!("{} %", digits(server.cpu_share * 100.0))));
        if let Some(cost) = server.cpu_s_per_gb_in {
            tiles.push(("CPU for each GB in", format!("{} s", digits(cost))));
        }
        if let Some(cost) = server.cpu_s_per_gb_out {
            tiles.push(("CPU for each GB out", format!("{} s", digits(cost))));
        }
        tiles.push(("memory (RSS)", bytes(server.rss_bytes as f64)));
    }
    page.push_str("<section class=\"tiles\">\n");
    for (name, value) in tiles {
        let _ = writeln!(page, "<div><span>{name}</span><b>{value}</b></div>");
    }
    page.push_str("</section>\n");
}

/// Latency by percentile: the x axis gives each further nine the same room.
fn distributions(run: &Run, page: &mut String) {
    for (title, names) in
        [("Latency, by percentile", &MEDIA[..]), ("Connecting, by percentile", &CONNECTING[..])]
    {
        let mut lines = Vec::new();
        for (name, histogram) in run.distributions() {
            if histogram.count == 0 || !names.contains(&name) {
                continue;
            }
            // 100 % has no place on the axis: it stands where one value of all is.
            let last = histogram.count as f64;
            let points = hgrm::points(histogram)
                .into_iter()
                .map(|point| ((1.0 / (1.0 - point.quantile)).min(last.max(2.0)), (point.us as f64).max(1.0)))
                .collect();
            lines.push(Line { name: name.to_owned(), points });
        }
        let nines = |x: f64| {
            let decimals = (x.log10().round() as usize).saturating_sub(2);
            format!("{:.decimals$}", 100.0 - 100.0 / x)
        };
        Plot { title, x: Scale::Log, y: Scale::Log, show_x: &nines, show_y: &duration, lines }.draw(page);
    }
}

fn over_time(run: &Run, page: &mut String) {
    let series = &run.series;
    let line = |name: &str, of: &dyn Fn(usize, &Sample) -> Option<f64>| Line {
        name: name.to_owned(),
        points: series
            .iter()
            .enumerate()
            .filter_map(|(at, sample)| Some((sample.t_s, of(at, sample)?)))
            .collect::<Vec<_>>(),
    };
    // The length of an interval is the way from the sample before; the first has none and is not drawn.
    let mbit = |at: usize, moved: u64| {
        let length = series[at].t_s - series[at.checked_sub(1)?].t_s;
        (length > 0.0).then(|| moved as f64 * 8e-6 / length)
    };
    let seconds = |t: f64| format!("{} s", number(t));
    let percent = |share: f64| format!("{} %", number((share * 1000.0).round() / 10.0));
    let mbits = |rate: f64| number((rate * 1000.0).round() / 1000.0);
    let mut draw = |title, show_y: &dyn Fn(f64) -> String, lines: Vec<Line>| {
        Plot { title, x: Scale::Linear, y: Scale::FromZero, show_x: &seconds, show_y, lines }.draw(page);
    };
    draw(
        "Throughput, Mbit/s",
        &mbits,
        vec![
            line("in", &|at, sample| mbit(at, sample.bytes_in)),
            line("out", &|at, sample| mbit(at, sample.bytes_out)),
        ],
    );
    draw(
        "End-to-end latency, p99 of each interval",
        &duration,
        vec![line("e2e", &|_, sample| sample.e2e_p99_us.map(|us| us as f64))],
    );
    draw("Server CPU, of one core", &percent, vec![line("cpu", &|_, sample| sample.cpu_share)]);
    draw("Server memory", &bytes, vec![line("rss", &|_, sample| sample.rss_bytes.map(|rss| rss as f64))]);
    draw("Connections", &number, vec![line("connections", &|_, sample| Some(sample.connections as f64))]);
}

fn latencies(run: &Run, page: &mut String) {
    let named = run.distributions();
    if named.iter().all(|(_, histogram)| histogram.count == 0) {
        return;
    }
    page.push_str("<section><h2>Latencies</h2>\n<div class=\"wide\"><table>\n<tr><th></th>");
    for column in ["count", "min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        let _ = write!(page, "<th>{column}</th>");
    }
    page.push_str("</tr>\n");
    for (name, h) in named.into_iter().filter(|(_, histogram)| histogram.count > 0) {
        let _ = write!(page, "<tr><th>{name}</th><td>{}</td>", number(h.count as f64));
        let figures = [h.min, h.p50, h.p90, h.p99, h.p999, h.p9999, h.max].map(|us| us as f64);
        for us in figures[..1].iter().chain(&[h.mean]).chain(&figures[1..]) {
            let _ = write!(page, "<td>{}</td>", duration(*us));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div></section>\n");
}

fn table(page: &mut String, title: &str, rows: &[(&str, String)]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(page, "<section><h2>{title}</h2>\n<table class=\"facts\">");
    for (name, value) in rows {
        let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value.trim()));
    }
    page.push_str("</table></section>\n");
}

/// Text as it may stand between tags and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(char),
        }
    }
    safe
}

/// A moment in UTC, to the second, as ISO 8601 writes it.
pub(crate) fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 1 March of year 0, so that a leap day is the last of its year; 719,468 lie before 1970.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn the_page_asks_nobody_for_anything() {
        let page = page(&fixture::run(), &[]);
        for outside in ["src=", "href=", "url(", "@import", "<script", "<link", "http:", "https:"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn every_plot_of_the_run_is_there() {
        let page = page(&fixture::run(), &[]);
        let plots: Vec<_> = page.match_indices("<figure>").collect();
        assert_eq!(plots.len(), 7);
        // e2e, gap, generator_late, rtt, forwards.e2e; tcp_connect, tls_handshake, handshake, publish_accepted; in, out; and one each.
        assert_eq!(page.matches("<polyline").count(), 5 + 4 + 2 + 4);
        assert!(!page.contains("NaN") && !page.contains("inf\""), "{page}");
    }

    #[test]
    fn text_from_outside_cannot_become_markup() {
        let mut run = fixture::run();
        run.setting.url = "rtmp://<script>'\"&".to_owned();
        run.valid.spoil("<b>");
        let page = page(&run, &[("failed: <i>".to_owned(), true)]);
        for tag in ["<script", "<b>r", "<li><b>", "<i>", "<refused>", "<the>", "<s0>"] {
            assert!(!page.contains(tag), "{tag}");
        }
        assert!(page.contains("<title>mixed rtmp://&lt;script&gt;&#39;&quot;&amp;</title>"));
        assert!(page.contains("reset by &lt;the&gt; server"));
        assert!(page.contains("<td>2 × &lt;refused&gt; &amp; &quot;gone&quot;</td>"));
        assert!(page.contains("<li class=\"failed\">failed: &lt;i&gt;</li>"));
    }

    #[test]
    fn an_empty_run_is_a_page_without_plots() {
        let page = page(&Run::default(), &[]);
        assert!(!page.contains("<figure>") && page.ends_with("</html>\n"), "{page}");
    }

    #[test]
    fn moments_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_700_000_000_999), "2023-11-14 22:13:20 UTC");
        assert_eq!(utc(4_107_542_399_000), "2100-02-28 23:59:59 UTC");
    }
}
