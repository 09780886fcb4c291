//! The configuration file: TOML, checked key by key against the schema.
//!
//! # Errors
//! The first wrong line of the file, whatever is wrong with it. Nothing is guessed and nothing skipped: a key that no feature
//! reads is refused by name, since its writer believes in it.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::key::{Key, Raw};
use super::schema::TABLES;
use super::schema::app::{ANY_APP, APP, APP_KEYS, APP_NAME};
use super::schema::auth::{AUTH, AUTH_KEYS, KEY, KEY_KEYS};
use super::schema::tls::{CERTIFICATE, CERTIFICATE_KEYS};
use super::targets::{TARGET, TARGET_KEYS, TARGET_URL, TARGETS_MAX};
use super::upstreams::{UPSTREAM, UPSTREAM_KEYS, UPSTREAMS_MAX};
use super::{Config, Origins};
use crate::edge::relay::{Target, Upstream};
use crate::runtime::settings::App;
use crate::runtime::tls::certificates::CertificateFiles;

/// Sets in `config` what the file at `path`, which holds `text`, says.
pub(super) fn apply(
    config: &mut Config,
    origins: &mut Origins,
    path: &Path,
    text: &str,
) -> Result<(), ConfigError> {
    let source = Source { path, text };
    let document = DeTable::parse(text).map_err(|error| {
        let origin = error.span().map_or(Origin::File(path.into()), |span| source.origin(span));
        ConfigError::new(origin, error.message(), "TOML, as in deploy/inrush.toml")
    })?;

    for (name, value) in by_line(document.get_ref()) {
        let origin = source.origin(name.span());
        if name.get_ref() == APP {
            apply_apps(config, origins, &source, origin, value)?;
            continue;
        }
        if name.get_ref() == CERTIFICATE {
            apply_certificates(config, origins, &source, &origin, value)?;
            continue;
        }
        if name.get_ref() == TARGET {
            let set = |index, key, origin| origins.set_target(index, key, origin);
            let kind = (TARGET, &TARGET_KEYS[..], TARGETS_MAX);
            config.relay.targets = far_ends::<Target>(kind, set, &source, &origin, value)?;
            continue;
        }
        if name.get_ref() == UPSTREAM {
            let set = |index, key, origin| origins.set_upstream(index, key, origin);
            let kind = (UPSTREAM, &UPSTREAM_KEYS[..], UPSTREAMS_MAX);
            config.relay.upstreams = far_ends::<Upstream>(kind, set, &source, &origin, value)?;
            continue;
        }
        if name.get_ref() == AUTH {
            config.auth.tables = apply_list(origins, &source, &origin, value, AUTH, &AUTH_KEYS, "app")?;
            continue;
        }
        if name.get_ref() == KEY {
            config.auth.keys = apply_list(origins, &source, &origin, value, KEY, &KEY_KEYS, "sha256")?;
            continue;
        }
        let Some(table) = TABLES.iter().find(|table| table.name == name.get_ref()) else {
            return Err(ConfigError::new(origin, unknown(name.get_ref(), value), table_names()));
        };
        let DeValue::Table(entries) = value.get_ref() else {
            return Err(ConfigError::new(
                origin,
                format!("{} is not a table", table.name),
                format!("[{}]", table.name),
            ));
        };
        for (name, value) in by_line(entries) {
            let origin = source.origin(name.span());
            let key = find(table.keys, name.get_ref(), &format!("[{}]", table.name), &origin)?;
            key.store(config, &raw(value))
                .map_err(|problem| refuse(&origin, &format!("{}.{}", table.name, key.name), &problem, key))?;
            origins.set(table.name, key.name, origin);
        }
    }
    Ok(())
}

/// The `[[app]]` tables: the one named `*` first, since what it says holds for every key that the others leave out.
fn apply_apps(
    config: &mut Config,
    origins: &mut Origins,
    source: &Source<'_>,
    origin: Origin,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), ConfigError> {
    let not_tables = || ConfigError::new(origin.clone(), format!("{APP} is not a list of tables"), "[[app]]");
    let DeValue::Array(blocks) = value.get_ref() else { return Err(not_tables()) };

    let mut named: Vec<(String, &DeTable<'_>)> = Vec::with_capacity(blocks.len());
    for block in blocks.iter() {
        let DeValue::Table(entries) = block.get_ref() else { return Err(not_tables()) };
        let name = app_name(source, source.origin(block.span()), entries)?;
        if named.iter().any(|(other, _)| *other == name) {
            let line = entries.get_key_value(APP_NAME).map_or(block.span(), |(key, _)| key.span());
            return Err(ConfigError::new(
                source.origin(line),
                format!("app {name:?} has a table already"),
                "one [[app]] an app",
            ));
        }
        named.push((name, entries));
    }
    // Stable: the other apps keep their order, and errors still come by line within a table.
    named.sort_by_key(|(name, _)| name != ANY_APP);

    let mut any = App::default();
    let mut apps = Vec::with_capacity(named.len() + 1);
    for (name, entries) in named {
        let mut app = App { name: name.clone(), ..any.clone() };
        for (key_name, value) in by_line(entries) {
            let origin = source.origin(key_name.span());
            let key = find(&APP_KEYS, key_name.get_ref(), "[[app]]", &origin)?;
            key.store(&mut app, &raw(value))
                .map_err(|problem| refuse(&origin, &format!("{APP}.{}", key.name), &problem, key))?;
            origins.set_app(&name, key.name, origin);
        }
        if name == ANY_APP {
            any = app;
        } else {
            apps.push(app);
        }
    }
    apps.push(any);
    config.runtime.apps = apps;
    Ok(())
}

/// The `[[certificate]]` tables, in their order: each has all its keys, since none has a default.
fn apply_certificates(
    config: &mut Config,
    origins: &mut Origins,
    source: &Source<'_>,
    origin: &Origin,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), ConfigError> {
    let table = format!("[[{CERTIFICATE}]]");
    let not_tables =
        || ConfigError::new(origin.clone(), format!("{CERTIFICATE} is not a list of tables"), &table);
    let DeValue::Array(blocks) = value.get_ref() else { return Err(not_tables()) };
    for (index, block) in blocks.iter().enumerate() {
        let DeValue::Table(entries) = block.get_ref() else { return Err(not_tables()) };
        let mut files = CertificateFiles::default();
        for (key_name, value) in by_line(entries) {
            let origin = source.origin(key_name.span());
            let key = find(&CERTIFICATE_KEYS, key_name.get_ref(), &table, &origin)?;
            key.store(&mut files, &raw(value))
                .map_err(|problem| refuse(&origin, &format!("{CERTIFICATE}.{}", key.name), &problem, key))?;
            origins.set_certificate(index, key.name, origin);
        }
        if let Some(key) = CERTIFICATE_KEYS.iter().find(|key| !entries.contains_key(key.name)) {
            let problem = format!("this {table} has no {}", key.name);
            return Err(ConfigError::new(source.origin(block.span()), problem, key.allowed()));
        }
        config.runtime.tls.certificates.push(files);
    }
    Ok(())
}

/// The `[[target]]` or `[[upstream]]` tables, in their order: each has a URL. `kind` is the table's name, its keys, and how many there may be.
fn far_ends<T: Default>(
    (name, keys, max): (&str, &'static [Key<T>], usize),
    mut set_origin: impl FnMut(usize, &'static str, Origin),
    source: &Source<'_>,
    origin: &Origin,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<T>, ConfigError> {
    let table = format!("[[{name}]]");
    let not_tables = || ConfigError::new(origin.clone(), format!("{name} is not a list of tables"), &table);
    let DeValue::Array(blocks) = value.get_ref() else { return Err(not_tables()) };
    let mut all = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let DeValue::Table(entries) = block.get_ref() else { return Err(not_tables()) };
        let block = source.origin(block.span());
        if index == max {
            let allowed = format!("{max} of {table}");
            return Err(ConfigError::new(block, format!("there are too many {name}s"), allowed));
        }
        let mut one = T::default();
        for (key_name, value) in by_line(entries) {
            let origin = source.origin(key_name.span());
            let key = find(keys, key_name.get_ref(), &table, &origin)?;
            key.store(&mut one, &raw(value))
                .map_err(|problem| refuse(&origin, &format!("{name}.{}", key.name), &problem, key))?;
            set_origin(index, key.name, origin);
        }
        if !entries.contains_key(TARGET_URL) {
            let allowed = keys.iter().find(|key| key.name == TARGET_URL).map(Key::allowed);
            let problem = format!("this {table} has no {TARGET_URL}");
            return Err(ConfigError::new(block, problem, allowed.unwrap_or_default()));
        }
        all.push(one);
    }
    Ok(all)
}

/// The tables of one name that may come several times, in their order; each has the key `required` at least.
fn apply_list<T: Default>(
    origins: &mut Origins,
    source: &Source<'_>,
    origin: &Origin,
    value: &Spanned<DeValue<'_>>,
    name: &'static str,
    keys: &'static [Key<T>],
    required: &'static str,
) -> Result<Vec<T>, ConfigError> {
    let table = format!("[[{name}]]");
    let not_tables = || ConfigError::new(origin.clone(), format!("{name} is not a list of tables"), &table);
    let DeValue::Array(blocks) = value.get_ref() else { return Err(not_tables()) };
    let mut all = Vec::with_capacity(blocks.len());
    for (index, block) in blocks.iter().enumerate() {
        let DeValue::Table(entries) = block.get_ref() else { return Err(not_tables()) };
        let mut target = T::default();
        for (key_name, value) in by_line(entries) {
            let origin = source.origin(key_name.span());
            let key = find(keys, key_name.get_ref(), &table, &origin)?;
            key.store(&mut target, &raw(value))
                .map_err(|problem| refuse(&origin, &format!("{name}.{}", key.name), &problem, key))?;
            origins.set_list(name, index, key.name, origin);
        }
        if let Some(key) = keys.iter().find(|key| key.name == required && !entries.contains_key(key.name)) {
            let problem = format!("this {table} has no {}", key.name);
            return Err(ConfigError::new(source.origin(block.span()), problem, key.allowed()));
        }
        all.push(target);
    }
    Ok(all)
}

/// The name that an `[[app]]` table must have.
fn app_name(source: &Source<'_>, block: Origin, entries: &DeTable<'_>) -> Result<String, ConfigError> {
    let Some((key, value)) = entries.get_key_value(APP_NAME) else {
        return Err(ConfigError::new(block, "this [[app]] has no name", "name = \"*\" or an app's name"));
    };
    match value.get_ref() {
        DeValue::String(name) => Ok(name.to_string()),
        _ => {
            let key_origin = source.origin(key.span());
            Err(ConfigError::new(
                key_origin,
                format!("{APP}.{APP_NAME} is not a string"),
                "\"*\" or an app's name",
            ))
        }
    }
}

fn find<'k, T>(
    keys: &'k [Key<T>],
    name: &str,
    table: &str,
    origin: &Origin,
) -> Result<&'k Key<T>, ConfigError> {
    keys.iter().find(|key| key.name == name).ok_or_else(|| {
        let allowed: Vec<_> = keys.iter().map(|key| key.name).collect();
        ConfigError::new(origin.clone(), format!("unknown key {name:?} in {table}"), allowed.join(", "))
    })
}

fn refuse<T>(origin: &Origin, path: &str, problem: &str, key: &Key<T>) -> ConfigError {
    ConfigError::new(origin.clone(), format!("{path}: {problem}"), key.allowed())
}

fn unknown(name: &str, value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref() {
        DeValue::Table(_) => format!("unknown table [{name}]"),
        DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
            format!("unknown table [[{name}]]")
        }
        _ => format!("unknown key {name:?} outside of any table"),
    }
}

fn table_names() -> String {
    let mut names: Vec<_> = TABLES.iter().map(|table| format!("[{}]", table.name)).collect();
    names.push(format!("[[{CERTIFICATE}]]"));
    names.push(format!("[[{AUTH}]]"));
    names.push(format!("[[{KEY}]]"));
    names.push(format!("[[{APP}]]"));
    names.push(format!("[[{TARGET}]]"));
    names.push(format!("[[{UPSTREAM}]]"));
    names.join(", ")
}

/// A table's entries as they stand in the file, so that the first wrong line is the one reported.
fn by_line<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(integer) => {
            // TOML integers are 64 bits wide; what is longer saturates and is out of every range.
            let value = i128::from_str_radix(integer.as_str(), integer.radix());
            Raw::Integer(value.unwrap_or(if integer.as_str().starts_with('-') {
                i128::MIN
            } else {
                i128::MAX
            }))
        }
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Array(items) => Raw::List(items.iter().map(raw).collect()),
        DeValue::Float(_) => Raw::Other("a float"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

/// The file while it is read: turns byte offsets into lines.
struct Source<'t> {
    path: &'t Path,
    text: &'t str,
}

impl Source<'_> {
    fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.as_bytes().iter().take(span.start);
        Origin::Line { path: self.path.into(), line: 1 + before.filter(|byte| **byte == b'\n').count() }
    }
}
