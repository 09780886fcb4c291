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

    /// Waits until [`now_us`] is `at_us`. Goes through the runtime's driver even when that is past, so that sockets get their turn.
    pub async fn wait(&self, at_us: u64) -> io::Result<()> {
        let at_us = at_us.max(1); // zero would disarm
        let value =
            libc::timespec { tv_sec: (at_us / 1_000_000) as _, tv_nsec: (at_us % 1_000_000 * 1_000) as _ };
        let interval = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = libc::itimerspec { it_interval: interval, it_value: value };
        // SAFETY: `timer` is valid for the length of the call; the old value is not asked for.
        let result = unsafe {
            libc::timerfd_settime(self.0.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &timer, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        loop {
            let mut guard = self.0.readable().await?;
            let read = guard.try_io(|fd| {
                let mut expirations = 0_u64;
                // SAFETY: eight bytes of memory that is ours.
                let n = unsafe { libc::read(fd.as_raw_fd(), (&raw mut expirations).cast(), 8) };
                if n == 8 { Ok(()) } else { Err(io::Error::last_os_error()) }
            });
            match read {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
}
