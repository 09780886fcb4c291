//! What is refused before anybody looks at the request: other origins' pages, and bodies that no request has.
//!
//! The API need not have a token while it listens on loopback, so a web page must not be able to use the browser of somebody at this
//! machine as its arm: neither by a form or `fetch` to our address, nor by letting its own name point at it (DNS rebinding).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::body::BODY_BYTES_MAX;
use super::cores::Cores;
use super::refusal::Refusal;
use super::router::Control;

/// Says whether the browser's user went to us (`none`), our own page did (`same-origin`), or some other page did.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub(super) async fn refuse_other_origins<C: Cores>(
    State(control): State<Arc<Control<C>>>,
    request: Request,
    next: Next,
) -> Response {
    match foreign(request.headers(), control.is_loopback) {
        Some(why) => Refusal::ForeignOrigin(why).into_response(),
        None => next.run(request).await,
    }
}

pub(super) async fn refuse_long_bodies(request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > BODY_BYTES_MAX as u64) {
        return Refusal::BodyTooLong.into_response();
    }
    next.run(request).await
}

/// Why a request comes from somewhere else, if it does. Programs send none of these headers but `Host`.
fn foreign(headers: &HeaderMap, is_loopback: bool) -> Option<&'static str> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(HOST).unwrap_or_default();
    if text(SEC_FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none") {
        return Some("requests from other sites' pages are refused");
    }
    if let Some(origin) = text(ORIGIN) {
        let origin_host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if !origin_host.is_some_and(|origin| origin.eq_ignore_ascii_case(host)) {
            return Some("requests from other origins' pages are refused");
        }
    }
    // A name that leads to loopback need not be ours: its owner decides where it leads.
    if is_loopback && !host.is_empty() && !is_loopback_name(host) {
        return Some("this address answers to localhost and loopback addresses only");
    }
    None
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn programs_and_our_own_pages_pass_and_everybody_elses_do_not() {
        let host = ("host", "127.0.0.1:8935");
        for allowed in [
            &[host][..],
            &[("host", "localhost:8935")],
            &[("host", "LOCALHOST")],
            &[("host", "[::1]:8935")],
            &[("host", "127.1.2.3")],
            &[],
            &[host, ("sec-fetch-site", "none")],
            &[host, ("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:8935")],
        ] {
            assert_eq!(foreign(&headers(allowed), true), None, "{allowed:?}");
        }
        for refused in [
            &[host, ("sec-fetch-site", "cross-site")][..],
            &[host, ("sec-fetch-site", "same-site")],
            &[host, ("origin", "null")],
            &[host, ("origin", "http://evil.example")],
            &[host, ("origin", "http://127.0.0.1:80")],
            // Rebound: the page's own name leads here, so that origin and host agree.
            &[("host", "evil.example:8935"), ("origin", "http://evil.example:8935")],
            &[("host", "evil.example")],
            &[("host", "localhost.evil.example")],
            &[("host", "192.0.2.1:8935")],
            &[("host", "[::2]:8935")],
        ] {
            assert!(foreign(&headers(refused), true).is_some(), "{refused:?}");
        }
    }

    #[test]
    fn an_address_that_others_reach_has_names_we_cannot_know() {
        assert_eq!(foreign(&headers(&[("host", "edge1.example:8935")]), false), None);
        let page = [("host", "edge1.example"), ("origin", "http://evil.example")];
        assert!(foreign(&headers(&page), false).is_some());
    }
}
