//! Where logs and accounts are kept: the [`Store`] trait and its backends.
//!
//! Never: policy. What to keep, refuse or retry is decided above; a store says what is, durably.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod durable_file;
pub mod embedded;
pub mod memory;
pub mod metrics;
mod paging;
mod pieces;
pub mod store;
mod write;

pub use embedded::EmbeddedStore;
pub use memory::MemoryStore;
pub use store::Store;
