//! A record's earlier versions, as a client asks for them and opens them.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use anyhow::Context as _;
use cloudsync_client::connection::HistoryRequest;
use cloudsync_client::sdk::DeviceSeal;
use cloudsync_engine::replica::{Content, Opener as _};
use cloudsync_protocol::limits::HISTORY_ROWS_MAX;
use cloudsync_protocol::{Version, frame::Versions};
use cloudsync_tests::device::{Access, key, value};
use cloudsync_tests::{Person, SyncDevice, TestNode, Wire};

/// One more than an answer holds.
const VERSIONS: u64 = HISTORY_ROWS_MAX as u64 + 1;

fn written(version: u64) -> Content {
    value(&format!("version {version}"), 0)
}

/// The versions' numbers, each after it was opened and found to be what was written.
fn opened(device: &SyncDevice, answer: &Versions) -> anyhow::Result<Vec<u64>> {
    let seal = DeviceSeal(&device.person.keys);
    let mut numbers = Vec::new();
    for row in &answer.rows {
        let header = row.envelope.check()?;
        assert_eq!(seal.open(&header, &row.envelope).ok().context("a version that opens")?, written(header.version.0));
        numbers.push(header.version.0);
    }
    Ok(numbers)
}

#[tokio::test(flavor = "multi_thread")]
async fn history_gives_the_versions_of_one_record_newest_first_a_hundred_an_answer() -> anyhow::Result<()> {
    let node = TestNode::start_in_memory().await?;
    let mut device = SyncDevice::new(Person::register(&node, Wire::Quic, "ada@example.com").await?);
    let online = device.connect(&node.server(Wire::Quic)?, Access::Held).await.map_err(|stop| anyhow::anyhow!("{stop:?}"))?;
    device.claim(&online).await.map_err(|stop| anyhow::anyhow!("{stop:?}"))?;
    let note = key("note", "n1")?;
    for version in 1..=VERSIONS {
        for (name, content) in [(&note, written(version)), (&key("note", "other")?, value("another record", 0))] {
            device.edit(name, &content, 0)?;
        }
        let batch = device.next_batch()?.context("a batch")?;
        device.push(&online, &batch).await.map_err(|stop| anyhow::anyhow!("{stop:?}"))?;
    }
    for wire in Wire::ALL {
        let (session, _events) = device.person.open(&node, wire).await?;
        let ask = async |before: Option<u64>, count| {
            let answer = session.history(HistoryRequest { key: note.clone(), before: before.map(Version), count }).await?;
            anyhow::Ok((opened(&device, &answer)?, answer.more))
        };
        let newest_hundred: Vec<u64> = (2..=VERSIONS).rev().collect();
        assert_eq!(ask(None, HISTORY_ROWS_MAX).await?, (newest_hundred.clone(), true), "{wire:?}: at the bound");
        assert_eq!(ask(None, HISTORY_ROWS_MAX + 1).await?, (newest_hundred, true), "{wire:?}: past it");
        assert_eq!(ask(Some(2), HISTORY_ROWS_MAX).await?, (vec![1], false), "{wire:?}: the rest");
        assert_eq!(ask(Some(4), 2).await?, (vec![3, 2], true), "{wire:?}");
    }
    Ok(())
}
