//! What `/metrics` has of single streams: of those with the highest bitrates, and of such that are asked for.
//!
//! Every scrape has series of `control.top_streams` streams. `GET /metrics?stream=APP/NAME` has those of this stream and nothing else, for a
//! scrape of its own; `stream` may be said up to [`STREAMS_ASKED_MAX`] times. App and name stand there as in the path of
//! `/api/v1/streams/APP/NAME`, with what a query asks to be written otherwise written so. Of a stream that is not there one series is left:
//! `inrush_stream_live` is 0.
//!
//! Names are for those who may be told: where `/metrics` is open to everybody, who says no token gets none of these series.
//! # Bounds
//! Series of one stream: [`STREAM_SERIES_MAX`]. Of a core that stands still its streams are missing, after [`SCRAPE_ASKS_MAX`]; when the
//! cores are asked too much at a time, all of them are.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::Query;
use axum::http::{HeaderMap, Uri};

use super::api::{address, gather, permit};
use super::cores::Cores;
use super::metrics::{Family, Labels, Value};
use super::refusal::Refusal;
use super::router::Control;
use crate::media::health::Code;
use crate::runtime::observe::{Selection, StreamInfo, StreamNames};

/// Most streams of which every scrape may have series: some 10,000 series in all, what a Prometheus takes from one target without a thought.
pub const TOP_STREAMS_MAX: usize = 500;

/// Streams that one request may ask for by name.
pub const STREAMS_ASKED_MAX: usize = 20;

/// Series that one stream has at most: one of each family here, and one a health code.
pub const STREAM_SERIES_MAX: usize = GAUGES.len() + COUNTERS.len() + Code::ALL.len() + 1;

// README: "25 of each".
const _: () = assert!(STREAM_SERIES_MAX <= 25);

/// How long a scrape waits for the cores: much less than a scraper waits for it.
pub const SCRAPE_ASKS_MAX: Duration = Duration::from_millis(500);

/// Name, help, and the value of a stream.
type Figure = (&'static str, &'static str, fn(&StreamInfo) -> u64);

const GAUGES: [Figure; 4] = [
    ("inrush_stream_bytes_in_per_second", "Bytes received of a stream in a second, of late", |it| {
        it.bits_in_per_second / 8
    }),
    ("inrush_stream_subscribers", "Players and forwards of a stream", |it| it.subscribers),
    ("inrush_stream_gop_bytes", "Bytes that the GOP cache of a stream keeps alive", |it| it.gop_bytes),
    ("inrush_stream_publisher_uptime_seconds", "Time that a stream's publisher has been there", |it| {
        it.uptime_seconds as u64
    }),
];

const COUNTERS: [Figure; 5] = [
    ("inrush_stream_bytes_in", "Media bytes received of a stream's publisher", |it| it.bytes_in),
    ("inrush_stream_messages_in", "Media messages received of a stream's publisher", |it| it.messages_in),
    ("inrush_stream_discontinuities", "Times that a stream has gone on with another publisher", |it| {
        it.discontinuities
    }),
    ("inrush_stream_timestamp_steps_back", "Timestamps of a stream that stepped back", |it| {
        it.timestamp_steps_back
    }),
    ("inrush_stream_timestamp_jumps", "Timestamps of a stream that jumped ahead", |it| it.timestamp_jumps),
];

/// The streams that a request asks for by name; none when it asks for the whole of `/metrics`.
///
/// # Errors
/// [`Refusal::BadField`] for an address that is none, and for too many.
pub(super) fn asked_for(uri: &Uri) -> Result<Option<StreamNames>, Refusal> {
    const BAD: Refusal = Refusal::BadField {
        field: Cow::Borrowed("stream"),
        problem: Cow::Borrowed("is no address of a stream"),
        allowed: "APP/NAME, up to 20 times, as in the path of /api/v1/streams/APP/NAME and then as in a query",
    };
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else { return Err(BAD) };
    let asked = pairs.iter().filter(|(name, _)| name == "stream");
    let streams: Vec<_> = asked.map(|(_, value)| address(value)).collect::<Option<_>>().ok_or(BAD)?;
    match streams.len() {
        0 => Ok(None),
        1..=STREAMS_ASKED_MAX => Ok(Some(streams.into())),
        _ => Err(BAD),
    }
}

/// The series of streams that were asked for by name.
///
/// # Errors
/// For who may not be told names, and as every question to the cores.
pub(super) async fn of_named<C: Cores>(
    control: &Control<C>,
    headers: &HeaderMap,
    names: StreamNames,
) -> Result<Vec<Family>, Refusal> {
    if let Err(refusal) = control.trust(headers) {
        control.unauthorized.fetch_add(1, Ordering::Relaxed);
        return Err(refusal);
    }
    let cores = control.running()?;
    let _permit = permit(control).await?;
    let selection = Selection::Named(Arc::clone(&names));
    let (streams, stalled_cores) = gather(cores.selected_streams(&selection, SCRAPE_ASKS_MAX).await);
    let streams = each_once(streams);
    let is_there =
        |(app, name): &&(String, String)| streams.iter().any(|it| it.app == *app && it.name == *name);
    let missing: Vec<_> = names.iter().filter(|name| !is_there(name)).collect();
    // Nobody is to be told that a stream has ended when its core only says nothing.
    if !missing.is_empty() && !stalled_cores.is_empty() {
        return Err(Refusal::Stalled(stalled_cores));
    }
    let mut families = families(&streams);
    let mut live: Vec<_> = streams.iter().map(|it| sample(it, u64::from(it.publisher.is_some()))).collect();
    live.extend(missing.into_iter().map(|(app, name)| (labels(app, name), Value::Whole(0))));
    // A name that was said twice.
    live.sort_by(|(a, _), (b, _)| a.cmp(b));
    live.dedup_by(|(a, _), (b, _)| a == b);
    families.insert(0, Family::new("inrush_stream_live", "1 while a stream is published", false, live));
    Ok(families)
}

/// The series that every scrape has: of the streams with the highest bitrates on all cores. None for who may not be told names, while the engine
/// starts, or when the cores are asked too much.
pub(super) async fn of_top<C: Cores>(control: &Control<C>, headers: &HeaderMap) -> Vec<Family> {
    let count = control.top_streams.load(Ordering::Relaxed);
    if count == 0 || control.trust(headers).is_err() {
        return Vec::new();
    }
    let (Ok(cores), Ok(_permit)) = (control.running(), permit(control).await) else { return Vec::new() };
    let (streams, _) = gather(cores.selected_streams(&Selection::Top(count), SCRAPE_ASKS_MAX).await);
    let mut streams = each_once(streams);
    streams.sort_by(|a, b| {
        (Reverse(a.bits_in_per_second), &a.app, &a.name).cmp(&(
            Reverse(b.bits_in_per_second),
            &b.app,
            &b.name,
        ))
    });
    streams.truncate(count);
    families(&streams)
}

/// A stream that changes its home may be on two cores for a moment, and one series must not stand twice.
fn each_once(mut streams: Vec<StreamInfo>) -> Vec<StreamInfo> {
    streams.sort_by(|a, b| {
        (&a.app, &a.name, Reverse(a.messages_in)).cmp(&(&b.app, &b.name, Reverse(b.messages_in)))
    });
    streams.dedup_by(|a, b| a.app == b.app && a.name == b.name);
    streams
}

fn families(streams: &[StreamInfo]) -> Vec<Family> {
    let family = |is_counter, (name, help, value): Figure| {
        Family::new(name, help, is_counter, streams.iter().map(|it| sample(it, value(it))).collect())
    };
    let unhealthy = streams.iter().flat_map(|it| {
        it.health.iter().map(|health| {
            let mut labels = labels(&it.app, &it.name);
            labels.push(("code", health.code.label().to_owned()));
            (labels, Value::Whole(1))
        })
    });
    let unhealthy = Family::new(
        "inrush_stream_unhealthy",
        "1 while a health code holds for a stream, by code",
        false,
        unhealthy.collect(),
    );
    let gauges = GAUGES.into_iter().map(|figure| family(false, figure));
    gauges.chain(COUNTERS.into_iter().map(|figure| family(true, figure))).chain([unhealthy]).collect()
}

fn sample(stream: &StreamInfo, value: u64) -> (Labels, Value) {
    (labels(&stream.app, &stream.name), Value::Whole(value))
}

fn labels(app: &str, name: &str) -> Labels {
    vec![("app", app.to_owned()), ("name", name.to_owned())]
}
