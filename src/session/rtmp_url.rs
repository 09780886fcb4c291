//! The parts of an RTMP URL, as far as it has them.

use alloc::string::String;

/// What stands where in `scheme://user@host:port/path?query`; a text without `://` is all path and query.
///
/// Nothing is decoded. Never fails: tcUrls in the field miss any of the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UrlParts<'a> {
    /// Empty when there is none.
    pub(crate) scheme: &'a str,
    /// Lower case, without user, port and brackets.
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    /// Something stands in the port's place that is none.
    pub(crate) has_bad_port: bool,
    /// Without the slash after the host.
    pub(crate) path: &'a str,
    /// `None` without question mark.
    pub(crate) query: Option<&'a str>,
}

impl<'a> UrlParts<'a> {
    pub(crate) fn parse(url: &'a str) -> Self {
        let url = url.trim();
        let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
            let (path, query) = split_query(url);
            let path = path.trim_start_matches('/');
            return Self { scheme: "", host: None, port: None, has_bad_port: false, path, query };
        };
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = split_query(tail);
        let (host, port) = host_and_port(authority.rsplit('@').next().unwrap_or(authority));
        let host = (!host.is_empty()).then(|| host.to_ascii_lowercase());
        let has_bad_port = port.is_some_and(|port| !port.is_empty() && port.parse::<u16>().is_err());
        let port = port.and_then(|port| port.parse().ok());
        Self { scheme, host, port, has_bad_port, path: path.trim_start_matches('/'), query }
    }
}

/// Splits at the first question mark; `None` without one.
pub(crate) fn split_query(text: &str) -> (&str, Option<&str>) {
    match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The port as it is written.
fn host_and_port(text: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    match text.split_once(':') {
        // An IPv6 address without its brackets: no port can be told apart.
        Some((_, rest)) if rest.contains(':') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found_or_missed() {
        type Row = (
            &'static str,
            &'static str,
            Option<&'static str>,
            Option<u16>,
            &'static str,
            Option<&'static str>,
        );
        let table: &[Row] = &[
            ("rtmp://Example.COM/live", "rtmp", Some("example.com"), None, "live", None),
            ("rtmp://h:1936/live/", "rtmp", Some("h"), Some(1936), "live/", None),
            ("rtmps://u:p@h:443/a/b?x=1?y", "rtmps", Some("h"), Some(443), "a/b", Some("x=1?y")),
            ("rtmp://[2001:DB8::1]:1935/live", "rtmp", Some("2001:db8::1"), Some(1935), "live", None),
            ("rtmp://[::1]/live", "rtmp", Some("::1"), None, "live", None),
            ("rtmp://::1/live", "rtmp", Some("::1"), None, "live", None),
            ("rtmp://h", "rtmp", Some("h"), None, "", None),
            ("rtmp://h?x=1", "rtmp", Some("h"), None, "", Some("x=1")),
            ("rtmp:///live", "rtmp", None, None, "live", None),
            ("rtmp://h:port/live", "rtmp", Some("h"), None, "live", None),
            ("/live/key?t=rtmp://x", "", None, None, "live/key", Some("t=rtmp://x")),
            ("", "", None, None, "", None),
        ];
        for (url, scheme, host, port, path, query) in table {
            let parts = UrlParts::parse(url);
            let found = (parts.scheme, parts.host.as_deref(), parts.port, parts.path, parts.query);
            assert_eq!(found, (*scheme, *host, *port, *path, *query), "{url}");
            assert_eq!(parts.has_bad_port, url.contains(":port"), "{url}");
        }
    }
}
