//! Servers to load: `inrush`, and Debian's nginx-rtmp, started as the table of figures starts them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use inrush_loadtest::peers::server::{self, Inrush, Programs, Running};
use inrush_loadtest::peers::{child, http, nginx};
use serde_json::Value;

use super::{Scratch, wait_until};

/// A server on a port of its own, in one process; ended when dropped.
pub struct Server {
    running: Running,
    /// Where it has its files.
    _folder: Scratch,
}

impl Server {
    /// `inrush` with one core.
    #[track_caller]
    pub fn inrush() -> Self {
        Self::inrush_with("")
    }

    /// The same with more keys of every app, and tables after them.
    #[track_caller]
    pub fn inrush_with(more: &'static str) -> Self {
        let programs = Programs { inrush: inrush(), sink: PathBuf::new(), nginx: PathBuf::new() };
        Self::start("inrush", |cpus, folder| {
            let settings = Inrush { more, ..Inrush::default() };
            server::Server::Inrush(settings).start(&programs, "127.0.0.1", cpus, folder, None)
        })
    }

    /// What `inrush` tells of a stream.
    #[track_caller]
    pub fn stream(&self, name: &str) -> Value {
        let path = format!("/api/v1/streams/live/{name}");
        let body = http::request("GET", self.http(), &path).expect("the stream is there");
        serde_json::from_str(&body).expect("what is told is JSON")
    }

    /// nginx-rtmp, its one worker being the process itself; it gives players no message before the first key frame.
    #[track_caller]
    pub fn nginx_rtmp() -> Self {
        Self::nginx_rtmp_with("")
    }

    /// The same with more directives of its application.
    #[track_caller]
    pub fn nginx_rtmp_with(more: &str) -> Self {
        Self::start("nginx", |cpus, folder| {
            let live = format!("wait_key on; wait_video on; publish_notify on; {more}");
            nginx::start(Path::new(nginx::PROGRAM), "127.0.0.1", cpus, folder, &live)
        })
    }

    #[track_caller]
    fn start(name: &str, start: impl FnOnce(&[usize], &Path) -> Result<Running, String>) -> Self {
        let folder = Scratch::new(name);
        fs::create_dir_all(folder.path()).expect("make a folder for a server");
        let cpus = child::cpus().expect("the processors are known");
        let running = start(&cpus, folder.path()).unwrap_or_else(|why| panic!("{why}"));
        Self { running, _folder: folder }
    }

    /// Where it serves RTMP.
    pub fn address(&self) -> SocketAddr {
        self.running.rtmp().expect("it was started")
    }

    /// The connections that `inrush` has.
    #[track_caller]
    pub fn connections(&self) -> Vec<Value> {
        let body = http::request("GET", self.http(), "/api/v1/connections").expect("a list of connections");
        let mut list: Value = serde_json::from_str(&body).expect("the list is JSON");
        serde_json::from_value(list["connections"].take()).expect("a list of connections")
    }

    /// Lets `inrush` end a connection.
    #[track_caller]
    pub fn kick(&self, connection: &Value) {
        let id = connection["id"].as_str().expect("a connection has an id");
        let path = format!("/api/v1/connections/{id}");
        http::request("DELETE", self.http(), &path).expect("the connection is ended");
    }

    fn http(&self) -> SocketAddr {
        self.running.http.expect("inrush has a control HTTP")
    }

    /// The URL of a stream, or a pattern of them.
    pub fn url(&self, name: &str) -> String {
        format!("rtmp://{}/live/{name}", self.address())
    }

    /// Where `inrush` serves RTMPS, if it was told to.
    #[track_caller]
    pub fn tls_address(&self) -> SocketAddr {
        self.running.rtmps.expect("it was started with a TLS listener")
    }

    /// Process id, as for `--server-pid`.
    pub fn pid(&self) -> String {
        self.running.pid().to_string()
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        // SAFETY: a child of ours that was not waited for, so its number is its own.
        assert_eq!(unsafe { libc::kill(self.running.pid() as i32, signal) }, 0);
    }

    /// Stops it, and returns when none of its threads runs any more.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.running.pid());
        let is_stopped = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
        };
        wait_until("all threads of the server are stopped", || {
            fs::read_dir(&tasks).expect("a process has threads").flatten().all(is_stopped).then_some(())
        });
    }

    /// Lets it go on.
    #[track_caller]
    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }
}

/// The engine's binary beside the harness; built when it is not there.
fn inrush() -> PathBuf {
    let harness = Path::new(env!("CARGO_BIN_EXE_inrush-loadtest"));
    let folder = harness.parent().expect("a binary is in a folder");
    let inrush = folder.join("inrush");
    if !inrush.exists() {
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let target = folder.parent().expect("a profile's folder is in the target folder");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--package", "inrush", "--bin", "inrush", "--profile", profile, "--target-dir"])
            .arg(target)
            .status()
            .expect("run cargo");
        assert!(built.success(), "cargo builds inrush");
    }
    inrush
}
