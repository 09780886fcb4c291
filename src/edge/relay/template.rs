//! URL templates: where each stream of an app is sent, with what differs from stream to stream left open.
//!
//! `rtmp://origin-{shard}.example/{app}/{name}?{params}`. Placeholders:
//!
//! | placeholder | stands for |
//! |---|---|
//! | `{app}`, `{name}` | the stream |
//! | `{params}` | the publisher's query as it came; in the query alone |
//! | `{host}` | the host that the publisher connected to by its tcUrl |
//! | `{shard}` | a number from 0, the same for a stream at all times and on every machine |
//!
//! # Encoding
//! What a publisher chose stays where it was put: in the path all that RFC 3986 §3.3 does not allow there is percent-encoded (slashes of a
//! name are its own segments and stay), in the query all but unreserved characters. `{params}` has been encoded by the publisher, and
//! only what can stand in no query is encoded anew.
//! # Invariant
//! The host is the template's alone, a shard apart: nobody who publishes chooses where we connect.
//! # Bounds
//! A template of [`TEMPLATE_BYTES_MAX`], a URL of [`URL_BYTES_MAX`].
//! # Errors
//! What is wrong with a template never shows the template: it holds keys of other servers. Neither does `Debug`.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::session::{ClientUrl, ClientUrlError, StreamKey};

/// Longest template, bytes.
pub const TEMPLATE_BYTES_MAX: usize = 2048;

/// Longest URL that comes of one, bytes: app, name and query are 1,024 each unless `limits.name_bytes_max` says more, and encoding takes
/// three for one.
pub const URL_BYTES_MAX: usize = 8192;

/// What RFC 3986 allows in no path segment.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The same of what must be one segment.
const ONE_SEGMENT: &AsciiSet = &SEGMENT.add(b'/');

/// All but unreserved characters (RFC 3986 §2.3).
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What stands in no query, of a text that has been encoded once.
const ENCODED_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// A template that is right: whatever stream it is filled with, a URL comes of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    /// Scheme and authority.
    server: Vec<Piece>,
    path: Vec<Piece>,
    /// The parameters between `&`.
    query: Vec<Vec<Piece>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Open(Placeholder),
}

/// What is left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    App,
    Name,
    Params,
    Host,
    Shard,
}

impl Placeholder {
    const ALL: [(&'static str, Self); 5] = [
        ("app", Self::App),
        ("name", Self::Name),
        ("params", Self::Params),
        ("host", Self::Host),
        ("shard", Self::Shard),
    ];
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// Longer than [`TEMPLATE_BYTES_MAX`].
    #[error("it is longer than {TEMPLATE_BYTES_MAX} bytes")]
    TooLong,
    /// A brace in braces.
    #[error("placeholder {{{0}}} is none")]
    Unknown(String),
    /// A brace without the other.
    #[error("a brace has no other")]
    Brace,
    /// The publisher would choose where we connect.
    #[error("{{{0}}} in the host would let publishers choose where we connect")]
    InHost(&'static str),
    /// `{params}` is a query.
    #[error("{{params}} in the path, and it is a query")]
    ParamsInPath,
    /// User and password before the host are not RTMP's.
    #[error("RTMP has no user and password before the host")]
    User,
    /// White space, a control character or `#`.
    #[error("white space, a control character or # stands in it")]
    Character,
    /// It names no stream.
    #[error("it names no stream behind the app")]
    NoName,
    /// It is no RTMP URL.
    #[error("{0}")]
    Url(#[from] ClientUrlError),
}

/// What a template is filled with.
#[derive(Clone, Copy)]
pub struct Filling<'a> {
    /// The stream.
    pub stream: &'a StreamKey,
    /// The publisher's query, without its question mark.
    pub params: &'a str,
    /// Host of the publisher's tcUrl; empty when there is none.
    pub host: &'a str,
    /// How many shards there are; never 0.
    pub shards: u32,
    /// More for the query: as it is to stand there.
    pub extra: &'a str,
}

/// No URL came of a template: it was longer than [`URL_BYTES_MAX`], the port was none with this shard, or what is empty would have been a
/// segment of its path, so that the next one took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "no URL of at most {URL_BYTES_MAX} bytes and without an empty segment comes of the target's template and this stream"
)]
pub struct NoUrl;

impl Template {
    /// Takes a template apart.
    ///
    /// # Errors
    /// Whatever would make a wrong URL of it.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
            return Err(TemplateError::Character);
        }
        let authority = text.find("://").map(|at| at + 3).ok_or(ClientUrlError::Scheme)?;
        let rest = text.get(authority..).unwrap_or_default();
        let (server, tail) = text.split_at(authority + rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        if server.contains('@') {
            return Err(TemplateError::User);
        }
        let template = Self {
            text: text.to_owned(),
            server: pieces(server)?,
            path: pieces(path)?,
            query: query.split('&').map(pieces).collect::<Result<_, _>>()?,
        };
        if let Some(placeholder) = placeholders(&template.server).find(|one| *one != Placeholder::Shard) {
            return Err(TemplateError::InHost(placeholder.name()));
        }
        if placeholders(&template.path).any(|one| one == Placeholder::Params) {
            return Err(TemplateError::ParamsInPath);
        }
        // What a publisher chose is encoded, so any stream tells whether the URL is right.
        let stream = StreamKey::new("app", "name");
        let filling = Filling { stream: &stream, params: "", host: "host", shards: 1, extra: "" };
        let url = ClientUrl::parse(&template.text_of(&filling))?;
        if url.name.is_empty() || url.name.starts_with('?') {
            return Err(TemplateError::NoName);
        }
        Ok(template)
    }

    /// As it was written. It holds secrets.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the connection is to be over TLS.
    pub fn is_tls(&self) -> bool {
        self.text.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("rtmps:"))
    }

    /// Whether it has shards.
    pub fn has_shard(&self) -> bool {
        let pieces = self.server.iter().chain(&self.path).chain(self.query.iter().flatten());
        pieces.into_iter().any(|piece| *piece == Piece::Open(Placeholder::Shard))
    }

    /// The URL for a stream.
    ///
    /// # Errors
    /// When it is longer than [`URL_BYTES_MAX`], a shard made a port of it that is none, or a segment of its path is empty for this stream.
    pub fn fill(&self, filling: &Filling<'_>) -> Result<ClientUrl, NoUrl> {
        let text = self.text_of(filling);
        if text.len() > URL_BYTES_MAX || self.has_hole(filling) {
            return Err(NoUrl);
        }
        let url = ClientUrl::parse(&text).map_err(|_| NoUrl)?;
        if url.name.is_empty() || url.name.starts_with('?') {
            return Err(NoUrl);
        }
        Ok(url)
    }

    /// Whether a segment of the path that placeholders were to fill stays empty: servers would take the next one for it.
    fn has_hole(&self, filling: &Filling<'_>) -> bool {
        let (mut is_open, mut bytes) = (false, 0);
        for piece in &self.path {
            match piece {
                Piece::Text(text) => {
                    for (index, part) in text.split('/').enumerate() {
                        if index > 0 {
                            if is_open && bytes == 0 {
                                return true;
                            }
                            (is_open, bytes) = (false, 0);
                        }
                        bytes += part.len();
                    }
                }
                Piece::Open(placeholder) => {
                    is_open = true;
                    bytes += filling.in_path(*placeholder).len();
                }
            }
        }
        is_open && bytes == 0
    }

    fn text_of(&self, filling: &Filling<'_>) -> String {
        let mut url = filled(&self.server, |placeholder| filling.in_path(placeholder));
        url += &filled(&self.path, |placeholder| filling.in_path(placeholder));
        // A parameter of nothing leaves no `&` behind, nor does a query of none leave its `?`.
        let params = self.query.iter().map(|pieces| filled(pieces, |one| filling.in_query(one)));
        let params = params.chain([filling.extra.to_owned()]);
        for (index, param) in params.filter(|param| !param.is_empty()).enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url += &param;
        }
        url
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server: String = filled(&self.server, |_| "{shard}".into());
        write!(f, "Template({server}, {} bytes)", self.text.len())
    }
}

impl Placeholder {
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, one)| *one == self).map_or("", |(name, _)| name)
    }
}

impl Filling<'_> {
    fn in_path(&self, placeholder: Placeholder) -> String {
        match placeholder {
            Placeholder::Name => utf8_percent_encode(self.stream.name(), SEGMENT).to_string(),
            _ => utf8_percent_encode(&self.value(placeholder), ONE_SEGMENT).to_string(),
        }
    }

    fn in_query(&self, placeholder: Placeholder) -> String {
        match placeholder {
            Placeholder::Params => utf8_percent_encode(self.params, ENCODED_QUERY).to_string(),
            _ => utf8_percent_encode(&self.value(placeholder), VALUE).to_string(),
        }
    }

    fn value(&self, placeholder: Placeholder) -> String {
        match placeholder {
            Placeholder::App => self.stream.app().to_owned(),
            Placeholder::Name => self.stream.name().to_owned(),
            Placeholder::Params => self.params.to_owned(),
            Placeholder::Host => self.host.to_owned(),
            Placeholder::Shard => shard(self.stream, self.shards).to_string(),
        }
    }
}

/// The shard of a stream: SHA-256 of app and name, each behind its length, modulo the number of shards. Other machines must agree, and
/// later versions.
fn shard(stream: &StreamKey, shards: u32) -> u32 {
    let mut digest = Sha256::new();
    for part in [stream.app(), stream.name()] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    let first = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    // Less than `shards`, and so a u32.
    (first % u64::from(shards.max(1))) as u32
}

fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        let (name, behind) = brace
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
            .filter(|(name, _)| !name.contains('{'))
            .ok_or(TemplateError::Brace)?;
        let known = Placeholder::ALL.iter().find(|(known, _)| *known == name);
        let (_, placeholder) = known.ok_or_else(|| TemplateError::Unknown(shown(name)))?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(Piece::Open(*placeholder));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

/// A name that somebody put between braces, as far as it can be a name: anything else might be part of a key.
fn shown(name: &str) -> String {
    let is_name = name.len() <= 16 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_name { name.to_owned() } else { "…".to_owned() }
}

fn placeholders(pieces: &[Piece]) -> impl Iterator<Item = Placeholder> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Open(placeholder) => Some(*placeholder),
        Piece::Text(_) => None,
    })
}

fn filled(pieces: &[Piece], value: impl Fn(Placeholder) -> String) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Open(placeholder) => value(*placeholder),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(template: &str, app: &str, name: &str, params: &str) -> String {
        let stream = StreamKey::new(app, name);
        let filling = Filling { stream: &stream, params, host: "v.example", shards: 4, extra: "" };
        let template = Template::parse(template).expect(template);
        template.fill(&filling).unwrap();
        template.text_of(&filling)
    }

    #[test]
    fn placeholders_become_what_they_stand_for() {
        let all = "rtmp://origin-{shard}.example/{app}/{name}?{params}";
        for (template, app, name, params, url) in [
            (all, "live", "test", "token=1", "rtmp://origin-0.example/live/test?token=1"),
            (all, "live", "test", "", "rtmp://origin-0.example/live/test"),
            ("rtmp://h/{app}/{name}?a=1&{params}", "live", "b", "", "rtmp://h/live/b?a=1"),
            ("rtmp://h/{app}/{name}?{params}&a=1", "live", "b", "", "rtmp://h/live/b?a=1"),
            ("rtmp://h/{app}/{name}?{params}&a=1", "live", "b", "c=2", "rtmp://h/live/b?c=2&a=1"),
            ("rtmp://h/{app}/{name}?", "live", "b", "c=2", "rtmp://h/live/b"),
            ("RTMPS://h:444/{host}/x-{name}", "live", "b", "", "RTMPS://h:444/v.example/x-b"),
            ("rtmp://[::1]/app/key", "live", "b", "c=2", "rtmp://[::1]/app/key"),
            ("rtmp://h/in?app={app}&of={name}", "a&b", "c/d=", "", "rtmp://h/in?app=a%26b&of=c%2Fd%3D"),
        ] {
            if template.contains("in?") {
                // One segment and a query name no stream of their own.
                assert_eq!(Template::parse(template), Err(TemplateError::NoName));
                continue;
            }
            assert_eq!(fill(template, app, name, params), url);
        }
        assert_eq!(
            fill("rtmp://h/in/all?app={app}&of={name}", "a&b", "c/d=", ""),
            "rtmp://h/in/all?app=a%26b&of=c%2Fd%3D"
        );
    }

    #[test]
    fn what_a_publisher_chose_is_encoded_where_it_stands() {
        let template = "rtmp://h/{app}/{name}?{params}";
        for (app, name, params, url) in [
            ("live", "a/b", "", "rtmp://h/live/a/b"),
            ("li/ve", "a b", "", "rtmp://h/li%2Fve/a%20b"),
            ("live", "a?b#c%20", "", "rtmp://h/live/a%3Fb%23c%2520"),
            ("live", "ä{name}", "", "rtmp://h/live/%C3%A4%7Bname%7D"),
            ("live", "a", "x=%20 y&z=\"#", "rtmp://h/live/a?x=%20%20y&z=%22%23"),
            ("live", "a", "x=?/", "rtmp://h/live/a?x=?/"),
        ] {
            assert_eq!(fill(template, app, name, params), url);
        }
    }

    /// Else the name would become the app of the target, or a part of it.
    #[test]
    fn what_is_empty_is_no_segment() {
        for (template, app, host, is_url) in [
            ("rtmp://h/{app}/{name}", "", "v", false),
            ("rtmp://h/{app}/{name}?{params}", "", "v", false),
            ("rtmp://h/{app}/in/{name}", "", "v", false),
            ("rtmp://h/in/{app}/{name}", "", "v", false),
            ("rtmp://h/in/{host}/{name}", "", "", false),
            ("rtmp://h/{app}{host}/{name}", "", "", false),
            ("rtmp://h/in/{name}/{app}", "", "v", false),
            ("rtmp://h/{app}{host}/{name}", "", "v", true),
            ("rtmp://h/x{app}/{name}", "", "v", true),
            ("rtmp://h/in/{name}?app={app}", "", "v", true),
            ("rtmp://h/{app}/{name}", "live", "", true),
        ] {
            let stream = StreamKey::new(app, "a");
            let filling = Filling { stream: &stream, params: "k=1", host, shards: 1, extra: "e=1" };
            let url = Template::parse(template).unwrap().fill(&filling);
            assert_eq!(url.is_ok(), is_url, "{template} {app:?} {host:?}");
        }
        // A stream without a name is none.
        let stream = StreamKey::new("live", "");
        let filling = Filling { stream: &stream, params: "k=1", host: "", shards: 1, extra: "" };
        assert_eq!(Template::parse("rtmp://h/in/{name}?{params}").unwrap().fill(&filling), Err(NoUrl));
    }

    #[test]
    fn more_parameters_stand_at_the_end() {
        let stream = StreamKey::new("live", "a");
        let filling = Filling { stream: &stream, params: "", host: "", shards: 1, extra: "key=1&b" };
        let url = |template| Template::parse(template).unwrap().text_of(&filling);
        assert_eq!(url("rtmp://h/a/{name}"), "rtmp://h/a/a?key=1&b");
        assert_eq!(url("rtmp://h/a/{name}?{params}"), "rtmp://h/a/a?key=1&b");
        assert_eq!(url("rtmp://h/a/{name}?c"), "rtmp://h/a/a?c&key=1&b");
    }

    #[test]
    fn a_wrong_template_says_what_is_wrong_and_nothing_of_itself() {
        let long = format!("rtmp://h/a/{}", "b".repeat(TEMPLATE_BYTES_MAX));
        for (template, error) in [
            ("http://h/{app}/{name}", TemplateError::Url(ClientUrlError::Scheme)),
            ("h/{app}/{name}", TemplateError::Url(ClientUrlError::Scheme)),
            ("rtmp:///{app}/{name}", TemplateError::Url(ClientUrlError::Host)),
            ("rtmp://h:0x/{app}/{name}", TemplateError::Url(ClientUrlError::Port)),
            ("rtmp://h:{shard}x/{app}/{name}", TemplateError::Url(ClientUrlError::Port)),
            ("rtmp://h", TemplateError::Url(ClientUrlError::Path)),
            ("rtmp://h/{app}", TemplateError::NoName),
            ("rtmp://h/{app}/?{params}", TemplateError::NoName),
            ("rtmp://h/{app}/{stream}", TemplateError::Unknown("stream".into())),
            ("rtmp://h/{app}/{}", TemplateError::Unknown(String::new())),
            ("rtmp://h/{app}/{secret-Key}", TemplateError::Unknown("…".into())),
            ("rtmp://h/{app}/{name", TemplateError::Brace),
            ("rtmp://h/{app}/name}", TemplateError::Brace),
            ("rtmp://h/{app}/{{name}}", TemplateError::Brace),
            ("rtmp://{host}/{app}/{name}", TemplateError::InHost("host")),
            ("rtmp://{app}.example/{app}/{name}", TemplateError::InHost("app")),
            ("rtmp://h/{app}/{name}{params}", TemplateError::ParamsInPath),
            ("rtmp://user:secret@h/{app}/{name}", TemplateError::User),
            ("rtmp://h/{app}/na me", TemplateError::Character),
            ("rtmp://h/{app}/name#1", TemplateError::Character),
            (&long, TemplateError::TooLong),
        ] {
            assert_eq!(Template::parse(template), Err(error.clone()), "{template}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn debug_shows_the_server_alone() {
        let template = Template::parse("rtmp://o-{shard}.example/live/secret?k=secret").unwrap();
        assert_eq!(format!("{template:?}"), "Template(rtmp://o-{shard}.example, 45 bytes)");
        assert!(!template.is_tls());
        assert!(template.has_shard());
        assert!(Template::parse("rtmps://o/a/b").unwrap().is_tls());
    }

    /// Pinned: machines of other versions must come to the same.
    #[test]
    fn shards_stay_what_they_are_and_are_all_used() {
        let of = |name: &str| shard(&StreamKey::new("live", name), 8);
        assert_eq!([of("a"), of("b"), of("c"), of("test")], [4, 1, 1, 4]);
        let mut seen = [0; 8];
        (0..800).for_each(|n| seen[of(&n.to_string()) as usize] += 1);
        assert!(seen.iter().all(|count| (60..150).contains(count)), "{seen:?}");
        assert_eq!(shard(&StreamKey::new("ab", "c"), u32::MAX), shard(&StreamKey::new("ab", "c"), u32::MAX));
        assert_ne!(shard(&StreamKey::new("ab", "c"), u32::MAX), shard(&StreamKey::new("a", "bc"), u32::MAX));
    }

    proptest! {
        /// Whatever is published, the URL leads to the template's host and app, and a server that decodes it has the stream's name.
        #[test]
        fn no_stream_breaks_out_of_its_place(app in "\\PC{0,20}", name in "\\PC{1,40}", params in "\\PC{0,40}", host in "\\PC{0,9}") {
            let template = Template::parse("rtmps://h:444/in/x{name}?h={host}&a={app}&{params}").unwrap();
            let stream = StreamKey::new(&app, &name);
            let filling = Filling { stream: &stream, params: &params, host: &host, shards: 1, extra: "e=1" };
            let url = template.fill(&filling).unwrap();
            prop_assert_eq!((url.tls, &*url.host, url.port, &*url.app), (true, "h", 444, "in"));
            let (path, query) = url.name.split_once('?').unwrap();
            let decoded = percent_encoding::percent_decode_str(path).decode_utf8().unwrap();
            prop_assert_eq!(decoded.as_ref(), format!("x{name}"));
            prop_assert!(query.ends_with("e=1"));
            prop_assert!(url.name.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
