//! Devices, a server and the network between them, driven by a seed: what comes of all the rules together. (Two owners at a
//! time, and clients that are not honest: `rules::simulation`.)
//!
//! Never: a wall clock, an order that is not the seed's, or a rule of its own; every decision is the engine's.

pub mod device;
pub mod network;
pub mod pages;
pub mod reader;
pub mod server;
pub mod world;
