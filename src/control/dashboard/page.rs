//! The page's files, and what a browser is told to keep out of it.

use axum::http::Uri;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::response::{IntoResponse, Response};

use crate::control::refusal::Refusal;

/// Where the page and what belongs to it stand.
pub const PAGES: [&str; 3] = ["/", "/dashboard.css", "/dashboard.js"];

/// Nothing but these files, and the API of this very server; no script or style within the page; no other page around it; and no text that
/// becomes markup. The icon is a `data:` of the page's own.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                          require-trusted-types-for 'script'; trusted-types 'none'";

pub(in crate::control) async fn page(uri: Uri) -> Response {
    let (kind, text) = match uri.path() {
        "/" => ("text/html; charset=utf-8", include_str!("page.html")),
        "/dashboard.css" => ("text/css; charset=utf-8", include_str!("page.css")),
        "/dashboard.js" => ("text/javascript; charset=utf-8", include_str!("page.js")),
        _ => return Refusal::NoRoute.into_response(),
    };
    let head = [
        (CONTENT_TYPE, kind),
        // Another version may run the next time.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (head, text).into_response()
}

#[cfg(test)]
mod tests {
    /// What the policy forbids is not there either, so that nothing of the page fails by it.
    #[test]
    fn the_page_keeps_its_own_policy_and_is_small() {
        let (html, css, script) =
            (include_str!("page.html"), include_str!("page.css"), include_str!("page.js"));
        for (forbidden, text) in [
            ("style=", html),
            ("<style", html),
            (" onclick", html),
            (" onload", html),
            ("http:", html),
            ("https:", html),
            ("@import", css),
            ("url(", css),
            ("innerHTML", script),
            ("outerHTML", script),
            ("insertAdjacentHTML", script),
            ("document.write", script),
            ("eval(", script),
            ("Function(", script),
            ("https:", script),
        ] {
            assert!(!text.replace("http://www.w3.org/2000/svg", "").contains(forbidden), "{forbidden}");
        }
        let scripts: Vec<_> = html.match_indices("<script").collect();
        assert_eq!(scripts.len(), 1, "one, and it stands elsewhere");
        assert!(html.contains("<script src=\"/dashboard.js\" defer></script>"));
        assert!(html.len() + css.len() + script.len() < 64 * 1024, "tens of kilobytes");
    }
}
