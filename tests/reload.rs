//! A reload while streams are live: what it changes, what it names as needing a restart, and that a bad file changes nothing.

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::api::Response;
use support::scratch_file;
use support::server::{Inrush, Server};

/// A server whose configuration file can be written anew.
struct Reloadable {
    server: Server,
    file: PathBuf,
}

impl Reloadable {
    /// With all that a test does not say itself at the defaults, and on free ports.
    #[track_caller]
    fn start(text: &str) -> Self {
        let file = scratch_file("reloaded.toml");
        std::fs::write(&file, text).expect("write a configuration file");
        let inrush = Inrush::new().args(&["--config", &file.display().to_string()]);
        Self { server: inrush.start(), file }
    }

    fn reload(&self, text: &str) -> Response {
        std::fs::write(&self.file, text).expect("write a configuration file");
        self.server.request("POST", "/api/v1/reload").expect("an answer")
    }

    /// What has changed and what needs a restart.
    #[track_caller]
    fn changes(&self, text: &str) -> Value {
        let answer = self.reload(text);
        assert_eq!(answer.status, 200, "{}: {text}", answer.body);
        answer.json()
    }

    /// The line that refuses it.
    #[track_caller]
    fn refusal(&self, text: &str) -> String {
        let answer = self.reload(text);
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (422, &json!("bad_configuration")),
            "{text}"
        );
        let line = answer.json()["error"]["message"].as_str().expect("a line").to_owned();
        line.strip_prefix(&format!("{}:", self.file.display())).map_or(line.clone(), str::to_owned)
    }
}

/// The API says what has changed and what needs a restart, as the log does; a bad file is refused with its line, and asked for again the same
/// is no news.
#[test]
fn a_reload_through_the_api_says_what_came_of_it() {
    let it = Reloadable::start("[log]\nfilter = \"info\"\n");
    let file = "[log]\nfilter = \"debug\"\nformat = \"json\"\n[engine]\ncores = 1\n";
    let restart = json!(["engine.cores", "log.format"]);
    assert_eq!(it.changes(file), json!({"changed": ["log.filter"], "needs_restart": restart}));
    assert_eq!(
        it.changes(file),
        json!({"changed": [], "needs_restart": restart}),
        "in force it is what it was"
    );
    assert!(it.server.log().contains("these take effect at the next start: engine.cores, log.format"));
    assert_eq!(
        it.refusal("[engine]\ncolour = 1\n"),
        "2: unknown key \"colour\" in [engine]; allowed: cores, placement, drain_seconds, reconnect_url"
    );
    assert_eq!(
        it.changes(""),
        json!({"changed": ["log.filter"], "needs_restart": []}),
        "and the old one stayed"
    );
    assert_eq!(it.server.request("GET", "/api/v1/reload").expect("an answer").status, 405);
}
