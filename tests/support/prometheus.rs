//! A Prometheus of its own, as Debian has it, and what it answers. `.ci/setup` brings it and `promtool`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::process::Process;
use super::{PATIENCE, scratch_file, target_dir, wait_until};

/// `prometheus` or `promtool`: where `.ci/setup` puts it, unless it is installed.
pub fn tool(name: &str) -> PathBuf {
    let own = target_dir().join("prometheus").join(name);
    if own.exists() { own } else { name.into() }
}

/// One that runs; dropping it ends it and takes its data away.
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
    data: PathBuf,
}

impl Prometheus {
    /// With this configuration, which names other files from the root on or beside it.
    #[track_caller]
    pub fn start(config: &std::path::Path) -> Self {
        let data = scratch_file("prometheus-data");
        let mut command = Command::new(tool("prometheus"));
        command.arg("--config.file").arg(config).arg("--storage.tsdb.path").arg(&data);
        let mut process = Process::spawn("prometheus", command.arg("--web.listen-address=127.0.0.1:0"));
        let address = wait_until("prometheus listens", PATIENCE, || {
            let ended = process.try_exit();
            assert!(ended.is_none(), "prometheus ended with {ended:?}: {}", process.stderr());
            let log = process.stderr();
            // `… msg="Listening on" address=127.0.0.1:35105`
            let (_, line) = log.split_once("msg=\"Listening on\" address=")?;
            line.split_whitespace().next()?.parse().ok()
        });
        let prometheus = Self { process, address, data };
        // It listens before it has read what it has kept, and answers 503 until then.
        wait_until("prometheus is ready", PATIENCE, || {
            prometheus.get("/-/ready").is_ok_and(|said| said.contains("is Ready")).then_some(())
        });
        prometheus
    }

    /// What its API says to this path with this query; its own word where it refuses.
    #[track_caller]
    pub fn api(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let encoded = query
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        let path = format!("/api/v1/{path}?{}", encoded.collect::<Vec<_>>().join("&"));
        let body =
            self.get(&path).unwrap_or_else(|error| panic!("GET {path}: {error}: {}", self.process.stderr()));
        let mut answer: Value =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error} in {body}"));
        match answer["status"] == "success" {
            true => Ok(answer["data"].take()),
            false => Err(answer["error"].to_string()),
        }
    }

    /// The values of an expression now, one a series; those that are no numbers (a quantile of nothing) do not count.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<f64> {
        let answer = self.api("query", &[("query", expression)]);
        let answer = answer.unwrap_or_else(|error| panic!("{expression}: {error}"));
        let series = answer["result"].as_array().cloned().unwrap_or_default();
        let number =
            |series: &Value| series["value"][1].as_str()?.parse().ok().filter(|value: &f64| !value.is_nan());
        series.iter().filter_map(number).collect()
    }

    /// By HTTP/1.0, so that the body is as long as the connection lasts.
    fn get(&self, path: &str) -> io::Result<String> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        write!(socket, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address)?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        body.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.signal(libc::SIGKILL);
        let _ = self.process.wait(PATIENCE);
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
