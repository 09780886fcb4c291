//! What the API says of streams and connections, and the closing of one.

use super::*;

#[test]
fn streams_of_all_cores_come_sorted_and_in_the_documented_shape() {
    let (server, engine) = serve();
    *engine.streams.lock().unwrap() =
        vec![stream(1, "live", "b"), stream(0, "live", "a"), stream(1, "a", "z")];
    let (status, mut body) = get(server.address(), "/api/v1/streams");
    assert_eq!(status, 200);
    let names: Vec<_> =
        body["streams"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["z", "a", "b"]);
    assert_eq!(body["stalled_cores"], json!([]));
    let ingest = body["streams"][1].as_object_mut().unwrap().remove("ingest").unwrap();
    assert_eq!(
        (&ingest["frames"], &ingest["codecs_unknown"], &ingest["packets_unknown"]),
        (&json!(3), &json!(2), &json!(0))
    );
    assert_eq!(
        body["streams"][1],
        json!({
            "app": "live", "name": "a", "name_hash": "0badcafe", "core": 0, "dry_run": false, "publisher": "17",
            "standby": "18", "absent": false, "discontinuities": 2, "health": [{"code": "no_audio", "seconds": 3.2}], "subscribers": 3, "codecs": ["avc1.64001f", "mp4a.40.2"], "tracks": [
                {"id": 0, "kind": "video", "codec": "avc1", "codec_string": "avc1.64001f",
                 "resolution": {"width": 1280, "height": 720}, "sample_rate_hz": null, "channels": null},
                {"id": 3, "kind": "audio", "codec": "mp4a", "codec_string": "mp4a.40.2", "resolution": null,
                 "sample_rate_hz": 48000, "channels": 2},
            ],
            "resolution": {"width": 1280, "height": 720},
            "audio": {"sample_rate_hz": 48000, "channels": 2}, "announced_tracks": [{
                "id": 1, "kind": "video", "codec": "av01", "kbps": 2000, "resolution": {"width": 1024, "height": 768},
                "frame_rate": null, "sample_rate_hz": null, "channels": null
            }], "limits": {
                "bits_per_second": null, "frames_per_second": null, "width": null, "height": 1080, "seconds": null, "codecs": null
            }, "bits_in_per_second": 3000000, "bytes_in": 9,
            "messages_in": 8, "gop_bytes": 7, "gop_frames": 6, "timestamp_steps_back": 5, "timestamp_jumps": 4, "timestamps_held": 12, "timestamp_clock_changes": 13,
            "media": {
                "video_bits_per_second": 1, "audio_bits_per_second": 2, "frames_per_second": 29.97, "gop_frames": 3, "gop_ms": 4,
                "key_frame_interval_ms": 5, "av_skew_ms": -6, "clock_drift_ppm": null, "arrival_jitter_ms": 7.001
            }, "tcp": null,
            "uptime_seconds": 1.5
        })
    );
}

#[test]
fn one_stream_is_found_by_app_and_name_however_they_are_written() {
    let (server, engine) = serve();
    *engine.streams.lock().unwrap() =
        vec![stream(0, "live", "a/b c"), stream(1, "x/y", "n"), stream(1, "", "bare")];
    for path in ["live/a/b%20c", "live/a%2Fb%20c", "l%69ve/a/b%20c", "x%2Fy/n", "/bare"] {
        let (status, body) = get(server.address(), &format!("/api/v1/streams/{path}"));
        assert_eq!(status, 200, "{path}: {body}");
        assert_eq!(body["stalled_cores"], json!([]));
        assert!(body["stream"]["name"].is_string());
    }
    for path in ["live/a", "x/y/n", "live", "live/%ff", "live/"] {
        let (status, body) = get(server.address(), &format!("/api/v1/streams/{path}"));
        assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")), "{path}");
    }
}

#[test]
fn connections_come_in_the_documented_shape_and_once_each() {
    let (server, engine) = serve();
    *engine.connections.lock().unwrap() = vec![
        connection(1, 7, Role::Player),
        connection(0, u64::MAX, Role::Publisher),
        // Seen on both cores, as it moved while they answered.
        connection(0, 7, Role::Pending),
    ];
    let (status, body) = get(server.address(), "/api/v1/connections");
    assert_eq!(status, 200);
    assert_eq!(body["connections"].as_array().unwrap().len(), 2);
    assert_eq!(
        body["connections"][1],
        json!({
            "id": "18446744073709551615", "peer": "[2001:db8::1]:50000", "core": 0, "role": "publisher", "app": "live",
            "name": "a", "name_hash": "0badcafe", "flash_ver": "FMLE/3.0 \"x\"\n", "encoder": "ffmpeg",
            "enhanced": {"fourcc": ["*"], "caps": ["reconnect", "mod_ex"]}, "bits_in_per_second": 1, "bits_out_per_second": 2, "bytes_in": 3, "bytes_out": 4, "messages_in": 5, "messages_out": 6, "dropped": 7,
            "held_bytes": 9, "uptime_seconds": 8.0, "codecs": "", "resolution": null, "health": [],
            "tls": {"version": "TLSv1.2", "cipher": "TLS_X", "server_name": "a.example", "resumed": true},
            "tcp": tcp_json(),
            "traffic": {"congestion": "cubic", "dscp": 34}
        })
    );
    assert_eq!(body["connections"][0]["enhanced"], json!(null));
    assert_eq!(body["connections"][0]["tls"]["server_name"], json!(null));
    assert_eq!(body["connections"][0]["tcp"], json!(null));
}

#[test]
fn a_stalled_core_is_named_and_the_others_answer() {
    let (server, engine) = serve();
    *engine.streams.lock().unwrap() = vec![stream(0, "live", "a"), stream(1, "live", "b")];
    engine.stalled[1].store(true, Ordering::Relaxed);
    let (status, body) = get(server.address(), "/api/v1/streams");
    assert_eq!((status, &body["stalled_cores"]), (200, &json!([1])));
    assert_eq!(body["streams"].as_array().unwrap().len(), 1);
    let (status, body) = get(server.address(), "/api/v1/connections");
    assert_eq!((status, &body["stalled_cores"]), (200, &json!([1])));
    // The stream that is seen is found; one that is not may be on the core that does not answer.
    assert_eq!(get(server.address(), "/api/v1/streams/live/a").0, 200);
    let (status, body) = get(server.address(), "/api/v1/streams/live/b");
    assert_eq!((status, &body["error"]["stalled_cores"]), (503, &json!([1])));
}

#[test]
fn a_connection_is_closed_once() {
    let (server, engine) = serve();
    let delete = |id: &str| {
        let (status, _, body) = request(server.address(), &format!("DELETE /api/v1/connections/{id}"), "");
        (status, serde_json::from_str::<Value>(&body).map(|body| body["error"]["code"].clone()).ok())
    };
    *engine.connections.lock().unwrap() =
        vec![connection(1, 7, Role::Player), connection(0, 8, Role::Player)];
    assert_eq!(delete("7"), (204, None));
    assert_eq!(delete("7"), (404, Some(json!("not_found"))));
    assert_eq!(delete("seven"), (404, Some(json!("not_found"))));
    assert_eq!(delete("%ff"), (404, Some(json!("not_found"))), "also what no name can be");
    engine.stalled[1].store(true, Ordering::Relaxed);
    assert_eq!(delete("9"), (503, Some(json!("stalled"))));
    assert_eq!(delete("8"), (204, None), "another core's silence is no reason");
}
