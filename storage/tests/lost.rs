//! A folder whose store is gone, against one whose first start was cut short.
//!
//! Never: a store made anew, in silence, where one was.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use cloudsync_storage::Store as _;
use cloudsync_storage::conformance::data::{Write, Writer, device, key, log};
use cloudsync_storage::embedded::{Folder, OpenError};
use support::{open, try_open};
use tempfile::TempDir;

/// Everything in the folder but the lock, which has whoever looked last in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.file_name() != "lock");
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

#[tokio::test]
async fn a_store_that_is_gone_with_its_side_file_is_not_made_anew() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::acquire(&store, log(1)).await;
    writer.push(&store, device(1), &[(key("notes", "a"), Write::Live(100))]).await.unwrap();
    store.close().await;
    let [database, groups] = ["cloudsync.db", "groups"].map(|name| (folder.path().join(name), folder.path().join(format!("{name}.kept"))));
    for (name, kept) in [&database, &groups] {
        std::fs::rename(name, kept).unwrap();
    }
    let before = files(folder.path());
    for _ in 0..2 {
        let refused = try_open(folder.path()).unwrap_err();
        assert_eq!(refused, OpenError::Lost { folder: folder.path().into() });
        let message = refused.to_string();
        assert!(["cloudsync.db", "groups", "Restore", "empty folder"].iter().all(|word| message.contains(word)), "{message}");
    }
    assert_eq!(files(folder.path()), before, "left as it was found");
    assert!(Folder::hold(folder.path()).unwrap().has_database(), "so that no secrets are made beside it");
    for (name, kept) in [&database, &groups] {
        std::fs::rename(kept, name).unwrap();
    }
    assert_eq!(open(folder.path()).read_head(log(1)).await, Ok(Some(writer.head)));
}

#[tokio::test]
async fn a_first_start_that_was_cut_short_after_its_secrets_is_completed() {
    let folder = TempDir::new().unwrap();
    let held = Folder::hold(folder.path()).unwrap();
    std::fs::write(folder.path().join("secrets.json"), "{}").unwrap();
    assert!(!held.has_database(), "secrets may be made");
    drop(held);
    open(folder.path()).close().await;
    // And one that was cut short between the database and the mark.
    std::fs::remove_file(folder.path().join("made")).unwrap();
    open(folder.path()).close().await;
    assert!(folder.path().join("made").exists());
}
