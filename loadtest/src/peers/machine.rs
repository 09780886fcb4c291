//! The machine a table is from.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::server::Programs;
use crate::report::html::utc;

/// Each fact with its name.
pub(super) struct Machine(pub(super) Vec<(&'static str, String)>);

impl Machine {
    /// Reads what there is to know; what cannot be read is `unknown`.
    pub(super) fn look(programs: &Programs, cores: &[usize]) -> Self {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_millis() as u64);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1));
        let module = said(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "libnginx-mod-rtmp"]));
        let nginx = said(Command::new(&programs.nginx).arg("-v")).replace("nginx version: ", "");
        let facts = vec![
            ("date", utc(unix_ms)),
            ("kernel", kernel.trim().to_owned()),
            ("CPU", cpu.unwrap_or_default().trim().to_owned()),
            ("cores", format!("{}; server on {}, harness on {}", cores.len(), cores[0], cores[1])),
            ("inrush", said(Command::new(&programs.inrush).arg("--version"))),
            ("nginx", nginx),
            ("libnginx-mod-rtmp", module),
        ];
        let known = |fact: String| if fact.is_empty() { "unknown".to_owned() } else { fact };
        Self(facts.into_iter().map(|(name, fact)| (name, known(fact))).collect())
    }
}

/// The first line that a program says, on either stream.
fn said(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return String::new() };
    if !output.status.success() {
        return String::new();
    }
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}
