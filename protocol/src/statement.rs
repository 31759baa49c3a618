//! What is signed: batches by their device, changes of the roster by the account's identity (a rotation by a device as well).
//! Bytes are signed with a context before them, so that a signature of one kind never passes for another.
//!
//! Never: a signature made here. Verifying lives in `engine`, signing in the client.

use std::fmt;

use bytes::Bytes;

use crate::hash::Hash;
use crate::id::{DeviceId, LogId, Nonce};
use crate::position::DeviceSeq;

/// The statement format that this code writes.
pub const FORMAT: u8 = 1;

/// Before the bytes of a [`BatchStatement`].
pub const CONTEXT_BATCH: &[u8] = b"cs1/batch";
/// Before the bytes of an [`IdentityStatement`].
pub const CONTEXT_IDENTITY: &[u8] = b"cs1/identity";
/// Before the bytes of an [`EnrolStatement`].
pub const CONTEXT_ENROL: &[u8] = b"cs1/enrol";
/// Before the bytes of a [`RevokeStatement`].
pub const CONTEXT_REVOKE: &[u8] = b"cs1/revoke";
/// Before the bytes of a [`RotateStatement`], when the new identity signs them.
pub const CONTEXT_ROTATE: &[u8] = b"cs1/rotate";
/// Before the bytes of a [`RotateStatement`], when an enrolled device vouches for the new identity.
pub const CONTEXT_ENDORSE: &[u8] = b"cs1/endorse";
/// Before the bytes of a [`RekeyStatement`].
pub const CONTEXT_REKEY: &[u8] = b"cs1/rekey";
/// Before the statement of a keyring blob, which the client alone reads (docs/crypto.md).
pub const CONTEXT_KEYRING: &[u8] = b"cs1/keyring";
const CONTEXT_RECOVER: &[u8] = b"cs1/recover";
const CONTEXT_HELLO: &[u8] = b"cs1/hello";
const CONTEXT_REFRESH: &[u8] = b"cs1/refresh";

/// An Ed25519 signature (RFC 8032).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(…)")
    }
}

impl serde::Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        let length = bytes.len();
        bytes.as_ref().try_into().map(Self).map_err(|_| serde::de::Error::invalid_length(length, &"64 bytes of a signature"))
    }
}

crate::id::bytes_id! {
    /// An Ed25519 or X25519 public key.
    PublicKey[32];
}

crate::wire_struct! {
    /// What a device last committed, as another device saw it.
    pub struct Seen {
        /// The other device.
        pub device: DeviceId,
        /// Its push.
        pub device_seq: DeviceSeq,
        /// That push's batch hash.
        pub hash: Hash,
    }
}

crate::wire_struct! {
    /// One push, signed by its device with [`CONTEXT_BATCH`]. Its hash names the batch.
    pub struct BatchStatement {
        /// [`FORMAT`].
        pub format: u8,
        /// The log pushed to.
        pub log: LogId,
        /// The device that signs.
        pub device: DeviceId,
        /// The number of this push.
        pub device_seq: DeviceSeq,
        /// The hash of the device's last committed batch; zero for none.
        pub prev_hash: Hash,
        /// The hash of each envelope, in order.
        pub envelopes: Vec<Hash>,
        /// What the device had seen of the others; may be empty.
        pub seen: Vec<Seen>,
    }
}

crate::wire_struct! {
    /// The account's identity, signed by itself (the first) with [`CONTEXT_IDENTITY`].
    pub struct IdentityStatement {
        /// [`FORMAT`].
        pub format: u8,
        /// The log.
        pub log: LogId,
        /// Counts identities, from 1.
        pub identity_epoch: u64,
        /// Ed25519: signs the roster.
        pub signing: PublicKey,
        /// X25519: others seal to it when they share.
        pub sharing: PublicKey,
        /// When, by the device's clock, in milliseconds since the epoch.
        pub client_ts: u64,
    }
}

crate::wire_struct! {
    /// A device joins, signed by the identity with [`CONTEXT_ENROL`].
    pub struct EnrolStatement {
        /// [`FORMAT`].
        pub format: u8,
        /// The log.
        pub log: LogId,
        /// The identity that signs.
        pub identity_epoch: u64,
        /// The device.
        pub device: DeviceId,
        /// Ed25519: signs batches and sessions.
        pub signing: PublicKey,
        /// X25519: a rotated account key is sealed to it.
        pub agreement: PublicKey,
        /// The device's name, sealed under the account key.
        pub name: Bytes,
        /// When, by the device's clock, in milliseconds since the epoch.
        pub client_ts: u64,
    }
}

crate::wire_struct! {
    /// A device leaves, signed by the identity with [`CONTEXT_REVOKE`].
    pub struct RevokeStatement {
        /// [`FORMAT`].
        pub format: u8,
        /// The log.
        pub log: LogId,
        /// The identity that signs.
        pub identity_epoch: u64,
        /// The device that leaves.
        pub device: DeviceId,
        /// Its last committed push, so that nothing of it can appear later.
        pub last: DeviceSeq,
        /// The device that asked for it.
        pub by: DeviceId,
        /// When, by the device's clock, in milliseconds since the epoch.
        pub client_ts: u64,
    }
}

crate::wire_struct! {
    /// A device that stays when keys are rotated.
    #[derive(Copy)]
    pub struct Member {
        /// The device.
        pub device: DeviceId,
        /// SHA-256 of its [`EnrolStatement`]: which enrolment it is that stays.
        pub enrol: Hash,
    }
}

crate::wire_struct! {
    /// A device that leaves by a rotation.
    #[derive(Copy)]
    pub struct Leaver {
        /// The device.
        pub device: DeviceId,
        /// Its last committed push, so that nothing of it can appear later.
        pub last: DeviceSeq,
    }
}

crate::wire_struct! {
    /// New account key, new identity, new recovery code, and who stays: signed by the new identity with [`CONTEXT_ROTATE`] and by
    /// device `by` with [`CONTEXT_ENDORSE`].
    pub struct RotateStatement {
        /// [`FORMAT`].
        pub format: u8,
        /// The log.
        pub log: LogId,
        /// The new identity's number: one more than the current one's.
        pub identity_epoch: u64,
        /// Ed25519: the new identity, which signs the roster from here on.
        pub signing: PublicKey,
        /// X25519: others seal to it when they share.
        pub sharing: PublicKey,
        /// The device that rotates; a member.
        pub by: DeviceId,
        /// The keyring's version from here on: one more than the current one.
        pub version: u64,
        /// The account key's epoch from here on: one more than the current one.
        pub epoch: u64,
        /// SHA-256 of the keyring blob.
        pub keyring: Hash,
        /// Ed25519: the public half of the recovery code in force from here on.
        pub recovery: PublicKey,
        /// Every device that stays, ascending by id.
        pub members: Vec<Member>,
        /// Every device that leaves, ascending by id. With the members at most `DEVICES_MAX`.
        pub revoked: Vec<Leaver>,
        /// When, by the device's clock, in milliseconds since the epoch.
        pub client_ts: u64,
    }
}

crate::wire_struct! {
    /// A new keyring over the same account key (another password), signed by the identity with [`CONTEXT_REKEY`].
    pub struct RekeyStatement {
        /// [`FORMAT`].
        pub format: u8,
        /// The log.
        pub log: LogId,
        /// The identity that signs.
        pub identity_epoch: u64,
        /// The keyring's version from here on: one more than the current one.
        pub version: u64,
        /// SHA-256 of the keyring blob.
        pub keyring: Hash,
        /// When, by the device's clock, in milliseconds since the epoch.
        pub client_ts: u64,
    }
}

crate::wire_struct! {
    /// The bytes of a statement and who vouches for them.
    pub struct Signed {
        /// The statement as encoded by the signer.
        pub statement: Bytes,
        /// Over context ‖ statement.
        pub signature: Signature,
    }
}

impl Signed {
    /// SHA-256 of the statement: a batch's name, a roster row's hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&[&self.statement])
    }
}

crate::wire_enum! {
    /// A change of who may write the log.
    pub enum RosterChange {
        /// An [`IdentityStatement`].
        Identity(IdentityChange) = 1,
        /// An [`EnrolStatement`].
        Enrol(EnrolChange) = 2,
        /// A [`RevokeStatement`].
        Revoke(RevokeChange) = 3,
        /// A [`RotateStatement`], endorsed by a device.
        Rotate(RotateChange) = 4,
        /// A [`RekeyStatement`].
        Rekey(RekeyChange) = 5,
    }
}

macro_rules! change {
    ($($(#[$meta:meta])* $name:ident;)*) => {$(
        crate::wire_struct! {
            $(#[$meta])*
            pub struct $name {
                /// The signed statement.
                pub signed: Signed,
            }
        }
    )*};
}

change! {
    /// A signed [`IdentityStatement`].
    IdentityChange;
    /// A signed [`EnrolStatement`].
    EnrolChange;
    /// A signed [`RevokeStatement`].
    RevokeChange;
    /// A signed [`RekeyStatement`].
    RekeyChange;
}

crate::wire_struct! {
    /// A [`RotateStatement`] that two vouch for.
    pub struct RotateChange {
        /// Signed by the new identity.
        pub signed: Signed,
        /// By the device that rotates, over [`CONTEXT_ENDORSE`] ‖ statement: who trusts the roster so far trusts the new identity by it.
        pub endorsement: Signature,
    }
}

impl RosterChange {
    /// The signed statement, whatever it is.
    #[must_use]
    pub const fn signed(&self) -> &Signed {
        match self {
            Self::Identity(change) => &change.signed,
            Self::Enrol(change) => &change.signed,
            Self::Revoke(change) => &change.signed,
            Self::Rotate(change) => &change.signed,
            Self::Rekey(change) => &change.signed,
        }
    }
    /// What stands before the statement when it is signed.
    #[must_use]
    pub const fn context(&self) -> &'static [u8] {
        match self {
            Self::Identity(_) => CONTEXT_IDENTITY,
            Self::Enrol(_) => CONTEXT_ENROL,
            Self::Revoke(_) => CONTEXT_REVOKE,
            Self::Rotate(_) => CONTEXT_ROTATE,
            Self::Rekey(_) => CONTEXT_REKEY,
        }
    }
    /// Whether it brings another keyring.
    #[must_use]
    pub const fn is_of_keyring(&self) -> bool {
        match self {
            Self::Rotate(_) | Self::Rekey(_) => true,
            Self::Identity(_) | Self::Enrol(_) | Self::Revoke(_) => false,
        }
    }
}

/// How a session's bytes travel; part of what *hello* signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// QUIC with [`ALPN`](crate::limits::ALPN).
    Quic,
    /// WebSocket, with or without TLS.
    WebSocket,
}

impl Carrier {
    /// The byte that is signed.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Quic => 1,
            Self::WebSocket => 3,
        }
    }
    /// For logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::WebSocket => "websocket",
        }
    }
}

/// What a device signs in *hello* and in *authenticate*: a stolen token alone opens nothing.
#[must_use]
pub fn hello_message(nonce: &Nonce, carrier: Carrier, token: &str) -> Vec<u8> {
    [CONTEXT_HELLO, nonce.as_bytes(), &[carrier.byte()], Hash::of(&[token.as_bytes()]).as_bytes()].concat()
}

/// What a device signs to refresh its tokens or to log out.
#[must_use]
pub fn refresh_message(nonce: &Nonce, refresh_token: &str) -> Vec<u8> {
    [CONTEXT_REFRESH, nonce.as_bytes(), Hash::of(&[refresh_token.as_bytes()]).as_bytes()].concat()
}

/// What the recovery code's key signs in *recover*; `email` in lower case.
#[must_use]
pub fn recover_message(nonce: &Nonce, email: &str) -> Vec<u8> {
    [CONTEXT_RECOVER, nonce.as_bytes(), email.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_context_is_the_beginning_of_another() {
        let contexts = [
            CONTEXT_BATCH,
            CONTEXT_IDENTITY,
            CONTEXT_ENROL,
            CONTEXT_REVOKE,
            CONTEXT_ROTATE,
            CONTEXT_ENDORSE,
            CONTEXT_REKEY,
            CONTEXT_KEYRING,
            CONTEXT_RECOVER,
            CONTEXT_HELLO,
            CONTEXT_REFRESH,
        ];
        for (at, one) in contexts.iter().enumerate() {
            for (other_at, other) in contexts.iter().enumerate() {
                assert!(at == other_at || !other.starts_with(one), "{} begins {}", one.escape_ascii(), other.escape_ascii());
            }
        }
    }

    #[test]
    fn the_largest_rotation_fits_a_statement() {
        let largest = RotateStatement {
            format: FORMAT,
            log: LogId([0xff; 16]),
            identity_epoch: u64::MAX,
            signing: PublicKey([0xff; 32]),
            sharing: PublicKey([0xff; 32]),
            by: DeviceId([0xff; 16]),
            version: u64::MAX,
            epoch: u64::MAX,
            keyring: Hash([0xff; 32]),
            recovery: PublicKey([0xff; 32]),
            members: vec![Member { device: DeviceId([0xff; 16]), enrol: Hash([0xff; 32]) }; crate::limits::DEVICES_MAX],
            revoked: Vec::new(),
            client_ts: u64::MAX,
        };
        let bytes = crate::codec::encode(&largest).len();
        assert!(bytes <= crate::limits::STATEMENT_BYTES_MAX, "{bytes} B");
        assert_eq!(bytes, 3_606);
    }
}
