//! What a back end is asked, and what its answers mean. Text only: who calls is [`crate::edge::http`], when is [`super::broker`].
//!
//! # The question
//! A `POST` of JSON:
//! ```json
//! {"event": "publish", "app": "live", "name": "test", "params": "token=x", "address": "192.0.2.7", "port": 50412,
//!  "flashVer": "FMLE/3.0 (compatible; Lavf59.27.100)", "tls": true, "server_name": "live.example.org",
//!  "host": "live.example.org", "tcUrl": "rtmps://live.example.org/live", "connection": "17"}
//! ```
//! `event` is `publish` or `play`; `server_name` is the name asked for in TLS (SNI) and `host` that of the tcUrl, each null where there is none;
//! `connection` is the name in the API. With a `callback_secret` two headers show that it is we who ask: `X-Inrush-Timestamp`, seconds since
//! 1970, and `X-Inrush-Signature: sha256=HEX`, the HMAC-SHA256 of the timestamp, a full stop and the body. A back end that refuses old
//! timestamps cannot be sent a question twice.
//! # The answer
//! A status of 200 to 299 allows, unless the body says otherwise; 400 to 499 denies; everything else is a failure, redirects too. The body may be
//! empty or JSON, every field of which may be left out:
//! ```json
//! {"allow": true, "reason": "for the encoder's log", "stream": "another name", "identity": "user-7", "priority": 10,
//!  "forwards": ["rtmp://origin.example/live/test"], "dry_run": false,
//!  "limits": {"bits_per_second": 6000000, "frames_per_second": 60, "width": 1920, "height": 1080, "seconds": 14400,
//!             "codecs": ["avc1", "hvc1", "mp4a"], "streams": 3}}
//! ```
//! A session that exceeds one of its `limits` is closed, and the encoder is told which and what was found; a limit that is left out is none.
//! All are whole numbers above 0. `codecs` are those that a track may have, by the names that the API shows: FourCCs, or `flv1`, `speex` and
//! so on where there is none. Rates are averages over some seconds, with a tenth of tolerance ([`crate::media::limits`] has all of it). For
//! a player `seconds` alone counts. `streams` is how many this identity may publish at a time. Each session begins anew, also that of an encoder that has come back: whoever sells hours counts them.
//!
//! A 2xx body that is no such JSON, or says what is not possible, is a failure; of a 4xx body whatever is no such JSON is ignored.
//! # Bounds
//! [`REPLY_BYTES_MAX`], [`REASON_BYTES_MAX`], [`NAME_BYTES_MAX`], [`FORWARDS_MAX`], [`CODECS_MAX`](super::said_limits::CODECS_MAX).

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::header::HeaderName;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::broker::Failure;
use super::said_limits::SaidLimits;
use crate::edge::secret::Secret;
use crate::runtime::outside::{Action, Denial, Grant, Identity, Question, Verdict};
use crate::session::stream_key::canonical;
use crate::session::{ClientUrl, StreamKey};

/// Longest body of an answer, bytes.
pub const REPLY_BYTES_MAX: usize = 64 * 1024;

/// What is told of a reason, bytes.
pub const REASON_BYTES_MAX: usize = 256;

/// Longest name, identity or forward URL of an answer, bytes.
pub const NAME_BYTES_MAX: usize = 1024;

/// Most forwards that one answer or token may name.
pub const FORWARDS_MAX: usize = 16;

#[derive(Serialize)]
struct Asked<'a> {
    event: &'static str,
    app: &'a str,
    name: &'a str,
    params: &'a str,
    address: String,
    port: u16,
    #[serde(rename = "flashVer")]
    flash_ver: &'a str,
    tls: bool,
    server_name: Option<&'a str>,
    host: Option<&'a str>,
    #[serde(rename = "tcUrl")]
    tc_url: &'a str,
    connection: String,
}

/// The body of a question.
pub fn body(question: &Question) -> Vec<u8> {
    let facts = &question.facts;
    let asked = Asked {
        event: event(question.action),
        app: question.stream.app(),
        name: question.stream.name(),
        params: &facts.params,
        address: facts.peer.ip().to_canonical().to_string(),
        port: facts.peer.port(),
        flash_ver: &facts.flash_ver,
        tls: facts.tls,
        server_name: facts.server_name.as_deref(),
        host: facts.host.as_deref(),
        tc_url: &facts.tc_url,
        connection: facts.connection.0.to_string(),
    };
    // Plain strings and numbers can always be written.
    serde_json::to_vec(&asked).unwrap_or_default()
}

/// An action's name outside.
pub(super) fn event(action: Action) -> &'static str {
    match action {
        Action::Publish => "publish",
        Action::Play => "play",
    }
}

/// The headers that show who sends a body, if there is a secret to show it with.
pub fn headers(secret: Option<&Secret>, body: &[u8]) -> Vec<(HeaderName, String)> {
    let Some(secret) = secret else { return Vec::new() };
    let now = super::rules::now_unix();
    vec![
        (HeaderName::from_static("x-inrush-timestamp"), now.to_string()),
        (HeaderName::from_static("x-inrush-signature"), signature(secret, now, body)),
    ]
}

/// The value of `X-Inrush-Signature` for a body that is sent at this time.
pub fn signature(secret: &Secret, timestamp_unix: u64, body: &[u8]) -> String {
    // HMAC takes keys of every length.
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.bytes()) else { unreachable!("any key length") };
    let mac = mac.chain_update(timestamp_unix.to_string()).chain_update(".").chain_update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[derive(Default, Deserialize)]
struct Reply {
    allow: Option<bool>,
    reason: Option<String>,
    stream: Option<String>,
    identity: Option<String>,
    #[serde(default)]
    priority: u32,
    #[serde(default)]
    forwards: Vec<String>,
    #[serde(default)]
    dry_run: bool,
    limits: Option<SaidLimits>,
}

/// What an answer means for a question about a stream of `app`.
///
/// # Errors
/// When it is no answer.
pub fn verdict(app: &str, status: u16, body: &[u8]) -> Result<Verdict, Failure> {
    match status {
        200..=299 => {
            let reply = match body.trim_ascii() {
                [] => Reply::default(),
                json => serde_json::from_slice(json).map_err(|_| Failure::Nonsense)?,
            };
            if reply.allow == Some(false) {
                return Ok(Verdict::Deny(denial(reply.reason.as_deref())));
            }
            grant(app, reply).map(Verdict::Allow)
        }
        400..=499 => {
            let reply: Reply = serde_json::from_slice(body).unwrap_or_default();
            Ok(Verdict::Deny(denial(reply.reason.as_deref())))
        }
        _ => Err(Failure::Status),
    }
}

fn denial(reason: Option<&str>) -> Denial {
    let reason = reason.map(one_line).filter(|reason| !reason.is_empty());
    let description = reason.unwrap_or_else(|| "this is not allowed".into());
    Denial { label: "callback_denied", description }
}

fn grant(app: &str, reply: Reply) -> Result<Grant, Failure> {
    let Reply { stream, identity, priority, forwards, dry_run, limits, .. } = reply;
    if !stream.iter().all(|name| is_stream_name(app, name))
        || identity.iter().any(|identity| identity.len() > NAME_BYTES_MAX)
        || forwards.len() > FORWARDS_MAX
        || forwards.iter().any(|url| forward(url).is_err())
    {
        return Err(Failure::Nonsense);
    }
    let limits = limits.unwrap_or_default();
    let streams_max = limits.streams;
    Ok(Grant {
        stream: stream.map(|name| StreamKey::new(app, &name)),
        identity: identity.map(|identity| Identity(Arc::from(identity))),
        priority,
        forwards,
        dry_run,
        limits: limits.limits().map_err(|_| Failure::Nonsense)?,
        streams_max,
        ..Grant::default()
    })
}

/// Whether a stream of `app` can have this name. What no player could ask for, since addresses are cut and decoded before they are looked up, is
/// no name.
pub(super) fn is_stream_name(app: &str, name: &str) -> bool {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    let app = if app.is_empty() { "" } else { "app" };
    let is_askable = || {
        canonical("", app, name)
            .is_ok_and(|address| address.key == StreamKey::new(app, name) && address.params.is_empty())
    };
    fits && !name.starts_with('/')
        && !name.ends_with('/')
        && !name.chars().any(char::is_control)
        && is_askable()
}

/// Whether a URL is one that a stream can be forwarded to.
///
/// # Errors
/// When it is not.
pub(super) fn forward(url: &str) -> Result<ClientUrl, Failure> {
    if url.len() > NAME_BYTES_MAX || url.chars().any(char::is_control) {
        return Err(Failure::Nonsense);
    }
    ClientUrl::parse(url).map_err(|_| Failure::Nonsense)
}

/// A text as one short line: encoders and logs show it.
fn one_line(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if out.len() + word.len() + 1 > REASON_BYTES_MAX {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use super::*;
    use crate::edge::auth::said_limits::CODECS_MAX;
    use crate::edge::auth::tests::question;
    use crate::media::Limits;
    use crate::media::codec::Codec;

    #[test]
    fn a_question_has_the_documented_fields() {
        let value: serde_json::Value =
            serde_json::from_slice(&body(&question("live", "test", "a=1"))).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "event": "publish", "app": "live", "name": "test", "params": "a=1", "address": "192.0.2.7", "port": 50412,
                "flashVer": "FMLE/3.0", "tls": true, "server_name": "sni.example", "host": "live.example.org",
                "tcUrl": "rtmps://live.example.org/live", "connection": "17"
            })
        );
    }

    #[test]
    fn a_body_is_signed_as_any_other_tool_signs_it() {
        // printf '1750000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = "sha256=aa58696dd1ffda82345efcb2bcbfc7af6083276c4a92b2ca1b6a992e99c63450";
        assert_eq!(signature(&Secret::new("0123456789abcdef"), 1_750_000_000, b"{\"a\":1}"), expected);
    }

    #[test]
    fn answers_mean_what_is_documented() {
        let allowed = |body: &str| match verdict("live", 200, body.as_bytes()) {
            Ok(Verdict::Allow(grant)) => grant,
            other => panic!("{body}: {other:?}"),
        };
        for nothing in ["", " \r\n", "{}", "{\"allow\": true}", "{\"unknown\": [1]}", "{\"stream\": null}"] {
            assert_eq!(allowed(nothing), Grant::default(), "{nothing}");
        }
        let all = r#"{"stream": "a/b", "identity": "u7", "priority": 10, "forwards": ["rtmp://h/live/x"], "dry_run": true}"#;
        assert_eq!(
            allowed(all),
            Grant {
                stream: Some(StreamKey::new("live", "a/b")),
                identity: Some(Identity("u7".into())),
                priority: 10,
                forwards: vec!["rtmp://h/live/x".into()],
                dry_run: true,
                ..Grant::default()
            }
        );
        let limits = r#"{"limits": {"bits_per_second": 6000000, "seconds": 60, "width": 1920, "height": 1080,
            "frames_per_second": 30, "codecs": ["avc1", "speex", "pcm"], "streams": 2}}"#;
        assert_eq!(allowed(limits).streams_max, NonZeroU32::new(2));
        use crate::media::codec::{AudioCodec as A, VideoCodec as V};
        let codecs = [Codec::Video(V::Avc), Codec::Audio(A::Speex)];
        let pcm = [Codec::Audio(A::PcmPlatformEndian), Codec::Audio(A::PcmLittleEndian)];
        assert_eq!(
            allowed(limits).limits,
            Limits {
                bits_per_second: NonZeroU64::new(6_000_000),
                seconds: NonZeroU32::new(60),
                width: NonZeroU32::new(1920),
                height: NonZeroU32::new(1080),
                frames_per_second: NonZeroU32::new(30),
                codecs: Some(codecs.into_iter().chain(pcm).collect()),
            }
        );
        let one = Limits { seconds: NonZeroU32::new(u32::MAX), ..Limits::default() };
        assert_eq!(allowed(r#"{"limits": {"seconds": 4294967295, "width": null}}"#).limits, one);
        for unlimited in [r#"{"limits": {}}"#, r#"{"limits": null}"#] {
            assert_eq!(allowed(unlimited), Grant::default(), "{unlimited}");
        }
        let denied = |status, body: &str| match verdict("live", status, body.as_bytes()) {
            Ok(Verdict::Deny(denial)) => denial.description,
            other => panic!("{status} {body}: {other:?}"),
        };
        assert_eq!(denied(200, r#"{"allow": false}"#), "this is not allowed");
        assert_eq!(denied(200, r#"{"allow": false, "reason": "no\n such  user"}"#), "no such user");
        assert_eq!(denied(403, r#"{"reason": "banned"}"#), "banned");
        for ignored in ["", "<html>", "[]", r#"{"reason": ""}"#, r#"{"reason": 7}"#] {
            assert_eq!(denied(404, ignored), "this is not allowed");
        }
        let long = format!(r#"{{"reason": "{}"}}"#, "wörd ".repeat(1000));
        assert!((REASON_BYTES_MAX - 6..=REASON_BYTES_MAX).contains(&denied(401, &long).len()));
    }

    #[test]
    fn nonsense_is_a_failure() {
        let long = format!(r#"{{"stream": "{}"}}"#, "x".repeat(NAME_BYTES_MAX + 1));
        let many = format!(r#"{{"forwards": [{}]}}"#, vec![r#""rtmp://h/a/b""#; FORWARDS_MAX + 1].join(","));
        let too_many_codecs =
            format!(r#"{{"limits": {{"codecs": [{}]}}}}"#, vec![r#""avc1""#; CODECS_MAX + 1].join(","));
        for body in [
            "ok",
            "[]",
            "7",
            "null",
            "\"allow\"",
            "{\"allow\": 1}",
            "{\"allow\": true",
            "{\"priority\": -1}",
            "{\"priority\": 4294967296}",
            "{\"stream\": \"\"}",
            "{\"stream\": \"/a\"}",
            "{\"stream\": \"a\\n\"}",
            "{\"stream\": 5}",
            "{\"stream\": \"a//b\"}",
            "{\"stream\": \"a?b\"}",
            "{\"stream\": \"%41\"}",
            "{\"stream\": \" a\"}",
            "{\"forwards\": \"rtmp://h/a/b\"}",
            "{\"forwards\": [\"http://h/a/b\"]}",
            "{\"dry_run\": \"no\"}",
            "{\"limits\": 5}",
            "{\"limits\": {\"bits_per_second\": 0}}",
            "{\"limits\": {\"bits_per_second\": -1}}",
            "{\"limits\": {\"bits_per_second\": 1.5}}",
            "{\"limits\": {\"bits_per_second\": \"6M\"}}",
            "{\"limits\": {\"bits_per_second\": 18446744073709551616}}",
            "{\"limits\": {\"seconds\": 0}}",
            "{\"limits\": {\"seconds\": 4294967296}}",
            "{\"limits\": {\"width\": 0}}",
            "{\"limits\": {\"height\": -720}}",
            "{\"limits\": {\"frames_per_second\": 0}}",
            "{\"limits\": {\"streams\": 0}}",
            "{\"limits\": {\"bitrate\": 1}}",
            "{\"limits\": {\"codecs\": []}}",
            "{\"limits\": {\"codecs\": \"avc1\"}}",
            "{\"limits\": {\"codecs\": [\"avc1\", \"h264\"]}}",
            &too_many_codecs,
            "\u{fffd}\u{0}",
            &long,
            &many,
        ] {
            assert_eq!(verdict("live", 200, body.as_bytes()).unwrap_err(), Failure::Nonsense, "{body}");
        }
        for status in [100, 301, 302, 307, 500, 503, 599, 999] {
            assert_eq!(
                verdict("live", status, b"{\"allow\": true}").unwrap_err(),
                Failure::Status,
                "{status}"
            );
        }
    }
}
