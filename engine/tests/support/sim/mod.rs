//! Devices, a server and the network between them, driven by a seed.
//!
//! Never: a wall clock, an order that is not the seed's, or a rule of its own; every decision is the engine's.

pub mod device;
pub mod network;
pub mod reader;
pub mod server;
pub mod store;
pub mod world;
