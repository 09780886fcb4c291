//! `inrush_fuzz::chunk_ops::chunk_ops` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inrush_fuzz::chunk_ops::chunk_ops(data));
