//! Sending the profile's edits: one signed batch after the other, each answer stored before the next.
//!
//! Never: a batch sent that is not in the outbox, or an answer acted on before it is stored.

use std::time::Duration;

use cloudsync_engine::replica::{ClaimOutcome, Next, OutboxBatch, Replica};
use cloudsync_protocol::{DeviceSeq, ErrorCode, Failure, Hash};

use super::client::me;
use super::echoes::ECHO_WITHIN;
use super::error::is_device_over;
use super::keys::DeviceSeal;
use super::{Error, Online, rewrap, time};
use crate::connection;
use crate::replica::{Access, Turn};

/// How long a turn lasts without going on: longer than a push takes, short enough to wait for.
const TURN: Duration = Duration::from_secs(3);
/// How soon to look again whether another process is done.
const TURN_POLL: Duration = Duration::from_millis(40);
/// After another session of the device claimed.
const CLAIM_AGAIN: Duration = Duration::from_millis(150);
/// Reading on that an answer asks for; each goes further.
const CATCH_UPS_MAX: usize = 16;

/// How one step of sending went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushing {
    /// A batch is decided; there may be more.
    Decided,
    /// Nothing is waiting.
    Idle,
    /// Try again after that long.
    Wait(Duration),
    /// The server's disk is full: nothing is taken before somebody makes room there. Try again after that long.
    StoreFull(Duration),
}

/// What there is to send.
enum Outgoing {
    Nothing,
    NotOurTurn(Duration),
    Batch(Box<OutboxBatch>),
}

impl Online {
    /// Sends one batch of what waits, if it is this process's turn, and stores the answer.
    pub async fn push(&mut self) -> Result<Pushing, Error> {
        if self.client.status().await?.edits.lost > 0 {
            self.make_good().await?;
        }
        let batch = match self.outgoing().await? {
            Outgoing::Nothing => return Ok(Pushing::Idle),
            Outgoing::NotOurTurn(wait) => return Ok(Pushing::Wait(wait)),
            Outgoing::Batch(batch) => batch,
        };
        if !self.claimed {
            self.claim().await?;
            // The answer may have closed that very batch.
            return Ok(Pushing::Decided);
        }
        let (device_seq, hash) = (batch.device_seq, batch.hash);
        let next = match self.session.push(batch.signed.clone(), batch.operations()).await {
            Ok(pushed) => {
                self.pushed_to = self.pushed_to.max(pushed.to);
                tracing::debug!(operations = batch.made.len(), to = pushed.to.0, "pushed");
                let name = self.client.shared.name.clone();
                let shared = std::sync::Arc::clone(&self.client.shared);
                self.client
                    .tables(Access::Write, move |tables| {
                        let me = me(&*shared.keys.fresh(tables)?);
                        let next = Replica::open(tables, &me)?.pushed(&pushed)?;
                        tables.note_store_full(false)?;
                        if !rewrap::is_to_send(tables, &shared.keys.get())? {
                            tables.end_turn(&name)?;
                        }
                        Ok::<_, Error>(next)
                    })
                    .await?
            }
            // The session is over; what became of the batch is for the next one's claim to say.
            Err(error) if error.code() == Some(ErrorCode::GoingAway) => return Err(error.into()),
            Err(connection::Error::Refused(failure)) if failure.code == ErrorCode::StoreFull => {
                let next = self.refused((device_seq, hash), *failure).await?;
                self.client.tables(Access::Write, |tables| tables.note_store_full(true)).await?;
                let Next::Retry { after_ms } = next else { return self.after(next).await };
                return Ok(Pushing::StoreFull(time::jittered(Duration::from_millis(after_ms.into()))));
            }
            Err(connection::Error::Refused(failure)) => self.refused((device_seq, hash), *failure).await?,
            Err(error) => return Err(error.into()),
        };
        self.went_well();
        self.after(next).await
    }

    /// Sends all that waits, or until `patience` is over, or the server's disk is full.
    pub async fn push_all(&mut self, patience: Duration) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let wait = match self.push().await {
                Ok(Pushing::Idle | Pushing::StoreFull(_)) => return self.take_echoes(ECHO_WITHIN).await,
                Ok(Pushing::Decided) => {
                    self.take_echoes(Duration::ZERO).await?;
                    Duration::ZERO
                }
                Ok(Pushing::Wait(wait)) => wait,
                Err(error) => {
                    self.reconnect(error).await?;
                    Duration::ZERO
                }
            };
            if tokio::time::Instant::now() + wait >= deadline {
                return Ok(());
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn outgoing(&self) -> Result<Outgoing, Error> {
        if !self.client.is_to_send().await? {
            return Ok(Outgoing::Nothing);
        }
        let shared = std::sync::Arc::clone(&self.client.shared);
        self.client
            .tables(Access::Write, move |tables| {
                let now_ms = time::now_ms();
                let until_ms = now_ms + u64::try_from(TURN.as_millis()).unwrap_or(u64::MAX);
                match tables.take_turn(&shared.name, now_ms, until_ms)? {
                    Turn::Other { .. } => Ok(Outgoing::NotOurTurn(time::jittered(TURN_POLL))),
                    Turn::Mine => {
                        let keys = shared.keys.fresh(tables)?;
                        let due = rewrap::is_due(tables, &keys)?;
                        let (me, seal) = (me(&keys), DeviceSeal(&keys));
                        let mut replica = Replica::open(tables, &me)?;
                        let batch = match replica.outgoing(&seal)? {
                            None if due => replica.outgoing_rewrap(&seal)?,
                            batch => batch,
                        };
                        Ok::<_, Error>(batch.map_or(Outgoing::Nothing, |batch| Outgoing::Batch(Box::new(batch))))
                    }
                }
            })
            .await
    }

    async fn claim(&mut self) -> Result<(), Error> {
        let (claimed, timeline) = (self.session.claim().await?, self.session.welcome().timeline);
        let outcome = self.client.replica(Access::Write, move |replica, _| replica.claimed(timeline, claimed.last)).await?;
        match outcome {
            ClaimOutcome::Push => {
                self.claimed = true;
                Ok(())
            }
            ClaimOutcome::RolledBack { .. } => Err(self.rolled_back().await?),
        }
    }

    async fn rolled_back(&self) -> Result<Error, Error> {
        self.client.tables(Access::Write, |tables| tables.note_rolled_back()).await?;
        Ok(Error::RolledBack)
    }

    /// Stores a refusal, after reading as far as it asks for.
    async fn refused(&mut self, (device_seq, hash): (DeviceSeq, Hash), failure: Failure) -> Result<Next, Error> {
        let timeline = self.session.welcome().timeline;
        for _ in 0..CATCH_UPS_MAX {
            let told = failure.clone();
            let next =
                self.client.replica(Access::Write, move |replica, _| replica.push_failed(timeline, (device_seq, hash), &told)).await?;
            match next {
                Next::CatchUp { to } => self.read_to(to).await?,
                Next::Rewrap => return self.wrapped_anew((device_seq, hash)).await,
                Next::Push | Next::Claim | Next::ClaimLater | Next::Retry { .. } | Next::EnrolAnew | Next::Stop { .. } => return Ok(next),
            }
        }
        Err(Error::Unfit(format!("push {device_seq} is refused again and again for what was read")))
    }

    /// The log has come to another account key: reads on, fetches it, and has the same batch wrapped under it.
    async fn wrapped_anew(&mut self, batch: (DeviceSeq, Hash)) -> Result<Next, Error> {
        let keys = self.session.keyring().await?;
        if keys.version > self.client.keys().keyring.version {
            self.ensure_keys(self.client.keys().secrets.account.current().epoch.0).await?;
        }
        Box::pin(self.catch_up()).await?;
        self.client.replica(Access::Write, move |replica, seal| replica.wrap_anew(batch, &seal)).await
    }

    async fn after(&mut self, next: Next) -> Result<Pushing, Error> {
        match next {
            Next::Push | Next::CatchUp { .. } | Next::Rewrap => Ok(Pushing::Decided),
            Next::Claim => {
                self.claimed = false;
                Ok(Pushing::Decided)
            }
            Next::ClaimLater => {
                self.claimed = false;
                Ok(Pushing::Wait(time::jittered(CLAIM_AGAIN)))
            }
            Next::Retry { after_ms } => Ok(Pushing::Wait(time::after(Duration::from_millis(after_ms.into())))),
            Next::EnrolAnew => Err(self.rolled_back().await?),
            Next::Stop { code, message } if is_device_over(code) => Err(Error::NotAdmitted { code, message }),
            Next::Stop { code, message } => Err(Error::Stopped { code, message }),
        }
    }
}
