//! Where a frame from the server belongs.
//!
//! Never: a frame that belongs nowhere let through; each one is named here.

use cloudsync_protocol::frame::{Committed, Event, GoingAway, HeadAt, Lagging, Welcome};
use cloudsync_protocol::{Failure, Frame};

/// What happens in the log, and to the session, without being asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// What others committed.
    Event(Event),
    /// What this session committed.
    Committed(Committed),
    /// Where the head is.
    HeadAt(HeadAt),
    /// Events were dropped, there or here: attach again, then pull.
    Lagging(Lagging),
    /// The connection closes soon: connect again after a while.
    GoingAway(GoingAway),
}

/// Where a frame goes.
#[derive(Debug)]
pub(crate) enum Route {
    Welcome(Welcome),
    Answer(u32, Frame),
    Event(SessionEvent),
    Ping(u64),
    Pong,
    /// The whole connection failed.
    Fatal(Failure),
    /// Not the server's to send, or not now.
    Misplaced(&'static str),
}

/// A refusal is an answer too.
pub(crate) fn route(frame: Frame) -> Route {
    let name = frame.name();
    let request = match &frame {
        Frame::Failure(failure) => failure.request,
        Frame::RegisterStarted(answer) => answer.request,
        Frame::LoginStarted(answer) => answer.request,
        Frame::Authorized(answer) => answer.request,
        Frame::RosterPage(answer) => answer.request,
        Frame::Tokens(answer) => answer.request,
        Frame::Done(answer) => answer.request,
        Frame::Authenticated(answer) => answer.request,
        Frame::Attached(answer) => answer.request,
        Frame::Page(answer) => answer.request,
        Frame::SnapshotPage(answer) => answer.request,
        Frame::Claimed(answer) => answer.request,
        Frame::Pushed(answer) => answer.request,
        Frame::RosterChanged(answer) => answer.request,
        Frame::Keyring(answer) => answer.request,
        Frame::Versions(answer) => answer.request,
        Frame::Welcome(_)
        | Frame::GoingAway(_)
        | Frame::Ping(_)
        | Frame::Pong(_)
        | Frame::Event(_)
        | Frame::Committed(_)
        | Frame::HeadAt(_)
        | Frame::Lagging(_)
        | Frame::Challenge(_)
        | Frame::Hello(_)
        | Frame::RegisterStart(_)
        | Frame::RegisterFinish(_)
        | Frame::LoginStart(_)
        | Frame::LoginFinish(_)
        | Frame::GetRoster(_)
        | Frame::Enrol(_)
        | Frame::Refresh(_)
        | Frame::Logout(_)
        | Frame::Authenticate(_)
        | Frame::Attach(_)
        | Frame::Pull(_)
        | Frame::Snapshot(_)
        | Frame::Claim(_)
        | Frame::Push(_)
        | Frame::ChangeRoster(_)
        | Frame::GetKeyring(_)
        | Frame::History(_)
        | Frame::Recover(_)
        | Frame::SecretStart(_)
        | Frame::SecretFinish(_)
        | Frame::EraseAccount(_)
        | Frame::RosterAfter(_) => 0,
    };
    if request != 0 {
        return Route::Answer(request, frame);
    }
    unasked(frame, name)
}

fn unasked(frame: Frame, name: &'static str) -> Route {
    if let Frame::Failure(failure) = frame {
        return Route::Fatal(failure);
    }
    if let Frame::Welcome(welcome) = frame {
        return Route::Welcome(welcome);
    }
    if let Frame::Ping(ping) = frame {
        return Route::Ping(ping.number);
    }
    if let Frame::Pong(_) = frame {
        return Route::Pong;
    }
    if let Frame::Event(event) = frame {
        return Route::Event(SessionEvent::Event(event));
    }
    if let Frame::Committed(committed) = frame {
        return Route::Event(SessionEvent::Committed(committed));
    }
    if let Frame::HeadAt(head) = frame {
        return Route::Event(SessionEvent::HeadAt(head));
    }
    if let Frame::Lagging(lagging) = frame {
        return Route::Event(SessionEvent::Lagging(lagging));
    }
    if let Frame::GoingAway(going) = frame {
        return Route::Event(SessionEvent::GoingAway(going));
    }
    Route::Misplaced(name)
}
