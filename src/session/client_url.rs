//! An RTMP URL as a client needs it: where to connect, and what to say there.

use alloc::format;
use alloc::string::String;
use core::fmt;

use thiserror::Error;

use super::rtmp_url::UrlParts;

/// `rtmp://host[:port]/app/name[?query]`, taken apart.
///
/// The first segment of the path is the app and all the rest the name, slashes and query included: as this server has it.
/// Where an app has several segments, set the fields otherwise. `Debug` leaves out name and tcUrl's query: they are secrets
/// to most users.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientUrl {
    /// Whether it says `rtmps`.
    pub tls: bool,
    /// Host to connect to: a name or an address, without brackets.
    pub host: String,
    /// Port to connect to: 1935, or 443 with TLS, unless the URL says another.
    pub port: u16,
    /// Application, as `connect` says it.
    pub app: String,
    /// Stream name with its query, as `publish` and `play` say it. Empty for a URL with one segment.
    pub name: String,
    /// The URL up to the app, as `connect` says it.
    pub tc_url: String,
}

/// Why a text is no RTMP URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClientUrlError {
    /// Neither `rtmp://` nor `rtmps://`.
    #[error("an RTMP URL begins with rtmp:// or rtmps://")]
    Scheme,
    /// Nothing to connect to.
    #[error("the URL names no host")]
    Host,
    /// What stands for the port is none.
    #[error("the URL's port is no number from 0 to 65535")]
    Port,
    /// Neither app nor name.
    #[error("the URL names no app: rtmp://host/app/name")]
    Path,
}

impl ClientUrl {
    /// Default port (RTMP 1.0 §1).
    pub const PORT: u16 = 1935;
    /// Default port of RTMPS.
    pub const PORT_TLS: u16 = 443;

    /// Takes a URL apart. Nothing is decoded.
    pub fn parse(url: &str) -> Result<Self, ClientUrlError> {
        let parts = UrlParts::parse(url);
        let (tls, host, port) = Self::server(&parts)?;
        let (app, name) = parts.path.split_once('/').unwrap_or((parts.path, ""));
        if app.is_empty() {
            return Err(ClientUrlError::Path);
        }
        // A query belongs to what stands before it.
        let query = parts.query.map(|query| format!("?{query}")).unwrap_or_default();
        let (app, name) = match name {
            "" => (format!("{app}{query}"), String::new()),
            name => (String::from(app), format!("{name}{query}")),
        };
        Self::with_app(tls, host, port, &app, &name)
    }

    /// Whether a URL says TLS, its host and its port.
    pub(super) fn server(parts: &UrlParts<'_>) -> Result<(bool, String, u16), ClientUrlError> {
        let tls = match parts.scheme {
            scheme if scheme.eq_ignore_ascii_case("rtmp") => false,
            scheme if scheme.eq_ignore_ascii_case("rtmps") => true,
            _ => return Err(ClientUrlError::Scheme),
        };
        let host = parts.host.clone().ok_or(ClientUrlError::Host)?;
        if parts.has_bad_port {
            return Err(ClientUrlError::Port);
        }
        let port = parts.port.unwrap_or(if tls { Self::PORT_TLS } else { Self::PORT });
        Ok((tls, host, port))
    }

    /// Puts a URL together; `app` and `name` with their queries.
    pub(super) fn with_app(
        tls: bool,
        host: String,
        port: u16,
        app: &str,
        name: &str,
    ) -> Result<Self, ClientUrlError> {
        // White space at its end is no part of a URL, so that alone names nothing either.
        let named = app.trim_start();
        if named.is_empty() || named.starts_with('?') {
            return Err(ClientUrlError::Path);
        }
        let scheme = if tls { "rtmps" } else { "rtmp" };
        let shown_host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let tc_url = format!("{scheme}://{shown_host}:{port}/{app}");
        Ok(Self { tls, host, port, app: app.into(), name: name.into(), tc_url })
    }
}

impl fmt::Debug for ClientUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With one segment, that may be the name.
        let app = if self.name.is_empty() { "" } else { self.app.split('?').next().unwrap_or_default() };
        let scheme = if self.tls { "rtmps" } else { "rtmp" };
        write!(f, "ClientUrl({scheme}, {}, {}, {app:?}, {} bytes)", self.host, self.port, self.name.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        type Row = (&'static str, &'static str, u16, &'static str, &'static str, &'static str);
        let table: &[Row] = &[
            ("rtmp://h/live/key", "h", 1935, "live", "key", "rtmp://h:1935/live"),
            ("RTMP://H:1936/live/key?t=1", "h", 1936, "live", "key?t=1", "rtmp://h:1936/live"),
            ("rtmps://h/live/a/b", "h", 443, "live", "a/b", "rtmps://h:443/live"),
            ("rtmp://[::1]:1936/live/key", "::1", 1936, "live", "key", "rtmp://[::1]:1936/live"),
            ("rtmp://h/key?t=1", "h", 1935, "key?t=1", "", "rtmp://h:1935/key?t=1"),
            ("rtmp://h/live/", "h", 1935, "live", "", "rtmp://h:1935/live"),
            ("rtmp://h:/live/key", "h", 1935, "live", "key", "rtmp://h:1935/live"),
        ];
        for (url, host, port, app, name, tc_url) in table {
            let parsed = ClientUrl::parse(url).expect(url);
            let found = (&*parsed.host, parsed.port, &*parsed.app, &*parsed.name, &*parsed.tc_url);
            assert_eq!(found, (*host, *port, *app, *name, *tc_url), "{url}");
            assert_eq!(parsed.tls, url.starts_with("rtmps"));
        }
    }

    #[test]
    fn what_is_no_url_says_what_is_missing() {
        assert_eq!(ClientUrl::parse("http://h/live/key"), Err(ClientUrlError::Scheme));
        assert_eq!(ClientUrl::parse("live/key"), Err(ClientUrlError::Scheme));
        assert_eq!(ClientUrl::parse("rtmp:///live/key"), Err(ClientUrlError::Host));
        for port in ["99999", "1935x", "-1", "port"] {
            for host in ["h", "[::1]"] {
                let url = std::format!("rtmp://{host}:{port}/live/key");
                assert_eq!(ClientUrl::parse(&url), Err(ClientUrlError::Port), "{url}");
            }
        }
        assert_eq!(ClientUrl::parse("rtmp://h"), Err(ClientUrlError::Path));
        assert_eq!(ClientUrl::parse("rtmp://h/ /key"), Err(ClientUrlError::Path));
        assert_eq!(ClientUrl::parse("rtmp://h/?t=1"), Err(ClientUrlError::Path));
    }

    #[test]
    fn debug_shows_no_secret() {
        for url in
            ["rtmp://h/live?t=secret/secret?t=secret", "rtmp://h/live/secret?t=secret", "rtmp://h/secret"]
        {
            let shown = std::format!("{:?}", ClientUrl::parse(url).unwrap());
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
