//! One replica's rules, told as sentences: one binary, so that it links once.
//!
//! Never: a server session; the simulation has those.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic where it stands")]

#[cfg(test)]
mod answers;
#[cfg(test)]
mod claims;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod conflicts;
#[cfg(test)]
mod desk;
#[cfg(test)]
mod edits;
#[cfg(test)]
mod pairs;
#[cfg(test)]
mod pauses;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod revoked;
#[cfg(test)]
mod rewraps;
#[cfg(test)]
mod rotations;
#[cfg(test)]
mod snapshots;
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod untrusted;
