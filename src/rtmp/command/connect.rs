//! `connect`: what a client says of itself before anything else (RTMP 1.0 §7.2.1.1).

use alloc::string::String;
use core::fmt;

use crate::rtmp::amf::Value;
use crate::rtmp::{Error, PeerMisbehaved};

/// The command object of `connect`, with its usual properties picked out; each is empty if it was missing or no string.
///
/// `Debug` shows URLs only up to the first segment of their path: what follows may be a key or a token.
#[derive(Clone, PartialEq)]
pub struct Connect {
    /// The application, as sent: may carry an instance, a key or a query.
    pub app: String,
    /// The server's URL as the client has it.
    pub tc_url: String,
    /// The client's name for itself.
    pub flash_ver: String,
    /// URL of the program that connects; OBS repeats tcUrl here.
    pub swf_url: String,
    /// URL of the page that the program was loaded from.
    pub page_url: String,
    /// 0 for AMF0, 3 for AMF3 as well; 0 if it was missing.
    pub object_encoding: f64,
    /// The whole command object: codecs, Enhanced RTMP capabilities and whatever else was sent.
    pub properties: Value,
}

impl Connect {
    /// Picks the usual properties out of the command object.
    ///
    /// # Errors
    /// `CommandMalformed` if it is no object; `AmfUtf8` if app or tcUrl, which name the stream, are not UTF-8.
    pub(super) fn from_properties(properties: Value) -> Result<Self, Error> {
        if properties.properties().is_none() {
            return Err(PeerMisbehaved::CommandMalformed.into());
        }
        let text = |name| String::from(properties.property(name).and_then(Value::as_str).unwrap_or_default());
        let mut flash_ver = text("flashVer");
        if flash_ver.is_empty() {
            flash_ver = text("flashver"); // as the specification spells it, and nearly nobody else
        }
        let connect = Self {
            app: text("app"),
            tc_url: text("tcUrl"),
            flash_ver,
            swf_url: text("swfUrl"),
            page_url: text("pageUrl"),
            object_encoding: properties.property("objectEncoding").and_then(Value::as_f64).unwrap_or(0.0),
            properties,
        };
        super::parse::names_a_stream(&connect.app)?;
        super::parse::names_a_stream(&connect.tc_url)?;
        Ok(connect)
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("app", &Shortened(&self.app))
            .field("tc_url", &Shortened(&self.tc_url))
            .field("flash_ver", &self.flash_ver)
            .field("swf_url", &Shortened(&self.swf_url))
            .field("page_url", &Shortened(&self.page_url))
            .field("object_encoding", &self.object_encoding)
            .field("properties", &self.properties.properties().map_or(0, <[_]>::len))
            .finish()
    }
}

/// A URL or path without user, password, query, and all but the first segment of its path.
struct Shortened<'a>(&'a str);

impl fmt::Debug for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (origin, path) = match self.0.find("://").map(|at| self.0.split_at(at + 3)) {
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                ((scheme, host), path)
            }
            None => (("", ""), self.0),
        };
        // A leading slash begins the first segment; the next one, or a query, ends it.
        let shown = path.char_indices().find(|&(at, c)| at > 0 && c == '/' || c == '?' || c == '#');
        let shown = &path[..shown.map_or(path.len(), |(at, _)| at)];
        let cut = if shown.len() < path.len() { "…" } else { "" };
        write!(f, "\"{}{}{}{cut}\"", origin.0, origin.1.escape_debug(), shown.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_more_of_a_url_than_its_first_segment() {
        let cases = [
            ("rtmp://host:1935/live", r#""rtmp://host:1935/live""#),
            ("rtmp://user:secret@host/live/secret?token=secret", r#""rtmp://host/live…""#),
            ("rtmp://[::1]/live?token=secret", r#""rtmp://[::1]/live…""#),
            ("rtmp://host?secret", r#""rtmp://host…""#),
            ("rtmp://host", r#""rtmp://host""#),
            ("live/secret", r#""live…""#),
            ("/live/secret", r#""/live…""#),
            ("live?secret", r#""live…""#),
            ("", r#""""#),
        ];
        for (url, shown) in cases {
            assert_eq!(alloc::format!("{:?}", Shortened(url)), shown, "{url}");
        }
    }

    #[test]
    fn debug_output_of_a_whole_connect_has_no_secret() {
        let url = Value::from("rtmp://user:secret@host/live/secret?token=secret");
        let connect = Connect::from_properties(Value::object([
            ("app", "live/secret?token=secret".into()),
            ("tcUrl", url.clone()),
            ("swfUrl", url.clone()),
            ("pageUrl", url),
            ("flashVer", "FMLE/3.0".into()),
            ("token", "secret".into()),
        ]))
        .unwrap();
        let shown = alloc::format!("{connect:?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("FMLE/3.0"), "{shown}");
    }
}
