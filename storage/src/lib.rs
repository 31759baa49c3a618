//! Where logs and accounts are kept: the [`Store`] trait and its backends.
//!
//! Never: policy. What to keep, refuse or retry is decided above; a store says what is, durably.

pub mod memory;
mod pieces;
pub mod store;
mod write;

pub use memory::MemoryStore;
pub use store::Store;
