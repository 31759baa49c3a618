//! The region as a node uses it, over the memory store and the real rules. Time is tokio's and mostly paused.
//!
//! Never: a sleep in place of a condition.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test names the frame that it expects; every other one fails it")]

mod client;
mod commits;
mod credit;
mod endings;
mod feeds;
mod gates;
mod histories;
mod limit_table;
mod limits;
mod measures;
mod pages;
mod recorder;
mod recovery;
mod world;
