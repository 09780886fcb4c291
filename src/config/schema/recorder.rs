//! The keys of `[recorder]`: what is kept of sessions that end by a fault.

use super::Table;
use super::kinds::{KIB, MIB, number};
use crate::config::key::{Key, Kind};

/// `[recorder]`.
pub(super) const TABLE: Table = Table {
    name: "recorder",
    keys: &[
        Key {
            name: "directory",
            about: "Where the last bytes of sessions that ended by a fault are written; empty records nothing",
            kind: Kind::Text {
                allowed: "a directory's path, or an empty string",
                read: |config| {
                    let directory = config.runtime.recorder.directory.as_ref();
                    directory.map_or(String::new(), |path| path.to_string_lossy().into_owned())
                },
                write: |config, text| {
                    config.runtime.recorder.directory = (!text.is_empty()).then(|| text.into());
                    Ok(())
                },
            },
        },
        number!(
            "bytes",
            KIB..=MIB,
            "Bytes that are kept of what each peer sent last",
            runtime.recorder.bytes
        ),
        number!("files_max", 1..=10_000, "Files that are kept; the oldest goes", runtime.recorder.files_max),
    ],
};
