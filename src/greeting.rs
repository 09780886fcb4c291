//! What the engine prints once it runs: where it listens, and lines to copy that publish and play (floor 6).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// The port that an `rtmp:` URL without one means.
const RTMP_PORT: u16 = 1935;

/// What is said.
#[derive(Clone, Debug)]
pub struct Greeting<'a> {
    /// Where RTMP is served, as really bound; the first one is used in the lines to copy.
    pub rtmp: &'a [SocketAddr],
    /// Where the control HTTP is served.
    pub control: SocketAddr,
    /// Cores that the engine runs on.
    pub cores: usize,
    /// This host's address as others see it, if it has one.
    pub host: Option<IpAddr>,
}

impl Greeting<'_> {
    /// The whole text, with its last line feed.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let cores = if self.cores == 1 { "1 core".to_owned() } else { format!("{} cores", self.cores) };
        let rtmp: Vec<_> = self.rtmp.iter().map(SocketAddr::to_string).collect();
        let control = SocketAddr::new(near(self.control.ip()), self.control.port());
        let _ = writeln!(out, "inrush {} on {cores}", env!("CARGO_PKG_VERSION"));
        let _ = writeln!(out, "  RTMP     {}", rtmp.join(", "));
        let _ = writeln!(
            out,
            "  control  http://{control} (/healthz /readyz /metrics /api/v1/streams /api/v1/connections)"
        );
        if let Some(first) = self.rtmp.first() {
            let here = url(near(first.ip()), first.port());
            let there = url(
                if first.ip().is_unspecified() { self.host.unwrap_or(near(first.ip())) } else { first.ip() },
                first.port(),
            );
            let _ = writeln!(
                out,
                "  publish  ffmpeg -re -f lavfi -i testsrc2=s=1280x720:r=30 -f lavfi -i sine=r=48000 -c:v libx264 -preset veryfast \
                 -tune zerolatency -pix_fmt yuv420p -g 60 -b:v 3M -c:a aac -f flv {here}/live/test"
            );
            let _ = writeln!(out, "           ffmpeg -re -i FILE -c copy -f flv {here}/live/test");
            let _ = writeln!(
                out,
                "           OBS: Settings, Stream, Service Custom, Server {there}/live, Stream Key test"
            );
            let _ = writeln!(out, "  play     ffplay {here}/live/test");
            let _ = writeln!(out, "           vlc {there}/live/test");
        }
        out.push_str("warning: publish and play are open to everybody who reaches these addresses\n");
        out
    }
}

/// An address that leads from this host to a listener on `listen`.
fn near(listen: IpAddr) -> IpAddr {
    if listen.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { listen }
}

fn url(host: IpAddr, port: u16) -> String {
    let host = match host {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    if port == RTMP_PORT { format!("rtmp://{host}") } else { format!("rtmp://{host}:{port}") }
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

    fn text(rtmp: &[&str], host: Option<&str>) -> String {
        let rtmp: Vec<_> = rtmp.iter().map(|address| address.parse().unwrap()).collect();
        let control = "127.0.0.1:8935".parse().unwrap();
        Greeting { rtmp: &rtmp, control, cores: 2, host: host.map(|host| host.parse().unwrap()) }.text()
    }

    fn line<'t>(text: &'t str, start: &str) -> &'t str {
        text.lines().find(|line| line.trim_start().starts_with(start)).expect(start)
    }

    #[test]
    fn lines_to_copy_lead_to_a_listener_on_every_address() {
        let text = text(&["0.0.0.0:1935", "[::1]:1936"], Some("198.51.100.7"));
        assert_eq!(line(&text, "RTMP"), "  RTMP     0.0.0.0:1935, [::1]:1936");
        assert_eq!(line(&text, "play"), "  play     ffplay rtmp://127.0.0.1/live/test");
        assert!(line(&text, "publish").ends_with(" -f flv rtmp://127.0.0.1/live/test"));
        // Whoever runs OBS sits elsewhere, as a rule.
        assert!(line(&text, "OBS").ends_with(" Server rtmp://198.51.100.7/live, Stream Key test"));
    }

    #[test]
    fn lines_to_copy_name_the_address_and_the_port_when_they_must() {
        let text = text(&["[2001:db8::1]:19350"], Some("198.51.100.7"));
        assert_eq!(line(&text, "play"), "  play     ffplay rtmp://[2001:db8::1]:19350/live/test");
        assert!(line(&text, "OBS").ends_with(" Server rtmp://[2001:db8::1]:19350/live, Stream Key test"));
    }

    #[test]
    fn it_says_that_everybody_may_publish_and_play() {
        assert!(
            text(&["[::]:1935"], None)
                .ends_with("warning: publish and play are open to everybody who reaches these addresses\n")
        );
    }
}
