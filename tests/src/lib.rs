//! A node in process, people who use it, and clients that speak the protocol badly on purpose: for tests that cross
//! crates, and for those of apps built on the SDK.
//!
//! Never: a test's own claim; those stand in `tests/`.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it waits for; everything else fails it, by name")]

pub mod attack;
pub mod bench;
pub mod canary;
pub mod command_line;
pub mod device;
pub mod dishonest;
pub mod ledger;
pub mod minted;
pub mod namespace;
pub mod node;
pub mod person;
mod pinned;
pub mod process;
pub mod python;
pub mod raw;
pub mod relay;
pub mod slow_store;
pub mod tee;
pub mod torture;

pub use attack::Attack;
pub use command_line::{CommandLine, Ran, Watching};
pub use device::{Stop, SyncDevice};
pub use dishonest::DishonestServer;
pub use namespace::Namespace;
pub use node::{TestClock, TestNode, Wire};
pub use person::Person;
pub use process::NodeProcess;
pub use raw::{RawClient, Received};
pub use relay::{Relay, Way};
pub use slow_store::SlowStore;
