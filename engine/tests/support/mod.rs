//! What the engine's integration tests share: keys that seal by hashing, a log that decides at once, devices on it, a store
//! with the faults of a clustered one, and a simulated whole.
//!
//! Never: the rules under test. Whatever a test asserts is decided in `engine`.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic where it stands"
)]
#![allow(missing_debug_implementations, unreachable_pub, reason = "a module of test binaries")]

pub mod keys;
pub mod log;
pub mod rng;
pub mod sim;
pub mod store;
