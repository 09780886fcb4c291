//! What is told of who may publish and play, and what is wrong with it.

use std::path::PathBuf;
use std::time::Duration;

use super::access::Access;
use super::breaker::BreakerSettings;
use super::broker::{BrokerSettings, Fail};
use super::cache::CacheSettings;
use super::jwt::{Algorithm, KeySetPlace};
use super::nginx::NginxSettings;
use super::ruling::ANY;
use super::static_keys::StaticKey;
use crate::edge::secret::SecretPlace;
use crate::runtime::outside::Action;

/// A source that questions are put to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Keys of the configuration ([`super::static_keys`]).
    Static,
    /// Signed addresses ([`super::signed`]).
    Signed,
    /// JSON Web Tokens ([`super::jwt`]).
    Jwt,
    /// A back end ([`super::callback`]). Every question is one of its kind.
    Callback,
    /// A back end of nginx-rtmp ([`super::nginx`]), likewise.
    Nginx,
    /// Everybody may.
    Open,
}

impl Source {
    /// How they are written, for error lines.
    pub const NAMES: &'static str = "static, signed, jwt, callback, nginx, open";

    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "static" => Some(Self::Static),
            "signed" => Some(Self::Signed),
            "jwt" => Some(Self::Jwt),
            "callback" => Some(Self::Callback),
            "nginx" => Some(Self::Nginx),
            "open" => Some(Self::Open),
            _ => None,
        }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Signed => "signed",
            Self::Jwt => "jwt",
            Self::Callback => "callback",
            Self::Nginx => "nginx",
            Self::Open => "open",
        }
    }

    /// Whether it decides every question, so that no source behind it is ever asked.
    pub fn decides_all(self) -> bool {
        matches!(self, Self::Callback | Self::Nginx | Self::Open)
    }
}

/// All of it. Without a table everybody may do everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// One an app, or an app of one host.
    pub tables: Vec<AuthTable>,
    /// The keys of all tables' source `static`.
    pub keys: Vec<StaticKey>,
}

/// Who may publish and play the streams of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthTable {
    /// The app, or `*`.
    pub app: String,
    /// The host that was asked for, in TLS (SNI) or, without SNI, by the tcUrl; lower case; empty: any.
    pub host: String,
    /// Sources of a publish, in order.
    pub publish: Vec<Source>,
    /// Sources of a play, in order.
    pub play: Vec<Source>,
    /// From where publishing may be asked for.
    pub publish_access: Access,
    /// From where playing may be.
    pub play_access: Access,
    /// Secrets of signed addresses, by their ids; the first one signs.
    pub signed_secrets: Vec<(String, SecretPlace)>,
    /// How far a signer's clock may be behind.
    pub signed_skew_seconds: u64,
    /// Algorithm of `jwt_key`.
    pub jwt_algorithm: Option<Algorithm>,
    /// The secret (HS256) or public key (RS256, ES256; PEM) of tokens.
    pub jwt_key: Option<SecretPlace>,
    /// The key set of tokens.
    pub jwt_key_set: Option<KeySetPlace>,
    /// How often a key set is fetched again.
    pub jwt_refresh: Duration,
    /// `iss` that tokens must have; empty: any.
    pub jwt_issuer: String,
    /// `aud` that tokens must have; empty: any.
    pub jwt_audience: String,
    /// How far an issuer's clock may be off.
    pub jwt_skew_seconds: u64,
    /// The back end; empty: none.
    pub callback_url: String,
    /// What questions are signed with.
    pub callback_secret: Option<SecretPlace>,
    /// Roots that HTTPS back ends and key sets are trusted by, beside Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// Bits of an IPv4 address that an answer holds for: 32 for each address its own, 0 for all the same.
    pub callback_ipv4_bits: u8,
    /// The same of an IPv6 address.
    pub callback_ipv6_bits: u8,
    /// The back end of the source `nginx`.
    pub nginx: NginxSettings,
    /// How the back end is asked, of either source.
    pub broker: BrokerSettings,
}

impl Default for AuthTable {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            app: ANY.into(),
            host: String::new(),
            publish: vec![Source::Open],
            play: vec![Source::Open],
            publish_access: Access::default(),
            play_access: Access::default(),
            signed_secrets: Vec::new(),
            signed_skew_seconds: 30,
            jwt_algorithm: None,
            jwt_key: None,
            jwt_key_set: None,
            jwt_refresh: seconds(300),
            jwt_issuer: String::new(),
            jwt_audience: String::new(),
            jwt_skew_seconds: 30,
            callback_url: String::new(),
            callback_secret: None,
            ca_file: None,
            callback_ipv4_bits: 32,
            callback_ipv6_bits: 64,
            nginx: NginxSettings::default(),
            broker: BrokerSettings {
                timeout: seconds(3),
                calls_max: 64,
                waiting_max: 4096,
                fail: Fail::Closed,
                breaker: BreakerSettings { failures_max: 5, open_time: seconds(5) },
                cache: CacheSettings {
                    allow_time: seconds(10),
                    deny_time: seconds(2),
                    stale_time: seconds(300),
                    entries_max: 10_000,
                },
            },
        }
    }
}

impl AuthTable {
    /// Its name in metrics and logs.
    pub fn label(&self) -> String {
        if self.host.is_empty() { self.app.clone() } else { format!("{}@{}", self.app, self.host) }
    }

    /// Whether everybody may do this, of those whom the sources before leave to the last one.
    pub fn is_open(&self, action: Action) -> bool {
        let (sources, on) = match action {
            Action::Publish => (&self.publish, &self.nginx.on_publish),
            Action::Play => (&self.play, &self.nginx.on_play),
        };
        let asks_nobody = on.is_empty() && self.nginx.on_connect.is_empty();
        sources.contains(&Source::Open) || asks_nobody && sources.contains(&Source::Nginx)
    }

    /// Whether one of its actions asks this source.
    pub fn asks(&self, source: Source) -> bool {
        self.publish.contains(&source) || self.play.contains(&source)
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: the index of the `[[auth]]` table, or of the `[[key]]`.
    pub at: Place,
    /// Which key of it.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
}

/// A table of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `[[auth]]`, counted from 0.
    Auth(usize),
    /// `[[key]]`, counted from 0.
    Key(usize),
}
