//! A node in process, people who use it, and clients that speak the protocol badly on purpose: for tests that cross
//! crates, and for those of apps built on the SDK.
//!
//! Never: a test's own claim; those stand in `tests/`.

pub mod node;
pub mod person;
pub mod raw;

pub use node::{TestClock, TestNode, Wire};
pub use person::Person;
pub use raw::{RawClient, Received};
