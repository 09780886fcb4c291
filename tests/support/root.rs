//! Root directories of their own, for what is installed: a copy of this machine's, and one with next to nothing in it. They need root.

use std::ffi::CString;
use std::fs::{self, File};
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

/// Mounts over the directory `$0` what a container engine gives to every container; then stays beside it.
const NEXT_TO_NOTHING: &str = r#"
set -e
mount -t tmpfs -o mode=755 tmpfs "$0"
for shared in dev proc sys; do mkdir "$0/$shared"; mount --rbind "/$shared" "$0/$shared"; done
echo entered
read -r end
"#;

/// A root directory in a mount namespace of its own, both of which go when it is dropped and nothing runs in it any more.
pub struct Root {
    holder: Process,
    _input: ChildStdin,
    directory: PathBuf,
    /// Where it begins, as seen by the holder.
    beginning: PathBuf,
}

impl Root {
    /// A copy of this machine's.
    #[track_caller]
    pub fn copy_of_this_machine() -> Self {
        let mut root = Self::mount(COPY_OF_THIS_MACHINE);
        root.beginning = "/".into();
        root
    }

    /// One with devices, processes and nothing else.
    #[track_caller]
    pub fn next_to_nothing() -> Self {
        Self::mount(NEXT_TO_NOTHING)
    }

    #[track_caller]
    fn mount(script: &str) -> Self {
        let directory = scratch_file("root");
        fs::create_dir_all(&directory).expect("make a directory to mount over");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(&directory);
        let (mut holder, input) = Process::spawn_with_input("a root of its own", &mut command);
        wait_until("the root is mounted", PATIENCE, || {
            let ended = holder.try_exit();
            assert!(ended.is_none(), "a root of its own needs root: {ended:?} {}", holder.stderr());
            holder.stdout().contains("entered").then_some(())
        });
        Self { holder, _input: input, beginning: directory.clone(), directory }
    }

    /// Where a file of it is found from outside.
    pub fn file(&self, path: &str) -> PathBuf {
        let of_holder = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let beginning = self.beginning.strip_prefix("/").expect("an absolute path");
        of_holder.join(beginning).join(path.trim_start_matches('/'))
    }

    /// Puts a copy of a file of this machine into it.
    #[track_caller]
    pub fn put(&self, source: impl AsRef<Path>, path: &str) {
        let target = self.file(path);
        fs::create_dir_all(target.parent().expect("a file is in a directory")).expect("make a directory");
        // By a program, lest a descriptor that is open for writing be in the hands of what another test starts: nobody could start the copy then.
        let copied = Command::new("cp").arg(source.as_ref()).arg(target).status();
        assert!(copied.expect("cp is there").success(), "copy {}", source.as_ref().display());
    }

    /// Lets a file of it say something else, also one of the kernel's, without changing it.
    #[track_caller]
    pub fn pretend(&self, path: &str, text: &str) {
        let said = scratch_file("pretended");
        fs::write(&said, text).expect("write a file");
        let path = self.beginning.join(path.trim_start_matches('/'));
        self.run(&["mount", "--bind", &said.display().to_string(), &path.display().to_string()]);
        fs::remove_file(said).expect("remove a file");
    }

    /// Shuts the one of next to nothing to writing.
    #[track_caller]
    pub fn make_read_only(&self) {
        self.run(&["mount", "-o", "remount,ro", &self.beginning.display().to_string()]);
    }

    /// The mount namespace, and where in it the root begins.
    #[track_caller]
    pub fn entrance(&self) -> (File, CString) {
        let namespace = File::open(format!("/proc/{}/ns/mnt", self.holder.id())).expect("it has one");
        (namespace, CString::new(self.beginning.as_os_str().as_encoded_bytes()).expect("a path"))
    }

    /// What goes before a command line that is to run where the holder is: in the copy of this machine, or beside the one of next to nothing.
    /// The process keeps its id.
    pub fn exec_prefix(&self) -> Vec<String> {
        let holder = self.holder.id().to_string();
        ["nsenter", "--target", &holder, "--mount", "--root", "--wd=/", "--"].map(str::to_owned).into()
    }

    /// Runs a command there to its end: whether it is content, and what it says.
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
        let _ = fs::remove_dir(&self.directory);
    }
}
