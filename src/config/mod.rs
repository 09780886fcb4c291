//! The configuration: flags, environment and file become the settings structs of the floors (floor 6).
//!
//! A flag wins over its variable, a variable over the file, the file over the default that the floor itself has. All of them
//! are checked, also where a higher one wins, so that a file is right or wrong by itself. This module parses, checks and fills;
//! what a setting means is written where its struct is.
//!
//! # Errors
//! One line that names where, what is wrong and what is allowed ([`ConfigError`]); the first one found. A configuration is
//! taken whole or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::schema::listeners::overlap;
use self::schema::tls::{CERTIFICATE, CERTIFICATE_KEYS};
use crate::control;
use crate::control::token::{Door, DoorError};
use crate::edge::auth::rules::{self, Rules};
use crate::edge::auth::{AuthSettings, Place, Problem};
use crate::edge::notices::{NoticeSettings, Recipient};
use crate::edge::relay;
use crate::log;
use crate::runtime::settings::{Placement, RuntimeSettings};
use crate::runtime::tls::certificates::{CertificateError, Certificates};

mod changes;
mod error;
mod file;
mod flags;
mod key;
mod schema;
mod show;
mod targets;
mod upstreams;

pub use changes::NEEDS_RESTART;
pub use error::{ConfigError, Origin};
pub use flags::{Command, Invocation, NoInvocation, SignArguments, Sources};
pub use show::sample;

/// Largest configuration file that is read, bytes: thousands of apps, and not whatever a wrong path leads to.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything the process is told.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Floor 4 and, through it, floors 0-3.
    pub runtime: RuntimeSettings,
    /// Where streams are forwarded to.
    pub relay: relay::Settings,
    /// Who may publish and play.
    pub auth: AuthSettings,
    /// Who is told of what happens.
    pub notices: NoticeSettings,
    /// The control HTTP.
    pub control: control::Settings,
    /// Log lines.
    pub log: log::Settings,
}

/// A configuration together with where each part of it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings in force.
    pub config: Config,
    /// The file that was read, if one was named.
    pub file: Option<PathBuf>,
    /// What is probably a mistake and yet no error; one line each.
    pub warnings: Vec<String>,
    origins: Origins,
}

impl Loaded {
    /// Reads the file that `sources` names, and puts variables and flags over it.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let text = match &sources.file {
            Some(path) => Some(read(path)?),
            None => None,
        };
        Self::from_text(sources, text.as_deref())
    }

    fn from_text(sources: &Sources, text: Option<&str>) -> Result<Self, ConfigError> {
        let mut config = Config::default();
        let mut origins = Origins::default();
        if let (Some(path), Some(text)) = (&sources.file, text) {
            file::apply(&mut config, &mut origins, path, text)?;
        }
        for setting in sources.variables.iter().chain(&sources.flags) {
            let key = schema::TABLES
                .iter()
                .filter(|table| table.name == setting.table)
                .flat_map(|table| table.keys)
                .find(|key| key.name == setting.key);
            let Some(key) = key else { continue };
            key.store(&mut config, &setting.value)
                .map_err(|problem| ConfigError::new(setting.origin.clone(), problem, key.allowed()))?;
            origins.set(setting.table, setting.key, setting.origin.clone());
        }
        check_together(&config, &origins)?;
        check_certificates(&config, &origins)?;
        targets::check(&config, &origins)?;
        check_auth(&config, &origins)?;
        check_notify(&config, &origins)?;
        check_control(&config, &origins)?;
        upstreams::check(&config, &origins)?;
        let unknown = sources
            .unknown_variables
            .iter()
            .map(|name| format!("{name}: no such variable, ignored; see inrush --help"));
        let unequal = rules::unequal_hosts(&config.auth.tables).into_iter().map(|app| {
            format!(
                "[[auth]] app {app:?}: publish or play differ by host; a client says the host as it likes and streams are \
                 the app's, so that it is as open as its weakest host"
            )
        });
        let warnings = unknown.chain(targets::unverified(&config, &origins)).chain(unequal).collect();
        Ok(Self { config, file: sources.file.clone(), warnings, origins })
    }
}

/// What single keys cannot know about each other.
fn check_together(config: &Config, origins: &Origins) -> Result<(), ConfigError> {
    let RuntimeSettings { listen, tls, cores, placement, .. } = &config.runtime;
    if let Placement::Core(core) = *placement
        && *cores > 0
        && usize::from(core) >= *cores
    {
        return Err(ConfigError::new(
            origins.of("engine", "placement"),
            format!("placement core:{core} with engine.cores = {cores}"),
            format!("core:0 to core:{}", cores - 1),
        ));
    }
    // Each sum is at least its part: otherwise the part could never be had.
    let limits = &config.runtime.session.limits;
    let sums = [
        (
            "message_bytes_max",
            limits.message_bytes_max as usize,
            "reassembly_bytes_max",
            limits.reassembly_bytes_max,
        ),
        (
            "reassembly_bytes_max",
            limits.reassembly_bytes_max,
            "core_reassembly_bytes_max",
            config.runtime.core_reassembly_bytes_max,
        ),
    ];
    for (part_name, part, sum_name, sum) in sums {
        if part > sum {
            let sum_origin = origins.of("limits", sum_name);
            let origin =
                if sum_origin == Origin::Default { origins.of("limits", part_name) } else { sum_origin };
            return Err(ConfigError::new(
                origin,
                format!("limits.{sum_name} = {sum} is below limits.{part_name} = {part}"),
                format!("{part_name} <= {sum_name}"),
            ));
        }
    }
    if let Some((rtmps, rtmp)) =
        tls.listen.iter().find_map(|rtmps| Some((rtmps, listen.iter().find(|rtmp| overlap(**rtmp, *rtmps))?)))
    {
        return Err(ConfigError::new(
            origins.of("tls", "listen"),
            format!("RTMPS on {rtmps}, where RTMP listens ({rtmp})"),
            "a port of its own",
        ));
    }
    if tls.is_wanted() && tls.certificates.is_empty() && !tls.self_signed {
        return Err(ConfigError::new(
            origins.of("tls", if tls.listen.is_empty() { "detect" } else { "listen" }),
            "RTMPS is to be served and there is no certificate",
            "a [[certificate]] in the file, or --rtmps-self-signed",
        ));
    }
    let listeners = listen.iter().chain(&tls.listen);
    if let Some(rtmp) = listeners.clone().find(|rtmp| overlap(**rtmp, config.control.listen)) {
        return Err(ConfigError::new(
            origins.of("control", "listen"),
            format!("control HTTP on {}, where RTMP listens ({rtmp})", config.control.listen),
            "a port of its own",
        ));
    }
    Ok(())
}

/// Whether every certificate can be used: told now, rather than by the first client.
fn check_certificates(config: &Config, origins: &Origins) -> Result<(), ConfigError> {
    for (index, files) in config.runtime.tls.certificates.iter().enumerate() {
        if let Err(error) = Certificates::read(std::slice::from_ref(files)) {
            let key = match error {
                CertificateError::Key { .. } => &CERTIFICATE_KEYS[1],
                CertificateError::Chain { .. } | CertificateError::SelfSigned(_) => &CERTIFICATE_KEYS[0],
            };
            return Err(ConfigError::new(
                origins.of_certificate(index, key.name),
                format!("{CERTIFICATE}.{}: {error}", key.name),
                key.allowed(),
            ));
        }
    }
    Ok(())
}

/// Whether what the tables of authorisation name is there and can be used: keys, secrets, back ends.
fn check_auth(config: &Config, origins: &Origins) -> Result<(), ConfigError> {
    let Err(Problem { at, key, problem }) = Rules::new(&config.auth) else { return Ok(()) };
    let allowed_of = |allowed: Option<String>| allowed.unwrap_or_default();
    let (table, index, named, allowed) = match at {
        Place::Auth(index) => {
            let keys = &schema::auth::AUTH_KEYS;
            let allowed = keys.iter().find(|one| one.name == key).map(|one| one.allowed());
            (schema::auth::AUTH, index, "app", allowed_of(allowed))
        }
        Place::Key(index) => {
            let keys = &schema::auth::KEY_KEYS;
            let allowed = keys.iter().find(|one| one.name == key).map(|one| one.allowed());
            (schema::auth::KEY, index, "sha256", allowed_of(allowed))
        }
    };
    let origin = match origins.of_list(table, index, key) {
        // A key that is missing is missing from its table.
        Origin::Default => origins.of_list(table, index, named),
        origin => origin,
    };
    Err(ConfigError::new(origin, format!("{table}.{key}: {problem}"), allowed))
}

/// The same of what notices need.
fn check_notify(config: &Config, origins: &Origins) -> Result<(), ConfigError> {
    let Err((name, problem)) = Recipient::new(&config.notices) else { return Ok(()) };
    let key = schema::auth::NOTIFY_KEYS.iter().find(|key| key.name == name);
    let allowed = key.map(|key| key.allowed()).unwrap_or_default();
    Err(ConfigError::new(
        origins.of(schema::auth::NOTIFY, name),
        format!("notify.{name}: {problem}"),
        allowed,
    ))
}

/// Whether the control HTTP asks for a token where it must, and whether the token is there.
fn check_control(config: &Config, origins: &Origins) -> Result<(), ConfigError> {
    let Err(error) = Door::new(&config.control) else { return Ok(()) };
    Err(match &error {
        DoorError::Missing(_) => ConfigError::new(
            origins.of("control", "listen"),
            error.to_string(),
            format!("control.token = {:?}, or a loopback address", crate::edge::secret::PLACE),
        ),
        DoorError::Unusable(problem) => ConfigError::new(
            origins.of("control", "token"),
            format!("control.token: {problem}"),
            format!("{}, with at least 16 letters, digits and -._~+/=", crate::edge::secret::PLACE),
        ),
    })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read as _;
    let refuse = |problem: String| {
        ConfigError::new(Origin::File(path.into()), problem, "a readable TOML file of at most 1 MiB")
    };
    let cannot = |error: std::io::Error| refuse(format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse("is too long".into()));
    }
    String::from_utf8(bytes).map_err(|_| refuse("is not UTF-8".into()))
}

/// Where each key that is not at its default was set.
#[derive(Clone, Debug, Default)]
struct Origins {
    keys: BTreeMap<(&'static str, &'static str), Origin>,
    apps: BTreeMap<(String, &'static str), Origin>,
    certificates: BTreeMap<(usize, &'static str), Origin>,
    targets: BTreeMap<(usize, &'static str), Origin>,
    lists: BTreeMap<(&'static str, usize, &'static str), Origin>,
    upstreams: BTreeMap<(usize, &'static str), Origin>,
}

impl Origins {
    fn set(&mut self, table: &'static str, key: &'static str, origin: Origin) {
        self.keys.insert((table, key), origin);
    }

    fn set_app(&mut self, app: &str, key: &'static str, origin: Origin) {
        self.apps.insert((app.to_owned(), key), origin);
    }

    fn set_certificate(&mut self, index: usize, key: &'static str, origin: Origin) {
        self.certificates.insert((index, key), origin);
    }

    /// Of a table that may come several times.
    fn set_list(&mut self, table: &'static str, index: usize, key: &'static str, origin: Origin) {
        self.lists.insert((table, index, key), origin);
    }

    fn of_list(&self, table: &'static str, index: usize, key: &'static str) -> Origin {
        self.lists.get(&(table, index, key)).cloned().unwrap_or(Origin::Default)
    }

    fn of_certificate(&self, index: usize, key: &'static str) -> Origin {
        self.certificates.get(&(index, key)).cloned().unwrap_or(Origin::Default)
    }

    fn set_target(&mut self, index: usize, key: &'static str, origin: Origin) {
        self.targets.insert((index, key), origin);
    }

    fn of_target(&self, index: usize, key: &'static str) -> Origin {
        self.targets.get(&(index, key)).cloned().unwrap_or(Origin::Default)
    }

    fn set_upstream(&mut self, index: usize, key: &'static str, origin: Origin) {
        self.upstreams.insert((index, key), origin);
    }

    fn of_upstream(&self, index: usize, key: &'static str) -> Origin {
        self.upstreams.get(&(index, key)).cloned().unwrap_or(Origin::Default)
    }

    fn of(&self, table: &'static str, key: &'static str) -> Origin {
        self.keys.get(&(table, key)).cloned().unwrap_or(Origin::Default)
    }

    fn of_app(&self, app: &str, key: &'static str) -> Origin {
        self.apps.get(&(app.to_owned(), key)).cloned().unwrap_or(Origin::Default)
    }
}

#[cfg(test)]
mod tests;
