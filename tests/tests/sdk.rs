//! The SDK on a node whose clock a test moves: tokens end and are renewed, by several processes of a profile at once.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use std::time::{Duration, Instant};

use anyhow::Context as _;
use cloudsync_client::profile::Profile;
use cloudsync_client::replica::{Access, Store, StoreError};
use cloudsync_client::sdk::{Client, Target, Watch, WatchEvent, register};
use cloudsync_engine::replica::{Content, Onto, SnapshotProgress, Tables as _};
use cloudsync_protocol::frame::SnapshotToken;
use cloudsync_protocol::{CollectionName, RecordId, RecordKey, TimelineId};
use cloudsync_tests::person::log_in_as;
use cloudsync_tests::{TestNode, Wire};

const MINUTE: Duration = Duration::from_secs(60);

async fn client(node: &TestNode, wire: Wire, folder: &tempfile::TempDir) -> anyhow::Result<Client> {
    let profile = Profile::at(folder.path().join("profile"));
    let server = node.server(wire)?;
    if !profile.folder().exists() {
        let signed_in = register(&profile, &log_in_as(&server, "ada@example.com", "laptop")?).await?;
        assert!(signed_in.recovery.is_some());
        signed_in.shown()?;
    }
    Ok(Client::open(profile, Target { server })?)
}

fn key(id: &str) -> anyhow::Result<RecordKey> {
    Ok(RecordKey { collection: CollectionName::new("goal")?, record: RecordId::new(id)? })
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_ended_are_renewed_by_many_processes_at_once_and_nobody_is_logged_out() -> anyhow::Result<()> {
    let (node, folder) = (TestNode::start().await?, tempfile::tempdir()?);
    // Each is as another process of the profile: it shares files only.
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(client(&node, Wire::Quic, &folder).await?);
    }
    for _ in 0..5 {
        node.clock().advance(20 * MINUTE);
        let (a, b, c, d) = tokio::join!(clients[0].connect(), clients[1].connect(), clients[2].connect(), clients[3].connect());
        for online in [a, b, c, d] {
            online?.close().await;
        }
    }
    // One that slept through all of that reads the newest token of the profile.
    let late = client(&node, Wire::Wss, &folder).await?;
    node.clock().advance(20 * MINUTE);
    late.connect().await?.close().await;
    clients[0].connect().await?.close().await;
    node.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_under_a_fresh_token() -> anyhow::Result<()> {
    for wire in [Wire::Quic, Wire::Wss] {
        let (node, folder) = (TestNode::start().await?, tempfile::tempdir()?);
        let client = client(&node, wire, &folder).await?;
        let mut online = client.connect().await?;
        online.catch_up().await?;
        node.clock().advance(14 * MINUTE);
        online.renew().await?;
        node.clock().advance(10 * MINUTE);
        let id = client.edit(key("g1")?, Content::Value("1".into()), Onto::Replica).await?;
        online.push_all(Duration::from_secs(20)).await?;
        assert_eq!(client.fate(key("g1")?, id).await?, cloudsync_engine::replica::Fate::Gone, "{wire:?}");
        online.close().await;
        node.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_its_own_pushes_others_and_what_another_process_read_first() -> anyhow::Result<()> {
    let (node, folder) = (TestNode::start().await?, tempfile::tempdir()?);
    let watcher = client(&node, Wire::Quic, &folder).await?;
    let other = client(&node, Wire::Quic, &folder).await?;
    let mut watch = Watch::new(watcher.clone());
    assert!(matches!(watch.next().await?, WatchEvent::Live(_)));
    // Queued by another process that never sends: the watch does.
    other.edit(key("g1")?, Content::Value("1".into()), Onto::Replica).await?;
    let mut seen = Vec::new();
    let mut online = other.connect().await?;
    for id in ["g2", "g3", "g4"] {
        other.edit(key(id)?, Content::Value("1".into()), Onto::Replica).await?;
        online.push_all(Duration::from_secs(20)).await?;
        // The other process reads the log before the watch is asked again.
        online.catch_up().await?;
    }
    online.close().await;
    while seen.len() < 4 {
        match tokio::time::timeout(Duration::from_secs(20), watch.next()).await.context("nothing more was told")?? {
            WatchEvent::Change(change) => seen.push((change.seq, change.key.record.to_string())),
            WatchEvent::Live(_) | WatchEvent::Offline(..) | WatchEvent::Rewound | WatchEvent::Parked(_) | WatchEvent::Paused { .. } => {}
        }
    }
    assert!(seen.is_sorted(), "{seen:?}");
    let mut ids: Vec<&str> = seen.iter().map(|(_, id)| id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["g1", "g2", "g3", "g4"]);
    watch.close().await;
    node.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_watch_renews_its_token_again_and_again_without_a_break() -> anyhow::Result<()> {
    // A session renews when its token holds for less than 45 s: every 2 s here.
    let node = TestNode::start_with(|config| config.accounts.access_token_lifetime = Duration::from_secs(47)).await?;
    let folder = tempfile::tempdir()?;
    let watcher = client(&node, Wire::Quic, &folder).await?;
    let other = client(&node, Wire::Quic, &folder).await?;
    let store = Store::open(&Profile::at(folder.path().join("profile")).replica())?;
    let stored = || store.transact(Access::Read, |tables| tables.tokens());
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let watching = tokio::spawn(async move {
        let mut watch = Watch::new(watcher);
        while tell.send(watch.next().await).is_ok() {}
    });
    assert!(matches!(told.recv().await.context("it ended")??, WatchEvent::Live(_)));
    let mut known = vec![stored()?];
    let begun = Instant::now();
    // Two: the second is asked for only if the session took the first.
    while known.len() < 3 {
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(30), "not renewed");
        let now = stored()?;
        if known.last() != Some(&now) {
            known.push(now);
        }
        // Nothing says when a profile changes: it is looked at again and again.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    other.edit(key("g1")?, Content::Value("1".into()), Onto::Replica).await?;
    // Nothing else before it: no break of the connection.
    let event = tokio::time::timeout(Duration::from_secs(20), told.recv()).await?.context("it ended")??;
    assert!(matches!(&event, WatchEvent::Change(change) if change.key.record.to_string() == "g1"), "{event:?}");
    watching.abort();
    node.shutdown().await;
    Ok(())
}

/// Begins a snapshot in the profile that the server will not go on with: it is of a timeline that the log never had.
fn begin_a_snapshot_of_another_timeline(folder: &tempfile::TempDir) -> anyhow::Result<()> {
    let store = Store::open(&Profile::at(folder.path().join("profile")).replica())?;
    store.transact(Access::Write, |tables| {
        let mut marks = tables.marks()?;
        let timeline = TimelineId([9; 16]);
        let start = cloudsync_protocol::Cursor { timeline, ..marks.cursor };
        let resume = SnapshotToken { timeline, start: start.seq, last: None, roster_after: None };
        marks.snapshot = Some(SnapshotProgress { start, resume });
        tables.set_marks(&marks).map_err(StoreError::from)
    })?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_the_server_does_not_go_on_with_is_given_up_and_the_log_is_read() -> anyhow::Result<()> {
    for wire in Wire::ALL {
        let (node, folder) = (TestNode::start().await?, tempfile::tempdir()?);
        let client = client(&node, wire, &folder).await?;
        let mut online = client.connect().await?;
        client.edit(key("g1")?, Content::Value("1".into()), Onto::Replica).await?;
        online.push_all(Duration::from_secs(20)).await?;
        let head = online.catch_up().await?;
        online.close().await;
        begin_a_snapshot_of_another_timeline(&folder)?;

        let mut online = client.connect().await?;
        assert_eq!(online.catch_up().await?, head, "{wire:?}");
        begin_a_snapshot_of_another_timeline(&folder)?;
        assert_eq!(online.from_snapshot().await?, head, "{wire:?}: asked for by a person");
        online.close().await;
        assert!(client.get(key("g1")?).await?.is_some(), "{wire:?}");
        node.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_here_is_not_read_again_by_the_next_session() -> anyhow::Result<()> {
    for wire in Wire::ALL {
        let (node, folder) = (TestNode::start().await?, tempfile::tempdir()?);
        let client = client(&node, wire, &folder).await?;
        let mut online = client.connect().await?;
        online.catch_up().await?;
        let edits = (0..2000).map(|n| Ok((key(&format!("g{n}"))?, Content::Value(format!("{n}").into()))));
        client.edit_all(edits.collect::<anyhow::Result<_>>()?, Onto::Replica).await?;
        online.push_all(Duration::from_secs(60)).await?;
        online.close().await;
        let read_to = client.status().await?.cursor.seq;
        let mut online = client.connect().await?;
        assert_eq!(online.catch_up().await?.seq, read_to, "{wire:?}: nothing was left to read");
        assert!(read_to.0 > 2000, "{wire:?}: {read_to}");
        online.close().await;
        node.shutdown().await;
    }
    Ok(())
}
