//! What a reload makes of another configuration: what can be had while the process runs, and what needs a restart.

use super::Config;
use super::schema::TABLES;

impl Config {
    /// What is in force once `wanted` has been read: all of it that can be had while the process runs, and the rest as it is.
    pub fn reloaded(&self, wanted: &Self) -> Self {
        let mut next = wanted.clone();
        for table in &TABLES {
            for key in table.keys.iter().filter(|key| needs_restart(table.name, key.name)) {
                key.copy(self, &mut next);
            }
        }
        // The file may do without a token since it listens elsewhere, where none is needed. As long as we listen here, ours stays.
        if next.control.token.is_none() && !next.control.listen.ip().is_loopback() {
            next.control.token.clone_from(&self.control.token);
        }
        next
    }
}

/// Keys that are read at the start alone, as `table.key`. All others, and all tables that may come several times, take effect with a reload.
///
/// Cores are threads with rings of their own, and where streams live is decided by how many there are; the address of the control HTTP is how whoever
/// reloads finds it; recordings are written by a thread of their own to one directory; the form of log lines is what reads them.
pub const NEEDS_RESTART: [&str; 7] = [
    "engine.cores",
    "engine.placement",
    "control.listen",
    "recorder.directory",
    "recorder.bytes",
    "recorder.files_max",
    "log.format",
];

fn needs_restart(table: &str, key: &str) -> bool {
    NEEDS_RESTART.iter().any(|path| path.split_once('.') == Some((table, key)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::{NEEDS_RESTART, TABLES};

    /// What can be had is had, what needs a restart is as before, and the two differences together are all of it.
    #[test]
    fn a_reload_takes_what_can_be_had_and_leaves_the_rest() {
        let old = load(&[], &[], Some("[engine]\ncores = 2\n[log]\nfilter = \"warn\"\n")).unwrap().config;
        let file = "[engine]\ncores = 4\n[log]\nfilter = \"debug\"\nformat = \"json\"\n";
        let wanted = load(&[], &[], Some(file)).unwrap().config;
        let next = old.reloaded(&wanted);
        assert_eq!(next.runtime.cores, 2);
        assert_eq!(old.differences(&next), ["log.filter"]);
        assert_eq!(next.differences(&wanted), ["engine.cores", "log.format"]);
        assert_eq!(
            next.differences(&next.reloaded(&wanted)),
            Vec::<String>::new(),
            "said again, it is no news"
        );
    }

    /// A file that is valid is taken: without the token that it needs only where it does not listen yet, and that says so.
    #[test]
    fn a_token_stays_as_long_as_the_address_that_needs_it() {
        let path = std::env::temp_dir().join(format!("inrush-token-{}", std::process::id()));
        std::fs::write(&path, "0123456789abcdef").unwrap();
        let token = format!("token = \"file:{}\"\n", path.display());
        let file = format!("[control]\nlisten = \"0.0.0.0:8935\"\n{token}");
        let old = load(&[], &[], Some(&file)).unwrap().config;
        let wanted = load(&[], &[], Some("[control]\nlisten = \"127.0.0.1:8935\"\n")).unwrap().config;
        let next = old.reloaded(&wanted);
        assert_eq!(next.control, old.control);
        assert_eq!(next.differences(&wanted), ["control.listen", "control.token"]);
        // One that listens where nobody needs a token goes without.
        let there = load(&[], &[], Some(&format!("[control]\n{token}"))).unwrap().config;
        assert_eq!(there.reloaded(&wanted).control.token, None);
        std::fs::remove_file(&path).unwrap();
    }

    /// What is listed is in the schema: a key that is renamed would take effect with a reload, and nobody had meant it to.
    #[test]
    fn each_key_that_needs_a_restart_is_there() {
        for path in NEEDS_RESTART {
            let (table, key) = path.split_once('.').unwrap();
            let table = TABLES.iter().find(|one| one.name == table).expect(path);
            assert!(table.keys.iter().any(|one| one.name == key), "{path}");
        }
    }
}
