//! The PROXY protocol, versions 1 and 2: what a balancer says about the connection it passes on, before the connection's own bytes
//! (HAProxy, `proxy-protocol.txt`, 2020; "spec" below).
//!
//! Pure: bytes in, a verdict out. It stands on this floor because it is a matter of sockets and addresses, and no part of RTMP.
//! # Bounds
//! Version 1 has [`V1_BYTES_MAX`], version 2 [`V2_BYTES_MAX`]. A header is looked at again from its beginning when more of it has come, so
//! the bounds are also what that costs.
//! # Errors
//! [`HeaderError`]: always whoever sent it, and the connection cannot go on, since where its own bytes begin is not known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest line of version 1, with its CR LF (spec §2.1).
pub const V1_BYTES_MAX: usize = 107;

/// The longest header of version 2 that is taken, bytes: addresses of 216 at most, and what extensions (TLVs) balancers add. The length
/// field would allow 65,551.
pub const V2_BYTES_MAX: usize = 4096;

/// How version 2 begins (spec §2.2).
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const V2_FIXED_BYTES: usize = 16;

/// How version 1 begins (spec §2.1).
const V1_SIGNATURE: &[u8] = b"PROXY ";

/// Whether a connection that begins with this byte begins with a PROXY header: neither RTMP nor TLS does.
pub fn is_first_byte(byte: u8) -> bool {
    byte == V1_SIGNATURE[0] || byte == V2_SIGNATURE[0]
}

/// What the first bytes of a connection hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A header has begun and is not whole.
    Incomplete,
    /// A whole header.
    Header(Header),
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the connection really comes from. `None` when the balancer speaks for itself (`LOCAL`, a health check) or cannot say it as an
    /// internet address (`UNKNOWN`, unspecified, unix sockets): then the connection's own address is the one to go by.
    pub source: Option<SocketAddr>,
    /// Its length, bytes: the connection's own bytes begin behind it.
    pub bytes: usize,
}

/// Why there is no header to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The bytes begin like nothing that a balancer says.
    #[error("no PROXY header")]
    Missing,
    /// A header that does not keep to its form.
    #[error("PROXY header is malformed")]
    Malformed,
    /// Longer than its version allows, or than [`V2_BYTES_MAX`].
    #[error("PROXY header is too long")]
    TooLong,
}

/// Reads the header at the beginning of `bytes`.
///
/// # Errors
/// As soon as no further bytes could make a header of them.
pub fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    if begins_as(bytes, V1_SIGNATURE) {
        parse_v1(bytes)
    } else if begins_as(bytes, &V2_SIGNATURE) {
        parse_v2(bytes)
    } else {
        Err(HeaderError::Missing)
    }
}

/// Whether these bytes are the beginning of something that begins with the signature.
fn begins_as(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, wanted)| byte == wanted)
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n` (spec §2.1).
fn parse_v1(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let limited = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = limited.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX { Ok(Parsed::Incomplete) } else { Err(HeaderError::TooLong) };
    };
    let line = limited.get(V1_SIGNATURE.len()..end).ok_or(HeaderError::Malformed)?;
    let header = |source| Ok(Parsed::Header(Header { source, bytes: end + 2 }));
    // What follows UNKNOWN is nobody's business.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return header(None);
    }
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed)?;
    let mut words = line.split(' ');
    let family = words.next();
    let [Some(source), Some(destination), Some(source_port), Some(destination_port), None] =
        [(); 5].map(|()| words.next())
    else {
        return Err(HeaderError::Malformed);
    };
    let (source, _destination) = match family {
        Some("TCP4") => (ipv4(source)?, ipv4(destination)?),
        Some("TCP6") => (ipv6(source)?, ipv6(destination)?),
        _ => return Err(HeaderError::Malformed),
    };
    let (port, _destination_port) = (port(source_port)?, port(destination_port)?);
    header(Some(SocketAddr::new(source, port)))
}

fn ipv4(text: &str) -> Result<IpAddr, HeaderError> {
    text.parse().map(IpAddr::V4).map_err(|_| HeaderError::Malformed)
}

fn ipv6(text: &str) -> Result<IpAddr, HeaderError> {
    let address: Ipv6Addr = text.parse().map_err(|_| HeaderError::Malformed)?;
    Ok(address.to_canonical())
}

/// Decimal, without sign and leading zeros (spec §2.1).
fn port(text: &str) -> Result<u16, HeaderError> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(HeaderError::Malformed)
}

/// The binary form (spec §2.2).
fn parse_v2(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED_BYTES>() else {
        return Ok(Parsed::Incomplete);
    };
    let [.., version_command, family_protocol, high, low] = *fixed;
    let (version, command) = (version_command >> 4, version_command & 0x0f);
    let (family, protocol) = (family_protocol >> 4, family_protocol & 0x0f);
    if version != 2 || command > 1 || family > 3 || protocol > 2 {
        return Err(HeaderError::Malformed);
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let bytes = V2_FIXED_BYTES + length;
    if bytes > V2_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    // Both addresses, then both ports; unix sockets have paths of 108 bytes.
    let address_bytes = match family {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    let is_local = command == 0;
    if !is_local && length < address_bytes {
        return Err(HeaderError::Malformed);
    }
    let Some(block) = rest.get(..length) else { return Ok(Parsed::Incomplete) };
    // What is behind the addresses are extensions, of which none is needed.
    let source = match family {
        _ if is_local => None,
        1 => block.first_chunk::<12>().map(|[a, b, c, d, _, _, _, _, high, low, _, _]| {
            (IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)), [*high, *low])
        }),
        2 => block.first_chunk::<36>().and_then(|block| {
            let address = Ipv6Addr::from(*block.first_chunk::<16>()?).to_canonical();
            Some((address, [block[32], block[33]]))
        }),
        _ => None,
    };
    let source = source.map(|(address, port)| SocketAddr::new(address, u16::from_be_bytes(port)));
    Ok(Parsed::Header(Header { source, bytes }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(source: Option<&str>, bytes: usize) -> Result<Parsed, HeaderError> {
        Ok(Parsed::Header(Header { source: source.map(|source| source.parse().unwrap()), bytes }))
    }

    fn v2(version_command: u8, family_protocol: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&V2_SIGNATURE[..], &[version_command, family_protocol], &length, block].concat()
    }

    const TCP4_BLOCK: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

    fn tcp6_block(source: &str) -> Vec<u8> {
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        [&address(source)[..], &address("2001:db8::2"), &[0xdc, 0x04, 0x07, 0x8f]].concat()
    }

    /// Lines of version 1 that the specification allows.
    #[test]
    fn lines_are_read() {
        let longest_known = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 16));
        assert_eq!(longest.len(), V1_BYTES_MAX);
        for (line, source) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Some("192.0.2.1:56324")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n", Some("255.255.255.255:65535")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 56324 1935\r\n", Some("[2001:db8::1]:56324")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Some("192.0.2.1:1")),
            (longest_known, Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 whatever it is\r\n", None),
            (&longest, None),
        ] {
            let followed = format!("{line}\x03 and C1");
            assert_eq!(parse(followed.as_bytes()), header(source, line.len()), "{line}");
            for cut in 0..line.len() {
                assert_eq!(parse(&line.as_bytes()[..cut]), Ok(Parsed::Incomplete), "{cut} of {line}");
            }
        }
    }

    /// And those that it does not.
    #[test]
    fn bad_lines_are_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 \r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 65536\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 01 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1  443\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.1 1 443\r\n",
            "PROXY TCP4 192.0.2.256 198.51.100.1 1 443\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 443\r\n",
            "PROXY TCP6 2001:db8::1%eth0 2001:db8::2 1 443\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 443\r\n",
            "PROXY tcp4 192.0.2.1 198.51.100.1 1 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
            "PROXY TCP4 192.0.2.1\n198.51.100.1 1 443\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(HeaderError::Malformed), "{line:?}");
        }
        assert_eq!(parse(b"PROXY UNKNOWN \xff\r\n"), header(None, 17), "what follows UNKNOWN is ignored");
        assert_eq!(parse(b"PROXY TCP4 \xff 198.51.100.1 1 443\r\n"), Err(HeaderError::Malformed));
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(parse(&endless.as_bytes()[..V1_BYTES_MAX - 1]), Ok(Parsed::Incomplete));
        assert_eq!(parse(&endless.as_bytes()[..V1_BYTES_MAX]), Err(HeaderError::TooLong));
        // One byte too many, though its end is there.
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 15));
        assert_eq!(parse(long.as_bytes()), Err(HeaderError::TooLong));
    }

    /// Headers of version 2: with and without extensions, for others and for the balancer itself.
    #[test]
    fn binary_headers_are_read() {
        let extension = [0x04, 0, 3, 1, 2, 3];
        for (bytes, source) in [
            (v2(0x21, 0x11, &TCP4_BLOCK), Some("192.0.2.1:56324")),
            (v2(0x21, 0x12, &TCP4_BLOCK), Some("192.0.2.1:56324")),
            (v2(0x21, 0x11, &[&TCP4_BLOCK[..], &extension].concat()), Some("192.0.2.1:56324")),
            (v2(0x21, 0x21, &tcp6_block("2001:db8::1")), Some("[2001:db8::1]:56324")),
            (v2(0x21, 0x21, &tcp6_block("::ffff:192.0.2.1")), Some("192.0.2.1:56324")),
            (v2(0x21, 0x31, &[b'/'; 216]), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x00, &extension), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &TCP4_BLOCK), None),
            (v2(0x20, 0x11, &[]), None),
            (v2(0x21, 0x11, &[&TCP4_BLOCK[..], &[0; V2_BYTES_MAX - 28]].concat()), Some("192.0.2.1:56324")),
        ] {
            let followed = [&bytes[..], b"\x03 and C1"].concat();
            assert_eq!(parse(&followed), header(source, bytes.len()), "{bytes:?}");
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(Parsed::Incomplete), "{cut} of {bytes:?}");
            }
        }
    }

    /// And those that must be dropped, each as soon as it shows.
    #[test]
    fn bad_binary_headers_are_refused() {
        for (what, bytes) in [
            ("version", v2(0x11, 0x11, &TCP4_BLOCK)),
            ("command", v2(0x22, 0x11, &TCP4_BLOCK)),
            ("family", v2(0x21, 0x41, &TCP4_BLOCK)),
            ("protocol", v2(0x21, 0x13, &TCP4_BLOCK)),
            ("addresses that are not whole", v2(0x21, 0x11, &TCP4_BLOCK[..11])),
            ("addresses of another family", v2(0x21, 0x21, &TCP4_BLOCK)),
        ] {
            assert_eq!(parse(&bytes[..V2_FIXED_BYTES]), Err(HeaderError::Malformed), "{what}");
        }
        let long = v2(0x21, 0x11, &[0; V2_BYTES_MAX - 15]);
        assert_eq!(parse(&long[..V2_FIXED_BYTES]), Err(HeaderError::TooLong));
    }

    #[test]
    fn what_is_no_header_is_known_at_once() {
        for bytes in [
            &b"\x03"[..],
            b"\x16\x03\x01",
            b"PROXy ",
            b"\r\n\r\r",
            b"GET / HTTP/1.1\r\n",
            b"\r\n\r\n\0\r\nQUIT\r",
        ] {
            assert_eq!(parse(bytes), Err(HeaderError::Missing), "{bytes:?}");
        }
        assert_eq!(parse(b""), Ok(Parsed::Incomplete));
    }

    proptest! {
        /// Any bytes: no panic, nothing beyond the bounds, and a verdict that more bytes do not change.
        #[test]
        fn a_verdict_stands_whatever_follows(
            begin in 0..4_usize,
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            more in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let begin: &[u8] = [&b""[..], V1_SIGNATURE, &V2_SIGNATURE, b"PROXY TCP4 192.0.2.1 192.0.2.2 "][begin];
            let bytes = [begin, &bytes].concat();
            let verdict = parse(&bytes);
            match verdict {
                Ok(Parsed::Incomplete) => prop_assert!(bytes.len() < V2_BYTES_MAX),
                Ok(Parsed::Header(header)) => prop_assert!(header.bytes <= bytes.len() && header.bytes <= V2_BYTES_MAX),
                Err(_) => {}
            }
            if verdict != Ok(Parsed::Incomplete) {
                prop_assert_eq!(parse(&[&bytes[..], &more].concat()), verdict);
            }
        }

        /// Every address comes back in both versions, however the header is cut.
        #[test]
        fn addresses_come_back(
            source in any::<SocketAddr>(),
            destination in any::<SocketAddr>(),
            tail in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let meant = SocketAddr::new(source.ip().to_canonical(), source.port());
            let (family, destination) = match (source, destination) {
                (SocketAddr::V4(_), _) => (4, SocketAddr::from(([192, 0, 2, 9], destination.port()))),
                (SocketAddr::V6(_), _) => (6, SocketAddr::new(Ipv6Addr::LOCALHOST.into(), destination.port())),
            };
            let line = format!(
                "PROXY TCP{family} {} {} {} {}\r\n",
                source.ip(), destination.ip(), source.port(), destination.port()
            );
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            let block = [
                octets(source.ip()), octets(destination.ip()),
                source.port().to_be_bytes().to_vec(), destination.port().to_be_bytes().to_vec(),
            ].concat();
            let binary = v2(0x21, if family == 4 { 0x11 } else { 0x21 }, &block);
            for bytes in [line.into_bytes(), binary] {
                let expected = Ok(Parsed::Header(Header { source: Some(meant), bytes: bytes.len() }));
                prop_assert_eq!(parse(&[&bytes[..], &tail].concat()), expected);
            }
        }
    }
}
