//! The keys of `[recorder]`: what is kept of sessions that end by a fault.

use super::Table;
use super::kinds::{KIB, MIB, number, optional_path};

/// `[recorder]`.
pub(super) const TABLE: Table = Table {
    name: "recorder",
    keys: &[
        optional_path!(
            "directory",
            "a directory's path, or an empty string",
            "Where the last bytes of sessions that ended by a fault are written; empty records nothing",
            runtime.recorder.directory
        ),
        number!(
            "bytes",
            KIB..=MIB,
            "Bytes that are kept of what each peer sent last",
            runtime.recorder.bytes
        ),
        number!("files_max", 1..=10_000, "Files that are kept; the oldest goes", runtime.recorder.files_max),
    ],
};
