//! A child process with its output, killed and reaped by its guard.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::wait_until;

/// Lines of output shown when a test fails.
const TAIL_LINES: usize = 40;

/// A running child. Dropping it kills and reaps it, and shows the end of its output if the test is failing.
pub struct Process {
    name: String,
    child: Child,
    stdout: Collector,
    stderr: Collector,
}

impl Process {
    /// Starts `command`, collecting its output; `name` is for messages.
    #[track_caller]
    pub fn spawn(name: impl Into<String>, command: &mut Command) -> Self {
        Self::spawn_with(name.into(), command.stdin(Stdio::null()))
    }

    /// Starts `command` with something to read: nothing yet, and its end when what is given back is dropped.
    #[track_caller]
    pub fn spawn_with_input(name: impl Into<String>, command: &mut Command) -> (Self, ChildStdin) {
        let mut process = Self::spawn_with(name.into(), command.stdin(Stdio::piped()));
        let input = process.child.stdin.take().expect("stdin is piped");
        (process, input)
    }

    #[track_caller]
    fn spawn_with(name: String, command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|error| {
                panic!("{name} ({:?}) does not start: {error}; run .ci/test", command.get_program())
            });
        let stdout = Collector::new(child.stdout.take().expect("stdout is piped"));
        let stderr = Collector::new(child.stderr.take().expect("stderr is piped"));
        Self { name, child, stdout, stderr }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written to stdout so far, in whole lines.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Everything it has written to stderr so far, in whole lines.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.id()).expect("a pid fits");
        // SAFETY: `kill` touches no memory of ours, and the pid is that of a child that has not been reaped yet.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "signal {signal} to {}: {}", self.name, std::io::Error::last_os_error());
    }

    /// Its exit status, if it has ended.
    pub fn try_exit(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }

    /// Waits until it has ended and all its output is in.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let status = wait_until(&what, deadline, || self.try_exit());
        self.stdout.join();
        self.stderr.join();
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for (stream, text) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
                if !text.is_empty() {
                    let lines: Vec<&str> = text.lines().collect();
                    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
                    eprintln!("--- {} of {} ends with:\n{tail}\n---", stream, self.name);
                }
            }
        }
    }
}

/// A thread that reads a pipe to its end.
struct Collector {
    text: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    fn new(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                shared.lock().expect("the collector never panics").push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, thread: Some(thread) }
    }

    fn text(&self) -> String {
        self.text.lock().expect("the collector never panics").clone()
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the collector never panics");
        }
    }
}
