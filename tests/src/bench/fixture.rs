//! Accounts by the thousand, written through the store while no node holds it, with tokens made by the node's own key.
//!
//! Never: a log-in, which costs a fifth of a second of a core on purpose; and nothing that a node would not have written.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cloudsync_client::keys::{DeviceKeys, Identity};
use cloudsync_client::statement;
use cloudsync_engine::log::{Acquire, Commit, Head};
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::statement::{PublicKey, RosterChange};
use cloudsync_protocol::{CommitId, Entry, OwnerId, TimelineId, UserId};
use cloudsync_storage::Store;
use cloudsync_storage::embedded::{EmbeddedStore, Folder, Options};
use cloudsync_storage::store::{Account, Credentials};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::cores::Cores;
use crate::NodeProcess;
use crate::minted::Mint;
use crate::process::{EndedNode, Start};

/// So many accounts are written at once: one group of the store's.
const AT_ONCE: usize = 256;
const KEYRING: &[u8] = &[0; 512];
const OPAQUE_RECORD: &[u8] = &[0; 192];
const SEALED_NAME: &[u8] = &[0; 92];

/// Somebody with devices.
#[derive(Debug)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// With their keys.
    pub devices: Vec<DeviceKeys>,
    /// The log's, as it was written.
    pub head: Head,
}

/// A node that is not running, and the store in its folder.
#[derive(Debug)]
pub struct Fixture {
    ended: EndedNode,
    store: Arc<EmbeddedStore>,
}

/// Milliseconds since the epoch.
pub fn now_ms() -> anyhow::Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

impl Fixture {
    /// Lets a node make its folder and its secrets, on the node's core and with room for any user, and ends it.
    pub async fn new(folder: &Path, cores: Cores) -> anyhow::Result<Self> {
        let options = vec!["--quota-bytes".to_owned(), u64::MAX.to_string()];
        let node = NodeProcess::start_with(folder, Start { options, before: cores.before_node(), ..Start::default() }).await?;
        Self::reopen(node).await
    }

    /// Ends a node and takes its store.
    pub async fn reopen(node: NodeProcess) -> anyhow::Result<Self> {
        let ended = node.terminate().await?;
        let folder = Folder::hold(ended.data())?;
        Ok(Self { store: Arc::new(EmbeddedStore::open(folder, &Options::default())?), ended })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::<EmbeddedStore>::clone(&self.store)
    }

    /// Writes accounts, each with an identity and so many enrolled devices.
    pub async fn members(&self, count: usize, devices: usize) -> anyhow::Result<Vec<Member>> {
        let writes = futures_util::stream::iter(0..count).map(|_| member(self.store(), devices));
        writes.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Gives the store back and starts the node on it, on the same ports.
    pub async fn start(self) -> anyhow::Result<(NodeProcess, Mint)> {
        self.store.close().await;
        let mint = Mint::open(&self.ended.data())?;
        Ok((NodeProcess::start_again(&self.ended).await?, mint))
    }
}

async fn member(store: Arc<dyn Store>, devices: usize) -> anyhow::Result<Member> {
    let (user, created_ts) = (UserId(rand::random()), now_ms()?);
    let account = Account { email: format!("{user}@example.com"), user, created_ts };
    let [opaque_record, keyring] = [OPAQUE_RECORD, KEYRING].map(Bytes::from_static);
    store.create_account(account, Credentials { version: 1, opaque_record, recovery: PublicKey([1; 32]), keyring }).await?;
    let (identity, devices) = (Identity::first(), (0..devices).map(|_| DeviceKeys::random()).collect::<Vec<_>>());
    let enrolled = |device| statement::enrol(&identity, user.into(), device, (Bytes::from_static(SEALED_NAME), created_ts));
    let changes = std::iter::once(statement::identity(&identity, user.into(), created_ts)).chain(devices.iter().map(enrolled));
    let head = write_roster(&*store, user, changes.collect::<Result<_, _>>()?).await?;
    Ok(Member { user, devices, head })
}

async fn write_roster(store: &dyn Store, user: UserId, changes: Vec<RosterChange>) -> anyhow::Result<Head> {
    let view = cloudsync_actors::Options::default().view;
    let acquire = Acquire { log: user.into(), view, owner: OwnerId(rand::random()), timeline: TimelineId(rand::random()) };
    let mut head = store.acquire(acquire).await?;
    let (after, server_ts) = (head.seq, now_ms()?);
    let mut entries = Vec::new();
    for change in changes {
        let entry = Entry::Roster(RosterRow { seq: head.seq.next(), server_ts, change });
        head.follow(&entry, |_, _| None)?;
        entries.push(entry);
    }
    head.commit = CommitId(rand::random());
    store.commit(Commit { log: user.into(), after, entries, head: head.clone(), credentials: None, wraps: Vec::new() }).await?;
    Ok(head)
}
