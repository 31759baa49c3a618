//! Reads on behalf of a session, straight from the store: pages of the log and of the state, history, the keyring.
//!
//! Never: through the user actor, and never what lies above the stable head; the store gives no more than that.

use cloudsync_engine::cursor::{self, Extent, Refusal, Verdict};
use cloudsync_protocol::frame::{GetKeyring, History, Keyring, Page, Pull, RosterAfter, RosterPage, Snapshot, SnapshotPage, Versions};
use cloudsync_protocol::limits::{HISTORY_ROWS_MAX, PAGE_BYTES};
use cloudsync_protocol::{Cursor, Entry, ErrorCode, Failure, Frame, LogId, RecordKey, Seq, TimelineId, UserId};
use cloudsync_storage::Store;
use cloudsync_storage::store::{self, PullError, ReadError};

use crate::metrics::limit_reached;
use crate::options::Options;

/// One read that a session asked for.
#[derive(Debug)]
pub(crate) enum Read {
    Pull(Pull),
    Snapshot(Snapshot),
    History(History),
    Keyring(GetKeyring),
    Roster(RosterAfter),
}

/// Carries it out. The failure's `request` is filled in by its ticket.
pub(crate) async fn read(store: &dyn Store, user: UserId, read: Read, options: &Options) -> Result<Frame, Failure> {
    let log = LogId::from(user);
    match read {
        Read::Pull(pull) => page(store, log, pull, options).await,
        Read::Snapshot(snapshot) => state(store, log, snapshot, options).await,
        Read::History(history) => versions(store, log, history, options).await,
        Read::Keyring(get) => {
            let credentials = store.credentials(user).await.map_err(|error| read_failure(&error, options))?;
            let credentials = credentials.ok_or_else(|| Failure::new(0, ErrorCode::StoreDamaged, "this account has no keyring"))?;
            Ok(Keyring { request: get.request, version: credentials.version, keyring: credentials.keyring }.into())
        }
        Read::Roster(wanted) => roster(store, log, wanted, options).await,
    }
}

/// Roster rows after one, until `PAGE_BYTES` are passed.
async fn roster(store: &dyn Store, log: LogId, wanted: RosterAfter, options: &Options) -> Result<Frame, Failure> {
    let RosterAfter { request, after, .. } = wanted;
    let rows = store.roster(log).await.map_err(|error| read_failure(&error, options))?;
    let (mut roster, mut bytes) = (Vec::new(), 0);
    for row in rows.into_iter().filter(|row| row.seq > after) {
        if bytes >= PAGE_BYTES {
            limit_reached("page_bytes");
            return Ok(RosterPage { request, roster, more: true }.into());
        }
        bytes += Entry::from(row.clone()).bytes();
        roster.push(row);
    }
    Ok(RosterPage { request, roster, more: false }.into())
}

async fn page(store: &dyn Store, log: LogId, pull: Pull, options: &Options) -> Result<Frame, Failure> {
    let Pull { request, log: number, from, to } = pull;
    let timeline = if from.seq == Seq::ZERO { current_timeline(store, log, options).await? } else { from.timeline };
    let wanted = store::Pull { timeline, from: from.seq, to, bytes_max: PAGE_BYTES };
    match read_page(store, log, from, wanted).await {
        Ok(store::Page { entries, to, head, lineage }) => {
            let timeline = lineage.last().map_or(timeline, |(timeline, _)| *timeline);
            if to < pull.to.min(head) {
                limit_reached("page_bytes");
            }
            Ok(Page { request, log: number, timeline, from: from.seq, to, head, entries }.into())
        }
        Err(PageError::Cursor(refusal)) => Err(refusal.failure(0)),
        Err(PageError::InsideBatch) => {
            let message = format!("a batch runs over {}, where the cursor stands: keep everything", from.seq);
            Err(Failure::new(0, ErrorCode::StoreRewound, message))
        }
        Err(PageError::Read(error)) => Err(read_failure(&error, options)),
    }
}

async fn current_timeline(store: &dyn Store, log: LogId, options: &Options) -> Result<TimelineId, Failure> {
    let head = store.read_head(log).await.map_err(|error| read_failure(&error, options))?;
    head.map(|head| head.timeline).ok_or_else(|| Failure::new(0, ErrorCode::LogUnknown, "this log was never written to"))
}

/// Why a cursor gets no page.
#[derive(Debug, thiserror::Error)]
enum PageError {
    #[error(transparent)]
    Cursor(#[from] Refusal),
    #[error("the cursor is inside a batch")]
    InsideBatch,
    #[error(transparent)]
    Read(#[from] ReadError),
}

async fn read_page(store: &dyn Store, log: LogId, from: Cursor, wanted: store::Pull) -> Result<store::Page, PageError> {
    let page = match store.pull(log, wanted).await {
        Ok(page) => page,
        Err(PullError::Timeline(_)) => return Err(confirm(store, log, from, Refusal::Timeline { lineage: Vec::new() }).await),
        Err(PullError::BelowFloor { .. }) => return Err(Refusal::BelowFloor { cursor: from.seq }.into()),
        Err(PullError::InsideBatch { .. }) => return Err(PageError::InsideBatch),
        Err(PullError::Read(error)) => return Err(error.into()),
    };
    // The store let the cursor pass: it is of a timeline of the log, and not below the floor, which may be where it stands.
    let seen = Extent { lineage: page.lineage.clone(), floor: from.seq, head: page.head, head_row: None };
    match cursor::judge(from, &seen) {
        Verdict::Fine => {}
        Verdict::Depends(check) => {
            let row = store.row_hash(log, check.seq()).await?;
            check.with(row)?;
        }
        Verdict::Refused(refusal) => return Err(confirm(store, log, from, refusal).await),
    }
    Ok(page)
}

/// What a refusal comes to once the newest head, if it could contradict, was asked.
async fn confirm(store: &dyn Store, log: LogId, cursor: Cursor, refusal: Refusal) -> PageError {
    if !refusal.needs_newest_head() {
        return refusal.into();
    }
    let newest = match store.read_head(log).await {
        Ok(head) => head.as_ref().map(Extent::from).unwrap_or_default(),
        Err(error) => return error.into(),
    };
    match cursor::judge(cursor, &newest) {
        Verdict::Refused(refusal) => refusal.into(),
        Verdict::Fine | Verdict::Depends(_) => ReadError::Unavailable(format!("a read gave less than the head at {}", newest.head)).into(),
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
        Err(PullError::Timeline(_) | PullError::BelowFloor { .. } | PullError::InsideBatch { .. }) => return Err(invalid()),
        Err(PullError::Read(error)) => return Err(read_failure(&error, options)),
    };
    if page.resume.is_some() {
        limit_reached("page_bytes");
    }
    let (request, log) = (snapshot.request, snapshot.log);
    Ok(SnapshotPage { request, log, start: page.start, roster: page.roster, rows: page.rows, resume: page.resume }.into())
}

async fn versions(store: &dyn Store, log: LogId, history: History, options: &Options) -> Result<Frame, Failure> {
    let record = RecordKey { collection: history.collection, record: history.record };
    let count = history.count.clamp(1, HISTORY_ROWS_MAX);
    if history.count > HISTORY_ROWS_MAX {
        limit_reached("history_rows");
    }
    let wanted = store::History { record, before: history.before, count, bytes_max: PAGE_BYTES };
    let read = store.history(log, wanted).await;
    let (rows, more) = read.map_err(|error| read_failure(&error, options))?;
    Ok(Versions { request: history.request, log: history.log, rows, more }.into())
}

/// What a client is told of a read that failed.
pub(crate) fn read_failure(error: &ReadError, options: &Options) -> Failure {
    error.logged().failure(0, options.retry_after_ms())
}
