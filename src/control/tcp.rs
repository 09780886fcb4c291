//! What the kernel knows of a connection's path, as the API shows it of streams, connections, forwards and pulls:
//! ```json
//! {"rtt_us": 20400, "rtt_deviation_us": 310, "rtt_min_us": 20010, "receive_rtt_us": 20500, "congestion_window_segments": 10,
//!  "segment_bytes": 1448, "send_window_bytes": 64256, "bytes_sent": 3500, "bytes_acknowledged": 3500, "bytes_received": 9412345,
//!  "bytes_retransmitted": 0, "retransmits": 0, "lost_segments": 0, "out_of_order_segments": 0, "unsent_bytes": 0, "busy_us": 61200,
//!  "receive_window_limited_us": 0, "send_buffer_limited_us": 0, "delivery_bits_per_second": 5100000}
//! ```
//! Units are the names' ends, counts are of the connection's life, and each field is described at [`TcpInfo`]. What is shown is about a second
//! old at most. `rtt_us` is measured on what we send: of a publisher, which is sent little, `receive_rtt_us` and `out_of_order_segments` say
//! more of how its media comes. Of a far end that reads too slowly `receive_window_limited_us` grows. A field that the kernel is too old for is 0.

use serde::Serialize;

use crate::runtime::observe::TcpInfo;

/// [`TcpInfo`] as JSON.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Tcp {
    rtt_us: u32,
    rtt_deviation_us: u32,
    rtt_min_us: u32,
    receive_rtt_us: u32,
    congestion_window_segments: u32,
    segment_bytes: u32,
    send_window_bytes: u32,
    bytes_sent: u64,
    bytes_acknowledged: u64,
    bytes_received: u64,
    bytes_retransmitted: u64,
    retransmits: u32,
    lost_segments: u32,
    out_of_order_segments: u32,
    unsent_bytes: u32,
    busy_us: u64,
    receive_window_limited_us: u64,
    send_buffer_limited_us: u64,
    delivery_bits_per_second: u64,
}

impl From<TcpInfo> for Tcp {
    fn from(info: TcpInfo) -> Self {
        Self {
            rtt_us: info.rtt_us,
            rtt_deviation_us: info.rtt_deviation_us,
            rtt_min_us: info.rtt_min_us,
            receive_rtt_us: info.receive_rtt_us,
            congestion_window_segments: info.congestion_window_segments,
            segment_bytes: info.segment_bytes,
            send_window_bytes: info.send_window_bytes,
            bytes_sent: info.bytes_sent,
            bytes_acknowledged: info.bytes_acknowledged,
            bytes_received: info.bytes_received,
            bytes_retransmitted: info.bytes_retransmitted,
            retransmits: info.retransmits,
            lost_segments: info.lost_segments,
            out_of_order_segments: info.out_of_order_segments,
            unsent_bytes: info.unsent_bytes,
            busy_us: info.busy_us,
            receive_window_limited_us: info.receive_window_limited_us,
            send_buffer_limited_us: info.send_buffer_limited_us,
            delivery_bits_per_second: info.delivery_bits_per_second,
        }
    }
}
