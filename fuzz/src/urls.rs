//! Target `urls`: RTMP URLs, and where a server's `tcUrl` leads from one.
//!
//! # What is promised
//! - A URL that was taken apart and put together again is the same.
//! - What a reference leads to keeps the stream's name, names a server and an app, and is no longer than what it was made of.
//! # Input
//! Two texts with a line end between them: a URL and a reference.

use inrush::session::{ClientUrl, ReconnectUrl};

/// One URL, and one reference from it.
pub fn urls(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (url, reference) = text.split_once('\n').unwrap_or((&text, ""));
    let is_odd = |c: char| c.is_whitespace() || matches!(c, '[' | ']');
    if let Ok(reconnect) = ReconnectUrl::parse(reference)
        && !reference.contains(is_odd)
    {
        assert!(ClientUrl::parse(&reconnect.tc_url("live")).is_ok(), "{reference:?} leads nowhere");
    }
    let Ok(parsed) = ClientUrl::parse(url) else { return };
    if parsed.host.contains(['[', ']']) {
        return; // no host: where it ends depends on who looks
    }
    check(&parsed);
    // White space at the end of a URL is none of it.
    let again = ClientUrl::parse(&parsed.tc_url).expect("a tcUrl is a URL");
    let said = |url: &ClientUrl| (url.tls, url.host.clone(), url.port, url.app.trim_end().to_owned());
    assert_eq!(said(&again), said(&parsed));
    let Ok(resolved) = parsed.resolve(reference) else { return };
    if resolved.host.contains(['[', ']']) {
        return;
    }
    check(&resolved);
    assert_eq!(resolved.name, parsed.name);
    // Beside the texts: a scheme, a port, and brackets.
    assert!(resolved.tc_url.len() <= parsed.tc_url.len() + 2 * reference.len() + 20, "{}", resolved.tc_url);
    assert_eq!(parsed.resolve("").as_ref(), Ok(&parsed));
}

fn check(url: &ClientUrl) {
    assert!(!url.host.is_empty() && !url.app.is_empty(), "{url:?}");
    if url.app.contains(char::is_whitespace) {
        return; // no URL has any, and what becomes of it depends on where it stands
    }
    // The app of a resolved one may have several segments, which a URL alone would divide into app and name.
    let again = ClientUrl::parse(&url.tc_url).expect("a tcUrl is a URL");
    assert!(again.tls == url.tls && url.tc_url.ends_with(&url.app), "{}", url.tc_url);
}
