//! What the answers of the dialect's back end mean. Only the status counts, and where it redirects, the `Location`.
//!
//! A question is allowed by 2xx, denied by 4xx and redirected by 3xx; one without a `Location` allows. Anything else is a failure of the back end. An
//! update lets a session go on by 2xx, and by 3xx unless updates are strict; other answers end it, except 502, 503 and 504, by which a server in
//! front of a back end says that it has none: a back end that is away ends nothing. Where updates are strict only 2xx lets it go on. An end is told
//! with any answer but these three.
//! # Bounds
//! [`LOCATION_BYTES_MAX`].

use md5::{Digest as _, Md5};

use super::super::broker::Failure;
use super::super::callback;
use crate::session::StreamKey;
use crate::session::stream_key::canonical;

/// Longest `Location` that is taken, bytes.
pub const LOCATION_BYTES_MAX: usize = callback::NAME_BYTES_MAX;

/// What is said to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It may.
    Yes,
    /// It may not.
    No,
    /// It may, as something else.
    Name(String),
    /// It may, and this is where the stream goes to or comes from.
    Url(String),
}

/// What is said to a question, by status and `Location`.
///
/// # Errors
/// When it is no answer.
pub fn said(status: u16, location: Option<&[u8]>) -> Result<Said, Failure> {
    match status {
        200..=299 => Ok(Said::Yes),
        300..=399 => match location.map(<[u8]>::trim_ascii) {
            None | Some([]) => Ok(Said::Yes),
            Some(location) if location.len() > LOCATION_BYTES_MAX => Err(Failure::TooLong),
            Some(location) => {
                let location = std::str::from_utf8(location).map_err(|_| Failure::Nonsense)?;
                if is_rtmp(location) {
                    callback::forward(location)?;
                    return Ok(Said::Url(location.into()));
                }
                Ok(Said::Name(location.into()))
            }
        },
        400..=499 => Ok(Said::No),
        _ => Err(Failure::Status),
    }
}

/// The app that `connect` is redirected to.
///
/// # Errors
/// When it is none that a peer could ask for.
pub fn app(location: String) -> Result<String, Failure> {
    let address = canonical("", &location, "name").map_err(|_| Failure::Nonsense)?;
    let is_app =
        !location.is_empty() && address.key == StreamKey::new(&location, "name") && address.params.is_empty();
    if is_app { Ok(location) } else { Err(Failure::Nonsense) }
}

/// The stream of this app that `publish` or `play` is redirected to.
///
/// # Errors
/// Likewise.
pub fn stream(app: &str, location: &str) -> Result<StreamKey, Failure> {
    if callback::is_stream_name(app, location) {
        Ok(StreamKey::new(app, location))
    } else {
        Err(Failure::Nonsense)
    }
}

/// The name that a stream has which is forwarded by a redirect, where that renames it.
pub fn name_of_url(location: &str) -> String {
    Md5::digest(location).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is said to an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The session goes on.
    GoesOn,
    /// It ends.
    Ends,
    /// Nobody has said anything.
    Silence,
}

/// What is said to an update, by its status.
pub fn word(status: u16, strict: bool) -> Word {
    match status {
        200..=299 => Word::GoesOn,
        _ if strict => Word::Ends,
        300..=399 => Word::GoesOn,
        _ if !is_heard(status) => Word::Silence,
        _ => Word::Ends,
    }
}

/// Whether a back end was there to hear the call: an end that it has heard of is told, whatever it says to it.
pub fn is_heard(status: u16) -> bool {
    !matches!(status, 502..=504)
}

fn is_rtmp(location: &str) -> bool {
    ["rtmp://", "rtmps://"]
        .iter()
        .any(|scheme| location.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_they_mean_to_nginx_rtmp() {
        for status in [200, 204, 299] {
            assert_eq!(said(status, Some(b"ignored")), Ok(Said::Yes));
        }
        for status in [400, 403, 404, 499] {
            assert_eq!(said(status, Some(b"ignored")), Ok(Said::No));
        }
        for status in [100, 199, 500, 503, 600, 999] {
            assert_eq!(said(status, None), Err(Failure::Status), "{status}");
        }
        for status in [301, 302, 307, 399] {
            assert_eq!(said(status, None), Ok(Said::Yes));
            assert_eq!(said(status, Some(b" ")), Ok(Said::Yes));
            assert_eq!(said(status, Some(b" other ")), Ok(Said::Name("other".into())));
            for url in ["rtmp://h/live/x", "RTMPS://h:1/live/x", "rtmp://h/live"] {
                assert_eq!(said(status, Some(url.as_bytes())), Ok(Said::Url(url.into())));
            }
        }
        for nonsense in [&b"\xff"[..], b"rtmp://", b"rtmp:///live", b"rtmp://h:x/live/y", b"rtmp://h"] {
            assert_eq!(said(302, Some(nonsense)), Err(Failure::Nonsense), "{}", nonsense.escape_ascii());
        }
        assert_eq!(said(302, Some(&[b'x'; LOCATION_BYTES_MAX + 1])), Err(Failure::TooLong));
    }

    /// What no peer could ask for is no name.
    #[test]
    fn a_redirect_leads_to_what_can_be_asked_for() {
        assert_eq!(app("other".into()), Ok("other".into()));
        for bad in ["", "a/b", "/a", "a/", "a?b", "%41", "a b/", "http://h/x", "_definst_", "a\n"] {
            assert_eq!(app(bad.into()), Err(Failure::Nonsense), "{bad}");
        }
        assert_eq!(stream("live", "a/b"), Ok(StreamKey::new("live", "a/b")));
        assert_eq!(stream("", "a"), Ok(StreamKey::new("", "a")));
        for bad in ["", "/a", "a/", "a//b", "a?b", "%41", "http://h/x", "a\n", " a"] {
            assert_eq!(stream("live", bad), Err(Failure::Nonsense), "{bad}");
        }
        // printf rtmp://h/live/x | md5sum
        assert_eq!(name_of_url("rtmp://h/live/x"), "bf66957e0ae5b0a93ea5d311e64ef59b");
    }

    #[test]
    fn an_update_that_nobody_answers_ends_nothing() {
        for (status, lenient, strict) in [
            (200, Word::GoesOn, Word::GoesOn),
            (204, Word::GoesOn, Word::GoesOn),
            (302, Word::GoesOn, Word::Ends),
            (403, Word::Ends, Word::Ends),
            (404, Word::Ends, Word::Ends),
            (500, Word::Ends, Word::Ends),
            (502, Word::Silence, Word::Ends),
            (503, Word::Silence, Word::Ends),
            (504, Word::Silence, Word::Ends),
        ] {
            assert_eq!((word(status, false), word(status, true)), (lenient, strict), "{status}");
        }
    }
}
