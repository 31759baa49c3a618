//! Reads on behalf of a session, straight from the store: pages of the log and of the state, history, the keyring.
//!
//! Never: through the user actor, and never what lies above the stable head; the store gives no more than that.

use cloudsync_protocol::frame::{GetKeyring, History, Keyring, Page, Pull, Snapshot, SnapshotPage, Versions};
use cloudsync_protocol::limits::{HISTORY_ROWS_MAX, PAGE_BYTES};
use cloudsync_protocol::{Cursor, ErrorCode, Failure, Frame, LogId, RecordKey, Seq, TimelineId, UserId};
use cloudsync_storage::Store;
use cloudsync_storage::store::{self, PullError, ReadError};

use crate::options::Options;

/// One read that a session asked for.
#[derive(Debug)]
pub(crate) enum Read {
    Pull(Pull),
    Snapshot(Snapshot),
    History(History),
    Keyring(GetKeyring),
}

/// Carries it out. The failure's `request` is filled in by its ticket.
pub(crate) async fn read(store: &dyn Store, user: UserId, read: Read, options: &Options) -> Result<Frame, Failure> {
    let log = LogId::from(user);
    match read {
        Read::Pull(pull) => page(store, log, pull, options).await,
        Read::Snapshot(snapshot) => state(store, log, snapshot, options).await,
        Read::History(history) => versions(store, log, history, options).await,
        Read::Keyring(get) => {
            let keyring = store.keyring(user).await.map_err(|error| read_failure(&error, options))?;
            let keyring = keyring.ok_or_else(|| Failure::new(0, ErrorCode::StoreDamaged, "this account has no keyring"))?;
            Ok(Keyring { request: get.request, version: keyring.version, keyring: keyring.bytes }.into())
        }
    }
}

async fn page(store: &dyn Store, log: LogId, pull: Pull, options: &Options) -> Result<Frame, Failure> {
    let from = pull.from.seq;
    let timeline = if from == Seq::ZERO { current_timeline(store, log, options).await? } else { pull.from.timeline };
    let wanted = store::Pull { timeline, from, to: pull.to, bytes_max: PAGE_BYTES };
    let page = store.pull(log, wanted).await.map_err(|error| pull_failure(error, options))?;
    check_cursor(store, log, pull.from, page.head).await.map_err(|error| error.into_failure(options))?;
    Ok(Page { request: pull.request, log: pull.log, timeline, from, to: page.to, head: page.head, entries: page.entries }.into())
}

async fn current_timeline(store: &dyn Store, log: LogId, options: &Options) -> Result<TimelineId, Failure> {
    let head = store.read_head(log).await.map_err(|error| read_failure(&error, options))?;
    head.map(|head| head.timeline).ok_or_else(|| Failure::new(0, ErrorCode::LogUnknown, "this log was never written to"))
}

/// Why a cursor is not of this store.
#[derive(Debug)]
enum CursorError {
    Ahead { cursor: Seq, head: Seq },
    OtherRow { cursor: Seq },
    Read(ReadError),
}

impl CursorError {
    fn into_failure(self, options: &Options) -> Failure {
        match self {
            Self::Ahead { cursor, head } => {
                Failure::new(0, ErrorCode::StoreRewound, format!("the cursor is at {cursor}, the log at {head}: keep everything"))
            }
            Self::OtherRow { cursor } => {
                Failure::new(0, ErrorCode::StoreRewound, format!("another row is at {cursor} than the replica has: keep everything"))
            }
            Self::Read(error) => read_failure(&error, options),
        }
    }
}

/// A cursor that passed the floor's check may stand on a row that was cut; then there is nothing to compare.
async fn check_cursor(store: &dyn Store, log: LogId, cursor: Cursor, head: Seq) -> Result<(), CursorError> {
    if cursor.seq == Seq::ZERO {
        return Ok(());
    }
    if cursor.seq > head {
        // *Rewound* is final for a client: said only after a serial read.
        let head = store.read_head(log).await.map_err(CursorError::Read)?.map_or(Seq::ZERO, |head| head.seq);
        let behind = ReadError::Unavailable(format!("a read gave the head as it was before {head}"));
        return Err(if cursor.seq > head { CursorError::Ahead { cursor: cursor.seq, head } } else { CursorError::Read(behind) });
    }
    match store.row_hash(log, cursor.seq).await.map_err(CursorError::Read)? {
        Some(row) if row != cursor.row => Err(CursorError::OtherRow { cursor: cursor.seq }),
        Some(_) | None => Ok(()),
    }
}

async fn state(store: &dyn Store, log: LogId, snapshot: Snapshot, options: &Options) -> Result<Frame, Failure> {
    let invalid = || Failure::new(0, ErrorCode::SnapshotInvalid, "that snapshot is not of this log: begin anew");
    if let Some(token) = &snapshot.resume {
        let head = store.read_head(log).await.map_err(|error| read_failure(&error, options))?;
        if head.is_none_or(|head| token.timeline != head.timeline || token.start > head.seq) {
            return Err(invalid());
        }
    }
    let page = match store.snapshot(log, snapshot.resume, PAGE_BYTES).await {
        Ok(page) => page,
        Err(PullError::Timeline(_)) => return Err(invalid()),
        Err(error) => return Err(pull_failure(error, options)),
    };
    let (request, log) = (snapshot.request, snapshot.log);
    Ok(SnapshotPage { request, log, start: page.start, roster: page.roster, rows: page.rows, resume: page.resume }.into())
}

async fn versions(store: &dyn Store, log: LogId, history: History, options: &Options) -> Result<Frame, Failure> {
    let record = RecordKey { collection: history.collection, record: history.record };
    let count = history.count.clamp(1, HISTORY_ROWS_MAX);
    let wanted = store::History { record, before: history.before, count, bytes_max: PAGE_BYTES };
    let read = store.history(log, wanted).await;
    let (rows, more) = read.map_err(|error| read_failure(&error, options))?;
    Ok(Versions { request: history.request, log: history.log, rows, more }.into())
}

fn pull_failure(error: PullError, options: &Options) -> Failure {
    match error {
        PullError::BelowFloor { floor } => Failure::new(0, ErrorCode::BelowFloor, format!("history begins after {floor}: take a snapshot")),
        PullError::InsideBatch { from } => {
            Failure::new(0, ErrorCode::StoreRewound, format!("a batch runs over {from}, where the cursor stands: keep everything"))
        }
        PullError::Timeline(timeline) => Failure::new(0, ErrorCode::TimelineUnknown, format!("the log's timeline is {timeline}")),
        PullError::Read(error) => read_failure(&error, options),
    }
}

/// What a client is told of a read that failed; the operator's log has the rest.
pub(crate) fn read_failure(error: &ReadError, options: &Options) -> Failure {
    match error {
        ReadError::Damaged { place, why } => {
            tracing::error!(place, why, "store damaged");
            Failure::new(0, ErrorCode::StoreDamaged, "what was stored is not what was written; the operator has been told where")
        }
        ReadError::Unavailable(why) => {
            tracing::warn!(why, "store unavailable");
            let failure = Failure::new(0, ErrorCode::StoreUnavailable, "the store does not answer: try again");
            Failure { retry_after_ms: Some(options.retry_after_ms()), ..failure }
        }
    }
}
