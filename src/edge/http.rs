//! HTTP and HTTPS requests to back ends, on the edge's thread.
//!
//! Redirects are not followed: where questions go is the configuration's, not the answer's. Connections are kept and used again.
//! # Bounds
//! A body is read up to what the caller takes, a head up to [`HEAD_BYTES_MAX`]; idle connections: [`IDLE_MAX`] a host for [`IDLE_TIME`]. How long a
//! request may take is the caller's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Longest head of an answer, bytes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Idle connections that are kept to one host.
pub const IDLE_MAX: usize = 32;

/// How long an idle connection is kept: less than what common servers allow, so that a request seldom meets one that is being closed.
pub const IDLE_TIME: Duration = Duration::from_secs(10);

/// How long one address of a host may take to accept a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host was not there, or went away: no connection, no TLS, no whole answer.
    Unreachable,
    /// The answer was longer than the caller takes.
    TooLong,
}

/// Who is asked.
#[derive(Clone)]
pub struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// Reads a URL that can be asked.
///
/// # Errors
/// Says what is wrong. It does not repeat the URL, which may hold a secret.
pub fn url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("is no URL: {error}"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err("is no http:// or https:// URL".into()),
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("names no host".into());
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        // It would be shown wherever the URL is, and it is not sent.
        return Err("has a user or password in it, which is not supported".into());
    }
    Ok(uri)
}

impl Client {
    /// One that trusts Mozilla's roots, and those in a PEM file.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = ca_file {
            let shown = path.display();
            let mut count = 0;
            for certificate in
                CertificateDer::pem_file_iter(path).map_err(|error| format!("{shown}: {error}"))?
            {
                let certificate = certificate.map_err(|error| format!("{shown}: is not PEM: {error}"))?;
                roots.add(certificate).map_err(|error| format!("{shown}: {error}"))?;
                count += 1;
            }
            if count == 0 {
                return Err(format!("{shown}: has no certificate in it"));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIME_MAX));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self { inner })
    }

    /// Posts a body of this type.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(
        &self,
        url: &Uri,
        content_type: &'static str,
        headers: Vec<(HeaderName, String)>,
        body: Vec<u8>,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(Method::POST).uri(url).header(CONTENT_TYPE, content_type);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.send(request, Full::from(body)).await
    }

    /// Gets a body.
    ///
    /// # Errors
    /// Likewise.
    pub async fn get(&self, url: &Uri) -> Result<Answer, Failure> {
        self.send(Request::builder().uri(url), Full::default()).await
    }

    async fn send(
        &self,
        request: hyper::http::request::Builder,
        body: Full<Bytes>,
    ) -> Result<Answer, Failure> {
        let request = request.header(USER_AGENT, concat!("inrush/", env!("CARGO_PKG_VERSION"))).body(body);
        let request = request.map_err(|_| Failure::Unreachable)?;
        let response = self.inner.request(request).await.map_err(|_| Failure::Unreachable)?;
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}

/// An answer whose head is there. Its body is read apart, since a status counts whatever becomes of the body.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    headers: HeaderMap,
    body: Incoming,
}

impl Answer {
    /// The first header of this name, as it came.
    pub fn header(&self, name: &HeaderName) -> Option<&[u8]> {
        self.headers.get(name).map(hyper::header::HeaderValue::as_bytes)
    }

    /// The body.
    ///
    /// # Errors
    /// When it does not come whole, or is longer than `bytes_max`.
    pub async fn body(self, bytes_max: usize) -> Result<Bytes, Failure> {
        let body = Limited::new(self.body, bytes_max).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { Failure::TooLong } else { Failure::Unreachable }
        })?;
        Ok(body.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_scheme_and_a_host() {
        for good in ["http://h", "https://h:8443/a?b=c", "http://127.0.0.1:80/x", "http://[::1]/"] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in ["", "h", "/path", "ftp://h/", "http://", "http:///x", "rtmp://h/a", "http://h h/"] {
            let problem = url(bad).unwrap_err();
            assert!(problem.starts_with("is no ") || problem.starts_with("names no "), "{bad}: {problem}");
        }
        for secret in ["https://user:hunter2@h/", "http://hunter2@h:80/a"] {
            let problem = url(secret).unwrap_err();
            assert!(problem.starts_with("has a user") && !problem.contains("hunter2"), "{problem}");
        }
    }
}
