//! Who someone is: passwords by OPAQUE, access and refresh tokens, tickets, and the account frames of a connection.
//!
//! Never: listening sockets, session frames, keys of users. A password never gets here, and no secret gets out of here
//! by `Debug`, by a log line or by an error.

mod accounts;
mod conversation;
mod email;
mod failures;
mod passwords;
mod refresh;
mod rekeying;
mod roster_access;
mod roster_rows;
mod secrets;
mod secrets_file;
mod tickets;
mod tokens;

pub use cloudsync_engine::user::AccountChange;

pub use accounts::{Accounts, Options, Registration};
pub use conversation::Conversation;
pub use refresh::REFRESH_TOKEN_LIFETIME;
pub use roster_access::Rosters;
pub use secrets::Secrets;
pub use secrets_file::{IfAbsent, SECRETS_FILE, SecretsError};
pub use tickets::TICKET_LIFETIME;
pub use tokens::{ACCESS_TOKEN_LIFETIME, TokenError};
