//! Stores for the tests: where they live and how they are opened again.
//!
//! Never: a case.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cloudsync_storage::conformance::Factory;
use cloudsync_storage::embedded::{EmbeddedStore, Folder, OpenError, Options};
use cloudsync_storage::{MemoryStore, Store};
use tempfile::TempDir;

/// Memory outlives the node: reopening is going on.
#[derive(Debug)]
pub(crate) struct MemoryFactory;

#[async_trait]
impl Factory for MemoryFactory {
    async fn fresh(&mut self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new())
    }

    async fn reopen(&mut self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store
    }
}

/// A folder that is closed and opened again.
#[derive(Debug, Default)]
pub(crate) struct EmbeddedFactory {
    open: Option<(TempDir, Arc<EmbeddedStore>)>,
}

pub(crate) fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(Folder::hold(folder).expect("a folder of our own"), &Options::default()).expect("a whole store")
}

#[async_trait]
impl Factory for EmbeddedFactory {
    async fn fresh(&mut self) -> Arc<dyn Store> {
        let folder = TempDir::new().expect("a temporary folder");
        let store = Arc::new(open(folder.path()));
        self.open = Some((folder, Arc::clone(&store)));
        store
    }

    async fn reopen(&mut self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        drop(store);
        let (folder, store) = self.open.take().expect("fresh was called");
        store.close().await;
        let store = Arc::new(open(folder.path()));
        self.open = Some((folder, Arc::clone(&store)));
        store
    }
}

/// The folder's files as a `kill -9` at this moment would leave them, in a folder of their own. The side file goes first:
/// what it promises is in the WAL, which goes last.
pub(crate) fn copy_as_killed(folder: &Path) -> TempDir {
    let copy = TempDir::new().expect("a temporary folder");
    for name in ["groups", "format", "running", "cloudsync.db", "cloudsync.db-wal"] {
        if folder.join(name).exists() {
            std::fs::copy(folder.join(name), copy.path().join(name)).expect("copied");
        }
    }
    copy
}

/// Opens a folder, whatever comes of it.
pub(crate) fn try_open(folder: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(Folder::hold(folder)?, &Options::default())
}
