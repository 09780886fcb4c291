//! The server below the routes: long heads and bodies, connections beyond the bound, slow clients, its port.

use super::*;

#[test]
fn long_heads_and_long_bodies_are_refused() {
    let (server, _engine) = serve();
    let long = format!("X-Long: {}\r\n", "x".repeat(server::HEAD_BYTES_MAX + 1));
    assert_eq!(request(server.address(), "GET /healthz", &long).0, 431);
    let (status, _, body) = request(server.address(), "GET /healthz", "Content-Length: 16385\r\n");
    assert_eq!(status, 413);
    assert!(body.contains("\"code\":\"body_too_long\""), "{body}");
}

#[test]
fn connections_beyond_the_bound_are_closed_and_counted_and_the_others_stay() {
    let (server, _engine) = serve();
    let connect = || TcpStream::connect(server.address()).unwrap();
    let idle: Vec<_> = (0..server::CONNECTIONS_MAX).map(|_| connect()).collect();
    let mut one_more = connect();
    one_more.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(matches!(one_more.read(&mut [0; 1]), Ok(0) | Err(_)), "closed without a word");
    drop(idle);
    let deadline = Instant::now() + Duration::from_secs(5);
    let scrape = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address());
    let (_, _, body) = loop {
        match try_exchange(server.address(), &scrape) {
            Some(answer) => break answer,
            None => assert!(Instant::now() < deadline, "the idle ones are gone and there is no room"),
        }
    };
    let refused =
        body.lines().find_map(|line| line.strip_prefix("inrush_control_connections_refused_total "));
    assert!(refused.expect("counted").parse::<u64>().unwrap() >= 1);
}

#[test]
fn a_slow_client_is_cut_and_a_busy_one_ends_with_its_life() {
    let patience = server::Patience {
        head: Duration::from_millis(200),
        body: Duration::from_millis(200),
        unread: Duration::from_millis(200),
        life: Duration::from_millis(600),
    };
    let settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
    let server: Server<Arc<Engine>> = server::start_with(&settings, patience).unwrap();
    let connect = || {
        let socket = TcpStream::connect(server.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    };

    // Half a head and then nothing.
    let start = Instant::now();
    let mut slow = connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    let _ = slow.read_to_end(&mut Vec::new());
    assert!((200..2000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());

    // A body that does not come: it is said why, as the head was whole.
    server.attach(Arc::new(Engine::default()));
    let start = Instant::now();
    let mut slow = connect();
    let head = "POST /api/v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n{";
    slow.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = slow.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"slow_body\""), "{answer}");
    assert!((200..2000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());

    // One request after the other, without end.
    let start = Instant::now();
    let mut busy = connect();
    let mut answers = 0;
    while busy.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").is_ok() {
        match busy.read(&mut [0; 1024]) {
            Ok(0) | Err(_) => break,
            Ok(_) => answers += 1,
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(answers >= 2, "served while it lived");
    assert!((600..3000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[test]
fn a_port_in_use_is_an_error_that_says_what_to_do() {
    let server = start_on("127.0.0.1:0");
    let taken = Settings { listen: server.address(), ..Settings::default() };
    let error = start::<Arc<Engine>>(&taken).err().expect("refused").to_string();
    let port = server.address().port();
    assert_eq!(
        error,
        format!(
            "control HTTP: 127.0.0.1:{port} is in use; see who has it with `ss -ltnp 'sport = :{port}'`, \
             or choose another with --http"
        )
    );
    let (token, path) = token_file("elsewhere");
    let elsewhere =
        Settings { listen: "192.0.2.1:8935".parse().unwrap(), token: Some(token), ..Settings::default() };
    let error = start::<Arc<Engine>>(&elsewhere).err().expect("refused").to_string();
    assert!(error.starts_with("control HTTP: cannot listen on 192.0.2.1:8935: "), "{error}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn dropping_the_server_frees_its_port_also_under_open_connections() {
    let (server, _engine) = serve();
    let address = server.address();
    let _idle = TcpStream::connect(address).unwrap();
    assert_eq!(get(address, "/healthz").0, 200);
    drop(server);
    let again: Server<Arc<Engine>> =
        start(&Settings { listen: address, ..Settings::default() }).expect("free again");
    assert_eq!(get(again.address(), "/healthz").0, 200);
}
