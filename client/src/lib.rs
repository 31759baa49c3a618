//! The SDK: keys, envelopes, carriers, sessions and accounts, and above them the local replica that apps and the
//! command line use.
//!
//! Never: a server crate, and never plaintext or a key in a log, an error or `Debug`.

pub mod account;
pub mod carrier;
pub mod connection;
pub mod envelope;
pub mod export;
pub mod import;
pub mod keys;
pub mod profile;
pub mod replica;
pub mod sdk;
pub mod statement;
#[cfg(test)]
mod vectors_tests;
