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
        next.runtime.apps.clone_from(&self.runtime.apps);
        next.relay.clone_from(&self.relay);
        if next.runtime.tls.is_wanted() && next.runtime.tls.certificates.is_empty() {
            next.runtime.tls.certificates.clone_from(&self.runtime.tls.certificates);
        }
        next
    }
}

/// Whether a key is read at the start alone.
fn needs_restart(table: &str, key: &str) -> bool {
    !matches!((table, key), ("log", "filter") | ("control", "metrics_open" | "token" | "top_streams"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;

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
}
