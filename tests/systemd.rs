//! Under a service manager: what it is told over its socket, and when it is told nothing.
#![cfg(feature = "engine")]

mod support;

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::client::Client;
use support::server::{Inrush, Server};
use support::{PATIENCE, scratch_file, unique, wait_until};

/// The socket of a service manager, and what it has read from it.
struct ServiceManager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ServiceManager {
    fn new() -> Self {
        // Not below the build directory, whose path may be longer than a socket's may be.
        let path = std::env::temp_dir().join(format!("inrush-notify-{}", unique()));
        let socket = UnixDatagram::bind(&path).expect("make the socket of a service manager");
        socket.set_nonblocking(true).expect("read without waiting");
        Self { socket, path }
    }

    /// An engine that it starts, with the watchdog at so many milliseconds.
    fn service(&self, watchdog_ms: u64) -> Inrush {
        Inrush::new()
            .cores(2)
            .environment("NOTIFY_SOCKET", self.path.display())
            .environment("WATCHDOG_USEC", watchdog_ms * 1000)
    }

    /// The oldest message not read yet, if there is one.
    fn try_hear(&self) -> Option<String> {
        let mut message = [0; 4096];
        match self.socket.recv(&mut message) {
            Ok(length) => Some(String::from_utf8(message[..length].to_vec()).expect("text")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("the socket of the service manager: {error}"),
        }
    }

    /// Waits for the next message.
    #[track_caller]
    fn hear(&self) -> String {
        wait_until("the service manager is told something", PATIENCE, || self.try_hear())
    }

    /// Waits for the next message that is no mere sign of life.
    #[track_caller]
    fn hear_a_turn(&self) -> String {
        loop {
            let message = self.hear();
            if message != ALIVE {
                return message;
            }
        }
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

const ALIVE: &str = "WATCHDOG=1\n";

/// Microseconds of the clock that `MONOTONIC_USEC` is of.
fn monotonic_usec() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live `timespec`.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) }, 0);
    u64::try_from(time.tv_sec * 1_000_000 + time.tv_nsec / 1000).expect("time does not run backwards")
}

/// The value of a variable in a message.
fn value<'a>(message: &'a str, name: &str) -> &'a str {
    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name} in {message:?}"))
}

/// Ready when and not before it serves; reloads are framed and say if all of the file is in force; a drain says that it stops, and for
/// how long, and a reload in it takes nothing back.
#[test]
fn the_service_manager_hears_of_each_turn() {
    let manager = ServiceManager::new();
    let file = scratch_file("inrush.toml");
    fs::write(&file, "[engine]\ndrain_seconds = 50\n").expect("write a configuration file");
    let service = manager.service(60_000).args(&["--config", &file.display().to_string()]);
    let mut process = service.spawn();

    let ready = manager.hear_a_turn();
    assert!(ready.starts_with("READY=1\n"), "{ready}");
    let status = value(&ready, "STATUS").to_owned();
    let rtmp = status.strip_prefix("Serving on 2 cores: rtmp ").expect("the status says where").to_owned();
    // By now the listeners are there, without any waiting.
    let mut publisher =
        Client::over(TcpStream::connect(&rtmp).expect("it listens")).connect("live").publish("a");

    let before = monotonic_usec();
    process.signal(libc::SIGHUP);
    let reloading = manager.hear_a_turn();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    let at: u64 = value(&reloading, "MONOTONIC_USEC").parse().expect("a number");
    assert!((before..=monotonic_usec()).contains(&at), "{at} is not between {before} and now");
    assert_eq!(manager.hear_a_turn(), format!("READY=1\nSTATUS={status}\n"));

    // Refused whole, and what waits for a restart: either is said.
    for text in ["[engine]\ncolour = 1\n", "[engine]\ndrain_seconds = 51\n"] {
        fs::write(&file, text).expect("write a configuration file");
        process.signal(libc::SIGHUP);
        assert_eq!(value(&manager.hear_a_turn(), "RELOADING"), "1");
        let ready = manager.hear_a_turn();
        assert!(
            ready.starts_with("READY=1\n") && ready.contains("not all of the new configuration"),
            "{ready}"
        );
    }

    process.signal(libc::SIGTERM);
    let stopping = manager.hear_a_turn();
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
    assert_eq!(value(&stopping, "EXTEND_TIMEOUT_USEC"), "65000000");
    process.signal(libc::SIGHUP);
    // The second one, while the publisher is there still.
    process.signal(libc::SIGTERM);
    assert_eq!(manager.hear_a_turn(), "STOPPING=1\nSTATUS=Stopping at once\n");
    assert!(publisher.wait_for_close(PATIENCE));
    assert!(process.wait(PATIENCE).success());
    assert_eq!(manager.try_hear().filter(|message| message != ALIVE), None);
}

/// Signs of life come twice in the time allowed: not once, and not all the time.
#[test]
fn the_watchdog_is_reset_twice_in_its_time() {
    let manager = ServiceManager::new();
    let _server = manager.service(1000).start();
    let hear_one = || wait_until("a sign of life", PATIENCE, || (manager.hear() == ALIVE).then(Instant::now));
    let first = hear_one();
    let [_, _, _, last] = [(); 4].map(|()| hear_one());
    let took = last - first;
    // Four halves of a second, and whatever a loaded machine adds; four whole ones would be too late.
    assert!((Duration::from_millis(1500)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

/// A thread that stands still, as one does that hangs in the kernel: held by a tracer, which lets it go when it is dropped.
struct Held(libc::pid_t);

impl Held {
    /// Holds the thread of this name.
    fn new(server: &Server, name: &str) -> Self {
        let tasks = format!("/proc/{}/task", server.process().id());
        let thread = fs::read_dir(tasks).expect("a running process has threads").find_map(|task| {
            let task = task.expect("a list of threads");
            let its = fs::read_to_string(task.path().join("comm")).ok()?;
            (its.trim() == name).then(|| task.file_name().to_string_lossy().parse().expect("a number"))
        });
        let held = Self(thread.expect("a thread of this name"));
        held.ptrace(libc::PTRACE_SEIZE);
        held.ptrace(libc::PTRACE_INTERRUPT);
        // SAFETY: no status is asked for, so that no memory is written.
        let stopped = unsafe { libc::waitpid(held.0, std::ptr::null_mut(), libc::__WALL) };
        assert_eq!(stopped, held.0, "{}", std::io::Error::last_os_error());
        held
    }

    fn ptrace(&self, request: libc::c_uint) {
        // SAFETY: none of the requests above and below touches memory of ours.
        let result = unsafe { libc::ptrace(request, self.0, 0, 0) };
        assert_eq!(result, 0, "ptrace {request:#x}: {}", std::io::Error::last_os_error());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ptrace(libc::PTRACE_DETACH);
    }
}

/// While one core stands still, `/healthz` says so and there is no sign of life, though all other threads are well; then there is again.
#[test]
fn no_sign_of_life_while_a_core_stands_still() {
    const WATCHDOG_MS: u64 = 600;
    let manager = ServiceManager::new();
    let server = manager.service(WATCHDOG_MS).start();
    assert!(manager.hear_a_turn().starts_with("READY=1\n"));
    let held = Held::new(&server, "core-1");
    wait_until("the core is seen to stand still", PATIENCE, || {
        (server.try_get("/healthz").ok()?.status == 503).then_some(())
    });
    while manager.try_hear().is_some() {}
    std::thread::sleep(Duration::from_millis(2 * WATCHDOG_MS));
    assert_eq!(manager.try_hear(), None);
    drop(held);
    assert_eq!(manager.hear(), ALIVE);
    assert!(server.log().contains("cores stand still"), "{}", server.log());
}
