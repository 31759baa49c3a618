//! A connection and its session: hello, its end, and signs of life.
//!
//! Never: a token shown by `Debug`.

use crate::error::ErrorCode;
use crate::id::{DeviceId, Nonce, TimelineId, UserId};
use crate::statement::Signature;

crate::wire_struct! {
    /// The server's first frame.
    pub struct Challenge {
        /// Fresh for this connection; hello and refresh sign it.
        pub nonce: Nonce,
        /// The server's clock, in milliseconds since the epoch.
        pub server_ts: u64,
        /// The oldest protocol version that it speaks.
        pub version_min: u16,
        /// The newest.
        pub version_max: u16,
    }
}

crate::wire_struct! { secret
    /// Opens a session of an enrolled device.
    pub struct Hello {
        /// The oldest protocol version that the client speaks.
        pub version_min: u16,
        /// The newest.
        pub version_max: u16,
        /// The access token.
        pub token: String,
        /// The device.
        pub device: DeviceId,
        /// By the device's key over [`hello_message`](crate::statement::hello_message).
        pub signature: Signature,
        /// Name and version of the client, for the operator's logs.
        pub client: String,
    }
}

crate::wire_struct! {
    /// The session is open.
    pub struct Welcome {
        /// The protocol version of the session.
        pub version: u16,
        /// The session's number on this node, for support.
        pub session: u64,
        /// The user.
        pub user: UserId,
        /// The server's clock, in milliseconds since the epoch: stamp by the offset to it.
        pub server_ts: u64,
        /// Until when the token holds, in milliseconds since the epoch; authenticate again before.
        pub token_expires_ts: u64,
        /// The keyring's version.
        pub keyring_version: u64,
        /// Public addresses of the cluster's nodes.
        pub nodes: Vec<String>,
        /// The timeline of the user's log: this session sees no other.
        pub timeline: TimelineId,
    }
}

crate::wire_struct! {
    /// The connection closes soon.
    pub struct GoingAway {
        /// Why.
        pub code: ErrorCode,
        /// For a person.
        pub message: String,
        /// Connect again after this many milliseconds, with jitter.
        pub retry_after_ms: u32,
    }
}

crate::wire_struct! {
    /// Are you there?
    pub struct Ping {
        /// Repeated in the answer.
        pub number: u64,
    }
}

crate::wire_struct! {
    /// Yes.
    pub struct Pong {
        /// The ping's.
        pub number: u64,
    }
}

crate::wire_struct! { secret
    /// A fresh access token, within the session.
    pub struct Authenticate {
        /// Not 0.
        pub request: u32,
        /// Of the same user and device.
        pub token: String,
        /// As in `Hello`, over the connection's nonce.
        pub signature: Signature,
    }
}

crate::wire_struct! {
    /// The session goes on.
    pub struct Authenticated {
        /// The request's.
        pub request: u32,
        /// In milliseconds since the epoch.
        pub token_expires_ts: u64,
    }
}
