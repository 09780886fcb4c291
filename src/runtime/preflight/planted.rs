//! A host of the tests' own: a folder that stands for `/`.

use std::fs;
use std::path::PathBuf;

use super::host::Host;

/// The folder, which goes with the value.
pub(super) struct Planted {
    root: PathBuf,
}

impl Planted {
    /// An empty host; the name is the test's.
    pub(super) fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("inrush-preflight-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        Self { root }
    }

    /// Writes a file and the folders above it.
    pub(super) fn file(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Makes a folder.
    pub(super) fn folder(&self, path: &str) {
        fs::create_dir_all(self.root.join(path)).unwrap();
    }

    /// The host, with one core on each of these CPUs.
    pub(super) fn host(&self, cpus: &[usize]) -> Host {
        Host { root: self.root.clone(), cpus: cpus.to_vec(), cores: cpus.len() }
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}
