//! One clock for all that is measured: `CLOCK_MONOTONIC`, microseconds, the same in every process of a machine.
//!
//! [`Alarm`] wakes a thread's runtime at a given microsecond; tokio's own timers round to milliseconds.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Microseconds since the machine started.
pub fn now_us() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec for the length of the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    assert_eq!(result, 0, "CLOCK_MONOTONIC exists on every Linux");
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

/// Tells apart machines and their starts, so that a stamp is only compared with the clock it was taken from.
pub fn machine() -> u32 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // FNV-1a
    id.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A timer with the resolution of the kernel's (timerfd).
pub struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// An alarm of the runtime that this is called in.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor that is returned belongs to nobody else.
        let fd = unsafe {
            let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        // SAFETY: `fd` owns an open descriptor and is one and the same until the `AsyncFd` goes.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? };
        Ok(Self(fd))
    }

    /// Waits until [`now_us`] is `at_us`. The runtime turns at least once meanwhile, even when that is past: whoever calls this in a loop
    /// leaves sockets and other tasks their turn, however late it is.
    pub async fn wait(&self, at_us: u64) -> io::Result<()> {
        if at_us <= now_us() {
            #[expect(clippy::disallowed_methods, reason = "no ring here, whose submissions it would keep")]
            tokio::task::yield_now().await;
            return Ok(());
        }
        self.arm(at_us)?;
        loop {
            // The next arming takes back what has expired, so there is nothing to read.
            self.0.readable().await?.clear_ready();
            if at_us <= now_us() {
                return Ok(());
            }
        }
    }

    fn arm(&self, at_us: u64) -> io::Result<()> {
        let value =
            libc::timespec { tv_sec: (at_us / 1_000_000) as _, tv_nsec: (at_us % 1_000_000 * 1_000) as _ };
        let interval = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = libc::itimerspec { it_interval: interval, it_value: value };
        // SAFETY: `timer` is valid for the length of the call; the old value is not asked for.
        let result = unsafe {
            libc::timerfd_settime(self.0.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &timer, std::ptr::null_mut())
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn an_alarm_rings_at_its_time_and_not_before() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let alarm = Alarm::new().unwrap();
            let began = now_us();
            for wait_us in [0, 300, 2_000] {
                alarm.wait(began + wait_us).await.unwrap();
                assert!(now_us() >= began + wait_us);
            }
            assert!(now_us() < began + 1_000_000);
        });
    }

    /// The figures of a connection blame the server, so a thread that has too much to write must not keep it from being read.
    #[test]
    fn an_alarm_that_is_always_past_leaves_others_their_turn() {
        const ROUNDS: usize = 20;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let alarm = Alarm::new().unwrap();
            alarm.wait(now_us() + 1_000).await.unwrap();
            let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
            near.set_nonblocking(true).unwrap();
            let near = tokio::net::UnixStream::from_std(near).unwrap();
            let answers = std::rc::Rc::new(std::cell::Cell::new(0));
            let counted = answers.clone();
            tokio::task::spawn_local(async move {
                let mut byte = [0];
                loop {
                    near.readable().await.unwrap();
                    if near.try_read(&mut byte).is_ok() {
                        counted.set(counted.get() + 1);
                    }
                }
            });
            // In each round a byte comes, which takes a look at the sockets and a turn of the task that waits for it.
            for round in 1..=ROUNDS {
                (&far).write_all(&[1]).unwrap();
                for _ in 0..3 {
                    alarm.wait(now_us() - 1).await.unwrap();
                }
                assert_eq!(answers.get(), round);
            }
        });
    }
}
