//! Clients in Python, written from `docs/wire.md` and `docs/crypto.md` alone (`tests/interop`), against a node: what those
//! pages say suffices, and is so.
//!
//! Never: anything of ours on the clients' side; only what they have sealed is opened here.

#![allow(clippy::indexing_slicing, reason = "only JSON values are indexed, which gives null where nothing is")]

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use cloudsync_actors::Clock as _;
use cloudsync_client::envelope::{self, Expected, Plaintext};
use cloudsync_client::keys::{AccountKey, AccountKeys, KeyEpoch, Secret};
use cloudsync_protocol::Hash;
use cloudsync_storage::{MemoryStore, Store};
use cloudsync_tests::minted::{FrozenAccount, KEYRING};
use cloudsync_tests::python::Python;
use cloudsync_tests::{TestNode, Wire};
use serde_json::{Value, json};

type Tested = anyhow::Result<()>;

const BATCH: &str = include_str!("../interop/frozen_batch.json");

/// What `sessions` shows on every carrier; the last but one is the carrier's own.
const SHOWN: [&str; 16] = [
    "signed_in_pinged_and_attached",
    "pushed_and_told",
    "pulled_on_another_connection",
    "taken_as_a_snapshot",
    "opened_with_the_account_key",
    "attached_again_with_its_cursor",
    "told_that_it_lags",
    "too_large_for_an_event",
    "cursors_that_the_log_does_not_have",
    "bad_hellos",
    "frames_that_end_a_session",
    "carried_on_with_a_fresh_token",
    "requests_that_are_refused",
    "a_frame_that_is_too_large",
    "",
    "revoked",
];
/// A table that has lost cases would not be seen otherwise.
const CONFORMANCE_CASES: usize = 138;
const CHECKS_OF_THE_PAGES: usize = 7;

struct World {
    node: TestNode,
    account: FrozenAccount,
    store: Arc<dyn Store>,
}

async fn world() -> anyhow::Result<World> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let account = FrozenAccount::write(&store).await?;
    Ok(World { node: TestNode::start_on(Arc::clone(&store)).await?, account, store })
}

/// What a program is told: where the node is, who signs in, and the batch that was frozen.
fn told(world: &World, wire: Wire) -> anyhow::Result<Value> {
    let World { node, account, .. } = world;
    let now_ms = node.clock().now_ms();
    let mint = |number| account.mint(&node.data(), now_ms, number);
    Ok(json!({
        "scheme": wire.scheme(),
        "address": node.address(wire)?.to_string(),
        "certificate_sha256": node.pin().0.to_string(),
        "log": account.user.to_string(),
        "device": account.device.to_string(),
        "device_seed": account.vector("/device/signing_seed")?,
        "identity_seed": account.vector("/identity/signing_seed")?,
        "tokens": [mint(1)?, mint(2)?],
        "keyring": KEYRING.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "batch": serde_json::from_str::<Value>(BATCH)?,
    }))
}

async fn shown(python: Python, program: &'static str, told: Value) -> anyhow::Result<Vec<String>> {
    tokio::task::spawn_blocking(move || python.show(program, &told.to_string())).await?
}

/// Every record that is on the store now, opened by our own client.
async fn opened(world: &World) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let batch: Value = serde_json::from_str(BATCH)?;
    let key = Hash::from_hex(batch["account_key"].as_str().context("no account key")?).context("not a key")?;
    let keys = AccountKeys::new(AccountKey { epoch: KeyEpoch::FIRST, key: Secret::new(key.0) }, []);
    let log = world.account.user.into();
    let page = world.store.snapshot(log, None, usize::MAX).await?;
    ensure!(page.resume.is_none(), "more than one page");
    let records = page.rows.iter().map(|row| {
        let opened = envelope::open(&keys, &row.envelope, &Expected::of_log(log))?;
        let Plaintext::Value(value) = opened.plaintext else { bail!("a tombstone") };
        Ok((opened.header.record.as_str().to_owned(), value.to_vec()))
    });
    records.collect()
}

async fn a_client_syncs_over(wire: Wire) -> Tested {
    let Some(python) = Python::ready()? else { return Ok(()) };
    let world = world().await?;
    let told = told(&world, wire)?;
    let shown = shown(python, "sessions", told).await.with_context(|| wire.scheme())?;
    let own = if wire == Wire::Quic { "requests_of_one_quic_stream" } else { "messages_of_a_websocket" };
    ensure!(shown == SHOWN.map(|name| if name.is_empty() { own } else { name }), "{shown:?}");
    // What the other language sealed is read by ours.
    let records = opened(&world).await?;
    ensure!(records.get("s1").is_some_and(|content| content == b"second"), "{:?}", records.keys());
    ensure!(records.get("s9").is_some_and(|content| content == b"newer"), "{:?}", records.keys());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_frozen_bytes_are_made_and_read_from_the_pages_alone() -> Tested {
    let Some(python) = Python::ready()? else { return Ok(()) };
    let shown = shown(python, "document", Value::Null).await?;
    ensure!(shown.len() == CHECKS_OF_THE_PAGES, "{shown:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_language_syncs_over_quic() -> Tested {
    a_client_syncs_over(Wire::Quic).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_language_syncs_over_websocket() -> Tested {
    a_client_syncs_over(Wire::Wss).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_language_syncs_over_websocket_without_tls() -> Tested {
    a_client_syncs_over(Wire::Ws).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_websocket_end_holds_in_the_published_cases() -> Tested {
    let Some(python) = Python::ready()? else { return Ok(()) };
    let world = world().await?;
    let told = told(&world, Wire::Ws)?;
    let shown = shown(python, "conformance", told).await?;
    ensure!(shown.len() == CONFORMANCE_CASES, "{} cases", shown.len());
    Ok(())
}
