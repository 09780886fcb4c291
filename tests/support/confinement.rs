//! How a container engine holds a process: in a root of its own, as a user without rights, under a filter of system calls.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use super::root::Root;
use super::seccomp::Filter;

/// What a process is held to. Nothing, to begin with.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    root: Option<(Arc<File>, CString)>,
    user: Option<libc::uid_t>,
    filter: Option<Filter>,
}

impl Confinement {
    /// In this root.
    #[track_caller]
    pub fn root(mut self, root: &Root) -> Self {
        let (namespace, directory) = root.entrance();
        self.root = Some((namespace.into(), directory));
        self
    }

    /// As the user and group of this number, without any other group or capability.
    pub fn user(mut self, user: libc::uid_t) -> Self {
        self.user = Some(user);
        self
    }

    /// Under this filter.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Holds what this command starts to it; its program is then looked up in the root.
    pub fn hold(&self, command: &mut Command) {
        if self.root.is_none() && self.user.is_none() && self.filter.is_none() {
            return;
        }
        let confinement = self.clone();
        // SAFETY: between fork and exec it makes system calls alone; errors aside, it allocates nothing.
        unsafe { command.pre_exec(move || confinement.begin()) };
    }

    fn begin(&self) -> io::Result<()> {
        if let Some((namespace, directory)) = &self.root {
            // SAFETY: the descriptor is open as long as the confinement lives.
            done(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) })?;
            // SAFETY: the path ends with a zero, and the call reads no further.
            done(unsafe { libc::chroot(directory.as_ptr()) })?;
            // SAFETY: as above.
            done(unsafe { libc::chdir(c"/".as_ptr()) })?;
        }
        if let Some(user) = self.user {
            // SAFETY: of no groups the kernel reads none.
            done(unsafe { libc::setgroups(0, std::ptr::null()) })?;
            // SAFETY: takes numbers alone.
            done(unsafe { libc::setresgid(user, user, user) })?;
            // SAFETY: takes numbers alone. Who is no longer root has no capability either.
            done(unsafe { libc::setresuid(user, user, user) })?;
        }
        self.filter.as_ref().map_or(Ok(()), Filter::load)
    }
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
