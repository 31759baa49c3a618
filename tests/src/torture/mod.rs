//! Kills at every moment: of the node under load, and of a client at every step of a push. What was acknowledged is there, once.
//!
//! Never: a process of ours that is not a real one, or a draw that the seed does not repeat.

mod client;
mod gate;
mod node;

pub use client::{ClientKills, kill_client};
pub use gate::Gate;
pub use node::{LogProof, NodeKills, kill_node};

/// How long and how.
#[derive(Debug, Clone, Copy)]
pub struct Torture {
    /// `kill -9` of the node, at least.
    pub kills: u32,
    /// Rounds of kills of a client, one kill at each step of a push a round.
    pub rounds: u32,
    /// Repeats the draws.
    pub seed: u64,
    /// Told what is done and how often it was.
    pub progress: fn(&str, u32),
}
