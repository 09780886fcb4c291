//! Which stream is meant: one key from every place that encoders put it.
//!
//! Encoders cut one and the same URL in different places. Of `rtmp://host/a/b/c/d`, ffmpeg makes app `a/b` and name
//! `c/d`, GStreamer app `a/b/c` and name `d`, OBS whatever its two fields hold: all of it may stand in the server field.
//! So app and name are joined to one path, and the path is cut again where the URL of this server has its
//! border: `rtmp://host/APP/NAME[?params]`, APP is the first segment, NAME the rest. With only one segment the app is empty.
//! # Secrets
//! To most users the name is the password to their stream, and the query holds tokens: neither shows in `Debug`.
//! # Errors
//! [`PeerMisbehaved::NameEmpty`] when there is no path at all. Lengths are the caller's to bound.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use percent_encoding::percent_decode_str;

use super::rtmp_url::{UrlParts, split_query};
use crate::rtmp::PeerMisbehaved;

/// App and name of a stream: what publishers and players must agree on. Cloning shares the strings.
///
/// Ordered and compared as text, byte by byte; `Debug` shows the app and the name's length alone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    app: Arc<str>,
    name: Arc<str>,
}

impl StreamKey {
    /// A key from its two parts, taken as they are.
    pub fn new(app: &str, name: &str) -> Self {
        Self { app: app.into(), name: name.into() }
    }

    /// The application, without slashes; may be empty.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The stream's name, without query; may hold slashes between its segments.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamKey({:?}, {} bytes)", self.app, self.name.len())
    }
}

/// A stream key together with what else the address said.
///
/// `Debug` shows the length of the query alone.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamAddress {
    /// App and name.
    pub key: StreamKey,
    /// Host of the tcUrl, lower case, without port and brackets.
    pub host: Option<String>,
    /// The query as it came, without its question mark; several are joined with `&`, in the order app, tcUrl, name.
    pub params: String,
}

impl fmt::Debug for StreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamAddress")
            .field("key", &self.key)
            .field("host", &self.host)
            .field("params_bytes", &self.params.len())
            .finish()
    }
}

/// Makes one address of what `connect` (`tc_url`, `app`) and `publish` or `play` (`name`) said.
///
/// - The tcUrl's path counts only for what app and name leave open; its host is kept.
/// - Queries may stand after any of the three; one that was said twice counts once.
/// - Percent-encoding is undone, once; slashes at the ends, double ones and FMS's `_definst_` are dropped.
/// - Control characters stay or become percent-encoded: a key is one line of text wherever it is printed.
pub fn canonical(tc_url: &str, app: &str, name: &str) -> Result<StreamAddress, PeerMisbehaved> {
    let url = UrlParts::parse(tc_url);
    let (app_path, app_query) = split_query(app.trim());
    let (name_path, name_query) = match app_query {
        // RootEncoder, of `rtmp://host/key?token`: the app keeps the question mark and the query becomes the name.
        Some("") => ("", Some(name.trim())),
        _ => split_query(name.trim()),
    };
    let mut params: Vec<&str> = Vec::new();
    let add = |params: &mut Vec<_>, query| match query {
        Some("") | None => {}
        Some(query) if params.contains(&query) => {}
        Some(query) => params.push(query),
    };
    add(&mut params, app_query);
    add(&mut params, url.query);

    let mut path = server_path(segments(url.path), segments(app_path), segments(name_path));
    if name_path.is_empty() && path.len() == 1 {
        // `rtmp://host/app?token=1/name` in the server field: the name went along with the query.
        if let Some((query, name)) = params.first().and_then(|query| query.rsplit_once('/')) {
            path.extend(segments(name));
            params[0] = query;
        }
    }
    add(&mut params, name_query);

    let (app, name) = match path.as_slice() {
        [] => return Err(PeerMisbehaved::NameEmpty),
        [name] => ("", name.clone()),
        [app, name @ ..] => (app.as_str(), name.join("/")),
    };
    Ok(StreamAddress { key: StreamKey::new(app, &name), host: url.host, params: params.join("&") })
}

/// Host of a tcUrl, lower case, without port and brackets.
pub fn host_of(tc_url: &str) -> Option<String> {
    UrlParts::parse(tc_url).host
}

/// The whole path, from what the tcUrl, the app and the name say of it.
fn server_path(url: Vec<String>, app: Vec<String>, name: Vec<String>) -> Vec<String> {
    let said = app.len() + name.len();
    // The tcUrl says more than app and name together when the whole URL stands in it and the app or the name was left
    // out. Otherwise it only repeats the app.
    let completes = |said: &[String]| url.len() > said.len() && url.starts_with(said);
    if name.is_empty() && completes(&app) || app.is_empty() && url.len() > said && url.ends_with(&name) {
        return url;
    }
    let mut path = if app.is_empty() { url } else { app };
    path.extend(name);
    path
}

/// Segments of a path, decoded.
fn segments(path: &str) -> Vec<String> {
    /// The instance that FMS and Wowza mean when the URL names none.
    const DEFAULT_INSTANCE: &str = "_definst_";
    let decoded = percent_decode_str(path).decode_utf8().unwrap_or(Cow::Borrowed(path));
    decoded
        .split('/')
        .map(str::trim)
        .filter(|segment| !segment.is_empty() && *segment != DEFAULT_INSTANCE)
        .map(printable)
        .collect()
}

/// The same text with its control characters percent-encoded.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            let mut utf8 = [0; 4];
            for byte in character.encode_utf8(&mut utf8).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// tcUrl, app, name => app, name, host, params.
    type Row =
        (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

    fn check(table: &[Row]) {
        for (tc_url, app, name, key_app, key_name, host, params) in table {
            let address = canonical(tc_url, app, name).expect(tc_url);
            let found = (address.key.app(), address.key.name(), address.host.as_deref().unwrap_or(""));
            assert_eq!(found, (*key_app, *key_name, *host), "{tc_url} | {app} | {name}");
            assert_eq!(address.params, *params, "{tc_url} | {app} | {name}");
        }
    }

    #[test]
    fn the_usual_form() {
        check(&[
            ("rtmp://h/live", "live", "key", "live", "key", "h", ""),
            ("rtmp://H:1936/live", "live", "key", "live", "key", "h", ""),
            ("rtmps://user:pass@h/live", "live", "key", "live", "key", "h", ""),
            ("", "live", "key", "live", "key", "", ""),
            // Case tells streams apart, not hosts.
            ("rtmp://h/Live", "Live", "Key", "Live", "Key", "h", ""),
        ]);
    }

    #[test]
    fn key_in_the_server_field() {
        check(&[
            // OBS takes all of the server field as the app.
            ("rtmp://h/live/key", "live/key", "", "live", "key", "h", ""),
            ("rtmp://h/live/key?t=1", "live/key?t=1", "", "live", "key", "h", "t=1"),
            ("rtmp://h/live?t=1/key", "live?t=1/key", "", "live", "key", "h", "t=1"),
            // The whole URL as tcUrl; the name is left out, or said again.
            ("rtmp://h/live/key", "live", "", "live", "key", "h", ""),
            ("rtmp://h/live/key", "live", "key", "live", "key", "h", ""),
            ("rtmp://h/live/key", "", "key", "live", "key", "h", ""),
            ("rtmp://h/live/key", "", "", "live", "key", "h", ""),
            // The name field holds the query alone.
            ("rtmp://h/live/key", "live/key", "?t=1", "live", "key", "h", "t=1"),
        ]);
    }

    #[test]
    fn query_after_app_or_name() {
        check(&[
            ("rtmp://h/live", "live", "key?t=1&u=2", "live", "key", "h", "t=1&u=2"),
            ("rtmp://h/live?t=1", "live?t=1", "key", "live", "key", "h", "t=1"),
            ("rtmp://h/live?t=1", "live", "key", "live", "key", "h", "t=1"),
            ("rtmp://h/live", "live/?t=1", "key", "live", "key", "h", "t=1"),
            ("rtmp://h/live?t=1", "live?t=1", "key?u=2", "live", "key", "h", "t=1&u=2"),
            ("rtmp://h/live/key?t=1", "live", "key?t=1", "live", "key", "h", "t=1"),
            // A slash in a token is no border once the name is known.
            ("rtmp://h/live", "live", "key?t=a/b", "live", "key", "h", "t=a/b"),
            ("rtmp://h/live?t=a/b", "live?t=a/b", "key", "live", "key", "h", "t=a/b"),
            // The query stays encoded: it is for who checks it.
            ("rtmp://h/live", "live", "key?t=%2B", "live", "key", "h", "t=%2B"),
            // A question mark alone.
            ("rtmp://h/live", "live", "key?", "live", "key", "h", ""),
            // RootEncoder cuts one segment with a query behind its question mark.
            ("rtmp://h/key?", "key?", "user=a&pass=b/c", "", "key", "h", "user=a&pass=b/c"),
        ]);
    }

    #[test]
    fn slashes_in_names() {
        check(&[
            ("rtmp://h/a/b", "a/b", "c/d", "a", "b/c/d", "h", ""),
            ("rtmp://h/a/b/c", "a/b/c", "d", "a", "b/c/d", "h", ""),
            ("rtmp://h/a", "a", "b/c/d", "a", "b/c/d", "h", ""),
            ("rtmp://h/a/b/c/d", "a/b/c/d", "", "a", "b/c/d", "h", ""),
            ("rtmp://h/live/_definst_", "live/_definst_", "key", "live", "key", "h", ""),
        ]);
    }

    #[test]
    fn empty_app() {
        check(&[
            ("rtmp://h", "", "key", "", "key", "h", ""),
            ("rtmp://h/", "", "key", "", "key", "h", ""),
            ("rtmp://h/", "/", "key?t=1", "", "key", "h", "t=1"),
            // ffmpeg and OBS take the only segment for the app.
            ("rtmp://h/key", "key", "", "", "key", "h", ""),
            ("rtmp://h/key?t=1", "key?t=1", "", "", "key", "h", "t=1"),
            // The tcUrl knows the app that was left out.
            ("rtmp://h/live", "", "key", "live", "key", "h", ""),
        ]);
        assert_eq!(canonical("rtmp://h", "", ""), Err(PeerMisbehaved::NameEmpty));
        assert_eq!(canonical("", "/", "?t=1"), Err(PeerMisbehaved::NameEmpty));
        assert_eq!(canonical("rtmp://h/_definst_", "%20", "//"), Err(PeerMisbehaved::NameEmpty));
    }

    #[test]
    fn slashes_at_the_ends_and_doubled() {
        check(&[
            ("rtmp://h/live/", "live/", "key", "live", "key", "h", ""),
            ("rtmp://h/live", "/live", "/key/", "live", "key", "h", ""),
            ("rtmp://h//live//", "//live//", "a//b", "live", "a/b", "h", ""),
            ("rtmp://h/live/", "live/", "key/?t=1", "live", "key", "h", "t=1"),
            // A token may end in a slash.
            ("rtmp://h/live", "live", "key?t=1/", "live", "key", "h", "t=1/"),
        ]);
    }

    #[test]
    fn ipv6_hosts() {
        check(&[
            ("rtmp://[::1]/live", "live", "key", "live", "key", "::1", ""),
            ("rtmp://[2001:DB8::1]:1935/live", "live", "key", "live", "key", "2001:db8::1", ""),
            ("rtmp://::1/live", "live", "key", "live", "key", "::1", ""),
        ]);
    }

    #[test]
    fn percent_encoding() {
        check(&[
            ("rtmp://h/live", "live", "my%20key", "live", "my key", "h", ""),
            ("rtmp://h/live", "live", " key\n", "live", "key", "h", ""),
            ("rtmp://h/live", "live", "a%2Fb%3Fc", "live", "a/b?c", "h", ""),
            ("rtmp://h/live", "live", "%C3%A9t%C3%A9", "live", "été", "h", ""),
            ("rtmp://h/live", "live", "été+1", "live", "été+1", "h", ""),
            // Not text when decoded, or not an encoding at all: taken as it is.
            ("rtmp://h/live", "live", "%FFkey", "live", "%FFkey", "h", ""),
            ("rtmp://h/live", "live", "100%", "live", "100%", "h", ""),
            // No key breaks a log line.
            ("rtmp://h/live", "live", "a%0Ab\u{7}c\u{85}d", "live", "a%0Ab%07c%C2%85d", "h", ""),
        ]);
    }

    #[test]
    fn debug_shows_no_secret() {
        let address = canonical("rtmp://h/live", "live", "hunter2?token=hunter3").unwrap();
        let shown = std::format!("{address:?}");
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(shown.contains("live"), "{shown}");
    }

    proptest! {
        /// Wherever an encoder cuts the path, the key is the same.
        #[test]
        fn the_cut_does_not_matter(path in prop::collection::vec("[a-z0-9.-]{1,8}", 2..6), cut in 0usize..6) {
            let whole = path.join("/");
            let cut = cut.min(path.len());
            let (app, name) = (path[..cut].join("/"), path[cut..].join("/"));
            let tc_url = std::format!("rtmp://h/{app}");
            let address = canonical(&tc_url, &app, &name).unwrap();
            prop_assert_eq!(std::format!("{}/{}", address.key.app(), address.key.name()), whole);
            prop_assert_eq!(address.key.app(), path[0].as_str());
        }

        /// No input panics, and what comes out is one line and at most three times as long as what came in.
        #[test]
        fn any_input_gives_one_line(tc_url in ".{0,64}", app in ".{0,64}", name in ".{0,64}") {
            if let Ok(address) = canonical(&tc_url, &app, &name) {
                let text = [address.key.app(), address.key.name()].concat();
                prop_assert!(!text.chars().any(char::is_control));
                prop_assert!(!address.key.name().is_empty());
                prop_assert!(text.len() <= 3 * (tc_url.len() + app.len() + name.len()));
            }
        }
    }
}
