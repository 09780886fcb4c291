//! Who is let in: paths, origins, the token.

use super::*;

#[test]
fn other_paths_and_methods_get_the_documented_refusal() {
    let (server, _engine) = serve();
    for path in ["/index.html", "/api", "/api/v1", "/api/v2/streams", "/api/v1/nothing", "/metrics/x"] {
        let (status, body) = get(server.address(), path);
        assert_eq!((status, &body["error"]["code"]), (404, &json!("no_route")), "{path}");
        assert!(body["error"]["message"].is_string());
    }
    for line in ["POST /api/v1/streams", "GET /api/v1/connections/7", "DELETE /metrics"] {
        let (status, _, body) = request(server.address(), line, "");
        assert_eq!(status, 405, "{line}");
        assert!(body.contains("\"code\":\"no_method\""), "{body}");
    }
}

#[test]
fn a_page_of_another_origin_gets_nothing() {
    let (server, engine) = serve();
    *engine.connections.lock().unwrap() = vec![connection(0, 7, Role::Player)];
    for header in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n", "Origin: null\r\n"] {
        for line in ["DELETE /api/v1/connections/7", "GET /api/v1/streams", "GET /metrics"] {
            let (status, head, body) = request(server.address(), line, header);
            assert_eq!(status, 403, "{line} {header}");
            assert!(body.contains("\"code\":\"foreign_origin\""), "{body}");
            assert!(!head.contains("access-control-"), "{head}");
        }
    }
    let rebound =
        "DELETE /api/v1/connections/7 HTTP/1.1\r\nHost: evil.example:8935\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(server.address(), rebound).0, 403);
    assert_eq!(engine.connections.lock().unwrap().len(), 1, "nothing was closed");
    let own = format!("Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n", server.address());
    assert_eq!(request(server.address(), "DELETE /api/v1/connections/7", &own).0, 204);
}

#[test]
fn with_a_token_everything_but_the_probes_asks_for_it() {
    let (token, path) = token_file("asks");
    let engine = Arc::new(Engine::default());
    engine.ready.store(true, Ordering::Relaxed);
    *engine.connections.lock().unwrap() = vec![connection(0, 7, Role::Player)];
    let started = |metrics_open| {
        let listen = "127.0.0.1:0".parse().unwrap();
        let settings = Settings { listen, token: Some(token.clone()), metrics_open, ..Settings::default() };
        let server: Server<Arc<Engine>> = start(&settings).unwrap();
        server.attach(Arc::clone(&engine));
        server
    };
    let server = started(false);
    let closed = [
        ("GET /metrics", 200),
        ("GET /api/v1/streams", 200),
        ("GET /api/v1/connections", 200),
        ("GET /api/v1/forwards", 200),
        ("DELETE /api/v1/connections/7", 204),
        // What exists is nobody's business either.
        ("GET /dashboard", 404),
        ("GET /api/v1/streams/live/none", 404),
        ("DELETE /metrics", 405),
        ("OPTIONS /api/v1/streams", 405),
    ];
    for (line, with_token) in closed {
        for (said, challenge) in [
            ("", "www-authenticate: bearer realm=\"inrush\"\r\n"),
            (
                "Authorization: Bearer 0123456789abcdef\r\n",
                "www-authenticate: bearer realm=\"inrush\", error=\"invalid_token\"\r\n",
            ),
        ] {
            let (status, head, body) = request(server.address(), line, said);
            assert_eq!(status, 401, "{line} {said}");
            assert!(head.contains(challenge), "{head}");
            assert!(body.starts_with("{\"error\":{\"code\":\"unauthorized\",\"message\":"), "{body}");
        }
        let (status, ..) = request(server.address(), line, &format!("Authorization: Bearer {TOKEN}\r\n"));
        assert_eq!(status, with_token, "{line}");
    }
    for line in ["GET /healthz", "GET /readyz"] {
        assert_eq!(request(server.address(), line, "").0, 200, "{line}");
    }
    // The page asks for the token itself.
    for path in dashboard::PAGES {
        let (status, head, body) = request(server.address(), &format!("GET {path}"), "");
        assert_eq!((status, body.contains(TOKEN)), (200, false), "{path}");
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'; "), "{head}");
    }
    // The token makes no other site's page welcome.
    let page = format!("Authorization: Bearer {TOKEN}\r\nOrigin: http://evil.example\r\n");
    assert_eq!(request(server.address(), "GET /api/v1/streams", &page).0, 403);

    let server = started(true);
    let (status, _, body) = request(server.address(), "GET /metrics", "");
    assert_eq!(status, 200);
    assert!(body.contains("\ninrush_control_unauthorized_total 0\n"), "{body}");
    assert_eq!(request(server.address(), "GET /api/v1/streams", "").0, 401);
    let (.., body) = request(server.address(), "GET /metrics", "");
    assert!(body.contains("\ninrush_control_unauthorized_total 1\n"), "{body}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn nobody_listens_to_others_without_a_token() {
    let everybody = Settings { listen: "0.0.0.0:0".parse().unwrap(), ..Settings::default() };
    let error = start::<Arc<Engine>>(&everybody).err().expect("refused").to_string();
    assert_eq!(error, "control HTTP on 0.0.0.0:0, where others reach it, and there is no control.token");
}
