//! libFuzzer's way into `cloudsync_fuzz::envelopes`.
//!
//! Never: a property; those stand where plain tests replay them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cloudsync_fuzz::envelopes::check(input));
