//! Processes of the table and of tests: tied to cores, and never left behind.
//!
//! # Invariant
//! A [`Child`] is ended when it is dropped, and the kernel ends it when the thread that started it goes without dropping it: start it in
//! one that stays. After SIGINT or
//! SIGTERM the waits end and everything is dropped in order.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a process may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(3);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether this process was told to stop.
pub(super) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Lets SIGINT and SIGTERM end the waits rather than the process.
pub(super) fn catch_interrupts() {
    extern "C" fn on_signal(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let handler = on_signal as extern "C" fn(libc::c_int);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is safe in a signal handler.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// The CPUs that this process may use.
pub fn cpus() -> io::Result<Vec<usize>> {
    // SAFETY: a CPU set is plain bits, and it outlives the call.
    let (set, result) = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let result = libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
        (set, result)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every number is below the set's size.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect())
}

/// Ties the calling thread to a CPU, so that what it looks at is not disturbed by it.
pub(super) fn stay_on(cpu: usize) -> io::Result<()> {
    let set = cpu_set(&[cpu]);
    // SAFETY: the set outlives the call.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The set of these CPUs, which [`cpus`] gave.
fn cpu_set(cpus: &[usize]) -> libc::cpu_set_t {
    // SAFETY: a CPU set is plain bits, all zero is the empty one, and every number is below its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cpus.iter().for_each(|cpu| libc::CPU_SET(*cpu, &mut set));
        set
    }
}

/// A process that ends with this value.
pub struct Child(std::process::Child);

impl Child {
    /// Starts it on these CPUs, with as many open files as the host allows.
    pub fn spawn(command: &mut Command, cpus: &[usize]) -> io::Result<Self> {
        let set = cpu_set(cpus);
        // SAFETY: between fork and exec only system calls are made, on values that the closure owns.
        unsafe {
            command.pre_exec(move || {
                let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                let failed = libc::sched_setaffinity(0, size_of_val(&set), &raw const set) != 0
                    || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0
                    || libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut files) != 0;
                if failed {
                    return Err(io::Error::last_os_error());
                }
                files.rlim_cur = files.rlim_max;
                match libc::setrlimit(libc::RLIMIT_NOFILE, &raw const files) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            });
        }
        command.spawn().map(Self)
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its pipes.
    pub fn inner(&mut self) -> &mut std::process::Child {
        &mut self.0
    }

    /// Its status, if it has ended.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.0.try_wait() {
            return;
        }
        // SAFETY: a child that was not waited for: the number is its own.
        unsafe { libc::kill(self.0.id() as libc::pid_t, libc::SIGTERM) };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(_)) | Err(_) = self.0.try_wait() {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_runs_where_it_is_told_and_ends_with_its_value() {
        let cpu = *cpus().unwrap().last().unwrap();
        let child = Child::spawn(Command::new("sleep").arg("600"), &[cpu]).unwrap();
        let pid = child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        assert_eq!(list.trim(), cpu.to_string());
        drop(child);
        assert!(crate::process::usage(pid).is_none());
    }
}
