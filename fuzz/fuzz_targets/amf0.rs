//! `inrush_fuzz::amf::amf0` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inrush_fuzz::amf::amf0(data));
