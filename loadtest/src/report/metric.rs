//! A figure of a run by its name, as `--fail-if` and `compare` use it.
//!
//! Names are the paths in the JSON, with or without the section in front: `e2e.p99` is `latencies.e2e.p99`, `lost` is
//! `counts.lost`, `personas.storm.lost` the sum over all personas of that kind, `hostile.garbage.open` what is there of that, `forwards.lost` and `forwards.e2e.p99` what came at the far end. Any percentile can be asked for: `p99.95`, or without the point, `p9995`. `errors` and `errors.STAGE` are sums.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::forwards::ForwardsResult;
use super::hostile::HostileResult;
use super::model::{Counts, Latencies, PersonaCounts, Run, ServerCost, Stage, Throughput};

/// The stages of [`Metric`] `errors.STAGE`.
const STAGES: [Stage; 7] = [
    Stage::TcpConnect,
    Stage::TlsHandshake,
    Stage::Handshake,
    Stage::Connect,
    Stage::Publish,
    Stage::Play,
    Stage::Media,
];

/// What a figure is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Microseconds,
    /// Seconds (of CPU, of a run, of CPU for each GB).
    Seconds,
    /// Bytes.
    Bytes,
    /// A number of things.
    Number,
}

/// A figure of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    name: String,
    source: Source,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    Latency(&'static str, Statistic),
    Count(String),
    Throughput(String),
    Server(String),
    Errors(Option<Stage>),
    Persona(String, String),
    Hostile(String, String),
    Forwards(&'static str),
    Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Count,
    Min,
    Mean,
    Stdev,
    Max,
    Percentile(f64),
}

/// A name that no figure has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownMetric {
    /// A distribution without its statistic.
    #[error("`{0}` is a distribution: say which of its figures, as in `{0}.p99`, `{0}.mean` or `{0}.max`")]
    Bare(String),
    /// A statistic that a distribution does not have.
    #[error(
        "a distribution has count, min, mean, stdev, max and percentiles such as p99 or p99.9, not `{0}`"
    )]
    Statistic(String),
    /// Nothing of that name.
    #[error("no figure is called `{name}`; there are {known}")]
    Name {
        /// What was asked for.
        name: String,
        /// What could have been.
        known: String,
    },
}

impl Metric {
    /// As it was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is measured in.
    pub fn unit(&self) -> Unit {
        match &self.source {
            Source::Latency(_, Statistic::Count)
            | Source::Count(_)
            | Source::Errors(_)
            | Source::Persona(..) => Unit::Number,
            Source::Hostile(_, key) if key.starts_with("bytes_") => Unit::Bytes,
            Source::Forwards("bytes") => Unit::Bytes,
            Source::Hostile(..) | Source::Forwards(_) => Unit::Number,
            Source::Latency(..) => Unit::Microseconds,
            Source::Duration => Unit::Seconds,
            Source::Server(key) if key.starts_with("cpu_us_") => Unit::Microseconds,
            Source::Throughput(key) if key.starts_with("bytes_") => Unit::Bytes,
            Source::Server(key) if key.ends_with("_bytes") => Unit::Bytes,
            Source::Server(key) if key.ends_with("_s") || key.starts_with("cpu_s_") => Unit::Seconds,
            Source::Throughput(_) | Source::Server(_) => Unit::Number,
        }
    }

    /// Its value in a run, in its unit; `None` when the run did not measure it.
    pub fn of(&self, run: &Run) -> Option<f64> {
        match &self.source {
            Source::Latency(name, statistic) => {
                let (_, histogram) = run.distributions().into_iter().find(|(known, _)| known == name)?;
                if *statistic == Statistic::Count {
                    return Some(histogram.count as f64);
                }
                (histogram.count > 0).then_some(())?;
                Some(match statistic {
                    Statistic::Count => histogram.count as f64,
                    Statistic::Min => histogram.min as f64,
                    Statistic::Mean => histogram.mean,
                    Statistic::Stdev => histogram.stdev,
                    Statistic::Max => histogram.max as f64,
                    Statistic::Percentile(percent) => histogram.percentile(*percent)? as f64,
                })
            }
            Source::Count(key) => {
                // Of messages that nobody read with a stamp, nothing can be told.
                let tells = run.counts.received > run.counts.unstamped || run.counts.lost > 0;
                if !tells && matches!(key.as_str(), "lost" | "duplicated" | "reordered") {
                    return None;
                }
                run.counts.named().into_iter().find(|(name, _)| name == key).map(|(_, count)| count as f64)
            }
            Source::Throughput(key) => field(serde_json::to_value(&run.throughput).ok()?, key),
            Source::Server(key) => field(serde_json::to_value(run.server.as_ref()?).ok()?, key),
            Source::Errors(stage) => Some(
                run.errors
                    .iter()
                    .filter(|errors| stage.is_none_or(|stage| stage == errors.stage))
                    .map(|errors| errors.count as f64)
                    .sum(),
            ),
            Source::Persona(kind, key) => {
                let of_kind = run.personas.iter().filter(|persona| persona.kind() == kind);
                of_kind
                    .filter_map(|persona| persona.counts.named().into_iter().find(|(name, _)| name == key))
                    .map(|(_, count)| count as f64)
                    .reduce(|sum, count| sum + count)
            }
            Source::Hostile(kind, key) => {
                let of_kind = run.hostile.iter().find(|hostile| hostile.kind == *kind)?;
                of_kind.named().into_iter().find(|(name, _)| name == key).map(|(_, count)| count as f64)
            }
            Source::Forwards(key) => {
                let far = run.forwards.as_ref()?;
                far.named().into_iter().find(|(name, _)| name == key).map(|(_, count)| count as f64)
            }
            Source::Duration => Some(run.duration_s),
        }
    }

    /// Its value as a person reads it.
    pub fn show(&self, value: f64) -> String {
        self.unit().show(value)
    }
}

fn field(section: Value, key: &str) -> Option<f64> {
    section.get(key)?.as_f64()
}

fn keys(section: Value) -> Vec<String> {
    match section {
        Value::Object(fields) => fields.into_iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    }
}

/// `personas.KIND.COUNT`.
fn persona<'a>(head: &str, tail: Option<&'a str>) -> Option<(&'a str, &'a str)> {
    let (kind, key) = tail.filter(|_| head == "personas")?.split_once('.')?;
    PersonaCounts::default().named().iter().any(|(name, _)| *name == key).then_some((kind, key))
}

/// `hostile.KIND.COUNT`.
fn hostile<'a>(head: &str, tail: Option<&'a str>) -> Option<(&'a str, &'a str)> {
    let (kind, key) = tail.filter(|_| head == "hostile")?.split_once('.')?;
    HostileResult::default().named().iter().any(|(name, _)| *name == key).then_some((kind, key))
}

/// `forwards.COUNT` and `forwards.DISTRIBUTION.STATISTIC`.
fn forwards(tail: &str) -> Result<Option<Source>, UnknownMetric> {
    let far = ForwardsResult::default();
    let count = far.named().into_iter().map(|(name, _)| name).find(|name| *name == tail);
    let (head, statistic) = tail.split_once('.').map_or((tail, None), |(head, tail)| (head, Some(tail)));
    let run = Run { forwards: Some(far), ..Run::default() };
    let distribution = run
        .distributions()
        .into_iter()
        .map(|(name, _)| name)
        .find(|name| name.strip_prefix("forwards.") == Some(head));
    match (count, distribution, statistic) {
        (Some(name), ..) => Ok(Some(Source::Forwards(name))),
        (None, Some(name), None) => Err(UnknownMetric::Bare(name.to_owned())),
        (None, Some(name), Some(tail)) => match Statistic::parse(tail) {
            Some(statistic) => Ok(Some(Source::Latency(name, statistic))),
            None => Err(UnknownMetric::Statistic(tail.to_owned())),
        },
        (None, None, _) => Ok(None),
    }
}

/// The names of all figures, distributions without their statistics.
fn known() -> (Vec<&'static str>, Vec<String>, Vec<String>, Vec<String>) {
    let latencies = Latencies::default().named().map(|(name, _)| name).to_vec();
    let counts = Counts::default().named().into_iter().map(|(name, _)| name.to_owned()).collect();
    let throughput = keys(serde_json::to_value(Throughput::default()).unwrap_or_default());
    let server = keys(serde_json::to_value(ServerCost::default()).unwrap_or_default());
    (latencies, counts, throughput, server)
}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        let (latencies, counts, throughput, server) = known();
        let (section, path) = match name.split_once('.') {
            Some((section @ ("latencies" | "counts" | "throughput" | "server"), rest)) => (section, rest),
            _ => ("", name),
        };
        let within = |wanted: &str| section.is_empty() || section == wanted;
        let (head, tail) = path.split_once('.').map_or((path, None), |(head, tail)| (head, Some(tail)));
        let has = |keys: &[String]| keys.iter().any(|key| key == path);

        let source = if let Some(&latency) =
            latencies.iter().find(|known| **known == head && within("latencies"))
        {
            let Some(tail) = tail else { return Err(UnknownMetric::Bare(head.to_owned())) };
            let statistic =
                Statistic::parse(tail).ok_or_else(|| UnknownMetric::Statistic(tail.to_owned()))?;
            Source::Latency(latency, statistic)
        } else if within("counts") && has(&counts) {
            Source::Count(path.to_owned())
        } else if within("throughput") && has(&throughput) {
            Source::Throughput(path.to_owned())
        } else if within("server") && has(&server) {
            Source::Server(path.to_owned())
        } else if name == "duration_s" {
            Source::Duration
        } else if name == "errors" {
            Source::Errors(None)
        } else if let Some(stage) =
            STAGES.into_iter().find(|stage| head == "errors" && tail == Some(stage.name()))
        {
            Source::Errors(Some(stage))
        } else if let Some((kind, key)) = persona(head, tail) {
            Source::Persona(kind.to_owned(), key.to_owned())
        } else if let Some((kind, key)) = hostile(head, tail) {
            Source::Hostile(kind.to_owned(), key.to_owned())
        } else if let Some(source) = tail.filter(|_| head == "forwards").map(forwards).transpose()?.flatten()
        {
            source
        } else {
            let latencies = latencies.into_iter().map(|name| format!("{name}.p99"));
            let known: Vec<_> = latencies.chain(counts).chain(throughput).chain(server).collect();
            let known = format!(
                "{}, duration_s, errors, personas.NAME.lost, hostile.KIND.ended, forwards.lost, forwards.e2e.p99",
                known.join(", ")
            );
            return Err(UnknownMetric::Name { name: name.to_owned(), known });
        };
        Ok(Self { name: name.to_owned(), source })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Statistic {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "count" => Self::Count,
            "min" => Self::Min,
            "mean" => Self::Mean,
            "stdev" => Self::Stdev,
            "max" => Self::Max,
            "p100" => Self::Percentile(100.0),
            _ => {
                let digits = text.strip_prefix('p')?;
                // Only digits and a point: `parse` alone would take `pinf`, `p-1` and `p1e1`.
                if digits.len() > 12 || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
                    return None;
                }
                let percent: f64 = match digits.split_at_checked(2) {
                    // `p999` is how tools write 99.9.
                    Some((whole, decimals)) if !digits.contains('.') => {
                        format!("{whole}.{decimals}").parse().ok()?
                    }
                    _ => digits.parse().ok()?,
                };
                (percent <= 100.0).then_some(Self::Percentile(percent))?
            }
        })
    }
}

impl Unit {
    /// A value in this unit as a person reads it.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Microseconds => duration(value),
            Self::Seconds => format!("{} s", digits(value)),
            Self::Bytes => bytes(value),
            Self::Number => number(value),
        }
    }
}

/// Microseconds with three digits and the unit that suits them.
pub(super) fn duration(us: f64) -> String {
    scaled(us, &[(1e6, "s"), (1e3, "ms"), (1.0, "µs")])
}

/// Bytes with three digits and the unit that suits them; 1 kB is 1000 bytes.
pub(super) fn bytes(bytes: f64) -> String {
    scaled(bytes, &[(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")])
}

/// A whole number with its thousands set apart, any other with three digits.
pub(super) fn number(value: f64) -> String {
    if value.fract() != 0.0 || value.abs() >= 1e15 {
        return digits(value);
    }
    let plain = format!("{:.0}", value.abs());
    let mut shown = String::from(if value < 0.0 { "-" } else { "" });
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    // What rounds up to the next unit is told in it: 999.9 µs is 1.00 ms.
    let (scale, unit) = units
        .iter()
        .copied()
        .find(|(scale, _)| value.abs() >= scale * 0.9995)
        .unwrap_or((1.0, units[units.len() - 1].1));
    let value = value / scale;
    if scale == 1.0 && value.fract() == 0.0 {
        format!("{value:.0} {unit}")
    } else {
        format!("{} {unit}", digits(value))
    }
}

/// Three significant digits, and all of the whole part.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.001 => format!("{value:.1e}"),
        size if size < 0.09995 => format!("{value:.4}"),
        size if size < 0.9995 => format!("{value:.3}"),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn value(name: &str) -> Option<f64> {
        name.parse::<Metric>().unwrap().of(&fixture::run())
    }

    #[test]
    fn names_are_the_paths_of_the_json() {
        let json: Value = serde_json::from_str(&fixture::run().to_json()).unwrap();
        for path in
            ["latencies.e2e.p99", "latencies.e2e.p999", "counts.lost", "throughput.gb_in", "server.rss_bytes"]
        {
            let pointer = format!("/{}", path.replace('.', "/"));
            let there = json.pointer(&pointer).and_then(Value::as_f64);
            assert!(there.is_some(), "{path}");
            assert_eq!(value(path), there, "{path}");
            assert_eq!(value(path.split_once('.').unwrap().1), there, "{path}");
        }
    }

    #[test]
    fn percentiles_with_and_without_the_point() {
        assert_eq!(value("e2e.p99.9"), value("e2e.p999"));
        assert_eq!(value("e2e.p100"), value("e2e.max"));
        assert_eq!(Statistic::parse("p9995"), Some(Statistic::Percentile(99.95)));
        assert_eq!(Statistic::parse("p5"), Some(Statistic::Percentile(5.0)));
        for wrong in ["p", "p.", "pinf", "p-1", "p1e1", "p100.1", "q99", "p99µ", ""] {
            assert_eq!(Statistic::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn errors_are_summed() {
        assert_eq!(value("errors"), Some(5.0));
        assert_eq!(value("errors.handshake"), Some(3.0));
        assert_eq!(value("errors.play"), Some(0.0));
    }

    #[test]
    fn a_persona_is_named_by_its_kind() {
        assert_eq!(value("personas.stalling.missing"), Some(7.0));
        assert_eq!(value("personas.storm.missing"), None);
        assert!("personas.stalling.nothing".parse::<Metric>().is_err());
        assert!("personas.stalling".parse::<Metric>().is_err());
    }

    #[test]
    fn the_far_end_has_counts_and_distributions() {
        assert_eq!(["forwards.lost", "forwards.received"].map(value), [Some(3.0), Some(99.0)]);
        let bytes = "forwards.bytes".parse::<Metric>().unwrap();
        assert_eq!((bytes.unit(), bytes.of(&fixture::run())), (Unit::Bytes, Some(1e9)));
        assert_eq!(
            (value("forwards.gap.count"), value("forwards.e2e.p99")),
            (Some(98.0), value("forwards.e2e.max"))
        );
        let error = |name: &str| name.parse::<Metric>().unwrap_err().to_string();
        assert!(error("forwards.e2e").contains("`forwards.e2e.p99`"));
        assert!(
            error("forwards.e2e.q").contains("not `q`") && error("forwards.nothing").starts_with("no figure")
        );
        let without = Run { forwards: None, ..fixture::run() };
        for name in ["forwards.lost", "forwards.e2e.p99"] {
            assert_eq!(name.parse::<Metric>().unwrap().of(&without), None);
        }
    }

    #[test]
    fn what_was_not_measured_has_no_value() {
        assert_eq!(value("first_frame.p99"), None);
        assert_eq!(value("first_frame.count"), Some(0.0));
        let mut run = fixture::run();
        run.server = None;
        assert_eq!("rss_bytes".parse::<Metric>().unwrap().of(&run), None);
    }

    /// Nothing is known of the loss of a run that only publishes, or whose players read nothing that has a stamp.
    #[test]
    fn loss_is_measured_where_stamps_are_read_or_missed() {
        let told = |received, unstamped, lost| {
            let mut run = fixture::run();
            run.counts = Counts { sent: 100, received, unstamped, lost, ..Counts::default() };
            ["lost", "duplicated", "reordered"].map(|name| name.parse::<Metric>().unwrap().of(&run))
        };
        assert_eq!(told(0, 0, 0), [None; 3]);
        assert_eq!(told(50, 50, 0), [None; 3]);
        assert_eq!(told(50, 49, 0), [Some(0.0); 3]);
        assert_eq!(told(0, 0, 100), [Some(100.0), Some(0.0), Some(0.0)]);
    }

    #[test]
    fn a_wrong_name_is_told_with_what_there_is() {
        let error = |name: &str| name.parse::<Metric>().unwrap_err().to_string();
        assert_eq!(
            error("e2e"),
            "`e2e` is a distribution: say which of its figures, as in `e2e.p99`, `e2e.mean` or `e2e.max`"
        );
        assert_eq!(
            error("e2e.q9"),
            "a distribution has count, min, mean, stdev, max and percentiles such as p99 or p99.9, not `q9`"
        );
        let unknown = error("lots");
        assert!(unknown.starts_with("no figure is called `lots`; there are tcp_connect.p99, "), "{unknown}");
        assert!(unknown.contains(" lost, ") && unknown.contains(" cpu_s_per_gb_in, "), "{unknown}");
        assert!(error("counts.e2e.p99").starts_with("no figure"));
    }

    #[test]
    fn values_as_people_read_them() {
        let shown = [0.0, 850.0, 999.9, 1234.0, 2_001_000.0].map(duration);
        assert_eq!(shown, ["0 µs", "850 µs", "1.00 ms", "1.23 ms", "2.00 s"]);
        assert_eq!([512.0, 48_000.0, 2.5e9].map(bytes), ["512 B", "48.0 kB", "2.50 GB"]);
        assert_eq!(
            [0.0, 999.0, 1234567.0, -1000.0, 0.25].map(number),
            ["0", "999", "1,234,567", "-1,000", "0.250"]
        );
        assert_eq!([0.0123, 0.00001, 12.34, 12345.6].map(digits), ["0.0123", "1.0e-5", "12.3", "12346"]);
    }
}
