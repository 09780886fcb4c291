//! A target: where streams of an app are forwarded to, and how patiently.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::template::{Template, TemplateError};
use crate::hub::QueueSettings;
use crate::rtmp::command::{Capabilities, CapsEx};
use crate::runtime::traffic::Traffic;
use crate::session::{ClientSettings, ClientUrl, Role};

/// The app that stands for every app.
pub const ANY_APP: &str = "*";

/// What we call ourselves, unless told otherwise: services tell encoders by `FMLE`.
pub const FLASH_VER: &str = "FMLE/3.0 (compatible; inrush)";

/// One `[[target]]`. `Debug` shows no path, query or parameter: they hold keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Streams of this app are forwarded, or of every app ([`ANY_APP`]).
    pub app: String,
    /// Where to. `None` only until it is set.
    pub url: Option<Template>,
    /// What `{shard}` counts to. Default 1.
    pub shards: u32,
    /// Of the targets of one group and app, one is active at a time; empty for a target of its own.
    pub group: String,
    /// Which of its group is wanted most.
    pub rank: Rank,
    /// More for the query.
    pub params: String,
    /// Bounds of the queue, as a player's.
    pub queue: QueueSettings,
    /// Pause after the first failure; each further one doubles it.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
    /// How long each step may take: the name, the connection, the TLS handshake, and the yes to `publish`.
    pub step_max: Duration,
    /// How long a target of a group may take until it gets media, before the next one is tried beside it.
    pub failover: Duration,
    /// How long a better target of a group must have got media without a break, before the worse one is given up.
    pub failback: Duration,
    /// What connections to it have, from their first packet on.
    pub traffic: Traffic,
    /// Certificates that are trusted in place of the web's, PEM.
    pub tls_ca_file: Option<PathBuf>,
    /// Whether the target must show a certificate that is trusted and is for its name.
    pub tls_verify: bool,
    /// Whether `connect` says that we know Enhanced RTMP.
    pub enhanced: bool,
    /// What we call ourselves.
    pub flash_ver: String,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            app: ANY_APP.into(),
            url: None,
            shards: 1,
            group: String::new(),
            rank: Rank::PRIMARY,
            params: String::new(),
            queue: QueueSettings::default(),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            step_max: Duration::from_secs(5),
            failover: Duration::from_secs(5),
            failback: Duration::from_secs(10),
            traffic: Traffic::default(),
            tls_ca_file: None,
            tls_verify: true,
            enhanced: true,
            flash_ver: FLASH_VER.into(),
        }
    }
}

impl Target {
    /// A target as a back end names it: a URL or a template, and the defaults for all else.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn named(url: &str) -> Result<Self, TemplateError> {
        Ok(Self { url: Some(Template::parse(url)?), ..Self::default() })
    }

    /// Whether streams of this app go there.
    pub fn takes(&self, app: &str) -> bool {
        self.app == ANY_APP || self.app == app
    }

    /// What a session with it is told.
    pub fn client_settings(&self, url: ClientUrl) -> ClientSettings {
        let capabilities = match self.enhanced {
            true => Capabilities::forwarder(CapsEx::ALL),
            false => Capabilities::default(),
        };
        ClientSettings {
            flash_ver: self.flash_ver.clone(),
            capabilities,
            ready_deadline: self.step_max,
            ..ClientSettings::new(url, Role::Publish)
        }
    }

    /// What a session that pulls from it is told. It does not say that it can be sent elsewhere: two sources at a time would be two publishers.
    pub fn player_settings(&self, url: ClientUrl) -> ClientSettings {
        let capabilities = match self.enhanced {
            true => {
                Capabilities::forwarder(CapsEx::MULTITRACK | CapsEx::MOD_EX | CapsEx::TIMESTAMP_NANO_OFFSET)
            }
            false => Capabilities::default(),
        };
        ClientSettings {
            flash_ver: self.flash_ver.clone(),
            capabilities,
            ready_deadline: self.step_max,
            ..ClientSettings::new(url, Role::Play)
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("app", &self.app)
            .field("url", &self.url)
            .field("shards", &self.shards)
            .field("group", &self.group)
            .field("rank", &self.rank)
            .field("params_bytes", &self.params.len())
            .field("queue", &self.queue)
            .field("backoff_min", &self.backoff_min)
            .field("backoff_max", &self.backoff_max)
            .field("step_max", &self.step_max)
            .field("failover", &self.failover)
            .field("failback", &self.failback)
            .field("traffic", &self.traffic)
            .field("tls_ca_file", &self.tls_ca_file)
            .field("tls_verify", &self.tls_verify)
            .field("enhanced", &self.enhanced)
            .field("flash_ver", &self.flash_ver)
            .finish()
    }
}

/// How much a target is wanted: the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(pub u32);

impl Rank {
    /// `primary`.
    pub const PRIMARY: Self = Self(0);
    /// `backup`.
    pub const BACKUP: Self = Self(1);
    /// The highest number.
    pub const MAX: u32 = 100;
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PRIMARY => f.write_str("primary"),
            Self::BACKUP => f.write_str("backup"),
            Self(number) => write!(f, "{number}"),
        }
    }
}

impl FromStr for Rank {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "primary" => Ok(Self::PRIMARY),
            "backup" => Ok(Self::BACKUP),
            number => match number.parse() {
                Ok(number) if number <= Self::MAX => Ok(Self(number)),
                _ => Err(format!("{text:?} is no rank")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_app_is_one_or_any() {
        let live = Target { app: "live".into(), ..Target::default() };
        assert!(live.takes("live") && !live.takes("radio") && !live.takes(""));
        assert!(Target::default().takes("live") && Target::default().takes(""));
    }

    #[test]
    fn ranks_have_two_names_and_numbers_for_the_rest() {
        for (text, rank) in [("primary", 0), ("backup", 1), ("0", 0), ("7", 7), ("100", 100)] {
            assert_eq!(text.parse(), Ok(Rank(rank)));
        }
        for text in ["", "first", "-1", "101", "1.5"] {
            assert!(text.parse::<Rank>().is_err(), "{text}");
        }
        assert_eq!([Rank(0), Rank(1), Rank(2)].map(|rank| rank.to_string()), ["primary", "backup", "2"]);
    }

    #[test]
    fn debug_shows_no_secret() {
        let target =
            Target { params: "secret".into(), ..Target::named("rtmp://h/secret/secret?secret").unwrap() };
        assert!(!format!("{target:?}").contains("secret"));
    }

    #[test]
    fn connect_says_enhanced_or_nothing_of_it() {
        let url = || ClientUrl::parse("rtmp://h/a/b").unwrap();
        let target = Target::default();
        assert!(target.client_settings(url()).capabilities.multitrack());
        let plain = Target { enhanced: false, flash_ver: "x".into(), ..Target::default() };
        assert!(!plain.client_settings(url()).capabilities.speaks_enhanced());
        assert_eq!(plain.client_settings(url()).flash_ver, "x");
        assert_eq!(
            target.client_settings(url()).flash_ver,
            ClientSettings::new(url(), Role::Publish).flash_ver
        );
    }
}
