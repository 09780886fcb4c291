//! The dashboard in a real browser, with real streams behind it: what it shows is what the API says; with the keyboard, on a phone, in the dark,
//! and behind the token. Pictures of it are left in `target/dashboard`, for people to look at.
#![cfg(feature = "engine")]

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};

use support::browser::Browser;
use support::client::Client;
use support::live::Live;
use support::media::H264_AAC;
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::{PATIENCE, ports, target_dir, wait_until};

/// What somebody may call a stream who means no good.
const HOSTILE: [&str; 3] = [
    "<img src=x onerror=document.title=1>",
    "</script><script>document.title=1</script>",
    "\"'&lt;b&gt;${document.title=1}\u{202e}gnp.x",
];

fn page(server: &Server) -> String {
    format!("http://{}/", server.http())
}

/// A browser that looks at a server, once the page has shown its first snapshot.
fn look_at(server: &Server) -> Browser {
    let browser = Browser::start();
    browser.resize(1280, 900);
    browser.go(&page(server));
    browser.wait_for("!document.getElementById('all').hidden");
    browser
}

/// A publisher of H.264 and AAC.
fn live(server: &Server, name: &str, bits_per_second: usize) -> Live {
    let client = Client::open(server.rtmp()).connect("live").publish(name);
    let headers = sequence_headers(&H264_AAC.media());
    Live::start(client, &headers, &Pattern::with_bits_per_second(bits_per_second), 0)
}

/// Names as the page shows them, in its order.
fn names(browser: &Browser) -> Vec<String> {
    let cells = "[...document.querySelectorAll('#streams-table tbody th')].map(it => it.querySelector('bdi:last-child').textContent)";
    serde_json::from_value(browser.evaluate(cells)).expect("a list of names")
}

/// A stream's cells by the names of their columns.
fn cells(browser: &Browser, name: &str) -> Value {
    browser.evaluate(&format!(
        "Object.fromEntries([...document.querySelectorAll('#streams-table tbody tr')]
           .filter(row => row.querySelector('bdi:last-child').textContent === {})
           .flatMap(row => [...row.querySelectorAll('td')].map(cell => [cell.dataset.of, cell.innerText])))",
        json!(name)
    ))
}

/// `2.04 Mbit/s` as bits a second.
fn bits(text: &str) -> f64 {
    let (number, unit) = text.trim().split_once(' ').unwrap_or_else(|| panic!("no bitrate: {text:?}"));
    let scale = match unit {
        "bit/s" => 1.0,
        "kbit/s" => 1e3,
        "Mbit/s" => 1e6,
        other => panic!("no unit: {other}"),
    };
    number.parse::<f64>().expect("a number") * scale
}

fn bitrate_in_api(server: &Server, name: &str) -> f64 {
    let streams = server.streams();
    let stream = streams.iter().find(|stream| stream["name"] == name).expect("it is published");
    stream["bits_in_per_second"].as_f64().expect("a number")
}

fn assert_fits(browser: &Browser, what: &str) {
    let widths = "[document.documentElement.scrollWidth, innerWidth]";
    let widths: [u32; 2] = serde_json::from_value(browser.evaluate(widths)).expect("two numbers");
    let [wide, screen] = widths;
    assert!(wide <= screen, "{what}: {wide} pixels on a screen of {screen}");
}

fn picture(browser: &Browser, name: &str) {
    let path: PathBuf = target_dir().join("dashboard").join(format!("{name}.png"));
    browser.picture(&path);
}

/// Text that stands on its own ground with less than 4.5 to 1 (WCAG 2.2 §1.4.3).
fn too_faint(browser: &Browser) -> Value {
    browser.evaluate(
        "(() => {
           const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
           const rgb = color => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = color; paint.fillRect(0, 0, 1, 1); return paint.getImageData(0, 0, 1, 1).data; };
           const light = ([r, g, b]) => { const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
           const ground = it => { for (; it; it = it.parentElement) { const c = rgb(getComputedStyle(it).backgroundColor); if (c[3] > 0) return c; } return [255, 255, 255]; };
           const faint = [];
           for (const it of document.querySelectorAll('body *')) {
             if (![...it.childNodes].some(node => node.nodeType === 3 && node.data.trim()) || it.getClientRects().length === 0) continue;
             const [a, b] = [light(rgb(getComputedStyle(it).color)), light(ground(it))].sort((x, y) => y - x);
             if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(it.outerHTML.slice(0, 100));
           }
           return faint;
         })()",
    )
}

/// Names, count, bitrate, health and forwards are those of the API; and what strangers call their streams stays text. In each light and width that
/// people have, nothing is cut and all can be read.
#[test]
fn it_shows_what_the_api_says() {
    let config = format!("[[target]]\nurl = \"rtmp://127.0.0.1:{}/{{app}}/{{name}}\"\n", ports::free_port());
    let server = Inrush::new().cores(2).config(&config).start();
    let browser = look_at(&server);
    assert_eq!(names(&browser), [""; 0]);
    assert_eq!(browser.evaluate("document.getElementById('streams-none').innerText"), "Nobody publishes.");
    picture(&browser, "empty");

    let _streams = [live(&server, "camera", 2_000_000), live(&server, "stage", 400_000)];
    let long = format!("a-long-name-{}", "0123456789abcdef".repeat(12));
    let _quiet: Vec<Client> = HOSTILE
        .into_iter()
        .chain([long.as_str()])
        .map(|name| Client::open(server.rtmp()).connect("live").publish(name))
        .collect();
    let _player = Client::open(server.rtmp()).connect("live").play("camera").record_in_background();
    server.wait_for_players("live", "camera", 1);
    let in_api = || -> Vec<String> {
        let streams = server.streams();
        let mut names: Vec<_> =
            streams.iter().map(|it| it["name"].as_str().expect("a name").to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(in_api().len(), 6);
    wait_until("the page has the API's names", PATIENCE, || {
        let mut shown = names(&browser);
        shown.sort();
        (shown == in_api()).then_some(())
    });
    assert_eq!(browser.evaluate("document.getElementById('streams-count').innerText"), "6");
    for (name, wanted) in [("camera", 2e6), ("stage", 4e5)] {
        wait_until("the bitrate is between what the API says before and after", PATIENCE, || {
            let before = bitrate_in_api(&server, name);
            let shown = bits(cells(&browser, name)["Bitrate"].as_str().expect("a cell"));
            let after = bitrate_in_api(&server, name);
            // Three digits are shown, of a second ago at the most.
            let (low, high) = (before.min(after) * 0.95, before.max(after) * 1.05);
            (low..=high).contains(&shown).then_some(()).filter(|()| (shown / wanted - 1.0).abs() < 0.3)
        });
    }
    let camera = cells(&browser, "camera");
    assert!(camera["Video"].as_str().is_some_and(|cell| cell.starts_with("H.264 ")), "{camera}");
    assert!(camera["Audio"].as_str().is_some_and(|cell| cell.starts_with("AAC")), "{camera}");
    assert_eq!((&camera["Players"], &camera["Health"]), (&json!("1"), &json!("ok")), "{camera}");
    wait_until("who sends nothing is said to starve, here and in the API", PATIENCE, || {
        let starves = |name: &str| cells(&browser, name)["Health"] == "starving";
        (HOSTILE.into_iter().all(starves) && names(&browser)[0] != "camera").then_some(())
    });
    browser.wait_for("document.querySelectorAll('#forwards-table tbody tr').length === 6");
    let state = "document.querySelector('#forwards-table [data-of=State]').innerText";
    browser.wait_for(&format!("['waiting', 'connecting', 'resolving', 'in_line'].includes({state})"));
    let modes = browser.evaluate("[...document.querySelectorAll('#cores .pill')].map(it => it.innerText)");
    assert_eq!(modes.as_array().map(Vec::len), Some(2), "{modes}");
    browser
        .wait_for("[...document.querySelectorAll('#latency dd')].some(it => it.innerText.startsWith('≤ '))");

    // Nothing but text has come of the names.
    assert_eq!(browser.evaluate("document.querySelectorAll('img, main script, main b').length"), 0);
    assert!(browser.evaluate("document.title").as_str().is_some_and(|title| title.ends_with(": 6 streams")));

    for (light, width, name) in [
        ("light", 1280, "desktop-light"),
        ("dark", 1280, "desktop-dark"),
        ("light", 1121, "narrow"),
        ("light", 768, "tablet"),
        ("light", 360, "phone"),
        ("dark", 360, "phone-dark"),
    ] {
        browser.prefer("prefers-color-scheme", light);
        browser.resize(width, 800);
        assert_fits(&browser, name);
        picture(&browser, name);
        assert_eq!(too_faint(&browser), json!([]), "{name}");
        let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor");
        let is_dark = ground == "rgb(14, 20, 25)";
        assert_eq!(is_dark, light == "dark", "{ground}");
    }
    let motion = "getComputedStyle(document.querySelector('.bar i')).transitionDuration";
    assert_ne!(browser.evaluate(motion), "0s");
    browser.prefer("prefers-reduced-motion", "reduce");
    assert_eq!(browser.evaluate(motion), "0s");

    let origin = page(&server);
    for url in browser.requests() {
        assert!(url.starts_with(&origin) || url.starts_with("data:"), "asked for {url}");
    }
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

/// 200 streams: those of the highest bitrate are shown, all are counted, and everything is reached with the keyboard.
#[test]
fn many_streams_are_counted_sorted_and_reached_by_the_keyboard() {
    let server = Inrush::new().cores(2).start();
    let publish =
        |number: usize| Client::open(server.rtmp()).connect("many").publish(&format!("stream-{number:03}"));
    // As long as all are shown, none of them leaves the page for another.
    let _some: Vec<_> = (0..60).map(publish).collect();
    let browser = look_at(&server);
    browser.wait_for("document.querySelectorAll('#streams-table tbody tr').length === 60");

    // From the top: past the skip link into the streams; what has the focus is seen to have it.
    let focus = |what: &str| browser.evaluate(&format!("(document.activeElement ?? document.body){what}"));
    let tab = || {
        browser.press("Tab");
        let outline = focus(".computedStyleMap().get('outline-style').value");
        assert_ne!(outline, "none", "{}", focus(".outerHTML.slice(0, 200)"));
    };
    tab();
    assert_eq!(focus(".className"), "skip");
    browser.press("Enter");
    assert_eq!(focus(".id"), "streams");
    tab();
    assert_eq!(focus(".innerText"), "Stream");
    let order = |browser: &Browser| {
        let mut sorted = names(browser);
        let shown = sorted.clone();
        sorted.sort();
        (shown == sorted, shown.into_iter().rev().collect::<Vec<_>>() == sorted)
    };
    browser.press("Enter");
    assert_eq!(order(&browser), (true, false));
    assert_eq!(focus(".parentElement.ariaSort"), "ascending");
    browser.press("Enter");
    assert_eq!(order(&browser), (false, true));
    assert_eq!(focus(".parentElement.ariaSort"), "descending");
    for header in ["Health", "Bitrate", "Video", "Audio", "Players", "Core", "Up"] {
        tab();
        assert_eq!(focus(".innerText"), header);
    }
    // One stop for all rows, and the arrows from row to row.
    tab();
    let name = || focus(".querySelector('bdi:last-child')?.textContent");
    let all = names(&browser);
    let row = |index: usize| all[index].as_str();
    for (key, index) in
        [("ArrowUp", 0), ("ArrowDown", 1), ("ArrowDown", 2), ("End", 59), ("ArrowUp", 58), ("Home", 0)]
    {
        browser.press(key);
        assert_eq!(name(), row(index), "{key}");
    }
    // It stays there while snapshots come.
    let shown = "document.getElementById('uptime').innerText";
    let before = browser.evaluate(shown);
    browser.wait_for(&format!("{shown} !== {before}"));
    assert_eq!(name(), row(0));
    tab();
    assert_eq!(focus(".getAttribute('href')"), "/metrics", "the next stop is beyond the table");

    let _others: Vec<_> = (60..200).map(publish).collect();
    browser.wait_for("document.getElementById('streams-count').innerText === '200'");
    let count = "document.querySelectorAll('#streams-table tbody tr').length";
    browser.wait_for(&format!("{count} === 100"));
    let note = browser.evaluate("document.getElementById('streams-note').innerText");
    assert!(note.as_str().is_some_and(|note| note.starts_with("the first 100 are shown")), "{note}");
    picture(&browser, "many");
    browser.resize(360, 740);
    assert_fits(&browser, "200 streams on a phone");
    picture(&browser, "many-phone");
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

/// Behind the token the page asks for it, once a tab, and says so when it is another's; and it says when the server has gone.
#[test]
fn it_asks_for_the_token_and_tells_that_the_server_has_gone() {
    const TOKEN: &str = "the-token-of-this-dashboard";
    let server = Inrush::new().cores(1).token(TOKEN).start();
    let browser = Browser::start();
    browser.resize(360, 740);
    browser.go(&page(&server));
    browser.wait_for("!document.getElementById('door').hidden");
    assert_fits(&browser, "the door");
    picture(&browser, "door");
    assert_eq!(browser.evaluate("document.activeElement.id"), "token");
    assert_eq!(browser.evaluate("document.getElementById('wrong').innerText"), "");
    for (said, answer) in [
        ("with a space", "A token has no such characters."),
        ("another-token-of-somebody", "This is not the token."),
    ] {
        browser.evaluate("document.getElementById('token').value = ''");
        browser.write(said);
        browser.press("Enter");
        browser.wait_for(&format!("document.getElementById('wrong').innerText === {}", json!(answer)));
        assert_eq!(browser.evaluate("document.getElementById('all').hidden"), true);
    }
    browser.write(TOKEN);
    browser.press("Enter");
    browser.wait_for("!document.getElementById('all').hidden && document.getElementById('door').hidden");
    browser.wait_for("document.getElementById('state').innerText === 'ready'");
    // Once a tab, and nowhere else.
    browser.go(&page(&server));
    browser.wait_for("!document.getElementById('all').hidden");
    let kept =
        browser.evaluate("[sessionStorage.length, localStorage.length, document.cookie, location.search]");
    assert_eq!(kept, json!([1, 0, "", ""]));
    for url in browser.requests() {
        assert!(!url.contains(TOKEN), "{url}");
    }
    let stopped = server.stop();
    assert!(!(stopped.stdout + &stopped.stderr).contains(TOKEN));
    browser.wait_for("document.getElementById('state').innerText === 'no answer'");
    assert_eq!(browser.evaluate("document.getElementById('said').innerText"), "the server does not answer");
}
