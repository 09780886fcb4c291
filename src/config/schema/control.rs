//! The keys of `[control]`: the control HTTP.

use super::Table;
use super::kinds::{ADDRESS, address};
use crate::config::key::{Key, Kind};

/// `[control]`.
pub(super) const TABLE: Table = Table {
    name: "control",
    keys: &[Key {
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
    }],
};
