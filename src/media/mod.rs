//! Floor 2: what a message means: tag headers, tracks, codec configuration, key frames, GOP cache.
//!
//! ```text
//! MediaMessage ──> Ingest ──> Frame ──> (hub) ──> GopCache
//!                    │
//!                    ├── VideoTag, AudioTag   packet type, codec, key frame, track; ex_header is what both share
//!                    ├── plain                what players get that did not negotiate multitrack; tag_writer writes it
//!                    ├── config               codec configuration records: codec string, size, sample rate
//!                    ├── Tracks               what is known of each track
//!                    ├── DataMessage          @setDataFrame off, AMF3 to AMF0; MetadataHints out of onMetaData
//!                    ├── Timestamps           pass or monotonic, steps and jumps counted
//!                    └── health               what is measured with each message, and judged of it once a second
//! ```
//!
//! Nothing that a publisher puts into its media is an error: what is not understood is forwarded and counted, and
//! only what has nothing to forward is dropped. The types to know are [`Ingest`], [`Frame`] and [`GopCache`].
//!
//! # Conformance
//! Each section of the specifications, where it is obeyed, and a test that shows it; `tests/conformance.rs` sees that both are there.
//!
//! FLV 10.1, annex E, as far as RTMP carries it:
//!
//! | section | what | where | shown by |
//! |---|---|---|---|
//! | FLV §E.4.2.1 | audio header: format, rate, size, type; what a format fixes counts more than the bits | `media::audio_tag` | `media::audio_tag::tests::legacy_formats_are_read`, `media::tag_writer::tests::legacy_messages` |
//! | FLV §E.4.2.2 | AAC: sequence header and raw | `media::audio_tag`, `media::config::aac` | `media::audio_tag::tests::headers_of_ffmpeg_are_read`, `tests/real_clients.rs::one_track_alone` |
//! | FLV §E.4.3.1 | video header: frame type and codec id, and id 12, HEVC, which is in the field alone; commands | `media::video_tag` | `media::video_tag::tests::legacy_codecs_are_read`, `media::tag_writer::tests::video_commands` |
//! | FLV §E.4.3.2 | AVC: packet type and composition time | `media::video_tag`, `media::config::avc` | `media::video_tag::tests::composition_times_are_signed`, `tests/real_clients.rs::h264_and_aac` |
//! | FLV §E.4.4 | data: `@setDataFrame`, names and values | `media::data_message` | `media::data_message::tests::players_get_on_meta_data` |
//! | FLV §E.5 | onMetaData: hints | `media::metadata` | `media::metadata::tests::metadata_of_ffmpeg_is_read` |
//!
//! Enhanced RTMP v2, what is said in media messages (commands are in the docs of [`crate::rtmp`]):
//!
//! | section | what | where | shown by |
//! |---|---|---|---|
//! | Enhanced Audio: `AudioPacketType` | SequenceStart, CodedFrames, SequenceEnd, MultichannelConfig | `media::audio_tag` | `media::tag_writer::tests::every_audio_packet_type_and_fourcc` |
//! | Enhanced Audio: silence | a message without a byte: nothing comes of it | `media::ingest` | `media::ingest::tests::empty_and_cut_off_messages_are_dropped` |
//! | Enhanced Audio: `AudioFourCc` | `ac-3`, `ec-3`, `Opus`, `.mp3`, `fLaC`, `mp4a` | `media::codec` | `media::codec::tests::legacy_ids_and_fourccs_meet_in_one_codec`, `tests/enhanced.rs::codecs_of_enhanced_rtmp` |
//! | Enhanced Audio: ModEx | `TimestampOffsetNano`; other kinds are skipped | `media::ex_header` | `media::tag_writer::tests::mod_ex_prefixes`, `media::audio_tag::tests::tracks_and_mod_ex_are_read` |
//! | Enhanced Audio: MultichannelConfig | kept for late joiners; its count where the codec does not tell | `media::ingest` | `media::ingest::tests::channels_come_from_wherever_they_are_told` |
//! | Enhanced Video: `VideoPacketType` | SequenceStart, CodedFrames, SequenceEnd, CodedFramesX, Metadata, MPEG2TSSequenceStart | `media::video_tag` | `media::tag_writer::tests::every_video_packet_type_and_fourcc` |
//! | Enhanced Video: `VideoFourCc` | `vp08`, `vp09`, `av01`, `avc1`, `hvc1`, `vvc1` | `media::codec` | `media::codec::tests::legacy_ids_and_fourccs_meet_in_one_codec`, `tests/enhanced.rs::codecs_of_enhanced_rtmp` |
//! | Enhanced Video: composition time | signed, of `avc1`, `hvc1` and `vvc1` in CodedFrames | `media::video_tag` | `media::tag_writer::tests::every_video_packet_type_and_fourcc` |
//! | Enhanced Video: `VideoCommand` | seeks begin and end, in either header | `media::video_tag` | `media::tag_writer::tests::video_commands`, `media::video_tag::tests::enhanced_commands_end_after_the_packet_type` |
//! | Enhanced Video: ModEx | as in audio | `media::ex_header` | `media::tag_writer::tests::mod_ex_prefixes`, `media::video_tag::tests::mod_ex_prefixes_are_skipped` |
//! | Enhanced Audio, Enhanced Video: unknown elements | forwarded as they came, and counted | `media::ingest` | `media::ingest::tests::the_unknown_is_forwarded_and_counted` |
//! | Enhanced Audio, Enhanced Video: `AvMultitrackType` | OneTrack, ManyTracks, ManyTracksManyCodecs; all tracks of a message | `media::ex_header`, `media::ingest` | `media::tag_writer::tests::what_is_written_is_read`, `media::ingest::tests::messages_of_several_tracks`, `tests/enhanced.rs::several_tracks_in_one_message` |
//! | Metadata Frame | colours kept for late joiners, by track | `media::gop` | `media::gop::tests::a_late_joiner_gets_headers_then_the_gop`, `tests/enhanced.rs::late_joiners_get_the_colours_of_their_tracks` |
//! | Multitrack Media Message Guidelines | a track is what its messages say, and has its headers and key frames of its own | `media::track`, `media::gop`, `hub::gate` | `media::gop::tests::headers_of_several_tracks`, `hub::tests::tracks::a_message_of_several_tracks_starts_them_all`, `tests/enhanced.rs::tracks_of_ffmpeg` |
//! | Multitrack Media Message Guidelines: Track Ordering | track 0 is the default one, else the lowest; players that did not negotiate multitrack get it alone | `media::plain`, `hub::fan_out` | `media::plain::tests::the_plain_form_is_the_part_of_one_track`, `media::ingest::tests::a_lower_track_takes_over_at_its_key_frame`, `hub::tests::forms::a_lower_track_takes_over` |
//! | SCRIPTDATA Multitrack Parameter Handling | data messages go to everybody as they came | `media::data_message` | `media::data_message::tests::other_messages_are_forwarded_unparsed` |
#![forbid(unsafe_code)]

pub mod audio_tag;
pub mod codec;
pub mod config;
mod data_message;
pub mod ex_header;
pub mod figures;
pub mod frame;
pub mod gop;
pub mod health;
pub mod ingest;
pub mod ingest_counters;
pub mod limits;
pub mod metadata;
pub mod plain;
pub mod tag;
pub mod tag_writer;
pub mod timeline;
pub mod timestamps;
pub mod track;
pub mod track_set;
#[cfg(test)]
mod vectors;
pub mod video_tag;

pub use figures::Figures;
pub use frame::{
    FRAME_CHUNK_SIZE, FRAME_SLICES_MAX, FRAME_STREAM_ID, Form, Frame, FrameInfo, FrameRole, MediaKind,
    TrackId,
};
pub use gop::{GopCache, GopSettings, VIDEO_SILENT_MAX};
pub use ingest::{Ingest, IngestSettings};
pub use ingest_counters::IngestCounters;
pub use limits::Limits;
pub use metadata::MetadataHints;
pub use timeline::{Rebase, Timeline};
pub use timestamps::TimestampPolicy;
pub use track::{Track, Tracks};
pub use track_set::TrackSet;
