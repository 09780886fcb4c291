//! The keys of `[[app]]`: what holds for the streams of one app.

use super::kinds::{APP_OR_ANY, GIB, KIB, app_name, codecs, limit, number, switch, text};
use crate::config::key::{Key, Kind};
use crate::hub::{MismatchPolicy, TakeoverPolicy};
use crate::media::TimestampPolicy;
use crate::runtime::settings::App;

/// The table that may come several times, once an app.
pub(in crate::config) const APP: &str = "app";

/// The key that names an app; read before all others of its table.
pub(in crate::config) const APP_NAME: &str = "name";

/// The app whose settings serve every app without a table of its own.
pub(in crate::config) const ANY_APP: &str = "*";

/// The keys of an `[[app]]` table.
pub(in crate::config) static APP_KEYS: [Key<App>; 30] = [
    text!(
        APP_NAME,
        APP_OR_ANY,
        "The app these settings are for; * is every app without a table of its own",
        name,
        app_name
    ),
    switch!(
        "gop_cache",
        "Whether late joiners start at the last key frame: true or false",
        settings.gop.enabled
    ),
    number!("gop_bytes_max", 64 * KIB..=4 * GIB, "Memory of one stream's GOP cache", settings.gop.bytes_max),
    number!("gop_frames_max", 16..=1_000_000, "Frames of one GOP cache", settings.gop.frames_max),
    number!("gop_ms_max", 100..=600_000, "Longest GOP that is kept, by its timestamps", settings.gop.ms_max),
    Key {
        name: "timestamps",
        about: "pass hands them on unchanged, monotonic never lets one step back",
        kind: Kind::Text {
            allowed: "pass, monotonic",
            read: |app| {
                match app.settings.ingest.timestamps {
                    TimestampPolicy::Pass => "pass",
                    TimestampPolicy::Monotonic => "monotonic",
                }
                .into()
            },
            write: |app, text| {
                app.settings.ingest.timestamps = match text {
                    "pass" => TimestampPolicy::Pass,
                    "monotonic" => TimestampPolicy::Monotonic,
                    _ => return Err(format!("{text:?} is no timestamp policy")),
                };
                Ok(())
            },
        },
    },
    number!("queue_bytes_max", 64 * KIB..=GIB, "Bytes that wait for one player", settings.queue.bytes_max),
    number!("queue_frames_max", 16..=1_000_000, "Frames that wait for one player", settings.queue.frames_max),
    number!(
        "queue_ms_max",
        100..=600_000,
        "How far a player may fall behind before it skips to the next key frame",
        settings.queue.ms_max
    ),
    number!(
        "stall_ms_max",
        1000..=600_000,
        "How long a player may read nothing before it is closed",
        settings.queue.stall_ms_max
    ),
    number!(
        "warn_gop_ms",
        0..=600_000,
        "Longest group of pictures without the health code gop_too_long; 0: any",
        settings.health.gop_ms_max
    ),
    number!(
        "warn_skew_ms",
        0..=600_000,
        "How far sound and pictures may be apart without the code av_drift; 0: as far as they are",
        settings.health.skew_ms_max
    ),
    number!(
        "warn_drift_ppm",
        0..=1_000_000,
        "How far an encoder's clock may be off, millionths, without the code clock_drift; 0: by any",
        settings.health.drift_ppm_max
    ),
    number!(
        "warn_bits_per_second",
        0..=100_000_000_000,
        "Bits a second of one publisher without the code bitrate_over_limit; nobody is closed for it; 0: any",
        settings.health.bits_per_second_max
    ),
    switch!(
        "warn_variable_frame_rate",
        "Whether the code variable_frame_rate is told: true or false",
        settings.health.tells_variable_frame_rate
    ),
    Key {
        name: "takeover",
        about: "What becomes of a publisher whose stream has one: reject refuses it, newest lets it take over, priority the higher one",
        kind: Kind::Text {
            allowed: "reject, newest, priority",
            read: |app| {
                match app.settings.continuity.takeover {
                    TakeoverPolicy::Reject => "reject",
                    TakeoverPolicy::Newest => "newest",
                    TakeoverPolicy::Priority => "priority",
                }
                .into()
            },
            write: |app, text| {
                app.settings.continuity.takeover = match text {
                    "reject" => TakeoverPolicy::Reject,
                    "newest" => TakeoverPolicy::Newest,
                    "priority" => TakeoverPolicy::Priority,
                    _ => return Err(format!("{text:?} is no takeover policy")),
                };
                Ok(())
            },
        },
    },
    number!(
        "takeover_tenure_ms",
        0..=600_000,
        "How long a publisher that has taken over cannot be taken over from",
        settings.continuity.tenure_ms
    ),
    number!(
        "takeover_flaps_max",
        1..=1_000,
        "Takeovers of one stream in a minute; beyond it the publisher stays and others are refused",
        settings.continuity.flaps_max
    ),
    number!(
        "yield_silent_ms",
        500..=20_000,
        "A publisher that has sent nothing for so long yields to one with the same credentials, and to its standby",
        settings.continuity.yield_silent_ms
    ),
    Key {
        name: "mismatch",
        about: "A publisher that follows another with other codecs or tracks: discontinuity goes on with it, refuse closes it",
        kind: Kind::Text {
            allowed: "discontinuity, refuse",
            read: |app| {
                match app.settings.continuity.mismatch {
                    MismatchPolicy::Discontinuity => "discontinuity",
                    MismatchPolicy::Refuse => "refuse",
                }
                .into()
            },
            write: |app, text| {
                app.settings.continuity.mismatch = match text {
                    "discontinuity" => MismatchPolicy::Discontinuity,
                    "refuse" => MismatchPolicy::Refuse,
                    _ => return Err(format!("{text:?} says not what becomes of other codecs or tracks")),
                };
                Ok(())
            },
        },
    },
    number!(
        "grace_ms",
        0..=600_000,
        "How long players stay with a stream whose publisher was lost; 0 ends it at once",
        settings.continuity.grace_ms
    ),
    switch!(
        "standby",
        "Whether a second publisher of a stream is taken in, to go on when the first one dies or starves: true or false",
        settings.continuity.standby
    ),
    limit!(
        "limit_bits_per_second",
        0..=100_000_000_000,
        "Bits a second of media that one publisher may send, on average over some seconds; whoever is over this or another limit is closed and told why. What a grant allows less of, counts; 0: as many as come",
        limits.bits_per_second
    ),
    limit!(
        "limit_frames_per_second",
        0..=10_000,
        "Pictures a second of all its video tracks together; 0: as many as come",
        limits.frames_per_second
    ),
    limit!("limit_width", 0..=65_535, "Widest picture, pixels; 0: any", limits.width),
    limit!("limit_height", 0..=65_535, "Highest picture, pixels; 0: any", limits.height),
    codecs!("limit_codecs", "The only codecs that its tracks may have; none named: any", limits.codecs),
    limit!(
        "limit_seconds",
        0..=0xFFFF_FFFF,
        "How long a publisher or a player may stay; 0: as long as it will",
        limits.seconds
    ),
    limit!(
        "limit_streams",
        0..=1_000_000,
        "Streams of the app at a time, on all cores together; 0: as many as come",
        streams_max
    ),
    limit!(
        "limit_connections",
        0..=10_000_000,
        "Connections that publish or play in the app at a time, likewise; 0: as many as come",
        connections_max
    ),
];
