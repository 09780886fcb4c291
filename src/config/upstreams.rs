//! The `[[upstream]]` tables: their keys, most of them as a target's.
//!
//! # Errors
//! As for targets: none shows a URL or a parameter.

use super::key::{Key, Kind};
use super::schema::kinds::{
    APP_OR_ANY, app_name, congestion, dscp, milliseconds, number, optional_path, switch, text,
};
use super::targets::{
    self, CA_FILE, PRINTABLE, QUERY, TARGET_URL, TEMPLATE, check_far_end, printable, query,
};
use super::{Config, ConfigError, Origins};
use crate::edge::relay::Upstream;

/// The table that may come several times, once an upstream that streams are pulled from.
pub(super) const UPSTREAM: &str = "upstream";

/// Most upstreams of one file: each stream that is wanted tries those of its app.
pub(super) const UPSTREAMS_MAX: usize = 64;

/// The keys of an `[[upstream]]` table; each must have a URL.
pub(super) static UPSTREAM_KEYS: [Key<Upstream>; 15] = [
    text!(
        "app",
        APP_OR_ANY,
        "Streams of this app are pulled from there when somebody plays them and nobody publishes them here; * is every app",
        source.app,
        app_name
    ),
    Key {
        name: TARGET_URL,
        about: "Where from; {app}, {name} and {shard} stand for the stream's own, {params} and {host} for its first player's",
        kind: Kind::Text {
            allowed: TEMPLATE,
            read: |upstream| targets::read_url(&upstream.source),
            write: |upstream, text| targets::write_url(&mut upstream.source, text),
        },
    },
    number!(
        "shards",
        1..=65_536,
        "{shard} is 0 to one less than this, by a hash of app and name",
        source.shards
    ),
    text!("params", QUERY, "More for the query, as it is to stand there", source.params, query),
    milliseconds!(
        "linger_ms",
        0..=3_600_000,
        "How long a stream is pulled on when its last player has gone; of several upstreams of an app, the longest counts",
        linger
    ),
    milliseconds!(
        "failover_ms",
        100..=600_000,
        "How long an upstream may take until media comes, before the next one of the app is tried as well",
        source.failover
    ),
    milliseconds!(
        "backoff_ms_min",
        100..=600_000,
        "Pause before the second try; each further one is twice as long",
        source.backoff_min
    ),
    milliseconds!("backoff_ms_max", 100..=3_600_000, "Longest pause between two tries", source.backoff_max),
    milliseconds!(
        "step_ms_max",
        100..=60_000,
        "How long each of name, connection, TLS handshake and the yes to play may take",
        source.step_max
    ),
    congestion!(source.traffic),
    dscp!(source.traffic),
    optional_path!(
        "tls_ca_file",
        CA_FILE,
        "Certificates that are trusted in place of the web's, PEM; empty: those of the web",
        source.tls_ca_file
    ),
    switch!("tls_verify", "Whether an upstream's certificate is verified", source.tls_verify),
    switch!(
        "enhanced",
        "Whether connect says that we know Enhanced RTMP, which an upstream needs to know to send several tracks",
        source.enhanced
    ),
    text!("flash_ver", PRINTABLE, "What we call ourselves", source.flash_ver, printable),
];

/// What the keys of one upstream cannot know about each other.
pub(super) fn check(config: &Config, origins: &Origins) -> Result<(), ConfigError> {
    for (index, upstream) in config.relay.upstreams.iter().enumerate() {
        check_far_end(UPSTREAM, &upstream.source, |key| origins.of_upstream(index, key))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{load, refusal};
    use super::*;

    const LIVE: &str = "[[upstream]]\napp = \"live\"\nurl = \"rtmp://h/{app}/{name}?{params}\"\n";

    /// Every way in which an upstream can be wrong that a target's table does not show as well, and that those apply.
    #[test]
    fn a_wrong_upstream_is_refused_with_its_line() {
        let keys: Vec<_> = UPSTREAM_KEYS.iter().map(|key| key.name).collect();
        let file = "a readable PEM file with the certificates to trust";
        let table: Vec<(String, String)> = vec![
            ("[upstream]\n".into(), "x.toml:1: upstream is not a list of tables; allowed: [[upstream]]".into()),
            ("[[upstream]]\napp = \"a\"\n".into(), format!("x.toml:1: this [[upstream]] has no url; allowed: {TEMPLATE}")),
            (format!("{LIVE}group = \"g\"\n"), format!("x.toml:4: unknown key \"group\" in [[upstream]]; allowed: {}", keys.join(", "))),
            ("[[upstream]]\nurl = \"rtmp://h/a/b\"\n".repeat(65), "x.toml:129: there are too many upstreams; allowed: 64 of [[upstream]]".into()),
            ("[[upstream]]\nurl = \"rtmp://{host}/secret/{name}\"\n".into(), format!("x.toml:2: upstream.url: {{host}} in the host would let publishers choose where we connect; allowed: {TEMPLATE}")),
            (format!("{LIVE}linger_ms = -1\n"), "x.toml:4: upstream.linger_ms: -1 is out of range; allowed: 0 to 3600000".into()),
            (format!("{LIVE}linger_ms = 3600001\n"), "x.toml:4: upstream.linger_ms: 3600001 is out of range; allowed: 0 to 3600000".into()),
            (format!("{LIVE}app = \"live/\"\n").replacen("app = \"live\"\n", "", 1), "x.toml:3: upstream.app: \"live/\" has slashes around it; allowed: an app's name without slashes around it, or *".into()),
            (format!("{LIVE}params = \"?secret\"\n"), format!("x.toml:4: upstream.params: this is no query; allowed: {QUERY}")),
            // Right each, wrong together.
            (format!("{LIVE}shards = 2\n"), "x.toml:4: upstream.shards: nothing counts to it; allowed: with {shard} in the url".into()),
            (format!("{LIVE}backoff_ms_max = 500\n"), "x.toml:4: upstream.backoff_ms_max: backoff_ms_max = 500 is below backoff_ms_min = 1000; allowed: min <= max".into()),
            (format!("{LIVE}tls_verify = false\n"), "x.toml:4: upstream.tls_verify: the url is not of rtmps; allowed: with rtmps:// in the url".into()),
            (format!("{LIVE}tls_ca_file = \"none.pem\"\n").replace("rtmp:", "rtmps:"), format!("x.toml:4: upstream.tls_ca_file: none.pem: cannot be read: No such file or directory (os error 2); allowed: {file}")),
        ];
        for (file, line) in table {
            let refused = refusal(&[], &[], Some(&file));
            assert_eq!(refused, line, "{file}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn upstreams_are_read_shown_and_compared() {
        let file =
            format!("{LIVE}linger_ms = 0\n[[upstream]]\nurl = \"rtmps://h/a/b\"\ntls_verify = false\n");
        let loaded = load(&[], &[], Some(&file)).unwrap();
        let upstreams = &loaded.config.relay.upstreams;
        assert_eq!((upstreams[0].linger, upstreams[1].linger), (Duration::ZERO, Duration::from_secs(5)));
        assert_eq!((&*upstreams[0].source.app, &*upstreams[1].source.app), ("live", "*"));
        assert_eq!(
            loaded.warnings,
            [
                "x.toml:7: tls_verify = false: whoever stands between us and this upstream can read and change what we get"
            ]
        );
        let again = load(&[], &[], Some(&loaded.show())).expect("a valid file");
        assert_eq!(again.config.relay, loaded.config.relay);
        assert_eq!(Config::default().differences(&loaded.config), ["upstream"]);
        assert!(!format!("{:?}", loaded.config).contains("{name}"), "a template may hold a key");
    }
}
