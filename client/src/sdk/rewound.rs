//! A log that went on under another timeline: finding where it and the replica part, and bringing back what was lost.
//!
//! Never: a fork taken on the word of ids alone; a folder put back by hand forks inside one timeline.

use cloudsync_engine::replica::{Lineage, Question, Rewind, Tables as _, Told};
use cloudsync_protocol::{Cursor, DeviceId, DeviceSeq, ErrorCode, Seq};

use super::{Error, Online};
use crate::account;
use crate::connection::{self, HistoryRequest};
use crate::replica::Access;

/// Histories that are asked for before a batch.
const QUESTIONS: usize = 64;

/// What is done about a log that is where it was before a rewind that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WentBack {
    /// Nothing: whoever runs the server is to be told.
    Stops,
    /// A person takes it as it is; what is lost by that is brought back.
    IsTaken,
}

impl Online {
    /// Takes in the log's timelines; `accepted` is the cursor that the server took in this session, if it did. Says whether the
    /// replica went over to another: attach again.
    pub(super) async fn goes_over(&mut self, lineage: Lineage, accepted: Option<Cursor>, back: WentBack) -> Result<bool, Error> {
        let told = self.client.replica(Access::Write, move |replica, _| replica.told(&lineage)).await?;
        let rewind = match told {
            Told::Same => return Ok(false),
            Told::WentBack(rewind) if back == WentBack::IsTaken => rewind,
            Told::WentBack(_) => return Err(Error::WentBack),
            Told::Unfit => return Err(Error::Unfit("one timeline is said to begin in two places".to_owned())),
            Told::Rewound(rewind) => rewind,
        };
        let fork = self.fork(&rewind, accepted).await?;
        self.client.replica(Access::Write, move |replica, _| replica.rewound(&rewind, fork)).await?;
        Ok(true)
    }

    /// Up to where the log's history is the one that was read.
    async fn fork(&self, rewind: &Rewind, accepted: Option<Cursor>) -> Result<Seq, Error> {
        let Some(highest) = self.named(rewind, rewind.common).await? else { return Ok(rewind.common) };
        let accepted = accepted.map_or(Seq::ZERO, |cursor| cursor.seq);
        if accepted >= highest.seq || self.has(highest).await? {
            return Ok(rewind.common);
        }
        let (mut best, mut low, mut high) = (Seq::ZERO, 0, highest.seq.0.saturating_sub(1));
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.named(rewind, Seq(middle)).await?.filter(|cursor| cursor.seq.0 > low) {
                // Nothing that could be asked for.
                None => low = middle,
                Some(cursor) if self.has(cursor).await? => (best, low) = (cursor.seq, middle),
                Some(cursor) => high = cursor.seq.0.saturating_sub(1),
            }
        }
        Ok(best)
    }

    async fn named(&self, rewind: &Rewind, upto: Seq) -> Result<Option<Cursor>, Error> {
        let rewind = rewind.clone();
        self.client.replica(Access::Read, move |replica, _| replica.named(&rewind, upto)).await
    }

    /// Whether that row is the log's.
    async fn has(&self, cursor: Cursor) -> Result<bool, Error> {
        match self.session.pull(cursor, cursor.seq).await {
            Ok(_) => Ok(true),
            Err(error) => match error.code() {
                Some(ErrorCode::BelowFloor) => Ok(true),
                Some(ErrorCode::TimelineUnknown | ErrorCode::StoreRewound) => Ok(false),
                Some(_) | None => Err(error.into()),
            },
        }
    }

    /// What comes before anything is sent: devices that a lost row revoked are revoked again, and the history is asked for of records
    /// whose lost version depends on it.
    pub(super) async fn make_good(&mut self) -> Result<(), Error> {
        let (devices, questions) =
            self.client.replica(Access::Read, |replica, _| Ok::<_, Error>((replica.to_revoke()?, replica.questions(QUESTIONS)?))).await?;
        for device in devices {
            self.revoke_again(device).await?;
        }
        for question in questions {
            self.ask(question).await?;
        }
        Ok(())
    }

    async fn revoke_again(&mut self, device: DeviceId) -> Result<(), Error> {
        let last = self.client.tables(Access::Read, move |tables| tables.last_batch(device)).await?;
        let last = last.map_or(DeviceSeq::default(), |last| last.device_seq);
        match account::revoke(&self.session, &self.client.keys(), device, last).await {
            Ok(changed) => self.read_to(changed.seq).await,
            Err(error) => match given_up(&error) {
                Some(code) => self.client.replica(Access::Write, move |replica, _| replica.revoke_given_up(device, code)).await,
                None => Err(error.into()),
            },
        }
    }

    async fn ask(&self, question: Question) -> Result<(), Error> {
        let (mut history, mut before) = (Vec::new(), None);
        loop {
            let asked = HistoryRequest { key: question.key.clone(), before, count: cloudsync_protocol::limits::HISTORY_ROWS_MAX };
            let versions = match self.session.history(asked).await {
                Ok(versions) => versions,
                // A refusal that would be the same again: as if nothing was found.
                Err(connection::Error::Refused(failure)) if failure.retry_after_ms.is_none() => break,
                Err(error) => return Err(error.into()),
            };
            for row in &versions.rows {
                let header = row.envelope.check().map_err(|error| Error::Unfit(format!("a history with a row that is none: {error}")))?;
                before = Some(header.version);
                history.push((row.envelope.hash(), row.origin));
            }
            if !versions.more || versions.rows.is_empty() || before.is_some_and(|version| version < question.version) {
                break;
            }
        }
        self.client.replica(Access::Write, move |replica, _| replica.answered(&question, &history)).await
    }
}

/// Why a revoke will never be taken, if that is so.
fn given_up(error: &account::Error) -> Option<ErrorCode> {
    let account::Error::Connection(connection) = error else { return None };
    connection.code().filter(|code| matches!(code, ErrorCode::StatementInvalid | ErrorCode::SignatureInvalid | ErrorCode::Refused))
}
