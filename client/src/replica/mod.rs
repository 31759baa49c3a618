//! The local replica: the engine's tables on SQLite, shared by the processes of one profile.
//!
//! Never: a rule; those are `engine::replica`'s. Never a transaction across an `await`, nor one that the process is
//! stopped in by Ctrl-Z.

mod codec;
mod error;
mod keys_rows;
mod login;
mod lost_rows;
mod pause;
mod process;
mod rows;
mod schema;
mod store;
mod tables;
mod transaction;
mod turn;
mod turnstile;
mod writer;

pub use error::StoreError;
pub use pause::stop_between_transactions;
pub use store::{Access, Store};
pub use transaction::SqliteTables;
pub use turn::Turn;

#[cfg(test)]
mod tests;
