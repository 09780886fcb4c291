//! Where a `tcUrl` leads that a server gives in a request to connect again (E-RTMP v2 "Reconnect Request", RFC 3986 §5).
//!
//! A server's text is taken apart and put together, never decoded; it is the caller's to bound its length. What comes out is no longer
//! than what went in and the URL that it is seen from.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::rtmp_url::{UrlParts, split_query};
use super::{ClientUrl, ClientUrlError};

impl ClientUrl {
    /// The URL that `reference` leads to from this one's tcUrl, with the same stream name: an absolute URL, `//host/app`, `/app`, a
    /// relative path, or nothing, which is this URL again.
    ///
    /// A URL that names a host and no path keeps the app: a host alone says where to go, not what to do there.
    ///
    /// # Errors
    /// As [`ClientUrl::parse`]: another scheme than RTMP's, no host, a port that is none, or no app.
    pub fn resolve(&self, reference: &str) -> Result<Self, ClientUrlError> {
        let reference = reference.trim();
        if reference.is_empty() {
            return Ok(self.clone());
        }
        if reference.starts_with("//") {
            let scheme = if self.tls { "rtmps" } else { "rtmp" };
            return self.at(&UrlParts::parse(&format!("{scheme}:{reference}")));
        }
        if reference.contains("://") {
            let parts = UrlParts::parse(reference);
            if !parts.scheme.is_empty() {
                return self.at(&parts);
            }
        }
        // RFC 3986 §4.2: no colon in the first segment of a relative path, so this begins with a scheme that we do not speak.
        let segment = reference.split(['/', '?']).next().unwrap_or_default();
        if segment.contains(':') {
            return Err(ClientUrlError::Scheme);
        }
        let current = UrlParts::parse(&self.tc_url);
        let (path, query) = split_query(reference);
        let merged;
        let path = match path.strip_prefix('/') {
            Some(absolute) => absolute,
            None if path.is_empty() => current.path,
            None => {
                let folder = current.path.rfind('/').and_then(|slash| current.path.get(..=slash));
                merged = format!("{}{path}", folder.unwrap_or_default());
                &merged
            }
        };
        // The tcUrl may name the server otherwise than where it was found: the one is said there again, the other is connected to.
        let host = current.host.unwrap_or_else(|| self.host.clone());
        let port = current.port.unwrap_or(if self.tls { Self::PORT_TLS } else { Self::PORT });
        let resolved = Self::with_app(self.tls, host, port, &app(path, query), &self.name)?;
        Ok(Self { host: self.host.clone(), port: self.port, ..resolved })
    }

    /// An absolute URL.
    fn at(&self, parts: &UrlParts<'_>) -> Result<Self, ClientUrlError> {
        let (tls, host, port) = Self::server(parts)?;
        let app = match parts.path {
            "" => app(&self.app, parts.query),
            path => app(path, parts.query),
        };
        Self::with_app(tls, host, port, &app, &self.name)
    }
}

/// Path without dot segments (RFC 3986 §5.2.4) and query.
fn app(path: &str, query: Option<&str>) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    // Slashes after the host begin no segment, however many there are, as in `UrlParts`.
    let path = segments.join("/");
    let path = path.trim_start_matches('/');
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn current() -> ClientUrl {
        ClientUrl::parse("rtmp://Here:1936/live/key?token=1").unwrap()
    }

    /// The four forms of the specification's table and what RFC 3986 makes of the rest.
    #[test]
    fn every_form_of_a_tc_url_leads_somewhere() {
        type Row = (&'static str, bool, &'static str, u16, &'static str, &'static str);
        let table: &[Row] = &[
            // Missing: where we are.
            ("", false, "here", 1936, "live", "rtmp://here:1936/live"),
            ("  ", false, "here", 1936, "live", "rtmp://here:1936/live"),
            // Absolute.
            (
                "rtmp://foo.mydomain.com:1935/realtimeapp",
                false,
                "foo.mydomain.com",
                1935,
                "realtimeapp",
                "rtmp://foo.mydomain.com:1935/realtimeapp",
            ),
            (
                "rtmp://127.0.0.1/realtimeapp",
                false,
                "127.0.0.1",
                1935,
                "realtimeapp",
                "rtmp://127.0.0.1:1935/realtimeapp",
            ),
            ("rtmps://other/a/b?t=2", true, "other", 443, "a/b?t=2", "rtmps://other:443/a/b?t=2"),
            ("RTMP://OTHER:1/App", false, "other", 1, "App", "rtmp://other:1/App"),
            ("rtmp://[::1]:1937/a", false, "::1", 1937, "a", "rtmp://[::1]:1937/a"),
            ("rtmp://user:word@other/a", false, "other", 1935, "a", "rtmp://other:1935/a"),
            ("rtmp://other/a/../b/./c", false, "other", 1935, "b/c", "rtmp://other:1935/b/c"),
            // A host alone keeps the app.
            ("rtmp://other", false, "other", 1935, "live", "rtmp://other:1935/live"),
            ("rtmp://other:7/", false, "other", 7, "live", "rtmp://other:7/live"),
            ("rtmps://other?t=2", true, "other", 443, "live?t=2", "rtmps://other:443/live?t=2"),
            // The scheme stays.
            (
                "//192.0.2.0/realtimeapp",
                false,
                "192.0.2.0",
                1935,
                "realtimeapp",
                "rtmp://192.0.2.0:1935/realtimeapp",
            ),
            ("//other:7", false, "other", 7, "live", "rtmp://other:7/live"),
            // The server stays.
            ("/realtimeapp", false, "here", 1936, "realtimeapp", "rtmp://here:1936/realtimeapp"),
            ("/a/b?t=2", false, "here", 1936, "a/b?t=2", "rtmp://here:1936/a/b?t=2"),
            ("/../../a", false, "here", 1936, "a", "rtmp://here:1936/a"),
            // Relative to the app.
            ("other", false, "here", 1936, "other", "rtmp://here:1936/other"),
            ("./other", false, "here", 1936, "other", "rtmp://here:1936/other"),
            ("../other", false, "here", 1936, "other", "rtmp://here:1936/other"),
            (
                "other/b?u=rtmp://x",
                false,
                "here",
                1936,
                "other/b?u=rtmp://x",
                "rtmp://here:1936/other/b?u=rtmp://x",
            ),
            ("?t=2", false, "here", 1936, "live?t=2", "rtmp://here:1936/live?t=2"),
        ];
        for (reference, tls, host, port, app, tc_url) in table {
            let url = current().resolve(reference).expect(reference);
            let found = (url.tls, &*url.host, url.port, &*url.app, &*url.tc_url, &*url.name);
            assert_eq!(found, (*tls, *host, *port, *app, *tc_url, "key?token=1"), "{reference}");
        }
    }

    #[test]
    fn a_path_is_relative_to_the_last_folder_of_the_app() {
        let base = ClientUrl {
            app: "a/b".into(),
            tc_url: "rtmps://h:444/a/b?x=/y".into(),
            tls: true,
            port: 444,
            ..current()
        };
        for (reference, app) in [("c", "a/c"), ("../c", "c"), ("?q", "a/b?q"), ("/c", "c")] {
            let url = base.resolve(reference).unwrap();
            assert_eq!((&*url.app, url.tls, url.port), (app, true, 444), "{reference}");
            assert_eq!(url.tc_url, std::format!("rtmps://h:444/{app}"));
        }
        assert_eq!(base.resolve("//other/c").unwrap().tc_url, "rtmps://other:443/c", "the scheme's own port");
    }

    /// A tcUrl may name the server as it is known outside, while the connection goes to an address.
    #[test]
    fn what_stays_at_the_server_stays_at_the_address() {
        let base =
            ClientUrl { tc_url: "rtmp://public.example/live".into(), host: "10.0.0.1".into(), ..current() };
        let url = base.resolve("/other").unwrap();
        assert_eq!(
            (&*url.host, url.port, &*url.tc_url),
            ("10.0.0.1", 1936, "rtmp://public.example:1935/other")
        );
        assert_eq!(base.resolve("").unwrap(), base);
        assert_eq!(base.resolve("//b/other").unwrap().host, "b");
    }

    #[test]
    fn what_leads_nowhere_says_why() {
        for (reference, error) in [
            ("http://other/app", ClientUrlError::Scheme),
            ("javascript:alert", ClientUrlError::Scheme),
            ("rtmp:app", ClientUrlError::Scheme),
            ("rtmpt://other/app", ClientUrlError::Scheme),
            ("rtmp:///app", ClientUrlError::Host),
            ("///app", ClientUrlError::Host),
            ("rtmp://other:99999/app", ClientUrlError::Port),
            ("//other:x/app", ClientUrlError::Port),
            ("/", ClientUrlError::Path),
            ("..", ClientUrlError::Path),
            ("/?t=2", ClientUrlError::Path),
            (".//", ClientUrlError::Path),
            ("a/..//?t=2", ClientUrlError::Path),
            ("/ ", ClientUrlError::Path),
        ] {
            assert_eq!(current().resolve(reference), Err(error), "{reference}");
        }
    }

    proptest! {
        /// Whatever a server says: no panic, no growth, and what is found is found again.
        #[test]
        fn any_reference_leads_somewhere_or_nowhere(reference in "([rR]tmps?:)?[a-z:/.?@\\[\\]é0-9]{0,40}|\\PC{0,60}") {
            let base = current();
            if let Ok(url) = base.resolve(&reference) {
                prop_assert!(!url.app.is_empty() && !url.host.is_empty());
                prop_assert!(url.tc_url.len() <= base.tc_url.len() + reference.len() + 16);
                prop_assert_eq!(&url.name, &base.name);
                let again = base.resolve(&url.tc_url);
                prop_assert_eq!(again.map(|again| again.app), Ok(url.app));
            }
        }
    }
}
