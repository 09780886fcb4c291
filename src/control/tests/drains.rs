//! A drain that is asked for, and bodies of requests.

use super::*;

#[test]
fn a_drain_is_begun_once_and_shown() {
    let (server, engine) = serve();
    let roles = |publishers: u64, players: u64, pulls: u64| json!({"pending": 0, "publishers": publishers, "standbys": 0, "players": players, "forwards": 0, "pulls": pulls});
    let (status, shown) = get(server.address(), "/api/v1/drain");
    assert_eq!((status, &shown["state"], &shown["began_with"]), (200, &json!("serving"), &Value::Null));
    assert_eq!((&shown["deadline_seconds"], &shown["left"]), (&Value::Null, &roles(0, 4, 0)));
    let (status, shown) = post(server.address(), "/api/v1/drain", "{\"deadline_seconds\": 7}");
    assert_eq!(status, 202, "{shown}");
    assert_eq!(*engine.drain.lock().unwrap(), Some(Duration::from_secs(7)));
    let expected = json!({
        "state": "cutting", "deadline_seconds": 7.0, "elapsed_seconds": 1.5, "began_with": roles(6, 0, 1), "left": roles(0, 4, 0),
        "told": 2, "moved": 0, "closed_at_key_frame": 0, "closed_without_video": 0, "closed_at_deadline": 0, "stalled_cores": []
    });
    assert_eq!(shown, expected);
    assert_eq!(get(server.address(), "/api/v1/drain"), (200, expected));
    let (status, body) = post(server.address(), "/api/v1/drain", "");
    assert_eq!((status, &body["error"]["code"]), (409, &json!("draining")));
    assert_eq!(*engine.drain.lock().unwrap(), Some(Duration::from_secs(7)), "it goes on as it was");
    engine.stalled[1].store(true, Ordering::Relaxed);
    assert_eq!(get(server.address(), "/api/v1/drain").1["stalled_cores"], json!([1]));
}

#[test]
fn a_bad_body_is_refused_with_the_field_and_what_it_may_be() {
    let (server, engine) = serve();
    let allowed = "a whole number of seconds, 0 to 86400";
    for (body, message) in [
        ("{\"deadline_seconds\": 86401}", "86401 is out of range"),
        ("{\"deadline_seconds\": -1}", "-1 is out of range"),
        ("{\"deadline_seconds\": 1.5}", "1.5 is out of range"),
        ("{\"deadline_seconds\": \"20\"}", "\"20\" is no number"),
        ("{\"deadline_seconds\": [20]}", "[20] is no number"),
    ] {
        let (status, answer) = post(server.address(), "/api/v1/drain", body);
        assert_eq!(status, 400, "{body}");
        let error =
            json!({"code": "bad_field", "message": message, "field": "deadline_seconds", "allowed": allowed});
        assert_eq!(answer["error"], error, "{body}");
    }
    let (status, answer) = post(server.address(), "/api/v1/drain", "{\"deadline\": 20}");
    let error = json!({
        "code": "bad_field", "message": "there is no such field", "field": "deadline", "allowed": "deadline_seconds"
    });
    assert_eq!((status, &answer["error"]), (400, &error));
    for body in ["{", "20", "[]", "{\"deadline_seconds\": 20} x", "\u{fffd}"] {
        let (status, answer) = post(server.address(), "/api/v1/drain", body);
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("bad_body")), "{body}");
    }
    for (headers, status, code) in [
        ("Content-Length: 2\r\nContent-Type: text/plain\r\n", 415, "not_json"),
        ("Content-Length: 2\r\n", 415, "not_json"),
        // Its length is not known before it is over the bound.
        ("Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n", 413, "body_too_long"),
        (
            "Content-Length: 2\r\nContent-Type: application/json\r\nOrigin: http://evil.example\r\n",
            403,
            "foreign_origin",
        ),
    ] {
        let body = match headers.contains("chunked") {
            true => format!("5000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x5000)),
            false => "{}".to_owned(),
        };
        let text = format!(
            "POST /api/v1/drain HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n{body}",
            server.address()
        );
        let (refused, _, answer) = exchange(server.address(), &text);
        assert_eq!(refused, status, "{headers}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    }
    assert_eq!(*engine.drain.lock().unwrap(), None, "nothing has begun");
    let mixed = "POST /api/v1/drain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Type: Application/JSON; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(exchange(server.address(), mixed).0, 202);
}
