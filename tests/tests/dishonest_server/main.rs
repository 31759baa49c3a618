//! A server that lies, before a real node and with its certificate: each of its tricks is caught by the client under a name, the
//! replica keeps what it had and the edit that waits, and with an honest server again the log goes on. What is not claimed is
//! here too, so that it is seen to be no worse than `SECURITY.md` says.
//!
//! Never: a trick that needs a key of the account's, but for those of somebody who has one.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a server lies about the frames that it names, and passes the rest on")]

mod enrolments;
mod log;
mod world;
