//! Where logs and accounts are kept: the [`Store`] trait and its backends.
//!
//! Never: policy. What to keep, refuse or retry is decided above; a store says what is, durably.

pub mod store;

pub use store::Store;
