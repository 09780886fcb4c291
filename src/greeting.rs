//! What the engine prints once it runs: where it listens, and lines to copy that publish and play (floor 6).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::edge::auth::{AuthSettings, AuthTable};
use crate::edge::secret::SecretPlace;
use crate::runtime::outside::Action;

/// The port that an `rtmp:` URL without one means.
const RTMP_PORT: u16 = 1935;

/// The port that an `rtmps:` URL without one means.
const RTMPS_PORT: u16 = 443;

/// What is said.
#[derive(Clone, Debug)]
pub struct Greeting<'a> {
    /// Where RTMP is served, as really bound; the first one is used in the lines to copy.
    pub rtmp: &'a [SocketAddr],
    /// Where RTMPS is served, likewise.
    pub rtmps: &'a [SocketAddr],
    /// Where the control HTTP is served.
    pub control: SocketAddr,
    /// Where the token stands that it asks for.
    pub token: Option<&'a SecretPlace>,
    /// Cores that the engine runs on.
    pub cores: usize,
    /// This host's address as others see it, if it has one.
    pub host: Option<IpAddr>,
    /// Who may publish and play.
    pub auth: &'a AuthSettings,
}

impl Greeting<'_> {
    /// The whole text, with its last line feed. The `listening` lines are for programs: one an address, as really bound.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let cores = if self.cores == 1 { "1 core".to_owned() } else { format!("{} cores", self.cores) };
        let _ = writeln!(out, "inrush {} on {cores}", env!("CARGO_PKG_VERSION"));
        for address in self.rtmp {
            let _ = writeln!(out, "listening rtmp {address}");
        }
        for address in self.rtmps {
            let _ = writeln!(out, "listening rtmps {address}");
        }
        let _ = writeln!(out, "listening http {}", self.control);
        if let Some(first) = self.rtmp.first() {
            let here = url("rtmp", RTMP_PORT, near(first.ip()), first.port());
            let there = url("rtmp", RTMP_PORT, self.far(first.ip()), first.port());
            let _ = writeln!(
                out,
                "publish a test picture:  ffmpeg -re -f lavfi -i testsrc2=s=1280x720:r=30 -f lavfi -i sine=r=48000 -c:v libx264 \
                 -preset veryfast -tune zerolatency -pix_fmt yuv420p -g 60 -b:v 3M -c:a aac -f flv {here}/live/test"
            );
            let _ =
                writeln!(out, "publish a file:          ffmpeg -re -i FILE -c copy -f flv {here}/live/test");
            let _ = writeln!(
                out,
                "publish with OBS:        Settings, Stream, Service Custom, Server {there}/live, Stream Key test"
            );
            let _ = writeln!(out, "play:                    ffplay {here}/live/test");
            let _ = writeln!(out, "play elsewhere:          vlc {there}/live/test");
        }
        if let Some(first) = self.rtmps.first() {
            let there = url("rtmps", RTMPS_PORT, self.far(first.ip()), first.port());
            let _ =
                writeln!(out, "publish over TLS:        ffmpeg -re -i FILE -c copy -f flv {there}/live/test");
        }
        let http = SocketAddr::new(near(self.control.ip()), self.control.port());
        let said = match self.token {
            None => String::new(),
            Some(SecretPlace::File(path)) => {
                format!(
                    "printf 'Authorization: Bearer %s' \"$(cat {})\" | ",
                    shell_quoted(&path.display().to_string())
                )
            }
            Some(SecretPlace::Variable(name)) => format!("printf 'Authorization: Bearer %s' \"${name}\" | "),
        };
        // A header from the standard input, and `printf` of the shell itself: so the token is in no list of processes.
        let header = if said.is_empty() { "" } else { "-H @- " };
        let _ = writeln!(out, "watch:                   {said}curl {header}http://{http}/api/v1/streams");
        let asks = if self.token.is_some() { " (asks for the token)" } else { "" };
        let _ = writeln!(out, "watch in a browser:      http://{http}/{asks}");
        self.warn_of_open_doors(&mut out);
        if !self.control.ip().is_loopback() {
            let _ = writeln!(
                out,
                "warning: the token of http {} crosses the network as it is; put TLS or a private network in front",
                self.control
            );
        }
        out
    }

    /// Says what everybody may do.
    fn warn_of_open_doors(&self, out: &mut String) {
        let tables = &self.auth.tables;
        if tables.is_empty() {
            out.push_str("warning: publish and play are open to everybody who reaches these addresses\n");
            return;
        }
        let open_in = |action: &str, sources: &dyn Fn(&AuthTable) -> bool| {
            let apps: Vec<_> = tables.iter().filter(|table| sources(table)).map(AuthTable::label).collect();
            (!apps.is_empty()).then(|| format!("{action} in {}", apps.join(", ")))
        };
        let publish = open_in("publish", &|table| table.is_open(Action::Publish));
        let play = open_in("play", &|table| table.is_open(Action::Play));
        let open: Vec<_> = publish.into_iter().chain(play).collect();
        if !open.is_empty() {
            let _ =
                writeln!(out, "warning: open to everybody who reaches these addresses: {}", open.join("; "));
        }
    }

    /// An address that leads from elsewhere to a listener on `listen`.
    fn far(&self, listen: IpAddr) -> IpAddr {
        if listen.is_unspecified() { self.host.unwrap_or(near(listen)) } else { listen }
    }
}

/// An address that leads from this host to a listener on `listen`.
fn near(listen: IpAddr) -> IpAddr {
    if listen.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { listen }
}

/// A text as one word of a shell.
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn url(scheme: &str, default_port: u16, host: IpAddr, port: u16) -> String {
    let host = match host {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    if port == default_port { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") }
}

/// The address that this host uses towards others, by its routing table; nothing is sent.
pub fn host_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // TEST-NET-1 (RFC 5737): routed as the wide world is, and nobody's.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::auth::Source;

    fn text(rtmp: &[&str], control: &str) -> String {
        text_with(rtmp, &[], control)
    }

    fn text_with(rtmp: &[&str], rtmps: &[&str], control: &str) -> String {
        let [rtmp, rtmps] = [rtmp, rtmps].map(|addresses| -> Vec<_> {
            addresses.iter().map(|address| address.parse().unwrap()).collect()
        });
        let host = Some("198.51.100.7".parse().unwrap());
        let control: SocketAddr = control.parse().unwrap();
        let auth = AuthSettings::default();
        let place = SecretPlace::Variable("TOKEN".into());
        let token = (!control.ip().is_loopback()).then_some(&place);
        Greeting { rtmp: &rtmp, rtmps: &rtmps, control, token, cores: 2, host, auth: &auth }.text()
    }

    /// What follows `start` on its line.
    fn after<'t>(text: &'t str, start: &str) -> &'t str {
        text.lines().find_map(|line| line.strip_prefix(start)).expect(start).trim()
    }

    #[test]
    fn each_address_is_told_on_a_line_of_its_own() {
        let text = text(&["0.0.0.0:1935", "[::1]:1936"], "127.0.0.1:8935");
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("listening ")).collect();
        let expected =
            ["listening rtmp 0.0.0.0:1935", "listening rtmp [::1]:1936", "listening http 127.0.0.1:8935"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_listener_for_rtmps_has_its_own_lines() {
        let text = text_with(&["0.0.0.0:1935"], &["0.0.0.0:443", "[::1]:1936"], "127.0.0.1:8935");
        assert!(text.contains("\nlistening rtmps 0.0.0.0:443\nlistening rtmps [::1]:1936\n"), "{text}");
        assert!(after(&text, "publish over TLS:").ends_with(" -f flv rtmps://198.51.100.7/live/test"));
    }

    #[test]
    fn lines_to_copy_lead_to_a_listener_on_every_address() {
        let text = text(&["0.0.0.0:1935"], "0.0.0.0:80");
        assert_eq!(after(&text, "play:"), "ffplay rtmp://127.0.0.1/live/test");
        assert!(after(&text, "publish a test picture:").ends_with(" -f flv rtmp://127.0.0.1/live/test"));
        let watch =
            r#"printf 'Authorization: Bearer %s' "$TOKEN" | curl -H @- http://127.0.0.1:80/api/v1/streams"#;
        assert_eq!(after(&text, "watch:"), watch);
        assert_eq!(after(&text, "watch in a browser:"), "http://127.0.0.1:80/ (asks for the token)");
        // Whoever runs OBS sits elsewhere, as a rule.
        assert!(
            after(&text, "publish with OBS:").ends_with(" Server rtmp://198.51.100.7/live, Stream Key test")
        );
    }

    #[test]
    fn lines_to_copy_name_the_address_and_the_port_when_they_must() {
        let text = text(&["[2001:db8::1]:19350"], "127.0.0.1:8935");
        assert_eq!(after(&text, "play:"), "ffplay rtmp://[2001:db8::1]:19350/live/test");
        assert!(after(&text, "publish with OBS:").contains(" Server rtmp://[2001:db8::1]:19350/live,"));
    }

    #[test]
    fn it_warns_of_what_is_open() {
        let (open, api) =
            ("publish and play are open", "warning: the token of http 0.0.0.0:8935 crosses the network");
        let here = text(&["[::]:1935"], "127.0.0.1:8935");
        assert!(after(&here, "warning:").starts_with(open) && !here.contains("token"), "{here}");
        let everywhere = text(&["[::]:1935"], "0.0.0.0:8935");
        assert!(everywhere.contains(open) && everywhere.contains(api), "{everywhere}");
        let warning = |tables: Vec<AuthTable>| {
            let auth = AuthSettings { tables, ..AuthSettings::default() };
            let control = "127.0.0.1:8935".parse().unwrap();
            let text =
                Greeting { rtmp: &[], rtmps: &[], control, token: None, cores: 1, host: None, auth: &auth }
                    .text();
            text.lines().find_map(|line| line.strip_prefix("warning: ")).map(str::to_owned)
        };
        let table = |app: &str, publish: &[Source], play: &[Source]| AuthTable {
            app: app.into(),
            publish: publish.into(),
            play: play.into(),
            ..AuthTable::default()
        };
        let (all, keys) = ([Source::Open], [Source::Static]);
        assert_eq!(warning(vec![table("live", &keys, &keys)]), None);
        let two = vec![table("live", &keys, &all), table("*", &all, &all)];
        let expected = "open to everybody who reaches these addresses: publish in *; play in live, *";
        assert_eq!(warning(two).as_deref(), Some(expected));
        // As with nginx-rtmp, what nobody is asked about is allowed.
        let mut half = table("live", &[Source::Nginx], &[Source::Nginx]);
        half.nginx.on_publish = "http://h/".into();
        let expected = "open to everybody who reaches these addresses: play in live";
        assert_eq!(warning(vec![half.clone()]).as_deref(), Some(expected));
        half.nginx.on_connect = "http://h/".into();
        assert_eq!(warning(vec![half]), None);
    }
}
