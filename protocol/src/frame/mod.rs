//! Every frame of the session protocol, either direction, with its tag.
//!
//! Never: a tag reused, a field inserted before others. A request carries an id (not 0) that its answer repeats; an
//! answer travels on the stream that its request came on. Lengths and streams are the carriers' business.

mod account;
mod connection;
mod events;
mod reading;
mod writing;

pub use account::{
    Authorized, Done, Enrol, EraseAccount, GetKeyring, GetRoster, Keyring, LoginFinish, LoginStart, LoginStarted, Logout, Recover, Refresh,
    RegisterFinish, RegisterStart, RegisterStarted, RosterAfter, RosterPage, SecretFinish, SecretStart, Tokens,
};
pub use connection::{Authenticate, Authenticated, Challenge, GoingAway, Hello, Ping, Pong, Welcome};
pub use events::{Committed, Event, HeadAt, Lagging};
pub use reading::{Attach, Attached, History, Page, Pull, Snapshot, SnapshotPage, SnapshotToken, Versions};
pub use writing::{ChangeRoster, Claim, Claimed, Push, Pushed, RosterChanged};

use crate::error::Failure;

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
        /// Client: are you there?
        Ping(Ping) = 5,
        /// Server: yes.
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
        /// Server: who that is, with what is needed to enrol a device; answers `RegisterFinish`, `LoginFinish`, `Recover` and
        /// `SecretFinish`.
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
        /// Server: a page of it; answers `GetRoster` and `RosterAfter`.
        RosterPage(RosterPage) = 29,
        /// Client, before hello: the recovery code instead of a password.
        Recover(Recover) = 30,
        /// Client, before hello: the first step to another password; answered by `RegisterStarted`.
        SecretStart(SecretStart) = 31,

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
        /// Client: roster rows after one.
        RosterAfter(RosterAfter) = 50,

        /// Server: what was committed.
        Event(Event) = 64,
        /// Server: what this very session pushed was committed.
        Committed(Committed) = 65,
        /// Server: where the log's head is; keep-alive, and instead of an event that is too large.
        HeadAt(HeadAt) = 66,
        /// Server: events were dropped; attach again.
        Lagging(Lagging) = 67,

        /// Client, before hello: another keyring, with what it comes from.
        SecretFinish(SecretFinish) = 96,
        /// Client, before hello: the account and all of its data go, for ever; answered by `Done`.
        EraseAccount(EraseAccount) = 97,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::statement::PublicKey;
    use crate::{DeviceId, Seq, Signature, UserId};

    #[test]
    fn debug_shows_no_token_no_ticket_no_password_record_and_no_address() {
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
        let finish = RegisterFinish {
            request,
            email: String::new(),
            record: ticket(),
            user: UserId([1; 16]),
            keyring: Bytes::new(),
            recovery: PublicKey([1; 32]),
        };
        let replaced = SecretFinish { request, ticket: ticket(), changes: Vec::new(), keyring: ticket(), record: Some(ticket()) };
        let frames: [Frame; 15] = [
            RegisterStart { request, email: token(), message: Bytes::new() }.into(),
            LoginStart { request, email: token(), message: Bytes::new() }.into(),
            finish.into(),
            replaced.into(),
            EraseAccount { request, ticket: ticket() }.into(),
            Recover { request, email: token(), signature }.into(),
            SecretStart { request, ticket: ticket(), message: ticket() }.into(),
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
