//! Parameters in the query of a stream's address.
//!
//! A query is `name=value` pairs joined with `&`, as it came from the peer ([`StreamAddress::params`](super::StreamAddress)). Encoders join
//! several queries to one, so a name may come twice: the first one counts.

use alloc::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The value of the first parameter of this name, with its percent-encoding undone; `None` when there is none, or when what it decodes
/// to is not UTF-8. A name without `=` has an empty value. A plus sign is a plus sign.
pub fn param<'a>(params: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut pairs = params.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(found, _)| *found == name)?;
    percent_decode_str(value).decode_utf8().ok()
}

/// Whether a parameter asks for a dry run, as it does at Twitch: `bandwidthtest=1` or `bandwidthtest=true`.
pub fn asks_for_dry_run(params: &str) -> bool {
    param(params, "bandwidthtest").is_some_and(|value| matches!(&*value, "1" | "true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_name_counts_and_is_decoded() {
        let params = "a=1&b=x%2Fy+z&a=2&c&=d&e=%FF&f=1=2";
        assert_eq!(param(params, "a").as_deref(), Some("1"));
        assert_eq!(param(params, "b").as_deref(), Some("x/y+z"));
        assert_eq!(param(params, "c").as_deref(), Some(""));
        assert_eq!(param(params, "").as_deref(), Some("d"));
        assert_eq!(param(params, "e"), None, "not UTF-8");
        assert_eq!(param(params, "f").as_deref(), Some("1=2"));
        assert_eq!(param(params, "g"), None);
        assert_eq!(param("", "a"), None);
    }

    #[test]
    fn a_dry_run_is_asked_for_by_name() {
        for (params, asks) in [
            ("bandwidthtest=1", true),
            ("key=x&bandwidthtest=true", true),
            ("bandwidthtest=0", false),
            ("bandwidthtest", false),
            ("bandwidthtest=0&bandwidthtest=1", false),
            ("xbandwidthtest=1", false),
            ("", false),
        ] {
            assert_eq!(asks_for_dry_run(params), asks, "{params}");
        }
    }
}
