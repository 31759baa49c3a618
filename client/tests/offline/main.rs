//! The command line without a server: what it queues, shows, refuses, and by which exit codes.
//!
//! Never: a server; what needs one is tested in `tests/`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that finds something else fails there")]

mod damage;
mod edits;
mod imports;
mod processes;
mod support;
