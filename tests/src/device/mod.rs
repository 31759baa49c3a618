//! [`SyncDevice`]: a device for load and proof. The replica's real rules, keys and connections, driven so that a test
//! decides when it reads, pushes and loses its connection, and everything it was told is kept for comparing.
//!
//! Never: an answer taken for granted. What the rules refuse, or what a correct node can't have said, is [`Stop::Wrong`].

mod pushing;
mod reading;
mod stop;

use bytes::Bytes;
use cloudsync_client::account;
use cloudsync_client::connection::{Connection, Events, Server, Session};
use cloudsync_engine::replica::{Content, EditError, Me, MemoryTables, NewEdit, Onto, OutboxBatch, Replica};
use cloudsync_protocol::{CollectionName, RecordId, RecordKey};

use crate::ledger::Ledger;
use crate::person::Person;
pub use stop::Stop;
use stop::wrong;

/// An open session with its events.
#[derive(Debug)]
pub struct OpenSession {
    session: Session,
    events: Events,
}

impl OpenSession {
    /// The session of the SDK's.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }
}

/// The access token that a session is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The one that the device has.
    Held,
    /// A new one, for the refresh token.
    Renewed,
}

/// A device.
#[derive(Debug)]
pub struct SyncDevice {
    /// Keys and tokens.
    pub person: Person,
    /// What it was told and what it did.
    pub ledger: Ledger,
    me: Me,
    tables: MemoryTables,
    /// Sent, and neither acknowledged nor refused.
    unanswered: Option<OutboxBatch>,
}

impl SyncDevice {
    /// With an empty replica.
    #[must_use]
    pub fn new(person: Person) -> Self {
        let keys = &person.keys;
        let me = Me {
            log: keys.log(),
            device: keys.device.id,
            signing: keys.device.signing.public(),
            identity: keys.secrets.identity.signing.public(),
            identity_epoch: keys.secrets.identity.epoch,
        };
        Self { me, person, ledger: Ledger::default(), tables: MemoryTables::new(), unanswered: None }
    }

    /// Its replica, as one operation of the rules.
    pub fn replica(&mut self) -> anyhow::Result<Replica<'_, MemoryTables>> {
        Ok(Replica::open(&mut self.tables, &self.me)?)
    }

    /// Its replica's tables.
    #[must_use]
    pub const fn tables(&self) -> &MemoryTables {
        &self.tables
    }

    /// Queues an edit; where a conflict is parked, over it.
    pub fn edit(&mut self, key: &RecordKey, content: &Content, now_ms: u64) -> anyhow::Result<()> {
        let new = |onto| NewEdit { key: key.clone(), content: content.clone(), onto, now_ms };
        let mut replica = self.replica()?;
        match replica.edit(new(Onto::Replica)) {
            Ok(_) => {}
            Err(EditError::Conflicted { .. }) => drop(replica.edit(new(Onto::Current))?),
            Err(error @ (EditError::Reserved | EditError::Tables(_))) => return Err(error.into()),
        }
        Ok(())
    }

    /// Connects and says hello.
    pub async fn connect(&mut self, server: &Server, access: Access) -> Result<OpenSession, Stop> {
        let connection = Connection::open(server).await?;
        if access == Access::Renewed {
            let refreshed = account::refresh(&connection, &self.person.keys.device, &self.person.tokens.refresh_token).await;
            self.person.tokens = refreshed.map_err(|error| match error {
                account::Error::Connection(error) => error.into(),
                other => wrong(other),
            })?;
        }
        let (session, events) = connection.hello(&self.person.keys.device, &self.person.tokens.access_token).await?;
        Ok(OpenSession { session, events })
    }
}

/// A value that fills `bytes`.
#[must_use]
pub fn value(text: &str, bytes: usize) -> Content {
    Content::Value(Bytes::from(format!("{{\"text\":\"{text:x<bytes$}\"}}")))
}

/// A record's key.
pub fn key(collection: &str, record: &str) -> anyhow::Result<RecordKey> {
    Ok(RecordKey { collection: CollectionName::new(collection)?, record: RecordId::new(record)? })
}
