//! What the kernel knows of a connection's path: round trips, retransmissions, windows (`TCP_INFO`, `linux/tcp.h`).
//!
//! The sweep looks at publishers and at the connections that we made, each about once a second, and the control HTTP shows what it saw. Of
//! the others, which may be many, the kernel is asked when the control HTTP asks.
//! # Invariant
//! A connection costs one call of the kernel a second at most, whoever asks how often.
//! # Bounds
//! A sweep visits [`VISITS_MAX`] entries of the slab at most: a core with more looks at each more seldom. An answer asks for each connection
//! in it.
//! # Errors
//! What the kernel does not say, as an old one or for a socket that failed, is absent.

use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use super::connection::{Activity, Connection};
use super::core::Core;
use crate::session::Instant;

/// What was seen is shown for so long before the kernel is asked again.
const FRESH: Duration = Duration::from_secs(1);

/// Entries of the slab that one sweep visits, some 1 µs each with the call: 0.5 ms in 100.
const VISITS_MAX: usize = 512;

/// What the kernel knows of a connection, as it was less than about a second ago. Counts are of the connection's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round trip of what we send, microseconds (`tcpi_rtt`). To a publisher we send little: `receive_rtt_us` is fresher there.
    pub rtt_us: u32,
    /// Its mean deviation, microseconds (`tcpi_rttvar`).
    pub rtt_deviation_us: u32,
    /// The shortest round trip, microseconds (`tcpi_min_rtt`).
    pub rtt_min_us: u32,
    /// Round trip as the receiver of what comes sees it, microseconds (`tcpi_rcv_rtt`); 0 until it knows.
    pub receive_rtt_us: u32,
    /// Congestion window, segments (`tcpi_snd_cwnd`).
    pub congestion_window_segments: u32,
    /// Bytes of a segment that we send (`tcpi_snd_mss`).
    pub segment_bytes: u32,
    /// Window that the far end last gave us, bytes (`tcpi_snd_wnd`).
    pub send_window_bytes: u32,
    /// Bytes sent, those sent again included (`tcpi_bytes_sent`).
    pub bytes_sent: u64,
    /// Bytes that the far end has acknowledged (`tcpi_bytes_acked`).
    pub bytes_acknowledged: u64,
    /// Bytes received in order (`tcpi_bytes_received`).
    pub bytes_received: u64,
    /// Bytes sent again (`tcpi_bytes_retrans`).
    pub bytes_retransmitted: u64,
    /// Segments sent again (`tcpi_total_retrans`).
    pub retransmits: u32,
    /// Segments in flight that count as lost now (`tcpi_lost`).
    pub lost_segments: u32,
    /// Segments that came out of order: of a publisher, what its path lost or mixed up (`tcpi_rcv_ooopack`).
    pub out_of_order_segments: u32,
    /// Bytes that wait in the socket and were not sent yet (`tcpi_notsent_bytes`).
    pub unsent_bytes: u32,
    /// Time that there was something to send, microseconds (`tcpi_busy_time`).
    pub busy_us: u64,
    /// Time that the far end's receive window held sending back, microseconds (`tcpi_rwnd_limited`).
    pub receive_window_limited_us: u64,
    /// Time that our send buffer held it back, microseconds (`tcpi_sndbuf_limited`).
    pub send_buffer_limited_us: u64,
    /// What the path last delivered of what we sent, bits a second (`tcpi_delivery_rate`).
    pub delivery_bits_per_second: u64,
}

/// `struct tcp_info` as far as `tcpi_rcv_wnd` (Linux 6.2). An older kernel fills less of it, and the rest stays zero.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Raw {
    states: [u8; 8],
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
    data_segs_in: u32,
    data_segs_out: u32,
    delivery_rate: u64,
    busy_time: u64,
    rwnd_limited: u64,
    sndbuf_limited: u64,
    delivered: u32,
    delivered_ce: u32,
    bytes_sent: u64,
    bytes_retrans: u64,
    dsack_dups: u32,
    reord_seen: u32,
    rcv_ooopack: u32,
    snd_wnd: u32,
    rcv_wnd: u32,
    rehash: u32,
}

impl TcpInfo {
    /// Asks the kernel.
    fn of(socket: &OwnedFd) -> Option<Self> {
        let mut raw = Raw::default();
        let mut length = size_of::<Raw>() as libc::socklen_t;
        // SAFETY: the descriptor is open while it is borrowed; the kernel writes at most `length` bytes into `raw`, of which every bit pattern
        // is a value, and the length; both live across the call.
        let result = unsafe {
            let raw = (&raw mut raw).cast();
            libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, raw, &raw mut length)
        };
        (result == 0).then(|| raw.into())
    }
}

impl From<Raw> for TcpInfo {
    fn from(raw: Raw) -> Self {
        Self {
            rtt_us: raw.rtt,
            rtt_deviation_us: raw.rttvar,
            // The kernel says all ones before the first sample.
            rtt_min_us: if raw.min_rtt == u32::MAX { 0 } else { raw.min_rtt },
            receive_rtt_us: raw.rcv_rtt,
            congestion_window_segments: raw.snd_cwnd,
            segment_bytes: raw.snd_mss,
            send_window_bytes: raw.snd_wnd,
            bytes_sent: raw.bytes_sent,
            bytes_acknowledged: raw.bytes_acked,
            bytes_received: raw.bytes_received,
            bytes_retransmitted: raw.bytes_retrans,
            retransmits: raw.total_retrans,
            lost_segments: raw.lost,
            out_of_order_segments: raw.rcv_ooopack,
            unsent_bytes: raw.notsent_bytes,
            busy_us: raw.busy_time,
            receive_window_limited_us: raw.rwnd_limited,
            send_buffer_limited_us: raw.sndbuf_limited,
            delivery_bits_per_second: raw.delivery_rate.saturating_mul(8),
        }
    }
}

/// What was last seen of a connection's path. In a cell, since who only looks at a connection may ask as well.
#[derive(Debug, Default)]
pub(crate) struct TcpGauge(Cell<Option<(Instant, Option<TcpInfo>)>>);

impl TcpGauge {
    /// What was seen less than a second ago; else the kernel is asked.
    pub(crate) fn read(&self, socket: &OwnedFd, now: Instant) -> Option<TcpInfo> {
        if let Some((seen_at, info)) = self.0.get()
            && now - seen_at < FRESH
        {
            return info;
        }
        let info = TcpInfo::of(socket);
        self.0.set(Some((now, info)));
        info
    }

    /// What was seen, however old, if anything was; else as [`Self::read`]. For those that the sweep looks at.
    fn seen(&self, socket: &OwnedFd, now: Instant) -> Option<TcpInfo> {
        self.0.get().map_or_else(|| self.read(socket, now), |(_, info)| info)
    }
}

/// Where in the slab the sweep goes on.
#[derive(Debug, Default)]
pub(crate) struct TcpRound {
    next: usize,
}

impl Connection {
    /// Whether the sweep looks at its path.
    fn is_watched(&self) -> bool {
        self.session.is_made() || matches!(self.activity, Activity::Publishing { .. })
    }

    /// What the kernel knows of its path.
    pub(crate) fn tcp_info(&self, now: Instant) -> Option<TcpInfo> {
        match self.is_watched() {
            true => self.tcp.seen(&self.socket, now),
            false => self.tcp.read(&self.socket, now),
        }
    }
}

impl Core {
    /// Looks at the paths of some connections, on from where the last sweep stopped: at all of them within a second, while there are few enough.
    pub(crate) fn look_at_paths(&mut self, now: Instant) {
        let end = self.connections.capacity();
        let first = if self.tcp_round.next < end { self.tcp_round.next } else { 0 };
        let last = end.min(first + VISITS_MAX);
        for index in first..last {
            if let Some((_, connection)) = self.connections.get(index)
                && connection.is_watched()
            {
                connection.tcp.read(&connection.socket, now);
            }
        }
        self.tcp_round.next = last;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (peer, listener.accept().unwrap().0.into())
    }

    /// The fields lie where the kernel writes them: what is sent, received and acknowledged is counted as such.
    #[test]
    fn the_kernels_counts_are_read_from_their_places() {
        let (mut peer, socket) = pair();
        let mut ours = TcpStream::from(socket.try_clone().unwrap());
        peer.write_all(&[1; 3_000]).unwrap();
        ours.read_exact(&mut [0; 3_000]).unwrap();
        ours.write_all(&[2; 5_000]).unwrap();
        peer.read_exact(&mut [0; 5_000]).unwrap();
        // An acknowledgement that is not on its way yet goes with these.
        peer.write_all(&[3; 10]).unwrap();
        ours.read_exact(&mut [0; 10]).unwrap();
        let info = TcpInfo::of(&socket).unwrap();
        assert_eq!((info.bytes_received, info.bytes_sent, info.bytes_acknowledged), (3_010, 5_000, 5_000));
        assert_eq!((info.retransmits, info.bytes_retransmitted, info.lost_segments), (0, 0, 0));
        assert!(info.rtt_us > 0 && info.rtt_min_us > 0 && info.rtt_min_us <= info.rtt_us, "{info:?}");
        assert!(info.congestion_window_segments >= 2 && info.segment_bytes >= 500, "{info:?}");
        assert!(info.send_window_bytes > 5_000 && info.busy_us < 60_000_000, "{info:?}");
    }

    /// However often it is asked, the kernel is asked once a second; what is no socket has nothing to say, and is not asked again at once.
    #[test]
    fn the_kernel_is_asked_once_a_second() {
        let (mut peer, socket) = pair();
        let gauge = TcpGauge::default();
        let began = Instant::from_micros(5_000_000);
        let received = |at| gauge.read(&socket, at).unwrap().bytes_received;
        assert_eq!(received(began), 0);
        peer.write_all(&[1; 100]).unwrap();
        TcpStream::from(socket.try_clone().unwrap()).read_exact(&mut [0; 100]).unwrap();
        assert_eq!(received(began + Duration::from_millis(999)), 0);
        assert_eq!(received(began + FRESH), 100);
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let gauge = TcpGauge::default();
        assert_eq!(gauge.read(&file, began), None);
        assert_eq!(gauge.read(&socket, began), None, "nobody has asked again");
    }
}
