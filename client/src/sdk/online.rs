//! A session of the profile's device.
//!
//! Never: a session under a token that ended; it is renewed in band before.

use std::time::Duration;

use cloudsync_protocol::{ErrorCode, Seq};
use tokio::time::Instant;

use super::client::Client;
use super::refresh::{RENEW_BEFORE, Renew, admission};
use super::standby::Standby;
use super::{Error, Offline, time};
use crate::connection::{Connection, Events, Session, Spoken};
use crate::replica::Access;

/// A clock that is off by less is not noted anew at each connection.
const OFFSET_NOTED_MS: u64 = 1000;

/// Nodes that leave one after the other, before that is said.
const LEFT_MAX: u32 = 8;
/// A node that only starts anew is back by then.
const BACK_WITHIN: Duration = Duration::from_secs(3);

/// An open session.
#[derive(Debug)]
pub struct Online {
    pub(super) client: Client,
    pub(super) session: Session,
    pub(super) events: Events,
    pub(super) offset_ms: i64,
    /// Until when the session's token holds, by the server's clock.
    pub(super) token_expires_ts: u64,
    pub(super) claimed: bool,
    /// Whether events come from where the replica is.
    pub(super) attached: bool,
    /// Up to where our pushes were committed.
    pub(super) pushed_to: Seq,
    /// How many nodes left it.
    pub(super) left: u32,
    /// What takes its place when it falls silent, or is lost; nothing where that happened already and nothing was decided since.
    standby: Option<Standby>,
    /// Whether anything is to take its place at all.
    stands_by: bool,
}

impl Client {
    /// Opens a session. Whether there is a connection is decided within 2 s. When it is lost, or falls silent, another one takes
    /// its place, one time until something is decided.
    pub async fn connect(&self) -> Result<Online, Error> {
        let mut online = self.connect_once().await?;
        online.stand_by();
        Ok(online)
    }

    /// The same, and what is lost is lost.
    pub(super) async fn connect_once(&self) -> Result<Online, Error> {
        self.connect_noting(&Spoken::default()).await
    }

    /// The same, and notes once the server has said something.
    pub(super) async fn connect_noting(&self, spoken: &Spoken) -> Result<Online, Error> {
        match self.connect_with(Renew::WhenDue, spoken).await {
            Err(Error::NotAdmitted { code: ErrorCode::TokenExpired | ErrorCode::TokenInvalid, .. }) => {
                self.connect_with(Renew::Instead, spoken).await
            }
            other => other,
        }
    }

    async fn connect_with(&self, renew: Renew, spoken: &Spoken) -> Result<Online, Error> {
        let connection = Connection::open_noting(&self.shared.server, spoken).await?;
        let offset_ms = connection.clock_offset_ms();
        let tokens = self.fresh_tokens(&connection, renew).await?;
        let (session, events) = connection.hello(&self.keys().device, &tokens.access_token).await.map_err(admission)?;
        if session.welcome().user != self.shared.card.user {
            return Err(Error::Unfit("it opened a session of another user".to_owned()));
        }
        self.note_offset(offset_ms).await?;
        tracing::debug!(session = session.welcome().session, offset_ms, "session open");
        let token_expires_ts = session.welcome().token_expires_ts;
        let (client, pushed_to) = (self.clone(), Seq::ZERO);
        let (claimed, attached, left, standby, stands_by) = (false, false, 0, None, false);
        Ok(Online { client, session, events, offset_ms, token_expires_ts, claimed, attached, pushed_to, left, standby, stands_by })
    }

    async fn note_offset(&self, offset_ms: i64) -> Result<(), Error> {
        let noted = self.tables(Access::Read, |tables| tables.clock_offset_ms()).await?;
        if noted.abs_diff(offset_ms) >= OFFSET_NOTED_MS {
            self.tables(Access::Write, move |tables| tables.set_clock_offset_ms(offset_ms)).await?;
        }
        Ok(())
    }
}

impl Online {
    /// Whose profile it is.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Where the server says that it, and others of its cluster, are reached.
    #[must_use]
    pub fn nodes(&self) -> &[String] {
        &self.session.welcome().nodes
    }

    /// How long until the session needs a fresh token.
    pub(super) fn renew_in(&self) -> Duration {
        let left_ms = self.token_expires_ts.saturating_sub(time::server_ms(self.offset_ms));
        Duration::from_millis(left_ms).saturating_sub(RENEW_BEFORE / 2)
    }

    /// Goes on under a fresh token, got on a connection of its own.
    pub async fn renew(&mut self) -> Result<(), Error> {
        let device = &self.client.keys().device;
        let connection = Connection::open(&self.client.shared.server).await?;
        let tokens = self.client.fresh_tokens(&connection, Renew::WhenDue).await?;
        connection.close().await;
        let authenticated = self.session.authenticate(device, &tokens.access_token).await.map_err(admission)?;
        self.token_expires_ts = authenticated.token_expires_ts;
        Ok(())
    }

    /// From now on another session takes its place when it is lost.
    pub(super) fn stand_by(&mut self) {
        self.stands_by = true;
        if self.standby.is_none() {
            self.standby = Some(Standby::beside(self));
        }
    }

    /// Something was decided: what is lost from now on is lost for the first time.
    pub(super) fn went_well(&mut self) {
        if self.stands_by {
            self.stand_by();
        }
    }

    /// Where the connection was lost: goes on over the one that stood by. Where the node said that it leaves: after the time
    /// that it told. Any other error is given back.
    pub async fn reconnect(&mut self, error: Error) -> Result<(), Error> {
        if error.is_lost()
            && let Some(standby) = self.standby.take()
        {
            let next = standby.take_over(error).await?;
            *self = Self { left: self.left, stands_by: true, ..next };
            return Ok(());
        }
        let Some(told) = error.leaving().filter(|_| self.left < LEFT_MAX) else { return Err(error) };
        let (mut backoff, mut wait) = (time::Backoff::new(), time::jittered(told));
        let until = Instant::now() + wait + BACK_WITHIN;
        loop {
            tokio::time::sleep(wait).await;
            match self.client.connect_once().await {
                Ok(next) => {
                    *self = Self { left: self.left + 1, stands_by: self.stands_by, ..next };
                    self.went_well();
                    return Ok(());
                }
                Err(error) if error.offline() == Offline::No || Instant::now() >= until => return Err(error),
                Err(_) => wait = backoff.wait(),
            }
        }
    }

    /// Says goodbye.
    pub async fn close(self) {
        drop(self.standby);
        self.session.close(self.events).await;
    }
}
