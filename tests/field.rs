//! The field: what encoders, players and enemies of other servers are known to do, row by row, as their users report it; each row is a test
//! here, on the wire or, where it takes days or an answer that never comes, on a clock that the test turns.
//!
//! What a row asks of a feature that this server does not have yet stands in the third column: the test holds what is there today.
//!
//! | row | test | left to whoever brings the feature |
//! |---|---|---|
//! | 1: the encoder cannot come back after a cut | `row_01_after_a_cut_the_encoder_is_back_within_the_bound` | takeover by the same client at once |
//! | 2: two encoders kick each other | `row_02_two_encoders_of_one_key_do_not_kick_each_other` | takeover with hysteresis: priority, tenure, flaps |
//! | 3: the stream dies after 4 h 39 min | `row_03_streams_live_on_across_every_limit`, `row_03_late_joiners_are_told_the_time` | |
//! | 4: extended timestamps of type 1 and 2 | `row_04_an_extended_timestamp_of_type_1_or_2_is_a_delta` | |
//! | 5: overflow after 28 h | `row_05_a_stream_may_last_for_60_days` | clocks of 90 kHz, with the outputs that have them |
//! | 6: one core | `row_06_publishers_are_on_every_core` | |
//! | 7: workers that know only themselves | `row_07_the_api_speaks_for_all_cores` | |
//! | 8: a slow webhook blocks others | `row_08_a_late_answer_to_a_publish_harms_nobody` | the broker that asks: its time, its number, its cache |
//! | 9: Start before the check | `row_09_a_refused_publisher_is_never_told_to_start` | the check of who may, between the two |
//! | 10: metadata and configurations | `row_10_metadata_is_a_hint`, `row_10_an_aac_configuration_may_be_empty`, `row_10_a_configuration_may_come_twice`, `row_10_a_track_may_begin_late`, `row_10_hevc_may_be_codec_12` | |
//! | 11: numbers before `@setDataFrame` | `row_11_numbers_may_stand_before_set_data_frame`, `row_11_no_data_message_ends_a_publisher` | |
//! | 12: Wirecast's `publish` | `row_12_publish_false_ends_the_publish`, `row_12_a_second_publish_changes_nothing` | |
//! | 13: DJI begins with type 2; GoPro's TLS | `row_13_a_chunk_stream_may_begin_with_type_1_2_or_3` | ciphers and extensions, with RTMPS |
//! | 14: chunk streams, control, chunk sizes | `row_14_any_chunk_stream_will_do`, `row_14_control_messages_count_wherever_they_stand`, `row_14_a_chunk_size_may_be_huge` | |
//! | 15: order of the handshake and commands | `row_15_nothing_needs_to_be_waited_for`, `row_15_app_and_tc_url_may_be_strange` | |
//! | 16: where the key stands | `row_16_the_key_may_stand_anywhere` | |
//! | 17: several tracks, AV1 | `row_17_more_tracks_and_newer_codecs_do_no_harm` | tracks chosen for each player (`enhanced.rs`) |
//! | 18: figures | `row_18_the_figures_of_a_stream_are_in_the_api` | frames a second, bit rate by kind, RTT; `/stat` as nginx-rtmp has it |
//! | 19: readers that drift | `row_19_a_reader_who_fell_behind_goes_on_at_a_key_frame` | |
//! | 20: memory that rises | `row_20_streams_that_have_gone_leave_nothing` | (`churn.rs` is the long form) |
//! | 21: no key frame any more | `row_21_a_stream_without_key_frames_costs_no_memory`, `row_21_a_stream_of_key_frames_keeps_one` | |
//! | 22: repeated and changed headers | `row_22_a_repeated_sequence_header_is_nothing_new_and_a_changed_one_comes_first`, `row_22_sound_and_picture_stay_together_when_the_clock_changes` | segments and recordings that begin anew |
//! | 23: relay | `row_23_nothing_is_looked_up_at_the_start_and_ipv6_urls_are_understood` | looking up again, both families at once, targets that fail alone |
//! | 24: upgrade | `row_24_a_drain_lets_streams_end` | handing sockets over to the next process |
//! | 25: PROXY | `row_25_a_proxy_header_is_not_believed_from_anybody` | (that of trusted networks is: `proxy_protocol.rs`) |
//! | extra: GLive T80 | `extra_media_may_come_before_its_configuration` | |
//! | extra: unknown user control | `extra_user_control_events_may_be_unknown`, `extra_our_client_bears_unknown_messages_of_a_server` | |
//! | extra: Abort | `extra_an_unfinished_message_may_be_aborted` | |
//! | extra: signed composition time | `extra_composition_times_may_be_negative` | |
//! | extra: negative DTS | `extra_decoding_times_may_be_negative` | |
//! | extra: strict arrays | `extra_metadata_may_hold_strict_arrays` | |
//! | extra: ffmpeg's timecode | `extra_a_timecode_is_no_amf` | |
//! | extra: Neko | `row_15_app_and_tc_url_may_be_strange` | |
//! | extra: Wowza and FMS push | `extra_fc_publish_is_answered` | |
//! | extra: strict ingests | `extra_our_connect_is_what_strict_ingests_expect` | |
//! | CVE-2016-10191 | `a_message_keeps_its_length` | |
//! | CVE-2016-10192 | `a_chunk_size_is_checked_and_reserves_nothing` | |
//! | CVE-2015-8270, -8271, -8272 | `amf3_counts_are_not_believed` | |
//! | CVE-2023-34105, CVE-2024-29882 | `names_are_names_and_nothing_else`, `the_api_answers_with_json_whatever_is_asked` | what runs commands or makes files of names |
//! | CVE-2026-55868, -55869 | | no SRT here |
//! | nginx-rtmp 2f2db81, 23e1873 | `a_chunk_size_may_change_inside_a_message`, `nulls_and_nonsense_in_commands_do_no_harm` | |
//! | ZLM #1839, #4787 | `a_tiny_window_is_no_flood`, `nested_amf_ends_at_its_bound` | |
//! | Red5 #456, #475, #482 | `a_declared_length_reserves_nothing`, `one_byte_chunks_are_odd_and_a_flood_of_them_is_not`, `no_log_shows_a_name_or_a_token`, `xml_in_amf_is_text` | names of recordings |
//! | OME's log | `garbage_at_any_step_ends_one_connection_alone`, `media_without_a_publish_reaches_nobody` | the check of who may, on every path |
//! | MediaMTX #2252, #3069 | `a_body_without_end_is_not_read`, `garbage_at_any_step_ends_one_connection_alone` | |
//! | Red5 and Ant, remote code | | no values become objects of a program here, and no remote management |
//! | pattern: state a chunk stream | `chunk_streams_are_counted` | |
//! | pattern: default secrets | `there_is_no_default_secret` | |
#![cfg(feature = "engine")]

mod support;

#[path = "field/encoders.rs"]
mod encoders;
#[path = "field/extra.rs"]
mod extra;
#[path = "field/security.rs"]
mod security;
#[path = "field/servers.rs"]
mod servers;
#[path = "field/session.rs"]
mod session;
#[path = "field/stage.rs"]
mod stage;
#[path = "field/timestamps.rs"]
mod timestamps;

use std::collections::BTreeSet;

/// The table names every test of the list, and only tests that are there.
#[test]
fn the_table_is_the_list() {
    let table = include_str!("field.rs").lines().filter(|line| line.starts_with("//! | "));
    let named: BTreeSet<&str> = table
        .flat_map(|row| row.split('|').nth(2).into_iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)))
        .collect();
    let sources = [
        include_str!("field/encoders.rs"),
        include_str!("field/timestamps.rs"),
        include_str!("field/servers.rs"),
        include_str!("field/extra.rs"),
        include_str!("field/security.rs"),
    ];
    let tests: BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| source.split("#[test]\nfn ").skip(1))
        .filter_map(|test| test.split('(').next())
        .collect();
    assert!(tests.len() > 60, "{} tests were found", tests.len());
    assert_eq!(named, tests);
}
