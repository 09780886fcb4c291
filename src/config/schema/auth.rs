//! The keys of `[[auth]]` and `[[key]]`: who may publish and play.

use std::net::Ipv6Addr;

use super::kinds::{
    APP_OR_ANY, DAY_SECONDS, HTTP_URL, app_name, codecs, file, http_url, limit, milliseconds, networks,
    number, optional_path, seconds, secret, switch, text,
};
use crate::config::Config;
use crate::config::key::{Key, Kind};
use crate::edge::auth::broker::Fail;
use crate::edge::auth::jwt::{Algorithm, KeySetPlace};
use crate::edge::auth::nginx::Method;
use crate::edge::auth::ruling::Role;
use crate::edge::auth::static_keys::{StaticKey, hex};
use crate::edge::auth::{AuthTable, Source};
use crate::edge::http;
use crate::edge::secret::SecretPlace;

/// The table that may come several times, once an app or an app of one host.
pub(in crate::config) const AUTH: &str = "auth";

/// The table that may come several times, once a key.
pub(in crate::config) const KEY: &str = "key";

/// The table of notices.
pub(in crate::config) const NOTIFY: &str = "notify";

const CA_FILE: &str = "a readable PEM file, or nothing";
const SECRETS: &str = "\"ID=file:PATH\" or \"ID=env:NAME\", each ID of letters, digits, - and _, once";
const KEY_SET: &str = "file:PATH, http://HOST/… or https://HOST/…";

/// The sources of an action.
macro_rules! sources {
    ($field:ident, $about:literal) => {
        Key {
            name: stringify!($field),
            about: $about,
            kind: Kind::List {
                allowed: Source::NAMES,
                read: |table: &AuthTable| table.$field.iter().map(|source| source.name().into()).collect(),
                write: |table, texts| {
                    let parse = |text: &String| {
                        Source::from_name(text).ok_or_else(|| format!("{text:?} is no source"))
                    };
                    table.$field = texts.iter().map(parse).collect::<Result<_, _>>()?;
                    Ok(())
                },
            },
        }
    };
}

/// The keys of an `[[auth]]` table.
pub(in crate::config) static AUTH_KEYS: [Key<AuthTable>; 43] = [
    text!(
        "app",
        APP_OR_ANY,
        "The app that this is for; * is every app without a table of its own",
        app,
        app_name
    ),
    Key {
        name: "host",
        about: "Only for those who asked for this host in TLS (SNI) or, without SNI, by the tcUrl; empty: any. No border between streams: an app is as open as its weakest host",
        kind: Kind::Text {
            allowed: "a host's name or address without port, or nothing",
            read: |table| table.host.clone(),
            write: |table, text| {
                if text.contains(['/', ' ']) || (text.contains(':') && text.parse::<Ipv6Addr>().is_err()) {
                    return Err(format!("{text:?} is no host"));
                }
                table.host = text.to_ascii_lowercase();
                Ok(())
            },
        },
    },
    sources!(
        publish,
        "Who decides who may publish, in order: static, signed, jwt, callback, nginx, open; nobody: no one may"
    ),
    sources!(play, "Who decides who may play, likewise"),
    networks!(
        "publish_allow",
        "Networks that publishing may be asked for from; none: everywhere",
        publish_access.allow
    ),
    networks!("publish_deny", "Networks that it may not, also of those allowed", publish_access.deny),
    networks!(
        "play_allow",
        "Networks that playing may be asked for from; none: everywhere",
        play_access.allow
    ),
    networks!("play_deny", "Networks that it may not, also of those allowed", play_access.deny),
    Key {
        name: "fail",
        about: "What holds when nobody can be asked: closed lets nobody new in, open lets everybody in",
        kind: Kind::Text {
            allowed: "closed, open",
            read: |table| {
                match table.broker.fail {
                    Fail::Closed => "closed",
                    Fail::Open => "open",
                }
                .into()
            },
            write: |table, text| {
                table.broker.fail = match text {
                    "closed" => Fail::Closed,
                    "open" => Fail::Open,
                    _ => return Err(format!("{text:?} is neither closed nor open")),
                };
                Ok(())
            },
        },
    },
    Key {
        name: "signed_secrets",
        about: "Secrets of signed addresses, ID=file:PATH or ID=env:NAME; the first one signs, all are good",
        kind: Kind::List {
            allowed: SECRETS,
            read: |table| table.signed_secrets.iter().map(|(id, place)| format!("{id}={place}")).collect(),
            write: |table, texts| {
                table.signed_secrets = secrets(texts)?;
                Ok(())
            },
        },
    },
    number!("signed_skew_seconds", 0..=3600, "How far the signer's clock may be behind", signed_skew_seconds),
    Key {
        name: "jwt_algorithm",
        about: "What jwt_key is for: HS256, RS256 or ES256",
        kind: Kind::Text {
            allowed: Algorithm::NAMES,
            read: |table| table.jwt_algorithm.map(Algorithm::name).unwrap_or_default().into(),
            write: |table, text| {
                table.jwt_algorithm = match text {
                    "" => None,
                    name => Some(Algorithm::from_name(name).ok_or_else(|| format!("{text:?} is none"))?),
                };
                Ok(())
            },
        },
    },
    secret!("jwt_key", "Secret (HS256) or public key (PEM) of tokens: file:PATH or env:NAME", jwt_key),
    Key {
        name: "jwt_key_set",
        about: "Key set (JWKS) of tokens: file:PATH or a URL",
        kind: Kind::Text {
            allowed: KEY_SET,
            read: |table| match &table.jwt_key_set {
                None => String::new(),
                Some(KeySetPlace::File(path)) => format!("file:{}", path.display()),
                Some(KeySetPlace::Url(url)) => url.clone(),
            },
            write: |table, text| {
                table.jwt_key_set = match text.strip_prefix("file:") {
                    Some(path) => Some(KeySetPlace::File(file(path)?)),
                    None if text.is_empty() => None,
                    None => {
                        http::url(text)?;
                        Some(KeySetPlace::Url(text.into()))
                    }
                };
                Ok(())
            },
        },
    },
    seconds!(
        "jwt_refresh_seconds",
        10..=DAY_SECONDS,
        "How often a key set is fetched from its URL",
        jwt_refresh
    ),
    text!("jwt_issuer", "any text", "What tokens must have as iss; empty: anything", jwt_issuer),
    text!("jwt_audience", "any text", "What tokens must have as aud; empty: anything", jwt_audience),
    number!("jwt_skew_seconds", 0..=3600, "How far the issuer's clock may be off", jwt_skew_seconds),
    text!(
        "callback_url",
        HTTP_URL,
        "The back end of the source callback: asked by POST, with JSON",
        callback_url,
        http_url
    ),
    secret!(
        "callback_secret",
        "What its questions are signed with: file:PATH or env:NAME; empty: they are not",
        callback_secret
    ),
    optional_path!(
        "ca_file",
        CA_FILE,
        "Certificates (PEM) that https back ends are trusted by, beside the public ones",
        ca_file
    ),
    // Twice this is the longest that a question takes; it must be less than what the engine waits (`ANSWER_TIME_MAX`).
    milliseconds!(
        "callback_timeout_ms",
        10..=14_000,
        "How long an answer may take, also of nginx; a question that waits for a call may wait as long before it",
        broker.timeout
    ),
    number!(
        "callback_calls_max",
        1..=10_000,
        "Calls under way at a time; further questions wait in line",
        broker.calls_max
    ),
    number!(
        "callback_waiting_max",
        1..=100_000,
        "Questions that wait at a time; further ones are as fail says",
        broker.waiting_max
    ),
    seconds!(
        "callback_allow_seconds",
        0..=DAY_SECONDS,
        "For how long a yes answers the same question",
        broker.cache.allow_time
    ),
    seconds!("callback_deny_seconds", 0..=DAY_SECONDS, "For how long a no does", broker.cache.deny_time),
    seconds!(
        "callback_stale_seconds",
        0..=7 * DAY_SECONDS,
        "For how long after that a yes serves while the back end fails",
        broker.cache.stale_time
    ),
    number!(
        "callback_answers_max",
        0..=1_000_000,
        "Answers that are kept, of yes and of no each; the oldest goes",
        broker.cache.entries_max
    ),
    number!(
        "callback_ipv4_bits",
        0..=32,
        "Bits of an IPv4 address that an answer holds for; 0: it holds for every address",
        callback_ipv4_bits
    ),
    number!("callback_ipv6_bits", 0..=128, "The same of an IPv6 address", callback_ipv6_bits),
    number!(
        "callback_failures_max",
        1..=1000,
        "Failures in a row after which it is left alone",
        broker.breaker.failures_max
    ),
    seconds!(
        "callback_open_seconds",
        1..=3600,
        "For how long it is left alone then",
        broker.breaker.open_time
    ),
    text!(
        "on_publish",
        HTTP_URL,
        "The source nginx, as nginx-rtmp's directives of these names: asked who may publish; empty: everybody",
        nginx.on_publish,
        http_url
    ),
    text!("on_play", HTTP_URL, "Asked who may play; empty: everybody", nginx.on_play, http_url),
    text!("on_connect", HTTP_URL, "Asked before each of these; empty: it is not", nginx.on_connect, http_url),
    text!(
        "on_update",
        HTTP_URL,
        "Asked now and then whether one who publishes or plays goes on; empty: it is not",
        nginx.on_update,
        http_url
    ),
    text!(
        "on_publish_done",
        HTTP_URL,
        "Told that somebody publishes no more; empty: it is not",
        nginx.on_publish_done,
        http_url
    ),
    text!(
        "on_play_done",
        HTTP_URL,
        "Told that somebody plays no more; empty: it is not",
        nginx.on_play_done,
        http_url
    ),
    text!("on_done", HTTP_URL, "Told of both ends; empty: it is not", nginx.on_done, http_url),
    Key {
        name: "notify_method",
        about: "How all of these are called: post, with the fields in the body, or get, with the fields in the query",
        kind: Kind::Text {
            allowed: "post, get",
            read: |table| {
                match table.nginx.method {
                    Method::Post => "post",
                    Method::Get => "get",
                }
                .into()
            },
            write: |table, text| {
                table.nginx.method = match text {
                    "post" => Method::Post,
                    "get" => Method::Get,
                    _ => return Err(format!("{text:?} is neither post nor get")),
                };
                Ok(())
            },
        },
    },
    milliseconds!(
        "notify_update_ms",
        100..=DAY_SECONDS * 1000,
        "How long after its beginning, and after each answer, a session's next update is",
        nginx.update_every
    ),
    switch!(
        "notify_update_strict",
        "Whether only 2xx lets a session go on: otherwise 3xx, 502, 503 and 504 do too",
        nginx.update_strict
    ),
    switch!(
        "notify_relay_redirect",
        "Whether a stream that on_publish or on_play redirects to rtmp:// is called by the MD5 of that URL here",
        nginx.relay_redirect
    ),
];

/// The keys of `[notify]`.
pub(in crate::config) static NOTIFY_KEYS: [Key<Config>; 5] = [
    text!(
        "url",
        HTTP_URL,
        "Who is told, by POST with JSON, who publishes and plays and what came of it; empty: nobody",
        notices.url,
        http_url
    ),
    secret!(
        "secret",
        "What notices are signed with: file:PATH or env:NAME; empty: they are not",
        notices.secret
    ),
    optional_path!(
        "ca_file",
        CA_FILE,
        "Certificates (PEM) that it is trusted by over https, beside the public ones",
        notices.ca_file
    ),
    switch!("connects", "Whether it is told of connections before they publish or play", notices.connects),
    number!(
        "waiting_max",
        1..=1_000_000,
        "Notices that wait while it does not answer, some 500 bytes each; the oldest goes",
        notices.waiting_max
    ),
];

/// The keys of a `[[key]]` table.
pub(in crate::config) static KEY_KEYS: [Key<StaticKey>; 14] = [
    text!("app", APP_OR_ANY, "The app that it is good for; * is every one", app, app_name),
    text!(
        "name",
        "a stream's name, or *",
        "The stream that it is good for, said as ?key=; * is every one",
        name
    ),
    text!(
        "stream",
        "a stream's name, or nothing",
        "The stream that is meant by those who say the key as the name (OBS)",
        stream
    ),
    Key {
        name: "sha256",
        about: "SHA-256 of the key, from inrush hash-key",
        kind: Kind::Text {
            allowed: "64 hexadecimal digits",
            read: |key| hex(&key.sha256),
            write: |key, text| {
                key.sha256 = digest(text).ok_or("is no SHA-256 in hexadecimal")?;
                Ok(())
            },
        },
    },
    Key {
        name: "role",
        about: "What it is good for",
        kind: Kind::Text {
            allowed: Role::NAMES,
            read: |key| key.role.name().into(),
            write: |key, text| {
                key.role = Role::from_name(text).ok_or_else(|| format!("{text:?} is no role"))?;
                Ok(())
            },
        },
    },
    number!("priority", 0..=0xFFFF_FFFF, "The publisher's rank among those of one stream", priority),
    text!("identity", "any text", "Whose it is; empty: the key's own", identity),
    limit!(
        "limit_bits_per_second",
        0..=100_000_000_000,
        "Bits a second of media that each of its publishers may send; of this and the limits below, the stricter of key and app counts; 0: as many as come",
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
        "Streams that its identity may publish at a time, on all cores together; 0: as many as come",
        streams_max
    ),
];

fn secrets(texts: &[String]) -> Result<Vec<(String, SecretPlace)>, String> {
    let mut secrets: Vec<(String, SecretPlace)> = Vec::with_capacity(texts.len());
    for text in texts {
        // What is wrong may be a secret, so it is not repeated.
        let (id, place) = text.split_once('=').ok_or("one of them has no id")?;
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return Err("one of them has no id that could stand in a URL".into());
        }
        if secrets.iter().any(|(other, _)| other == id) {
            return Err(format!("the id {id:?} is there twice"));
        }
        let place = SecretPlace::parse(place).map_err(|problem| format!("{id:?} {problem}"))?;
        secrets.push((id.into(), place));
    }
    Ok(secrets)
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}
