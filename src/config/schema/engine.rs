//! The keys of `[engine]` and `[ingest]`: what the engine runs on, and how its cores work.

use super::Table;
use super::kinds::{milliseconds, number, seconds};
use crate::config::key::{Key, Kind};
use crate::runtime::DRAIN_DEADLINE_MAX;
use crate::runtime::settings::Placement;
use crate::session::ReconnectUrl;

/// Most cores that can be named: the engine keeps sets of cores in 128 bits.
const CORES_MAX: u64 = 128;

/// `[engine]`.
pub(super) const TABLE: Table = Table {
    name: "engine",
    keys: &[
        number!("cores", 0..=CORES_MAX, "Cores to run on; 0 is all that the process may use", runtime.cores),
        Key {
            name: "placement",
            about: "Where streams live: accept, home (balanced) or core:N",
            kind: Kind::Text {
                allowed: "accept, home, core:N",
                read: |config| placement_name(config.runtime.placement),
                write: |config, text| {
                    config.runtime.placement =
                        placement(text).ok_or_else(|| format!("{text:?} is no placement"))?;
                    Ok(())
                },
            },
        },
        seconds!(
            "drain_seconds",
            0..=DRAIN_DEADLINE_MAX.as_secs(),
            "How long SIGTERM waits for publishers to leave",
            runtime.drain_deadline
        ),
        Key {
            name: "reconnect_url",
            about: "Where it sends encoders that can be sent: rtmp://HOST[:PORT][/APP]; empty: back here",
            kind: Kind::Text {
                allowed: "rtmp://HOST[:PORT][/APP], the same with rtmps, or nothing",
                read: |config| {
                    config.runtime.reconnect_url.as_ref().map(|url| url.as_str().into()).unwrap_or_default()
                },
                write: |config, text| {
                    config.runtime.reconnect_url = match text {
                        "" => None,
                        url => Some(ReconnectUrl::parse(url).map_err(|error| format!("{url:?}: {error}"))?),
                    };
                    Ok(())
                },
            },
        },
    ],
};

/// `[ingest]`.
pub(super) const INGEST: Table = Table {
    name: "ingest",
    keys: &[milliseconds!(
        "latency_budget_ms",
        0..=1000,
        "How long a message may wait while a busy core polls its publishers; 0 never polls",
        runtime.latency_budget
    )],
};

fn placement(text: &str) -> Option<Placement> {
    match text {
        "accept" => Some(Placement::Accept),
        "home" => Some(Placement::Home),
        _ => {
            let core = text.strip_prefix("core:")?.parse().ok()?;
            (u64::from(core) < CORES_MAX).then_some(Placement::Core(core))
        }
    }
}

fn placement_name(placement: Placement) -> String {
    match placement {
        Placement::Accept => "accept".into(),
        Placement::Home => "home".into(),
        Placement::Core(core) => format!("core:{core}"),
    }
}
