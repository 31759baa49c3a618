//! Every frame of the session protocol, either direction, with its tag.
//!
//! Never: a tag reused, a field inserted before others. A request carries an id (not 0) that its answer repeats; an
//! answer travels on the stream that its request came on. Lengths and streams are the carriers' business.

use bytes::Bytes;

use crate::entry::{Entry, Operation, RosterRow, Row};
use crate::error::{ErrorCode, Failure, LastPush};
use crate::hash::{Hash, ShortHash};
use crate::id::{DeviceId, LogId, Nonce, TimelineId, UserId};
use crate::name::{CollectionName, RecordId, RecordKey};
use crate::position::{Cursor, DeviceSeq, Generation, Seq, Version};
use crate::statement::{PublicKey, RosterChange, Signature, Signed};

/// A log within a session: 0 is the user's own.
pub const OWN_LOG: u32 = 0;

crate::wire_enum! {
    /// One frame: `[tag, fields…]`.
    pub enum Frame {
        /// Server, first on every connection.
        Challenge(Challenge) = 1,
        /// Client: opens a session.
        Hello(Hello) = 2,
        /// Server: the session is open.
        Welcome(Welcome) = 3,
        /// Server: the session ends soon.
        GoingAway(GoingAway) = 4,
        /// Either: are you there?
        Ping(Ping) = 5,
        /// Either: yes.
        Pong(Pong) = 6,
        /// Server: a request, or the connection, failed.
        Failure(Failure) = 7,

        /// Client, before hello: the first step of registering.
        RegisterStart(RegisterStart) = 16,
        /// Server: its answer.
        RegisterStarted(RegisterStarted) = 17,
        /// Client: the second step.
        RegisterFinish(RegisterFinish) = 18,
        /// Client, before hello: the first step of logging in.
        LoginStart(LoginStart) = 19,
        /// Server: its answer.
        LoginStarted(LoginStarted) = 20,
        /// Client: the second step.
        LoginFinish(LoginFinish) = 21,
        /// Server: who that is, with what is needed to enrol a device; answers `RegisterFinish` and `LoginFinish`.
        Authorized(Authorized) = 22,
        /// Client: enrols this device.
        Enrol(Enrol) = 23,
        /// Client, before hello: a new access token for a refresh token.
        Refresh(Refresh) = 24,
        /// Server: tokens; answers `Enrol` and `Refresh`.
        Tokens(Tokens) = 25,
        /// Client, before hello: ends the refresh family.
        Logout(Logout) = 26,
        /// Server: done, nothing to say.
        Done(Done) = 27,
        /// Client, before hello: more of the roster.
        GetRoster(GetRoster) = 28,
        /// Server: a page of it.
        RosterPage(RosterPage) = 29,

        /// Client: a fresh token for this session.
        Authenticate(Authenticate) = 32,
        /// Server: it holds until then.
        Authenticated(Authenticated) = 33,
        /// Client: send me what happens in this log from now on.
        Attach(Attach) = 34,
        /// Server: from this head on.
        Attached(Attached) = 35,
        /// Client: one page of the log.
        Pull(Pull) = 36,
        /// Server: that page.
        Page(Page) = 37,
        /// Client: one page of the current state.
        Snapshot(Snapshot) = 38,
        /// Server: that page.
        SnapshotPage(SnapshotPage) = 39,
        /// Client: this session wants to push.
        Claim(Claim) = 40,
        /// Server: it may; this was the device's last committed push.
        Claimed(Claimed) = 41,
        /// Client: a signed batch.
        Push(Push) = 42,
        /// Server: committed.
        Pushed(Pushed) = 43,
        /// Client: changes the roster (revokes a device).
        ChangeRoster(ChangeRoster) = 44,
        /// Server: committed.
        RosterChanged(RosterChanged) = 45,
        /// Client: the keyring, please.
        GetKeyring(GetKeyring) = 46,
        /// Server: the keyring.
        Keyring(Keyring) = 47,
        /// Client: versions of one record.
        History(History) = 48,
        /// Server: those versions.
        Versions(Versions) = 49,

        /// Server: what was committed.
        Event(Event) = 64,
        /// Server: what this very session pushed was committed.
        Committed(Committed) = 65,
        /// Server: where the log's head is; keep-alive, and instead of an event that is too large.
        HeadAt(HeadAt) = 66,
        /// Server: events were dropped; attach again.
        Lagging(Lagging) = 67,
    }
}

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

crate::wire_struct! {
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

crate::wire_struct! {
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

crate::wire_struct! {
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

crate::wire_struct! {
    /// Puts the session on the log's fan-out list.
    pub struct Attach {
        /// Not 0.
        pub request: u32,
        /// The log; 0 is the user's own.
        pub log: u32,
        /// How far the replica has read.
        pub cursor: Cursor,
    }
}

crate::wire_struct! {
    /// Events above `head` follow; pages bring the rest.
    pub struct Attached {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Its id.
        pub id: LogId,
        /// The head of that moment.
        pub head: Seq,
        /// The log's timeline.
        pub timeline: TimelineId,
        /// The log's generation.
        pub generation: Generation,
        /// History up to here may be cut: a cursor below takes a snapshot.
        pub floor: Seq,
    }
}

crate::wire_struct! {
    /// Asks for the next page after `from`.
    pub struct Pull {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Where to start: exclusive.
        pub from: Cursor,
        /// Where to stop: inclusive, at most the head.
        pub to: Seq,
    }
}

crate::wire_struct! {
    /// What was committed in `(from, to]`.
    pub struct Page {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Its timeline.
        pub timeline: TimelineId,
        /// Exclusive; the request's.
        pub from: Seq,
        /// Inclusive; may be short of what was asked for.
        pub to: Seq,
        /// The head when the page was read.
        pub head: Seq,
        /// Whole, contiguous, from `from + 1` to `to`.
        pub entries: Vec<Entry>,
    }
}

crate::wire_struct! {
    /// Asks for a page of the current state.
    pub struct Snapshot {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Where to go on; nothing to begin.
        pub resume: Option<SnapshotToken>,
    }
}

crate::wire_struct! {
    /// Where a snapshot stands.
    pub struct SnapshotToken {
        /// The log's timeline when it began.
        pub timeline: TimelineId,
        /// The head when it began.
        pub start: Seq,
        /// The last record given.
        pub last: Option<RecordKey>,
        /// While the roster is given: the last roster row given.
        pub roster_after: Option<Seq>,
    }
}

crate::wire_struct! {
    /// A page of the current state; the first ones have the roster.
    pub struct SnapshotPage {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Timeline and head when the snapshot began, and the hash of that row: where to pull from afterwards.
        pub start: Cursor,
        /// On the first pages: every roster row up to `start`, in order.
        pub roster: Vec<RosterRow>,
        /// In key order, tombstones included; a row may be newer than `start`.
        pub rows: Vec<Row>,
        /// Where to go on; nothing when this was the last page.
        pub resume: Option<SnapshotToken>,
    }
}

crate::wire_struct! {
    /// Asks for the right to push.
    pub struct Claim {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
    }
}

crate::wire_struct! {
    /// This session alone may push for its device now.
    pub struct Claimed {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// The device's last committed push.
        pub last: LastPush,
    }
}

crate::wire_struct! {
    /// A signed batch, all or nothing.
    pub struct Push {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// A [`BatchStatement`](crate::statement::BatchStatement) and its signature.
        pub signed: Signed,
        /// As the statement lists them.
        pub operations: Vec<Operation>,
    }
}

impl Push {
    /// What counts against `PUSH_BYTES_MAX`: statement, signature and operations as encoded, whatever the request id.
    #[must_use]
    pub fn counted_bytes(&self) -> usize {
        crate::codec::encode(&self.signed).len() + crate::codec::encode(&self.operations).len()
    }
}

crate::wire_struct! {
    /// Committed, durably, as `(from, to]`.
    pub struct Pushed {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// The push.
        pub device_seq: DeviceSeq,
        /// The batch's hash.
        pub hash: Hash,
        /// The log's timeline.
        pub timeline: TimelineId,
        /// Exclusive.
        pub from: Seq,
        /// Inclusive.
        pub to: Seq,
    }
}

crate::wire_struct! {
    /// Appends a signed change of the roster.
    pub struct ChangeRoster {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// The change.
        pub change: RosterChange,
    }
}

crate::wire_struct! {
    /// Committed, durably.
    pub struct RosterChanged {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Its number.
        pub seq: Seq,
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
    /// Asks for versions of a record, newest first.
    pub struct History {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// The record's collection.
        pub collection: CollectionName,
        /// The record's id.
        pub record: RecordId,
        /// Only versions below this one; nothing for the newest.
        pub before: Option<Version>,
        /// At least 1; a wish for more than `HISTORY_ROWS_MAX` is answered with so many.
        pub count: u32,
    }
}

crate::wire_struct! {
    /// Versions of a record, newest first.
    pub struct Versions {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// At most as many as were asked for, and about `PAGE_BYTES`.
        pub rows: Vec<Row>,
        /// Whether older ones are there.
        pub more: bool,
    }
}

crate::wire_struct! {
    /// What was committed in `(from, to]`.
    pub struct Event {
        /// The log.
        pub log: u32,
        /// Its timeline.
        pub timeline: TimelineId,
        /// Exclusive: a receiver that is not here pulls.
        pub from: Seq,
        /// Inclusive.
        pub to: Seq,
        /// Whole and contiguous.
        pub entries: Vec<Entry>,
    }
}

crate::wire_struct! {
    /// A push of this very session was committed in `(from, to]`: its bodies are in the outbox.
    pub struct Committed {
        /// The log.
        pub log: u32,
        /// Its timeline.
        pub timeline: TimelineId,
        /// Exclusive: a receiver that is not here pulls.
        pub from: Seq,
        /// Inclusive.
        pub to: Seq,
        /// The push.
        pub device_seq: DeviceSeq,
        /// The first 8 bytes of the last row's hash.
        pub row: ShortHash,
        /// When the server committed it, in milliseconds since the epoch.
        pub server_ts: u64,
    }
}

crate::wire_struct! {
    /// The log's head.
    pub struct HeadAt {
        /// The log.
        pub log: u32,
        /// Its timeline.
        pub timeline: TimelineId,
        /// Its stable head.
        pub head: Seq,
    }
}

crate::wire_struct! {
    /// Events were dropped: attach again, then pull.
    pub struct Lagging {
        /// The log.
        pub log: u32,
        /// The head when that was noticed.
        pub head: Seq,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_token_and_no_ticket() {
        let (request, signature) = (1, Signature([7; 64]));
        let token = || "a.secret.token".to_owned();
        let ticket = || Bytes::from_static(b"a.secret.token");
        let hello = Hello { version_min: 1, version_max: 1, token: token(), device: DeviceId([1; 16]), signature, client: String::new() };
        let tokens = Tokens { request, access_token: token(), access_expires_ts: 0, refresh_token: token(), refresh_expires_ts: 0 };
        let enrol = Enrol { request, ticket: ticket(), device: DeviceId([1; 16]), changes: Vec::new(), proof: signature };
        let authorized = Authorized {
            request,
            user: UserId([1; 16]),
            ticket: ticket(),
            keyring_version: 1,
            keyring: Bytes::new(),
            roster: Vec::new(),
            more: false,
        };
        let frames: [Frame; 8] = [
            hello.into(),
            authorized.into(),
            tokens.into(),
            enrol.into(),
            Refresh { request, refresh_token: token(), proof: signature }.into(),
            Logout { request, refresh_token: token(), proof: signature }.into(),
            GetRoster { request, ticket: ticket(), after: Seq::ZERO }.into(),
            Authenticate { request, token: token(), signature }.into(),
        ];
        for frame in frames {
            assert_eq!(format!("{frame:?}"), format!("{0}({0}(…))", frame.name()));
        }
    }
}
