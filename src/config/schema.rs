//! Every key of the configuration: table, name, what is allowed, and the setting behind it.
//!
//! Adding a key is adding a line to the file of its table. The configuration file, the flags, `inrush check`, the sample file and the
//! error lines all read these tables; each floor documents its settings and their defaults where it defines them.

use super::Config;
use super::key::Key;

pub(super) mod app;
pub(super) mod auth;
mod control;
mod deadlines;
mod engine;
pub(super) mod kinds;
mod limits;
pub(super) mod listeners;
mod log;
mod recorder;
pub(super) mod tls;

/// One table of the file.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) keys: &'static [Key<Config>],
}

/// Which key each flag and each variable sets.
pub(super) const OVERRIDES: [Override; 10] = [
    Override { flag: "--rtmp", variable: "INRUSH_RTMP", table: "rtmp", key: "listen" },
    Override { flag: "--rtmps", variable: "INRUSH_RTMPS", table: "tls", key: "listen" },
    Override { flag: "--rtmps-detect", variable: "INRUSH_RTMPS_DETECT", table: "tls", key: "detect" },
    Override {
        flag: "--rtmps-self-signed",
        variable: "INRUSH_RTMPS_SELF_SIGNED",
        table: "tls",
        key: "self_signed",
    },
    Override { flag: "--http", variable: "INRUSH_HTTP", table: "control", key: "listen" },
    Override { flag: "--http-token", variable: "INRUSH_HTTP_TOKEN", table: "control", key: "token" },
    Override { flag: "--cores", variable: "INRUSH_CORES", table: "engine", key: "cores" },
    Override { flag: "--placement", variable: "INRUSH_PLACEMENT", table: "engine", key: "placement" },
    Override { flag: "--log", variable: "INRUSH_LOG", table: "log", key: "filter" },
    Override { flag: "--log-format", variable: "INRUSH_LOG_FORMAT", table: "log", key: "format" },
];

/// A key that can also be set by a flag and by an environment variable.
pub(super) struct Override {
    pub(super) flag: &'static str,
    pub(super) variable: &'static str,
    pub(super) table: &'static str,
    pub(super) key: &'static str,
}

/// The tables of the file, in the order in which they are shown.
pub(super) static TABLES: [Table; 11] = [
    engine::TABLE,
    listeners::RTMP,
    tls::TABLE,
    listeners::PROXY,
    engine::INGEST,
    Table { name: auth::NOTIFY, keys: &auth::NOTIFY_KEYS },
    control::TABLE,
    deadlines::TABLE,
    limits::TABLE,
    recorder::TABLE,
    log::TABLE,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key::{Kind, Raw};

    fn check_range<T: Default>(key: &Key<T>) {
        let Kind::Integer { allowed, read, .. } = &key.kind else { return };
        for end in [*allowed.start(), *allowed.end()] {
            let mut target = T::default();
            assert_eq!(key.store(&mut target, &Raw::Integer(end.into())), Ok(()), "{}", key.name);
            assert_eq!(read(&target), end, "{} does not hold {end}", key.name);
        }
        let default = read(&T::default());
        assert!(allowed.contains(&default), "{}: default {default} is out of range", key.name);
    }

    #[test]
    fn every_field_holds_both_ends_of_its_range_and_its_default_is_inside() {
        TABLES.iter().flat_map(|table| table.keys).for_each(check_range);
        app::APP_KEYS.iter().for_each(check_range);
        super::super::targets::TARGET_KEYS.iter().for_each(check_range);
        auth::AUTH_KEYS.iter().for_each(check_range);
        auth::KEY_KEYS.iter().for_each(check_range);
        super::super::upstreams::UPSTREAM_KEYS.iter().for_each(check_range);
    }

    #[test]
    fn every_override_names_a_key() {
        for entry in &OVERRIDES {
            let table = TABLES.iter().find(|table| table.name == entry.table).expect("table");
            assert!(table.keys.iter().any(|key| key.name == entry.key), "{}", entry.flag);
        }
    }
}
