//! The control HTTP of a server under test: a GET or DELETE, Prometheus text, JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::PATIENCE;

/// An HTTP answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// The status line and the header, as they came.
    pub head: String,
    /// The body as text.
    pub body: String,
}

impl Response {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

/// One request on a connection of its own; of a server that asks for a token, `token` is said.
pub fn request(method: &str, address: SocketAddr, path: &str, token: Option<&str>) -> io::Result<Response> {
    let said = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    exchange(address, &format!("{method} {path}"), &format!("{said}\r\n"))
}

/// `rest` is the rest of the head and the body.
fn exchange(address: SocketAddr, line: &str, rest: &str) -> io::Result<Response> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    write!(socket, "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{rest}")?;
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let parsed = text.split_once("\r\n\r\n").and_then(|(head, body)| {
        assert!(
            !head.to_ascii_lowercase().contains("transfer-encoding"),
            "answers of known length are expected"
        );
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Response { status, head: head.to_owned(), body: body.to_owned() })
    });
    parsed.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP answer: {text:?}")))
}

/// A `POST` of JSON on a connection of its own.
pub fn post(address: SocketAddr, path: &str, token: Option<&str>, body: &str) -> io::Result<Response> {
    let said = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let body =
        format!("{said}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    exchange(address, &format!("POST {path}"), &body)
}

/// One reading of `/metrics`.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// From the text format of Prometheus.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| Sample::parse(line).unwrap_or_else(|| panic!("not a sample: {line}")));
        Self { samples: samples.collect() }
    }

    /// A counter of the cores, over all of them. The name is that in `runtime/observe.rs`.
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        self.per_core_sample(&format!("inrush_{name}_total")).iter().sum()
    }

    /// A gauge of the cores, over all of them.
    #[track_caller]
    pub fn gauge(&self, name: &str) -> u64 {
        self.per_core(name).iter().sum()
    }

    /// A gauge of each core.
    #[track_caller]
    pub fn per_core(&self, name: &str) -> Vec<u64> {
        self.per_core_sample(&format!("inrush_{name}"))
    }

    /// Resident memory of the process, bytes.
    #[track_caller]
    pub fn resident_bytes(&self) -> u64 {
        let is_it = |sample: &&Sample| sample.name == "process_resident_memory_bytes";
        self.samples.iter().find(is_it).expect("/metrics has the resident memory").count()
    }

    /// A counter by kind, over all cores; 0 while nothing of this kind has happened.
    pub fn of_kind(&self, family: &str, kind: &str) -> u64 {
        let name = format!("inrush_{family}_total");
        let is_kind = |sample: &&Sample| {
            sample.name == name && sample.labels.get("kind").is_some_and(|value| value == kind)
        };
        self.samples.iter().filter(is_kind).map(Sample::count).sum()
    }

    /// A counter by kind, over all its kinds.
    pub fn of_all_kinds(&self, family: &str) -> u64 {
        let name = format!("inrush_{family}_total");
        let is_one = |sample: &&Sample| sample.name == name && sample.labels.contains_key("kind");
        self.samples.iter().filter(is_one).map(Sample::count).sum()
    }

    /// A counter that is the process's rather than a core's.
    #[track_caller]
    pub fn whole(&self, name: &str) -> u64 {
        let name = format!("inrush_{name}_total");
        let is_it = |sample: &&Sample| sample.name == name && sample.labels.is_empty();
        self.samples.iter().find(is_it).unwrap_or_else(|| panic!("/metrics has no {name}")).count()
    }

    /// The sum of a series' samples whose labels have these values; 0 when there is none. The name is the whole one.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let has = |sample: &&Sample, (label, value): &(&str, &str)| {
            sample.labels.get(*label).is_some_and(|found| found == value)
        };
        let fits = |sample: &&Sample| sample.name == name && labels.iter().all(|label| has(sample, label));
        self.samples.iter().filter(fits).map(Sample::count).sum()
    }

    /// How many series there are that a test looks for, by name and labels; each bucket of a histogram is one.
    pub fn series(&self, is_one: impl Fn(&str, &BTreeMap<String, String>) -> bool) -> usize {
        self.samples.iter().filter(|sample| is_one(&sample.name, &sample.labels)).count()
    }

    /// The values of a label of a family, named in full.
    pub fn label_values(&self, name: &str, label: &str) -> BTreeSet<String> {
        let of_family = self.samples.iter().filter(|sample| sample.name == name);
        of_family.filter_map(|sample| sample.labels.get(label).cloned()).collect()
    }

    #[track_caller]
    fn per_core_sample(&self, name: &str) -> Vec<u64> {
        let of_core = |sample: &&Sample| sample.name == name && sample.labels.contains_key("core");
        let mut values: Vec<(u32, u64)> = Vec::new();
        for sample in self.samples.iter().filter(of_core) {
            values.push((sample.labels["core"].parse().expect("cores are numbers"), sample.count()));
        }
        assert!(!values.is_empty(), "/metrics has no {name}");
        values.sort_unstable();
        values.into_iter().map(|(_, value)| value).collect()
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let mut pairs = BTreeMap::new();
        for pair in labels.strip_suffix('}')?.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=')?;
            pairs.insert(key.to_owned(), value.trim_matches('"').to_owned());
        }
        Some(Self { name: name.to_owned(), labels: pairs, value: value.parse().ok()? })
    }

    fn count(&self) -> u64 {
        self.value as u64
    }
}
