//! Where a server sends its clients that are to connect again (E-RTMP v2 "Reconnect Request").

use alloc::format;
use alloc::string::String;

use super::ClientUrlError;
use super::client_url::ClientUrl;
use super::rtmp_url::UrlParts;

/// An `rtmp://` or `rtmps://` URL that is right. Without a path it names a server, and each client is sent there with the app that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconnectUrl {
    url: String,
    has_app: bool,
}

impl ReconnectUrl {
    /// Takes over a URL that names a scheme, a host, perhaps a port and perhaps an app.
    ///
    /// # Errors
    /// Another scheme than RTMP's, no host, a port that is none, or a query without an app.
    pub fn parse(url: &str) -> Result<Self, ClientUrlError> {
        let parts = UrlParts::parse(url);
        ClientUrl::server(&parts)?;
        let has_app = !parts.path.is_empty();
        if !has_app && parts.query.is_some() {
            return Err(ClientUrlError::Path);
        }
        let url = url.trim();
        Ok(Self { url: (if has_app { url } else { url.trim_end_matches('/') }).into(), has_app })
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The tcUrl for a client of that app.
    pub fn tc_url(&self, app: &str) -> String {
        match self.has_app {
            true => self.url.clone(),
            false => format!("{}/{}", self.url, app.trim_start_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_keeps_its_app_unless_the_url_names_one() {
        for (url, tc_url) in [
            ("rtmp://other", "rtmp://other/live"),
            ("rtmps://other:444/", "rtmps://other:444/live"),
            (" rtmp://[::1]:1935 ", "rtmp://[::1]:1935/live"),
            ("rtmp://other/app", "rtmp://other/app"),
            ("rtmp://other/app/b?t=1", "rtmp://other/app/b?t=1"),
        ] {
            let url = ReconnectUrl::parse(url).expect(url);
            assert_eq!(url.tc_url("live"), tc_url);
            assert_eq!(
                ReconnectUrl::parse(url.as_str()).as_ref(),
                Ok(&url),
                "what is shown is what was read"
            );
        }
        assert_eq!(ReconnectUrl::parse("rtmp://h").unwrap().tc_url("/a/b?t=1"), "rtmp://h/a/b?t=1");
    }

    #[test]
    fn what_is_no_rtmp_url_is_refused() {
        for (url, error) in [
            ("", ClientUrlError::Scheme),
            ("other:1935", ClientUrlError::Scheme),
            ("http://other/live", ClientUrlError::Scheme),
            ("//other/live", ClientUrlError::Scheme),
            ("rtmp:///live", ClientUrlError::Host),
            ("rtmp://other:0x/live", ClientUrlError::Port),
            ("rtmp://other?t=1", ClientUrlError::Path),
        ] {
            assert_eq!(ReconnectUrl::parse(url), Err(error), "{url}");
        }
    }
}
