//! A back end as operators have them: an HTTP server that says what the test wants, and remembers what it was asked.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;

/// Requests that it remembers, so that a test may go on for long.
pub const REMEMBERED_MAX: usize = 10_000;

/// What it was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path with query.
    pub path: String,
    /// Names (lower case) and values.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The fields of a form, in the body or in the query, in their order.
    pub fn form(&self) -> Vec<(String, String)> {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        let decode = |text: &str| {
            percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
        };
        let pairs = query.split('&').chain(self.body.split('&')).filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect()
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What it says.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status and a body.
    Say(u16, String),
    /// The same, later.
    Late(Duration, u16, String),
    /// A status with a header.
    With(u16, &'static str, String),
    /// Nothing: it closes.
    HangUp,
}

type Mind = Box<dyn Fn(&Request) -> Answer + Send + Sync>;

struct Shared {
    mind: Mutex<Arc<Mind>>,
    requests: Mutex<VecDeque<Request>>,
    stopping: AtomicBool,
}

/// A running back end; dropping it ends it.
pub struct BackEnd {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl BackEnd {
    /// On a free port of 127.0.0.1.
    pub fn start(mind: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), mind)
    }

    /// On this address.
    pub fn start_on(address: SocketAddr, mind: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            mind: Mutex::new(Arc::new(Box::new(mind))),
            requests: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let ours = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if ours.stopping.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&ours);
                // It ends with its one answer, or with its time.
                std::thread::spawn(move || drop(serve(socket, &shared)));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Says something else from now on.
    pub fn change_mind(&self, mind: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *self.shared.mind.lock().expect("no panic in between") = Arc::new(Box::new(mind));
    }

    /// What it was asked so far; of many, the last [`REMEMBERED_MAX`].
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no panic in between").iter().cloned().collect()
    }
}

impl Shared {
    fn remember(&self, request: Request) {
        let mut requests = self.requests.lock().expect("no panic in between");
        if requests.len() == REMEMBERED_MAX {
            requests.pop_front();
        }
        requests.push_back(request);
    }
}

fn serve(mut socket: TcpStream, shared: &Shared) -> std::io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(socket.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut request = Request { path, headers, body: String::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_string(&mut request.body)?;
    let mind = Arc::clone(&shared.mind.lock().expect("no panic in between"));
    let answer = mind(&request);
    shared.remember(request);
    let (status, header, body) = match answer {
        Answer::HangUp => return Ok(()),
        Answer::Say(status, body) => (status, String::new(), body),
        Answer::Late(delay, status, body) => {
            std::thread::sleep(delay);
            (status, String::new(), body)
        }
        Answer::With(status, name, value) => (status, format!("{name}: {value}\r\n"), String::new()),
    };
    write!(
        socket,
        "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\nConnection: close\r\n{header}\r\n{body}",
        body.len()
    )
}

impl Drop for BackEnd {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
