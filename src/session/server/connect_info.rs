//! What a session keeps of `connect`.

use alloc::string::String;
use core::fmt;

use crate::rtmp::command::{Capabilities, Connect};
use crate::rtmp::limits::Limits;
use crate::rtmp::{Error, PeerMisbehaved, PeerUnsupported};

/// The peer's own account of itself, as it was accepted.
///
/// App and the URLs are as sent: each may hold the stream's name or a token, which to most users are secrets. The app to
/// show is that of the canonical key, known from `publish` or `play` on. `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectInfo {
    /// Application.
    pub app: String,
    /// URL of the server as the peer has it.
    pub tc_url: String,
    /// The encoder's or player's name for itself; cut at [`FLASH_VER_BYTES_MAX`] bytes.
    pub flash_ver: String,
    /// URL of the program that connects, as sent; cut at [`CLIENT_URL_BYTES_MAX`] bytes.
    pub swf_url: String,
    /// URL of the page that the program was loaded from, as sent; cut likewise.
    pub page_url: String,
    /// 0 for AMF0 or 3 for AMF3.
    pub object_encoding: u8,
    /// What it says of its Enhanced RTMP; empty for a peer that knows nothing of it.
    pub capabilities: Capabilities,
}

/// Longest flashVer that is kept, bytes. It only informs, so a longer one is cut rather than refused.
pub const FLASH_VER_BYTES_MAX: usize = 256;

/// Longest swfUrl and pageUrl that are kept, bytes each: nginx-rtmp's bound. They only inform, too.
pub const CLIENT_URL_BYTES_MAX: usize = 256;

impl ConnectInfo {
    /// Takes over what is kept for the session's life.
    ///
    /// # Errors
    /// `NameTooLong` when app or tcUrl is; `ObjectEncoding` for one that does not exist.
    pub(super) fn new(connect: Connect, limits: &Limits) -> Result<Self, Error> {
        if connect.app.len().max(connect.tc_url.len()) > limits.name_bytes_max {
            return Err(PeerMisbehaved::NameTooLong.into());
        }
        // A float becomes the nearest u8, NaN 0.
        let object_encoding = connect.object_encoding as u8;
        if !matches!(object_encoding, 0 | 3) {
            return Err(PeerUnsupported::ObjectEncoding(object_encoding).into());
        }
        let flash_ver = prefix(&connect.flash_ver, FLASH_VER_BYTES_MAX).into();
        let url = |text: &str| prefix(text, CLIENT_URL_BYTES_MAX).into();
        let (swf_url, page_url) = (url(&connect.swf_url), url(&connect.page_url));
        let capabilities = Capabilities::of(&connect.properties);
        let Connect { app, tc_url, .. } = connect;
        Ok(Self { app, tc_url, flash_ver, swf_url, page_url, object_encoding, capabilities })
    }
}

/// As much of the text as fits into `bytes_max` without cutting a character.
fn prefix(text: &str, bytes_max: usize) -> &str {
    // A character has at most four bytes, so one of the last four offsets is between two of them; 0 always is.
    (0..=bytes_max.min(text.len())).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

impl fmt::Debug for ConnectInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectInfo")
            .field("app_bytes", &self.app.len())
            .field("tc_url_bytes", &self.tc_url.len())
            .field("flash_ver", &self.flash_ver)
            .field("swf_url_bytes", &self.swf_url.len())
            .field("page_url_bytes", &self.page_url.len())
            .field("object_encoding", &self.object_encoding)
            .field("capabilities", &self.capabilities)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(prefix("été", 5), "été");
        assert_eq!(prefix("été", 4), "ét");
        assert_eq!(prefix("été", 1), "");
        assert_eq!(prefix("", 10), "");
    }

    /// What a client says of where it comes from is kept to its bound, and shown nowhere.
    #[test]
    fn urls_of_the_client_are_cut_and_hidden() {
        let long = "hunter2".repeat(CLIENT_URL_BYTES_MAX);
        let connect = Connect {
            app: "live".into(),
            tc_url: "rtmp://h/live".into(),
            flash_ver: String::new(),
            swf_url: long.clone(),
            page_url: "http://h/hunter2".into(),
            object_encoding: 0.0,
            properties: crate::rtmp::amf::Value::Null,
        };
        let info = ConnectInfo::new(connect, &Limits::default()).unwrap();
        assert_eq!(
            (info.swf_url.as_str(), info.page_url.as_str()),
            (&long[..CLIENT_URL_BYTES_MAX], "http://h/hunter2")
        );
        let shown = alloc::format!("{info:?}");
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
