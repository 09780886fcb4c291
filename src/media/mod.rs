//! Floor 2: what a message means: tag headers, tracks, codec configuration, key frames, GOP cache.
//!
//! ```text
//! MediaMessage ──> Ingest ──> Frame ──> (hub) ──> GopCache
//!                    │
//!                    ├── VideoTag, AudioTag   packet type, codec, key frame, track; ex_header is what both share
//!                    ├── config               codec configuration records: codec string, size, sample rate
//!                    ├── Tracks               what is known of each track
//!                    ├── DataMessage          @setDataFrame off, AMF3 to AMF0; MetadataHints out of onMetaData
//!                    └── Timestamps           pass or monotonic, steps and jumps counted
//! ```
//!
//! Nothing that a publisher puts into its media is an error: what is not understood is forwarded and counted, and
//! only what has nothing to forward is dropped. The types to know are [`Ingest`], [`Frame`] and [`GopCache`].
#![forbid(unsafe_code)]

pub mod audio_tag;
pub mod codec;
pub mod config;
mod data_message;
pub mod ex_header;
pub mod frame;
pub mod gop;
pub mod ingest;
pub mod ingest_counters;
pub mod metadata;
pub mod plain;
pub mod tag;
pub mod tag_writer;
pub mod timestamps;
pub mod track;
pub mod track_set;
#[cfg(test)]
mod vectors;
pub mod video_tag;

pub use frame::{
    FRAME_CHUNK_SIZE, FRAME_SLICES_MAX, FRAME_STREAM_ID, Form, Frame, FrameInfo, FrameRole, MediaKind,
    TrackId,
};
pub use gop::{GopCache, GopSettings, VIDEO_SILENT_MAX};
pub use ingest::{Ingest, IngestSettings};
pub use ingest_counters::IngestCounters;
pub use metadata::MetadataHints;
pub use timestamps::TimestampPolicy;
pub use track::{Track, Tracks};
pub use track_set::TrackSet;
