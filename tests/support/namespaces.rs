//! Network namespaces, for tests that cut a link or need a host of their own. They need root and `ip`.

use std::process::Command;
use std::sync::Arc;

use super::unique;

/// A network namespace. The last clone removes it; sockets in it live on until they are closed.
#[derive(Clone, Debug)]
pub struct Namespace(Arc<Guard>);

#[derive(Debug)]
struct Guard {
    name: String,
}

impl Namespace {
    /// A namespace with nothing but its loopback.
    #[track_caller]
    pub fn new() -> Self {
        let name = format!("inrush-{}", unique());
        ip(&["netns", "add", &name]);
        let namespace = Self(Arc::new(Guard { name }));
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Runs `ip` inside.
    #[track_caller]
    fn ip(&self, args: &[&str]) {
        ip(&[&["-n", &self.0.name], args].concat());
    }

    /// What goes before a command line that is to run inside. The process keeps its id: `ip` replaces itself.
    pub fn exec_prefix(&self) -> [String; 4] {
        ["ip".to_owned(), "netns".to_owned(), "exec".to_owned(), self.0.name.clone()]
    }

    /// Runs `work` inside, on a thread of its own. Sockets that it makes stay inside, wherever they are used.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.0.name);
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                use std::os::fd::AsRawFd;
                let handle = std::fs::File::open(&path).expect("open a network namespace");
                // SAFETY: `setns` takes a descriptor that `handle` keeps open, and changes this thread alone, which ends below.
                let result = unsafe { libc::setns(handle.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(result, 0, "enter {path}: {}", std::io::Error::last_os_error());
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Two hosts and the cable between them.
#[derive(Debug)]
pub struct Link {
    /// The server's end.
    pub server: Namespace,
    /// The client's end.
    pub client: Namespace,
}

impl Link {
    /// The server's address on the link.
    pub const SERVER: &str = "10.0.0.1";

    /// An address on the link whose packets nobody takes: no error comes back, and no answer.
    pub const BLACK_HOLE: &str = "10.0.0.77";

    /// A link that is up.
    #[track_caller]
    pub fn new() -> Self {
        let (server, client) = (Namespace::new(), Namespace::new());
        let (server_name, client_name) = (&server.0.name, &client.0.name);
        ip(&[
            "link",
            "add",
            "cable",
            "netns",
            server_name,
            "type",
            "veth",
            "peer",
            "name",
            "cable",
            "netns",
            client_name,
        ]);
        server.ip(&["addr", "add", "10.0.0.1/24", "dev", "cable"]);
        client.ip(&["addr", "add", "10.0.0.2/24", "dev", "cable"]);
        server.ip(&["link", "set", "cable", "up"]);
        client.ip(&["link", "set", "cable", "up"]);
        // A station that is not there: without this, ARP would find out and say so.
        server.ip(&[
            "neigh",
            "add",
            Self::BLACK_HOLE,
            "lladdr",
            "02:00:00:00:00:77",
            "dev",
            "cable",
            "nud",
            "permanent",
        ]);
        Self { server, client }
    }

    /// Another host, with a cable of its own to the server: where a client is after its network has changed.
    #[track_caller]
    pub fn another_client(&self) -> Namespace {
        let client = Namespace::new();
        let (server_name, client_name) = (&self.server.0.name, &client.0.name);
        let ends =
            ["link", "add", "second", "netns", server_name, "type", "veth", "peer", "name", "cable", "netns"];
        ip(&[&ends[..], &[client_name]].concat());
        self.server.ip(&["addr", "add", "10.0.1.1/24", "dev", "second"]);
        client.ip(&["addr", "add", "10.0.1.2/24", "dev", "cable"]);
        self.server.ip(&["link", "set", "second", "up"]);
        client.ip(&["link", "set", "cable", "up"]);
        client.ip(&["route", "add", "default", "via", "10.0.1.1"]);
        client
    }

    /// Cuts it: neither end is told by the other any more.
    #[track_caller]
    pub fn cut(&self) {
        self.client.ip(&["link", "set", "cable", "down"]);
    }

    /// Joins it again.
    #[track_caller]
    pub fn mend(&self) {
        self.client.ip(&["link", "set", "cable", "up"]);
    }
}

#[track_caller]
fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip is installed: run .ci/test");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {errors}(network namespaces need root)", args.join(" "));
}
