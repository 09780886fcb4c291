//! `inrush_fuzz::urls::urls` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inrush_fuzz::urls::urls(data));
