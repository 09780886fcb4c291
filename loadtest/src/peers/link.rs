//! A cable between this host and a network namespace, for the load to come from.
//!
//! The addresses are of 198.18.0.0/15, which is set aside for benchmarks (RFC 2544), so that they are nobody's. Needs root and
//! `ip`. Dropping it removes both; what a killed command left is removed by the next.

use std::path::Path;
use std::process::Command;

/// This host's address on the cable.
pub(super) const HOST: &str = "198.18.77.1";
/// Whom the server trusts, so that one network may open many connections.
pub(super) const NETWORK: &str = "198.18.77.0/30";

const PREFIX: &str = "inrush-peers-";

/// The namespace and this host's end of the cable.
pub(super) struct Link {
    name: String,
    here: String,
}

impl Link {
    pub(super) fn new() -> Result<Self, String> {
        remove_left();
        let id = std::process::id();
        let link = Self { name: format!("{PREFIX}{id}"), here: format!("inrp{id}") };
        let (name, here, there) = (&link.name, &link.here, "cable");
        ip(&["netns", "add", name])?;
        ip(&["link", "add", here, "type", "veth", "peer", "name", there, "netns", name])?;
        ip(&["addr", "add", &format!("{HOST}/30"), "dev", here])?;
        ip(&["link", "set", here, "up"])?;
        ip(&["-n", name, "addr", "add", "198.18.77.2/30", "dev", there])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "link", "set", there, "up"])?;
        Ok(link)
    }

    /// A command that runs at the far end. It keeps its id: `ip` replaces itself.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The kernel removes a namespace some time after it is told to; the cable is gone at once. What was not made yet is not there.
        let _ = ip(&["link", "del", &self.here]);
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// Removes the namespaces of commands that are gone.
fn remove_left() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = name.strip_prefix(PREFIX).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid| crate::process::usage(pid).is_none()) {
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    // SAFETY: it takes nothing and cannot fail.
    let needs = if unsafe { libc::geteuid() } == 0 { "" } else { "a network namespace needs root: " };
    Err(format!("{needs}ip {}: {}", args.join(" "), error.trim()))
}
