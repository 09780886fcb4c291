//! The keys of `[log]`: which lines are written, and how they look.

use super::Table;
use crate::config::key::{Key, Kind};
use crate::log::{Format, filter_problem};

/// `[log]`.
pub(super) const TABLE: Table = Table {
    name: "log",
    keys: &[
        Key {
            name: "filter",
            about: "Level, or target=level pairs: error, warn, info, debug, trace",
            kind: Kind::Text {
                allowed: "error, warn, info, debug, trace, off, or target=level, comma separated",
                read: |config| config.log.filter.clone(),
                write: |config, text| match filter_problem(text) {
                    Some(problem) => Err(problem),
                    None => {
                        config.log.filter = text.into();
                        Ok(())
                    }
                },
            },
        },
        Key {
            name: "format",
            about: "How log lines look: text or json",
            kind: Kind::Text {
                allowed: "text, json",
                read: |config| config.log.format.name().into(),
                write: |config, text| {
                    config.log.format =
                        Format::from_name(text).ok_or_else(|| format!("{text:?} is no log format"))?;
                    Ok(())
                },
            },
        },
    ],
};
