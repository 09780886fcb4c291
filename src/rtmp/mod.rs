//! Floor 0: bytes to messages and back (RTMP 1.0, AMF0, AMF3).
//!
//! # Conformance
//! Each section of the specifications, where it is obeyed, and a test that shows it; `tests/conformance.rs` sees that both are there.
//!
//! RTMP 1.0:
//!
//! | section | what | where | shown by |
//! |---|---|---|---|
//! | §4 | byte order, alignment, time | `rtmp::chunk::header` | `rtmp::chunk::header::tests::message_stream_id_is_little_endian_and_the_rest_is_not`, `tests/timestamps.rs::sessions_play_on_across_the_limits` |
//! | §5.1 | message format | `rtmp::message` | `rtmp::chunk::tests::round_trip::any_legal_peer_is_understood` |
//! | §5.2.1 | handshake sequence | `rtmp::handshake::server`, `rtmp::handshake::client` | `rtmp::handshake::tests::any_split_works`, `tests/handshake.rs::ffmpeg_as_a_server_accepts_our_answer` |
//! | §5.2.2 | C0 and S0 | `rtmp::handshake` | `rtmp::handshake::tests::other_versions_are_answered_with_3` |
//! | §5.2.3 | C1 and S1 | `rtmp::handshake` | `rtmp::handshake::tests::version_zero_is_simple_whatever_follows` |
//! | §5.2.4 | C2 and S2: S2 is an exact echo, its second time too, since clients compare all of it | `rtmp::handshake::server` | `rtmp::handshake::tests::the_simple_answer_is_an_echo` |
//! | §5.2.5 | handshake diagram | `rtmp::handshake` | `rtmp::handshake::tests::everything_at_once_works` |
//! | §5.3.1.1 | chunk basic header | `rtmp::chunk::header` | `rtmp::chunk::header::tests::basic_header_uses_the_shortest_form`, `rtmp::chunk::tests::chunk_streams::ids_of_all_three_forms_are_kept_apart` |
//! | §5.3.1.2.1 | type 0 | `rtmp::chunk::reader`, `rtmp::chunk::writer` | `rtmp::chunk::tests::golden::specification_example_1` |
//! | §5.3.1.2.2 | type 1 | `rtmp::chunk::reader`, `rtmp::chunk::writer` | `rtmp::chunk::tests::golden::shorter_headers_keep_what_they_leave_out` |
//! | §5.3.1.2.3 | type 2 | `rtmp::chunk::reader`, `rtmp::chunk::writer` | `rtmp::chunk::tests::golden::specification_example_1` |
//! | §5.3.1.2.4 | type 3 | `rtmp::chunk::reader`, `rtmp::chunk::writer` | `rtmp::chunk::tests::golden::type_3_repeats_the_last_delta`, `rtmp::chunk::tests::golden::type_3_after_type_0_adds_its_timestamp` |
//! | §5.3.1.2.5 | common header fields | `rtmp::chunk::header` | `rtmp::chunk::header::tests::headers_round_trip` |
//! | §5.3.1.3 | extended timestamp, and encoders that leave it out of type 3 | `rtmp::chunk::stream` | `rtmp::chunk::tests::extended_timestamp::repeated_field_is_skipped`, `rtmp::chunk::tests::extended_timestamp::omitted_field_is_not_missed` |
//! | §5.3.2.1 | example 1 | `rtmp::chunk` | `rtmp::chunk::tests::golden::specification_example_1` |
//! | §5.3.2.2 | example 2 | `rtmp::chunk` | `rtmp::chunk::tests::golden::specification_example_2` |
//! | §5.4.1 | Set Chunk Size | `rtmp::control`, `rtmp::chunk::reader` | `rtmp::chunk::tests::chunk_streams::chunk_size_changes_in_the_middle_of_a_message`, `rtmp::chunk::tests::bounds::a_chunk_size_that_the_specification_forbids_is_refused` |
//! | §5.4.2 | Abort Message | `rtmp::control`, `rtmp::chunk::reader` | `rtmp::chunk::tests::chunk_streams::abort_drops_the_unfinished_message_and_nothing_else` |
//! | §5.4.3 | Acknowledgement | `session::acknowledgement` | `session::server::tests::time::acknowledgements_follow_the_peers_window` |
//! | §5.4.4 | Window Acknowledgement Size | `session::acknowledgement` | `session::server::tests::time::acknowledgements_follow_the_peers_window` |
//! | §5.4.5 | Set Peer Bandwidth: said and answered, and no window of ours is kept, since nothing here waits for acknowledgements | `rtmp::control`, `session::client` | `session::client::tests::servers_are_answered_where_they_must_be` |
//! | §6.1.1 | message header: as chunks carry it | `rtmp::message` | `rtmp::chunk::tests::round_trip::what_the_writer_writes_is_read` |
//! | §6.1.2 | message payload | `rtmp::payload` | `rtmp::payload::tests::slicing_does_not_show` |
//! | §6.2 | user control messages | `rtmp::user_control` | `rtmp::user_control::tests::events_have_the_bytes_of_the_specification_and_read_back` |
//! | §7.1.1 | command message, types 20 and 17 | `rtmp::command` | `rtmp::command::parse::tests::type_17_with_and_without_its_format_byte_and_with_amf3_inside` |
//! | §7.1.2 | data message, types 18 and 15 | `rtmp::command::data`, `media::data_message` | `rtmp::command::data::tests::behind_set_data_frame_begins_what_players_get` |
//! | §7.1.3 | shared object message: let pass and counted, since nothing here shares objects | `session::oddity` | `session::server::tests::dialogue::unknown_things_are_answered_harmlessly_and_counted` |
//! | §7.1.4 | audio message | `session::media_message`, `media::audio_tag` | `tests/real_clients.rs::h264_and_aac` |
//! | §7.1.5 | video message | `session::media_message`, `media::video_tag` | `tests/real_clients.rs::h264_and_aac` |
//! | §7.1.6 | aggregate message, in the form that the field has | `rtmp::aggregate` | `rtmp::aggregate::tests::timestamps_are_rebased_across_the_wrap`, `session::server::tests::dialogue::an_aggregate_is_its_parts` |
//! | §7.1.7 | user control message events | `rtmp::user_control` | `session::server::tests::dialogue::pings_are_answered_and_pongs_measured` |
//! | §7.2.1.1 | connect | `rtmp::command::connect`, `session::server::answers` | `session::server::tests::dialogue::connect_is_answered_in_the_order_of_flash_media_server`, `rtmp::command::encoders::obs_publishes` |
//! | §7.2.1.2 | call: an unknown one is answered with an empty result | `session::server::commands` | `session::server::tests::dialogue::unknown_things_are_answered_harmlessly_and_counted` |
//! | §7.2.1.3 | createStream | `session::server::message_streams` | `session::server::message_streams::tests::ids_start_at_one_and_come_back_when_deleted` |
//! | §7.2.2.1 | play; everything is live, so start and duration mean nothing | `session::server::commands` | `session::server::tests::dialogue::a_player_plays`, `rtmp::command::parse::tests::play_with_and_without_its_optional_arguments` |
//! | §7.2.2.2 | play2: as play of the other stream | `session::server::commands` | `session::server::tests::dialogue::playing_something_else_stops_what_was_played` |
//! | §7.2.2.3 | deleteStream | `session::server::commands` | `session::server::tests::dialogue::every_way_to_stop_publishing_stops_it_once` |
//! | §7.2.2.4 | receiveAudio | `session::server::commands` | `session::server::tests::dialogue::a_player_pauses_seeks_and_chooses` |
//! | §7.2.2.5 | receiveVideo | `session::server::commands` | `session::server::tests::dialogue::a_player_pauses_seeks_and_chooses` |
//! | §7.2.2.6 | publish; record and append are taken as live | `session::server::commands` | `session::server::tests::dialogue::an_encoder_publishes`, `rtmp::command::parse::tests::publish_in_all_the_forms_it_comes_in` |
//! | §7.2.2.7 | seek: ends at the live edge | `session::server::answers` | `session::server::tests::dialogue::a_player_pauses_seeks_and_chooses` |
//! | §7.2.2.8 | pause | `session::server::answers` | `session::server::tests::dialogue::a_player_pauses_seeks_and_chooses` |
//! | §7.3.1 | publishing, message by message | `session::server` | `session::client::tests::both_roles_of_ours_understand_each_other` |
//! | §7.3.2 | shared objects, message by message: not done, as §7.1.3 | `session::oddity` | `session::server::tests::dialogue::unknown_things_are_answered_harmlessly_and_counted` |
//! | §7.3.3 | metadata from publisher to players | `media::data_message` | `media::ingest::tests::an_ordinary_stream` |
//!
//! Enhanced RTMP v2, what is said in commands (media is in the docs of `media`):
//!
//! | section | what | where | shown by |
//! |---|---|---|---|
//! | Enhancing NetConnection connect Command: `fourCcList` | codecs that a peer takes, with the wildcard | `rtmp::command::capabilities` | `rtmp::command::capabilities::tests::the_examples_of_the_specification_are_understood`, `rtmp::command::capabilities::tests::a_list_is_read_in_whatever_form_an_array_has` |
//! | Enhancing NetConnection connect Command: `videoFourCcInfoMap`, `audioFourCcInfoMap` | the mask of each codec; the wildcard's is added to it | `rtmp::command::capabilities` | `rtmp::command::capabilities::tests::the_examples_of_the_specification_are_understood`, `rtmp::command::capabilities::tests::what_is_said_is_what_is_understood` |
//! | Enhancing NetConnection connect Command: `capsEx` | reconnect, multitrack, ModEx, nanosecond offsets | `rtmp::command::capabilities` | `rtmp::command::capabilities::tests::a_wrong_type_counts_as_absent_entry_by_entry` |
//! | Enhancing NetConnection connect Command: the server's answer | any codec is forwarded; said to peers that say something of it themselves | `session::server::answers` | `session::server::tests::negotiation::a_peer_that_speaks_enhanced_rtmp_is_told_what_we_can_do`, `session::server::tests::negotiation::a_peer_that_knows_nothing_of_it_is_answered_as_ever`, `tests/drain.rs::capabilities_are_exchanged_and_shown` |
//! | Enhancing NetConnection connect Command: the client's side | what we say, and what the server answers in either object | `session::client` | `session::client::tests::what_each_end_says_of_enhanced_rtmp_reaches_the_other` |
//! | Reconnect Request: NetConnection Commands | `onStatus` of the connection with `tcUrl`, code, description and level | `rtmp::command::write` | `rtmp::command::write::tests::a_reconnect_request_has_a_tc_url_only_when_it_leads_elsewhere` |
//! | Reconnect Request: Message Flow, the server | asks once who understands, and serves on | `session::server`, `runtime::draining` | `session::server::tests::negotiation::a_peer_that_understands_is_asked_to_connect_again_once`, `tests/drain.rs::who_understands_is_asked_once_and_the_drain_ends_early` |
//! | Reconnect Request: Message Flow, the client | absolute and relative `tcUrl`, or none | `session::client`, `session::url_reference` | `session::url_reference::tests::every_form_of_a_tc_url_leads_somewhere`, `tests/client_role.rs::a_drain_leads_both_roles_to_another_server` |
//! | Action Message Format (AMF): AMF0 and AMF3 | `objectEncoding` 0 and 3; types 15 and 17, each AMF3 value behind its marker | `rtmp::amf::amf0`, `rtmp::amf::amf3`, `session::server::connect_info` | `session::server::tests::negotiation::object_encoding_is_answered_as_asked`, `session::server::tests::negotiation::commands_of_type_17_are_understood_from_connect_to_publish`, `rtmp::amf::amf0::decoder::tests::values_after_a_switch_to_amf3_are_amf0_again` |
//! | Enhancing onMetaData | `audioTrackIdInfoMap`, `videoTrackIdInfoMap` as hints | `media::metadata` | `media::metadata::tests::tracks_are_described_in_full_or_by_what_differs` |
//! | Protocol Versioning | the handshake's version stays 3 | `rtmp::handshake` | `rtmp::handshake::tests::other_versions_are_answered_with_3` |
#![forbid(unsafe_code)]

pub mod aggregate;
pub mod amf;
pub mod chunk;
pub mod command;
pub mod control;
pub mod error;
pub mod fourcc;
pub mod handshake;
pub mod limits;
pub mod message;
pub mod payload;
pub mod user_control;

pub use control::{BandwidthLimit, Control};
pub use error::{ApiMisuse, Error, PeerMisbehaved, PeerUnsupported, Stage};
pub use fourcc::FourCc;
pub use limits::Limits;
pub use message::{Message, MessageHeader};
pub use payload::Payload;
pub use user_control::UserControl;
