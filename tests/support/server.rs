//! Servers under test: `inrush`, and nginx-rtmp, against which the kit itself is proven.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::api::{self, Metrics, Response};
use super::confinement::Confinement;
use super::namespaces::Namespace;
use super::process::Process;
use super::{PATIENCE, ports, scratch_file, wait_until};

/// How an `inrush` is to be started.
#[derive(Clone, Debug, Default)]
pub struct Inrush {
    rtmp: Vec<String>,
    rtmps: bool,
    http: Option<String>,
    token: Option<String>,
    known_token: Option<String>,
    args: Vec<String>,
    namespace: Option<Namespace>,
    open_files: Option<u32>,
    config: Option<String>,
    environment: Vec<(String, String)>,
    default_addresses: bool,
    installed: Option<Vec<String>>,
    confinement: Confinement,
}

impl Inrush {
    /// On free ports of 127.0.0.1, otherwise with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves RTMP on this address (as well, when called again).
    pub fn rtmp(mut self, address: impl ToString) -> Self {
        self.rtmp.push(address.to_string());
        self
    }

    /// Serves RTMPS as well, on a free port; certificates are for `config` or `args` to name.
    pub fn rtmps(mut self) -> Self {
        self.rtmps = true;
        self
    }

    /// Serves the control HTTP here rather than on loopback.
    pub fn http(mut self, address: impl ToString) -> Self {
        self.http = Some(address.to_string());
        self
    }

    /// What the kit says to the control HTTP, which is told to ask for it.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// The same, where its configuration tells it.
    pub fn known_token(mut self, token: &str) -> Self {
        self.known_token = Some(token.to_owned());
        self
    }

    /// Is not told any address, so that it takes its defaults.
    pub fn default_addresses(mut self) -> Self {
        self.default_addresses = true;
        self
    }

    /// More flags.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// `--cores`.
    pub fn cores(self, count: u16) -> Self {
        self.args(&["--cores", &count.to_string()])
    }

    /// `--placement`.
    pub fn placement(self, placement: &str) -> Self {
        self.args(&["--placement", placement])
    }

    /// With this configuration file.
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// With this variable in its environment.
    pub fn environment(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// In a network namespace.
    pub fn namespace(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    /// Another program than the one that was built here: the line that starts it, whose process keeps its id.
    pub fn installed(mut self, line: Vec<String>) -> Self {
        self.installed = Some(line);
        self
    }

    /// Held as a container engine does it.
    pub fn confined(mut self, confinement: &Confinement) -> Self {
        self.confinement = confinement.clone();
        self
    }

    /// Under `ulimit -n`.
    pub fn open_files(mut self, max: u32) -> Self {
        self.open_files = Some(max);
        self
    }

    /// Starts the process, without waiting for anything: for tests in which it is expected to refuse.
    #[track_caller]
    pub fn spawn(&self) -> Process {
        let mut line: Vec<String> = Vec::new();
        if let Some(namespace) = &self.namespace {
            line.extend(namespace.exec_prefix());
        }
        if let Some(max) = self.open_files {
            line.extend(["sh", "-c", "ulimit -n \"$0\" && exec \"$@\""].map(str::to_owned));
            line.push(max.to_string());
        }
        match &self.installed {
            Some(installed) => line.extend(installed.iter().cloned()),
            None => line.push(env!("CARGO_BIN_EXE_inrush").to_owned()),
        }
        if !self.default_addresses {
            line.extend(["--http", self.http.as_deref().unwrap_or("127.0.0.1:0")].map(str::to_owned));
            let rtmp = if self.rtmp.is_empty() { vec!["127.0.0.1:0".to_owned()] } else { self.rtmp.clone() };
            line.extend(rtmp.into_iter().flat_map(|address| ["--rtmp".to_owned(), address]));
            if self.rtmps {
                line.extend(["--rtmps", "127.0.0.1:0"].map(str::to_owned));
            }
        }
        if let Some(text) = &self.config {
            let file = scratch_file("inrush.toml");
            std::fs::write(&file, text).expect("write a configuration file");
            line.extend(["--config".to_owned(), file.display().to_string()]);
        }
        if let Some(token) = &self.token {
            let file = scratch_file("token");
            std::fs::write(&file, token).expect("write a token");
            line.extend(["--http-token".to_owned(), format!("file:{}", file.display())]);
        }
        line.extend(self.args.iter().cloned());
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).envs(environment);
        self.confinement.hold(&mut command);
        Process::spawn("inrush", &mut command)
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(&self) -> Server {
        let started = Instant::now();
        let mut process = self.spawn();
        let wanted = if self.default_addresses { 1 } else { self.rtmp.len().max(1) };
        let (rtmp, rtmps, http) = wait_until("inrush prints its addresses", PATIENCE, || {
            let ended = process.try_exit();
            assert!(ended.is_none(), "inrush ended with {ended:?}: {}{}", process.stdout(), process.stderr());
            let output = process.stdout();
            let rtmp = listening(&output, "rtmp");
            let rtmps = listening(&output, "rtmps");
            let http = listening(&output, "http");
            let is_whole = rtmp.len() >= wanted && (!self.rtmps || !rtmps.is_empty()) && !http.is_empty();
            is_whole.then(|| (rtmp, rtmps, http[0]))
        });
        let mut server = Server {
            kind: Kind::Inrush,
            process: Some(process),
            rtmp: rtmp.into_iter().map(reachable).collect(),
            rtmps: rtmps.into_iter().map(reachable).collect(),
            http: reachable(http),
            namespace: self.namespace.clone(),
            token: self.token.clone().or_else(|| self.known_token.clone()),
            start_up: Duration::ZERO,
        };
        wait_until("inrush is ready", PATIENCE, || {
            (server.try_get("/readyz").ok()?.status == 200).then_some(())
        });
        server.start_up = started.elapsed();
        server
    }
}

/// The addresses in the lines `listening <what> <address>`.
fn listening(output: &str, what: &str) -> Vec<SocketAddr> {
    let prefix = format!("listening {what} ");
    output.lines().filter_map(|line| line.strip_prefix(&prefix)?.trim().parse().ok()).collect()
}

/// An address that a client can connect to: the loopback address in place of the unspecified one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// A running server. Dropping it stops it in order, and fails the test if that does not go well (`stop`).
pub struct Server {
    kind: Kind,
    process: Option<Process>,
    rtmp: Vec<SocketAddr>,
    rtmps: Vec<SocketAddr>,
    http: SocketAddr,
    namespace: Option<Namespace>,
    token: Option<String>,
    start_up: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Inrush,
    NginxRtmp { directory: PathBuf },
}

/// A server that has ended.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Its exit status.
    pub status: ExitStatus,
    /// All it wrote to stdout.
    pub stdout: String,
    /// All it wrote to stderr.
    pub stderr: String,
}

impl Server {
    /// Debian's nginx-rtmp, with one worker.
    #[track_caller]
    pub fn nginx_rtmp() -> Self {
        Self::nginx_rtmp_with("")
    }

    /// The same with more directives for all of its apps.
    #[track_caller]
    pub fn nginx_rtmp_with(directives: &str) -> Self {
        wait_until("nginx gets the ports that were free a moment ago", PATIENCE, || {
            Self::try_nginx_rtmp(ports::free_port(), ports::free_port(), directives)
        })
    }

    fn try_nginx_rtmp(rtmp_port: u16, http_port: u16, directives: &str) -> Option<Self> {
        let directory = scratch_file("nginx");
        std::fs::create_dir_all(&directory).expect("make a directory for nginx");
        let config = directory.join("nginx.conf");
        std::fs::write(&config, nginx_config(&directory, rtmp_port, http_port, directives))
            .expect("configure nginx");
        let mut command =
            Command::new(if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" });
        command.arg("-p").arg(&directory).arg("-c").arg(&config).args(["-e", "stderr"]);
        let mut server = Self {
            kind: Kind::NginxRtmp { directory },
            process: Some(Process::spawn("nginx", &mut command)),
            rtmp: vec![(Ipv4Addr::LOCALHOST, rtmp_port).into()],
            rtmps: Vec::new(),
            http: (Ipv4Addr::LOCALHOST, http_port).into(),
            namespace: None,
            token: None,
            start_up: Duration::ZERO,
        };
        wait_until("nginx answers or ends", PATIENCE, || {
            let ended = server.process_mut().try_exit().is_some();
            let ready = server.try_get("/stat").is_ok_and(|answer| answer.status == 200);
            (ended || ready).then_some(ready)
        })
        .then_some(server)
    }

    /// Where it serves RTMP.
    pub fn rtmp(&self) -> SocketAddr {
        self.rtmp[0]
    }

    /// Where it serves RTMPS.
    #[track_caller]
    pub fn rtmps(&self) -> SocketAddr {
        *self.rtmps.first().expect("it was told to serve RTMPS")
    }

    /// The URL of a stream over TLS.
    pub fn tls_url(&self, app: &str, name: &str) -> String {
        format!("rtmps://{}/{app}/{name}", self.rtmps())
    }

    /// Every address on which it serves RTMP.
    pub fn all_rtmp(&self) -> &[SocketAddr] {
        &self.rtmp
    }

    /// Where its control HTTP is.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Whether it is nginx-rtmp.
    pub fn is_nginx_rtmp(&self) -> bool {
        self.kind != Kind::Inrush
    }

    /// How long it took from the start of the process until it was ready.
    pub fn start_up(&self) -> Duration {
        self.start_up
    }

    /// The URL of a stream.
    pub fn url(&self, app: &str, name: &str) -> String {
        format!("rtmp://{}/{app}/{name}", self.rtmp())
    }

    /// The process.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("not stopped yet")
    }

    /// The process, to wait for it.
    pub fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("not stopped yet")
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        self.process().stdout() + &self.process().stderr()
    }

    /// File descriptors that it holds open now.
    pub fn open_files(&self) -> usize {
        let directory = format!("/proc/{}/fd", self.process().id());
        std::fs::read_dir(directory).expect("a running process has a list of its files").count()
    }

    /// Memory of the process that is in RAM now, bytes.
    pub fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process().id()))
            .expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its RSS is in there");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kib * 1024
    }

    /// A GET of the control HTTP, or why there was no answer.
    pub fn try_get(&self, path: &str) -> std::io::Result<Response> {
        self.request("GET", path)
    }

    /// Any request of the control HTTP.
    pub fn request(&self, method: &str, path: &str) -> std::io::Result<Response> {
        self.request_with(self.token.as_deref(), method, path)
    }

    /// The same with this token, or without any.
    pub fn request_with(&self, token: Option<&str>, method: &str, path: &str) -> std::io::Result<Response> {
        let request = || api::request(method, self.http, path, token);
        match &self.namespace {
            Some(namespace) => namespace.enter(request),
            None => request(),
        }
    }

    /// A `POST` of JSON to the control HTTP.
    #[track_caller]
    pub fn post(&self, path: &str, body: &str) -> Response {
        let post = || api::post(self.http, path, self.token.as_deref(), body);
        let response = match &self.namespace {
            Some(namespace) => namespace.enter(post),
            None => post(),
        };
        response.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// A GET of the control HTTP that must succeed.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        let response = self.try_get(path).unwrap_or_else(|error| panic!("GET {path}: {error}"));
        assert_eq!(response.status, 200, "GET {path}: {}", response.body);
        response
    }

    /// `/metrics`, as each core's last sweep left them: what has just happened shows a little later.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").body)
    }

    /// The text of `/metrics` without series of single streams, which have names as labels for whoever may list streams.
    #[track_caller]
    pub fn node_metrics(&self) -> String {
        let is_of_node = |line: &&str| !line.starts_with("inrush_stream_");
        self.get("/metrics").body.split_inclusive('\n').filter(is_of_node).collect()
    }

    /// `/api/v1/connections`.
    #[track_caller]
    pub fn connections(&self) -> Vec<Value> {
        list(self.get("/api/v1/connections").json(), "connections")
    }

    /// `/api/v1/streams`.
    #[track_caller]
    pub fn streams(&self) -> Vec<Value> {
        list(self.get("/api/v1/streams").json(), "streams")
    }

    /// `/api/v1/forwards`.
    #[track_caller]
    pub fn forwards(&self) -> Vec<Value> {
        list(self.get("/api/v1/forwards").json(), "forwards")
    }

    /// `/api/v1/pulls`.
    #[track_caller]
    pub fn pulls(&self) -> Vec<Value> {
        list(self.get("/api/v1/pulls").json(), "pulls")
    }

    /// Ends the process without a word, as a crash does.
    #[track_caller]
    pub fn kill(mut self) {
        self.process().signal(libc::SIGKILL);
        self.process_mut().wait(PATIENCE);
        self.process = None;
    }

    /// The connections that play or publish (`role`) this stream.
    #[track_caller]
    pub fn connections_of(&self, role: &str, app: &str, name: &str) -> Vec<Value> {
        let mut connections = self.connections();
        connections.retain(|it| it["role"] == role && it["app"] == app && it["name"] == name);
        connections
    }

    /// How many publish and how many play a stream.
    pub fn audience(&self, app: &str, name: &str) -> (usize, usize) {
        match self.kind {
            Kind::Inrush => {
                let count = |role| self.connections_of(role, app, name).len();
                (count("publisher"), count("player"))
            }
            Kind::NginxRtmp { .. } => {
                let stat = self.get("/stat").body;
                let start = stat.find(&format!("<name>{name}</name>"));
                let stream = start.map_or("", |at| &stat[at..]).split("</stream>").next().unwrap_or_default();
                let clients: Vec<&str> = stream.split("<client>").skip(1).collect();
                let publishers = clients.iter().filter(|client| client.contains("<publishing/>")).count();
                (publishers, clients.len() - publishers)
            }
        }
    }

    /// Waits until a stream is being published.
    #[track_caller]
    pub fn wait_for_publisher(&self, app: &str, name: &str) {
        let what = format!("{app}/{name} is published");
        wait_until(&what, PATIENCE, || (self.audience(app, name).0 == 1).then_some(()));
    }

    /// Waits until a stream has exactly so many players.
    #[track_caller]
    pub fn wait_for_players(&self, app: &str, name: &str, count: usize) {
        let what = format!("{app}/{name} has {count} players");
        wait_until(&what, PATIENCE, || (self.audience(app, name).1 == count).then_some(()));
    }

    /// Checks what must hold at the end of every test, and stops the server: no panic was caught at a core's loop, and SIGTERM ends
    /// the process with code 0, which also says that no operation was in flight and no slab entry left.
    #[track_caller]
    pub fn stop(mut self) -> Stopped {
        self.finish()
    }

    /// As `stop`, for a server that was signalled already.
    #[track_caller]
    pub fn wait_for_end(mut self) -> Stopped {
        self.join()
    }

    #[track_caller]
    fn finish(&mut self) -> Stopped {
        if self.kind == Kind::Inrush {
            assert_eq!(self.metrics().counter("panics"), 0, "panics were caught: {}", self.log());
        }
        self.process().signal(libc::SIGTERM);
        self.join()
    }

    #[track_caller]
    fn join(&mut self) -> Stopped {
        let status = self.process_mut().wait(PATIENCE);
        let stopped = Stopped { status, stdout: self.process().stdout(), stderr: self.process().stderr() };
        assert!(status.success(), "{} ended with {status}: {}", self.process().name(), stopped.stderr);
        assert!(!stopped.stderr.contains("panicked at"), "{}", stopped.stderr);
        self.process = None;
        stopped
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() && !std::thread::panicking() {
            self.finish();
        }
        if let Kind::NginxRtmp { directory } = &self.kind {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// The entries of a JSON list, bare or under a name.
#[track_caller]
fn list(mut value: Value, name: &str) -> Vec<Value> {
    let entries = if value.is_array() { value } else { value[name].take() };
    serde_json::from_value(entries).unwrap_or_else(|error| panic!("a list of {name}: {error}"))
}

/// Unlike `inrush`, nginx-rtmp keeps no GOP: a player starts at the next key frame.
fn nginx_config(directory: &Path, rtmp_port: u16, http_port: u16, directives: &str) -> String {
    let directory = directory.display();
    format!(
        "daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr notice;
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
events {{ worker_connections 1024; }}
rtmp {{ server {{
    listen 127.0.0.1:{rtmp_port};
    chunk_size 60000;
    max_message 8M;
    {directives}
    application live {{ live on; wait_key on; wait_video on; publish_notify on; }}
}} }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen 127.0.0.1:{http_port}; location /stat {{ rtmp_stat all; }} }}
}}
"
    )
}
