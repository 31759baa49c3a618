//! The rules of the engine, told as sentences: one binary, so that it links once.
//!
//! Never: a store, a clock or a socket. The store of `support` stands in, with the faults that a real one has.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test names what it expects and fails on the rest")]

#[cfg(test)]
mod adopts;
#[cfg(test)]
mod batches;
#[cfg(test)]
mod desk;
#[cfg(test)]
mod keys;
mod limits;
#[cfg(test)]
mod maker;
#[cfg(test)]
mod model_runs;
#[cfg(test)]
mod overlaps;
#[cfg(test)]
mod ownership;
#[cfg(test)]
mod pushes;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod rewinds;
#[cfg(test)]
mod rosters;
mod rotations;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod simulation;
#[path = "../support/mod.rs"]
mod support;
