//! The actors round the engine's rules: a region per node, an actor per active user, an actor per session.
//!
//! Never: sockets of clients, HTTP, or a rule. It is handed frames decoded and hands out frames that were encoded once.

mod directory;
mod drain;
mod effects;
pub mod metrics;
mod options;
mod outbound;
mod permits;
mod queue;
mod reads;
mod recovery;
mod region;
mod region_actor;
mod request;
mod session;
mod session_actor;
mod stored;
#[cfg(test)]
mod tests;
mod user;
mod user_message;
mod user_shared;
mod wheel;

pub use cloudsync_engine::verify::Access;
pub use options::{Clock, Options, SystemClock, Tokens};
pub use outbound::{Answers, Events, Lane, Outbound, Outgoing};
pub use region::{Drained, OpenRequest, Region, StartError};
pub use session_actor::SessionHandle;
