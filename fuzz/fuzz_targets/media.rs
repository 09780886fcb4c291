//! `inrush_fuzz::media::media` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inrush_fuzz::media::media(data));
