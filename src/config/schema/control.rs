//! The keys of `[control]`: the control HTTP.

use super::Table;
use super::kinds::{ADDRESS, address, number, secret, switch};
use crate::config::key::{Key, Kind};
use crate::control::stream_series::TOP_STREAMS_MAX;

/// `[control]`.
pub(super) const TABLE: Table = Table {
    name: "control",
    keys: &[
        Key {
            name: "listen",
            about: "Address of the control HTTP: health, metrics, API",
            kind: Kind::Text {
                allowed: ADDRESS,
                read: |config| config.control.listen.to_string(),
                write: |config, text| {
                    config.control.listen = address(text)?;
                    Ok(())
                },
            },
        },
        secret!(
            "token",
            "What it asks for (Authorization: Bearer …): file:PATH or env:NAME; needed unless it listens on loopback",
            control.token
        ),
        switch!(
            "metrics_open",
            "Whether /metrics is open to who says no token, as /healthz and /readyz are",
            control.metrics_open
        ),
        number!(
            "top_streams",
            0..=TOP_STREAMS_MAX as u64,
            "Of how many streams /metrics has series of their own: those with the highest bitrates",
            control.top_streams
        ),
    ],
};
