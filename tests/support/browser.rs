//! A real browser: headless Chromium, driven by its DevTools protocol over a pipe.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{PATIENCE, scratch_file, wait_until};

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: RefCell<Option<ChildStdin>>,
    from: Receiver<Value>,
    profile: PathBuf,
    session: String,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    /// Answers and events in the order in which they came.
    events: Vec<Value>,
}

impl Browser {
    /// One that shows nothing yet.
    #[track_caller]
    pub fn start() -> Self {
        let profile = scratch_file("chromium");
        std::fs::create_dir_all(&profile).expect("make a profile");
        // It takes its orders from descriptor 3 and answers on 4.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "exec 3<&0 4>&1 </dev/null >/dev/null; exec \"$0\" \"$@\"",
            "chromium-headless-shell",
        ]);
        // Root, as which tests may run, has no sandbox there. The pages are our own.
        command.args(["--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args([
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
        ]);
        command.arg(format!("--user-data-dir={}", profile.display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("sh starts");
        let pipe = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, from) = channel();
        std::thread::spawn(move || {
            for message in pipe.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("the protocol is JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let to = RefCell::new(child.stdin.take());
        let mut browser =
            Self { child, to, from, profile, session: String::new(), state: RefCell::default() };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        attached["sessionId"].as_str().expect("a session").clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Goes to an address and waits until its document and scripts are there.
    #[track_caller]
    pub fn go(&self, url: &str) {
        let gone = self.call("Page.navigate", json!({"url": url}));
        assert_eq!(gone.get("errorText"), None, "{url}");
        wait_until("the page is loaded", PATIENCE, || {
            (self.evaluate("document.readyState + location.href") == format!("complete{url}")).then_some(())
        });
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub fn evaluate(&self, expression: &str) -> Value {
        let ask = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", ask);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression in the page is true.
    #[track_caller]
    pub fn wait_for(&self, expression: &str) {
        wait_until(expression, PATIENCE, || (self.evaluate(expression) == true).then_some(()));
    }

    /// Gives the page this many pixels; below 600 they are those of a phone.
    pub fn resize(&self, width: u32, height: u32) {
        let is_phone = width < 600;
        let scale = if is_phone { 2 } else { 1 };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Prefers something, as `prefers-color-scheme`: `dark`.
    pub fn prefer(&self, feature: &str, value: &str) {
        self.call("Emulation.setEmulatedMedia", json!({"features": [{"name": feature, "value": value}]}));
    }

    /// Presses a key that writes nothing, by its name: `Tab`, `Enter`, `ArrowDown`.
    pub fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "End" => 35,
            "Home" => 36,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            other => panic!("unknown key {other}"),
        };
        // Enter presses a button by the character that it makes.
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Writes into what has the focus.
    pub fn write(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// A picture of the whole page, for people to look at.
    pub fn picture(&self, path: &Path) {
        let size = self.call("Page.getLayoutMetrics", json!({}))["cssContentSize"].clone();
        let (width, height) = (&size["width"], &size["height"]);
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let what = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let picture = self.call("Page.captureScreenshot", what);
        let data = STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("base64");
        std::fs::create_dir_all(path.parent().expect("it is in a directory")).expect("make it");
        std::fs::write(path, data).expect("write a picture");
    }

    /// What the page asked the network for so far.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.events("Network.requestWillBeSent");
        requests.iter().map(|it| it["request"]["url"].as_str().expect("a URL").to_owned()).collect()
    }

    /// What went wrong in the page: exceptions, and what its policy or the network forbade. The answers that a page's script expects are not among it.
    pub fn complaints(&self) -> Vec<Value> {
        let mut all = self.events("Runtime.exceptionThrown");
        all.extend(self.events("Log.entryAdded").into_iter().filter(|it| it["entry"]["level"] == "error"));
        all
    }

    fn events(&self, method: &str) -> Vec<Value> {
        // Whatever was on its way before this answer has come.
        self.call("Runtime.evaluate", json!({"expression": "0"}));
        let state = self.state.borrow();
        let wanted = state.events.iter().filter(|event| event["method"] == method);
        wanted.map(|event| event["params"].clone()).collect()
    }

    #[track_caller]
    fn call(&self, method: &str, params: Value) -> Value {
        let mut state = self.state.borrow_mut();
        state.last_id += 1;
        let id = state.last_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let text = format!("{message}\0");
        let sent = self.to.borrow_mut().as_mut().expect("it is not closed").write_all(text.as_bytes());
        sent.unwrap_or_else(|error| panic!("{error}: does chromium-headless-shell run? .ci/setup brings it"));
        loop {
            let mut answer = self.from.recv_timeout(2 * PATIENCE).unwrap_or_else(|error| {
                panic!("{method}: {error}: does chromium-headless-shell run? .ci/setup brings it")
            });
            if answer["id"] == id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
            state.events.push(answer);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends all its processes when nobody gives it orders any more.
        drop(self.to.borrow_mut().take());
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
