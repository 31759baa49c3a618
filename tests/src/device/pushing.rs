//! How a device of a test pushes: claims, sends what waits, and settles answers that were lost.
//!
//! Never: a push that is taken for committed, or for lost, before the node said so.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use cloudsync_client::connection::Error;
use cloudsync_client::sdk::DeviceSeal;
use cloudsync_engine::replica::{ClaimOutcome, Next, OutboxBatch};
use cloudsync_protocol::frame::Pushed;
use cloudsync_protocol::{ErrorCode, Failure, Seq};

use super::stop::wrong;
use super::{OpenSession, Stop, SyncDevice};

impl SyncDevice {
    /// Claims. A batch whose answer was lost and that is committed all the same is sent once more: the node must answer
    /// as the first time.
    pub async fn claim(&mut self, online: &OpenSession) -> Result<(), Stop> {
        let claimed = online.session.claim().await?;
        match self.replica()?.claimed(online.session.welcome().timeline, claimed.last).map_err(wrong)? {
            ClaimOutcome::Push => {}
            ClaimOutcome::RolledBack { last } => return Err(anyhow!("the log has a push that was never signed: {last:?}").into()),
        }
        let Some(batch) = self.unanswered.clone() else { return Ok(()) };
        if claimed.last.device_seq < batch.device_seq {
            return Ok(());
        }
        let pushed = online.session.push(batch.signed.clone(), batch.operations()).await?;
        if (pushed.hash, pushed.to) != (claimed.last.hash, claimed.last.seq) {
            return Err(anyhow!("{pushed:?} after {claimed:?}").into());
        }
        self.ledger.lost_answers += 1;
        self.acknowledged(&batch, &pushed)
    }

    fn acknowledged(&mut self, batch: &OutboxBatch, pushed: &Pushed) -> Result<(), Stop> {
        self.ledger.acknowledge(batch, pushed)?;
        self.unanswered = None;
        match self.replica()?.pushed(pushed).map_err(wrong)? {
            Next::Push => Ok(()),
            next => Err(anyhow!("{next:?} after an acknowledgement").into()),
        }
    }

    /// Pushes until nothing is left in the queue, reading events meanwhile. `acknowledged` is called for each push.
    pub async fn push_all(&mut self, online: &mut OpenSession, acknowledged: &(impl Fn() + Sync)) -> Result<(), Stop> {
        while let Some(batch) = self.next_batch()? {
            self.unanswered = Some(batch.clone());
            match self.answer(online, &batch).await {
                Ok(pushed) => {
                    self.acknowledged(&batch, &pushed)?;
                    acknowledged();
                }
                Err(Error::Refused(failure)) => self.refused(online, &batch, &failure).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Seals and signs what waits, unless there is a batch already.
    pub fn next_batch(&mut self) -> anyhow::Result<Option<OutboxBatch>> {
        let keys = self.person.keys.clone();
        let batch = self.replica()?.outgoing(&DeviceSeal(&keys))?;
        if let Some(batch) = &batch {
            self.ledger.sign(batch)?;
        }
        Ok(batch)
    }

    /// Pushes that batch, which nothing may stand in the way of: when the answer came, and where it ends.
    pub async fn push(&mut self, online: &OpenSession, batch: &OutboxBatch) -> Result<(Instant, Seq), Stop> {
        let pushed = online.session.push(batch.signed.clone(), batch.operations()).await?;
        let answered = Instant::now();
        self.acknowledged(batch, &pushed)?;
        Ok((answered, pushed.to))
    }

    async fn answer(&mut self, online: &mut OpenSession, batch: &OutboxBatch) -> Result<Pushed, Error> {
        let session = online.session.clone();
        let push = session.push(batch.signed.clone(), batch.operations());
        let mut push = std::pin::pin!(push);
        loop {
            let event = tokio::select! {
                biased;
                answer = &mut push => return answer,
                event = online.events.next() => event?,
            };
            match self.take(&session, event).await {
                Ok(()) => {}
                Err(Stop::Lost(why) | Stop::Unreachable(why)) => return Err(Error::Closed(why)),
                Err(Stop::Wrong(why)) => return Err(Error::Protocol(format!("{why:#}"))),
            }
        }
    }

    async fn refused(&mut self, online: &OpenSession, batch: &OutboxBatch, failure: &Failure) -> Result<(), Stop> {
        let mut next =
            self.replica()?.push_failed(online.session.welcome().timeline, (batch.device_seq, batch.hash), failure).map_err(wrong)?;
        if let Next::CatchUp { to } = next {
            let from = self.tables_cursor()?;
            self.pull(&online.session, from, to).await?;
            next =
                self.replica()?.push_failed(online.session.welcome().timeline, (batch.device_seq, batch.hash), failure).map_err(wrong)?;
        }
        match next {
            Next::Push if failure.code == ErrorCode::Stale => {
                self.ledger.stale += 1;
                self.unanswered = None;
                Ok(())
            }
            Next::Push if failure.code == ErrorCode::QuotaExceeded => {
                self.ledger.without_room += 1;
                self.unanswered = None;
                Ok(())
            }
            Next::Claim => self.claim(online).await,
            Next::Retry { after_ms } => {
                // The node said how long.
                tokio::time::sleep(Duration::from_millis(after_ms.into())).await;
                Ok(())
            }
            next => Err(anyhow!("{next:?} after {failure:?}").into()),
        }
    }

    /// Whether a push is sent and not answered.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.unanswered.is_some()
    }
}
