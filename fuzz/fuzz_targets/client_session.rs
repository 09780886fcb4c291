//! `inrush_fuzz::client_session::client_session` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inrush_fuzz::client_session::client_session(data));
