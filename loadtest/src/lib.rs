//! The load harness: drives any RTMP server with publishers and players and tells what they saw.

pub mod report;
