//! The bodies of the dialect's calls: what a back end of nginx-rtmp reads from its form fields. Text only.
//!
//! | call | fields, in this order |
//! |---|---|
//! | every one but `connect` | `app`, `flashver`, `swfurl`, `tcurl`, `pageurl`, `addr`, `clientid`, `call`, and then |
//! | `connect` | `app`, `flashver`, `swfurl`, `tcurl`, `pageurl`, `addr`, `epoch`, `call` |
//! | `publish` | `name`, `type` |
//! | `play` | `name`, `start`, `duration`, `reset` |
//! | `update_publish`, `update_play` | `time`, `timestamp`, `name` |
//! | `publish_done`, `play_done`, `done` | `name` |
//!
//! Behind them comes the peer's own query.
//! # Invariant
//! Nothing that a peer says makes a field, breaks out of one or stands for one. Values are percent-encoded. Of the query, a parameter that a back
//! end could take for a field of the call is left out: most take the last of a name for its value, so that `?addr=192.0.2.1` would be an address
//! of the peer's choice. Names are compared as a lenient reader may read them: decoded, without spaces around them, in either case, behind the
//! brackets that they begin with (Rack and Express read `[addr]` as `addr`) and up to a zero byte or the next bracket (PHP's `addr[]`). What is
//! left is passed on as it came, as far as that can stand in a form.
//! # Bounds
//! Three times what goes in, and some 200 bytes: what goes in is bounded by `limits.name_bytes_max` and the session's bounds.

use std::fmt::{self, Write as _};
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::runtime::outside::{Facts, Manner};

/// What is encoded in a value: what nginx encodes in arguments, and what may not stand in a URL.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b';')
    .add(b'<')
    .add(b'>')
    .add(b'?');

/// The fields that nearly every call has.
const COMMON: [&str; 8] = ["app", "flashver", "swfurl", "tcurl", "pageurl", "addr", "clientid", "call"];

/// A call of the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// Somebody has connected, and asks for the first thing.
    Connect,
    /// Somebody wants to publish.
    Publish,
    /// Somebody wants to play.
    Play,
    /// Somebody publishes still.
    UpdatePublish,
    /// Somebody plays still.
    UpdatePlay,
    /// Somebody publishes no more.
    PublishDone,
    /// Somebody plays no more.
    PlayDone,
    /// Somebody does neither any more.
    Done,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Connect,
        Self::Publish,
        Self::Play,
        Self::UpdatePublish,
        Self::UpdatePlay,
        Self::PublishDone,
        Self::PlayDone,
        Self::Done,
    ];

    /// The value of `call`, also the metric's label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Play => "play",
            Self::UpdatePublish => "update_publish",
            Self::UpdatePlay => "update_play",
            Self::PublishDone => "publish_done",
            Self::PlayDone => "play_done",
            Self::Done => "done",
        }
    }

    /// The fields that it has beside the common ones.
    fn own_fields(self) -> &'static [&'static str] {
        match self {
            Self::Connect => &["epoch"],
            Self::Publish => &["name", "type"],
            Self::Play => &["name", "start", "duration", "reset"],
            Self::UpdatePublish | Self::UpdatePlay => &["time", "timestamp", "name"],
            Self::PublishDone | Self::PlayDone | Self::Done => &["name"],
        }
    }

    /// Whether a parameter of this name could be taken for one of its fields.
    fn has_field(self, name: &str) -> bool {
        let decoded = percent_decode_str(name).decode_utf8_lossy().replace('+', " ");
        let bare = decoded.trim_start_matches(|sign: char| sign.is_whitespace() || matches!(sign, '[' | ']'));
        let read = bare.split(['\0', '[', ']']).next().unwrap_or_default().trim().to_ascii_lowercase();
        COMMON.contains(&&*read) || self.own_fields().contains(&&*read)
    }
}

/// The body of `connect`. `epoch_ms` is a time in milliseconds that wraps.
pub fn connect(facts: &Facts, epoch_ms: u32) -> String {
    let mut form = Form::begin(facts, asked_app(facts));
    form.field("epoch", epoch_ms);
    form.with_call_and_query(Call::Connect, facts)
}

/// The body of `publish` or `play`, whichever is asked for. `app` is the one that it has by now.
pub fn question(facts: &Facts, app: &str) -> String {
    let mut form = Form::begin(facts, app);
    form.client(facts);
    let call = match facts.wish.as_ref().map(|wish| wish.manner) {
        Some(Manner::Play(_)) => Call::Play,
        Some(Manner::Publish(_)) | None => Call::Publish,
    };
    form.call(call);
    form.name(facts);
    form.manner(facts);
    form.with_query(call, facts)
}

/// The fields of a question that say how a stream is to be published or played, as they are in its body.
pub(super) fn manner(facts: &Facts) -> String {
    let mut form = Form(String::new());
    form.manner(facts);
    form.0
}

/// The body of an update of a session that has lasted for so long.
pub fn update(call: Call, facts: &Facts, app: &str, lasted: Duration) -> String {
    let mut form = Form::begin(facts, app);
    form.client(facts);
    form.call(call);
    form.field("time", lasted.as_secs());
    // Timestamps of RTMP wrap.
    form.field("timestamp", lasted.as_millis() as u32);
    form.name(facts);
    form.with_query(call, facts)
}

/// The body of one of the calls that tell of an end.
pub fn done(call: Call, facts: &Facts, app: &str) -> String {
    let mut form = Form::begin(facts, app);
    form.client(facts);
    form.call(call);
    form.name(facts);
    form.with_query(call, facts)
}

/// The app as it was asked for.
pub(super) fn asked_app(facts: &Facts) -> &str {
    facts.wish.as_ref().map(|wish| wish.stream.app()).unwrap_or_default()
}

/// A text as a part of a URL's path that it cannot leave.
pub(super) fn encoded(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, ENCODED)
}

/// A number of `play` as nginx-rtmp writes it: whole, in 32 bits without a sign, 0 for what was not said.
fn number(said: Option<f64>) -> u32 {
    // A float saturates to the wider integer; the bits above are dropped, so that -2000 becomes 4294965296.
    said.unwrap_or_default() as i64 as u32
}

struct Form(String);

impl Form {
    fn begin(facts: &Facts, app: &str) -> Self {
        let mut form = Self(String::with_capacity(512));
        form.field("app", encoded(app));
        form.field("flashver", encoded(&facts.flash_ver));
        form.field("swfurl", encoded(&facts.swf_url));
        form.field("tcurl", encoded(&facts.tc_url));
        form.field("pageurl", encoded(&facts.page_url));
        form.field("addr", facts.peer.ip().to_canonical());
        form
    }

    /// Adds a field; a value that may hold anything comes encoded.
    fn field(&mut self, name: &str, value: impl fmt::Display) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{name}={value}");
    }

    fn client(&mut self, facts: &Facts) {
        self.field("clientid", facts.connection.0);
    }

    fn call(&mut self, call: Call) {
        self.field("call", call.word());
    }

    fn name(&mut self, facts: &Facts) {
        if let Some(wish) = &facts.wish {
            self.field("name", encoded(wish.stream.name()));
        }
    }

    fn manner(&mut self, facts: &Facts) {
        match facts.wish.as_ref().map(|wish| wish.manner) {
            Some(Manner::Publish(kind)) => self.field("type", kind.as_str()),
            Some(Manner::Play(terms)) => {
                self.field("start", number(terms.start));
                self.field("duration", number(terms.duration));
                self.field("reset", u8::from(terms.reset.unwrap_or(false)));
            }
            None => {}
        }
    }

    /// Ends with the call and the query.
    fn with_call_and_query(mut self, call: Call, facts: &Facts) -> String {
        self.call(call);
        self.with_query(call, facts)
    }

    /// Ends with the query.
    fn with_query(mut self, call: Call, facts: &Facts) -> String {
        // Some readers part pairs at a semicolon as well: it is encoded below, and so is one inside a name.
        for pair in facts.params.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            if !call.has_field(name) {
                self.0.push('&');
                self.passed_on(pair);
            }
        }
        self.0
    }

    /// A pair as it came: what is encoded in it stays so, and what cannot stand in a form is encoded.
    fn passed_on(&mut self, pair: &str) {
        /// A percent sign is looked at apart, and a plus sign is a space that the peer has encoded.
        const KEPT_SIGNS: &AsciiSet = &ENCODED.remove(b'%').remove(b'+');
        let mut parts = pair.split('%');
        let _ = write!(self.0, "{}", utf8_percent_encode(parts.next().unwrap_or_default(), KEPT_SIGNS));
        for part in parts {
            let is_encoded = part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
            self.0.push_str(if is_encoded { "%" } else { "%25" });
            let _ = write!(self.0, "{}", utf8_percent_encode(part, KEPT_SIGNS));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::edge::auth::tests::question as asked;
    use crate::runtime::outside::Wish;
    use crate::session::{PlayTerms, PublishKind, StreamKey};

    fn facts(name: &str, params: &str) -> Facts {
        let mut facts = Arc::unwrap_or_clone(asked("live", name, params).facts);
        facts.tc_url = "rtmp://h/live?a=1&b=ü".into();
        facts.flash_ver = "FMLE/3.0 (compatible; Lavf59)".into();
        facts.page_url = "http://h/page".into();
        facts
    }

    fn playing(terms: PlayTerms) -> Facts {
        let wish = Wish { stream: StreamKey::new("live", "test"), manner: Manner::Play(terms) };
        Facts { wish: Some(wish), ..facts("test", "") }
    }

    const SESSION: &str = "app=live&flashver=FMLE/3.0%20(compatible%3B%20Lavf59)&swfurl=http://h/player.swf\
                           &tcurl=rtmp://h/live%3Fa=1%26b=%C3%BC&pageurl=http://h/page&addr=192.0.2.7";

    /// Each call, byte by byte as nginx-rtmp writes it.
    #[test]
    fn bodies_are_those_of_nginx_rtmp() {
        let query = "user=a&pass=b%2Fc+d";
        assert_eq!(
            connect(&facts("test", query), 4_294_967_295),
            format!("{SESSION}&epoch=4294967295&call=connect&{query}")
        );
        let session = format!("{SESSION}&clientid=17");
        assert_eq!(
            question(&facts("a b&c", query), "live"),
            format!("{session}&call=publish&name=a%20b%26c&type=live&{query}")
        );
        let recorded = Facts {
            wish: Some(Wish {
                stream: StreamKey::new("live", "test"),
                manner: Manner::Publish(PublishKind::Record),
            }),
            ..facts("test", "")
        };
        assert_eq!(
            question(&recorded, "other"),
            format!("{session}&call=publish&name=test&type=record").replacen("app=live", "app=other", 1)
        );
        for (start, duration, reset, written) in [
            (Some(-2000.0), None, None, "start=4294965296&duration=0&reset=0"),
            (Some(-2.0), Some(-1.0), Some(true), "start=4294967294&duration=4294967295&reset=1"),
            (Some(f64::NAN), Some(f64::INFINITY), Some(false), "start=0&duration=4294967295&reset=0"),
        ] {
            assert_eq!(
                question(&playing(PlayTerms { start, duration, reset }), "live"),
                format!("{session}&call=play&name=test&{written}")
            );
        }
        let lasted = Duration::from_millis(4_294_967_296 + 61_999);
        assert_eq!(
            update(Call::UpdatePublish, &facts("test", query), "live", lasted),
            format!("{session}&call=update_publish&time=4295029&timestamp=61999&name=test&{query}")
        );
        assert_eq!(
            update(Call::UpdatePlay, &facts("test", ""), "live", Duration::ZERO),
            format!("{session}&call=update_play&time=0&timestamp=0&name=test")
        );
        for call in [Call::PublishDone, Call::PlayDone, Call::Done] {
            let expected = format!("{session}&call={}&name=test&{query}", call.word());
            assert_eq!(done(call, &facts("test", query), "live"), expected);
        }
        let mapped = Facts { peer: "[::ffff:192.0.2.9]:1".parse().unwrap(), ..facts("test", "") };
        assert!(done(Call::Done, &mapped, "live").contains("&addr=192.0.2.9&"));
    }

    /// A peer cannot say who it is or what it asks for by its query, however it writes the name.
    #[test]
    fn the_query_makes_no_field() {
        for name in [
            "addr",
            "call",
            "clientid",
            "name",
            "app",
            "type",
            "ADDR",
            "Addr",
            "%61ddr",
            "+addr",
            "%20addr",
            "addr%20",
            "addr+",
            "addr[]",
            "addr%5B0%5D",
            "addr%00x",
            "tcurl",
            "swfurl",
            "pageurl",
            "flashver",
            "addr%09",
            "[addr]",
            "[addr",
            "addr]",
            "]addr",
            "[]addr",
            "][addr]x",
            "%5Baddr%5D",
            "%5baddr",
            "addr%5D",
            "[%20addr]",
            "+[addr+]",
            "[Call]",
            "name]",
        ] {
            for query in [
                format!("{name}=1.2.3.4"),
                name.to_owned(),
                format!("a=1&{name}=1.2.3.4"),
                format!("&&{name}=1.2.3.4&a=1&"),
            ] {
                let body = question(&facts("test", &query), "live");
                let rest = body.split_once("&type=live").unwrap().1;
                assert!(matches!(rest, "" | "&a=1"), "{query}: {body}");
            }
        }
        let body = question(&facts("test", "a=1;addr=1.2.3.4&addr;x=1"), "live");
        assert!(body.ends_with("&type=live&a=1%3Baddr=1.2.3.4&addr%3Bx=1"), "{body}");
        // What is no field of the call is the peer's: signed addresses have a time in them.
        let own = "time=7&epoch=1&start=2&names=x&addr.x=1&x[addr]=1&[x]addr=1&[]=1";
        let body = question(&facts("test", own), "live");
        assert!(body.ends_with(&format!("&type=live&{own}")), "{body}");
        let body = update(Call::UpdatePublish, &facts("test", "time=7&type=x"), "live", Duration::ZERO);
        assert!(body.ends_with("&name=test&type=x"), "{body}");
    }

    #[test]
    fn the_query_is_passed_on_as_far_as_it_can_stand_there() {
        for (query, passed) in [
            ("a=1&b=%2F%c3%bc+x", "&a=1&b=%2F%c3%bc+x"),
            ("a=100%&b=%zz%4", "&a=100%25&b=%25zz%254"),
            ("a=x y\"<>#?\r\n\0ü", "&a=x%20y%22%3C%3E%23%3F%0D%0A%00%C3%BC"),
            ("a=b=c", "&a=b=c"),
            ("flag&=x", "&flag&=x"),
            ("a%ü=1", "&a%25%C3%BC=1"),
        ] {
            let body = question(&facts("test", query), "live");
            assert_eq!(body.split_once("&type=live").unwrap().1, passed, "{query}");
        }
    }

    proptest! {
        /// Whatever a peer says, a reader finds each field once, with its value, and the body can be a URL's query. The reader takes what is
        /// nested by the first name in it, wherever its brackets are, as Rack does.
        #[test]
        fn every_field_is_read_once_and_whole(
            name in ".{1,40}", params in ".{0,80}", junk in "([a-z%&;=+\\[\\]0-9]|&\\[|&%5[bD]|addr|name|call){0,40}", text in ".{0,40}",
        ) {
            let mut facts = facts(&name, &format!("{params}&{junk}"));
            (facts.flash_ver, facts.swf_url, facts.page_url, facts.tc_url) = (text.clone(), text.clone(), text.clone(), text.clone());
            let body = question(&facts, &name);
            prop_assert!(body.bytes().all(|byte| byte.is_ascii_graphic()), "{body}");
            prop_assert!(format!("http://h/x?{body}").parse::<hyper::Uri>().is_ok(), "{body}");
            let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for pair in body.split('&') {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
                let name = decode(name);
                let read = name.split(['[', ']']).find(|part| !part.is_empty()).unwrap_or_default();
                found.entry(read.to_owned()).or_default().push(decode(value));
            }
            for (field, value) in [
                ("app", &*name), ("name", &*name), ("flashver", &*text), ("swfurl", &*text), ("pageurl", &*text), ("tcurl", &*text),
                ("addr", "192.0.2.7"), ("clientid", "17"), ("call", "publish"), ("type", "live"),
            ] {
                prop_assert_eq!(found.get(field), Some(&vec![value.to_owned()]), "{} in {}", field, body);
            }
        }
    }
}
