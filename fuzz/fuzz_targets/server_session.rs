//! `inrush_fuzz::server_session::server_session` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inrush_fuzz::server_session::server_session(data));
