//! Why a forward does not get through, or got through and was lost.

use std::fmt;
use std::io;

use crate::rtmp::Error;
use crate::runtime::OutgoingEnd;

/// Longest status code of a target that is shown, bytes.
const CODE_BYTES_MAX: usize = 64;

/// What went wrong with one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No URL comes of the template and this stream.
    NoUrl,
    /// Nobody knows the name.
    Name,
    /// So many names are being looked up that this one is not.
    NamesTooMany,
    /// The name server did not answer in time.
    NameTimeout,
    /// A redirect to an address that is private, or nearer, from a target whose own was not.
    NotPublic,
    /// Nobody took the connection; what the last address said.
    Connect(io::ErrorKind),
    /// No address answered in time.
    ConnectTimeout,
    /// There was no TLS handshake, or it was cut short.
    Tls(&'static str),
    /// The TLS handshake failed: a certificate that is not trusted, or no TLS at all.
    Handshake(Error),
    /// The TLS handshake was not done in time.
    TlsTimeout,
    /// Of a connection that a core had taken over.
    Ended(OutgoingEnd),
}

impl Failure {
    /// Metric label: stable, snake case, from a bounded set.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoUrl => "no_url",
            Self::Name => "name",
            Self::NamesTooMany => "names_too_many",
            Self::NameTimeout => "name_timeout",
            Self::NotPublic => "not_public",
            Self::Connect(_) => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls(_) => "tls",
            Self::Handshake(error) => error.label(),
            Self::TlsTimeout => "tls_timeout",
            Self::Ended(end) => end.label(),
        }
    }
}

/// For logs and the API. Of what a target says, only a status code is shown that looks like one: its words may hold the stream's name.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUrl => f.write_str("the template and this stream make no URL"),
            Self::Name => f.write_str("the name is unknown"),
            Self::NamesTooMany => f.write_str("too many names are being looked up"),
            Self::NameTimeout => f.write_str("the name server does not answer"),
            Self::NotPublic => f.write_str("a public target may not send us to a private address"),
            Self::Connect(kind) => write!(f, "cannot connect: {kind}"),
            Self::ConnectTimeout => f.write_str("no address answers"),
            Self::Tls(what) => write!(f, "TLS: {what}"),
            Self::Handshake(error) => write!(f, "TLS: {error}"),
            Self::TlsTimeout => f.write_str("the TLS handshake takes too long"),
            Self::Ended(OutgoingEnd::Refused(status)) if is_code(&status.code) => {
                write!(f, "refused: {}", status.code)
            }
            Self::Ended(OutgoingEnd::Error(error)) => write!(f, "{error}"),
            Self::Ended(end) => f.write_str(end.label()),
        }
    }
}

/// As `NetStream.Publish.BadName`.
fn is_code(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.len() <= CODE_BYTES_MAX
        && text.starts_with("Net")
        && text.contains('.')
        && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::ServerStatus;

    #[test]
    fn a_targets_words_are_not_repeated() {
        let refused = |code: &str| {
            let status = ServerStatus {
                level: "error".into(),
                code: code.into(),
                description: "secret is taken".into(),
            };
            Failure::Ended(OutgoingEnd::Refused(status)).to_string()
        };
        assert_eq!(refused("NetStream.Publish.BadName"), "refused: NetStream.Publish.BadName");
        for code in ["", "secret", "NetStream.secret key", "NetStream.", "Net/secret", &"Net.a".repeat(20)] {
            assert_eq!(refused(code), "refused", "{code}");
        }
        assert_eq!(
            Failure::Connect(io::ErrorKind::ConnectionRefused).to_string(),
            "cannot connect: connection refused"
        );
    }
}
