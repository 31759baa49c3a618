//! What must hold of whatever bytes come in: one function for each fuzz target, which panics where it does not.
//!
//! `fuzz/targets` hands them to libFuzzer, `fuzz/tests` replays `fuzz/corpus` through them with every test run.
//!
//! Never: a property that depends on time, on randomness or on an earlier input; a finding must fail again from its file.

pub mod csv;
pub mod cursors;
pub mod envelopes;
pub mod frames;
mod maker;
mod reader;
pub mod seeds;
pub mod statements;

/// One thing that is fuzzed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of its binary and of its folder in the corpus.
    pub name: &'static str,
    /// Panics when a property does not hold of the input.
    pub check: fn(&[u8]),
}

/// Every target, as `fuzz/targets/Cargo.toml` has them.
pub const TARGETS: [Target; 5] = [
    Target { name: "frames", check: frames::check },
    Target { name: "envelopes", check: envelopes::check },
    Target { name: "cursors", check: cursors::check },
    Target { name: "statements", check: statements::check },
    Target { name: "csv", check: csv::check },
];
