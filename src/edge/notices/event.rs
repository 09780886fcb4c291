//! What is told of what happens, as JSON.
//!
//! Parameters are left out: they hold keys and tokens, and who was let in has been asked about with them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::runtime::outside::{Facts, News, Totals};
use crate::session::StreamKey;

/// One thing that happened. Fields that say nothing of it are left out.
#[derive(Debug, Serialize)]
pub struct Event {
    event: &'static str,
    /// Counts the events of one process, so that one told twice can be known.
    number: u64,
    /// Seconds since 1970.
    time: f64,
    connection: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    who: Option<Who>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
    #[serde(flatten)]
    totals: Option<Came>,
    #[serde(flatten)]
    health: Option<Health>,
}

#[derive(Debug, Serialize)]
struct Who {
    address: String,
    port: u16,
    #[serde(rename = "flashVer")]
    flash_ver: String,
    tls: bool,
    server_name: Option<String>,
    host: Option<String>,
}

/// What is wrong with a publisher's stream, or no longer.
#[derive(Debug, Serialize)]
struct Health {
    code: &'static str,
    state: &'static str,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Came {
    bytes: u64,
    messages: u64,
    dropped: u64,
    seconds: f64,
}

impl Event {
    /// What is told of a piece of news; not everything is.
    pub fn of(news: News) -> Option<Self> {
        let began = |event, facts: &Facts, stream: Option<StreamKey>| Self {
            connection: facts.connection.0.to_string(),
            who: Some(Who::of(facts)),
            ..Self::new(event, stream)
        };
        Some(match news {
            // A stream is there with its publisher, and what we make ourselves is the forwards' to tell.
            News::StreamBegan { .. } | News::StreamEnded { .. } | News::Outgoing { .. } => return None,
            News::Connected { facts } => began("connect", &facts, None),
            News::PublishBegan { facts, stream, grant, .. } => {
                Self { dry_run: Some(grant.dry_run), ..began("publish", &facts, Some(stream)) }
            }
            News::PlayBegan { facts, stream, .. } => began("play", &facts, Some(stream)),
            News::PublishEnded { connection, stream, totals } => Self {
                connection: connection.0.to_string(),
                totals: Some(Came::of(totals)),
                ..Self::new("publish_done", Some(stream))
            },
            News::HealthChanged { connection, stream, code, began, lasted } => Self {
                connection: connection.0.to_string(),
                health: Some(Health {
                    code: code.label(),
                    state: if began { "began" } else { "ended" },
                    seconds: lasted.as_secs_f64(),
                }),
                ..Self::new("health", Some(stream))
            },
            News::PlayEnded { connection, stream, totals } => Self {
                connection: connection.0.to_string(),
                totals: Some(Came::of(totals)),
                ..Self::new("play_done", Some(stream))
            },
        })
    }

    /// The same with its number.
    pub(super) fn numbered(self, number: u64) -> Self {
        Self { number, ..self }
    }

    fn new(event: &'static str, stream: Option<StreamKey>) -> Self {
        Self {
            event,
            number: 0,
            time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            connection: String::new(),
            app: stream.as_ref().map(|stream| stream.app().to_owned()),
            name: stream.map(|stream| stream.name().to_owned()),
            who: None,
            dry_run: None,
            totals: None,
            health: None,
        }
    }
}

impl Who {
    fn of(facts: &Facts) -> Self {
        Self {
            address: facts.peer.ip().to_canonical().to_string(),
            port: facts.peer.port(),
            flash_ver: facts.flash_ver.clone(),
            tls: facts.tls,
            server_name: facts.server_name.clone(),
            host: facts.host.clone(),
        }
    }
}

impl Came {
    fn of(totals: Totals) -> Self {
        let Totals { bytes, messages, dropped, lasted } = totals;
        Self { bytes, messages, dropped, seconds: lasted.as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::hub::CoreId;
    use crate::media::health::Code;
    use crate::runtime::observe::ConnectionId;
    use crate::runtime::outside::Grant;

    /// Each piece of news as the module tells it, and no parameter in any.
    #[test]
    fn events_have_the_documented_fields() {
        let facts = Arc::new(Facts {
            connection: ConnectionId(17),
            peer: "[::ffff:192.0.2.7]:50412".parse().unwrap(),
            tls: false,
            server_name: None,
            host: Some("live.example.org".into()),
            tc_url: "rtmp://live.example.org/live?token=s3cret".into(),
            flash_ver: "FMLE/3.0".into(),
            swf_url: "http://h/s3cret".into(),
            page_url: "http://h/s3cret".into(),
            params: "key=s3cret".into(),
            wish: None,
        });
        let stream = StreamKey::new("live", "test");
        let told = |news: News| {
            let mut event = serde_json::to_value(Event::of(news).unwrap().numbered(7)).unwrap();
            let fields = event.as_object_mut().unwrap();
            assert!(fields.remove("time").unwrap().as_f64().unwrap() > 1.7e9);
            assert_eq!(fields.remove("number"), Some(json!(7)));
            assert_eq!(fields.remove("connection"), Some(json!("17")));
            assert!(!event.to_string().contains("s3cret"), "{event}");
            event
        };
        let with = |event: Value, more: Value| {
            let (mut event, more) = (event, more);
            event.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
            event
        };
        let who = json!({"address": "192.0.2.7", "port": 50412, "flashVer": "FMLE/3.0", "tls": false, "server_name": null,
                         "host": "live.example.org"});
        let named = json!({"app": "live", "name": "test"});
        assert_eq!(
            told(News::Connected { facts: Arc::clone(&facts) }),
            with(json!({"event": "connect"}), who.clone())
        );
        let grant = Arc::new(Grant { dry_run: true, ..Grant::default() });
        let began =
            News::PublishBegan { facts: Arc::clone(&facts), stream: stream.clone(), home: CoreId(0), grant };
        let publish = with(with(json!({"event": "publish", "dry_run": true}), who.clone()), named.clone());
        assert_eq!(told(began), publish);
        let play = with(with(json!({"event": "play"}), who), named.clone());
        assert_eq!(
            told(News::PlayBegan { facts, stream: stream.clone(), home: CoreId(0), grant: Arc::default() }),
            play
        );
        let totals = Totals { bytes: 1, messages: 2, dropped: 3, lasted: Duration::from_millis(1_500) };
        let came = with(named.clone(), json!({"bytes": 1, "messages": 2, "dropped": 3, "seconds": 1.5}));
        let connection = ConnectionId(17);
        let health = |began| News::HealthChanged {
            connection,
            stream: stream.clone(),
            code: Code::NoAudio,
            began,
            lasted: Duration::from_millis(4_250),
        };
        let changed = |state: &str| {
            with(
                named.clone(),
                json!({"event": "health", "code": "no_audio", "state": state, "seconds": 4.25}),
            )
        };
        assert_eq!(told(health(true)), changed("began"));
        assert_eq!(told(health(false)), changed("ended"));
        let ended = News::PublishEnded { connection, stream: stream.clone(), totals };
        assert_eq!(told(ended), with(json!({"event": "publish_done"}), came.clone()));
        assert_eq!(
            told(News::PlayEnded { connection, stream, totals }),
            with(json!({"event": "play_done"}), came)
        );
    }
}
