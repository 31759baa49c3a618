//! libFuzzer's way into `cloudsync_fuzz::frames`.
//!
//! Never: a property; those stand where plain tests replay them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cloudsync_fuzz::frames::check(input));
