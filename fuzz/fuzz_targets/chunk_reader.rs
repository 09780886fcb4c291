//! `inrush_fuzz::chunk_reader::chunk_reader` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inrush_fuzz::chunk_reader::chunk_reader(data));
