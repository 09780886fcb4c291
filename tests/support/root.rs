//! Root directories of their own, for what is installed: a copy of this machine's. They need root.

use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};

use super::process::Process;
use super::{PATIENCE, scratch_file, wait_until};

/// Mounts over the directory `$0` what a copy of this machine is; then stays in it until its input ends. What is written goes to memory.
const COPY_OF_THIS_MACHINE: &str = r#"
set -e
mount -t tmpfs -o mode=755 tmpfs "$0"
mkdir "$0/written" "$0/work" "$0/root"
mount -t overlay -o "lowerdir=/,upperdir=$0/written,workdir=$0/work" overlay "$0/root"
for shared in dev proc sys; do mount --rbind "/$shared" "$0/root/$shared"; done
# Without what tells programs that there is a systemd to talk to.
mount -t tmpfs -o mode=755 tmpfs "$0/root/run"
mount -t tmpfs -o mode=1777 tmpfs "$0/root/tmp"
exec chroot "$0/root" sh -c 'echo entered; read -r end'
"#;

/// A root directory in a mount namespace of its own, both of which go when it is dropped and nothing runs in it any more.
pub struct Root {
    holder: Process,
    _input: ChildStdin,
    directory: PathBuf,
}

impl Root {
    /// A copy of this machine's.
    #[track_caller]
    pub fn copy_of_this_machine() -> Self {
        let directory = scratch_file("root");
        std::fs::create_dir_all(&directory).expect("make a directory to mount over");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", COPY_OF_THIS_MACHINE]).arg(&directory);
        let (mut holder, input) = Process::spawn_with_input("a root of its own", &mut command);
        wait_until("the root is mounted", PATIENCE, || {
            let ended = holder.try_exit();
            assert!(ended.is_none(), "a root of its own needs root: {ended:?} {}", holder.stderr());
            holder.stdout().contains("entered").then_some(())
        });
        Self { holder, _input: input, directory }
    }

    /// Where a file of it is found from outside.
    pub fn file(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(path.trim_start_matches('/'))
    }

    /// What goes before a command line that is to run in it. The process keeps its id.
    pub fn exec_prefix(&self) -> Vec<String> {
        let holder = self.holder.id().to_string();
        ["nsenter", "--target", &holder, "--mount", "--root", "--wd=/", "--"].map(str::to_owned).into()
    }

    /// Runs a command in it to its end: whether it is content, and what it says.
    #[track_caller]
    pub fn try_run(&self, line: &[&str]) -> (bool, String) {
        let prefix = self.exec_prefix();
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).args(line).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let output = command.env("LC_ALL", "C.UTF-8").output().expect("nsenter is installed: run .ci/setup");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    /// The same for one that must succeed.
    #[track_caller]
    pub fn run(&self, line: &[&str]) -> String {
        let (is_content, text) = self.try_run(line);
        assert!(is_content, "{}: {text}", line.join(" "));
        text
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.directory);
    }
}
