//! The rules, as pure state machines: what a log accepts, who may write it, what a session owes its device, and what a
//! client's replica makes of it all.
//!
//! Never: IO, `async`, clocks, randomness, or an order that depends on hashing. Time and entropy arrive as arguments;
//! what is to be done leaves as effects.

pub mod batch;
pub mod cursor;
pub mod invariants;
pub mod log;
pub mod replica;
pub mod roster;
pub mod session;
pub mod user;
pub mod verify;
