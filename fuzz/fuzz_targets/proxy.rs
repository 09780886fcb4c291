//! `inrush_fuzz::proxy::proxy` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inrush_fuzz::proxy::proxy(data));
