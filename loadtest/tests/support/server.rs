//! Servers to load: `inrush`, and Debian's nginx-rtmp.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Scratch, wait_until};

/// A server on a port of its own, in one process; killed when dropped.
pub struct Server {
    process: Child,
    address: SocketAddr,
    /// Where nginx has its files.
    _folder: Option<Scratch>,
}

impl Server {
    /// `inrush` with one core.
    #[track_caller]
    pub fn inrush() -> Self {
        let mut process = Command::new(inrush())
            .args(["--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--cores", "1", "--log", "error"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("start inrush");
        let output = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        let address = output
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening rtmp ")?.trim().parse().ok())
            .expect("inrush says where it listens");
        Self { process, address, _folder: None }
    }

    /// nginx-rtmp, its one worker being the process itself.
    #[track_caller]
    pub fn nginx_rtmp() -> Self {
        wait_until("nginx gets a port that was free a moment ago", Self::try_nginx_rtmp)
    }

    fn try_nginx_rtmp() -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let port = free.local_addr().expect("a bound socket has an address").port();
        drop(free);
        let folder = Scratch::new("nginx");
        fs::create_dir_all(folder.path()).expect("make a folder for nginx");
        let file = folder.path().join("nginx.conf");
        fs::write(&file, nginx_config(folder.path(), port)).expect("configure nginx");
        let process = Command::new("/usr/sbin/nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .args(["-e", "stderr"])
            .stderr(Stdio::null())
            .spawn()
            .expect("start nginx");
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut server = Self { process, address, _folder: Some(folder) };
        wait_until("nginx listens or ends", || {
            let ended = server.process.try_wait().expect("wait for a child").is_some();
            // Whoever took the port meanwhile would answer as well, but then nginx ends.
            (ended || TcpStream::connect(address).is_ok()).then_some(!ended)
        })
        .then_some(server)
    }

    /// Where it serves RTMP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a stream, or a pattern of them.
    pub fn url(&self, name: &str) -> String {
        format!("rtmp://{}/live/{name}", self.address)
    }

    /// Process id, as for `--server-pid`.
    pub fn pid(&self) -> String {
        self.process.id().to_string()
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        // SAFETY: a child of ours that was not waited for, so its number is its own.
        assert_eq!(unsafe { libc::kill(self.process.id() as i32, signal) }, 0);
    }

    /// Stops it, and returns when none of its threads runs any more.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.process.id());
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

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
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

fn nginx_config(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr error;
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
events {{ worker_connections 1024; }}
rtmp {{ server {{
    listen 127.0.0.1:{port};
    chunk_size 4096;
    access_log off;
    application live {{ live on; wait_key on; wait_video on; publish_notify on; }}
}} }}
"
    )
}
