//! What the answer to a push means, and what to do next.
//!
//! Never: a batch closed by an answer that names nothing to be done about it; such a batch stays, and somebody is told.

use cloudsync_protocol::error::{LastPush, RETRY_AFTER_MS, RecordIssue, STORE_FULL_RETRY_AFTER_MS};
use cloudsync_protocol::frame::Pushed;
use cloudsync_protocol::{DeviceSeq, ErrorCode, Failure, Hash, RecordKey, Seq, TimelineId};

use super::settle::Verdict;
use super::{BatchState, ClaimError, ClaimOutcome, Made, OutboxBatch, Replica, Tables, TablesError};

/// What to do after an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Push what [`Replica::outgoing`] gives, if anything.
    Push,
    /// Claim, then push.
    Claim,
    /// Another session of this device claimed: claim after a random delay, if there is still something to push.
    ClaimLater,
    /// Read the log to there, then hand in the same answer again.
    CatchUp {
        /// Inclusive.
        to: Seq,
    },
    /// The log has come to another account key: read it to its head, fetch the keys, then [`Replica::wrap_anew`].
    Rewrap,
    /// Push the same batch again after a while.
    Retry {
        /// In milliseconds.
        after_ms: u32,
    },
    /// The profile was rolled back: enrol as a new device, then [`Replica::enrolled_anew`].
    EnrolAnew,
    /// Nothing that pushing again would change. The batch is kept as it is.
    Stop {
        /// Why.
        code: ErrorCode,
        /// For a person.
        message: String,
    },
}

/// Why an answer was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It says that other bytes were committed than were pushed, or in another place.
    #[error("the answer to push {device_seq} does not fit it")]
    Unfit { device_seq: DeviceSeq },
    /// The log's timeline is not the one that was read: keep everything, attach again.
    #[error("the log was rewound")]
    Timeline,
    /// The tables did not answer.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

impl<T: Tables> Replica<'_, T> {
    /// The push is durable: its rows are written and its edits end. The cursor stays.
    pub fn pushed(&mut self, pushed: &Pushed) -> Result<Next, AnswerError> {
        self.is_ours(pushed.timeline)?.map_err(|_| AnswerError::Timeline)?;
        let Some(batch) = self.tables.batch(self.me.device, pushed.device_seq)? else { return Ok(Next::Push) };
        if batch.hash != pushed.hash || pushed.from.plus(batch.made.len() as u64) != pushed.to {
            return Err(AnswerError::Unfit { device_seq: pushed.device_seq });
        }
        self.commit(&batch, pushed.from)?;
        Ok(Next::Push)
    }

    /// The push of that number and hash was refused, in a session of that timeline. Whatever the answer says, it is of that batch alone, and only while that
    /// batch is unanswered.
    #[expect(clippy::wildcard_enum_match_arm, reason = "codes are open: whatever is not known here stops the push and decides nothing")]
    pub fn push_failed(
        &mut self,
        timeline: TimelineId,
        (device_seq, hash): (DeviceSeq, Hash),
        failure: &Failure,
    ) -> Result<Next, AnswerError> {
        self.is_ours(timeline)?.map_err(|_| AnswerError::Timeline)?;
        if failure.code == ErrorCode::ClaimFirst {
            return Ok(Next::Claim);
        }
        if failure.code == ErrorCode::NotThePusher {
            return Ok(Next::ClaimLater);
        }
        let batch = match self.tables.batch(self.me.device, device_seq)? {
            Some(batch) if batch.state == BatchState::Open && batch.hash == hash => batch,
            Some(_) | None => return Ok(Next::Push),
        };
        match failure.code {
            ErrorCode::Stale
            | ErrorCode::Refused
            | ErrorCode::BaseUnknown
            | ErrorCode::HeaderInvalid
            | ErrorCode::BodyTooLarge
            | ErrorCode::ClockAhead
            | ErrorCode::CollectionsFull
            | ErrorCode::RecordsFull
            | ErrorCode::QuotaExceeded
            | ErrorCode::PushTooLarge
            | ErrorCode::StatementInvalid => self.refused(&batch, failure),
            ErrorCode::Settled | ErrorCode::ChainMoved => match &failure.last {
                Some(last) => self.overtaken(&batch, **last, failure),
                None => Ok(stop(failure)),
            },
            ErrorCode::KeyEpochOld => Ok(Next::Rewrap),
            ErrorCode::SequenceReused => Ok(Next::EnrolAnew),
            ErrorCode::Busy | ErrorCode::Throttled | ErrorCode::GoingAway | ErrorCode::StoreUnavailable => {
                Ok(Next::Retry { after_ms: failure.retry_after_ms.unwrap_or(RETRY_AFTER_MS) })
            }
            // Nobody is there to begin again what stopped, and reads go on meanwhile.
            ErrorCode::StoreFull => Ok(Next::Retry { after_ms: failure.retry_after_ms.unwrap_or(STORE_FULL_RETRY_AFTER_MS) }),
            _ => Ok(stop(failure)),
        }
    }

    /// Parks, pauses or stamps anew what is named, or settles it against what the record says by now; the rest is batched anew. A refusal that
    /// names nothing of the batch is of all of it.
    fn refused(&mut self, batch: &OutboxBatch, failure: &Failure) -> Result<Next, AnswerError> {
        let concerned = |key: &RecordKey| failure.records.iter().find(|issue| issue.key == *key);
        if batch.rewrap().is_some() {
            // Nothing else waits for it; made anew it would be refused again.
            self.close_rewrap()?;
            return Ok(Next::Stop { code: failure.code, message: failure.message.clone() });
        }
        let keys = batch.made.iter().map(Made::key).collect::<Result<Vec<_>, _>>()?;
        let named = keys.iter().filter_map(concerned).collect::<Vec<&RecordIssue>>();
        let whole = if named.is_empty() { Some(failure.code) } else { None };
        if let Some(code @ (ErrorCode::Stale | ErrorCode::Refused | ErrorCode::QuotaExceeded)) = whole {
            return Ok(Next::Stop { code, message: failure.message.clone() });
        }
        let server_ts = failure.server_ts.as_deref().copied();
        let to = named.iter().map(|issue| issue.current_seq).max().unwrap_or(Seq::ZERO);
        if to > self.tables.marks()?.cursor.seq {
            return Ok(Next::CatchUp { to });
        }
        if let Some(usage) = &failure.quota {
            self.told_usage((&**usage).into())?;
        }
        self.close(batch, |key| match (whole, concerned(key)) {
            (Some(code), _) => Verdict::of(code, server_ts),
            (None, Some(issue)) => Verdict::of_issue(issue, server_ts),
            (None, None) => Verdict::Again,
        })?;
        // The answer may be older than what was read since: there may be room for what it paused, or for others in the place of
        // what it parked.
        self.wake_beside(&batch.made)?;
        Ok(Next::Push)
    }

    fn overtaken(&mut self, batch: &OutboxBatch, last: LastPush, failure: &Failure) -> Result<Next, AnswerError> {
        let outcome = self.stands_at(last).map_err(|error| match error {
            ClaimError::Timeline => AnswerError::Timeline,
            ClaimError::Misplaced { .. } => AnswerError::Unfit { device_seq: batch.device_seq },
            ClaimError::Tables(error) => AnswerError::Tables(error),
        })?;
        let still_open = self.open_batch()?.is_some_and(|open| open.device_seq == batch.device_seq);
        match outcome {
            ClaimOutcome::RolledBack { .. } => Ok(Next::EnrolAnew),
            // The log answers from before what it had acknowledged: pushing the same again would go on for ever.
            ClaimOutcome::Push if still_open => Ok(Next::Stop { code: ErrorCode::StoreRewound, message: failure.message.clone() }),
            ClaimOutcome::Push => Ok(Next::Push),
        }
    }
}

fn stop(failure: &Failure) -> Next {
    match failure.retry_after_ms {
        Some(after_ms) => Next::Retry { after_ms },
        None => Next::Stop { code: failure.code, message: failure.message.clone() },
    }
}
