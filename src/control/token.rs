//! Who is let in: whoever says the token of the configuration (RFC 6750 §2.1), where there is one.
//!
//! There must be one where others than this machine reach the control HTTP; on loopback there may. With a token everything asks for it,
//! unknown paths too, but for [`OPEN`], as probes say none and are told no names, the dashboard's own files ([`PAGES`]), which hold nothing of
//! this node, and `/metrics` if the settings say so.
//!
//! Only the header is looked at: a query stands in logs and histories.
//! # Timing
//! What is compared is a SHA-256 of what was said with that of the token, in constant time: so neither the token's bytes nor its length
//! show in how long a refusal takes.
//! # Errors
//! A request is refused with 401 and `WWW-Authenticate`; [`DoorError`] for settings that would leave the door open or that nobody could pass.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use super::Settings;
use super::cores::Cores;
use super::dashboard::PAGES;
use super::refusal::Refusal;
use super::router::Control;

/// Paths that ask nobody for a token, exactly as written here.
pub const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// The path that is open as well with `metrics_open`.
const METRICS: &str = "/metrics";

/// Why settings make no door.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DoorError {
    /// Others than this machine would get in without a word.
    #[error("control HTTP on {0}, where others reach it, and there is no control.token")]
    Missing(SocketAddr),
    /// The token cannot be read, or no header could hold it.
    #[error("{0}")]
    Unusable(String),
}

/// Lets requests in or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// SHA-256 of the token; `None` where everybody is let in.
    token_hash: Option<[u8; 32]>,
    metrics_open: bool,
}

impl Door {
    /// Reads the token that `settings` name.
    ///
    /// # Errors
    /// [`DoorError`], without a byte of the token.
    pub fn new(settings: &Settings) -> Result<Self, DoorError> {
        let metrics_open = settings.metrics_open;
        let Some(place) = &settings.token else {
            return match settings.listen.ip().is_loopback() {
                true => Ok(Self { token_hash: None, metrics_open }),
                false => Err(DoorError::Missing(settings.listen)),
            };
        };
        let token = place.read().map_err(DoorError::Unusable)?;
        if !token.bytes().iter().all(|byte| is_token_character(*byte)) {
            return Err(DoorError::Unusable(format!("{place}: has other characters than a token has")));
        }
        Ok(Self { token_hash: Some(Sha256::digest(token.bytes()).into()), metrics_open })
    }

    fn admit(&self, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        if OPEN.contains(&path) || PAGES.contains(&path) || (self.metrics_open && path == METRICS) {
            return Ok(());
        }
        self.trust(headers)
    }

    /// Whether somebody may be told everything, names included: also where a path is open to those who may not.
    pub(super) fn trust(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token_hash) = &self.token_hash else { return Ok(()) };
        let mut said = headers.get_all(AUTHORIZATION).iter();
        match (said.next(), said.next()) {
            (None, _) => Err(Refusal::NoToken),
            (Some(said), None)
                if bearer(said.as_bytes()).is_some_and(|said| is_hash_of(token_hash, said)) =>
            {
                Ok(())
            }
            // Of two headers the one before us may have looked at the other.
            _ => Err(Refusal::WrongToken),
        }
    }
}

/// Lets a request by that may come in, and counts those that may not.
pub(super) async fn admit<C: Cores>(
    State(control): State<Arc<Control<C>>>,
    request: Request,
    next: Next,
) -> Response {
    let admitted = {
        let door = control.door.read().unwrap_or_else(PoisonError::into_inner);
        door.admit(request.uri().path(), request.headers())
    };
    match admitted {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            control.unauthorized.fetch_add(1, Ordering::Relaxed);
            refusal.into_response()
        }
    }
}

/// What stands behind the scheme, whose case is free (RFC 9110 §11.1).
fn bearer(said: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"Bearer ";
    let (scheme, token) = said.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii_start())
}

fn is_hash_of(hash: &[u8; 32], said: &[u8]) -> bool {
    Sha256::digest(said).as_slice().ct_eq(hash).into()
}

/// `b64token` of RFC 6750 §2.1: all that may stand in the header.
fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::secret::SecretPlace;

    const TOKEN: &str = "a-token.of+24~bytes/long";

    fn door(metrics_open: bool) -> Door {
        Door { token_hash: Some(Sha256::digest(TOKEN).into()), metrics_open }
    }

    fn headers(said: &[&str]) -> HeaderMap {
        said.iter().map(|said| (AUTHORIZATION, said.parse().unwrap())).collect()
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let with = |said: &[&str]| door(false).admit("/api/v1/streams", &headers(said));
        for right in [format!("Bearer {TOKEN}"), format!("bearer {TOKEN}"), format!("BEARER   {TOKEN}")] {
            assert_eq!(with(&[&right]), Ok(()), "{right}");
        }
        assert_eq!(with(&[]), Err(Refusal::NoToken));
        let right = format!("Bearer {TOKEN}");
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            TOKEN,
            &right[..right.len() - 1],
            &format!("{right}x"),
            &format!("{right} x"),
            &right.to_uppercase(),
            &format!("Basic {TOKEN}"),
            &format!("Bearer{TOKEN}"),
            "Bearer \u{e9}",
        ] {
            let mut said = HeaderMap::new();
            said.insert(AUTHORIZATION, axum::http::HeaderValue::from_bytes(wrong.as_bytes()).unwrap());
            assert_eq!(door(false).admit("/metrics", &said), Err(Refusal::WrongToken), "{wrong:?}");
        }
        assert_eq!(with(&[&right, &right]), Err(Refusal::WrongToken));
    }

    #[test]
    fn probes_are_open_and_metrics_if_it_is_said() {
        let is_open =
            |metrics_open: bool, path: &str| door(metrics_open).admit(path, &HeaderMap::new()).is_ok();
        for path in OPEN.into_iter().chain(PAGES) {
            assert!(is_open(false, path));
        }
        for path in [
            "//",
            "/?",
            "/dashboard.js/",
            "/api/v1/events",
            "/api/v1/streams",
            "/nothing",
            "/healthz/",
            "/healthz/x",
            "//healthz",
            "/%68ealthz",
            "",
        ] {
            assert!(!is_open(true, path), "{path:?}");
        }
        assert_eq!((is_open(false, "/metrics"), is_open(true, "/metrics")), (false, true));
        assert!(!is_open(true, "/metrics/"));
    }

    #[test]
    fn only_loopback_may_go_without_a_token() {
        let listen = |listen: &str| Settings { listen: listen.parse().unwrap(), ..Settings::default() };
        for here in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            let door = Door::new(&listen(here)).expect(here);
            assert_eq!(door.admit("/api/v1/streams", &HeaderMap::new()), Ok(()), "{here}");
        }
        for there in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:127.0.0.1]:1"] {
            let settings = listen(there);
            assert_eq!(Door::new(&settings).unwrap_err(), DoorError::Missing(settings.listen));
        }
    }

    #[test]
    fn a_token_that_no_header_could_hold_is_refused() {
        let path = std::env::temp_dir().join(format!("inrush-token-{}", std::process::id()));
        let settings = Settings { token: Some(SecretPlace::File(path.clone())), ..Settings::default() };
        let read = |content: &str| {
            std::fs::write(&path, content).unwrap();
            Door::new(&settings)
        };
        let door = read(&format!("{TOKEN}\n")).expect("a token");
        assert_eq!(door.admit("/metrics", &headers(&[&format!("Bearer {TOKEN}")])), Ok(()));
        assert!(!format!("{door:?} {settings:?}").contains(TOKEN));
        for (content, problem) in [
            ("too-short", "is shorter than 16 bytes"),
            ("with a space in it", "has other characters than a token has"),
            ("on two lines\nof one file", "has other characters than a token has"),
        ] {
            let error = read(content).unwrap_err().to_string();
            assert_eq!(error, format!("file:{}: {problem}", path.display()), "{content:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Door::new(&settings).unwrap_err().to_string().contains("cannot be read"));
    }
}
