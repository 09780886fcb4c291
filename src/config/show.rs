//! The configuration as text: what is in force, the sample file, and what differs between two.

use std::fmt::Write as _;

use super::key::Key;
use super::schema::TABLES;
use super::schema::app::{APP, APP_KEYS, APP_NAME};
use super::schema::auth::{AUTH, AUTH_KEYS, KEY, KEY_KEYS};
use super::schema::tls::{CERTIFICATE, CERTIFICATE_KEYS};
use super::targets::{TARGET, TARGET_KEYS, TARGET_URL};
use super::upstreams::{UPSTREAM, UPSTREAM_KEYS};
use super::{Config, Loaded, Origin};
use crate::edge::relay::{Target, Upstream};
use crate::runtime::settings::App;

impl Loaded {
    /// What is in force, as a file that would bring it about; where a key is not at its default, a comment says who set it.
    pub fn show(&self) -> String {
        let mut out = String::new();
        for table in &TABLES {
            let _ = writeln!(out, "[{}]", table.name);
            for key in table.keys {
                line(&mut out, key.name, &key.show(&self.config), &self.origins.of(table.name, key.name));
            }
            out.push('\n');
        }
        for (index, files) in self.config.runtime.tls.certificates.iter().enumerate() {
            let _ = writeln!(out, "[[{CERTIFICATE}]]");
            for key in &CERTIFICATE_KEYS {
                line(&mut out, key.name, &key.show(files), &self.origins.of_certificate(index, key.name));
            }
            out.push('\n');
        }
        list(&mut out, AUTH, &AUTH_KEYS, &self.config.auth.tables, &self.origins);
        list(&mut out, KEY, &KEY_KEYS, &self.config.auth.keys, &self.origins);
        for app in &self.config.runtime.apps {
            let _ = writeln!(out, "[[{APP}]]");
            for key in &APP_KEYS {
                line(&mut out, key.name, &key.show(app), &self.origins.of_app(&app.name, key.name));
            }
            out.push('\n');
        }
        for (index, target) in self.config.relay.targets.iter().enumerate() {
            let _ = writeln!(out, "[[{TARGET}]]");
            for key in &TARGET_KEYS {
                let origin = self.origins.of_target(index, key.name);
                // Keys that say nothing may not stand beside others: what is not shown is at its default.
                if origin != Origin::Default {
                    line(&mut out, key.name, &key.show(target), &origin);
                }
            }
            out.push('\n');
        }
        for (index, upstream) in self.config.relay.upstreams.iter().enumerate() {
            let _ = writeln!(out, "[[{UPSTREAM}]]");
            for key in &UPSTREAM_KEYS {
                let origin = self.origins.of_upstream(index, key.name);
                if origin != Origin::Default {
                    line(&mut out, key.name, &key.show(upstream), &origin);
                }
            }
            out.push('\n');
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }
}

impl Config {
    /// Keys whose values differ in `other`, as `table.key`; other certificates as `certificate`, other targets as `target`, other upstreams as
    /// `upstream`, other tables of authorisation as `auth` and `key`; an app that came, went or changed as `app "name"`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for table in &TABLES {
            let changed = table.keys.iter().filter(|key| key.show(self) != key.show(other));
            differences.extend(changed.map(|key| format!("{}.{}", table.name, key.name)));
        }
        if self.runtime.tls.certificates != other.runtime.tls.certificates {
            differences.push(CERTIFICATE.to_owned());
        }
        if self.relay.targets != other.relay.targets {
            differences.push(TARGET.to_owned());
        }
        if self.auth.tables != other.auth.tables {
            differences.push(AUTH.to_owned());
        }
        if self.auth.keys != other.auth.keys {
            differences.push(KEY.to_owned());
        }
        if self.relay.upstreams != other.relay.upstreams {
            differences.push(UPSTREAM.to_owned());
        }
        let shown = |apps: &[App], name: &str| {
            let app = apps.iter().find(|app| app.name == name)?;
            Some(APP_KEYS.iter().map(|key| key.show(app)).collect::<Vec<_>>())
        };
        let (ours, theirs) = (&self.runtime.apps, &other.runtime.apps);
        let gone = ours.iter().filter(|app| shown(theirs, &app.name) != shown(ours, &app.name));
        let new = theirs.iter().filter(|app| shown(ours, &app.name).is_none());
        differences.extend(gone.chain(new).map(|app| format!("{APP} {:?}", app.name)));
        differences
    }
}

/// The sample file: every key at its default, commented out, with a line that says what it is for.
pub fn sample() -> String {
    let mut out = String::from(
        "# inrush: every key, at its default. Remove a # to change one; `inrush check --config FILE` says if it is right.\n\
         # A flag or INRUSH_ variable of the same setting wins over this file. Durations and sizes carry their unit in the name.\n",
    );
    let config = Config::default();
    for table in &TABLES {
        let _ = writeln!(out, "\n[{}]", table.name);
        for key in table.keys {
            let _ = writeln!(out, "# {}.\n# {} = {}", key.about, key.name, key.show(&config));
        }
    }
    let _ = writeln!(
        out,
        "\n# One table a certificate of RTMPS; the first one serves who names none of the others. The files are read again when they \
         change.\n# [[{CERTIFICATE}]]"
    );
    for key in &CERTIFICATE_KEYS {
        let _ = writeln!(
            out,
            "# {}.\n#   {} = \"/etc/inrush/{}.pem\"",
            key.about,
            key.name,
            key.name.trim_end_matches("_file")
        );
    }
    let _ = writeln!(
        out,
        "\n# One table an app, or an app of one host: who may publish and play. Without any everybody may; with some, an app that none is for is \
         closed.\n# [[{AUTH}]]"
    );
    sample_list(&mut out, &AUTH_KEYS);
    let _ = writeln!(out, "\n# One table a key of the source static.\n# [[{KEY}]]");
    sample_list(&mut out, &KEY_KEYS);
    let _ = write!(
        out,
        "\n# One table an app; what it leaves out is as in the table of \"*\", and that is the default's.\n[[{APP}]]\n"
    );
    let app = App::default();
    for key in &APP_KEYS {
        // A table without its name would be an error.
        let comment = if key.name == APP_NAME { "" } else { "# " };
        let _ = writeln!(out, "# {}.\n{comment}{} = {}", key.about, key.name, key.show(&app));
    }
    let _ = writeln!(
        out,
        "\n# One table a target: streams are forwarded there. shards is for {{shard}} in the url alone, rank and failover are for groups, \
         tls_ is for rtmps.\n# [[{TARGET}]]"
    );
    let target = Target::default();
    for key in &TARGET_KEYS {
        let value = match key.name {
            TARGET_URL => "\"rtmp://origin.example/{app}/{name}?{params}\"".into(),
            _ => key.show(&target),
        };
        let _ = writeln!(out, "# {}.\n#   {} = {value}", key.about, key.name);
    }
    let _ = writeln!(
        out,
        "\n# One table an upstream: streams that are played and are not here are pulled from there; those of one app are tried in their order. \
         shards and tls_ are as for targets.\n# [[{UPSTREAM}]]"
    );
    let upstream = Upstream::default();
    for key in &UPSTREAM_KEYS {
        let value = match key.name {
            TARGET_URL => "\"rtmp://origin.example/{app}/{name}?{params}\"".into(),
            _ => key.show(&upstream),
        };
        let _ = writeln!(out, "# {}.\n#   {} = {value}", key.about, key.name);
    }
    out
}

/// All tables of one name that may come several times.
fn list<T>(
    out: &mut String,
    name: &'static str,
    keys: &'static [Key<T>],
    tables: &[T],
    origins: &super::Origins,
) {
    for (index, table) in tables.iter().enumerate() {
        let _ = writeln!(out, "[[{name}]]");
        for key in keys {
            line(out, key.name, &key.show(table), &origins.of_list(name, index, key.name));
        }
        out.push('\n');
    }
}

/// The keys of such a table at their defaults, for the sample file.
fn sample_list<T: Default>(out: &mut String, keys: &[Key<T>]) {
    for key in keys {
        let _ = writeln!(out, "# {}.\n#   {} = {}", key.about, key.name, key.show(&T::default()));
    }
}

/// A back end's URL as it may be shown: its query may hold a token.
fn without_query(value: &str) -> std::borrow::Cow<'_, str> {
    let is_url = value.starts_with("\"http://") || value.starts_with("\"https://");
    match value.split_once('?') {
        Some((url, _)) if is_url => format!("{url}?HIDDEN\"").into(),
        _ => value.into(),
    }
}

fn line(out: &mut String, name: &str, value: &str, origin: &Origin) {
    let value = without_query(value);
    let _ = match origin {
        Origin::Default => writeln!(out, "{name} = {value}"),
        origin => writeln!(out, "{name} = {value}  # {origin}"),
    };
}

#[cfg(test)]
mod tests {
    use super::without_query;

    #[test]
    fn the_query_of_a_back_end_is_not_shown() {
        for (value, shown) in [
            ("\"https://h/a?token=hunter2\"", "\"https://h/a?HIDDEN\""),
            ("\"http://h/a\"", "\"http://h/a\""),
            ("\"what?\"", "\"what?\""),
        ] {
            assert_eq!(without_query(value), shown);
        }
    }
}
