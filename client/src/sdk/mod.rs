//! What an app (and the command line) uses: a signed-in profile, its records, and the server while it can be reached.
//!
//! Never: an edit that is only in memory, or a record shown that was not verified.

mod catch_up;
mod check;
mod client;
mod devices;
mod echoes;
mod erase;
mod error;
mod held_keys;
mod keyring;
mod keys;
#[cfg(test)]
mod leaving_tests;
mod online;
mod parked;
mod password;
pub mod probe;
mod push;
mod records;
mod recover;
mod refresh;
mod rewound;
mod rewrap;
mod rotate;
mod rotation;
mod sign_in;
mod sign_out;
mod standby;
mod time;
mod watch;

pub use check::{Checked, Difference};
pub use client::{Client, Target};
pub use devices::{DeviceInfo, RevokeError};
pub use error::{Error, Offline};
pub use keys::DeviceSeal;
pub use online::Online;
pub use push::Pushing;
pub use records::{Deadline, Deleted, Missing};
pub use recover::recover;
pub use rotate::{Plan, Staying};
pub use rotation::Begun;
pub use sign_in::{LogIn, Name, RecoveryText, SignedIn, check_registrable, log_in, register};
pub use sign_out::{Discard, Reach, log_out};
pub use watch::{Watch, WatchEvent};
