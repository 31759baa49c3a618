//! Signing in from the outside: real OPAQUE clients and device keys against accounts on the store in memory.
//!
//! Never: the wire or a node; frames go straight into a conversation.
#![allow(clippy::unwrap_used, reason = "clippy's exception for tests stops short of their helpers")]

mod enrolling;
mod erasing;
mod logging_in;
mod refreshing;
mod registering;
mod rekeying;
mod secrets;
mod support;
mod tokens;
