//! `inrush_fuzz::codec_config::codec_config` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inrush_fuzz::codec_config::codec_config(data));
