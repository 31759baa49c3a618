//! The local replica: the engine's tables on SQLite, shared by the processes of one profile.
//!
//! Never: a rule; those are `engine::replica`'s. Never a transaction across an `await`, nor one that the process is
//! stopped in by Ctrl-Z.

mod codec;
mod error;
mod pause;
mod process;
mod schema;
mod session;
mod store;
mod tables;
mod turnstile;
mod writer;

pub use error::StoreError;
pub use pause::stop_between_transactions;
pub use session::Sender;
pub use store::{Begin, Store};
pub use tables::SqliteTables;

#[cfg(test)]
mod tests;
