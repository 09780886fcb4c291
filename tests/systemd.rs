//! Under a service manager: what it is told over its socket, when it is told nothing, and systemd's unit.
#![cfg(feature = "engine")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use support::client::Client;
use support::process::Process;
use support::seccomp::Filter;
use support::server::{Inrush, Server};
use support::synthetic::Pattern;
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
    for text in ["[engine]\ncolour = 1\n", "[engine]\ndrain_seconds = 50\nplacement = \"accept\"\n"] {
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

/// The thread of a process that has this name.
#[track_caller]
fn thread(process: u32, name: &str) -> libc::pid_t {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("a running process has threads");
    let found = tasks.into_iter().find_map(|task| {
        let task = task.expect("a list of threads");
        let its = fs::read_to_string(task.path().join("comm")).ok()?;
        (its.trim() == name).then(|| task.file_name().to_string_lossy().parse().expect("a number"))
    });
    found.unwrap_or_else(|| panic!("no thread is called {name}"))
}

/// A thread that stands still, as one does that hangs in the kernel: held by a tracer, which lets it go when it is dropped.
struct Held(libc::pid_t);

impl Held {
    /// Holds the thread of this name.
    fn new(server: &Server, name: &str) -> Self {
        let held = Self(thread(server.process().id(), name));
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
        // The kernel queues ten messages, and then lets the sender wait.
        while manager.try_hear().is_some() {}
        (server.try_get("/healthz").ok()?.status == 503).then_some(())
    });
    while manager.try_hear().is_some() {}
    std::thread::sleep(Duration::from_millis(2 * WATCHDOG_MS));
    assert_eq!(manager.try_hear(), None);
    drop(held);
    assert_eq!(manager.hear(), ALIVE);
    assert!(server.log().contains("cores stand still"), "{}", server.log());
}

const UNIT: &str = include_str!("../deploy/inrush.service");

/// How exposed `systemd-analyze security` may find the unit, in tenths: 0 is shut, 100 open to all. What is left is what it is for:
/// the network, Unix sockets, one capability, pinning threads, and /proc/sys.
const EXPOSURE_MAX_TENTHS: u32 = 20;

/// Runs a tool of systemd's: whether it is content, and what it says.
#[track_caller]
fn tool(line: &[&str]) -> (bool, String) {
    let output = Command::new(line[0]).args(&line[1..]).env("SYSTEMD_COLORS", "0").output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; run .ci/setup", line[0]));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// The unit has no mistake, and shuts out what it does not need; its user can be made.
#[test]
fn the_unit_is_clean_and_closed() {
    let directory = scratch_file("unit");
    fs::create_dir_all(&directory).expect("make a directory for the unit");
    let file = directory.join("inrush.service");
    // Where the program is here, as systemd looks whether it is there.
    let unit =
        UNIT.replace("ExecStart=/usr/bin/inrush ", concat!("ExecStart=", env!("CARGO_BIN_EXE_inrush"), " "));
    assert_ne!(unit, UNIT);
    fs::write(&file, unit).expect("write the unit");
    let file = file.to_str().expect("a path of text");

    assert_eq!(
        tool(&["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", file]),
        (true, String::new())
    );
    let threshold = format!("--threshold={EXPOSURE_MAX_TENTHS}");
    let (is_below, text) =
        tool(&["systemd-analyze", "security", "--offline=yes", "--no-pager", &threshold, file]);
    let score = text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or(&text);
    println!("{score}");
    assert!(is_below, "{text}");
    let users = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/sysusers.d/inrush.conf");
    let (is_clean, text) = tool(&["systemd-sysusers", "--dry-run", users]);
    assert!(is_clean && !text.contains("ignoring"), "{text}");
}

/// The system calls of a set of systemd's.
fn calls_of(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return [name.to_owned()].into();
    }
    let (is_known, text) = tool(&["systemd-analyze", "syscall-filter", "--no-pager", name]);
    assert!(is_known, "{text}");
    let names = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    names.flat_map(calls_of).collect()
}

/// What the unit's `SystemCallFilter=` lines allow.
fn allowed_calls() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in UNIT.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        match line.strip_prefix('~') {
            None => names.extend(line.split(' ').flat_map(calls_of)),
            Some(line) => line.split(' ').flat_map(calls_of).for_each(|name| _ = names.remove(&name)),
        }
    }
    names
}

/// Under the unit's filter of system calls, loaded for real, it starts, pins its threads, takes a publisher and a player, and ends cleanly.
#[test]
fn it_runs_under_the_filter_of_the_unit() {
    let manager = ServiceManager::new();
    let filter = Filter::of_calls(allowed_calls().iter().map(String::as_str));
    let mut command = Command::new(env!("CARGO_BIN_EXE_inrush"));
    command
        .args(["--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--cores", "2"])
        .env("NOTIFY_SOCKET", &manager.path);
    let load = move || {
        filter.load()?;
        // SAFETY: takes numbers alone. Anybody may have the priority that he has, if it is not for the filter.
        match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) } {
            0 => Err(std::io::Error::other("the filter lets through what it should not")),
            _ => Ok(()),
        }
    };
    // SAFETY: between fork and exec it makes system calls alone; errors aside, it allocates nothing.
    unsafe { command.pre_exec(load) };
    let mut process = Process::spawn("inrush", &mut command);

    let ready = manager.hear_a_turn();
    let rtmp = value(&ready, "STATUS").rsplit(' ').next().expect("an address").to_owned();
    let connect = || Client::over(TcpStream::connect(&rtmp).expect("it listens")).connect("live");
    let mut publisher = connect().publish("a");
    let _player = connect().play("a");
    publisher.send_synthetic(&Pattern::with_bits_per_second(100_000), 0..10);
    for core in ["core-0", "core-1"] {
        let task = format!("/proc/{}/task/{}/status", process.id(), thread(process.id(), core));
        let status = fs::read_to_string(task).expect("a running thread has a status");
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("its CPUs");
        assert!(cpus.trim().parse::<u32>().is_ok(), "{core} is not pinned to one: {cpus}");
    }
    publisher.unpublish();
    process.signal(libc::SIGTERM);
    assert!(process.wait(PATIENCE).success());
}
