//! The `[[target]]` tables: their keys, and what these must be together. What an `[[upstream]]` shares with them is here as well.
//!
//! # Errors
//! No error shows a URL or a parameter: they hold keys of other servers.

use super::key::{Key, Kind};
use super::schema::kinds::{
    APP_OR_ANY, GIB, KIB, app_name, congestion, dscp, milliseconds, number, optional_path, switch, text,
};
use super::{Config, ConfigError, Origin, Origins};
use crate::edge::relay::template::{TEMPLATE_BYTES_MAX, Template};
use crate::edge::relay::{Target, trust};

/// The table that may come several times, once a target that streams are forwarded to.
pub(super) const TARGET: &str = "target";

/// The key that every target must have.
pub(super) const TARGET_URL: &str = "url";

/// Most targets of one file: each stream of their app keeps a connection, or tries to, to each.
pub(super) const TARGETS_MAX: usize = 256;

pub(super) const CA_FILE: &str = "a readable PEM file with the certificates to trust";
pub(super) const TEMPLATE: &str = "rtmp://HOST[:PORT]/APP/NAME[?PARAMS], the same with rtmps, and in it {app}, {name}, {params}, {host}, {shard}";

pub(super) const QUERY: &str = "NAME=VALUE&NAME=VALUE, percent-encoded";
pub(super) const PRINTABLE: &str = "1 to 128 printable ASCII characters";

/// The keys of a `[[target]]` table; each must have a URL.
pub(super) static TARGET_KEYS: [Key<Target>; 20] = [
    text!("app", APP_OR_ANY, "Streams of this app are forwarded; * is every app", app, app_name),
    Key {
        name: TARGET_URL,
        about: "Where to; {app}, {name}, {params}, {host} and {shard} stand for the stream's own",
        kind: Kind::Text { allowed: TEMPLATE, read: read_url, write: write_url },
    },
    number!("shards", 1..=65_536, "{shard} is 0 to one less than this, by a hash of app and name", shards),
    text!("params", QUERY, "More for the query, as it is to stand there", params, query),
    text!(
        "group",
        "letters, digits, - and _, at most 64",
        "Of the targets of one group, one gets each stream at a time; empty: a target of its own",
        group,
        group
    ),
    Key {
        name: "rank",
        about: "Which of its group is wanted most: primary, backup, or a number; the lowest first",
        kind: Kind::NameOrNumber {
            allowed: "primary, backup, or 0 to 100",
            read: |target| target.rank.to_string(),
            write: |target, text| {
                target.rank = text.parse()?;
                Ok(())
            },
        },
    },
    milliseconds!(
        "failover_ms",
        100..=600_000,
        "How long a target of a group may take until media flows, before the next one is tried as well",
        failover
    ),
    milliseconds!(
        "failback_ms",
        0..=3_600_000,
        "How long a better target must have got media before the worse one is given up",
        failback
    ),
    number!("queue_bytes_max", 64 * KIB..=GIB, "Bytes that wait for one target", queue.bytes_max),
    number!(
        "queue_ms_max",
        100..=600_000,
        "How far a target may fall behind before it skips to the next key frame",
        queue.ms_max
    ),
    number!(
        "stall_ms_max",
        1000..=600_000,
        "How long a target may read nothing before it is connected to again",
        queue.stall_ms_max
    ),
    milliseconds!(
        "backoff_ms_min",
        100..=600_000,
        "Pause before the second try; each further one is twice as long",
        backoff_min
    ),
    milliseconds!("backoff_ms_max", 100..=3_600_000, "Longest pause between two tries", backoff_max),
    milliseconds!(
        "step_ms_max",
        100..=60_000,
        "How long each of name, connection, TLS handshake and the yes to publish may take",
        step_max
    ),
    congestion!(traffic),
    dscp!(traffic),
    optional_path!(
        "tls_ca_file",
        CA_FILE,
        "Certificates that are trusted in place of the web's, PEM; empty: those of the web",
        tls_ca_file
    ),
    switch!("tls_verify", "Whether a target's certificate is verified", tls_verify),
    switch!(
        "enhanced",
        "Whether connect says that we know Enhanced RTMP, which a target needs to know to get several tracks",
        enhanced
    ),
    text!(
        "flash_ver",
        PRINTABLE,
        "What we call ourselves; services tell encoders by FMLE",
        flash_ver,
        printable
    ),
];

pub(super) fn read_url(target: &Target) -> String {
    target.url.as_ref().map(|url| url.as_str().into()).unwrap_or_default()
}

pub(super) fn write_url(target: &mut Target, text: &str) -> Result<(), String> {
    target.url = Some(Template::parse(text).map_err(|error| error.to_string())?);
    Ok(())
}

fn group(text: &str) -> Result<&str, String> {
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.len() > 64 || !text.bytes().all(is_right) {
        return Err(format!("{text:?} is no group's name"));
    }
    Ok(text)
}

pub(super) fn query(text: &str) -> Result<&str, String> {
    let is_wrong = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'#' | b'?');
    if text.len() > TEMPLATE_BYTES_MAX || text.bytes().any(is_wrong) || text.starts_with('&') {
        return Err("this is no query".into());
    }
    Ok(text)
}

pub(super) fn printable(text: &str) -> Result<&str, String> {
    let is_printable = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if text.is_empty() || text.len() > 128 || !is_printable {
        return Err(format!("{text:?} is no such name"));
    }
    Ok(text)
}

/// What the keys of one target, and the targets of one group, cannot know about each other.
pub(super) fn check(config: &Config, origins: &Origins) -> Result<(), ConfigError> {
    let targets = &config.relay.targets;
    for (index, target) in targets.iter().enumerate() {
        let origin_of = |key| origins.of_target(index, key);
        check_far_end(TARGET, target, origin_of)?;
        let refuse = |key, problem: String, allowed: &str| {
            Err(ConfigError::new(origin_of(key), format!("{TARGET}.{key}: {problem}"), allowed))
        };
        for key in ["rank", "failover_ms", "failback_ms"] {
            if target.group.is_empty() && origin_of(key) != Origin::Default {
                return refuse(key, "this target has no group".into(), "with a group");
            }
        }
        let of_group = |other: &&Target| other.group == target.group && !target.group.is_empty();
        if let Some(other) = targets.iter().take(index).find(of_group).filter(|it| it.app != target.app) {
            let problem = format!("group {:?} has a target of app {:?} already", target.group, other.app);
            return refuse("group", problem, "one app a group");
        }
    }
    Ok(())
}

/// What the keys of one target or upstream cannot know about each other; `table` is which of them it is.
pub(super) fn check_far_end(
    table: &str,
    target: &Target,
    origin_of: impl Fn(&'static str) -> Origin,
) -> Result<(), ConfigError> {
    let refuse = |key, problem: String, allowed: &str| {
        Err(ConfigError::new(origin_of(key), format!("{table}.{key}: {problem}"), allowed))
    };
    let is_set = |key| origin_of(key) != Origin::Default;
    let has_shard = target.url.as_ref().is_some_and(Template::has_shard);
    let is_tls = target.url.as_ref().is_some_and(Template::is_tls);
    if is_set("shards") && !has_shard {
        return refuse("shards", "nothing counts to it".into(), "with {shard} in the url");
    }
    if has_shard && !is_set("shards") {
        return refuse("url", "{shard} counts to nothing".into(), "with shards, the number of them");
    }
    if target.backoff_min > target.backoff_max {
        let (min, max) = (target.backoff_min.as_millis(), target.backoff_max.as_millis());
        let key = if is_set("backoff_ms_max") { "backoff_ms_max" } else { "backoff_ms_min" };
        return refuse(key, format!("backoff_ms_max = {max} is below backoff_ms_min = {min}"), "min <= max");
    }
    for key in ["tls_ca_file", "tls_verify"] {
        if !is_tls && is_set(key) {
            return refuse(key, "the url is not of rtmps".into(), "with rtmps:// in the url");
        }
    }
    if !target.tls_verify && target.tls_ca_file.is_some() {
        let problem = "certificates to verify with, and nothing is verified";
        return refuse("tls_ca_file", problem.into(), "with tls_verify = true");
    }
    // Told now, rather than by the first stream.
    if let Some(path) = target.tls_ca_file.as_deref()
        && let Err(error) = trust::Trust::new(Some(path), true)
    {
        return refuse("tls_ca_file", error.to_string(), CA_FILE);
    }
    Ok(())
}

/// One line for each target and upstream that anybody could stand in for.
pub(super) fn unverified<'c>(config: &'c Config, origins: &'c Origins) -> impl Iterator<Item = String> + 'c {
    let targets = config.relay.targets.iter().enumerate().filter(|(_, target)| !target.tls_verify);
    let targets = targets.map(|(index, _)| {
        let origin = origins.of_target(index, "tls_verify");
        format!("{origin}: tls_verify = false: whoever stands between us and this target can read and change what it gets")
    });
    let upstreams =
        config.relay.upstreams.iter().enumerate().filter(|(_, upstream)| !upstream.source.tls_verify);
    let upstreams = upstreams.map(|(index, _)| {
        let origin = origins.of_upstream(index, "tls_verify");
        format!("{origin}: tls_verify = false: whoever stands between us and this upstream can read and change what we get")
    });
    targets.chain(upstreams)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, refusal};
    use super::*;

    const LIVE: &str = "[[target]]\napp = \"live\"\nurl = \"rtmp://h/{app}/{name}?{params}\"\n";
    const SECURE: &str = "[[target]]\nurl = \"rtmps://h/{app}/{name}\"\n";

    /// Every way in which a target can be wrong, with the line that says so, which never shows the URL.
    #[test]
    fn a_wrong_target_is_refused_with_its_line() {
        let url = "rtmp://HOST[:PORT]/APP/NAME[?PARAMS], the same with rtmps, and in it {app}, {name}, {params}, {host}, {shard}";
        let file = "a readable PEM file with the certificates to trust";
        let of_url = |text: &str| format!("[[target]]\nurl = \"{text}\"\n");
        let many = "[[target]]\nurl=\"rtmp://h/a/b\"\n".repeat(257);
        let table: Vec<(String, String)> = vec![
            ("[target]\n".into(), "x.toml:1: target is not a list of tables; allowed: [[target]]".into()),
            ("target = [1]\n".into(), "x.toml:1: target is not a list of tables; allowed: [[target]]".into()),
            ("\n[[target]]\napp = \"live\"\n".into(), format!("x.toml:2: this [[target]] has no url; allowed: {url}")),
            (format!("{LIVE}to = 1\n"), format!("x.toml:4: unknown key \"to\" in [[target]]; allowed: {}", target_keys())),
            (many, "x.toml:513: there are too many targets; allowed: 256 of [[target]]".into()),
            // Templates.
            (of_url("http://h/{app}/secret"), format!("x.toml:2: target.url: an RTMP URL begins with rtmp:// or rtmps://; allowed: {url}")),
            (of_url("rtmp:///{app}/secret"), format!("x.toml:2: target.url: the URL names no host; allowed: {url}")),
            (of_url("rtmp://h:99999/{app}/secret"), format!("x.toml:2: target.url: the URL's port is no number from 0 to 65535; allowed: {url}")),
            (of_url("rtmp://h/secret"), format!("x.toml:2: target.url: it names no stream behind the app; allowed: {url}")),
            (of_url("rtmp://h/secret/{stream}"), format!("x.toml:2: target.url: placeholder {{stream}} is none; allowed: {url}")),
            (of_url("rtmp://h/secret/{name"), format!("x.toml:2: target.url: a brace has no other; allowed: {url}")),
            (of_url("rtmp://{host}/secret/{name}"), format!("x.toml:2: target.url: {{host}} in the host would let publishers choose where we connect; allowed: {url}")),
            (of_url("rtmp://h/secret/{params}"), format!("x.toml:2: target.url: {{params}} in the path, and it is a query; allowed: {url}")),
            (of_url("rtmp://me:secret@h/a/b"), format!("x.toml:2: target.url: RTMP has no user and password before the host; allowed: {url}")),
            (of_url("rtmp://h/secret/a b"), format!("x.toml:2: target.url: white space, a control character or # stands in it; allowed: {url}")),
            // Values.
            (format!("{LIVE}app = \"/live\"\n").replace("app = \"live\"\n", ""), "x.toml:3: target.app: \"/live\" has slashes around it; allowed: an app's name without slashes around it, or *".into()),
            (format!("{LIVE}shards = 0\n"), "x.toml:4: target.shards: 0 is out of range; allowed: 1 to 65536".into()),
            (format!("{LIVE}params = \"?key=secret\"\n"), "x.toml:4: target.params: this is no query; allowed: NAME=VALUE&NAME=VALUE, percent-encoded".into()),
            (format!("{LIVE}group = \"a b\"\n"), "x.toml:4: target.group: \"a b\" is no group's name; allowed: letters, digits, - and _, at most 64".into()),
            (format!("{LIVE}group = \"g\"\nrank = \"first\"\n"), "x.toml:5: target.rank: \"first\" is no rank; allowed: primary, backup, or 0 to 100".into()),
            (format!("{LIVE}group = \"g\"\nrank = 101\n"), "x.toml:5: target.rank: \"101\" is no rank; allowed: primary, backup, or 0 to 100".into()),
            (format!("{LIVE}group = \"g\"\nrank = true\n"), "x.toml:5: target.rank: true is neither a name nor a number; allowed: primary, backup, or 0 to 100".into()),
            (format!("{LIVE}queue_ms_max = 5\n"), "x.toml:4: target.queue_ms_max: 5 is out of range; allowed: 100 to 600000".into()),
            (format!("{LIVE}backoff_ms_min = \"1 s\"\n"), "x.toml:4: target.backoff_ms_min: \"1 s\" is not a whole number; allowed: 100 to 600000".into()),
            (format!("{LIVE}flash_ver = \"\"\n"), "x.toml:4: target.flash_ver: \"\" is no such name; allowed: 1 to 128 printable ASCII characters".into()),
            (format!("{SECURE}tls_verify = \"no\"\n"), "x.toml:3: target.tls_verify: \"no\" is neither true nor false; allowed: true, false".into()),
            (format!("{SECURE}tls_ca_file = \"none.pem\"\n"), format!("x.toml:3: target.tls_ca_file: none.pem: cannot be read: No such file or directory (os error 2); allowed: {file}")),
            // Right each, wrong together.
            (format!("{LIVE}shards = 2\n"), "x.toml:4: target.shards: nothing counts to it; allowed: with {shard} in the url".into()),
            (of_url("rtmp://h{shard}/a/b"), "x.toml:2: target.url: {shard} counts to nothing; allowed: with shards, the number of them".into()),
            (format!("{LIVE}backoff_ms_max = 500\n"), "x.toml:4: target.backoff_ms_max: backoff_ms_max = 500 is below backoff_ms_min = 1000; allowed: min <= max".into()),
            (format!("{LIVE}backoff_ms_min = 50000\n"), "x.toml:4: target.backoff_ms_min: backoff_ms_max = 30000 is below backoff_ms_min = 50000; allowed: min <= max".into()),
            (format!("{LIVE}rank = \"backup\"\n"), "x.toml:4: target.rank: this target has no group; allowed: with a group".into()),
            (format!("{LIVE}failback_ms = 1\n"), "x.toml:4: target.failback_ms: this target has no group; allowed: with a group".into()),
            (format!("{LIVE}tls_verify = false\n"), "x.toml:4: target.tls_verify: the url is not of rtmps; allowed: with rtmps:// in the url".into()),
            (format!("{SECURE}tls_verify = false\ntls_ca_file = \"a\"\n"), "x.toml:4: target.tls_ca_file: certificates to verify with, and nothing is verified; allowed: with tls_verify = true".into()),
            (format!("{LIVE}group = \"g\"\n{SECURE}group = \"g\"\n"), "x.toml:7: target.group: group \"g\" has a target of app \"live\" already; allowed: one app a group".into()),
        ];
        for (file, line) in table {
            let refused = refusal(&[], &[], Some(&file));
            assert_eq!(refused, line, "{file}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    /// The names of the keys of a `[[target]]` table, as an error line lists them.
    fn target_keys() -> String {
        TARGET_KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn targets_are_read_shown_and_compared() {
        let file = format!(
            "{LIVE}group = \"g\"\nrank = \"primary\"\nfailback_ms = 1\n{LIVE}group = \"g\"\nrank = 7\n{SECURE}tls_verify = false\n"
        );
        let loaded = load(&[], &[], Some(&file)).unwrap();
        let targets = &loaded.config.relay.targets;
        let ranks: Vec<_> = targets.iter().map(|target| (&*target.group, target.rank.0)).collect();
        assert_eq!(ranks, [("g", 0), ("g", 7), ("", 0)]);
        assert_eq!((targets[0].failback.as_millis(), targets[2].app.as_str()), (1, "*"));
        assert_eq!(
            loaded.warnings,
            [
                "x.toml:14: tls_verify = false: whoever stands between us and this target can read and change what it gets"
            ]
        );
        let again = load(&[], &[], Some(&loaded.show())).expect("a valid file");
        assert_eq!(again.config.relay, loaded.config.relay);
        assert_eq!(Config::default().differences(&loaded.config), ["target"]);
        assert_eq!(again.config.differences(&loaded.config), Vec::<String>::new());
    }
}
