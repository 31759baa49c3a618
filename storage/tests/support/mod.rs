//! Stores for the tests: where they live and how they are opened again.
//!
//! Never: a case.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod world;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cloudsync_storage::conformance::Factory;
use cloudsync_storage::embedded::{EmbeddedStore, Folder, Loss, OpenError, Options};
use cloudsync_storage::{MemoryStore, Store};
use tempfile::TempDir;

/// Memory outlives the node: reopening is going on.
#[derive(Debug, Default)]
pub(crate) struct MemoryFactory(Option<MemoryStore>);

#[async_trait]
impl Factory for MemoryFactory {
    async fn fresh(&mut self) -> Arc<dyn Store> {
        let memory = MemoryStore::new();
        self.0 = Some(memory.clone());
        Arc::new(memory)
    }

    async fn reopen(&mut self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store
    }

    async fn rewound(&mut self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let memory = self.0.as_ref().expect("fresh was called");
        memory.rewind(memory.save());
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
        self.opened_again(store, Loss::Refuse).await
    }

    async fn rewound(&mut self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        self.opened_again(store, Loss::Accept).await
    }
}

impl EmbeddedFactory {
    async fn opened_again(&mut self, store: Arc<dyn Store>, loss: Loss) -> Arc<dyn Store> {
        drop(store);
        let (folder, store) = self.open.take().expect("fresh was called");
        store.close().await;
        let store = Arc::new(try_open_with(folder.path(), loss).expect("a whole store"));
        self.open = Some((folder, Arc::clone(&store)));
        store
    }
}

/// The folder's files as a `kill -9` at this moment would leave them, in a folder of their own. The side file goes first:
/// what it promises is in the WAL, which goes last.
pub(crate) fn copy_as_killed(folder: &Path) -> TempDir {
    let copy = in_memory();
    for name in ["groups", "format", "running", "cloudsync.db", "cloudsync.db-wal"] {
        if folder.join(name).exists() {
            std::fs::copy(folder.join(name), copy.path().join(name)).expect("copied");
        }
    }
    copy
}

/// Opens a folder, whatever comes of it.
pub(crate) fn try_open(folder: &Path) -> Result<EmbeddedStore, OpenError> {
    try_open_with(folder, Loss::Refuse)
}

/// The same, with what is to be done about what is missing.
pub(crate) fn try_open_with(folder: &Path, loss: Loss) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(Folder::hold(folder)?, &Options { loss, ..Options::default() })
}

/// A temporary folder where syncing costs nothing, if there is such a place: what is damaged by hand needs no disk.
pub(crate) fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a temporary folder")
}
