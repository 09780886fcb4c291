//! `/metrics`: what the cores count, as Prometheus reads it.
//!
//! A counter of a core is named as in the code: `inrush_` and its field, `_total` for what only grows, with the label `core`. What it
//! counts in microseconds (`_us`) is shown in seconds, the unit that Prometheus expects.
//! Counters by kind (errors, close reasons, oddities) have the label `kind` as well; kinds are variants of enums, so the number
//! of series is bounded by cores times variants, whatever peers do. Health codes have the label `code`, and are summed over cores. No series
//! carries an address, and names of streams only those of [`stream_series`] do, which are of a bounded number of streams.
//! Certificates go by their file.
//!
//! The scrape waits for no core: it reads what each core's sweep published last, and `inrush_sweep_age_seconds` says how long ago. Only for
//! the series of streams are cores asked, for a moment, and they are left out when none answers.
//! # Bounds
//! Series in one answer: [`SERIES_MAX`] and [`CORE_SERIES_MAX`] for each core, and for each of `control.top_streams` streams
//! [`STREAM_SERIES_MAX`](stream_series::STREAM_SERIES_MAX), and one for each `[[certificate]]`; with 8 cores, 20 streams and few
//! certificates below 6,000. However many publish, play or come and go, it is no more.
//!
//! Two forms, as the scraper's `Accept` prefers: OpenMetrics 1.0, and the older text format 0.0.4 for everybody else.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::cores::Cores;
use super::refusal::Refusal;
use super::router::Control;
use super::{process, stream_series};
use crate::hub::HealthCounts;
use crate::media::health::{Code, PerCode};
use crate::runtime::histogram::Histogram;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Series of the process, of forwards, pulls, questions and notices, at most.
pub const SERIES_MAX: usize = 500;

/// Series of one core at most, buckets of histograms counted one by one.
pub const CORE_SERIES_MAX: usize = 600;

/// How the name of a counter of microseconds ends.
const MICROSECONDS: &str = "_us";

/// Help of the counters by kind that are known here; another family is shown with its name as help.
const FAMILY_HELP: [(&str, &str); 11] = [
    ("close_reason", "Accepted connections closed, by reason"),
    ("denied", "Publishes and plays denied, by reason"),
    (
        "encoder_error",
        "Connections ended by what the peer did, by the encoder or player that it was taken for",
    ),
    ("encoder_session", "Connections closed, by the encoder or player that they were of"),
    ("oddity", "What peers did that was tolerated, by kind"),
    ("outgoing_end", "Connections that we made, closed, by reason"),
    ("publish_refused", "Publishes refused, by reason"),
    ("recording", "Flight recordings of sessions that ended by a fault, by what became of them"),
    ("refused", "Connections refused as they came, by the bound that was reached"),
    ("session_error", "What peers did that ended their connection, by kind"),
    ("tls_handshake_failed", "TLS handshakes that failed, by kind"),
];

pub(super) async fn metrics<C: Cores>(
    State(control): State<Arc<Control<C>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let families = match stream_series::asked_for(&uri)? {
        Some(names) => stream_series::of_named(&control, &headers, names).await?,
        None => {
            let mut families = families(&control);
            families.extend(stream_series::of_top(&control, &headers).await);
            families
        }
    };
    let wants_open_metrics = headers
        .get_all(ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("application/openmetrics-text")));
    let text = exposition(families);
    Ok(if wants_open_metrics {
        ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
    } else {
        ([(CONTENT_TYPE, PLAIN_TEXT)], plain_text(&text)).into_response()
    })
}

/// All families in OpenMetrics text.
fn exposition(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(families)));
    let mut out = String::new();
    // Writing into a string does not fail, and neither do our values.
    let _ = text::encode(&mut out, &registry);
    out
}

/// OpenMetrics names a counter's family without `_total`, the older format with it; the end mark is a comment there.
fn plain_text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len() + 1024);
    let counters: Vec<&str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    for line in open_metrics.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let named = ["# HELP ", "# TYPE "].iter().find_map(|mark| {
            let (name, rest) = line.strip_prefix(mark)?.split_once(' ')?;
            Some((mark, name, rest))
        });
        match named {
            Some((mark, name, rest)) if counters.contains(&name) => {
                out.extend([mark, name, "_total ", rest]);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// Somebody outside the engine who has something to show in `/metrics`.
pub trait Exhibitor: Send + Sync {
    /// What there is to show now. Must not wait; names and labels are from a bounded set.
    fn families(&self) -> Vec<Family>;
}

/// One family with its samples, before it is written.
pub struct Family {
    name: String,
    help: String,
    kind: MetricType,
    samples: Vec<(Labels, Value)>,
}

/// Names and values of a sample's labels.
pub type Labels = Vec<(&'static str, String)>;

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// Any number.
    Real(f64),
    /// A histogram.
    Buckets(Histogram),
}

impl Family {
    /// A family of counters or gauges, named without `_total`; of histograms, if that is what its samples are.
    pub fn new(name: &str, help: &str, is_counter: bool, samples: Vec<(Labels, Value)>) -> Self {
        let kind = match samples.first() {
            Some((_, Value::Buckets(_))) => MetricType::Histogram,
            _ if is_counter => MetricType::Counter,
            _ => MetricType::Gauge,
        };
        Self { name: name.to_owned(), help: help.to_owned(), kind, samples }
    }
}

struct Scrape(Vec<Family>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let mut metric = encoder.encode_descriptor(&family.name, &family.help, None, family.kind)?;
            for (labels, value) in &family.samples {
                if labels.is_empty() {
                    sample(&mut metric, family.kind, *value)?;
                } else {
                    sample(&mut metric.encode_family(labels)?, family.kind, *value)?;
                }
            }
        }
        Ok(())
    }
}

fn sample(metric: &mut MetricEncoder<'_>, kind: MetricType, value: Value) -> fmt::Result {
    match (kind, value) {
        (MetricType::Counter, Value::Whole(value)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
        }
        (MetricType::Counter, Value::Real(value)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
        }
        (_, Value::Buckets(histogram)) => {
            let buckets: Vec<_> = histogram.buckets().collect();
            let (sum, count) = (histogram.sum(), histogram.count());
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        }
        (_, Value::Whole(value)) => metric.encode_gauge(&value),
        (_, Value::Real(value)) => metric.encode_gauge(&value),
    }
}

fn families<C: Cores>(control: &Control<C>) -> Vec<Family> {
    let mut families = of_process(control);
    let exhibitors = control.exhibitors.lock().unwrap_or_else(PoisonError::into_inner).clone();
    families.extend(exhibitors.iter().flat_map(|exhibitor| exhibitor.families()));
    if let Some(cores) = control.cores.get() {
        families.extend(of_engine(cores));
        families.extend(of_certificates(cores));
        families.extend(of_cores(cores));
        families.extend(by_kind(cores));
        families.extend(health(cores));
        families.extend(histograms(cores));
    }
    families
}

fn of_process<C: Cores>(control: &Control<C>) -> Vec<Family> {
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let refused = control.connections_refused.load(Ordering::Relaxed);
    let unauthorized = control.unauthorized.load(Ordering::Relaxed);
    let started = control.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut families = vec![
        Family {
            samples: vec![(version, Value::Whole(1))],
            ..gauge("inrush_build_info", "The version that runs; always 1", Value::Whole(1))
        },
        gauge("process_start_time_seconds", "Start of the process, Unix time", Value::Real(started)),
        counter(
            "inrush_control_connections_refused",
            "Connections of the control HTTP turned away because there were too many",
            Value::Whole(refused),
        ),
        counter(
            "inrush_control_unauthorized",
            "Requests of the control HTTP turned away for want of its token",
            Value::Whole(unauthorized),
        ),
        gauge(
            "inrush_control_listeners",
            "Listeners to events of the control HTTP",
            Value::Whole(control.listeners.count() as u64),
        ),
        counter(
            "inrush_control_listeners_dropped",
            "Listeners to events dropped because they read too slowly",
            Value::Whole(control.listeners.dropped()),
        ),
    ];
    if let Some(process) = process::Usage::now() {
        families.extend([
            gauge("process_resident_memory_bytes", "Resident memory", Value::Whole(process.resident_bytes)),
            gauge("process_open_fds", "Open file descriptors", Value::Whole(process.open_fds)),
            gauge("process_max_fds", "File descriptors that may be open", Value::Whole(process.max_fds)),
            counter(
                "process_cpu_seconds",
                "CPU time used, user and system",
                Value::Real(process.cpu_seconds),
            ),
        ]);
    }
    if let Some(max) = process::memory_max_bytes() {
        let help = "Memory that the process may use: its control group's limit, or the host's memory";
        families.push(gauge("inrush_memory_max_bytes", help, Value::Whole(max)));
    }
    families
}

fn of_engine<C: Cores>(cores: &C) -> [Family; 3] {
    let flag = |is: bool| Value::Whole(is.into());
    [
        gauge("inrush_cores", "Cores that the engine runs on", Value::Whole(cores.cores() as u64)),
        gauge(
            "inrush_ready",
            "1 while publishers and players are welcome",
            flag(cores.is_ready() && !cores.is_draining()),
        ),
        gauge("inrush_draining", "1 while the engine drains", flag(cores.is_draining())),
    ]
}

/// When certificates end: one series a file, as many as the configuration names. None without any.
fn of_certificates<C: Cores>(cores: &C) -> Option<Family> {
    let ends: BTreeMap<String, i64> = cores
        .certificate_ends()
        .into_iter()
        .map(|end| (end.chain_file.display().to_string(), end.unix_seconds))
        .collect();
    let sample = |(file, end): (String, i64)| {
        // Before 1970 and at it are the same to whoever watches.
        (vec![("chain_file", file)], Value::Whole(end.try_into().unwrap_or_default()))
    };
    let samples: Vec<_> = ends.into_iter().map(sample).collect();
    let help = "When a certificate of RTMPS ends, Unix time, by the file that it is in";
    let name = "inrush_certificate_not_after_timestamp_seconds";
    (!samples.is_empty()).then(|| Family::new(name, help, false, samples))
}

/// The counters that every core publishes, and how fresh they are.
fn of_cores<C: Cores>(cores: &C) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for core in 0..cores.cores() {
        let mut index = 0;
        cores.counts(core).for_each(|name, help, is_gauge, value| {
            if families.len() == index {
                let kind = if is_gauge { MetricType::Gauge } else { MetricType::Counter };
                let help = help.trim_end_matches('.').to_owned();
                let name = match name.strip_suffix(MICROSECONDS) {
                    Some(name) => format!("inrush_{name}_seconds"),
                    None => format!("inrush_{name}"),
                };
                families.push(Family { name, help, kind, samples: Vec::new() });
            }
            let value = match name.ends_with(MICROSECONDS) {
                true => Value::Real(Duration::from_micros(value).as_secs_f64()),
                false => Value::Whole(value),
            };
            families[index].samples.push((core_label(core), value));
            index += 1;
        });
    }
    let ages = (0..cores.cores())
        .map(|core| (core_label(core), Value::Real(cores.sweep_age(core).as_secs_f64())))
        .collect();
    families.push(Family {
        samples: ages,
        ..gauge("inrush_sweep_age_seconds", "Time since a core's last sweep", Value::Whole(0))
    });
    families
}

/// The histograms that every core publishes.
fn histograms<C: Cores>(cores: &C) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for core in 0..cores.cores() {
        let mut index = 0;
        cores.histograms(core).for_each(|name, help, histogram| {
            if families.len() == index {
                let help = help.trim_end_matches('.').to_owned();
                let (name, kind) =
                    (format!("inrush_{name}_{}", histogram.unit().label()), MetricType::Histogram);
                families.push(Family { name, help, kind, samples: Vec::new() });
            }
            families[index].samples.push((core_label(core), Value::Buckets(*histogram)));
            index += 1;
        });
    }
    families
}

fn by_kind<C: Cores>(cores: &C) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for core in 0..cores.cores() {
        for (name, kind, value) in cores.labelled(core) {
            let full_name = format!("inrush_{name}");
            let index = families.iter().position(|family| family.name == full_name).unwrap_or_else(|| {
                let help =
                    FAMILY_HELP.iter().find(|(known, _)| *known == name).map_or(name, |(_, help)| help);
                families.push(Family {
                    name: full_name,
                    help: help.to_owned(),
                    kind: MetricType::Counter,
                    samples: Vec::new(),
                });
                families.len() - 1
            });
            let mut labels = core_label(core);
            labels.push(("kind", kind.to_owned()));
            families[index].samples.push((labels, Value::Whole(value)));
        }
    }
    families
}

/// Health of publishers, summed over cores: whoever watches asks how many, not where.
fn health<C: Cores>(cores: &C) -> [Family; 2] {
    let mut sum = HealthCounts::default();
    for core in 0..cores.cores() {
        let counts = cores.health(core);
        for code in Code::ALL {
            sum.holding[code] += counts.holding[code];
            sum.began[code] += counts.began[code];
        }
    }
    let samples = |counts: PerCode<u64>| {
        let sample =
            |(code, count): (Code, &u64)| (vec![("code", code.label().to_owned())], Value::Whole(*count));
        counts.iter().map(sample).collect()
    };
    [
        Family::new(
            "inrush_streams_unhealthy",
            "Publishers that a health code holds for, standbys and dry runs included, by code",
            false,
            samples(sum.holding),
        ),
        Family::new(
            "inrush_health_events",
            "Times that a health code has begun, by code",
            true,
            samples(sum.began),
        ),
    ]
}

fn core_label(core: usize) -> Labels {
    vec![("core", core.to_string())]
}

fn gauge(name: &str, help: &str, value: Value) -> Family {
    single(name, help, MetricType::Gauge, value)
}

fn counter(name: &str, help: &str, value: Value) -> Family {
    single(name, help, MetricType::Counter, value)
}

fn single(name: &str, help: &str, kind: MetricType, value: Value) -> Family {
    Family { name: name.to_owned(), help: help.to_owned(), kind, samples: vec![(Labels::new(), value)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_counters_with_their_suffix_and_has_no_end_mark() {
        let open_metrics = "# HELP a_b Bytes.\n# TYPE a_b counter\na_b_total{core=\"0\"} 1\n\
                            # HELP g Now.\n# TYPE g gauge\ng 2\n# EOF\n";
        let expected = "# HELP a_b_total Bytes.\n# TYPE a_b_total counter\na_b_total{core=\"0\"} 1\n\
                        # HELP g Now.\n# TYPE g gauge\ng 2\n";
        assert_eq!(plain_text(open_metrics), expected);
    }
}
