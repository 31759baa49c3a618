//! Error codes, stable by name, and the failure that carries one.
//!
//! Never: a code renamed or reused; clients match on the text.

use std::collections::BTreeSet;
use std::fmt;

use crate::hash::Hash;
use crate::id::{DeviceId, TimelineId};
use crate::name::RecordKey;
use crate::position::{DeviceSeq, Seq, Version};

macro_rules! error_codes {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)*) => {
        /// Why something was refused. On the wire it is its name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$meta])* $variant,)*
            /// A code of a newer release.
            Unrecognised,
        }

        impl ErrorCode {
            /// Every code that this release knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// The stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Unrecognised => "unrecognised" }
            }
            /// From the stable name.
            #[must_use]
            pub fn from_name(name: &str) -> Self {
                match name { $($name => Self::$variant,)* _ => Self::Unrecognised }
            }
        }
    };
}

error_codes! {
    /// Not a frame: truncated, a wrong type, an unknown tag, too deep, bytes left over.
    Malformed = "malformed",
    /// A frame over `FRAME_BYTES_MAX`.
    FrameTooLarge = "frame_too_large",
    /// A frame that has no place here: before hello, after it, or of the other direction.
    UnexpectedFrame = "unexpected_frame",
    /// No protocol version in common.
    VersionUnsupported = "version_unsupported",
    /// Nothing valid within `HELLO_TIMEOUT`.
    HelloTimeout = "hello_timeout",
    /// A frame that came in more slowly than `FRAME_BYTES_PER_SECOND_MIN`.
    FrameTooSlow = "frame_too_slow",
    /// More unanswered requests or bytes than a session may have.
    TooManyRequests = "too_many_requests",
    /// A request id that is 0 or still unanswered.
    RequestIdInUse = "request_id_in_use",

    /// Not a token of this server.
    TokenInvalid = "token_invalid",
    /// A token past its time: refresh it.
    TokenExpired = "token_expired",
    /// A token of another user or device than the one that says hello.
    TokenMismatch = "token_mismatch",
    /// A signature that does not verify.
    SignatureInvalid = "signature_invalid",
    /// The device is not enrolled.
    DeviceUnknown = "device_unknown",
    /// The device was revoked.
    DeviceRevoked = "device_revoked",
    /// The user's data was erased.
    AccountErased = "account_erased",

    /// Wrong e-mail address or password; which of the two is not said.
    CredentialsInvalid = "credentials_invalid",
    /// Not an e-mail address.
    EmailInvalid = "email_invalid",
    /// There is an account for that address.
    EmailTaken = "email_taken",
    /// That user id is taken: draw another.
    UserTaken = "user_taken",
    /// This server takes no registrations.
    RegistrationClosed = "registration_closed",
    /// Not an OPAQUE message, or out of order.
    OpaqueInvalid = "opaque_invalid",
    /// A log-in ticket that is wrong, used or too old: log in again.
    TicketInvalid = "ticket_invalid",
    /// A refresh token that is not valid: log in again.
    RefreshInvalid = "refresh_invalid",
    /// A refresh token whose family is over: log in again.
    RefreshExpired = "refresh_expired",
    /// A refresh token that was followed by others: read the newer one.
    RefreshSuperseded = "refresh_superseded",
    /// `DEVICES_MAX` devices are enrolled.
    DevicesFull = "devices_full",
    /// A keyring of another version is there.
    KeyringConflict = "keyring_conflict",
    /// A keyring over `KEYRING_BYTES_MAX`, or not the one that its roster row names.
    KeyringInvalid = "keyring_invalid",
    /// Signed by an identity that was replaced since.
    IdentityOld = "identity_old",
    /// Devices came or went since a rotation was signed.
    RosterMoved = "roster_moved",

    /// A log number that this session does not have.
    LogUnknown = "log_unknown",
    /// The cursor is ahead of the log, or its row is another one: the store lost what it had acknowledged. Keep everything.
    StoreRewound = "store_rewound",
    /// A cursor of another timeline.
    TimelineUnknown = "timeline_unknown",
    /// History before this was cut: take a snapshot.
    BelowFloor = "below_floor",
    /// A snapshot token that is not of this log.
    SnapshotInvalid = "snapshot_invalid",

    /// This session has not claimed the right to push.
    ClaimFirst = "claim_first",
    /// Another session of the device claimed it.
    NotThePusher = "not_the_pusher",
    /// That number was committed with other bytes.
    SequenceReused = "sequence_reused",
    /// A later push of the device is committed; this one never will be, unless it already is.
    Settled = "settled",
    /// The push does not follow the device's last committed one.
    ChainMoved = "chain_moved",
    /// Records whose current version is not the push's base.
    Stale = "stale",
    /// Records that the server refuses; each says why.
    Refused = "refused",
    /// A base that this record never had.
    BaseUnknown = "base_unknown",
    /// A header that does not fit its push: log, device, number, version or format.
    HeaderInvalid = "header_invalid",
    /// A body over `BODY_BYTES_MAX`, or a tombstone's over its own.
    BodyTooLarge = "body_too_large",
    /// A hybrid clock more than `CLOCK_AHEAD_MAX` ahead of the server's.
    ClockAhead = "clock_ahead",
    /// A collection too many.
    CollectionsFull = "collections_full",
    /// A record too many.
    RecordsFull = "records_full",
    /// More bytes than the user's quota has room for: records that grow, each with by how much.
    QuotaExceeded = "quota_exceeded",
    /// A push without operations, or over `PUSH_OPERATIONS_MAX` or `PUSH_BYTES_MAX`.
    PushTooLarge = "push_too_large",
    /// A statement that is not one, or does not fit its operations.
    StatementInvalid = "statement_invalid",
    /// Wraps under an older account key than the log's: read on, wrap anew, push the same batch.
    KeyEpochOld = "key_epoch_old",
    /// Wraps under an account key that this log does not have: it was rewound.
    KeyEpochAhead = "key_epoch_ahead",
    /// A revoke that names another last push than the device's.
    RevokeLastDiffers = "revoke_last_differs",

    /// The disk is full: reads go on.
    StoreFull = "store_full",
    /// The store can't be reached or does not answer.
    StoreUnavailable = "store_unavailable",
    /// What was stored is not what was written.
    StoreDamaged = "store_damaged",
    /// Try again after a while.
    Busy = "busy",
    /// Too much in a short time, from an account, an address or everybody: try again when it says.
    Throttled = "throttled",
    /// The node leaves: connect again after a while.
    GoingAway = "going_away",
    /// A session that read too slowly.
    TooSlow = "too_slow",
    /// A bug of ours.
    Internal = "internal",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl serde::Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::from_name(&name))
    }
}

crate::wire_struct! {
    /// What is wrong with one record of a push.
    pub struct RecordIssue {
        /// The record.
        pub key: RecordKey,
        /// What is wrong.
        pub code: ErrorCode,
        /// Its current version; 0 when it has none.
        pub current: Version,
        /// The `seq` of that version; 0 when it has none. Read the log to there before settling.
        pub current_seq: Seq,
        /// With `quota_exceeded`: by how many bytes the push makes it grow; else 0.
        pub grows: u64,
    }
}

crate::wire_struct! {
    /// How full a user's quota was when a push was refused for it. Bytes are header + body + wrap of live records.
    #[derive(Copy)]
    pub struct Usage {
        /// Bytes in use.
        pub used: u64,
        /// Bytes allowed.
        pub limit: u64,
        /// Bytes by which the whole push would grow.
        pub need: u64,
        /// The last `seq` that `used` counts.
        pub at: Seq,
    }
}

crate::wire_struct! {
    /// A device's last committed push.
    #[derive(Copy)]
    pub struct LastPush {
        /// Its number; 0 when there is none.
        pub device_seq: DeviceSeq,
        /// Its hash; zero when there is none.
        pub hash: Hash,
        /// The `seq` of its last operation.
        pub seq: Seq,
    }
}

/// When to try again what a node can't do now, in milliseconds, where nothing else is said.
pub const RETRY_AFTER_MS: u32 = 1_000;
/// When to try again what a node has no room on its disk for, in milliseconds: somebody must make some.
pub const STORE_FULL_RETRY_AFTER_MS: u32 = 60_000;

crate::wire_struct! {
    /// A refusal: of one request, or (request 0) of the connection, which then closes.
    pub struct Failure {
        /// The request that it answers; 0 for the connection.
        pub request: u32,
        /// The stable code.
        pub code: ErrorCode,
        /// What, why and what to do, for a person.
        pub message: String,
        /// When to try again, in milliseconds; nothing when trying again as it is makes no sense.
        pub retry_after_ms: Option<u32>,
        /// With `stale`, `refused` and `quota_exceeded`: every record concerned.
        pub records: Vec<RecordIssue>,
        /// With `settled`, `chain_moved` and `revoke_last_differs`: the device's last committed push.
        pub last: Option<Box<LastPush>>,
        /// With `quota_exceeded`.
        pub quota: Option<Box<Usage>>,
        /// With `revoke_last_differs`: whose push `last` is.
        pub device: Option<DeviceId>,
        /// With `timeline_unknown`: the log's timelines with the first `seq` of each, oldest first.
        pub lineage: Box<[(TimelineId, Seq)]>,
        /// With `clock_ahead`: the server's clock at the decision, in milliseconds since the epoch.
        pub server_ts: Option<Box<u64>>,
    }
}

impl Failure {
    /// A failure with a message only.
    #[must_use]
    pub fn new(request: u32, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            request,
            code,
            message: message.into(),
            retry_after_ms: None,
            records: Vec::new(),
            last: None,
            quota: None,
            device: None,
            lineage: Box::default(),
            server_ts: None,
        }
    }

    /// The same, with when to try again.
    #[must_use]
    pub fn retry_after(self, retry_after_ms: u32) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..self }
    }

    /// What the store has no room for.
    #[must_use]
    pub fn store_full(request: u32) -> Self {
        Self::new(request, ErrorCode::StoreFull, "the server's disk is full; reads go on").retry_after(STORE_FULL_RETRY_AFTER_MS)
    }

    /// What the store did not answer, or may not have done.
    #[must_use]
    pub fn store_unavailable(request: u32, retry_after_ms: u32) -> Self {
        Self::new(request, ErrorCode::StoreUnavailable, "the store does not answer: try again").retry_after(retry_after_ms)
    }

    /// Its code, and those that its records have, each once.
    #[must_use]
    pub fn codes(&self) -> BTreeSet<ErrorCode> {
        self.records.iter().map(|issue| issue.code).chain([self.code]).collect()
    }
}
