//! The tables as they are asked: which one a question is for, and what can be said at once.
//!
//! # Which table
//! Of the tables whose app and host cover the question, one that names the host comes before one that does not, then one that names the app before
//! `*`. A question that none covers is denied, as the file says nothing of it; without any table everybody may do everything.
//!
//! The host is the name asked for in TLS (SNI), where there is one; else that of the tcUrl, which a client writes as it likes. And streams are
//! the app's, whatever host they were asked for by. So a host chooses between credentials and is no border between streams: an app is as open as
//! its weakest host, which [`unequal_hosts`] warns of.
//! # In which order
//! First the lists of networks. Then the action's sources in their order: each says yes, no, or that it has found no credential of its kind. When
//! none decides the answer is no.
//! # What takes time
//! Lists, keys and signatures are looked at where the question is asked, on a media core: some microseconds once a publish or play. Tokens
//! (public key arithmetic) and back ends are the worker's ([`super::worker`]).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::Uri;

use super::access::Access;
use super::broker::BrokerSettings;
use super::counters::Counters;
use super::jwt::{self, Algorithm, Expected, KeySetPlace, TOKEN_PARAM, VerifyingKey};
use super::key_set::KeySet;
use super::nginx::Dialect;
use super::ruling::{Ruling, covers};
use super::settings::{AuthSettings, AuthTable, Place, Problem, Source};
use super::signed::{self, NamedSecret};
use super::static_keys::StaticKeys;
use crate::edge::http::{self, Client};
use crate::edge::secret::Secret;
use crate::runtime::outside::{Action, Denial, Facts, Question, Verdict};
use crate::session::params::param;

/// All tables.
#[derive(Debug)]
pub struct Rules {
    pub(super) tables: Vec<Table>,
    static_keys: StaticKeys,
}

/// One table, with everything that it needs read and checked.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) label: String,
    app: String,
    host: String,
    publish: Vec<Source>,
    play: Vec<Source>,
    publish_access: Access,
    play_access: Access,
    secrets: Vec<NamedSecret>,
    skew_seconds: u64,
    pub(super) broker: BrokerSettings,
    pub(super) network_bits: NetworkBits,
    pub(super) tokens: Option<Tokens>,
    pub(super) back_end: Option<BackEnd>,
    pub(super) dialect: Option<Arc<Dialect>>,
    pub(super) counters: Arc<Counters>,
}

/// How tokens are checked.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) keys: Vec<VerifyingKey>,
    /// Where newer ones come from, and how often.
    pub(super) fetch: Option<(Client, Uri, std::time::Duration)>,
    pub(super) expected: Expected,
}

impl Tokens {
    pub(super) fn key_set(&self) -> KeySet {
        match &self.fetch {
            Some((_, _, refresh)) => KeySet::fetched(*refresh),
            None => KeySet::fixed(self.keys.clone()),
        }
    }
}

/// Who is asked.
#[derive(Debug)]
pub(super) struct BackEnd {
    pub(super) client: Client,
    pub(super) url: Uri,
    pub(super) secret: Option<Secret>,
}

/// How much of an address an answer holds for.
#[derive(Clone, Copy, Debug)]
pub(super) struct NetworkBits {
    pub(super) ipv4: u8,
    pub(super) ipv6: u8,
}

/// What can be said at once.
#[derive(Debug)]
pub(super) enum Said {
    /// This.
    Verdict(Verdict),
    /// The worker has to see to it: a source that decides.
    Later { table: usize, source: Source },
}

impl Rules {
    /// Reads and checks everything that the settings name.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn new(settings: &AuthSettings) -> Result<Self, Problem> {
        for (index, key) in settings.keys.iter().enumerate() {
            if !key.stream.is_empty() && key.name != super::ruling::ANY {
                let problem = "has a name as well: a key is said beside the name, or is the name".into();
                return Err(Problem { at: Place::Key(index), key: "stream", problem });
            }
        }
        let mut tables = Vec::with_capacity(settings.tables.len());
        for (index, table) in settings.tables.iter().enumerate() {
            let problem = |key, problem| Problem { at: Place::Auth(index), key, problem };
            let is_twin = |other: &&AuthTable| other.app == table.app && other.host == table.host;
            if settings.tables.iter().take(index).find(is_twin).is_some() {
                return Err(problem("app", format!("app {:?} has such a table already", table.label())));
            }
            tables.push(read(table, settings).map_err(|(key, text)| problem(key, text))?);
        }
        Ok(Self { tables, static_keys: StaticKeys::new(&settings.keys) })
    }

    /// What is said to a question at once.
    pub(super) fn ask(&self, question: &Question) -> Said {
        if self.tables.is_empty() {
            return Said::Verdict(Verdict::default());
        }
        let Some(index) = self.table_for(question) else {
            let description = "nothing says who may use this app".into();
            return Said::Verdict(Verdict::Deny(Denial { label: "no_table", description }));
        };
        let table = &self.tables[index];
        let said = table.ask(question, &self.static_keys, now_unix());
        let (source, verdict) = match said {
            Ok(decided) => decided,
            Err(source) => return Said::Later { table: index, source },
        };
        table.counters.on_decision(question.action, source, &verdict);
        Said::Verdict(verdict)
    }

    fn table_for(&self, question: &Question) -> Option<usize> {
        self.table_of(question.stream.app(), &question.facts)
    }

    fn table_of(&self, app: &str, facts: &Facts) -> Option<usize> {
        let tables = self.tables.iter().map(|table| (&*table.app, &*table.host));
        table_for(tables, app, |host| asked_for(facts, host))
    }

    /// Whether a back end is told of any session.
    pub(super) fn has_dialect(&self) -> bool {
        self.tables.iter().any(|table| table.dialect.is_some())
    }

    /// The back end that is told of somebody's sessions, if any is.
    pub(super) fn dialect_of(&self, facts: &Facts) -> Option<&Arc<Dialect>> {
        let wish = facts.wish.as_ref()?;
        self.tables.get(self.table_of(wish.stream.app(), facts)?)?.dialect.as_ref()
    }
}

/// The table, of these apps and hosts, that a question for `app` is for; see the module.
pub fn table_for<'a>(
    tables: impl Iterator<Item = (&'a str, &'a str)>,
    app: &str,
    is_asked_for: impl Fn(&str) -> bool,
) -> Option<usize> {
    let fits =
        |(its_app, host): &(&str, &str)| covers(its_app, app) && (host.is_empty() || is_asked_for(host));
    let fitting = tables.enumerate().filter(|(_, table)| fits(table));
    let best = fitting.max_by_key(|(_, (its_app, host))| (!host.is_empty(), *its_app == app));
    best.map(|(index, _)| index)
}

/// Whether somebody has asked for this host: in TLS, or, where no name was asked for there, by the tcUrl.
fn asked_for(facts: &Facts, host: &str) -> bool {
    let asked = facts.server_name.as_ref().or(facts.host.as_ref());
    asked.is_some_and(|asked| asked.eq_ignore_ascii_case(host))
}

/// Apps whose tables differ in their sources by the host, so that the stricter ones do not hold; see the module.
pub fn unequal_hosts(tables: &[AuthTable]) -> Vec<&str> {
    let of_host = |app: &str, host: &str| {
        let names = tables.iter().map(|table| (&*table.app, &*table.host));
        table_for(names, app, |its| its == host).and_then(|index| tables.get(index))
    };
    let mut apps: Vec<&str> = tables.iter().map(|table| &*table.app).collect();
    apps.sort_unstable();
    apps.dedup();
    apps.retain(|app| {
        let hosts = tables.iter().map(|table| &*table.host).chain([""]);
        let mut sources =
            hosts.filter_map(|host| of_host(app, host)).map(|table| (&table.publish, &table.play));
        let first = sources.next();
        sources.any(|other| Some(other) != first)
    });
    apps
}

impl Table {
    /// What decides and its verdict, or the source that the worker has to ask.
    fn ask(
        &self,
        question: &Question,
        keys: &StaticKeys,
        now_unix: u64,
    ) -> Result<(&'static str, Verdict), Source> {
        let Question { action, stream, facts, .. } = question;
        let (access, sources) = match action {
            Action::Publish => (&self.publish_access, &self.publish),
            Action::Play => (&self.play_access, &self.play),
        };
        let peer = facts.peer.ip();
        if !access.permits(peer) {
            let description = "not from this address".into();
            return Ok(("network", Verdict::Deny(Denial { label: "address_denied", description })));
        }
        for source in sources {
            let ruling = match source {
                Source::Static => keys.judge(*action, stream, &facts.params),
                Source::Signed => {
                    let secrets = &self.secrets;
                    signed::judge(secrets, self.skew_seconds, now_unix, *action, stream, peer, &facts.params)
                }
                Source::Jwt => match param(&facts.params, TOKEN_PARAM).filter(|token| !token.is_empty()) {
                    Some(_) => return Err(Source::Jwt),
                    None => Ruling::Pass,
                },
                Source::Callback => return Err(Source::Callback),
                Source::Nginx if self.dialect.as_ref().is_some_and(|dialect| dialect.is_asked(*action)) => {
                    return Err(Source::Nginx);
                }
                // As there: who is not asked about may.
                Source::Nginx => Ruling::Allow(Default::default()),
                Source::Open => Ruling::Allow(Default::default()),
            };
            match ruling {
                Ruling::Pass => {}
                Ruling::Allow(grant) => return Ok((source.name(), Verdict::Allow(grant))),
                Ruling::Deny(denial) => return Ok((source.name(), Verdict::Deny(denial))),
            }
        }
        let description = "this takes a key, a token or a signed address".into();
        Ok(("none", Verdict::Deny(Denial { label: "no_credential", description })))
    }
}

/// Seconds since 1970.
pub(super) fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Reads what a table names; else the key that is wrong and what is wrong with it.
fn read(table: &AuthTable, settings: &AuthSettings) -> Result<Table, (&'static str, String)> {
    for (key, sources) in [("publish", &table.publish), ("play", &table.play)] {
        for (index, source) in sources.iter().enumerate() {
            let before = sources.get(..index).unwrap_or_default();
            if before.contains(source) {
                return Err((key, format!("{} is there twice", source.name())));
            }
            if let Some(last) = before.iter().find(|before| before.decides_all()) {
                return Err((
                    key,
                    format!("{} is never asked, as {} decides everything", source.name(), last.name()),
                ));
            }
        }
        let has_keys =
            settings.keys.iter().any(|one| one.app == super::ruling::ANY || covers(&table.app, &one.app));
        if sources.contains(&Source::Static) && !has_keys {
            return Err((key, "static, and no [[key]] is for this app".into()));
        }
    }
    let client = || Client::new(table.ca_file.as_deref()).map_err(|problem| ("ca_file", problem));
    Ok(Table {
        label: table.label(),
        app: table.app.clone(),
        host: table.host.clone(),
        publish: table.publish.clone(),
        play: table.play.clone(),
        publish_access: table.publish_access.clone(),
        play_access: table.play_access.clone(),
        secrets: if table.asks(Source::Signed) { read_secrets(table)? } else { Vec::new() },
        skew_seconds: table.signed_skew_seconds,
        broker: table.broker,
        network_bits: NetworkBits { ipv4: table.callback_ipv4_bits, ipv6: table.callback_ipv6_bits },
        tokens: if table.asks(Source::Jwt) { Some(read_tokens(table, client)?) } else { None },
        back_end: if table.asks(Source::Callback) { Some(read_back_end(table, client)?) } else { None },
        dialect: read_dialect(table, client)?,
        counters: Arc::new(Counters::new(
            table.label(),
            table.asks(Source::Callback) || table.asks(Source::Nginx),
        )),
    })
}

/// The secrets of a table's signed addresses, as `inrush sign` needs them too.
///
/// # Errors
/// The key that is wrong, and what is wrong with it.
pub fn read_secrets(table: &AuthTable) -> Result<Vec<NamedSecret>, (&'static str, String)> {
    if table.signed_secrets.is_empty() {
        return Err(("signed_secrets", "none, and signed is a source".into()));
    }
    let read = |(id, place): &(String, crate::edge::secret::SecretPlace)| {
        let secret = place.read().map_err(|problem| ("signed_secrets", problem))?;
        Ok(NamedSecret { id: id.clone(), secret })
    };
    table.signed_secrets.iter().map(read).collect()
}

fn read_tokens(
    table: &AuthTable,
    client: impl Fn() -> Result<Client, (&'static str, String)>,
) -> Result<Tokens, (&'static str, String)> {
    let mut fetch = None;
    let keys = match (&table.jwt_key, &table.jwt_key_set, table.jwt_algorithm) {
        (Some(_), Some(_), _) => return Err(("jwt_key", "there is a jwt_key_set as well".into())),
        (None, None, _) => return Err(("jwt_key", "neither it nor jwt_key_set, and jwt is a source".into())),
        (Some(_), None, None) => return Err(("jwt_algorithm", "none, and there is a jwt_key".into())),
        (None, Some(_), Some(_)) => {
            return Err(("jwt_algorithm", "keys of a jwt_key_set say their algorithm themselves".into()));
        }
        (Some(place), None, Some(Algorithm::Hs256)) => {
            let secret = place.read().map_err(|problem| ("jwt_key", problem))?;
            let key = VerifyingKey::shared(&secret);
            vec![key.map_err(|problem| ("jwt_key", format!("{place}: {problem}")))?]
        }
        (Some(place), None, Some(algorithm)) => {
            let pem = place.read_any().map_err(|problem| ("jwt_key", problem))?;
            let key = VerifyingKey::public(algorithm, &pem);
            vec![key.map_err(|problem| ("jwt_key", format!("{place}: {problem}")))?]
        }
        (None, Some(KeySetPlace::File(path)), None) => {
            let shown = path.display();
            let json = crate::edge::secret::SecretPlace::File(path.clone())
                .read_up_to(super::key_set::SET_BYTES_MAX);
            let json = json.map_err(|problem| ("jwt_key_set", problem))?;
            jwt::key_set(&json).map_err(|problem| ("jwt_key_set", format!("{shown}: {problem}")))?
        }
        (None, Some(KeySetPlace::Url(text)), None) => {
            let url = http::url(text).map_err(|problem| ("jwt_key_set", problem))?;
            fetch = Some((client()?, url, table.jwt_refresh));
            Vec::new()
        }
    };
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let expected = Expected {
        issuer: some(&table.jwt_issuer),
        audience: some(&table.jwt_audience),
        skew_seconds: table.jwt_skew_seconds,
    };
    Ok(Tokens { keys, fetch, expected })
}

fn read_back_end(
    table: &AuthTable,
    client: impl Fn() -> Result<Client, (&'static str, String)>,
) -> Result<BackEnd, (&'static str, String)> {
    if table.callback_url.is_empty() {
        return Err(("callback_url", "none, and callback is a source".into()));
    }
    let url = http::url(&table.callback_url).map_err(|problem| ("callback_url", problem))?;
    let secret = match &table.callback_secret {
        Some(place) => Some(place.read().map_err(|problem| ("callback_secret", problem))?),
        None => None,
    };
    Ok(BackEnd { client: client()?, url, secret })
}

/// The dialect of nginx-rtmp, where it is a source. What looks like a lock and is none is refused: a question of an action that does not name the
/// source would never be put.
fn read_dialect(
    table: &AuthTable,
    client: impl Fn() -> Result<Client, (&'static str, String)>,
) -> Result<Option<Arc<Dialect>>, (&'static str, String)> {
    let has = |key: &str| table.nginx.urls().any(|(set, _)| set == key);
    if !table.asks(Source::Nginx) {
        return match table.nginx.urls().next() {
            Some((key, _)) => Err((key, "nginx is no source of this table".into())),
            None => Ok(None),
        };
    }
    if table.asks(Source::Callback) {
        let key = if table.publish.contains(&Source::Nginx) { "publish" } else { "play" };
        return Err((key, "nginx beside callback: a table asks one back end".into()));
    }
    for (key, sources) in [("on_publish", &table.publish), ("on_play", &table.play)] {
        if has(key) && !sources.contains(&Source::Nginx) {
            let action = key.trim_start_matches("on_");
            return Err((key, format!("never asked, as nginx is no source of {action}")));
        }
    }
    if table.nginx.urls().next().is_none() {
        return Err(("on_publish", "none, nor any other on_… URL, and nginx is a source".into()));
    }
    let dialect = Dialect::new(table.label(), &table.nginx, client()?, table.broker.timeout)?;
    Ok(Some(Arc::new(dialect)))
}
