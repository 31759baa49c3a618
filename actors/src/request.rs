//! Which frames are requests of a session, and who carries each out.
//!
//! Never: carrying it out. One exhaustive list, so that a new frame has to be given its place.

use cloudsync_protocol::Frame;
use cloudsync_protocol::frame::{Attach, Authenticate, ChangeRoster, Claim, OWN_LOG, Ping, Push};

use crate::reads::Read;

/// A request of a session.
#[derive(Debug)]
pub(crate) enum Request {
    /// Answered on the spot.
    Ping(Ping),
    /// The session actor's.
    Authenticate(Authenticate),
    /// The store's, by the session actor.
    Read(Read),
    /// The user actor's.
    Ask(Ask),
}

/// A request that must be decided in the log's order.
#[derive(Debug)]
pub(crate) enum Ask {
    Attach(Attach),
    Claim(Claim),
    Push {
        push: Push,
        /// How long it came.
        frame_bytes: usize,
    },
    ChangeRoster(ChangeRoster),
}

/// A request with what every request has.
#[derive(Debug)]
pub(crate) struct Sorted {
    /// Its id; 0 for a ping, which has none.
    pub(crate) id: u32,
    /// The log that it is about; 0, the user's own, for what is about none.
    pub(crate) log: u32,
    pub(crate) request: Request,
}

/// Sorts a frame of `bytes` bytes; nothing for one that is no request of a session.
pub(crate) fn sort(frame: Frame, bytes: usize) -> Option<Sorted> {
    let sorted = |id, log, request| Some(Sorted { id, log, request });
    match frame {
        Frame::Ping(ping) => sorted(0, OWN_LOG, Request::Ping(ping)),
        Frame::Authenticate(frame) => sorted(frame.request, OWN_LOG, Request::Authenticate(frame)),
        Frame::Attach(frame) => sorted(frame.request, frame.log, Request::Ask(Ask::Attach(frame))),
        Frame::Claim(frame) => sorted(frame.request, frame.log, Request::Ask(Ask::Claim(frame))),
        Frame::Push(push) => sorted(push.request, push.log, Request::Ask(Ask::Push { push, frame_bytes: bytes })),
        Frame::ChangeRoster(frame) => sorted(frame.request, frame.log, Request::Ask(Ask::ChangeRoster(frame))),
        Frame::Pull(frame) => sorted(frame.request, frame.log, Request::Read(Read::Pull(frame))),
        Frame::Snapshot(frame) => sorted(frame.request, frame.log, Request::Read(Read::Snapshot(frame))),
        Frame::History(frame) => sorted(frame.request, frame.log, Request::Read(Read::History(frame))),
        Frame::RosterAfter(frame) => sorted(frame.request, frame.log, Request::Read(Read::Roster(frame))),
        Frame::GetKeyring(frame) => sorted(frame.request, OWN_LOG, Request::Read(Read::Keyring(frame))),
        Frame::Challenge(_)
        | Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::GoingAway(_)
        | Frame::Pong(_)
        | Frame::Failure(_)
        | Frame::RegisterStart(_)
        | Frame::RegisterStarted(_)
        | Frame::RegisterFinish(_)
        | Frame::LoginStart(_)
        | Frame::LoginStarted(_)
        | Frame::LoginFinish(_)
        | Frame::Authorized(_)
        | Frame::Enrol(_)
        | Frame::Refresh(_)
        | Frame::Tokens(_)
        | Frame::Logout(_)
        | Frame::Done(_)
        | Frame::GetRoster(_)
        | Frame::RosterPage(_)
        | Frame::Recover(_)
        | Frame::SecretStart(_)
        | Frame::SecretFinish(_)
        | Frame::EraseAccount(_)
        | Frame::Authenticated(_)
        | Frame::Attached(_)
        | Frame::Page(_)
        | Frame::SnapshotPage(_)
        | Frame::Claimed(_)
        | Frame::Pushed(_)
        | Frame::RosterChanged(_)
        | Frame::Keyring(_)
        | Frame::Versions(_)
        | Frame::Event(_)
        | Frame::Committed(_)
        | Frame::HeadAt(_)
        | Frame::Lagging(_) => None,
    }
}
