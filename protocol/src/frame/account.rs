//! Calls before *hello*: registering, logging in, enrolling, tokens; and the keyring.
//!
//! Never: a password, or a token, ticket or e-mail address shown by `Debug`.

use bytes::Bytes;

use crate::entry::RosterRow;
use crate::id::{DeviceId, UserId};
use crate::position::Seq;
use crate::statement::{PublicKey, RosterChange, Signature};

crate::wire_struct! { secret
    /// OPAQUE registration request (RFC 9807, 5.1).
    pub struct RegisterStart {
        /// Not 0.
        pub request: u32,
        /// Lower case; at most `EMAIL_BYTES_MAX`.
        pub email: String,
        /// The blinded password.
        pub message: Bytes,
    }
}

crate::wire_struct! {
    /// OPAQUE registration response.
    pub struct RegisterStarted {
        /// The request's.
        pub request: u32,
        /// The evaluated element and the server's public key.
        pub message: Bytes,
    }
}

crate::wire_struct! { secret
    /// OPAQUE registration record, and the account's first keyring.
    pub struct RegisterFinish {
        /// Not 0.
        pub request: u32,
        /// As in `RegisterStart`, on the same connection.
        pub email: String,
        /// The registration record.
        pub record: Bytes,
        /// Chosen by the client, at random.
        pub user: UserId,
        /// The keyring blob, see `docs/crypto.md`.
        pub keyring: Bytes,
        /// Ed25519: the recovery code's public half.
        pub recovery: PublicKey,
    }
}

crate::wire_struct! { secret
    /// OPAQUE KE1 (RFC 9807, 6.3).
    pub struct LoginStart {
        /// Not 0.
        pub request: u32,
        /// Lower case.
        pub email: String,
        /// KE1.
        pub message: Bytes,
    }
}

crate::wire_struct! {
    /// OPAQUE KE2.
    pub struct LoginStarted {
        /// The request's.
        pub request: u32,
        /// KE2. An unknown address gets one as well.
        pub message: Bytes,
    }
}

crate::wire_struct! {
    /// OPAQUE KE3.
    pub struct LoginFinish {
        /// Not 0.
        pub request: u32,
        /// KE3.
        pub message: Bytes,
    }
}

crate::wire_struct! { secret
    /// The password was right.
    pub struct Authorized {
        /// The request's.
        pub request: u32,
        /// The user.
        pub user: UserId,
        /// Lets this connection enrol one device of that user, within minutes.
        pub ticket: Bytes,
        /// The keyring's version.
        pub keyring_version: u64,
        /// The keyring blob.
        pub keyring: Bytes,
        /// The first roster rows, in order, up to about `PAGE_BYTES`; empty when the log has no identity yet.
        pub roster: Vec<RosterRow>,
        /// Whether there are more roster rows: ask by `GetRoster`.
        pub more: bool,
    }
}

crate::wire_struct! { secret
    /// Enrols a device, or finds it enrolled with the same keys.
    pub struct Enrol {
        /// Not 0.
        pub request: u32,
        /// From `Authorized`.
        pub ticket: Bytes,
        /// The device that this connection is.
        pub device: DeviceId,
        /// Signed changes to append, as one: the identity when the log has none, revokes that make room, the device when it
        /// isn't enrolled. May be empty.
        pub changes: Vec<RosterChange>,
        /// By the device's key over [`refresh_message`](crate::statement::refresh_message) of the ticket in hexadecimal.
        pub proof: Signature,
    }
}

crate::wire_struct! { secret
    /// Asks for tokens.
    pub struct Refresh {
        /// Not 0.
        pub request: u32,
        /// The newest refresh token that the device has.
        pub refresh_token: String,
        /// By the device's key over [`refresh_message`](crate::statement::refresh_message).
        pub proof: Signature,
    }
}

crate::wire_struct! { secret
    /// Tokens of a device.
    pub struct Tokens {
        /// The request's.
        pub request: u32,
        /// JWT, RS256.
        pub access_token: String,
        /// Until when, in milliseconds since the epoch.
        pub access_expires_ts: u64,
        /// Opaque; replaces the one before.
        pub refresh_token: String,
        /// Until when, in milliseconds since the epoch.
        pub refresh_expires_ts: u64,
    }
}

crate::wire_struct! { secret
    /// Ends the refresh family of a device.
    pub struct Logout {
        /// Not 0.
        pub request: u32,
        /// Any token of the family.
        pub refresh_token: String,
        /// As in `Refresh`.
        pub proof: Signature,
    }
}

crate::wire_struct! {
    /// Done.
    pub struct Done {
        /// The request's.
        pub request: u32,
    }
}

crate::wire_struct! { secret
    /// Asks for roster rows after one.
    pub struct GetRoster {
        /// Not 0.
        pub request: u32,
        /// From `Authorized`.
        pub ticket: Bytes,
        /// Exclusive.
        pub after: Seq,
    }
}

crate::wire_struct! {
    /// Roster rows in order, up to about `PAGE_BYTES`.
    pub struct RosterPage {
        /// The request's.
        pub request: u32,
        /// The rows.
        pub roster: Vec<RosterRow>,
        /// Whether there are more.
        pub more: bool,
    }
}

crate::wire_struct! { secret
    /// Shows the recovery code instead of the password.
    pub struct Recover {
        /// Not 0.
        pub request: u32,
        /// Lower case.
        pub email: String,
        /// By the recovery code's key over [`recover_message`](crate::statement::recover_message).
        pub signature: Signature,
    }
}

crate::wire_struct! { secret
    /// OPAQUE registration request of a password that is to replace the one in force.
    pub struct SecretStart {
        /// Not 0.
        pub request: u32,
        /// From `Authorized`.
        pub ticket: Bytes,
        /// The blinded password.
        pub message: Bytes,
    }
}

crate::wire_struct! { secret
    /// Replaces the keyring, and with it keys, identity, recovery code or password, as the last change says.
    pub struct SecretFinish {
        /// Not 0.
        pub request: u32,
        /// From `Authorized`.
        pub ticket: Bytes,
        /// The identity where the log has none; then one rotation or rekey.
        pub changes: Vec<RosterChange>,
        /// The keyring blob that the last change names.
        pub keyring: Bytes,
        /// The registration record of a new password; nothing keeps the one in force.
        pub record: Option<Bytes>,
    }
}

crate::wire_struct! { secret
    /// Erases the account, for ever, with everything that its user ever wrote.
    pub struct EraseAccount {
        /// Not 0.
        pub request: u32,
        /// From `Authorized`.
        pub ticket: Bytes,
    }
}

crate::wire_struct! {
    /// Asks for the keyring.
    pub struct GetKeyring {
        /// Not 0.
        pub request: u32,
    }
}

crate::wire_struct! {
    /// The keyring.
    pub struct Keyring {
        /// The request's.
        pub request: u32,
        /// Its version.
        pub version: u64,
        /// The blob.
        pub keyring: Bytes,
    }
}

crate::wire_struct! {
    /// Asks for roster rows after one, in a session.
    pub struct RosterAfter {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Exclusive.
        pub after: Seq,
    }
}
